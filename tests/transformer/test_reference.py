"""GPT and Encoder beside GPT-2 and BERT: the same outputs and gradients from the same numbers.

The numbers are those of `tests/reference/transformer.json`, which real libraries made. Their
weights become ours; our gradients become theirs, so that each is compared under their name.
"""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lora_ref.layers import LayerNorm
from lora_ref.ops import softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.transformer import GPT, Encoder, with_lora

FILE = Path(__file__).parents[1] / "reference" / "transformer.json"

TOLERANCES = {np.float64: (1e-12, 1e-10), np.float32: (1e-4, 1e-4)}
"""By dtype: of outputs, and of gradients, relative to their norms."""

FLOOR = 1e-3
"""The smallest norm that an error is compared with, as a part of that of all gradients. Only the
biases of k lie below it, whose gradient is zero, and rounding on both sides."""

# ---------------------------------------------------------------------- their names and ours

GPT2 = {
    "wte": ["tokens"],
    "wpe": ["positions"],
    "h.N.ln_1": ["blocks.N.norm1"],
    "h.N.attn.c_attn": ["blocks.N.attention.q", "blocks.N.attention.k", "blocks.N.attention.v"],
    "h.N.attn.c_proj": ["blocks.N.attention.o"],
    "h.N.ln_2": ["blocks.N.norm2"],
    "h.N.mlp.c_fc": ["blocks.N.mlp.fc1"],
    "h.N.mlp.c_proj": ["blocks.N.mlp.fc2"],
    "ln_f": ["norm"],
}
"""One module of theirs may be several layers of ours, one below the other."""

BERT = {
    "embeddings.word_embeddings": ["tokens"],
    "embeddings.position_embeddings": ["positions"],
    "embeddings.LayerNorm": ["norm"],
    "encoder.layer.N.attention.self.query": ["blocks.N.attention.q"],
    "encoder.layer.N.attention.self.key": ["blocks.N.attention.k"],
    "encoder.layer.N.attention.self.value": ["blocks.N.attention.v"],
    "encoder.layer.N.attention.output.dense": ["blocks.N.attention.o"],
    "encoder.layer.N.attention.output.LayerNorm": ["blocks.N.norm1"],
    "encoder.layer.N.intermediate.dense": ["blocks.N.mlp.fc1"],
    "encoder.layer.N.output.dense": ["blocks.N.mlp.fc2"],
    "encoder.layer.N.output.LayerNorm": ["blocks.N.norm2"],
}

TYPES, PLACES = "embeddings.token_type_embeddings.weight", "embeddings.position_embeddings.weight"
"""Every token is of type 0, whose row BERT adds to every place; our places have it in them."""


def ours_of(name, table):
    """Our names of a parameter of theirs, and whether it is stored the other way round."""
    module, _, kind = re.sub(r"^(base_model\.model\.)?(transformer\.)?", "", name).rpartition(".")
    if ".lora_" in name:  # peft: <module>.lora_A.default.weight
        module, kind = re.fullmatch(r"(.*)\.lora_(.)\.default", module).groups()
    number = "".join(re.findall(r"\.(\d+)\.", module))
    layers = [one.replace("N", number) for one in table[re.sub(r"\.\d+\.", ".N.", module)]]
    if "norm" in layers[0].rpartition(".")[2]:
        kind = {"weight": "gain"}.get(kind, kind)
    conv1d = kind == "weight" and ".c_" in module  # GPT-2's Conv1D is (in, out)
    return [f"{layer}.{'W' if kind == 'weight' else kind}" for layer in layers], conv1d


def to_ours(theirs, table):
    """Our parameters from theirs."""
    found = {}
    for name, array in theirs.items():
        if name == TYPES:
            continue
        names, turned = ours_of(name, table)
        array = array.T if turned else array
        one_for_all = len(names) > 1 and names[0].endswith(".A")  # of q, k and v merged
        parts = [array] * len(names) if one_for_all else np.split(array, len(names))
        found |= dict(zip(names, parts, strict=True))
    if TYPES in theirs:
        found["positions.W"] = found["positions.W"] + theirs[TYPES][0]
    return found


