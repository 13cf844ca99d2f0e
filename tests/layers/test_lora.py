"""Properties of Low-Rank Adaptation, each a sentence that can be false."""

from collections.abc import Callable
from dataclasses import replace
from math import sqrt
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import lora_problems, seeds, sizes

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import DoRALinear, Linear, LoRALinear, QLoRALinear
from lora_ref.layers.initializers import kaiming_uniform, normal
from tests.fixtures.memory import peak_bytes

Problem = tuple[LoRALinear, Array, np.random.Generator]
EPS32 = float(np.finfo(np.float32).eps)
SIZES = (0.01, 0.1, 1.0, 4.0)
"""Of an update, relative to W0, where unmerging is measured."""


def assert_close(got: Any, expected: Any) -> None:
    """Assert that two arrays differ by the rounding of a few sums of ordinary numbers."""
    size = max(1.0, float(np.abs(expected).max()))
    assert_allclose(got, expected, rtol=1e-10, atol=1e-11 * size)


def assert_same_bits(got: Any, expected: Any) -> None:
    assert (got.shape, got.dtype) == (expected.shape, expected.dtype)
    assert got.tobytes() == expected.tobytes()


def base_of(layer: LoRALinear) -> Linear:
    """Return the pretrained layer: no adapter."""
    return Linear(layer.W0, layer.bias)


def update_of(layer: LoRALinear) -> Linear:
    """Return the update as a layer of its own: out x in, one step."""
    return Linear(layer.delta_w)


def grad_y_for(layer: LoRALinear, x: Array, rng: np.random.Generator) -> Array:
    return rng.standard_normal((len(x), len(layer.W0))).astype(x.dtype)


def outcome(layer: Any, x: Array, grad_y: Array, **keywords: Any) -> dict[str, Array]:
    """Return y, grad_x and the gradients, by name."""
    y, cache = layer.forward(x, **keywords)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "x": grad_x, **grads}


# ---------------------------------------------------------------------- the frozen weight


@given(lora_problems())
def test_W0_has_the_same_bits_after_training(problem: Problem) -> None:
    layer, x, rng = problem
    handed_in = layer.W0.copy()
    trained = replace(layer, W0=handed_in)
    for _ in range(4):
        trained, _ = sgd_step(trained, x, grad_y_for(layer, x, rng), lr=0.1)
    assert_same_bits(trained.W0, layer.W0)
    assert_same_bits(handed_in, layer.W0)
    assert not np.array_equal(trained.A, layer.A)
    assert not np.array_equal(trained.B, layer.B)


@given(lora_problems())
def test_W0_and_bias_get_no_gradient(problem: Problem) -> None:
    layer, x, rng = problem
    _, grads = layer.backward(grad_y_for(layer, x, rng), layer.forward(x)[1])
    assert set(grads) == set(layer.trainable) == {"A", "B"}


@given(lora_problems())
def test_W0_and_bias_refuse_an_update(problem: Problem) -> None:
    layer, _, rng = problem
    layer = replace(layer, bias=rng.standard_normal(len(layer.W0)))
    for name in ("W0", "bias"):
        value = getattr(layer, name)
        with pytest.raises(ValueError, match="read-only"):
            value -= 0.1
        with pytest.raises(LoraRefError, match=f"^{name} is not trainable in LoRALinear"):
            layer.with_params({name: value.copy()})


def test_W0_is_frozen_even_where_A_is_the_same_array(rng: np.random.Generator) -> None:
    shared = rng.standard_normal((5, 7))
    layer = LoRALinear(shared, shared, rng.standard_normal((5, 5)), alpha=1.0)
    assert not layer.W0.flags.writeable
    assert layer.A.flags.writeable


def test_W0_stays_frozen_where_its_maker_makes_it_writeable_again(rng: np.random.Generator) -> None:
    W0 = rng.standard_normal((5, 7))
    W0.flags.writeable = False
    layer = LoRALinear.init(W0, 2, 1.0, rng)
    W0.flags.writeable = True
    assert not layer.W0.flags.writeable


