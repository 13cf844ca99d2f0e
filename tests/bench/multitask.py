"""Eight adapters in one batch, a row each its own, over the bare frozen layer.

The floor is what no adapter saves: ``x @ W0.T``, and ``grad_y @ W0`` on the way back, into arrays
that are there already. Contenders of one row return the same y; one that does not is not timed.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.multitask import MultiTaskLoRA
from tests.bench.contest import Timing, contest
from tests.bench.row import Row, Target

T, R, ALPHA = 8, 8, 16.0

FLOOR = "bare matmul (the floor)"
LAYER = "MultiTaskLoRA, rows by task"
IN_ORDER = "the same, rows in order"
SUM = "MultiTaskLoRA, the sum of all"
LOOP = "loop over tasks"
EINSUM = "einsum, factors gathered"

Call = Callable[[], Sequence[Any]]


def make(name: str, d: int, n: int, ways: int) -> Call:
    """Return the call of one contender: d features in and out, n rows, and back again or not."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    W0, A, B = draw(d, d) / d**0.5, draw(T, R, d), draw(T, d, R)
    x, grad_y, task = draw(n, d), draw(n, d), rng.integers(0, T, n)
    layer = MultiTaskLoRA(tuple(LoRALinear(W0, A[t], B[t], ALPHA) for t in range(T)))
    y, grad_x = np.empty_like(x), np.empty_like(x)

    def floor() -> Sequence[Any]:
        np.matmul(x, W0.T, out=y)
        return (y,) if ways == 1 else (y, np.matmul(grad_y, W0, out=grad_x))

    def passes(**keywords: Any) -> Sequence[Any]:
        y, cache = layer.forward(x, **keywords)
        if ways == 1:
            return (y,)
        grad_x, grads = layer.backward(grad_y, cache)
        return y, grad_x, *grads.values()

    def by_loop() -> Sequence[Any]:
        y = x @ W0.T
        for t in range(T):
            here = task == t
            y[here] += (ALPHA / R) * (x[here] @ A[t].T @ B[t].T)
        return (y,)

    def by_einsum() -> Sequence[Any]:
        h = np.einsum("ni,nri->nr", x, A[task])
        return (x @ W0.T + (ALPHA / R) * np.einsum("nr,nor->no", h, B[task]),)

    in_order = np.sort(task)
    contenders: dict[str, Call] = {
        FLOOR: floor,
        LAYER: lambda: passes(task=task),
        IN_ORDER: lambda: passes(task=in_order),
        SUM: lambda: passes(),
        LOOP: by_loop,
        EINSUM: by_einsum,
    }
    return contenders[name]


def same_results(timings: dict[str, Timing], *names: str) -> None:
    """Raise RuntimeError unless the contenders return a y of the same norm as the layer."""
    for name in names:
        if not np.allclose(timings[name].norms, timings[LAYER].norms, rtol=1e-3):
            raise RuntimeError(
                f"{name} computes something else than {LAYER}: {timings[name].norms}"
            )


def rows() -> Iterator[Row]:
    """Yield the row of the forward pass and the one of both passes."""
    d, n = 1024, 512
    measured = f"{T} adapters of r = {R}, d = {d}, n = {n}, float32; over the floor"

    timings = contest(make, [FLOOR, LAYER, IN_ORDER, SUM, LOOP, EINSUM], d, n, 1, rounds=10)
    same_results(timings, LOOP, EINSUM)
    yield _row("multitask", f"forward, {measured}", timings, (Target(LAYER, "<=", 1.25),))

    timings = contest(make, [FLOOR, LAYER, IN_ORDER, SUM], d, n, 2, rounds=10)
    yield _row("multitask-both-ways", f"forward + backward, {measured}", timings, ())


def _row(name: str, measured: str, timings: dict[str, Timing], targets: tuple[Target, ...]) -> Row:
    seconds = {contender: timing.seconds for contender, timing in timings.items()}
    figures = {contender: time / seconds[FLOOR] for contender, time in seconds.items()}
    return Row(name, measured, figures, targets, seconds=seconds)
