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
from emt_core.runs import Run, read_run
from emt_tasks.commands.coverage import named
from emt_tasks.commands.evaluations import candidate_settings, evaluate_all, is_run
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
from emt_tasks.models import engines
from emt_tasks.tasks.evaluator import EvaluationSettings, environment, is_adapter_alone
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.policy import Policy

if TYPE_CHECKING:
    from rich.table import Table

    from finetune.rescue.merges import Merge
    from finetune.rescue.search import Aim, Trial
    from leaderboards.comparison.forgetting import Comparison
    from leaderboards.gate.decide import GateResult
    from leaderboards.statistics import Interval

MADE_BY = "emt rescue"
RESCUED, RUN, FRONTIER, PICTURE, RETRAIN = "rescued", "rescued-run", "frontier.json", "frontier.svg", "retrain.yaml"
RECIPE_FILE = "emt_recipe.yaml"
_OTHERS_SHOWN = 5
"""Merges of parts or of some of the change in the table, the best ones."""

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

    Tries the base's share of all weights, then of each part's (WiSE-FT, arXiv 2109.01903), and only some of what
    changed (TIES, arXiv 2306.01708; DARE, arXiv 2311.03099): many merges on few documents, few on many. The one that is
    chosen is written, evaluated, and put through the gate on documents that the search never saw. Where none passes, a
    recipe to train again is written. Exit codes as of emt check.

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
    for model in (base, candidate):
        if is_run(model):
            raise UserError("a finished run has no weights to merge; give the models (their runs are kept in --output)")
        if engines.read(model):
            raise UserError(f"{model}: a served model's weights are not at hand to be merged; give its folder")
    names = tuple(named(tasks))
    quadrants = read_matrix(matrix) if matrix else None
    alike = EvaluationSettings(base, names, "emt_vlm", None, batch_size, device, None, judge, model_args=model_args)
    wanted = {"base": alike, "candidate": candidate_settings(candidate, base, alike)}
    runs = evaluate_all(wanted, output)
    before = _compare(runs["base"], runs["candidate"], quadrants)
    if learn not in {task.task for task in before.tasks}:
        raise UserError(f"--learn {learn}: not one of the tasks ({listed([task.task for task in before.tasks])})")
    output.mkdir(parents=True, exist_ok=True)
    mark(output, MADE_BY, [*wanted, RESCUED, RUN, FRONTIER, PICTURE, RETRAIN])
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
    _write_frontier(trials, output, _one_margin(before, rules, learn))
    console.print(_table(trials))
    merged = replace(alike, model=str(rescued))
    run = evaluate_all({RUN: merged}, output)[RUN]
    after = decide(_compare(runs["base"], run, quadrants, without=seen), rules, tasks=None)
    typer.echo(f"\nThe merge, on documents that the search never saw: {trials[0].merge}")
    print_table(after, console)
    kept = _kept(read_run(runs["base"]), read_run(runs["candidate"]), read_run(run), learn, seen.get(learn, ()))
    typer.echo(in_a_line(trials[0], kept, after, learn))
    typer.echo(f"Learned against kept, of all merges: {output / PICTURE}", err=True)
    if after.outcome == "forgetting":
        typer.echo(_retrain(before, wanted, output, learn, rules))
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
        refined = refine(evaluate_merge, aim, trials, merges.parts, first=FIRST, documents=sampled.size)
    _say_cost(known, before)
    merges.write(refined[0].merge, lm.processor, rescued, wanted["base"].model)
    others = [trial for trial in trials if trial not in refined]
    return [*refined, *others], sampled.documents


def _say_cost(known: Mapping[Merge, Mapping[str, Any]], before: Comparison) -> None:
    """Say how much was evaluated, in evaluations of one model on all documents."""
    asked = sum(len(values) for found in known.values() for values in found.values())
    whole = sum(task.documents for task in before.tasks)
    typer.echo(f"{len(known)} merges were tried, at the cost of {asked / whole:.1f} full evaluations", err=True)


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


def _kept(base: Run, candidate: Run, merged: Run, task: str, without: Sequence[int]) -> Interval:
    """Return the share of the candidate's gain that the merge has, on the documents that the search did not see."""
    import numpy as np

    from leaderboards.statistics import ratio_of_means
    from leaderboards.statistics.interval import undefined

    scores = [_scores(run, task) for run in (base, candidate, merged)]
    shared = sorted(set.intersection(*map(set, scores)) - set(without))
    before, after, now = (np.array([one[document] for document in shared]) for one in scores)
    n = len(shared)
    if n < 2:
        return undefined(n, 0.95, "too few documents")
    spread = np.cov(after - before, now - before) / n
    covariance = (float(spread[0, 0]), float(spread[0, 1]), float(spread[1, 1]))
    return ratio_of_means(float((after - before).mean()), float((now - before).mean()), covariance, n)


def _scores(run: Run, task: str) -> dict[int, float]:
    """Return the score of each document of a task, those that could not be judged left out."""
    from leaderboards.comparison.samples import read_samples

    frame = read_samples(run.tasks[task], None).frame.drop_nulls("score")
    return dict(zip(frame["doc_id"].to_list(), map(float, frame["score"].to_list()), strict=True))


def in_a_line(trial: Trial, kept: Interval, after: GateResult, learn: str) -> str:
    """Say what the chosen merge keeps, what it forgets, and the verdict."""
    from leaderboards.comparison.forgetting import average
    from leaderboards.report.text import bounds, number

    share = kept.scaled(100)
    others = [task for task in after.comparison.tasks if task.task != learn and task.sample]
    lost = average("others", others).scores.forgetting
    verdict = {"not inferior": "passes", "forgetting": "fails", "undecided": "undecided"}[after.outcome]
    return (
        f"{trial.merge}: keeps {number(share.estimate, 0)} % ({bounds(share)}) of what was learned, forgetting "
        f"{number(lost.estimate)} points ({bounds(lost)}) in the mean of the others, {verdict}."
    )