# ---------------------------------------------------------------------- the start of training

strengths = st.sampled_from([0.0, 1.0, -8.0, 1e-12, 1e12, -1e150, 1e300])


@given(lora_problems(), strengths)
def test_with_B_zero_the_layer_is_W0_to_the_bit(problem: Problem, alpha: float) -> None:
    layer, x, _ = problem
    start = replace(layer, B=np.zeros_like(layer.B), alpha=alpha)
    assert_same_bits(start.forward(x)[0], base_of(layer).forward(x)[0])
    assert_array_equal(start.merge().W, layer.W0)


@given(lora_problems())
def test_at_the_start_the_gradient_of_A_is_zero_and_that_of_B_is_not(problem: Problem) -> None:
    layer, x, rng = problem
    start = LoRALinear.init(layer.W0, layer.r, 4.0, rng, bias=layer.bias)
    grad_y = grad_y_for(layer, x, rng)
    got = outcome(start, x, grad_y)
    assert not got["A"].any()
    assert got["B"].any()
    assert_same_bits(got["x"], base_of(layer).backward(grad_y, base_of(layer).forward(x)[1])[0])


@given(lora_problems())
def test_the_first_step_moves_B_alone_and_the_second_moves_both(problem: Problem) -> None:
    layer, x, rng = problem
    start = LoRALinear.init(layer.W0, layer.r, 4.0, rng)
    once, _ = sgd_step(start, x, grad_y_for(layer, x, rng), lr=0.1)
    twice, _ = sgd_step(once, x, grad_y_for(layer, x, rng), lr=0.1)
    assert_array_equal(once.A, start.A)
    assert once.B.any()
    assert not np.array_equal(twice.A, once.A)
    assert not np.array_equal(twice.B, once.B)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_usual_start_is_uniform_within_one_over_root_in_features(
    dtype: Any, rng: np.random.Generator
) -> None:
    in_features, r = 400, 200
    W0 = np.ones((3, in_features), dtype)
    A = LoRALinear.init(W0, r, 1.0, rng).A.astype(np.float64)
    bound = 1 / sqrt(in_features)
    assert np.abs(A).max() <= bound * (1 + float(np.finfo(dtype).eps))
    assert np.abs(A).max() > 0.999 * bound
    assert A.var() == pytest.approx(1 / (3 * in_features), rel=0.02)
    assert np.mean(np.abs(A) < bound / 2) == pytest.approx(0.5, abs=0.01)  # uniform, not normal
    assert abs(A.mean()) < 0.01 * bound


@pytest.mark.parametrize("std", [0.02, 0.5])
def test_the_normal_start_has_the_width_that_was_asked_for(
    std: float, rng: np.random.Generator
) -> None:
    A = LoRALinear.init(np.ones((3, 400)), 200, 1.0, rng, initializer=normal(std)).A
    assert A.std() == pytest.approx(std, rel=0.02)
    assert abs(A.mean()) < 0.02 * std
    assert np.mean(np.abs(A) < std) == pytest.approx(0.6827, abs=0.01)  # normal, not uniform
    assert normal()(np.ones((1, 400)), 200, 1.0, rng)[1].std() == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("start", [kaiming_uniform, normal()], ids=["kaiming_uniform", "normal"])
@given(out_features=sizes, in_features=sizes, r=sizes, seed=seeds)
def test_a_start_has_B_zero_and_repeats_with_its_seed(
    start: Callable[..., Any], out_features: int, in_features: int, r: int, seed: int
) -> None:
    W0 = np.ones((out_features, in_features), np.float32)
    first, again, other = (
        LoRALinear.init(W0, r, 1.0, np.random.default_rng(s), initializer=start)
        for s in (seed, seed, seed + 1)
    )
    assert_same_bits(first.A, again.A)
    assert not np.array_equal(first.A, other.A)
    assert (first.A.shape, first.B.shape) == ((r, in_features), (out_features, r))
    assert {first.A.dtype, first.B.dtype} == {W0.dtype}
    assert first.A.all()
    assert not first.B.any()


