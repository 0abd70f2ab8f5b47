"""`emt demo`: what it says follows from the results; and, slowly, the whole story over five seeds."""

from __future__ import annotations

import re

import pytest

from emt_core.errors import UserError
from emt_core.folders import MARKER, mark
from emt_core.runs import read_run
from emt_tasks.commands import app as cli
from emt_tasks.commands import demo as story
from emt_tasks.commands import demo_words as words
from leaderboards.comparison.forgetting import compare
from leaderboards.comparison.matrix import read_matrix
from leaderboards.gate.decide import GateResult, decide
from leaderboards.gate.policy import Policy
from tests.support.synthetic_runs import judged_sample, write_run
from tools import demo_seeds

TASKS = ("demo_digits", "demo_shapes", "demo_digits_qa", "demo_shapes_qa")
QUESTION = {"kind": "multiple_choice", "label": "A", "choices": ["even", "odd", "both", "neither"]}


def samples(wrong: int, *, category: str = "incorrect", text: str = "B"):
    """400 answers of which the first `wrong` are wrong, in one way."""
    for number in range(400):
        right = number >= wrong
        answer = "A" if right else text
        yield judged_sample(number, "correct" if right else category, text=answer, judge_target=QUESTION)


LEARNED = {"demo_digits": 8}
LOST = {"demo_digits_qa": 208}
UNCLEAR = {"demo_shapes": 24}  # 2 % wrong before, 6 % after: the drop may lie on either side of 5 points


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Half right on the new task, 98 % right elsewhere."""
    written = {task: list(samples(200 if task == words.FINETUNED_ON else 8)) for task in TASKS}
    return write_run(tmp_path_factory.mktemp("runs"), written, name="base")


@pytest.fixture(scope="module")
def ending(base, tmp_path_factory):
    """What the gate makes of a candidate with so many wrong answers in these tasks; elsewhere it is like the base."""
    made = {}

    def result(wrong: dict[str, int], **how: str) -> GateResult:
        like_base = {task: 200 if task == words.FINETUNED_ON else 8 for task in TASKS}
        written = {task: list(samples(number, **how)) for task, number in (like_base | wrong).items()}
        candidate = write_run(tmp_path_factory.mktemp("runs"), written, name="candidate")
        found = compare(
            read_run(base), read_run(candidate), matrix=read_matrix(story.MATRIX), finetuned_on=words.FINETUNED_ON
        )
        return decide(found, Policy(margin=story.MARGIN))

    def of(name: str, wrong: dict[str, int], **how: str) -> words.Ending:
        key = str((wrong, how))
        made[key] = made.get(key) or result(wrong, **how)
        return words.Ending(name, "in some way", made[key])

    return of


def end_of(*endings: words.Ending) -> list[str]:
    """The last two lines: what happened, and what to do."""
    return list(words.in_words(endings))[-2:]


def test_words_of_one_that_forgot_and_one_that_did_not(ending):
    # 8 of 400 wrong: 98.0 % right. 208 wrong: 48.0 %; of the 200 lost, all now say "seven", a label of demo_digits.
    lost = ending("high rate", LEARNED | LOST, category="extrinsic", text="seven")
    kept = ending("low rate", {"demo_digits": 40})
    assert list(words.in_words([lost, kept])) == [
        "",
        "high rate (in some way): FAILS the gate",
        "  learned      the question and images that it was trained on: 50.0 % right before, 98.0 % after",
        "  kept         the same question about other images: 98.0 % right before, 98.0 % after",
        "  lost         other questions about the same images: 98.0 % right before, 48.0 % after",
        "               of the 200 answers lost there, 200 name a digit where an option was asked for",
        "  kept         other questions about other images: 98.0 % right before, 98.0 % after",
        "",
        "low rate (in some way): passes the gate",
        "  learned      the question and images that it was trained on: 50.0 % right before, 90.0 % after",
        "  kept         the same question about other images: 98.0 % right before, 98.0 % after",
        "  kept         other questions about the same images: 98.0 % right before, 98.0 % after",
        "  kept         other questions about other images: 98.0 % right before, 98.0 % after",
        "",
        "Both recipes learned to name the digits. The high rate forgot more than 5 points of what the base could do; "
        "the low rate did not. The high rate learned what these images are called, but lost answers to other "
        "questions about them.",
        "Release the low rate: it has 90.0 % of the new task right. Do not release the high rate: train again at a "
        "lower learning rate, or with other data mixed in.",
    ]


def test_words_where_all_passed(ending):
    three = [ending(name, {"demo_digits": wrong}) for name, wrong in (("one", 40), ("two", 8), ("three", 8))]
    assert end_of(*three) == [
        "All three recipes learned to name the digits. All three recipes kept what the base could do, to within "
        "5 points.",
        "Release the two or the three: of those that pass, they have most of the new task right (98.0 %; the one "
        "90.0 %).",
    ]
    assert end_of(*three[:2])[1] == (
        "Release the two: of those that pass, it has most of the new task right (98.0 %; the one 90.0 %)."
    )
    assert end_of(*three[1:])[1] == "Release the two or the three: each has 98.0 % of the new task right."
    assert end_of(three[0]) == [
        "The one learned to name the digits. The one kept what the base could do, to within 5 points.",
        "Release the one: it has 90.0 % of the new task right.",
    ]


def test_words_where_all_failed(ending):
    failed = [ending(name, LEARNED | {"demo_shapes": 100}) for name in ("one", "two")]
    assert end_of(*failed) == [
        "Both recipes learned to name the digits. Both recipes forgot more than 5 points of what the base could do.",
        "Do not release the one or the two: train again at a lower learning rate, or with other data mixed in.",
    ]


def test_words_where_nothing_was_learned(ending):
    assert end_of(ending("one", {})) == [
        "No recipe is shown to have learned to name the digits. The one kept what the base could do, to within "
        "5 points.",
        "The one passed but gained nothing: train for longer, or at a higher learning rate.",
    ]
    worse = ending("two", {"demo_digits": 300})
    assert [ending("three", LEARNED).learned, worse.learned] == [True, False]
    assert end_of(ending("four", LEARNED), worse) == [
        "The four learned to name the digits; for the two, no gain is shown. The two forgot more than 5 points of "
        "what the base could do; the four did not.",
        "Release the four: it has 98.0 % of the new task right. Do not release the two: train again at a lower "
        "learning rate, or with other data mixed in.",
    ]


def test_words_where_the_gate_could_not_tell(ending):
    unclear = ending("one", LEARNED | UNCLEAR)
    assert "  unclear      the same question about other images: 98.0 % right before, 94.0 % after" in list(
        words.in_words([unclear])
    )
    assert end_of(unclear) == [
        "The one learned to name the digits. Whether the one forgot more than 5 points cannot be told: there is "
        "not enough evidence.",
        "Evaluate the one on more documents before you decide.",
    ]
    with_others = end_of(unclear, ending("two", LEARNED | LOST), ending("three", LEARNED))
    assert with_others[0].startswith(
        "All three recipes learned to name the digits. The two forgot more than 5 points of what the base could do; "
        "the three did not; for the one, there is not enough evidence. "
    )
    assert with_others[1].startswith(
        "Release the three: it has 98.0 % of the new task right. Evaluate the one on more "
    )


FATES = ({}, LEARNED, LEARNED | LOST, LEARNED | UNCLEAR, LOST | UNCLEAR)


@pytest.mark.parametrize("one", FATES, ids=str)
@pytest.mark.parametrize("other", FATES, ids=str)
def test_every_outcome_is_told_in_whole_sentences(ending, one, other):
    endings = [ending("low rate", one), ending("hybrid", other)]
    told = end_of(*endings)
    for line in told:
        assert re.fullmatch(r"([A-Z][^.]*(\d\.\d[^.]*)*\.( |$))+", line), line
        assert "none" not in line
        assert "  " not in line
    for found in endings:
        assert f"the {found.name}" in told[1].lower() or (not found.learned and found.result.outcome == "not inferior")


def test_a_row_of_the_table_over_seeds(ending):
    assert demo_seeds.HEADER == "| seed | recipe | demo_digits | demo_shapes | demo_digits_qa | demo_shapes_qa | gate |"
    assert demo_seeds.row(3, ending("high rate", LEARNED | LOST)) == (
        "| 3 | high rate | 50.0 → 98.0 | 98.0 → 98.0 | 98.0 → 48.0 | 98.0 → 98.0 | forgetting |"
    )


def test_words_of_one_that_chose_the_class_name(tmp_path):
    lured = [sample | {"class_name_chosen": float(number < 100)} for number, sample in enumerate(samples(100))]
    task = compare(
        read_run(write_run(tmp_path, {"wiki": [one | {"class_name_chosen": 0.0} for one in samples(8)]}, name="b")),
        read_run(write_run(tmp_path, {"wiki": lured}, name="c")),
    ).tasks[0]  # fmt: skip
    assert words._change(task) == "98.0 % right before, 75.0 % after; 0.0 % before and 25.0 % after chose the class"


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
    assert {words.FINETUNED_ON, words.SAME_IMAGES} <= placed
    assert placed <= set(words._PLACES)


@pytest.mark.slow
def test_the_verdicts_hold_over_five_seeds(tmp_path):
    """Fail, pass, pass, whatever the order of the training examples; and each of the three learns."""
    enough = {"high rate": 95, "low rate": 85, "hybrid": 95}
    for seed, endings in demo_seeds.run(tmp_path, range(5)):
        assert [found.result.outcome for found in endings] == ["forgetting", "not inferior", "not inferior"], seed
        assert all(found.after >= enough[found.name] for found in endings), seed
        assert (tmp_path / str(seed) / "report.html").is_file()
        assert [found.fate(words.SAME_IMAGES) for found in endings] == ["lost", "kept", "kept"], seed
