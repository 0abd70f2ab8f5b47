"""One run summed up, by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.summary import summarise
from tests.support.synthetic_runs import judged_sample, write_run


def _rows(kinds: str, **given: str) -> list[dict]:
    names = {"c": "correct", "w": "incorrect", "i": "intrinsic", "x": "extrinsic", "u": "unscored"}
    return [judged_sample(i, names[kind], **given) for i, kind in enumerate(kinds)]


def test_rates_counts_and_quadrants(tmp_path: Path) -> None:
    tasks = {"imagenet_vqa": _rows("cccccwwixu"), "emt_mnist": _rows("uu"), "ocr_vqa": _rows("cw")}
    summary = summarise(read_run(write_run(tmp_path, tasks, groups={"both": ["imagenet_vqa", "ocr_vqa"]})))
    by_name = {task.task.name: task for task in summary.tasks}
    vqa = by_name["imagenet_vqa"]
    assert (vqa.n, vqa.unscored, vqa.quadrant, vqa.judges) == (9, 1, "idt_idi", ("fuzzy",))
    assert vqa.accuracy is not None
    # 5 of 9; Wilson by hand with z² = 3.8415: centre (5 + 1.9207)/(9 + 3.8415) = 0.5389,
    # half width 1.96/12.8415 · √(5·4/9 + 0.9604) = 0.2723.
    assert (vqa.accuracy.estimate, vqa.accuracy.lower, vqa.accuracy.upper) == pytest.approx(
        (500 / 9, 26.66, 81.12), abs=0.01
    )
    assert {kind: rate.estimate for kind, rate in vqa.errors.items()} == pytest.approx(
        {"incorrect": 200 / 9, "intrinsic": 100 / 9, "extrinsic": 100 / 9}
    )
    assert (by_name["emt_mnist"].accuracy, by_name["emt_mnist"].n, by_name["emt_mnist"].unscored) == (None, 0, 2)
    assert [(group.name, group.n) for group in summary.quadrants] == [("idt_idi", 9), ("oodt_oodi", 2)]
    # The unweighted mean: (55.56 + 50) / 2.
    (group,) = summary.groups
    assert (group.name, group.n, group.accuracy.estimate) == ("both", 11, pytest.approx((500 / 9 + 50) / 2))


def test_documents_about_one_image_widen_the_interval(tmp_path: Path) -> None:
    def accuracy(folder: str, clusters: bool) -> float:
        rows = [
            judged_sample(i, "correct" if i < 20 else "incorrect", cluster=f"{i // 4}" if clusters else None)
            for i in range(40)
        ]
        rate = summarise(read_run(write_run(tmp_path / folder, {"t": rows}))).tasks[0].accuracy
        assert rate is not None
        assert rate.upper is not None
        return rate.upper

    assert accuracy("clustered", True) > accuracy("single", False) + 10


def test_an_unknown_task_is_named(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path, {"emt_mnist": _rows("c")}))
    with pytest.raises(UserError, match="has no task emt_cifar10; it has emt_mnist"):
        summarise(run, tasks=["emt_cifar10"])
