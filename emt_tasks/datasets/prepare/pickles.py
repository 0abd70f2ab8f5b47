"""Unpickles what the CIFAR archives contain, NumPy arrays and plain values, and nothing else."""

from __future__ import annotations

import codecs
import io
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from emt_core.errors import UserError, one_line


def load_arrays(data: bytes, path: Path) -> dict[str, Any]:
    """Unpickle a dict of arrays, lists, strings and numbers; its keys come back as str.

    A pickle may name any callable of any module and have it called on loading; this one calls only what rebuilds
    an array. The files were written by Python 2, so that strings are bytes.

    Raises:
        UserError: the file is damaged, or calls anything else.
    """
    try:
        content = _ArrayUnpickler(io.BytesIO(data), encoding="bytes").load()
    except pickle.UnpicklingError as error:
        raise UserError(f"{path}: expected a CIFAR batch, found a pickle with {one_line(error)}") from error
    except (EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: expected a CIFAR batch, found a damaged pickle: {one_line(error)}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected a CIFAR batch (a dict), found a pickled {type(content).__name__}")
    return {_text(key): value for key, value in content.items()}


def _text(key: object) -> str:
    return key.decode("latin-1") if isinstance(key, bytes) else str(key)


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        allowed = _array_builders().get((module, name))
        if allowed is None:
            raise pickle.UnpicklingError(f"{module}.{name} in it, which no array needs")
        return allowed


@cache
def _array_builders() -> dict[tuple[str, str], Callable[..., Any]]:
    """What pickled arrays call, under the names of NumPy 1 and 2."""
    empty = np.empty(0)
    reconstruct: Any = empty.__reduce__()[0]
    from_buffer: Any = empty.__reduce_ex__(5)[0]

    def dtype(spec: str | bytes, align: object = False, copy: object = False) -> np.dtype[Any]:
        # Python 2 wrote 0 and 1 for the flags, which NumPy 2.4 warns about.
        return np.dtype(spec.decode("ascii") if isinstance(spec, bytes) else spec, align=bool(align), copy=bool(copy))

    builders: dict[tuple[str, str], Callable[..., Any]] = {
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): dtype,
        ("_codecs", "encode"): codecs.encode,
    }
    for core in ("numpy.core", "numpy._core"):
        builders[f"{core}.multiarray", "_reconstruct"] = reconstruct
        builders[f"{core}.numeric", "_frombuffer"] = from_buffer
    return builders
