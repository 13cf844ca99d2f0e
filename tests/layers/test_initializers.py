"""Where training begins: what each start leaves of W0's output, and what moves first."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import alphas, seeds

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import property_errors, sgd_step
from lora_ref.gradcheck.reference import TOLERANCE
from lora_ref.layers import LoRALinear, initializers
from lora_ref.layers.initializers import (
    Initializer,
    both_random,
    both_zero,
    from_delta_w,
    kaiming_uniform,
    normal,
    orthogonal,
    pissa,
)
from lora_ref.lowrank import truncate, truncation_error

OUT, IN, N = 6, 9, 4

STARTS: dict[str, Callable[[Array], Initializer]] = {
    "kaiming_uniform": lambda delta_w: kaiming_uniform,
    "normal": lambda delta_w: normal(),
    "orthogonal": lambda delta_w: orthogonal,
    "pissa": lambda delta_w: pissa,
    "from_delta_w": from_delta_w,
    "both_zero": lambda delta_w: both_zero,
    "both_random": lambda delta_w: both_random,
}
every = pytest.mark.parametrize("name", STARTS)
drawn = pytest.mark.parametrize("start", [orthogonal, both_random])
from_svd = pytest.mark.parametrize("name", ["pissa", "from_delta_w"])


def draw(rng: np.random.Generator, *shape: int, dtype: Any = np.float64) -> Array:
    return rng.standard_normal(shape).astype(dtype)


def begun(name: str, rng: np.random.Generator, **options: Any) -> tuple[Array, Array, LoRALinear]:
    """Return W0, a full update delta_w, and a layer that has begun."""
    W0, delta_w = draw(rng, OUT, IN), draw(rng, OUT, IN)
    options = {"r": 3, "alpha": 5.0, **options}
    return W0, delta_w, LoRALinear.init(W0, rng=rng, initializer=STARTS[name](delta_w), **options)


def grads_of(layer: LoRALinear, rng: np.random.Generator) -> dict[str, Array]:
    _, cache = layer.forward(draw(rng, N, IN))
    return dict(layer.backward(draw(rng, N, OUT), cache)[1])


def table() -> Iterator[list[str]]:
    """Yield the cells of the module's table, row by row."""
    for line in (initializers.__doc__ or "").splitlines():
        if line.startswith("`"):
            yield [cell.strip().strip("`") for cell in line.split("  ") if cell.strip()]


TABLE = {name: cells for name, *cells in table()}


# ---------------------------------------------------------------------- the table


def test_the_table_names_every_start() -> None:
    assert list(TABLE) == list(STARTS)
    public = {
        name for name, value in vars(initializers).items() if callable(value) and name.islower()
    }
    here = {
        name for name in public if getattr(initializers, name).__module__ == initializers.__name__
    }
    assert {name for name in here if not name.startswith("_")} == set(STARTS)


@every
def test_what_moves_first_is_what_the_table_says(name: str, rng: np.random.Generator) -> None:
    _, _, layer = begun(name, rng)
    moved = {factor for factor, grad in grads_of(layer, rng).items() if grad.any()}
    said = {"B alone": {"B"}, "A and B": {"A", "B"}, "nothing, ever": set()}
    assert moved == said[TABLE[name][-1]]


@every
def test_y_at_the_start_is_what_the_table_says(name: str, rng: np.random.Generator) -> None:
    W0, delta_w, layer = begun(name, rng)
    x = draw(rng, N, IN)
    y, base = layer.forward(x)[0], x @ W0.T
    said = TABLE[name][-2]
    if said == "that of W0":
        assert y.tobytes() == base.tobytes()
    elif said == "that of W0, rounded":
        assert_allclose(y, base, rtol=1e-12, atol=1e-12)
    elif said == "that of the update":
        assert_allclose(y, base + x @ truncate(delta_w, 3).T, rtol=1e-12, atol=1e-12)
        assert np.linalg.norm(y - base) > 0.1 * np.linalg.norm(base)
    else:
        assert said == "disturbed"
        assert np.linalg.norm(y - base) > 1e-3 * np.linalg.norm(base)


