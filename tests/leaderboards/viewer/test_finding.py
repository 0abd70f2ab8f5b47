"""Which checks a folder holds, and how far they are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from emt_core.checks import recording
from emt_core.errors import UserError
from leaderboards.viewer.finding import SETTINGS, find_checks
from leaderboards.viewer.progress import Answers
from tests.support.synthetic_runs import judged_sample, write_run

ROWS = {"imagewikiqa": [judged_sample(0, "correct")]}


def begin(folder: Path, model: str) -> None:
    folder.mkdir(parents=True)
    (folder / SETTINGS).write_text(f'{{"model": "{model}", "peft": null}}')


def states(root: Path) -> dict[str, list[tuple[str, str, bool]]]:
    return {check.name: [(one.role, one.name, one.finished) for one in check.models] for check in find_checks(root)}


def test_a_check_from_its_first_moment_to_its_report(tmp_path: Path) -> None:
    root = tmp_path / "check"
    with recording(root, {"base": "org/b", "candidate": "c", "encoder": "e"}, {}):
        assert states(root) == {"check": [("base", "org/b", False), ("candidate", "c", False)]}
        write_run(root, ROWS, name="base")
        begin(root / "candidate", "c")
        (found,) = find_checks(root)
        assert [(one.finished, one.started) for one in found.models] == [(True, False), (False, True)]
        assert (found.running, found.finished) == (True, False)
        write_run(root, ROWS, name="candidate")
        (root / "report.html").touch()
        assert find_checks(root)[0].report is None  # an earlier check's: this one still runs
    (found,) = find_checks(root)
    assert (found.running, found.finished, found.report) == (False, True, root / "report.html")


def test_a_base_that_was_finished_before(tmp_path: Path) -> None:
    run = write_run(tmp_path / "elsewhere", ROWS, name="b")
    with recording(tmp_path / "check", {"base": str(run), "candidate": "c"}, {}):
        (found,) = find_checks(tmp_path / "check")
        assert (found.base.folder, found.base.finished) == (run, True)


def test_checks_without_a_record_and_with_several_candidates(tmp_path: Path) -> None:
    for name in ("base", "candidates/low-1", "candidates/high-2", "encoder"):
        write_run(tmp_path / "one" / Path(name).parent, ROWS, name=Path(name).name)
    begin(tmp_path / "two" / "base", "org/base")
    write_run(tmp_path / "runs", ROWS, name="alone")
    (tmp_path / "two" / "base" / "cache" / "base").mkdir(parents=True)
    found = states(tmp_path)
    assert {name: [role for role, *_ in models] for name, models in found.items()} == {
        "one/candidates/high-2": ["base", "candidates/high-2"],
        "one/candidates/low-1": ["base", "candidates/low-1"],
        "two": ["base"],
        "runs/alone": ["run"],
    }
    assert found["two"] == [("base", "org/base", False)]


def test_runs_side_by_side_are_a_check_if_one_is_called_base(tmp_path: Path) -> None:
    for name in ("base", "tuned", "merged"):
        write_run(tmp_path, ROWS, name=name)
    assert list(states(tmp_path)) == ["merged", "tuned"]


def test_nothing_to_see(tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text("{}")
    assert find_checks(tmp_path) == []
    with pytest.raises(UserError, match="no such folder"):
        find_checks(tmp_path / "nowhere")


@pytest.fixture
def cache(tmp_path: Path) -> Any:
    """lmms-eval's own cache of answers, as `emt eval --cache` opens it, and the run's folder."""
    from lmms_eval.caching.response_cache import ResponseCache

    opened = ResponseCache.create(str(tmp_path / "cache" / "key"), model="m", model_args="a=b", task_dict={})
    yield opened
    opened._close_local_handles()


def test_answers_are_counted_while_they_are_written(tmp_path: Path, cache: Any) -> None:
    answers = Answers(tmp_path)
    assert answers.progress().answered == {}
    for document in range(5):
        cache._store(f"key {document}", "generate_until", "imagewikiqa", document, 0, {}, "a cat")
    for choice in range(4):
        cache._store(f"choice {choice}", "loglikelihood", "emt_cifar10_closed", 7, choice, {}, [-1.0, False])
    found = answers.progress()
    assert found.answered == {"imagewikiqa": 5, "emt_cifar10_closed": 1}  # a closed set's choices are one document
    # 9 answers about 6 documents; of less than a second's time, a second is taken: 6 documents a second at most.
    assert found.speed is not None
    assert 0 < found.speed <= 6
    assert found.left({"imagewikiqa": 11, "emt_cifar10_closed": 1}) == 6 / found.speed
    assert found.left({}) is None
    cache._store("key 99", "generate_until", "imagewikiqa", 99, 0, {}, "a cat")
    assert answers.progress().answered["imagewikiqa"] == 6


def test_of_two_caches_the_one_in_use_counts(tmp_path: Path, cache: Any) -> None:
    cache._store("key", "generate_until", "imagewikiqa", 0, 0, {}, "a cat")
    old = tmp_path / "cache" / "old"
    shutil.copytree(tmp_path / "cache" / "key", old)
    for file in old.rglob("*.db*"):
        os.utime(file, (0, 0))
    assert Answers(tmp_path).progress().answered == {"imagewikiqa": 1}


def test_a_cache_that_cannot_be_read_has_no_answers(tmp_path: Path) -> None:
    file = tmp_path / "cache" / "key" / "cache.db"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"no database")
    found = Answers(tmp_path).progress()
    assert (found.answered, found.speed) == ({}, None)
