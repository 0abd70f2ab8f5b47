"""How many prompts go through a model together: a fixed number, or as many as its memory has room for.

`auto` begins with a few, measures what each takes, and doubles while that many more fit. Where the memory runs out all
the same, it goes on with half as many; what is finished stays so.
"""

from __future__ import annotations

import gc
import resource
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import psutil
import torch

from emt_core.errors import UserError
from emt_tasks.models.loading import AUTO

Made = TypeVar("Made")

START = 8

MOST = {"cpu": 32}
"""Prompts together by the kind of device, beyond which nothing is gained: a CPU's cores are busy long before."""

_MOST_ELSEWHERE = 256

ROOM = 0.7
"""The part of the free memory that a batch may take: prompts differ in length."""


class BatchSize:
    """The number of prompts of the next batch, `now`.

    Args:
        asked: a number, or `auto`.

    Raises:
        UserError: it is neither.
    """

    def __init__(self, asked: int | str) -> None:
        self.grows = str(asked) == AUTO
        if not self.grows and not (str(asked).isdecimal() and int(asked) > 0):
            raise UserError(f"batch_size={asked}: expected an integer of at least 1, or {AUTO}")
        self.now = START if self.grows else int(asked)
        self._ceiling = sys.maxsize

    def tried(self, count: int, device: torch.device, run: Callable[[], Made]) -> Made | None:
        """Return what `run` makes of a batch of `count` prompts; None if that takes too much memory, and less may not.

        Raises:
            torch.cuda.OutOfMemoryError: the size is fixed, or a single prompt takes too much.
        """
        if not self.grows:
            return run()
        memory = _Memory(device)
        try:
            found = run()
        except RuntimeError as error:
            if not _is_out_of_memory(error) or self.now == count == 1:
                raise
        else:
            self._grow(count, memory)
            return found
        # Here, since the exception has held on to all tensors of the pass.
        self._ceiling = max(1, min(self._ceiling, count * 3 // 4))
        self.now = max(1, min(self.now, count) // 2)
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _grow(self, count: int, memory: _Memory) -> None:
        if count < self.now:  # the rest of a task says little
            return
        each = memory.taken() / count
        fits = int(ROOM * memory.free / each) if each else 2 * count
        most = MOST.get(memory.device.type, _MOST_ELSEWHERE)
        self.now = max(self.now, min(2 * count, fits, self._ceiling, most))


class _Memory:
    """What a device has free, in bytes, and from then on takes at its peak."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
            self._before = torch.cuda.memory_allocated(device)
            self.free = torch.cuda.mem_get_info(device)[0] + torch.cuda.memory_reserved(device) - self._before
            return
        with suppress(OSError):  # Linux: the peak is that since now
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        self._before = psutil.Process().memory_info().rss
        self.free = psutil.virtual_memory().available

    def taken(self) -> int:
        """Return how many bytes more were taken at most; at least none."""
        if self.device.type == "cuda":
            return max(0, torch.cuda.max_memory_allocated(self.device) - self._before)
        return max(0, _peak() - self._before)


def _peak() -> int:
    """Return the most bytes that this process has had, on Linux since it was last asked to forget."""
    with suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether a GPU's memory, or a CPU's, has run out."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)
