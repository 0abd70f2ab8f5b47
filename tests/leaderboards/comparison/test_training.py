"""What a loss log says of the looks, and which log is a run's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from emt_core.runs import read_run
from finetune.training import checkpoint
from leaderboards.comparison.training import LOG_FILE, Alarm, Seen, read_log, read_training
from tests.support.synthetic_runs import judged_sample, write_run


def look(accuracy: float, *, kl: float = 0.5, drops: int = 4) -> dict[str, Any]:
    return {"accuracy": accuracy, "base": 1.0, "drops": [0.0] * drops, "kl": kl, "shift": 0.25, "bias": -0.125}


def write_log(folder: Path, *lines: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / LOG_FILE
    file.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return file


BASE = {"step": 0, "probe": {"new": {"accuracy": 0.5, "kl": 0.0, "shift": 0.0, "bias": 0.0}}, "learn": "new"}


def test_the_name_of_the_log_is_that_of_training() -> None:
    assert LOG_FILE == checkpoint.LOG_FILE


def test_looks_and_an_alarm_are_read(tmp_path: Path) -> None:
    alarm = {"tasks": ["old"], "then": "end", "margin": 2.0}
    lines = [
        BASE,
        {"step": 1, "loss": 3.0},
        {"step": 2, "probe": {"new": look(0.75), "old": look(0.0)}, "alarm": alarm},
    ]
    found = read_log(write_log(tmp_path, *lines))
    assert found is not None
    assert found.looks[0] == {"new": Seen(0.5, None, 0, 0.0, 0.0, 0.0)}
    assert found.looks[2] == {"new": Seen(0.75, 1.0, 4, 0.5, 0.25, -0.125), "old": Seen(0.0, 1.0, 4, 0.5, 0.25, -0.125)}
    assert (found.learned, found.alarm, found.unread) == ("new", Alarm(2, ("old",), 2.0, "end"), 0)


def test_a_log_without_its_base_has_it_from_the_first_look(tmp_path: Path) -> None:
    found = read_log(
        write_log(tmp_path, {"step": 9, "probe": {"old": {"accuracy": 0.25, "base": 0.5, "drops": [0, 0]}}})
    )
    assert found is not None
    assert found.looks[0] == {"old": Seen(0.5, 0.5, 2, None, None, None)}


def test_what_cannot_be_read_is_counted_and_what_is_no_number_is_left_out(tmp_path: Path) -> None:
    strange = {"accuracy": "high", "kl": float("nan"), "drops": 3}
    found = read_log(write_log(tmp_path, BASE, "{torn", "[1]", "", {"step": 3, "probe": {"new": strange, "x": 1}}))
    assert found is not None
    assert found.looks[3] == {"new": Seen(None, None, 0, None, None, None)}
    assert found.unread == 2


@pytest.mark.parametrize("lines", [[], [BASE], [{"step": 1, "loss": 1.0}]])
def test_without_a_look_there_is_nothing(lines: list[Any], tmp_path: Path) -> None:
    assert read_log(write_log(tmp_path, *lines)) is None


def test_the_log_lies_in_the_checkpoint_or_in_the_adapter(tmp_path: Path) -> None:
    """An adapter's base may be a checkpoint with a log of its own, which is another training's."""
    line = {"step": 3, "probe": {"old": look(0.5)}}
    full, adapter = write_log(tmp_path / "full", BASE, line).parent, tmp_path / "adapter"

    def run(arguments: str) -> Any:
        rows = [judged_sample(0, "correct")]
        return read_training(read_run(write_run(tmp_path / "runs", {"emt_mnist": rows}, model_args=arguments)))

    assert run(f"pretrained={full},dtype=float32").looks[3]["old"].accuracy == 0.5
    assert run(f"pretrained={full},peft={adapter}") is None
    write_log(adapter, {"step": 4, "probe": {"old": look(0.25)}})
    assert run(f"pretrained={full},peft={adapter}").looks[4]["old"].accuracy == 0.25
    assert run("pretrained=somebody/model") is None
