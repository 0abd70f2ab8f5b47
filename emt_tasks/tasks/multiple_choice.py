"""Questions with lettered options, and their variant with a class-name distractor (arXiv 2603.14493, figure 3)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any

from emt_core.errors import UserError
from emt_tasks.tasks.documents import ClosedTask, Document, column
from emt_tasks.tasks.scoring import chosen_judge, sample
from judges import MultipleChoice, Verdict
from judges.judging import Judge
from judges.rerun.rows import class_name_chosen

if TYPE_CHECKING:
    from datasets import Dataset as Table


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A question's text in its parts; `text` joins them again."""

    stem: str
    choices: tuple[str, ...]
    tail: str

    @property
    def letters(self) -> str:
        """The options' letters."""
        return ascii_uppercase[: len(self.choices)]

    @property
    def text(self) -> str:
        """The question as the model reads it."""
        options = (f"{letter}. {choice}" for letter, choice in zip(self.letters, self.choices, strict=True))
        return "\n".join((self.stem, *options, *filter(None, [self.tail])))


def parse(text: str) -> ChoiceQuestion:
    """Split a question into its stem, its options, which begin with "A. ", "B. " … on separate lines, and the rest.

    What follows the last option's line is the closing instruction.

    Raises:
        UserError: there are fewer than two options.
    """
    stem, *options = _split_at_letters(text.rstrip())
    if len(options) < 2:
        raise UserError(f"expected a question with options A. and B. on separate lines, found {text[:80]!r}")
    last, _, tail = options[-1].partition("\n")
    return ChoiceQuestion(stem, (*options[:-1], last), tail)


class MultipleChoiceTask(ClosedTask):
    """ImageWikiQA (arXiv 2405.18415), and any similar data set.

    The distractor variant replaces one wrong option with the name of what the image shows.
    """

    def strata(self, documents: Table) -> list[str]:
        """The class of what the image shows, else the right letter."""
        columns = self.dataset.columns
        return [str(value) for value in column(documents, columns.class_name or columns.roles()["label"])]

    def choices(self, document: Document) -> list[str]:
        """The options' letters."""
        return list(self.question(document).letters)

    def right_choices(self, document: Document) -> set[int]:
        """The index of the right letter."""
        return {self.question(document).letters.index(self.target(document))}

    def target(self, document: Document) -> str:
        """The letter of the right option."""
        return str(document[self.dataset.columns.roles()["label"]])

    def question(self, document: Document) -> ChoiceQuestion:
        """The question in its parts."""
        return parse(document[self.dataset.columns.roles()["question"]])

    def judged_against(self, document: Document) -> MultipleChoice:
        """The right letter among the options."""
        return self._target(document, self.question(document))

    def with_distractor(self, document: Document) -> ChoiceQuestion:
        """Replace one wrong option with the name of the object in the image; everything else stays.

        The document alone decides which one is replaced. A question that already has the class name among its options
        is not changed.
        """
        question, name = self.question(document), self._class_name(document)
        if name.casefold() in (choice.strip().casefold() for choice in question.choices):
            return question
        wrong = [index for index, letter in enumerate(question.letters) if letter != self.target(document)]
        columns = self.dataset.columns.roles()
        image = document.get(columns.get("cluster", ""), "")
        digest = hashlib.sha256(f"{image}\n{document[columns['question']]}".encode()).digest()
        chosen = wrong[int.from_bytes(digest[:8], "big") % len(wrong)]
        choices = tuple(name if index == chosen else choice for index, choice in enumerate(question.choices))
        return replace(question, choices=choices)

    def text_distractor(self, document: Document) -> str:
        """The prompt of the variant with the distractor."""
        return self.with_distractor(document).text

    def score_distractor(
        self, document: Document, results: Sequence[str], *, judge: str | None = None
    ) -> dict[str, Any]:
        """Judge as `score`, and say whether the answer fell for the class name."""
        target = self._target(document, self.with_distractor(document))
        chosen = chosen_judge(judge)
        return self._distracted(document, chosen.judge(results[0], target), target, judge=chosen)

    def score_distractor_closed(self, document: Document, results: Sequence[Any]) -> dict[str, Any]:
        """Score as `score_closed`, and say whether the likeliest letter is the class name's."""
        target = self._target(document, self.with_distractor(document))
        verdict, told = self.likeliest(document, results)
        return self._distracted(document, verdict, target) | told

    def _class_name(self, document: Document) -> str:
        column = self.dataset.columns.class_name
        if column is None:
            raise UserError(f"data set {self.dataset.name!r}: a distractor needs a column for class_name")
        return str(document[column])

    def _target(self, document: Document, question: ChoiceQuestion) -> MultipleChoice:
        named = self.dataset.columns.class_name
        return MultipleChoice(
            self.target(document), question.choices, class_name=self._class_name(document) if named else None
        )

    def _distracted(
        self, document: Document, verdict: Verdict, target: MultipleChoice, *, judge: Judge | None = None
    ) -> dict[str, Any]:
        scored = sample(verdict, target, judge=judge) | self.origin(document)
        return scored | {"class_name_chosen": class_name_chosen(verdict, target)}


def _split_at_letters(text: str) -> list[str]:
    """Split a text at a line that begins with "A. ", then at a later one that begins with "B. ", and so on."""
    parts = []
    for letter in ascii_uppercase:
        before, found, after = text.partition(f"\n{letter}. ")
        if not found:
            break
        parts.append(before)
        text = after
    return [*parts, text]
