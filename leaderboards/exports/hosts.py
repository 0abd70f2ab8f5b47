"""A static host: a folder that fsspec writes to (S3, Google Cloud, Azure, SFTP, FTP, a disk, ...), for a leaderboard.

Credentials are the storage's own business, and never printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import url_to_fs

from emt_core.errors import UserError, one_line
from leaderboards.exports.publish import INDEX, REPORTS, SITE_MARK


@dataclass(frozen=True, slots=True)
class Host:
    """A folder on a storage, with the names of the leaderboard's files that it had when we looked.

    `shown` is its address without a password.
    """

    shown: str
    storage: Any
    root: str
    names: Sequence[str] = ()
    card: None = None

    def __str__(self) -> str:
        return self.shown

    def push(self, files: Mapping[str, bytes], stale: Sequence[str] = ()) -> str:
        """Write the files, remove the stale ones, and return the page's address on the storage.

        The page comes last, so that none links to a report that is not there yet.

        Raises:
            UserError: the storage refuses.
        """
        with _told(self.shown), TemporaryDirectory() as scratch:
            for path in sorted(files, key=lambda path: (path == INDEX, path)):
                # From a file: then the storages that serve pages tell their type by the name.
                local = Path(scratch) / Path(path).name
                local.write_bytes(files[path])
                target = f"{self.root}/{path}"
                self.storage.makedirs(target.rpartition("/")[0], exist_ok=True)
                self.storage.put_file(str(local), target)
            for path in stale:
                self.storage.rm_file(f"{self.root}/{path}")
        return f"{self.shown.rstrip('/')}/{INDEX}"


def is_address(text: str) -> bool:
    """Return whether a text names a storage: `PROTOCOL://...`."""
    return "://" in text


def open_host(address: str) -> Host:
    """Return the folder at an address, such as `s3://bucket/forgetting`, with what it has.

    Raises:
        UserError: fsspec knows no such protocol or its package is not installed; there is no such bucket; the folder
            cannot be read, or has a page that is not a leaderboard of ours.
    """
    shown = _without_password(address)
    with _told(shown):
        storage, path = url_to_fs(address, skip_instance_cache=True, use_listings_cache=False)
        root = path.rstrip("/")
        # Storages with buckets begin with theirs, and would make one of a misspelt name.
        bucket = root.partition("/")[0]
        if bucket and not storage.exists(bucket):
            raise UserError(f"--to {shown}: there is no {bucket} that you may see; make it first")
        if not storage.exists(f"{root}/{INDEX}"):
            return Host(shown, storage, root)
        if SITE_MARK.encode() not in storage.cat_file(f"{root}/{INDEX}"):
            raise UserError(f"--to {shown}: its {INDEX} was not made by emt-eval, so it is not replaced")
        reports = f"{root}/{REPORTS}"
        found = storage.ls(reports, detail=False) if storage.exists(reports) else []
    return Host(shown, storage, root, [INDEX, *(f"{REPORTS}/{path.rpartition('/')[2]}" for path in found)])


def _without_password(address: str) -> str:
    """Return an address with neither user nor password, nor what comes after `?`."""
    parts = urlsplit(address)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


@contextmanager
def _told(shown: str) -> Iterator[None]:
    """Turn what a storage raises into one line; each raises what it likes."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kind = "" if isinstance(error, ImportError) else f"{type(error).__name__}: "
        raise UserError(f"--to {shown}: {kind}{one_line(error)}") from error
