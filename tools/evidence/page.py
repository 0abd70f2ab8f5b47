"""The page: for each claim what the paper says, what was found, and the verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from leaderboards.statistics import Interval
from tools.evidence import claims as tests
from tools.evidence import remedies
from tools.evidence.figures import draw
from tools.evidence.results import BASE, ENCODER, NOTE, Finding, Model, NotRun, Results, Statement
from tools.evidence.runs import base_tasks

REPORT = "evidence-report.html"
_INTRODUCTION = """# Evidence

Claims of the two papers, put to a real small model: EfficientNet-Lite0 (ImageNet) and SmolLM2-135M-Instruct,
joined by a projector and aligned by `emt finetune` (`python -m tools.make_small_vlm`). It is 50 times smaller than the
papers' models, and its images have 160 pixels: what holds here need not hold there, nor the other way round. Beside
CIFAR-10 it knows drawn shapes, and ImageNet by sort (snake, clothing, …): half of its 1,000 images were asked about in
the alignment, the other half here. ImageNet's own names and ImageWikiQA are beyond it.

Each claim is taken apart into statements. A statement is a difference in percentage points with its 95 % interval,
paired by document; it holds if the whole interval is on the side that the claim says. Where a claim speaks of several
data sets or rates, the statement is about their mean, and each is shown below it: the mean may hold though one of them
cannot be told, and does not hold if one of them is refuted. A claim holds if all of its statements do, and does not
hold if one of them does not. With several seeds, scores are averaged over them document by document: the intervals are
about other documents, not about other seeds."""

_REMEDIES = f"""## Remedies {{#remedies}}

What keeps the language model from forgetting at the high rate, and what a merge with its base brings back, beside
published figures: [a page of its own]({remedies.PAGE})."""


def write(results: Results, settings: Mapping[str, Any], seeds: int, docs: Path) -> dict[str, Finding]:
    """Write the page and its figures to the documentation; return what was found, by claim."""
    matrix = settings["matrix"]
    found = {}
    for name, claim in settings["claims"].items():
        try:
            found[name] = getattr(tests, claim["test"])(results, matrix)
        except NotRun:  # the page says so
            continue
    figures = draw(results, matrix, docs / "images" / "evidence")
    parts = [NOTE, _INTRODUCTION, _command(seeds), _overview(settings["claims"], found), _models(results, settings)]
    parts += ["\n\n".join(_claim(name, claim, found.get(name), figures.get(name)))
              for name, claim in settings["claims"].items()]  # fmt: skip
    parts.append(_REMEDIES)
    docs.mkdir(parents=True, exist_ok=True)
    (docs / "evidence.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return found


def _command(seeds: int) -> str:
    return (
        f"Everything below was written by this command, with {seeds} {'seed' if seeds == 1 else 'seeds'}; it goes on "
        "where it was stopped:\n\n"
        f"```sh\nmake evidence DATA=folder LARGE=folder SEEDS={seeds}\n```\n\n"
        "`DATA` has test images of CIFAR-10 and MNIST, ImageNet's and ImageWikiQA, `LARGE` training images of CIFAR-10 "
        "and MNIST, in the layout of `$EMT_DATA_DIR`. Runs and claims are in `tools/evidence/evidence.yaml`."
    )


def _overview(claims: Mapping[str, Any], found: Mapping[str, Finding]) -> str:
    rows = ["| | claim | verdict |", "|---|---|---|"]
    for name, claim in claims.items():
        verdict = found[name].verdict if name in found else "not run"
        rows.append(f"| [{name}](#{name}) | {claim['title']} ({claim['source']}) | **{verdict}** |")
    return "\n".join(rows)


def _models(results: Results, settings: Mapping[str, Any]) -> str:
    """The accuracy of the base, its encoder, and every run, task by task."""
    tasks = base_tasks(settings)
    rows = [f"| model | {' | '.join(tasks)} |", "|---" * (len(tasks) + 1) + "|"]
    models = [Model(BASE), Model(ENCODER)]
    models += [Model(name) for group in settings["runs"].values() for name in group["each"]]
    for model in dict.fromkeys(models):
        if results.there(model):
            rows.append(f"| {model.name} | {' | '.join(_score(results, model, task) for task in tasks)} |")
    return (
        f"## All numbers\n\nPercent correct, after the last step. The 2×2 matrix as [a whole report]({REPORT}).\n\n"
        + "\n".join(rows)
    )


def _score(results: Results, model: Model, task: str) -> str:
    try:
        return f"{results.mean(model, task):.1f}"
    except NotRun:
        return ""


def _claim(name: str, claim: Mapping[str, Any], found: Finding | None, figure: str | None) -> Iterator[str]:
    yield f"## {claim['title']} {{#{name}}}"
    yield f"**{found.verdict if found else 'not run'}** · {claim['source']}"
    yield f"The paper: {claim['paper']}"
    if found:
        rows = ["| on the small model | points | 95 % interval | expected | verdict |", "|---|---|---|---|---|"]
        rows += [row for statement in found.statements for row in _rows(statement)]
        yield "\n".join(rows)
    if figure:
        yield f"![{claim['title']}](images/evidence/{figure})"


def _rows(statement: Statement) -> Iterator[str]:
    yield _row(statement)
    for setting in statement.settings:
        yield _row(replace(setting, text=f"… {setting.text}"))


def _row(statement: Statement) -> str:
    found: Interval = statement.found
    bound = f"{'>' if statement.side == 'above' else '<'} {statement.bound:g}"
    shown = "" if found.lower is None else f"{found.lower:.1f} to {found.upper:.1f}"
    return f"| {statement.text} | {found.estimate:.1f} | {shown} | {bound} | {statement.verdict} |"
