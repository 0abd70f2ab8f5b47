"""Batches: which requests go together, in what order, prepared while the device computes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

from PIL import Image

from emt_core.errors import UserError, one_line
from emt_tasks.models.documents import Request
from emt_tasks.models.prompting import Prompter, refuse_without_image

Item = TypeVar("Item")
Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Batch:
    """One batch for the model.

    `numbers` are the requests' indices in their list, `inputs` the model's tensors, `prompts` the rendered texts and
    `border` what a template put after the task's prompt in each of them.
    """

    numbers: list[int]
    inputs: Any
    prompts: list[str]
    border: str


def batches(
    requests: Sequence[Request],
    size: int | Callable[[], int],
    keys: Sequence[Hashable],
    among: Iterable[int] | None = None,
) -> Iterator[list[int]]:
    """Yield batches of request numbers: equal keys only, longest prompts first.

    The longest first, so that a batch too large for the memory fails at once and the progress bar is pessimistic.
    Ties keep the order of the requests, so that the same requests give the same batches.

    Args:
        requests: all requests.
        size: the largest batch; a function is asked before each one.
        keys: one for each request; requests with different keys never share a batch.
        among: the numbers to batch; by default all.
    """
    groups: dict[Hashable, list[int]] = {}
    for number in range(len(requests)) if among is None else among:
        groups.setdefault(keys[number], []).append(number)
    for numbers in groups.values():
        numbers.sort(key=lambda number: -len(requests[number].context))
        start = 0
        while start < len(numbers):
            taken = numbers[start : start + (size() if callable(size) else size)]
            start += len(taken)
            yield taken


def sharing_a_prompt(
    todo: Sequence[Request], labels: Mapping[int, tuple[str, ...]], numbers: Sequence[int]
) -> list[list[int]]:
    """Group requests about different images with the same prompt and the same labels; those alone are left out."""
    groups: dict[Any, list[int]] = {}
    for number in numbers:
        groups.setdefault((todo[number].task, todo[number].context, labels[number]), []).append(number)
    return [group for group in groups.values() if len(group) > 1]


def prefetch(make: Callable[[Item], Made], items: Iterable[Item], depth: int = 2, workers: int = 1) -> Iterator[Made]:
    """Yield `make(item)` for every item in order, made in background threads up to `depth` items ahead.

    One thread by default: tokenizers and image processors are not safe to share between several. What `make` raises is
    raised by the iterator at that item.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="emt-ahead") as worker:
        ahead: deque[Future[Made]] = deque()
        try:
            for item in items:
                ahead.append(worker.submit(make, item))
                if len(ahead) > depth:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            for future in ahead:
                future.cancel()


class Collator:
    """Turns prompts and images into the tensors a model takes.

    Give it its own copy of the processor, since it sets padding on the tokenizer.
    """

    def __init__(self, processor: Any, prompter: Prompter) -> None:
        self._processor = processor
        self._prompter = prompter
        if processor.tokenizer.pad_token is None:
            processor.tokenizer.pad_token = processor.tokenizer.eos_token

    def __call__(
        self,
        requests: Sequence[Request],
        numbers: Sequence[int],
        images: Mapping[int, list[Image.Image]],
        padding_side: str,
    ) -> list[Batch]:
        """Return the model inputs of some requests: one batch per number of images.

        Processors take text alone or text with images, and not all take both in the same batch.

        Args:
            requests: all requests.
            numbers: the ones to batch.
            images: the images of each of these.
            padding_side: `left` to generate, `right` to score.

        Raises:
            UserError: the processor refuses the prompts or the images; names the first document.
        """
        self._processor.tokenizer.padding_side = padding_side
        order = sorted(numbers, key=lambda number: len(images[number]))
        return [
            self._batch(requests, list(group), images, count)
            for count, group in groupby(order, key=lambda number: len(images[number]))
        ]

    def _batch(
        self, requests: Sequence[Request], numbers: list[int], images: Mapping[int, list[Image.Image]], count: int
    ) -> Batch:
        try:
            texts = [self._prompter.render(requests[number].context, count) for number in numbers]
            special = self._prompter.adds_special_tokens(texts[0])
            settings = {"padding": True, "return_tensors": "pt", "add_special_tokens": special}
            if count:
                inputs = self._processor(text=texts, images=[images[number] for number in numbers], **settings)
            else:
                refuse_without_image(self._processor)
                inputs = self._processor.tokenizer(texts, **settings)
        except (UserError, ValueError, IndexError, KeyError, TypeError) as error:
            raise UserError(
                f"{requests[numbers[0]].where}: the checkpoint's processor refuses the prompt or its {count} images "
                f"({one_line(error)})"
            ) from error
        inputs.pop("labels", None)  # PaliGemma's processor adds them, for its own way of training
        return Batch(numbers, inputs, texts, self._prompter.frame(count)[1])
