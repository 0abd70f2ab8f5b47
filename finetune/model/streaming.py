"""Merge adapters and average checkpoints tensor by tensor: one shard is in memory at a time, and no whole model."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftType
from peft.utils import load_peft_weights
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.core_model_loading import revert_weight_conversion as _as_stored

from finetune.model.adapters import adapted_weights, trained_whole, with_adapter, with_delta
from finetune.training.checkpoint import LOG_FILE, name_dtype
from finetune.training.storing import Precision, Storage

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_NAMED = re.compile(r"\.modules_to_save\.default|(?<=\.lora_magnitude_vector)\.default\.weight|\.default(?=\.)")
"""What peft leaves out of names in an adapter's file."""

_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack")


class Weights:
    """The tensors of a checkpoint's safetensors files, read one by one.

    Args:
        folder: the checkpoint's.
        open_files: closes the files at its end.
    """

    def __init__(self, folder: Path, open_files: ExitStack) -> None:
        self.folder, self._open_files = folder, open_files
        self._files: dict[str, Any] = {}
        if (folder / _INDEX).is_file():
            index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
            self.file_of = {str(name): str(file) for name, file in index["weight_map"].items()}
        elif (folder / _SINGLE).is_file():
            self.file_of = dict.fromkeys(self._opened(_SINGLE).keys(), _SINGLE)
        else:
            self.file_of = {}

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor: torch.Tensor = self._opened(self.file_of[name]).get_tensor(name)
        return tensor

    def shape(self, name: str) -> tuple[int, ...]:
        """Return a tensor's shape, without reading it."""
        return tuple(self._opened(self.file_of[name]).get_slice(name).get_shape())

    def shards(self) -> Iterator[tuple[str, list[str]]]:
        """Yield each file with the names of its tensors."""
        for file in dict.fromkeys(self.file_of.values()):
            yield file, [name for name, other in self.file_of.items() if other == file]

    def _opened(self, file: str) -> Any:
        if file not in self._files:
            self._files[file] = self._open_files.enter_context(safe_open(str(self.folder / file), framework="pt"))
        return self._files[file]


def average(tuned: Path, base: Path, output: Path, share: float, base_dtype: torch.dtype | None, to: Precision) -> bool:
    """Write `share · base + (1 - share) · tuned` to a folder, with all other files of the tuned checkpoint.

    Args:
        tuned: a full checkpoint.
        base: the one that it was trained from.
        output: exists, and is empty.
        share: the base's.
        base_dtype: of the base's weights.
        to: what changed weights are stored in.

    Returns:
        Whether that was possible: not if the two name or shape their tensors differently, as files of an earlier
        version of transformers do; a loaded model tells more then.
    """
    with ExitStack() as files:
        weights, before = Weights(tuned, files), Weights(base, files)
        if not weights.file_of or weights.file_of.keys() != before.file_of.keys():
            return False
        if any(weights.shape(name) != before.shape(name) for name in weights.file_of):
            return False
        _write(weights, output, lambda name: (before[name], weights[name]), share, base_dtype, to, others=tuned)
    return True


def merge_adapter(
    adapter: Path, base: Path, output: Path, share: float, base_dtype: torch.dtype | None, to: Precision
) -> bool:
    """Write a base with an adapter added in; of the base only the config is needed as a model, without weights.

    Args:
        adapter: a folder of peft's.
        base: the checkpoint that it was trained on.
        output: exists, and is empty.
        share: the base's share of each weight, as in `average`.
        base_dtype: of the base's weights.
        to: what changed weights are stored in.

    Returns:
        Whether that was possible: not if the base names or shapes its tensors otherwise than transformers now does, or
        the adapter does not fit.
    """
    config = PeftConfig.from_pretrained(str(adapter))
    if config.peft_type != PeftType.LORA or config.target_parameters:  # fused experts are stored one by one
        return False
    with torch.device("meta"):
        model: Any = AutoModelForImageTextToText.from_config(AutoConfig.from_pretrained(base))
    stored_as = _names_in_files(model)
    try:
        model = with_adapter(model, config, empty=True)
        _fill(model, load_peft_weights(str(adapter), device="cpu"))
    except (KeyError, RuntimeError, TypeError, ValueError):  # an adapter that does not fit: a loaded model says how
        return False
    layers = {stored_as.get(name, ""): layer for name, layer in adapted_weights(model).items()}
    whole = {stored_as.get(name, ""): value for name, value in trained_whole(model).items()}
    shapes = {name: value.shape for name, value in whole.items()}
    shapes |= {name: layer.get_base_layer().weight.shape for name, layer in layers.items()}
    with ExitStack() as files:
        before = Weights(base, files)
        if any(name not in before.file_of or before.shape(name) != shape for name, shape in shapes.items()):
            return False

        def merged(name: str) -> tuple[torch.Tensor, torch.Tensor]:
            start = before[name]
            if name in layers:
                return start, with_delta(start, layers[name])
            return start, whole.get(name, start)

        _write(before, output, merged, share, base_dtype, to, others=base)
    return True


def _fill(model: Any, weights: Mapping[str, torch.Tensor]) -> None:
    """Give an adapter without weights those of its file; peft would move them to where its base's are, to nowhere.

    Raises:
        KeyError: the file lacks some.
        RuntimeError: some have another shape.
    """
    inside = [name for name in model.state_dict() if ".lora_" in name or ".modules_to_save." in name]
    found = {name: weights[_NAMED.sub("", name)] for name in inside}
    model.load_state_dict(found, strict=False, assign=True)


def _names_in_files(model: Any) -> dict[str, str]:
    """Return the name in a checkpoint's files of each tensor that transformers stores under one, as it is."""
    state = {name: value.to("meta") for name, value in model.state_dict().items()}
    names = {id(value): name for name, value in state.items()}
    return {names[id(value)]: stored for stored, value in _as_stored(model, state).items() if id(value) in names}


def _write(
    layout: Weights,
    output: Path,
    before_and_after: Callable[[str], tuple[torch.Tensor, torch.Tensor]],
    share: float,
    base_dtype: torch.dtype | None,
    to: Precision,
    *,
    others: Path,
) -> None:
    """Write `share · before + (1 - share) · after` of each tensor in the files of a checkpoint, and its other files."""
    changed: set[str] = set()
    storage, size = Storage(changed, base_dtype, to), 0
    for file, names in layout.shards():
        shard = {}
        for name in names:
            start, value = before_and_after(name)
            if torch.equal(value.float(), start.float()):  # untrained weights stay bit for bit
                shard[name] = storage.round(name, start)
            else:
                changed.add(name)
                shard[name] = storage.round(name, torch.lerp(value.float(), start.float(), share))
        save_file(shard, output / file, metadata={"format": "pt"})
        size += sum(value.numel() * value.element_size() for value in shard.values())
    _copy_others(others, output, size)
    name_dtype(output / "config.json", storage.dtype)


def _copy_others(tuned: Path, output: Path, size: int) -> None:
    for file in tuned.iterdir():
        if file.is_file() and file.suffix not in _WEIGHTS and file.name not in (LOG_FILE, "README.md"):
            shutil.copy(file, output / file.name)
    if (output / _INDEX).is_file():
        index = json.loads((output / _INDEX).read_text(encoding="utf-8"))
        index["metadata"] = {**index.get("metadata", {}), "total_size": size}
        (output / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
