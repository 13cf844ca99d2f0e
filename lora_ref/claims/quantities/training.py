"""Quantities of a real LoRA layer at its start and in training, in floating point.

The layer has 7 inputs, 5 outputs and random factors, unless a file's own matrices are asked for.
A result that is only rounding is 0.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from lora_ref import lowrank
from lora_ref.checks import Array
from lora_ref.claims.quantity import Few, Flag, Matrix, Number, Numbers, OneNumber, Own, Steps
from lora_ref.claims.values import settled
from lora_ref.exact import floats
from lora_ref.gradcheck import numerical_gradients, sgd_step
from lora_ref.layers import Linear, LoRALinear, QLoRALinear
from lora_ref.lowrank import numerical_rank

TOPIC = "A LoRA layer in training"


def drawn_layer(
    seed: int = 0, r: int = 2, alpha: Any = 4, entries_of_B: Any = None
) -> tuple[LoRALinear, Array]:
    """Return a layer of 7 inputs and 5 outputs, and 6 rows for it.

    All factors are random, or every entry of B is the number given.
    """
    rng = np.random.default_rng(seed)
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (r, 7), (5, r)))
    x = rng.standard_normal((6, 7))
    if entries_of_B is not None:
        B = np.full_like(B, float(entries_of_B))
    return LoRALinear(W0, A, B, float(alpha)), x


def relative(gap: Array, whole: Array) -> float:
    """Return the norm of a gap relative to that of the whole, 0 where it is only rounding."""
    return settled(float(np.linalg.norm(gap) / np.linalg.norm(whole)))


def trained(layer: Any, x: Array, steps: int, lr: float, seed: int = 1) -> Iterator[Any]:
    """Yield a layer, and the layer after each step of SGD towards a random target."""
    target = np.random.default_rng(seed).standard_normal(layer.forward(x)[0].shape)
    yield layer
    for _ in range(steps):
        layer, _ = sgd_step(layer, x, (layer.forward(x)[0] - target) / len(x), lr)
        yield layer


# the start


def output_change(
    steps: Steps, alpha: Number = 4, r: Few = 2, entries_of_B: Number = 0
) -> OneNumber:
    """Return the relative change of the output by the adapter, after some steps of training.

    Every entry of B begins at the number given, A at random.
    """
    layer, x = drawn_layer(0, r, alpha, entries_of_B)
    *_, last = trained(layer, x, steps, 0.01)
    base = x @ layer.W0.T
    gap = last.forward(x)[0] - base
    return float(np.linalg.norm(gap) / np.linalg.norm(base))


def first_gradient(of: Literal["A", "B"], entries_of_B: Number = 0) -> OneNumber:
    """Return the norm of the first gradient of A or of B, from a B of equal entries."""
    layer, x = drawn_layer(entries_of_B=entries_of_B)
    target = np.random.default_rng(1).standard_normal((len(x), len(layer.B)))
    y, cache = layer.forward(x)
    return float(np.linalg.norm(layer.backward((y - target) / len(x), cache)[1][of]))


def first_gradient_norm(r: Few, rank_stabilized: Flag = False, alpha: Number = 16) -> OneNumber:
    """Return the norm of B's first gradient at fixed alpha, the entries of A of unit variance."""
    rng = np.random.default_rng(0)
    x, grad_y = rng.standard_normal((16, 64)), rng.standard_normal((16, 48))
    A, zero = np.random.default_rng(r).standard_normal((r, 64)), np.zeros((48, r))
    W0 = np.zeros((48, 64))
    layer = LoRALinear(W0, A, zero, float(alpha), rank_stabilized=rank_stabilized)
    return float(np.linalg.norm(layer.backward(grad_y, layer.forward(x)[1])[1]["B"]))


