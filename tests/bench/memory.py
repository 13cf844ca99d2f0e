"""Memory: what a pass allocates, as tracemalloc sees it, and what steps take from the system."""

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from typing import Any

from tests.bench import linear
from tests.bench.contest import Make
from tests.bench.row import Row, Target
from tests.fixtures.memory import peak_of_warm_call


def peak(name: str, d: int, n: int) -> int:
    """Return the most bytes that a warm call of a contender holds at once."""
    return peak_of_warm_call(linear.make(name, d, n))


def rows() -> Iterator[Row]:
    """Yield the row of the memory: the plan, the layer, and the naive form."""
    d, n = 1024, 512
    activation = 4 * n * d
    names = linear.PLAN, linear.LAYER, linear.TEXTBOOK, linear.NAIVE
    yield Row(
        "memory",
        f"peak of a warm forward + backward over one activation (n x d), d = {d}, n = {n}, float32",
        {name: peak(name, d, n) / activation for name in names},
        (Target(linear.PLAN, "<", 0.1),),
    )


def growths(make: Make, names: Sequence[str], *sizes: int) -> dict[str, float]:
    """Return by how many MB the calls of each contender raise the peak of a process of its own.

    Empty where the system does not tell.
    """
    if not find_spec("resource"):  # not on Windows
        return {}
    fresh: Any = {"max_workers": 1, "mp_context": multiprocessing.get_context("spawn")}
    found = {}
    for name in names:
        with ProcessPoolExecutor(**fresh) as process:
            found[name] = process.submit(_growth, make, name, sizes).result()
    return found


def _growth(make: Make, name: str, sizes: tuple[int, ...]) -> float:
    import resource

    call = make(name, *sizes)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(4):
        call()
    kilobyte = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * kilobyte / 1e6
