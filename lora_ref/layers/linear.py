"""The plain linear layer: full fine-tuning, a head, biases alone, and what a merge returns."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from lora_ref.checks import Array, Params, check_array, check_cache, check_rows
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, freeze_untrained


class LinearCache(NamedTuple):
    """What `Linear.backward` needs from the forward pass."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)


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
        Which of ``"W"`` and ``"bias"`` may move. What is left out is read-only and gets no
        gradient: ``("bias",)`` trains biases only, ``()`` freezes the layer.

    Raises
    ------
    LoraRefError
        For arrays that are not finite floating-point arrays of one dtype, or a name in `train`
        that is neither ``"W"`` nor ``"bias"``.
    ShapeError
        For shapes that do not fit each other.

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
        check_array("W in Linear", self.W, out_features=None, in_features=None)
        if self.bias is not None:
            check_array("bias in Linear", self.bias, dtype=self.W.dtype, out_features=len(self.W))
        names: object = self.train
        if not isinstance(names, tuple) or not all(name in ("W", "bias") for name in names):
            raise LoraRefError(f"train in Linear is {names!r}, expected a tuple of 'W' and 'bias'")
        freeze_untrained(self)

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return layers that take `x`: without a bias, with one, and with one part frozen."""
        W = rng.standard_normal((out_features, x.shape[-1])).astype(x.dtype)
        bias = rng.standard_normal(out_features).astype(x.dtype)
        return [
            (cls(W), {}),
            (cls(W, bias), {}),
            (cls(W, bias, ("W",)), {}),
            (cls(W, bias, ("bias",)), {}),
        ]

    @property
    def trainable(self) -> Params:
        """The parameters named in `train`, as far as the layer has them."""
        arrays = {"W": self.W, "bias": self.bias}
        return {
            name: array
            for name, array in arrays.items()
            if name in self.train and array is not None
        }

    def forward(self, x: Array) -> tuple[Array, LinearCache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features).

        Further leading axes of x come back in y.

        Raises
        ------
        LoraRefError
            If x has another dtype than the layer, or is empty.
        ShapeError
            If the last axis of x is not in_features, or x has one axis only.
        """
        rows = check_rows("x in Linear.forward", x, self.W.dtype, in_features=self.W.shape[1])
        y = rows @ self.W.T  # (n, out_features)
        if self.bias is not None:
            y += self.bias
        leading = x.shape[:-1]
        return y.reshape(*leading, -1), LinearCache(leading, rows)

    def backward(self, grad_y: Array, cache: LinearCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of what is trainable."""
        in_features, dtype = self.W.shape[1], self.W.dtype
        check_cache("cache in Linear.backward", cache, LinearCache, dtype, x=in_features)
        leading, x = cache
        what, out_features = "grad_y in Linear.backward", len(self.W)
        g = check_rows(what, grad_y, self.W.dtype, leading=leading, out_features=out_features)
        grads = {}
        for name in self.trainable:
            grads[name] = g.T @ x if name == "W" else g.sum(axis=0)
        return (g @ self.W).reshape(*leading, -1), grads

    def __repr__(self) -> str:
        """Sizes, dtype and what trains, on one line."""
        out_features, in_features = self.W.shape
        train = "+".join(self.trainable) or "nothing"
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"{self.W.dtype}, train={train})"
        )
