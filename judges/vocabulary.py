"""The ordered labels of a classification task, with the other names each goes by, and who knows a task's labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any, Protocol

from emt_core.errors import UserError

ENTRY_POINT_GROUP = "judges.vocabularies"


@dataclass(frozen=True, slots=True)
class Label:
    """One class of a data set.

    `index` is the class's number in the data set; `synonyms` are other names of exactly this class; `subtypes`
    are names of things that belong to this class and to no other class of the vocabulary.
    """

    index: int
    name: str
    wnid: str | None = None
    synonyms: tuple[str, ...] = ()
    subtypes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The labels of one task in the data set's own order.

    Two classes may have the same name (ImageNet-1k has two missiles); `named` returns them all, so that nothing
    depends on which comes first. `others` are names that contain a label's name but mean something else ("prairie
    dog"). Compared and hashed by identity: load each vocabulary once.
    """

    name: str
    labels: tuple[Label, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @cached_property
    def _by_name(self) -> dict[str, tuple[Label, ...]]:
        return _index((label.name.casefold(), label) for label in self.labels)

    @cached_property
    def _by_exact_name(self) -> dict[str, tuple[Label, ...]]:
        """Names and synonyms, case kept: "Cardigan" is the dog where "cardigan" is the garment."""
        names = _index((label.name, label) for label in self.labels)
        synonyms = _index((synonym, label) for label in self.labels for synonym in label.synonyms)
        return {**synonyms, **names}

    @cached_property
    def _by_any_name(self) -> dict[str, tuple[Label, ...]]:
        """Loose spelling of a name, synonym or subtype → the classes it fits best: a name outranks a synonym."""
        found: dict[str, tuple[Label, ...]] = {}
        found.update(_index((_loose(name), label) for label in self.labels for name in label.subtypes))
        found.update(_index((_loose(name), label) for label in self.labels for name in label.synonyms))
        found.update(_index((_loose(label.name), label) for label in self.labels))
        return found

    def named(self, name: str) -> tuple[Label, ...]:
        """Return every class with this name, ignoring case; empty if there is none."""
        return self._by_name.get(name.replace("_", " ").casefold(), ())

    def resolve(self, label: int | str) -> tuple[Label, ...]:
        """Return the classes that a gold label stands for: its index, its name, or another of its names.

        One class, unless two share the name.

        Raises:
            UserError: the vocabulary has no such class.
        """
        if isinstance(label, str):
            text = label.strip().replace("_", " ")
            found = self._by_exact_name.get(text) or self._by_any_name.get(_loose(text))
            if found:
                return found
            if not (text.isdecimal() and len(text) <= len(str(len(self.labels)))):
                raise UserError(f"label {label!r} is not a class of {self.name}; expected e.g. {self.labels[0].name!r}")
        index = int(label)
        if not 0 <= index < len(self.labels):
            raise UserError(f"label {index} is not a class of {self.name}; expected 0 to {len(self.labels) - 1}")
        return (self.labels[index],)

    @property
    def names(self) -> list[str]:
        """The label names in the data set's order, spaces for underscores."""
        return [label.name for label in self.labels]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Build a vocabulary from the contents of one of the JSON files in `emt_tasks/datasets/vocabularies`."""
        labels = tuple(
            Label(
                index=index,
                name=entry["name"],
                wnid=entry.get("wnid"),
                synonyms=tuple(entry.get("synonyms", ())),
                subtypes=tuple(entry.get("subtypes", ())),
            )
            for index, entry in enumerate(data["labels"])
        )
        others = tuple(data.get("others", ()))
        return cls(name=data["name"], labels=labels, provenance=data.get("provenance", {}), others=others)


class VocabularyProvider(Protocol):
    """What a distribution offers under the entry-point group `judges.vocabularies`."""

    names: Sequence[str]

    def __call__(self, task: str) -> Vocabulary | None:
        """Return the vocabulary of a data set or task, or None if it is not this provider's."""
        ...

    def kind(self, task: str) -> str | None:
        """Return `classification`, `multiple_choice` or `short_answer`, or None if it is not this provider's."""
        ...


def find_vocabulary(task: str) -> Vocabulary:
    """Return the vocabulary of a data set or task, from whatever installed distribution provides it.

    Raises:
        UserError: no provider knows the task.
    """
    providers = _providers()
    for provider in providers:
        if (vocabulary := provider(task)) is not None:
            return vocabulary
    known = ", ".join(name for provider in providers for name in provider.names) or f"no {ENTRY_POINT_GROUP} installed"
    raise UserError(f"task {task!r} has no label vocabulary; known: {known}")


def find_kind(task: str) -> str | None:
    """Return the kind of a data set's or task's questions, from whatever installed distribution knows it, or None."""
    return next((kind for provider in _providers() if (kind := provider.kind(task))), None)


@cache
def _providers() -> tuple[VocabularyProvider, ...]:
    from importlib.metadata import entry_points  # slow to import, and only needed here

    points = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name)
    return tuple(point.load() for point in points)


def _index(pairs: Iterable[tuple[str, Label]]) -> dict[str, tuple[Label, ...]]:
    found: defaultdict[str, dict[int, Label]] = defaultdict(dict)
    for name, label in pairs:
        found[name][label.index] = label
    return {name: tuple(labels.values()) for name, labels in found.items()}


def _loose(name: str) -> str:
    """Return a name without case, hyphens, apostrophes and other punctuation; accents stay."""
    kept = "".join(char if char.isalnum() else " " for char in name.casefold().replace("'", ""))
    return " ".join(kept.split())
