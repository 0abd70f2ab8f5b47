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
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

from finetune.model.feature_store import FeatureStore

_CHUNK = 2**20
"""How many numbers are digested at a time."""

_AS_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
_PLAIN = (bool, int, float, str, type(None), torch.dtype)


@dataclass
class Counts:
    """How many images the tower has computed, and how many were read."""

    computed: int = 0
    read: int = 0
    reason: str | None = None
    """Why nothing is read any more, if so."""


def can_be_cached(tower: nn.Module) -> bool:
    """Whether a tower is frozen and gives the same for the same image: nothing is dropped, no batch is normalised."""
    trained = any(weights.requires_grad for weights in tower.parameters())
    config = getattr(tower, "config", None)
    settings = config.to_dict() if config is not None else {}
    drops = any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings.items())
    drops = drops or any(isinstance(module, nn.Dropout) and module.p > 0 for module in tower.modules())
    sees_batches = any(isinstance(module, _BatchNorm) and module.training for module in tower.modules())
    return not (trained or drops or sees_batches)


def describe_features(counts: Counts) -> str:
    """Return how often a tower ran."""
    if counts.reason is not None:
        return f"vision tower: run for every batch, as its features cannot be kept ({counts.reason})"
    return f"vision tower: {counts.computed:,} images computed, {counts.read:,} read from the feature cache"


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


class _Irregular(Exception):
    """A tower's inputs or outputs cannot be told apart by image."""