@pytest.mark.parametrize("std", [0.0, -0.02, np.nan, np.inf, "0.02", None, True], ids=repr)
def test_a_normal_start_has_a_width_above_zero(std: Any) -> None:
    with pytest.raises(LoraRefError, match=r"^std in normal is "):
        normal(std)


@given(lora_problems())
def test_init_wraps_the_layer_that_was_asked_for(problem: Problem) -> None:
    layer, _, rng = problem
    start = LoRALinear.init(
        layer.W0,
        layer.r,
        layer.alpha,
        rng,
        bias=layer.bias,
        rank_stabilized=layer.rank_stabilized,
    )
    assert_same_bits(start.W0, layer.W0)
    assert (start.bias is None) == (layer.bias is None)
    assert start.bias is None or np.array_equal(start.bias, layer.bias)
    assert (start.r, start.alpha, start.scaling) == (layer.r, layer.alpha, layer.scaling)


# ---------------------------------------------------------------------- what the layer computes


@given(lora_problems())
def test_y_is_the_pretrained_layer_plus_the_update(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    whole, base, update = (
        outcome(part, x, grad_y) for part in (layer, base_of(layer), update_of(layer))
    )
    assert_close(whole["y"], base["y"] + update["y"])
    assert_close(whole["x"], base["x"] + update["x"])


@given(lora_problems())
def test_two_thin_steps_equal_one_wide_step(problem: Problem) -> None:
    layer, x, _ = problem
    without = replace(layer, W0=np.zeros_like(layer.W0), bias=None)
    assert_close(without.forward(x)[0], x @ layer.delta_w.T)


@given(lora_problems())
def test_delta_w_is_scaling_times_B_times_A(problem: Problem) -> None:
    layer, _, _ = problem
    for o, j in np.ndindex(layer.delta_w.shape):
        entry = sum(layer.B[o, k] * layer.A[k, j] for k in range(layer.r))
        assert layer.delta_w[o, j] == pytest.approx(layer.scaling * entry, rel=1e-10, abs=1e-10)


@given(lora_problems())
def test_the_update_has_rank_r_at_most(problem: Problem) -> None:
    layer, _, _ = problem
    # a random product of full rank: the bound is met, not only kept
    assert np.linalg.matrix_rank(layer.delta_w) == min(layer.r, *layer.W0.shape)


@given(lora_problems(at_least=2), st.data())
def test_the_rank_of_the_update_falls_with_each_direction_of_A_that_is_lost(
    problem: Problem, data: st.DataObject
) -> None:
    layer, _, _ = problem
    kept = data.draw(st.integers(0, layer.r))
    A = np.where(np.arange(layer.r)[:, None] < kept, layer.A, 0.0)
    update = replace(layer, A=A).delta_w
    assert np.linalg.matrix_rank(update) == min(kept, *layer.W0.shape)


@given(out_features=sizes, in_features=sizes, seed=seeds)
def test_every_update_is_reachable_where_r_is_the_smaller_width(
    out_features: int, in_features: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    wanted = rng.standard_normal((out_features, in_features))
    r, alpha = min(wanted.shape), 3.0
    thin = np.eye(r)
    A, B = (wanted, thin) if out_features <= in_features else (thin, wanted)
    layer = LoRALinear(np.zeros_like(wanted), A, B * (r / alpha), alpha)
    assert_close(layer.delta_w, wanted)


@given(lora_problems(), st.sampled_from([-0.5, 0.25, 2.0, 1024.0]))
def test_c_times_A_and_B_over_c_is_the_same_function(problem: Problem, c: float) -> None:
    layer, x, rng = problem
    other = replace(layer, A=c * layer.A, B=layer.B / c)
    grad_y = grad_y_for(layer, x, rng)
    here, there = outcome(layer, x, grad_y), outcome(other, x, grad_y)
    assert_array_equal(there["y"], here["y"])  # c is a power of two: not even the rounding differs
    assert_array_equal(there["x"], here["x"])
    assert_array_equal(there["A"], here["A"] / c)
    assert_array_equal(there["B"], c * here["B"])


@given(lora_problems(), st.sampled_from([-3.0, 0.0, 0.1, 7.0]))
def test_y_is_linear_in_alpha(problem: Problem, factor: float) -> None:
    layer, x, _ = problem
    base = base_of(layer).forward(x)[0]
    there = replace(layer, alpha=factor * layer.alpha).forward(x)[0]
    assert_close(there - base, factor * (layer.forward(x)[0] - base))


@given(lora_problems(), st.integers(1, 4))
def test_alpha_and_r_enter_through_scaling_alone(problem: Problem, more: int) -> None:
    layer, x, _ = problem
    r = layer.r + more
    A = np.vstack([layer.A, np.zeros((more, layer.A.shape[1]))])
    B = np.hstack([layer.B, np.zeros((len(layer.B), more))])
    ratio = sqrt(r / layer.r) if layer.rank_stabilized else r / layer.r
    wider = replace(layer, A=A, B=B, alpha=layer.alpha * ratio)
    assert wider.scaling == pytest.approx(layer.scaling, rel=1e-14)
    assert_close(wider.forward(x)[0], layer.forward(x)[0])


@given(lora_problems())
def test_rank_stabilized_scaling_divides_by_the_root_of_r(problem: Problem) -> None:
    layer, x, _ = problem
    plain, stabilized = (replace(layer, rank_stabilized=flag) for flag in (False, True))
    assert plain.scaling == layer.alpha / layer.r
    assert stabilized.scaling == pytest.approx(layer.alpha / layer.r**0.5, rel=1e-15)
    same = replace(plain, alpha=layer.alpha * sqrt(layer.r))
    assert_close(stabilized.forward(x)[0], same.forward(x)[0])


@given(lora_problems(), st.integers(1, 3))
def test_r_may_exceed_both_widths(problem: Problem, more: int) -> None:
    layer, x, rng = problem
    r = max(layer.W0.shape) + more
    wide = LoRALinear.init(layer.W0, r, 1.0, rng)
    wide = wide.with_params({"B": rng.standard_normal(wide.B.shape)})
    assert_close(wide.forward(x)[0], wide.merge().forward(x)[0])
    assert np.linalg.matrix_rank(wide.delta_w) == min(layer.W0.shape)


@given(lora_problems())
def test_batches_are_independent(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    whole = outcome(layer, x, grad_y)
    rows = [outcome(layer, x[i : i + 1], grad_y[i : i + 1]) for i in range(len(x))]
    for name in ("y", "x"):
        assert_close(whole[name], np.concatenate([row[name] for row in rows]))
    for name in ("A", "B"):
        assert_close(whole[name], sum(row[name] for row in rows))


# ---------------------------------------------------------------------- dropout


@given(lora_problems())
def test_a_mask_of_ones_is_no_mask(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    masked = outcome(layer, x, grad_y, mask=np.ones_like(x))
    for name, array in outcome(layer, x, grad_y).items():
        assert_same_bits(masked[name], array)


@given(lora_problems())
def test_dropout_touches_the_low_rank_branch_alone(problem: Problem) -> None:
    layer, x, rng = problem
    mask, grad_y = 2.0 * (rng.random(x.shape) < 0.5), grad_y_for(layer, x, rng)
    got = outcome(layer, x, grad_y, mask=mask)
    base, update = (outcome(part, x, grad_y) for part in (base_of(layer), update_of(layer)))
    dropped = outcome(layer, x * mask, grad_y)
    assert_close(got["y"], base["y"] + update_of(layer).forward(x * mask)[0])
    assert_close(got["x"], base["x"] + mask * update["x"])
    assert_close(got["A"], dropped["A"])
    assert_close(got["B"], dropped["B"])


@given(lora_problems())
def test_what_is_dropped_whole_leaves_the_pretrained_layer(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    got = outcome(layer, x, grad_y, mask=np.zeros_like(x))
    base = outcome(base_of(layer), x, grad_y)
    assert_array_equal(got["y"], base["y"])
    assert_array_equal(got["x"], base["x"])
    assert not got["A"].any()
    assert not got["B"].any()


# ---------------------------------------------------------------------- merge and unmerge


@given(lora_problems())
def test_merged_layer_computes_the_same_function(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    here, merged = outcome(layer, x, grad_y), outcome(layer.merge(), x, grad_y)
    assert_close(merged["y"], here["y"])
    assert_close(merged["x"], here["x"])


@given(lora_problems())
def test_merge_returns_a_linear_layer_that_trains_its_own_arrays(problem: Problem) -> None:
    layer, x, rng = problem
    layer = replace(layer, bias=rng.standard_normal(len(layer.W0)))
    before = [array.copy() for array in (layer.W0, layer.bias, layer.A, layer.B)]
    merged = layer.merge()
    assert type(merged) is Linear
    assert not hasattr(merged, "merge")
    assert set(merged.trainable) == {"W", "bias"}
    got = outcome(merged, x, grad_y_for(layer, x, rng))
    for name, array in merged.trainable.items():
        assert got[name].any()
        array -= 0.1 * got[name]  # in place, as an optimiser may
    for array, kept in zip((layer.W0, layer.bias, layer.A, layer.B), before, strict=True):
        assert_same_bits(array, kept)


@given(lora_problems())
def test_unmerge_gives_the_adapter_back_and_W0_to_rounding(problem: Problem) -> None:
    layer, x, _ = problem
    back = LoRALinear.unmerge(
        layer.merge(), layer.A, layer.B, layer.alpha, rank_stabilized=layer.rank_stabilized
    )
    assert back.A is layer.A
    assert back.B is layer.B
    assert (back.alpha, back.rank_stabilized) == (layer.alpha, layer.rank_stabilized)
    assert_close(back.W0, layer.W0)
    assert_close(back.forward(x)[0], layer.forward(x)[0])
    with pytest.raises(ShapeError, match=r"^A in LoRALinear has shape"):
        LoRALinear.unmerge(layer.merge(), layer.B.T, layer.A.T, 4.0)


def unmerged(size: float, seed: int) -> tuple[LoRALinear, Linear, LoRALinear]:
    """Return a float32 layer whose update is `size` times as large as W0, merged, and unmerged."""
    rng = np.random.default_rng(seed)
    out_features, in_features, r = 160, 200, 4
    W0 = rng.standard_normal((out_features, in_features)).astype(np.float32)
    A = rng.standard_normal((r, in_features)).astype(np.float32)
    B = rng.standard_normal((out_features, r)).astype(np.float32)
    layer = LoRALinear(W0, A, B, alpha=size * sqrt(r))
    return layer, layer.merge(), LoRALinear.unmerge(layer.merge(), A, B, layer.alpha)


@pytest.mark.parametrize("seed", range(3))
def test_unmerge_loses_the_bits_of_about_one_entry_in_ten(seed: int) -> None:
    layer, _, back = unmerged(0.1, seed)  # an update a tenth as large as W0
    assert 0.03 < np.mean(back.W0 != layer.W0) < 0.3


@pytest.mark.parametrize("seed", range(3))
def test_unmerge_loses_more_the_larger_the_update_is(seed: int) -> None:
    shares = [np.mean(back.W0 != layer.W0) for layer, _, back in (unmerged(s, seed) for s in SIZES)]
    assert 0 < shares[0] < 0.03
    assert shares == sorted(shares)
    assert shares[-1] > 0.3


@pytest.mark.parametrize("size", SIZES)
def test_unmerge_is_wrong_by_two_roundings_at_most(size: float) -> None:
    layer, merged, back = unmerged(size, 0)
    wrong = np.abs(back.W0.astype(np.float64) - layer.W0)
    assert (wrong <= EPS32 * np.maximum(np.abs(merged.W), np.abs(back.W0))).all()
    assert wrong.any()


# ---------------------------------------------------------------------- memory


@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_a_pass_allocates_nothing_of_the_size_of_W0(masked: bool, rng: np.random.Generator) -> None:
    out_features, in_features, r, n = 900, 1100, 2, 2
    layer = LoRALinear.init(np.ones((out_features, in_features)), r, 4.0, rng)
    x, grad_y = np.ones((n, in_features)), np.ones((n, out_features))
    keywords = {"mask": np.ones_like(x)} if masked else {}
    found: list[int] = []
    with peak_bytes(found):
        y, cache = layer.forward(x, **keywords)
        grad_x, grads = layer.backward(grad_y, cache)
    with peak_bytes(found):
        layer.delta_w  # noqa: B018 what a pass must not do: the measurement sees it
    in_pass, in_product = found
    assert in_product >= layer.W0.nbytes
    assert in_pass < layer.W0.nbytes / 20
    thin = sum(array.nbytes for array in (y, grad_x, *grads.values(), *cache[1:3]))
    assert in_pass < 3 * thin


@given(lora_problems(), st.booleans())
def test_the_cache_is_x_and_the_thin_h(problem: Problem, masked: bool) -> None:
    layer, x, _ = problem
    mask = np.ones_like(x) if masked else None
    cache = layer.forward(x, mask=mask)[1]
    arrays = {name: array for name, array in cache._asdict().items() if hasattr(array, "nbytes")}
    wanted = {"x": x.nbytes, "h": len(x) * layer.r * x.itemsize}
    assert {name: array.nbytes for name, array in arrays.items()} == (
        wanted | {"mask": x.nbytes} if masked else wanted
    )
    assert np.shares_memory(cache.x, x) != masked  # kept without a copy where nothing is dropped


@given(lora_problems())
def test_a_cache_of_another_layer_is_refused(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y = grad_y_for(layer, x, rng)
    wider = replace(
        layer,
        A=rng.standard_normal((layer.r + 1, layer.A.shape[1])),
        B=rng.standard_normal((len(layer.B), layer.r + 1)),
    )
    with pytest.raises(LoraRefError, match="it comes from a forward pass of another layer"):
        layer.backward(grad_y, wider.forward(x)[1])
    merged = layer.merge()
    with pytest.raises(LoraRefError, match="is a LinearCache, expected the LoRACache"):
        layer.backward(grad_y, merged.forward(x)[1])
    with pytest.raises(LoraRefError, match="is a LoRACache, expected the LinearCache"):
        merged.backward(grad_y, layer.forward(x)[1])
    with pytest.raises(LoraRefError, match="is a NoneType, expected the LoRACache"):
        layer.backward(grad_y, None)


@pytest.mark.parametrize("kind", [LoRALinear, DoRALinear, QLoRALinear])
def test_a_bias_that_is_not_there_does_not_train(kind: Any) -> None:
    layer = kind.init(np.ones((4, 8)), 2, 4.0, np.random.default_rng(0))
    says = f"train in {kind.__name__} names 'bias', expected a layer that has one"
    with pytest.raises(LoraRefError, match=says):
        replace(layer, train=("A", "bias"))


def test_what_is_no_layer_and_what_is_no_mapping_are_refused() -> None:
    layer = LoRALinear(np.ones((5, 7)), np.ones((2, 7)), np.ones((5, 2)), 4)
    with pytest.raises(LoraRefError, match="expected a merged Linear"):
        LoRALinear.unmerge(layer.W0, layer.A, layer.B, 4)
    with pytest.raises(LoraRefError, match="expected a mapping"):
        layer.with_params([("A", layer.A)])
