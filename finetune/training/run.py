"""One fine-tuning run from a recipe: `finetune(recipe)` builds what the loop needs and starts it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from accelerate import Accelerator
from accelerate.state import AcceleratorState, GradientState
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from accelerate.utils import DistributedDataParallelKwargs, gather_object
from pydantic import ValidationError
from rich.console import Console

from emt_core.errors import UserError, listed
from emt_core.folders import check_folder, clear, mark, user_cache
from emt_tasks.models.parts import vision_tower
from emt_tasks.models.per_image import Counts, can_be_cached, describe
from finetune.data.collate import TrainingBatch, TrainingCollator, in_batches
from finetune.data.loader import Loader
from finetune.data.mixture import Plan, plan
from finetune.data.scan import SKIPPED_FILE, Scan, describe_skipped, read_skipped, scan, usable
from finetune.data.sources import TrainingSource, open_source
from finetune.model import building
from finetune.model.features import cached_tower
from finetune.recipes.schema import PartName, Recipe
from finetune.training.card import push, write_card
from finetune.training.checkpoint import LAST, LOG_FILE, RECIPE_FILE
from finetune.training.evaluation import LiveSample, check_tasks, check_watched
from finetune.training.loop import Training
from finetune.training.moved import FixedProbe, first_tokens
from finetune.training.regularisers import Regularisers, spread
from finetune.training.saving import Saver
from finetune.training.validation import Validation, open_watched
from finetune.training.watch import Watch

MADE_BY = "emt finetune"

ANSWERS = 64
"""Training examples, spread over the first source, whose answers say with which tokens the new answers begin."""

WRITTEN = (
    RECIPE_FILE,
    LOG_FILE,
    SKIPPED_FILE,
    LAST,
    f".{LAST}",
    "checkpoint-*",
    "resume-*",
    ".*.partial",
    ".*.sharded",
    "evaluations",
    "emt",
)
"""What a run writes to its output folder; `emt` is the trackers'."""


def finetune(recipe: Recipe, *, resume: bool = False, overwrite: bool = False) -> Path:
    """Run a recipe and return the folder of its last checkpoint.

    Under `accelerate launch` every process calls this. What can be checked without the model is checked first.

    Args:
        recipe: what to do.
        resume: continue the stopped run in the recipe's output folder.
        overwrite: remove the run in the output folder.

    Raises:
        UserError: something in the recipe, the data or the checkpoint cannot be used.
    """
    output = Path(recipe.output)
    check_output(output, recipe, resume=resume, overwrite=overwrite)
    check_tasks(recipe.evaluate)
    check_watched(recipe.probe)
    sources = [open_source(entry, recipe.mixture.max_pixels) for entry in recipe.mixture.used]

    accelerator = make_accelerator(recipe)
    processor = building.load_processor(recipe)
    collator = building.make_collator(building.empty_model(recipe), processor, recipe.batch.max_tokens)
    resumed = resume and (output / RECIPE_FILE).is_file()
    found = _scanned(sources, recipe, collator, accelerator) if not resumed else Scan(read_skipped(output), frozenset())
    sources = usable(sources, recipe.mixture, found.bad)
    watched = open_watched(recipe, collator, **_shares(accelerator))
    mixture = plan(recipe.mixture, [len(source) for source in sources], recipe.seed)

    base, dtype = building.load_model(recipe, accelerator.device)
    collator = building.make_collator(base, processor, recipe.batch.max_tokens)
    model = building.make_trainable(base, recipe)
    name_layers(accelerator, model)
    optimiser = building.make_optimiser(building.trained_by_part(model, recipe), recipe)
    loader = Loader(
        recipe, sources, mixture, collator, rank=accelerator.process_index, processes=accelerator.num_processes
    )
    validation = Validation(recipe, watched, collator, accelerator) if watched else None
    saver = Saver(recipe, accelerator, model, processor, dtype, validation)
    if saver.sharded and len(found.image_counts) > 1:  # processes would run different numbers of passes, and wait
        counts = listed(sorted(found.image_counts))
        raise UserError(f"mixture: examples have {counts} images; FSDP and DeepSpeed need the same number in all")
    _open_output(output, recipe, accelerator, fresh=not resume)
    if found.bad and not resumed and accelerator.is_main_process:
        found.write(output)
    with _features(recipe, model, saver.sharded) as features:
        regularisers = Regularisers(recipe, model, collator, accelerator)
        # Without `max_tokens`, which is for training: a task's prompts are as long as they are.
        whole = building.make_collator(base, processor)
        watch = _watch(recipe, model, sources[0], whole, processor, accelerator, mixture) if recipe.probe else None
        Training(recipe, accelerator, model, optimiser, loader, mixture, saver, regularisers, watch).train()
    if accelerator.is_main_process:
        if features is not None:
            _say(describe(features, "the feature cache"))
        write_card(recipe)
        if recipe.save.push:
            _say(f"uploaded to {push(recipe)}")
    return (output / LAST).resolve()


