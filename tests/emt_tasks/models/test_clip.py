"""The encoder as a zero-shot classifier: nearest label, log-probabilities, tasks it cannot answer."""

from __future__ import annotations

import json
from types import SimpleNamespace

import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from emt_core.errors import UserError
from emt_tasks.datasets import vocabularies
from emt_tasks.models.clip import EmtCLIP
from emt_tasks.tasks import hooks

MODEL = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 64, "head_width": 32, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 1, "layers": 1},
}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory) -> str:
    """A folder with a tiny random encoder, as open_clip stores one."""
    folder = tmp_path_factory.mktemp("encoder")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": MODEL, "preprocess_cfg": {"size": 32}}))
    torch.manual_seed(0)
    model = open_clip.CLIP(**MODEL)
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "model.safetensors")
    return f"local-dir:{folder}"


@pytest.fixture
def lm(encoder):
    lm = EmtCLIP(pretrained=encoder, device="cpu", batch_size=2)
    images = [Image.effect_noise((40, 40), 80 + 40 * index).convert("RGB") for index in range(3)]
    lm.task_dict = {"emt_cifar10": {"test": [{"img": image, "label": 0} for image in images]}}
    return lm


def request(doc_id, payload=None, task="emt_cifar10"):
    return SimpleNamespace(args=("What?", payload or {}, hooks.cifar10_image, doc_id, task, "test"))


def test_the_answer_is_the_label_that_is_likeliest(lm):
    names = vocabularies.load("cifar10").names
    answers = [result.text for result in lm.generate_until([request(index) for index in range(3)])]
    pairs = [lm.loglikelihood([request(i, name) for name in names]) for i in range(3)]
    for answer, scores in zip(answers, pairs, strict=True):
        losses = [loss for loss, _ in scores]
        assert names[losses.index(min(losses))] == answer
        assert [greedy for _, greedy in scores] == [name == answer for name in names]
        # Probabilities over all labels of the task sum to one.
        assert sum(torch.tensor(losses).neg().exp().tolist()) == pytest.approx(1, abs=1e-5)


def test_batches_do_not_change_answers(encoder, lm):
    alone = EmtCLIP(pretrained=encoder, device="cpu", batch_size=1)
    alone.task_dict = lm.task_dict
    todo = [request(index) for index in range(3)]
    assert [r.text for r in alone.generate_until(todo)] == [r.text for r in lm.generate_until(todo)]


def test_a_task_without_labels_is_refused(lm):
    with pytest.raises(UserError, match="task ocr_vqa: an encoder can only classify"):
        lm.generate_until([request(0, task="ocr_vqa")])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "pretrained= is missing"),
        ({"pretrained": "local-dir:nowhere"}, "no such folder"),
        ({"pretrained": "ViT-X/openai"}, "open_clip cannot load it"),
        ({"pretrained": "x", "colour": "red"}, "emt_clip has no argument 'colour'"),
    ],
)
def test_mistakes_are_one_line(arguments, message):
    with pytest.raises(UserError, match=message) as error:
        EmtCLIP(**arguments)
    assert "\n" not in str(error.value)
