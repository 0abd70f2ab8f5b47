"""In which precision a checkpoint's weights are stored, and how many of the changes in training that keeps.

A weight in bfloat16 has 8 significant bits: at a learning rate of 1e-6 most steps are smaller than half the distance
to the next number, and rounding to the base's dtype would take them back. So weights that were trained are stored in
float32 unless the recipe says otherwise, and weights that were not trained in the base's dtype, which is exact.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

Precision = Literal["fp32", "base", "bf16"]

FEW = 0.9
"""A share of surviving changes below which a run is warned."""


@dataclass
class Storage:
    """How the weights of one checkpoint are stored.

    Attributes:
        trained: the names of the weights that were trained.
        base: the dtype of the base checkpoint; None to leave what was not trained as it is.
        precision: of what was trained: float32, the base's dtype, or bfloat16 with stochastic rounding.
        before: the trained weights of the base, to count which changes survive; empty not to count.
        seed: of stochastic rounding.
    """

    trained: Collection[str] = ()
    base: torch.dtype | None = None
    precision: Precision = "fp32"
    before: Mapping[str, torch.Tensor] = field(default_factory=dict)
    seed: int = 0
    changed: int = field(default=0, init=False)
    survived: int = field(default=0, init=False)

    @property
    def dtype(self) -> torch.dtype | None:
        """The dtype in which the checkpoint is to be loaded: one that holds every stored weight exactly."""
        if self.precision == "fp32":
            return torch.float32 if self.trained else self.base
        return torch.bfloat16 if self.precision == "bf16" else self.base

    @property
    def surviving(self) -> float | None:
        """The share of the weights changed by training that are also changed as stored; None if none was counted."""
        return self.survived / self.changed if self.changed else None

    def store(self, weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights as they are stored; names that share memory still do."""
        stored: dict[str, torch.Tensor] = {}
        places: dict[int, torch.Tensor] = {}
        for name in sorted(weights, key=lambda name: name not in self.trained):
            value = weights[name]
            place = value.data_ptr()
            if place not in places or places[place].shape != value.shape:
                places[place] = self.round(name, value)
                self._count(name, value, places[place])
            stored[name] = places[place]
        return {name: stored[name] for name in weights}

    def round(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return one weight as it is stored."""
        if not value.is_floating_point():
            return value
        if self.precision == "bf16":
            return stochastic(value, self._generator(name)) if name in self.trained else value.to(torch.bfloat16)
        if name in self.trained and self.precision == "fp32":
            return value.float()
        return value if self.base is None else value.to(self.base)

    def _count(self, name: str, value: torch.Tensor, stored: torch.Tensor) -> None:
        before = self.before.get(name)
        if before is None:
            return
        start = before.to(value.device).float()
        changed = value.float() != start
        self.changed += int(changed.sum())
        self.survived += int((changed & (stored.float() != start)).sum())

    def _generator(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(zlib.crc32(f"{self.seed} {name}".encode()))


def stochastic(value: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Round float32 to bfloat16, up or down with chances such that the mean is the value; exact where it fits.

    Adds 16 random bits below the bits that bfloat16 keeps and cuts them off; what is not finite stays as it is.
    """
    bits = value.detach().float().contiguous().cpu().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, generator=generator, dtype=torch.int32)
    rounded = ((bits + noise) & -(1 << 16)).view(torch.float32)
    finite = torch.isfinite(rounded) & torch.isfinite(value.detach().cpu())
    return torch.where(finite, rounded, value.detach().float().cpu()).to(torch.bfloat16).to(value.device)
