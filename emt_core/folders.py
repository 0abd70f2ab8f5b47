"""Folders that appear whole or not at all, and of which a later command replaces only what we wrote.

A folder that one of our commands made holds a marker file: which command it was, and the names of what it wrote there.
Only with that marker does `--overwrite` remove anything, and only those names.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

from emt_core.errors import UserError, one_line

MARKER = ".emt-made.json"

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (*_FULL, errno.EFBIG, errno.EROFS, errno.EIO)


def user_cache() -> Path:
    """Return this project's folder for what can be made again: under $XDG_CACHE_HOME, by default ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "emt-eval"


@contextmanager
def whole_folder(
    folder: Path, replaces: Sequence[str] = ("*",), *, advice: str = "free some space and run it again"
) -> Iterator[Path]:
    """Yield a folder to write to; it replaces `folder` at the end, and is removed if anything fails.

    Args:
        folder: the destination.
        replaces: patterns of the names to remove from an existing `folder`; all others stay.
        advice: what the message tells the user to do if writing fails.

    Raises:
        UserError: the disk is full, or the folder cannot be written to.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _replace(folder, partial, replaces)
    except Exception as error:
        reason = _reason(error, (folder, partial))
        if reason is None:
            raise
        raise UserError(f"{folder} cannot be written ({reason}); {advice}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def check_folder(
    folder: Path, made_by: str, *, overwrite: bool, option: str = "--output", otherwise: str = "--overwrite"
) -> None:
    """Make sure that a command may write to a folder: it is new or empty, or what is there was made by that command.

    Args:
        folder: the destination.
        made_by: the command, such as "emt merge".
        overwrite: whether the user agreed to replace what that command made there.
        option: what the user gave the folder by.
        otherwise: the options that let a command write to a folder that is not empty.

    Raises:
        UserError: it may not.
    """
    if folder.is_symlink() or folder.exists():
        if folder.is_symlink() or not folder.is_dir():
            kind = "a symbolic link" if folder.is_symlink() else "a file"
            raise UserError(f"{option}: {folder} is {kind}; expected a folder, or a name that is free")
        if not any(folder.iterdir()):
            return
        if not overwrite:
            raise UserError(f"{option}: {folder} is not empty; choose another folder or add {otherwise}")
        if names_made(folder, made_by) is None:
            raise UserError(
                f"{option}: {folder} was not made by {made_by}, so it is not replaced; choose another folder"
            )


def mark(folder: Path, made_by: str, names: Iterable[str] | None = None) -> None:
    """Write the marker of the command that makes this folder.

    `names` are patterns of what it writes there, now or later; by default the names of all that is there.
    """
    found = sorted(names if names is not None else (path.name for path in folder.iterdir()))
    text = json.dumps({"made_by": made_by, "names": [name for name in found if name != MARKER]}, indent=1)
    (folder / MARKER).write_text(text + "\n", encoding="utf-8")


def names_made(folder: Path, made_by: str) -> list[str] | None:
    """Return the patterns of what a command made in a folder, its marker among them; None if it made none of it."""
    try:
        found = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        names = [name for name in found["names"] if isinstance(name, str)]
        return [*names, MARKER] if found["made_by"] == made_by else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def clear(folder: Path, made_by: str) -> None:
    """Remove from a folder what a command made there; nothing without its marker."""
    _remove(folder, names_made(folder, made_by) or ())


@contextmanager
def made_folder(
    folder: Path,
    made_by: str,
    *,
    overwrite: bool,
    option: str = "--output",
    advice: str = "free some space and run it again",
) -> Iterator[Path]:
    """Yield a folder to write to, as `whole_folder` does; of an existing one, only what the command made is replaced.

    Raises:
        UserError: as `check_folder` and `whole_folder` say.
    """
    check_folder(folder, made_by, overwrite=overwrite, option=option)
    with whole_folder(folder, names_made(folder, made_by) or (), advice=advice) as partial:
        yield partial
        mark(partial, made_by)


def replace_made(folder: Path, new: Path, made_by: str) -> None:
    """Put a finished folder in the place of one that the same command made, or of none."""
    _replace(folder, new, names_made(folder, made_by) or ())


def _remove(folder: Path, patterns: Iterable[str]) -> None:
    chosen = tuple(patterns)
    for old in list(folder.iterdir()):
        if any(old.name == pattern or fnmatchcase(old.name, pattern) for pattern in chosen):
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()


def _replace(folder: Path, partial: Path, replaces: Sequence[str]) -> None:
    if folder.is_dir():
        _remove(folder, replaces)
        if any(folder.iterdir()):
            for new in partial.iterdir():
                new.replace(folder / new.name)
            return
        folder.rmdir()
    partial.rename(folder)


def _reason(error: Exception, folders: Sequence[Path]) -> str | None:
    """Return why writing failed, or None if the error is of another kind. Not all writers raise an OSError."""
    if getattr(error, "errno", None) in _FULL or "No space left" in str(error):
        return "the disk is full"
    if not isinstance(error, OSError):
        # safetensors writes in Rust, which names the system's error only in its message.
        return one_line(error) if "(os error " in str(error) else None
    inside = any(str(error.filename or "").startswith(str(folder)) for folder in folders)
    return one_line(error) if inside or error.errno in _UNWRITABLE else None
