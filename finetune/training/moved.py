"""How far a model in training has moved from its base, on a fixed probe: prompts, and the base's answers to them.

The base's log-probabilities are kept from before the first step, when the model's weights are the base's (an adapter
then adds nothing): no second model is needed, and none has to be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from finetune.data.collate import IGNORED, TrainingBatch
from finetune.training.loss import answer_logits
from finetune.training.regularisers import Kept, divergence, evaluating, log_probabilities

MOST = 16
"""Tokens of an answer that are compared at most: what is kept of the base, (tokens, vocabulary), stays small."""


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a task's answers have moved from the base's, with p the base's distribution of a token and q the model's.

    Attributes:
        kl: the mean of Σᵥ p(v) ln (p(v) / q(v)) over the tokens of the base's own greedy answers, `MOST` of each, in
            nats; each token is predicted behind the prompt and the answer's tokens before it. On the new task it grows
            with what is forgotten (RL's Razor, arXiv 2509.04259, which takes the mean over the base's distribution of
            answers; the greedy answer stands for it here).
        shift: ½ Σᵥ |p̄(v) − q̄(v)|, from 0 to 1, with p̄ and q̄ the mean distributions of an answer's first token over
            the task's documents: their total variation distance.
        bias: Σ (q̄(v) − p̄(v)) over the tokens v that the new task's answers begin with, from -1 to 1: by how much more
            probability answers begin as those do. The counting-bias probe of arXiv 2510.08564, which asks for number
            tokens, for any labels; None where the new answers are not known.
    """

    kl: float
    shift: float
    bias: float | None


class FixedProbe:
    """Prompts with the base's answers; made while the model's weights are the base's.

    Args:
        batches: of each task; the labels are the tokens that the base wrote.
        model: as in training, on its device.
        head: its output layer.
        new: the tokens that the new task's answers begin with.
    """

    def __init__(
        self, batches: Mapping[str, Sequence[TrainingBatch]], model: nn.Module, head: nn.Module, new: Sequence[int]
    ) -> None:
        self._head, self._new = head, torch.tensor(sorted(set(new)), dtype=torch.long)
        with evaluating(model):
            self._kept = {
                task: [Kept(batch, log_probabilities(model, head, batch)) for batch in own]
                for task, own in batches.items()
            }

    @torch.no_grad()
    def measure(self, model: nn.Module) -> dict[str, Moved]:
        """Return how far each task's answers have moved; the model is left as it was."""
        with evaluating(model):
            return {task: self._measured(model, kept) for task, kept in self._kept.items()}

    def _measured(self, model: nn.Module, kept: Sequence[Kept]) -> Moved:
        apart, tokens, documents = 0.0, 0, 0
        ours = theirs = torch.zeros(())
        for one in kept:
            batch = one.batch.to(next(model.parameters()).device)
            logits = answer_logits(model, self._head, batch).float()
            # Rounded to 16 bits, the base's probabilities no longer add up to 1, which would count as a divergence.
            base = one.base.float().log_softmax(-1)
            apart += float(divergence(logits, base)) * len(logits)
            tokens += len(logits)
            first = first_places(batch)
            documents += len(first)
            ours = ours + logits[first].softmax(-1).sum(0).cpu()
            theirs = theirs + base[first.cpu()].exp().sum(0)
        change = (ours - theirs) / documents
        bias = float(change[self._new].sum()) if len(self._new) else None
        return Moved(max(0.0, apart / tokens), float(change.abs().sum()) / 2, bias)


def first_places(batch: TrainingBatch) -> torch.Tensor:
    """Return, for each example, where its answer's first token is among all answer tokens: `(batch,)`."""
    counts = (batch.labels != IGNORED).sum(-1)
    return counts.cumsum(0) - counts


def first_tokens(batches: Sequence[TrainingBatch]) -> list[int]:
    """Return the token that each example's answer begins with."""
    return [
        int(token) for batch in batches for token in batch.labels[batch.labels != IGNORED][first_places(batch)].tolist()
    ]
