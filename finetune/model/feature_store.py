"""A bounded store of tensors on disk that several runs share: nothing locks, nothing is lost when a run is killed.

Each process appends to a segment of its own, first the tensors to `NAME.bin`, then their place to `NAME.idx`, and reads
the segments of all. A record that was cut off or damaged is not found, and is then computed again.
"""

from __future__ import annotations

import os
import shutil
import struct
import uuid
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import safetensors.torch
import torch

_RECORD = struct.Struct("<16sQQI")
"""A key, the offset and the length of its tensors, and their checksum."""

_FREE = 0.05
"""The share of the disk that stays free."""


class FeatureStore:
    """Tensors by key, in one folder.

    Args:
        folder: created if it does not exist. Its siblings are other stores, which count towards the limit; those used
            least recently are removed to make room.
        limit: bytes of all stores together.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self._folder, self._limit = folder, limit
        self._places: dict[bytes, tuple[Path, int, int, int]] = {}
        self._read_until: dict[Path, int] = {}
        self._files: dict[Path, int] = {}
        self._name = folder / uuid.uuid4().hex
        self._own: tuple[int, int] | None = None
        self._offset = self._stored = 0
        self._full = False
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder)
        self._others = self._make_room()
        self._refresh()

    def __len__(self) -> int:
        """How many keys are known."""
        return len(self._places)

    def get(self, key: bytes) -> dict[str, torch.Tensor] | None:
        """Return what was stored under a key of 16 bytes, on the CPU; None if nothing was."""
        if key not in self._places:
            self._refresh()  # another process may have stored it
        if key not in self._places:
            return None
        file, offset, length, checksum = self._places[key]
        content = self._pread(file, offset, length)
        if content is None or zlib.crc32(content) != checksum:
            del self._places[key]
            return None
        return dict(safetensors.torch.load(content))

    def put(self, key: bytes, tensors: Mapping[str, torch.Tensor]) -> None:
        """Store contiguous CPU tensors under a key of 16 bytes; nothing happens if the store or the disk is full."""
        if self._full or key in self._places:
            return
        content = safetensors.torch.save(dict(tensors))
        own = (len(content) + self._offset) + _RECORD.size * (self._stored + 1)
        if self._others + own > self._limit or self._disk_is_full(len(content)):
            self._full = True
            return
        try:
            data, index = self._segment()
            _write(data, content)
            checksum = zlib.crc32(content)
            _write(index, _RECORD.pack(key, self._offset, len(content), checksum))
        except OSError:  # the disk is full after all: what is stored stays
            self._full = True
            return
        self._places[key] = (self._name.with_suffix(".bin"), self._offset, len(content), checksum)
        self._offset += len(content)
        self._stored += 1

    def close(self) -> None:
        """Close all files."""
        for descriptor in (*self._files.values(), *(self._own or ())):
            os.close(descriptor)
        self._files, self._own = {}, None

    def _segment(self) -> tuple[int, int]:
        if self._own is None:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            data, index = (os.open(self._name.with_suffix(end), flags, 0o644) for end in (".bin", ".idx"))
            self._own = data, index
        return self._own

    def _refresh(self) -> None:
        """Learn of what was stored since the last time, by this process or others."""
        own = self._name.with_suffix(".idx")
        for index in self._folder.glob("*.idx"):
            known = self._read_until.get(index, 0)
            with suppress(OSError):
                if index == own or index.stat().st_size <= known:
                    continue
                content = index.read_bytes()
                whole = len(content) // _RECORD.size * _RECORD.size
                for key, offset, length, checksum in _RECORD.iter_unpack(content[known:whole]):
                    self._places.setdefault(key, (index.with_suffix(".bin"), offset, length, checksum))
                self._read_until[index] = whole

    def _pread(self, file: Path, offset: int, length: int) -> bytes | None:
        try:
            if file not in self._files:
                self._files[file] = os.open(file, os.O_RDONLY)
            content = os.pread(self._files[file], length, offset)
        except OSError:
            return None
        return content if len(content) == length else None

    def _make_room(self) -> int:
        """Remove the stores used least recently while all are too large; return the bytes of those that stay."""
        stores = sorted((path for path in self._folder.parent.iterdir() if path.is_dir()), key=_used, reverse=True)
        kept = 0
        for store in stores:
            size = sum(file.stat().st_size for file in store.iterdir() if file.is_file())
            if store != self._folder and kept + size > self._limit:
                shutil.rmtree(store, ignore_errors=True)
            else:
                kept += size
        return kept

    def _disk_is_full(self, length: int) -> bool:
        disk = shutil.disk_usage(self._folder)
        return disk.free - length < _FREE * disk.total


def _used(store: Path) -> float:
    try:
        return store.stat().st_mtime
    except OSError:
        return 0.0


def _write(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
