"""What a pass allocates beyond what was there, as tracemalloc sees it."""

from collections.abc import Iterator

from tests.bench import linear
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
