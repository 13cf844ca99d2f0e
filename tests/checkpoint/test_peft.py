"""Adapters in PEFT's layout: round trips, and what is refused where PEFT loads in silence."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lora_ref.checkpoint import load_peft, merge, read_safetensors, save_peft, write_safetensors
from lora_ref.checkpoint.adapter_config import AdapterConfig
from lora_ref.checkpoint.peft import CONFIG, WEIGHTS
from lora_ref.errors import FileError, LoraRefError, ShapeError
from lora_ref.layers import DoRALinear, Linear, LoRALinear, MultiTaskLoRA, QLoRALinear
from lora_ref.quantize import quantize
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


def edited(folder, config, tensors):
    """Change options of the configuration, and arrays; None takes one out."""
    path = folder / CONFIG
    options = {**json.loads(path.read_text()), **config}
    path.write_text(json.dumps({k: v for k, v in options.items() if v is not GONE}))
    arrays = read_safetensors(folder / WEIGHTS)
    arrays |= {f"base_model.model.{name}": array for name, array in tensors.items()}
    write_safetensors(folder / WEIGHTS, {n: a for n, a in arrays.items() if a is not None})


GONE = object()
Q = "blocks.0.attention.q"

BROKEN = {
    "no alpha": ({"lora_alpha": GONE}, {}, "has no lora_alpha, expected one"),
    "alpha null": ({"lora_alpha": None}, {}, "has lora_alpha None, expected a finite number"),
    "alpha NaN": ({"lora_alpha": float("nan")}, {}, "holds NaN, which is no number of JSON"),
    "alpha inf": ({"lora_alpha": float("inf")}, {}, "holds Infinity"),
    "alpha huge": ({"lora_alpha": 10**400}, {}, "has lora_alpha 1000"),
    "alpha true": ({"lora_alpha": True}, {}, "has lora_alpha True"),
    "alpha text": ({"lora_alpha": "16"}, {}, "has lora_alpha '16'"),
    "r": ({"r": 0}, {}, "has r 0, expected a whole number of at least 1"),
    "no r": ({"r": GONE}, {}, "has no r, expected one"),
    "rslora": ({"use_rslora": "no"}, {}, "has use_rslora 'no', expected true or false"),
    "dropout": ({"lora_dropout": -0.1}, {}, "has lora_dropout -0.1, expected a share"),
    "no targets": ({"target_modules": None}, {}, "has target_modules None, expected the layers"),
    "targets": ({"target_modules": [3]}, {}, r"has target_modules \[3\], expected a list"),
    "expression": ({"target_modules": "("}, {}, "which is no regular expression"),
    "pattern": ({"rank_pattern": {"q": 0}}, {}, "has rank_pattern of q 0, expected a whole"),
    "patterns": ({"alpha_pattern": [1]}, {}, r"has alpha_pattern \[1\], expected numbers"),
    "bias": ({"bias": "some"}, {}, "has bias 'some', expected one of: none, lora_only, all"),
    "biases": ({"bias": "all"}, {}, f"does not store {Q}.base_layer.bias, expected it"),
    "kind": ({"peft_type": "IA3"}, {}, "has no peft_type LORA"),
    "pissa": ({"init_lora_weights": "pissa"}, {}, "has init_lora_weights 'pissa': such a start"),
    "alora": ({"alora_invocation_tokens": [1]}, {}, r"has alora_invocation_tokens \[1\], which"),
    "qalora": ({"use_qalora": True}, {}, "has use_qalora True, which is not supported here"),
    "layer 0": ({"layers_to_transform": 0}, {}, "has layers_to_transform 0, which is not"),
    "unknown": ({"use_magic": True}, {}, "use_magic is asked for and not known here"),
    "two ways": ({"use_dora": True, "lora_bias": True}, {}, "which PEFT does not combine"),
    "dora": ({"use_dora": True}, {}, f"does not store {Q}.lora_magnitude_vector"),
    "magnitude": ({}, {f"{Q}.lora_magnitude_vector": np.ones(6)}, "is stored and belongs to no"),
    "no A": ({}, {f"{Q}.lora_A.weight": None}, f"does not store {Q}.lora_A.weight, expected it"),
    "no B": ({}, {f"{Q}.lora_B.weight": None}, f"does not store {Q}.lora_B.weight, expected it"),
    "no layer": ({}, {"blocks.9.q.lora_A.weight": np.ones((2, 6))}, "blocks.9.q.lora_A.weight is"),
    "none": ({"target_modules": ["nothing"]}, {}, "adapts no layer of the base"),
    "shape": ({}, {f"{Q}.lora_A.weight": np.ones((3, 6))}, r"\(3, 6\), expected \(2, 6\)"),
    "NaN": ({}, {f"{Q}.lora_B.weight": np.full((6, 2), np.nan)}, "an entry that is not finite"),
    "integers": ({}, {f"{Q}.lora_B.weight": np.ones((6, 2), int)}, "of dtype int64, expected"),
    "embedding": ({"target_modules": ["tokens"]}, {}, "adapts tokens, which is Embedding"),
    "dots": ({}, {"../../etc": np.ones(2)}, r"\.\./\.\./etc is stored and belongs to no layer"),
}


@each("case", BROKEN)
def test_what_is_wrong_with_an_adapter_is_said(case, base, rng, tmp_path):
    config, tensors, sentence = BROKEN[case]
    save_peft(tmp_path, with_lora(base, rng, r=2))
    edited(tmp_path, config, tensors)
    before = base.forward(X)[0]
    with pytest.raises(LoraRefError, match=sentence) as said:
        load_peft(tmp_path, base)
    assert str(tmp_path) in str(said.value)
    if case == "shape":
        assert isinstance(said.value, ShapeError)
    else:
        assert isinstance(said.value, FileError)
        assert said.value.path in (tmp_path, tmp_path / CONFIG)
    assert_array_equal(base.forward(X)[0], before)


def test_what_the_configuration_asks_for_in_vain_is_not_laid_to_the_base(base, rng, tmp_path):
    save_peft(tmp_path, with_lora(base, rng, r=2))
    edited(tmp_path, {"use_magic": True}, {})
    with pytest.raises(FileError) as said:
        load_peft(tmp_path, base)
    assert said.value.path == tmp_path / CONFIG
    assert str(said.value).endswith(
        "is not followed in full: use_magic is asked for and not known here"
    )


@pytest.mark.parametrize(
    ("stored", "there", "targets", "says"),
    [
        ("q", "model.q", ["q"], r"; q is stored, without 'model\.' before the name"),
        ("model.q", "q", ["q"], r"; model\.q is stored, with 'model\.' before the name"),
        (
            "model.q",
            "q",
            ["model.q"],
            r"adapts no layer of the base; model\.q is stored, with 'm",
        ),
    ],
)
def test_a_prefix_that_one_side_has_is_named(stored, there, targets, says, rng, tmp_path):
    layer = layer_of(rng, 4, 3, 2, bias=False)
    save_peft(tmp_path, {stored: layer})
    edited(tmp_path, {"target_modules": targets}, {})
    for base in ({f"{there}.weight": layer.W0}, nested(there, Linear(layer.W0, train=()))):
        with pytest.raises(FileError, match=says):
            load_peft(tmp_path, base)


def nested(name, layer):
    """Return a model with one layer of that name."""
    for part in reversed(name.split(".")):
        layer = Network({part: layer})
    return layer


def test_what_is_surplus_is_a_warning_where_that_was_asked_for(base, rng, tmp_path):
    adapted = moved(with_lora(base, rng, r=2), rng)
    save_peft(tmp_path, adapted)
    edited(tmp_path, {"use_magic": True}, {"blocks.9.q.lora_A.weight": np.ones((2, 6))})
    with pytest.warns(UserWarning, match="stored and belongs|is asked for") as warned:
        loaded = load_peft(tmp_path, base, strict=False)
    assert "use_magic is asked for and not known here" in str(warned[1].message)
    assert_array_equal(loaded.forward(X)[0], adapted.forward(X)[0])


IDLE_PATTERNS = {
    "alpha": ({"alpha_pattern": {"qq": 16}}, "alpha_pattern has 'qq', which fits no adapted layer"),
    "rank": ({"rank_pattern": {"fc1": 2}}, "rank_pattern has 'fc1', which fits no adapted layer"),
    "whole": (
        {"alpha_pattern": {"head": 1}, "modules_to_save": ["head"]},
        "alpha_pattern has 'hea",
    ),
}


@pytest.mark.parametrize("case", IDLE_PATTERNS)
def test_a_pattern_that_fits_no_adapted_layer_is_refused(case, rng, tmp_path):
    config, sentence = IDLE_PATTERNS[case]
    layers = saved_with(config, rng, tmp_path)
    base = arrays_of_base(layers)
    with pytest.raises(FileError, match=sentence):
        load_peft(tmp_path, base)
    with pytest.raises(FileError, match=sentence):
        merge(base, tmp_path)
    with pytest.warns(UserWarning, match=sentence):
        assert load_peft(tmp_path, base, strict=False)["q"].alpha == 3.0


IDLE_NAMES = {
    "target": (
        {"target_modules": ["q", "fc11"]},
        r"target_modules has 'fc11', which is no .*: fc1",
    ),
    "excluded": ({"exclude_modules": ["a.fc"]}, "exclude_modules has 'a.fc', which is no layer of"),
    "expression": ({"exclude_modules": r"fc\d\d"}, r"exclude_modules has 'fc\\\\d"),
    "whole": (
        {"modules_to_save": ["head", "haed"]},
        "modules_to_save has 'haed', which is no layer",
    ),
}


@pytest.mark.parametrize("case", IDLE_NAMES)
@pytest.mark.parametrize("kind", ["arrays", "model"])
def test_a_name_that_is_no_layer_is_a_warning_as_what_was_trained_is_stored(
    case, kind, rng, tmp_path
):
    config, sentence = IDLE_NAMES[case]
    layers = saved_with(config, rng, tmp_path)
    base = arrays_of_base(layers)
    model = Network(
        {name: Linear(base[f"{name}.weight"], base.get(f"{name}.bias")) for name in layers}
    )
    with pytest.warns(UserWarning, match=sentence) as said:
        loaded = load_peft(tmp_path, base if kind == "arrays" else model)
    assert len(said) == 1
    x = rng.standard_normal((5, 3))
    q = loaded["q"] if kind == "arrays" else loaded.layers["q"]
    assert_array_equal(q.forward(x)[0], layers["q"].forward(x)[0])
    with pytest.warns(UserWarning, match=sentence):
        merge(base, tmp_path)


def test_what_peft_writes_itself_beside_the_layers_of_the_base_is_no_mistake(rng, tmp_path):
    layers = {
        "h.0.q": layer_of(rng, 4, 3, 2),
        "h.0.c_fc": Linear(np.eye(3), train=()),
        "h.1": Linear(np.eye(3)),
        "score": Linear(X * 1.0),
    }
    save_peft(tmp_path, layers)
    options = {
        "target_modules": ["q", "h.0.c_fc", "c_fc", "h.1.c_fc"],  # all-linear, as it is written out
        "exclude_modules": ["c_fc"],
        "modules_to_save": ["h.1", "classifier", "score"],
    }
    edited(tmp_path, options, {})
    loaded = load_peft(tmp_path, arrays_of_base(layers))
    assert_array_equal(loaded["h.0.q"].A, layers["h.0.q"].A)


def test_options_that_change_no_output_are_passed_over(base, rng, tmp_path):
    adapted = moved(with_lora(base, rng, r=2), rng)
    save_peft(tmp_path, adapted)
    fine = {"task_type": "CAUSAL_LM", "lora_dropout": 0.1, "init_lora_weights": "gaussian"}
    edited(tmp_path, {**fine, "loftq_config": {}, "new_option": None, "peft_version": "9"}, {})
    assert_array_equal(load_peft(tmp_path, base).forward(X)[0], adapted.forward(X)[0])


def test_a_missing_or_damaged_file_is_named(base, rng, tmp_path):
    with pytest.raises(LoraRefError, match=r"adapter_config.json' cannot be read: No such file"):
        load_peft(tmp_path, base)
    save_peft(tmp_path, with_lora(base, rng, r=2))
    good = (tmp_path / CONFIG).read_text()
    for content in ("{", "[]", "[" * 100_000, '{"r": 1, "r": 2}'):
        (tmp_path / CONFIG).write_text(content)
        with pytest.raises(FileError, match=r"adapter_config.json (is no|holds a|has 'r')"):
            load_peft(tmp_path, base)
    (tmp_path / CONFIG).write_text(good)
    (tmp_path / WEIGHTS).rename(tmp_path / "adapter_model.bin")
    with pytest.raises(FileError, match="holds a pickle, which is never opened here"):
        load_peft(tmp_path, base)


# ---------------------------------------------------------------------------------- all options


def saved_with(config, rng, folder):
    """Save an adapted, a frozen and a whole layer, and change options of the configuration."""
    layers = {
        "q": layer_of(rng, 4, 3, 2),
        "fc1": Linear(np.eye(3), train=()),
        "head": Linear(X * 1.0),
    }
    save_peft(folder, layers)
    edited(folder, config, {})
    return layers


def layer_of(rng, out_features, in_features, r, kind=LoRALinear, *, bias=True, **options):
    W0, A, B = (
        rng.standard_normal(s)
        for s in ((out_features, in_features), (r, in_features), (out_features, r))
    )
    more = {"magnitude": rng.random(out_features) + 0.5} if kind is DoRALinear else {}
    b = rng.standard_normal(out_features) if bias else None
    return kind(W0, A, B, **more, alpha=3.0, bias=b, **options)


def arrays_of_base(layers):
    """Return what a user has of the base: weights and biases by name, before any training."""
    found = {}
    for name, layer in layers.items():
        weight = layer.W0 if hasattr(layer, "W0") else layer.W
        found[f"{name}.weight"] = weight
        if layer.bias is not None:
            found[f"{name}.bias"] = layer.bias
    return found


@given(
    kind=st.sampled_from([LoRALinear, DoRALinear]),
    stabilized=st.booleans(),
    biases=st.sampled_from(["none", "lora_only", "all"]),
    whole=st.booleans(),
    clash=st.booleans(),
    seed=st.integers(0, 999),
)
def test_layers_of_every_option_come_back(
    kind, stabilized, biases, whole, clash, seed, tmp_path_factory
):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("adapter")
    options = {"rank_stabilized": stabilized}
    if kind is DoRALinear:
        options["norm_gradient"] = "detached"
    first = ("A", "B", "magnitude") if kind is DoRALinear else ("A", "B")
    train = first if biases == "none" else (*first, "bias")
    if kind is LoRALinear and biases != "none":
        train = ("A", "B", "bias")
    elif biases != "none":
        train = ("A", "B", "bias", "magnitude")
    layers = {
        "fc1": layer_of(rng, 5, 4, 2, kind, **options),
        "body.fc2": replace(layer_of(rng, 3, 5, 3, kind, bias=False, **options), alpha=1.5),
        "plain": Linear(rng.standard_normal((3, 3)), rng.standard_normal(3), train=()),
        "head": Linear(
            rng.standard_normal((2, 3)),
            rng.standard_normal(2),
            train=("W", "bias") if whole else ("bias",) if biases == "all" else (),
        ),
    }
    layers["fc1"] = replace(layers["fc1"], train=train)
    if biases == "all":
        layers["plain"] = replace(layers["plain"], train=("bias",))
    if clash:  # a name that ends as that of an adapted layer does
        layers["other.fc1"] = Linear(rng.standard_normal((2, 2)), None, train=())
    save_peft(folder, layers)
    stored = {"none": (), "lora_only": ("fc1.bias",), "all": ("fc1.bias", "plain.bias")}[biases]
    base = {n: a + 0.5 * (n in stored) for n, a in arrays_of_base(layers).items()}
    if whole:
        base["head.weight"] = base["head.weight"] + 1
    loaded = load_peft(folder, base)
    assert loaded.keys() == layers.keys()
    for name, layer in layers.items():
        x = rng.standard_normal((4, (layer.W0 if hasattr(layer, "W0") else layer.W).shape[1]))
        assert_array_equal(loaded[name].forward(x)[0], layer.forward(x)[0])
        assert type(loaded[name]) is type(layer)
        assert set(layer.trainable) <= set(loaded[name].trainable)


def test_an_expression_names_targets_and_the_first_pattern_decides(rng, tmp_path):
    layers = {f"block.{i}.fc": layer_of(rng, 4, 3, r) for i, r in enumerate((2, 3, 2))}
    save_peft(tmp_path, layers)
    options = {
        "target_modules": r"block\.\d\.fc",
        "rank_pattern": {r"1\.fc": 3, "fc": 2},
        "r": 7,
        "alpha_pattern": {"block.2.fc": 9, r"\d.fc": 3},
        "lora_alpha": -1,
    }
    edited(tmp_path, options, {})
    loaded = load_peft(tmp_path, arrays_of_base(layers))
    assert [layer.r for layer in loaded.values()] == [2, 3, 2]
    assert [layer.alpha for layer in loaded.values()] == [3, 3, 9]


def test_a_bias_of_B_is_scaled_and_folded_into_the_bias(rng, tmp_path):
    layers = {"a": layer_of(rng, 4, 3, 2), "b": layer_of(rng, 4, 3, 2, bias=False)}
    save_peft(tmp_path, layers)
    b = rng.standard_normal(4)
    edited(tmp_path, {"lora_bias": True}, {"a.lora_B.bias": b, "b.lora_B.bias": b})
    loaded, x = load_peft(tmp_path, arrays_of_base(layers)), rng.standard_normal((5, 3))
    for name, layer in layers.items():
        expected = layer.forward(x)[0] + 3.0 / 2 * b
        np.testing.assert_allclose(loaded[name].forward(x)[0], expected, rtol=1e-14)
        assert "bias" in loaded[name].trainable


def test_a_transposed_weight_is_turned_for_the_layers_that_are_adapted(rng, tmp_path):
    layers = {"c_attn": layer_of(rng, 6, 4, 2)}
    save_peft(tmp_path, layers)
    edited(tmp_path, {"fan_in_fan_out": True}, {})
    base = arrays_of_base(layers)
    base["c_attn.weight"] = base["c_attn.weight"].T
    x = rng.standard_normal((5, 4))
    loaded = load_peft(tmp_path, base)["c_attn"]
    assert_array_equal(loaded.forward(x)[0], layers["c_attn"].forward(x)[0])


def test_all_linear_leaves_the_choice_to_the_factors(rng, tmp_path):
    layers = {"a": layer_of(rng, 4, 3, 2), "head": Linear(rng.standard_normal((2, 4)), train=())}
    save_peft(tmp_path, layers)
    edited(tmp_path, {"target_modules": "all-linear"}, {})
    loaded = load_peft(tmp_path, arrays_of_base(layers))
    assert (type(loaded["a"]), type(loaded["head"])) == (LoRALinear, Linear)


def test_factors_get_the_dtype_of_their_layer(rng, tmp_path):
    layers = {"a": layer_of(rng, 4, 3, 2)}
    save_peft(tmp_path, layers, dtype=np.float16)
    base = {name: array.astype(np.float32) for name, array in arrays_of_base(layers).items()}
    loaded = load_peft(tmp_path, base)["a"]
    assert loaded.A.dtype == np.float32
    assert_array_equal(loaded.A, layers["a"].A.astype(np.float16).astype(np.float32))


# ---------------------------------------------------------------------------------- what stays


def test_an_adapter_of_QLoRA_is_one_of_LoRA(rng, tmp_path):
    lora = layer_of(rng, 4, 8, 2, bias=False)
    quantized = QLoRALinear(quantize(lora.W0, block_size=8), lora.A, lora.B, lora.alpha)
    save_peft(tmp_path / "a", {"q": quantized})
    save_peft(tmp_path / "b", {"q": lora})
    for file in (CONFIG, WEIGHTS):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_the_dropout_of_an_adapter_is_written_where_it_is_given(rng, tmp_path):
    save_peft(tmp_path, {"a": layer_of(rng, 4, 3, 2)}, dropout=0.1)
    config, _ = AdapterConfig.read(tmp_path / CONFIG)
    assert config.dropout == 0.1
    with pytest.raises(LoraRefError, match=r"dropout in save_peft is 1\.5, expected a number"):
        save_peft(tmp_path, {"a": layer_of(rng, 4, 3, 2)}, dropout=1.5)


def test_a_layer_without_a_name_is_not_saved(rng, tmp_path):
    layer = layer_of(rng, 4, 3, 2)
    for nameless in (layer, [layer], None):
        with pytest.raises(LoraRefError, match=r"layers in save_peft is .*, expected a mod"):
            save_peft(tmp_path / "a", nameless)
    assert not (tmp_path / "a").exists()


def test_layers_of_two_kinds_tasks_and_infinite_factors_are_not_saved(base, rng, tmp_path):
    lora, dora = layer_of(rng, 4, 3, 2), layer_of(rng, 4, 3, 2, DoRALinear)
    with pytest.raises(LoraRefError, match=r"layers are of 2 kinds .*DoRALinear.* expected one"):
        save_peft(tmp_path / "a", {"a": lora, "b": dora})
    with pytest.raises(LoraRefError, match=r"are of 0 kinds \(none\)"):
        save_peft(tmp_path / "a", base)
    with pytest.raises(LoraRefError, match=r"tasks is MultiTaskLoRA.* save each task by itself"):
        save_peft(tmp_path / "a", Network({"tasks": MultiTaskLoRA((lora,))}))
    broken = replace(lora, A=np.full((2, 3), 1e30))
    with pytest.raises(LoraRefError, match=r"a.lora_A.weight is not finite in float16"):
        save_peft(tmp_path / "a", {"a": broken}, dtype=np.float16)
    assert not (tmp_path / "a").exists()


def test_a_save_that_fails_or_is_interrupted_leaves_the_old_adapter(rng, tmp_path, monkeypatch):
    save_peft(tmp_path, {"a": layer_of(rng, 4, 3, 2)})
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    real, calls = os.replace, []
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt()):

        def second_fails(source, target, error=error):
            calls.append(target)
            if len(calls) % 2 == 0:
                raise error
            real(source, target)

        monkeypatch.setattr(os, "replace", second_fails)
        expected = FileError if isinstance(error, OSError) else KeyboardInterrupt
        with pytest.raises(expected):
            save_peft(tmp_path, {"a": layer_of(rng, 4, 3, 1)})
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        monkeypatch.undo()


def test_where_no_adapter_can_be_written_is_said(rng, tmp_path):
    layers = {"a": layer_of(rng, 4, 3, 2)}
    (tmp_path / "file").write_text("")
    (tmp_path / "dir" / WEIGHTS).mkdir(parents=True)
    for folder in ("file", "file/under", "dir", "nul\0"):
        with pytest.raises(FileError, match=r"cannot be (made|written)"):
            save_peft(tmp_path / folder, layers)
    assert [path.name for path in (tmp_path / "dir").iterdir()] == [WEIGHTS]
