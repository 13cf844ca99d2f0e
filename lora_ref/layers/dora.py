"""Weight-decomposed adaptation: a magnitude for each output, and a direction that LoRA moves.

Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, arXiv 2402.09353. The paper's
weight is (in, out) in its pictures and its norm runs down the columns; here W0 is (out_features,
in_features), so the same norm runs along a row: over the inputs, one number for each output.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, Self

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
from lora_ref.layers.low_rank import LowRankLayer, add_product, initial_factors, scaling_of

CANCELLATION_LIMIT = 1 / 16
"""A squared norm that is a smaller share than this of its terms is computed from V itself."""

ROW_BLOCK = 32
"""Rows of V formed at a time, where they must be formed at all."""


class DoRACache(NamedTuple):
    """What `DoRALinear.backward` needs from the forward pass; nothing in it is out x in."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)  as V sees it: after dropout, if there is any
    h: Array  # (n, r)
    z: Array  # (n, out_features)  x @ V.T
    norms: Array  # (out_features,)
    W0_At: Array  # (out_features, r)  W0 @ A.T
    mask: Array | None  # (n, in_features)


@dataclass(frozen=True, eq=False, repr=False)
class DoRALinear(LowRankLayer):
    """Computes ``y = magnitude / norms * (x @ V.T) + bias``, where ``V = W0 + scaling * B @ A``.

    ``norms[o]`` is the length of row o of V, so row o of the weight has the length
    ``abs(magnitude[o])``, whatever A and B do: they turn it.

    Parameters
    ----------
    W0, A, B, alpha, bias, rank_stabilized
        As in `LoRALinear`; A and B move the direction, and the magnitude does not scale the bias.
    magnitude : ndarray of shape (out_features,)
        Length of each row of the adapted weight; trainable, of any sign.
    norm_gradient : {"true", "detached"}
        What backward returns for A and B. ``"true"`` is the derivative: norms move with V.
        ``"detached"`` is section 4.3 of the paper, which saves memory by treating norms as
        constants, as PEFT does. It is **not** a gradient of y: it keeps the part that would
        lengthen a row of V, which the division by the norm takes out again. The gradients of
        magnitude and x are the same in both.
    train : tuple of str
        Which of ``"A"``, ``"B"``, ``"magnitude"`` and ``"bias"`` train.

    Examples
    --------
    >>> W0, A, B = np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([[0.0, 1.0]]), np.zeros((2, 1))
    >>> layer = DoRALinear(W0, A, B, magnitude=np.array([3.0, 5.0]), alpha=1)
    >>> layer
    DoRALinear(in_features=2, out_features=2, r=1, alpha=1, float64, norm_gradient=true)
    >>> layer.merge().W  # it starts at W0
    array([[3., 0.],
           [0., 5.]])

    B turns the first row of V to (3, 4). Its magnitude is still 3, and LoRA's would be 5:

    >>> layer.with_params({"B": np.array([[4.0], [0.0]])}).merge().W
    array([[1.8, 2.4],
           [0. , 5. ]])
    """

    W0: Array
    A: Array
    B: Array
    magnitude: Array
    alpha: float
    bias: Array | None = None
    rank_stabilized: bool = False
    norm_gradient: Literal["true", "detached"] = "true"
    train: tuple[str, ...] = ("A", "B", "magnitude")

    affine_in_each_argument: ClassVar[bool] = False
    can_train: ClassVar[tuple[str, ...]] = ("A", "B", "magnitude", "bias")

    def __post_init__(self) -> None:
        check_parameter("W0 in DoRALinear", self.W0, out_features=None, in_features=None)
        out_features, dtype = len(self.W0), self.W0.dtype
        what = "magnitude in DoRALinear"
        check_parameter(what, self.magnitude, dtype=dtype, out_features=out_features)
        if self.norm_gradient not in ("true", "detached"):
            raise LoraRefError(
                f"norm_gradient in DoRALinear is {self.norm_gradient!r}, "
                "expected 'true' or 'detached'"
            )
        self._check_entries(dtype)

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, DoRACache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features) and a cache.

        Parameters
        ----------
        x : ndarray of shape (n, in_features)
            Rows, of the layer's dtype. Further leading axes come back in y.
        mask : ndarray shaped like x, optional
            Dropout on all that the adapter adds to W0, magnitude included: entries 0, or
            1 / (1 - p) where kept. With ``W = magnitude / norms * V``, the adapted weight::

                y = x @ W0.T + (x * mask) @ (W - W0).T + bias

            PEFT computes the same. It costs a second product with W0.

        Raises
        ------
        LoraRefError
            For a row of V whose norm is zero or not finite: it has no direction.
        """
        leading, x, dropped, mask = check_forward_inputs("DoRALinear.forward", x, self.W0, mask)
        norms, W0_At = row_norms(self.W0, self.A, self.B, self.scaling)
        h = dropped @ self.A.T  # (n, r)
        z = dropped @ self.W0.T  # (n, out_features)
        add_product(z, h, (self.scaling * self.B).T)
        y = self.magnitude / norms * z
        if mask is not None:
            y += (x - dropped) @ self.W0.T  # what dropout took from V goes through W0 alone
        if self.bias is not None:
            y += self.bias
        cache = DoRACache(leading, dropped, h, z, norms, W0_At, mask)
        return y.reshape(*leading, -1), cache

    def backward(self, grad_y: Array, cache: DoRACache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of what trains."""
        out_features, in_features = self.W0.shape
        where, widths = "DoRALinear.backward", {"x": in_features, "h": self.r, "z": out_features}
        g = check_backward_inputs(where, grad_y, cache, DoRACache, self.W0, **widths)
        leading, x, h, z, norms, W0_At, mask = cache
        row_scale = self.magnitude / norms  # (out_features,)
        grad_row_scale = np.einsum("no,no->o", g, z)  # (out_features,)  without g * z in full
        grad_z = g * row_scale  # (n, out_features)
        scaled_B = self.scaling * self.B
        grad_h = grad_z @ scaled_B  # (n, r)
        grad_A, grad_B = grad_h.T @ x, self.scaling * (grad_z.T @ h)
        if self.norm_gradient == "true":
            # a longer row is scaled less: d norms[o] / d V[o] = V[o] / norms[o]
            norm_term = self.scaling * (grad_row_scale * row_scale / norms / norms)[:, None]
            norm_term_B = norm_term * self.B  # (out_features, r)
            grad_A -= norm_term_B.T @ self.W0 + (norm_term_B.T @ scaled_B) @ self.A
            grad_B -= norm_term * (W0_At + scaled_B @ (self.A @ self.A.T))
        grad_x = grad_z @ self.W0  # (n, in_features)
        add_product(grad_x, grad_h, self.A)
        if mask is not None:
            grad_x *= mask
            grad_x += (g @ self.W0) * (1 - mask)
        grads = {"A": grad_A, "B": grad_B, "magnitude": grad_row_scale / norms}
        grads["bias"] = g.sum(axis=0)
        return grad_x.reshape(*leading, -1), {name: grads[name] for name in self.trainable}

    def merge(self) -> Linear:
        """Fold magnitude and direction into one weight: ``magnitude / norms * V``."""
        norms, _ = row_norms(self.W0, self.A, self.B, self.scaling)
        V = self.W0 + self.scaling * (self.B @ self.A)
        W = (self.magnitude / norms)[:, None] * V
        return Linear(W, None if self.bias is None else self.bias.copy())

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
        norm_gradient: Literal["true", "detached"] = "true",
        train: tuple[str, ...] = ("A", "B", "magnitude"),
    ) -> Self:
        """Wrap W0 at the start of training, with the row norms of V as magnitudes.

        Where B is zero, y is W0's bit for bit: magnitude and norms are the same numbers, and their
        quotient is exactly 1.

        Parameters
        ----------
        W0, alpha, bias, rank_stabilized, norm_gradient, train
            As in the class.
        r, rng, initializer
            As in `LoRALinear.init`.
        """
        where = "DoRALinear.init"
        W0, A, B = initial_factors(where, W0, r, alpha, rng, initializer, bias, rank_stabilized)
        magnitude, _ = row_norms(W0, A, B, scaling_of(alpha, r, rank_stabilized))
        return cls(W0, A, B, magnitude, alpha, bias, rank_stabilized, norm_gradient, train)

    def _more(self) -> str:
        return f", norm_gradient={self.norm_gradient}"


