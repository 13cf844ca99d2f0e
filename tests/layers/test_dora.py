"""Magnitude and direction: what DoRA computes, its two gradients, and its row norms."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_examples import examples
from numpy.testing import assert_allclose, assert_array_equal
from strategies import alphas, lora_problems, seeds

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors
from lora_ref.layers import Linear, LoRALinear, dora
from lora_ref.layers.dora import DoRALinear, row_norms
from lora_ref.layers.initializers import kaiming_uniform, normal, orthogonal, pissa
from tests.fixtures.memory import peak_bytes

Problem = tuple[DoRALinear, Array, Array, np.random.Generator]
EPS32 = float(np.finfo(np.float32).eps)


@st.composite
def dora_problems(draw: st.DrawFn, **options: Any) -> Problem:
    """Return a layer, x, grad_y and a generator; with one input a row's direction is a sign."""
    lora, x, rng = draw(lora_problems(at_least=2))
    magnitude = rng.standard_normal(len(lora.W0))
    layer = DoRALinear(
        lora.W0, lora.A, lora.B, magnitude, lora.alpha, lora.bias, lora.rank_stabilized, **options
    )
    return layer, x, rng.standard_normal((len(x), len(lora.W0))), rng


def V_of(layer: DoRALinear) -> Array:
    return layer.W0 + layer.scaling * (layer.B @ layer.A)


def W_of(layer: DoRALinear) -> Array:
    """Return the adapted weight, row by row."""
    return np.array(
        [m * v / np.sqrt(sum(v * v)) for m, v in zip(layer.magnitude, V_of(layer), strict=True)]
    )


def outcome(layer: Any, x: Array, grad_y: Array, **keywords: Any) -> dict[str, Array]:
    """Return y, grad_x and the gradients, by name."""
    y, cache = layer.forward(x, **keywords)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "x": grad_x, **grads}


def assert_close(got: Any, expected: Any) -> None:
    size = max(1.0, float(np.abs(expected).max()))
    assert_allclose(got, expected, rtol=1e-9, atol=1e-10 * size)


# ---------------------------------------------------------------------- what it computes


@given(dora_problems())
def test_y_is_x_times_rows_of_the_length_magnitude_in_the_direction_of_V(problem: Problem) -> None:
    layer, x, _, _ = problem
    y = x @ W_of(layer).T + (0 if layer.bias is None else layer.bias)
    assert_close(layer.forward(x)[0], y)


