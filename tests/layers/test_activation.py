"""An activation as a layer: the function of ops, and nothing that trains."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors
from lora_ref.layers.activation import Activation
from lora_ref.ops import ACTIVATIONS

names = pytest.mark.parametrize("name", ACTIVATIONS)
shapes = st.lists(st.integers(1, 5), min_size=2, max_size=3).map(tuple)
seeds = st.integers(0, 2**32 - 1)


@names
@given(shapes, seeds)
def test_y_is_the_function_of_ops_bit_for_bit(name, shape, seed):
    x = np.random.default_rng(seed).standard_normal(shape)
    assert_array_equal(Activation(name).forward(x)[0], ACTIVATIONS[name].forward(x)[0])


@names
@given(shapes, seeds)
def test_grad_x_agrees_with_differences(name, shape, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(shape)
    x += np.copysign(0.1, x)  # away from the kink of relu
    layer = Activation(name)
    slopes, _ = layer.backward(np.ones_like(x), layer.forward(x)[1])
    assume(np.abs(slopes).max() > 0.05)  # a relative error needs something to be relative to
    errors = gradient_errors(layer, x, rng)
    assert errors.keys() == {"x"}
    assert errors["x"] < SMOOTH_TOLERANCE


@names
def test_float32_stays_float32_and_nothing_trains(name, rng):
    layer, x = Activation(name), rng.standard_normal((2, 3, 4)).astype(np.float32)
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(np.ones_like(y), cache)
    assert y.dtype == grad_x.dtype == np.float32
    assert y.shape == grad_x.shape == x.shape
    assert grads == layer.trainable == {}


@pytest.mark.parametrize("name", ["swish", "", None, ["relu"]])
def test_an_unknown_name_is_answered_with_the_names_there_are(name):
    with pytest.raises(LoraRefError, match="expected one of: relu, tanh, gelu, gelu_tanh"):
        Activation(name)


def test_grad_y_of_another_shape_is_refused(rng):
    layer = Activation("tanh")
    _, cache = layer.forward(rng.standard_normal((3, 2)))
    with pytest.raises(ShapeError):
        layer.backward(np.ones((2, 3)), cache)


def test_with_params_knows_that_there_are_none():
    with pytest.raises(LoraRefError, match="W is not trainable in Activation, expected some of: n"):
        Activation("relu").with_params({"W": np.ones(1)})
