"""The examples of a batch in one row, without padding, where an architecture keeps them apart.

transformers tells sequences in one row apart by positions that start again at 0: each example then reads only itself,
and a batch costs as many tokens as it has. Padding to the longest example is what is saved. Whether an architecture
does so is tried on the first batch, before the first step.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from emt_core.errors import UserError, one_line
from emt_tasks.models.likelihood import TOKEN_FIELDS
from finetune.data.collate import IGNORED, TrainingBatch
from finetune.training.memory import is_out_of_memory

Losses = Callable[[TrainingBatch, bool], torch.Tensor]
"""Gives the losses of a batch's answer tokens; the flag says whether it is packed."""


def pack(model: nn.Module, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return model inputs `(rows, tokens)` as one row of all tokens that are not padding, in the same order.

    Inputs without an entry for each token, such as images, stay as they are.
    """
    kept = inputs["attention_mask"].bool()
    row = {
        name: value[kept].unsqueeze(0) if name in TOKEN_FIELDS else value
        for name, value in inputs.items()
        if name != "attention_mask"
    }
    row["position_ids"] = _positions(model, inputs, kept)
    return row


def check_packing(losses: Losses, batch: TrainingBatch, *, exact: bool) -> None:
    """Make sure that an example in a packed row gets the losses that it gets alone, whatever stands beside it.

    Args:
        losses: the loss of every answer token of a batch, `(answer tokens,)`, packed or not; without dropout.
        batch: two examples or more, on the model's device.
        exact: whether the model computes in float32.

    Raises:
        UserError: the architecture cannot tell packed examples apart.
    """
    # Transformers counts blocks that are read both ways, such as images, by positions, which start again in a row.
    reasons = {"decoder_input_ids": "an encoder-decoder", "token_type_ids": "a model that reads images both ways"}
    for name, kind in reasons.items():
        if name in batch.inputs:
            raise UserError(f"batch.packing: not with {kind}; set it to false")
    batch = _shifted(batch)
    other = TrainingBatch(_another_first_answer(batch), batch.labels, batch.sources)
    try:
        padded, packed, beside = losses(batch, False), losses(batch, True), losses(other, True)
    except (IndexError, KeyError, RuntimeError, TypeError, ValueError) as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"batch.packing: not with this architecture ({one_line(error):.120}); set it to false"
        ) from error
    behind = int((batch.labels[0] != IGNORED).sum())  # the losses of the other examples
    moved = (padded - packed).abs().max().item(), (packed - beside)[behind:].abs().max().item()
    # Rounding to half precision moves a loss by some percent: there, the same row beside another first answer tells.
    if moved[0] > (1e-3 if exact else 0.2 * max(1.0, padded.max().item())) or moved[1] > 1e-5:
        raise UserError(
            "batch.packing: this architecture does not keep examples in one row apart (a loss moves by "
            f"{max(moved):.2g}); set it to false"
        )


def _shifted(batch: TrainingBatch) -> TrainingBatch:
    """Return a batch with r tokens of text before row r: rows whose images stand at the same places hide mistakes."""
    rows = len(batch.labels)
    word = int(batch.labels[batch.labels != IGNORED][0])

    def shift(values: torch.Tensor, before: int, behind: int) -> torch.Tensor:
        shifted = [pad(row, (r, 0), value=before) for r, row in enumerate(values)]
        return torch.stack([pad(row, (0, rows - 1 - r), value=behind) for r, row in enumerate(shifted)])

    fills = {"input_ids": (word, word), "attention_mask": (1, 0)}
    fields = {
        name: shift(batch.inputs[name], *fills.get(name, (0, 0))) for name in TOKEN_FIELDS if name in batch.inputs
    }
    return TrainingBatch({**batch.inputs, **fields}, shift(batch.labels, IGNORED, IGNORED), batch.sources)


def _another_first_answer(batch: TrainingBatch) -> dict[str, Any]:
    """Return a batch's inputs with another token as the first row's first answer token: only that row may notice."""
    ids = batch.inputs["input_ids"].clone()
    place = int((batch.labels[0] != IGNORED).nonzero()[0]) + 1  # a label stands at the token before its own
    known = batch.labels[batch.labels != IGNORED]
    ids[0, place] = known[known != ids[0, place]][-1]  # at least the end of the answer is another token
    return {**batch.inputs, "input_ids": ids}


def _positions(model: nn.Module, inputs: Mapping[str, torch.Tensor], kept: torch.Tensor) -> torch.Tensor:
    """Return each token's position in its own example, `(1, tokens)`.

    Models that also have a time, a height and a width for each token (Qwen2-VL, arXiv 2409.12191, section 2.1) get
    these behind it, `(4, 1, tokens)`; in text they equal the position.
    """
    plain = (kept.cumsum(-1) - 1)[kept].unsqueeze(0)
    method = next((found for m in model.modules() if (found := getattr(m, "get_rope_index", None)) is not None), None)
    if method is None:
        return plain
    own = plain.expand(3, 1, -1)
    if "mm_token_type_ids" in inputs or "image_grid_thw" in inputs:  # there are images
        known = {name: inputs[name] for name in inspect.signature(method).parameters if name in inputs}
        own = method(**known)[0][:, kept].unsqueeze(1).to(plain)
    return torch.cat([plain.unsqueeze(0), own])
