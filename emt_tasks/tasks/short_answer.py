"""Questions with a short answer, one document per question: OCR-VQA's about book covers, and similar ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from emt_tasks.tasks.documents import LITE_SIZE, DatasetTask, Document, column, stratified_sample
from judges import ShortAnswer

if TYPE_CHECKING:
    from datasets import Dataset as Table


class ShortAnswerTask(DatasetTask):
    """A data set of questions; rows with lists of questions and answers become one document per question."""

    def documents(self, table: Table) -> Table:
        """Return one document per question; images are not decoded.

        If rows have lists, the columns `question` and `answer` replace them, and `row` has each one's row.
        """
        return self._flat(table, None)

    def documents_lite(self, table: Table) -> Table:
        """Keep at most 2,000 questions, each kind of question in its share."""
        return self._flat(table, LITE_SIZE)

    def strata(self, documents: Table) -> list[str]:
        """The question's first two words."""
        asked, _ = self._columns
        return [_kind(question) for question in column(documents, asked)]

    def _flat(self, table: Table, size: int | None) -> Table:
        asked, answered = self._columns
        questions, answers = column(table, asked), column(table, answered)
        if not questions or not isinstance(questions[0], list):
            return table if size is None else super().documents_lite(table)
        flat = [
            (row, question, answer)
            for row, pairs in enumerate(zip(questions, answers, strict=True))
            for question, answer in zip(*pairs, strict=True)
        ]
        # Before the images are touched: each is copied once per question.
        if size is not None:
            flat = [flat[place] for place in stratified_sample([_kind(question) for _, question, _ in flat], size)]
        documents = table.select([row for row, _, _ in flat]).remove_columns([asked, answered])
        for name, values in zip(("row", "question", "answer"), zip(*flat, strict=True), strict=True):
            documents = documents.add_column(name, list(values))
        return documents

    def target(self, document: Document) -> str:
        """The right answer."""
        _, answered = self._columns
        return str(document[answered] if answered in document else document["answer"])

    def judged_against(self, document: Document) -> ShortAnswer:
        """The right answer."""
        return ShortAnswer(self.target(document))

    @property
    def _columns(self) -> tuple[str, str]:
        roles = self.dataset.columns.roles()
        return roles["question"], roles["answer"]


def _kind(question: Any) -> str:
    return " ".join(str(question).lower().split()[:2])
