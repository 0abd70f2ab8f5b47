"""Which flipped samples are shown, and what is read of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from emt_core.runs import read_run
from leaderboards.comparison.pairing import PairedTask, pair_task
from leaderboards.report.flips import read_flips
from tests.support.synthetic_runs import judged_sample, write_run


def _pair(folder: Path, base: list[dict], candidate: list[dict], **task: dict) -> PairedTask:
    runs = [
        read_run(write_run(folder, {"t": rows}, name=name, t=task))
        for name, rows in (("base", base), ("candidate", candidate))
    ]
    return pair_task("t", *runs)


def test_kinds_of_change_take_turns(tmp_path: Path) -> None:
    # 90 lost to a wrong label, 3 lost to two labels, 5 gained: six places show three kinds twice each.
    base = [judged_sample(i, "correct" if i < 93 else "extrinsic") for i in range(98)]
    candidate = [judged_sample(i, "incorrect" if i < 90 else "intrinsic" if i < 93 else "correct") for i in range(98)]
    paired = _pair(tmp_path, base, candidate)
    flips = read_flips(paired, 6)
    assert Counter((flip.direction, flip.base.category, flip.candidate.category) for flip in flips) == {
        ("lost", "correct", "incorrect"): 2,
        ("lost", "correct", "intrinsic"): 2,
        ("gained", "extrinsic", "correct"): 2,
    }
    assert [flip.direction for flip in flips] == ["lost"] * 4 + ["gained"] * 2
    assert flips == read_flips(paired, 6)
    everything = read_flips(paired, 1000)
    assert len(everything) == 98
    assert read_flips(paired, 0) == []
    spread = [flip.doc_id for flip in read_flips(paired, 40) if flip.candidate.category == "incorrect"]
    assert max(spread) > 60 > 30 > min(spread)


def test_texts_verdicts_and_rows(tmp_path: Path) -> None:
    base = judged_sample(0, "correct", text="a cat", target="cat", prompt="What?") | {"row": 17}
    candidate = judged_sample(0, "extrinsic", text="N\x00thing " + "x" * 9000, target="cat", prompt="What?")
    candidate["verdict"]["reason"] = "r" * 1000
    (flip,) = read_flips(_pair(tmp_path, [base], [candidate]), 9)
    assert (flip.doc_id, flip.row, flip.direction) == (0, 17, "lost")
    assert (flip.question.text, flip.target.text, flip.base.text.text) == ("What?", "cat", "a cat")
    assert flip.candidate.text.text.startswith("N␀thing x")
    assert (len(flip.candidate.text.text), flip.candidate.text.length) == (2000, 9008)
    assert (flip.base.judge, len(flip.candidate.reason)) == ("fuzzy", 300)


def test_the_row_is_the_document_only_where_documents_were_not_chosen(tmp_path: Path) -> None:
    base, candidate = [judged_sample(3, "correct")], [judged_sample(3, "incorrect")]
    (flip,) = read_flips(_pair(tmp_path / "all", base, candidate), 9)
    assert flip.row == 3
    lite = {"config": {"process_docs": "<function lite at 0x7f0000000000>"}}
    (flip,) = read_flips(_pair(tmp_path / "lite", base, candidate, **lite), 9)
    assert flip.row is None


def test_leaking_answers_say_so(tmp_path: Path) -> None:
    paired = _pair(tmp_path, [judged_sample(0, "correct")], [judged_sample(0, "extrinsic")])
    (flip,) = read_flips(paired, 9, {"base": frozenset(), "candidate": frozenset({0})})
    assert (flip.base.category, flip.candidate.category) == ("correct", "leakage")


def test_answers_logged_as_lists_by_a_task_without_verdicts(tmp_path: Path) -> None:
    def rows(answer: str, score: float) -> list[dict]:
        return [{"doc_id": 0, "target": "x", "input": "?", "filtered_resps": [answer], "exact_match": score}]

    task = {"metrics": ("exact_match",)}
    (flip,) = read_flips(_pair(tmp_path, rows('["right"]', 1.0), rows("wrong", 0.0), **task), 9)
    assert (flip.base.text.text, flip.candidate.text.text) == ('["right"]', "wrong")
    assert (flip.base.category, flip.candidate.category, flip.candidate.reason) == ("correct", "incorrect", "")
