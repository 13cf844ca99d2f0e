"""Share independent jobs among processes of one thread each, and count them on a terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lora_ref.arrays import as_count

if TYPE_CHECKING:  # the modules of processes take long to load, and judging a claim starts none
    from concurrent.futures import Executor

T = TypeVar("T")

FEW = 8
"""Up to so many jobs are not worth starting a process for."""

_THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


@contextmanager
def workers(processes: int | None, jobs: int) -> "Iterator[Executor | None]":
    """Start processes for `each`, or None where this process does the work itself.

    Parameters
    ----------
    processes : int, optional
        1 for this process alone; by default as many as there are cores, or 1 for `FEW` jobs.
    jobs : int
        How many there will be.
    """
    if processes is None:
        processes = 1 if jobs <= FEW else len(_cores())
    processes = min(as_count("processes in study", processes), jobs)
    if processes <= 1:
        yield None
        return
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    # spawned, not forked: a library reads the number of its threads when it is loaded
    with _one_thread(), ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        yield pool


def each(
    work: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    pool: "Executor | None",
    progress: str | None = None,
) -> Iterator[T]:
    """Yield ``work(*job)`` for every job as it finishes, in any order.

    Parameters
    ----------
    work : callable
        A function of a module, so that another process can import it.
    jobs : sequence of tuple
        Its arguments.
    pool : Executor, optional
        From `workers`.
    progress : str, optional
        What to count on stderr, if that is a terminal.
    """
    for done, result in enumerate(_results(work, jobs, pool), start=1):
        if progress is not None and sys.stderr.isatty():
            end = "\n" if done == len(jobs) else ""
            print(f"\r{progress}: {done} of {len(jobs)}", end=end, file=sys.stderr, flush=True)
        yield result


def _results(
    work: Callable[..., T], jobs: Iterable[tuple[Any, ...]], pool: "Executor | None"
) -> Iterator[T]:
    if pool is None:
        for job in jobs:
            yield work(*job)
        return
    from concurrent.futures import as_completed

    futures = [pool.submit(work, *job) for job in jobs]
    try:
        for future in as_completed(futures):
            yield future.result()
    finally:  # also when whoever reads stops early, or one of them raised
        for future in futures:
            future.cancel()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile use one thread each, whatever NumPy stands on."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _cores() -> set[int]:
    """Return the cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))
