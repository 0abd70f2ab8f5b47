"""How far a model has moved from its base: by hand, and in whole runs."""

from __future__ import annotations

import json
from math import log
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from finetune.data.collate import IGNORED, TrainingBatch
from finetune.recipes.files import read
from finetune.training.moved import FixedProbe, first_tokens
from finetune.training.run import finetune
from finetune.training.watch import Watch
from tests.support import tiny_checkpoints

pytestmark = [
    pytest.mark.usefixtures("data_dir"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
]

PROBE = {"tasks": ["emt_mnist", "emt_cifar10"], "learn": "emt_mnist", "every": 1, "documents": 4, "pool": 4}


class Model(nn.Module):
    """Two words; the features of a place are their logits, to which training adds `head`'s weights."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data = torch.eye(2)

    def forward(self, features, **_):
        return SimpleNamespace(logits=self.head(features))


def collator(examples, images, sources):
    """Each example is the words of its answer: the first place is the prompt's last, and even at first."""
    rows = [example.answer for example in examples]
    width = max(map(len, rows))
    labels = torch.tensor([[*row, *[IGNORED] * (width - len(row))] for row in rows])
    return TrainingBatch({"features": torch.zeros(len(rows), width, 2)}, labels, torch.tensor(sources))


def example(*answer):
    return SimpleNamespace(answer=answer, image_count=0, length=len(answer), load_images=list)


def test_by_hand():
    """The base says either word at even odds; then a bias makes the first word four times as likely: 0.8 to 0.2.

    KL = ½ ln(0.5 / 0.8) + ½ ln(0.5 / 0.2) at every place; the distributions are 0.3 apart; the new answers' word gains.
    """
    model = Model()
    probe = FixedProbe({"task": [example(0), example(0, 1), example(1, 1)]}, model, model.head, collator, [0], 2)
    (still,) = probe.measure(model).values()
    assert (still.kl, still.shift, still.bias) == (pytest.approx(0, abs=1e-3), pytest.approx(0, abs=1e-3),
                                                   pytest.approx(0, abs=1e-3))  # fmt: skip
    handle = model.head.register_forward_hook(lambda _module, _inputs, logits: logits + torch.tensor([log(4), 0.0]))
    (moved,) = probe.measure(model).values()
    handle.remove()
    assert moved.kl == pytest.approx(0.5 * log(0.5 / 0.8) + 0.5 * log(0.5 / 0.2), abs=1e-3)
    assert moved.shift == pytest.approx(0.3, abs=1e-3)
    assert moved.bias == pytest.approx(0.3, abs=1e-3)


def test_without_new_answers_there_is_no_bias():
    model = Model()
    assert FixedProbe({"task": [example(0)]}, model, model.head, collator, [], 2).measure(model)["task"].bias is None


def test_the_first_tokens_of_answers():
    assert first_tokens([collator([example(1, 0), example(0), example(1)], [], [0, 0, 0])]) == [1, 0, 1]


@pytest.mark.parametrize("architecture", sorted(tiny_checkpoints.ARCHITECTURES))
def test_a_model_that_does_not_learn_does_not_move(architecture, tiny, recipe_file, tmp_path):
    """Whatever it drops out while it trains; so the probe's prompts are the same as those that the base answered."""
    still = {"optimiser": {"learning_rate": 1e-12}, "steps": 1, "save": {"every": "end"}}
    few = {"tasks": ["emt_mnist"], "every": 1, "documents": 2, "pool": 2}
    finetune(read(recipe_file(model=str(tiny(architecture)), probe=few, **still)))
    (line,) = log_of(tmp_path)
    for found in line["probe"].values():
        assert found["kl"] == pytest.approx(0, abs=2e-3)
        assert found["shift"] == pytest.approx(0, abs=2e-3)
        assert found["accuracy"] == found["base"]


def log_of(folder, name="run"):
    return [json.loads(line) for line in (folder / name / "emt_train.jsonl").read_text().splitlines()]


def test_looking_changes_nothing(recipe_file, tmp_path):
    """Bit for bit, with dropout: neither the weights nor what is drawn at random."""
    dropout = {"train": {"llm": {"lora": {"rank": 4, "dropout": 0.5}}}}
    without = finetune(read(recipe_file(**dropout, output=str(tmp_path / "without"))))
    looking = finetune(read(recipe_file(**dropout, probe=PROBE, output=str(tmp_path / "looking"))))
    file = "adapter_model.safetensors"
    weights, other = load_file(without / file), load_file(looking / file)
    assert all(torch.equal(value, other[name]) for name, value in weights.items())
    assert [sorted(line["probe"]) for line in log_of(tmp_path, "looking")] == [sorted(PROBE["tasks"])] * 6


def test_the_best_checkpoint_is_kept(recipe_file, tmp_path, capsys):
    probe = {**PROBE, "every": "auto", "stop": 50.0}
    last = finetune(read(recipe_file(probe=probe, save={"every": 2, "keep": "best"})))
    lines = log_of(tmp_path)
    standings = [line["standing"] for line in lines if "standing" in line]
    assert [standing["step"] for standing in standings] == [2, 4, 6]
    (kept,) = (tmp_path / "run").glob("checkpoint-*")
    assert kept == last == (tmp_path / "run" / "last").resolve()
    best = min((s for s in standings if s["passes"]), key=lambda s: (-s["learned"], s["lost"], s["step"]))
    assert kept.name == f"checkpoint-{best['step']:06d}"
    said = capsys.readouterr().err
    assert f"{kept.name} is the best: learned" in said and "looks at other tasks took" in said
    assert [line["probe_every"] for line in lines if "probe_every" in line] == [1]  # four looks at least, in six steps


def test_after_an_alarm_the_rate_falls_or_training_ends(recipe_file, tmp_path, monkeypatch):
    """The alarm is raised at the second look; from the third step on the rate is a tenth, and a resumed run knows."""
    raised = iter([False, True, True, True, True, True, True])
    monkeypatch.setattr(Watch, "_bet", lambda self, task, drops: self.forgotten.append(task) if next(raised) else None)
    slower = {**PROBE, "stop": 1.0, "then": "slower"}
    constant = {"schedule": {"name": "constant", "warmup": 0}}
    finetune(read(recipe_file(probe=slower, **constant)))
    rates = [line["learning_rate"]["full"] for line in log_of(tmp_path) if "loss" in line]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-4, 1e-4, 1e-4, 1e-4])
