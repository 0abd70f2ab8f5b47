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
from emt_core.files import replacing
from emt_core.folders import mark, names_made
from emt_core.runs import read_run
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
from emt_tasks.models.loading import adapter_config
from emt_tasks.tasks.evaluator import EvaluationSettings, environment, is_adapter_alone
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.policy import Policy

if TYPE_CHECKING:
    import polars as pl

    from emt_tasks.commands.rescue_output import Search
    from finetune.rescue.merges import Merge
    from finetune.rescue.search import Aim
    from leaderboards.comparison.forgetting import Comparison, TaskComparison

MADE_BY = "emt rescue"
RESCUED, RUN, FRONTIER, PICTURE, RETRAIN = "rescued", "rescued-run", "frontier.json", "frontier.svg", "retrain.yaml"
SEARCHED = "searched.json"
"""The documents of each task that the search saw."""

_OURS = (RESCUED, RUN, FRONTIER, PICTURE, SEARCHED, RETRAIN)
"""What a search writes to its folder, beside the runs of base and candidate, which a later one uses again."""

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
    runs: Annotated[
        Path | None,
        typer.Option(
            help="The folder of an emt check or emt diagnose of the same models and tasks: "
            "its runs and its diagnosis are used."
        ),
    ] = None,
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
    chosen is written, evaluated, and put through the gate on documents that the search never saw. Where it fails, a
    recipe to train again is written. Exit codes as of emt check.

    Example: emt rescue llava-hf/llava-1.5-7b-hf my-checkpoint --learn imagenet_vqa_lite
    """
    # Imported here, since polars and scipy take a second to load, and --help would wait.
    from rich.console import Console

    from emt_tasks.commands import rescue_output
    from emt_tasks.commands.rescue_retrain import retrain
    from leaderboards.gate.decide import decide
    from leaderboards.gate.output import print_table

    rules = choose_policy(margin, policy)
    for model in (base, candidate):
        _check_model(model)
    for path in (output / name for name in _OURS):
        if path.exists() and names_made(output, MADE_BY) is None:
            raise UserError(
                f"--output: {path} was not written by {MADE_BY}, so it is not replaced; choose another folder"
            )
    names = tuple(named(tasks))
    quadrants = read_matrix(matrix) if matrix else None
    alike = EvaluationSettings(base, names, "emt_vlm", None, batch_size, device, None, judge, model_args=model_args)
    wanted = {"base": alike, "candidate": candidate_settings(candidate, base, alike)}
    found = evaluate_all(wanted, runs or output)
    before = _compare(found["base"], found["candidate"], quadrants)
    if learn not in {task.task for task in before.tasks}:
        raise UserError(f"--learn {learn}: not one of the tasks ({listed([task.task for task in before.tasks])})")
    output.mkdir(parents=True, exist_ok=True)
    mark(output, MADE_BY, [*wanted, *_OURS])
    _remove_earlier(output)
    console = Console()
    typer.echo("The candidate:")
    result = decide(before, rules, tasks=None)
    print_table(result, console)
    if result.outcome == "not inferior":
        typer.echo("It passes as it is: nothing to rescue.")
        return
    search = _search(wanted, before, learn, rules, documents, output / RESCUED)
    seen = search.documents
    with replacing([output / FRONTIER, output / PICTURE, output / SEARCHED]) as (rows, drawing, documents_seen):
        rows.write_text(rescue_output.frontier(search), encoding="utf-8")
        drawing.write_text(rescue_output.picture(search, _one_margin(search.aim)), encoding="utf-8")
        documents_seen.write_text(json.dumps(seen) + "\n", encoding="utf-8")
    console.print(rescue_output.table(search))
    run = evaluate_all({RUN: replace(alike, model=str(output / RESCUED))}, output)[RUN]
    after = decide(_compare(found["base"], run, quadrants, without=seen), rules, tasks=None)
    name = search.name(search.trials[0].merge)
    typer.echo(f"\nThe merge, on documents that the search never saw: {name}")
    print_table(after, console)
    bases, candidates, merged = (read_run(folder) for folder in (found["base"], found["candidate"], run))
    kept = rescue_output.kept(bases, candidates, merged, learn, seen.get(learn, ()))
    typer.echo(rescue_output.in_a_line(name, kept, after, learn))
    typer.echo(f"Learned against kept, of all merges: {output / PICTURE}", err=True)
    if after.outcome == "forgetting":
        stop = round(100 * min(search.aim.margins.values()), 6)
        typer.echo(retrain(before, wanted, runs or output, learn, stop, search.parts, output / RETRAIN))
    raise typer.Exit(after.exit_code)


def _check_model(model: str) -> None:
    """Refuse what has no weights at hand, or none that can be merged, before anything is evaluated.

    Raises:
        UserError: a run, a served model, or an adapter that is no LoRA.
    """
    if is_run(model):
        raise UserError("a finished run has no weights to merge; give the models (a check's runs with --runs)")
    if engines.read(model):
        raise UserError(f"{model}: a served model's weights are not at hand to be merged; give its folder")
    if is_adapter_alone(model) and (kind := adapter_config(model).get("peft_type")) != "LORA":
        raise UserError(f"{model}: only LoRA can be merged, found an adapter of kind {kind}")


def _remove_earlier(output: Path) -> None:
    """Remove what an earlier search wrote, all of which this one writes anew: it may choose another merge."""
    for path in (output / name for name in _OURS):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


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
) -> Search:
    """Search the merges, and write the best one."""
    # Imported here, since torch and lmms-eval take half a minute, and --help would wait.
    import numpy as np
    from tqdm import tqdm

    from emt_tasks.commands.rescue_output import Search
    from emt_tasks.models.vlm import EmtVLM
    from emt_tasks.tasks.sampled import Sampled
    from finetune.model.adapters import merged_state
    from finetune.rescue.merges import Merges
    from finetune.rescue.search import SHARES, refine, search

    sampled = Sampled([task.task for task in before.tasks], most, SHARE)
    if learn not in sampled.tasks:
        raise UserError(f"--learn {learn}: it does not generate answers, so merges cannot be tried on it")
    samples = _base_samples(before, sampled.documents)
    aim = _aim(before, learn, rules, samples)
    tuned = wanted["candidate"]
    settings = {"batch_size": tuned.batch_size, "device": tuned.device}
    base = EmtVLM.create_from_arg_string(wanted["base"].all_model_args(), settings)
    weights = {name: value.detach().cpu().clone() for name, value in base.model.named_parameters()}
    lm = EmtVLM.create_from_arg_string(tuned.all_model_args(), settings)
    adapter = tuned.peft or (tuned.model if is_adapter_alone(tuned.model) else None)
    if adapter:
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
    # DoRA scales rows to a trained length: a share of the change is no scale of the adapter.
    scaled = adapter is not None and not adapter_config(adapter).get("use_dora")
    return Search([*refined, *others], aim, known, samples, scaled, merges.parts)


def _say_cost(known: Mapping[Merge, Mapping[str, Any]], before: Comparison) -> None:
    """Say how much was evaluated, in evaluations of one model on all documents."""
    asked = sum(len(values) for found in known.values() for values in found.values())
    whole = sum(task.documents for task in before.tasks)
    typer.echo(f"{len(known)} merges were tried, at the cost of {asked / whole:.1f} full evaluations", err=True)


def _base_samples(before: Comparison, documents: Mapping[str, Sequence[int]]) -> dict[str, pl.DataFrame]:
    """Return the base's samples of the search's documents, in their order; one that it lacks scores 0."""
    import polars as pl

    from leaderboards.comparison.samples import read_samples

    found = {}
    for task in before.tasks:
        if task.task in documents:
            frame = read_samples(before.base.tasks[task.task], task.metric).frame.select("doc_id", "cluster", "score")
            wanted = pl.DataFrame({"doc_id": documents[task.task]}, schema={"doc_id": pl.Int64})
            joined = wanted.join(frame, on="doc_id", how="left", maintain_order="left")
            found[task.task] = joined.with_columns(pl.col("score").fill_null(0.0))
    return found


def _aim(before: Comparison, learn: str, rules: Policy, samples: Mapping[str, pl.DataFrame]) -> Aim:
    """Return what is searched for: the base's scores of the documents, what was gained, what may be lost."""
    from finetune.rescue.search import Aim

    learned = next(task for task in before.tasks if task.task == learn)
    gained = -(learned.scores.forgetting.estimate or 0.0) / 100 if learned.scores else 0.0
    if gained <= 0:
        raise UserError(f"--learn {learn}: the candidate gained nothing on it, so there is nothing to keep")
    margins = {
        task.task: rules.limits_of(task.task, task.quadrant, alone=True, base=_accuracy(task)).margin / 100
        for task in before.tasks
        if task.task in samples and task.task != learn
    }
    if not margins:
        raise UserError(f"--tasks: beside {learn} none of them generates answers, so nothing can be seen to be kept")
    return Aim(learn, gained, margins, {task: frame["score"].to_numpy() for task, frame in samples.items()})


def _accuracy(task: TaskComparison) -> float | None:
    """Return the base's accuracy in percent."""
    return task.scores.base.estimate if task.scores else None


def _one_margin(aim: Aim) -> float | None:
    """Return the margin of the other tasks in points, if all have the same."""
    margins = set(aim.margins.values())
    return 100 * margins.pop() if len(margins) == 1 else None
