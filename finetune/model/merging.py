"""From an adapter, or from a checkpoint and its base, to one full checkpoint that `from_pretrained` loads."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
import yaml
from peft import LoraConfig, PeftConfig

from emt_core.errors import UserError
from emt_core.folders import check_folder, made_folder
from emt_tasks.models import loading
from emt_tasks.models.adapters import load_adapter
from finetune.model.adapters import merged_state, without_adapters
from finetune.model.streaming import average, merge_adapter
from finetune.training.checkpoint import RECIPE_FILE, save_checkpoint, stored_dtype
from finetune.training.storing import Precision, Storage

MADE_BY = "emt merge"


def merge(
    source: str,
    output: Path,
    *,
    base: str | None = None,
    with_base: float = 0.0,
    dtype: Precision = "fp32",
    overwrite: bool = False,
) -> Path:
    """Write a full checkpoint and return its folder.

    Args:
        source: an adapter folder, or a full checkpoint to average with its base.
        output: the folder to write.
        base: the model before fine-tuning; by default the one named by the adapter or the checkpoint's recipe.
        with_base: the base's share a of every weight, a · base + (1 - a) · fine-tuned: WiSE-FT (arXiv 2109.01903,
            section 3) with alpha = 1 - a. 0 keeps only the fine-tuned weights.
        dtype: what changed weights are stored in; see `finetune.training.storing`.
        overwrite: replace what an earlier merge wrote to `output`.

    Raises:
        UserError: nothing to merge, no base, two models of different shape, or a folder that is not empty.
    """
    check_folder(output, MADE_BY, overwrite=overwrite)
    if not 0 <= with_base <= 1:
        raise UserError(f"--with-base: {with_base} is not a share; expected 0 (fine-tuned alone) to 1 (base alone)")
    is_adapter = loading.is_adapter(source)
    if not is_adapter and not with_base:
        raise UserError(f"{source}: a full checkpoint has nothing to merge; give --with-base, or an adapter folder")
    if is_adapter and not isinstance(kind := PeftConfig.from_pretrained(source), LoraConfig):
        raise UserError(f"{source}: only LoRA can be merged, found an adapter of kind {kind.peft_type.value}")
    base = base or (loading.adapter_base(source) if is_adapter else _base_in_recipe(Path(source)))
    if base is None:
        raise UserError(f"--base: {source} does not say which model it was fine-tuned from; give it")
    stream = merge_adapter if is_adapter else average
    local = Path(base).is_dir() and Path(source).is_dir()
    with made_folder(output, MADE_BY, overwrite=overwrite) as partial:
        if not (local and stream(Path(source), Path(base), partial, with_base, stored_dtype(base), dtype)):
            _through_models(source, base, partial, with_base, dtype, is_adapter=is_adapter)
        recipe = Path(source) / RECIPE_FILE
        if recipe.is_file():
            shutil.copy(recipe, partial / RECIPE_FILE)
    return output


def _through_models(
    source: str, base: str, folder: Path, with_base: float, dtype: Precision, *, is_adapter: bool
) -> None:
    """Write the checkpoint by loading the base, and the adapter or the checkpoint."""
    model = _load(base)
    before = model.state_dict()  # an adapter leaves these as they are
    model = load_adapter(model, source) if is_adapter else _load(source)
    weights = merged_state(model)
    if with_base:
        weights = interpolate(before, weights, with_base)
    changed = {name for name, value in weights.items() if not torch.equal(value.float(), before[name].float())}
    save_checkpoint(
        folder,
        without_adapters(model),
        loading.load_processor(base, revision="main", trust_remote_code=False),
        state=weights,
        storage=Storage(changed, stored_dtype(base), dtype),
        advice="free some space and run it again",
    )


def interpolate(base: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], share: float) -> dict[str, Any]:
    """Return `share · base + (1 - share) · tuned` for every weight, computed in float32.

    Raises:
        UserError: the two have different weights.
    """
    for name in sorted(set(base) ^ set(tuned)):
        raise UserError(f"--base: the two models differ: only one of them has {name}")
    mixed = {}
    for name, value in tuned.items():
        if value.shape != base[name].shape:
            raise UserError(f"--base: {name} has shape {tuple(base[name].shape)} there and {tuple(value.shape)} here")
        same = torch.equal(value.float(), base[name].float())  # untrained weights stay bit for bit
        mixed[name] = base[name] if same else torch.lerp(value.float(), base[name].float(), share)
    return mixed


def _load(pretrained: str) -> Any:
    """Load a model in the dtype that it is stored in: two copies in float32 would not fit where one model does."""
    dtype = stored_dtype(pretrained) or torch.float32
    return loading.load_model(
        pretrained,
        revision="main",
        dtype=str(dtype).removeprefix("torch."),
        attn_implementation=None,
        device=torch.device("cpu"),
        device_map=None,
        trust_remote_code=False,
    )


def _base_in_recipe(folder: Path) -> str | None:
    recipe = folder / RECIPE_FILE
    return str(yaml.safe_load(recipe.read_text(encoding="utf-8"))["model"]) if recipe.is_file() else None
