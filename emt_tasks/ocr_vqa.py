"""OCR-VQA: questions about book covers, one document a question."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from emt_tasks.documents import LITE_SIZE, Document, strata, stratified_sample
from emt_tasks.scoring import score_answer
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
    return score_answer(results[0], target, judge=judge) | {"cluster": document["image_id"]}


def _flatten(books: Dataset, keep: int | None) -> Dataset:
    from datasets import Dataset

    columns = books.with_format(None).select_columns(["questions", "answers"])
    rows = [
        {"book": book, "question": question, "answer": answer}
        for book, row in enumerate(columns)
        for question, answer in zip(row["questions"], row["answers"], strict=True)
    ]
    flat = Dataset.from_list(rows)
    if keep is not None:
        flat = flat.select(stratified_sample(strata(flat), keep))
    documents = books.select(flat["book"]).remove_columns(["questions", "answers"])
    return documents.add_column("question", flat["question"]).add_column("answer", flat["answer"])
