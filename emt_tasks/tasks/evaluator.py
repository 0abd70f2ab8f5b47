"""Evaluate one model through lmms-eval: checked before it starts, with a complete results folder or none."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rapidfuzz import process
from tenacity import RetryError

from emt_core.errors import UserError, one_line
from emt_core.folders import whole_folder
from emt_tasks.datasets.checks import check_data
from emt_tasks.models import engines
from emt_tasks.models.loading import is_adapter
from emt_tasks.tasks import fingerprint, registry
from emt_tasks.tasks.looks import Looks
from emt_tasks.tasks.scoring import JUDGE_VARIABLE

ModelKind = Literal["emt_vlm", "emt_clip", "openai", "litellm", "vllm", "sglang"]


@dataclass(frozen=True, slots=True)
class EvaluationSettings:
    """How one model is evaluated.

    Attributes:
        model: a checkpoint's folder or hub name, an adapter's folder (on its own base unless `peft` is given), an
            open_clip encoder if `model_kind` is `emt_clip`, or a model that an engine runs (`openai:MODEL@URL`).
        tasks: names of tasks and groups.
        model_kind: what loads the model: this project's classes, or an engine.
        peft: an adapter to put on the model.
        batch_size: images per batch, or `auto`.
        device: a torch device; None for the best available one.
        limit: only the first documents of each task.
        judge: the judge's name; None for $EMT_JUDGE, else fuzzy.
        model_args: more arguments for the model, `name=value` separated by commas.
        cache: a folder that keeps answers, so that a killed run resumes. Answers of other weights, other model
            arguments or other data are never used.
    """

    model: str
    tasks: tuple[str, ...]
    model_kind: ModelKind = "emt_vlm"
    peft: str | None = None
    batch_size: int | str = 8
    device: str | None = None
    limit: int | None = None
    judge: str | None = None
    model_args: str = ""
    cache: Path | None = None

    @property
    def served(self) -> engines.Served | None:
        """The model as an engine runs it; None where transformers or open_clip load it."""
        return engines.read(self.model, self.model_kind)

    def arguments(self) -> list[str]:
        """Build lmms-eval's argument list, without the output."""
        model_args = self.all_model_args()
        kind = "emt_served" if self.served else self.model_kind
        options = {
            "--model": kind,
            "--model_args": model_args,
            "--tasks": ",".join(self.tasks),
            "--batch_size": self.batch_size,
            "--device": self.device,
            "--limit": self.limit,
            "--use_cache": self.cache and self.cache / fingerprint.key(kind, model_args),
        }
        return [str(word) for name, value in options.items() if value is not None for word in (name, value)]

    def all_model_args(self) -> str:
        """Build lmms-eval's `--model_args`, the model and its adapter among them.

        Raises:
            UserError: an engine is to put an adapter on its model.
        """
        if served := self.served:
            if self.peft:
                raise UserError(
                    f"{served}: {self.peft} cannot be put on it; a server has a name for each adapter (vllm serve "
                    "--lora-modules NAME=FOLDER): give openai:NAME@URL, or merge it first: emt merge"
                )
            return ",".join(filter(None, [served.arguments(), self.model_args]))
        alone = is_adapter_alone(self.model) and not self.peft
        named = f"peft={self.model}" if alone else f"pretrained={self.model}"
        return ",".join(filter(None, [named, self.peft and f"peft={self.peft}", self.model_args]))


def is_adapter_alone(path: str) -> bool:
    """Whether this names the folder of a PEFT adapter without a model of its own."""
    return is_adapter(path) and not (Path(path) / "config.json").is_file()


def check(names: Sequence[str]) -> None:
    """Make sure, before anything heavy is imported, that these tasks exist and that their data is available.

    Raises:
        UserError: a name is neither ours nor lmms-eval's, or the data of one of our tasks is missing.
    """
    for name in names:
        if name not in registry.entries() and not _in_lmms_eval(name):
            raise UserError(f"unknown task {name!r}{_suggestion(name, list(registry.entries()))}")
    check_data(names)


