"""How far a model has moved from its base: by hand, and in whole runs."""

from __future__ import annotations

import json
from math import log
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from emt_core.errors import UserError
from finetune.data.collate import IGNORED, TrainingBatch
from finetune.recipes.files import read
from finetune.training.moved import MOST, FixedProbe, first_tokens
from finetune.training.run import finetune
from finetune.training.watch import Watch
from tests.finetune.training.test_command import LAUNCH, start
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


def answers(*rows: tuple[int, ...]) -> TrainingBatch:
    """Answers' words; the first place is the prompt's last, and words are at even odds at first."""
    width = max(map(len, rows))
    labels = torch.tensor([[*row, *[IGNORED] * (width - len(row))] for row in rows])
    return TrainingBatch({"features": torch.zeros(len(rows), width, 2)}, labels, torch.zeros(len(rows)).long())


def test_by_hand():
    """The base says either word at even odds; then a bias makes the first word four times as likely: 0.8 to 0.2.

    KL = ½ ln(0.5 / 0.8) + ½ ln(0.5 / 0.2) at every place; the distributions are 0.3 apart; the new answers' word gains.
    """
    model = Model()
    probe = FixedProbe({"task": [answers((0,), (0, 1)), answers((1, 1))]}, model, model.head, [0])
    (still,) = probe.measure(model).values()
    assert max(still.kl, still.shift, abs(still.bias)) < 1e-6  # 16 bits do not count as a divergence
    handle = model.head.register_forward_hook(lambda _module, _inputs, logits: logits + torch.tensor([log(4), 0.0]))
    (moved,) = probe.measure(model).values()
    handle.remove()
    assert moved.kl == pytest.approx(0.5 * log(0.5 / 0.8) + 0.5 * log(0.5 / 0.2), abs=1e-3)
    assert moved.shift == pytest.approx(0.3, abs=1e-3)
    assert moved.bias == pytest.approx(0.3, abs=1e-3)


def test_without_new_answers_there_is_no_bias():
    model = Model()
    assert FixedProbe({"task": [answers((0,))]}, model, model.head, []).measure(model)["task"].bias is None


def test_the_first_tokens_of_answers():
    assert first_tokens([answers((1, 0), (0,), (1,))]) == [1, 0, 1]


@pytest.mark.parametrize("architecture", sorted(tiny_checkpoints.ARCHITECTURES))
def test_a_model_that_does_not_learn_does_not_move(architecture, tiny, recipe_file, tmp_path):
    """Whatever it drops out while it trains; so the probe's prompts are the same as those that the base answered."""
    still = {"optimiser": {"learning_rate": 1e-12}, "steps": 1, "save": {"every": "end"}}
    few = {"tasks": ["emt_mnist"], "every": 1, "documents": 2, "pool": 2}
    finetune(read(recipe_file(model=str(tiny(architecture)), probe=few, **still)))
    base, line = log_of(tmp_path)
    assert base["step"] == 0
    for task, found in line["probe"].items():
        for seen in (base["probe"][task], found):
            assert seen["kl"] == pytest.approx(0, abs=1e-4)
            assert seen["shift"] == pytest.approx(0, abs=1e-3)
            assert seen["bias"] == pytest.approx(0, abs=1e-3)
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
    assert [sorted(line["probe"]) for line in log_of(tmp_path, "looking")] == [sorted(PROBE["tasks"])] * 7


def test_the_best_checkpoint_is_kept(recipe_file, tmp_path, capsys):
    probe = {**PROBE, "every": 3, "stop": 50.0}
    last = finetune(read(recipe_file(probe=probe, save={"every": 2, "keep": "best"})))
    lines = log_of(tmp_path)
    standings = [line["standing"] for line in lines if "standing" in line]
    assert [standing["step"] for standing in standings] == [2, 4, 6]
    (kept,) = (tmp_path / "run").glob("checkpoint-*")
    assert kept == last == (tmp_path / "run" / "last").resolve()
    best = min((s for s in standings if s["passes"]), key=lambda s: (-s["learned"], s["lost"], s["step"]))
    assert kept.name == f"checkpoint-{best['step']:06d}"
    said = capsys.readouterr().err
    assert f"{kept.name} is the best: learned" in said
    assert "2 looks at other tasks took" in said and ", 3 checkpoints scored in" in said


