"""`emt eval` and a user's mistakes: one line, exit code 2, and no half-written output."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from datasets import Dataset, Features, Image, Value

from emt_tasks.commands.app import main

# One process for all of them: importing lmms-eval takes longer than everything else.
COMMANDS = """
import contextlib, io, json, os, sys
from emt_tasks.commands.app import main

for case in json.loads(sys.argv[1]):
    os.environ["EMT_DATA_DIR"] = case["data"]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(case["arguments"])
    print("CASE " + json.dumps({"code": code, "out": out.getvalue(), "err": err.getvalue()}))
"""


@pytest.fixture(scope="module")
def cases(tmp_path_factory, sample_data, tiny_llava):
    """Run `emt eval` with five mistakes and once without; returns what each printed, and where it wrote."""
    from peft import LoraConfig

    from tests.support import tiny_checkpoints

    folder = tmp_path_factory.mktemp("mistakes")
    bare = tiny_checkpoints.build("llava", folder / "bare")
    for name in ("processor_config.json", "preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        (bare / name).unlink(missing_ok=True)
    LoraConfig(base_model_name_or_path="somebody/else").save_pretrained(folder / "adapter")
    broken = folder / "data" / "cifar10" / "test.parquet"
    broken.parent.mkdir(parents=True)
    shutil.copy(sample_data / "cifar10" / "test.parquet", broken)
    rows = Dataset.from_parquet(str(broken)).cast_column("img", Image(decode=False)).to_list()[:2]
    rows[1]["img"] = {"bytes": b"no image", "path": None}
    columns = Features({"img": {"bytes": Value("binary"), "path": Value("string")}, "label": Value("int64")})
    Dataset.from_list(rows, features=columns).cast(Features({"img": Image(), "label": Value("int64")})).to_parquet(
        broken
    )

    def case(name, model, *more, data=sample_data, tasks="emt_cifar10"):
        output = folder / "runs" / name
        return {
            "name": name,
            "data": str(data),
            "output": output,
            "arguments": ["eval", str(model), "-t", tasks, "-o", str(output), "--device", "cpu", *more],
        }

    todo = [
        case("unreadable", tiny_llava, data=folder / "data"),
        case("no processor", bare),
        case("other base", tiny_llava, "--peft", str(folder / "adapter")),
        case("no checkpoint", folder),
        case("no such argument", tiny_llava, "--model-args", "colour=red"),
        case("fine", tiny_llava, "--limit", "3"),
        case("fine", tiny_llava, "--limit", "3"),
    ]
    sent = json.dumps([{"data": one["data"], "arguments": one["arguments"]} for one in todo])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS, sent], env=environment, capture_output=True, text=True, check=False
    )
    printed = [json.loads(line[5:]) for line in done.stdout.splitlines() if line.startswith("CASE ")]
    assert len(printed) == len(todo), done.stdout + done.stderr
    return [one | shown for one, shown in zip(todo, printed, strict=True)]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unreadable", "test.parquet: row 1: column img has no image"),
        ("no processor", "no image processor"),
        ("other base", "the adapter was trained on somebody/else, not on pretrained="),
        ("no checkpoint", "no config.json in this folder"),
        ("no such argument", "emt_vlm has no argument 'colour'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(cases, name, message):
    (case,) = (case for case in cases if case["name"] == name)
    assert case["code"] == 2
    (line,) = (line for line in case["err"].splitlines() if line.startswith("emt: "))
    assert message in line
    assert "Traceback" not in case["out"] + case["err"]
    assert not case["output"].exists()
    assert not list(case["output"].parent.glob(".*partial"))


def test_a_good_run_leaves_its_files_and_is_not_overwritten(cases):
    first, second = (case for case in cases if case["name"] == "fine")
    assert first["code"] == 0
    assert "emt_cifar10" in first["out"]
    files = sorted(file.name for file in first["output"].iterdir())
    assert [name.split("_", 2)[-1] for name in files] == ["results.json", "samples_emt_cifar10.jsonl"]
    assert second["code"] == 2
    assert "already contains results; choose another folder or add --overwrite" in second["err"]


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("emt_cifar1", "unknown task 'emt_cifar1'; did you mean emt_cifar10"),
        ("nothing_like_it", "unknown task 'nothing_like_it'; see: emt tasks list"),
    ],
)
def test_an_unknown_task_is_told_at_once(task, message, capsys, tmp_path):
    assert main(["eval", "model", "--tasks", task, "-o", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err


def test_missing_data_is_told_before_anything_is_loaded(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    assert main(["eval", "model", "--tasks", "imagewikiqa", "-o", str(tmp_path / "run")]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"emt: imagewikiqa: no {tmp_path}/imagewikiqa/test.parquet")
    assert line.endswith("run: emt data prepare imagewikiqa --from FOLDER\n")
