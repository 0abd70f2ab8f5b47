"""The loss on answer tokens, with logits only for these tokens.

A language model's head turns every token into one logit per word; with 32,000 words that is most of a step's memory,
and all but the answers' logits are discarded. Here the head sees only the answers' tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from finetune.data.collate import IGNORED, TrainingBatch
from finetune.training.packing import pack

_ROWS = 256
"""How many rows of logits are turned into probabilities at a time."""


def answer_losses(
    model: nn.Module, head: nn.Module, batch: TrainingBatch, *, packing: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the loss of every answer token in nats, `(answer tokens,)`, and each one's source number.

    Args:
        model: wrapped for training.
        head: its output layer, `(…, dim)` to `(…, vocabulary)`.
        batch: the examples.
        packing: put them into one row; see `finetune.training.packing`.
    """
    learned = batch.labels != IGNORED
    losses = _CrossEntropy.apply(answer_logits(model, head, batch, packing=packing), batch.labels[learned])
    return losses, batch.sources.unsqueeze(1).expand_as(learned)[learned]


def answer_logits(model: nn.Module, head: nn.Module, batch: TrainingBatch, *, packing: bool = False) -> torch.Tensor:
    """Return the logits of every answer token, `(answer tokens, vocabulary)`; arguments as of `answer_losses`."""
    learned = batch.labels != IGNORED
    inputs, places = batch.inputs, learned
    if packing:
        inputs = pack(model, batch.inputs)
        places = learned[batch.inputs["attention_mask"].bool()].unsqueeze(0)
    with _only_at(head, places, model):
        logits: torch.Tensor = model(**inputs, use_cache=False).logits
    return logits


@contextmanager
def _only_at(head: nn.Module, places: torch.Tensor, model: nn.Module) -> Iterator[None]:
    """Show the head only some places of the hidden states: `(batch, tokens, dim)` becomes `(places, dim)`.

    Where nothing that is trained has had a part in them, as in a batch of text with only the projector trained, zero
    times the trained weights is added. The gradient is then zero and not missing, and processes that average theirs
    do not wait for one that has none.
    """

    def select(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = arguments
        chosen = hidden[places]
        if torch.is_grad_enabled() and not chosen.requires_grad:
            sums = [weights.sum() for weights in model.parameters() if weights.requires_grad]
            chosen = chosen + torch.stack(sums).sum().to(chosen.dtype) * 0
        return (chosen, *others)

    handle = head.register_forward_pre_hook(select)
    try:
        yield
    finally:
        handle.remove()


class _CrossEntropy(torch.autograd.Function):
    """Cross-entropy in float32 that keeps one copy of the logits, where torch keeps up to four.

    The gradient, softmax minus one at the target, is written over the logits.
    """

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return `(n,)` losses for `(n, vocabulary)` logits and `(n,)` targets."""
        norms = torch.cat([rows.float().logsumexp(-1) for rows in torch.split(logits, _ROWS)])
        ctx.save_for_backward(logits.detach(), targets, norms)
        chosen: torch.Tensor = logits.gather(-1, targets.unsqueeze(-1)).squeeze(-1).float()
        return norms - chosen

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        """Return the gradient of the logits."""
        (gradient,) = gradients
        logits, targets, norms = ctx.saved_tensors
        for start in range(0, len(targets), _ROWS):
            rows = slice(start, start + _ROWS)
            part = (logits[rows].float() - norms[rows, None]).exp_()
            part.scatter_add_(-1, targets[rows, None], -torch.ones_like(part[:, :1]))
            logits[rows] = part * gradient[rows, None]
        return logits, None
