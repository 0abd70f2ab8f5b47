"""`emt_clip`: a vision encoder as a zero-shot classifier, for the encoder gap (EMT §4.1 and appendix B.2)."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import torch
from lmms_eval.api.instance import GenerationResult, Instance
from lmms_eval.api.model import lmms
from tqdm import tqdm

from emt_core.errors import UserError, one_line
from emt_tasks.datasets import vocabularies
from emt_tasks.datasets.catalog import Dataset
from emt_tasks.models import encoders, loading
from emt_tasks.models.batching import prefetch
from emt_tasks.models.documents import Request, continuation, load_images
from emt_tasks.models.loading import AUTO
from emt_tasks.tasks import registry

AUTO_SIZE = 64
"""Images per batch of `auto`: an encoder is small beside what it was built into."""


class EmtCLIP(lmms):  # type: ignore[misc]
    """A vision encoder with its text tower, which answers a classification task by the nearest label.

    Args:
        pretrained: `ARCHITECTURE/WEIGHTS` as open_clip lists them (`ViT-L-14/openai`), where WEIGHTS may be a file;
            `local-dir:FOLDER` or `hf-hub:NAME` for open_clip; the folder or hub name of a CLIP or SigLIP of
            transformers; or `auto:CHECKPOINT`, the encoder that an MLLM was built on, with that MLLM's very tower.
        tower: an MLLM's checkpoint, whose tower replaces that of a CLIP or SigLIP of transformers.
        templates: the phrases for a label: `openai` (CLIP's 80 for ImageNet) or `simple` (7 of them), as open_clip has
            them, or a file with one a line, where `{label}` stands for the name. By default EMT's, one a data set.
        device: as for `emt_vlm`.
        batch_size: images per batch; `auto` for 64.
        max_batch_size: passed by lmms-eval; not used.

    Raises:
        UserError: the encoder cannot be loaded, or a task is not a classification.

    Example:
        lmms-eval --model emt_clip --model_args pretrained=ViT-L-14/openai --tasks emt --batch_size 64
    """

    is_simple = True

    def __init__(
        self,
        pretrained: str | None = None,
        tower: str | None = None,
        templates: str | None = None,
        device: str | None = None,
        batch_size: int | str = 1,
        max_batch_size: int | None = None,
        **unknown: Any,
    ) -> None:
        super().__init__()
        if unknown:
            known = [name for name in inspect.signature(EmtCLIP).parameters if name != "unknown"]
            raise UserError(f"model_args: emt_clip has no argument {sorted(unknown)[0]!r}; it has {', '.join(known)}")
        if not pretrained:
            raise UserError("model_args: pretrained= is missing; expected an encoder such as ViT-L-14/openai")
        self.accelerator = loading.accelerator_for(device)
        self._rank = self.accelerator.process_index
        self._world_size = self.accelerator.num_processes
        self.device = loading.device_for(device, self.accelerator)
        self.batch_size = AUTO_SIZE if str(batch_size) == AUTO else int(batch_size)
        self._templates = read_templates(templates) if templates else None
        self._encoder = encoders.load(pretrained, self.device, tower)
        self._label_features = cache(self._embed_labels)

    def generate_until(self, requests: Sequence[Instance]) -> list[GenerationResult]:
        """Answer each request with the name of the nearest label."""
        todo = [Request.from_arguments(instance.args) for instance in requests]
        answers = []
        for request, logits in zip(todo, self._logits(todo), strict=True):
            answers.append(GenerationResult(vocabularies.of(self._dataset(request)).names[int(logits.argmax())]))
        return answers

    def loglikelihood(self, requests: Sequence[Instance]) -> list[tuple[float, bool]]:
        """Score each label by its negative log-probability among all labels of the task, in nats."""
        todo = [Request.from_arguments(instance.args) for instance in requests]
        firsts = list({request.prompt_key: request for request in todo}.values())
        losses = {
            request.prompt_key: -logits.log_softmax(-1)
            for request, logits in zip(firsts, self._logits(firsts), strict=True)
        }
        scores = []
        for request in todo:
            label = continuation(request, self.task_dict).strip()
            found = losses[request.prompt_key]
            index = vocabularies.of(self._dataset(request)).names.index(label)
            scores.append((float(found[index]), bool(found.argmin() == index)))
        return scores

    def generate_until_multi_round(self, requests: Sequence[Instance]) -> NoReturn:
        """Not supported: an encoder cannot hold conversations."""
        raise NotImplementedError("emt_clip classifies single images; multi-round tasks need another model")

    def _logits(self, requests: Sequence[Request]) -> list[torch.Tensor]:
        """Return one tensor of `(labels,)` scaled cosines per request."""
        for request in requests:
            self._dataset(request)
        chunks = [requests[start : start + self.batch_size] for start in range(0, len(requests), self.batch_size)]
        logits: list[torch.Tensor] = []
        with torch.inference_mode(), tqdm(total=len(requests), desc="Encoding", disable=self.rank != 0) as progress:
            # On a CPU, decoding ahead would only take the cores from the encoder.
            ready = map(self._pixels, chunks) if self.device.type == "cpu" else prefetch(self._pixels, chunks)
            for chunk, pixels in zip(chunks, ready, strict=True):
                scaled = self._encoder.scale * self._encoder.embed_images(pixels)
                labels = (self._label_features(self._dataset(request)) for request in chunk)
                logits += [(row @ label.T).float().cpu() for row, label in zip(scaled, labels, strict=True)]
                progress.update(len(chunk))
        return logits

    def _pixels(self, requests: Sequence[Request]) -> torch.Tensor:
        """Read one image per request; returns `(batch, 3, height, width)`."""
        return self._encoder.prepare([load_images(request, self.task_dict)[0] for request in requests])

    def _embed_labels(self, dataset: Dataset) -> torch.Tensor:
        """Return `(labels, dim)` text features of unit length."""
        templates = self._templates or [dataset.encoder_prompt]
        return self._encoder.embed_labels(vocabularies.of(dataset).names, templates)

    def _dataset(self, request: Request) -> Dataset:
        found = registry.dataset_of(request.task)
        if found is None or found.kind != "classification":
            raise UserError(f"task {request.task}: an encoder can only classify; choose tasks with a vocabulary")
        return found


def read_templates(name: str) -> list[str]:
    """Return the phrases for a label.

    Args:
        name: `openai`, `simple`, or a file.

    Raises:
        UserError: no such file, or a line without `{label}`.
    """
    from open_clip import zero_shot_metadata as known

    lists = {"openai": known.OPENAI_IMAGENET_TEMPLATES, "simple": known.SIMPLE_IMAGENET_TEMPLATES}
    if name in lists:
        return [phrase("{label}") for phrase in lists[name]]
    try:
        lines = [line.strip() for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"templates={name}: expected openai, simple, or a file ({one_line(error)})") from error
    wrong = [line for line in lines if line.count("{label}") != 1 or line.count("{") != 1 or line.count("}") != 1]
    if wrong or not lines:
        raise UserError(
            f"templates={name}: expected lines with {{label}} once, found {wrong[0] if wrong else 'none'!r}"
        )
    return lines
