"""What an initializer and a first training step must do, whatever the data."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lora_ref.checks import Array
from lora_ref.gradcheck.reference import relative_error
from lora_ref.layers.initializers import Initializer
from lora_ref.layers.lora import LoRALinear

Step: TypeAlias = Callable[[LoRALinear, Array, Array, float], tuple[LoRALinear, Array]]
"""One step of training: from layer, x, grad_y and lr to the layer after it, and grad_x."""


def sgd_step(layer: LoRALinear, x: Array, grad_y: Array, lr: float) -> tuple[LoRALinear, Array]:
    """Move A and B against their gradients; grad_x is that of the layer before the step."""
    _, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    moved = {name: value - lr * grads[name] for name, value in layer.trainable.items()}
    return layer.with_params(moved), grad_x


def property_errors(start: Initializer, step: Step, rng: np.random.Generator) -> dict[str, float]:
    """Return how far an initializer and a step are from five properties; 0 where one is kept.

    Parameters
    ----------
    start : callable
        An initializer, as in `lora_ref.layers.initializers`.
    step : callable
        As `sgd_step`.
    rng : numpy.random.Generator
        Draws W0, the data, and what the start draws.

    Returns
    -------
    dict of str to float
        ``starts at W0``: relative change of y by the start. ``moves``: 1 if three steps leave the
        update where it was. ``keeps W0``: relative change of W0. ``grad_x``: relative distance of
        grad_x from ``grad_y @ (W0 + delta_w)`` of the layer that made y. ``downhill``: 1 if
        the update of a very small first step raises ``sum(grad_y * y)``.
    """
    out_features, in_features, r, n, lr = 5, 7, 2, 6, 0.1
    W0 = rng.standard_normal((out_features, in_features))
    x, grad_y = rng.standard_normal((n, in_features)), rng.standard_normal((n, out_features))
    layer = LoRALinear.init(W0, r, alpha=4.0, rng=rng, initializer=start)
    disturbed = relative_error(layer.forward(x)[0], x @ W0.T)
    little = step(layer, x, grad_y, 1e-6)[0].delta_w - layer.delta_w
    first, W0_first, wrong_grad_x = layer.delta_w, layer.W0.copy(), 0.0
    for _ in range(3):
        right = grad_y @ (layer.W0 + layer.delta_w)
        layer, grad_x = step(layer, x, grad_y, lr)
        wrong_grad_x = max(wrong_grad_x, relative_error(grad_x, right))
    return {
        "starts at W0": disturbed,
        "moves": float(np.array_equal(layer.delta_w, first)),
        "keeps W0": relative_error(layer.W0, W0_first),
        "grad_x": wrong_grad_x,
        "downhill": float(np.vdot(grad_y, x @ little.T) > 0),
    }
