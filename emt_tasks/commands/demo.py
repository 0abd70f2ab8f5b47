"""`emt demo`: a small model learns digits three times, and the gate says what each of the three forgot.

Everything is real and works as for large models: lmms-eval, the recipes, the gate, the report. It runs in one
process, since importing lmms-eval takes longer than evaluating here.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import webbrowser
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from emt_core.folders import check_folder, clear, mark
from emt_tasks.tasks.evaluator import EvaluationSettings
from emt_tasks.tasks.evaluator import evaluate as evaluate_model
from finetune.recipes.files import read
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.policy import Policy
from leaderboards.report.candidates import parse_candidates
from leaderboards.report.page import compare_all, write_report

if TYPE_CHECKING:
    from rich.console import Console

    from leaderboards.comparison.forgetting import TaskComparison
    from leaderboards.gate.decide import GateResult, Outcome
    from leaderboards.report.candidates import Candidate

demo = typer.Typer()

RECIPES = {
    "demo/full_high": ("high rate", "every weight, at a high learning rate, on digits alone"),
    "demo/full_low": ("low rate", "every weight, at a low learning rate, on digits alone"),
    "demo/hybrid": ("hybrid", "every weight, at a rate between the two, half of the examples from other data"),
}
"""Recipe: its short name, and what it does in words."""

TASKS = "demo_matrix"
FINETUNED_ON, SAME_IMAGES = "demo_digits", "demo_digits_qa"
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


@dataclass(frozen=True, slots=True)
class Ending:
    """One recipe's outcome: its short name, what it does, and the gate's result on its last checkpoint."""

    name: str
    about: str
    result: GateResult


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
    shown = ", ".join(f"{task} {_percent(100 * share)}" for task, share in right.items())
    console.print(f"      {folder.name}: right in {shown}", style="dim")
    return folder


def in_words(endings: Sequence[Ending]) -> Iterator[str]:
    """Yield what happened, line by line, all of it from the gate's results."""
    for ending in endings:
        yield ""
        yield f"{ending.name} ({ending.about}): {_WORD[ending.result.outcome]}"
        tasks = {task.task: task for task in ending.result.comparison.tasks}
        yield f"  {_change(tasks[FINETUNED_ON])}: what it was trained on"
        yield f"  {_change(tasks[SAME_IMAGES])}: the same images, asked in other words"
        for unit in ending.result.units:
            if unit.outcome == "forgetting" and unit.name in tasks and unit.name != SAME_IMAGES:
                yield f"  {_change(tasks[unit.name])}: forgotten too{_distracted(tasks[unit.name])}"
        if _outcome(ending, SAME_IMAGES) == "forgetting":
            yield f"  {_lost_to(tasks[SAME_IMAGES])}"
    yield ""
    yield _moral(endings)


_WORD = {"forgetting": "FAILS the gate", "not inferior": "passes the gate", "undecided": "undecided"}


def _moral(endings: Sequence[Ending]) -> str:
    """Say how the recipes that forgot differ from those that did not."""
    failed = _those(endings, "forgetting")
    passed = _those(endings, "not inferior")
    if not failed:
        return f"No recipe is shown to have forgotten more than {MARGIN:g} points anywhere."
    said = f"{_listed(failed)} forgot more than {MARGIN:g} points"
    unable = [
        ending.name
        for ending in endings
        if _outcome(ending, SAME_IMAGES) == "forgetting" and _outcome(ending, FINETUNED_ON) == "not inferior"
    ]
    if unable:
        one = len(unable) == 1
        who = _listed(unable) if unable != failed else "It" if one else "They"
        verbs = ("knows", "follows") if one else ("know", "follow")
        said += f". {who} still {verbs[0]} the digits, but no longer {verbs[1]} questions about the very same images"
    return said + (f". {_listed(passed)} did not forget: how you fine-tune makes the difference." if passed else ".")


def _those(endings: Sequence[Ending], outcome: Outcome) -> list[str]:
    return [ending.name for ending in endings if ending.result.outcome == outcome]


def _outcome(ending: Ending, task: str) -> Outcome | None:
    return next((unit.outcome for unit in ending.result.units if unit.name == task), None)


def _change(task: TaskComparison) -> str:
    if task.scores is None:
        return f"{task.task}: no answer could be scored"
    base, candidate = task.scores.base.estimate, task.scores.candidate.estimate
    return f"{task.task}: {_percent(base)} right before, {_percent(candidate)} after"


def _distracted(task: TaskComparison) -> str:
    """Say how often the wrong option that is the class's name was chosen, if the task has one."""
    if task.distracted is None:
        return ""
    base, candidate = (_percent(side.estimate) for side in (task.distracted.base, task.distracted.candidate))
    return f"; the class's name, a wrong option, was chosen in {base} before, {candidate} after"


def _lost_to(task: TaskComparison) -> str:
    """Say what became of the answers that were right before."""
    flips = task.flips
    kinds = {
        "leakage": "name a digit where an option was asked for",
        "extrinsic": "are no option at all",
        "incorrect": "are another option",
        "intrinsic": "are several options",
        "unscored": "could not be judged",
    }
    parts = [f"{flips.lost_to[kind]} {words}" for kind, words in kinds.items() if flips.lost_to.get(kind)]
    return f"of the {flips.lost} answers lost there, {_listed(parts)}"


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


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"


def _listed(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(parts[:-1]), parts[-1]])) if parts else "none"
