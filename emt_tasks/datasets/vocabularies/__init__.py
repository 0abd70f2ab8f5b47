"""The labels of every classification task: `load("cifar10")`, or `find("emt_cifar10_lite")` by a task's name.

The JSON files beside this module are written by `tools/build_vocabularies.py`, the demo's by hand; they name their
sources and licences.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from emt_core.errors import UserError
from judges.vocabulary import Vocabulary

__all__ = ["NAMES", "find", "load"]

NAMES = ("cifar10", "cifar100", "demo_digits", "demo_shapes", "flowers102", "imagenet1k", "miniimagenet", "mnist")

_ALIASES = {
    "102flowers": "flowers102",
    "demodigits": "demo_digits",
    "demoshapes": "demo_shapes",
    "flowers": "flowers102",
    "ilsvrc2012": "imagenet1k",
    "imagenet": "imagenet1k",
    "imagenet2012": "imagenet1k",
}
# What a task's name may carry beside its data set's.
_AFFIXES = frozenset({"closed", "emt", "full", "ilsvrc", "lite", "oxford", "test", "val", "validation", "vqa"})


@cache
def load(name: str) -> Vocabulary:
    """Return the vocabulary of that name, the same object at every call.

    Raises:
        UserError: there is no such vocabulary.
    """
    if name not in NAMES:
        raise UserError(f"vocabulary {name!r} is not known; choose one of {', '.join(NAMES)}")
    text = (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    return Vocabulary.from_json(json.loads(text))


class _Finder:
    """Finds a task's vocabulary by its name; `judges.vocabulary` calls it through an entry point."""

    names: Sequence[str] = NAMES

    def __call__(self, task: str) -> Vocabulary | None:
        """Return the vocabulary of a task or data set (emt_cifar10_lite, timm/mini-imagenet), or None."""
        words = re.split(r"[^a-z0-9]+", task.rpartition("/")[2].lower())
        name = "".join(word for word in words if word not in _AFFIXES)
        name = _ALIASES.get(name, name)
        return load(name) if name in NAMES else None


find = _Finder()
