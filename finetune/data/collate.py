"""From examples to a batch: prompts tokenised as in evaluation, labels only on the answers' tokens."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from emt_core.errors import UserError, one_line
from emt_tasks.models.likelihood import ContinuationTokenizer, append, right_padded
from emt_tasks.models.prompting import refuse_without_image
from finetune.data.chat import TrainingChat
from finetune.data.conversations import TrainingExample

if TYPE_CHECKING:
    from PIL import Image

Token = tuple[int, bool]
"""A token after the prompt, and whether it is learned."""

IGNORED = -100
"""The label of tokens that are not learned."""


@dataclass(frozen=True, slots=True)
class TrainingBatch:
    """One batch for the model.

    `inputs` are the model's tensors; `labels` `(batch, places)` give, for each place of the model's output, the answer
    token to predict there, or `IGNORED`; `sources` `(batch,)` are the numbers of the examples' sources.
    """

    inputs: dict[str, torch.Tensor]
    labels: torch.Tensor
    sources: torch.Tensor

    def to(self, device: torch.device) -> TrainingBatch:
        """Return the batch on another device."""
        moved = {name: value.to(device, non_blocking=True) for name, value in self.inputs.items()}
        return TrainingBatch(moved, self.labels.to(device), self.sources.to(device))


class TrainingCollator:
    """Makes batches for one processor; not safe to share between threads.

    Args:
        processor: the checkpoint's; copied.
        ends: the tokens at which the checkpoint stops generating.
        starts: the token that starts the decoder's text, for a language model with encoder and decoder.
        max_tokens: the longest example; longer answers are cut off.
        answer_type: what `emt_tasks.models.likelihood.answer_type` says of the model.
    """

    def __init__(
        self,
        processor: Any,
        ends: Sequence[int],
        starts: Sequence[int] = (),
        max_tokens: int | None = None,
        answer_type: int = 0,
    ) -> None:
        self._max_tokens, self._answer_type = max_tokens, answer_type
        self._processor = copy.deepcopy(processor)
        self._tokenizer = self._processor.tokenizer
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        self._starts = tuple(starts)
        self._ends = tuple(ends) or (self._tokenizer.eos_token_id,)
        self.chat = TrainingChat(self._processor)
        self._continuations = ContinuationTokenizer(self._tokenizer)

    def __call__(
        self, examples: Sequence[TrainingExample], images: Sequence[Sequence[Image.Image]], sources: Sequence[int]
    ) -> TrainingBatch:
        """Return a batch of examples that have the same number of images.

        Args:
            examples: their turns.
            images: the images of each.
            sources: the number of each example's source.

        Raises:
            UserError: the processor refuses an image or a text, or a question has too many tokens; names the example.
        """
        count = len(images[0])
        if self._starts and any(len(example.turns) > 1 for example in examples):
            raise UserError(
                f"{examples[0].where}: an encoder-decoder model learns only one answer, found several turns"
            )
        chats = [self.chat(example.turns, count) for example in examples]
        inputs = self._prompts([prompt for prompt, _ in chats], images, examples[0].where)
        answers = [self._answers(prompt, count, follow) for prompt, follow in chats]
        if self._max_tokens is not None:
            answers = self._cut(examples, inputs["attention_mask"].sum(-1).tolist(), answers, self._max_tokens)
        fields, labels = self._to_decoder(inputs, answers) if self._starts else self._behind(inputs, answers)
        return TrainingBatch(fields, labels, torch.tensor(sources))

    def _cut(
        self, examples: Sequence[TrainingExample], prompts: Sequence[int], answers: Sequence[list[Token]], limit: int
    ) -> list[list[Token]]:
        for example, length in zip(examples, prompts, strict=True):
            if length >= limit:
                raise UserError(
                    f"{example.where}: the question and its images have {length} tokens, batch.max_tokens is {limit}; "
                    "drop the example, or raise the limit"
                )
        return [answer[: limit - length] for length, answer in zip(prompts, answers, strict=True)]

    def _behind(
        self, inputs: dict[str, Any], answers: Sequence[Sequence[Token]]
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """Put answers after the prompts; each token is predicted at the place before its own."""
        tokens = [tuple(token for token, _ in answer) for answer in answers]
        fields = append(inputs, tokens, self._tokenizer.pad_token_id, self._answer_type)
        rows = [
            [*[IGNORED] * (length - 1), *(token if learnt else IGNORED for token, learnt in answer), IGNORED]
            for length, answer in zip(inputs["attention_mask"].sum(-1).tolist(), answers, strict=True)
        ]
        return fields, right_padded(rows, IGNORED, inputs["input_ids"])

    def _to_decoder(
        self, inputs: dict[str, Any], answers: Sequence[Sequence[Token]]
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """Give answers to the decoder of an encoder-decoder; it predicts each token from those before it."""
        tokens = [[token for token, _ in answer] for answer in answers]
        shifted = [[self._starts[0], *row[:-1]] for row in tokens]
        like = inputs["input_ids"]
        fields = {**inputs, "decoder_input_ids": right_padded(shifted, self._tokenizer.pad_token_id, like)}
        return fields, right_padded(tokens, IGNORED, like)

    def _prompts(self, prompts: list[str], images: Sequence[Sequence[Image.Image]], where: str) -> dict[str, Any]:
        """Tokenise prompts and images as evaluation does."""
        special = self.chat.prompter.adds_special_tokens(prompts[0])
        settings = {"padding": True, "return_tensors": "pt", "add_special_tokens": special}
        try:
            if len(images[0]):
                inputs = self._processor(text=prompts, images=[list(row) for row in images], **settings)
            else:
                refuse_without_image(self._processor)
                inputs = self._tokenizer(prompts, **settings)
        except (UserError, ValueError, IndexError, KeyError, TypeError) as error:
            raise UserError(
                f"{where}: the checkpoint's processor refuses the text or its {len(images[0])} images "
                f"({one_line(error)})"
            ) from error
        # PaliGemma's processor adds labels for its own way of training, on the prompt alone.
        return {name: value for name, value in inputs.items() if name != "labels"}

    def _answers(self, prompt: str, images: int, follow: Sequence[tuple[str, bool]]) -> list[Token]:
        """Return the tokens after a prompt, each with whether it is learned: answers, and what ends each of them."""
        tokens: list[Token] = []
        for number, (text, is_answer) in enumerate(follow):
            if is_answer:
                border = self.chat.border(images if number == 0 else 0)
                (answer,) = self._continuations(prompt if number == 0 else border, border, [text])
                tokens += [(token, True) for token in answer]
                continue
            behind = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            stop = next((place for place, token in enumerate(behind) if token in self._ends), None)
            if stop is None:  # the template does not end its answers: the tokenizer's own end does
                behind, stop = [self._tokenizer.eos_token_id, *behind], 0
            last = number == len(follow) - 1
            tokens += [(token, place <= stop) for place, token in enumerate(behind[: stop + 1] if last else behind)]
        return tokens
