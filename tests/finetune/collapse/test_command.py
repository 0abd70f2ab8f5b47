"""`emt collapse classifier` on real digits: the first half is forgotten, and its vectors become one."""

from __future__ import annotations

import json

import pytest

from emt_tasks.commands.app import main


@pytest.mark.slow
def test_digits_left_out_collapse(tmp_path, capsys):
    """Weight decay as in the paper needs far more steps; a large one shows in few epochs what it comes to."""
    out = tmp_path / "collapse"
    command = ["collapse", "classifier", "demo_digits", "-o", str(out), "--epochs", "4", "--finetune-epochs", "7"]
    assert main([*command, "--learning-rate", "0.02", "--weight-decay", "0.1"]) == 0
    epochs = [json.loads(line) for line in (out / "epochs.jsonl").read_text().splitlines()]
    assert [epoch["phase"] for epoch in epochs] == ["first"] * 4 + ["second"] * 7
    before, last = epochs[3], epochs[-1]
    assert before["first"] > 0.8 and before["second"] == 0
    assert last["first"] < 0.05 and last["second"] > 0.8
    assert before["cosine"] < 0.5 and last["cosine"] >= 0.9
    assert "<svg" in (out / "collapse.svg").read_text()
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.startswith(("The first half: 9", "The first half: 8"))
    assert main([*command]) == 2  # what is there is not replaced


def test_what_has_no_classes_is_refused(tmp_path, capsys):
    assert main(["collapse", "classifier", "demo_digits_qa", "-o", str(tmp_path / "out")]) == 2
    assert "has no classes; expected one of" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_run_is_the_same_again(tmp_path):
    """On the CPU, with the same seed; 80 images of ten classes, one epoch each."""
    rows = []
    for name in ("one", "two"):
        command = ["collapse", "classifier", "demo_digits", "-o", str(tmp_path / name), "--limit", "80", "-b", "16"]
        assert main([*command, "--epochs", "1", "--finetune-epochs", "1", "--device", "cpu"]) == 0
        rows.append((tmp_path / name / "epochs.jsonl").read_text())
    assert rows[0] == rows[1]