def _write_frontier(trials: Sequence[Trial], output: Path, margin: float | None) -> None:
    """Write all trials as JSON, and as a picture."""
    from leaderboards.report.frontier import Point, draw

    write_text(output / FRONTIER, json.dumps([_row(trial) for trial in trials], indent=1) + "\n", overwrite=True)
    points = [
        Point(
            str(trial.merge),
            100 * trial.learned,
            -100 * trial.drop,
            100 * trial.learned_error,
            100 * trial.drop_error,
            trial.documents,
            chosen=trial is trials[0],
            label="chosen" if trial is trials[0] else "candidate" if _is_candidate(trial.merge) else "",
        )
        for trial in trials
    ]
    base = Point("the base", 0.0, 0.0, 0.0, 0.0, trials[0].documents, label="base")
    write_text(output / PICTURE, draw([base, *points], margin), overwrite=True)


def _is_candidate(merge: Merge) -> bool:
    return merge.share == 0 and not merge.parts and merge.sparse is None


def _one_margin(before: Comparison, rules: Policy, learn: str) -> float | None:
    """Return the margin of the other tasks, if all have the same."""
    margins = {
        rules.limits_of(task.task, task.quadrant, alone=True).margin for task in before.tasks if task.task != learn
    }
    return margins.pop() if len(margins) == 1 else None


def _table(trials: Sequence[Trial]) -> Table:
    """Return the frontier: each share on the most documents that it got, and what was chosen."""
    from rich.table import Table

    from leaderboards.report.text import number

    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("merge", overflow="fold")
    for column in ("documents", "learned, %", "worst drop"):
        table.add_column(column, justify="right", no_wrap=True)
    plain = [trial for trial in trials if not trial.merge.parts and trial.merge.sparse is None]
    others = [trial for trial in trials if trial not in plain and trial.documents == trials[0].documents]
    for trial in [*sorted(plain, key=lambda one: one.merge.share), *others[:_OTHERS_SHOWN]]:
        worst = 100 * max(trial.drops.values(), default=0.0)
        mark_ = " ←" if trial is trials[0] else ""
        table.add_row(f"{trial.merge}{mark_}", str(trial.documents), number(100 * trial.learned, 0), number(worst))
    return table


def _row(trial: Trial) -> dict[str, Any]:
    sparse = trial.merge.sparse
    return {
        "share": trial.merge.share,
        "parts": dict(trial.merge.parts),
        "sparse": {"way": sparse.way, "density": sparse.density} if sparse else None,
        "documents": trial.documents,
        "learned": trial.learned,
        "learned_standard_error": trial.learned_error,
        "drops": dict(trial.drops),
        "mean_drop": trial.drop,
        "mean_drop_standard_error": trial.drop_error,
    }


def _retrain(
    before: Comparison, wanted: Mapping[str, EvaluationSettings], output: Path, learn: str, rules: Policy
) -> str:
    """Write a recipe for training again, by the candidate's own and by what was lost, and say how to run it."""
    from finetune.recipes.files import read
    from finetune.rescue.retrain import Goal, retraining, written

    settings = wanted["candidate"]
    own = Path(settings.peft or settings.model) / RECIPE_FILE
    if not own.is_file():
        return (
            "No merge passes. The cheapest way to train again: a tenth of the rate, and a tenth of the examples from "
            f"other data (the candidate has no {RECIPE_FILE} to change)."
        )
    cause = _cause(before, wanted, output)
    recipe = read(str(own))
    file = output / RETRAIN
    margin = _one_margin(before, rules, learn) or rules.margin
    goal = Goal(learn, tuple(task.task for task in before.tasks), margin, f"{recipe.output}-again")
    changed, cure = retraining(recipe, cause, _training_data(before, learn), goal)
    write_text(file, written(changed, cure, str(file)), overwrite=True)
    return f"No merge passes. The cheapest way to train again ({cure.why}): emt finetune {file}"


def _cause(before: Comparison, wanted: Mapping[str, EvaluationSettings], output: Path) -> str:
    """Return what most was lost by; `unclear` where that cannot be measured."""
    from emt_tasks.commands.evaluations import probed
    from leaderboards.comparison.causes import CAUSES, find_causes

    compared = tuple(task.task for task in before.tasks)
    try:
        measured = [probed(role, replace(wanted[role], tasks=compared), output) for role in ("base", "candidate")]
        found = find_causes(before, *measured)
    except UserError as error:
        typer.echo(f"why answers were lost cannot be measured: {error}", err=True)
        return "unclear"
    points = {cause: sum(one.points(cause) for one in found) for cause in CAUSES}
    return max(points, key=points.__getitem__) if any(points.values()) else "unclear"


def _training_data(before: Comparison, learn: str) -> list[str]:
    """Return the data sets of the other tasks whose training split is at hand."""
    from emt_tasks.datasets.checks import availability
    from emt_tasks.tasks.registry import dataset_of

    own = dataset_of(learn)
    found = {task.task: dataset_of(task.task) for task in before.tasks if task.task != learn}
    others = dict.fromkeys(dataset for dataset in found.values() if dataset is not None and dataset is not own)
    return [dataset.name for dataset in others if availability(dataset, "train").problem is None]
