"""A folder is written whole or stays as it was."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from emt_core.errors import UserError
from emt_core.folders import MARKER, check_folder, clear, made_folder, mark, names_made, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_all_is_replaced_or_only_what_matches(tmp_path):
    folder = tmp_path / "run"
    for name in ("old_results.json", "notes.txt"):
        with whole_folder(folder, replaces=("*_results.json",)) as partial:
            (partial / name).touch()
    assert names(folder) == ["notes.txt"]
    with whole_folder(folder, replaces=("*_results.json",)) as partial:
        (partial / "new_results.json").touch()
    assert names(folder) == ["new_results.json", "notes.txt"]
    with whole_folder(folder) as partial:
        (partial / "only").touch()
    assert names(folder) == ["only"]
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    ("error", "told", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), UserError, r"run cannot be written \(the disk is full\)"),
        (RuntimeError("I/O error: No space left on device"), UserError, r"run cannot be written \(the disk is full\)"),
        (OSError(errno.EFBIG, "File too large"), UserError, r"run cannot be written \(.*File too large\)"),
        (RuntimeError("I/O error: File too large (os error 27)"), UserError, r"run cannot be written \(.*too large"),
        (OSError("no such model"), OSError, "no such model"),
        (ValueError("a mistake"), ValueError, "a mistake"),
    ],
)
def test_a_failure_leaves_the_folder_as_it_was(tmp_path, error, told, message):
    folder = tmp_path / "run"
    with whole_folder(folder) as partial:
        (partial / "old").touch()
    with pytest.raises(told, match=message), whole_folder(folder) as partial:
        (partial / "new").touch()
        raise error
    assert names(folder) == ["old"]
    assert names(tmp_path) == ["run"]


def test_the_message_says_what_to_do(tmp_path):
    with (
        pytest.raises(UserError, match=r"the disk is full\); free some space, then --resume"),
        whole_folder(tmp_path / "state", advice="free some space, then --resume"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")


def stranger(folder):
    """Somebody's own folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "thesis.txt").write_text("years of work")
    return folder


def places(tmp_path):
    """Folders that no command may replace."""
    (tmp_path / "link").symlink_to(stranger(tmp_path / "target"))
    (tmp_path / "file").write_text("a file")
    return [
        Path("/"),
        Path.home(),
        Path(),
        Path(".."),
        stranger(tmp_path / "project"),
        tmp_path,
        tmp_path / "link",
        tmp_path / "file",
    ]


def test_only_a_folder_of_the_same_command_is_replaced(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(stranger(tmp_path / "home")))
    monkeypatch.chdir(stranger(tmp_path / "here" / "below"))
    stranger(tmp_path / "here")
    for place in places(tmp_path):
        for overwrite in (False, True):
            with pytest.raises(UserError, match="--output: ") as caught:
                check_folder(place, "emt merge", overwrite=overwrite)
            assert "\n" not in str(caught.value)
    other = tmp_path / "other"
    with made_folder(other, "emt demo", overwrite=False) as partial:
        (partial / "report.html").touch()
    with pytest.raises(UserError, match="was not made by emt merge"):
        check_folder(other, "emt merge", overwrite=True)
    with pytest.raises(UserError, match="is not empty"):
        check_folder(other, "emt demo", overwrite=False)
    check_folder(other, "emt demo", overwrite=True)


def test_of_our_own_folder_only_what_we_wrote_is_replaced(tmp_path):
    folder = tmp_path / "out"
    with made_folder(folder, "emt merge", overwrite=False) as partial:
        (partial / "config[1].json").touch()
        (partial / "shards").mkdir()
        (partial / "shards" / "1").touch()
    (folder / "notes.txt").write_text("mine")
    with made_folder(folder, "emt merge", overwrite=True) as partial:
        (partial / "new.json").touch()
    assert names(folder) == [MARKER, "new.json", "notes.txt"]
    clear(folder, "emt demo")
    assert names(folder) == [MARKER, "new.json", "notes.txt"]
    clear(folder, "emt merge")
    assert names(folder) == ["notes.txt"]


@pytest.mark.parametrize("text", ["", "[]", "{", '{"made_by": "emt merge"}', '{"made_by": "emt merge", "names": 3}'])
def test_a_marker_that_says_nothing_is_none(tmp_path, text):
    (tmp_path / MARKER).write_text(text)
    assert names_made(tmp_path, "emt merge") is None


def test_a_marker_cannot_reach_outside(tmp_path):
    folder, outside = tmp_path / "out", stranger(tmp_path / "outside")
    folder.mkdir()
    mark(folder, "emt merge", ["../outside", "../*", str(outside), "..", "."])
    clear(folder, "emt merge")
    assert names(outside) == ["thesis.txt"]
