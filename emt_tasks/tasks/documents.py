"""What every kind of task does with a document: its image, its prompt's parts, its sample.

A document is one row of a data set, as lmms-eval passes it to the hooks of a task.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from emt_tasks.datasets.catalog import Dataset
from emt_tasks.tasks.scoring import LabelScore, choose_likeliest, chosen_judge, closed_set, sample
from judges import Target, Verdict

if TYPE_CHECKING:
    from datasets import Dataset as Table
    from PIL import Image

Document = Mapping[str, Any]

LITE_SIZE = 2000


@dataclass(frozen=True)
class DatasetTask(ABC):
    """The hooks of a task on one data set; each kind of data set has its own."""

    dataset: Dataset

    def image(self, document: Document) -> list[Image.Image]:
        """Return the document's image, in RGB."""
        return [document[self.dataset.columns.image].convert("RGB")]

    def documents(self, table: Table) -> Table:
        """Return the documents: by default the rows as they are."""
        return table

    def documents_lite(self, table: Table) -> Table:
        """Keep at most 2,000 documents, stratified, the same ones on every machine.

        The column `row` has each document's row.
        """
        documents = self.documents(table)
        rows = stratified_sample(self.strata(documents), LITE_SIZE)
        kept = documents.select(rows)
        return kept if "row" in kept.column_names else kept.add_column("row", rows)

    def score(self, document: Document, results: Sequence[str], *, judge: str | None = None) -> dict[str, Any]:
        """Judge the model's answer; return what is logged of it."""
        target, chosen = self.judged_against(document), chosen_judge(judge)
        return sample(chosen.judge(results[0], target), target, judge=chosen) | self.origin(document)

    @abstractmethod
    def judged_against(self, document: Document) -> Target:
        """What the answer is judged against."""

    @abstractmethod
    def strata(self, documents: Table) -> list[str]:
        """Return one stratum per document, for the sample of the lite variant."""

    def origin(self, document: Document) -> dict[str, Any]:
        """Where a document comes from, as every sample logs it.

        `row` is its row in the data set's file, if that is not its number in the task. Samples with the same `cluster`
        are about one image, and so not independent of each other.
        """
        row = {"row": document["row"]} if "row" in document else {}
        cluster = self.dataset.columns.cluster
        return row | ({"cluster": str(document[cluster])} if cluster else {})


class ClosedTask(DatasetTask):
    """A task that can also be scored by the log-likelihood of each of its choices."""

    @abstractmethod
    def choices(self, document: Document) -> list[str]:
        """What the model may answer."""

    @abstractmethod
    def right_choices(self, document: Document) -> set[int]:
        """The indices of the right choices."""

    def score_closed(self, document: Document, results: Sequence[Any]) -> dict[str, Any]:
        """Score by which choice is likeliest."""
        verdict, told = self.likeliest(document, results)
        return sample(verdict, self.judged_against(document)) | told | self.origin(document)

    def likeliest(self, document: Document, results: Sequence[Any]) -> tuple[Verdict, dict[str, Any]]:
        """Return the verdict on the likeliest choice, and what else the choices' likelihoods tell."""
        asked = [LabelScore.read(result) for result in results], self.choices(document), self.right_choices(document)
        return choose_likeliest(*asked), {"closed_set": closed_set(*asked)}


def column(table: Table, name: str) -> list[Any]:
    """Return a column's values as stored."""
    return list(table.with_format(None)[name])


def stratified_sample(strata: Sequence[str], size: int) -> list[int]:
    """Choose `size` indices so that each stratum keeps its share of the whole; sorted.

    Shares are rounded by the largest remainder. Within a stratum the indices with the smallest hash are taken, so
    the choice depends only on the strata themselves.
    """
    if len(strata) <= size:
        return list(range(len(strata)))
    members: dict[str, list[int]] = defaultdict(list)
    for index, stratum in enumerate(strata):
        members[stratum].append(index)
    shares = {stratum: len(indices) * size / len(strata) for stratum, indices in members.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: (quotas[stratum] - shares[stratum], _hash(stratum)))
    for stratum in by_remainder[: size - sum(quotas.values())]:
        quotas[stratum] += 1
    chosen = (sorted(indices, key=_hash)[: quotas[stratum]] for stratum, indices in members.items())
    return sorted(index for indices in chosen for index in indices)


def random_order(name: str, documents: int) -> list[int]:
    """Return the numbers of a task's documents in an order that is random, and depends on the task's name alone."""
    return sorted(range(documents), key=lambda number: _hash(f"{name} {number}"))


def _hash(value: object) -> bytes:
    return hashlib.sha256(str(value).encode()).digest()
