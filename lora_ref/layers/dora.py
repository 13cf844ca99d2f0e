"""Weight-decomposed adaptation: a magnitude for each output, and a direction that LoRA moves.

Liu et al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, arXiv 2402.09353. The paper's
weight is (in, out) in its pictures and its norm runs down the columns; here W0 is (out_features,
in_features), so the same norm runs along a row: over the inputs, one number for each output.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

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
from lora_ref.layers.lora import scaling_of

LOST = 1 / 16
"""Where a squared norm is a smaller share than this of what was added up, it is added up anew."""

BLOCK = 32
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
class DoRALinear(Layer):
    """Computes ``y = magnitude / norms * (x @ V.T) + bias``, where ``V = W0 + scaling * B @ A``.

    ``norms[o]`` is the length of row o of V, so row o of the weight has the length
    ``abs(magnitude[o])``, whatever A and B do: they turn it.

    Parameters
    ----------
    W0 : ndarray of shape (out_features, in_features)
        Pretrained weight: a read-only view, and absent from `trainable` and from every gradient.
    A, B : ndarrays of shape (r, in_features) and (out_features, r)
        Down- and up-projection, as in `LoRALinear`.
    magnitude : ndarray of shape (out_features,)
        Length of each row of the adapted weight; trainable, of any sign.
    alpha : float
        Strength of the update of the direction.
    bias : ndarray of shape (out_features,), optional
        Frozen, and not scaled by the magnitude.
    rank_stabilized : bool
        Whether scaling is alpha / sqrt(r), not alpha / r.
    norm_gradient : {"true", "held"}
        What backward says of A and B. ``"true"`` is the derivative: norms move with V. ``"held"``
        is section 4.3 of the paper, which saves memory by holding norms constant, as PEFT does.
        It is **not** a gradient of y: it keeps the part that would lengthen a row of V, which
        the division by the norm takes out again. The gradients of magnitude and x are the same
        in both.

    Raises
    ------
    LoraRefError
        For arrays that are not finite floating-point arrays of one dtype, an alpha or scaling that
        is not finite in that dtype, another `norm_gradient`, or a row of V of norm zero.
    ShapeError
        For shapes that do not fit each other.

    Examples
    --------
    >>> W0, A, B = np.array([[3.0, 0.0], [0.0, 5.0]]), np.array([[0.0, 1.0]]), np.zeros((2, 1))
    >>> layer = DoRALinear(W0, A, B, magnitude=np.array([3.0, 5.0]), alpha=1)
    >>> layer
    DoRALinear(in_features=2, out_features=2, r=1, alpha=1, norm_gradient=true, float64)
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
    norm_gradient: Literal["true", "held"] = "true"

    @property
    def r(self) -> int:
        """Rank of the factors."""
        return len(self.A)

    @property
    def scaling(self) -> float:
        """Multiplier of the update: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
        return scaling_of(self.alpha, self.r, self.rank_stabilized)

    @property
    def trainable(self) -> Params:
        """A, B and magnitude; W0 and bias are not among them."""
        return {"A": self.A, "B": self.B, "magnitude": self.magnitude}

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
            If x or mask has another dtype than the layer, or is empty, or a row of V has norm zero
            or one that is not finite.
        ShapeError
            If the last axis of x is not in_features, x has one axis only, or mask is not like x.
        """
        in_features, dtype = self.W0.shape[1], self.W0.dtype
        rows = check_rows("x in DoRALinear.forward", x, dtype, in_features=in_features)
        leading, seen = x.shape[:-1], rows
        if mask is not None:
            what = "mask in DoRALinear.forward"
            mask = check_rows(what, mask, dtype, leading=leading, in_features=in_features)
            seen = rows * mask
        norms, W0_At = row_norms(self.W0, self.A, self.B, self.scaling)
        h = seen @ self.A.T  # (n, r)
        z = seen @ self.W0.T  # (n, out_features)
        z += h @ (self.scaling * self.B).T
        y = self.magnitude / norms * z
        if mask is not None:
            y += (rows - seen) @ self.W0.T  # what dropout took from V goes through W0 alone
        if self.bias is not None:
            y += self.bias
        cache = DoRACache(leading, seen, h, z, norms, W0_At, mask)
        return y.reshape(*leading, -1), cache

    def backward(self, grad_y: Array, cache: DoRACache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of A, B and magnitude."""
        (out_features, in_features), dtype = self.W0.shape, self.W0.dtype
        what = "cache in DoRALinear.backward"
        check_cache(what, cache, DoRACache, dtype, x=in_features, h=self.r, z=out_features)
        leading, x, h, z, norms, W0_At, mask = cache
        what = "grad_y in DoRALinear.backward"
        g = check_rows(what, grad_y, dtype, leading=leading, out_features=out_features)
        stretch = self.magnitude / norms  # (out_features,)
        grad_stretch = np.einsum("no,no->o", g, z)  # (out_features,)  without g * z in full
        grad_z = g * stretch  # (n, out_features)
        scaled_B = self.scaling * self.B
        grad_h = grad_z @ scaled_B  # (n, r)
        grad_A, grad_B = grad_h.T @ x, self.scaling * (grad_z.T @ h)
        if self.norm_gradient == "true":
            # a longer row is stretched less: d norms[o] / d V[o] = V[o] / norms[o]
            pull = self.scaling * (grad_stretch * stretch / norms / norms)[:, None]
            pull_B = pull * self.B  # (out_features, r)
            grad_A -= pull_B.T @ self.W0 + (pull_B.T @ scaled_B) @ self.A
            grad_B -= pull * (W0_At + scaled_B @ (self.A @ self.A.T))
        grad_x = grad_z @ self.W0  # (n, in_features)
        grad_x += grad_h @ self.A
        if mask is not None:
            grad_x *= mask
            grad_x += (g @ self.W0) * (1 - mask)
        grads = {"A": grad_A, "B": grad_B, "magnitude": grad_stretch / norms}
        return grad_x.reshape(*leading, -1), grads

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
        norm_gradient: Literal["true", "held"] = "true",
    ) -> Self:
        """Wrap W0 at the start of training, with the row norms of V as magnitudes.

        Where B is zero, y is W0's bit for bit: magnitude and norms are the same numbers, and their
        quotient is exactly 1.

        Parameters
        ----------
        W0, alpha, bias, rank_stabilized, norm_gradient
            As in the class.
        r, rng, initializer
            As in `LoRALinear.init`.
        """
        check_array("W0 in DoRALinear.init", W0, out_features=None, in_features=None)
        check_generator("rng in DoRALinear.init", rng)
        r = as_count("r in DoRALinear.init", r)
        alpha = as_finite("alpha in DoRALinear.init", alpha, W0.dtype)
        scaling = scaling_of(alpha, r, rank_stabilized)
        W0, A, B = initializer(W0, r, scaling, rng)
        magnitude, _ = row_norms(W0, A, B, scaling)
        return cls(W0, A, B, magnitude, alpha, bias, rank_stabilized, norm_gradient)

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_array("W0 in DoRALinear", self.W0, out_features=None, in_features=None)
        (out_features, in_features), dtype = self.W0.shape, self.W0.dtype
        check_array("A in DoRALinear", self.A, dtype=dtype, r=None, in_features=in_features)
        check_array("B in DoRALinear", self.B, dtype=dtype, out_features=out_features, r=self.r)
        what = "magnitude in DoRALinear"
        check_array(what, self.magnitude, dtype=dtype, out_features=out_features)
        stabilized = as_flag("rank_stabilized in DoRALinear", self.rank_stabilized)
        object.__setattr__(self, "rank_stabilized", stabilized)
        object.__setattr__(self, "alpha", as_finite("alpha in DoRALinear", self.alpha, dtype))
        as_finite("scaling in DoRALinear", self.scaling, dtype)
        if self.bias is not None:
            check_array("bias in DoRALinear", self.bias, dtype=dtype, out_features=out_features)
        if self.norm_gradient not in ("true", "held"):
            raise LoraRefError(
                f"norm_gradient in DoRALinear is {self.norm_gradient!r}, expected 'true' or 'held'"
            )
        row_norms(self.W0, self.A, self.B, self.scaling)
        freeze_untrained(self)

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return layers that take `x`: plain, with a bias, r above both widths, with dropout.

        All have the true gradient: the other one is not that of y, and a check has to say so.
        """
        in_features = x.shape[-1]

        def draw(*shape: int) -> Array:
            return rng.standard_normal(shape).astype(x.dtype)

        def arrays(r: int) -> tuple[Array, Array, Array, Array]:
            A, B = draw(r, in_features), draw(out_features, r)
            return draw(out_features, in_features), A, B, draw(out_features)

        mask = (rng.random(x.shape) < 0.5).astype(x.dtype) * 2
        return [
            (cls(*arrays(2), alpha=3), {}),
            (cls(*arrays(2), alpha=3, bias=draw(out_features), rank_stabilized=True), {}),
            (cls(*arrays(1 + max(in_features, out_features)), alpha=3), {}),
            (cls(*arrays(2), alpha=3, bias=draw(out_features)), {"mask": mask}),
        ]

    def __repr__(self) -> str:
        """Sizes, rank, strength, kind of gradient and dtype, on one line."""
        out_features, in_features = self.W0.shape
        stabilized = ", rank_stabilized" if self.rank_stabilized else ""
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"r={self.r}, alpha={self.alpha:g}{stabilized}, norm_gradient={self.norm_gradient}, "
            f"{self.W0.dtype})"
        )


def row_norms(W0: Array, A: Array, B: Array, scaling: float) -> tuple[Array, Array]:
    """Return the lengths of the rows of ``V = W0 + scaling * B @ A`` without forming V.

    With w a row of W0, and b that row of ``scaling * B``::

        norm(w + b @ A)**2 = w @ w + 2 * b @ (A @ w) + b @ (A @ A.T) @ b

    The terms are as large as W0 and the update. Where these nearly cancel, the sum shrinks and the
    rounding of its terms stays: if V is a thousandth of W0, six digits of the square are gone, and
    float32 has seven. A row whose square falls below `LOST` of what was added up, norm below a
    quarter, is formed after all, `BLOCK` at a time.

    Returns
    -------
    norms : ndarray of shape (out_features,)
        To a few units in the last place, where the update does not cancel W0.
    W0_At : ndarray of shape (out_features, r)
        ``W0 @ A.T``, which the gradient of B needs again.

    Raises
    ------
    LoraRefError
        For a row whose norm is zero to the dtype's rounding, too small to be squared in it, or not
        finite: it has no direction.

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
        lost = np.flatnonzero(~(squares >= LOST * added))
        for i in range(0, len(lost), BLOCK):
            some = lost[i : i + BLOCK]
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
