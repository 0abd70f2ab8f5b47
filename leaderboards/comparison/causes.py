"""Why samples were lost: format, mouth or eye, sample by sample, on the documents that both models were measured on.

| cause | what is true of the candidate |
|---|---|
| `format` | the right answer is still the likeliest of its closed set, but it is not what the model writes |
| `mouth` | it is not the likeliest any more, though the vision tower is the base's, or a probe of its output finds it |
| `eye` | a probe of the base's tower finds it, and one of the candidate's does not |
| `unclear` | none of these can be shown: the task has no closed set or no probe, or the base's probe fails too |

What a closed set or a probe hits is knowledge only where that is likelier than luck: see `known`.

Superficial forgetting (SEFE, arXiv 2505.02486) and instruction following (CoIN, arXiv 2403.08350) are names for the
first; task-specific overfitting (arXiv 2603.14493) is a reason for it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

from emt_core.errors import UserError
from emt_core.files import dump_row
from emt_core.frames import Tabular
from emt_core.measured import Measured, question_digest
from leaderboards.comparison.forgetting import Comparison, TaskComparison
from leaderboards.comparison.pairing import PairedTask, pair_task
from leaderboards.comparison.table import CauseRow, cause_rows
from leaderboards.comparison.texts import read_texts
from leaderboards.statistics import Interval, wilson_interval
from leaderboards.statistics.reliability import Reliability, reliability

Cause = Literal["format", "mouth", "eye", "unclear"]
CAUSES: tuple[Cause, ...] = ("format", "mouth", "eye", "unclear")

_Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Flow:
    """How many lost documents went from one answer of the base to one of the candidate."""

    base: str
    candidate: str
    documents: int


@dataclass(frozen=True, slots=True)
class Causes(Tabular):
    """Why one task's samples were lost; a table of the causes.

    Attributes:
        task: its name.
        n: documents that both models answered and were measured on; `lost` and `gained` of them changed, `never` were
            wrong before and after.
        of: each lost document's cause.
        shares: of each cause among the lost documents, in percent; Wilson's intervals.
        closed_by: by what the closed set is scored: `label`, `letter` or `text`; None if the task has no closed set.
        guessed: percent of the lost documents that a guess among the choices would regain.
        base_closed: percent of the lost documents on which the base's own closed set was right.
        same_tower: whether both models have the same vision tower.
        probed: whether there are probes of both models that have learned from the same documents.
        reaches: of the documents lost at the mouth of which a probe of the base's projector reads the right class, the
            percentage of which one of the candidate's does too; None where there are none.
        flows: which answer became which, most frequent first.
        calibration: of the closed sets of base and candidate, over all documents.
    """

    task: str
    n: int
    lost: int
    gained: int
    never: int
    of: Mapping[int, Cause]
    shares: Mapping[Cause, Interval]
    closed_by: str | None
    guessed: float | None
    base_closed: Interval | None
    same_tower: bool
    probed: bool
    reaches: Interval | None
    flows: tuple[Flow, ...]
    calibration: tuple[Reliability | None, Reliability | None]

    @property
    def row_type(self) -> type[CauseRow]:
        """What the table's rows are."""
        return CauseRow

    def table(self) -> list[CauseRow]:
        """Return a row for each cause."""
        return cause_rows(self)

    @property
    def recoverable(self) -> Interval | None:
        """Recoverable forgetting: the percentage of the lost documents that the closed set regains."""
        return self.shares["format"] if self.closed_by else None

    def points(self, cause: Cause) -> float:
        """How many of the task's percentage points were lost by this cause."""
        return 100 * sum(found == cause for found in self.of.values()) / self.n if self.n else 0.0


