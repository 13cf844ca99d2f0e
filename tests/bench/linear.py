"""A linear layer, forward and backward: the plan and the layer among other ways to do it.

Every contender returns y, grad_x and the gradients of A and B for the same arrays, in float32; one
that computes something else is not timed. The floor is the frozen layer alone: two products into
arrays that are there already.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from lora_ref.layers import Linear, LoRALinear
from tests.bench.bordered import BorderedPlan
from tests.bench.contest import Timing, contest
from tests.bench.machine import blas_threads
from tests.bench.row import Row, Target

R, ALPHA = 8, 16.0

LARGER = 1 << 22
"""Entries of an array that a contender frees before it starts, where the heap is to be warm."""

FLOOR = "bare matmul (the floor)"
PLAN = "bordered plan"
LAYER = "LoRALinear"
WARM = "LoRALinear, warm heap"
TEXTBOOK = "textbook, fresh temporaries"
NAIVE = "naive W0 + s B A"
PEFT = "PEFT"
LORALIB = "loralib"
FULL = "Linear, full step"
BARE_FULL = "bare matmul, full step"

NOTE = (
    f"{WARM}: the same layer in a process that has freed an array of {LARGER * 4 >> 20} MiB "
    "before. The C library then keeps freed memory; until then it may return it after every pass, "
    "and each new array costs page faults."
)

Call = Callable[[], Sequence[Any]]


def make(name: str, d: int, n: int) -> Call:
    """Return the call of one contender, for d features in and out and n rows."""
    rng = np.random.default_rng(0)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    W0, A, B = draw(d, d) / d**0.5, draw(R, d), draw(d, R)
    arrays = W0, A, B, draw(n, d), draw(n, d)
    if name == WARM:
        np.ones(LARGER, np.float32).sum()  # freed at once
    return CONTENDERS[name](*arrays)


def floor(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    y, grad_x = np.empty_like(grad_y), np.empty_like(x)
    return lambda: (np.matmul(x, W0.T, out=y), np.matmul(grad_y, W0, out=grad_x))


def bare_full(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    y, grad_x, grad_W = np.empty_like(grad_y), np.empty_like(x), np.empty_like(W0)
    return lambda: (
        np.matmul(x, W0.T, out=y),
        np.matmul(grad_y, W0, out=grad_x),
        np.matmul(grad_y.T, x, out=grad_W),
    )


def plan(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    made = BorderedPlan(LoRALinear(W0, A, B, ALPHA), len(x))

    def call() -> Sequence[Any]:
        y = made.forward(x)
        grad_x, grads = made.backward(grad_y)
        return y, grad_x, grads["A"], grads["B"]

    return call


def layer(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    made = LoRALinear(W0, A, B, ALPHA)

    def call() -> Sequence[Any]:
        y, cache = made.forward(x)
        grad_x, grads = made.backward(grad_y, cache)
        return y, grad_x, grads["A"], grads["B"]

    return call


def full(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    made = Linear(W0)

    def call() -> Sequence[Any]:
        y, cache = made.forward(x)
        grad_x, grads = made.backward(grad_y, cache)
        return y, grad_x, grads["W"]

    return call


def textbook(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    s = ALPHA / R

    def call() -> Sequence[Any]:
        y = x @ W0.T + s * (x @ A.T) @ B.T
        grad_x = grad_y @ W0 + s * (grad_y @ B) @ A
        return y, grad_x, s * (grad_y @ B).T @ x, s * grad_y.T @ (x @ A.T)

    return call


def naive(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    s = ALPHA / R

    def call() -> Sequence[Any]:
        W = W0 + s * B @ A
        y, grad_x, grad_W = x @ W.T, grad_y @ W, grad_y.T @ x
        return y, grad_x, s * B.T @ grad_W, s * grad_W @ A.T

    return call


def peft(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    import torch
    from peft import LoraConfig, get_peft_model

    base = torch.nn.Sequential(torch.nn.Linear(W0.shape[1], W0.shape[0], bias=False))
    config = LoraConfig(r=R, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=["0"])
    module: Any = get_peft_model(base, config).base_model.model[0]  # the layer without its wrappers
    weights = (
        module.base_layer.weight,
        module.lora_A["default"].weight,
        module.lora_B["default"].weight,
    )
    return _torch(module, weights, W0, A, B, x, grad_y)


def loralib(W0: Any, A: Any, B: Any, x: Any, grad_y: Any) -> Call:
    import loralib as library

    module = library.Linear(W0.shape[1], W0.shape[0], r=R, lora_alpha=ALPHA, bias=False)
    return _torch(module, (module.weight, module.lora_A, module.lora_B), W0, A, B, x, grad_y)


def _torch(
    module: Any, weights: Sequence[Any], W0: Any, A: Any, B: Any, x: Any, grad_y: Any
) -> Call:
    """Return a call that fills the weights of a module of theirs and differentiates it."""
    import torch

    torch.set_num_threads(blas_threads())
    with torch.no_grad():
        for weight, array in zip(weights, (W0, A, B), strict=True):
            weight.copy_(torch.from_numpy(array))
    x, grad_y = torch.from_numpy(x).requires_grad_(), torch.from_numpy(grad_y)
    inputs = x, *weights[1:]

    def call() -> Sequence[Any]:
        y = module(x)
        return y.detach(), *torch.autograd.grad(y, inputs, grad_y)

    return call


CONTENDERS = {
    FLOOR: floor,
    PLAN: plan,
    LAYER: layer,
    WARM: layer,
    TEXTBOOK: textbook,
    NAIVE: naive,
    PEFT: peft,
    LORALIB: loralib,
    FULL: full,
    BARE_FULL: bare_full,
}


def here(*names: str) -> list[str]:
    """Return the contenders whose packages are installed."""
    needs = {PEFT: ("torch", "peft"), LORALIB: ("torch", "loralib")}
    return [name for name in names if all(find_spec(package) for package in needs.get(name, ()))]


def same_results(timings: dict[str, Timing], *names: str) -> None:
    """Raise RuntimeError unless the contenders return arrays of the same norms as the layer."""
    for name in names:
        if not np.allclose(timings[name].norms, timings[LAYER].norms, rtol=1e-3):
            raise RuntimeError(
                f"{name} computes something else than {LAYER}: {timings[name].norms}"
            )


def passes(d: int, n: int, *targets: Target) -> Row:
    """Return the row for one size: every contender over the floor."""
    lora = here(PLAN, LAYER, WARM, TEXTBOOK, NAIVE, PEFT, LORALIB)
    timings = contest(make, [FLOOR, *lora], d, n)
    same_results(timings, *lora)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    figures = {name: time / seconds[FLOOR] for name, time in seconds.items()}
    if PEFT in seconds:
        figures |= {f"{PEFT} over {name}": seconds[PEFT] / seconds[name] for name in (LAYER, PLAN)}
    measured = f"LoRA forward + backward, d = {d}, n = {n}, r = {R}, float32; over the floor"
    return Row(f"pass-{d}-{n}", measured, figures, targets, NOTE, seconds)


def large() -> Iterator[Row]:
    yield passes(1024, 512, Target(PLAN, "<=", 1.15), Target(LAYER, "<=", 1.3))


def middle() -> Iterator[Row]:
    yield passes(256, 512, Target(PLAN, "<=", 1.4), Target(LAYER, "<=", 1.8))


def single() -> Iterator[Row]:
    yield passes(256, 1, Target(f"{PEFT} over {LAYER}", ">=", 3.0))


def full_step() -> Iterator[Row]:
    """Yield what the frozen weight saves: all three products of full fine-tuning, or two."""
    d, n = 1024, 512
    timings = contest(make, [LAYER, PLAN, FULL, BARE_FULL], d, n)
    same_results(timings, PLAN)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    figures = {
        f"{FULL} over {LAYER}": seconds[FULL] / seconds[LAYER],
        f"{BARE_FULL} over {PLAN}": seconds[BARE_FULL] / seconds[PLAN],
    }
    measured = (
        f"forward, grad_x and grad_W of a full step over the LoRA passes, d = {d}, n = {n}, "
        f"r = {R}, float32; no optimiser"
    )
    yield Row("full-step", measured, figures, (Target(f"{FULL} over {LAYER}", ">=", 1.25),))
