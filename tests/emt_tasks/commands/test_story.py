"""`emt demo`: what it says follows from the results; and, slowly, the whole story over five seeds."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from emt_core.errors import UserError
from emt_core.folders import MARKER, mark
from emt_core.runs import read_run
from emt_tasks.commands import app as cli
from emt_tasks.commands import demo as story
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.decide import decide
from leaderboards.gate.policy import Policy
from tests.support.synthetic_runs import judged_sample, write_run

TASKS = ("demo_digits", "demo_shapes", "demo_digits_qa", "demo_shapes_qa")
QUESTION = {"kind": "multiple_choice", "label": "A", "choices": ["even", "odd", "both", "neither"]}


def samples(wrong: int, *, category: str = "incorrect", text: str = "B"):
    """400 answers of which the first `wrong` are wrong, in one way."""
    for number in range(400):
        right = number >= wrong
        answer = "A" if right else text
        yield judged_sample(number, "correct" if right else category, text=answer, judge_target=QUESTION)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("runs"), {task: list(samples(8)) for task in TASKS}, name="base")


def ending(base, tmp_path, name: str, **tasks) -> story.Ending:
    """What the gate makes of a candidate that differs from the base in these tasks."""
    written = {task: list(tasks.get(task, samples(8))) for task in TASKS}
    candidate = write_run(tmp_path, written, name=name)
    found = compare(
        read_run(base), read_run(candidate), matrix=read_matrix(story.MATRIX), finetuned_on=story.FINETUNED_ON
    )
    return story.Ending(name, "in some way", decide(found, Policy(margin=story.MARGIN)))


def test_words_of_one_that_forgot_and_one_that_did_not(base, tmp_path):
    # 8 of 400 wrong: 98.0 % right. 208 wrong: 48.0 %; of the 200 lost, all now say "seven", a label of demo_digits.
    lost = ending(base, tmp_path, "high", demo_digits_qa=samples(208, category="extrinsic", text="seven"))
    kept = ending(base, tmp_path, "low", demo_digits=samples(4))
    said = list(story.in_words([lost, kept]))
    assert said == [
        "",
        "high (in some way): FAILS the gate",
        "  demo_digits: 98.0 % right before, 98.0 % after: what it was trained on",
        "  demo_digits_qa: 98.0 % right before, 48.0 % after: the same images, asked in other words",
        "  of the 200 answers lost there, 200 name a digit where an option was asked for",
        "",
        "low (in some way): passes the gate",
        "  demo_digits: 98.0 % right before, 99.0 % after: what it was trained on",
        "  demo_digits_qa: 98.0 % right before, 98.0 % after: the same images, asked in other words",
        "",
        "high forgot more than 5 points. It still knows the digits, but no longer follows questions about the very "
        "same images. low did not forget: how you fine-tune makes the difference.",
    ]


def test_words_where_only_shapes_were_forgotten(base, tmp_path):
    found = ending(base, tmp_path, "shapes", demo_shapes=samples(100))
    said = list(story.in_words([found]))
    assert "  demo_shapes: 98.0 % right before, 75.0 % after: forgotten too" in said
    assert said[-1] == "shapes forgot more than 5 points."


def test_words_of_one_that_chose_the_class_name(base, tmp_path):
    lured = [sample | {"class_name_chosen": float(number < 100)} for number, sample in enumerate(samples(100))]
    task = compare(
        read_run(write_run(tmp_path, {"wiki": [one | {"class_name_chosen": 0.0} for one in samples(8)]}, name="b")),
        read_run(write_run(tmp_path, {"wiki": lured}, name="c")),
    ).tasks[0]  # fmt: skip
    said = "; the class's name, a wrong option, was chosen in 0.0 % before, 25.0 % after"
    assert story._distracted(task) == said


def test_words_where_nothing_was_forgotten(base, tmp_path):
    said = list(story.in_words([ending(base, tmp_path, "one"), ending(base, tmp_path, "two")]))
    assert said[-1] == "No recipe is shown to have forgotten more than 5 points anywhere."


def test_a_folder_with_something_in_it_is_refused(tmp_path, capsys):
    (tmp_path / "thesis.tex").write_text("years of work")
    assert cli.main(["demo", "-o", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        f"emt: --output: {tmp_path} is not empty; choose another folder or add --overwrite\n"
    )


def test_overwrite_takes_away_only_what_a_demo_wrote(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    (tmp_path / "base").mkdir()
    (tmp_path / "report.html").write_text("old")
    with pytest.raises(UserError, match="was not made by emt demo"):
        story._prepare(tmp_path, True)
    mark(tmp_path, story.MADE_BY, ["base", "report.html"])
    story._prepare(tmp_path, True)
    assert sorted(file.name for file in tmp_path.iterdir()) == [MARKER, "thesis.tex"]
    with pytest.raises(UserError, match="is not empty"):
        story._prepare(tmp_path, False)


def test_the_recipes_and_the_matrix_fit_the_tasks():
    from emt_tasks.tasks import registry
    from finetune.recipes.files import read

    for recipe in story.RECIPES:
        settings = read(recipe)
        assert (settings.model, settings.evaluate.tasks) == ("emt:tiny", (story.TASKS,))
    placed = {task for tasks in read_matrix(story.MATRIX).values() for task in tasks}
    assert placed <= {task.name for task in registry.tasks([story.TASKS])}
    assert {story.FINETUNED_ON, story.SAME_IMAGES} <= placed


@pytest.mark.slow
def test_the_verdicts_hold_over_five_seeds(tmp_path):
    """Fail, pass, pass, whatever the order of the training examples; the base is evaluated once."""
    console = Console(file=io.StringIO())
    base = None
    for seed in range(5):
        output = tmp_path / str(seed)
        endings = story.tell_story(output, seed=seed, base=base, console=console)
        base = base or output / "base"
        assert [found.result.outcome for found in endings] == ["forgetting", "not inferior", "not inferior"], seed
        assert (output / "report.html").is_file()
        assert story._outcome(endings[0], story.SAME_IMAGES) == "forgetting", seed
