"""Adapters in PEFT's layout: round trips, and what is refused where PEFT loads in silence."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lora_ref.checkpoint import load_peft, read_safetensors, save_peft, write_safetensors
from lora_ref.checkpoint.peft import CONFIG, WEIGHTS
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.training import Network
from lora_ref.transformer import GPT, with_lora

X = np.array([[3, 1, 4, 1, 5]])


@pytest.fixture
def base(rng):
    return GPT.init(vocabulary=11, context=7, features=6, heads=2, blocks=2, rng=rng)


def moved(model, rng):
    return model.with_params(
        {name: rng.standard_normal(a.shape) for name, a in model.trainable.items()}
    )


@pytest.mark.parametrize("stabilized", [False, True])
def test_an_adapter_comes_back_bit_by_bit(stabilized, base, rng, tmp_path):
    adapted = moved(with_lora(base, rng, r=2, alpha=3.5, rank_stabilized=stabilized), rng)
    save_peft(tmp_path / "new" / "folder", adapted, base="a base")
    loaded = load_peft(tmp_path / "new" / "folder", base)
    assert_array_equal(loaded.forward(X)[0], adapted.forward(X)[0])
    assert loaded.trainable.keys() == adapted.trainable.keys()
    assert not np.array_equal(base.forward(X)[0], adapted.forward(X)[0])


def test_the_folder_is_laid_out_as_peft_does(base, rng, tmp_path):
    save_peft(tmp_path, with_lora(base, rng, r=2, alpha=4), dtype=np.float16)
    arrays = read_safetensors(tmp_path / WEIGHTS)
    assert arrays["base_model.model.blocks.0.attention.q.lora_A.weight"].shape == (2, 6)
    assert arrays["base_model.model.blocks.1.attention.v.lora_B.weight"].shape == (6, 2)
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    config = json.loads((tmp_path / CONFIG).read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 2, 4)
    assert config["target_modules"][0] == "blocks.0.attention.q"


def test_saving_twice_gives_the_same_bytes(base, rng, tmp_path):
    adapted = moved(with_lora(base, rng, r=2), rng)
    for folder in ("a", "b"):
        save_peft(tmp_path / folder, adapted)
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


BROKEN = {
    "no alpha": ({"lora_alpha": None}, {}, "lora_alpha is None, expected a finite number"),
    "alpha NaN": ({"lora_alpha": float("nan")}, {}, "lora_alpha is nan"),
    "alpha true": ({"lora_alpha": True}, {}, "lora_alpha is True"),
    "r": ({"r": 0}, {}, "r is 0, expected a whole number of at least 1"),
    "rslora": ({"use_rslora": "no"}, {}, "use_rslora is 'no', expected true or false"),
    "dora": ({"use_dora": True}, {}, "use_dora is True, which is not supported"),
    "kind": ({"peft_type": "IA3"}, {}, "it has no peft_type LORA"),
    "bias": ({"bias": "all"}, {}, "it has biases"),
    "pattern": ({"rank_pattern": {"q": 4}}, {}, "rank_pattern is .* not supported"),
    "no A": ({}, {"blocks.0.attention.q.lora_A": None}, r"q has lora_B alone, expected both"),
    "no layer": (
        {},
        {"blocks.9.attention.q.lora_A": np.ones((2, 6))},
        "adapts blocks.9.attention.q",
    ),
    "shape": ({}, {"blocks.0.attention.q.lora_A": np.ones((3, 6))}, r"\(3, 6\), expected \(2, 6\)"),
    "NaN": ({}, {"blocks.0.attention.q.lora_B": np.full((6, 2), np.nan)}, "is no finite number"),
    "integers": ({}, {"blocks.0.attention.q.lora_B": np.ones((6, 2), int)}, "is no finite number"),
    "embedding": ({}, {"tokens.lora_A": np.ones((2, 6))}, "it adapts tokens, which is Embedding"),
    "name": ({}, {"blocks.0.attention.q.lora_C": np.ones((2, 6))}, "lora_C.weight is stored"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_with_an_adapter_is_said(case, base, rng, tmp_path):
    config, factors, sentence = BROKEN[case]
    save_peft(tmp_path, with_lora(base, rng, r=2))
    path = tmp_path / CONFIG
    path.write_text(json.dumps({**json.loads(path.read_text()), **config}))
    arrays = read_safetensors(tmp_path / WEIGHTS)
    arrays |= {f"base_model.model.{name}.weight": array for name, array in factors.items()}
    write_safetensors(tmp_path / WEIGHTS, {n: a for n, a in arrays.items() if a is not None})
    with pytest.raises(LoraRefError, match=sentence) as said:
        load_peft(tmp_path, base)
    assert str(tmp_path) in str(said.value)
    assert isinstance(said.value, ShapeError) == (case == "shape")


def test_a_missing_or_damaged_file_is_named(base, rng, tmp_path):
    with pytest.raises(LoraRefError, match=r"adapter_config.json' cannot be read: No such file"):
        load_peft(tmp_path, base)
    save_peft(tmp_path, with_lora(base, rng, r=2))
    for content in ("{", "[]", "[" * 100_000):
        (tmp_path / CONFIG).write_text(content)
        with pytest.raises(LoraRefError, match=r"adapter_config.json is no adapter"):
            load_peft(tmp_path, base)


def test_layers_of_several_ranks_and_infinite_factors_are_not_saved(base, rng, tmp_path):
    two = with_lora(base, rng, targets=("q",), r=2)
    q = with_lora(base, rng, targets=("q",), r=3).blocks["0"].attention.q
    mixed = Network({"a": two, "b": q})
    with pytest.raises(LoraRefError, match="has 2 kinds of rank and alpha, expected one"):
        save_peft(tmp_path / "a", mixed)
    with pytest.raises(LoraRefError, match="has 0 kinds"):
        save_peft(tmp_path / "a", base)
    broken = two.with_params({"blocks.0.attention.q.A": np.full((2, 6), 1e30)})
    with np.errstate(over="ignore"), pytest.raises(LoraRefError, match=r"q.A is not finite in"):
        save_peft(tmp_path / "a", broken, dtype=np.float16)
    assert not (tmp_path / "a").exists()
