"""Kept answers are those of the same weights, files, arguments and versions, and of no others."""

from __future__ import annotations

import json
import shutil

import pytest

from emt_tasks.tasks import fingerprint
from emt_tasks.tasks.evaluator import EvaluationSettings, evaluate
from tests.support import tiny_checkpoints


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "chat_template.jinja", "tokenizer.json", "README.md"):
        (folder / name).write_text("{}")
    return folder


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "chat_template.jinja", "generation_config.json"])
def test_a_change_of_any_file_that_decides_changes_the_key(model, name):
    before = fingerprint.key("emt_vlm", f"pretrained={model}")
    assert fingerprint.key("emt_vlm", f"pretrained={model}") == before
    (model / name).write_text("[]")
    assert fingerprint.key("emt_vlm", f"pretrained={model}") != before


def test_what_decides_nothing_leaves_the_key(model):
    before = fingerprint.key("emt_vlm", f"pretrained={model}")
    (model / "README.md").write_text("Read me")
    (model / "config.json").touch()
    assert fingerprint.key("emt_vlm", f"pretrained={model}") == before


def test_arguments_adapters_and_their_bases_versions_and_data_change_the_key(model, tmp_path, monkeypatch):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(model)}))
    (tmp_path / "data" / "mnist").mkdir(parents=True)
    arguments = f"peft={adapter},dtype=float32"
    keys = [fingerprint.key("emt_vlm", arguments), fingerprint.key("emt_vlm", arguments.replace("32", "16"))]
    (model / "model.safetensors").write_text("[]")
    keys.append(fingerprint.key("emt_vlm", arguments))
    (adapter / "adapter_model.safetensors").write_text("{}")
    keys.append(fingerprint.key("emt_vlm", arguments))
    monkeypatch.setattr(fingerprint, "version", lambda package: "0.0")
    keys.append(fingerprint.key("emt_vlm", arguments))
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path / "data"))
    keys.append(fingerprint.key("emt_vlm", arguments))
    (tmp_path / "data" / "mnist" / "test.parquet").write_text("{}")
    keys.append(fingerprint.key("emt_vlm", arguments))
    assert len(set(keys)) == len(keys)


# lmms-eval leaves the results file for the garbage collector to close.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_answers_of_earlier_weights_are_not_used_and_those_of_the_same_are(sample_data, tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(sample_data))
    model, other = (tiny_checkpoints.build("llava", tmp_path / name, seed=n) for n, name in enumerate("ab"))
    cache = tmp_path / "cache"

    def answers(name, cache=cache):
        run = tmp_path / "runs" / name
        settings = EvaluationSettings(str(model), ("emt_cifar10",), device="cpu", limit=3, cache=cache)
        evaluate(settings, run)
        (samples,) = run.glob("*_samples_emt_cifar10.jsonl")
        return [json.loads(line)["filtered_resps"] for line in samples.read_text().splitlines()]

    before = answers("before")
    shutil.copyfile(other / "model.safetensors", model / "model.safetensors")
    after = answers("after")
    assert after == answers("uncached", None)
    assert after != before
    logs = {log: log.read_text() for log in cache.rglob("rank_0.audit.jsonl")}
    assert [len(text.splitlines()) for text in logs.values()] == [3, 3]  # one line for each answer of the model
    assert answers("again") == after
    assert {log: log.read_text() for log in cache.rglob("rank_0.audit.jsonl")} == logs
