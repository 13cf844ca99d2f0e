"""GPT and Encoder: gradients, what a token sees, the key/value cache, and text."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors
from lora_ref.layers import Activation, DoRALinear, Embedding, Linear, RMSNorm
from lora_ref.ops import softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.training import AdamW, Network, train
from lora_ref.transformer import GPT, Block, Encoder, generate, with_lora
from lora_ref.transformer.decoder import Decoder, LayerByLayer, reader_of

TOLERANCE = 10 * SMOOTH_TOLERANCE
"""Layers in a row bend more than one does."""

seeds = st.integers(0, 2**32 - 1)
SIZES = {"vocabulary": 11, "context": 7, "features": 6, "heads": 2, "blocks": 2}


def away(model, rng):
    """Return the model with random numbers added to all that trains: no zero hides a gradient."""
    old = model.trainable
    return model.with_params(
        {name: a + (0.3 * rng.standard_normal(a.shape)).astype(a.dtype) for name, a in old.items()}
    )


def without_bias_of_k(model):
    """Return the model with the biases of k frozen: their gradient is zero, and cannot be told."""

    def change(path, layer):
        return Linear(layer.W, layer.bias, ("W",)) if path.endswith(".k") else layer

    return model.mapped(change)


MODELS = {
    "tied": lambda rng: without_bias_of_k(away(GPT.init(**SIZES, rng=rng), rng)),
    "untied": lambda rng: without_bias_of_k(away(GPT.init(**SIZES, rng=rng, tied=False), rng)),
    "lora": lambda rng: away(with_lora(away(GPT.init(**SIZES, rng=rng), rng), rng, r=2), rng),
    "encoder": lambda rng: without_bias_of_k(away(Encoder.init(**SIZES, rng=rng), rng)),
    "encoder-lora": lambda rng: away(
        with_lora(away(Encoder.init(**SIZES, rng=rng), rng), rng, targets="all-linear", r=2), rng
    ),
}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
@settings(max_examples=1)
@given(seeds)
def test_gradients_agree_with_differences(make, seed):
    rng = np.random.default_rng(seed)
    model, x = make(rng), rng.integers(0, 11, (3, 5))
    ragged = {"attention_mask": np.arange(5) < np.array([[5], [1], [3]])}
    errors = gradient_errors(model, x, rng, **(ragged if isinstance(model, Encoder) else {}))
    assert errors.keys() == model.trainable.keys()
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
def test_a_gradient_has_the_name_shape_and_dtype_of_its_parameter(make, rng):
    model = make(rng)
    narrow = model.mapped(lambda _, layer: in_float32(layer))
    for x in (rng.integers(0, 11, (3, 5)), rng.integers(0, 11, (1, 1))):
        y, cache = narrow.forward(x)
        grad_x, grads = narrow.backward(np.ones_like(y), cache)
        assert grad_x is None
        assert y.dtype == np.float32
        assert list(grads) == list(narrow.trainable)
        for name, owner in narrow.trainable.items():
            assert (grads[name].shape, grads[name].dtype) == (owner.shape, np.float32), name
        exact, _ = model.forward(x)
        assert np.linalg.norm(y - exact) < 1e-4 * np.linalg.norm(exact)


def in_float32(layer):
    names = [name for name, value in vars(layer).items() if isinstance(value, np.ndarray)]
    return type(layer)(
        **{
            name: value.astype(np.float32) if name in names else value
            for name, value in vars(layer).items()
        }
    )


# ---------------------------------------------------------------------- by the definition


def norm_of(row, layer):
    mean = sum(row) / len(row)
    variance = sum((v - mean) ** 2 for v in row) / len(row)
    return (row - mean) / math.sqrt(variance + layer.epsilon) * layer.gain + layer.bias


def gelu_tanh(v):
    return 0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3)))


def by_loops(gpt, text):
    """The logits of one text, one token after the other, with nothing but products of vectors."""
    rows = [gpt.tokens.W[token] + gpt.positions.W[i] for i, token in enumerate(text)]
    for block in gpt.blocks.layers.values():
        a, heads = block.attention, block.attention.heads
        normed = [norm_of(row, block.norm1) for row in rows]
        q, k, v = ([p.W @ row + p.bias for row in normed] for p in (a.q, a.k, a.v))
        width = len(q[0]) // heads
        for i in range(len(rows)):
            together = []
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                scores = [math.exp(q[i][part] @ k[j][part] / width**0.5) for j in range(i + 1)]
                together.append(
                    sum(s / sum(scores) * v[j][part] for j, s in enumerate(scores))  # j <= i
                )
            rows[i] = rows[i] + a.o.W @ np.concatenate(together) + a.o.bias
        for i, row in enumerate(rows):
            inside = block.mlp["fc1"].W @ norm_of(row, block.norm2) + block.mlp["fc1"].bias
            inside = np.array([gelu_tanh(value) for value in inside])
            rows[i] = row + block.mlp["fc2"].W @ inside + block.mlp["fc2"].bias
    head = gpt.tokens.W if gpt.head is None else gpt.head.W
    return np.array([head @ norm_of(row, gpt.norm) for row in rows])


@pytest.mark.parametrize("tied", [True, False])
def test_a_gpt_is_its_definition_in_loops(tied, rng):
    gpt = away(GPT.init(**SIZES, rng=rng, tied=tied), rng)
    text = rng.integers(0, 11, 5)
    assert_allclose(gpt.forward(text)[0], by_loops(gpt, text), rtol=1e-11, atol=1e-12)


def test_a_block_with_the_norms_behind_is_the_formula_of_bert(rng):
    block = away(Block.init(6, 2, rng, causal=False, pre_norm=False), rng)
    x = rng.standard_normal((2, 4, 6))
    h = block.norm1.forward(x + block.attention.forward(x)[0])[0]
    expected = block.norm2.forward(h + block.mlp.forward(h)[0])[0]
    assert_array_equal(block.forward(x)[0], expected)


# ---------------------------------------------------------------------- what a token sees


def test_logits_depend_on_earlier_tokens_alone(rng):
    gpt, x = away(GPT.init(**SIZES, rng=rng), rng), rng.integers(0, 11, 6)
    other = x.copy()
    other[3] = (x[3] + 1) % 11
    changed = (gpt.forward(x)[0] != gpt.forward(other)[0]).any(axis=1)
    assert changed.tolist() == [False] * 3 + [True] * 3


def test_what_a_text_is_filled_up_with_does_not_change_its_row(rng):
    encoder, x = away(Encoder.init(**SIZES, rng=rng), rng), rng.integers(0, 11, (3, 6))
    lengths = np.array([6, 1, 4])
    y, _ = encoder.forward(x, attention_mask=np.arange(6) < lengths[:, None])
    for row, text, length in zip(y, x, lengths, strict=True):
        assert_allclose(row, encoder.forward(text[None, :length])[0][0], rtol=1e-11)


def test_a_head_on_an_encoder_trains_with_it(rng):
    encoder = away(with_lora(Encoder.init(**SIZES, rng=rng), rng, r=2), rng)
    model = Network({"encoder": encoder, "head": Linear(rng.standard_normal((2, 6)))})
    x = rng.integers(0, 11, (3, 5))
    y, cache = model.forward(x, keywords={"encoder.attention_mask": x > 2})
    _, grads = model.backward(np.ones_like(y), cache, need_grad_x=False)
    assert grads.keys() == model.trainable.keys()
    assert {name.split(".")[0] for name in grads} == {"encoder", "head"}


# ---------------------------------------------------------------------- text


@settings(max_examples=5)
@given(seeds, st.integers(1, 6))
def test_logits_with_a_key_value_cache_are_those_without(seed, first):
    rng = np.random.default_rng(seed)
    gpt, x = away(GPT.init(**SIZES, rng=rng), rng), rng.integers(0, 11, (2, 7))
    whole, _ = gpt.forward(x)
    start, past = gpt.extend(x[:, :first])
    parts = [start]
    for i in range(first, 7):
        logits, past = gpt.extend(x[:, i : i + 1], past)
        parts.append(logits)
    assert np.abs(np.concatenate(parts, axis=1) - whole).max() < 1e-12


def other(gpt, name, rng):
    """Return a model that is laid out in another way, or that cannot be laid out."""
    features = gpt.tokens.W.shape[1]
    if name == "LoRA":
        return away(with_lora(gpt, rng, targets="all-linear", r=2), rng)
    if name == "untied":
        return replace(gpt, head=Linear(rng.standard_normal((11, features))))
    if name == "DoRA":

        def change(path, layer):
            draw = path.endswith((".q", ".fc1"))
            return DoRALinear.init(layer.W, 2, 4, rng, bias=layer.bias) if draw else layer

        return away(gpt.mapped(change), rng)
    if name == "RMS norm":
        return replace(gpt, norm=RMSNorm(rng.standard_normal(features)))
    if name == "another activation":
        return gpt.mapped(lambda path, layer: Activation("silu") if path.endswith("act") else layer)
    return gpt


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("plain", Decoder),
        ("LoRA", Decoder),
        ("untied", Decoder),
        ("DoRA", Decoder),
        ("RMS norm", LayerByLayer),
        ("another activation", LayerByLayer),
    ],
)
def test_a_reader_has_the_logits_of_a_whole_pass(name, kind, rng):
    gpt = other(away(GPT.init(**SIZES, rng=rng), rng), name, rng)
    reader, x = reader_of(gpt), rng.integers(0, 11, 6)
    assert type(reader) is kind
    for _ in range(2):  # the second time after it has forgotten the first
        logits = np.array([reader.logits(int(token)) for token in x])
        assert np.abs(logits - gpt.forward(x)[0]).max() < 1e-12
        assert reader.read == len(x)
        reader.restart()


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.0])
def test_a_text_is_the_one_that_whole_passes_write(temperature):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        gpt = away(GPT.init(**SIZES, rng=rng), rng)
        got = generate(
            gpt, np.array([1, 2]), 5, np.random.default_rng(seed), temperature=temperature
        )
        text, draws = [1, 2], np.random.default_rng(seed)
        for _ in range(5):
            logits, uniform = gpt.forward(np.array(text))[0][-1], draws.random()
            if temperature == 0:
                text.append(int(logits.argmax()))
                continue
            shares = np.exp((logits - logits.max()) / temperature)
            text.append(int((shares.cumsum() / shares.sum() <= uniform).sum()))
        assert got.tolist() == text[2:]


def test_a_text_goes_on_where_the_context_is_full(rng):
    gpt = away(GPT.init(**SIZES, rng=rng), rng)
    long = generate(gpt, rng.integers(0, 11, 20), 30, np.random.default_rng(1))
    assert len(long) == 30
    again = generate(gpt, np.array([4]), 30, np.random.default_rng(1))
    assert_array_equal(again, generate(gpt, np.array([4]), 30, np.random.default_rng(1)))
    assert len(set(again.tolist())) > 1


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"prompt": np.empty(0, int)}, "prompt in generate is empty"),
        ({"prompt": np.array([11])}, "holds 11 at"),
        ({"temperature": -1.0}, "temperature in generate is -1.0, expected at least 0"),
        ({"length": 0}, "length in generate is 0"),
        ({"rng": 3}, "rng in generate is 3"),
    ],
)
def test_generate_refuses_what_it_cannot_go_on_from(change, sentence, rng):
    gpt = GPT.init(**SIZES, rng=rng)
    arguments = {"prompt": np.array([1]), "length": 2, "rng": rng, **change}
    with pytest.raises(LoraRefError, match=sentence):
        generate(gpt, **arguments)


def test_a_text_longer_than_the_context_is_refused(rng):
    for model in (GPT.init(**SIZES, rng=rng), Encoder.init(**SIZES, rng=rng)):
        with pytest.raises(LoraRefError, match=r"a text of 8 tokens is given to .*context=7"):
            model.forward(np.zeros((1, 8), int))


def test_a_gpt_learns_a_text_by_heart(rng):
    gpt = GPT.init(**{**SIZES, "features": 16}, rng=rng, dtype=np.float32)
    text = np.tile(np.array([1, 2, 3, 4, 5, 4, 3]), 20)
    windows = np.lib.stride_tricks.sliding_window_view(text, 8)
    model = Network({"gpt": gpt})
    options = {"optimizer": AdamW(1e-2), "steps": 60, "batch": 8, "rng": rng}
    trained, history = train(model, windows[:, :-1], windows[:, 1:], **options)
    assert history.losses[0] > 2.3  # log(11) is 2.4: it knows nothing
    assert history.losses[-1] < 0.5
    assert generate(trained["gpt"], np.array([1, 2, 3]), 4, rng, temperature=0).tolist() == [
        4,
        5,
        4,
        3,
    ]


def test_the_rows_of_a_tied_head_get_gradients_from_both_ends(rng):
    gpt = away(GPT.init(**SIZES, rng=rng), rng)
    twin = GPT(
        Embedding(gpt.tokens.W.copy()), gpt.positions, gpt.blocks, gpt.norm, Linear(gpt.tokens.W)
    )
    x, labels = rng.integers(0, 5, (2, 5)), rng.integers(0, 11, (2, 5))
    grads = {}
    for name, model in (("tied", gpt), ("untied", twin)):
        logits, cache = model.forward(x)
        _, loss = softmax_cross_entropy(logits, labels)
        _, grads[name] = model.backward(softmax_cross_entropy_backward(loss), cache)
    both = grads["untied"]["tokens.W"] + grads["untied"]["head.W"]
    assert_allclose(grads["tied"]["tokens.W"], both, rtol=1e-12)
    assert grads["untied"]["tokens.W"][5:].any(axis=1).sum() == 0  # tokens that nobody read
    assert grads["tied"]["tokens.W"][5:].any(axis=1).all()
