"""What a run writes: checkpoints for `from_pretrained` or peft, and the state to resume from.

Everything is written to a temporary folder and renamed when complete, so that a killed process or a full disk leaves
the last good checkpoint. All tensors are safetensors.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

from emt_core.errors import UserError
from emt_core.files import write_text
from emt_core.folders import whole_folder
from finetune.training.storing import Storage

RECIPE_FILE = "emt_recipe.yaml"
LOG_FILE = "emt_train.jsonl"
ACCURACY, VALIDATION, PROBE = "accuracy", "validation_loss", "probe"
"""The names in the log of what the tasks of `evaluate` give, of the loss on `evaluate.loss_on`, and of looks."""
LAST = "last"
RESUME = "free some space, then --resume"
"""What to do if a checkpoint or a state could not be written."""
_STATE, _WEIGHTS, _OPTIMISER = "state.json", "trained.safetensors", "optimiser.safetensors"


def checkpoint_folder(output: Path, step: int) -> Path:
    """Return the folder of the checkpoint after some steps."""
    return output / f"checkpoint-{step:06d}"


def step_of(folder: Path) -> int:
    """Return after how many steps a checkpoint was written, by its folder's name."""
    return int(folder.name.rpartition("-")[2])


def save_checkpoint(
    folder: Path,
    model: Any,
    processor: Any,
    *,
    state: dict[str, torch.Tensor] | None = None,
    storage: Storage | None = None,
    notes: Mapping[str, str] | None = None,
    advice: str = RESUME,
) -> None:
    """Write a checkpoint: an adapter if the model is one of peft's, else a full model.

    Args:
        folder: the destination; replaced if it exists.
        model: without the wrappers for training.
        processor: saved beside the weights.
        state: the weights, if they are not simply the model's.
        storage: in which precision a full model's weights are stored; by default in their own.
        notes: further text files, by name.
        advice: what to do if the disk is full.
    """
    with whole_folder(folder, advice=advice) as partial:
        if isinstance(model, PeftModel):
            model.save_pretrained(partial, state_dict=state)
        else:
            weights = model.state_dict() if state is None else state
            model.save_pretrained(partial, state_dict=storage.store(weights) if storage else weights)
            name_dtype(partial / "config.json", storage.dtype if storage else None)
        processor.save_pretrained(partial)
        for name, text in (notes or {}).items():
            (partial / name).write_text(text, encoding="utf-8")


def point_to_last(folder: Path) -> None:
    """Point OUTPUT/last to a checkpoint."""
    link = folder.with_name(f".{LAST}")
    link.unlink(missing_ok=True)
    link.symlink_to(folder.name)
    link.replace(folder.with_name(LAST))


def keep_newest(output: Path, number: int | None) -> None:
    """Remove all checkpoints of a run but the newest ones; None keeps all."""
    if number is not None:
        for old in sorted(output.glob("checkpoint-*"))[:-number]:
            shutil.rmtree(old, ignore_errors=True)


def state_folder(output: Path, step: int) -> Path:
    """Return the folder of the state after some steps."""
    return output / f"resume-{step:06d}"


def write_step(folder: Path, step: int) -> None:
    """Record in a state's folder how many steps were done."""
    (folder / _STATE).write_text(json.dumps({"step": step}), encoding="utf-8")


def read_step(folder: Path) -> int:
    """Return how many steps were done when this state was written."""
    return int(json.loads((folder / _STATE).read_text(encoding="utf-8"))["step"])


