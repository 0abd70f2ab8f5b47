"""`emt publish` against a server that speaks the hub's API: what it would push, pushes, and leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from emt_core.runs import read_run
from emt_tasks.commands.app import main
from leaderboards.comparison.summary import summarise
from leaderboards.exports import ExportSettings, export
from leaderboards.exports.publish import BEGIN
from tests.support.hub_server import TOKEN, HubServer, Repository, here
from tests.support.synthetic_runs import judged_sample, write_run

MODEL, SPACE = ("models", "lab/tuned"), ("spaces", "lab/forgetting")
CARD = """\
---
license: mit
model-index:
- name: Our model
  results:
  - task: {type: image-text-to-text}
    dataset: {type: lmms-lab/MME, name: MME}
    metrics:
    - {type: score, value: 1500}
---

# Our model

Made with care.
"""


@pytest.fixture
def runs(tmp_path) -> tuple[str, str]:
    """A base, and a candidate that lost 100 of 400 answers."""
    paths = []
    for name, lost in (("base", 0), ("tuned", 100)):
        rows = [judged_sample(i, "incorrect" if i < lost else "correct") for i in range(400)]
        hub = {"config": {"dataset_path": "dpdl-benchmark/oxford_flowers102"}}
        paths.append(str(write_run(tmp_path / name, {"flowers102": rows}, name=name, flowers102=hub)))
    return paths[0], paths[1]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    server = HubServer({MODEL: Repository({"README.md": CARD.encode(), "model.safetensors": b"weights"})})
    here(monkeypatch, server, tmp_path / "home")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    yield server
    server.stop()


def test_nothing_is_pushed_unless_asked_to(hub, runs, capsys):
    assert main(["publish", runs[1], "--base", runs[0], "--to", "lab/tuned"]) == 0
    told = capsys.readouterr()
    assert [line.split("  ")[0] for line in told.out.splitlines()[:4]] == [
        ".eval_results/emt-eval-dpdl-benchmark--oxford_flowers102.yaml",
        "README.md",
        "emt-eval/forgetting.svg",
        "emt-eval/report.html",
    ]
    assert "+### What it forgot, compared with base" in told.out
    assert "-Made with care." not in told.out
    assert told.err.splitlines()[-1] == "Nothing was pushed. To push it to the model lab/tuned, add --push"
    assert not [asked for asked in hub.asked if asked.method == "POST"]
    assert TOKEN not in told.out + told.err


def test_a_push_keeps_the_card_and_what_others_measured(hub, runs, capsys):
    command = ["publish", runs[1], "--base", runs[0], "--to", "lab/tuned", "--push"]
    assert main(command) == 0
    assert "/commit/" in capsys.readouterr().out
    files = hub.repositories[MODEL].files
    assert files["model.safetensors"] == b"weights"
    (commit,) = hub.repositories[MODEL].commits
    assert commit["summary"] == "Add results of emt-eval"
    card = ModelCard(files["README.md"].decode())
    assert card.data.license == "mit"
    assert card.text.strip().startswith("# Our model\n\nMade with care.")
    # 300 of 400 answers are right; MME is another's, and stays.
    assert [(result.dataset_name, result.metric_value) for result in card.data.eval_results][:2] == [
        ("MME", 1500),
        ("flowers102", 75.0),
    ]
    entries = yaml.safe_load(files[".eval_results/emt-eval-dpdl-benchmark--oxford_flowers102.yaml"])
    assert entries[0]["value"] == 75.0
    assert b"<svg" in files["emt-eval/forgetting.svg"]
    assert b"<html" in files["emt-eval/report.html"]
    assert main(command) == 0
    again = ModelCard(hub.repositories[MODEL].files["README.md"].decode())
    assert again.text.count(BEGIN) == 1
    assert len(again.data.eval_results) == len(card.data.eval_results)


def test_what_stands_in_the_way_is_one_line(hub, runs, tmp_path, monkeypatch, capsys):
    def fails(*arguments: str) -> str:
        assert main(["publish", *arguments]) == 2
        told = capsys.readouterr().err
        assert TOKEN not in told
        return told.splitlines()[-1]

    assert fails(runs[1], "--to", "tuned") == "emt: --to tuned: expected OWNER/NAME"
    assert "several are a leaderboard: add --space" in fails(*runs, "--to", "lab/tuned")
    assert "the hub has no model lab/nothing that you may see" in fails(runs[1], "--to", "lab/nothing", "--push")
    hub.repositories[MODEL].files["README.md"] = b"---\nlicense: [\n---\n"
    assert "README.md: the card that is there cannot be read" in fails(runs[1], "--to", "lab/tuned")
    monkeypatch.setenv("HF_TOKEN", "hf_another")
    hub.repositories[MODEL].files["README.md"] = CARD.encode()
    assert "--to lab/tuned: " in fails(runs[1], "--to", "lab/tuned", "--push")
    monkeypatch.delenv("HF_TOKEN")
    assert "--push: not logged in to the hub; run: hf auth login" in fails(runs[1], "--to", "lab/tuned", "--push")
    assert not hub.repositories[MODEL].commits


def test_without_a_known_data_set_the_rest_is_published(hub, tmp_path, capsys):
    run = write_run(tmp_path / "odd", {"mine": [judged_sample(i, "correct") for i in range(10)]}, name="odd")
    assert main(["publish", str(run), "--to", "lab/tuned", "-o", str(tmp_path / "out")]) == 0
    assert "no .eval_results: " in capsys.readouterr().err
    made = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert made == [".emt-made.json", "README.md"]


def test_a_leaderboard_becomes_a_static_space(hub, runs, capsys):
    command = ["publish", *runs, "--base", runs[0], "--to", "lab/forgetting", "--space"]
    assert main(command) == 0
    assert SPACE not in hub.repositories
    assert main([*command, "--push"]) == 0
    files = hub.repositories[SPACE].files
    assert b"sdk: static" in files["README.md"]
    assert b"flowers102" in files["index.html"]
    assert [path for path in files if path.startswith("reports/")]
    assert main([*command, "--push"]) == 0
    capsys.readouterr()
    files["README.md"] = b"---\nsdk: static\n---\n# Somebody's page\n"
    assert main([*command, "--push"]) == 2
    assert "that Space has a card without the tag emt-eval, so it is not replaced" in capsys.readouterr().err


def test_openvlm_is_read_as_its_leaderboard_reads_it(runs, tmp_path):
    settings = ExportSettings(model="lab/tuned")
    (file,) = export(summarise(read_run(Path(runs[1]))), "openvlm", tmp_path / "out", settings)
    results = json.loads(file.read_text())["results"]
    for item in results.values():  # what the leaderboard's own code asks of a file
        name, url = item["META"]["Method"]
        assert (name, url) == ("tuned", "https://huggingface.co/lab/tuned")
        assert all(
            isinstance(item["META"][key], str)
            for key in ("Parameters", "Language Model", "Vision Model", "OpenSource", "Verified", "Time", "Org")
        )
    task = results["lab/tuned"]["flowers102"]
    assert (task["Overall"], task["n"], task["incorrect"]) == (75.0, 400, 25.0)
    assert task["Overall (lower bound)"] < 75.0 < task["Overall (upper bound)"]
