"""`emt_vlm`: any Hugging Face image-text-to-text checkpoint as an lmms-eval model, with or without an adapter."""

from __future__ import annotations

import copy
import inspect
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache, partial
from itertools import chain
from threading import Lock
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from lmms_eval.api.instance import GenerationResult, Instance, TokenCounts
from lmms_eval.api.model import lmms
from tqdm import tqdm

from emt_core.errors import UserError
from emt_tasks.models import loading
from emt_tasks.models.adapters import load_adapter
from emt_tasks.models.batch_sizes import BatchSize
from emt_tasks.models.batching import Batch, Collator, Made, batches, prefetch, sharing_a_prompt
from emt_tasks.models.documents import Request, continuation, load_images
from emt_tasks.models.generation import GenerationSettings, count_tokens, cut, end_tokens, new_tokens, stopping
from emt_tasks.models.likelihood import ContinuationTokenizer, Score, Scorer
from emt_tasks.models.parts import base_model, is_encoder_decoder, moved, part_for
from emt_tasks.models.prompting import Prompter
from emt_tasks.models.trie import Tokens

_log = logging.getLogger(__name__)

Known = tuple[bool, int, float | None]
"""Of a label that was scored: whether greedy decoding would write it, its number of tokens, and its prior in nats."""

_DIGITS = 5
"""Of a loss in nats behind the point: float32 has no more of the sums that labels come to."""

_LENT: list[EmtVLM] = []

WINDOW = 32
"""How many batches of requests are sorted by length together; also the most that a killed run loses."""