def row_norms(W0: Array, A: Array, B: Array, scaling: float) -> tuple[Array, Array]:
    """Return the lengths of the rows of ``V = W0 + scaling * B @ A`` without forming V.

    With w a row of W0, and b that row of ``scaling * B``::

        norm(w + b @ A)**2 = w @ w + 2 * b @ (A @ w) + b @ (A @ A.T) @ b

    The terms are as large as W0 and the update. Where these nearly cancel, the sum shrinks and the
    rounding of its terms stays: if V is a thousandth of W0, six digits of the square are gone, and
    float32 has seven. A row whose square falls below `CANCELLATION_LIMIT` of the terms' sum is
    formed after all, `ROW_BLOCK` rows at a time.

    Returns
    -------
    norms : ndarray of shape (out_features,)
        To a few units in the last place, where the update does not cancel W0.
    W0_At : ndarray of shape (out_features, r)
        ``W0 @ A.T``, which the gradient of B needs again.

    Raises
    ------
    LoraRefError
        For a row whose norm is zero to the dtype's rounding, or not finite: it has no direction.

    Examples
    --------
    >>> W0, A, B = np.diag([3.0, 5.0]), np.array([[0.0, 2.0]]), np.array([[2.0], [0.0]])
    >>> row_norms(W0, A, B, scaling=1.0)[0]
    array([5., 5.])
    """
    with np.errstate(over="ignore", invalid="ignore"):  # the sentence below says it
        W0_At, b = W0 @ A.T, scaling * B  # (out_features, r) both
        added = np.vecdot(W0, W0) + np.vecdot(b @ (A @ A.T), b)
        squares = added + 2 * np.vecdot(b, W0_At)
        norms = np.sqrt(np.maximum(squares, 0))
        lost = np.flatnonzero(~(squares >= CANCELLATION_LIMIT * added))
        for i in range(0, len(lost), ROW_BLOCK):
            some = lost[i : i + ROW_BLOCK]
            V = b[some] @ A
            V += W0[some]
            norms[some] = np.sqrt(np.vecdot(V, V))
    kind = np.finfo(W0.dtype)
    rounding = np.maximum(4 * kind.eps * np.sqrt(np.maximum(added, 0)), np.sqrt(kind.tiny))
    wrong = np.flatnonzero(~(norms > rounding))  # an infinite norm has infinite rounding
    if len(wrong):
        o = int(wrong[0])
        raise LoraRefError(
            f"row {o} of W0 + scaling * B @ A has norm {float(norms[o]):.3g} in {W0.dtype}, "
            "expected one above zero and finite: DoRA divides by it"
        )
    return norms, W0_At
