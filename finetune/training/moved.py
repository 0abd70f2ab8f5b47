"""How far a model in training has moved from its base, on a fixed probe: prompts, and the base's answers to them.

The base's log-probabilities are kept from before the first step, when the model's weights are the base's (an adapter
then adds nothing): no second model is needed, and none has to be switched off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from finetune.data.collate import IGNORED, TrainingBatch, TrainingCollator, in_batches
from finetune.data.conversations import TrainingExample
from finetune.training.loss import answer_logits
from finetune.training.regularisers import Kept, divergence, evaluating, log_probabilities


@dataclass(frozen=True, slots=True)
class Moved:
    """How far a task's answers have moved from the base's.

    `kl` is the mean of KL(base ‖ model) over the tokens of the base's answers, in nats: on the new task it grows with
    what is forgotten (RL's Razor, arXiv 2509.04259, §4). `shift` is the total variation distance, from 0 to 1, between
    the two models' mean distributions of an answer's first token. `bias` is by how much more probability, from -1 to 1,
    answers begin with a token that the new task's answers begin with (the number-token bias of arXiv 2510.08564, for
    any labels); None where the new answers are not known.
    """

    kl: float
    shift: float
    bias: float | None


class FixedProbe:
    """Prompts with the base's answers; made while the model's weights are the base's.

    Args:
        examples: of each task; an answer is what the base says.
        model: as in training, on its device.
        head: its output layer.
        collator: makes batches, as in training.
        new: the tokens that the new task's answers begin with.
        batch_size: examples at a time.
    """

    def __init__(
        self,
        examples: Mapping[str, Sequence[TrainingExample]],
        model: nn.Module,
        head: nn.Module,
        collator: TrainingCollator,
        new: Sequence[int],
        batch_size: int,
    ) -> None:
        self._head, self._new = head, torch.tensor(sorted(set(new)), dtype=torch.long)
        with evaluating(model):
            self._kept = {
                task: [
                    Kept(batch, log_probabilities(model, head, batch))
                    for batch in in_batches(own, collator, batch_size)
                ]
                for task, own in examples.items()
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
            apart += float(divergence(logits, one.base)) * len(logits)
            tokens += len(logits)
            first = first_places(batch)
            documents += len(first)
            ours = ours + logits[first].softmax(-1).sum(0).cpu()
            theirs = theirs + one.base[first.cpu()].float().softmax(-1).sum(0)
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
