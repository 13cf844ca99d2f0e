"""Initial values of A and B, and of W0 where a part of it moves into them.

An initializer maps ``(W0, r, scaling, rng)`` to ``(W0, A, B)``. The W0 that it returns is the one
that is frozen: the array that went in, except for `pissa`.

===================  ============  ============  ====================  ===================
initializer          A             B             y at the start        first to move
===================  ============  ============  ====================  ===================
`kaiming_uniform`    uniform       zero          that of W0            B alone
`normal`             normal        zero          that of W0            B alone
`orthogonal`         orthonormal   zero          that of W0            B alone
`pissa`              from W0       from W0       that of W0, rounded   A and B
`from_delta_w`       from delta_w  from delta_w  that of the update    A and B
`both_zero`          zero          zero          that of W0            nothing, ever
`both_random`        uniform       normal        disturbed             A and B
===================  ============  ============  ====================  ===================

The last two are mistakes: `lora_ref.gradcheck` shows what they do.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lora_ref.checks import (
    Array,
    as_count,
    as_finite,
    check_array,
    check_generator,
    check_parameter,
)
from lora_ref.errors import LoraRefError
from lora_ref.lowrank import balanced_factors

Start: TypeAlias = tuple[Array, Array, Array]
"""W0 (out_features, in_features), A (r, in_features) and B (out_features, r)."""

Initializer: TypeAlias = Callable[[Array, int, float, "np.random.Generator"], Start]
"""From W0, r, scaling and a generator to the start."""


def kaiming_uniform(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
    """Draw A uniformly in ±1/sqrt(in_features), as loralib and PEFT do.

    Both call Kaiming's uniform rule (He et al., 2015, arXiv 1502.01852) with ``a = sqrt(5)``: the
    bound is ``sqrt(6 / ((1 + a**2) * in_features))``, which is 1/sqrt(in_features), and the
    standard deviation is 1/sqrt(3 in_features).
    """
    _check_call("kaiming_uniform", W0, r, scaling, rng)
    in_features = W0.shape[1]
    bound = in_features**-0.5
    A = rng.uniform(-bound, bound, (r, in_features)).astype(W0.dtype)
    return W0, A, _zero_B(W0, r)


def normal(std: float = 0.02) -> Initializer:
    """Return an initializer that draws A from N(0, std**2); the LoRA paper names no width.

    Parameters
    ----------
    std : float
        Standard deviation of the entries of A, above 0.
    """
    width = as_finite("std in normal", std)
    if width <= 0:
        raise LoraRefError(f"std in normal is {width}, expected a number above 0")

    def initializer(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
        _check_call("normal", W0, r, scaling, rng)
        A = rng.normal(0.0, width, (r, W0.shape[1])).astype(W0.dtype)
        return W0, A, _zero_B(W0, r)

    return initializer


def orthogonal(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
    """Draw A with orthonormal rows; every such A is as likely as any other.

    The first gradient step then makes the update ``-lr * scaling**2 * G @ P``: G is the gradient
    of W0, and ``P = A.T @ A`` projects onto the rows of A without stretching any of them.

    The rows are a QR factorisation of a normal matrix, with the signs of R's diagonal: without
    these the draw would depend on the signs that LAPACK prefers (Mezzadri, 2007, math-ph/0609050).
    r is at most in_features.
    """
    _check_call("orthogonal", W0, r, scaling, rng)
    in_features = W0.shape[1]
    if r > in_features:
        raise LoraRefError(
            f"r in the orthogonal start is {r}, expected at most in_features={in_features}: "
            "more rows than that cannot be orthogonal to each other"
        )
    Q, R = np.linalg.qr(rng.standard_normal((in_features, r)))
    A = (Q * np.copysign(1.0, np.diag(R))).T
    return W0, np.ascontiguousarray(A, W0.dtype), _zero_B(W0, r)


def pissa(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
    """Move the r largest singular triplets of W0 into A and B, and freeze what is left of it.

    ``W0 + scaling * B @ A`` is the old W0 to rounding, and its *largest* directions train. The
    scaling is divided out, so alpha does not change the function. Nothing is drawn from `rng`, and
    r is at most the smaller side of W0. (Meng, Wang and Zhang, 2024, arXiv 2404.02948.)

    The trained A and B are right on the changed W0 only: zeroing them does not give the pretrained
    layer back.
    """
    _check_call("pissa", W0, r, scaling, rng)
    A, B = _factors_of("the PiSSA start", W0, r, scaling)
    return W0 - scaling * (B @ A), A, B  # from the rounded factors: they and W0 add up again


def from_delta_w(delta_w: Array) -> Initializer:
    """Return an initializer whose update is the matrix of rank at most r nearest to `delta_w`.

    With ``delta_w = W - W0`` of a full fine-tuning this extracts a LoRA from it: A and B share the
    singular values of delta_w, and scaling is divided out. What is lost is
    ``lowrank.truncation_error(delta_w, r)``. Nothing is drawn.

    A term beyond the rank of delta_w is zero in A *and* in B, or rounding: it does not train.

    Parameters
    ----------
    delta_w : ndarray of shape (out_features, in_features)
        The full update, of W0's dtype, float32 or float64.
    """
    check_array("delta_w in from_delta_w", delta_w, out_features=None, in_features=None)

    def initializer(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
        _check_call("from_delta_w", W0, r, scaling, rng)
        axes = dict(zip(("out_features", "in_features"), W0.shape, strict=True))
        check_array("delta_w in from_delta_w", delta_w, dtype=W0.dtype, **axes)
        return W0, *_factors_of("the start from delta_w", delta_w, r, scaling)

    return initializer


def both_zero(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
    """Set both factors to zero: each gradient has the other as a factor, so nothing moves."""
    _check_call("both_zero", W0, r, scaling, rng)
    return W0, np.zeros((r, W0.shape[1]), W0.dtype), _zero_B(W0, r)


def both_random(W0: Array, r: int, scaling: float, rng: np.random.Generator) -> Start:
    """Draw both factors: the pretrained function is changed before training.

    A as in `kaiming_uniform`, B from N(0, 0.02**2).
    """
    W0, A, B = kaiming_uniform(W0, r, scaling, rng)
    return W0, A, rng.normal(0.0, 0.02, B.shape).astype(B.dtype)


def _check_call(name: str, W0: Array, r: int, scaling: float, rng: object) -> None:
    """Check the arguments of an initializer; W0 is not scanned again."""
    check_parameter(f"W0 in {name}", W0, out_features=None, in_features=None)
    as_count(f"r in {name}", r)
    as_finite(f"scaling in {name}", scaling)
    check_generator(f"rng in {name}", rng)


def _zero_B(W0: Array, r: int) -> Array:
    return np.zeros((W0.shape[0], r), W0.dtype)


def _factors_of(where: str, M: Array, r: int, scaling: float) -> tuple[Array, Array]:
    """Return A and B with ``scaling * B @ A`` the truncation of M; the root of scaling in each."""
    if r > min(M.shape):
        raise LoraRefError(
            f"r in {where} is {r}, expected at most {min(M.shape)}, the smaller side of {M.shape}"
        )
    if scaling == 0:
        raise LoraRefError(f"scaling in {where} is 0, expected another number: it is divided out")
    A, B = balanced_factors(M, r)
    root = abs(scaling) ** 0.5
    return A / root, B / (root if scaling > 0 else -root)