def test_auto_says_how_often_it_looks_and_what_that_costs(recipe_file, tmp_path, capsys):
    finetune(read(recipe_file(probe={**PROBE, "every": "auto"}, steps=12, save={"every": "end"})))
    (every,) = [line["probe_every"] for line in log_of(tmp_path) if "probe_every" in line]
    looked = [line["step"] for line in log_of(tmp_path) if "probe" in line]
    assert looked == [0, *(step for step in range(6, 13) if step % every == 0)]
    said = capsys.readouterr().err
    assert f"one after every {every} steps takes at most 5 % of the time" in said
    assert ("set probe.every to look" in said) == (every > 12)


def alarm_at(step, monkeypatch):
    """Let every task be forgotten from a look on."""
    bet = Watch._bet

    def raised(self, task, drops):
        bet(self, task, drops)
        self.seen = getattr(self, "seen", 0) + 1
        if self.seen >= step and task not in self.forgotten:
            self.forgotten.append(task)

    monkeypatch.setattr(Watch, "_bet", raised)


def stopping_at(step, monkeypatch):
    """Let SIGTERM come in a step."""
    from finetune.training import loop

    record = loop.Training._record

    def stop(self, number, *rest):
        record(self, number, *rest)
        self._asked_to_stop = number == step - 1

    monkeypatch.setattr(loop.Training, "_record", stop)


def test_after_an_alarm_the_rate_falls_once_also_in_a_resumed_run(recipe_file, tmp_path, monkeypatch, capsys):
    """The alarm is raised at the second look; from the third step on the rate is a tenth."""
    alarm_at(2, monkeypatch)
    slower = {**PROBE, "stop": 1.0, "then": "slower"}
    recipe = read(recipe_file(probe=slower, schedule={"name": "constant", "warmup": 0}))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="SIGTERM after step 4"):
        stopping_at(4, patch)
        finetune(recipe)
    assert "step 2 of 6: emt_cifar10 is shown to have lost more than 1 points; from here on at 0.1" in (
        capsys.readouterr().err
    )
    finetune(recipe, resume=True)
    lines = [line for line in log_of(tmp_path) if "loss" in line]
    assert [line["learning_rate"]["full"] for line in lines] == pytest.approx([1e-3] * 2 + [1e-4] * 4)
    (alarm,) = [(line["step"], line["alarm"]) for line in lines if "alarm" in line]
    assert alarm == (2, {"tasks": ["emt_cifar10"], "then": "slower", "margin": 1.0})
    assert "shown to have lost" not in capsys.readouterr().err


def test_a_run_that_an_alarm_has_ended_does_not_go_on(recipe_file, tmp_path, monkeypatch):
    alarm_at(2, monkeypatch)
    recipe = read(recipe_file(probe={**PROBE, "stop": 1.0}, save={"every": "end", "keep": "best"}))
    last = finetune(recipe)
    assert last.name == "checkpoint-000002"
    before = (last / "model.safetensors").read_bytes(), log_of(tmp_path)
    assert finetune(recipe, resume=True) == last
    assert ((last / "model.safetensors").read_bytes(), log_of(tmp_path)) == before


def test_a_checkpoint_saved_at_the_last_moment_is_scored_when_the_run_resumes(recipe_file, tmp_path, monkeypatch):
    """SIGTERM leaves no time: the log and the checkpoint are then those of a run that was not stopped."""
    fields = {"probe": {**PROBE, "every": 3}, "save": {"every": 2, "keep": "best"}}
    whole = finetune(read(recipe_file(**fields, output=str(tmp_path / "whole"))))
    recipe = read(recipe_file(**fields))
    with monkeypatch.context() as patch, pytest.raises(UserError, match="SIGTERM after step 4"):
        stopping_at(4, patch)
        finetune(recipe)
    assert [line["step"] for line in log_of(tmp_path) if "standing" in line] == [2]
    last = finetune(recipe, resume=True)
    assert last.name == whole.name
    assert [path.name for path in (tmp_path / "run").glob("checkpoint-*")] == [last.name]
    weights, other = load_file(whole / "model.safetensors"), load_file(last / "model.safetensors")
    assert all(torch.equal(value, other[name]) for name, value in weights.items())
    standings = [[line["standing"] for line in log_of(tmp_path, run) if "standing" in line] for run in ("whole", "run")]
    assert standings[0] == standings[1]


