"""Tiny checkpoints, documents with images of many shapes, and requests as lmms-eval makes them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.support.tiny_checkpoints import ARCHITECTURES, build


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Matrices this small take longer to share between threads than to multiply."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Build a tiny checkpoint once a session; called with the arguments of `tools.tiny_checkpoints.build`."""
    root = tmp_path_factory.mktemp("checkpoints")

    @cache
    def make(architecture: str, **options: Any) -> Path:
        name = "-".join([architecture, *(f"{key}={value}" for key, value in sorted(options.items()))])
        return build(architecture, root / name, **options)

    return make


@pytest.fixture
def write_adapter(checkpoint: Callable[..., Path], tmp_path: Path) -> Callable[..., Path]:
    """Write a random LoRA adapter of a tiny checkpoint; called with the architecture, a seed and peft's settings."""

    def write(architecture: str, seed: int = 1, name: str = "adapter", **settings: Any) -> Path:
        import torch
        from peft import LoraConfig, get_peft_model
        from transformers import AutoModelForImageTextToText

        model = AutoModelForImageTextToText.from_pretrained(checkpoint(architecture))
        targets = {"r": 4, "lora_alpha": 16, "target_modules": r".*language_model.*(q|v)_proj"}
        config = LoraConfig(init_lora_weights=False, **(targets | settings))
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(seed)
            wrapped = get_peft_model(model, config)
            for key, weights in wrapped.named_parameters():
                if "modules_to_save" in key:
                    torch.nn.init.normal_(weights, std=0.3)
            wrapped.save_pretrained(tmp_path / name)
        return tmp_path / name

    return write


@pytest.fixture(params=sorted(ARCHITECTURES))
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def documents() -> list[dict[str, Any]]:
    """Twelve documents with images of different sizes, one of them grey."""
    random = np.random.default_rng(0)
    sizes = random.integers(20, 70, (12, 2))
    images = [Image.fromarray(random.integers(0, 255, (*size, 3), dtype=np.uint8)) for size in sizes]
    images[3] = images[3].convert("L")
    return [{"image": image} for image in images]


@pytest.fixture
def load(checkpoint: Callable[..., Path], documents: list[dict[str, Any]]) -> Callable[..., Any]:
    """Load a tiny checkpoint as `emt_vlm`, with the documents as task `pets`, split `test`."""
    from emt_tasks.models.vlm import EmtVLM

    def make(architecture: str, **arguments: Any) -> Any:
        lm = EmtVLM(pretrained=str(checkpoint(architecture)), device="cpu", **arguments)
        lm.task_dict = {"pets": {"test": documents}}
        return lm

    return make


def image_of(document: dict[str, Any]) -> list[Image.Image]:
    return [document["image"]]


def nothing_of(document: dict[str, Any]) -> list[Image.Image]:
    return []


@pytest.fixture
def instances() -> Callable[..., list[Any]]:
    """Make lmms-eval instances: prompts of different lengths, by default with the image of their document."""
    from lmms_eval.api.instance import Instance

    def make(payloads: Sequence[Any], kind: str = "generate_until", visual: Any = image_of, each: int = 1) -> list[Any]:
        made = []
        for number, payload in enumerate(payloads):
            doc_id = number // each
            context = "What is it? " * (1 + doc_id % 4) + f"Answer {doc_id}"
            made.append(
                Instance(
                    request_type=kind,
                    arguments=(context, payload, visual, doc_id, "pets", "test"),
                    idx=number,
                    metadata={"task": "pets", "doc_id": doc_id, "repeats": 1},
                )
            )
        return made

    return make
