"""Share independent jobs among processes of one thread each, and count them on a terminal."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.processes import THREADS, cores, exit_with_parent, interrupted_once

if TYPE_CHECKING:  # the modules of processes take long to load, and judging a claim starts none
    from concurrent.futures import Executor

T = TypeVar("T")

FEW = 8
"""Up to so many jobs are not worth starting a process for."""


@contextmanager
def workers(processes: int | None, jobs: int) -> "Iterator[Executor | None]":
    """Start processes for `map_unordered`, or None where this process does the work itself.

    By default as many as there are cores, or 1, this process alone, for up to `FEW` jobs. One that
    is killed raises LoraRefError.
    """
    if processes is None:
        processes = 1 if jobs <= FEW else cores()
    processes = min(as_count("processes in study", processes), jobs)
    with interrupted_once():
        if processes <= 1:
            yield None
            return
        with _pool(processes) as pool:
            yield pool


@contextmanager
def _pool(processes: int) -> "Iterator[Executor]":
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool
    from multiprocessing import Pipe, get_context

    theirs, ours = Pipe(duplex=False)  # nobody else holds ours, so that it ends with this process
    spawn = get_context("spawn")  # not forked: a library reads its threads when it is loaded
    pool = ProcessPoolExecutor(
        processes, spawn, initializer=exit_with_parent, initargs=(theirs.recv,)
    )
    with _one_thread(), theirs, ours, pool:
        try:
            yield pool
        except BaseException as error:
            ours.close()  # what is under way is given up, or the end of it would be waited for
            if not isinstance(error, BrokenProcessPool):
                raise
            raise LoraRefError(
                "a process of the study ended before its run, perhaps for want of memory; "
                f"expected {processes} that stay"
            ) from None


def map_unordered(
    work: Callable[..., T],
    jobs: Sequence[tuple[Any, ...]],
    pool: "Executor | None",
    progress: str | None = None,
) -> Iterator[T]:
    """Yield ``work(*job)`` for every job as it finishes, in any order.

    `work` is a function of a module, so that another process can import it. What `progress` names
    is counted on stderr, if that is a terminal.
    """
    if pool is None:
        results = (work(*job) for job in jobs)
    else:
        from concurrent.futures import as_completed

        futures = [pool.submit(work, *job) for job in jobs]
        results = (future.result() for future in as_completed(futures))
    for done, result in enumerate(results, start=1):
        if progress is not None and sys.stderr.isatty():
            end = "\n" if done == len(jobs) else ""
            print(f"\r{progress}: {done} of {len(jobs)}", end=end, file=sys.stderr, flush=True)
        yield result


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let processes that start meanwhile use one thread each, whatever NumPy stands on."""
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
