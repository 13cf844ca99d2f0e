"""Attention by its definition in loops; what a token sees; and the key/value cache."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import Attention, Linear, LoRALinear

seeds = st.integers(0, 2**32 - 1)


def drawn(rng, features=6, heads=2, causal=False):
    """Attention of plain projections with biases, whose heads are 3 wide."""
    width = 3 * heads
    shapes = ((width, features), (width, features), (width, features), (features, width))
    layers = (Linear(0.5 * rng.standard_normal(s), rng.standard_normal(s[0])) for s in shapes)
    return Attention(*layers, heads=heads, causal=causal)


def by_loops(layer, x, attention_mask):
    """Attention of one sequence, one head after the other."""
    q, k, v = (x @ p.W.T + p.bias for p in (layer.q, layer.k, layer.v))
    width, heads = q.shape[1] // layer.heads, []
    for h in range(layer.heads):
        part = slice(h * width, (h + 1) * width)
        rows = np.zeros((len(x), width))
        for i in range(len(x)):
            seen = [
                j
                for j in range(len(x))
                if (j <= i or not layer.causal) and (attention_mask is None or attention_mask[j])
            ]
            weights = [math.exp(q[i, part] @ k[j, part] / math.sqrt(width)) for j in seen]
            for j, weight in zip(seen, weights, strict=True):
                rows[i] += weight / sum(weights) * v[j, part]
        heads.append(rows)
    return np.concatenate(heads, axis=1) @ layer.o.W.T + layer.o.bias


@settings(max_examples=20)
@given(seeds, st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_attention_is_its_definition_in_loops(seed, tokens, heads, causal):
    rng = np.random.default_rng(seed)
    layer = drawn(rng, heads=heads, causal=causal)
    x = rng.standard_normal((2, tokens, 6))
    lengths = rng.integers(1, tokens + 1, (2, 1))
    mask = np.arange(tokens) < lengths
    y, _ = layer.forward(x, attention_mask=mask)
    for one, row, seen in zip(y, x, mask, strict=True):
        assert_allclose(one, by_loops(layer, row, seen), rtol=1e-11, atol=1e-12)
    assert_allclose(layer.forward(x)[0][0], by_loops(layer, x[0], None), rtol=1e-11, atol=1e-12)


def test_a_causal_token_sees_no_later_one_and_another_sees_all(rng):
    for causal in (True, False):
        layer, x = drawn(rng, causal=causal), rng.standard_normal((5, 6))
        moved = x.copy()
        moved[3] += 1
        changed = (layer.forward(x)[0] != layer.forward(moved)[0]).any(axis=1)
        assert changed.tolist() == [not causal] * 3 + [True, True]


def test_padding_changes_no_token_and_no_gradient(rng):
    layer, x = drawn(rng), rng.standard_normal((4, 6))
    alone, cache = layer.forward(x)
    grad_y = rng.standard_normal(alone.shape)
    grad_x, grads = layer.backward(grad_y, cache)
    padded = np.concatenate([x, 100 * rng.standard_normal((3, 6))])
    y, cache = layer.forward(padded, attention_mask=np.arange(7) < 4)
    padded_x, padded_grads = layer.backward(np.concatenate([grad_y, np.zeros((3, 6))]), cache)
    assert_allclose(y[:4], alone, rtol=1e-12)
    assert_allclose(padded_x[:4], grad_x, rtol=1e-11, atol=1e-13)
    assert not padded_x[4:].any()
    for name, grad in grads.items():
        assert_allclose(padded_grads[name], grad, rtol=1e-11, atol=1e-12, err_msg=name)


def test_sequences_of_a_batch_do_not_see_each_other(rng):
    layer, x = drawn(rng), rng.standard_normal((2, 3, 4, 6))
    y, _ = layer.forward(x)
    for at in np.ndindex(2, 3):
        assert_allclose(y[at], layer.forward(x[at])[0], rtol=1e-12)


def test_the_order_of_tokens_does_not_matter_without_a_causal_mask(rng):
    layer, x, order = drawn(rng), rng.standard_normal((5, 6)), rng.permutation(5)
    assert_allclose(layer.forward(x[order])[0], layer.forward(x)[0][order], rtol=1e-11)


def test_the_gradient_of_the_bias_of_k_is_zero(rng):
    layer, x = drawn(rng), rng.standard_normal((5, 6))
    y, cache = layer.forward(x)
    _, grads = layer.backward(rng.standard_normal(y.shape), cache)
    assert np.abs(grads["k.bias"]).max() < 1e-14 * np.abs(grads["q.bias"]).max() + 1e-15
    shifted = layer.with_params({"k.bias": layer.k.bias + 5})
    assert_allclose(shifted.forward(x)[0], y, rtol=1e-10)  # a shift of all scores of a query


def test_a_key_value_cache_gives_what_the_whole_pass_gives(rng):
    layer, x = drawn(rng, causal=True), rng.standard_normal((2, 7, 6))
    whole, _ = layer.forward(x)
    parts, past = [], None
    for start, end in ((0, 3), (3, 4), (4, 7)):
        y, past = layer.extend(x[:, start:end], past)
        parts.append(y)
    assert_allclose(np.concatenate(parts, axis=1), whole, rtol=1e-12, atol=1e-14)
    assert past[0].shape == (2, 2, 7, 3)
    with pytest.raises(LoraRefError, match=r"Attention.extend needs causal=True"):
        drawn(rng).extend(x)


@pytest.mark.parametrize(("batch", "where"), [((), ""), ((2,), r" of sequence \(1,\)")])
def test_padding_before_the_tokens_of_a_causal_mask_is_refused_by_its_name(batch, where, rng):
    layer, x = drawn(rng, causal=True), rng.standard_normal((*batch, 4, 6))
    mask = np.ones((*batch, 4), bool)
    mask[..., 3] = False
    layer.forward(x, attention_mask=mask)
    mask[(1,) * len(batch)] = [False, True, True, True]
    with pytest.raises(
        LoraRefError,
        match=rf"attention_mask .* hides the first token{where}, expected padding behind",
    ):
        layer.forward(x, attention_mask=mask)


def test_a_past_of_other_sequences_is_refused_with_its_shape(rng):
    layer, x = drawn(rng, causal=True), rng.standard_normal((2, 3, 6))
    keys, values = layer.extend(x)[1]
    narrow = values[..., :1]
    for past, says in (
        (
            (keys[:1], values[:1]),
            r"keys of past .* have shape \(1, 2, 3, 3\), expected \(2, 2, tok",
        ),
        ((keys[0], values[0]), r"keys of past .* have shape \(2, 3, 3\), expected \(2, 2, tokens"),
        ((keys, narrow), r"values of past .* have shape \(2, 2, 3, 1\), .* tokens, 3\)"),
        ((keys.astype(np.float32), values), "keys of past .* dtype float32, expected float64"),
        ((keys,), "past in Attention.extend is tuple, expected keys and values"),
    ):
        with pytest.raises(LoraRefError, match=says):
            layer.extend(x, past)


def test_a_projection_with_lora_is_its_merged_projection(rng):
    plain = drawn(rng)
    adapted = LoRALinear.init(plain.q.W, 2, 4.0, rng, bias=plain.q.bias)
    adapted = adapted.with_params({"B": rng.standard_normal(adapted.B.shape)})
    layer = plain.with_children({**plain.children, "q": adapted})
    merged = plain.with_children({**plain.children, "q": adapted.merge()})
    x = rng.standard_normal((4, 6))
    assert_allclose(layer.forward(x)[0], merged.forward(x)[0], rtol=1e-11)
    assert {"q.A", "q.B"} == {name for name in layer.trainable if name.startswith("q.")}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"attention_mask": np.ones((3, 4))}, "is float64 of shape .*, expected bool of shape"),
        ({"attention_mask": np.ones(4, bool)}, r"is bool of shape \(4,\), expected bool of shape"),
        ({"attention_mask": [[True]]}, "is list of shape"),
        (
            {"attention_mask": np.zeros((3, 4), bool)},
            r"attention_mask in Attention.forward hides every token of sequence \(0,\), expected",
        ),
        ({"keywords": {"w.mask": 1}}, "'w' names nothing, expected q, k, v, o"),
        ({"keywords": {"q.mask": 1}}, "but q is Linear, expected one of its keywords: none"),
    ],
)
def test_attention_refuses_what_does_not_fit(change, sentence, rng):
    with pytest.raises(LoraRefError, match=sentence):
        drawn(rng).forward(rng.standard_normal((3, 4, 6)), **change)


def test_widths_have_to_divide_into_heads(rng):
    layers = [Linear(np.ones((4, 6))) for _ in range(3)] + [Linear(np.ones((6, 4)))]
    x = np.ones((2, 6))
    with pytest.raises(ShapeError, match=r"q in Attention returns shape \(2, 4\), .* heads=3"):
        Attention(*layers, heads=3).forward(x)
    layers[1] = Linear(np.ones((6, 6)))
    with pytest.raises(ShapeError, match=r"q, k and v in attention have shapes"):
        Attention(*layers, heads=2).forward(x)
    with pytest.raises(LoraRefError, match="heads in Attention is 0"):
        Attention(*layers, heads=0)
    with pytest.raises(LoraRefError, match="causal in Attention is 1, expected True or False"):
        Attention(*layers, heads=2, causal=1)


def test_numbers_of_a_head_that_train_are_those_of_its_layers(rng):
    layer = drawn(rng)
    new = layer.with_params({"v.W": 2 * layer.v.W})
    assert_array_equal(new.v.W, 2 * layer.v.W)
    assert new.q is layer.q
