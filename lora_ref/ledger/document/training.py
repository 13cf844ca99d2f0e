"""Part two: the start, and what moves in training."""

from collections.abc import Callable
from itertools import pairwise
from math import sqrt
from typing import Any

import numpy as np

from lora_ref import lowrank
from lora_ref.arrays import Array
from lora_ref.counting import lora_params
from lora_ref.gradcheck import numerical_gradients, sgd_step
from lora_ref.layers import Linear, LoRALinear
from lora_ref.layers.starts import kaiming_uniform
from lora_ref.ledger.claim import Claim, Correction, Evidence, Law
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import (
    drawn_layer,
    norm,
    unless_rounding,
)


def _kaiming_std(d: int) -> float:
    return float(kaiming_uniform(np.zeros((1, d)), 50, 1.0, np.random.default_rng(0))[1].std())


def _usual_gaussian(widths: tuple[int, ...], std: float, per: int) -> Evidence:
    stds = {d: _kaiming_std(d) for d in widths}
    same = [abs(value - std) < 0.1 * std for value in stds.values()]
    text = ", ".join(f"{value:.4f} at d = {d}" for d, value in stds.items())
    return Evidence(all(same), {"text": text}, any(same))


def _kaiming_formula(widths: tuple[int, ...], std: float, per: int) -> Evidence:
    stds = {d: 1 / sqrt(per * d) for d in widths}
    close = [abs(_kaiming_std(d) / of_formula - 1) < 0.01 for d, of_formula in stds.items()]
    text = ", ".join(f"{value:.4f} at d_in = {d}" for d, value in stds.items())
    return Evidence(all(close), {"text": text, "per": per})


def _trained(A: Array, B: Array, steps: int = 5) -> LoRALinear:
    drawn, x = drawn_layer(r=len(A))
    target = np.random.default_rng(1).standard_normal((len(x), len(drawn.W0)))
    layer = LoRALinear(drawn.W0, A, B, alpha=2.0)
    for _ in range(steps):
        layer, _ = sgd_step(layer, x, (layer.forward(x)[0] - target) / len(x), 0.05)
    return layer


def _breaks_symmetry(A: Array) -> Evidence:
    zero = np.zeros((5, len(A)))

    def gap(start: Array) -> float:
        B = _trained(start, zero).B
        return float(np.abs(B - B[:, :1]).max() / np.abs(B).max())

    equal, random = gap(np.tile(A[:1], (len(A), 1))), gap(A)
    still = _trained(np.zeros_like(A), zero)
    stays = not still.A.any() and not still.B.any()
    numbers = {"random": random, "equal": unless_rounding(equal)}
    return Evidence(random > 1e-3 and equal < 1e-12 and stays, numbers)


def _smooth_start(B: Array, lr: float, steps: int) -> Evidence:
    """Train, and see whether the norm of the update begins at 0 and rises without a jump."""
    drawn, x = drawn_layer()
    layer = LoRALinear(drawn.W0, drawn.A, B, drawn.alpha)
    target = np.random.default_rng(1).standard_normal((len(x), len(B)))
    norms = [norm(layer.delta_w)]
    first: dict[str, float] = {}
    for _ in range(steps):
        y, cache = layer.forward(x)
        grads = layer.backward((y - target) / len(x), cache)[1]
        first = first or {name: norm(grad) for name, grad in grads.items()}
        layer = layer.with_params(
            {name: value - lr * grads[name] for name, value in layer.trainable.items()}
        )
        norms.append(norm(layer.delta_w))
    largest = max(b - a for a, b in pairwise(norms)) / norms[-1]
    smooth = norms[0] == 0 and all(a < b for a, b in pairwise(norms)) and largest < 0.2
    numbers = {
        "grad_A": first["A"],
        "grad_B": first["B"],
        "first": norms[0],
        "last": norms[-1],
        "largest": largest,
        "steps": steps,
    }
    return Evidence(smooth and first["A"] == 0 < first["B"], numbers)


def _gradient_of_w0(x: Array, grad_y: Array, step: Callable[..., Any]) -> Evidence:
    layer = drawn_layer()[0]
    dense = Linear(layer.W0 + layer.delta_w)  # dL/dW0 is that of the sum: the update is constant
    by_hand = dense.backward(grad_y, dense.forward(x)[1])[1]["W"]
    by_differences = numerical_gradients(dense, x, grad_y)["W"]
    size, gap = norm(by_hand), norm(by_hand - by_differences)
    numbers = {"size": size, "gap": unless_rounding(gap / size if size else gap)}
    return Evidence(not by_hand.any() and not by_differences.any(), numbers)


