"""Write the site: one page, and a report for each run if a base is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.runs import Run, read_run
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.summary import summarise
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import Candidate
from leaderboards.report.page import compare_all, write_report
from leaderboards.report.rendering import render
from leaderboards.site.rows import Column, Link, quadrant_column, task_column
from leaderboards.site.table import OwnRun, make_table
from leaderboards.statistics import Interval

_TEMPLATES = Path(__file__).parent / "templates"


def build_site(
    runs: Sequence[Candidate],
    out: Path,
    *,
    base: Candidate | None = None,
    encoder: Candidate | None = None,
    policy: Policy | None = None,
    matrix: Mapping[str, tuple[str, ...]] | None = None,
    metrics: Mapping[str, str] | None = None,
    finetuned_on: str | None = None,
    published: bool = True,
    reports: bool = True,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _task: None,
) -> list[Path]:
    """Write `index.html` and, with a `base`, `reports/RUN.html` for each run against it; returns the files.

    With an `encoder`, the run of the vision encoder that all are built on, every accuracy has its gap to it.
    `published` says whether to show the papers' results beside the runs, `reports` whether to write reports. The rest
    is as in `forgetting.compare`.

    Raises:
        UserError: a run cannot be read or compared, or a file exists and `overwrite` is off.
    """
    index = out / "index.html"
    if index.exists() and not overwrite:
        raise UserError(f"{index} already exists: choose another folder or add --overwrite")
    reference = read_run(encoder.path) if encoder else None
    read = _reader(reference, matrix, metrics, progress)
    shown = [read(run) for run in ([base] if base else []) + list(runs)]
    compared = [
        compare_all(
            base,
            [run],
            policy=policy or Policy(),
            encoder=reference,
            matrix=matrix,
            metrics=metrics,
            finetuned_on=finetuned_on,
            progress=progress,
        )
        for run in runs
        if base is not None and reports
    ]
    links: dict[str, Link] = {}
    written = []
    for number, (run, results) in enumerate(zip(runs, compared, strict=False), 1):
        assert base is not None
        target = out / "reports" / f"{number:02}-{re.sub(r'[^A-Za-z0-9._-]+', '-', run.label)}.html"
        write_report(base, [run], results, target, finetuned_on=finetuned_on, overwrite=overwrite)
        links[run.label] = Link(target.relative_to(out).as_posix(), results[0].outcome)
        written.append(target)
    shown = [replace(run, link=links.get(run.label)) for run in shown]
    if encoder:
        shown.insert(0, replace(_reader(None, matrix, metrics, progress)(encoder), encoder=True))
    table = make_table(shown, published=published)
    write_text(index, render("index.html", {"table": table}, templates=_TEMPLATES), overwrite=overwrite)
    return [index, *written]


def _reader(
    encoder: Run | None,
    matrix: Mapping[str, tuple[str, ...]] | None,
    metrics: Mapping[str, str] | None,
    progress: Callable[[str], None],
) -> Callable[[Candidate], OwnRun]:
    """Return what reads a run for the table, with its gaps to the encoder if there is one."""

    def read(candidate: Candidate) -> OwnRun:
        run = read_run(candidate.path)
        known = {task: metric for task, metric in (metrics or {}).items() if task in run.tasks}
        summary = summarise(
            run, matrix=matrix, metrics=known, progress=lambda task: progress(f"{candidate.label}: {task}")
        )
        gaps = None if encoder is None else _gaps(run, encoder, matrix, known)
        return OwnRun(candidate.label, summary, gaps=gaps)

    return read


def _gaps(
    run: Run, encoder: Run, matrix: Mapping[str, tuple[str, ...]] | None, metrics: Mapping[str, str]
) -> dict[Column, Interval | None]:
    """Return the encoder's accuracy minus the run's, over the documents that both scored, in percentage points."""
    # The report's own comparison has the gap; with the run as its own base, no document of another run is asked for.
    found = compare(run, run, encoder=encoder, matrix=matrix, metrics=metrics)
    gaps = {task_column(task.task): task.scores.encoder_gap if task.scores else None for task in found.tasks}
    return gaps | {quadrant_column(group.name): group.scores.encoder_gap for group in found.quadrants}
