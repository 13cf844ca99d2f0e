"""The bottleneck adapter, with ReLU and with the exact GELU."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw
from lora_ref.layers import Adapter


def adapter(
    x: Any, W_down: Any, b_down: Any, W_up: Any, b_up: Any, activation: str, grad_y: Any
) -> Values:
    """Return both passes of an adapter."""
    layer = Adapter(W_down, b_down, W_up, b_up, activation)
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "grad_x": grad_x, **{f"grad_{name}": grad for name, grad in grads.items()}}


def inputs(activation: str) -> Values:
    """Return an adapter of width 5 and bottleneck 3, four rows, and a gradient of y.

    The products are multiples of 1/4, and b_down is an odd multiple of 1/8: no sum is 0.
    """
    return {
        "x": draw(1, 4, 5, step=1 / 2),
        "W_down": draw(2, 3, 5, step=1 / 2),
        "b_down": draw(3, 3) + 1 / 8,
        "W_up": draw(4, 5, 3),
        "b_up": draw(5, 5),
        "activation": activation,
        "grad_y": draw(6, 4, 5),
    }


def _residual_forgotten(x: Any, grad_y: Any, **rest: Any) -> Values:
    found = adapter(x=x, grad_y=grad_y, **rest)
    return {"y": found["y"] - x, "grad_x": found["grad_x"] - grad_y}


def _activation_last(x: Any, W_down: Any, b_down: Any, W_up: Any, b_up: Any, **_: Any) -> Values:
    return {"y": x + np.maximum((x @ W_down.T + b_down) @ W_up.T + b_up, 0)}


def _bias_late(x: Any, W_down: Any, b_down: Any, W_up: Any, b_up: Any, **_: Any) -> Values:
    return {"y": x + (np.maximum(x @ W_down.T, 0) + b_down) @ W_up.T + b_up}


def _slope_forgotten(x: Any, W_down: Any, W_up: Any, grad_y: Any, **_: Any) -> Values:
    grad = grad_y @ W_up
    return {"grad_x": grad_y + grad @ W_down, "grad_W_down": grad.T @ x, "grad_b_down": grad.sum(0)}


def _other_gelu(activation: str, **rest: Any) -> Values:
    return adapter(activation="gelu_tanh", **rest)


def _other_slope(**given: Any) -> Values:
    found = _other_gelu(**given)
    return {name: found[name] for name in ("grad_x", "grad_W_down", "grad_b_down")}


def formula(h: str, slope: str) -> tuple[str, ...]:
    """Return the formula with the activation and its slope written out."""
    return (
        "u = x @ W_down.T + b_down",
        h,
        "y = x + h @ W_up.T + b_up",
        slope,
        "grad_u = (grad_y @ W_up) * slope",
        "grad_W_down = grad_u.T @ x",
        "grad_b_down = grad_u.sum(axis=0)",
        "grad_W_up = grad_y.T @ h",
        "grad_b_up = grad_y.sum(axis=0)",
        "grad_x = grad_y + grad_u @ W_down",
    )


CASES = (
    Case(
        "adapter-relu",
        "The output and all gradients of a bottleneck with ReLU; no unit is at the kink.",
        "adapter",
        formula("h = maximum(u, 0)", "slope = u > 0"),
        inputs("relu"),
        adapter,
        {
            "residual-forgotten": Wrong(
                "x is not added to what the bottleneck returns.", _residual_forgotten
            ),
            "activation-last": Wrong("ReLU follows W_up, not W_down.", _activation_last),
            "bias-behind-the-activation": Wrong("b_down is added behind ReLU.", _bias_late),
            "slope-forgotten": Wrong(
                "Backward passes ReLU as if it were the identity.", _slope_forgotten
            ),
        },
    ),
    Case(
        "adapter-gelu",
        "The same with the exact GELU, x times the normal distribution function.",
        "adapter",
        formula(
            "h = u * (1 + erf(u / sqrt(2))) / 2",
            "slope = (1 + erf(u / sqrt(2))) / 2 + u * exp(-u * u / 2) / sqrt(2 * pi)",
        ),
        inputs("gelu"),
        adapter,
        {
            "other-gelu": Wrong("GELU is the form with tanh.", _other_gelu),
            "slope-of-the-other-gelu": Wrong(
                "The exact GELU goes forward, and the slope of its tanh form goes back.",
                _other_slope,
            ),
        },
        1e-12,
    ),
)
