"""Image classification as lmms-eval sees it: target, choices and scores of a data set with a vocabulary."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.labels import class_indices
from emt_tasks.tasks.documents import ClosedTask, Document, column
from judges import Classification, Vocabulary

if TYPE_CHECKING:
    from datasets import Dataset as Table


class ClassificationTask(ClosedTask):
    """EMT's data sets (§4), and ImageNet-VQA and Flowers102 of arXiv 2603.14493."""

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """The labels, in the data set's own order."""
        return vocabularies.of(self.dataset)

    def documents(self, table: Table) -> Table:
        """Number the labels as the vocabulary does, by the class names that the data set gives.

        The column `row` has each document's row.

        Raises:
            UserError: a label that is not a class of the vocabulary.
        """
        where = f"{self.dataset.name}: {self._label}"
        indices = class_indices(column(table, self._label), table.features[self._label], self.vocabulary, where)
        numbered = table.remove_columns([self._label]).add_column(self._label, indices)
        return numbered if "row" in table.column_names else numbered.add_column("row", list(range(len(indices))))

    def strata(self, documents: Table) -> list[str]:
        """The classes."""
        return [str(label) for label in column(documents, self._label)]

    def target(self, document: Document) -> str:
        """The name of the right class."""
        return self.vocabulary.labels[document[self._label]].name

    def choices(self, _document: Document) -> list[str]:
        """All label names."""
        return self.vocabulary.names

    def right_choices(self, document: Document) -> set[int]:
        """A name shared by two classes is right for both."""
        return {label.index for label in self.vocabulary.named(self.target(document))}

    def judged_against(self, document: Document) -> Classification:
        """The class, in its vocabulary."""
        return Classification(label=document[self._label], vocabulary=self.vocabulary)

    @cached_property
    def _label(self) -> str:
        return self.dataset.columns.roles()["label"]
