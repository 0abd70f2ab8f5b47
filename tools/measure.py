"""Run a command and report how long it took and the peak memory of it and its children.

Run: python -m tools.measure make lint
Exits as the command does; the measurement goes to standard error.
"""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

INTERVAL = 0.5
"""Seconds between two memory readings."""


def resident(process: psutil.Process) -> int:
    """Return the bytes of memory of a process and its descendants; shared memory counts once where that is known."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            memory = one.memory_full_info()
        except psutil.Error:  # it has just ended
            continue
        total += getattr(memory, "pss", memory.rss)
    return total


def main(command: list[str]) -> int:
    """Run the command; returns its exit status."""
    started, peak = time.monotonic(), 0
    running = subprocess.Popen(command)
    process = psutil.Process(running.pid)
    while True:
        try:
            code = running.wait(INTERVAL)
            break
        except subprocess.TimeoutExpired:
            try:
                peak = max(peak, resident(process))
            except psutil.NoSuchProcess:
                continue
        except KeyboardInterrupt:  # the command got it too, and ends as it does
            continue
    seconds = time.monotonic() - started
    print(f"measured: {seconds:.0f} s, {peak / 1e9:.1f} GB of memory at the peak", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