def _watch(
    recipe: Recipe,
    model: Any,
    source: TrainingSource,
    collator: TrainingCollator,
    processor: Any,
    accelerator: Accelerator,
    mixture: Plan,
) -> Watch:
    """Return what looks at other tasks while the model trains."""
    settings = recipe.probe
    assert settings is not None

    def fixed(prepared: Any, batches: Mapping[str, Sequence[TrainingBatch]]) -> FixedProbe:
        answers = in_batches((source[number] for number in spread(source, ANSWERS)), collator, settings.batch_size)
        return FixedProbe(batches, prepared, model.get_output_embeddings(), first_tokens(answers))

    live = LiveSample(settings.tasks, settings.pool, processor, accelerator, settings.batch_size, collator)
    steps = recipe.steps or mixture.steps(recipe.batch.size, recipe.epochs or 1)
    return Watch(settings, live, steps, recipe.seed, fixed, partial(_mean, accelerator))


def _mean(accelerator: Accelerator, value: float) -> float:
    """Return a value's mean over all processes."""
    return float(accelerator.reduce(torch.tensor(value, device=accelerator.device), "mean"))


def _scanned(
    sources: Sequence[TrainingSource], recipe: Recipe, collator: TrainingCollator, accelerator: Accelerator
) -> Scan:
    """Read all rows, each process its share; say what is left out."""
    found = scan(sources, recipe.mixture, collator.check, **_shares(accelerator))
    if found.bad and recipe.mixture.bad_rows == "skip" and accelerator.is_main_process:
        said = f"{describe_skipped(sources, found.bad)}; listed in {Path(recipe.output) / SKIPPED_FILE}"
        _say(said)
    return found


def _shares(accelerator: Accelerator) -> dict[str, Any]:
    """Return what lets `scan` give each process its share."""
    processes = accelerator.num_processes
    gather: Any = gather_object if processes > 1 else list
    return {"rank": accelerator.process_index, "processes": processes, "gather": gather}


def _say(text: str) -> None:
    Console(stderr=True).print(text, highlight=False, soft_wrap=True)


@contextmanager
def _features(recipe: Recipe, model: Any, sharded: bool) -> Iterator[Counts | None]:
    """Let a frozen vision tower run once for each image, unless the recipe or its sharding says otherwise."""
    tower = vision_tower(model.get_base_model() if recipe.has_lora else model)
    if recipe.cache.features == "off" or sharded or not can_be_cached(tower):
        yield None
        return
    folder = Path(recipe.cache.folder).expanduser() if recipe.cache.folder else user_cache() / "features"
    with cached_tower(tower, folder, int(recipe.cache.gib * 2**30)) as counts:
        yield counts