def find_causes(comparison: Comparison, base: Measured, candidate: Measured) -> tuple[Causes, ...]:
    """Return why samples were lost in each compared task that both models were measured on.

    Raises:
        UserError: what was measured is about other documents than the runs.
    """
    found = []
    for task in comparison.tasks:
        if task.task in base.tasks and task.task in candidate.tasks:
            paired = pair_task(
                task.task, comparison.base, comparison.candidate, metric=task.metric, allow=comparison.allowed
            )
            found.append(_find(task, paired, base, candidate))
    return tuple(found)


def _find(task: TaskComparison, paired: PairedTask, base: Measured, candidate: Measured) -> Causes:
    before: Mapping[int, _Row] = base.rows(task.task)
    after: Mapping[int, _Row] = candidate.rows(task.task)
    both = paired.frame.filter(pl.col("doc_id").is_in(sorted(before.keys() & after.keys())))
    lost = both.filter(pl.col("base_score") > pl.col("candidate_score"))
    documents = lost["doc_id"].to_list()
    some = sorted({*documents, *both["doc_id"].head(_CHECKED).to_list()})
    for side, rows in ((base, before), (candidate, after)):
        _refuse_other_documents(paired, side, {doc: rows[doc] for doc in some})
    learned = [side.tasks[task.task]["probe"] for side in (base, candidate)]
    probed = learned[0] is not None and learned[0] == learned[1]
    if not probed:
        before, after = _without_probes(before), _without_probes(after)
    closed_by = _closed_by(before)
    same_tower = base.tower == candidate.tower
    choices = base.tasks[task.task]["closed_sets"].get(closed_by)
    finds = _Findings(before, after, closed_by, choices)
    of = {doc: _cause(doc, finds, same_tower) for doc in documents}
    counts = Counter(of.values())
    return Causes(
        task=task.task,
        n=both.height,
        lost=lost.height,
        gained=both.filter(pl.col("base_score") < pl.col("candidate_score")).height,
        never=both.filter((pl.col("base_score") < 1) & (pl.col("candidate_score") < 1)).height,
        of=of,
        shares={cause: wilson_interval(counts[cause], len(of)).scaled(100) for cause in CAUSES},
        closed_by=closed_by,
        guessed=100 / choices if choices else None,
        base_closed=_share([_right(before[doc], closed_by) for doc in documents]) if closed_by else None,
        same_tower=same_tower,
        probed=probed,
        reaches=_reaches([doc for doc, cause in of.items() if cause == "mouth"], finds),
        flows=_flows(lost),
        calibration=(_calibration(before, closed_by), _calibration(after, closed_by)),
    )


def lost_rows(causes: Iterable[Causes]) -> str:
    """Return JSON lines: each lost document's task, `doc_id` and cause."""
    rows = (
        {"task": found.task, "doc_id": document, "cause": cause}
        for found in causes
        for document, cause in sorted(found.of.items())
    )
    return b"".join(map(dump_row, rows)).decode("utf-8")


_CHECKED = 200
"""Documents, beside those that were lost, of which the questions are compared."""


def _refuse_other_documents(paired: PairedTask, measured: Measured, rows: Mapping[int, _Row]) -> None:
    """Refuse rows about other questions than the run's: of data in another order, or another version of it.

    Raises:
        UserError: there is one.
    """
    for doc, text in read_texts(paired.base, [doc for doc, row in rows.items() if "asked" in row]).items():
        if question_digest(text["input"] or "", text["target"] or "") != rows[doc]["asked"]:
            raise UserError(
                f"task {paired.task}: document {doc} in {measured.folder} is another question than in the run: "
                "evaluate and measure on the same data"
            )


def _without_probes(rows: Mapping[int, _Row]) -> dict[int, _Row]:
    return {doc: {name: value for name, value in row.items() if name != "probes"} for doc, row in rows.items()}


