"""The bottleneck adapter: a small network added to the identity, which no merge can fold away.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019, arXiv 1902.00751.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import (
    Array,
    Params,
    as_count,
    as_positive,
    check_backward_inputs,
    check_forward_inputs,
    check_generator,
    check_parameter,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.activation import check_activation
from lora_ref.layers.base import Layer
from lora_ref.ops import ACTIVATIONS


class AdapterCache(NamedTuple):
    """What `Adapter.backward` needs from the forward pass."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, features)
    h: Array  # (n, bottleneck)
    inner: Any  # the cache of the activation, as in lora_ref.ops


@dataclass(frozen=True, eq=False, repr=False)
class Adapter(Layer):
    """Computes ``y = x + h @ W_up.T + b_up`` with ``h = φ(x @ W_down.T + b_down)``.

    It keeps the width, so it can be put behind any layer: its x is what that layer returns. It has
    ``2 * features * bottleneck + bottleneck + features`` parameters, all trainable. There is no
    ``merge``: φ is not linear, so no weight and bias compute the same.

    Parameters
    ----------
    W_down : ndarray of shape (bottleneck, features)
        Down-projection, into the bottleneck.
    b_down : ndarray of shape (bottleneck,)
        Added before φ.
    W_up : ndarray of shape (features, bottleneck)
        Up-projection; zero, with `b_up`, it makes the adapter the identity.
    b_up : ndarray of shape (features,)
        Added to every row of y.
    activation : {"relu", "tanh", "gelu", "gelu_tanh", "silu"}
        The name of φ in `lora_ref.ops.ACTIVATIONS`.

    Examples
    --------
    >>> adapter = Adapter(np.ones((2, 7)), np.zeros(2), np.ones((7, 2)), np.zeros(7))
    >>> adapter
    Adapter(features=7, bottleneck=2, relu, float64)
    >>> y, cache = adapter.forward(np.ones((1, 7)))
    >>> float(y[0, 0])  # 1 + (7 + 7)
    15.0
    >>> float(adapter.forward(-np.ones((1, 7)))[0][0, 0])  # -1 + (0 + 0)
    -1.0
    """

    W_down: Array
    b_down: Array
    W_up: Array
    b_up: Array
    activation: str = "relu"

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameter("W_down in Adapter", self.W_down, bottleneck=None, features=None)
        dtype, (bottleneck, features) = self.W_down.dtype, self.W_down.shape
        shapes = {
            "b_down": {"bottleneck": bottleneck},
            "W_up": {"features": features, "bottleneck": bottleneck},
            "b_up": {"features": features},
        }
        for name, axes in shapes.items():
            check_parameter(f"{name} in Adapter", getattr(self, name), dtype=dtype, **axes)
        check_activation("activation in Adapter", self.activation)

    @property
    def trainable(self) -> Params:
        """All four arrays."""
        names = ("W_down", "b_down", "W_up", "b_up")
        return {name: getattr(self, name) for name in names}

    def forward(self, x: Array) -> tuple[Array, AdapterCache]:
        """Map x of shape (n, features) to y of the same shape and a cache.

        Further leading axes of x come back in y.
        """
        leading, x, _, _ = check_forward_inputs("Adapter.forward", x, self.W_down)
        before = x @ self.W_down.T  # (n, bottleneck)
        before += self.b_down
        h, inner = ACTIVATIONS[self.activation].forward(before)
        y = h @ self.W_up.T  # (n, features)
        y += self.b_up
        y += x
        return y.reshape(*leading, -1), AdapterCache(leading, x, h, inner)

    def backward(self, grad_y: Array, cache: AdapterCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of all four arrays."""
        (bottleneck, features), where = self.W_down.shape, "Adapter.backward"
        widths = {"x": features, "h": bottleneck}
        g = check_backward_inputs(where, grad_y, cache, AdapterCache, self.W_up, **widths)
        leading, x, h, inner = cache
        grad_before = ACTIVATIONS[self.activation].backward(g @ self.W_up, inner)
        grads = {
            "W_down": grad_before.T @ x,  # (bottleneck, features)
            "b_down": grad_before.sum(axis=0),
            "W_up": g.T @ h,  # (features, bottleneck)
            "b_up": g.sum(axis=0),
        }
        grad_x = grad_before @ self.W_down  # (n, features)
        grad_x += g
        return grad_x.reshape(*leading, -1), grads

    @classmethod
    def init(
        cls,
        features: int,
        bottleneck: int,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float64,
        activation: str = "relu",
        *,
        std: float = 1e-2,
    ) -> Self:
        """Begin at the identity: W_down small and random, W_up and both biases zero.

        The paper draws both projections near zero, from a normal of standard deviation 0.01
        truncated at two standard deviations, and so begins near the identity. Here W_down is drawn
        like that and W_up is zero, as B is in LoRA: y equals x, and the first gradients of W_down
        and b_down are zero.

        `features` and `dtype` are those of the layer before. `std` is that of the normal before it
        is truncated, above 0: with W_down zero too, b_up alone would learn.
        """
        features = as_count("features in Adapter.init", features)
        bottleneck = as_count("bottleneck in Adapter.init", bottleneck)
        check_generator("rng in Adapter.init", rng)
        kind = np.dtype(dtype)
        if kind.kind != "f":
            raise LoraRefError(f"dtype in Adapter.init is {kind}, expected a floating-point dtype")
        std = as_positive("std in Adapter.init", std, kind)
        W_down = (std * _truncated_normal((bottleneck, features), rng)).astype(kind)
        W_up = np.zeros((features, bottleneck), kind)
        return cls(W_down, np.zeros(bottleneck, kind), W_up, np.zeros(features, kind), activation)

    def __repr__(self) -> str:
        """Sizes, activation and dtype, on one line."""
        bottleneck, features = self.W_down.shape
        return (
            f"{type(self).__name__}(features={features}, bottleneck={bottleneck}, "
            f"{self.activation}, {self.W_down.dtype})"
        )


def _truncated_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from the standard normal, anew where an entry is further than 2 from 0."""
    drawn = rng.standard_normal(shape)
    while (outside := np.abs(drawn) > 2).any():
        drawn[outside] = rng.standard_normal(np.count_nonzero(outside))
    return drawn
