"""What holds a model near its base while it learns: terms of the loss beside that of the answers.

A term either adds its gradient to the weights' (`Pull`: L2-SP, EWC), after the step's passes, or has passes of its own
(`Divergence`: KL), before them; `Projection` corrects the weights after the step. Every process has the whole model:
sharded ones are refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from emt_core.errors import UserError
from finetune.data.collate import IGNORED, TrainingBatch, TrainingCollator, in_batches
from finetune.data.sources import TrainingSource, open_source
from finetune.recipes.schema import Recipe, SourceEntry
from finetune.training.loss import answer_logits, answer_losses


class Pull:
    """λ/2 · Σ Fᵢ (θᵢ − θᵢ*)² over the trained weights; F is 1 for L2-SP (arXiv 1802.01483, eq. 2).

    Args:
        name: of the term.
        weight: λ.
        trained: the weights, θ, by name.
        importance: F by name, as shaped as the weights (EWC, arXiv 1612.00796, eq. 3); by default 1.
        base: θ*; by default a copy of the weights as they are now.
    """

    def __init__(
        self,
        name: str,
        weight: float,
        trained: Mapping[str, torch.Tensor],
        importance: Mapping[str, torch.Tensor] | None = None,
        base: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        self.name, self._weight, self._trained = name, weight, dict(trained)
        self._base = dict(base) if base is not None else copied(trained)
        self._importance = importance

    @torch.no_grad()
    def add(self) -> float:
        """Add the gradient λ Fᵢ (θᵢ − θᵢ*) to the weights that have one; return the term's value."""
        total = 0.0
        for name, weights in self._trained.items():
            pull = weights - self._base[name]
            if self._importance is not None:
                pull = pull * self._importance[name]
            total += 0.5 * self._weight * float((pull * (weights - self._base[name])).sum())
            if weights.grad is not None:
                weights.grad.add_(pull, alpha=self._weight)
        return total


class Projection:
    """Takes out of each weight matrix's change what lies in the base's strongest singular directions.

    Δ ← (I − U Uᵀ) Δ (I − Vᵀ V), with U `(out, kept)` and V `(kept, in)` the base's first singular vectors. OSF (arXiv
    2504.07097) projects gradients; the steps of an adaptive optimiser leave the subspace all the same, so here the
    change itself is projected, after each step. Vectors, such as biases, are free.

    Args:
        share: of each matrix's singular directions, those that are kept.
        trained: the weights by name, still the base's.
    """

    def __init__(self, share: float, trained: Mapping[str, torch.Tensor]) -> None:
        self._kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for weights in trained.values():
            matrix = weights.detach().flatten(1).float() if weights.dim() > 1 else None
            if matrix is None or (count := int(share * min(matrix.shape))) == 0:
                continue
            left, _, right = torch.linalg.svd(matrix, full_matrices=False)
            # Copies: a slice would keep all of the singular vectors.
            self._kept.append((weights, matrix.clone(), left[:, :count].clone(), right[:count].clone()))

    @torch.no_grad()
    def apply(self) -> None:
        """Project the change of all weights."""
        for weights, base, left, right in self._kept:
            change = weights.flatten(1).float() - base
            change -= left @ (left.T @ change)
            change -= (change @ right.T) @ right
            weights.copy_((base + change).view_as(weights))


@dataclass(frozen=True)
class Kept:
    """A batch, and what the base says of its answer tokens: log-probabilities, `(answer tokens, vocabulary)`."""

    batch: TrainingBatch
    base: torch.Tensor