class _Findings:
    """The documents of which closed sets and probes know the right answer, of both models."""

    def __init__(
        self,
        before: Mapping[int, _Row],
        after: Mapping[int, _Row],
        closed_by: str | None,
        choices: float | None,
    ) -> None:
        self.has_closed_set = closed_by is not None
        self.likeliest = frozenset[int]()
        if closed_by is not None:
            sets = {doc: row["closed_sets"][closed_by] for doc, row in after.items()}
            named = {doc: (one["top"][0][0], one["right"], one["rank"] == 1) for doc, one in sets.items()}
            self.likeliest = known(named, 1 / choices if choices else 0.0)
        self.base, self.candidate = (
            {place: known(_read(rows, place)) for place in ("tower", "projector")} for rows in (before, after)
        )


def _read(rows: Mapping[int, _Row], place: str) -> dict[int, tuple[str, str, bool]]:
    """Return what a place's probe names of each document, what is right, and whether they agree."""
    known = {doc: row for doc, row in rows.items() if place in row.get("probes", {})}
    return {
        doc: (row["probes"][place], row["shows"], row["probes"][place] == row["shows"]) for doc, row in known.items()
    }


def known(named: Mapping[int, tuple[str, str, bool]], by_guess: float = 0.0) -> frozenset[int]:
    """Return the documents whose right answer is named, by knowledge rather than by luck.

    Suppose that an answer is given either because it is known or by a guess, which is right as often as that answer is
    right in all (b, at least `by_guess`). Of the times that it is given, p are right; then luck's share of these is
    (1 − p)·b / ((1 − b)·p), and knowledge is likelier where p > 2b / (1 + b), which the lower end of p's 95 % interval
    has to show. A model that always answers the same has p = b: what it hits is luck.
    """
    rights = Counter(right for _, right, _ in named.values())
    given = Counter(name for name, _, _ in named.values())
    hits = Counter(name for name, _, hit in named.values() if hit)

    def luck(name: str) -> float:
        return max(rights[name] / len(named), by_guess)

    trusted = {
        name
        for name, times in given.items()
        if (wilson_interval(hits[name], times).lower or 0.0) > 2 * luck(name) / (1 + luck(name))
    }
    return frozenset(doc for doc, (name, _, hit) in named.items() if hit and name in trusted)


def _cause(document: int, finds: _Findings, same_tower: bool) -> Cause:
    if not finds.has_closed_set:
        return "unclear"
    if document in finds.likeliest:
        return "format"
    if same_tower:
        return "mouth"
    if document not in finds.base["tower"]:
        return "unclear"
    return "mouth" if document in finds.candidate["tower"] else "eye"


def _closed_by(rows: Mapping[int, _Row]) -> str | None:
    """Return the kind of closed set by which the base is right most often: as it answers, by letter or by text."""
    right = Counter({kind: 0 for row in rows.values() for kind in row.get("closed_sets", {})})
    for row in rows.values():
        right.update(kind for kind in row.get("closed_sets", {}) if _right(row, kind))
    return max(right, key=lambda kind: right[kind]) if right else None


def _right(row: _Row, closed_by: str | None) -> bool:
    return closed_by is not None and bool(row["closed_sets"][closed_by]["rank"] == 1)


def _reaches(mouth: list[int], finds: _Findings) -> Interval | None:
    reached = [document for document in mouth if document in finds.base["projector"]]
    return _share([document in finds.candidate["projector"] for document in reached]) if reached else None


def _share(found: list[bool]) -> Interval:
    return wilson_interval(sum(found), len(found)).scaled(100)


def _flows(lost: pl.DataFrame) -> tuple[Flow, ...]:
    counts = lost.drop_nulls(["base_answer", "candidate_answer"]).group_by("base_answer", "candidate_answer").len()
    ordered = counts.sort("len", "base_answer", "candidate_answer", descending=[True, False, False])
    return tuple(Flow(*row) for row in ordered.iter_rows())


def _calibration(rows: Mapping[int, _Row], closed_by: str | None) -> Reliability | None:
    if closed_by is None:
        return None
    probabilities = [row["closed_sets"][closed_by]["top"][0][1] for row in rows.values()]
    return reliability(probabilities, [_right(row, closed_by) for row in rows.values()])
