"""Put a labelled audit into a comparison: the drop of its tasks then rests on the labels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from emt_core.errors import UserError, listed
from leaderboards.audit.drawing import stratify
from leaderboards.audit.rows import KINDS, PEOPLE, AuditRow, Kind
from leaderboards.comparison.forgetting import Comparison, GroupComparison, TaskComparison, average
from leaderboards.comparison.pairing import pair_task
from leaderboards.comparison.texts import read_texts
from leaderboards.statistics import MeanOfSamples
from leaderboards.statistics.audit import AuditedSample, Stratum


@dataclass(frozen=True, slots=True)
class AuditedMean(MeanOfSamples):
    """The mean over tasks of which some are audited."""

    @property
    def method(self) -> str:
        """The name of the mean drop's interval."""
        audited = sum(isinstance(part, AuditedSample) for part in self.parts)
        if len(self.parts) == 1:
            return self.parts[0].method
        return f"{audited} of {len(self.parts)} tasks audited, MOVER of the tasks' intervals"


def apply(comparison: Comparison, rows: Sequence[AuditRow], path: Path) -> Comparison:
    """Return the comparison with the audited tasks' samples, and those of their groups and quadrants, replaced.

    Args:
        comparison: of the two runs that the audit was drawn from.
        rows: the labelled audit.
        path: its file, for messages.

    Raises:
        UserError: the audit is of other runs, or a row has no labels.
    """
    by_task = defaultdict(list)
    for row in rows:
        by_task[row.task].append(row)
    compared = {task.task for task in comparison.tasks}
    if not by_task.keys() & compared:
        raise UserError(f"--audit {path}: it has {listed(by_task)}, and none of these was compared")
    tasks = tuple(
        _audit_task(comparison, task, by_task[task.task], path) if task.task in by_task else task
        for task in comparison.tasks
    )
    samples = {task.task: task for task in tasks}
    groups, quadrants = (
        tuple(_audit_group(group, samples) for group in found) for found in (comparison.groups, comparison.quadrants)
    )
    return replace(comparison, tasks=tasks, groups=groups, quadrants=quadrants)


def _audit_task(comparison: Comparison, task: TaskComparison, rows: list[AuditRow], path: Path) -> TaskComparison:
    if task.sample is None:
        return task
    where = f"--audit {path}: task {task.task}"
    sizes = _check_drawn_from(comparison, task, rows, where)
    open_rows = [row for row in rows if row.labels is None]
    if open_rows:
        raise UserError(
            f"{where}: {len(open_rows)} of {len(rows)} pairs have no labels, first doc_id {open_rows[0].doc_id}; "
            f"label them with emt audit label {path}"
        )
    strata = tuple(_stratum([row for row in rows if row.stratum == kind], sizes[kind]) for kind in KINDS)
    auditors = {row.labels[2] for row in rows if row.labels}
    auditor = " and ".join(sorted(auditors, key=lambda name: (name != PEOPLE, name)))
    sample = AuditedSample.of(task.sample, strata, auditor)
    more = task.extremes[0].n - task.n if task.extremes else 0
    extremes = (sample.with_more(more, 0), sample.with_more(0, more)) if more else None
    return replace(task, sample=sample, extremes=extremes)


def _check_drawn_from(
    comparison: Comparison, task: TaskComparison, rows: list[AuditRow], where: str
) -> dict[Kind, int]:
    """Refuse an audit of other runs, of these before they were judged again, or with lines taken out.

    Returns the size of each stratum.
    """
    paired = pair_task(task.task, comparison.base, comparison.candidate, metric=task.metric, allow=comparison.allowed)
    strata = stratify(paired)
    sizes = {kind: list(strata.values()).count(kind) for kind in KINDS}
    again = "; draw it again with emt audit sample"
    for kind in KINDS:
        found = [row for row in rows if row.stratum == kind]
        expected = sizes[kind] if kind == "differ" else found[0].drawn if found else min(sizes[kind], 1)
        if len(found) != expected:
            raise UserError(f"{where}: {len(found)} pairs of stratum {kind!r}, expected {expected}{again}")
    documents = {row.doc_id: row for row in rows}
    base, candidate = (read_texts(side, documents) for side in (paired.base, paired.candidate))
    for doc, row in documents.items():
        if strata.get(doc) != row.stratum or row.population != sizes[row.stratum]:
            raise UserError(f"{where}: doc_id {doc} was drawn from other verdicts or answers{again}")
        answers = (row.first, row.second) if row.base_first else (row.second, row.first)
        if answers != (base[doc]["answer"], candidate[doc]["answer"]):
            raise UserError(f"{where}: the answers to doc_id {doc} are not those of these two runs{again}")
    return sizes


def _stratum(rows: Sequence[AuditRow], population: int) -> Stratum:
    pairs = [row.labels[:2] for row in rows if row.labels]
    return Stratum(population, len(rows), pairs.count((True, False)), pairs.count((False, True)))


def _audit_group(group: GroupComparison, tasks: dict[str, TaskComparison]) -> GroupComparison:
    parts = [task for name in group.tasks if (task := tasks[name]).sample]
    if not any(isinstance(task.sample, AuditedSample) for task in parts):
        return group
    return replace(average(group.name, parts, AuditedMean), scores=group.scores)
