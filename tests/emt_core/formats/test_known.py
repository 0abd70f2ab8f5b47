"""Which format a path is: the path alone says it, and what is none of them is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.formats.known import FORMATS, is_other
from emt_core.runs import read_run
from tests.support.synthetic_runs import judged_sample, write_run

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize(
    ("path", "name"),
    [("lm_eval/base", "lm-evaluation-harness"), ("evalscope/base", "EvalScope"), ("vlmevalkit/base", "VLMEvalKit")],
)
def test_each_run_is_of_one_format(path: str, name: str) -> None:
    assert next(one.name for one in FORMATS if one.is_one(DATA / path)) == name


def test_what_is_no_run_is_told_with_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x", encoding="utf-8")
    assert not is_other(tmp_path)
    with pytest.raises(UserError, match=r"is no run that is known here: found notes\.txt; expected \*_results") as e:
        read_run(tmp_path)
    assert all(one.files in str(e.value) for one in FORMATS)
    with pytest.raises(UserError, match="nowhere does not exist: expected a run"):
        read_run(tmp_path / "nowhere")


def test_lmms_evals_own_runs_are_none_of_them(tmp_path: Path) -> None:
    run = write_run(tmp_path, {"emt_cifar10": [judged_sample(0, "correct")]})
    assert not is_other(run)
