"""The bordered plan: the layer's own numbers, from buffers that live until the next call."""

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import lora_problems

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.fast import BorderedPlan, bordered
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import Linear, LoRALinear

Problem = tuple[LoRALinear, Array, np.random.Generator]

problems = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: lora_problems(dtype=dtype)
)


def draw_layer(
    rng: np.random.Generator,
    out_features: int = 5,
    in_features: int = 7,
    r: int = 2,
    **options: Any,
) -> LoRALinear:
    shapes = (out_features, in_features), (r, in_features), (out_features, r)
    W0, A, B = (rng.standard_normal(shape) for shape in shapes)
    return LoRALinear(
        W0, A, B, **{"alpha": 3.0, "bias": rng.standard_normal(out_features), **options}
    )


def grad_y_for(layer: LoRALinear, x: Array, rng: np.random.Generator) -> Array:
    return rng.standard_normal((*x.shape[:-1], len(layer.W0))).astype(x.dtype)


def by_layer(layer: LoRALinear, x: Array, grad_y: Array) -> dict[str, Array]:
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "x": grad_x, **grads}


def by_plan(plan: BorderedPlan, x: Array, grad_y: Array) -> dict[str, Array]:
    y = plan.forward(x)
    grad_x, grads = plan.backward(grad_y)
    return {"y": y, "x": grad_x, **grads}


def assert_agrees(plan: BorderedPlan, layer: LoRALinear, x: Array, grad_y: Array) -> None:
    """Assert that plan and layer differ by rounding, whatever cancels.

    A sum of m products is off by at most about m * eps times the sum of their sizes; the sizes are
    what the layer itself returns when every sign is taken away.
    """
    arrays = {name: abs(getattr(layer, name)) for name in ("W0", "A", "B")}
    bias = None if layer.bias is None else abs(layer.bias)
    unsigned = replace(layer, **arrays, bias=bias, alpha=abs(layer.alpha))
    got, expected = by_plan(plan, x, grad_y), by_layer(layer, x, grad_y)
    sizes = by_layer(unsigned, abs(x), abs(grad_y))
    rounding = 4 * (sum(layer.W0.shape) + layer.r + x.size // x.shape[-1]) * np.finfo(x.dtype).eps
    assert set(got) == set(expected)
    for name, array in got.items():
        assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype), name
        assert (abs(array - expected[name]) <= rounding * sizes[name]).all(), name


# ---------------------------------------------------------------------- the same numbers


@given(problems)
def test_a_plan_agrees_with_its_layer(problem: Problem) -> None:
    layer, x, rng = problem
    assert_agrees(bordered(layer), layer, x, grad_y_for(layer, x, rng))


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_a_plan_agrees_where_r_exceeds_both_widths(
    rank_stabilized: bool, rng: np.random.Generator
) -> None:
    layer = draw_layer(rng, r=9, rank_stabilized=rank_stabilized)
    x = rng.standard_normal((4, 7))
    assert_agrees(bordered(layer), layer, x, grad_y_for(layer, x, rng))


@given(problems, st.integers(1, 3))
def test_leading_axes_of_x_come_back(problem: Problem, batch: int) -> None:
    layer, x, rng = problem
    x = rng.standard_normal((batch, *x.shape)).astype(x.dtype)
    assert_agrees(bordered(layer), layer, x, grad_y_for(layer, x, rng))


@given(problems, st.lists(st.integers(1, 9), min_size=2, max_size=5))
def test_one_plan_takes_batches_of_every_size(problem: Problem, sizes: list[int]) -> None:
    layer, x, rng = problem
    plan = bordered(layer)
    for n in sizes:
        x = rng.standard_normal((n, x.shape[1])).astype(x.dtype)
        assert_agrees(plan, layer, x, grad_y_for(layer, x, rng))


def test_x_and_grad_y_need_not_be_contiguous(rng: np.random.Generator) -> None:
    layer = draw_layer(rng)
    x, grad_y = rng.standard_normal((7, 8)).T[::2], rng.standard_normal((4, 10))[:, ::2]
    assert_agrees(bordered(layer), layer, x, grad_y)


@given(problems)
def test_after_update_a_plan_agrees_with_the_trained_layer(problem: Problem) -> None:
    layer, x, rng = problem
    plan = bordered(layer)
    for _ in range(2):
        grad_y = grad_y_for(layer, x, rng)
        grads = by_plan(plan, x, grad_y)
        moved = {name: old - 0.1 * grads[name] for name, old in layer.trainable.items()}
        layer = layer.with_params(moved)
        plan.update(layer)
        assert_agrees(plan, layer, x, grad_y)


