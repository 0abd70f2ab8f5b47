"""Image classification as lmms-eval sees it: target, choices and scores of a data set with a vocabulary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.labels import class_indices
from emt_tasks.tasks.documents import Document, lite, origin
from emt_tasks.tasks.scoring import choose_likeliest, judge_answer, sample
from judges import Classification, Vocabulary

if TYPE_CHECKING:
    from datasets import Dataset


@dataclass(frozen=True)
class ClassificationTask:
    """The hooks of a classification task (EMT §4; ImageNet-VQA and Flowers102 of arXiv 2603.14493)."""

    vocabulary_name: str
    label_column: str = "label"

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The labels, in the data set's own order."""
        return vocabularies.load(self.vocabulary_name)

    def documents(self, dataset: Dataset) -> Dataset:
        """Number the labels as the vocabulary does, by the names of classes that the data set gives.

        The column `row` keeps where each document stands.

        Raises:
            UserError: a label that is no class of the vocabulary.
        """
        column = self.label_column
        values = list(dataset.with_format(None)[column])
        where = f"{self.vocabulary_name}: {column}"
        indices = class_indices(values, dataset.features[column], self.vocabulary, where)
        numbered = dataset.remove_columns([column]).add_column(column, indices)
        return numbered if "row" in dataset.column_names else numbered.add_column("row", list(range(len(indices))))

    def documents_lite(self, dataset: Dataset) -> Dataset:
        """Keep at most 2,000 documents, every class in its share; their labels as `documents` numbers them."""
        return lite(self.documents(dataset))

    def target(self, document: Document) -> str:
        """The name of the right class."""
        return self.vocabulary.labels[document[self.label_column]].name

    def choices(self, _document: Document) -> list[str]:
        """All label names, for scoring by log-likelihood."""
        return self.vocabulary.names

    def score(self, document: Document, results: Sequence[str], *, judge: str | None = None) -> dict[str, Any]:
        """Judge the model's answer."""
        target = self._judge_target(document)
        return sample(judge_answer(results[0], target, judge), target) | origin(document)

    def score_closed(self, document: Document, results: Sequence[Any]) -> dict[str, Any]:
        """Score by which label is likeliest. A name that two classes share is right for both."""
        names = self.vocabulary.names
        right = {label.index for label in self.vocabulary.named(self.target(document))}
        return sample(choose_likeliest(results, names, right), self._judge_target(document)) | origin(document)

    def _judge_target(self, document: Document) -> Classification:
        return Classification(label=document[self.label_column], vocabulary=self.vocabulary)
