"""`emt rescue`: from a candidate that forgot to a merge with its base that passes the gate, without training."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emt_core.errors import UserError, listed
from emt_core.files import write_text
from emt_core.folders import mark, names_made
from emt_core.runs import read_run
from emt_tasks.commands.coverage import named
from emt_tasks.commands.evaluations import candidate_settings, evaluate, is_run
from emt_tasks.commands.options import (
    DEFAULT_TASKS,
    BatchSizeOption,
    DeviceOption,
    JudgeOption,
    MarginOption,
    MatrixOption,
    ModelArgsOption,
    PolicyOption,
    TasksOption,
    choose_policy,
    tell_progress,
)
from emt_tasks.tasks.evaluator import EvaluationSettings, environment, is_adapter_alone
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.policy import Policy

if TYPE_CHECKING:
    from rich.table import Table

    from finetune.rescue.merges import Merge
    from finetune.rescue.search import Aim, Trial
    from leaderboards.comparison.forgetting import Comparison
    from leaderboards.gate.decide import GateResult

MADE_BY = "emt rescue"
RESCUED, RUN, FRONTIER = "rescued", "rescued-run", "frontier.json"
FIRST = 32
"""Documents of each task in the search's first round."""

SHARE = 0.25
"""Of a task's documents that the search may see: the gate has the others."""

rescue = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None, add_completion=False)


