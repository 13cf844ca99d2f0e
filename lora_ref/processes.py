"""Cores and threads; child processes: interruptions, and an end together with their parent."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
"""Environment variables from which the libraries below NumPy read their number of threads."""


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def one_thread_in_products() -> None:
    """Let BLAS use one thread for a product of matrices, unless the environment names a number.

    Call it before NumPy is loaded; later it does nothing. It is for programs with threads or
    processes of their own, which the threads of BLAS would compete with for the cores.
    """
    for name in THREADS:
        os.environ.setdefault(name, "1")


@contextmanager
def interrupted_once() -> Iterator[None]:
    """Raise KeyboardInterrupt for the first of Ctrl-C, SIGTERM and SIGHUP, and ignore the others.

    A second interruption would stop the clean-up that ends the child processes. Only the main
    thread receives signals: in another one, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def interrupt(number: int, frame: "FrameType | None") -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    names = [name for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {getattr(signal, name): signal.getsignal(getattr(signal, name)) for name in names}
    ours = [one for one, handler in before.items() if handler not in (None, signal.SIG_IGN)]
    try:
        for one in ours:
            signal.signal(one, interrupt)
        yield
    finally:
        for one in ours:
            signal.signal(one, before[one])


def exit_with_parent(read: Callable[[], object]) -> None:
    """End this process as soon as its parent ends, even if the parent is killed.

    Parameters
    ----------
    read : callable
        Blocks on a pipe whose other end the parent alone holds. The system closes that end with
        the parent, and the read returns, or raises EOFError.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle

    def watch() -> None:
        with suppress(EOFError, OSError):
            read()
        if sys.platform != "win32" and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)  # and the processes that this one has started
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