def to_theirs(grads, names, table):
    """Our gradients under their names: what they share, or add up, gets the sum."""
    found = {}
    for name in names:
        if name == TYPES:
            of_type_0 = grads["positions.W"].sum(axis=0)
            found[name] = np.stack([of_type_0, np.zeros_like(of_type_0)])
            continue
        mine, turned = ours_of(name, table)
        parts = [grads[one] for one in mine]
        joined = sum(parts) if mine[0].endswith(".A") else np.concatenate(parts)
        found[name] = joined.T if turned else joined
    return found


# ---------------------------------------------------------------------- the same model, and passes


def arrays_of(values, dtype):
    return {name: np.array(value, dtype) for name, value in values.items()}


def gpt_of(sizes, _, dtype):
    return GPT.init(**sizes, rng=np.random.default_rng(0), dtype=dtype)


def encoder_of(sizes, norm_epsilon, dtype):
    encoder = Encoder.init(**sizes, rng=np.random.default_rng(0), dtype=dtype)
    return encoder.mapped(
        lambda _, layer: (
            replace(layer, epsilon=norm_epsilon) if isinstance(layer, LayerNorm) else layer
        )
    )


def decode(model, case):
    """Logits, the loss of the next tokens, and gradients."""
    tokens = np.array(case["tokens"])
    following = np.concatenate([tokens[:, 1:], np.full((len(tokens), 1), -100)], axis=1)
    logits, cache = model.forward(tokens)
    loss, inner = softmax_cross_entropy(logits, following, ignore=-100)
    return logits, loss, model.backward(softmax_cross_entropy_backward(inner), cache)[1]


def encode(model, case):
    """Rows, their product with what comes back, and gradients."""
    rows, cache = model.forward(np.array(case["tokens"]), attention_mask=np.array(case["mask"]))
    grad_rows = np.array(case["grad_rows"], rows.dtype)
    return rows, float((rows * grad_rows).sum()), model.backward(grad_rows, cache)[1]


MODELS = {
    "gpt2": (gpt_of, decode, GPT2, ["q", "k", "v", "o", "fc1", "fc2"]),
    "bert": (encoder_of, encode, BERT, ["q", "v"]),
}


@pytest.fixture(scope="module")
def stored():
    return json.loads(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("adapted", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("name", MODELS)
def test_outputs_and_gradients_are_those_of_the_libraries(name, adapted, dtype, stored):
    make, passes, table, targets = MODELS[name]
    case = stored[name]
    model = make(stored["sizes"], case["norm_epsilon"], dtype)
    weights = to_ours(arrays_of(case["plain"]["parameters"], dtype), table)
    assert weights.keys() == model.trainable.keys()
    model = model.with_params(weights)
    if adapted:
        options = {"r": stored["lora"]["r"], "alpha": stored["lora"]["lora_alpha"]}
        model = with_lora(model, np.random.default_rng(0), targets=targets, **options)
        factors = to_ours(arrays_of(case["lora"]["parameters"], dtype), table)
        assert factors.keys() == model.trainable.keys()
        model = model.with_params(factors)

    expected = case["lora" if adapted else "plain"]
    output, loss, grads = passes(model, case)
    assert output.dtype == dtype
    of_outputs, of_gradients = TOLERANCES[dtype]
    assert relative(output, np.array(expected["output"])) < of_outputs
    assert abs(loss - expected["loss"]) < of_outputs * abs(expected["loss"])

    gradients = arrays_of(expected["gradients"], np.float64)
    mine = to_theirs(grads, gradients, table)
    floor = FLOOR * np.sqrt(sum(np.linalg.norm(g) ** 2 for g in gradients.values()))
    errors = {key: relative(mine[key], gradients[key], floor) for key in gradients}
    assert max(errors.values()) < of_gradients, errors


def relative(got, expected, floor=0.0):
    assert got.shape == expected.shape
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), floor)
