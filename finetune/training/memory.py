"""How much memory a step needs, about; and what to change if a device has less."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import torch

from emt_core.errors import UserError, one_line
from finetune.data.collate import IGNORED
from finetune.model.parts import find_parts
from finetune.recipes.schema import Recipe

if TYPE_CHECKING:
    from finetune.data.collate import TrainingBatch

_BYTES_PER_ACTIVATION = 34
"""Bytes that a transformer layer keeps for each token and hidden unit in 16 bits (arXiv 2205.05198, equation 2)."""

_LORA_SHARE = 0.02
"""About what rank 64 adds to a language model's weights."""

_MOMENTS = {"adamw": 8, "adamw_8bit": 2}
"""Bytes of both moments for each trained weight."""

_QUANTIZED = {"nf4": (4 + 0.127) / 8, "int8": 1.0}
"""Bytes of a quantized weight, with the constants of its block (double quantization: arXiv 2305.14314, section 3)."""


@dataclass(frozen=True)
class Memory:
    """Bytes on one device with the whole model; `activations` is rough, and only for the language model.

    `regularisers` is what `l2_sp`, `ewc` and `kl` keep of the base's weights.
    """

    weights: int
    gradients: int
    optimiser: int
    activations: int
    logits: int
    regularisers: int = 0

    @property
    def total(self) -> int:
        """The total."""
        return sum(astuple(self))


@dataclass(frozen=True)
class Workload:
    """What a step's memory depends on: weights that are trained and frozen, tokens of a batch, the model's size.

    `quantized` of the frozen weights are quantized where the recipe says so.
    """

    trained: int
    frozen: int
    tokens: int
    answer_tokens: int
    layers: int
    width: int
    vocabulary: int
    quantized: int = 0

    @classmethod
    def of(cls, model: Any, recipe: Recipe, batch: TrainingBatch) -> Workload:
        """Return that of a model, made trainable but perhaps without weights, and a batch."""
        text = model.config.get_text_config()
        trained = sum(weights.numel() for weights in model.parameters() if weights.requires_grad)
        layers = _quantized_layers(model, recipe)
        packed = {id(layer.weight) for layer in layers}  # on a device they hold several weights in a number
        quantized = sum(layer.in_features * layer.out_features for layer in layers)
        others = [weights for weights in model.parameters() if not weights.requires_grad and id(weights) not in packed]
        return cls(
            trained=trained,
            frozen=quantized + sum(weights.numel() for weights in others),
            quantized=quantized,
            tokens=int(batch.inputs["attention_mask"].sum()) if recipe.batch.packing else batch.labels.numel(),
            answer_tokens=int((batch.labels != IGNORED).sum()),
            layers=text.num_hidden_layers,
            width=text.hidden_size,
            vocabulary=text.vocab_size,
        )

    def memory(self, recipe: Recipe, *, examples: float = 1.0, lora: bool = False) -> Memory:
        """Estimate the memory of a step.

        Args:
            recipe: precision, optimiser, quantization, regularisers and gradient checkpointing.
            examples: a batch's, as a share of the batch that was measured.
            lora: whether low-rank adapters are trained instead of the weights.
        """
        every = self.trained + self.frozen
        trained = int(_LORA_SHARE * every) if lora else self.trained
        frozen = every if lora else self.frozen
        size = 4 if recipe.precision == "fp32" else 2
        tokens = int(self.tokens * examples)
        per_layer = tokens * self.width * _BYTES_PER_ACTIVATION * size // 2
        kept = self.layers * per_layer
        if recipe.gradient_checkpointing:  # the layers' inputs, and one layer computed again at a time
            kept = self.layers * tokens * self.width * size + per_layer
        quantized = self.quantized if recipe.quantization else 0
        stored = (frozen - quantized) * size + int(quantized * _QUANTIZED.get(recipe.quantization or "", size))
        return Memory(
            weights=stored + trained * 4,
            gradients=trained * 4,
            optimiser=trained * _MOMENTS.get(recipe.optimiser.name, 0),
            activations=kept,
            logits=2 * int(self.answer_tokens * examples) * self.vocabulary * 4,
            regularisers=trained * 4 * _copies(recipe),
        )


def _copies(recipe: Recipe) -> int:
    """Return how many numbers the regularisers keep for each trained weight."""
    chosen = recipe.regularise
    learns_from_base = chosen.kl is not None and not chosen.kl.sources and not recipe.has_lora
    projected = 2 * (chosen.projection is not None)
    return (chosen.l2_sp is not None) + 2 * (chosen.ewc is not None) + projected + learns_from_base


def _quantized_layers(model: Any, recipe: Recipe) -> list[Any]:
    """Return the layers that the recipe quantizes: the frozen linear ones of the language model."""
    if not recipe.quantization:
        return []
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    linear = set(find_parts(base).linears["llm"])
    return [layer for name, layer in base.named_modules() if name in linear and not layer.weight.requires_grad]


@contextmanager
def told_what_fits(model: Any, recipe: Recipe, batch: TrainingBatch) -> Iterator[None]:
    """Turn running out of memory into one line that says what would fit.

    Raises:
        UserError: the device has no memory left.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        work = Workload.of(model, recipe, batch)
        raise UserError(f"out of memory ({one_line(error):.120}): {advice(work, recipe, available())}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether a device, or this machine, has no memory left."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def advice(work: Workload, recipe: Recipe, available: int) -> str:
    """Return what to change for a step to fit into so many bytes, by the estimate."""
    need = work.memory(recipe).total
    ways: list[tuple[str, Memory]] = []
    micro = recipe.batch.micro
    smaller = [size for size in range(micro - 1, 0, -1) if recipe.batch.size % size == 0]
    checkpointing = recipe.model_copy(update={"gradient_checkpointing": True})
    ways += [(f"batch.micro={size}", work.memory(recipe, examples=size / micro)) for size in smaller]
    if not recipe.gradient_checkpointing:
        ways.append(("gradient_checkpointing=true", work.memory(checkpointing)))
        ways += [
            (f"batch.micro={size} gradient_checkpointing=true", work.memory(checkpointing, examples=size / micro))
            for size in smaller
        ]
    if not recipe.has_lora:
        ways.append(("LoRA", work.memory(recipe, lora=True)))
        ways.append(
            (f"LoRA with batch.micro={min([micro, *smaller])}, gradient_checkpointing=true",
             work.memory(checkpointing, examples=min([micro, *smaller]) / micro, lora=True))
        )  # fmt: skip
    fitting: dict[str, str] = {}
    for name, memory in ways:
        if memory.total < 0.9 * available:
            kind = "LoRA" if name.startswith("LoRA") else name.partition("=")[0]
            fitting.setdefault(kind, f"{name} ({in_words(memory.total)})")
    said = f"a step needs about {in_words(need)}, and the device has {in_words(available)}"
    if not fitting:
        return f"{said}; nothing short of a smaller model or of several devices (FSDP, DeepSpeed) would fit"
    return f"{said}; by the estimate these would fit: {'; '.join(fitting.values())}"


def in_words(count: int) -> str:
    """Return a number of bytes for people."""
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.1f} MiB"


def available() -> int:
    """Return the bytes of the device, or of this machine without one."""
    if torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[1])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