@pytest.mark.parametrize("architecture", sorted(tiny_checkpoints.ARCHITECTURES))
def test_the_probe_is_what_an_evaluation_asks_and_the_base_writes(architecture, tiny, recipe_file):
    """Token by token: each token of the answer is the likeliest one behind those before it; 16 of them at most."""
    from accelerate import Accelerator

    from emt_tasks.models.vlm import EmtVLM
    from finetune.model import building
    from finetune.training.evaluation import LiveSample
    from finetune.training.loss import answer_logits

    recipe = read(recipe_file(model=str(tiny(architecture))))
    processor = building.load_processor(recipe)
    model, _ = building.load_model(recipe, torch.device("cpu"))
    model.eval()
    collator = building.make_collator(model, processor)
    live = LiveSample(["emt_mnist"], 3, processor, Accelerator(cpu=True), 4, collator)
    (batch,) = live.batches(model, 2)["emt_mnist"]
    labels = batch.labels[batch.labels != IGNORED]
    assert ((batch.labels != IGNORED).sum(-1) <= MOST).all() and len(labels) > 2
    with torch.no_grad():
        logits = answer_logits(model, model.get_output_embeddings(), batch)
    assert torch.equal(logits.argmax(-1), labels)
    lm = EmtVLM.from_model(model, processor)
    lm.task_dict = live._sampled.documents_by_task
    (asked,) = lm.prepare(live._sampled.requests("emt_mnist", range(2)), "right", [0, 1])
    for ours, theirs, mask in zip(
        batch.inputs["input_ids"], asked.inputs["input_ids"], asked.inputs["attention_mask"].bool(), strict=True
    ):
        prompt = theirs[mask]
        assert torch.equal(ours[: len(prompt)], prompt)
    assert torch.equal(batch.inputs["pixel_values"], asked.inputs["pixel_values"])


def test_a_limit_on_training_examples_is_none_on_what_is_watched(recipe_file, tmp_path):
    """MNIST's question takes more tokens than those of the training examples here."""
    short = {"sources": [{"data": "mnist", "question": "?", "answer": "1"}]}
    limit = {"size": 8, "micro": 8, "max_tokens": 30}
    with pytest.raises(UserError, match=r"batch\.max_tokens is"):
        finetune(read(recipe_file(batch=limit, steps=1)))
    finetune(
        read(recipe_file(mixture=short, batch=limit, probe=PROBE, steps=1, save={"every": "end"}), ()), overwrite=True
    )
    assert log_of(tmp_path)[-1]["probe"]["emt_mnist"]["kl"] > 0


def test_trackers_get_the_numbers_and_the_picture_of_the_looks(recipe_file):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    output = finetune(read(recipe_file(trackers=["tensorboard"], probe={**PROBE, "every": 3}))).parent
    events = EventAccumulator(str(output / "emt"))
    events.Reload()
    assert [image.step for image in events.Images("looks")] == [0, 3, 6]
    for name in ("accuracy", "kl", "shift", "bias"):
        assert [one.step for one in events.Scalars(f"probe/emt_cifar10/{name}")] == [0, 3, 6]
    assert len(events.Scalars("loss")) == len(events.Scalars("loss/mnist")) == 6


@pytest.mark.slow
def test_two_processes_see_the_same(recipe_file, tmp_path):
    fields = {"probe": {**PROBE, "every": "auto"}, "save": {"every": 3, "keep": "best"}, "steps": 8}
    two = start(f"{LAUNCH} -m emt_tasks.commands.app", "finetune", recipe_file(**fields), "batch.micro=4")
    output, _ = two.communicate()
    assert two.returncode == 0, output
    fixed = {**fields, "probe": {**PROBE, "every": 2}}
    one = start("emt_tasks.commands.app", "finetune", recipe_file(**fixed, output=str(tmp_path / "one")))
    assert one.wait() == 0
    pair = start(
        f"{LAUNCH} -m emt_tasks.commands.app",
        "finetune",
        recipe_file(**fixed, output=str(tmp_path / "two")),
        "batch.micro=4",
    )
    output, _ = pair.communicate()
    assert pair.returncode == 0, output
    looks = [[line for line in log_of(tmp_path, name) if "probe" in line] for name in ("one", "two")]
    assert [line["step"] for line in looks[0]] == [0, 2, 4, 6, 8]
    for single, double in zip(*looks, strict=True):
        for task, found in single["probe"].items():
            assert double["probe"][task]["kl"] == pytest.approx(found["kl"], abs=1e-3)
            assert double["probe"][task]["shift"] == pytest.approx(found["shift"], abs=1e-3)
            assert double["probe"][task]["accuracy"] == found["accuracy"]
