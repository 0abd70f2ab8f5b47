"""The `emt` command as a whole: quick, lazy, and clear about names that others have taken."""

from __future__ import annotations

import json
import subprocess
import sys

from emt_tasks.commands import app as cli
from emt_tasks.datasets.catalog import datasets
from emt_tasks.tasks import registry


def test_every_command_is_listed_and_has_help(capsys):
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert " " in name or f" {name} " in listed
        assert cli.main([*name.split(), "--help"]) == 0
        assert "Usage" in capsys.readouterr().out


def test_help_loads_no_torch():
    code = "import sys; from emt_tasks.commands.app import main; main(['--help']); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_tasks_list_as_json_names_every_entry(capsys):
    assert cli.main(["tasks", "list", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {row["name"] for row in rows} == set(registry.entries())


def test_tasks_path_is_the_registry(capsys):
    assert cli.main(["tasks", "path"]) == 0
    assert capsys.readouterr().out.strip() == str(registry.FOLDER)


def test_data_list_says_what_is_there_and_what_is_not(capsys, sample_data, monkeypatch):
    monkeypatch.setenv("EMT_DATA_DIR", str(sample_data))
    assert cli.main(["data", "list", "--json", "emt", "forgetting_matrix"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["state"] for row in rows] == ["there"] * 8
    assert {row["data"] for row in rows} <= set(datasets())
    monkeypatch.delenv("EMT_DATA_DIR")
    assert cli.main(["data", "list", "imagewikiqa"]) == 2
    assert "EMT_DATA_DIR is not set" in capsys.readouterr().err


def test_a_mistake_is_one_line_and_a_traceback_only_on_demand(capsys):
    assert cli.main(["data", "list", "svhn"]) == 2
    assert capsys.readouterr().err == "emt: unknown task, group or data set 'svhn'; see: emt tasks list\n"
    assert cli.main(["--debug", "data", "list", "svhn"]) == 2
    traceback = capsys.readouterr().err
    assert traceback.startswith("Traceback (most recent call last):")
    assert traceback.endswith("emt: unknown task, group or data set 'svhn'; see: emt tasks list\n")


def test_a_taken_import_name_is_told(tmp_path):
    """Another distribution's `judges` comes first on the path, with all that `emt_tasks` needs of ours in it."""
    other = tmp_path / "finetune"
    other.mkdir()
    (other / "__init__.py").write_text("")
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from emt_tasks.commands.app import main\n"
        "sys.exit(main(['finetune', '--help']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("emt: the import name 'finetune' is taken by ")


def test_the_import_names_are_ours():
    import importlib
    from pathlib import Path

    root = Path(cli.__file__).parents[2]
    for name in ("emt_core", "emt_tasks", "judges", "finetune", "leaderboards"):
        assert Path(importlib.import_module(name).__file__).parents[1] == root
