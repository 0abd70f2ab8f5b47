"""Which pairs of runs are refused, and what is counted where documents are missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from emt_core.errors import UserError
from emt_core.runs import read_run
from leaderboards.comparison.pairing import Excluded, PairedTask, pair_task
from tests.support.synthetic_runs import judged_sample, write_run

TASK = "emt_cifar10"
Rows = list[dict[str, Any]]
Pair = Callable[..., PairedTask]


def rows(categories: str = "ccccc", **fields: Any) -> Rows:
    names = {"c": "correct", "i": "incorrect", "x": "extrinsic", "u": "unscored"}
    return [judged_sample(index, names[letter], **fields) for index, letter in enumerate(categories)]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    def build(base: Rows, candidate: Rows, encoder: Rows | None = None, **overrides: Any) -> PairedTask:
        first = read_run(write_run(tmp_path / "b", {TASK: base}, name="base"))
        second = read_run(write_run(tmp_path / "c", {TASK: candidate}, name="candidate", **{TASK: overrides}))
        third = read_run(write_run(tmp_path / "e", {TASK: encoder}, name="clip")) if encoder else None
        return pair_task(TASK, first, second, encoder=third)

    return build


def test_documents_are_paired_by_their_number(pair: Pair) -> None:
    shuffled = list(reversed(rows("ciccx")))
    paired = pair(rows("cccic"), shuffled)
    assert paired.frame["doc_id"].to_list() == [0, 1, 2, 3, 4]
    assert paired.frame["base_score"].to_list() == [1, 1, 1, 0, 1]
    assert paired.frame["candidate_score"].to_list() == [1, 0, 1, 1, 0]
    assert paired.frame["candidate_category"].to_list()[4] == "extrinsic"
    assert paired.excluded == Excluded()


def test_missing_and_unscored_documents_are_counted_and_left_out(pair: Pair) -> None:
    # 5 documents: the base did not score number 1; the candidate lacks number 4 and did not score number 0.
    paired = pair(rows("cuccc"), rows("uccc"), counts={"original": 5, "effective": 5})
    assert paired.excluded == Excluded(missing_base=0, missing_candidate=1, unscored_base=1, unscored_candidate=1)
    assert (paired.documents, paired.paired) == (5, 2)
    assert paired.frame["doc_id"].to_list() == [2, 3]


def test_the_encoder_joins_by_document(pair: Pair) -> None:
    paired = pair(rows("ccc"), rows("cci"), encoder=rows("cic", prompt="a photo of a cat"))
    assert paired.frame["encoder_score"].to_list() == [1, 0, 1]


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"version": 2.0}, r"the version differs between base and candidate, 1\.0 and 2\.0"),
        ({"config": {"doc_to_text": "Name it."}}, r"the prompt \(doc_to_text\) differs"),
        ({"config": {"num_fewshot": 4}}, r"the prompt \(num_fewshot\) differs between base and candidate, 0 and 4"),
        ({"config": {"generation_kwargs": {"max_new_tokens": 8}}}, r"the generation \(generation_kwargs\) differs"),
        ({"config": {"process_results": "<function other at 0x1>"}}, r"the scoring \(process_results\) differs"),
        ({"counts": {"effective": 3}}, "the limit differs between base and candidate, 5 and 3"),
        ({"counts": {"original": 9}}, "the number of documents differs between base and candidate, 5 and 9"),
    ],
)
def test_runs_that_measure_different_things_are_refused(pair: Pair, overrides: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=reason) as caught:
        pair(rows(), rows(), **overrides)
    assert "\n" not in str(caught.value)


def test_a_functions_address_and_the_datas_place_do_not_matter(pair: Pair) -> None:
    config = {"process_results": "<function score at 0x7fffffffffff>", "dataset_path": "parquet"}
    assert pair(rows(), rows(), config=config).paired == 5


def test_different_prompts_in_the_samples_are_refused(pair: Pair) -> None:
    other = rows()
    other[3]["input"] = "What is in this picture?"
    with pytest.raises(UserError, match="1 of 5 prompts differ, first at doc_id 3"):
        pair(rows(), other)


def test_different_documents_are_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match=r"5 of 5 documents \(their right answers\) differ, first at doc_id 0"):
        pair(rows(), rows(target="dog"))
    moved = [row | {"doc_id": row["doc_id"] + 100} for row in rows()]
    with pytest.raises(UserError, match="share no document"):
        pair(rows(), moved)


def test_different_judges_are_refused(pair: Pair) -> None:
    with pytest.raises(UserError, match="judged by fuzzy and by llm: judge one of the runs again with emt judge"):
        pair(rows(), rows(judge="llm"))
