"""Processes that are started here: one thread each, and none of them outlives who started it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the modules of processes take long to load, and judging a claim starts none
    from multiprocessing.connection import Connection
    from types import FrameType

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""What the libraries below NumPy read the number of their threads from."""


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Take the first request to end as an interruption, and pass over those that follow it.

    Requests are Ctrl-C, SIGTERM and SIGHUP. A second one would interrupt the ending of the
    processes, and leave some of them. Only the main thread hears signals: another one does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = False

    def hear(number: int, frame: "FrameType | None") -> None:
        nonlocal heard
        if not heard:
            heard = True
            raise KeyboardInterrupt

    names = ("SIGINT", "SIGTERM", "SIGHUP")
    asked = [getattr(signal, name) for name in names if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in asked}
    ours = [one for one, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    try:
        for one in ours:
            signal.signal(one, hear)
        yield
    finally:
        for one in ours:
            signal.signal(one, before[one])


def end_with(line: "Connection") -> None:
    """End this process as soon as the other end of a pipe is closed, by whoever or whatever.

    The system closes it when the process that holds it ends, also where that is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one that started this one is interrupted

    def watch() -> None:
        line.poll(None)  # nothing is ever sent
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
