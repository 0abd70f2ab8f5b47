"""Causes, on rows worked by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.files import dump_row
from emt_core.measured import HEADER, Measured, question_digest, read_measured
from emt_core.runs import read_run
from leaderboards.comparison.causes import Causes, find_causes, known
from leaderboards.comparison.forgetting import compare
from tests.support.synthetic_runs import judged_sample, write_run

CLASSES = [f"class {number}" for number in range(10)]
DOCUMENTS = 200


def row(shows: str, closed: str, tower: str, projector: str) -> dict[str, Any]:
    rank = 1 if closed == shows else 2
    found = {"label": {"top": [[closed, 0.9], ["other", 0.1]], "rank": rank, "right": shows}}
    return {"closed_sets": found, "shows": shows, "probes": {"tower": tower, "projector": projector}}


def knowing(document: int, *, closed: bool = True, tower: bool = True, projector: bool = True) -> dict[str, Any]:
    """A document's row, by what each place knows; what it does not know it takes for the next class."""
    right, wrong = CLASSES[document % 10], CLASSES[(document + 1) % 10]
    return row(right, *(right if known else wrong for known in (closed, tower, projector)))


def measured(folder: Path, tower: str, rows: dict[int, dict[str, Any]], learned: str = "the others") -> Measured:
    folder.mkdir()
    kinds = dict.fromkeys(rows[0].get("closed_sets", {}), 10.0)
    tasks = {"task": {"documents": len(rows), "closed_sets": kinds, "probe": learned}}
    (folder / HEADER).write_text(json.dumps({"tower": tower, "tasks": tasks}))
    (folder / "probe_task.jsonl").write_bytes(b"".join(dump_row({"doc_id": doc} | row) for doc, row in rows.items()))
    return read_measured(folder)


@pytest.fixture
def diagnose(tmp_path):
    """Causes for a candidate that answers the first `lost` documents wrong, by the rows of both models."""

    def find(
        lost: int,
        before: dict[int, Any],
        after: dict[int, Any],
        *,
        same_tower: bool = False,
        learned: str = "the others",
    ) -> Causes:
        for side, wrong in (("base", 0), ("candidate", lost)):
            samples = [
                judged_sample(doc, "incorrect" if doc < wrong else "correct", target=CLASSES[doc % 10])
                for doc in range(DOCUMENTS)
            ]
            write_run(tmp_path / side, {"task": samples})
        runs = (read_run(tmp_path / side) for side in ("base", "candidate"))
        models = (
            measured(tmp_path / "before", "a tower", before),
            measured(tmp_path / "after", "a tower" if same_tower else "another", after, learned),
        )
        (found,) = find_causes(compare(*runs), *models)
        return found

    return find


def rows(**lost: tuple[range, dict[str, bool]]) -> dict[int, dict[str, Any]]:
    """Rows of a model that knows everything, but for some ranges of documents."""
    found = {doc: knowing(doc) for doc in range(DOCUMENTS)}
    for documents, what in lost.values():
        found |= {doc: knowing(doc, **what) for doc in documents}
    return found


def test_each_cause_by_what_still_knows(diagnose):
    found = diagnose(
        40,
        rows(unclear=(range(30, 40), {"tower": False})),
        rows(
            mouth=(range(10, 20), {"closed": False}),
            eye=(range(20, 30), {"closed": False, "tower": False, "projector": False}),
            unclear=(range(30, 40), {"closed": False, "tower": False}),
        ),
    )
    expected = {**dict.fromkeys(range(10), "format"), **dict.fromkeys(range(10, 20), "mouth")}
    assert found.of == expected | dict.fromkeys(range(20, 30), "eye") | dict.fromkeys(range(30, 40), "unclear")
    assert found.recoverable and found.recoverable.estimate == pytest.approx(25)
    assert (found.n, found.lost, found.gained, found.never) == (DOCUMENTS, 40, 0, 0)
    assert found.points("format") == 5


def test_with_the_base_s_tower_nothing_is_lost_at_the_eye(diagnose):
    found = diagnose(20, rows(), rows(probe=(range(20), {"closed": False, "tower": False})), same_tower=True)
    assert set(found.of.values()) == {"mouth"}


def test_the_places_after_the_tower_say_how_far_the_image_comes(diagnose):
    after = rows(first=(range(10), {"closed": False}), second=(range(10, 40), {"closed": False, "projector": False}))
    found = diagnose(40, rows(), after)
    assert set(found.of.values()) == {"mouth"}
    assert found.reaches and found.reaches.estimate == pytest.approx(25)


