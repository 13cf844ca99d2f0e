"""Layer norm and RMS norm, with a large epsilon, so that its place shows."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw, known
from lora_ref.layers import LayerNorm, RMSNorm


def layer_norm(
    x: Any, gain: Any, bias: Any, epsilon: float, grad_y: Any, code: Any = LayerNorm
) -> Values:
    """Return both passes of a layer norm."""
    return _passes(code(gain, bias, epsilon), x, grad_y)


def rms_norm(x: Any, gain: Any, epsilon: float, grad_y: Any) -> Values:
    """Return both passes of an RMS norm."""
    return _passes(RMSNorm(gain, epsilon), x, grad_y)


def _passes(layer: Any, x: Any, grad_y: Any) -> Values:
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "grad_x": grad_x, **{f"grad_{name}": grad for name, grad in grads.items()}}


def _normed(
    x: Any, gain: Any, bias: Any, epsilon: float, grad_y: Any, axis: int = 1, divisor: int = 0
) -> Values:
    """Return y with the mean and variance along an axis, the variance divided by fewer."""
    std = np.sqrt(x.var(axis, ddof=divisor, keepdims=True) + epsilon)
    return {"y": gain * (x - x.mean(axis, keepdims=True)) / std + bias}


def _epsilon_outside(x: Any, gain: Any, bias: Any, epsilon: float, **_: Any) -> Values:
    centred = x - x.mean(1, keepdims=True)
    return {"y": gain * centred / (x.std(1, keepdims=True) + epsilon) + bias}


X, GRAD, GAIN, BIAS = draw(1, 3, 5), draw(6, 3, 5), draw(3, 5), draw(7, 5)

CASES = (
    Case(
        "layer-norm",
        "The output of a layer norm and its gradients of x, gain and bias.",
        "layer-norm",
        (
            "std = sqrt(x.var(axis=1, keepdims=True) + epsilon)",
            "normed = (x - x.mean(axis=1, keepdims=True)) / std",
            "y = gain * normed + bias",
            "g = grad_y * gain",
            "along = (g * normed).mean(axis=1, keepdims=True)",
            "grad_x = (g - g.mean(axis=1, keepdims=True) - normed * along) / std",
            "grad_gain = (grad_y * normed).sum(axis=0)",
            "grad_bias = grad_y.sum(axis=0)",
        ),
        {"x": X, "gain": GAIN, "bias": BIAS, "epsilon": 0.125, "grad_y": GRAD},
        layer_norm,
        {
            "features-minus-one": Wrong(
                "The variance is divided by the number of features less one.",
                lambda **given: _normed(divisor=1, **given),
            ),
            "norm-over-the-batch": Wrong(
                "Mean and variance are those of a column, over the batch.",
                lambda **given: _normed(axis=0, **given),
            ),
            "epsilon-outside-the-root": Wrong(
                "Epsilon is added to the standard deviation, not to the variance.",
                _epsilon_outside,
            ),
            **known(layer_norm, "norm-mean-term-missing", "norm-variance-term-missing"),
        },
        1e-12,
    ),
    Case(
        "rms-norm",
        "The output of an RMS norm and its gradients of x and gain.",
        "rms-norm",
        (
            "rms = sqrt((x * x).mean(axis=1, keepdims=True) + epsilon)",
            "normed = x / rms",
            "y = gain * normed",
            "g = grad_y * gain",
            "grad_x = (g - normed * (g * normed).mean(axis=1, keepdims=True)) / rms",
            "grad_gain = (grad_y * normed).sum(axis=0)",
        ),
        {"x": X, "gain": GAIN, "epsilon": 0.125, "grad_y": GRAD},
        rms_norm,
        {
            "mean-subtracted": Wrong(
                "The mean of a row is subtracted, as in layer norm.",
                lambda **given: layer_norm(bias=np.zeros(5), **given),
            ),
            "sum-for-mean": Wrong(
                "The sum of the squares is taken, not their mean.",
                lambda x, gain, epsilon, **_: {
                    "y": gain * x / np.sqrt((x * x).sum(1, keepdims=True) + epsilon)
                },
            ),
        },
        1e-12,
    ),
)
