"""The bottleneck adapter: a small network beside the identity, which no merge can fold away.

Houlsby et al., "Parameter-Efficient Transfer Learning for NLP", 2019, arXiv 1902.00751.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import (
    Array,
    Params,
    as_count,
    as_finite,
    check_array,
    check_cache,
    check_float,
    check_generator,
    check_rows,
    check_same_axes,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer
from lora_ref.ops import ACTIVATIONS


class AdapterCache(NamedTuple):
    """What `Adapter.backward` needs from the forward pass."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, features)
    h: Array  # (n, m)
    inner: Any  # the cache of the activation, as in lora_ref.ops


@dataclass(frozen=True, eq=False, repr=False)
class Adapter(Layer):
    """Computes ``y = x + h @ W_up.T + b_up`` with ``h = φ(x @ W_down.T + b_down)``.

    It keeps the width, so it stands anywhere between two layers: after a frozen `Linear` its x is
    what that layer returns. It has ``2 * features * m + m + features`` parameters, all trainable;
    the frozen weights are those of the layers around it. There is no ``merge``: φ is not linear,
    so no weight and bias compute the same (`affine_defect` measures by how much).

    Parameters
    ----------
    W_down : ndarray of shape (m, features)
        Down-projection, into the bottleneck.
    b_down : ndarray of shape (m,)
        Added before φ.
    W_up : ndarray of shape (features, m)
        Up-projection; zero, with `b_up`, it makes the adapter the identity.
    b_up : ndarray of shape (features,)
        Added to every row of y.
    activation : {"relu", "tanh", "gelu", "gelu_tanh"}
        The name of φ in `lora_ref.ops.ACTIVATIONS`.

    Raises
    ------
    LoraRefError
        For arrays that are not finite floating-point arrays of one dtype, or an unknown activation.
    ShapeError
        For shapes that do not fit each other.

    Examples
    --------
    >>> adapter = Adapter(np.ones((2, 7)), np.zeros(2), np.ones((7, 2)), np.zeros(7))
    >>> adapter
    Adapter(features=7, m=2, relu, float64)
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

    @property
    def m(self) -> int:
        """Width of the bottleneck."""
        return len(self.W_down)

    @property
    def trainable(self) -> Params:
        """All four arrays."""
        return {
            "W_down": self.W_down,
            "b_down": self.b_down,
            "W_up": self.W_up,
            "b_up": self.b_up,
        }

    def forward(self, x: Array) -> tuple[Array, AdapterCache]:
        """Map x of shape (n, features) to y of the same shape and a cache.

        Further leading axes of x come back in y.

        Raises
        ------
        LoraRefError
            If x has another dtype than the layer, or is empty.
        ShapeError
            If the last axis of x is not features, or x has one axis only.
        """
        features, dtype = self.W_down.shape[1], self.W_down.dtype
        rows = check_rows("x in Adapter.forward", x, dtype, features=features)
        before = rows @ self.W_down.T  # (n, m)
        before += self.b_down
        h, inner = ACTIVATIONS[self.activation].forward(before)
        y = h @ self.W_up.T  # (n, features)
        y += self.b_up
        y += rows
        return y.reshape(x.shape), AdapterCache(x.shape[:-1], rows, h, inner)

    def backward(self, grad_y: Array, cache: AdapterCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of all four arrays."""
        features, dtype = self.W_down.shape[1], self.W_down.dtype
        what = "cache in Adapter.backward"
        check_cache(what, cache, AdapterCache, dtype, x=features, h=self.m)
        leading, x, h, inner = cache
        what = "grad_y in Adapter.backward"
        g = check_rows(what, grad_y, dtype, leading=leading, features=features)
        grad_before = ACTIVATIONS[self.activation].backward(g @ self.W_up, inner)  # (n, m)
        grads = {
            "W_down": grad_before.T @ x,
            "b_down": grad_before.sum(axis=0),
            "W_up": g.T @ h,
            "b_up": g.sum(axis=0),
        }
        grad_x = grad_before @ self.W_down  # (n, features)
        grad_x += g
        return grad_x.reshape(grad_y.shape), grads

    @classmethod
    def init(
        cls,
        features: int,
        m: int,
        rng: np.random.Generator,
        dtype: DTypeLike = np.float64,
        activation: str = "relu",
        *,
        std: float = 1e-2,
    ) -> Self:
        """Begin at the identity: W_down small and random, W_up and both biases zero.

        The paper draws both projections near zero, from a normal of standard deviation 0.01 cut at
        two standard deviations, and so begins near the identity. Here W_down is drawn like that and
        W_up is zero, as B is in LoRA: y equals x, and the first gradients of W_down and b_down are
        zero. Since W_up is, nothing asks W_down to be small; a larger `std` begins there as well.

        Parameters
        ----------
        features : int
            Width of the layer before.
        m : int
            Width of the bottleneck, at least 1.
        rng : numpy.random.Generator
            Where W_down is drawn from.
        dtype : dtype
            That of the layer before.
        activation : str
            As in the class.
        std : float
            Standard deviation of the normal before it is cut, positive: with W_down zero too,
            b_up alone would learn.

        Raises
        ------
        LoraRefError
            For sizes that are not whole numbers of at least 1, a `std` that is not positive, or a
            dtype that is not floating point.
        """
        features = as_count("features in Adapter.init", features)
        m = as_count("m in Adapter.init", m)
        check_generator("rng in Adapter.init", rng)
        kind = np.dtype(dtype)
        if kind.kind != "f":
            raise LoraRefError(f"dtype in Adapter.init is {kind}, expected a floating-point dtype")
        std = as_finite("std in Adapter.init", std, kind)
        if not std > 0:
            raise LoraRefError(f"std in Adapter.init is {std}, expected a positive number")
        W_down = (std * _cut_normal((m, features), rng)).astype(kind)
        b_down, W_up, b_up = (np.zeros(shape, kind) for shape in (m, (features, m), features))
        return cls(W_down, b_down, W_up, b_up, activation)

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_array("W_down in Adapter", self.W_down, m=None, features=None)
        (m, features), dtype = self.W_down.shape, self.W_down.dtype
        check_array("b_down in Adapter", self.b_down, dtype=dtype, m=m)
        check_array("W_up in Adapter", self.W_up, dtype=dtype, features=features, m=m)
        check_array("b_up in Adapter", self.b_up, dtype=dtype, features=features)
        name: object = self.activation
        if not isinstance(name, str) or name not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise LoraRefError(f"activation in Adapter is {name!r}, expected one of: {names}")

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return layers that take `x`, one for each activation; y is as wide as x in all of them.

        Before φ entries at `x` lie between -0.5 and 1.5, where φ is not flat: a small gradient
        drowns in rounding. With ReLU each unit is on for every row or off for every row, at least
        0.5 away from the kink.
        """
        features = x.shape[-1]

        def draw(*shape: int) -> Array:
            return rng.standard_normal(shape).astype(x.dtype)

        def arrays(m: int) -> tuple[Array, Array, Array, Array]:
            W_down = draw(m, features)
            W_down /= 2 * (1 + np.abs(x @ W_down.T).max())
            b_down = rng.random(m).astype(x.dtype)
            return W_down, b_down, draw(features, m), draw(features)

        W_down, b_down, W_up, b_up = arrays(3)
        b_down[:] = 1.0, -1.0, 1.0
        return [
            (cls(*arrays(2), "tanh"), {}),
            (cls(*arrays(3), "gelu"), {}),
            (cls(*arrays(1 + features), "gelu_tanh"), {}),
            (cls(W_down, b_down, W_up, b_up, "relu"), {}),
        ]

    def __repr__(self) -> str:
        """Sizes, activation and dtype, on one line."""
        m, features = self.W_down.shape
        here = type(self).__name__
        return f"{here}(features={features}, m={m}, {self.activation}, {self.W_down.dtype})"


def affine_defect(layer: Layer, x: Array, step: Array) -> Array:
    """Return ``f(x + step) + f(x - step) - 2 f(x)``: 0 if f is any weight with any bias.

    So one entry that is more than rounding proves that no W and no bias replace the layer. It also
    says what a replacement costs: one that is wrong by at most e at the three points has a defect
    within 4 e of the layer's, and its own is 0; hence e is at least a quarter of the largest entry.

    Parameters
    ----------
    layer : Layer
        Any layer of the contract.
    x : ndarray of shape (n, in_features), or with more leading axes
        The point in the middle. An odd function hides at 0: tanh without biases shows none there.
    step : ndarray shaped like x
        From the middle to the points on both sides.

    Returns
    -------
    ndarray shaped like y

    Raises
    ------
    LoraRefError
        If x or `step` is no floating-point array, or their dtypes differ.
    ShapeError
        If `step` is not shaped like x.

    Examples
    --------
    One unit between 1 and -1: ``relu(1) + relu(-1) - 2 relu(0)``. LoRA has nothing of the kind.

    >>> from lora_ref.layers.lora import LoRALinear
    >>> one, zero = np.ones((1, 1)), np.zeros((1, 1))
    >>> affine_defect(Adapter(one, zero[0], one, zero[0]), x=zero, step=one).tolist()
    [[1.0]]
    >>> affine_defect(LoRALinear(one, one, one, alpha=1), x=zero, step=one).tolist()
    [[0.0]]
    """
    check_float("x in affine_defect", x)
    check_float("step in affine_defect", step, x.dtype)
    check_same_axes("step in affine_defect", step, x.shape)
    ahead, middle, behind = (layer.forward(at)[0] for at in (x + step, x, x - step))
    defect: Array = ahead + behind - 2 * middle
    return defect


def _cut_normal(shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Draw from the standard normal, anew where an entry is further than 2 from 0."""
    drawn = rng.standard_normal(shape)
    while (outside := np.abs(drawn) > 2).any():
        drawn[outside] = rng.standard_normal(np.count_nonzero(outside))
    return drawn