@rescue.command(name="rescue", context_settings={"help_option_names": ["-h", "--help"]})
def rescue_command(
    base: Annotated[str, typer.Argument(help="The model before fine-tuning: a folder or a hub name.")],
    candidate: Annotated[str, typer.Argument(help="The fine-tuned model; may be an adapter's folder.")],
    learn: Annotated[str, typer.Option(help="The task that the candidate learned.")],
    tasks: TasksOption = DEFAULT_TASKS,
    output: Annotated[Path, typer.Option("--output", "-o", help="The folder for runs and the rescued model.")] = Path(
        "emt-rescue"
    ),
    margin: MarginOption = None,
    policy: PolicyOption = None,
    matrix: MatrixOption = None,
    documents: Annotated[int, typer.Option(min=1, help="Documents of each task that the search sees at most.")] = 128,
    batch_size: BatchSizeOption = 8,
    device: DeviceOption = None,
    judge: JudgeOption = None,
    model_args: ModelArgsOption = "",
) -> None:
    """Search the merges of a candidate with its base for one that passes the gate and keeps what was learned.

    Tries the base's share of all weights, then of each part's (WiSE-FT, arXiv 2109.01903): many merges on few
    documents, few on many. The one that is chosen is written, evaluated, and put through the gate on documents that the
    search never saw. Exit codes as of emt check.

    Example: emt rescue llava-hf/llava-1.5-7b-hf my-checkpoint --learn imagenet_vqa_lite
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from rich.console import Console

    from leaderboards.gate.decide import decide
    from leaderboards.gate.output import print_table

    rules = choose_policy(margin, policy)
    rescued = output / RESCUED
    for path in (rescued, output / RUN):
        if path.exists() and names_made(output, MADE_BY) is None:
            raise UserError(
                f"--output: {path} was not written by {MADE_BY}, so it is not replaced; choose another folder"
            )
    if is_run(base) or is_run(candidate):
        raise UserError("a finished run has no weights to merge; give the models (their runs are kept in --output)")
    names = tuple(named(tasks))
    quadrants = read_matrix(matrix) if matrix else None
    alike = EvaluationSettings(base, names, "emt_vlm", None, batch_size, device, None, judge, model_args=model_args)
    wanted = {"base": alike, "candidate": candidate_settings(candidate, base, alike)}
    runs = {role: evaluate(role, chosen, output) for role, chosen in wanted.items()}
    before = _compare(runs["base"], runs["candidate"], quadrants)
    if learn not in {task.task for task in before.tasks}:
        raise UserError(f"--learn {learn}: not one of the tasks ({listed([task.task for task in before.tasks])})")
    output.mkdir(parents=True, exist_ok=True)
    mark(output, MADE_BY, [*wanted, RESCUED, RUN, FRONTIER])
    for earlier in (rescued, output / RUN):  # ours: another search may choose another merge
        shutil.rmtree(earlier, ignore_errors=True)
    console = Console()
    typer.echo("The candidate:")
    result = decide(before, rules, tasks=None)
    print_table(result, console)
    if result.outcome == "not inferior":
        typer.echo("It passes as it is: nothing to rescue.")
        return
    trials, seen = _search(wanted, before, learn, rules, documents, rescued)
    write_text(output / FRONTIER, json.dumps([_row(trial) for trial in trials], indent=1) + "\n", overwrite=True)
    console.print(_table(trials))
    merged = replace(alike, model=str(rescued))
    run = evaluate(RUN, merged, output)
    after = decide(_compare(runs["base"], run, quadrants, without=seen), rules, tasks=None)
    typer.echo(f"\nThe merge, on documents that the search never saw: {trials[0].merge}")
    print_table(after, console)
    typer.echo(in_a_line(trials[0], before, after, learn))
    if after.outcome == "forgetting":
        typer.echo(_retrain(candidate))
    raise typer.Exit(after.exit_code)


def _compare(
    base: Path,
    candidate: Path,
    matrix: Mapping[str, tuple[str, ...]] | None,
    without: Mapping[str, Sequence[int]] | None = None,
) -> Comparison:
    from leaderboards.comparison.forgetting import compare

    return compare(read_run(base), read_run(candidate), matrix=matrix, without=without, progress=tell_progress)


def _search(
    wanted: Mapping[str, EvaluationSettings], before: Comparison, learn: str, rules: Policy, most: int, rescued: Path
) -> tuple[list[Trial], Mapping[str, list[int]]]:
    """Search the merges, write the best one, and return all trials, the best first, and the documents used."""
    # Imported here, since torch and lmms-eval take half a minute, and --help would wait.
    import numpy as np
    from tqdm import tqdm

    from emt_tasks.models.vlm import EmtVLM
    from emt_tasks.tasks.sampled import Sampled
    from finetune.model.adapters import merged_state
    from finetune.rescue.merges import Merges
    from finetune.rescue.search import SHARES, refine, search

    sampled = Sampled([task.task for task in before.tasks], most, SHARE)
    if learn not in sampled.tasks:
        raise UserError(f"--learn {learn}: it does not generate answers, so merges cannot be tried on it")
    aim = _aim(before, learn, rules, sampled.documents)
    tuned = wanted["candidate"]
    settings = {"batch_size": tuned.batch_size, "device": tuned.device}
    base = EmtVLM.create_from_arg_string(wanted["base"].all_model_args(), settings)
    weights = {name: value.detach().cpu().clone() for name, value in base.model.named_parameters()}
    lm = EmtVLM.create_from_arg_string(tuned.all_model_args(), settings)
    if tuned.peft or is_adapter_alone(tuned.model):  # its share is what is left of its scale
        base.model.load_state_dict(merged_state(lm.model), strict=False)
        lm = base
    else:
        base.clean()
    merges = Merges(lm.model, weights)
    known: dict[Merge, dict[str, Any]] = {}

    def evaluate_merge(merge: Merge, count: int) -> Mapping[str, Any]:
        """Score the first documents; what an earlier round has scored is not asked again."""
        found = known.setdefault(merge, {task: np.zeros(0) for task in sampled.tasks})
        start = min(map(len, found.values()))
        if start < count:
            merges.apply(merge)
            new = sampled.scores(lm, count, start)
            known[merge] = found = {task: np.concatenate([found[task], new[task]]) for task in found}
        progress.update()
        return {task: values[:count] for task, values in found.items()}

    with environment(tuned), tqdm(desc="Merges") as progress:
        trials = search(evaluate_merge, aim, SHARES, first=FIRST, most=sampled.size)
        refined = refine(evaluate_merge, aim, trials, merges.parts, documents=sampled.size)
    merges.write(refined[0].merge, lm.processor, rescued, wanted["base"].model)
    others = [trial for trial in trials if trial not in refined]
    return [*refined, *others], sampled.documents


def _aim(before: Comparison, learn: str, rules: Policy, documents: Mapping[str, Sequence[int]]) -> Aim:
    """Return what is searched for: the base's scores of the documents, what was gained, what may be lost."""
    import numpy as np

    from finetune.rescue.search import Aim
    from leaderboards.comparison.samples import read_samples

    scores = {}
    searched = [task for task in before.tasks if task.task in documents]
    for task in searched:
        frame = read_samples(before.base.tasks[task.task], task.metric).frame
        known = dict(zip(frame["doc_id"].to_list(), frame["score"].fill_null(0.0).to_list(), strict=True))
        scores[task.task] = [float(known.get(document, 0.0)) for document in documents[task.task]]
    learned = next(task for task in before.tasks if task.task == learn)
    gained = -(learned.scores.forgetting.estimate or 0.0) / 100 if learned.scores else 0.0
    if gained <= 0:
        raise UserError(f"--learn {learn}: the candidate gained nothing on it, so there is nothing to keep")
    margins = {
        task.task: rules.limits_of(task.task, task.quadrant, alone=True).margin / 100
        for task in searched
        if task.task != learn
    }
    if not margins:
        raise UserError(f"--tasks: beside {learn} none of them generates answers, so nothing can be seen to be kept")
    return Aim(learn, gained, margins, {task: np.asarray(values) for task, values in scores.items()})


