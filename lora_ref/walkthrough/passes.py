"""One pass of an input through the example, computed in fractions and by a `LoRALinear`."""

from fractions import Fraction
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from lora_ref.checks import Array
from lora_ref.exact import ExactArray, floats
from lora_ref.layers import LoRALinear
from lora_ref.walkthrough.article import ALPHA, EXACT_TARGET, EXACT_W0, EXACT_X, R

Matrix = TypeVar("Matrix")
Number = TypeVar("Number")


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


def exact_pass(A: ExactArray, B: ExactArray) -> Pass[ExactArray, Fraction]:
    """Pass our input through W0 and the factors in fractions; no layer takes part."""
    s = Fraction(ALPHA, R)
    delta_w = s * (B @ A)
    base, h = EXACT_W0 @ EXACT_X, A @ EXACT_X
    low_rank = s * (B @ h)
    y = base + low_rank
    grad_y = y - EXACT_TARGET
    loss = (grad_y @ grad_y) / 2
    grad_A, grad_B = s * np.outer(B.T @ grad_y, EXACT_X), s * np.outer(grad_y, h)
    W = EXACT_W0 + delta_w
    return Pass(A, B, delta_w, W, base, h, low_rank, y, grad_y, loss, grad_A, grad_B)


def layer_pass(layer: LoRALinear) -> Pass[Array, float]:
    """Pass our input through a layer in its own arithmetic, as one row."""
    x, target = floats(EXACT_X)[None], floats(EXACT_TARGET)[None]
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