@given(dora_problems())
def test_the_merged_layer_computes_the_same_function(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    merged = layer.merge()
    assert type(merged) is Linear
    here, there = outcome(layer, x, grad_y), outcome(merged, x, grad_y)
    assert_close(there["y"], here["y"])
    assert_close(there["x"], here["x"])


@given(dora_problems())
def test_a_row_of_the_merged_weight_is_as_long_as_its_magnitude(problem: Problem) -> None:
    layer, _, _, _ = problem
    assert_close(np.linalg.norm(layer.merge().W, axis=1), np.abs(layer.magnitude))


@given(dora_problems(), st.sampled_from([0.25, 3.0]))
def test_the_length_of_V_does_not_matter(problem: Problem, c: float) -> None:
    layer, x, _, _ = problem
    longer = replace(layer, W0=c * layer.W0, B=c * layer.B)
    assert_close(longer.forward(x)[0], layer.forward(x)[0])


@given(dora_problems())
def test_with_the_norms_of_V_as_magnitudes_DoRA_is_LoRA(problem: Problem) -> None:
    layer, x, _, _ = problem
    norms, _ = row_norms(layer.W0, layer.A, layer.B, layer.scaling)
    lora = LoRALinear(layer.W0, layer.A, layer.B, layer.alpha, layer.bias, layer.rank_stabilized)
    same = layer.with_params({"magnitude": norms})
    assert_close(same.forward(x)[0], lora.forward(x)[0])


# ---------------------------------------------------------------------- the start


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("start", [kaiming_uniform, normal(), orthogonal])
@given(alpha=alphas, seed=seeds)
def test_the_start_is_W0_bit_for_bit_where_B_is_zero(
    start: Any, dtype: Any, alpha: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    W0, x = (rng.standard_normal(shape).astype(dtype) for shape in ((6, 9), (4, 9)))
    layer = DoRALinear.init(W0, 3, alpha, rng, initializer=start)
    assert_array_equal(layer.forward(x)[0], x @ W0.T)
    assert_allclose(layer.magnitude, np.linalg.norm(W0, axis=1), rtol=8 * np.finfo(dtype).eps)


@given(alpha=alphas, seed=seeds)
def test_a_pissa_start_is_W0_to_rounding(alpha: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    W0, x = rng.standard_normal((6, 9)), rng.standard_normal((4, 9))
    layer = DoRALinear.init(W0, 3, alpha, rng, initializer=pissa)
    assert not np.array_equal(layer.W0, W0)
    assert_close(layer.forward(x)[0], x @ W0.T)
    assert_close(layer.magnitude, np.linalg.norm(W0, axis=1))


@pytest.mark.parametrize("norm_gradient", ["true", "detached"])
def test_at_the_start_B_and_magnitude_move_and_A_does_not(
    norm_gradient: Any, rng: np.random.Generator
) -> None:
    W0, x = rng.standard_normal((6, 9)), rng.standard_normal((4, 9))
    layer = DoRALinear.init(W0, 3, 8.0, rng, norm_gradient=norm_gradient)
    got = outcome(layer, x, rng.standard_normal((4, 6)))
    assert not got["A"].any()
    assert got["B"].all()
    assert got["magnitude"].all()


# ---------------------------------------------------------------------- two gradients


@settings(derandomize=True)  # about one draw in a thousand has a row of V so short that a step
@given(dora_problems())  # turns it too far: the difference is wrong there, not the gradient
def test_the_true_gradient_passes_the_check(problem: Problem) -> None:
    layer, x, _, rng = problem
    errors = gradient_errors(layer, x, rng)
    assert errors.keys() == {"x", "A", "B", "magnitude"}
    assert max(errors.values()) < SMOOTH_TOLERANCE, errors


@given(dora_problems(norm_gradient="detached"))
def test_the_held_gradient_fails_the_check_in_A_and_B_alone(problem: Problem) -> None:
    layer, x, _, rng = problem
    errors = gradient_errors(layer, x, rng)
    wrong = {name for name, error in errors.items() if error >= SMOOTH_TOLERANCE}
    assert wrong == {"A", "B"}, errors


@pytest.mark.parametrize("norm_gradient", ["true", "detached"])
@given(problem=dora_problems())
def test_gradients_agree_with_the_ones_through_a_dense_V(
    norm_gradient: Any, problem: Problem
) -> None:
    layer, x, grad_y, _ = problem
    layer = replace(layer, norm_gradient=norm_gradient)
    got, V = outcome(layer, x, grad_y), V_of(layer)
    norms = np.linalg.norm(V, axis=1)
    stretch = (layer.magnitude / norms)[:, None]
    grad_W = grad_y.T @ x
    grad_V = stretch * grad_W  # the paper, section 4.3
    unit = V / norms[:, None]
    if norm_gradient == "true":
        grad_V = grad_V - np.sum(grad_V * unit, axis=1, keepdims=True) * unit
    assert_close(got["A"], layer.scaling * layer.B.T @ grad_V)
    assert_close(got["B"], layer.scaling * grad_V @ layer.A.T)
    assert_close(got["magnitude"], np.sum(grad_y * (x @ V.T), axis=0) / norms)
    assert_close(got["x"], grad_y @ W_of(layer))


@given(dora_problems())
def test_the_two_gradients_agree_in_x_and_magnitude_to_the_bit(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    true, held = (
        outcome(replace(layer, norm_gradient=kind), x, grad_y) for kind in ("true", "detached")
    )
    for name in ("y", "x", "magnitude"):
        assert_array_equal(true[name], held[name])


@given(dora_problems())
def test_the_true_gradient_never_lengthens_a_row_and_the_held_one_does(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    # without W0, a longer row of B is a longer row of V in the same direction: y does not change
    V = layer.scaling * (layer.B @ layer.A)
    layer = DoRALinear(np.zeros_like(V), layer.A, layer.B, layer.magnitude, layer.alpha, None,
                       layer.rank_stabilized)  # fmt: skip
    held = replace(layer, norm_gradient="detached")
    along, size = (
        [float(np.vdot(outcome(kind, x, grad_y)["B"][o], layer.B[o])) for o in range(len(V))]
        for kind in (layer, held)
    )
    assert_allclose(along, 0, atol=1e-10 * max(map(abs, size)))
    assert max(map(abs, size)) > 0


def relative(got: Array, expected: Array) -> float:
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def test_the_gradients_differ_by_a_tenth_to_a_half_on_random_layers() -> None:
    differences = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        W0, A = (rng.standard_normal((size, 64)) / 8 for size in (48, 4))
        layer = DoRALinear(W0, A, rng.standard_normal((48, 4)), np.ones(48), alpha=2.0)
        x, grad_y = rng.standard_normal((32, 64)), rng.standard_normal((32, 48))
        true = outcome(layer, x, grad_y)
        held = outcome(replace(layer, norm_gradient="detached"), x, grad_y)
        differences.append([relative(held[name], true[name]) for name in ("A", "B")])
    assert all(0.05 < difference < 0.6 for pair in differences for difference in pair), differences


# ---------------------------------------------------------------------- dropout


@given(dora_problems())
def test_dropout_hits_all_that_the_adapter_adds_to_W0(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    mask = 2.0 * (rng.random(x.shape) < 0.5)
    got = outcome(layer, x, grad_y, mask=mask)
    added = W_of(layer) - layer.W0
    bias = 0 if layer.bias is None else layer.bias
    assert_close(got["y"], x @ layer.W0.T + (x * mask) @ added.T + bias)
    assert_close(got["x"], grad_y @ layer.W0 + mask * (grad_y @ added))
    dropped = outcome(layer, x * mask, grad_y)
    for name in ("A", "B", "magnitude"):
        assert_close(got[name], dropped[name])


@given(dora_problems())
def test_what_is_dropped_whole_leaves_the_pretrained_layer(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    got = outcome(layer, x, grad_y, mask=np.zeros_like(x))
    base = outcome(Linear(layer.W0, layer.bias), x, grad_y)
    assert_array_equal(got["y"], base["y"])
    assert_array_equal(got["x"], base["x"])
    assert not any(got[name].any() for name in layer.trainable)


@given(dora_problems())
def test_a_mask_of_ones_is_no_mask(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    masked = outcome(layer, x, grad_y, mask=np.ones_like(x))
    for name, array in outcome(layer, x, grad_y).items():
        assert_array_equal(masked[name], array)


# ---------------------------------------------------------------------- row norms


def cancelling(shrunk_to: float, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Return float32 W0, A and B whose update leaves a share of W0: every row of V is short."""
    A, B = rng.standard_normal((4, 300)), rng.standard_normal((200, 4))
    W0 = -B @ A + shrunk_to * rng.standard_normal((200, 300))
    return tuple(array.astype(np.float32) for array in (W0, A, B))  # type: ignore[return-value]


def norm_errors(W0: Array, A: Array, B: Array) -> Array:
    """Return the relative errors of `row_norms` against float64, row by row."""
    exact = np.linalg.norm(W0.astype(float) + B.astype(float) @ A.astype(float), axis=1)
    return np.abs(row_norms(W0, A, B, 1.0)[0] / exact - 1)


@given(dora_problems())
def test_row_norms_are_those_of_the_formed_V(problem: Problem) -> None:
    layer, _, _, _ = problem
    norms, W0_At = row_norms(layer.W0, layer.A, layer.B, layer.scaling)
    assert_allclose(norms, np.linalg.norm(V_of(layer), axis=1), rtol=1e-12)
    assert_array_equal(W0_At, layer.W0 @ layer.A.T)


@pytest.mark.parametrize("size", [0.0, 0.01, 1.0, 100.0])
def test_row_norms_are_good_to_a_few_units_in_the_last_place(
    size: float, rng: np.random.Generator
) -> None:
    W0, A, B = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((200, 300), (4, 300), (200, 4))
    )
    assert norm_errors(W0, A, np.float32(size) * B).max() < 8 * EPS32


def test_where_the_update_cancels_W0_the_three_terms_lose_all_digits_and_we_do_not(
    rng: np.random.Generator,
) -> None:
    W0, A, B = cancelling(1e-3, rng)
    squares = np.vecdot(W0, W0) + 2 * np.vecdot(B, W0 @ A.T) + np.vecdot(B @ (A @ A.T), B)
    exact = np.vecdot(*2 * [W0.astype(float) + B.astype(float) @ A.astype(float)])
    assert np.median(np.abs(squares / exact - 1)) > 0.1
    assert norm_errors(W0, A, B).max() < 1e-3


@pytest.mark.parametrize("rows", [1, dora.ROW_BLOCK, dora.ROW_BLOCK + 1])
def test_every_short_row_is_formed_whatever_the_block(rows: int, rng: np.random.Generator) -> None:
    W0, A, B = cancelling(1e-2, rng)
    B[rows:] = 0  # the others are those of W0
    errors = norm_errors(W0, A, B)
    assert errors[:rows].max() < 1e-4
    assert errors[rows:].max() < 8 * EPS32


@pytest.mark.parametrize("where", ["forward", "merge", "init"])
def test_a_row_of_norm_zero_is_an_error(where: str, rng: np.random.Generator) -> None:
    A, B, ones = rng.standard_normal((2, 7)), rng.standard_normal((5, 2)), np.ones(5)
    W0 = rng.standard_normal((5, 7))
    W0[3] = -(B[3] @ A)  # zero to rounding, once the update is there
    said = r"^row 3 of W0 \+ scaling \* B @ A has norm .* in float64, expected one above zero"
    start = DoRALinear(W0, A, np.zeros_like(B), ones, alpha=2.0)
    short = start.with_params({"B": B})  # values are not scanned in a training step
    gone = W0.copy()
    gone[3] = 0
    passes: dict[str, Callable[[], object]] = {
        "forward": lambda: short.forward(np.ones((1, 7))),
        "merge": short.merge,
        "init": lambda: DoRALinear.init(gone, 2, 2.0, rng),
    }
    with pytest.raises(LoraRefError, match=said):
        passes[where]()


@pytest.mark.parametrize("entry", [1e30, 1e-30, 1e-20])
def test_a_norm_that_the_dtype_cannot_square_is_an_error(entry: float) -> None:
    W0 = np.ones((5, 7), np.float32)
    W0[1] = entry
    with pytest.raises(
        LoraRefError, match=r"^row 1 of W0 .* has norm (inf|0|2.65e-20) in float32, "
    ):
        DoRALinear.init(W0, 2, 2.0, np.random.default_rng(0))


def test_a_layer_that_diverged_says_so(rng: np.random.Generator) -> None:
    layer = DoRALinear.init(np.ones((5, 7)), 2, 2.0, rng)
    lost = layer.with_params({"B": np.full((5, 2), np.nan)})
    with pytest.raises(LoraRefError, match=r"^row 0 of W0 .* has norm nan in float64"):
        lost.forward(np.ones((1, 7)))


# ---------------------------------------------------------------------- argument checks, and memory


def test_what_does_not_fit_is_refused_in_a_sentence(rng: np.random.Generator) -> None:
    layer = DoRALinear.init(np.ones((5, 7)), 2, 2.0, rng)
    with pytest.raises(ShapeError, match=r"^magnitude in DoRALinear has shape \(7,\), expected \("):
        replace(layer, magnitude=np.ones(7))
    with pytest.raises(LoraRefError, match=r"^magnitude in DoRALinear has dtype float32"):
        replace(layer, magnitude=np.ones(5, np.float32))
    with pytest.raises(LoraRefError, match=r"^norm_gradient in DoRALinear is 'paper', expected"):
        replace(layer, norm_gradient="paper")
    with pytest.raises(ShapeError, match=r"^mask in DoRALinear.forward has shape \(7,\)"):
        layer.forward(np.ones((3, 7)), mask=np.ones(7))
    with pytest.raises(LoraRefError, match=r"^alpha in DoRALinear.init is '8'"):
        DoRALinear.init(np.ones((5, 7)), 2, "8", rng)  # type: ignore[arg-type]


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
@pytest.mark.parametrize("short", [False, True], ids=["long rows", "short rows"])
def test_a_pass_allocates_nothing_of_the_size_of_W0(
    masked: bool, short: bool, rng: np.random.Generator
) -> None:
    out_features, in_features, r, n = 900, 1100, 2, 2
    A, B = rng.standard_normal((r, in_features)), rng.standard_normal((out_features, r))
    W0 = -0.999 * (B @ A) if short else np.ones((out_features, in_features))
    layer = DoRALinear(W0, A, B, np.ones(out_features), alpha=float(r))
    x, grad_y = np.ones((n, in_features)), np.ones((n, out_features))
    keywords = {"mask": np.ones_like(x)} if masked else {}
    found: list[int] = []
    with peak_bytes(found):
        _, cache = layer.forward(x, **keywords)
        layer.backward(grad_y, cache)
    with peak_bytes(found):
        layer.merge()  # what a pass must not do: the measurement sees it
    in_pass, in_product = found
    assert in_product >= layer.W0.nbytes
    assert in_pass < layer.W0.nbytes / (8 if short else 20)


@pytest.mark.parametrize("wrong", ["no", 1, None], ids=repr)
def test_rank_stabilized_is_a_bool_and_no_word_that_counts_as_true(wrong):
    x = np.random.default_rng(0).standard_normal((4, 7))
    layer = examples(DoRALinear, x, 5, np.random.default_rng(1))[0][0]
    with pytest.raises(LoraRefError, match="rank_stabilized in DoRALinear is "):
        replace(layer, rank_stabilized=wrong)
