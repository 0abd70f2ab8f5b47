"""Runs calls in daemon threads, a limited number at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

ResultT = TypeVar("ResultT")


class Workers(Generic[ResultT]):
    """A pool of at most `count` daemon threads, started as calls come in.

    Unlike `concurrent.futures.ThreadPoolExecutor`, it does not make the interpreter wait at exit for calls under way:
    after Ctrl-C a server that hangs would hold the process for minutes.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._started = 0
        self._queue: SimpleQueue[tuple[Future[ResultT], Callable[[], ResultT]] | None] = SimpleQueue()

    def submit(self, call: Callable[[], ResultT]) -> Future[ResultT]:
        """Queue a call and return its future; not safe to call from two threads at once."""
        future: Future[ResultT] = Future()
        self._queue.put((future, call))
        if self._started < self._count:
            self._started += 1
            Thread(target=self._work, name="judge", daemon=True).start()
        return future

    def stop(self) -> None:
        """Cancel what is queued; each thread ends after its current call, which nobody waits for."""
        while True:
            try:
                queued = self._queue.get_nowait()
            except Empty:
                break
            if queued is not None:
                # Cancelling wakes whoever waits for the result.
                queued[0].cancel()
        for _ in range(self._started):
            self._queue.put(None)

    def _work(self) -> None:
        while (queued := self._queue.get()) is not None:
            future, call = queued
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001, handed to whoever waits
                future.set_exception(error)
