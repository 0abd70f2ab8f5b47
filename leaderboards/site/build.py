"""Write the site: one page, and a report for each run if a base is given."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.runs import read_run
from leaderboards.comparison.summary import RunSummary, summarise
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import Candidate
from leaderboards.report.page import compare_all, write_report
from leaderboards.report.rendering import render
from leaderboards.site.table import Link, make_table

_TEMPLATES = Path(__file__).parent / "templates"


def build_site(
    runs: Sequence[Candidate],
    out: Path,
    *,
    base: Candidate | None = None,
    policy: Policy | None = None,
    matrix: Mapping[str, tuple[str, ...]] | None = None,
    metrics: Mapping[str, str] | None = None,
    finetuned_on: str | None = None,
    published: bool = True,
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _task: None,
) -> list[Path]:
    """Write `index.html` and, with a `base`, `reports/RUN.html` for each run against it; returns the files.

    `published` says whether to show the papers' results beside the runs. The rest is as in `forgetting.compare`.

    Raises:
        UserError: a run cannot be read or compared, or a file exists and `overwrite` is off.
    """
    index = out / "index.html"
    if index.exists() and not overwrite:
        raise UserError(f"{index} already exists: choose another folder or add --overwrite")
    summaries = [_summarise(run, matrix, metrics, progress) for run in ([base] if base else []) + list(runs)]
    compared = [
        compare_all(
            base,
            [run],
            policy=policy or Policy(),
            matrix=matrix,
            metrics=metrics,
            finetuned_on=finetuned_on,
            progress=progress,
        )
        for run in runs
        if base is not None
    ]
    links: dict[str, Link] = {}
    written = []
    for number, (run, results) in enumerate(zip(runs, compared, strict=False), 1):
        assert base is not None
        target = out / "reports" / f"{number:02}-{re.sub(r'[^A-Za-z0-9._-]+', '-', run.label)}.html"
        write_report(base, [run], results, target, finetuned_on=finetuned_on, overwrite=overwrite)
        links[run.label] = Link(target.relative_to(out).as_posix(), results[0].outcome)
        written.append(target)
    table = make_table(summaries, links, published=published)
    write_text(index, render("index.html", {"table": table}, templates=_TEMPLATES), overwrite=overwrite)
    return [index, *written]


def _summarise(
    run: Candidate,
    matrix: Mapping[str, tuple[str, ...]] | None,
    metrics: Mapping[str, str] | None,
    progress: Callable[[str], None],
) -> tuple[str, RunSummary]:
    read = read_run(run.path)
    known = {task: metric for task, metric in (metrics or {}).items() if task in read.tasks}
    return run.label, summarise(
        read, matrix=matrix, metrics=known, progress=lambda task: progress(f"{run.label}: {task}")
    )
