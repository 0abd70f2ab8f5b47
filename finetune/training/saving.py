"""When a run saves and evaluates, and how a stopped run resumes."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from math import ceil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from emt_core.errors import UserError
from emt_core.folders import whole_folder
from finetune.data.mixture import Plan
from finetune.model.adapters import merged_state, trained_base_names, without_adapters
from finetune.recipes.schema import Recipe
from finetune.training.checkpoint import (
    ACCURACY,
    LOG_FILE,
    RECIPE_FILE,
    RESUME,
    VALIDATION,
    checkpoint_folder,
    drop_states_before,
    keep_newest,
    last_state,
    load_state,
    logged,
    point_to_last,
    read_step,
    save_checkpoint,
    save_state,
    state_folder,
    truncate_log,
    write_step,
)
from finetune.training.evaluation import evaluate_live
from finetune.training.picture import show_traces
from finetune.training.standing import Standing, best
from finetune.training.storing import FEW, Storage
from finetune.training.validation import Validation
from finetune.training.watch import Watch

STANDING = "standing"
"""The name in the log of what a checkpoint has learned and lost, where the best is kept."""


def save_points(recipe: Recipe, plan: Plan, steps: int) -> set[int]:
    """Return the steps after which a run saves, always including the last."""
    every = recipe.save.every
    if every == "end":
        return {steps}
    if every == "epoch":
        epochs = range(1, steps * recipe.batch.size // plan.epoch_size + 1)
        return {min(steps, ceil(epoch * plan.epoch_size / recipe.batch.size)) for epoch in epochs} | {steps}
    return set(range(every, steps, every)) | {steps}


class Saver:
    """Writes checkpoints with the state to resume from, and runs the recipe's tasks.

    Args:
        recipe: the run's.
        accelerator: the run's.
        model: wrapped for training; set by the loop.
        processor: saved beside the weights.
        dtype: of the base checkpoint's weights.
        validation: what the loss is also measured on.

    Raises:
        UserError: the recipe asks for something that a sharded model cannot do.
    """

    def __init__(
        self,
        recipe: Recipe,
        accelerator: Accelerator,
        model: Any,
        processor: Any,
        dtype: torch.dtype | None,
        validation: Validation | None = None,
    ) -> None:
        self.recipe, self.accelerator, self.model = recipe, accelerator, model
        self._validation = validation
        self._processor, self._dtype = processor, dtype
        self.output = Path(recipe.output)
        self.sharded = accelerator.distributed_type.value in ("FSDP", "DEEPSPEED")
        self._before: dict[str, torch.Tensor] = {}
        if recipe.save.dtype != "fp32" and not self.sharded and dtype is not None:
            # What training changes is counted against these: exact, since the base has this dtype.
            self._before = {name: weights.detach().to("cpu", dtype) for name, weights in self._trained().items()}
        if self.sharded and recipe.save.merged:
            raise UserError("save.merged: not supported with FSDP or DeepSpeed; use emt merge on the checkpoint")
        if self.sharded and recipe.batch.packing:
            raise UserError("batch.packing: not supported with FSDP or DeepSpeed")
        if self.sharded and validation is not None:
            raise UserError("evaluate.loss_on: not supported with FSDP or DeepSpeed")
        if self.sharded and recipe.probe:
            raise UserError("probe: not supported with FSDP or DeepSpeed; use emt eval on the checkpoints")
        if self.sharded and recipe.evaluate.tasks:
            raise UserError("evaluate.tasks: not supported with FSDP or DeepSpeed; use emt eval on the checkpoints")

    def save(self, step: int, optimiser: Any) -> None:
        """Write a checkpoint, then the state to resume from.

        Raises:
            UserError: the disk is full or cannot be written to.
        """
        model = self.accelerator.unwrap_model(self.model)
        state = self.accelerator.get_state_dict(self.model) if self.sharded else None
        if state is not None:  # when gathered, a head tied to the embeddings is a second copy
            once = {name for name, _ in (*model.named_parameters(), *model.named_buffers())}
            state = {name: value for name, value in state.items() if name in once}
        if self.accelerator.is_main_process:
            storage = self._storage(step)
            notes = {RECIPE_FILE: self.recipe.to_yaml(), LOG_FILE: (self.output / LOG_FILE).read_text(encoding="utf-8")}
            folder = checkpoint_folder(self.output, step)
            if self.recipe.save.merged:
                state, model = merged_state(model), without_adapters(model)
            save_checkpoint(folder, model, self._processor, state=state, storage=storage, notes=notes)
            point_to_last(folder)
            self._report_survivors(step, storage)
            if self.recipe.save.keep != "best":
                keep_newest(self.output, self.recipe.save.keep)
            if not self.sharded:
                save_state(self.output, step, self._trained(), optimiser.optimizer)
        if self.sharded:
            begin_all_moments(optimiser.optimizer)
            self._save_sharded(step)
        self.accelerator.wait_for_everyone()

    def keep_best(self, step: int, watch: Watch | None) -> None:
        """Where the recipe says so, score a checkpoint on the whole pool, and remove all checkpoints but the best."""
        if self.recipe.save.keep != "best" or watch is None or step == 0:
            return
        if step not in logged(self.output, STANDING):
            with self._as_stored(step):
                standing = watch.standing(self.model, step)
            self._log(step, STANDING, asdict(standing))
        chosen = self.best()
        if self.accelerator.is_main_process and chosen:
            kept = checkpoint_folder(self.output, chosen.step)
            point_to_last(kept)
            for other in self.output.glob("checkpoint-*"):
                if other != kept:
                    shutil.rmtree(other, ignore_errors=True)
        self.accelerator.wait_for_everyone()

    def best(self) -> Standing | None:
        """Return the best of the checkpoints that were scored; None if none was."""
        return best(Standing(**values) for values in logged(self.output, STANDING).values())

    def resume(self, optimiser: Any) -> int:
        """Restore model and optimiser to where the run stopped; return the number of steps done."""
        folder = last_state(self.output)
        if self.sharded and folder is not None:
            self.accelerator.load_state(str(folder / "sharded"))
            step = read_step(folder)
        else:
            step = load_state(self.output, self._trained(), optimiser.optimizer)
        if self.accelerator.is_main_process:
            truncate_log(self.output, step)
        self.accelerator.wait_for_everyone()
        return step

    def evaluate(self, step: int) -> None:
        """Measure the current model, unless that was done before the run was stopped: its loss, and by the tasks."""
        settings = self.recipe.evaluate
        if step == 0 and not settings.at_start:
            return
        self._validate(step)
        folder = self.output / "evaluations" / f"step-{step:06d}"
        if not settings.tasks or folder.is_dir():
            return

        pretrained = str(checkpoint_folder(self.output, step)) if step else self.recipe.model
        with self._as_stored(step):
            scores = evaluate_live(self.model, self._processor, self.accelerator, settings, folder, pretrained)
        self._log(step, ACCURACY, scores)
        if self.recipe.trackers and self.accelerator.is_main_process:
            show_traces(self.accelerator.trackers, logged(self.output, ACCURACY), step)
        self.accelerator.wait_for_everyone()

    def _validate(self, step: int) -> None:
        if self._validation is None or step in logged(self.output, VALIDATION):
            return
        with self._as_stored(step):
            losses = self._validation.losses(self.model)
        self._log(step, VALIDATION, losses)

    def _log(self, step: int, what: str, values: dict[str, Any]) -> None:
        if self.accelerator.is_main_process:
            with (self.output / LOG_FILE).open("a", encoding="utf-8") as log:
                log.write(json.dumps({"step": step, what: values}) + "\n")
        if self.recipe.trackers:
            numbers = {name: value for name, value in values.items() if not isinstance(value, str)}
            self.accelerator.log({f"{what}/{name}": value for name, value in numbers.items()}, step=step)

    def _storage(self, step: int) -> Storage:
        """Return how a checkpoint's weights are stored; rounding is the same whenever it is asked for a step."""
        names = trained_base_names(self.accelerator.unwrap_model(self.model))
        seed = (self.recipe.seed << 32) + step
        return Storage(names, self._dtype, self.recipe.save.dtype, self._before, seed)

    def _report_survivors(self, step: int, storage: Storage) -> None:
        """Log which share of the changed weights is still changed as stored, and warn if it is small.

        In float32 it is all of them.
        """
        share = storage.surviving
        if share is None:
            return
        with (self.output / LOG_FILE).open("a", encoding="utf-8") as log:
            log.write(json.dumps({"step": step, "surviving": round(share, 6)}) + "\n")
        if share < FEW:
            sys.stderr.write(
                f"emt: step {step}: only {100 * share:.1f} % of the weights that training changed are changed as "
                f"stored in {str(storage.dtype).removeprefix('torch.')}; set save.dtype: fp32\n"
            )

    @contextmanager
    def _as_stored(self, step: int) -> Iterator[None]:
        """Give the model the weights that its checkpoint has: what is evaluated is what is saved."""
        if step == 0 or self.recipe.save.dtype == "fp32":
            yield
            return
        storage, trained = self._storage(step), self._trained()
        kept = {name: weights.detach().clone() for name, weights in trained.items()}
        with torch.no_grad():
            for name, weights in trained.items():
                weights.copy_(storage.round(name, weights))
        try:
            yield
        finally:
            with torch.no_grad():
                for name, weights in trained.items():
                    weights.copy_(kept[name])

    def _save_sharded(self, step: int) -> None:
        """Let accelerate write each process's share of model and optimiser, in its own format."""
        folder = state_folder(self.output, step)
        staging = folder.with_name(f".{folder.name}.sharded")
        self.accelerator.save_state(str(staging))
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            with whole_folder(folder, advice=RESUME) as partial:
                staging.rename(partial / "sharded")
                write_step(partial, step)
            drop_states_before(folder)

    def _trained(self) -> dict[str, Any]:
        model = self.accelerator.unwrap_model(self.model)
        return {name: weights for name, weights in model.named_parameters() if weights.requires_grad}


def begin_all_moments(optimiser: torch.optim.Optimizer) -> None:
    """Give AdamW's initial, empty state to weights that had no gradient yet, as AdamW would at the first one.

    Torch expects state for every trained weight when it loads a sharded state, even for layers that a model never uses,
    such as the last one of LLaVA's vision tower.
    """
    if not isinstance(optimiser, torch.optim.AdamW):
        return
    for group in optimiser.param_groups:
        for weights in group["params"]:
            if weights not in optimiser.state:
                moments = {name: torch.zeros_like(weights) for name in ("exp_avg", "exp_avg_sq")}
                optimiser.state[weights] = {"step": torch.zeros((), device=weights.device), **moments}
