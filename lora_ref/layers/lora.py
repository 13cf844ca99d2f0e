"""Low-Rank Adaptation: a frozen weight and a trainable update of rank at most r.

Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, arXiv 2106.09685. The paper
writes columns, ``h = W0 x + (alpha/r) B A x``; rows, as here, are the same formula transposed.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from dataclasses import dataclass
from typing import ClassVar, NamedTuple, Self

import numpy as np

from lora_ref.checks import (
    Array,
    Params,
    check_backward_inputs,
    check_forward_inputs,
    check_parameter,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.low_rank import LowRankLayer, add_product, initial_factors


class LoRACache(NamedTuple):
    """What `LoRALinear.backward` needs from the forward pass; nothing in it is out x in."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)  as A sees it: after dropout, if there is any
    h: Array  # (n, r)
    mask: Array | None  # (n, in_features)


@dataclass(frozen=True, eq=False, repr=False)
class LoRALinear(LowRankLayer):
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
        Frozen like W0, unless `train` names it.
    rank_stabilized : bool
        Whether scaling is alpha / sqrt(r) (Kalajdzievski, 2023, arXiv 2312.03732), not alpha / r.
    train : tuple of str
        Which of ``"A"``, ``"B"`` and ``"bias"`` train; the others are read-only.

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
    train: tuple[str, ...] = ("A", "B")

    affine_in_each_argument: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parameter("W0 in LoRALinear", self.W0, out_features=None, in_features=None)
        self._check_entries(self.W0.dtype)

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features) and a cache.

        Parameters
        ----------
        x : ndarray of shape (n, in_features)
            Rows, of the layer's dtype. Further leading axes come back in y.
        mask : ndarray shaped like x, optional
            Dropout before A, on the low-rank branch only: entries 0, or 1 / (1 - p) where kept.
            Drawn outside, anew for every pass; leave it out in evaluation.
        """
        leading, x, dropped, mask = check_forward_inputs("LoRALinear.forward", x, self.W0, mask)
        h = dropped @ self.A.T  # (n, r)
        y = x @ self.W0.T  # (n, out_features)
        add_product(y, h, (self.scaling * self.B).T)
        if self.bias is not None:
            y += self.bias
        return y.reshape(*leading, -1), LoRACache(leading, dropped, h, mask)

    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x, shaped like x, and the gradients of what trains.

        With g for grad_y and s for scaling: ``grad_h = s g B``, ``grad_A = grad_h.T x``,
        ``grad_B = s g.T h``, ``grad_x = g W0 + grad_h A``. A gradient of W0, ``g.T x``, exists and
        is not zero; it is never computed, because nothing applies it.
        """
        where, widths = "LoRALinear.backward", {"x": self.W0.shape[1], "h": self.r}
        g = check_backward_inputs(where, grad_y, cache, LoRACache, self.W0, **widths)
        leading, x, h, mask = cache
        grad_h = g @ (self.scaling * self.B)  # (n, r)
        grads = {}
        if "A" in self.train:
            grads["A"] = grad_h.T @ x  # (r, in_features)
        if "B" in self.train:
            grads["B"] = self.scaling * (g.T @ h)  # (out_features, r)
        if "bias" in self.train and self.bias is not None:
            grads["bias"] = g.sum(axis=0)  # (out_features,)
        grad_x = g @ self.W0  # (n, in_features)
        if mask is None:
            add_product(grad_x, grad_h, self.A)
        else:
            grad_x += (grad_h @ self.A) * mask
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
        train: tuple[str, ...] = ("A", "B"),
    ) -> Self:
        """Wrap W0 at the start of training; most initializers set B to zero, so y is W0's.

        Parameters
        ----------
        W0, alpha, bias, rank_stabilized, train
            As in the class.
        r : int
            Rank of the factors, at least 1.
        rng : numpy.random.Generator
            What the initializer draws from.
        initializer : callable
            One of `lora_ref.layers.initializers`, such as `kaiming_uniform` or ``normal(std)``;
            `pissa` freezes another W0 than the one given.
        """
        where = "LoRALinear.init"
        start = initial_factors(where, W0, r, alpha, rng, initializer, bias, rank_stabilized)
        return cls(*start, alpha, bias, rank_stabilized, train)

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
        merged = cls(linear.W, A, B, alpha, linear.bias, rank_stabilized)
        return cls(linear.W - merged.delta_w, A, B, alpha, linear.bias, rank_stabilized)
