"""The ordered labels of a classification task, with the other names each goes by."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


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

    Two classes may bear the same name (ImageNet-1k has two missiles); `named` returns them all, so that nothing
    depends on which comes first. Compared and hashed by identity: load each vocabulary once.
    """

    name: str
    labels: tuple[Label, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def _by_name(self) -> dict[str, tuple[Label, ...]]:
        names: dict[str, list[Label]] = defaultdict(list)
        for label in self.labels:
            names[label.name.casefold()].append(label)
        return {name: tuple(labels) for name, labels in names.items()}

    def named(self, name: str) -> tuple[Label, ...]:
        """Return every class whose name this is, whatever the case; empty where there is none."""
        return self._by_name.get(name.replace("_", " ").casefold(), ())

    @property
    def names(self) -> list[str]:
        """The label names in the data set's order, spaces for underscores."""
        return [label.name for label in self.labels]

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Vocabulary:
        """Build a vocabulary from the contents of one of the JSON files in `emt_tasks/vocabularies`."""
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
        return cls(name=data["name"], labels=labels, provenance=data.get("provenance", {}))
