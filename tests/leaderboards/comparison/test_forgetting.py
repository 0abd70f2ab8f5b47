"""What a comparison says: forgetting, where lost answers went, classes, drift, leakage, groups and quadrants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import log2
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.forgetting import Comparison, compare
from tests.support.synthetic_runs import judged_sample, write_run

Answers = Sequence[tuple[str, str, str]]
"""Each document's class, the candidate's or base's category, and the label it names ("" for none)."""

Build = Callable[..., Comparison]


def rows(answers: Answers, *, texts: Sequence[str] | None = None, cluster: int | None = None) -> list[dict[str, Any]]:
    return [
        judged_sample(
            index,
            category,
            target=target,
            labels=[label] if label else [],
            text=texts[index] if texts else label,
            cluster=None if cluster is None else f"image {index // cluster}",
        )
        for index, (target, category, label) in enumerate(answers)
    ]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    def run(
        base: dict[str, list[dict[str, Any]]],
        candidate: dict[str, list[dict[str, Any]]],
        encoder: dict[str, list[dict[str, Any]]] | None = None,
        groups: dict[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> Comparison:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        first = read_run(write_run(folder / "b", base, name="base", groups=groups))
        second = read_run(write_run(folder / "c", candidate, name="candidate", groups=groups))
        third = read_run(write_run(folder / "e", encoder, name="clip")) if encoder else None
        return compare(first, second, encoder=third, **options)

    return run


BASE: Answers = [
    ("cat", "correct", "cat"),
    ("cat", "correct", "cat"),
    ("cat", "correct", "cat"),
    ("dog", "correct", "dog"),
    ("dog", "correct", "dog"),
    ("dog", "incorrect", "cat"),
    ("ray", "correct", "ray"),
    ("ray", "extrinsic", ""),
]
CANDIDATE: Answers = [
    ("cat", "correct", "cat"),
    ("cat", "incorrect", "dog"),
    ("cat", "intrinsic", "dog"),
    ("dog", "extrinsic", ""),
    ("dog", "correct", "dog"),
    ("dog", "correct", "dog"),
    ("ray", "extrinsic", ""),
    ("ray", "extrinsic", ""),
]


def test_one_task_by_hand(build: Build) -> None:
    task = build({"emt_cifar10": rows(BASE)}, {"emt_cifar10": rows(CANDIDATE)}).tasks[0]
    # Base 6 of 8, candidate 3 of 8; lost 1, 2, 3, 6; gained 5: forgetting 3/8 = 37.5 points, retention 3/6 = 50 %.
    scores = task.scores
    assert scores is not None
    assert (scores.base.estimate, scores.candidate.estimate, scores.base.n) == (75.0, 37.5, 8)
    assert scores.forgetting.estimate == pytest.approx(37.5)
    assert scores.retention.estimate == pytest.approx(50.0)
    assert scores.encoder is scores.encoder_gap is None
    assert (task.flips.lost, task.flips.gained) == (4, 1)
    assert task.flips.lost_to == {"extrinsic": 2, "incorrect": 1, "intrinsic": 1}
    assert task.flips.gained_from == {"incorrect": 1}
    # McNemar: 2·(1 + 5)/2⁵ = 0.375
    assert task.p_value == pytest.approx(0.375)
    assert (task.test, task.adjusted_p_value) == ("McNemar exact", task.p_value)
    assert task.leakage is None


def test_classes_worst_first(build: Build) -> None:
    task = build({"emt_cifar10": rows(BASE)}, {"emt_cifar10": rows(CANDIDATE)}).tasks[0]
    # cat 3 → 1 of 3: 66.7 points; ray 1 → 0 of 2: 50; dog 2 → 2 of 3: 0.
    assert [(entry.name, entry.n) for entry in task.classes] == [("cat", 3), ("ray", 2), ("dog", 3)]
    assert [entry.forgetting.estimate for entry in task.classes] == pytest.approx([200 / 3, 50, 0])
    assert all((entry.forgetting.lower or 0) < (entry.forgetting.upper or 0) for entry in task.classes)


def test_classes_of_scores_between_0_and_1_take_the_t_interval(build: Build) -> None:
    def plain(scores: Sequence[float]) -> list[dict[str, Any]]:
        return [{"doc_id": i, "target": "a", "accuracy": score, "input": "q"} for i, score in enumerate(scores)]

    task = build({"other": plain([1, 0.5, 0.75, 0.5])}, {"other": plain([0.5, 0.5, 0.5, 0.25])}).tasks[0]
    # Drops 50, 0, 25, 25 points: mean 25, standard deviation √(1250/3), error 10.2062; t(3) at 97.5 % is 3.182446.
    assert task.classes[0].forgetting.lower == pytest.approx(25 - 32.4807, abs=1e-4)
    assert task.drift is None
    assert task.flips.lost_to == {"incorrect": 3}


def test_drift_by_hand(build: Build) -> None:
    task = build({"emt_cifar10": rows(BASE)}, {"emt_cifar10": rows(CANDIDATE)}).tasks[0]
    # Base names cat 4, dog 2, ray 1, none 1; candidate cat 1, dog 4, none 3, ray 0, of 8 each.
    base, candidate = [4, 2, 1, 1], [1, 4, 0, 3]
    mean = [(p + q) / 2 for p, q in zip(base, candidate, strict=True)]
    expected = sum(x / 8 * log2(x / m) / 2 for side in (base, candidate) for x, m in zip(side, mean, strict=True) if x)
    assert task.drift is not None
    assert task.drift.divergence.estimate == pytest.approx(expected)
    assert task.drift.answers == 4


def test_encoder_gap_by_hand(build: Build) -> None:
    encoder = [(target, "correct", target) for target, _, _ in BASE[:7]] + [("ray", "incorrect", "cat")]
    task = build(
        {"emt_cifar10": rows(BASE)}, {"emt_cifar10": rows(CANDIDATE)}, encoder={"emt_cifar10": rows(encoder)}
    ).tasks[0]
    scores = task.scores
    assert scores is not None
    assert scores.encoder is not None
    assert scores.encoder_gap is not None
    assert scores.encoder_gap_base is not None
    # Encoder 7 of 8; candidate 3, base 6: gaps 50 and 12.5 points.
    assert scores.encoder.estimate == 87.5
    assert scores.encoder_gap.estimate == pytest.approx(50.0)
    assert scores.encoder_gap_base.estimate == pytest.approx(12.5)


def test_shared_images_widen_the_interval(build: Build) -> None:
    # 100 images with four questions each; the candidate loses all four of every tenth image.
    base = [("cat", "correct", "cat")] * 400
    candidate = [("cat", "incorrect", "dog") if index // 4 % 10 == 0 else base[index] for index in range(400)]
    widths = {}
    for cluster in (None, 4):
        task = build(
            {"imagewikiqa": rows(base, cluster=cluster)}, {"imagewikiqa": rows(candidate, cluster=cluster)}
        ).tasks[0]
        assert task.scores is not None
        drop = task.scores.forgetting
        widths[cluster] = (drop.upper or 0) - (drop.lower or 0)
        assert drop.estimate == pytest.approx(10)
    # Four equal answers are one: the interval is √4 times as wide, and wider for the caution about clusters.
    assert 1.9 < widths[4] / widths[None] < 2.6
    assert task.sample is not None
    assert task.sample.clusters == 100
    assert task.sample.design_effect == pytest.approx(4, rel=0.1)
    assert task.test == "tilted resampling, 100 clusters"


def test_leakage_is_told_apart_from_other_extrinsic_answers(build: Build) -> None:
    base: Answers = [("7", "correct", "7")] * 6
    texts = ["7", "7", "a frog", "It shows an airplane.", "a blurry thing", "a frog"]
    candidate: Answers = [*base[:2], *[("7", "extrinsic", "")] * 4]
    task = build(
        {"emt_mnist": rows(base)}, {"emt_mnist": rows(candidate, texts=texts)}, finetuned_on="emt_cifar10"
    ).tasks[0]
    assert task.flips.lost_to == {"extrinsic": 1, "leakage": 3}
    assert task.leakage is not None
    assert (task.leakage.base.estimate, task.leakage.candidate.estimate) == (0.0, 50.0)


def test_an_unknown_finetuning_task_is_refused(build: Build) -> None:
    with pytest.raises(UserError, match="'emt_nothing' has no label vocabulary"):
        build({"emt_mnist": rows(BASE)}, {"emt_mnist": rows(BASE)}, finetuned_on="emt_nothing")


def test_groups_and_quadrants_average_their_tasks(build: Build) -> None:
    base = {"imagenet_vqa": rows(BASE), "ocr_vqa": rows(BASE), "mmmu": rows(BASE)}
    candidate = {"imagenet_vqa": rows(CANDIDATE), "ocr_vqa": rows(BASE), "mmmu": rows(CANDIDATE)}
    groups = {"idt_idi": ["imagenet_vqa"], "forgetting_matrix": ["idt_idi", "ocr_vqa"]}
    comparison = build(base, candidate, groups=groups)
    assert [group.name for group in comparison.quadrants] == ["idt_idi", "oodt_oodi"]
    assert [(group.name, group.tasks) for group in comparison.groups] == [
        ("forgetting_matrix", ("imagenet_vqa", "ocr_vqa"))
    ]
    # Half of 37.5 points and 0.
    assert comparison.groups[0].scores.forgetting.estimate == pytest.approx(18.75)
    assert comparison.groups[0].n == 16
    assert {task.task: task.quadrant for task in comparison.tasks} == {
        "imagenet_vqa": "idt_idi",
        "mmmu": None,
        "ocr_vqa": "oodt_oodi",
    }
    custom = build(base, candidate, matrix={"idt_oodi": ("mmmu", "ocr_vqa")})
    assert [(group.name, group.tasks) for group in custom.quadrants] == [("idt_oodi", ("mmmu", "ocr_vqa"))]


def test_tasks_of_one_run_only_are_named(build: Build) -> None:
    comparison = build({"a": rows(BASE), "b": rows(BASE)}, {"b": rows(BASE), "c": rows(BASE)})
    assert (comparison.only_base, comparison.only_candidate) == (("a",), ("c",))
    with pytest.raises(UserError, match="task a is not in both runs; they share b"):
        build({"a": rows(BASE), "b": rows(BASE)}, {"b": rows(BASE)}, tasks=["a"])
    with pytest.raises(UserError, match="the two runs share no task: base has a, b; candidate has d"):
        build({"a": rows(BASE), "b": rows(BASE)}, {"d": rows(BASE)})


def test_a_task_that_nothing_was_scored_of_has_no_numbers(build: Build) -> None:
    unscored: Answers = [(target, "unscored", "") for target, _, _ in BASE]
    task = build({"emt_cifar10": rows(unscored)}, {"emt_cifar10": rows(BASE)}).tasks[0]
    assert (task.n, task.sample, task.scores, task.p_value, task.classes) == (0, None, None, None, ())
    assert task.excluded.unscored_base == 8


def test_how_often_the_class_name_was_chosen(build: Build) -> None:
    """Over the documents that both scored: the base 1 of 4, the candidate 3 of 4; Wilson's interval by hand.

    1 of 4 at z = 1.96: (0.25 + 0.4802 ± 1.96 √(0.25 · 0.75 / 4 + 0.06003)) / 1.9604, which is 4.56 % to 69.94 %.
    """
    chosen = {"base": [0, 1, 0, 0, 0], "candidate": [1, 1, 1, 0, None]}
    runs = [
        [
            judged_sample(number, "unscored" if value is None else "incorrect") | {"class_name_chosen": value}
            for number, value in enumerate(values)
        ]
        for values in chosen.values()
    ]
    (task,) = build({"wiki": runs[0]}, {"wiki": runs[1]}).tasks
    assert task.distracted is not None
    assert (task.distracted.base.estimate, task.distracted.candidate.estimate) == (25, 75)
    assert (task.distracted.base.lower, task.distracted.base.upper) == pytest.approx((4.56, 69.94), abs=0.01)
    assert task.distracted.base.n == 4


def test_other_tasks_have_no_distractor(build: Build) -> None:
    (task,) = build({"a": rows(BASE)}, {"a": rows(BASE)}).tasks
    assert task.distracted is None
