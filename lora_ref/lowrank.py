"""Low rank, by hand: the mathematics that LoRA rests on.

How near a matrix of rank r can come to a given one, how many free numbers it has, how two
subspaces lie to each other, and which low-rank update a linear task asks for. Whatever goes
through an SVD is float32 or float64, and stays it; r is from 1 to the smaller side of the matrix.
Anything else raises `LoraRefError`, of which `ShapeError` is one.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from math import hypot
from typing import NamedTuple

import numpy as np

from lora_ref.checks import Array, as_count, as_finite, check_array, check_generator
from lora_ref.errors import LoraRefError


def truncated_svd(M: Array, r: int) -> tuple[Array, Array, Array]:
    """Return the r largest singular values of M and their vectors: U, s, Vh.

    Shapes (out_features, r), (r,) and (r, in_features) for an M of shape (out_features,
    in_features); s falls, the columns of U and the rows of Vh are orthonormal. Their signs, and
    under tied values their directions, are LAPACK's choice.
    """
    return _svd("truncated_svd", M, r)


def truncate(M: Array, r: int) -> Array:
    """Return the matrix of rank at most r that is nearest to M, of the same shape.

    It drops the smallest terms of the SVD: nearest in the Frobenius norm (Eckart and Young, 1936,
    Psychometrika 1:211-218) and in every norm that rotations keep, the spectral one among them
    (Mirsky, 1960, Quarterly Journal of Mathematics 11:50-59). Where singular value r ties with the
    next one, other matrices are as near; how near, `tail` says.

    Examples
    --------
    >>> truncate(np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), 1)
    array([[4., 0., 0.],
           [0., 0., 0.]])
    """
    U, s, Vh = _svd("truncate", M, r)
    return (U * s) @ Vh


def factors(M: Array, r: int) -> tuple[Array, Array]:
    """Return B (out_features, r) and A (r, in_features) whose product is ``truncate(M, r)``.

    Each takes the square root of every singular value, so ``B.T @ B`` and ``A @ A.T`` are the same
    diagonal matrix. A `LoRALinear` multiplies by scaling: give it ``alpha = r``, or B / scaling.
    """
    U, s, Vh = _svd("factors", M, r)
    root = np.sqrt(s)
    return U * root, root[:, None] * Vh


class Tail(NamedTuple):
    """How far the nearest matrix of rank at most r is, in two norms."""

    frobenius: float
    spectral: float


def tail(M: Array, r: int) -> Tail:
    """Return the distance from M to the nearest matrix of rank at most r; at r = 0, M's own norms.

    Eckart-Young-Mirsky (see `truncate`): ``sqrt(s[r]**2 + s[r+1]**2 + ...)`` in the Frobenius
    norm, ``s[r]`` in the spectral one. A tail near the dtype's epsilon times s[0] is rounding.

    Examples
    --------
    >>> M = np.diag([12.0, 4.0, 3.0])
    >>> tail(M, 0), tail(M, 1)
    (Tail(frobenius=13.0, spectral=12.0), Tail(frobenius=5.0, spectral=4.0))
    """
    _check_matrix("M in tail", M)
    r = _as_rank("r in tail", r, M, at_least=0)
    dropped = np.linalg.svd(M, compute_uv=False)[r:].tolist()
    return Tail(hypot(*dropped), max(dropped, default=0.0))


def randomized_svd(
    M: Array, r: int, rng: np.random.Generator, *, oversampling: int = 4, iterations: int = 2
) -> tuple[Array, Array, Array]:
    """Return nearly what `truncated_svd` returns, from a few products with M.

    M is seen only on the span of all ``(M.T @ M)**i @ M.T @ noise``, i up to `iterations`: a block
    Krylov space (Musco and Musco, 2015, arXiv 1504.05477), where a subspace iteration keeps the
    last power alone (Halko, Martinsson and Tropp, 2011, arXiv 0909.4061). The noise, drawn from
    `rng`, has `oversampling` columns more than r, as far as M has room. A spectrum that hardly
    falls needs more iterations; `tests/test_lowrank.py` holds the defaults to their error.
    """
    _check_matrix("M in randomized_svd", M)
    r = _as_rank("r in randomized_svd", r, M)
    check_generator("rng in randomized_svd", rng)
    width = min(r + as_count("oversampling in randomized_svd", oversampling, 0), *M.shape)
    iterations = as_count("iterations in randomized_svd", iterations, 0)
    noise = rng.standard_normal((len(M), width)).astype(M.dtype)
    blocks = [np.linalg.qr(M.T @ noise).Q]  # each (in_features, width)
    for _ in range(iterations):
        # orthonormal half-way too: M.T @ M has squared entries, which may leave float32's range
        blocks.append(np.linalg.qr(M.T @ np.linalg.qr(M @ blocks[-1]).Q).Q)
    Q = np.linalg.qr(np.hstack(blocks)).Q
    U, s, Vh = np.linalg.svd(M @ Q, full_matrices=False)
    return U[:, :r], s[:r], Vh[:r] @ Q.T


def outer_products(B: Array, A: Array) -> Array:
    """Return the terms ``outer(B[:, k], A[k])``, shape (r, out_features, in_features).

    Row k of A is what term k reads of x, column k of B where it writes; their sum is ``B @ A``.

    Examples
    --------
    >>> outer_products(np.array([[1.0, 0.0], [0.0, 2.0]]), np.ones((2, 3)))
    array([[[1., 1., 1.],
            [0., 0., 0.]],
           [[0., 0., 0.],
            [2., 2., 2.]]])
    """
    _check_factors("outer_products", B, A)
    return B.T[:, :, None] * A[:, None, :]


def numerical_rank(M: Array, tolerance: float | None = None) -> int:
    """Return how many singular values of M are above `tolerance`, an absolute size.

    If omitted, it is the largest singular value times the dtype's epsilon times the larger side of
    M, as in `numpy.linalg.matrix_rank`.
    """
    _check_matrix("M in numerical_rank", M)
    s = np.linalg.svd(M, compute_uv=False)
    if tolerance is None:
        return _rank(s, M)
    tolerance = as_finite("tolerance in numerical_rank", tolerance, M.dtype)
    if tolerance < 0:
        raise LoraRefError(f"tolerance in numerical_rank is {tolerance}, expected at least 0")
    return int(np.count_nonzero(s > tolerance))


def effective_rank(M: Array) -> float:
    """Return the exponential of the entropy of ``s / s.sum()``, from 1 to the rank of M.

    r equal singular values give r, unequal ones less (Roy and Vetterli, 2007, "The effective
    rank", EUSIPCO). The entropy is that of s, not of its squares; a zero M has none.

    Examples
    --------
    >>> f"{effective_rank(np.eye(3, 5)):.4f} {effective_rank(np.diag([2.0, 1.0, 1.0])):.4f}"
    '3.0000 2.8284'
    """
    _check_matrix("M in effective_rank", M)
    s = np.linalg.svd(M, compute_uv=False)
    if s[0] == 0:
        raise LoraRefError("M in effective_rank is zero, expected a singular value above 0")
    s = s / s[0]  # no sum can overflow now
    share = s[s > 0] / s.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def rank_set_dimension(out_features: int, in_features: int, r: int) -> int:
    """Return ``r * (out_features + in_features - r)``: the dimension of the matrices of rank <= r.

    B and A hold r**2 numbers more, but ``B @ G`` and ``inv(G) @ A`` have the same product for every
    invertible G (r, r). (Vandereycken, 2013, arXiv 1209.3834, section 2: the matrices of rank r are
    a smooth manifold of this dimension.) An r above the smaller side counts as the smaller side.

    Examples
    --------
    >>> rank_set_dimension(5, 7, 2), rank_set_dimension(5, 7, 9)
    (20, 35)
    """
    out_features = as_count("out_features in rank_set_dimension", out_features)
    in_features = as_count("in_features in rank_set_dimension", in_features)
    r = min(as_count("r in rank_set_dimension", r), out_features, in_features)
    return r * (out_features + in_features - r)


def product_jacobian(B: Array, A: Array) -> Array:
    """Return the derivative of ``B @ A`` by B and A, dense, one row for each entry of the product.

    Shape (out_features * in_features, r * (out_features + in_features)): columns for the entries of
    B, then of A, all row by row. Where B and A have rank r, its rank is `rank_set_dimension`.

    Examples
    --------
    At LoRA's start, B = 0, only B moves the product, and only within the rows of A:

    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.standard_normal((2, 7)), rng.standard_normal((5, 2))
    >>> numerical_rank(product_jacobian(np.zeros_like(B), A))  # out_features * r
    10
    >>> numerical_rank(product_jacobian(B, A)), rank_set_dimension(5, 7, 2)
    (20, 20)
    """
    _check_factors("product_jacobian", B, A)
    by_B = np.kron(np.eye(len(B), dtype=B.dtype), A.T)
    by_A = np.kron(B, np.eye(A.shape[1], dtype=A.dtype))
    return np.hstack([by_B, by_A])


def subspace_overlap(A: Array, B: Array, i: int, j: int) -> float:
    """Return φ = ``norm(U_A[:, :i].T @ U_B[:, :j])**2 / min(i, j)``, from 0 to 1.

    The LoRA paper's measure (arXiv 2106.09685, section 7.2 and appendix G): how much of the smaller
    subspace lies in the larger. The columns of U_A and U_B are right-singular vectors of A and B,
    two matrices of in_features columns: down-projections of two trainings, say, not the factors of
    one update. For up-projections pass ``B.T`` of each. φ is the mean squared cosine of the
    `principal_angles`; independent random subspaces have max(i, j) / in_features on average.

    Where singular value i of A, or j of B, ties with the next, φ is LAPACK's choice. Above the
    numerical rank the vectors mean nothing, so such an i or j is an error, as for a zero B.

    Examples
    --------
    >>> A, B = np.eye(4)[:2], np.eye(4)[1:]  # axes 0 and 1; axes 1, 2 and 3
    >>> f"{subspace_overlap(A, B, 2, 3):.4f}"
    '0.5000'
    """
    _check_matrix("A in subspace_overlap", A)
    check_array("B in subspace_overlap", B, dtype=A.dtype, r=None, in_features=A.shape[1])
    leading = []
    for name, M, letter, count in (("A", A, "i", i), ("B", B, "j", j)):
        count = as_count(f"{letter} in subspace_overlap", count)
        _, s, Vh = np.linalg.svd(M, full_matrices=False)
        if count > (rank := _rank(s, M)):
            raise LoraRefError(
                f"{letter} in subspace_overlap is {count}, expected at most {rank}, the numerical "
                f"rank of {name}"
            )
        leading.append(Vh[:count])
    cosines = np.linalg.norm(leading[0] @ leading[1].T)
    return min(1.0, float(cosines) ** 2 / int(min(i, j)))


def principal_angles(X: Array, Y: Array) -> Array:
    """Return the angles between the column spaces of X and Y, in radians, smallest first.

    X is (features, p), Y is (features, q), neither zero; there are as many angles as the smaller
    numerical rank. A cosine cannot tell 1e-9 from 0, nor a sine a right angle from nearly one, so
    both are computed (Björck and Golub, 1973, Mathematics of Computation 27:579-594), and each
    angle is the arc tangent of the pair.

    Examples
    --------
    >>> t = 1e-9
    >>> X, Y = np.eye(3)[:, :2], np.array([[1.0, 0.0], [0.0, np.cos(t)], [0.0, np.sin(t)]])
    >>> [f"{angle:.3e}" for angle in principal_angles(X, Y)]
    ['0.000e+00', '1.000e-09']
    """
    _check_matrix("X in principal_angles", X)
    check_array("Y in principal_angles", Y, dtype=X.dtype, features=len(X), q=None)
    bases = []
    for name, M in (("X", X), ("Y", Y)):
        U, s, _ = np.linalg.svd(M, full_matrices=False)
        if s[0] == 0:
            raise LoraRefError(f"{name} in principal_angles is zero: it spans no direction")
        bases.append(U[:, : _rank(s, M)])
    small, large = sorted(bases, key=lambda basis: basis.shape[1])
    along = large.T @ small
    cosines = np.linalg.svd(along, compute_uv=False)
    sines = np.linalg.svd(small - large @ along, compute_uv=False)[::-1]
    return np.arctan2(sines, cosines)


def best_update(x: Array, y: Array, W0: Array, r: int) -> tuple[Array, Array]:
    """Return the B and A of rank at most r that minimise ``norm(x @ (W0 + B @ A).T - y)**2``.

    Reduced-rank regression (Izenman, 1975, Journal of Multivariate Analysis 5:248-264), which is
    Eckart and Young in the metric of x. With ``x = U @ diag(s) @ Vh``, it truncates the SVD of the
    unrestricted least-squares update times ``Vh.T @ diag(s)``, then divides by s. Truncating the
    update itself is as good where x is white (``x.T @ x`` a multiple of the identity), and in
    general worse elsewhere.

    Parameters
    ----------
    x : ndarray of shape (n, in_features)
        Input rows. Directions whose singular value is rounding (as in `numerical_rank`) count as
        absent: A is zero there, which makes it the smallest that fits.
    y : ndarray of shape (n, out_features)
        The rows to reach.
    W0 : ndarray of shape (out_features, in_features)
        The frozen weight.
    r : int
        Number of terms; those beyond the rank of x are zero.

    Returns
    -------
    B, A : ndarrays of shape (out_features, r) and (r, in_features)
        The columns of B are orthogonal; those of ``x @ A.T`` too, and as long. Scale as `factors`.

    Examples
    --------
    The larger entry of the update stands on a quiet input, the smaller on one ten times as loud:

    >>> x, target = np.diag([1.0, 10.0]), np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> y, W0 = x @ target.T, np.zeros((3, 2))
    >>> B, A = best_update(x, y, W0, r=1)
    >>> [round(float(np.sum((x @ M.T - y) ** 2)), 4) for M in (B @ A, truncate(target, 1))]
    [4.0, 100.0]
    """
    _check_matrix("x in best_update", x)
    check_array("y in best_update", y, dtype=x.dtype, n=len(x), out_features=None)
    out_features, in_features = y.shape[1], x.shape[1]
    what = "W0 in best_update"
    check_array(what, W0, dtype=x.dtype, out_features=out_features, in_features=in_features)
    r = _as_rank("r in best_update", r, W0)
    U, s, Vh = np.linalg.svd(x, full_matrices=False)
    seen = _rank(s, x)
    whitened = (y - x @ W0.T).T @ U[:, :seen]  # (out_features, seen)
    left, t, right = np.linalg.svd(whitened, full_matrices=False)
    root = np.sqrt(t[:r])  # shorter than r where x shows fewer directions
    B, A = np.zeros((out_features, r), x.dtype), np.zeros((r, in_features), x.dtype)
    B[:, : len(root)] = left[:, :r] * root
    A[: len(root)] = (root[:, None] * right[:r] / s[:seen]) @ Vh[:seen]
    return B, A


def _check_matrix(what: str, M: Array) -> None:
    check_array(what, M, rows=None, columns=None)
    if M.dtype not in (np.float32, np.float64):
        raise LoraRefError(
            f"{what} has dtype {M.dtype}, expected float32 or float64: LAPACK, which computes the "
            "SVD, knows no other"
        )


def _check_factors(where: str, B: Array, A: Array) -> None:
    check_array(f"A in {where}", A, r=None, in_features=None)
    check_array(f"B in {where}", B, dtype=A.dtype, out_features=None, r=len(A))


def _as_rank(what: str, r: int, M: Array, at_least: int = 1) -> int:
    r, smaller = as_count(what, r, at_least), min(M.shape)
    if r > smaller:
        raise LoraRefError(
            f"{what} is {r}, expected at most {smaller}, the smaller side of {M.shape}"
        )
    return r


def _svd(where: str, M: Array, r: int) -> tuple[Array, Array, Array]:
    _check_matrix(f"M in {where}", M)
    r = _as_rank(f"r in {where}", r, M)
    U, s, Vh = np.linalg.svd(M, full_matrices=False)
    return U[:, :r], s[:r], Vh[:r]


def _rank(s: Array, M: Array) -> int:
    cutoff = float(s[0]) * float(np.finfo(M.dtype).eps) * max(M.shape)
    return int(np.count_nonzero(s > cutoff))
