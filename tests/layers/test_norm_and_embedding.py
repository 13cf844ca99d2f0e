"""Norms and the embedding, where they differ from other layers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import Embedding, LayerNorm, Linear, RMSNorm

seeds = st.integers(0, 2**32 - 1)


def test_a_norm_begins_with_rows_of_one_size(rng):
    x = 3 + 5 * rng.standard_normal((4, 6))
    y, _ = LayerNorm.init(6).forward(x)
    assert_allclose(y.mean(axis=1), 0, atol=1e-12)
    assert_allclose(y.std(axis=1), 1, rtol=1e-5)
    y, _ = RMSNorm.init(6, np.float32).forward(x.astype(np.float32))
    assert y.dtype == np.float32
    assert_allclose(np.square(y).mean(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("train", [(), ("gain",), ("bias", "gain")], ids="+".join)
def test_what_is_frozen_of_a_layer_norm_changes_no_other_gradient(train, rng):
    gain, bias, x, grad_y = rng.standard_normal(6), np.ones(6), *rng.standard_normal((2, 4, 6))
    free, held = LayerNorm(gain, bias), LayerNorm(gain, bias, train=train)
    grad_x, grads = free.backward(grad_y, free.forward(x)[1])
    held_grad_x, held_grads = held.backward(grad_y, held.forward(x)[1])
    assert_array_equal(held_grad_x, grad_x)
    assert list(held_grads) == list(held.trainable)
    for name, grad in held_grads.items():
        assert_array_equal(grad, grads[name])


def test_rms_norm_of_a_row_without_a_mean_is_its_layer_norm(rng):
    x = rng.standard_normal((4, 6))
    x -= x.mean(axis=1, keepdims=True)
    plain, _ = RMSNorm(np.ones(6), 1e-5).forward(x)
    assert_allclose(plain, LayerNorm.init(6).forward(x)[0], rtol=1e-12)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: LayerNorm(np.ones(3), np.ones(4)), r"bias in LayerNorm has shape \(4,\)"),
        (lambda: LayerNorm(np.ones(3), np.ones(3), 0.0), "epsilon in LayerNorm is 0.0, expected"),
        (lambda: RMSNorm(np.ones((1, 3))), r"gain in RMSNorm has shape \(1, 3\)"),
        (lambda: RMSNorm(np.ones(3), 1e-6, ("bias",)), "train in RMSNorm is"),
        (lambda: LayerNorm.init(0), "features in LayerNorm.init is 0"),
        (lambda: Embedding(np.ones(3)), r"W in Embedding has shape \(3,\)"),
        (lambda: Embedding(np.ones((3, 2)), "W"), "train in Embedding is 'W', expected a tuple"),
    ],
)
def test_a_constructor_names_what_does_not_fit(make, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        make()


@given(seeds, st.integers(1, 9), st.lists(st.integers(1, 4), min_size=1, max_size=3))
def test_an_embedding_is_a_linear_layer_on_one_hot_rows(seed, vocabulary, shape):
    rng = np.random.default_rng(seed)
    W, tokens = rng.standard_normal((vocabulary, 3)), rng.integers(0, vocabulary, shape)
    y, cache = Embedding(W).forward(tokens)
    one_hot = np.eye(vocabulary)[tokens.reshape(-1)]
    expected, linear_cache = Linear(W.T.copy()).forward(one_hot)
    assert_array_equal(y.reshape(-1, 3), expected)
    grad_y = rng.standard_normal(y.shape)
    grad_x, grads = Embedding(W).backward(grad_y, cache)
    _, wanted = Linear(W.T.copy()).backward(grad_y.reshape(-1, 3), linear_cache)
    assert grad_x is None
    assert_allclose(grads["W"], wanted["W"].T, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        (np.array([0, 3]), r"holds 3 at \(1,\), expected a token from 0 to 2"),
        (np.array([[-1]]), r"holds -1 at \(0, 0\)"),
        (np.array([1.0]), "has dtype float64, expected integers"),
        (np.array([True]), "has dtype bool"),
        ([1], "is a list"),
        (np.array(1), r"has shape \(\), expected one token at least"),
        (np.empty(0, int), r"has shape \(0,\)"),
    ],
)
def test_an_embedding_refuses_what_is_no_token(tokens, sentence):
    with pytest.raises(LoraRefError, match=f"^x in Embedding.forward {sentence}"):
        Embedding(np.ones((3, 2))).forward(tokens)


def test_an_embedding_asks_for_a_gradient_of_each_row():
    layer = Embedding(np.ones((3, 2)))
    _, cache = layer.forward(np.array([1, 2]))
    with pytest.raises(ShapeError, match=r"grad_y in Embedding.backward has shape \(3, 2\)"):
        layer.backward(np.ones((3, 2)), cache)