def test_training_by_plan_and_by_layer_ends_at_the_same_factors(rng: np.random.Generator) -> None:
    layer = by_hand = draw_layer(rng)
    plan = bordered(layer)
    for _ in range(5):
        x = rng.standard_normal((3, 7))
        grad_y = grad_y_for(layer, x, rng)
        by_hand, _ = sgd_step(by_hand, x, grad_y, lr=0.01)
        grads = by_plan(plan, x, grad_y)
        moved = {name: old - 0.01 * grads[name] for name, old in layer.trainable.items()}
        layer = layer.with_params(moved)
        plan.update(layer)
    np.testing.assert_allclose(layer.A, by_hand.A, rtol=1e-12)
    np.testing.assert_allclose(layer.B, by_hand.B, rtol=1e-12)


def test_update_takes_another_alpha_and_an_equal_W0(rng: np.random.Generator) -> None:
    layer, x = draw_layer(rng), rng.standard_normal((3, 7))
    plan = bordered(layer)
    again = replace(
        layer, W0=layer.W0.copy(), bias=layer.bias.copy(), alpha=-8.0, rank_stabilized=True
    )
    plan.update(again)
    assert_agrees(plan, again, x, grad_y_for(layer, x, rng))


# ---------------------------------------------------------------------- whose memory it is


@given(problems)
def test_results_share_no_memory_with_the_layer_or_what_came_in(problem: Problem) -> None:
    layer, x, rng = problem
    plan, grad_y = bordered(layer), grad_y_for(layer, x, rng)
    results = list(by_plan(plan, x, grad_y).values())
    others = [x, grad_y, layer.W0, layer.A, layer.B, layer.bias]
    for i, result in enumerate(results):
        for other in others + results[:i]:
            assert other is None or not np.shares_memory(result, other)


@given(problems)
def test_writing_into_what_came_in_changes_nothing_in_a_plan(problem: Problem) -> None:
    layer, x, rng = problem
    held = {name: getattr(layer, name).copy() for name in ("W0", "A", "B")}
    bias = None if layer.bias is None else layer.bias.copy()
    plan, grad_y = bordered(replace(layer, **held, bias=bias)), grad_y_for(layer, x, rng)
    expected = {name: array.copy() for name, array in by_plan(plan, x, grad_y).items()}
    x_before = x.copy()
    plan.forward(x)
    for array in (x, bias, *held.values()):
        if array is not None:
            array[...] = 9.0
    grad_x, grads = plan.backward(grad_y)
    y = plan.forward(x_before)
    for name, array in {"y": y, "x": grad_x, **grads}.items():
        assert_array_equal(array, expected[name])


def test_the_next_call_writes_over_the_results(rng: np.random.Generator) -> None:
    layer, x = draw_layer(rng), rng.standard_normal((3, 7))
    plan, grad_y = bordered(layer), grad_y_for(layer, x, rng)
    first = by_plan(plan, x, grad_y)
    kept = {name: array.copy() for name, array in first.items()}
    second = by_plan(plan, 2 * x, -grad_y)
    for name, array in first.items():
        assert np.shares_memory(array, second[name]), name
        assert_array_equal(array, second[name])
        assert (array != kept[name]).all(), name


def test_a_smaller_batch_uses_a_part_of_the_same_buffers(rng: np.random.Generator) -> None:
    layer, x = draw_layer(rng), rng.standard_normal((6, 7))
    plan, grad_y = bordered(layer), grad_y_for(layer, x, rng)
    whole, part = by_plan(plan, x, grad_y), by_plan(plan, x[:2], grad_y[:2])
    again = by_plan(plan, x, grad_y)
    for name, array in whole.items():
        assert np.shares_memory(array, part[name]), name
        assert np.shares_memory(array, again[name]), name


def test_results_of_a_plan_may_go_back_into_it(rng: np.random.Generator) -> None:
    """y as x, y as grad_y and grad_x as grad_y: read before they are written over."""
    layer, x = draw_layer(rng, out_features=7), rng.standard_normal((3, 7))
    plan = bordered(layer)
    y, cache = layer.forward(layer.forward(x)[0])
    twice = plan.forward(plan.forward(x))
    np.testing.assert_allclose(twice, y, rtol=1e-10)
    grad_x, _ = layer.backward(y, cache)
    np.testing.assert_allclose(plan.backward(twice)[0], grad_x, rtol=1e-10)
    grad_x, grads = layer.backward(grad_x, cache)
    again, again_grads = plan.backward(plan.backward(twice)[0])
    np.testing.assert_allclose(again, grad_x, rtol=1e-10)
    np.testing.assert_allclose(again_grads["A"], grads["A"], rtol=1e-10)
    np.testing.assert_allclose(again_grads["B"], grads["B"], rtol=1e-10)


