"""The plain linear layer: full fine-tuning, a head, biases alone, and what a merge returns."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from lora_ref.checks import (
    Array,
    Params,
    check_backward_inputs,
    check_forward_inputs,
    check_parameter,
    check_same_axes,
)
from lora_ref.layers.base import Layer, check_train, chosen, freeze_untrained


class LinearCache(NamedTuple):
    """What `Linear.backward` needs from the forward pass."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features), or no rows if W is frozen: only its gradient needs them


@dataclass(frozen=True, eq=False, repr=False)
class Linear(Layer):
    """A weight and perhaps a bias: ``y = x @ W.T + bias``.

    Parameters
    ----------
    W : ndarray of shape (out_features, in_features)
        The weight.
    bias : ndarray of shape (out_features,), optional
        Added to every row of y.
    train : tuple of str
        Which of ``"W"`` and ``"bias"`` train. What is left out is read-only and gets no gradient:
        ``("bias",)`` trains biases only, ``()`` freezes the layer.

    Examples
    --------
    >>> layer = Linear(np.ones((5, 7)), train=("W",))
    >>> layer
    Linear(in_features=7, out_features=5, float64, train=W)
    >>> y, cache = layer.forward(np.ones((2, 7)))
    >>> y.shape
    (2, 5)
    """

    W: Array
    bias: Array | None = None
    train: tuple[str, ...] = ("W", "bias")

    affine_in_each_argument: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parameter("W in Linear", self.W, out_features=None, in_features=None)
        if self.bias is not None:
            out_features, dtype = len(self.W), self.W.dtype
            check_parameter("bias in Linear", self.bias, dtype=dtype, out_features=out_features)
        check_train("Linear", self.train, ("W", "bias"))
        freeze_untrained(self)

    @property
    def trainable(self) -> Params:
        """The arrays named in `train`, as far as the layer has them."""
        return chosen(self, ("W", "bias"))

    def forward(self, x: Array) -> tuple[Array, LinearCache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features).

        Further leading axes of x come back in y.
        """
        leading, x, _, _ = check_forward_inputs("Linear.forward", x, self.W)
        y = x @ self.W.T  # (n, out_features)
        if self.bias is not None:
            y += self.bias
        kept = x if "W" in self.train else np.empty((0, x.shape[1]), x.dtype)
        return y.reshape(*leading, -1), LinearCache(leading, kept)

    def backward(self, grad_y: Array, cache: LinearCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of what trains."""
        where, in_features = "Linear.backward", self.W.shape[1]
        g = check_backward_inputs(where, grad_y, cache, LinearCache, self.W, x=in_features)
        leading, x = cache
        grads = {}
        if "W" in self.train:
            check_same_axes(f"x in the cache in {where}", x, (len(g), in_features))
            grads["W"] = g.T @ x  # (out_features, in_features)
        if "bias" in self.train and self.bias is not None:
            grads["bias"] = g.sum(axis=0)  # (out_features,)
        return (g @ self.W).reshape(*leading, -1), grads

    def __repr__(self) -> str:
        """Sizes, dtype and what trains, on one line."""
        out_features, in_features = self.W.shape
        train = "+".join(self.trainable) or "nothing"
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"{self.W.dtype}, train={train})"
        )
