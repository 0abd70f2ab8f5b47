"""Compare, decide, and write the report."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.runs import Run, read_run
from leaderboards.audit.rows import read_audit
from leaderboards.audit.using import apply
from leaderboards.comparison.causes import Causes
from leaderboards.comparison.forgetting import Comparison, TaskComparison, compare
from leaderboards.comparison.leakage import find_leaked
from leaderboards.comparison.pairing import pair_task
from leaderboards.comparison.training import read_training
from leaderboards.gate.decide import GateResult, decide
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import Candidate
from leaderboards.report.flips import Flip, read_flips
from leaderboards.report.rendering import render
from leaderboards.report.view import make_view

FLIPS = 200
"""Flipped samples of a task that a report with one candidate shows."""


def compare_all(
    base: Candidate,
    candidates: Sequence[Candidate],
    *,
    policy: Policy,
    encoder: Run | None = None,
    tasks: Iterable[str] | None = None,
    matrix: Mapping[str, tuple[str, ...]] | None = None,
    metrics: Mapping[str, str] | None = None,
    finetuned_on: str | None = None,
    allow: Collection[str] = (),
    audit: Path | None = None,
    progress: Callable[[str], None] = lambda _task: None,
) -> list[GateResult]:
    """Put each candidate through the gate against the base; arguments as in `forgetting.compare`.

    `audit` is a labelled file of the one candidate.

    Raises:
        UserError: the runs cannot be compared, or there is an audit and more than one candidate.
    """
    if audit is not None and len(candidates) > 1:
        raise UserError(f"--audit {audit}: it is of one pair of runs; give one candidate")
    chosen = None if tasks is None else list(tasks)
    reference = read_run(base.path)
    results = []
    for candidate in candidates:
        comparison = compare(
            reference,
            read_run(candidate.path),
            encoder=encoder,
            tasks=chosen,
            matrix=matrix,
            metrics=metrics,
            finetuned_on=finetuned_on,
            allow=allow,
            progress=lambda task, label=candidate.label: progress(f"{label}: {task}"),  # type: ignore[misc]
        )
        if audit is not None:
            comparison = apply(comparison, read_audit(audit), audit)
        results.append(decide(comparison, policy, tasks=chosen))
    return results


def write_report(
    base: Candidate,
    candidates: Sequence[Candidate],
    results: Sequence[GateResult],
    out: Path,
    *,
    finetuned_on: str | None = None,
    flips: int | None = None,
    causes: Sequence[Sequence[Causes]] = (),
    overwrite: bool = False,
) -> None:
    """Write the report over candidates and their gate results to one HTML file.

    `flips` is the number of flipped samples shown per task and candidate; by default all candidates together show 200
    per task, and each candidate at least 20. `causes` are each candidate's, where its losses were diagnosed.

    Raises:
        UserError: the file exists and `overwrite` is off, or it cannot be written.
    """
    most = max(20, FLIPS // len(candidates)) if flips is None else flips

    def read(comparison: Comparison, task: TaskComparison) -> list[Flip]:
        paired = pair_task(
            task.task, comparison.base, comparison.candidate, metric=task.metric, allow=comparison.allowed
        )
        return read_flips(paired, most, find_leaked(paired, comparison.finetuned_on))

    trainings = [read_training(result.comparison.candidate) for result in results]
    context = make_view(base, candidates, results, read, finetuned_on=finetuned_on, causes=causes, trainings=trainings)
    write_text(out, render("report.html", context), overwrite=overwrite)
