"""The gate's results in experiment trackers: Weights & Biases, MLflow and trackio.

Each recipe becomes a run of the tracker, with each checkpoint at its own step, so that the tracker draws the traces
through the matrix; beside them are the table of verdicts, the summary, each checkpoint's picture and the report. A
tracker's package is imported when it is used, and its own settings say where it logs to (WANDB_MODE,
MLFLOW_TRACKING_URI, TRACKIO_DIR, ...).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from emt_core.errors import UserError, listed
from leaderboards.gate.decide import GateResult
from leaderboards.gate.table import GateRow, gate_rows
from leaderboards.report.candidates import Candidate
from leaderboards.report.forest import as_svg, of_gate
from leaderboards.report.summary import as_markdown

PROJECT = "emt-eval"
"""What a tracker's project, or experiment, is called unless told otherwise."""

_COLUMNS = [field.name for field in fields(GateRow)]


@dataclass(frozen=True, slots=True)
class Page:
    """What is logged of one recipe: numbers by step, what they rest on, and the tables and files beside them.

    `pictures` are SVG, by checkpoint.
    """

    name: str
    config: Mapping[str, str | float]
    steps: Sequence[tuple[int, Mapping[str, float]]]
    verdicts: Mapping[str, str]
    rows: Sequence[Mapping[str, Any]]
    summary: str
    pictures: Mapping[str, str]
    report: Path | None


def choose(wanted: Sequence[str]) -> list[tuple[str, str]]:
    """Return each logger with its project, once its package is found: before hours of evaluation, not after.

    Args:
        wanted: `LOGGER` or `LOGGER:PROJECT` each.

    Raises:
        UserError: there is no such logger, or its package is not installed.
    """
    chosen = []
    for item in wanted:
        name, _, project = item.partition(":")
        if name not in LOGGERS:
            raise UserError(f"--log {item}: expected {listed(LOGGERS)}, or one of them with :PROJECT")
        if find_spec(name) is None:
            raise UserError(f"--log {name}: the package is not installed; run: pip install 'emt-eval[{name}]'")
        chosen.append((name, project or PROJECT))
    return chosen


def log(logger: str, project: str, results: Sequence[tuple[Candidate, GateResult]], report: Path | None = None) -> None:
    """Log gate results to one of the trackers, a run for each recipe.

    Raises whatever the tracker raises: it may have no network, or nobody is logged in.
    """
    for recipe in dict.fromkeys(candidate.recipe for candidate, _ in results):
        own = [(candidate, result) for candidate, result in results if candidate.recipe == recipe]
        LOGGERS[logger](import_module(logger), project, page_of(recipe, own, report))


def page_of(recipe: str, results: Sequence[tuple[Candidate, GateResult]], report: Path | None) -> Page:
    """Return what to log of one recipe's checkpoints, in the order of their steps."""
    ordered = sorted(results, key=lambda pair: pair[0].step or 0)
    steps = [candidate.step for candidate, _ in ordered]
    counted = all(step is not None for step in steps) and len(set(steps)) == len(steps)
    first = ordered[0][1]
    return Page(
        name=recipe,
        config={
            "base": first.comparison.base.name,
            "candidate": ordered[-1][1].comparison.candidate.name,
            "margin": first.policy.margin,
            "alpha": first.policy.alpha,
            "policy": first.policy.model_dump_json(exclude_unset=True),
        },
        steps=[
            ((candidate.step or 0) if counted else number, _numbers(result))
            for number, (candidate, result) in enumerate(ordered)
        ],
        verdicts={candidate.label: result.outcome for candidate, result in ordered},
        rows=[
            {"checkpoint": candidate.label} | asdict(row) for candidate, result in ordered for row in gate_rows(result)
        ],
        summary=as_markdown([(candidate.label, result) for candidate, result in ordered]),
        pictures={candidate.label: as_svg(of_gate(result)) for candidate, result in ordered},
        report=report,
    )


def _numbers(result: GateResult) -> dict[str, float]:
    """Return the numbers of each task and quadrant that was compared, by what they are of: `forgetting/ocr_vqa`."""
    found: dict[str, float] = {"gate/exit_code": float(result.exit_code)}
    for row in gate_rows(result):
        for name in ("base", "candidate", "forgetting", "lower", "upper", "lost", "gained"):
            value = getattr(row, name)
            if value is not None:
                kind = {"base": "base accuracy", "candidate": "accuracy"}.get(name, name)
                found[f"{kind}/{row.name}"] = float(value)
    return found


def _wandb(wandb: Any, project: str, page: Page) -> None:
    with wandb.init(project=project, name=page.name, config=dict(page.config), job_type="emt gate") as run:
        for step, numbers in page.steps:
            run.log(dict(numbers), step=step)
        table = wandb.Table(columns=["checkpoint", *_COLUMNS], data=[list(row.values()) for row in page.rows])
        shown = {"gate": table}
        shown |= {f"forgetting of {name}": wandb.Html(svg, inject=False) for name, svg in page.pictures.items()}
        if page.report is not None:
            shown["report"] = wandb.Html(page.report.read_text(encoding="utf-8"), inject=False)
        run.log(shown, step=page.steps[-1][0])
        run.summary.update({"verdict": list(page.verdicts.values())[-1], "summary": page.summary})


def _mlflow(mlflow: Any, project: str, page: Page) -> None:
    mlflow.set_experiment(project)
    with mlflow.start_run(run_name=page.name):
        mlflow.log_params(dict(page.config))
        for step, numbers in page.steps:
            mlflow.log_metrics({_plain(name): value for name, value in numbers.items()}, step=step)
        mlflow.set_tags({"verdict": list(page.verdicts.values())[-1]})
        mlflow.log_dict({"rows": list(page.rows)}, "gate.json")
        mlflow.log_text(page.summary, "summary.md")
        for name, svg in page.pictures.items():
            mlflow.log_text(svg, f"forgetting/{_file_name(name)}.svg")
        if page.report is not None:
            mlflow.log_artifact(str(page.report))


def _trackio(trackio: Any, project: str, page: Page) -> None:
    trackio.init(project=project, name=page.name, config=dict(page.config), embed=False)
    try:
        for step, numbers in page.steps:
            trackio.log(dict(numbers), step=step)
        trackio.log({"summary": trackio.Markdown(page.summary)}, step=page.steps[-1][0])
        if page.report is not None:
            trackio.log_artifact(page.report, name="report", type="report")
    finally:
        trackio.finish()


def _file_name(name: str) -> str:
    """Return a name in the characters that every file system takes."""
    return re.sub(r"[^\w.-]+", "_", name)


def _plain(name: str) -> str:
    """Return a metric's name in the characters that MLflow takes."""
    return re.sub(r"[^\w ./:-]", "_", name)


LOGGERS: Mapping[str, Callable[[Any, str, Page], None]] = {"wandb": _wandb, "mlflow": _mlflow, "trackio": _trackio}
"""The trackers, by the name of their packages; each has an extra of that name."""