class Divergence:
    """λ · mean over answer tokens of KL(base ‖ model) = Σᵥ p*(v) (log p*(v) − log p(v)), in nats.

    Args:
        weight: λ.
        head: the model's output layer.
        kept: batches with what the base says of them; they take turns.
    """

    def __init__(self, weight: float, head: nn.Module, kept: Sequence[Kept]) -> None:
        self._weight, self._head, self._kept = weight, head, kept

    def batch(self, step: int) -> TrainingBatch:
        """Return the step's batch."""
        return self._kept[step % len(self._kept)].batch

    def of(self, model: nn.Module, step: int) -> torch.Tensor:
        """Return the term on the step's batch; without dropout, which alone would be a divergence."""
        batch = self.batch(step).to(_device(model))
        with evaluating(model):
            logits = answer_logits(model, self._head, batch)
        return self._weight * divergence(logits, self._kept[step % len(self._kept)].base)


def divergence(logits: torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """Return the mean KL(base ‖ model) over rows, in nats.

    Args:
        logits: the model's, `(rows, vocabulary)`.
        base: the base's log-probabilities, of that shape.
    """
    ours = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)
    theirs = base.to(ours)
    return nn.functional.kl_div(ours, theirs, reduction="batchmean", log_target=True)


def by_own_probability(losses: torch.Tensor) -> torch.Tensor:
    """Weigh each token's loss by its probability, through which no gradient goes (DFT, arXiv 2508.05629)."""
    return losses * losses.detach().neg().exp()


