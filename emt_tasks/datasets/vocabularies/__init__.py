"""The labels of every classification task: `load("cifar10")`, or `find("emt_cifar10_lite")` by a task's name.

The JSON files beside this module are written by `tools/build_vocabularies.py`, the demo's by hand; they name their
sources and licences.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from emt_core.errors import UserError
from emt_tasks.datasets import catalog
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks import registry
from judges.vocabulary import Vocabulary

__all__ = ["find", "load", "names", "of"]


def names() -> list[str]:
    """Return the names of all vocabularies, sorted: ours, then those of the user's data sets."""
    ours = sorted(file.name.removesuffix(".json") for file in files(__name__).iterdir() if file.name.endswith(".json"))
    return [*ours, *_spelt_out()]


def load(name: str) -> Vocabulary:
    """Return the vocabulary of that name, the same object every time.

    Raises:
        UserError: there is no such vocabulary.
    """
    theirs = _spelt_out()
    if name in theirs:
        return theirs[name]
    if name not in names():
        raise UserError(f"unknown vocabulary {name!r}; choose one of {', '.join(names())}")
    return _ours(name)


def of(dataset: Dataset) -> Vocabulary:
    """Return the vocabulary of a classification data set.

    Raises:
        UserError: it names one that does not exist, or the data set is not a classification.
    """
    if isinstance(dataset.vocabulary, Vocabulary):
        return dataset.vocabulary
    if dataset.vocabulary is None:
        raise UserError(f"{dataset.kind} data set {dataset.name!r} has no vocabulary")
    return load(dataset.vocabulary)


def _spelt_out() -> dict[str, Vocabulary]:
    rows = catalog.datasets().values()
    return {row.vocabulary.name: row.vocabulary for row in rows if isinstance(row.vocabulary, Vocabulary)}


@cache
def _ours(name: str) -> Vocabulary:
    text = (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    return Vocabulary.from_json(json.loads(text))


class _Finder:
    """What a task asks about, by its name; `judges.vocabulary` calls it through an entry point."""

    @property
    def names(self) -> Sequence[str]:
        """The names of all vocabularies."""
        return names()

    def __call__(self, task: str) -> Vocabulary | None:
        """Return the vocabulary of a task, a data set or a repository, or None."""
        row = registry.dataset_of(task)
        return of(row) if row is not None and row.vocabulary is not None else None

    def kind(self, task: str) -> str | None:
        """Return the kind of a task's or data set's questions, or None."""
        row = registry.dataset_of(task)
        return None if row is None else row.kind


find = _Finder()