def peak_bytes(call: Callable[[], object]) -> int:
    """Return the most that a call holds beyond what was there, from its second run on."""
    call()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        call()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n", [600, 599, 1], ids=["as many rows", "fewer", "one"])
@pytest.mark.parametrize("r", [1, 8, 400])
def test_a_warm_plan_allocates_no_array(n: int, r: int, rng: np.random.Generator) -> None:
    layer = draw_layer(rng, 384, 320, r)
    plan, x = bordered(layer), rng.standard_normal((600, 320))
    grad_y = grad_y_for(layer, x, rng)
    activation = x.nbytes  # NumPy's own work area for `y += bias` is 64 KiB at any size
    by_plan(plan, x, grad_y)
    assert peak_bytes(lambda: by_plan(plan, x[:n], grad_y[:n])) < 0.1 * activation
    assert peak_bytes(lambda: by_layer(layer, x, grad_y)) > 2 * activation


# ---------------------------------------------------------------------- what it refuses


class Renamed(LoRALinear):
    """Nothing but another name; a derived class could compute anything."""


BACKWARD_FIRST = "grad_y in BorderedPlan.backward came before a forward pass"
ANOTHER = "layer in BorderedPlan.update has another {} than the layer of this plan"


@pytest.mark.parametrize("layer", [Linear(np.ones((5, 7))), None, "layer"], ids=repr)
def test_only_a_LoRALinear_gets_a_plan(layer: Any) -> None:
    name = type(layer).__name__
    with pytest.raises(LoraRefError, match=f"fast.bordered is a {name}, expected a LoRALinear"):
        bordered(layer)


def test_a_derived_class_is_refused_at_both_doors(rng: np.random.Generator) -> None:
    layer = draw_layer(rng)
    derived = Renamed(layer.W0, layer.A, layer.B, layer.alpha)
    with pytest.raises(LoraRefError, match="is a Renamed, expected a LoRALinear itself"):
        bordered(derived)
    with pytest.raises(LoraRefError, match=r"BorderedPlan.update is a Renamed, expected"):
        bordered(layer).update(derived)


def test_a_dropout_mask_is_refused(rng: np.random.Generator) -> None:
    x: Any = rng.standard_normal((3, 7))
    with pytest.raises(LoraRefError, match=r"expected no dropout: .*; use LoRALinear.forward"):
        bordered(draw_layer(rng)).forward(x, mask=np.ones_like(x))


def test_x_of_another_dtype_or_shape_is_refused(rng: np.random.Generator) -> None:
    plan = bordered(draw_layer(rng))
    with pytest.raises(LoraRefError, match=r"x in BorderedPlan.forward has dtype float32"):
        plan.forward(np.ones((3, 7), np.float32))
    with pytest.raises(ShapeError, match=r"shape \(3, 5\), expected \(n, in_features=7\)"):
        plan.forward(np.ones((3, 5)))
    with pytest.raises(ShapeError, match=r"a single row is x\[None\]"):
        plan.forward(np.ones(7))


def test_backward_is_refused_before_a_forward_and_after_an_update(rng: np.random.Generator) -> None:
    layer = draw_layer(rng)
    plan = bordered(layer)
    with pytest.raises(LoraRefError, match=BACKWARD_FIRST):
        plan.backward(np.ones((3, 5)))
    plan.forward(np.ones((3, 7)))
    plan.update(layer)
    with pytest.raises(LoraRefError, match=BACKWARD_FIRST):
        plan.backward(np.ones((3, 5)))


def test_grad_y_unlike_the_last_y_is_refused(rng: np.random.Generator) -> None:
    plan = bordered(draw_layer(rng))
    plan.forward(np.ones((4, 7)))
    plan.forward(np.ones((2, 3, 7)))
    for shape in ((4, 5), (6, 5), (2, 3, 7)):
        with pytest.raises(ShapeError, match=r"BorderedPlan.backward .* expected \(2, 3, 5\)"):
            plan.backward(np.ones(shape))
    with pytest.raises(LoraRefError, match=r"grad_y in BorderedPlan.backward has dtype float32"):
        plan.backward(np.ones((2, 3, 5), np.float32))


