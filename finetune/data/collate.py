"""From examples to a batch: prompts tokenised as in evaluation, labels only on the answers' tokens."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from PIL import Image

from emt_core.errors import UserError, one_line
from emt_tasks.models.likelihood import TOKEN_FIELDS, ContinuationTokenizer, append, right_padded
from emt_tasks.models.prompting import refuse_without_image
from finetune.data.chat import Chat, TrainingChat
from finetune.data.conversations import TrainingExample

Token = tuple[int, bool]
"""A token after the prompt, and whether it is learned."""

IGNORED = -100
"""The label of tokens that are not learned."""

_TRIED = (64, 64)
"""The width and height of an image to try a processor with."""


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
        context: how many tokens the model can read, if there is a limit.
        answer_type: what `emt_tasks.models.likelihood.answer_type` says of the model.
    """

    def __init__(
        self,
        processor: Any,
        ends: Sequence[int],
        starts: Sequence[int] = (),
        max_tokens: int | None = None,
        answer_type: int = 0,
        context: int | None = None,
    ) -> None:
        self._max_tokens, self._answer_type, self._context = max_tokens, answer_type, context
        self._processor = copy.deepcopy(processor)
        self._tokenizer = self._processor.tokenizer
        if self._tokenizer.pad_token is None:
            self._tokenizer.pad_token = self._tokenizer.eos_token
        self._tokenizer.padding_side = "right"
        self._starts = tuple(starts)
        self._ends = tuple(ends) or (self._tokenizer.eos_token_id,)
        self.chat = TrainingChat(self._processor)
        self._continuations = ContinuationTokenizer(self._tokenizer)
        self._around_image: int | None = None
        self._image_tokens = lru_cache(maxsize=2**16)(self._count_image_tokens)

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
        for example in examples:
            self._check_turns(example)
        chats = [self.chat(example.turns, count, example.system) for example in examples]
        if any(chat.spreads_images for chat in chats):
            return self._spread(examples, chats, images, sources)
        inputs = self._prompts([chat.prompt for chat in chats], images, examples[0].where)
        answers = [self._answers(chat) for chat in chats]
        if self._max_tokens is not None:
            answers = self._cut(examples, inputs["attention_mask"].sum(-1).tolist(), answers, self._max_tokens)
        return self._answered(inputs, answers, sources)

    def answered(self, inputs: dict[str, Any], answers: Sequence[Sequence[int]]) -> TrainingBatch:
        """Return a batch of prompts that are tokens already, such as a task's, each with the tokens of its answer.

        Args:
            inputs: the model's tensors, padded on the right.
            answers: every token of them is predicted.
        """
        return self._answered(inputs, [[(token, True) for token in answer] for answer in answers], [0] * len(answers))

    def _answered(
        self, inputs: dict[str, Any], answers: Sequence[Sequence[Token]], sources: Sequence[int]
    ) -> TrainingBatch:
        fields, labels = self._to_decoder(inputs, answers) if self._starts else self._behind(inputs, answers)
        return TrainingBatch(fields, labels, torch.tensor(sources))

    def check(self, example: TrainingExample, sizes: Sequence[tuple[int, int]] = ()) -> None:
        """Make sure that an example can be put into a batch; no image is needed.

        Args:
            example: one example.
            sizes: width and height of its images, if known; otherwise their tokens do not count.

        Raises:
            UserError: the checkpoint cannot take its turns, or it is too long; names the example.
        """
        self._check_turns(example)
        try:
            chat = self.chat(example.turns, example.image_count, example.system)
        except UserError as error:
            raise UserError(f"{example.where}: {error}") from error
        limit = self._max_tokens or self._context
        if limit is None:
            return
        texts = [chat.prompt, *(text for text, _ in chat.follow)] if self._max_tokens is None else [chat.prompt]
        own = sum(map(self._image_tokens, sizes))
        if sum(len(text.encode()) for text in texts) + own < limit:  # no token is shorter than a byte
            return
        length = own + sum(len(self._tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts)
        if length >= limit:
            what = "the model can read" if self._max_tokens is None else "batch.max_tokens is"
            asked = "the question and its images have" if self._max_tokens else "it has"
            raise UserError(f"{example.where}: {asked} {length:,} tokens, and {what} {limit:,}")

    def _check_turns(self, example: TrainingExample) -> None:
        if self._starts and len(example.turns) > 1:
            raise UserError(f"{example.where}: an encoder-decoder model learns only one answer, found several turns")

    def _count_image_tokens(self, size: tuple[int, int]) -> int:
        """Return how many tokens an image of a width and height adds to its text.

        Most processors know without an image, except for what they put around one: that is found by trying once.
        """
        if self._around_image is None:
            known = self._known_image_tokens(_TRIED)
            self._around_image = 0 if known is None else self._tried_image_tokens(_TRIED) - known
        known = self._known_image_tokens(size)
        return self._tried_image_tokens(size) if known is None else known + self._around_image

    def _known_image_tokens(self, size: tuple[int, int]) -> int | None:
        count = getattr(self._processor, "_get_num_multimodal_tokens", None)
        if count is None:
            return None
        width, height = size
        try:
            return int(count(image_sizes=[(height, width)])["num_image_tokens"][0])
        except (NotImplementedError, AttributeError, IndexError, KeyError, TypeError):
            return None

    def _tried_image_tokens(self, size: tuple[int, int]) -> int:
        prompt = self.chat.prompter.render("", 1)
        whole = self._prompts([prompt], [[Image.new("RGB", size)]], f"an image of {size[0]} × {size[1]} pixels")
        special = self.chat.prompter.adds_special_tokens(prompt)
        return int(whole["input_ids"].shape[1]) - len(self._tokenizer(prompt, add_special_tokens=special)["input_ids"])

    def _spread(
        self,
        examples: Sequence[TrainingExample],
        chats: Sequence[Chat],
        images: Sequence[Sequence[Image.Image]],
        sources: Sequence[int],
    ) -> TrainingBatch:
        """Return a batch of conversations with images in later questions.

        The processor turns each image into tokens, so it sees all texts but the answers, with a token between them that
        no image becomes; the answers' tokens are then put at these places.
        """
        where = examples[0].where
        between = self._tokenizer.eos_token
        texts = [[chat.prompt, *(text for text, is_answer in chat.follow if not is_answer)] for chat in chats]
        inputs = self._prompts([between.join(row) for row in texts], images, where)
        odd = [name for name, value in inputs.items() if name not in TOKEN_FIELDS and _is_per_token(value, inputs)]
        if odd:
            raise UserError(f"{where}: this model cannot be trained on images in later questions ({odd[0]})")
        rows: dict[str, list[list[int]]] = {name: [] for name in TOKEN_FIELDS if name in inputs}
        labels = []
        for number, (chat, pieces) in enumerate(zip(chats, texts, strict=True)):
            kept = inputs["attention_mask"][number].bool()
            values = {name: inputs[name][number][kept].tolist() for name in rows}
            row, learned = self._interleaved(chat, pieces, values, examples[number].where)
            for name, tokens in row.items():
                rows[name].append(tokens)
            labels.append([*learned[1:], IGNORED])
        pads = {"input_ids": self._tokenizer.pad_token_id}
        fields = {name: right_padded(found, pads.get(name, 0), inputs[name]) for name, found in rows.items()}
        return TrainingBatch(
            {**inputs, **fields}, right_padded(labels, IGNORED, inputs["input_ids"]), torch.tensor(sources)
        )

    def _interleaved(
        self, chat: Chat, pieces: Sequence[str], values: Mapping[str, list[int]], where: str
    ) -> tuple[dict[str, list[int]], list[int]]:
        """Put the answers between the tokens of the other texts; return each field, and the label of each token."""
        ends = self._piece_ends(pieces, values["input_ids"], where)
        types = {"attention_mask": 1, "token_type_ids": self._answer_type}
        row: dict[str, list[int]] = {name: [] for name in values}
        labels: list[int] = []
        start = 0
        for number, end in enumerate(ends):
            for name in row:
                row[name] += values[name][start:end]
            behind = values["input_ids"][start:end]
            stop = self._stop(behind) if number else None
            learned = 0 if stop is None else stop + 1
            labels += [token if place < learned else IGNORED for place, token in enumerate(behind)]
            start = end + 1
            if number == len(ends) - 1:  # the text ends with what ends the last answer
                surplus = len(behind) - learned
                row = {name: tokens[: len(tokens) - surplus] for name, tokens in row.items()}
                labels = labels[: len(labels) - surplus]
                break
            answer = list(self._answer(chat, number))
            if self._stop(values["input_ids"][start : ends[number + 1]]) is None:
                answer.append(self._tokenizer.eos_token_id)
            for name in row:
                row[name] += answer if name == "input_ids" else [types.get(name, 0)] * len(answer)
            labels += answer
        if self._max_tokens is not None and len(labels) > self._max_tokens:
            raise UserError(
                f"{where}: {len(labels)} tokens, batch.max_tokens is {self._max_tokens}; a conversation with images in "
                "later questions is not cut: drop the example, or raise the limit"
            )
        return row, labels

    def _piece_ends(self, pieces: Sequence[str], ids: Sequence[int], where: str) -> list[int]:
        """Return where each text ends among the tokens of all, joined by the token that ends a text."""
        end = self._tokenizer.eos_token_id
        places = [place for place, token in enumerate(ids) if token == end]
        ends, before = [], 0
        for piece in pieces[:-1]:
            before += list(self._tokenizer(piece, add_special_tokens=False)["input_ids"]).count(end)
            if before >= len(places):
                raise UserError(f"{where}: this processor cannot be trained on images in later questions")
            ends.append(places[before])
            before += 1
        return [*ends, len(ids)]

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

    def _answers(self, chat: Chat) -> list[Token]:
        """Return the tokens after a prompt, each with whether it is learned: answers, and what ends each of them."""
        tokens: list[Token] = []
        for number, (text, is_answer) in enumerate(chat.follow):
            if is_answer:
                tokens += [(token, True) for token in self._answer(chat, number // 2)]
                continue
            behind = list(self._tokenizer(text, add_special_tokens=False)["input_ids"])
            stop = self._stop(behind)
            if stop is None:  # the template does not end its answers: the tokenizer's own end does
                behind, stop = [self._tokenizer.eos_token_id, *behind], 0
            last = number == len(chat.follow) - 1
            tokens += [(token, place <= stop) for place, token in enumerate(behind[: stop + 1] if last else behind)]
        return tokens

    def _answer(self, chat: Chat, number: int) -> Sequence[int]:
        """Return the tokens of one answer."""
        border = self.chat.border(chat.images if number == 0 else chat.later[number - 1])
        (answer,) = self._continuations(chat.prompt if number == 0 else border, border, [chat.follow[2 * number][0]])
        return answer

    def _stop(self, behind: Sequence[int]) -> int | None:
        """Return the place of the token that ends an answer, among those that follow it."""
        return next((place for place, token in enumerate(behind) if token in self._ends), None)


def _is_per_token(value: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> bool:
    """Whether a model's input has an entry for each token of the text."""
    return value.dim() > 1 and value.shape[:2] == inputs["input_ids"].shape


def in_batches(examples: Iterable[TrainingExample], collator: TrainingCollator, size: int) -> list[TrainingBatch]:
    """Return batches of examples with the same number of images, those of similar length together, from source 0."""
    ordered = sorted(examples, key=lambda one: (one.image_count, one.length))
    made = []
    for _, same in groupby(ordered, key=lambda one: one.image_count):
        group = list(same)
        for start in range(0, len(group), size):
            chosen = group[start : start + size]
            made.append(collator(chosen, [one.load_images() for one in chosen], [0] * len(chosen)))
    return made
