"""The article's example: its printed numbers, the same in fractions, and one pass through it.

Both are read from the article's claims, ``lora_ref/claims/data/article.toml``. The article has no
input, target and learning rate; ours are in that file too.
"""

from fractions import Fraction
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np

from lora_ref.checks import Array
from lora_ref.claims import article
from lora_ref.exact import ExactArray, floats
from lora_ref.layers import LoRALinear

Table: TypeAlias = tuple[tuple[str, ...], ...]
"""A matrix as it is printed: rows of texts."""

Matrix = TypeVar("Matrix")
Number = TypeVar("Number")

_ARTICLE = article()


class Printed(NamedTuple):
    """What the article prints."""

    W0: Table
    A: Table
    B_start: Table
    B: Table
    AB: Table
    AB_terms: tuple[str, ...]  # of the first entry of AB
    W: Table
    norm: str


class Exact(NamedTuple):
    """The numbers of the example in fractions."""

    W0: ExactArray
    A: ExactArray
    B_start: ExactArray
    B: ExactArray
    x: ExactArray
    target: ExactArray  # what our loss wants y to be
    lr: Fraction


class Pass(NamedTuple, Generic[Matrix, Number]):
    """All that one pass of our input through the example computes, by name."""

    A: Matrix
    B: Matrix
    delta_w: Matrix
    W: Matrix
    base: Matrix  # W0 x
    h: Matrix  # A x
    low_rank: Matrix  # s B h
    y: Matrix
    grad_y: Matrix
    loss: Number
    grad_A: Matrix
    grad_B: Matrix


def printed_in(claim: str) -> Any:
    """Return what the article prints in a claim: a number, a vector or a matrix of texts."""
    check = _ARTICLE.claim(claim).check
    return check and check.expected.printed


PRINTED = Printed._make(
    [_ARTICLE.printed[name] for name in ("W0", "A", "B-start", "B", "AB", "AB-terms")]
    + [printed_in(claim) for claim in ("merge-sums", "frobenius")]
)
EXACT = Exact._make(
    [_ARTICLE.values[name]() for name in ("W0", "A", "B-start", "B", "x", "target")]
    + [_ARTICLE.values["lr"]().item()]
)
_SCALING = _ARTICLE.claim("scaling-one").check
ALPHA, R = (cast(int, _SCALING and _SCALING.inputs[key]) for key in ("alpha", "r"))


def tiled(printed: Table) -> Table:
    """Return a matrix twice, side by side: how the article adds a 4x2 matrix to a 4x4 one."""
    return tuple(row * 2 for row in printed)


def article_layer(B: ExactArray = EXACT.B) -> LoRALinear:
    """Return the example in float64, with the article's trained B or another one."""
    return LoRALinear(floats(EXACT.W0), floats(EXACT.A), floats(B), ALPHA)


def exact_pass(A: ExactArray, B: ExactArray) -> Pass[ExactArray, Fraction]:
    """Pass our input through W0 and the factors in fractions; no layer takes part."""
    s = Fraction(ALPHA, R)
    delta_w = s * (B @ A)
    base, h = EXACT.W0 @ EXACT.x, A @ EXACT.x
    low_rank = s * (B @ h)
    y = base + low_rank
    grad_y = y - EXACT.target
    loss = (grad_y @ grad_y) / 2
    grad_A, grad_B = s * np.outer(B.T @ grad_y, EXACT.x), s * np.outer(grad_y, h)
    W = EXACT.W0 + delta_w
    return Pass(A, B, delta_w, W, base, h, low_rank, y, grad_y, loss, grad_A, grad_B)


def layer_pass(layer: LoRALinear) -> Pass[Array, float]:
    """Pass our input through a layer in its own arithmetic, as one row."""
    x, target = floats(EXACT.x)[None], floats(EXACT.target)[None]
    y, cache = layer.forward(x)
    grad_y = y - target
    loss = float(np.vdot(grad_y, grad_y)) / 2
    _, grads = layer.backward(grad_y, cache)
    merged, base = layer.merge(), (x @ layer.W0.T)[0]
    low_rank = (layer.scaling * cache.h @ layer.B.T)[0]
    return Pass(
        *(layer.A, layer.B, layer.delta_w, merged.W, base, cache.h[0], low_rank),
        *(y[0], grad_y[0], loss, grads["A"], grads["B"]),
    )
