"""Low-Rank Adaptation: a frozen weight and a trainable update of rank at most r.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685. The paper
writes columns, ``h = W0 x + (alpha/r) B A x``; rows, as here, are the same formula transposed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from lora_ref.checks import (
    Array,
    Params,
    as_count,
    as_finite,
    as_flag,
    check_array,
    check_cache,
    check_generator,
    check_rows,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, freeze_untrained
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear


def scaling_of(alpha: float, r: int, rank_stabilized: bool) -> float:
    """Return the multiplier of an update: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
    return alpha / (sqrt(r) if rank_stabilized else r)


class LoRACache(NamedTuple):
    """What `LoRALinear.backward` needs from the forward pass; nothing in it is out x in."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)  as A sees it: after dropout, if there is any
    h: Array  # (n, r)
    mask: Array | None  # (n, in_features)


@dataclass(frozen=True, eq=False, repr=False)
class LoRALinear(Layer):
    """Computes ``y = x @ W0.T + scaling * (x @ A.T) @ B.T + bias``.

    Parameters
    ----------
    W0 : ndarray of shape (out_features, in_features)
        Pretrained weight: a read-only view, and absent from `trainable` and from every gradient.
    A : ndarray of shape (r, in_features)
        Down-projection; random at the start. r may exceed in_features and out_features.
    B : ndarray of shape (out_features, r)
        Up-projection; zero at the start, so training begins exactly at W0.
    alpha : float
        Strength of the update; only its ratio to r (or to sqrt(r)) enters.
    bias : ndarray of shape (out_features,), optional
        Frozen like W0.
    rank_stabilized : bool
        Whether scaling is alpha / sqrt(r) (Kalajdzievski, 2023, arXiv 2312.03732), not alpha / r.

    Raises
    ------
    LoraRefError
        For arrays that are not finite floating-point arrays of one dtype, or an alpha or scaling
        that is not finite in that dtype.
    ShapeError
        For shapes that do not fit each other.

    Examples
    --------
    >>> layer = LoRALinear(np.zeros((5, 7)), np.ones((2, 7)), np.ones((5, 2)), alpha=4)
    >>> layer
    LoRALinear(in_features=7, out_features=5, r=2, alpha=4, float64)
    >>> float(layer.forward(np.ones((1, 7)))[0][0, 0])  # (4/2) * (7 + 7)
    28.0
    """

    W0: Array
    A: Array
    B: Array
    alpha: float
    bias: Array | None = None
    rank_stabilized: bool = False

    @property
    def r(self) -> int:
        """Rank of the factors: the most that the update can have."""
        return len(self.A)

    @property
    def scaling(self) -> float:
        """Multiplier of the update: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
        return scaling_of(self.alpha, self.r, self.rank_stabilized)

    @property
    def trainable(self) -> Params:
        """A and B; W0 and bias are not among them."""
        return {"A": self.A, "B": self.B}

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features) and a cache.

        Parameters
        ----------
        x : ndarray of shape (n, in_features)
            Rows, of the layer's dtype. Further leading axes come back in y.
        mask : ndarray shaped like x, optional
            Dropout before A, on the low-rank branch only: entries 0, or 1 / (1 - p) where kept.
            Drawn outside, anew for every pass; leave it out in evaluation.

        Raises
        ------
        LoraRefError
            If x or mask has another dtype than the layer, or is empty.
        ShapeError
            If the last axis of x is not in_features, x has one axis only, or mask is not like x.
        """
        in_features, dtype = self.W0.shape[1], self.W0.dtype
        rows = check_rows("x in LoRALinear.forward", x, dtype, in_features=in_features)
        leading, seen = x.shape[:-1], rows
        if mask is not None:
            what = "mask in LoRALinear.forward"
            mask = check_rows(what, mask, dtype, leading=leading, in_features=in_features)
            seen = rows * mask
        h = seen @ self.A.T  # (n, r)
        y = rows @ self.W0.T  # (n, out_features)
        y += h @ (self.scaling * self.B).T
        if self.bias is not None:
            y += self.bias
        return y.reshape(*leading, -1), LoRACache(leading, seen, h, mask)

    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x, shaped like x, and the gradients of A and B.

        With g for grad_y and s for scaling: ``grad_h = s g B``, ``grad_A = grad_h.T x``,
        ``grad_B = s g.T h``, ``grad_x = g W0 + grad_h A``. A gradient of W0, ``g.T x``, exists and
        is not zero; it is never computed, because nothing applies it.

        Raises
        ------
        LoraRefError
            If grad_y has another dtype than the layer, or cache is another layer's.
        ShapeError
            If grad_y is not shaped like y.
        """
        (out_features, in_features), dtype = self.W0.shape, self.W0.dtype
        what = "cache in LoRALinear.backward"
        check_cache(what, cache, LoRACache, dtype, x=in_features, h=self.r)
        leading, x, h, mask = cache
        what = "grad_y in LoRALinear.backward"
        g = check_rows(what, grad_y, dtype, leading=leading, out_features=out_features)
        grad_h = g @ (self.scaling * self.B)  # (n, r)
        grads = {"A": grad_h.T @ x, "B": self.scaling * (g.T @ h)}
        grad_x = g @ self.W0  # (n, in_features)
        through_A = grad_h @ self.A
        grad_x += through_A if mask is None else through_A * mask
        return grad_x.reshape(*leading, -1), grads

    @property
    def delta_w(self) -> Array:
        """The update ``scaling * B @ A`` of shape (out_features, in_features)."""
        return self.scaling * (self.B @ self.A)

    def merge(self) -> Linear:
        """Fold the update into one weight, W0 + delta_w; nothing is left to merge again."""
        return Linear(self.W0 + self.delta_w, None if self.bias is None else self.bias.copy())

    @classmethod
    def init(
        cls,
        W0: Array,
        r: int,
        alpha: float,
        rng: np.random.Generator,
        *,
        initializer: Initializer = kaiming_uniform,
        bias: Array | None = None,
        rank_stabilized: bool = False,
    ) -> Self:
        """Wrap W0 at the start of training; most starts have B zero, so y is W0's.

        Parameters
        ----------
        W0, alpha, bias, rank_stabilized
            As in the class.
        r : int
            Rank of the factors, at least 1.
        rng : numpy.random.Generator
            What the start draws from.
        initializer : callable
            One of `lora_ref.layers.initializers`, such as `kaiming_uniform` or ``normal(std)``;
            `pissa` freezes another W0 than the one given.
        """
        check_array("W0 in LoRALinear.init", W0, out_features=None, in_features=None)
        check_generator("rng in LoRALinear.init", rng)
        r = as_count("r in LoRALinear.init", r)
        alpha = as_finite("alpha in LoRALinear.init", alpha, W0.dtype)
        W0, A, B = initializer(W0, r, scaling_of(alpha, r, rank_stabilized), rng)
        return cls(W0, A, B, alpha, bias, rank_stabilized)

    @classmethod
    def unmerge(
        cls, linear: Linear, A: Array, B: Array, alpha: float, *, rank_stabilized: bool = False
    ) -> Self:
        """Take an update out of a merged weight again; inexact, so keep W0 where it matters.

        Every entry was rounded when the update was merged, and is rounded again here. In float32,
        with an update a tenth as large as W0, about one entry in ten does not get its old bits
        back (`tests/layers/test_lora.py` measures it).
        """
        if not isinstance(linear, Linear):
            raise LoraRefError(f"linear is a {type(linear).__name__}, expected a merged Linear")
        adapter = cls(np.zeros_like(linear.W), A, B, alpha, linear.bias, rank_stabilized)
        return cls(linear.W - adapter.delta_w, A, B, alpha, linear.bias, rank_stabilized)

    affine_in_each_argument: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_array("W0 in LoRALinear", self.W0, out_features=None, in_features=None)
        (out_features, in_features), dtype = self.W0.shape, self.W0.dtype
        check_array("A in LoRALinear", self.A, dtype=dtype, r=None, in_features=in_features)
        check_array("B in LoRALinear", self.B, dtype=dtype, out_features=out_features, r=self.r)
        stabilized = as_flag("rank_stabilized in LoRALinear", self.rank_stabilized)
        object.__setattr__(self, "rank_stabilized", stabilized)
        object.__setattr__(self, "alpha", as_finite("alpha in LoRALinear", self.alpha, dtype))
        as_finite("scaling in LoRALinear", self.scaling, dtype)
        if self.bias is not None:
            check_array("bias in LoRALinear", self.bias, dtype=dtype, out_features=out_features)
        freeze_untrained(self)

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return layers that take `x`: plain, with a bias, r above both widths, with dropout."""
        in_features = x.shape[-1]

        def draw(*shape: int) -> Array:
            return rng.standard_normal(shape).astype(x.dtype)

        def arrays(r: int) -> tuple[Array, Array, Array]:
            return draw(out_features, in_features), draw(r, in_features), draw(out_features, r)

        mask = (rng.random(x.shape) < 0.5).astype(x.dtype) * 2
        return [
            (cls(*arrays(2), alpha=3), {}),
            (cls(*arrays(2), alpha=3, bias=draw(out_features), rank_stabilized=True), {}),
            (cls(*arrays(1 + max(in_features, out_features)), alpha=3), {}),
            (cls(*arrays(2), alpha=3), {"mask": mask}),
        ]

    def __repr__(self) -> str:
        """Sizes, rank, strength and dtype, on one line."""
        out_features, in_features = self.W0.shape
        stabilized = ", rank_stabilized" if self.rank_stabilized else ""
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"r={self.r}, alpha={self.alpha:g}{stabilized}, {self.W0.dtype})"
        )
