"""The plain linear layer: what trains, and what may not move."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import seeds, sizes

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import Linear

TRAIN = [(), ("W",), ("bias",), ("W", "bias"), ("bias", "W")]


def draw(rng: np.random.Generator, *, bias: bool = True, **options: Any) -> Linear:
    return Linear(rng.standard_normal((5, 7)), rng.standard_normal(5) if bias else None, **options)


@given(n=sizes, in_features=sizes, out_features=sizes, seed=seeds, bias=st.booleans())
def test_each_entry_of_y_is_a_row_of_x_times_a_row_of_W(
    n: int, in_features: int, out_features: int, seed: int, bias: bool
) -> None:
    rng = np.random.default_rng(seed)
    layer = Linear(
        rng.standard_normal((out_features, in_features)),
        rng.standard_normal(out_features) if bias else None,
    )
    x = rng.standard_normal((n, in_features))
    y = layer.forward(x)[0]
    assert y.shape == (n, out_features)
    for i, o in np.ndindex(y.shape):
        expected = sum(layer.W[o, j] * x[i, j] for j in range(in_features))
        expected += 0.0 if layer.bias is None else layer.bias[o]
        assert y[i, o] == pytest.approx(expected, rel=1e-12, abs=1e-12)


@given(n=sizes, in_features=sizes, out_features=sizes, seed=seeds)
def test_each_gradient_is_a_sum_over_the_rows(
    n: int, in_features: int, out_features: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    layer = Linear(rng.standard_normal((out_features, in_features)), np.zeros(out_features))
    x, grad_y = rng.standard_normal((n, in_features)), rng.standard_normal((n, out_features))
    grad_x, grads = layer.backward(grad_y, layer.forward(x)[1])
    W = sum(np.outer(grad_y[i], x[i]) for i in range(n))
    assert_allclose(grads["W"], W, rtol=1e-12, atol=1e-12)
    assert_allclose(grads["bias"], sum(grad_y[i] for i in range(n)), rtol=1e-12, atol=1e-12)
    for i in range(n):
        expected = sum(grad_y[i, o] * layer.W[o] for o in range(out_features))
        assert_allclose(grad_x[i], expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("train", TRAIN, ids="+".join)
def test_what_is_named_trains_and_nothing_else(
    train: tuple[str, ...], rng: np.random.Generator
) -> None:
    layer = draw(rng, train=train)
    y, cache = layer.forward(rng.standard_normal((3, 7)))
    _, grads = layer.backward(y, cache)
    assert set(layer.trainable) == set(grads) == set(train)
    for name in ("W", "bias"):
        assert getattr(layer, name).flags.writeable == (name in train)


@pytest.mark.parametrize("train", TRAIN, ids="+".join)
def test_freezing_changes_neither_y_nor_grad_x(
    train: tuple[str, ...], rng: np.random.Generator
) -> None:
    free = draw(rng)
    held = Linear(free.W, free.bias, train)
    x, grad_y = rng.standard_normal((3, 7)), rng.standard_normal((3, 5))
    outcomes = []
    for layer in (free, held):
        y, cache = layer.forward(x)
        outcomes.append((y, *layer.backward(grad_y, cache)))
    (y, grad_x, grads), (held_y, held_grad_x, held_grads) = outcomes
    assert_array_equal(held_y, y)
    assert_array_equal(held_grad_x, grad_x)
    for name in train:
        assert_array_equal(held_grads[name], grads[name])


def test_a_frozen_weight_keeps_nothing_of_x_and_its_cache_trains_no_other(
    rng: np.random.Generator,
) -> None:
    free, x = draw(rng), rng.standard_normal((3, 7))
    _, cache = Linear(free.W, train=("bias",)).forward(x)
    assert cache.x.size == 0
    assert np.shares_memory(free.forward(x)[1].x, x)
    with pytest.raises(ShapeError, match=r"^x in the cache in Linear.backward has shape \(0, 7\)"):
        free.backward(np.ones((3, 5)), cache)


@pytest.mark.parametrize("name", ["W", "bias"])
def test_a_frozen_part_refuses_to_be_written(name: str, rng: np.random.Generator) -> None:
    layer = draw(rng, train=())
    before = getattr(layer, name).copy()
    with pytest.raises(ValueError, match="read-only"):
        getattr(layer, name)[...] = 0.0
    with pytest.raises(LoraRefError, match=f"^{name} is not trainable in Linear, expected some of"):
        layer.with_params({name: before})
    assert_array_equal(getattr(layer, name), before)


def test_without_a_bias_the_weight_alone_trains(rng: np.random.Generator) -> None:
    layer = draw(rng, bias=False)
    _, cache = layer.forward(np.ones((2, 7)))
    assert list(layer.trainable) == list(layer.backward(np.ones((2, 5)), cache)[1]) == ["W"]
    assert_array_equal(layer.forward(np.zeros((2, 7)))[0], np.zeros((2, 5)))


@pytest.mark.parametrize(
    "train", ["W", ["W"], ("W0",), ("W", "b"), (1,), None, {"W"}, ("",), (["W"],)], ids=repr
)
def test_train_is_a_tuple_of_names_that_the_layer_knows(
    train: Any, rng: np.random.Generator
) -> None:
    with pytest.raises(LoraRefError) as info:
        draw(rng, train=train)
    expected = f"train in Linear is {train!r}, expected a tuple of 'W' and 'bias'"
    assert str(info.value) == expected


def test_the_first_thing_said_of_a_layer_is_what_trains(rng: np.random.Generator) -> None:
    says = {train: repr(draw(rng, train=train)) for train in TRAIN}
    head = "Linear(in_features=7, out_features=5, float64, train="
    assert says[()] == f"{head}nothing)"
    assert says["W",] == f"{head}W)"
    assert says["bias",] == f"{head}bias)"
    assert says["W", "bias"] == says["bias", "W"] == f"{head}W+bias)"
