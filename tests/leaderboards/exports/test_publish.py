"""`emt publish` against a server that speaks the hub's API: what it would push, pushes, and leaves alone."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest
import yaml
from huggingface_hub import ModelCard

from emt_core.errors import UserError
from emt_core.runs import read_run
from emt_tasks.commands.app import main
from leaderboards.comparison.summary import summarise
from leaderboards.exports import ExportSettings, export
from leaderboards.exports.hosts import open_host
from leaderboards.exports.publish import BEGIN
from leaderboards.exports.push import open_repository
from tests.support.ftp_server import serve_ftp
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

    assert fails(runs[1], "--to", "tuned") == (
        "emt: --to tuned: expected OWNER/NAME on the hub, or an address such as s3://BUCKET/FOLDER"
    )
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


def test_a_card_that_somebody_changed_meanwhile_is_not_replaced(hub, monkeypatch):
    seen = open_repository("lab/tuned", "model")
    hub.repositories[MODEL].files["README.md"] = b"# Newer\n"
    with pytest.raises(UserError, match="--to lab/tuned: it was changed meanwhile; run it again"):
        seen.push({"README.md": b"# From the older card\n"})
    assert hub.repositories[MODEL].files["README.md"] == b"# Newer\n"


def test_what_the_card_no_longer_shows_is_removed(hub, runs, capsys):
    """A report that must not be public goes with a push without it; what is not ours stays."""
    command = ["publish", runs[1], "--base", runs[0], "--to", "lab/tuned", "--push"]
    assert main(command) == 0
    files = hub.repositories[MODEL].files
    files["reports/01-theirs.html"] = b"theirs"
    assert "emt-eval/report.html" in files
    assert main([*command, "--no-report"]) == 0
    assert "emt-eval/report.html  removed" in capsys.readouterr().out
    assert {"emt-eval/forgetting.svg", "reports/01-theirs.html", "model.safetensors"} <= set(files)
    assert "emt-eval/report.html" not in files
    assert b"report.html" not in files["README.md"]


def test_a_pull_request_is_a_push(hub, runs, capsys):
    assert main(["publish", runs[1], "--to", "lab/tuned", "--pull-request"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == f"{hub.url}/lab/tuned/discussions/1"
    assert "Nothing was pushed" not in told.err
    assert hub.repositories[MODEL].files["README.md"] == CARD.encode()


@pytest.fixture(params=["file", "ftp"])
def host(request, tmp_path):
    """A static host: the folder that it serves, and its address."""
    folder = tmp_path / "served"
    folder.mkdir()
    if request.param == "file":
        yield folder, folder.as_uri()
        return
    with serve_ftp(folder, "lab", "secret") as port:
        yield folder, f"ftp://lab:secret@127.0.0.1:{port}"


def test_a_leaderboard_goes_to_a_static_host(host, runs, capsys):
    folder, address = host
    (folder / "own.txt").write_text("mine")
    first, second = f"first={runs[1]}", f"second={runs[1]}"
    command = ["publish", first, second, "--base", runs[0], "--to", f"{address}/boards/forgetting"]
    assert main(command) == 0
    assert [path.name for path in folder.iterdir()] == ["own.txt"]
    assert main([*command, "--push"]) == 0
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].endswith("/boards/forgetting/index.html")
    assert "secret" not in told.out + told.err
    site = folder / "boards" / "forgetting"
    assert "flowers102" in (site / "index.html").read_text()
    assert sorted(path.name for path in (site / "reports").iterdir()) == ["01-first.html", "02-second.html"]
    command.remove(first)
    assert main([*command, "--push"]) == 0
    assert [path.name for path in (site / "reports").iterdir()] == ["01-second.html"]
    assert "reports/02-second.html  removed" in capsys.readouterr().out
    (site / "index.html").write_text("<h1>Somebody's page</h1>")
    assert main([*command, "--push"]) == 2
    told = capsys.readouterr()
    assert "its index.html was not made by emt-eval, so it is not replaced" in told.err
    assert "secret" not in told.out + told.err
    assert (site / "index.html").read_text() == "<h1>Somebody's page</h1>"


def test_a_misspelt_bucket_is_not_made(tmp_path, monkeypatch):
    storage = fsspec.filesystem("dir", path=str(tmp_path), fs=fsspec.filesystem("file"))
    monkeypatch.setattr("leaderboards.exports.hosts.url_to_fs", lambda *_, **__: (storage, "bucket/forgetting"))
    with pytest.raises(UserError, match="--to s3://bucket/forgetting: there is no bucket that you may see"):
        open_host("s3://bucket/forgetting")
    (tmp_path / "bucket").mkdir()
    assert open_host("s3://bucket/forgetting").push({"index.html": b"x"}) == "s3://bucket/forgetting/index.html"
    assert (tmp_path / "bucket" / "forgetting" / "index.html").read_bytes() == b"x"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--to", "nowhere://u:secret@host/x"], "--to nowhere://host/x: ValueError: Protocol not known: nowhere"),
        (["--to", "ftp://u:secret@127.0.0.1:9/x"], "--to ftp://127.0.0.1:9/x: ConnectionRefusedError: "),
        (["--to", "file:///x", "--space"], "--space, --pull-request and --private are for the hub"),
    ],
)
def test_a_host_out_of_reach_is_one_line(runs, capsys, arguments, message):
    assert main(["publish", runs[1], *arguments]) == 2
    told = capsys.readouterr().err
    assert message in told.splitlines()[-1]
    assert "secret" not in told


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