def save_state(output: Path, step: int, weights: dict[str, Any], optimiser: Any) -> None:
    """Write everything that a run needs to resume after a step, and remove earlier states.

    Args:
        output: the run's folder.
        step: the number of steps done.
        weights: the trained parameters by name, in training precision.
        optimiser: a torch optimiser over these parameters.
    """
    folder = state_folder(output, step)
    names = {id(parameter): name for name, parameter in weights.items()}
    moments = {
        f"{names[id(parameter)]}//{key}": _tensor(value)
        for parameter, values in optimiser.state.items()
        for key, value in values.items()
        if value is not None
    }
    seen: set[int] = set()
    for name, value in moments.items():  # bitsandbytes keeps one table for all weights, which no file may share
        if value.data_ptr() in seen:
            moments[name] = value.clone()
        seen.add(value.data_ptr())
    with whole_folder(folder, advice=RESUME) as partial:
        save_file({name: value.detach().contiguous() for name, value in weights.items()}, partial / _WEIGHTS)
        save_file(moments, partial / _OPTIMISER)
        write_step(partial, step)
    drop_states_before(folder)


def drop_states_before(folder: Path) -> None:
    """Remove the states that a run wrote before this one."""
    for old in folder.parent.glob("resume-*"):
        if old != folder:
            shutil.rmtree(old, ignore_errors=True)


def load_state(output: Path, weights: dict[str, Any], optimiser: Any) -> int:
    """Restore trained parameters and optimiser, and return the number of steps done; 0 without a state.

    Raises:
        UserError: the state does not belong to these parameters.
    """
    folder = last_state(output)
    if folder is None:
        return 0
    saved, moments = load_file(folder / _WEIGHTS), load_file(folder / _OPTIMISER)
    if set(saved) != set(weights):
        odd = sorted(set(saved) ^ set(weights))
        raise UserError(f"--resume: {folder} has other parameters than the recipe trains, the first {odd[0]}")
    with torch.no_grad():
        for name, value in saved.items():
            weights[name].copy_(value)
    for key, value in moments.items():
        name, _, moment = key.rpartition("//")
        if value.dtype == torch.int64 and value.dim() == 0:  # bitsandbytes counts its steps in a plain number
            optimiser.state[weights[name]][moment] = int(value)
            continue
        on = value.device if value.dim() == 0 and not _fused(optimiser) else weights[name].device
        optimiser.state[weights[name]][moment] = value.to(on)
    return read_step(folder)


def last_state(output: Path) -> Path | None:
    """Return the folder with the newest state of a run; None if there is none."""
    return max(output.glob("resume-*"), default=None)


def truncate_log(output: Path, step: int) -> None:
    """Drop from the loss log what came after a step: it will be repeated."""
    log = output / LOG_FILE
    if not log.is_file():
        return
    kept = [line for line in log.read_text(encoding="utf-8").splitlines(keepends=True)
            if line.endswith("\n") and json.loads(line)["step"] <= step]  # fmt: skip
    write_text(log, "".join(kept), overwrite=True)


def logged(output: Path, what: str) -> dict[int, Any]:
    """Return something of a run's log, such as "accuracy", by step."""
    log = output / LOG_FILE
    lines = map(json.loads, log.read_text(encoding="utf-8").splitlines()) if log.is_file() else ()
    return {int(line["step"]): line[what] for line in lines if what in line}


def stored_dtype(pretrained: str, revision: str = "main") -> torch.dtype | None:
    """Return the dtype of a checkpoint's weights from its config, or None."""
    dtype: torch.dtype | None = AutoConfig.from_pretrained(pretrained, revision=revision).dtype
    return dtype


def _tensor(value: Any) -> torch.Tensor:
    return value.detach().contiguous() if isinstance(value, torch.Tensor) else torch.tensor(value)


def name_dtype(config: Path, dtype: torch.dtype | None) -> None:
    """Record the weights' dtype in the checkpoint's config; transformers records the training dtype."""
    if dtype is None:
        return
    settings = json.loads(config.read_text(encoding="utf-8"))
    for section in (settings, *(value for value in settings.values() if isinstance(value, dict))):
        if "dtype" in section:
            section["dtype"] = str(dtype).removeprefix("torch.")
    config.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _fused(optimiser: Any) -> bool:
    return any(group.get("fused") for group in optimiser.param_groups)