@dataclass(frozen=True)
class _Call:
    """The arguments of one forward pass, split by image.

    `leaves` are the arguments one by one; `sizes` say how many rows of the first tensor each image has: one, or as many
    as it has patches where those of all images follow one another (Qwen2-VL).
    """

    leaves: list[Any]
    spec: Any
    sizes: list[int]

    @classmethod
    def of(cls, arguments: Any, settings: dict[str, Any]) -> _Call:
        leaves, spec = pytree.tree_flatten((arguments, settings))
        pixels = next((leaf for leaf in leaves if isinstance(leaf, torch.Tensor)), None)
        if pixels is None:
            raise _Irregular("no pixels")
        sizes = next(filter(None, (_grid_sizes(leaf, len(pixels)) for leaf in leaves)), [1] * len(pixels))
        for leaf in leaves:
            if not isinstance(leaf, (torch.Tensor, *_PLAIN)):
                raise _Irregular(f"an argument of type {type(leaf).__name__}")
        return cls(leaves, spec, sizes)

    def per_image(self, leaf: torch.Tensor) -> list[torch.Tensor]:
        """Return an argument's or an output's rows for each image."""
        rows, all_rows, images = leaf.shape[0] if leaf.dim() else -1, sum(self.sizes), len(self.sizes)
        if rows == images and (images != all_rows or set(self.sizes) == {1}):
            return list(torch.split(leaf, 1))
        if rows > 0 and all(size * rows % all_rows == 0 for size in self.sizes):
            return list(torch.split(leaf, [size * rows // all_rows for size in self.sizes]))
        raise _Irregular(f"a tensor of shape {tuple(leaf.shape)} for {images} images")

    def keys(self, read: set[int]) -> list[bytes]:
        """Return 16 bytes for each image that stand for its pixels, all other arguments, and the outputs kept."""
        settings = [leaf for leaf in self.leaves if not isinstance(leaf, torch.Tensor)]
        plain = repr([sorted(read), settings]).encode()
        tensors = [self.per_image(leaf) for leaf in self.leaves if isinstance(leaf, torch.Tensor)]
        digests = [hashlib.blake2b(plain, digest_size=16) for _ in self.sizes]
        for rows in tensors:
            for digest, row, words in zip(digests, rows, _digests(rows), strict=True):
                digest.update(f"{row.dtype}{tuple(row.shape)}".encode() + words)
        return [digest.digest() for digest in digests]

    def only(self, images: Sequence[int]) -> _Call:
        """Return the arguments for some of the images."""
        if list(images) == list(range(len(self.sizes))):
            return self
        leaves = []
        for leaf in self.leaves:
            if isinstance(leaf, torch.Tensor):
                rows = self.per_image(leaf)
                leaf = torch.cat([rows[image] for image in images])
            leaves.append(leaf)
        return _Call(leaves, self.spec, [self.sizes[image] for image in images])

    def run(self, forward: Callable[..., Any]) -> Any:
        """Call a forward pass with these arguments, without gradients."""
        arguments, settings = pytree.tree_unflatten(self.leaves, self.spec)
        with torch.no_grad():
            return forward(*arguments, **settings)


@dataclass(frozen=True)
class _Probe:
    """A pass whose outputs can get gradients, to see which of them do."""

    call: _Call
    leaves: list[Any]
    spec: Any

    def read(self) -> set[int]:
        """Return the numbers of the outputs that got a gradient."""
        return {
            number
            for number, leaf in enumerate(self.leaves)
            if isinstance(leaf, torch.Tensor) and leaf.grad is not None
        }


@dataclass(frozen=True)
class _Output:
    """What a tower's output looks like: its tensors have the right shapes for so many rows, and no memory."""

    leaves: list[Any]
    spec: Any
    rows: int


class _CachedTower:
    """Stands in for a tower's forward pass."""

    def __init__(self, tower: nn.Module, folder: Path, limit: int) -> None:
        self.counts = Counts()
        self._tower, self._forward = tower, tower.forward
        self._folder, self._limit = folder, limit
        self._store: FeatureStore | None = None
        self._probes: list[_Probe] = []
        self._read: set[int] = set()
        self._output: _Output | None = None

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        if self.counts.reason is not None or not torch.is_grad_enabled():
            return self._forward(*arguments, **settings)
        try:
            return self._cached(_Call.of(arguments, settings))
        except _Irregular as reason:
            self.counts.reason = str(reason)
            return self._forward(*arguments, **settings)

    def close(self) -> None:
        if self._store is not None:
            self._store.close()

    def _cached(self, call: _Call) -> Any:
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
            stored |= self._kept([keys[image] for image in images], part, _leaves(part.run(self._forward)))
            self.counts.computed += len(images)
        return self._assembled([stored[key] for key in keys], call)

    def _probed(self, call: _Call) -> Any:
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
        self._output = _Output([_shape_of(leaf) for leaf in last.leaves], last.spec, sum(last.call.sizes))
        self._probes = []
        return True

    def _kept(self, keys: Sequence[bytes], call: _Call, leaves: Sequence[Any]) -> dict[bytes, dict[str, torch.Tensor]]:
        """Store what the model reads of some images; return it by key."""
        assert self._store is not None
        found: dict[bytes, dict[str, torch.Tensor]] = {key: {} for key in keys}
        for number in self._read:
            for key, row in zip(keys, call.per_image(leaves[number]), strict=True):
                found[key][str(number)] = row
        for key, tensors in found.items():
            self._store.put(key, {name: row.detach().cpu().contiguous() for name, row in tensors.items()})
        return found

    def _assembled(self, rows: Sequence[dict[str, torch.Tensor]], call: _Call) -> Any:
        """Return the tower's output for some images; what the model does not read is not a number."""
        assert self._output is not None
        device = next(leaf.device for leaf in call.leaves if isinstance(leaf, torch.Tensor))
        rows_now = sum(call.sizes)
        leaves = []
        for number, leaf in enumerate(self._output.leaves):
            if number in self._read:
                leaf = torch.cat([row[str(number)].to(device) for row in rows])
            elif isinstance(leaf, torch.Tensor) and leaf.dim():
                count = leaf.shape[0] * rows_now // self._output.rows
                leaf = leaf[:1].expand(count, *leaf.shape[1:])
            leaves.append(leaf)
        return pytree.tree_unflatten(leaves, self._output.spec)

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
                digest.update(_digests([weights])[0])
        return digest.hexdigest()


def _leaves(output: Any) -> list[Any]:
    return list(pytree.tree_flatten(output)[0])


def _shape_of(leaf: Any) -> Any:
    """Return something of a tensor's shape that takes no memory, and that no result is computed from unnoticed."""
    if not isinstance(leaf, torch.Tensor):
        return leaf
    value = torch.nan if leaf.is_floating_point() else 0
    return leaf.new_full((), value).detach().expand(leaf.shape)


def _grid_sizes(leaf: Any, rows: int) -> list[int] | None:
    """Return the number of patches of each image, if an argument is a grid of (time, height, width) for each."""
    if not isinstance(leaf, torch.Tensor) or leaf.dim() != 2 or leaf.is_floating_point() or leaf.shape[1] not in (2, 3):
        return None
    sizes = [prod(grid) for grid in leaf.tolist()]
    return sizes if sum(sizes) == rows and rows > 0 else None


def _digests(rows: Sequence[torch.Tensor]) -> list[bytes]:
    """Return bytes that stand for each tensor: for every chunk two sums of its words, each times a random odd number.

    Such multilinear sums differ for different chunks but for one in some 2⁶⁰, and need one pass on the device.
    """
    return [b"".join(_chunk_digest(chunk) for chunk in torch.split(_words(row), _CHUNK)) for row in rows]


def _chunk_digest(words: torch.Tensor) -> bytes:
    times = _multipliers(str(words.device))[:, : words.numel()]
    return bytes((times * words.to(torch.int64)).sum(-1).cpu().numpy().tobytes())


def _words(values: torch.Tensor) -> torch.Tensor:
    """Return a tensor's bits as integers, `(n,)`."""
    values = values.detach().contiguous().reshape(-1)
    values = values.to(torch.uint8) if values.dtype == torch.bool else values
    return values.view(_AS_INTEGERS[values.element_size()])


@functools.cache
def _multipliers(device: str) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    numbers = torch.randint(-(2**62), 2**62, (2, _CHUNK), generator=generator, dtype=torch.int64)
    return (numbers * 2 + 1).to(device)