def test_a_layer_that_takes_a_new_plan_is_refused(rng: np.random.Generator) -> None:
    layer = draw_layer(rng)
    plan = bordered(layer)
    single = {name: getattr(layer, name).astype(np.float32) for name in ("W0", "A", "B", "bias")}
    others = {
        "W0": replace(layer, W0=layer.W0 + 1e-9),
        "bias": replace(layer, bias=layer.bias + 1e-9),
        "r": replace(layer, A=np.ones((3, 7)), B=np.ones((5, 3))),
        "dtype": replace(layer, **single),
    }
    for name, other in others.items():
        with pytest.raises(LoraRefError, match=ANOTHER.format(name) + ".*; make a new plan"):
            plan.update(other)
    with pytest.raises(LoraRefError, match=ANOTHER.format("bias")):
        plan.update(replace(layer, bias=None))
    with pytest.raises(LoraRefError, match=ANOTHER.format("W0")):
        plan.update(draw_layer(rng, out_features=6, bias=None))
    x = rng.standard_normal((3, 7))
    assert_agrees(plan, layer, x, grad_y_for(layer, x, rng))  # a refusal leaves no trace


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda plan: pickle.loads(pickle.dumps(plan))],
    ids=["copy", "deepcopy", "pickle"],
)
@settings(max_examples=5)
@given(problems)
def test_a_copy_of_a_plan_can_be_updated_and_shares_nothing(again: Any, problem: Problem) -> None:
    layer, x, rng = problem
    grad_y, plan = grad_y_for(layer, x, rng), bordered(layer)
    before = {name: array.copy() for name, array in by_plan(plan, x, grad_y).items()}
    twin = again(plan)
    with pytest.raises(LoraRefError, match="came before a forward pass"):
        twin.backward(grad_y)
    moved = layer.with_params({"A": -2 * layer.A, "B": 3 * layer.B})
    twin.update(moved)
    assert_agrees(twin, moved, x, grad_y)
    for name, array in by_plan(plan, x, grad_y).items():
        assert_array_equal(array, before[name])


@settings(max_examples=5)
@given(problems)
def test_a_copy_of_a_plan_holds_what_the_plan_holds(problem: Problem) -> None:
    layer, x, rng = problem
    grad_y, W0, bias = (
        grad_y_for(layer, x, rng),
        layer.W0.copy(),
        rng.standard_normal(len(layer.W0)),
    )
    plan = bordered(replace(layer, W0=W0, bias=bias.astype(W0.dtype)))
    W0 += 1
    layer.A[:] += 1  # what trains in place reaches a plan by its update, and no copy sooner
    expected = {name: array.copy() for name, array in by_plan(plan, x, grad_y).items()}
    for name, array in by_plan(copy.deepcopy(plan), x, grad_y).items():
        assert_array_equal(array, expected[name])


def test_a_plan_is_not_a_second_layer(rng: np.random.Generator) -> None:
    plan = bordered(draw_layer(rng))
    assert not {"trainable", "with_params", "merge", "delta_w"} & set(dir(plan))
    plan.forward(np.ones((4, 7)))
    assert repr(plan) == f"BorderedPlan({draw_layer(rng)}, rows=4)"


# ---------------------------------------------------------------------- the check can fail


def forget_scaling(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan._scaled_B[:] = layer.B


def forget_B(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan._scaled_B[:] = 0.0


def forget_A(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan._A[:] = 0.0


def forget_bias(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan._bias = None


def forget_update(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.update(layer.with_params({"A": layer.A + 1e-6}))


def scale_twice(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan._layer = replace(layer, alpha=layer.alpha * layer.scaling)  # grad_B alone reads it


@pytest.mark.parametrize(
    "mistake", [forget_scaling, forget_B, forget_A, forget_bias, forget_update, scale_twice]
)
def test_a_wrong_plan_does_not_agree(
    mistake: Callable[[BorderedPlan, LoRALinear], None], rng: np.random.Generator
) -> None:
    layer, x = draw_layer(rng), rng.standard_normal((3, 7))
    plan, grad_y = bordered(layer), grad_y_for(layer, x, rng)
    assert_agrees(plan, layer, x, grad_y)
    mistake(plan, layer)
    with pytest.raises(AssertionError):
        assert_agrees(plan, layer, x, grad_y)
