"""Low-rank matrices: the mathematics that LoRA rests on.

How near a matrix of rank r can come to a given one, how many free parameters it has, how much two
subspaces share, and the best low-rank update for a linear task. A matrix that needs an SVD is
float32 or float64, and so is the result; r is from 1 to the smaller side of the matrix.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from math import hypot
from typing import NamedTuple

import numpy as np

from lora_ref.checks import Array, as_count, as_finite, check_array, check_generator
from lora_ref.errors import LoraRefError


def truncated_svd(M: Array, r: int) -> tuple[Array, Array, Array]:
    """Return the r largest singular values of M and their vectors: U, sigma, Vh.

    Shapes (out_features, r), (r,) and (r, in_features) for an M of shape (out_features,
    in_features); sigma descends, the columns of U and the rows of Vh are orthonormal. LAPACK
    chooses their signs, and their directions where singular values are equal.
    """
    return _truncated_svd("truncated_svd", M, r)


def truncate(M: Array, r: int) -> Array:
    """Return the matrix of rank at most r that is nearest to M, of the same shape.

    It drops the smallest terms of the SVD. The result is nearest in the Frobenius norm (Eckart and
    Young, 1936, Psychometrika 1:211-218) and in every norm that rotations leave alone, such as the
    spectral norm (Mirsky, 1960, Quarterly Journal of Mathematics 11:50-59). If singular value r
    equals the next one, other matrices are as near. `truncation_error` returns the distance.

    Examples
    --------
    >>> truncate(np.array([[4.0, 0.0, 0.0], [0.0, 2.0, 0.0]]), 1)
    array([[4., 0., 0.],
           [0., 0., 0.]])
    """
    U, sigma, Vh = _truncated_svd("truncate", M, r)
    return (U * sigma) @ Vh


def balanced_factors(M: Array, r: int) -> tuple[Array, Array]:
    """Return A (r, in_features) and B (out_features, r) with ``B @ A`` equal to ``truncate(M, r)``.

    Each takes the square root of every singular value, so ``A @ A.T`` and ``B.T @ B`` are the same
    diagonal matrix. A `LoRALinear` multiplies by its scaling: pass ``alpha = r``, or B / scaling.
    """
    U, sigma, Vh = _truncated_svd("balanced_factors", M, r)
    root = np.sqrt(sigma)
    return root[:, None] * Vh, U * root


def small_product(A: Array, B: Array) -> tuple[Array, Array, Array]:
    """Return left, core and right with ``B @ A`` equal to ``left @ core @ right.T``.

    left and right have orthonormal columns, from the QR of each factor. So the small core, at most
    (r, r), has the singular values of the product, which is never formed.

    Examples
    --------
    >>> A, B = np.array([[3.0, 4.0, 0.0]]), np.array([[0.0], [2.0]])
    >>> left, core, right = small_product(A, B)
    >>> core.shape, abs(float(core[0, 0]))  # the one singular value of B A: 2 times 5
    ((1, 1), 10.0)
    """
    _check_factors("small_product", A, B)
    of_A, of_B = np.linalg.qr(A.T), np.linalg.qr(B)
    return of_B.Q, of_B.R @ of_A.R.T, of_A.Q


class Norms(NamedTuple):
    """The Frobenius norm and the spectral norm of a matrix."""

    frobenius: float
    spectral: float


def truncation_error(M: Array, r: int) -> Norms:
    """Return the norms of ``M - truncate(M, r)``; for r = 0, those of M.

    Eckart-Young-Mirsky (see `truncate`): ``sqrt(sigma[r]**2 + sigma[r+1]**2 + ...)`` in the
    Frobenius norm, ``sigma[r]`` in the spectral norm. No matrix of rank r or less is nearer to M.
    An error near the dtype's epsilon times sigma[0] is rounding.

    Examples
    --------
    >>> M = np.diag([12.0, 4.0, 3.0])
    >>> truncation_error(M, 0), truncation_error(M, 1)
    (Norms(frobenius=13.0, spectral=12.0), Norms(frobenius=5.0, spectral=4.0))
    """
    sigma = _singular_values("truncation_error", M)
    dropped = sigma[_as_rank("truncation_error", r, M, at_least=0) :].tolist()
    return Norms(hypot(*dropped), max(dropped, default=0.0))


def randomized_svd(
    M: Array, r: int, rng: np.random.Generator, *, oversampling: int = 4, iterations: int = 2
) -> tuple[Array, Array, Array]:
    """Return an approximation of `truncated_svd` from a few products with M.

    It is the SVD of M restricted to the span of all ``(M.T @ M)**i @ M.T @ noise``, i up to
    `iterations`: a block Krylov space (Musco and Musco, 2015, arXiv 1504.05477). A subspace
    iteration keeps only the last power (Halko, Martinsson and Tropp, 2011, arXiv 0909.4061). The
    noise, drawn from `rng`, has r + `oversampling` columns, or as many as M allows. The slower the
    singular values fall, the more iterations are needed; `tests/test_lowrank.py` tests the error.
    """
    _check_matrix("M in randomized_svd", M)
    r = _as_rank("randomized_svd", r, M)
    check_generator("rng in randomized_svd", rng)
    width = min(r + as_count("oversampling in randomized_svd", oversampling, 0), *M.shape)
    iterations = as_count("iterations in randomized_svd", iterations, 0)
    noise = rng.standard_normal((len(M), width)).astype(M.dtype)
    blocks = [np.linalg.qr(M.T @ noise).Q]  # each (in_features, width)
    for _ in range(iterations):
        # orthonormal after M and after M.T: squared entries of M may leave the range of float32
        blocks.append(np.linalg.qr(M.T @ np.linalg.qr(M @ blocks[-1]).Q).Q)
    Q = np.linalg.qr(np.hstack(blocks)).Q
    U, sigma, Vh = np.linalg.svd(M @ Q, full_matrices=False)
    return U[:, :r], sigma[:r], Vh[:r] @ Q.T


def outer_products(A: Array, B: Array) -> Array:
    """Return the terms ``outer(B[:, k], A[k])``, shape (r, out_features, in_features).

    Their sum is ``B @ A``. Term k reads x along row k of A and writes along column k of B.

    Examples
    --------
    >>> outer_products(np.ones((2, 3)), np.array([[1.0, 2.0]])).tolist()
    [[[1.0, 1.0, 1.0]], [[2.0, 2.0, 2.0]]]
    """
    _check_factors("outer_products", A, B)
    return B.T[:, :, None] * A[:, None, :]


def numerical_rank(M: Array, tolerance: float | None = None) -> int:
    """Return how many singular values of M are above `tolerance`, which is absolute.

    If omitted, it is the largest singular value times the dtype's epsilon times the larger side of
    M, as in `numpy.linalg.matrix_rank`.
    """
    sigma = _singular_values("numerical_rank", M)
    if tolerance is None:
        return _rank(sigma, M)
    tolerance = as_finite("tolerance in numerical_rank", tolerance, M.dtype)
    if tolerance < 0:
        raise LoraRefError(f"tolerance in numerical_rank is {tolerance}, expected at least 0")
    return int(np.count_nonzero(sigma > tolerance))


def effective_rank(M: Array) -> float:
    """Return the exponential of the entropy of ``sigma / sigma.sum()``, from 1 to the rank of M.

    r equal singular values give r, unequal ones less (Roy and Vetterli, 2007, "The effective
    rank", EUSIPCO). The entropy is that of sigma, not of its squares. For a zero M it is undefined.

    Examples
    --------
    >>> f"{effective_rank(np.eye(3, 5)):.4f} {effective_rank(np.diag([2.0, 1.0, 1.0])):.4f}"
    '3.0000 2.8284'
    """
    sigma = _singular_values("effective_rank", M)
    if sigma[0] == 0:
        raise LoraRefError("M in effective_rank is zero, expected a singular value above 0")
    sigma = sigma / sigma[0]  # so that the sum cannot overflow
    share = sigma[sigma > 0] / sigma.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def rank_of_share(M: Array, share: float) -> int:
    """Return how many singular values, the largest first, hold a share of the sum of their squares.

    The share is above 0 and at most 1. For a zero M it is undefined.

    Examples
    --------
    >>> rank_of_share(np.diag([3.0, 1.0, 1.0]), 0.9), rank_of_share(np.eye(4), 0.9)
    (2, 4)
    """
    sigma = _singular_values("rank_of_share", M)
    share = as_finite("share in rank_of_share", share)
    if not 0 < share <= 1:
        raise LoraRefError(f"share in rank_of_share is {share}, expected above 0 and at most 1")
    if sigma[0] == 0:
        raise LoraRefError("M in rank_of_share is zero, expected a singular value above 0")
    squares = np.square(sigma / sigma[0])  # so that no square can overflow
    return 1 + int(np.searchsorted(np.cumsum(squares) / squares.sum(), share))


def rank_set_dimension(out_features: int, in_features: int, r: int) -> int:
    """Return ``r * (out_features + in_features - r)``: the dimension of the matrices of rank <= r.

    A and B have r**2 parameters more, but ``inv(G) @ A`` and ``B @ G`` have the same product for
    every invertible G (r, r). (The matrices of rank r are a smooth manifold of this dimension:
    Vandereycken, 2013, arXiv 1209.3834, section 2.) An r above the smaller side counts as that.

    Examples
    --------
    >>> rank_set_dimension(5, 7, 2), rank_set_dimension(5, 7, 9)
    (20, 35)
    """
    out_features = as_count("out_features in rank_set_dimension", out_features)
    in_features = as_count("in_features in rank_set_dimension", in_features)
    r = min(as_count("r in rank_set_dimension", r), out_features, in_features)
    return r * (out_features + in_features - r)


def product_jacobian(A: Array, B: Array) -> Array:
    """Return the derivative of ``B @ A`` with respect to A and B, dense.

    Shape (out_features * in_features, r * (in_features + out_features)): one row for each entry of
    the product, columns for the entries of A and then of B, all row by row. If A and B have rank r,
    its rank is `rank_set_dimension`.

    Examples
    --------
    At the start of LoRA, B = 0: only a change of B changes the product, within the rows of A.

    >>> rng = np.random.default_rng(0)
    >>> A, B = rng.standard_normal((2, 7)), rng.standard_normal((5, 2))
    >>> numerical_rank(product_jacobian(A, np.zeros_like(B)))  # out_features * r
    10
    >>> numerical_rank(product_jacobian(A, B)), rank_set_dimension(5, 7, 2)
    (20, 20)
    """
    _check_factors("product_jacobian", A, B)
    by_A = np.kron(B, np.eye(A.shape[1], dtype=A.dtype))
    by_B = np.kron(np.eye(len(B), dtype=B.dtype), A.T)
    return np.hstack([by_A, by_B])


def subspace_overlap(A: Array, B: Array, i: int, j: int) -> float:
    """Return φ = ``norm(U_A[:, :i].T @ U_B[:, :j])**2 / min(i, j)``, from 0 to 1.

    It measures how much of the smaller subspace lies in the larger one (LoRA paper, arXiv
    2106.09685, section 7.2 and appendix G). The columns of U_A and U_B are right-singular vectors
    of A and B, two matrices with in_features columns: for example the A of two trainings, not the
    factors of one update. To compare up-projections, pass their transposes. φ is the mean squared
    cosine of the principal angles. Independent random subspaces have max(i, j) / in_features on
    average.

    If singular value i of A, or j of B, equals the next one, φ depends on LAPACK. An i or j above
    the numerical rank is an error, because those singular vectors are arbitrary.

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
        _, sigma, Vh = np.linalg.svd(M, full_matrices=False)
        if count > (rank := _rank(sigma, M)):
            raise LoraRefError(
                f"{letter} in subspace_overlap is {count}, expected at most {rank}, the numerical "
                f"rank of {name}"
            )
        leading.append(Vh[:count])
    cosines = np.linalg.norm(leading[0] @ leading[1].T)
    return min(1.0, float(cosines) ** 2 / int(min(i, j)))


def best_update(x: Array, y: Array, W0: Array, r: int) -> tuple[Array, Array]:
    """Return the A and B of rank at most r that minimise ``norm(x @ (W0 + B @ A).T - y)**2``.

    This is reduced-rank regression (Izenman, 1975, Journal of Multivariate Analysis 5:248-264):
    Eckart and Young in the metric of x. With ``x = U @ diag(sigma) @ Vh``, it truncates the SVD of
    the unrestricted least-squares update times ``Vh.T @ diag(sigma)``, then divides by sigma.
    Truncating the update itself is as good if x is white (``x.T @ x`` a multiple of the identity),
    and in general worse otherwise.

    x has shape (n, in_features), y (n, out_features), W0 (out_features, in_features). Directions
    of x whose singular value is rounding (see `numerical_rank`) count as absent: A is zero along
    them, which makes it the smallest A that fits.

    Returns
    -------
    A, B : ndarrays of shape (r, in_features) and (out_features, r)
        The columns of B are orthogonal, and so are those of ``x @ A.T``, with the same norms. Terms
        beyond the rank of x are zero. For the scaling of a layer see `balanced_factors`.

    Examples
    --------
    The larger entry of the update belongs to a small input, the smaller one to an input ten times
    as large:

    >>> x, target = np.diag([1.0, 10.0]), np.array([[2.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> y, W0 = x @ target.T, np.zeros((3, 2))
    >>> A, B = best_update(x, y, W0, r=1)
    >>> [round(float(np.sum((x @ M.T - y) ** 2)), 4) for M in (B @ A, truncate(target, 1))]
    [4.0, 100.0]
    """
    _check_matrix("x in best_update", x)
    check_array("y in best_update", y, dtype=x.dtype, n=len(x), out_features=None)
    axes = {"out_features": y.shape[1], "in_features": x.shape[1]}
    check_array("W0 in best_update", W0, dtype=x.dtype, **axes)
    r = _as_rank("best_update", r, W0)
    U, sigma, Vh = np.linalg.svd(x, full_matrices=False)
    present = _rank(sigma, x)
    whitened = (y - x @ W0.T).T @ U[:, :present]  # (out_features, present)
    left, t, right = np.linalg.svd(whitened, full_matrices=False)
    root = np.sqrt(t[:r])  # shorter than r if x has fewer directions
    A, B = np.zeros((r, x.shape[1]), x.dtype), np.zeros((y.shape[1], r), x.dtype)
    A[: len(root)] = (root[:, None] * right[:r] / sigma[:present]) @ Vh[:present]
    B[:, : len(root)] = left[:, :r] * root
    return A, B


def _check_matrix(what: str, M: Array) -> None:
    check_array(what, M, rows=None, columns=None)
    if M.dtype not in (np.float32, np.float64):
        raise LoraRefError(
            f"{what} has dtype {M.dtype}, expected float32 or float64, for which LAPACK has an SVD"
        )


def _check_factors(where: str, A: Array, B: Array) -> None:
    check_array(f"A in {where}", A, r=None, in_features=None)
    check_array(f"B in {where}", B, dtype=A.dtype, out_features=None, r=len(A))


def _as_rank(where: str, r: int, M: Array, at_least: int = 1) -> int:
    r, smaller = as_count(f"r in {where}", r, at_least), min(M.shape)
    if r > smaller:
        raise LoraRefError(
            f"r in {where} is {r}, expected at most {smaller}, the smaller side of {M.shape}"
        )
    return r


def _truncated_svd(where: str, M: Array, r: int) -> tuple[Array, Array, Array]:
    _check_matrix(f"M in {where}", M)
    r = _as_rank(where, r, M)
    U, sigma, Vh = np.linalg.svd(M, full_matrices=False)
    return U[:, :r], sigma[:r], Vh[:r]


def _singular_values(where: str, M: Array) -> Array:
    _check_matrix(f"M in {where}", M)
    return np.linalg.svd(M, compute_uv=False)


def _rank(sigma: Array, M: Array) -> int:
    cutoff = float(sigma[0]) * float(np.finfo(M.dtype).eps) * max(M.shape)
    return int(np.count_nonzero(sigma > cutoff))
