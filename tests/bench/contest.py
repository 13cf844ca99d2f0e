"""Contenders timed side by side, each in a fresh process of its own.

In one process they would disturb each other. How soon the C library hands freed memory back, and so
whether a new array costs page faults, depends on the largest array freed before, whoever freed
it; and the idle threads of one library go on spinning, for a while, on the cores of the next.
"""

import multiprocessing
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

import numpy as np

REST = 0.06
"""Seconds before each turn, until the threads of the contender before are asleep."""


class Timing(NamedTuple):
    """One contender."""

    seconds: float  # the best of all its calls
    norms: list[float]  # of the arrays that a call returns: do the contenders compute the same?


Make = Callable[..., Callable[[], Sequence[Any]]]
"""Maps the name of a contender and the sizes to the call that is timed."""


def contest(
    make: Make, names: Sequence[str], *sizes: int, rounds: int = 12, turn: float = 0.08
) -> dict[str, Timing]:
    """Time each contender in turn, `rounds` turns of `turn` seconds, and keep the best of each.

    The best and not the mean, since whatever else the machine does only ever adds. Before every
    turn one call goes untimed: it wakes the threads and fills the caches.

    Parameters
    ----------
    make : callable
        A function of a module, so that a new process can import it.
    names : sequence of str
        The contenders.
    *sizes : int
        Handed on to `make`.
    rounds : int
        Turns of each contender.
    turn : float
        Seconds after which no further call begins; a turn has one call at least.

    Raises
    ------
    RuntimeError
        If a contender ended early; its own error is on stderr.
    """
    fresh = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        ends: dict[str, Connection] = {}
        for name in names:
            ends[name], theirs = fresh.Pipe()
            process = fresh.Process(target=_serve, args=(theirs, make, name, sizes), daemon=True)
            process.start()
            theirs.close()  # so that the pipe breaks when the process ends
            stack.callback(process.join)
            stack.callback(ends[name].close)
        norms = {name: _hear(name, end) for name, end in ends.items()}
        best = dict.fromkeys(names, float("inf"))
        for _ in range(rounds):
            for name, end in ends.items():
                time.sleep(REST)
                end.send(turn)
                best[name] = min(best[name], _hear(name, end))
    return {name: Timing(best[name], norms[name]) for name in names}


def _hear(name: str, end: Connection) -> Any:
    try:
        return end.recv()
    except EOFError:
        raise RuntimeError(f"the contender {name!r} ended early") from None


def _serve(end: Connection, make: Make, name: str, sizes: tuple[int, ...]) -> None:
    """Run in the process of a contender: time calls for as long as asked, until nobody asks."""
    call = make(name, *sizes)
    end.send([float(np.linalg.norm(np.asarray(result, float))) for result in call()])
    while True:
        try:
            turn = end.recv()
        except EOFError:
            return
        call()
        best, end_of_turn = float("inf"), time.perf_counter() + turn
        while True:
            start = time.perf_counter()
            call()
            now = time.perf_counter()
            best = min(best, now - start)
            if now > end_of_turn:
                break
        end.send(best)
