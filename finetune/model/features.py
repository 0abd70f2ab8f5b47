"""A frozen vision tower runs once for each image: what the model reads of its output is kept on disk.

`cached_tower` stands in for the tower's forward pass while a model trains. The first pass finds out which of the
tower's outputs the model reads: those that get a gradient. Only these are stored, under a digest of the image's pixels
as the processor made them, in a folder for these weights, this configuration and this precision. Epochs after the
first, and later runs with the same tower, read them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.utils import _pytree as pytree

from emt_tasks.models.per_image import Call, Counts, Irregular, Output, digests_of, leaves_of
from finetune.model.feature_store import FeatureStore


@contextmanager
def cached_tower(tower: nn.Module, folder: Path, limit: int) -> Iterator[Counts]:
    """Let a tower run once for each image while gradients are enabled; yield what it has done.

    Args:
        tower: a frozen vision tower; see `can_be_cached`.
        folder: of all stores.
        limit: bytes that they may have together.
    """
    cached = _CachedTower(tower, folder, limit)
    forward = tower.forward

    @functools.wraps(forward)
    def instead(*arguments: Any, **settings: Any) -> Any:
        return cached(*arguments, **settings)

    tower.forward = instead
    try:
        yield cached.counts
    finally:
        del tower.forward
        cached.close()


@dataclass(frozen=True)
class _Probe:
    """A pass whose outputs can get gradients, to see which of them do."""

    call: Call
    leaves: list[Any]
    spec: Any

    def read(self) -> set[int]:
        """Return the numbers of the outputs that got a gradient."""
        return {
            number
            for number, leaf in enumerate(self.leaves)
            if isinstance(leaf, torch.Tensor) and leaf.grad is not None
        }


class _CachedTower:
    """Stands in for a tower's forward pass."""

    def __init__(self, tower: nn.Module, folder: Path, limit: int) -> None:
        self.counts = Counts()
        self._tower, self._forward = tower, tower.forward
        self._folder, self._limit = folder, limit
        self._store: FeatureStore | None = None
        self._probes: list[_Probe] = []
        self._read: set[int] = set()
        self._output: Output | None = None

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if self.counts.reason is not None or not torch.is_grad_enabled():
            return self._forward(*arguments, **settings)
        try:
            return self._cached(Call.of(arguments, settings))
        except Irregular as reason:
            self.counts.reason = str(reason)
            return self._forward(*arguments, **settings)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _cached(self, call: Call) -> Any:
        if self._store is None:
            self._store = FeatureStore(self._folder / self._name(), self._limit)
        if self._output is None and not self._learned():
            return self._probed(call)
        keys = call.keys(self._read)
        stored = {key: found for key in dict.fromkeys(keys) if (found := self._store.get(key)) is not None}
        missing = {key: image for image, key in reversed(list(enumerate(keys))) if key not in stored}
        self.counts.read += sum(key in stored for key in keys)
        if missing:
            images = sorted(missing.values())
            part = call.only(images)
            stored |= self._kept([keys[image] for image in images], part, leaves_of(part.run(self._forward)))
            self.counts.computed += len(images)
        assert self._output is not None
        return self._output.assembled([stored[key] for key in keys], call)

    def _probed(self, call: Call) -> Any:
        """Run the tower so that its outputs can get gradients."""
        leaves, spec = pytree.tree_flatten(call.run(self._forward))
        self.counts.computed += len(call.sizes)
        leaves = [
            leaf.detach().requires_grad_() if isinstance(leaf, torch.Tensor) and leaf.is_floating_point() else leaf
            for leaf in leaves
        ]
        self._probes.append(_Probe(call, leaves, spec))
        return pytree.tree_unflatten(leaves, spec)

    def _learned(self) -> bool:
        """Whether it is known what the model reads: then what the probes computed is kept."""
        self._read = set().union(*(probe.read() for probe in self._probes))
        if not self._read:
            # Passes without a backward pass teach nothing, and their outputs are large.
            self._probes = self._probes[-1:]
            return False
        for probe in self._probes:
            self._kept(probe.call.keys(self._read), probe.call, probe.leaves)
        last = self._probes.pop()
        self._output = Output.like(last.leaves, last.spec, last.call)
        self._probes = []
        return True

    def _kept(self, keys: Sequence[bytes], call: Call, leaves: Sequence[Any]) -> dict[bytes, dict[str, torch.Tensor]]:
        """Store what the model reads of some images; return it by key."""
        assert self._store is not None
        found = dict(zip(keys, call.rows_of(leaves, self._read), strict=True))
        for key, tensors in found.items():
            self._store.put(key, {name: row.detach().cpu().contiguous() for name, row in tensors.items()})
        return found

    def _name(self) -> str:
        """Return a name for all that the output depends on but the image."""
        device = next(self._tower.parameters()).device.type
        config = getattr(self._tower, "config", None)
        facts = {
            "tower": type(self._tower).__qualname__,
            "config": config.to_json_string(use_diff=False) if config is not None else "",
            "attention": getattr(config, "_attn_implementation", None),
            "device": device,
            "autocast": str(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else "off",
            "versions": [torch.__version__, transformers.__version__],
        }
        digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=16)
        with torch.no_grad():
            for name, weights in (*self._tower.named_parameters(), *self._tower.named_buffers()):
                digest.update(f"{name}{weights.dtype}{tuple(weights.shape)}".encode())
                digest.update(digests_of([weights])[0])
        return digest.hexdigest()