def columns_apart(rows_of_A: Literal["random", "equal"], steps: Few = 5) -> OneNumber:
    """Return the relative difference between the columns of B after training from B = 0."""
    drawn, x = drawn_layer()
    A = drawn.A if rows_of_A == "random" else np.tile(drawn.A[:1], (len(drawn.A), 1))
    *_, last = trained(LoRALinear(drawn.W0, A, 0 * drawn.B, 2.0), x, steps, 0.05)
    return settled(float(np.abs(last.B - last.B[:, :1]).max() / np.abs(last.B).max()))


def moved_from_zero(steps: Few = 5) -> OneNumber:
    """Return the largest entry of A and B after training from A = B = 0."""
    drawn, x = drawn_layer()
    *_, last = trained(LoRALinear(drawn.W0, 0 * drawn.A, 0 * drawn.B, 2.0), x, steps, 0.05)
    return float(max(np.abs(last.A).max(), np.abs(last.B).max()))


# training


def update_norms(lr: Number, steps: Few, entries_of_B: Number = 0) -> Numbers:
    """Return the norm of the update before training, and after each step."""
    layers = trained(*drawn_layer(entries_of_B=entries_of_B), steps, float(lr))
    return tuple(float(np.linalg.norm(layer.delta_w)) for layer in layers)


def largest_step(of: Matrix) -> OneNumber:
    """Return the largest rise from one number to the next, relative to the last."""
    return max(b - a for a, b in pairwise(of)) / of[-1]


def w0_gradient(n: Few = 6) -> OneNumber:
    """Return the norm of the gradient by W0, that of a dense layer, for n rows."""
    return float(np.linalg.norm(_w0_gradients(n)[0]))


def w0_gradient_error(n: Few = 6) -> OneNumber:
    """Return the relative gap between the gradient by W0 by hand and by finite differences."""
    by_hand, by_differences = _w0_gradients(n)
    return relative(by_hand - by_differences, by_hand)


def w0_bytes_changed(steps: Few, decay: Number = 0) -> OneNumber:
    """Return how many bytes of W0 differ after training; decay shrinks it in each step."""
    layer, x = drawn_layer()
    before = layer.W0.tobytes()
    for _ in range(steps):
        *_, layer = trained(layer, x, 1, 0.1)
        if decay:
            layer = replace(layer, W0=layer.W0 * (1 - float(decay)))
    return sum(a != b for a, b in zip(before, layer.W0.tobytes(), strict=True))


def fitted_distance(r: Few, steps: Few = 100) -> OneNumber:
    """Return the distance of a trained B A to a 5 x 7 target of rank 4."""
    return _fitted(r, steps)[0]


def excess_over_bound(r: Few, steps: Few = 100) -> OneNumber:
    """Return the relative excess of that distance over the least possible of its rank."""
    distance, bound = _fitted(r, steps)
    return settled(distance / bound - 1)


def directions_turned(lr: Number, W0: Own, A: Own, B: Own, x: Own, target: Own) -> Numbers:
    """Return the degrees by which one step of SGD turns each term of B A.

    The loss is half the squared distance of y to a target, and alpha is r.
    """
    before = lowrank.outer_products(floats(A), floats(B))
    stepped = _one_step(W0, A, B, x, target, lr)
    after = lowrank.outer_products(stepped.A, stepped.B)
    degrees = []
    for u, v in zip(before, after, strict=True):
        cosine = float(np.vdot(u, v) / (np.linalg.norm(u) * np.linalg.norm(v)))
        degrees.append(0.0 if 1 - cosine < 1e-12 else float(np.degrees(np.arccos(cosine))))
    return tuple(degrees)


def rank_after_one_step(lr: Number, W0: Own, A: Own, B: Own, x: Own, target: Own) -> OneNumber:
    """Return the rank of B A after one step of SGD."""
    return numerical_rank(_one_step(W0, A, B, x, target, lr).delta_w)


# the update and its scaling


def update_norm(alpha: Number, A: Own, B: Own) -> OneNumber:
    """Return the norm of (alpha/r) B A of a layer."""
    W0 = np.zeros((len(B), A.shape[1]))
    layer = LoRALinear(W0, floats(A), floats(B), float(alpha))
    return float(np.linalg.norm(layer.delta_w))


