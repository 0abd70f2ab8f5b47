"""`emt doctor`: each thing that can be wrong is found, told, and has a fix beside it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import namedtuple

import pytest

from emt_tasks.commands import app as cli
from emt_tasks.commands import doctor
from tests.support.chat_server import ChatServer, failure, reply


@pytest.fixture(autouse=True)
def no_settings(monkeypatch):
    for name in ("EMT_DATA_DIR", "EMT_JUDGE", "EMT_JUDGE_MODEL", "EMT_JUDGE_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    servers = []

    def start(behave):
        servers.append(ChatServer(behave))
        return servers[-1]

    yield start
    for one in servers:
        one.stop()


def by_name(capsys) -> dict[str, dict[str, str]]:
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return {row["name"]: row for row in rows}


def test_a_sound_environment_has_no_problem(capsys, sample_data, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(sample_data))
    assert cli.main(["doctor", "--quick", "--json"]) == 0
    rows = by_name(capsys)
    assert {row["state"] for row in rows.values()} <= {"ok", "note"}
    assert [rows[f"data: {name}"]["state"] for name in ("mnist", "imagewikiqa")] == ["ok", "ok"]
    assert "12 documents" in rows["data: cifar10"]["found"]
    assert "lmms-eval 0." in rows["packages"]["found"]
    assert rows["hub"]["fix"] == "unset HF_HUB_OFFLINE"  # as tests/conftest.py sets it


def test_missing_data_is_a_note_with_the_command_that_fixes_it(capsys):
    assert cli.main(["doctor", "--quick", "--json"]) == 0
    row = by_name(capsys)["data: imagewikiqa"]
    assert row["state"] == "note"
    assert row["found"].startswith("EMT_DATA_DIR is not set (not on the hub")
    assert row["fix"] == "emt data prepare imagewikiqa --from FOLDER"


def test_broken_data_is_a_problem(capsys, tmp_path, monkeypatch):
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist" / "test.parquet").write_text("not parquet")
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path))
    assert cli.main(["doctor", "--quick", "--json"]) == 2
    row = by_name(capsys)["data: mnist"]
    assert (row["state"], row["fix"]) == ("problem", "write it again with: emt data prepare")
    assert "not a parquet file" in row["found"]


def test_a_data_folder_that_does_not_exist(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(tmp_path / "typo"))
    assert cli.main(["doctor", "--quick"]) == 2
    told = capsys.readouterr()
    assert "fix EMT_DATA_DIR" in told.out
    assert told.err == "1 problem\n"


def test_a_judge_that_answers_one_that_fails_and_one_that_is_not_there(server, monkeypatch):
    monkeypatch.setenv("EMT_JUDGE", "cascade")
    assert doctor.judge_server().found == "EMT_JUDGE=cascade, but no language model"
    good = server(lambda _number, _request: reply("The answer is right.\nVERDICT: correct"))
    monkeypatch.setenv("EMT_JUDGE_MODEL", "m")
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", good.url)
    assert doctor.judge_server() == doctor.Check("judge", "ok", "cascade; m answers")
    bad = server(lambda _number, _request: failure(500))
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", bad.url)
    assert doctor.judge_server().state == "problem"
    assert len(bad.requests) == 1  # no second try
    good.stop()
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", good.url)
    assert "EMT_JUDGE_BASE_URL" in doctor.judge_server().fix
    monkeypatch.setenv("EMT_JUDGE", "fuzy")
    assert doctor.judge_server().fix == "set it to one of cascade, embedding, emt-paper, fuzzy, llm, panel"


def test_each_model_of_a_panel_is_asked(server, monkeypatch):
    running = server(lambda _n, request: failure(500) if request["model"] == "b" else reply("VERDICT: correct"))
    monkeypatch.setenv("EMT_JUDGE_BASE_URL", running.url)
    monkeypatch.setenv("EMT_JUDGE_MODEL", "a,c")
    assert doctor.judge_server() == doctor.Check("judge", "ok", "fuzzy; a, c answer")
    monkeypatch.setenv("EMT_JUDGE", "panel")
    assert doctor.judge_server() == doctor.Check("judge", "ok", "panel; a, c answer")
    monkeypatch.setenv("EMT_JUDGE_MODEL", "a,b")
    assert doctor.judge_server().found.startswith("b gave no verdict: InternalServerError")
    monkeypatch.setenv("EMT_JUDGE_MODEL", "a")
    assert "expected two models or more, found a" in doctor.judge_server().found
    monkeypatch.setenv("EMT_JUDGE", "llm")
    monkeypatch.setenv("EMT_JUDGE_MODEL", "a,b")
    assert "expected one model; only the judge 'panel' asks several" in doctor.judge_server().found


def test_packages_that_are_too_old_or_missing(monkeypatch):
    version = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: {"lmms-eval": "0.6.1", "torch": None}.get(name, version(name)))
    check = doctor.versions()
    assert check.state == "problem"
    assert check.found == "lmms-eval 0.6.1, torch missing"
    assert check.fix == "pip install 'lmms-eval>=0.7' 'torch'"


def test_a_taken_import_name(tmp_path):
    """Another `judges` comes first on the path, with all that `emt_tasks.commands.doctor` needs of ours."""
    other = tmp_path / "finetune"
    other.mkdir()
    (other / "__init__.py").write_text("")
    doctor = "from emt_tasks.commands.doctor import names; print(names())"
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {doctor}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "state='problem'" in done.stdout
    assert f"finetune is {other / '__init__.py'}, not ours" in done.stdout


def test_a_distribution_that_ships_the_same_name(monkeypatch):
    owners = {"judges": ["emt-eval", "judges"], "emt_tasks": ["emt-eval"]}
    monkeypatch.setattr(doctor.importlib.metadata, "packages_distributions", lambda: owners)
    assert doctor.names().found == "judges (also in judges)"


@pytest.mark.parametrize(
    ("cuda", "state"), [("cuda: Optional[str] = None", "problem"), ("cuda: Optional[str] = '13.2'", "ok")]
)
def test_a_gpu_needs_a_torch_that_can_use_it(tmp_path, monkeypatch, cuda, state):
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 81559 MiB'\n")
    program.chmod(0o755)
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise AssertionError('torch was imported')")
    (tmp_path / "torch" / "version.py").write_text(f"__version__ = '2.15.0'\n{cuda}\n")
    code = "from emt_tasks.commands.doctor import gpu; print(gpu())"
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert f"state='{state}'" in done.stdout
    assert "NVIDIA H100 80GB HBM3, 81559 MiB" in done.stdout


@pytest.mark.parametrize(("gigabytes", "state"), [(0.5, "problem"), (10, "note"), (100, "ok")])
def test_disk(monkeypatch, gigabytes, state):
    Usage = namedtuple("Usage", "total used free")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _path: Usage(0, 0, gigabytes * 10**9))
    assert doctor.disk().state == state


def test_an_lmms_eval_that_does_not_load_our_plugin(tmp_path, monkeypatch):
    """A package of that name that knows two tasks, one of them ours."""
    (tmp_path / "lmms_eval").mkdir()
    (tmp_path / "lmms_eval" / "__init__.py").write_text("")
    (tmp_path / "lmms_eval" / "__main__.py").write_text("print(' - mmmu_val\\n - emt_cifar10')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    check = doctor.lmms_eval_hook()
    assert check.state == "problem"
    assert check.found.startswith("does not know ")
    assert "--include_path" in check.fix


@pytest.mark.slow
def test_the_real_lmms_eval_knows_our_tasks():
    assert doctor.lmms_eval_hook().state == "ok"


def test_loads_neither_torch_nor_lmms_eval():
    code = (
        "import sys; from emt_tasks.commands.app import main; main(['doctor', '--quick']);"
        "sys.exit('torch' in sys.modules or 'lmms_eval' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0