@every
def test_a_factor_is_zero_where_the_table_says_so(name: str, rng: np.random.Generator) -> None:
    _, _, layer = begun(name, rng)
    for factor, said in zip((layer.A, layer.B), TABLE[name], strict=False):
        assert factor.any() == (said != "zero")


@every
def test_W0_is_frozen_as_it_came_but_for_pissa(name: str, rng: np.random.Generator) -> None:
    W0, _, layer = begun(name, rng)
    assert np.shares_memory(layer.W0, W0) == (name != "pissa")
    assert np.array_equal(layer.W0, W0) == (name != "pissa")


@every
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_start_keeps_the_dtype_and_the_given_arrays(
    name: str, dtype: Any, rng: np.random.Generator
) -> None:
    W0, delta_w = draw(rng, OUT, IN, dtype=dtype), draw(rng, OUT, IN, dtype=dtype)
    before = W0.tobytes(), delta_w.tobytes()
    layer = LoRALinear.init(W0, 3, 5.0, rng, initializer=STARTS[name](delta_w))
    assert {array.dtype for array in (layer.W0, layer.A, layer.B)} == {np.dtype(dtype)}
    assert (layer.A.shape, layer.B.shape) == ((3, IN), (OUT, 3))
    assert before == (W0.tobytes(), delta_w.tobytes())


LAWS_BROKEN = {"both_zero": {"moves"}, "both_random": {"starts at W0"}}


@pytest.mark.parametrize("name", [name for name in STARTS if name != "from_delta_w"])
def test_only_the_two_that_fail_break_a_law_of_training(
    name: str, rng: np.random.Generator
) -> None:
    errors = property_errors(STARTS[name](np.empty(0)), sgd_step, rng)
    broken = {law for law, error in errors.items() if error > TOLERANCE}
    assert broken == LAWS_BROKEN.get(name, set())


def test_both_zero_has_not_moved_a_bit_after_twenty_steps(rng: np.random.Generator) -> None:
    _, _, layer = begun("both_zero", rng)
    for _ in range(20):
        layer, _ = sgd_step(layer, draw(rng, N, IN), draw(rng, N, OUT), lr=10.0)
    assert not layer.A.any()
    assert not layer.B.any()


@drawn
def test_a_draw_repeats_with_its_seed_and_not_with_another(start: Initializer) -> None:
    W0 = np.ones((OUT, IN))
    first, again, other = (start(W0, 3, 1.0, np.random.default_rng(s)) for s in (1, 1, 2))
    assert_array_equal(first[1], again[1])
    assert_array_equal(first[2], again[2])
    assert not np.array_equal(first[1], other[1])


# ---------------------------------------------------------------------- orthogonal


@given(in_features=st.integers(1, 8), data=st.data(), seed=seeds)
def test_the_rows_of_an_orthogonal_A_are_orthonormal(
    in_features: int, data: st.DataObject, seed: int
) -> None:
    r = data.draw(st.integers(1, in_features))
    rng = np.random.default_rng(seed)
    layer = LoRALinear.init(np.ones((3, in_features)), r, 1.0, rng, initializer=orthogonal)
    assert_allclose(layer.A @ layer.A.T, np.eye(r), atol=1e-13)


def test_an_orthogonal_A_does_not_prefer_the_signs_of_LAPACK() -> None:
    W0 = np.ones((2, 1))
    A = [orthogonal(W0, 1, 1.0, np.random.default_rng(seed))[1].item() for seed in range(200)]
    assert set(A) == {-1.0, 1.0}
    assert abs(sum(A)) < 50  # 3.5 standard deviations of a fair coin


