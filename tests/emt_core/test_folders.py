"""A folder is written whole or stays as it was."""

from __future__ import annotations

import errno

import pytest

from emt_core.errors import UserError
from emt_core.folders import whole_folder


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
