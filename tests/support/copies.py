"""Writes small copies of the data sets, in the formats that people have them in."""

from __future__ import annotations

import gzip
import io
import json
import struct
import tarfile
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

import emt_tasks.datasets.prepare


def prepare(name, source, output, **options):
    """Prepare, and return the files and what was said."""
    console = Console(file=io.StringIO(), width=400)
    files = emt_tasks.datasets.prepare.prepare(name, Path(source), Path(output), console=console, **options)
    return files, console.file.getvalue()


def rows(path):
    """The rows as they are stored, images undecoded."""
    return pq.read_table(path).to_pylist()


def pixels(stored):
    with Image.open(io.BytesIO(stored["bytes"])) as image:
        return np.asarray(image)


def load(path):
    """The data set as the tasks load it."""
    import datasets

    return datasets.load_dataset("parquet", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def write_image(path, seed=0, size=(8, 6), kind=None):
    """Write a picture of (width, height) and return its bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise(size[1], size[0], 3, seed=seed)).save(path, format=kind)
    return path.read_bytes()


def write_idx(path, array):
    """Write unsigned bytes in IDX format: big-endian header, then the values in C order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    data = header + array.tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def write_mnist(folder, split, images, labels, ending="-idx{}-ubyte"):
    prefix = {"train": "train", "test": "t10k"}[split]
    write_idx(folder / f"{prefix}-images{ending.format(3)}", images)
    write_idx(folder / f"{prefix}-labels{ending.format(1)}", np.asarray(labels, dtype=np.uint8))


def python2_pickle(value):
    """Pickle as Python 2 and NumPy 1 did, protocol 2: strings are bytes, a dtype's flags are 0 and 1."""
    return b"\x80\x02" + _opcodes(value) + b"."


def _opcodes(value):
    if isinstance(value, bytes):
        return b"T" + struct.pack("<i", len(value)) + value
    if isinstance(value, int):
        return b"J" + struct.pack("<i", value)
    if isinstance(value, list):
        return b"](" + b"".join(map(_opcodes, value)) + b"e"
    if isinstance(value, dict):
        return b"}(" + b"".join(_opcodes(key) + _opcodes(item) for key, item in value.items()) + b"u"
    assert isinstance(value, np.ndarray)
    new = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + _opcodes(0) + b"\x85" + _opcodes(b"b") + b"\x87R"
    shape = b"(" + b"".join(map(_opcodes, value.shape)) + b"t"
    dtype = b"cnumpy\ndtype\n" + _opcodes(b"u1") + _opcodes(0) + _opcodes(1) + b"\x87R"
    dtype += b"(" + _opcodes(3) + _opcodes(b"|") + b"NNN" + _opcodes(-1) + _opcodes(-1) + _opcodes(0) + b"tb"
    return new + b"(" + _opcodes(1) + shape + dtype + b"\x89" + _opcodes(value.tobytes()) + b"tb"


def write_tar(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))


def write_lines(path, items):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
