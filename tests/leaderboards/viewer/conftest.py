"""Two runs to look at, and a cache of the tests' own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.synthetic_runs import judged_sample, write_run

TASK, OTHER = "emt_cifar10", "imagewikiqa"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def base_rows() -> list[dict[str, Any]]:
    """30 documents of three classes: right but for every fifth."""
    return [
        judged_sample(
            doc,
            "incorrect" if doc % 5 == 0 else "correct",
            target=("cat", "dog", "Ölfass")[doc % 3],
            text=f"base says {doc}",
            labels=("cat",),
            prompt=f"Question {doc}?",
        )
        for doc in range(30)
    ]


def candidate_rows() -> list[dict[str, Any]]:
    """The same, with 3, 6, 9 lost to two kinds, 10 gained, and 12 unscored."""
    kinds = {3: "extrinsic", 6: "intrinsic", 9: "extrinsic", 10: "correct", 12: "unscored"}
    rows = []
    for doc, row in enumerate(base_rows()):
        kind = kinds.get(doc, row["verdict"]["category"])
        text = "=1+1" if doc == 3 else f"candidate says {doc}, in an ÖLFASS"
        rows.append(judged_sample(doc, kind, target=row["target"], text=text, labels=("dog",), prompt=row["input"]))
    return rows


@pytest.fixture
def folder(tmp_path: Path, pictures: Path) -> Path:
    """A check's folder as `emt check` leaves it, with images of the first rows."""
    root = tmp_path / "check"
    for name, rows in (("base", base_rows()), ("candidate", candidate_rows())):
        run = write_run(root, {TASK: rows, OTHER: [judged_sample(doc, "correct") for doc in range(3)]}, name=name)
        results = next(run.glob("*_results.json"))
        data = json.loads(results.read_text())
        for config in data["configs"].values():
            config |= {
                "dataset_path": "parquet",
                "dataset_kwargs": {"data_files": {"test": str(pictures)}},
                "test_split": "test",
            }
        results.write_text(json.dumps(data))
    lost = [{"task": TASK, "doc_id": 3, "cause": "format"}, {"task": TASK, "doc_id": 6, "cause": "mouth"}]
    (root / "lost.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lost))
    return root