class EmtVLM(lmms):  # type: ignore[misc]
    """An image-text-to-text model of transformers behind lmms-eval's simple interface.

    Prompts are passed unchanged, images as the task gives them; an unreadable image stops the run and names its
    document. Decoding is greedy unless a task says otherwise. Runs on a CPU, on one GPU, on several processes under
    `accelerate launch` (each with a copy of the model), or spread over GPUs with `device_map=auto`.

    Args:
        pretrained: checkpoint folder or hub name, or `emt:tiny`, the small model of this package. May be left out with
            `peft`: then the adapter's base.
        peft: folder of a PEFT adapter, loaded on top and left unmerged.
        revision: branch, tag or commit on the hub.
        dtype: `auto` (float32 on a CPU, else the checkpoint's), `float32`, `bfloat16` or `float16`.
        attn_implementation: `sdpa`, `eager`, `flash_attention_2`, …; by default transformers' choice.
        device: `cpu`, `cuda`, `cuda:1`, …; by default the accelerator's.
        device_map: spreads one model over devices, such as `auto`; one process only.
        batch_size: prompts, or continuations of one prompt, per batch; `auto` for as many as memory has room for.
        max_new_tokens: used if a task sets no limit.
        trust_remote_code: run a checkpoint's own code. Off by default.
        chat_template: a Jinja template or a file with one, instead of the checkpoint's.
        system_prompt: text of a system message, or a file with it. None by default.
        max_batch_size: passed by lmms-eval; not used.

    Raises:
        UserError: an unknown argument, or a checkpoint or adapter that cannot be used.

    Example:
        lmms-eval --model emt_vlm --model_args pretrained=llava-hf/llava-1.5-7b-hf --tasks emt_cifar10 --batch_size 32
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | None = None,
        peft: str | None = None,
        revision: str = "main",
        dtype: str = "auto",
        attn_implementation: str | None = None,
        device: str | None = None,
        device_map: str | None = None,
        batch_size: int | str = 1,
        max_new_tokens: int = 128,
        trust_remote_code: bool = False,
        chat_template: str | None = None,
        system_prompt: str | None = None,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            known = [name for name in inspect.signature(EmtVLM).parameters if name != "unknown"]
            raise UserError(f"model_args: emt_vlm has no argument {sorted(unknown)[0]!r}; it has {', '.join(known)}")
        if not pretrained:
            pretrained = loading.adapter_base(peft) if peft else None
            reason = "the adapter does not name its base" if peft else "it is missing"
            if not pretrained:
                raise UserError(f"pretrained: {reason}; expected a checkpoint folder or a name on the hub")
        pretrained = loading.folder_or_name(pretrained)
        if peft:
            loading.check_adapter_base(peft, pretrained)
        accelerator = loading.accelerator_for(device)
        if device_map and accelerator.num_processes > 1:
            raise UserError(f"device_map={device_map}: spreads one model over devices; run it with one process")
        revision = str(revision)  # lmms-eval turns an all-digit commit into a number
        processor = loading.load_processor(pretrained, revision=revision, trust_remote_code=trust_remote_code)
        model = loading.load_model(
            pretrained,
            dtype=dtype,
            attn_implementation=attn_implementation,
            device=loading.device_for(device, accelerator),
            device_map=device_map,
            revision=revision,
            trust_remote_code=trust_remote_code,
        )
        if peft:
            model = load_adapter(model, peft)
        self._owns_model, self._quiet = True, False
        self._set_up(model, processor, accelerator, batch_size, max_new_tokens, chat_template, system_prompt)

    @classmethod
    def create_from_arg_string(cls, arg_string: str, additional_config: dict[str, Any] | None = None) -> EmtVLM:
        """Return a model by its arguments, as lmms-eval does: the one that `lent` lends, where one is lent."""
        found: EmtVLM = _LENT[-1] if _LENT else super().create_from_arg_string(arg_string, additional_config)
        return found

    @classmethod
    def from_model(
        cls,
        model: torch.nn.Module,
        processor: Any,
        *,
        batch_size: int | str = 1,
        max_new_tokens: int = 128,
        chat_template: str | None = None,
        system_prompt: str | None = None,
        accelerator: Accelerator | None = None,
        quiet: bool = False,
    ) -> EmtVLM:
        """Wrap a model that is already loaded, for evaluating during training.

        The model is borrowed: after every call it is on the same device and each module in the same mode; lmms-eval's
        `clean` does not touch it. The processor is copied.

        Args:
            model: an image-text-to-text model, also one wrapped by accelerate or PEFT.
            processor: its processor.
            batch_size: as in the class.
            max_new_tokens: as in the class.
            chat_template: as in the class.
            system_prompt: as in the class.
            accelerator: the training loop's, if there is one.
            quiet: show no progress bar.
        """
        lm = cls.__new__(cls)
        lmms.__init__(lm)
        lm._owns_model = False
        lm._quiet = quiet
        accelerator = accelerator or Accelerator()
        lm._set_up(model, processor, accelerator, batch_size, max_new_tokens, chat_template, system_prompt)
        return lm

    def _set_up(
        self,
        model: Any,
        processor: Any,
        accelerator: Accelerator,
        batch_size: int | str,
        max_new_tokens: int,
        chat_template: str | None,
        system_prompt: str | None,
    ) -> None:
        self._model = model
        self.accelerator = accelerator
        self._rank = accelerator.process_index
        self._world_size = accelerator.num_processes
        self._size = BatchSize(batch_size)
        self._preparing = Lock()
        self.max_new_tokens = _positive("max_new_tokens", max_new_tokens)
        self.processor = processor
        processor = copy.deepcopy(processor)  # padding is set on it, from the thread that prepares batches
        self._prompter = Prompter(processor, chat_template, system_prompt)
        self.collate = Collator(processor, self._prompter)
        # Answers are decoded while another thread tokenises the next batch: they must not share a tokenizer.
        self._tokenizer = copy.deepcopy(processor.tokenizer)
        self._continuations = ContinuationTokenizer(copy.deepcopy(processor.tokenizer))

    @property
    def model(self) -> Any:
        """The model itself, without any wrapper for training on several devices or with an adapter."""
        return base_model(self.accelerator.unwrap_model(self._model))

    @property
    def batch_size(self) -> int:
        """The number of prompts of the next batch."""
        return self._size.now

    @property
    def batch_sizes(self) -> dict[str, int]:
        """What lmms-eval notes of a batch size that was not given."""
        return {"emt_vlm": self._size.now} if self._size.grows else {}

    @property
    def tokenizer(self) -> Any:
        """The checkpoint's tokenizer."""
        return self._tokenizer

    @property
    def device(self) -> torch.device:
        """The device for model inputs, and for the counts that lmms-eval gathers."""
        model = getattr(self, "_model", None)
        device: torch.device = self.accelerator.device if model is None else next(model.parameters()).device
        return device

    def clean(self) -> None:
        """Free the model after an evaluation, unless it is borrowed."""
        if self._owns_model:
            super().clean()

    def render(self, prompt: str, images: int = 1) -> str:
        """Return the text that the checkpoint sees for a task's prompt, before image tokens are expanded."""
        return self._prompter.render(prompt, images)

    def generate_until(self, requests: Sequence[Instance]) -> Iterator[GenerationResult]:
        """Answer requests with the arguments `(context, gen_kwargs, doc_to_visual, doc_id, task, split)`.

        Yields:
            One text per request, in order, with the numbers of tokens read and written. Answers come as they are
            ready, so that lmms-eval's response cache has them if the run is killed.
        """
        todo = [Request.from_arguments(instance.args) for instance in requests]
        keys = [json.dumps(request.payload, sort_keys=True, default=str) for request in todo]
        distinct = {key: request.payload for key, request in zip(keys, todo, strict=True)}
        settings = {
            key: GenerationSettings.from_task(payload, self.max_new_tokens) for key, payload in distinct.items()
        }
        with self.inference() as model, self._progress(len(todo)) as progress:
            prepare = partial(self.prepare, todo, "right" if is_encoder_decoder(model) else "left")
            start = 0
            while start < len(todo):
                numbers = range(start, min(start + WINDOW * self.batch_size, len(todo)))
                results: dict[int, GenerationResult] = {}
                ready = prefetch(prepare, batches(todo, self._next_size, keys, numbers))
                for whole in chain.from_iterable(ready):
                    for batch, answers in self._within_memory(
                        whole, prepare, lambda batch: self._generate(model, batch, settings[keys[batch.numbers[0]]])
                    ):
                        results.update(zip(batch.numbers, answers, strict=True))
                        progress.update(len(batch.numbers))
                yield from (results[number] for number in numbers)
                start = numbers.stop

    def write(self, requests: Sequence[Instance], most: int) -> list[Tokens]:
        """Return the tokens of each request's likeliest answer, up to and including the one that ends it.

        Args:
            requests: as `generate_until` takes them.
            most: tokens of an answer at most.
        """
        todo = [Request.from_arguments(instance.args) for instance in requests]
        found: dict[int, Tokens] = {}
        with self.inference() as model:
            pad = self._tokenizer.pad_token_id
            prepare = partial(self.prepare, todo, "right" if is_encoder_decoder(model) else "left")
            keys = [json.dumps(request.payload, sort_keys=True, default=str) for request in todo]
            for batch in chain.from_iterable(prefetch(prepare, batches(todo, self.batch_size, keys))):
                settings = GenerationSettings.greedy(todo[batch.numbers[0]].payload, most)
                tokens, written = self._tokens(model, batch, settings)
                for number, row, count in zip(batch.numbers, tokens.tolist(), written, strict=True):
                    while count > 1 and row[count - 1] == pad:  # behind an answer that a stop text has ended
                        count -= 1
                    found[number] = tuple(row[:count])
        return [found[number] for number in range(len(todo))]

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, Known]]:
        """Score requests with the arguments `(context, continuation, doc_to_visual, doc_id, task, split)`.

        Requests about the same document with the same prompt share one pass over prompt and image; where the model can
        score labels as a tree, several documents with the same labels share a pass too.

        Returns:
            For each request, in order, the negative log-likelihood of its continuation in nats, summed over its tokens
            (lower is better: lmms-eval's own multiple choice takes the smallest, as its models return losses); and what
            else is known, in few characters, since lmms-eval logs a line with this for every label of every document:
            whether greedy decoding would write it, its number of tokens, and the same loss behind the prompt without
            the image, for prompts that several documents share.
        """
        todo = [Request.from_arguments(instance.args) for instance in requests]
        texts = [continuation(request, self.task_dict) for request in todo]
        groups: dict[Any, list[int]] = {}
        for number, request in enumerate(todo):
            groups.setdefault(request.prompt_key, []).append(number)
        members = {group[0]: group for group in groups.values()}
        labels = {first: tuple(texts[number] for number in group) for first, group in members.items()}
        several = sorted((first for first in labels if len(labels[first]) > 1), key=lambda n: -len(todo[n].context))
        alone = [first for first in labels if len(labels[first]) == 1]
        with self.inference() as model, self._progress(len(todo)) as progress:
            scorer = cache(partial(Scorer, batch_size=self.batch_size, pad_token_id=self._tokenizer.pad_token_id))
            prepare = partial(self.prepare, todo, "right")
            scores: dict[int, Score] = {}

            def score(batch: Batch) -> tuple[Scorer, list[list[Score]]]:
                chosen = scorer(part_for(model, batch.inputs))
                chosen.batch_size = self.batch_size
                return chosen, self._score(chosen, batch, [labels[number] for number in batch.numbers])

            def score_all(numbers: Iterable[list[int]]) -> bool:
                """Score batches of prompts; return whether more than one prompt with several labels could be one."""
                many = False
                for whole in chain.from_iterable(prefetch(prepare, numbers)):
                    for batch, (chosen, found) in self._within_memory(whole, prepare, score):
                        for number, row in zip(batch.numbers, found, strict=True):
                            scores.update(zip(members[number], row, strict=True))
                            progress.update(len(row))
                        many = chosen.takes_rows
                return many

            score_all(batches(todo, self._next_size, [None] * len(todo), alone))
            one_scorer = part_for(model, {}) is model
            size = self._next_size if score_all([first] for first in several[:1]) and one_scorer else 1
            score_all(batches(todo, size, [labels.get(number) for number in range(len(todo))], several[1:]))
            priors: dict[int, float] = {}
            for sharing in sharing_a_prompt(todo, labels, several):
                for batch in self._without_image(todo, sharing[0]):
                    _, (row,) = score(batch)
                    for number in sharing:
                        priors.update(zip(members[number], (round(one.nll, _DIGITS) for one in row), strict=True))
        return [
            (round(one.nll, _DIGITS), (one.greedy, one.tokens, priors.get(number)))
            for number, one in sorted(scores.items())
        ]

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> NoReturn:
        """Not supported: no task of this project has several rounds."""
        raise NotImplementedError("emt_vlm answers single prompts; multi-round tasks need another model of lmms-eval")

    def prepare(self, todo: Sequence[Request], padding_side: str, numbers: list[int]) -> list[Batch]:
        """Read the images of a batch of requests and return what the model takes; runs in the background."""
        images = {number: load_images(todo[number], self.task_dict) for number in numbers}
        with self._preparing:  # a batch that was too large is prepared again beside the next one
            return self.collate(todo, numbers, images, padding_side)

    def _next_size(self) -> int:
        return self._size.now

    def _within_memory(
        self, batch: Batch, prepare: Callable[[list[int]], list[Batch]], run: Callable[[Batch], Made]
    ) -> Iterator[tuple[Batch, Made]]:
        """Yield a batch and what `run` makes of it, or the parts of it that memory has room for."""
        found = self._size.tried(len(batch.numbers), self.device, partial(run, batch))
        if found is not None:
            yield batch, found
            return
        _log.warning("%d prompts were too many for the memory: %d from now on", len(batch.numbers), self.batch_size)
        size = self.batch_size  # of these parts, also where one of them makes it smaller still
        for start in range(0, len(batch.numbers), size):
            for part in prepare(batch.numbers[start : start + size]):
                yield from self._within_memory(part, prepare, run)

    def _generate(self, model: Any, batch: Batch, settings: GenerationSettings) -> list[GenerationResult]:
        """Answer one batch."""
        tokens, written = self._tokens(model, batch, settings)
        answers = self._tokenizer.batch_decode(tokens, skip_special_tokens=True)
        read = batch.inputs["attention_mask"].sum(-1).tolist()
        return [
            GenerationResult(cut(answer, settings.until), TokenCounts(input_tokens=before, output_tokens=after))
            for answer, before, after in zip(answers, read, written, strict=True)
        ]

    def _tokens(self, model: Any, batch: Batch, settings: GenerationSettings) -> tuple[torch.Tensor, list[int]]:
        """Return what a model writes, `(rows, tokens)`, and how many of a row's tokens are its answer."""
        inputs = moved(batch.inputs, model)
        part = part_for(model, inputs)
        decoder_only = not is_encoder_decoder(model)
        start = inputs["input_ids"].shape[1] if decoder_only else 1  # a separate decoder begins with a start token
        stops = {"stopping_criteria": stopping(settings.until, self._tokenizer, start)} if settings.until else {}
        pad = self._tokenizer.pad_token_id
        output = part.generate(**inputs, **settings.options, **stops, pad_token_id=pad, use_cache=True)
        tokens = new_tokens(output, inputs["input_ids"]) if decoder_only else output[:, start:]
        return tokens, count_tokens(tokens, end_tokens(part))

    def _without_image(self, todo: Sequence[Request], number: int) -> list[Batch]:
        """Return a prompt without its image; nothing where the model takes no such prompt."""
        try:
            return self.collate(todo, [number], {number: []}, "right")
        except UserError:
            return []

    def _score(self, scorer: Scorer, batch: Batch, labels: list[tuple[str, ...]]) -> list[list[Score]]:
        """Score the labels of each prompt of a batch."""
        inputs = moved(batch.inputs, scorer.model)
        tokens = [
            self._continuations(prompt, batch.border, own) for prompt, own in zip(batch.prompts, labels, strict=True)
        ]
        if any(len(row) > 1 for row in tokens):
            return scorer.score(inputs, tokens)
        return [[score] for score in scorer.score_rows(inputs, [row for (row,) in tokens])]

    @contextmanager
    def inference(self) -> Iterator[Any]:
        """Yield the model in evaluation mode without gradients, and restore every module's mode afterwards."""
        model = self.model
        modes = [(module, module.training) for module in model.modules()]
        model.eval()
        try:
            # Not inference_mode: what models cache in a pass (rotary tables) must stay usable in training.
            with torch.no_grad():
                yield model
        finally:
            for module, mode in modes:
                module.training = mode

    def _progress(self, total: int) -> Any:
        return tqdm(total=total, disable=self._quiet or self.rank != 0, desc="emt_vlm")


@contextmanager
def lent(lm: EmtVLM) -> Iterator[None]:
    """Let whoever loads a model by its arguments get this one; it stays in memory."""
    owned, lm._owns_model = lm._owns_model, False
    _LENT.append(lm)
    try:
        yield
    finally:
        _LENT.remove(lm)
        lm._owns_model = owned


def _positive(name: str, value: int | str) -> int:
    number = int(value) if str(value).isdecimal() else 0
    if number < 1:
        raise UserError(f"{name}={value}: expected an integer of at least 1")
    return number