def _w0_never_moves(x: Array, grad_y: Array, step: Callable[..., Any]) -> Evidence:
    layer = drawn_layer()[0]
    before = layer.W0.tobytes()
    for _ in range(3):
        layer, _ = step(layer, x, grad_y, 0.1)
    return Evidence(layer.W0.tobytes() == before and "W0" not in layer.trainable, {})


def _reaches_bound(ranks: tuple[int, ...], step: Callable[..., Any]) -> Evidence:
    """Fit a target update by training B A, and compare with the Eckart-Young bound."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((k, 4)))[0] for k in (5, 7))
    target = (U * (2.0, 1.5, 1.0, 0.5)) @ V.T
    x, errors, bounds = np.eye(7), [], []
    for r in ranks:
        layer = LoRALinear.init(np.zeros((5, 7)), r, r, rng)
        for _ in range(150):
            layer, _ = step(layer, x, layer.forward(x)[0] - target.T, 0.3)
        errors.append(norm(layer.delta_w - target))
        bounds.append(lowrank.tail(target, r).frobenius)
    reached = np.allclose(errors, bounds, rtol=1e-3)
    smaller = all(a > b for a, b in pairwise(errors))
    pairs = zip(ranks, errors, bounds, strict=True)
    text = ", ".join(
        f"r = {r}, {lora_params(7, 5, r)} parameters: {e:.4f} (bound {b:.4f})" for r, e, b in pairs
    )
    return Evidence(bool(reached and smaller), {"text": text})


_LAYER, _X = drawn_layer()
_ZERO_B = np.zeros_like(_LAYER.B)

CLAIMS = (
    Claim(
        id="init-gaussian",
        where=sections.START,
        says="A is usually drawn from N(0, 0.02^2)",
        statement=Law(_usual_gaussian, "Kaiming-uniform draws have standard deviation {text}"),
        given={"widths": (768, 4096), "std": 0.02, "per": 3},
        correction=Correction(
            "the paper says Gaussian; the authors' library and PEFT draw Kaiming-uniform, of "
            "variance 1/({per} d_in): a standard deviation of {text}",
            Law(_kaiming_formula, ""),
        ),
        why="0.02 fits one width and not another",
    ),
    Claim(
        id="breaks-symmetry",
        where=sections.START,
        says="a random A breaks symmetry",
        statement=Law(
            _breaks_symmetry,
            "columns of B differ by {random:.0%} for random rows of A, by {equal} for equal rows",
        ),
        given={"A": _LAYER.A},
        why="with equal rows the columns of B stay equal, and A = B = 0 never moves",
    ),
    Claim(
        id="smooth-start",
        where=sections.START,
        says="Delta W grows smoothly from 0",
        statement=Law(
            _smooth_start,
            "norm {first:g} at the start, {last:.3f} after {steps} steps, at most {largest:.0%} of "
            "that in one step",
        ),
        given={"B": _ZERO_B, "lr": 0.001, "steps": 20},
        why="at step 0 the gradient of A has norm {grad_A:g}, that of B {grad_B:.1f}: B moves "
        "first",
    ),
    Claim(
        id="grad-isolation",
        where=sections.COMPARISON,
        says="the gradient of W0 is 0",
        statement=Law(
            _gradient_of_w0, "norm of dL/dW0: {size:.2f}; difference to finite differences: {gap}"
        ),
        given={
            "x": _X,
            "grad_y": np.random.default_rng(1).standard_normal((len(_X), len(_LAYER.W0))),
            "step": sgd_step,
        },
        correction=Correction(
            "dL/dW0 = g x^T is not zero: it is neither computed nor applied. After training W0 "
            "has the same bytes",
            Law(_w0_never_moves, ""),
        ),
        why="frozen is a decision, not a derivative",
    ),
    Claim(
        id="small-r-more-r",
        where=sections.ERROR,
        says="larger r, smaller error, more parameters",
        statement=Law(_reaches_bound, "{text}"),
        given={"ranks": (1, 2, 3), "step": sgd_step},
        why="in this form: fitted to a 5 x 7 target of rank 4, a trained B A reaches the best "
        "possible error of its rank",
    ),
)
