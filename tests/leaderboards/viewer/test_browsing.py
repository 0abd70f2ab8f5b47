"""The index of samples: what it holds, how it is filtered, what is downloaded."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.viewer import index
from leaderboards.viewer.browsing import COLUMNS, Filter, Samples
from leaderboards.viewer.downloads import as_csv, as_parquet
from leaderboards.viewer.index import Indexed, index_folder, make_index, open_index
from tests.leaderboards.viewer.conftest import OTHER, TASK, base_rows, candidate_rows
from tests.support.synthetic_runs import judged_sample, write_run

CAUSES = {3: "format", 6: "mouth"}


def indexed(root: Path, out: Path, causes: dict[int, str] | None = None) -> list[Indexed]:
    base, candidate = (read_run(root / side) for side in ("base", "candidate"))
    out.mkdir(exist_ok=True)
    return [
        make_index(out, base.tasks[task], candidate.tasks[task], (causes or {}) if task == TASK else {})
        for task in (TASK, OTHER)
    ]


@pytest.fixture
def samples(folder: Path, tmp_path: Path) -> Samples:
    return Samples(indexed(folder, tmp_path / "index", CAUSES))


def documents(samples: Samples, **wanted: str) -> list[int]:
    return [row["doc_id"] for row in samples.read(samples.find(Filter(**wanted)))]


def test_the_facts_of_a_task(folder: Path, tmp_path: Path) -> None:
    facts = indexed(folder, tmp_path / "index", CAUSES)[0].facts
    # 30 documents; 0, 5, … 25 are wrong for the base. The candidate loses 3, 6, 9, gains 10, and 12 is not scored.
    assert (facts.documents, facts.scored) == (30, 29)
    assert facts.changes == {"same": 25, "lost": 3, "gained": 1, "one side": 1}
    # Over the 29: the base is right on 23 (24 without document 12), the candidate on 23 − 3 + 1.
    assert (facts.base, facts.candidate) == (pytest.approx(100 * 23 / 29), pytest.approx(100 * 21 / 29))
    assert facts.drop[0] == pytest.approx(100 * 2 / 29)
    assert facts.categories["candidate"] == {
        "correct": 21,
        "incorrect": 5,
        "extrinsic": 2,
        "intrinsic": 1,
        "unscored": 1,
    }
    assert facts.causes == {"format": 1, "mouth": 1}
    assert facts.classes == {"cat": 10, "dog": 10, "Ölfass": 10}


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"task": TASK}, list(range(30))),
        ({}, [*range(30), 0, 1, 2]),
        ({"task": "no such task"}, []),
        ({"change": "lost"}, [3, 6, 9]),
        ({"change": "changed"}, [3, 6, 9, 10]),
        ({"change": "one side"}, [12]),
        ({"candidate": "extrinsic"}, [3, 9]),
        ({"base": "incorrect", "candidate": "correct"}, [10]),
        ({"cause": "mouth"}, [6]),
        ({"label": "dog", "change": "same", "base": "incorrect"}, [25]),  # 10 changed
        ({"text": "question 7?"}, [7]),
        ({"text": "  BASE SAYS 1 "}, [1, *range(10, 20)]),
        ({"text": "ölfass", "label": "cat", "task": TASK}, [doc for doc in range(0, 30, 3) if doc != 3]),
        ({"text": "=1+1"}, [3]),
        ({"text": "(.*"}, []),
        ({"doc": "2"}, [2, 2]),
        ({"doc": "2", "task": OTHER}, [2]),
        ({"doc": "-1"}, []),
    ],
)
def test_filters(samples: Samples, wanted: dict[str, str], expected: list[int]) -> None:
    assert documents(samples, **wanted) == expected
    assert documents(samples, **wanted) == expected  # remembered


@pytest.mark.parametrize("doc", ["one", "1.0", "²", "9" * 30, "--1"])
def test_a_document_is_a_number(samples: Samples, doc: str) -> None:
    with pytest.raises(UserError, match="expected a document's number"):
        samples.find(Filter(doc=doc))


def test_what_is_shown_of_a_sample(samples: Samples) -> None:
    (row,) = samples.read(samples.find(Filter(doc="3", task=TASK)))
    assert row == {
        "task": TASK,
        "doc_id": 3,
        "class": "cat",
        "change": "lost",
        "cause": "format",
        "question": "Question 3?",
        "target": "cat",
        "row": 3,
        "base_score": 1.0,
        "base_category": "correct",
        "base_answer": "cat",
        "base_text": "base says 3",
        "base_reason": base_rows()[3]["verdict"]["reason"],
        "base_judge": "fuzzy",
        "candidate_score": 0.0,
        "candidate_category": "extrinsic",
        "candidate_answer": "dog",
        "candidate_text": "=1+1",
        "candidate_reason": candidate_rows()[3]["verdict"]["reason"],
        "candidate_judge": "fuzzy",
    }


def test_a_run_alone(folder: Path, tmp_path: Path) -> None:
    run = read_run(folder / "base")
    found = make_index(tmp_path, run.tasks[TASK], None, {})
    assert (found.facts.changes, found.facts.candidate, found.facts.drop) == (
        {"one side": 30},
        None,
        (None, None, None),
    )
    assert found.facts.base == pytest.approx(80)
    (row,) = Samples([found]).read(np.array([7], dtype=np.uint32))
    assert (row["base_text"], row["candidate_text"], row["candidate_category"]) == ("base says 7", None, None)


def test_the_index_is_found_again_until_a_file_changes(folder: Path, tmp_path: Path) -> None:
    made = indexed(folder, tmp_path / "index")
    assert open_index(tmp_path / "index", TASK) == made[0]
    made[0].parts[0].unlink()
    assert open_index(tmp_path / "index", TASK) is None
    file = next((folder / "base").glob("*.jsonl"))
    before = index_folder([file])
    assert index_folder([file]) == before
    file.write_text(file.read_text() + " ")
    assert index_folder([file]) != before


def test_indexes_that_were_not_used_for_long_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index, "_KEPT", 2)
    for number in range(4):
        index.drop_old(tmp_path / "view" / str(number))
    assert sorted(path.name for path in (tmp_path / "view").iterdir()) == ["2", "3"]


def test_runs_about_other_documents_are_refused(folder: Path, tmp_path: Path) -> None:
    other = write_run(tmp_path / "other", {TASK: [row | {"target": "owl"} for row in base_rows()]}, name="c")
    with pytest.raises(UserError, match=f"task {TASK}: the two runs are not about the same documents"):
        make_index(tmp_path, read_run(folder / "base").tasks[TASK], read_run(other).tasks[TASK], {})


TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
LINES = st.lists(st.tuples(st.sampled_from(["correct", "incorrect", "extrinsic"]), TEXTS), min_size=1, max_size=40)


@given(
    base=LINES, words=TEXTS, kind=st.sampled_from(["", "correct", "extrinsic"]), part=st.sampled_from([7, 14, 10**6])
)
def test_filters_find_what_a_loop_finds(
    tmp_path_factory: pytest.TempPathFactory, base: list[tuple[str, str]], words: str, kind: str, part: int
) -> None:
    root = tmp_path_factory.mktemp("runs")
    rows = [judged_sample(doc, category, text=text) for doc, (category, text) in enumerate(base)]
    runs = [read_run(write_run(root, {TASK: rows[::order]}, name=name)) for name, order in (("base", 1), ("c", -1))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(index, "PART", part)
        patch.setattr(index, "ROW_GROUP", 7)
        found = Samples([make_index(root, *(run.tasks[TASK] for run in runs), {})])
    assert len(found.parts) == -(-len(rows) // part)
    shown = found.read(found.find(Filter(text=words, base=kind)))
    wanted = words.strip().lower()
    expected = [
        row["doc_id"]
        for row in rows
        if kind in ("", row["verdict"]["category"])
        and wanted in f"{row['input']}\n{row['target']}\n{row['filtered_resps']}\n{row['filtered_resps']}".lower()
    ]
    assert [row["doc_id"] for row in shown] == expected
    assert [row["base_text"] for row in shown] == [rows[doc]["filtered_resps"] for doc in expected]


def test_downloads_hold_what_is_filtered(samples: Samples) -> None:
    found = samples.find(Filter(change="changed"))
    table = pl.read_parquet(io.BytesIO(b"".join(as_parquet(samples, found))))
    assert table.columns == list(COLUMNS)
    assert table["doc_id"].to_list() == [3, 6, 9, 10]
    assert table["candidate_text"][0] == "=1+1"
    lines = list(csv.DictReader(io.StringIO(b"".join(as_csv(samples, found)).decode())))
    assert [line["doc_id"] for line in lines] == ["3", "6", "9", "10"]
    assert lines[0]["candidate_text"] == "'=1+1"  # not a formula
    assert lines[1]["candidate_text"] == "candidate says 6, in an ÖLFASS"
    nothing = samples.find(Filter(text="nowhere"))
    assert b"".join(as_csv(samples, nothing)).decode() == ",".join(COLUMNS) + "\n"
    assert pl.read_parquet(io.BytesIO(b"".join(as_parquet(samples, nothing)))).height == 0


def test_answers_that_are_logged_as_lists(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [row | {"filtered_resps": [row["filtered_resps"]]} for row in base_rows()]
    run = read_run(write_run(tmp_path, {TASK: rows}, name="base"))
    found = Samples([make_index(tmp_path, run.tasks[TASK], None, {})])
    assert found.read(np.array([4], dtype=np.uint32))[0]["base_text"] == "base says 4"
    assert json.loads(next((tmp_path / "base").glob("*.jsonl")).read_text().splitlines()[4])["filtered_resps"] == [
        "base says 4"
    ]