class Regularisers:
    """All terms of a recipe; made while the model's weights are the base's.

    Args:
        recipe: the run's.
        model: as `building.make_trainable` returns it, on its device.
        collator: makes batches, as in training.
        accelerator: the run's.

    Raises:
        UserError: a source cannot be read, or the model is sharded.
    """

    def __init__(self, recipe: Recipe, model: Any, collator: TrainingCollator, accelerator: Accelerator) -> None:
        chosen = recipe.regularise
        self.pulls: list[Pull] = []
        self.kl: Divergence | None = None
        self._model, self._head = model, model.get_output_embeddings()
        self._by_own_probability = chosen.loss == "dft"
        self._lwf = chosen.kl.weight if chosen.kl and not chosen.kl.sources else None
        self._reference: dict[str, torch.Tensor] | None = None
        self._projection: Projection | None = None
        if not (chosen.kl or chosen.l2_sp or chosen.ewc or chosen.projection):
            return
        if accelerator.distributed_type.value in ("FSDP", "DEEPSPEED"):
            raise UserError("regularise: not with sharded models (FSDP, DeepSpeed); mix in other data instead")
        if not recipe.quantization:
            model.to(accelerator.device)
        trained = {name: weights for name, weights in model.named_parameters() if weights.requires_grad}
        if self._lwf is not None and not recipe.has_lora:
            self._reference = copied(trained)
        with evaluating(model):
            if chosen.l2_sp:
                self.pulls.append(Pull("l2_sp", chosen.l2_sp.weight, trained))
            if chosen.projection:
                self._projection = Projection(chosen.projection.share, trained)
            if chosen.ewc:
                batches = _batches(recipe, chosen.ewc.sources, collator, chosen.ewc.examples, 1, accelerator)
                importance = fisher(model, self._head, trained, batches)
                if accelerator.num_processes > 1:
                    importance = {name: accelerator.reduce(one, "mean") for name, one in importance.items()}
                self.pulls.append(Pull("ewc", chosen.ewc.weight, trained, importance))
            if chosen.kl and chosen.kl.sources:
                kl = chosen.kl
                batches = _batches(recipe, kl.sources, collator, kl.examples, kl.batch, accelerator)
                kept = [Kept(batch, log_probabilities(model, self._head, batch)) for batch in batches]
                self.kl = Divergence(kl.weight, self._head, kept)

    def losses(
        self, model: nn.Module, batch: TrainingBatch, *, packing: bool = False
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return, for every answer token of a batch, what is trained on, the plain loss, and its source's number.

        Without terms on the answers' tokens the first two are the same.
        """
        if self._lwf is None:
            plain, sources = answer_losses(model, self._head, batch, packing=packing)
            return self._weighed(plain), plain, sources
        with torch.no_grad(), self._base_weights(), evaluating(model):
            base = answer_logits(model, self._head, batch, packing=packing).float().log_softmax(-1)
        learned = batch.labels != IGNORED
        ours = answer_logits(model, self._head, batch, packing=packing).float().log_softmax(-1)
        plain = nn.functional.nll_loss(ours, batch.labels[learned], reduction="none")
        apart = (base.exp() * (base - ours)).sum(-1)
        return (
            self._weighed(plain) + self._lwf * apart,
            plain,
            batch.sources.unsqueeze(1).expand_as(learned)[learned],
        )

    def _weighed(self, losses: torch.Tensor) -> torch.Tensor:
        return by_own_probability(losses) if self._by_own_probability else losses

    def add(self) -> dict[str, float]:
        """Add the gradients of the terms that need no pass; return the terms by name."""
        return {pull.name: pull.add() for pull in self.pulls}

    def after_step(self) -> None:
        """Put the weights where they may be, after the optimiser's step."""
        if self._projection is not None:
            self._projection.apply()

    @contextmanager
    def _base_weights(self) -> Iterator[None]:
        """Let the model be the base: its adapters off, or the weights as they were."""
        if self._reference is None:
            with self._model.disable_adapter():
                yield
            return
        weights = {name: value for name, value in self._model.named_parameters() if name in self._reference}
        now = {name: value.data for name, value in weights.items()}
        try:
            for name, value in weights.items():
                value.data = self._reference[name]
            yield
        finally:
            for name, value in weights.items():
                value.data = now[name]


def fisher(
    model: nn.Module, head: nn.Module, trained: Mapping[str, torch.Tensor], batches: Sequence[TrainingBatch]
) -> dict[str, torch.Tensor]:
    """Return the diagonal of the empirical Fisher information, by weight.

    Fᵢ = mean over examples of (∂ log p(answer | example) / ∂θᵢ)², each batch one example (arXiv 1612.00796).
    """
    found = {name: torch.zeros_like(weights) for name, weights in trained.items()}
    for batch in batches:
        losses, _ = answer_losses(model, head, batch.to(_device(model)))
        gradients = torch.autograd.grad(losses.sum(), list(trained.values()), allow_unused=True)
        for name, gradient in zip(trained, gradients, strict=True):
            if gradient is not None:
                found[name].addcmul_(gradient, gradient, value=1 / len(batches))
    return found


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device


def copied(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return weights that no training changes."""
    return {name: value.detach().clone() for name, value in weights.items()}


@torch.no_grad()
def log_probabilities(model: nn.Module, head: nn.Module, batch: TrainingBatch) -> torch.Tensor:
    """Return the model's log-probabilities of a batch's answer tokens in 16 bits, on the CPU."""
    logits = answer_logits(model, head, batch.to(_device(model)))
    return logits.float().log_softmax(-1).clamp(min=-6e4).half().cpu()


def _batches(
    recipe: Recipe,
    entries: Sequence[SourceEntry],
    collator: TrainingCollator,
    count: int,
    size: int,
    accelerator: Accelerator,
) -> list[TrainingBatch]:
    """Return this process's share of at most `count` examples of some sources, spread evenly over each."""
    sources = [open_source(entry, recipe.mixture.max_pixels) for entry in entries]
    share = max(1, count // len(sources))
    picked = [(source, number) for source in sources for number in spread(source, share)]
    mine = picked[accelerator.process_index :: accelerator.num_processes]
    batches = in_batches((source[number] for source, number in mine), collator, size)
    kept = [batch for batch in batches if bool((batch.labels != IGNORED).any())]
    if not kept:
        raise UserError("regularise: its sources have no answers")
    return kept


def spread(source: TrainingSource, count: int) -> range:
    """Return the numbers of at most `count` examples, evenly spread over a source."""
    step = max(1, len(source) // count)
    return range(0, len(source), step)[:count]


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Let a model be in evaluation mode: the same examples then always give the same."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)