@given(alpha=alphas, seed=seeds)
def test_the_first_step_from_an_orthogonal_start_projects_the_gradient_of_W0(
    alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = LoRALinear.init(draw(rng, OUT, IN), 3, alpha, rng, initializer=orthogonal)
    x, grad_y, lr = draw(rng, N, IN), draw(rng, N, OUT), 0.1
    stepped, _ = sgd_step(layer, x, grad_y, lr)
    P = layer.A.T @ layer.A
    assert_allclose(P @ P, P, atol=1e-13)
    expected = -lr * layer.scaling**2 * (grad_y.T @ x) @ P
    assert_allclose(stepped.delta_w, expected, rtol=1e-10, atol=1e-10)


def test_more_orthogonal_rows_than_inputs_are_refused_in_a_sentence() -> None:
    rng = np.random.default_rng(0)
    assert LoRALinear.init(np.ones((3, 4)), 4, 1.0, rng, initializer=orthogonal).r == 4
    with pytest.raises(LoraRefError, match=r"^r in the orthogonal start is 5, .* in_features=4:"):
        LoRALinear.init(np.ones((6, 4)), 5, 1.0, rng, initializer=orthogonal)


# ---------------------------------------------------------------------- from an SVD


@from_svd
@given(alpha=alphas, rank_stabilized=st.booleans(), r=st.integers(1, OUT), seed=seeds)
def test_scaling_is_divided_out(
    name: str, alpha: float, rank_stabilized: bool, r: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    W0, delta_w, layer = begun(name, rng, r=r, alpha=alpha, rank_stabilized=rank_stabilized)
    M = W0 if name == "pissa" else delta_w
    assert_allclose(layer.delta_w, truncate(M, r), rtol=1e-10, atol=1e-12)


@from_svd
@given(alpha=alphas, seed=seeds)
def test_A_and_B_share_the_singular_values_evenly(name: str, alpha: float, seed: int) -> None:
    _, _, layer = begun(name, np.random.default_rng(seed), alpha=alpha)
    gram = layer.A @ layer.A.T
    assert_allclose(layer.B.T @ layer.B, gram, atol=1e-12)
    assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-12)


@given(alpha=alphas, r=st.integers(1, OUT), seed=seeds)
def test_pissa_moves_the_largest_singular_values_and_freezes_the_others(
    alpha: float, r: int, seed: int
) -> None:
    W0, _, layer = begun("pissa", np.random.default_rng(seed), r=r, alpha=alpha)
    s = np.linalg.svd(W0, compute_uv=False)
    moved = np.linalg.svd(layer.delta_w, compute_uv=False)
    left = np.linalg.svd(layer.W0, compute_uv=False)
    assert_allclose(moved, [*s[:r], *np.zeros(OUT - r)], atol=1e-12)
    assert_allclose(left, [*s[r:], *np.zeros(r)], atol=1e-12)


@given(alpha=alphas, seed=seeds)
def test_merging_a_pissa_start_gives_W0_back_to_rounding(alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    W0 = draw(rng, OUT, IN, dtype=np.float32)
    layer = LoRALinear.init(W0, 3, alpha, rng, initializer=pissa)
    # one rounding of the difference and one of the sum, whatever the SVD lost
    size = np.abs(layer.W0) + np.abs(layer.delta_w)
    assert (np.abs(layer.merge().W - W0) <= 2 * np.finfo(np.float32).eps * size).all()


@given(alpha=alphas, r=st.integers(1, OUT), seed=seeds)
def test_an_extracted_LoRA_loses_the_tail_and_no_more(alpha: float, r: int, seed: int) -> None:
    _, delta_w, layer = begun("from_delta_w", np.random.default_rng(seed), r=r, alpha=alpha)
    lost = np.linalg.norm(layer.delta_w - delta_w)
    assert lost == pytest.approx(truncation_error(delta_w, r).frobenius, rel=1e-9, abs=1e-12)


def test_a_full_fine_tuning_of_rank_r_is_extracted_whole(rng: np.random.Generator) -> None:
    W0, delta_w = draw(rng, OUT, IN), draw(rng, OUT, 2) @ draw(rng, 2, IN)
    W = W0 + delta_w
    layer = LoRALinear.init(W0, 2, 3.0, rng, initializer=from_delta_w(W - W0))
    assert_allclose(layer.merge().W, W, rtol=1e-12, atol=1e-12)


def test_a_term_beyond_the_rank_of_delta_w_does_not_train(rng: np.random.Generator) -> None:
    delta_w = np.zeros((OUT, IN))
    delta_w[0, 0] = 4.0  # rank 1, and its SVD is exact
    layer = LoRALinear.init(draw(rng, OUT, IN), 2, 2.0, rng, initializer=from_delta_w(delta_w))
    assert_allclose(layer.delta_w, delta_w, atol=1e-15)
    grads = grads_of(layer, rng)
    assert grads["A"][0].any()
    assert grads["B"][:, 0].any()
    assert not grads["A"][1].any()
    assert not grads["B"][:, 1].any()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"W0": None}, "W0 in .* is a NoneType, expected a NumPy array"),
        ({"W0": np.ones((3, 3), int)}, "W0 in .* has dtype int64, expected a floating-point dtype"),
        ({"W0": np.ones(3)}, r"W0 in .* has shape \(3,\), expected \(out_features, in_features\)"),
        ({"r": 1.5}, "r in .* is 1.5, expected a whole number of at least 1"),
        ({"scaling": None}, "scaling in .* is None, expected a number that is finite in float64"),
        ({"rng": 0}, "rng in .* is 0, expected a numpy.random.Generator"),
    ],
)
def test_a_start_that_is_called_with_something_else_says_so(change: Any, sentence: str) -> None:
    given = {"W0": np.ones((3, 3)), "r": 1, "scaling": 1.0, "rng": np.random.default_rng(0)}
    starts = (kaiming_uniform, normal(), orthogonal, pissa, from_delta_w(np.ones((3, 3))))
    for start in (*starts, both_zero, both_random):
        with pytest.raises(LoraRefError, match=f"^{sentence}"):
            start(**{**given, **change})


