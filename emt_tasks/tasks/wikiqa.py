"""ImageWikiQA (arXiv 2405.18415), and its variant with a class-name distractor (arXiv 2603.14493, figure 3)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from emt_core.errors import UserError
from emt_tasks.tasks.documents import Document, origin
from emt_tasks.tasks.scoring import choose_likeliest, judge_answer, sample
from judges import MultipleChoice, Verdict
from judges.rerun.rows import class_name_chosen

LETTERS = "ABCD"
_QUESTION = re.compile(r"(?P<stem>.*?)\nA\. (.*?)\nB\. (.*?)\nC\. (.*?)\nD\. (.*?)\n(?P<tail>Choose [^\n]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Question:
    """A question's text in its parts; `text` puts them together again."""

    stem: str
    choices: tuple[str, ...]
    tail: str

    @property
    def text(self) -> str:
        """The question as the model reads it."""
        options = (f"{letter}. {choice}" for letter, choice in zip(LETTERS, self.choices, strict=True))
        return "\n".join((self.stem, *options, self.tail))


def parse(text: str) -> Question:
    """Split a question into its stem, its four options and the closing instruction."""
    found = _QUESTION.fullmatch(text.rstrip())
    if not found:
        raise UserError(f"imagewikiqa: expected a question with options A. to D., found {text[:80]!r}")
    return Question(found["stem"], found.groups()[1:5], found["tail"])


def with_distractor(document: Document) -> Question:
    """Replace one wrong option by the name of the object in the image; everything else stays as it is.

    Which one is replaced follows from the document alone. A question that already offers the class name among its
    options stays untouched.
    """
    question, name = parse(document["text"]), document["classname"]
    if name.casefold() in (choice.strip().casefold() for choice in question.choices):
        return question
    wrong = [index for index, letter in enumerate(LETTERS) if letter != document["label"]]
    digest = hashlib.sha256(f"{document['image_path']}\n{document['text']}".encode()).digest()
    chosen = wrong[int.from_bytes(digest[:8], "big") % len(wrong)]
    choices = tuple(name if index == chosen else choice for index, choice in enumerate(question.choices))
    return replace(question, choices=choices)


def distractor_text(document: Document) -> str:
    """The prompt of `imagewikiqa_distractor`."""
    return with_distractor(document).text


def score(document: Document, results: Sequence[str], *, judge: str | None = None) -> dict[str, Any]:
    """Judge which option the answer commits to."""
    target = _target(document, parse(document["text"]))
    return _sample(document, judge_answer(results[0], target, judge), target)


def score_distractor(document: Document, results: Sequence[str], *, judge: str | None = None) -> dict[str, Any]:
    """Judge as `score`, and say whether the answer fell for the class name."""
    target = _target(document, with_distractor(document))
    verdict = judge_answer(results[0], target, judge)
    return _sample(document, verdict, target) | {"class_name_chosen": class_name_chosen(verdict, target)}


def letters(_document: Document) -> list[str]:
    """The options' letters, for scoring by log-likelihood."""
    return list(LETTERS)


def score_closed(document: Document, results: Sequence[Any]) -> dict[str, Any]:
    """Score by which letter is likeliest."""
    target = _target(document, parse(document["text"]))
    return _sample(document, _likeliest(results, target), target)


def score_distractor_closed(document: Document, results: Sequence[Any]) -> dict[str, Any]:
    """Score as `score_closed`, and say whether the likeliest letter is the class name's."""
    target = _target(document, with_distractor(document))
    verdict = _likeliest(results, target)
    return _sample(document, verdict, target) | {"class_name_chosen": class_name_chosen(verdict, target)}


def _likeliest(results: Sequence[Any], target: MultipleChoice) -> Verdict:
    return choose_likeliest(results, LETTERS, {LETTERS.index(target.label)})


def _target(document: Document, question: Question) -> MultipleChoice:
    return MultipleChoice(document["label"], question.choices, class_name=document["classname"])


def _sample(document: Document, verdict: Verdict, target: MultipleChoice) -> dict[str, Any]:
    return sample(verdict, target) | origin(document, "image_path")