def test_without_a_closed_set_the_cause_is_unclear(diagnose):
    plain = {doc: {"shows": CLASSES[doc % 10], "probes": {}} for doc in range(DOCUMENTS)}
    found = diagnose(20, plain, plain)
    assert set(found.of.values()) == {"unclear"}
    assert found.recoverable is None and found.calibration == (None, None)


def test_probes_that_learned_from_other_documents_are_not_compared(diagnose):
    lost = (range(20), {"closed": False, "tower": False})
    found = diagnose(20, rows(), rows(lost=lost), learned="3,000 documents of the training split")
    assert set(found.of.values()) == {"unclear"} and not found.probed


def test_rows_of_the_same_questions_are_taken(diagnose):
    before = {doc: row | {"asked": digest(doc)} for doc, row in rows().items()}
    assert diagnose(20, before, rows()).lost == 20


def test_rows_of_questions_in_another_order_are_refused(diagnose):
    before = {doc: row | {"asked": digest(doc if doc != 3 else 4)} for doc, row in rows().items()}
    with pytest.raises(UserError, match=r"document 3 in .*before is another question than in the run"):
        diagnose(20, before, rows())


def digest(document: int) -> str:
    return question_digest("What is in the image?", CLASSES[document % 10])


def test_options_scored_by_their_text_are_known_by_their_letter(diagnose):
    """Every option's text is of one question alone, so the option goes by its letter."""

    def by_text(document: int, right: bool) -> dict[str, Any]:
        letters = "ABCD"
        letter, named = letters[document % 4], letters[(document + (not right)) % 4]
        found = {"top": [[named, 0.9]], "rank": 1 if right else 2, "right": letter}
        return {"closed_sets": {"text": found}}

    before = {doc: by_text(doc, True) for doc in range(DOCUMENTS)}
    after = {doc: by_text(doc, doc >= 10) for doc in range(DOCUMENTS)}
    found = diagnose(40, before, after, same_tower=True)
    assert [found.of[doc] for doc in range(40)] == ["mouth"] * 10 + ["format"] * 30


def test_documents_that_were_not_measured_are_left_out(diagnose):
    some = {doc: row for doc, row in rows().items() if doc < 50}
    found = diagnose(40, some, rows())
    assert (found.n, found.lost) == (50, 40)


def test_a_model_that_always_says_the_same_knows_nothing():
    always = {doc: ("cat", CLASSES[doc % 10], False) for doc in range(90)}
    always |= dict.fromkeys(range(90, 100), ("cat", "cat", True))
    assert known(always) == frozenset()


def test_what_is_named_rarely_and_rightly_is_known():
    """One document of each of 1,000 classes: a hit by luck has a chance of 0.1 %."""
    named = {doc: (f"class {doc}", f"class {doc}", True) for doc in range(500)}
    named |= {doc: ("class 0", f"class {doc}", False) for doc in range(500, 1000)}
    assert known(named) == frozenset(range(1, 500))  # 501 times class 0, once rightly


@given(st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), max_size=60))
def test_only_hits_are_known(pairs):
    named = {doc: (name, right, name == right) for doc, (name, right) in enumerate(pairs)}
    assert known(named) <= {doc for doc, (_, _, hit) in named.items() if hit}


@given(st.integers(0, 2**32 - 1))
def test_answers_independent_of_the_image_are_seldom_known(seed):
    import random

    rng = random.Random(seed)
    named = {}
    for doc in range(400):
        name, right = rng.choice(CLASSES), rng.choice(CLASSES)
        named[doc] = (name, right, name == right)
    assert len(known(named)) < 0.05 * len(named)


def test_a_folder_without_measurements_is_named(tmp_path):
    with pytest.raises(UserError, match="expected what emt probe writes"):
        read_measured(tmp_path)


def test_closed_sets_of_a_run_are_calibrated_too(tmp_path):
    """Each probability is 0.8: of the base's answers 8 in 10 are right, of the candidate's 3 in 10."""
    for side, right in (("base", 8), ("candidate", 3)):
        samples = [judged_sample(doc, "correct" if doc % 10 < right else "incorrect") for doc in range(100)]
        for sample in samples:
            sample["verdict"] |= {"judge": "likelihood", "confidence": 0.8}
        write_run(tmp_path / side, {"task": samples, "other": [judged_sample(0, "correct")]})
    tasks = {task.task: task for task in compare(*(read_run(tmp_path / side) for side in ("base", "candidate"))).tasks}
    calibration = tasks["task"].calibration
    assert calibration and [one.error for one in calibration] == [pytest.approx(0), pytest.approx(0.5)]
    assert tasks["other"].calibration is None
