"""What an answer is judged against: one type for each kind of question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from judges.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class Classification:
    """The right class of an image.

    `label` is the class's index in the vocabulary or any of its names. A name that two classes share means
    both.
    """

    label: int | str
    vocabulary: Vocabulary


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """The right option of a question with lettered options: `label` is its letter, `choices` the texts from A on.

    `class_name` is the name of the object in the image, where known: an answer that gives it instead of an option
    is recognised.
    """

    label: str
    choices: Sequence[str]
    class_name: str | None = None


@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """The right answer of an open question, in a few words."""

    label: str


Target = Classification | MultipleChoice | ShortAnswer
