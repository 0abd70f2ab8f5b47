"""Merges of a fine-tuned model with its base, in place on one loaded model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import torch

from emt_core.errors import UserError
from emt_tasks.models.loading import folder_or_name
from finetune.model.parts import find_parts
from finetune.recipes.schema import PartName
from finetune.training.checkpoint import save_checkpoint, stored_dtype
from finetune.training.storing import Storage

_FINEST: tuple[PartName, ...] = ("llm_attention", "llm_gate_up", "vision", "audio", "projector", "llm")
"""A weight belongs to the first of these parts that it is in."""


@dataclass(frozen=True)
class Sparse:
    """Only some of what fine-tuning changed, δ = tuned − base, in each weight.

    `ties`: the `density` of it that is largest, at least one number (the trimming of TIES, arXiv 2306.01708, §3; with
    a single candidate there is no sign to elect). `dare`: a random `density` of it, divided by that (DARE, arXiv
    2311.03099, §3). mergekit does the same from folder to folder, and is what the tests compare this with; it scales
    what DARE leaves to the length that the whole change had, not by the density.
    """

    way: Literal["ties", "dare"]
    density: float

    def of(self, change: torch.Tensor, name: str) -> torch.Tensor:
        """Return what is left of a weight's change; the same whenever it is asked."""
        if self.way == "ties":
            count = max(1, int(self.density * change.numel()))
            chosen = change.abs().flatten().topk(count).indices
            mask = torch.zeros(change.numel(), dtype=change.dtype, device=change.device).index_fill_(0, chosen, 1.0)
            return change * mask.view_as(change)
        generator = torch.Generator().manual_seed(crc32(name.encode()))
        drawn = torch.rand(change.shape, generator=generator) < self.density
        return change * drawn.to(change) / self.density

    def __str__(self) -> str:
        which = {"ties": "the largest", "dare": "a random"}[self.way]
        return f"{which} {100 * self.density:.0f} % of what changed ({self.way.upper()})"


@dataclass(frozen=True)
class Merge:
    """θ = share · base + (1 − share) · tuned: WiSE-FT (arXiv 2109.01903, §3), with α = 1 − share.

    `parts` have a share of their own; with `sparse`, tuned is the base with only some of what changed.
    """

    share: float
    parts: Mapping[str, float] = field(default_factory=dict)
    sparse: Sparse | None = None

    def of(self, part: str) -> float:
        """Return the base's share of a part's weights."""
        return self.parts.get(part, self.share)

    def __str__(self) -> str:
        others = "".join(f", {share:.2f} of its {part}" for part, share in sorted(self.parts.items()))
        return f"{self.share:.2f} of the base{others}" + (f", {self.sparse}" if self.sparse else "")

    def as_scale(self) -> str:
        """Return it in words where the candidate is an adapter, which has a scale: one less the base's share."""
        others = "".join(f", by {1 - share:.2f} in {part}" for part, share in sorted(self.parts.items()))
        return f"the adapter scaled by {1 - self.share:.2f}{others}" + (f", {self.sparse}" if self.sparse else "")

    def __hash__(self) -> int:
        return hash((self.share, tuple(sorted(self.parts.items())), self.sparse))


class Merges:
    """One loaded model that becomes each merge in turn; only weights that fine-tuning changed are touched.

    Args:
        model: the fine-tuned one, without wrappers.
        base: the base's weights by name.

    Raises:
        UserError: the two are not the same architecture, or equal.
    """

    def __init__(self, model: Any, base: Mapping[str, torch.Tensor]) -> None:
        self._model = model
        self._weights = dict(model.named_parameters())
        for name, weights in self._weights.items():
            if name not in base or base[name].shape != weights.shape:
                raise UserError(
                    f"the base has no weights like the candidate's {name}; give the base that it was trained from"
                )
        changed = [
            name
            for name, weights in self._weights.items()
            if not torch.equal(weights.cpu().float(), base[name].float())
        ]
        if not changed:
            raise UserError("the candidate's weights are the base's; there is nothing to merge")
        self._base = {name: base[name].to(self._weights[name].device, torch.float32) for name in changed}
        self._tuned = {name: self._weights[name].detach().clone() for name in changed}
        found = find_parts(model)
        self._part = {
            name: part for part in reversed(_FINEST) for name in found.parameters.get(part, ()) if name in self._tuned
        }

    @property
    def changed(self) -> frozenset[str]:
        """The names of the weights that fine-tuning changed."""
        return frozenset(self._tuned)

    @property
    def parts(self) -> list[str]:
        """The parts that have such weights, in the order of `_FINEST`."""
        return [part for part in _FINEST if part in self._part.values()]

    @torch.no_grad()
    def apply(self, merge: Merge) -> None:
        """Let the model be this merge."""
        for name in self._tuned:
            self._weights[name].copy_(self._merged(name, merge))

    def _merged(self, name: str, merge: Merge) -> torch.Tensor:
        tuned, base = self._tuned[name].float(), self._base[name]
        if merge.sparse is not None:
            tuned = base + merge.sparse.of(tuned - base, name)
        return torch.lerp(tuned, base, merge.of(self._part[name]))

    def write(self, merge: Merge, processor: Any, folder: Path, base: str) -> None:
        """Write a merge: changed weights in float32, whatever the model computes in, the others in the base's dtype.

        Args:
            merge: which one.
            processor: saved beside the weights.
            folder: the destination; replaced if it exists.
            base: the base's folder or name, for its dtype.
        """
        storage = Storage(self.changed, stored_dtype(folder_or_name(base)))
        # By place and not by name: a tied head has two names.
        merged = {self._weights[name].data_ptr(): self._merged(name, merge).to("cpu") for name in self._tuned}
        state = {name: merged.get(value.data_ptr(), value) for name, value in self._model.state_dict().items()}
        save_checkpoint(
            folder, self._model, processor, state=state, storage=storage, advice="free some space and run it again"
        )