@from_svd
def test_a_rank_above_the_smaller_side_is_refused_in_a_sentence(
    name: str, rng: np.random.Generator
) -> None:
    where = {"pissa": "the PiSSA start", "from_delta_w": "the start from delta_w"}[name]
    assert begun(name, rng, r=OUT)[-1].r == OUT
    with pytest.raises(LoraRefError, match=rf"^r in {where} is 7, expected at most 6, the smaller"):
        begun(name, rng, r=OUT + 1)


@from_svd
def test_a_scaling_of_zero_cannot_be_divided_out(name: str, rng: np.random.Generator) -> None:
    with pytest.raises(LoraRefError, match=r"^scaling in the .* is 0, expected another number"):
        begun(name, rng, alpha=0.0)


@from_svd
def test_a_dtype_that_LAPACK_does_not_know_is_refused(name: str, rng: np.random.Generator) -> None:
    W0 = np.ones((OUT, IN), np.float16)
    with pytest.raises(LoraRefError, match="has dtype float16, expected float32 or float64"):
        LoRALinear.init(W0, 2, 1.0, rng, initializer=STARTS[name](W0))


def test_a_delta_w_that_does_not_fit_is_refused_in_a_sentence(rng: np.random.Generator) -> None:
    W0 = draw(rng, OUT, IN)
    with pytest.raises(ShapeError, match=r"^delta_w in from_delta_w has shape .*transpose fits"):
        LoRALinear.init(W0, 2, 1.0, rng, initializer=from_delta_w(draw(rng, IN, OUT)))
    with pytest.raises(LoraRefError, match=r"^delta_w in from_delta_w has dtype float32, expected"):
        LoRALinear.init(
            W0, 2, 1.0, rng, initializer=from_delta_w(draw(rng, OUT, IN, dtype=np.float32))
        )
    with pytest.raises(LoraRefError, match=r"^delta_w in from_delta_w holds nan"):
        from_delta_w(np.full((OUT, IN), np.nan))


@pytest.mark.parametrize("alpha", ["8", None, np.nan, True], ids=repr)
def test_an_alpha_that_is_no_number_is_refused_before_it_is_divided(
    alpha: Any, rng: np.random.Generator
) -> None:
    with pytest.raises(LoraRefError, match=r"^alpha in LoRALinear.init is "):
        LoRALinear.init(np.ones((OUT, IN)), 2, alpha, rng)