def output_gap(alpha: Number, r: Few, beside_alpha: Number = 4, beside_r: Few = 2) -> OneNumber:
    """Return the relative gap between two layers of the same B A and other alpha and r.

    The factors of the larger rank are those of rank 2, filled up with zeros.
    """
    drawn, x = drawn_layer()
    outputs = []
    for rank, strength in ((r, alpha), (beside_r, beside_alpha)):
        A, B = np.zeros((rank, 7)), np.zeros((5, rank))
        k = min(rank, 2)
        A[:k], B[:, :k] = drawn.A[:k], drawn.B[:, :k]
        outputs.append(LoRALinear(drawn.W0, A, B, float(strength)).forward(x)[0])
    return relative(outputs[0] - outputs[1], outputs[1])


def quantization_error(alpha: Number, size: Few = 64) -> OneNumber:
    """Return the relative error that NF4 leaves in the frozen weight of a QLoRA layer."""
    rng = np.random.default_rng(0)
    W0 = rng.standard_normal((size, size))
    layer = QLoRALinear.init(W0, 8, float(alpha), rng)
    return relative(layer.dequantized().W0 - W0, W0)


def largest_rank_of_products(r: Few, draws: Few = 50) -> OneNumber:
    """Return the largest rank among products of random 9 x r and r x 12 matrices."""
    rng = np.random.default_rng(0)
    products = (rng.standard_normal((9, r)) @ rng.standard_normal((r, 12)) for _ in range(draws))
    return max(map(numerical_rank, products))


def jacobian_rank(A: Own, B: Own) -> OneNumber:
    """Return the rank of the derivative of B A by B and A: in how many directions it can move."""
    return numerical_rank(lowrank.product_jacobian(floats(A), floats(B)))


def change_outside_span(of: Matrix, basis: Matrix, x: Own) -> OneNumber:
    """Return the share of a map's output that comes from the part of x outside a span."""
    rows, column = floats(basis), floats(x)
    inside = np.linalg.pinv(rows) @ rows @ column
    return relative(floats(of) @ (column - inside), floats(of) @ column)


def _w0_gradients(rows: int) -> tuple[Array, Array]:
    """Return dL/dW0 by hand and by differences; it is that of the sum, the update is constant."""
    layer, x = drawn_layer()
    x = np.resize(x, (rows, 7))
    grad_y = np.random.default_rng(1).standard_normal((rows, 5))
    dense = Linear(layer.W0 + layer.delta_w)
    by_hand = dense.backward(grad_y, dense.forward(x)[1])[1]["W"]
    return by_hand, numerical_gradients(dense, x, grad_y)["W"]


@cache
def _fitted(r: int, steps: int) -> tuple[float, float]:
    """Fit a target update by training B A; return the distance, and the Eckart-Young bound."""
    rng = np.random.default_rng(0)
    U, V = (np.linalg.qr(rng.standard_normal((k, 4)))[0] for k in (5, 7))
    target = (U * (2.0, 1.5, 1.0, 0.5)) @ V.T
    x = np.eye(7)
    layer = LoRALinear.init(np.zeros((5, 7)), r, r, np.random.default_rng(r))
    for _ in range(steps):
        layer, _ = sgd_step(layer, x, layer.forward(x)[0] - target.T, 0.3)
    distance = float(np.linalg.norm(layer.delta_w - target))
    return distance, lowrank.truncation_error(target, r).frobenius


def _one_step(W0: Any, A: Any, B: Any, x: Any, target: Any, lr: Any) -> LoRALinear:
    layer = LoRALinear(floats(W0), floats(A), floats(B), alpha=float(len(A)))
    row, wanted = floats(x)[None], floats(target)[None]
    return sgd_step(layer, row, layer.forward(row)[0] - wanted, float(lr))[0]