def in_a_line(trial: Trial, before: Comparison, after: GateResult, learn: str) -> str:
    """Say what the chosen merge keeps, what it forgets, and the verdict."""
    from leaderboards.comparison.forgetting import average
    from leaderboards.report.text import bounds, number

    gains = [
        -(task.scores.forgetting.estimate or 0.0)
        for comparison in (before, after.comparison)
        for task in comparison.tasks
        if task.task == learn and task.scores
    ]
    kept = 100 * gains[1] / gains[0]
    others = [task for task in after.comparison.tasks if task.task != learn and task.sample]
    lost = average("others", others).scores.forgetting
    verdict = {"not inferior": "passes", "forgetting": "fails", "undecided": "undecided"}[after.outcome]
    return (
        f"{trial.merge}: keeps {number(kept, 0)} % of what was learned, forgetting {number(lost.estimate)} points "
        f"({bounds(lost)}) in the mean of the others, {verdict}."
    )


def _table(trials: Sequence[Trial]) -> Table:
    """Return the frontier: each share on the most documents that it got, and what was chosen."""
    from rich.table import Table

    from leaderboards.report.text import number

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("merge", no_wrap=True)
    for column in ("documents a task", "learned, %", "worst drop, points"):
        table.add_column(column, justify="right")
    shown = [trial for trial in trials if not trial.merge.parts or trial is trials[0]]
    for trial in sorted(shown, key=lambda one: (bool(one.merge.parts), one.merge.share)):
        worst = 100 * max(trial.drops.values(), default=0.0)
        mark_ = " ←" if trial is trials[0] else ""
        table.add_row(f"{trial.merge}{mark_}", str(trial.documents), number(100 * trial.learned, 0), number(worst))
    return table


def _row(trial: Trial) -> dict[str, Any]:
    return {
        "share": trial.merge.share,
        "parts": dict(trial.merge.parts),
        "documents": trial.documents,
        "learned": trial.learned,
        "drops": dict(trial.drops),
    }


def _retrain(candidate: str) -> str:
    """Say how the candidate could be trained again, by its own recipe where it has one."""
    recipe = Path(candidate) / "emt_recipe.yaml"
    advice = "No merge passes. The cheapest way to train again: a tenth of the rate"
    if not recipe.is_file():
        return f"{advice}, and a tenth of the examples from other data."
    import yaml

    rate = float(yaml.safe_load(recipe.read_text(encoding="utf-8"))["optimiser"]["learning_rate"])
    return f"{advice}: emt finetune {recipe} optimiser.learning_rate={rate / 10:g} output=NEW"
