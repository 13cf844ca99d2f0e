"""The formula in plain loops: slow, and too simple to be wrong."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.lora import LoRALinear

TOLERANCE = 1e-10
"""A right layer stays below this in float64, and so do a right initializer and a right step."""


def lora_by_loops(layer: LoRALinear, x: Array, mask: Array | None = None) -> Array:
    """Return y of shape (n, out_features), every sum written out.

    ``y[i, o] = sum_j W0[o, j] x[i, j] + scaling * sum_k B[o, k] sum_j A[k, j] mask[i, j] x[i, j]``
    plus ``bias[o]``, where scaling is alpha / r or alpha / sqrt(r).
    """
    (out_features, in_features), r = layer.W0.shape, layer.A.shape[0]
    scaling = layer.alpha / (r**0.5 if layer.rank_stabilized else r)
    y = np.zeros((len(x), out_features))
    for i in range(len(x)):
        h = [0.0] * r
        for k in range(r):
            for j in range(in_features):
                kept = 1.0 if mask is None else mask[i, j]
                h[k] += layer.A[k, j] * kept * x[i, j]
        for o in range(out_features):
            base = sum(layer.W0[o, j] * x[i, j] for j in range(in_features))
            update = sum(layer.B[o, k] * h[k] for k in range(r))
            y[i, o] = base + scaling * update + (0.0 if layer.bias is None else layer.bias[o])
    return y


def formula_errors(layer: LoRALinear, x: Array, rng: np.random.Generator) -> dict[str, float]:
    """Return how far the layer is from the formula, relative to the size of the right answer.

    Parameters
    ----------
    layer : LoRALinear
        Or a subclass that means to compute the same.
    x : ndarray of shape (n, in_features)
        At least two rows, or a mask shared by the batch cannot be told from one of its own.
    rng : numpy.random.Generator
        Draws a dropout mask.

    Returns
    -------
    dict of str to float
        ``forward``, ``masked forward`` and ``merge``: `TOLERANCE` and less in float64 if right.
    """
    mask = 2.0 * (rng.random(x.shape) < 0.5)
    mask[0], mask[-1] = 0.0, 2.0  # one row dropped whole, one kept whole: no two masks agree
    plain, masked = lora_by_loops(layer, x), lora_by_loops(layer, x, mask)
    return {
        "forward": relative_error(layer.forward(x)[0], plain),
        "masked forward": relative_error(layer.forward(x, mask=mask)[0], masked),
        "merge": relative_error(layer.merge().forward(x)[0], plain),
    }


def relative_error(got: Array, expected: Array) -> float:
    """Return the norm of the difference over the norm of what was expected."""
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))
