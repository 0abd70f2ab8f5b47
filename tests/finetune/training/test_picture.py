"""The picture of a run's traces, drawn and sent to trackers."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.recipes.files import read
from finetune.training.picture import draw_traces, show_traces
from finetune.training.run import finetune

LEARNS = {0: {"emt_mnist": 0.2, "emt_cifar10": 0.9}, 50: {"emt_mnist": 0.8, "emt_cifar10": 0.5}}
BLUE, RED = (0x24, 0x57, 0xC5), (0xD1, 0x49, 0x2E)


def places(picture: Image.Image, colour: tuple[int, int, int]) -> Any:
    """The rows and columns of a colour, left of the names."""
    pixels = np.asarray(picture)[:, :690]
    return np.argwhere((pixels == colour).all(-1))


def test_each_task_has_a_line_from_its_first_value_to_its_last() -> None:
    picture = draw_traces(LEARNS)
    falls, rises = places(picture, BLUE), places(picture, RED)  # by name: emt_cifar10, then emt_mnist
    for found, before, after in ((falls, 0.9, 0.5), (rises, 0.2, 0.8)):
        left, right = found[found[:, 1].argmin()], found[found[:, 1].argmax()]
        # the panel is 450 pixels high and ends at 480
        assert left[0] == pytest.approx(480 - 450 * before, abs=6)
        assert right[0] == pytest.approx(480 - 450 * after, abs=6)


def test_divergences_are_drawn_below() -> None:
    """The lower panel's top is the largest divergence; the accuracies stay as they are."""
    moved = {0: {"emt_mnist": 0.0, "emt_cifar10": 0.0}, 50: {"emt_mnist": 2.0, "emt_cifar10": 0.5}}
    picture = draw_traces(LEARNS, moved)
    assert picture.size == (960, 1080)
    assert np.array_equal(np.asarray(picture)[:540], np.asarray(draw_traces(LEARNS)))
    found = places(picture.crop((0, 540, 960, 1080)), BLUE)
    right = found[found[:, 1].argmax()]
    assert right[0] == pytest.approx(480 - 450 * 0.5 / 2.0, abs=6)


def test_one_checkpoint_and_many_tasks_are_drawn() -> None:
    draw_traces({0: {f"task_{number}": 0.5 for number in range(20)}})


@pytest.mark.slow
@pytest.mark.usefixtures("data_dir")
def test_tensorboard_gets_the_picture(recipe_file: Callable[..., str]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    evaluate = {"tasks": ["emt_mnist"], "limit": 4}
    output = finetune(read(recipe_file(trackers=["tensorboard"], evaluate=evaluate))).parent
    events = EventAccumulator(str(output / "emt"))
    events.Reload()
    shown = events.Images("traces")
    assert [image.step for image in shown] == [0, 3, 6]
    assert Image.open(io.BytesIO(shown[-1].encoded_image_string)).size == (960, 540)


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_gets_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from accelerate import PartialState
    from accelerate.tracking import WandBTracker

    PartialState()
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    tracker = WandBTracker("emt")
    tracker.start()
    show_traces([tracker], LEARNS, 50)
    tracker.finish()
    (file,) = tmp_path.rglob("traces*.png")
    with Image.open(file) as picture:
        assert picture.size == (960, 540)


def test_other_trackers_are_left_alone() -> None:
    show_traces([SimpleNamespace(name="mlflow")], LEARNS, 50)
