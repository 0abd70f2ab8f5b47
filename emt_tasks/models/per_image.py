"""A vision tower's calls taken apart by image: what stands for each image's pixels, and its part of the output."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils import _pytree as pytree

Rows = Mapping[str, torch.Tensor]
"""One image's rows of the tower's outputs, by the number of the output."""

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


def describe(counts: Counts, kept: str) -> str:
    """Say how often a tower ran; `kept` is where its outputs are kept."""
    if counts.reason is not None:
        return f"vision tower: run for every batch, as its features cannot be kept ({counts.reason})"
    return f"vision tower: {counts.computed:,} images computed, {counts.read:,} read from {kept}"


def can_be_cached(tower: nn.Module) -> bool:
    """Whether a tower is frozen and gives the same for the same image: nothing is dropped, no batch is normalised."""
    trained = any(weights.requires_grad for weights in tower.parameters())
    config = getattr(tower, "config", None)
    settings = config.to_dict() if config is not None else {}
    drops = any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings.items())
    drops = drops or any(isinstance(module, nn.Dropout) and module.p > 0 for module in tower.modules())
    sees_batches = any(isinstance(module, _BatchNorm) and module.training for module in tower.modules())
    return not (trained or drops or sees_batches)


class Irregular(Exception):
    """A tower's inputs or outputs cannot be told apart by image."""


@dataclass(frozen=True)
class Call:
    """The arguments of one forward pass, split by image.

    `leaves` are the arguments one by one; `sizes` say how many rows of the first tensor each image has: one, or as many
    as it has patches where those of all images follow one another (Qwen2-VL).
    """

    leaves: list[Any]
    spec: Any
    sizes: list[int]

    @classmethod
    def of(cls, arguments: Any, settings: dict[str, Any]) -> Call:
        """Take a call apart.

        Raises:
            Irregular: it has no pixels, or an argument that cannot be told apart by image.
        """
        leaves, spec = pytree.tree_flatten((arguments, settings))
        pixels = next((leaf for leaf in leaves if isinstance(leaf, torch.Tensor)), None)
        if pixels is None:
            raise Irregular("no pixels")
        sizes = next(filter(None, (_grid_sizes(leaf, len(pixels)) for leaf in leaves)), [1] * len(pixels))
        for leaf in leaves:
            if not isinstance(leaf, (torch.Tensor, *_PLAIN)):
                raise Irregular(f"an argument of type {type(leaf).__name__}")
        return cls(leaves, spec, sizes)

    def per_image(self, leaf: torch.Tensor) -> list[torch.Tensor]:
        """Return an argument's or an output's rows for each image."""
        rows, all_rows, images = leaf.shape[0] if leaf.dim() else -1, sum(self.sizes), len(self.sizes)
        if rows == images and (images != all_rows or set(self.sizes) == {1}):
            return list(torch.split(leaf, 1))
        if rows > 0 and all(size * rows % all_rows == 0 for size in self.sizes):
            return list(torch.split(leaf, [size * rows // all_rows for size in self.sizes]))
        raise Irregular(f"a tensor of shape {tuple(leaf.shape)} for {images} images")

    @property
    def settings(self) -> str:
        """All arguments but the tensors."""
        return repr([leaf for leaf in self.leaves if not isinstance(leaf, torch.Tensor)])

    def keys(self, read: set[int]) -> list[bytes]:
        """Return 16 bytes for each image that stand for its pixels, all other arguments, and the outputs kept."""
        plain = f"[{sorted(read)}, {self.settings}]".encode()
        tensors = [self.per_image(leaf) for leaf in self.leaves if isinstance(leaf, torch.Tensor)]
        digests = [hashlib.blake2b(plain, digest_size=16) for _ in self.sizes]
        for rows in tensors:
            for digest, row, words in zip(digests, rows, digests_of(rows), strict=True):
                digest.update(f"{row.dtype}{tuple(row.shape)}".encode() + words)
        return [digest.digest() for digest in digests]

    def rows_of(self, leaves: Sequence[Any], read: set[int]) -> list[dict[str, torch.Tensor]]:
        """Return for each image its rows of the outputs with these numbers."""
        apart = {str(number): self.per_image(leaves[number]) for number in sorted(read)}
        return [{name: rows[image] for name, rows in apart.items()} for image in range(len(self.sizes))]

    def only(self, images: Sequence[int]) -> Call:
        """Return the arguments for some of the images."""
        if list(images) == list(range(len(self.sizes))):
            return self
        leaves = []
        for leaf in self.leaves:
            if isinstance(leaf, torch.Tensor):
                rows = self.per_image(leaf)
                leaf = torch.cat([rows[image] for image in images])
            leaves.append(leaf)
        return Call(leaves, self.spec, [self.sizes[image] for image in images])

    def run(self, forward: Callable[..., Any]) -> Any:
        """Call a forward pass with these arguments, without gradients."""
        arguments, settings = pytree.tree_unflatten(self.leaves, self.spec)
        with torch.no_grad():
            return forward(*arguments, **settings)


@dataclass(frozen=True)
class Output:
    """What a tower's output looks like: its tensors have the right shapes for so many rows, and no memory."""

    leaves: list[Any]
    spec: Any
    rows: int

    @classmethod
    def like(cls, leaves: Sequence[Any], spec: Any, call: Call) -> Output:
        """Return what an output of a call looks like, by its tensors and other parts one by one."""
        return cls([_shape_of(leaf) for leaf in leaves], spec, sum(call.sizes))

    def assembled(self, rows: Sequence[Rows], call: Call) -> Any:
        """Return the output for some images; of what is not among their rows each number is none."""
        return pytree.tree_unflatten(self.filled(rows, call), self.spec)

    def filled(self, rows: Sequence[Rows], call: Call) -> list[Any]:
        """Return the tensors and other parts of that output one by one."""
        device = next(leaf.device for leaf in call.leaves if isinstance(leaf, torch.Tensor))
        rows_now = sum(call.sizes)
        leaves = []
        for number, leaf in enumerate(self.leaves):
            if str(number) in rows[0]:
                leaf = torch.cat([row[str(number)].to(device) for row in rows])
            elif isinstance(leaf, torch.Tensor) and leaf.dim():
                count = leaf.shape[0] * rows_now // self.rows
                leaf = leaf[:1].expand(count, *leaf.shape[1:])
            leaves.append(leaf)
        return leaves


def leaves_of(output: Any) -> list[Any]:
    """Return an output's tensors and other parts one by one."""
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


def digests_of(rows: Sequence[torch.Tensor]) -> list[bytes]:
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
