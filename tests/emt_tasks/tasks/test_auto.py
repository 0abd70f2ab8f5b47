"""`--tasks auto`: what has its data is taken; the rest is named, with what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest

from emt_core.errors import UserError
from emt_tasks.commands.coverage import cover, named
from emt_tasks.tasks.auto import choose
from leaderboards.gate.policy import Policy
from tests.support.hub_server import HubServer, Repository
from tests.support.synthetic_runs import judged_sample, write_run

IMAGENET = "accept its terms at huggingface.co/datasets/ILSVRC/imagenet-1k, then: hf auth login"
COPY = "or from a copy: emt data prepare imagenet1k --from FOLDER"
TASKS = ["flowers102_lite", "ocr_vqa_lite", "emt_mnist_lite", "emt_cifar10_lite", "emt_cifar100_lite"]


@pytest.fixture
def data(tmp_path, sample_data, monkeypatch):
    """A folder with all data sets, for a test to remove some."""
    folder = shutil.copytree(sample_data, tmp_path / "data")
    monkeypatch.setenv("EMT_DATA_DIR", str(folder))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    monkeypatch.setattr("emt_tasks.datasets.checks.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    return folder


@pytest.fixture
def first_day(data):
    """What somebody without ImageNet has."""
    for name in ("imagenet1k", "miniimagenet", "imagewikiqa"):
        shutil.rmtree(data / name)
    return data


def test_with_all_data_it_is_the_matrix_and_says_nothing(data, capsys):
    assert cover("auto", "base").names == ("forgetting_matrix_lite",)
    assert cover(None, "base").required is None
    assert capsys.readouterr().err == ""


def test_without_imagenet_it_takes_the_rest_and_says_which_quadrants_are_missing(first_day, capsys):
    covered = cover("auto", "base")
    assert list(covered.names) == TASKS
    assert {task.task: task.quadrant for task in covered.untested} == {
        "imagenet_vqa_lite": "idt_idi",
        "imagewikiqa_lite": "oodt_idi",
        "imagewikiqa_distractor_lite": None,
    }
    assert covered.demand(Policy()).required is None
    assert capsys.readouterr().err.splitlines() == [
        "2 of 4 quadrants can be tested:",
        "  idt_idi     NOT TESTED",
        "  idt_oodi    flowers102_lite",
        "  oodt_idi    NOT TESTED",
        "  oodt_oodi   ocr_vqa_lite",
        "  beside them emt_mnist_lite, emt_cifar10_lite, emt_cifar100_lite",
        f"NOT TESTED: imagenet_vqa_lite (idt_idi): {IMAGENET}; {COPY}",
        "NOT TESTED: imagewikiqa_lite (oodt_idi), imagewikiqa_distractor_lite: not on the hub, see "
        "github.com/yuhui-zh15/VLMClassifier; accept the terms of its images at "
        "huggingface.co/datasets/ILSVRC/imagenet-1k, then: emt data prepare imagewikiqa --from FOLDER",
    ]


def test_without_being_asked_it_requires_the_whole_matrix_unless_the_policy_says_what(first_day, capsys):
    covered = cover(None, "base")
    assert covered.demand(Policy()).required == (
        *TASKS,
        *("imagenet_vqa_lite", "imagewikiqa_lite", "imagewikiqa_distractor_lite"),
    )
    assert covered.demand(Policy(required=("ocr_vqa_lite",))).required == ("ocr_vqa_lite",)
    assert capsys.readouterr().err.endswith("not pass; to pass it on these alone: --tasks auto\n")


def test_names_beside_it_are_kept(first_day):
    assert named("auto,ocr_vqa_lite,mmmu_val") == [*TASKS, "mmmu_val"]
    assert named("emt_mnist, emt_cifar10") == ["emt_mnist", "emt_cifar10"]


def test_a_finished_base_decides(first_day, tmp_path):
    run = write_run(tmp_path, {"mmmu_val": [judged_sample(0, "correct")], "flowers102": [judged_sample(0, "correct")]})
    for tasks in (None, "auto"):
        assert set(cover(tasks, str(run)).names) == {"mmmu_val", "flowers102"}
    assert cover("ocr_vqa", str(run)).names == ("ocr_vqa",)


def test_without_any_data_it_is_one_line(tmp_path, data):
    shutil.rmtree(data)
    with pytest.raises(UserError) as error:
        choose()
    assert str(error.value) == (
        f"--tasks auto: no task has its data, such as imagenet1k ({IMAGENET}; {COPY}); "
        "see: emt data list; without any data: emt demo"
    )


def test_a_broken_file_is_not_left_out_but_told(first_day):
    (first_day / "flowers102" / "test.parquet").write_bytes(b"not parquet")
    with pytest.raises(UserError, match=r"flowers102/test\.parquet: not a parquet file"):
        choose()


def test_the_hub_is_asked_for_what_is_free_and_for_what_was_accepted(first_day, tmp_path):
    """By a process of its own: `datasets` reads where the hub is when it is imported."""
    flowers = (first_day / "flowers102" / "test.parquet").read_bytes()
    for name in ("flowers102", "cifar100"):
        shutil.rmtree(first_day / name)
    hub = HubServer(
        {
            ("datasets", "dpdl-benchmark/oxford_flowers102"): Repository({"data/test-00000-of-00001.parquet": flowers}),
            ("datasets", "ILSVRC/imagenet-1k"): Repository(gated=True),
            ("datasets", "timm/mini-imagenet"): Repository({"data/validation-00000-of-00001.parquet": b""}),
        }
    )
    code = (
        "import json; from emt_tasks.tasks.auto import choose; found = choose();"
        "print(json.dumps([found.names, [one.task.name for one in found.left_out]]))"
    )
    environment = {**os.environ, **hub.environment(tmp_path / "home"), "EMT_DATA_DIR": str(first_day)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    hub.stop()
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == [
        [task for task in TASKS if task != "emt_cifar100_lite"],
        ["imagenet_vqa_lite", "imagewikiqa_lite", "imagewikiqa_distractor_lite"],
    ]
