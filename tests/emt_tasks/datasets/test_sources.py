"""A parquet file under $EMT_DATA_DIR comes first, then the hub; what is missing is told in one line."""

from __future__ import annotations

import pytest

from emt_core.errors import UserError
from emt_tasks.datasets import checks
from emt_tasks.datasets.catalog import datasets, get
from emt_tasks.tasks import hooks


@pytest.fixture
def data_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    return tmp_path


def test_without_a_local_file_one_split_comes_from_the_hub(data_dir):
    assert get("cifar10").load_arguments("test") == {
        "path": "uoft-cs/cifar10",
        "data_files": {"test": "plain_text/test-*"},
        "verification_mode": "no_checks",
    }


def test_a_local_file_comes_first_and_is_looked_for_when_asked(data_dir):
    assert hooks.cifar10_path == "uoft-cs/cifar10"
    file = data_dir / "cifar10" / "test.parquet"
    file.parent.mkdir()
    file.touch()
    assert hooks.cifar10_path == "parquet"
    assert hooks.cifar10_kwargs == {"data_files": {"test": str(file)}}


def test_what_is_on_no_hub_says_what_to_run(data_dir):
    with pytest.raises(UserError) as error:
        get("imagewikiqa").load_arguments("test")
    assert str(error.value) == (
        f"imagewikiqa: no {data_dir}/imagewikiqa/test.parquet (not on the hub, see "
        "github.com/yuhui-zh15/VLMClassifier); run: emt data prepare imagewikiqa --from FOLDER"
    )


def test_unknown_names_are_told():
    with pytest.raises(UserError, match="unknown data set 'svhn'; choose one of mnist, cifar10"):
        get("svhn")
    with pytest.raises(AttributeError, match="no hook 'svhn_path'"):
        _ = hooks.svhn_path
    with pytest.raises(AttributeError, match="no hook 'cifar10_colour'"):
        _ = hooks.cifar10_colour


def test_offline_and_without_a_file_a_task_is_stopped(data_dir, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "no-cache"))
    with pytest.raises(UserError, match=r"cifar100: no .*/cifar100/test\.parquet .*; run: emt data prepare cifar100"):
        checks.check_data(["emt_cifar100_lite"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not parquet at all", r"test\.parquet: not a parquet file"),
        ({"label": [1]}, r"test\.parquet: no column img; found label, expected img, label"),
        ({"img": [{"bytes": b"no image", "path": None}], "label": [1]}, r"row 0: column img has no image"),
    ],
)
def test_a_broken_file_is_named(data_dir, content, message):
    from datasets import Dataset

    file = data_dir / "cifar10" / "test.parquet"
    file.parent.mkdir()
    if isinstance(content, dict):
        Dataset.from_dict(content).to_parquet(file)
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=message):
        checks.check_data(["emt_cifar10"])


def test_every_data_set_is_used_by_a_task():
    from emt_tasks.tasks import registry

    assert {task.dataset for task in registry.tasks(["emt", "forgetting_matrix", "demo_matrix"])} == set(datasets())
