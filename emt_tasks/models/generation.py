"""From a task's generation settings to `generate`, and from its tokens back to text."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig, GenerationMixin, StoppingCriteria, StoppingCriteriaList

from emt_core.errors import UserError

if TYPE_CHECKING:
    import torch

HOST_ONLY = ("image_aspect_ratio",)
"""GenerationSettings of lmms-eval's own LLaVA code for splitting images, which the checkpoint's processor does here."""

SAMPLING = ("temperature", "top_p", "top_k", "min_p", "typical_p")
_NOT_GREEDY = ("do_sample", "num_beams", "max_length")


@dataclass(frozen=True)
class GenerationSettings:
    """How to generate.

    `until` are the texts at which an answer ends; `options` are arguments of transformers' `generate`.
    """

    until: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_task(cls, settings: Mapping[str, Any], max_new_tokens: int) -> GenerationSettings:
        """Read a task's `generation_kwargs`.

        Greedy unless they say `do_sample: true` or a temperature above 0. The checkpoint's own generation
        config is never used for sampling; the rest of it (such as a repetition penalty) is.

        Args:
            settings: the task's mapping; not changed.
            max_new_tokens: used if the task sets no limit.

        Raises:
            UserError: a setting that `generate` does not know, or two that contradict each other.
        """
        options = {key: value for key, value in settings.items() if value is not None and key not in HOST_ONLY}
        until = options.pop("until", ())
        until = (until,) if isinstance(until, str) else tuple(until)
        if not all(isinstance(text, str) for text in until):
            raise UserError(f"generation_kwargs.until: expected a string or a list of strings, found {list(until)}")
        _refuse_unknown(options)
        temperature = float(options.get("temperature", 0))
        sample = bool(options.get("do_sample", temperature > 0))
        if sample and "temperature" in options and temperature <= 0:
            raise UserError("generation_kwargs: do_sample is true but temperature is 0; set one or the other")
        options["do_sample"] = sample
        if not sample:
            options.update(dict.fromkeys(SAMPLING))  # None: explicitly unset, so that `generate` does not warn
        if "max_length" not in options:
            options.setdefault("max_new_tokens", max_new_tokens)
        return cls(until=tuple(text for text in until if text), options=options)

    @classmethod
    def greedy(cls, settings: Mapping[str, Any], most: int) -> GenerationSettings:
        """Read a task's `generation_kwargs` for the likeliest answer, `most` tokens at most.

        What they say of sampling and beams is ignored.
        """
        own = {name: value for name, value in settings.items() if name not in (*SAMPLING, *_NOT_GREEDY)}
        return cls.from_task({**own, "max_new_tokens": min(most, own.get("max_new_tokens") or most)}, most)


def _refuse_unknown(options: Mapping[str, Any]) -> None:
    known = {*vars(GenerationConfig()), *inspect.signature(GenerationMixin.generate).parameters} - {"kwargs", "self"}
    unknown = sorted(set(options) - known)
    if unknown:
        raise UserError(
            f"generation_kwargs.{unknown[0]}: transformers' generate has no such setting; "
            "expected until, max_new_tokens, do_sample, temperature, top_p, num_beams or another of its arguments"
        )


def stopping(until: Sequence[str], tokenizer: Any, prompt_length: int) -> Any:
    """Return stopping criteria that end a row once its answer contains one of the texts.

    Only the answer is searched: transformers' own `stop_strings` also matches a text that begins in the prompt.
    """
    # A token is at least one byte long, so this many last tokens contain any text that has just ended.
    tail = max(len(text.encode()) for text in until) + 1

    class StopAtText(StoppingCriteria):  # type: ignore[misc]
        def __call__(self, input_ids: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
            start = max(prompt_length, input_ids.shape[1] - tail)
            texts = tokenizer.batch_decode(input_ids[:, start:], skip_special_tokens=True)
            ended = [any(stop in text for stop in until) for text in texts]
            return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)

    return StoppingCriteriaList([StopAtText()])


def cut(text: str, until: Sequence[str]) -> str:
    """Return the text up to the first of the stop texts in it."""
    ends = [position for position in (text.find(stop) for stop in until) if position >= 0]
    return text[: min(ends)] if ends else text


def new_tokens(output: torch.Tensor, input_ids: torch.Tensor) -> torch.Tensor:
    """Return what was generated, `(batch, new)`, whether or not the model repeats the prompt before it."""
    length = input_ids.shape[1]
    repeats = output.shape[1] >= length and bool((output[:, :length] == input_ids).all())
    return output[:, length:] if repeats else output


def count_tokens(tokens: torch.Tensor, ends: set[int]) -> list[int]:
    """Return how many tokens each row of `(batch, new)` has up to and including its end token."""
    counts = []
    for row in tokens.tolist():
        length = next((position for position, token in enumerate(row) if token in ends), len(row) - 1)
        counts.append(length + 1)
    return counts


def end_tokens(model: Any) -> set[int]:
    """Return the tokens that end an answer."""
    ends = model.generation_config.eos_token_id
    return set() if ends is None else set(ends) if isinstance(ends, list) else {ends}
