"""No command replaces what it has not written, whatever folder it is given, with --overwrite or --resume."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from emt_tasks.commands.app import main
from emt_tasks.demo import tiny
from tests.support.synthetic_runs import judged_sample, write_run

RECIPE = {
    "model": "emt:tiny",
    "train": "projector",
    "mixture": {"sources": [{"data": "demo_digits"}]},
    "optimiser": {"learning_rate": 1e-4},
    "batch": {"size": 8},
    "steps": 1,
}
Command = Callable[[Path, str], list[str]]


def finetune(output: Path, folder: str) -> list[str]:
    recipe = output / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE | {"output": folder}))
    return ["finetune", str(recipe)]


def judge(output: Path, folder: str) -> list[str]:
    rows = [judged_sample(0, "correct", judge_target={"kind": "classification", "vocabulary": "mnist", "label": "0"})]
    run = output / "run"
    if not run.exists():
        write_run(run, {"emt_mnist": rows})
    return ["judge", str(run), "--judge", "fuzzy", "-o", folder]


COMMANDS: dict[str, Command] = {
    "finetune": finetune,
    "merge": lambda _, folder: ["merge", str(tiny.PATH), "--base", str(tiny.PATH), "--with-base", "0.5", "-o", folder],
    "to-llava": lambda _, folder: ["data", "to-llava", "demo_digits", "--limit", "3", "-o", folder],
    "demo": lambda _, folder: ["demo", "-o", folder],
    "judge": judge,
}


def stranger(folder: Path) -> Path:
    """Somebody's own folder, with a folder in it."""
    (folder / "deep").mkdir(parents=True)
    for file in (folder / "thesis.txt", folder / "deep" / "data.csv"):
        file.write_text("years of work")
    return folder


def snapshot(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_strangers_folder_is_refused_in_one_line(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, own = tmp_path / "world", tmp_path / "own"
    own.mkdir()
    home, here = stranger(root / "home"), stranger(root / "here")
    (root / "link").symlink_to(stranger(root / "target"))
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    words = {folder: COMMANDS[command](own, folder) for folder in (".", "..", "deep", str(home), str(root / "link"))}
    words |= {str(root): COMMANDS[command](own, str(root))}
    before = snapshot(root)
    for folder in words:
        for option in ("--overwrite", "--resume") if command == "finetune" else ("--overwrite",):
            capsys.readouterr()
            assert main([*COMMANDS[command](own, folder), option]) == 2
            error = capsys.readouterr().err
            assert error.startswith("emt: "), error
            assert error.count("\n") == 1, error
            assert snapshot(root) == before
            assert Path.cwd() == here


def test_what_a_command_wrote_is_replaced_and_the_rest_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("to-llava", "judge", "merge"):
        folder = tmp_path / f"{name} out"
        assert main(COMMANDS[name](tmp_path, str(folder))) == 0
        written = {path.name for path in folder.iterdir()}
        (folder / "notes.txt").write_text("mine")
        assert main(COMMANDS[name](tmp_path, str(folder))) == 2
        assert main([*COMMANDS[name](tmp_path, str(folder)), "--overwrite"]) == 0
        assert {path.name for path in folder.iterdir()} == {*written, "notes.txt"}
        assert (folder / "notes.txt").read_text() == "mine"
    capsys.readouterr()
