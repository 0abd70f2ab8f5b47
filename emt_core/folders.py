"""Folders that appear whole or not at all."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from emt_core.errors import UserError, one_line

_FULL = (errno.ENOSPC, errno.EDQUOT)
_UNWRITABLE = (*_FULL, errno.EFBIG, errno.EROFS, errno.EIO)


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


def _replace(folder: Path, partial: Path, replaces: Sequence[str]) -> None:
    if folder.is_dir():
        for old in {old for pattern in replaces for old in folder.glob(pattern)}:
            shutil.rmtree(old) if old.is_dir() and not old.is_symlink() else old.unlink()
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
