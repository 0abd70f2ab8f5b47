"""OCR-VQA: questions about book covers, one document a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emt_tasks.tasks.documents import LITE_SIZE, Document, origin, strata, stratified_sample
from emt_tasks.tasks.scoring import judge_answer, sample
from judges import ShortAnswer

if TYPE_CHECKING:
    from datasets import Dataset


def questions(books: Dataset) -> Dataset:
    """Turn rows that hold lists of questions and answers into one row a question; images are not decoded."""
    return _flatten(books, keep=None)


def questions_lite(books: Dataset) -> Dataset:
    """Keep at most 2,000 questions of all, each kind of question in its share."""
    return _flatten(books, keep=LITE_SIZE)


def score(document: Document, results: Sequence[str], *, judge: str | None = None) -> dict[str, Any]:
    """Judge a short answer."""
    target = ShortAnswer(document["answer"])
    return sample(judge_answer(results[0], target, judge), target) | origin(document, "image_id")


def _flatten(books: Dataset, keep: int | None) -> Dataset:
    from datasets import Dataset

    columns = books.with_format(None).select_columns(["questions", "answers"])
    rows = [
        {"row": book, "question": question, "answer": answer}
        for book, row in enumerate(columns)
        for question, answer in zip(row["questions"], row["answers"], strict=True)
    ]
    flat = Dataset.from_list(rows)
    if keep is not None:
        flat = flat.select(stratified_sample(strata(flat), keep))
    documents = books.select(flat["row"]).remove_columns(["questions", "answers"])
    for column in ("row", "question", "answer"):
        documents = documents.add_column(column, flat[column])
    return documents
