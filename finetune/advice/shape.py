"""The shape of training data: how many questions and answers it has, and whether the answers are a closed set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.data.conversations import Turn, without_image_mark

_REPEATS = 5
"""In a closed set each answer comes this often in the mean; in free text hardly any comes twice."""

_SHORT = 8
"""Words of a short answer at most: EMT's "The object is a(n) airplane." has five."""

_MOSTLY = 0.9
"""The share of one question from which data is said to ask nothing else."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What training examples look like.

    Attributes:
        examples: how many there are; None if that is not known.
        looked_at: the turns that the rest was counted on.
        questions: distinct questions.
        answers: distinct answers; for a data set with classes, all of them.
        one_question: the question that nearly all turns ask; None if there is no such.
        short: whether the answers are short.
        closed: whether the answers are a small closed set, such as class names.
    """

    examples: int | None
    looked_at: int
    questions: int
    answers: int
    one_question: str | None
    short: bool
    closed: bool

    @property
    def narrow(self) -> bool:
        """Whether it is one question with few short answers: the case of task-specific overfitting (2603.14493)."""
        return self.one_question is not None and self.closed and self.short


def shape_of(turns: Sequence[Turn], examples: int | None, classes: Sequence[str] = ()) -> Shape:
    """Return the shape of some turns.

    Args:
        turns: at least one question and answer.
        examples: the number of all examples.
        classes: the data set's classes, if it has any; else the answers say whether they are a closed set.
    """
    questions = Counter(plain(turn.question) for turn in turns)
    answers = Counter(plain(turn.answer) for turn in turns)
    commonest, times = questions.most_common(1)[0]
    short = all(len(answer.split()) <= _SHORT for answer in answers)
    return Shape(
        examples=examples,
        looked_at=len(turns),
        questions=len(questions),
        answers=len(classes) or len(answers),
        one_question=commonest if times >= _MOSTLY * len(turns) else None,
        short=short,
        closed=bool(classes) or (short and _REPEATS * len(answers) <= len(turns)),
    )


def plain(text: str) -> str:
    """Return a text on one line, without the image's mark."""
    return " ".join(without_image_mark(text).split())