def evaluate(
    settings: EvaluationSettings, output: Path, *, looks: Looks | None = None, overwrite: bool = False
) -> dict[str, Any]:
    """Evaluate a model and leave lmms-eval's files in `output`, or nothing if it fails.

    Args:
        settings: what to evaluate, and how.
        output: the run's folder.
        looks: ask about the documents of these looks alone.
        overwrite: replace the run that is there.

    Returns:
        lmms-eval's results; empty on all processes but the first.

    Raises:
        UserError: a task is unknown, `output` already contains results, or the model or the data cannot be used.
    """
    check(settings.tasks)
    if any(output.glob("*_results.json")) and not overwrite:
        raise UserError(f"--output: {output} already contains results; choose another folder or add --overwrite")
    if settings.served:
        settings.served.reach()

    from emt_tasks.plugin import run_lmms_eval

    arguments = [*settings.arguments(), "--log_samples", "--verbosity", "WARNING"]
    with _run_folder(output) as folder, environment(settings):
        try:
            return run_lmms_eval([*arguments, "--output_path", str(folder)], looks)
        except RetryError as error:  # lmms-eval tries five times to load a data set
            raise UserError(f"data could not be loaded: {one_line(_cause(error))}") from error


def evaluate_loaded(
    model: Any, processor: Any, settings: EvaluationSettings, output: Path, *, accelerator: Any
) -> dict[str, Any]:
    """Evaluate a loaded model, such as one in training, and leave the files of `evaluate` in `output`.

    The model is left as it was. All processes must call this.

    Args:
        model: also one that is wrapped for training.
        processor: of the checkpoint.
        settings: tasks, batch size, limit and judge; `model` is the name in the results. The others are about
            loading a model and are ignored.
        output: the run's folder; a run in it is replaced.
        accelerator: of the training run.

    Returns:
        lmms-eval's results; empty on all processes but the first.
    """
    from emt_tasks.models.vlm import EmtVLM
    from emt_tasks.plugin import run_lmms_eval_on

    with _run_folder(output) as folder, environment(settings), redirect_stdout(sys.stderr):
        return run_lmms_eval_on(
            EmtVLM.from_model(model, processor, batch_size=settings.batch_size, accelerator=accelerator),
            pretrained=settings.model,
            tasks=settings.tasks,
            limit=settings.limit,
            output=folder,
            processes=accelerator.num_processes,
        )


@contextmanager
def environment(settings: EvaluationSettings) -> Iterator[None]:
    """Set what lmms-eval and the scoring read from the environment, and put it back afterwards."""
    # lmms-eval keeps a run's answers under a new name each time, and so never finds those of a killed run.
    wanted = {"LMMS_CACHE_RUN_ID": os.environ.get("LMMS_CACHE_RUN_ID", "emt")}
    if settings.judge:
        wanted[JUDGE_VARIABLE] = settings.judge
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _run_folder(output: Path) -> Iterator[Path]:
    """Yield a folder for lmms-eval to write to; its files move to `output`, or are removed if anything fails."""
    if os.environ.get("RANK", "0") != "0":  # only the first process writes
        yield output
        return
    with whole_folder(output, replaces=("*_results.json", "*_samples_*.jsonl")) as folder:
        yield folder
        if not list(folder.rglob("*_samples_*.jsonl")):
            raise UserError(f"lmms-eval wrote no samples for {output}; run it again with --debug")
        for file in [file for file in folder.rglob("*") if file.is_file()]:
            file.replace(folder / file.name)
        for below in [path for path in folder.iterdir() if path.is_dir()]:
            shutil.rmtree(below)


def _in_lmms_eval(name: str) -> bool:
    """Whether lmms-eval's own tasks mention this name: a cheap check; lmms-eval itself decides later."""
    found = importlib.util.find_spec("lmms_eval")
    folder = Path(found.origin or "").parent / "tasks" if found else None
    if folder is None or not folder.is_dir():
        return True
    return "*" in name or any(name in file.read_text("utf-8", "ignore") for file in folder.rglob("*.yaml"))


def _suggestion(name: str, known: list[str]) -> str:
    near = [found for found, _, _ in process.extract(name, known, limit=3, score_cutoff=70)]
    return f"; did you mean {' or '.join(near)}?" if near else "; see: emt tasks list"


def _cause(error: Any) -> BaseException:
    """The innermost reason that a retried call failed."""
    reason: BaseException = error.last_attempt.exception() or error
    while reason.__cause__ is not None:
        reason = reason.__cause__
    return reason
