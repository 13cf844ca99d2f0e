"""DoRA: with the derivative, with the gradient of the paper, and with dropout."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw
from lora_ref.layers import DoRALinear


def dora(
    x: Any,
    W0: Any,
    A: Any,
    B: Any,
    magnitude: Any,
    alpha: float,
    bias: Any,
    norm_gradient: Any,
    grad_y: Any,
    mask: Any = None,
) -> Values:
    """Return both passes and the merge of a layer."""
    layer = DoRALinear(W0, A, B, magnitude, alpha, bias, norm_gradient=norm_gradient)
    y, cache = layer.forward(x, mask=mask)
    grad_x, grads = layer.backward(grad_y, cache)
    return {
        "y": y,
        "grad_x": grad_x,
        **{f"grad_{name}": grad for name, grad in grads.items()},
        "merged_W": layer.merge().W,
    }


def inputs(norm_gradient: str) -> Values:
    """Return a layer of rank 2 from width 5 to width 4, three rows, and a gradient of y."""
    return {
        "x": draw(1, 3, 5),
        "W0": draw(2, 4, 5),
        "A": draw(3, 2, 5),
        "B": draw(4, 4, 2),
        "magnitude": np.array([1.25, 0.5, -2.0, 3.0]),
        "alpha": 3.0,
        "bias": draw(5, 4),
        "norm_gradient": norm_gradient,
        "grad_y": draw(6, 3, 4),
    }


def direction(W0: Any, A: Any, B: Any, alpha: float) -> Any:
    """Return V, whose rows DoRA brings to the length of their magnitude."""
    return W0 + alpha / len(A) * B @ A


def _divided(norms: Any, x: Any, W0: Any, A: Any, B: Any, magnitude: Any, **rest: Any) -> Values:
    """Return y and the weight for a divisor of another kind."""
    V = direction(W0, A, B, rest["alpha"])
    W = magnitude[:, None] * V / norms(V, W0)
    return {"y": x @ W.T + rest["bias"], "merged_W": W}


def _bias_rescaled(magnitude: Any, bias: Any, W0: Any, A: Any, B: Any, **rest: Any) -> Values:
    norms = np.linalg.norm(direction(W0, A, B, rest["alpha"]), axis=1)
    return {
        "y": dora(magnitude=magnitude, bias=bias * magnitude / norms, W0=W0, A=A, B=B, **rest)["y"]
    }


def _magnitude_forgotten(magnitude: Any, W0: Any, A: Any, B: Any, **rest: Any) -> Values:
    norms = np.linalg.norm(direction(W0, A, B, rest["alpha"]), axis=1)
    found = dora(magnitude=norms, W0=W0, A=A, B=B, **rest)
    return {name: found[name] for name in ("grad_x", "grad_A", "grad_B")}


def _other_gradient(norm_gradient: str, **rest: Any) -> Values:
    other = {"true": "detached", "detached": "true"}[norm_gradient]
    return dora(norm_gradient=other, **rest)


def _update_alone_dropped(mask: Any, x: Any, W0: Any, A: Any, B: Any, **rest: Any) -> Values:
    V = direction(W0, A, B, rest["alpha"])
    scale = rest["magnitude"] / np.linalg.norm(V, axis=1)
    return {"y": scale * (x @ W0.T + (x * mask) @ (V - W0).T) + rest["bias"]}


WEIGHT = (
    "s = alpha / len(A)",
    "V = W0 + s * B @ A",
    "norms = sqrt((V * V).sum(axis=1))",
    "scale = (magnitude / norms)[:, None]",
    "W = scale * V",
)
TRUE = "grad_V = scale * (grad_W - (along / norms)[:, None] * V)"
DETACHED = "grad_V = scale * grad_W"


def formula(grad_V: str) -> tuple[str, ...]:
    """Return the formula with one of the two gradients of V."""
    return (
        *WEIGHT,
        "y = x @ W.T + bias",
        "grad_x = grad_y @ W",
        "grad_W = grad_y.T @ x",
        *gradients(grad_V),
    )


def gradients(grad_V: str) -> tuple[str, ...]:
    """Return how the gradients of all parameters come from that of W."""
    return (
        "along = (grad_W * V).sum(axis=1) / norms",
        grad_V,
        "grad_A = s * B.T @ grad_V",
        "grad_B = s * grad_V @ A.T",
        "grad_magnitude = along",
        "merged_W = W",
    )


CASES = (
    Case(
        "dora",
        "The output, the derivatives by x, A, B and magnitude, and the merged weight.",
        "dora",
        formula(TRUE),
        inputs("true"),
        dora,
        {
            "norm-over-outputs": Wrong(
                "The norm runs down the columns of V, over the outputs, not along a row.",
                lambda **given: _divided(lambda V, W0: np.linalg.norm(V, axis=0), **given),
            ),
            "one-norm": Wrong(
                "All rows are divided by the norm of the whole of V.",
                lambda **given: _divided(lambda V, W0: np.linalg.norm(V), **given),
            ),
            "norms-of-W0": Wrong(
                "The rows of V are divided by the norms of W0.",
                lambda **given: _divided(
                    lambda V, W0: np.linalg.norm(W0, axis=1, keepdims=True), **given
                ),
            ),
            "bias-rescaled": Wrong(
                "The bias is multiplied by magnitude / norms too.", _bias_rescaled
            ),
            "magnitude-forgotten": Wrong(
                "The gradients of x, A and B lack magnitude / norms.", _magnitude_forgotten
            ),
            "norm-held-constant": Wrong(
                "The gradients of A and B are those of the case dora-detached.", _other_gradient
            ),
        },
        1e-12,
    ),
    Case(
        "dora-detached",
        "The same layer with norms held constant in backward, as in section 4.3 of the paper.",
        "dora",
        formula(DETACHED),
        inputs("detached"),
        dora,
        {
            "norm-not-held-constant": Wrong(
                "The gradients of A and B are those of the case dora.", _other_gradient
            ),
        },
        1e-12,
    ),
    Case(
        "dora-dropout",
        "A given dropout mask on all that the adapter adds to W0, magnitude included.",
        "dora",
        (
            *WEIGHT,
            "kept = x * mask",
            "y = x @ W0.T + kept @ (W - W0).T + bias",
            "grad_x = grad_y @ W0 + (grad_y @ (W - W0)) * mask",
            "grad_W = grad_y.T @ kept",
            *gradients(DETACHED),
        ),
        {
            **inputs("detached"),
            "mask": np.array([[2.0, 0, 2, 2, 0], [0, 0, 2, 0, 2], [2, 2, 0, 2, 0]]),
        },
        dora,
        {
            "dropout-on-the-update-alone": Wrong(
                "The mask hits B A x alone; magnitude / norms scales W0 x undropped.",
                _update_alone_dropped,
            ),
            "dropout-on-the-base": Wrong(
                "Dropout hits the frozen path too.",
                lambda mask, x, **rest: dora(x=x * mask, **rest),
            ),
            "mask-left-out": Wrong(
                "Nothing is dropped, as in evaluation.", lambda mask, **rest: dora(**rest)
            ),
        },
        1e-12,
    ),
)
