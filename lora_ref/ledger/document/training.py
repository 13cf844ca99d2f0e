"""Part two: the start, and what moves in training."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from lora_ref import lowrank
from lora_ref.arrays import Array
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


def _usual_gaussian(widths: tuple[int, ...], std: float) -> Evidence:
    stds = {d: _kaiming_std(d) for d in widths}
    same = [abs(value - std) < 0.1 * std for value in stds.values()]
    text = ", ".join(f"{value:.4f} at d = {d}" for d, value in stds.items())
    return Evidence(all(same), {"text": text}, any(same))


def _kaiming_formula(widths: tuple[int, ...], std: float) -> Evidence:
    close = [abs(_kaiming_std(d) * np.sqrt(3 * d) - 1) < 0.01 for d in widths]
    return Evidence(all(close), {"std": 1 / np.sqrt(3 * widths[0]), "d": widths[0]})


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
    drawn, x = drawn_layer()
    layer = LoRALinear(drawn.W0, drawn.A, B, drawn.alpha)
    target = np.random.default_rng(1).standard_normal((len(x), len(B)))
    y, cache = layer.forward(x)
    first = layer.backward(y - target, cache)[1]
    norms = [norm(layer.delta_w)]
    for _ in range(steps):
        layer, _ = sgd_step(layer, x, (layer.forward(x)[0] - target) / len(x), lr)
        norms.append(norm(layer.delta_w))
    rises = norms[0] == 0 and all(a < b for a, b in pairwise(norms))
    numbers = {
        "grad_A": norm(first["A"]),
        "grad_B": norm(first["B"]),
        "last": norms[-1],
        "step": max(b - a for a, b in pairwise(norms)) / norms[-1],
        "steps": steps,
    }
    return Evidence(bool(rises and not first["A"].any() and first["B"].any()), numbers)


def _gradient_of_w0(x: Array, grad_y: Array) -> Evidence:
    layer = drawn_layer()[0]
    dense = Linear(layer.W0 + layer.delta_w)  # dL/dW0 is that of the sum: the update is constant
    by_hand = dense.backward(grad_y, dense.forward(x)[1])[1]["W"]
    by_differences = numerical_gradients(dense, x, grad_y)["W"]
    size, gap = norm(by_hand), norm(by_hand - by_differences)
    numbers = {"size": size, "gap": unless_rounding(gap / size if size else gap)}
    return Evidence(not by_hand.any() and not by_differences.any(), numbers)


def _w0_never_moves(x: Array, grad_y: Array) -> Evidence:
    layer = drawn_layer()[0]
    before = layer.W0.tobytes()
    for _ in range(3):
        layer, _ = sgd_step(layer, x, grad_y, 0.1)
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
    text = ", ".join(f"r = {r}: {e:.4f} (bound {b:.4f})" for r, e, b in pairs)
    return Evidence(bool(reached and smaller), {"text": text})


_LAYER, _X = drawn_layer()
_ZERO_B = np.zeros_like(_LAYER.B)

CLAIMS = (
    Claim(
        id="init-gaussian",
        where=sections.START,
        says="A is usually drawn from N(0, 0.02^2)",
        statement=Law(_usual_gaussian, "Kaiming-uniform draws have standard deviation {text}"),
        given={"widths": (768, 4096), "std": 0.02},
        correction=Correction(
            "the paper says Gaussian; the authors' library and PEFT draw Kaiming-uniform, of "
            "variance 1/(3 d_in), so {std:.4f} at d = {d}",
            Law(_kaiming_formula, ""),
        ),
        why="a width of 0.02 fits one model size and not another",
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
        statement=Law(_smooth_start, "norm 0 at the start, {last:.3f} after {steps} steps"),
        given={"B": _ZERO_B, "lr": 0.01, "steps": 20},
        why="at step 0 the gradient of A has norm {grad_A:.0f}, that of B {grad_B:.0f}: B moves "
        "first",
    ),
    Claim(
        id="grad-isolation",
        where=sections.COMPARISON,
        says="the gradient of W0 is 0",
        statement=Law(
            _gradient_of_w0, "norm of dL/dW0: {size:.2f}; difference to finite differences: {gap}"
        ),
        given={"x": _X, "grad_y": np.ones((len(_X), len(_LAYER.W0)))},
        correction=Correction(
            "dL/dW0 = g x^T is not zero, it is not computed and never applied; after training W0 "
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
        why="in this form: a trained B A reaches the best possible error for its rank",
    ),
)
