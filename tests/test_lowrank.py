"""Low-rank matrices: nearest matrices, their number of dimensions, subspaces, the best update."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import seeds, sizes

from lora_ref import lowrank
from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import LoRALinear
from lora_ref.lowrank import (
    balanced_factors,
    best_update,
    effective_rank,
    numerical_rank,
    outer_products,
    product_jacobian,
    randomized_svd,
    rank_of_share,
    rank_set_dimension,
    subspace_overlap,
    truncate,
    truncated_svd,
    truncation_error,
)

Problem = tuple[Array, int, np.random.Generator]


def orthonormal(rng: np.random.Generator, rows: int, columns: int) -> Array:
    return np.linalg.qr(rng.standard_normal((rows, columns))).Q


@st.composite
def matrices(draw: st.DrawFn, dtypes: tuple[Any, ...] = (np.float64,)) -> Problem:
    """Return M, a rank for it and a generator; ordinary, short of rank, with ties, or zero."""
    shape = draw(sizes), draw(sizes)
    r, rng = draw(st.integers(1, min(shape))), np.random.default_rng(draw(seeds))
    kind = draw(st.sampled_from(["ordinary", "short of rank", "tied", "zero"]))
    if kind == "short of rank":
        rank = draw(st.integers(1, min(shape)))
        M = rng.standard_normal((shape[0], rank)) @ rng.standard_normal((rank, shape[1]))
    elif kind == "tied":
        M = 3 * orthonormal(rng, max(shape), min(shape))
        M = M if shape[0] >= shape[1] else M.T
    else:
        M = rng.standard_normal(shape) * (kind != "zero")
    return np.ascontiguousarray(M, draw(st.sampled_from(dtypes))), r, rng


def rounding(M: Array) -> float:
    return 100 * float(np.finfo(M.dtype).eps) * (1 + float(np.linalg.norm(M)))


def distances(M: Array, other: Array) -> tuple[float, float]:
    return float(np.linalg.norm(M - other)), float(np.linalg.norm(M - other, 2))


# the nearest matrix


@given(matrices((np.float32, np.float64)))
def test_truncation_misses_by_the_truncation_error_in_both_norms(problem: Problem) -> None:
    M, r, _ = problem
    nearest = truncate(M, r)
    assert (nearest.shape, nearest.dtype) == (M.shape, M.dtype)
    assert numerical_rank(nearest) <= r
    assert_allclose(distances(M, nearest), truncation_error(M, r), rtol=0, atol=rounding(M))


@given(matrices())
def test_no_drawn_matrix_of_rank_r_is_nearer_in_either_norm(problem: Problem) -> None:
    M, r, rng = problem
    A, B = balanced_factors(M, r)
    rivals = []
    for step in (1e-6, 1e-3, 0.1, 1.0):
        near = B + step * rng.standard_normal(B.shape), A + step * rng.standard_normal(A.shape)
        rivals.append(near[0] @ near[1])
    drawn = rng.standard_normal(A.shape)
    rivals.append(M @ np.linalg.pinv(drawn) @ drawn)  # with the best B for a random A
    rivals.append(rng.standard_normal(B.shape) @ drawn)
    for rival in rivals:
        for distance, bound in zip(distances(M, rival), truncation_error(M, r), strict=True):
            assert distance >= bound - rounding(M)


@given(matrices())
def test_truncation_error_begins_with_the_norms_falls_and_ends_at_zero(problem: Problem) -> None:
    M = problem[0]
    errors = [truncation_error(M, r) for r in range(min(M.shape) + 1)]
    assert errors[0] == pytest.approx((np.linalg.norm(M), np.linalg.norm(M, 2)), rel=1e-12)
    assert errors[-1] == (0.0, 0.0)
    for before, after in pairwise(errors):
        assert after.frobenius <= before.frobenius
        assert after.spectral <= before.spectral
        step = before.frobenius**2 - after.frobenius**2  # the singular value that r keeps
        assert step == pytest.approx(before.spectral**2, rel=1e-9, abs=1e-12)
    assert {type(number) for pair in errors for number in pair} == {float}


def test_truncation_error_of_huge_entries_does_not_overflow() -> None:
    M = np.array([[3e200, 0.0, 0.0], [0.0, 4e200, 0.0]])
    assert truncation_error(M, 0).frobenius == pytest.approx(5e200, rel=1e-14)


def test_tied_singular_values_leave_the_error_alone() -> None:
    M = np.eye(5, 7)
    assert truncation_error(M, 2) == pytest.approx((3**0.5, 1.0), rel=1e-14)
    assert_allclose(distances(M, truncate(M, 2)), (3**0.5, 1.0), rtol=1e-14)


@given(matrices((np.float32, np.float64)))
def test_truncated_svd_is_orthonormal_and_falls(problem: Problem) -> None:
    M, r, _ = problem
    U, s, Vh = truncated_svd(M, r)
    assert (U.shape, s.shape, Vh.shape) == ((len(M), r), (r,), (r, M.shape[1]))
    assert {U.dtype, s.dtype, Vh.dtype} == {M.dtype}
    for identity in (U.T @ U, Vh @ Vh.T):
        assert_allclose(identity, np.eye(r), rtol=0, atol=rounding(np.ones(1, M.dtype)))
    assert (s[:-1] >= s[1:]).all()
    assert_allclose((U * s) @ Vh, truncate(M, r), rtol=0, atol=rounding(M))


@given(matrices((np.float32, np.float64)))
def test_factors_multiply_to_the_truncation_and_share_its_size(problem: Problem) -> None:
    M, r, _ = problem
    A, B = balanced_factors(M, r)
    assert (B.shape, A.shape, B.dtype, A.dtype) == (
        (len(M), r), (r, M.shape[1]), M.dtype, M.dtype,
    )  # fmt: skip
    assert_allclose(B @ A, truncate(M, r), rtol=0, atol=rounding(M))
    s = np.diag(np.linalg.svd(M)[1][:r])
    assert_allclose(B.T @ B, s, rtol=0, atol=rounding(M))
    assert_allclose(A @ A.T, s, rtol=0, atol=rounding(M))


@given(matrices())
def test_a_layer_that_takes_the_factors_with_alpha_r_has_the_truncation_as_update(
    problem: Problem,
) -> None:
    M, r, _ = problem
    A, B = balanced_factors(M, r)
    layer = LoRALinear(np.zeros_like(M), A, B, alpha=r)
    assert_allclose(layer.delta_w, truncate(M, r), rtol=0, atol=rounding(M))


# the randomised one


@given(matrices((np.float32, np.float64)), st.integers(0, 9), st.integers(0, 3))
def test_randomized_svd_is_orthonormal_and_never_above_the_exact_values(
    problem: Problem, oversampling: int, iterations: int
) -> None:
    M, r, rng = problem
    U, s, Vh = randomized_svd(M, r, rng, oversampling=oversampling, iterations=iterations)
    assert (U.shape, s.shape, Vh.shape) == ((len(M), r), (r,), (r, M.shape[1]))
    assert {U.dtype, s.dtype, Vh.dtype} == {M.dtype}
    for identity in (U.T @ U, Vh @ Vh.T):
        assert_allclose(identity, np.eye(r), rtol=0, atol=rounding(np.ones(1, M.dtype)))
    assert (s <= truncated_svd(M, r)[1] + rounding(M)).all()
    assert_allclose((M @ Vh.T), U * s, rtol=0, atol=rounding(M))


@given(matrices((np.float32, np.float64)))
def test_randomized_svd_is_exact_where_its_space_is_the_whole_space(problem: Problem) -> None:
    M, r, rng = problem
    U, s, Vh = randomized_svd(M, r, rng, oversampling=6)
    assert_allclose(s, truncated_svd(M, r)[1], rtol=0, atol=rounding(M))
    assert_allclose(distances(M, (U * s) @ Vh), truncation_error(M, r), rtol=0, atol=rounding(M))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1024, 1000), (1000, 1024)])
def test_randomized_svd_of_a_1_over_i_spectrum_is_within_a_thousandth_of_optimal(
    dtype: Any, shape: tuple[int, int]
) -> None:
    # Gaussian noise looks the same from every side, so a diagonal matrix is as hard as any
    r, s = 8, 1 / np.arange(1, 1 + min(shape))
    M = np.zeros(shape, dtype)
    np.fill_diagonal(M, s)
    best = np.linalg.norm(s[r:])
    for seed in range(4):
        U, found, Vh = randomized_svd(M, r, np.random.default_rng(seed))
        error = np.linalg.norm(M - (U * found) @ Vh)
        assert best * (1 - 1e-6) < error < 1.001 * best


def test_randomized_svd_is_near_optimal_in_the_spectral_norm_too(rng: np.random.Generator) -> None:
    M = np.diag(1 / np.arange(1, 201))[:, :180]
    U, s, Vh = randomized_svd(M, 8, rng)
    assert distances(M, (U * s) @ Vh)[1] < 1.001 * truncation_error(M, 8).spectral


def test_more_iterations_help_where_the_spectrum_hardly_falls() -> None:
    M = np.random.default_rng(5).standard_normal((160, 200))
    best = truncation_error(M, 8).frobenius
    excess = []
    for iterations in (0, 2, 8):
        U, s, Vh = randomized_svd(M, 8, np.random.default_rng(0), iterations=iterations)
        excess.append(float(np.linalg.norm(M - (U * s) @ Vh)) / best - 1)
    assert excess[0] > 3 * excess[1] > 9 * excess[2] > 0


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_randomized_svd_does_not_square_entries_out_of_the_range_of_float32(size: float) -> None:
    M = np.random.default_rng(3).standard_normal((30, 40)).astype(np.float32)
    _, s, Vh = randomized_svd(M, 3, np.random.default_rng(0))
    scaled = randomized_svd(M * size, 3, np.random.default_rng(0))
    assert_allclose(scaled[1] / size, s, rtol=1e-5)
    assert_allclose(np.abs(scaled[2]), np.abs(Vh), atol=1e-3)


def test_the_same_generator_gives_the_same_bits() -> None:
    M = np.random.default_rng(2).standard_normal((30, 20))
    one, two = (randomized_svd(M, 3, np.random.default_rng(4)) for _ in range(2))
    for first, second in zip(one, two, strict=True):
        assert_array_equal(first, second)
    assert (randomized_svd(M, 3, np.random.default_rng(9))[1] != one[1]).any()


# products and ranks


@given(out_features=sizes, in_features=sizes, r=sizes, seed=seeds)
def test_outer_products_are_columns_times_rows_and_sum_to_the_product(
    out_features: int, in_features: int, r: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    B, A = rng.standard_normal((out_features, r)), rng.standard_normal((r, in_features))
    terms = outer_products(A, B)
    assert terms.shape == (r, out_features, in_features)
    assert_allclose(terms.sum(axis=0), B @ A, rtol=1e-12, atol=1e-12)
    for k, term in enumerate(terms):
        assert numerical_rank(term) == 1
        assert_array_equal(term, np.outer(B[:, k], A[k]))


@given(matrices((np.float32, np.float64)))
def test_numerical_rank_is_numpys(problem: Problem) -> None:
    M = problem[0]
    assert numerical_rank(M) == np.linalg.matrix_rank(M)
    assert numerical_rank(M, 0.7) == np.linalg.matrix_rank(M, tol=0.7)


def test_numerical_rank_counts_what_is_above_the_tolerance() -> None:
    M = np.diag([4.0, 2.0, 1.0, 0.0])[:, :3]
    assert [numerical_rank(M, tolerance) for tolerance in (0, 1.0, 1.5, 4.0)] == [3, 2, 2, 0]
    assert numerical_rank(np.zeros((3, 4))) == 0


@given(matrices(), st.sampled_from([1e-300, -2.0, 1e300]))
def test_effective_rank_lies_between_one_and_the_rank_and_ignores_the_scale(
    problem: Problem, size: float
) -> None:
    M = problem[0]
    if M.any():
        assert 1 - 1e-12 <= effective_rank(M) <= numerical_rank(M) * (1 + 1e-12)
        assert effective_rank(size * M) == pytest.approx(effective_rank(M), rel=1e-9)


def test_rank_of_share_of_known_singular_values() -> None:
    assert rank_of_share(np.diag([3.0, 0.0, 0.0]), 0.9) == 1
    assert rank_of_share(np.diag([1.0, 1.0, 1.0, 1.0]), 0.9) == 4
    assert rank_of_share(np.diag([3.0, 0.9, 0.1]), 0.9) == 1  # 9 of 9.82
    assert rank_of_share(np.diag([3.0, 1.0, 0.1]), 0.9) == 2  # 9 of 10.01 are less than 90 %
    assert rank_of_share(np.diag([3e200, 1e200, 1e199]), 0.9) == 2


def test_effective_rank_is_the_rank_only_where_all_singular_values_agree() -> None:
    rng = np.random.default_rng(8)
    Q, R = orthonormal(rng, 5, 3), orthonormal(rng, 7, 3).T
    assert effective_rank(Q @ R) == pytest.approx(3, rel=1e-12)
    # by hand: shares 1/2, 1/4, 1/4 have an entropy of 3/2 ln 2
    assert effective_rank((Q * np.array([2.0, 1.0, 1.0])) @ R) == pytest.approx(2**1.5, rel=1e-12)


@given(out_features=sizes, in_features=sizes, r=st.integers(1, 8), seed=seeds)
def test_the_jacobian_has_the_rank_that_the_dimension_formula_says(
    out_features: int, in_features: int, r: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    B, A = rng.standard_normal((out_features, r)), rng.standard_normal((r, in_features))
    J = product_jacobian(A, B)
    assert numerical_rank(J) == rank_set_dimension(out_features, in_features, r)


@given(out_features=sizes, in_features=sizes, r=sizes, seed=seeds)
def test_the_jacobian_is_the_difference_quotient_of_the_product(
    out_features: int, in_features: int, r: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    B, A = rng.standard_normal((out_features, r)), rng.standard_normal((r, in_features))
    along_B, along_A = rng.standard_normal(B.shape), rng.standard_normal(A.shape)
    # exact at every step: what is left out is of third order, and the product has only two
    rise = ((B + along_B) @ (A + along_A) - (B - along_B) @ (A - along_A)) / 2
    J = product_jacobian(A, B)
    assert J.shape == (out_features * in_features, r * (out_features + in_features))
    along = np.concatenate([along_A.ravel(), along_B.ravel()])
    assert_allclose(J @ along, rise.ravel(), rtol=1e-12, atol=1e-12)


@given(out_features=sizes, in_features=sizes, r=sizes, seed=seeds)
def test_the_jacobian_does_not_see_a_change_of_basis_between_the_factors(
    out_features: int, in_features: int, r: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    B, A = rng.standard_normal((out_features, r)), rng.standard_normal((r, in_features))
    G = rng.standard_normal((r, r))  # B (I + tG) and inv(I + tG) A, to first order in t
    along = np.concatenate([(-G @ A).ravel(), (B @ G).ravel()])
    assert_allclose(product_jacobian(A, B) @ along, 0, atol=1e-12)


# subspaces


@st.composite
def two_down_projections(draw: st.DrawFn) -> tuple[Array, Array, int, int, np.random.Generator]:
    in_features = draw(st.integers(2, 7))
    heights = st.integers(1, in_features)
    rng = np.random.default_rng(draw(seeds))
    spread = [  # singular values 1, 1/2, 1/3, ...: no ties, full rank
        (orthonormal(rng, r, r) / np.arange(1, r + 1)) @ orthonormal(rng, in_features, r).T
        for r in (draw(heights), draw(heights))
    ]
    i, j = (draw(st.integers(1, len(M))) for M in spread)
    return spread[0], spread[1], i, j, rng


@given(two_down_projections())
def test_overlap_lies_between_0_and_1_and_is_what_the_paper_defines(
    drawn: tuple[Array, Array, int, int, np.random.Generator],
) -> None:
    A, B, i, j, _ = drawn
    found = subspace_overlap(A, B, i, j)
    assert type(subspace_overlap(A, B, np.int64(i), np.int64(j))) is float  # not a NumPy scalar
    assert 0 <= found <= 1
    # the subspaces from the Gram matrices, whose eigenvalues rise
    U_A, U_B = (np.linalg.eigh(M.T @ M)[1][:, -count:] for M, count in ((A, i), (B, j)))
    assert found == pytest.approx(np.sum((U_A.T @ U_B) ** 2) / min(i, j), rel=1e-9, abs=1e-12)
    assert found == pytest.approx(subspace_overlap(B, A, j, i), rel=1e-12, abs=1e-14)


@given(two_down_projections())
def test_overlap_does_not_depend_on_the_basis_of_the_rows(
    drawn: tuple[Array, Array, int, int, np.random.Generator],
) -> None:
    A, B, i, j, rng = drawn
    turned = orthonormal(rng, len(A), len(A)) @ A
    expected = subspace_overlap(A, B, i, j)
    assert subspace_overlap(turned, B, i, j) == pytest.approx(expected, rel=1e-9, abs=1e-12)
    # the whole row space, j = i = r, takes any invertible mixture of the rows
    mixed = (np.eye(len(A)) + np.tril(rng.uniform(-1, 1, (len(A), len(A))), -1)) @ A
    assert subspace_overlap(A, mixed, len(A), len(A)) == pytest.approx(1, rel=1e-12)


@given(two_down_projections())
def test_overlap_is_1_for_nested_and_0_for_orthogonal_subspaces(
    drawn: tuple[Array, Array, int, int, np.random.Generator],
) -> None:
    A, _, i, _, _ = drawn
    for j in range(1, len(A) + 1):
        assert subspace_overlap(A, A, i, j) == pytest.approx(1, rel=1e-12)
    _, _, Vh = np.linalg.svd(A)
    outside = Vh[len(A) :]
    if len(outside):
        B = np.diag(1 / np.arange(1.0, 1 + len(outside))) @ outside
        assert subspace_overlap(A, B, i, 1) == pytest.approx(0, abs=1e-28)
        both = np.vstack([A[:1] / np.linalg.norm(A[:1]), B[:1]])  # half inside, half out
        assert subspace_overlap(A, both, len(A), 2) == pytest.approx(1 / min(len(A), 2))


def test_overlap_of_up_projections_compares_their_columns(rng: np.random.Generator) -> None:
    one, two = rng.standard_normal((5, 2)), rng.standard_normal((5, 3))
    U, V = np.linalg.svd(one)[0][:, :1], np.linalg.svd(two)[0][:, :2]
    expected = float(np.sum((U.T @ V) ** 2))
    assert subspace_overlap(one.T, two.T, 1, 2) == pytest.approx(expected, rel=1e-12)


def test_overlap_of_random_subspaces_averages_the_larger_share_of_the_space() -> None:
    rng = np.random.default_rng(1)
    drawn = [
        subspace_overlap(rng.standard_normal((2, 10)), rng.standard_normal((3, 10)), 2, 3)
        for _ in range(400)
    ]
    deviation = np.std(drawn) / len(drawn) ** 0.5
    assert abs(np.mean(drawn) - 0.3) < 4 * deviation < 0.04


# the best update of a linear task


def loss(x: Array, y: Array, W: Array) -> float:
    return float(np.sum((x @ W.T - y) ** 2))


@st.composite
def tasks(draw: st.DrawFn) -> tuple[Array, Array, Array, int, np.random.Generator]:
    """Return x, y, W0, r and a generator; x loud in some directions, and now and then flat."""
    n, in_features, out_features = draw(st.integers(1, 9)), draw(sizes), draw(sizes)
    rng = np.random.default_rng(draw(seeds))
    x = rng.standard_normal((n, in_features)) * 2.0 ** rng.integers(-3, 4, in_features)
    if draw(st.booleans()):
        x[:, -1] = x[:, 0]
    W0 = rng.standard_normal((out_features, in_features))
    y = x @ rng.standard_normal((in_features, out_features)) + rng.standard_normal((n, 1))
    return x, y, W0, draw(st.integers(1, min(W0.shape))), rng


def unrestricted(x: Array, y: Array, W0: Array) -> Array:
    return np.linalg.lstsq(x, y - x @ W0.T)[0].T


@given(tasks())
def test_no_other_update_of_rank_r_fits_better(
    task: tuple[Array, Array, Array, int, np.random.Generator],
) -> None:
    x, y, W0, r, rng = task
    A, B = best_update(x, y, W0, r)
    best = loss(x, y, W0 + B @ A)
    rivals = [truncate(delta, r) for delta in (unrestricted(x, y, W0),) if delta.any()]
    for step in (1e-6, 1e-3, 0.1, 1.0):
        near = B + step * rng.standard_normal(B.shape), A + step * rng.standard_normal(A.shape)
        rivals.append(near[0] @ near[1])
    drawn = rng.standard_normal(A.shape)
    rivals.append(unrestricted(x @ drawn.T, y - x @ W0.T, np.zeros((len(W0), r))) @ drawn)
    for rival in rivals:
        assert loss(x, y, W0 + rival) >= best - 1e-12 * (1 + float(np.sum(y**2)))


@given(tasks())
def test_the_best_loss_is_what_no_update_reaches_plus_the_truncation_error_of_the_whitened_one(
    task: tuple[Array, Array, Array, int, np.random.Generator],
) -> None:
    x, y, W0, r, _ = task
    A, B = best_update(x, y, W0, r)
    free = unrestricted(x, y, W0)
    fitted = x @ free.T
    floor = loss(x, y, W0 + free)
    missed = truncation_error(fitted, r).frobenius ** 2 if r < min(fitted.shape) else 0.0
    assert loss(x, y, W0 + B @ A) == pytest.approx(floor + missed, rel=1e-9, abs=1e-9)


@given(tasks())
def test_the_factors_of_the_best_update_are_balanced_as_x_sees_them(
    task: tuple[Array, Array, Array, int, np.random.Generator],
) -> None:
    x, y, W0, r, _ = task
    A, B = best_update(x, y, W0, r)
    assert (B.shape, A.shape) == ((len(W0), r), (r, W0.shape[1]))
    h = x @ A.T
    scale = 1e-9 * (1 + float(np.linalg.norm(y)))
    assert_allclose(B.T @ B, h.T @ h, rtol=0, atol=scale)
    assert_allclose(B.T @ B, np.diag(np.diag(B.T @ B)), rtol=0, atol=scale)


def test_truncating_the_free_update_is_worse_for_anisotropic_x_and_as_good_for_white_x() -> None:
    rng = np.random.default_rng(12)
    white = 3 * orthonormal(rng, 20, 6)
    W0, target = rng.standard_normal((2, 5, 6))
    for x, least, most in ((white, 1 - 1e-9, 1 + 1e-9), (white * 4.0 ** np.arange(6), 2, np.inf)):
        y = x @ target.T + rng.standard_normal((20, 5))
        A, B = best_update(x, y, W0, 2)
        naive = truncate(unrestricted(x, y, W0), 2)
        assert least < loss(x, y, W0 + naive) / loss(x, y, W0 + B @ A) < most


def test_a_direction_that_x_lacks_gets_no_update() -> None:
    rng = np.random.default_rng(13)
    seen = orthonormal(rng, 6, 2)
    x = rng.standard_normal((9, 2)) @ seen.T  # rank 2 in six inputs
    y, W0 = rng.standard_normal((9, 5)), rng.standard_normal((5, 6))
    A, B = best_update(x, y, W0, 4)
    assert_allclose(A @ seen @ seen.T, A, atol=1e-13)
    assert not B[:, 2:].any()
    assert not A[2:].any()
    assert np.abs(A).max() < 10  # a cutoff too low divides by rounding
    assert loss(x, y, W0 + B @ A) == pytest.approx(
        loss(x, y, W0 + unrestricted(x, y, W0)), rel=1e-12
    )
    A, B = best_update(np.zeros((4, 6)), np.ones((4, 5)), W0, 2)
    assert not B.any()
    assert not A.any()


def test_best_update_keeps_float32() -> None:
    rng = np.random.default_rng(14)
    x, y, W0 = rng.standard_normal((9, 6)), rng.standard_normal((9, 5)), np.zeros((5, 6))
    A, B = best_update(*(array.astype(np.float32) for array in (x, y, W0)), 2)
    assert (B.dtype, A.dtype) == (np.float32, np.float32)
    exact = best_update(x, y, W0, 2)
    assert_allclose(B @ A, exact[1] @ exact[0], atol=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_trained_B_A_reaches_the_closed_form(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, lr, momentum = 40, 0.01, 0.9
    x = rng.standard_normal((n, 6)) * np.array([2.0, 1.5, 1.0, 1.0, 0.7, 0.5])
    W0, target = rng.standard_normal((2, 5, 6))
    y = x @ target.T + 0.1 * rng.standard_normal((n, 5))
    A, B = best_update(x, y, W0, 2)
    best = loss(x, y, W0 + B @ A)

    layer = LoRALinear.init(W0, 2, 3.0, rng)  # B = 0, scaling 1.5
    assert loss(x, y, W0 + layer.delta_w) > 2 * best
    velocity = {name: np.zeros_like(array) for name, array in layer.trainable.items()}
    for _ in range(1000):
        found, cache = layer.forward(x)
        _, grads = layer.backward((found - y) / n, cache)
        velocity = {name: momentum * velocity[name] - lr * grads[name] for name in velocity}
        layer = layer.with_params({k: v + velocity[k] for k, v in layer.trainable.items()})
    assert best * (1 - 1e-12) <= loss(x, y, W0 + layer.delta_w) <= best * (1 + 1e-9)
    assert_allclose(layer.delta_w, B @ A, rtol=0, atol=1e-6)
    assert_array_equal(layer.W0, W0)


# what may not come in

M = np.arange(1.0, 36.0).reshape(5, 7)
RNG = np.random.default_rng(0)
TAKES_M: dict[str, Callable[[Any], Any]] = {
    "truncated_svd": lambda M: truncated_svd(M, 1),
    "truncate": lambda M: truncate(M, 1),
    "balanced_factors": lambda M: balanced_factors(M, 1),
    "truncation_error": lambda M: truncation_error(M, 1),
    "randomized_svd": lambda M: randomized_svd(M, 1, RNG),
    "numerical_rank": numerical_rank,
    "effective_rank": effective_rank,
    "rank_of_share": lambda M: rank_of_share(M, 0.9),
    "subspace_overlap": lambda M: subspace_overlap(M, M, 1, 1),
    "best_update": lambda M: best_update(M, M, M, 1),
}
FIRST = {"subspace_overlap": "A", "best_update": "x"}


def says(sentence: str, call: Callable[[], Any], error: type = LoraRefError) -> None:
    with pytest.raises(error) as caught:
        call()
    assert sentence in str(caught.value)


@pytest.mark.parametrize("where", TAKES_M)
def test_what_lapack_cannot_take_is_refused_in_a_sentence(where: str) -> None:
    call, name = TAKES_M[where], f"{FIRST.get(where, 'M')} in {where}"
    for dtype in (np.float16, np.longdouble):
        what = f"{name} has dtype {np.dtype(dtype)}, expected float32 or float64, for which"
        says(what, lambda dtype=dtype: call(M.astype(dtype)))
    says(f"{name} is a list", lambda: call(M.tolist()))
    says(f"{name} has dtype int64, expected a floating-point", lambda: call(M.astype(np.int64)))
    says(f"{name} has shape (7,), expected (rows, columns)", lambda: call(M[0]), ShapeError)
    says(f"{name} holds nan at (0, 0)", lambda: call(M * np.nan))


@pytest.mark.parametrize(
    "where", ["truncated_svd", "truncate", "balanced_factors", "truncation_error"]
)
def test_a_rank_out_of_range_is_refused_in_a_sentence(where: str) -> None:
    function = getattr(lowrank, where)
    says(
        f"r in {where} is 6, expected at most 5, the smaller side of (5, 7)",
        lambda: function(M, 6),
    )
    least = 0 if where == "truncation_error" else 1
    says(f"r in {where} is {least - 1}, expected a whole", lambda: function(M, least - 1))
    says(f"r in {where} is 2.0, expected a whole", lambda: function(M, 2.0))


def test_the_other_options_are_refused_in_sentences() -> None:
    where = "randomized_svd"
    says(f"r in {where} is 0, expected a", lambda: randomized_svd(M, 0, RNG))
    says(f"r in {where} is 6, expected at most 5", lambda: randomized_svd(M, 6, RNG))
    says(f"rng in {where} is 0, expected a numpy", lambda: randomized_svd(M, 1, 0))
    for name in ("oversampling", "iterations"):
        sentence = f"{name} in {where} is -1, expected a whole number of at least 0"
        says(sentence, lambda name=name: randomized_svd(M, 1, RNG, **{name: -1}))
    says("tolerance in numerical_rank is -1.0, expected at least 0", lambda: numerical_rank(M, -1))
    says(
        "tolerance in numerical_rank is 1e+39, expected a number that is finite in float32",
        lambda: numerical_rank(M.astype(np.float32), 1e39),
    )
    says("M in effective_rank is zero, expected a singular", lambda: effective_rank(0 * M))
    says("M in rank_of_share is zero, expected a singular", lambda: rank_of_share(0 * M, 0.9))
    says("share in rank_of_share is 1.5, expected above 0", lambda: rank_of_share(M, 1.5))
    for name, counts in {
        "out_features": (0, 7, 2),
        "in_features": (5, 0, 2),
        "r": (5, 7, 0),
    }.items():
        sentence = f"{name} in rank_set_dimension is 0, expected a whole number of at least 1"
        says(sentence, lambda counts=counts: rank_set_dimension(*counts))


@pytest.mark.parametrize("function", [outer_products, product_jacobian])
def test_factors_that_do_not_fit_are_refused_in_a_sentence(
    function: Callable[[Array, Array], Array],
) -> None:
    B, A, where = M[:, :2], M[:2], function.__name__
    sentence = f"B in {where} has shape (2, 5), expected (out_features, r=2); its transpose fits"
    says(sentence, lambda: function(A, B.T), ShapeError)
    says(f"A in {where} has shape (7,), expected (r, in", lambda: function(A[0], B), ShapeError)
    says(f"B in {where} has dtype float32", lambda: function(A, B.astype(np.float32)))
    assert function(*(factor.astype(np.float16) for factor in (A, B))).dtype == np.float16


def test_subspaces_that_cannot_be_compared_are_refused_in_a_sentence() -> None:
    where = "subspace_overlap"
    says(
        f"B in {where} has shape (7, 5), expected (r, in_features=7); its transpose fits",
        lambda: subspace_overlap(M, M.T, 1, 1),
        ShapeError,
    )
    says(f"B in {where} has dtype float32", lambda: subspace_overlap(M, M.astype("f4"), 1, 1))
    says(
        f"i in {where} is 3, expected at most 2, the numerical rank of A",
        lambda: subspace_overlap(M, M, 3, 1),
    )
    says(f"i in {where} is 0, expected a whole", lambda: subspace_overlap(M, M, 0, 1))
    says(
        f"j in {where} is 1, expected at most 0, the numerical rank of B",
        lambda: subspace_overlap(M, 0 * M, 1, 1),
    )


def test_a_task_that_does_not_fit_is_refused_in_a_sentence() -> None:
    x, y, W0, where = np.ones((9, 7)), np.ones((9, 5)), np.ones((5, 7)), "best_update"
    says(
        f"y in {where} has shape (5, 9), expected (n=9, out_features); its transpose fits",
        lambda: best_update(x, y.T, W0, 1),
        ShapeError,
    )
    sentence = f"W0 in {where} has shape (7, 5), expected (out_features=5, in_features=7); its"
    says(sentence, lambda: best_update(x, y, W0.T, 1), ShapeError)
    says(f"W0 in {where} has dtype float32", lambda: best_update(x, y, W0.astype("f4"), 1))
    says(f"r in {where} is 6, expected at most 5", lambda: best_update(x, y, W0, 6))
    says(f"r in {where} is 0, expected a whole", lambda: best_update(x, y, W0, 0))


def test_nothing_that_comes_in_is_changed() -> None:
    rng = np.random.default_rng(15)
    shapes = {"M": (5, 7), "B": (5, 2), "A": (2, 7), "x": (9, 7), "y": (9, 5)}
    arrays = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    for array in arrays.values():
        array.flags.writeable = False  # NumPy itself then refuses a change
    before = {name: array.copy() for name, array in arrays.items()}
    for where in TAKES_M.keys() - {"best_update"}:
        TAKES_M[where](arrays["M"])
    best_update(arrays["x"], arrays["y"], arrays["M"], 2)
    for function in (outer_products, product_jacobian):
        function(arrays["A"], arrays["B"])
    for name, array in arrays.items():
        assert_array_equal(array, before[name])
