"""Average two checkpoints tensor by tensor: one shard of the result is in memory at a time, and no model."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from finetune.training.checkpoint import LOG_FILE, name_dtype
from finetune.training.storing import Precision, Storage

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"


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
        changed: set[str] = set()
        storage, size = Storage(changed, base_dtype, to), 0
        for file, names in weights.shards():
            shard = {}
            for name in names:
                value, start = weights[name], before[name]
                if torch.equal(value.float(), start.float()):  # untrained weights stay bit for bit
                    shard[name] = storage.round(name, start)
                else:
                    changed.add(name)
                    shard[name] = storage.round(name, torch.lerp(value.float(), start.float(), share))
            save_file(shard, output / file, metadata={"format": "pt"})
            size += sum(value.numel() * value.element_size() for value in shard.values())
    _copy_others(tuned, output, size)
    name_dtype(output / "config.json", storage.dtype)
    return True


def _copy_others(tuned: Path, output: Path, size: int) -> None:
    for file in tuned.iterdir():
        if file.is_file() and file.suffix not in (".safetensors", ".bin") and file.name not in (LOG_FILE, "README.md"):
            shutil.copy(file, output / file.name)
    if (output / _INDEX).is_file():
        index = json.loads((output / _INDEX).read_text(encoding="utf-8"))
        index["metadata"] = {**index.get("metadata", {}), "total_size": size}
        (output / _INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
