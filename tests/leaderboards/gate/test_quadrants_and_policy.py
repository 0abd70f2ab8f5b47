"""The matrix and the policy: what the files may hold, and how their faults are told."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from emt_core.errors import UserError
from emt_core.runs import Task
from emt_tasks.tasks import registry
from leaderboards.comparison.matrix import place, read_matrix
from leaderboards.gate.policy import EXAMPLE, Policy, read_policy


def written(folder: Path, text: str) -> Path:
    path = folder / "file.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def said(**quadrants: str | None) -> list[Task]:
    """Tasks as a run describes them, each with the quadrant that its YAML gives it."""
    return [Task(name, Path("samples"), config={"metadata": {"quadrant": place}}) for name, place in quadrants.items()]


def test_tasks_say_where_they_stand_and_one_variant_of_each_counts() -> None:
    tasks = said(a="idt_oodi", a_lite="idt_oodi", b_closed="oodt_oodi", b_lite="oodt_oodi", c=None)
    assert place([*tasks, Task("plain", Path("samples"))]) == {"a": "idt_oodi", "b_lite": "oodt_oodi"}
    with pytest.raises(UserError, match="task a names the quadrant 'left'; expected idt_idi, idt_oodi"):
        place(said(a="left"))


def test_our_tasks_stand_where_arxiv_2603_14493_puts_them() -> None:
    names = ["emt_mnist", *(task.name for task in registry.tasks(["forgetting_matrix"]))]
    assert place(said(**{name: registry.entries()[name].quadrant for name in names})) == {
        "imagenet_vqa": "idt_idi",
        "flowers102": "idt_oodi",
        "imagewikiqa": "oodt_idi",
        "ocr_vqa": "oodt_oodi",
    }


def test_custom_matrix_is_taken_at_its_word(tmp_path: Path) -> None:
    matrix = read_matrix(written(tmp_path, "idt_idi: [mmmu, flowers102]\noodt_oodi: [ocr_vqa]\n"))
    assert place(said(mmmu=None, flowers102="idt_oodi", imagenet_vqa="idt_idi"), matrix) == {
        "mmmu": "idt_idi",
        "flowers102": "idt_idi",
    }


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "expected the quadrants"),
        ("- a\n", "expected the quadrants"),
        ("idt: [a]\n", "'idt' is not a quadrant; expected idt_idi, idt_oodi, oodt_idi, oodt_oodi"),
        ("idt_idi: a\n", "idt_idi: expected a list of task names, found 'a'"),
        ("idt_idi: [a]\nidt_oodi: [a]\n", "'a' appears more than once"),
        ("idt_idi: [a\n", "cannot be read as YAML"),
    ],
)
def test_faulty_matrices(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault) as caught:
        read_matrix(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_the_policys_example_is_valid(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, EXAMPLE))
    assert policy == Policy(**yaml.safe_load(EXAMPLE))
    assert policy.limits_of("ocr_vqa", "oodt_oodi", alone=False) == (1.0, 1.0)
    assert policy.limits_of("flowers102", "idt_oodi", alone=True) == (4.0, 1.0)
    assert policy.limits_of_quadrant("oodt_oodi") == (3.0, 1.0)


def test_a_task_alone_in_its_quadrant_meets_both_margins() -> None:
    policy = Policy(margin=2.0, tasks={"a": 3.0}, quadrants={"idt_idi": 1.0, "idt_oodi": 5.0})
    assert policy.limits_of("a", "idt_idi", alone=True).margin == 1.0
    assert policy.limits_of("a", "idt_idi", alone=False).margin == 3.0
    assert policy.limits_of("b", "idt_oodi", alone=True).margin == 5.0
    assert policy.limits_of("b", None, alone=False).margin == 2.0


def test_a_margin_that_is_set_fails_above_itself_unless_told_otherwise() -> None:
    assert Policy().limits_of("a", None, alone=False) == (4.0, 1.0)
    assert Policy(margin=4.0).limits_of("a", None, alone=False) == (4.0, 4.0)
    assert Policy(margin=2.0, fails_above=0.5).limits_of("a", None, alone=False) == (2.0, 0.5)
    named = Policy(tasks={"a": 3.0}, quadrants={"idt_idi": 0.5})
    assert named.limits_of("a", None, alone=False) == (3.0, 3.0)
    assert named.limits_of("b", None, alone=False) == (4.0, 1.0)
    assert Policy(fails_above=1.0, quadrants={"idt_idi": 0.5}).limits_of_quadrant("idt_idi") == (0.5, 0.5)


def test_a_margin_may_be_a_share_of_the_bases_score(tmp_path: Path) -> None:
    policy = read_policy(written(tmp_path, 'margin: "5 %"\ntasks: {a: 2, b: 10%}\nfails_above: 1%\n'))
    assert (policy.margin, policy.tasks) == ("5 %", {"a": 2.0, "b": "10 %"})
    # 5 %, 10 % and 1 % of a base that scores 60 points.
    assert policy.limits_of("c", None, alone=False, base=60.0) == pytest.approx((3.0, 0.6))
    assert policy.limits_of("b", None, alone=False, base=60.0) == pytest.approx((6.0, 0.6))
    assert policy.limits_of("a", None, alone=False, base=60.0) == pytest.approx((2.0, 0.6))
    with pytest.raises(UserError, match=r"c: 5 % of the base's mean score is nothing: give a number"):
        policy.limits_of("c", None, alone=False, base=0.0)


def test_all_faults_of_a_policy_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        read_policy(written(tmp_path, "margin: -1\ntasks: {a: much}\nminimum: 5\nalpha: 0.6\n"))
    message = str(caught.value)
    assert "\n" not in message
    expected = "expected a number from 0 on, or less than 100 %, such as 5 %; found"
    assert f"margin: {expected} -1" in message
    assert f"tasks.a: {expected} 'much'" in message
    for fault in ("minimum: extra inputs are not permitted", "alpha: input should be less than 0.5", "minimum_n"):
        assert fault in message


@pytest.mark.parametrize("text", ["- 1\n", "2.0\n", "", "margin: [\n", "1: 2\n"])
def test_policies_that_are_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"file\.yaml"):
        read_policy(written(tmp_path, text))
    with pytest.raises(UserError, match="cannot be read as YAML"):
        read_policy(tmp_path / "nowhere.yaml")
