"""`emt demo`: a small model learns to name digits in three ways, and the gate says what each of them forgot.

Everything is real and works as for large models: lmms-eval, the recipes, the gate, the report. It runs in one
process, since importing lmms-eval takes longer than evaluating here.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import webbrowser
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from emt_core.folders import check_folder, clear, mark
from emt_tasks.commands.demo_words import FINETUNED_ON, Ending, in_words, percent
from emt_tasks.tasks.evaluator import EvaluationSettings
from emt_tasks.tasks.evaluator import evaluate as evaluate_model
from finetune.recipes.files import read
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import parse_candidates
from leaderboards.report.page import compare_all, write_report

if TYPE_CHECKING:
    from leaderboards.gate.decide import GateResult
    from leaderboards.report.candidates import Candidate

demo = typer.Typer()

RECIPES = {
    "demo/full_high": ("high rate", "every weight, at a high learning rate, on digits alone"),
    "demo/full_low": ("low rate", "every weight, at a low learning rate, on digits alone"),
    "demo/hybrid": ("hybrid", "every weight, at a rate between the two, half of the examples from other data"),
}
"""Recipe: its short name, and what it does in words."""

TASKS = "demo_matrix"
MARGIN = 5.0
"""Percentage points: with 400 documents per task, a margin of 2 is lost in the noise."""

MATRIX = Path(__file__).parents[1] / "demo" / "matrix.yaml"
MADE_BY = "emt demo"
_WRITTEN = ("base", *(Path(recipe).name for recipe in RECIPES), "matrix.yaml", "report.html")

NEXT = """\
The same with your own model:
  emt doctor                                   what is missing here?
  emt check --base BASE --candidate FINETUNED  a folder or hub name each; evaluates both, gate and report
  emt finetune forgetting_single part=projector rate=1e-5 --dry-run
                                               a recipe of a paper on a large model: what it would do"""


@demo.command(
    name="demo", context_settings={"help_option_names": ["-h", "--help"]}, epilog="Example: emt demo -o emt-demo"
)
def demo_command(
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for runs, checkpoints and report.")] = Path(
        "emt-demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Changes the order of the training examples.")] = 0,
    show: Annotated[
        bool | None, typer.Option("--open/--no-open", help="Open the report; by default if there is a screen.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace an earlier demo.")] = False,
) -> None:
    """See a small model forget: evaluate, fine-tune in three ways, gate, report. No GPU, no download.

    The model (0.6 million weights) and its data (handwritten digits, drawn shapes, questions about both) are in the
    package.
    """
    started = time.monotonic()
    # lmms-eval has a dozen bars for each evaluation: those that can be are off, the others vanish when done.
    os.environ |= {"TQDM_DISABLE": "1", "TQDM_LEAVE": ""}
    err, out = (Console(stderr=stderr, highlight=False) for stderr in (True, False))
    for console in (err, out):
        console.soft_wrap = not console.is_terminal
    endings = tell_story(output, seed=seed, overwrite=overwrite, console=err)
    report = output / "report.html"
    for line in (
        *in_words(endings),
        f"\nThe report, with every answer that changed: {report}\n",
        NEXT,
        f"\nThis took {time.monotonic() - started:.0f} s and {_peak_gigabytes():.1f} GB of memory at its peak.",
    ):
        out.print(line, markup=False)
    if show or (show is None and _has_screen()):
        webbrowser.open(report.resolve().as_uri())


def tell_story(
    output: Path, *, seed: int = 0, base: Path | None = None, overwrite: bool = False, console: Console
) -> list[Ending]:
    """Evaluate the base, fine-tune it by each recipe, gate and report.

    Args:
        output: the folder to write to.
        seed: of the training examples' order.
        base: a finished run of the base on the same tasks, to reuse.
        overwrite: replace what an earlier demo left in the folder.
        console: where progress goes.

    Returns:
        The outcome of each recipe.

    Raises:
        UserError: the folder is not empty.
    """
    from emt_tasks.demo import tiny
    from finetune.training.run import finetune

    _prepare(output, overwrite)
    steps = len(RECIPES) + 2
    with _quiet():
        console.print(f"[1/{steps}] base: the tiny model in the package, asked about digits and shapes")
        console.print("      (importing lmms-eval takes longer than the questions)", style="dim")
        reference = base or evaluate(tiny.PATH, output / "base", console)
        for number, (recipe, (name, about)) in enumerate(RECIPES.items(), start=2):
            console.print(f"[{number}/{steps}] {name}: {about}")
            folder = output / Path(recipe).name
            # Evaluated after training, not at every checkpoint on the way: one progress bar at a time.
            finetune(read(recipe, [f"output={folder}", f"seed={seed}", "evaluate.tasks=[]"]))
            for checkpoint in sorted(folder.glob("checkpoint-*")):
                evaluate(checkpoint, folder / "evaluations" / checkpoint.name.replace("checkpoint", "step"), console)
        console.print(f"[{steps}/{steps}] gate and report")
        return _compare(reference, output)


def evaluate(model: Path, folder: Path, console: Console) -> Path:
    """Evaluate a checkpoint as `emt eval` does; returns the run's folder."""
    results = evaluate_model(EvaluationSettings(str(model), (TASKS,), batch_size=100), folder)
    right = {task.removeprefix("demo_"): results["results"][task]["accuracy,none"] for task in results["configs"]}
    shown = ", ".join(f"{task} {percent(100 * share)}" for task, share in right.items())
    console.print(f"      {folder.name}: right in {shown}", style="dim")
    return folder


def _compare(reference: Path, output: Path) -> list[Ending]:
    """Gate every checkpoint, write the report, and return the last checkpoints' results."""
    shutil.copyfile(MATRIX, output / "matrix.yaml")
    named = [
        f"{name}={run}"
        for recipe, (name, _) in RECIPES.items()
        for run in sorted((output / Path(recipe).name / "evaluations").iterdir())
    ]
    base, *candidates = parse_candidates([f"emt:tiny={reference}", *named])
    results = compare_all(
        base, candidates, policy=Policy(margin=MARGIN), matrix=read_matrix(MATRIX), finetuned_on=FINETUNED_ON
    )
    write_report(base, candidates, results, output / "report.html", finetuned_on=FINETUNED_ON)
    last = {candidate.recipe: result for candidate, result in _in_order(candidates, results)}
    return [Ending(name, about, last[name]) for name, about in RECIPES.values()]


def _in_order(candidates: Iterable[Candidate], results: Iterable[GateResult]) -> list[tuple[Candidate, GateResult]]:
    """Pair candidates with results, by steps of training."""
    return sorted(zip(candidates, results, strict=True), key=lambda pair: pair[0].step or 0)


def _prepare(output: Path, overwrite: bool) -> None:
    check_folder(output, MADE_BY, overwrite=overwrite)
    output.mkdir(parents=True, exist_ok=True)
    clear(output, MADE_BY)
    mark(output, MADE_BY, _WRITTEN)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep standard output for the story: what lmms-eval prints goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield


def _has_screen() -> bool:
    """Whether somebody is watching: a terminal and a display, and not CI."""
    display = sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return bool(sys.stdout.isatty() and display and not os.environ.get("CI"))


def _peak_gigabytes() -> float:
    """The peak memory of this process, in units of 10^9 bytes."""
    import resource

    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes here
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9
