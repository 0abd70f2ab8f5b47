"""Nothing that is published says where a model lies on somebody's disk."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emt_core.public_names import public_arguments, public_judge, public_name
from emt_core.runs import read_run, tell_apart
from emt_tasks.commands.app import main
from leaderboards.exports import FORMATS
from tests.support.synthetic_runs import STAMP, judged_sample, write_run

HIDDEN = ("someone", "hush", "sk-123")
"""What must stand in no output: a user's name, a folder above the model, a key."""

PATHS = [
    "/home/someone/hush/model-7b",
    "/home/someone/hush/model-7b/",
    "~/hush/model-7b",
    "~someone/hush/model-7b",
    "C:\\Users\\someone\\hush\\model-7b",
    "D:hush\\model-7b",
    "../hush/model-7b",
    "./someone/hush/model-7b",
    "hush/someone/model-7b",
    "/home/someone/hush, really/a b/model-7b",
    "/home/someone",
    "/Users/someone/",
    "C:/Users/someone",
    "~",
    "~someone",
    "/home/someone/hush/..",
    "file:///home/someone/hush/model-7b",
]


def write(folder: Path, path: str, other: str, *, lost: int, judge: str = "fuzzy") -> Path:
    """A run of a model at that path, in the folder that lmms-eval names after it."""
    last_two = "/".join(path.split("/")[-2:])
    name = re.sub(r"[\"<>:/\|\\?\*\[\]]+", "__", last_two) or "model"
    rows = [judged_sample(i, "incorrect" if i < lost else "correct", judge=judge) for i in range(60)]
    run = write_run(folder, {"flowers102": rows, "imagewikiqa": rows}, name=name)
    file = run / f"{STAMP}_results.json"
    results: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    results["config"] |= {"model_args": f"pretrained={path},dtype=bfloat16,peft={other},api_key=sk-123"}
    results |= {"model_name": path, "model_name_sanitized": name, "model_source": path}
    results["configs"]["flowers102"]["dataset_path"] = path
    results["configs"]["imagewikiqa"] |= {
        "dataset_path": "parquet",
        "dataset_kwargs": {"data_files": f"{path}/x.parquet"},
    }
    file.write_text(json.dumps(results), encoding="utf-8")
    return run


def published(folder: Path, base: Path, candidate: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, bytes]:
    """Every output of every command that writes for others to read."""
    out = folder / "published"
    texts = {}
    for flags in ([], ["--json"], ["--junit", str(out / "gate.xml")]):
        assert main(["gate", str(base), str(candidate), *flags]) in (0, 1, 2)
        texts[f"gate {flags[:1]}"] = capsys.readouterr().out.encode()
        assert all(texts.values())
    assert main(["report", str(base), str(candidate), "-o", str(out / "report.html")]) == 0
    site = ["leaderboard", "build", str(candidate), "--base", str(base), "-o", str(out / "site")]
    assert main(site) == 0
    for name in FORMATS:
        wanted = ["--dataset", "flowers102=org/flowers"] if name == "hf-eval-results" else []
        assert main(["export", str(candidate), "--to", name, "-o", str(out / name), *wanted]) == 0
    files = [file for file in out.rglob("*") if file.is_file()]
    names = b"\n".join(str(file.relative_to(out)).encode() for file in files)
    return texts | {str(file): file.read_bytes() for file in files} | {"names of files": names}


@pytest.mark.parametrize("path", PATHS)
def test_no_output_says_where_a_model_lies(path: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = write(tmp_path / "one", path, "~/hush/adapter", lost=1, judge=f"llm:{path}")
    candidate = write(tmp_path / "two", path + "x", path, lost=20, judge=f"llm:{path}")
    outputs = published(tmp_path, base, candidate, capsys)
    assert len(outputs) > 10
    for name, data in outputs.items():
        for part in (*HIDDEN, str(tmp_path)):
            assert part.encode() not in data, (part, name, data[max(0, data.find(part.encode()) - 90) :][:200])


@pytest.mark.parametrize(
    ("name", "public"),
    [
        ("llava-hf/llava-1.5-7b-hf", "llava-hf/llava-1.5-7b-hf"),
        ("ViT-L-14", "ViT-L-14"),
        ("/data/models/tuned", "tuned"),
        ("C:\\models\\tuned\\", "tuned"),
        ("C:tuned", "tuned"),
        ("cuda:0", "cuda:0"),
        ("", ""),
        ("local", "local"),
    ],
)
def test_public_names(name: str, public: str) -> None:
    assert public_name(name) == public


def test_a_home_folder_has_a_hash_only() -> None:
    hashed = {public_name(path) for path in ("/home/someone", "/home/other", "~", "~someone", "/root", "..", ".")}
    assert len(hashed) == 7
    assert all(re.fullmatch("local-[0-9a-f]{8}", name) for name in hashed)


def test_arguments_keep_what_is_no_path_and_no_key() -> None:
    arguments = "pretrained=/a/b/tuned,dtype=bfloat16,max_new_tokens=5,tokenizer=x/y/z,hf_token=hf_1,api_key=k"
    expected = "pretrained=tuned,dtype=bfloat16,max_new_tokens=5,tokenizer=z,hf_token=…,api_key=…"
    assert public_arguments(arguments) == expected
    assert public_arguments({"pretrained": "/a/b", "n": 1}) == "pretrained=b,n=1"
    assert public_arguments("") is None
    assert public_judge("llm:/a/b/judge") == "llm:judge"
    assert public_judge("fuzzy") == "fuzzy"


def test_models_that_are_called_alike_have_a_hash(tmp_path: Path) -> None:
    runs = [read_run(write(tmp_path / n, f"/{n}/tuned", "x", lost=0)) for n in ("a", "b")]
    assert [run.name for run in runs] == ["tuned", "tuned"]
    names = [run.name for run in tell_apart(*runs)]
    assert names[0] != names[1]
    assert all(re.fullmatch(r"tuned \([0-9a-f]{8}\)", name) for name in names)
    assert [run.name for run in tell_apart(runs[0], runs[0])] == ["tuned", "tuned"]


FOLDERS = st.lists(st.sampled_from(["hush", "someone", "a b", "x,y", "x=y", "..", "~", "é", "'", '"']), max_size=4)


@given(
    root=st.sampled_from(["/", "~/", "C:\\", "D:", "../", "./", "\\\\server\\", "/home/", "file:///", " /"]),
    folders=FOLDERS,
    separator=st.sampled_from(["/", "\\", "//"]),
    end=st.sampled_from(["", "/", "\\"]),
    key=st.sampled_from(["pretrained", "peft", "model"]),
)
def test_of_a_path_only_its_last_folder_is_left(
    root: str, folders: list[str], separator: str, end: str, key: str
) -> None:
    path = root + separator.join([*folders, "hush", "model-7b"]) + end
    shown = public_arguments(f"dtype=float32,{key}={path},device=cpu")
    assert shown is not None
    assert "hush" not in shown
    assert "someone" not in shown
    assert "model-7b" in shown
