"""The examples in docs/reference/python.md run, in their order; those that need a model only import."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.support.pages import ROOT, blocks
from tests.support.synthetic_runs import large_pair

EXAMPLES = [block.body for block in blocks(ROOT / "docs" / "reference" / "python.md") if block.kind == "python"]


def test_the_examples_run(tmp_path, monkeypatch):
    base, candidate = large_pair(
        tmp_path / "base", tmp_path / "tuned", samples=1200, tasks=["imagenet_vqa", "imagewikiqa"]
    )
    (tmp_path / "runs").mkdir()
    base.rename(tmp_path / "runs" / "base")
    candidate.rename(tmp_path / "runs" / "tuned")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for example in EXAMPLES:
        if example.startswith("# Needs a model."):
            example = "\n".join(ast.unparse(one) for one in ast.parse(example).body if isinstance(one, ast.ImportFrom))
        exec(compile(example, "python.md", "exec"), names)
    assert (tmp_path / "report.html").is_file()
    assert names["verdict"].category == "correct"
    assert names["result"].exit_code in (0, 1, 2)
    assert (tmp_path / "site" / "index.html").is_file()
    assert names["files"] == [Path("card/results.md")]
    assert callable(names["finetune"])
    assert callable(names["evaluate"])