def check_output(output: Path, recipe: Recipe, *, resume: bool, overwrite: bool) -> None:
    """Make sure that writing to the output folder loses nothing, or that the run in it is the recipe's.

    Raises:
        UserError: the folder contains something else.
    """
    written = output / RECIPE_FILE
    if not resume:
        check_folder(output, MADE_BY, overwrite=overwrite, option="output", otherwise="--resume or --overwrite")
    elif output.is_dir() and any(output.iterdir()) and not written.is_file():
        raise UserError(f"--resume: {output} holds no run of emt finetune, so nothing is written there")
    elif written.is_file():
        before = _as_now(yaml.safe_load(written.read_text(encoding="utf-8")))
        now = yaml.safe_load(recipe.to_yaml())
        changed = [key for key in now if key not in ("evaluate", "trackers", "cache") and now[key] != before.get(key)]
        if changed:
            raise UserError(
                f"--resume: the run in {output} was started with another recipe: {changed[0]} was "
                f"{before.get(changed[0])} and is now {now[changed[0]]}; use the same, or another output"
            )


def _as_now(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return a recipe as written by an earlier version, with the defaults of fields that it did not have."""
    with suppress(ValidationError):
        return dict(yaml.safe_load(Recipe.model_validate(recipe).to_yaml()))
    return recipe


def make_accelerator(recipe: Recipe) -> Accelerator:
    """Return the accelerator for a recipe, as `accelerate launch` configured it."""
    # A process may run several recipes, each with its own precision.
    AcceleratorState._reset_state()
    GradientState._reset_state()

    for tracker in recipe.trackers:
        if tracker not in map(str, LOGGER_TYPE_TO_CLASS):
            raise UserError(f"trackers: found {tracker!r}; expected one of {_names(LOGGER_TYPE_TO_CLASS)}")
        if tracker not in map(str, get_available_trackers()):
            raise UserError(f"trackers: {tracker} is not installed; run: pip install {tracker.replace('_', '-')}")
    # A vision tower's last layers may be unused, as may a projector in a text-only batch.
    unused: set[PartName] = {"vision", "audio", "full", "projector"}
    ddp = DistributedDataParallelKwargs(find_unused_parameters=bool(unused & set(recipe.parts)))
    accelerator = Accelerator(
        mixed_precision="bf16" if recipe.precision == "bf16" else "no",
        log_with=list(recipe.trackers) or None,
        project_dir=recipe.output,
        kwargs_handlers=[ddp],
        cpu=_on_a_cpu(),
    )
    deepspeed = accelerator.state.deepspeed_plugin
    if deepspeed is not None:  # what accelerate would read from a data loader
        deepspeed.deepspeed_config["train_micro_batch_size_per_gpu"] = recipe.batch.micro
    return accelerator


def name_layers(accelerator: Accelerator, model: Any) -> None:
    """Tell FSDP which layers to shard, unless the user's configuration does.

    Transformers' own list names layers that a model may lack, such as those of CLIP's text tower in LLaVA, and
    accelerate fails at the first of them.
    """
    fsdp = getattr(accelerator.state, "fsdp_plugin", None)
    if fsdp is not None and fsdp.transformer_cls_names_to_wrap is None:
        there = {type(module).__name__ for module in model.modules()}
        fsdp.transformer_cls_names_to_wrap = sorted(there & set(model._no_split_modules or ()))


def _names(known: Iterable[str]) -> str:
    return ", ".join(sorted(map(str, known)))


def _on_a_cpu() -> bool:

    return not torch.cuda.is_available() and not torch.backends.mps.is_available()


def _open_output(output: Path, recipe: Recipe, accelerator: Accelerator, *, fresh: bool) -> None:
    if accelerator.is_main_process:
        if fresh and output.is_dir():
            clear(output, MADE_BY)
        output.mkdir(parents=True, exist_ok=True)
        mark(output, MADE_BY, WRITTEN)
        (output / RECIPE_FILE).write_text(recipe.to_yaml(), encoding="utf-8")
    accelerator.wait_for_everyone()
    if recipe.trackers:
        settings: dict[str, Any] = {"recipe": recipe.to_yaml()}
        accelerator.init_trackers("emt", config=settings)
