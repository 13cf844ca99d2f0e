"""The bordered plan of the benchmark: the layer's own numbers, from buffers that are used again."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import lora_problems

from lora_ref.checks import Array
from lora_ref.layers import LoRALinear
from tests.bench.bordered import BorderedPlan
from tests.fixtures.memory import peak_of_warm_call

Problem = tuple[LoRALinear, Array, np.random.Generator]

problems = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: lora_problems(dtype=dtype)
)


def grad_y_for(layer: LoRALinear, x: Array, rng: np.random.Generator) -> Array:
    return rng.standard_normal((len(x), len(layer.W0))).astype(x.dtype)


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
    rounding = 4 * (sum(layer.W0.shape) + layer.r + len(x)) * np.finfo(x.dtype).eps
    assert set(got) == set(expected)
    for name, array in got.items():
        assert (array.shape, array.dtype) == (expected[name].shape, expected[name].dtype), name
        assert (abs(array - expected[name]) <= rounding * sizes[name]).all(), name


@given(problems, st.lists(st.integers(1, 9), min_size=1, max_size=4))
def test_a_plan_agrees_with_its_layer_for_batches_of_every_size(
    problem: Problem, sizes: list[int]
) -> None:
    layer, x, rng = problem
    plan = BorderedPlan(layer, 9)
    for n in sizes:
        x = rng.standard_normal((n, x.shape[1])).astype(x.dtype)
        assert_agrees(plan, layer, x, grad_y_for(layer, x, rng))


@given(problems)
def test_after_update_a_plan_agrees_with_the_trained_layer(problem: Problem) -> None:
    layer, x, rng = problem
    plan = BorderedPlan(layer, len(x))
    for _ in range(2):
        grad_y = grad_y_for(layer, x, rng)
        grads = by_plan(plan, x, grad_y)
        layer = layer.with_params({k: v - 0.1 * grads[k] for k, v in layer.trainable.items()})
        plan.update(layer)
        assert_agrees(plan, layer, x, grad_y)


@given(problems)
def test_each_call_overwrites_the_results_before_and_nothing_else(problem: Problem) -> None:
    layer, x, rng = problem
    plan, grad_y = BorderedPlan(layer, len(x)), grad_y_for(layer, x, rng)
    first = by_plan(plan, x, grad_y)
    others = [x, grad_y, layer.W0, layer.A, layer.B, layer.bias]
    before = [None if other is None else other.copy() for other in others]
    second = by_plan(plan, 2 * x, -grad_y)
    for name, array in first.items():
        assert np.shares_memory(array, second[name]), name
        assert_array_equal(array, second[name])
        assert not any(other is not None and np.shares_memory(array, other) for other in others)
    for other, old in zip(others, before, strict=True):
        assert other is None or np.array_equal(other, old)


@pytest.mark.parametrize("n", [600, 1])
@pytest.mark.parametrize("r", [1, 400])
def test_a_plan_allocates_no_array_in_a_pass(n: int, r: int, rng: np.random.Generator) -> None:
    W0, A, B = (rng.standard_normal(shape) for shape in ((384, 320), (r, 320), (384, r)))
    layer = LoRALinear(W0, A, B, alpha=3.0, bias=rng.standard_normal(384))
    plan, x = BorderedPlan(layer, 600), rng.standard_normal((600, 320))
    grad_y = grad_y_for(layer, x, rng)
    activation = x.nbytes  # NumPy's own buffer for `y += bias` is 64 KiB at any size
    assert peak_of_warm_call(lambda: by_plan(plan, x[:n], grad_y[:n])) < 0.1 * activation
    assert peak_of_warm_call(lambda: by_layer(layer, x, grad_y)) > 2 * activation


# ---------------------------------------------------------------------- the check can fail


def forget_scaling(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.M[:5, 7:] = layer.B


def forget_A(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.M[5:, :7] = 0.0


def forget_bias(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.bias = None


def forget_update(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.update(layer.with_params({"A": layer.A + 1e-6}))


def scale_twice(plan: BorderedPlan, layer: LoRALinear) -> None:
    plan.scaling *= layer.scaling  # only grad_B reads it


@pytest.mark.parametrize(
    "mistake", [forget_scaling, forget_A, forget_bias, forget_update, scale_twice]
)
def test_a_wrong_plan_does_not_agree(
    mistake: Callable[[BorderedPlan, LoRALinear], None], rng: np.random.Generator
) -> None:
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 2)))
    layer, x = LoRALinear(W0, A, B, 3.0, rng.standard_normal(5)), rng.standard_normal((3, 7))
    plan, grad_y = BorderedPlan(layer, 3), grad_y_for(layer, x, rng)
    assert_agrees(plan, layer, x, grad_y)
    mistake(plan, layer)
    with pytest.raises(AssertionError):
        assert_agrees(plan, layer, x, grad_y)
