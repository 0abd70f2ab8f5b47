"""`emt eval`: one model through lmms-eval, checked before it starts, with one folder of results or none."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from emt_tasks.scoring import JUDGE_VARIABLE
from judges import UserError, one_line

app = typer.Typer()

ModelKind = Literal["emt_vlm", "emt_clip"]

_CATEGORIES = ("accuracy", "incorrect", "intrinsic", "extrinsic", "unscored")


@app.command()
def evaluate(
    model: Annotated[
        str, typer.Argument(help="A folder or hub name that transformers can load, or an adapter's folder.")
    ],
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Tasks and groups, separated by commas.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for results and samples.")],
    peft: Annotated[str | None, typer.Option(help="A PEFT adapter to put on the model.")] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", "-b", help="Images at a time.")] = 8,
    device: Annotated[str | None, typer.Option(help="cuda, cuda:1, cpu, …; chosen for you if left out.")] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first documents of each task; for a try.")] = None,
    judge: Annotated[str | None, typer.Option(help="The judge of the answers; else $EMT_JUDGE, else fuzzy.")] = None,
    kind: Annotated[
        ModelKind, typer.Option("--model-kind", help="emt_clip: an open_clip encoder, such as ViT-L-14/openai.")
    ] = "emt_vlm",
    model_args: Annotated[str, typer.Option(help="More for the model: dtype=bfloat16,attn_implementation=sdpa,…")] = "",
    cache: Annotated[
        Path | None, typer.Option(help="Keep answers here, so that a killed run goes on; a folder for one model.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the results that the folder holds.")] = False,
) -> None:
    """Evaluate one model on our tasks, through lmms-eval.

    Example: emt eval llava-hf/llava-1.5-7b-hf --tasks forgetting_matrix_lite -o runs/base

    On several GPUs: accelerate launch -m emt_tasks.cli eval …
    """
    names = _classifications(tasks.split(",")) if kind == "emt_clip" else tasks.split(",")
    check(names)
    if judge:
        os.environ[JUDGE_VARIABLE] = judge
    # lmms-eval keeps a run's answers under a name that is new each time, and so never finds those of a killed run.
    os.environ.setdefault("LMMS_CACHE_RUN_ID", "emt")
    options = {
        "--model": kind,
        "--model_args": _model_args(model, peft, model_args),
        "--tasks": ",".join(names),
        "--batch_size": str(batch_size),
        "--device": device,
        "--limit": None if limit is None else str(limit),
        "--use_cache": None if cache is None else str(cache),
    }
    arguments = [word for name, value in options.items() if value is not None for word in (name, value)]
    results = run([*arguments, "--log_samples"], output, overwrite=overwrite)
    if results:
        _print_results(results)
        typer.echo(f"Results and samples are in {output}", err=True)


def _model_args(model: str, peft: str | None, more: str) -> str:
    """Return lmms-eval's `--model_args`; an adapter's folder stands for itself on its own base."""
    adapter = Path(model) / "adapter_config.json"
    named = f"peft={model}" if adapter.is_file() and not peft else f"pretrained={model}"
    return ",".join(filter(None, [named, peft and f"peft={peft}", more]))


def _classifications(names: list[str]) -> list[str]:
    """The tasks among these that an encoder can answer: those with a vocabulary."""
    from emt_tasks import registry
    from emt_tasks.vocabularies import find

    tasks = [task.name for task in registry.tasks(names)]
    kept = [name for name in tasks if find(name)]
    if not kept:
        raise UserError(f"--tasks {','.join(names)}: an encoder only classifies; none of these has a vocabulary")
    if len(kept) < len(tasks):
        typer.echo(f"an encoder only classifies: left out {', '.join(sorted(set(tasks) - set(kept)))}", err=True)
    return kept


def check(names: Sequence[str]) -> None:
    """Make sure, before anything heavy is imported, that these tasks exist and that their data can be had.

    Raises:
        UserError: a name is neither ours nor lmms-eval's, or the data of one of our tasks is missing.
    """
    from emt_tasks import registry
    from emt_tasks.checks import check_data

    for name in names:
        if name not in registry.entries() and not _in_lmms_eval(name):
            raise UserError(f"task {name!r} is not known{_suggestion(name, list(registry.entries()))}")
    check_data(names)


def run(arguments: Sequence[str], output: Path, *, overwrite: bool = False) -> dict[str, Any]:
    """Run lmms-eval with these arguments and leave its files in `output`, or nothing where it fails.

    Returns lmms-eval's results; empty on all processes but the first.

    Raises:
        UserError: `output` holds results already, or the model or the data cannot be used.
    """
    if any(output.glob("*_results.json")) and not overwrite:
        raise UserError(f"--output: {output} holds results already; choose another folder or add --overwrite")
    from tenacity import RetryError

    from emt_tasks.plugin import run_lmms_eval

    with _staging(output) as folder:
        try:
            results = run_lmms_eval([*arguments, "--output_path", str(folder), "--verbosity", "WARNING"])
        except RetryError as error:  # lmms-eval tries five times to load a data set
            raise UserError(f"data could not be loaded: {one_line(_cause(error))}") from error
        if results and not list(folder.rglob("*_samples_*.jsonl")):
            raise UserError(f"lmms-eval wrote no samples for {output}; run it again with --debug")
    return results


@contextmanager
def _staging(output: Path) -> Iterator[Path]:
    """A folder beside `output`; its run becomes `output` at the end, or it goes if anything fails."""
    staging = output.with_name(f".{output.name}.partial")
    shutil.rmtree(staging, ignore_errors=True)
    try:
        yield staging
        written = [file for file in staging.rglob("*") if file.is_file()]
        if written:
            output.mkdir(parents=True, exist_ok=True)
            for old in (*output.glob("*_results.json"), *output.glob("*_samples_*.jsonl")):
                old.unlink()
            for file in written:
                file.replace(output / file.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _in_lmms_eval(name: str) -> bool:
    """Whether lmms-eval's own tasks mention this name; cheap, and lmms-eval itself decides later."""
    import importlib.util

    found = importlib.util.find_spec("lmms_eval")
    folder = Path(found.origin or "").parent / "tasks" if found else None
    if folder is None or not folder.is_dir():
        return True
    return "*" in name or any(name in file.read_text("utf-8", "ignore") for file in folder.rglob("*.yaml"))


def _suggestion(name: str, known: list[str]) -> str:
    from rapidfuzz import process

    near = [found for found, _, _ in process.extract(name, known, limit=3, score_cutoff=70)]
    return f"; did you mean {' or '.join(near)}?" if near else "; see: emt tasks list"


def _cause(error: Any) -> BaseException:
    """The innermost reason that a retried call failed."""
    reason: BaseException = error.last_attempt.exception() or error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    return reason


def _print_results(results: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("task")
    for name in ("n", *_CATEGORIES):
        table.add_column(name, justify="right")
    for name, scores in results["results"].items():
        effective = results["n-samples"].get(name, {}).get("effective")
        values = [scores.get(f"{category},none") for category in _CATEGORIES]
        if all(value is None for value in values):
            continue
        shown = ("" if value is None else f"{100 * value:.1f} %" for value in values)
        table.add_row(name, "" if effective is None else str(effective), *shown)
    Console(file=sys.stdout).print(table)
