"""Layouts and the libraries that they were read in: what is written here computes the same there.

A library that is not installed is skipped; the extra interop brings torch and PEFT alone.
"""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lora_ref.checkpoint.conventions import LAYOUTS, Update, joined

OUT, IN, R = 6, 5, 2
CLOSE = {"rtol": 1e-11, "atol": 1e-11}
SINGLE = {"rtol": 2e-5, "atol": 2e-5}  # mlx has no float64, and JAX none unless asked


@pytest.fixture
def W0(rng):
    return rng.standard_normal((OUT, IN))


@pytest.fixture
def x(rng):
    return rng.standard_normal((3, IN))


def drawn(rng, out_features=OUT, r=R):
    return Update(rng.standard_normal((r, IN)), rng.standard_normal((out_features, r)), 1.7)


def arrays(stored):
    return {name: value for name, value in stored.items() if isinstance(value, np.ndarray)}


def filled(module, weight, stored, at="weight"):
    """Return a PyTorch module with these arrays, in float64 and evaluation; no name may be left."""
    import torch

    state = {at: weight, **arrays(stored)}
    state = {name: torch.tensor(array) for name, array in state.items()}
    module = module.double()
    missing, surplus = module.load_state_dict(state, strict=False)
    assert not surplus
    assert all("lora" not in name and not name.endswith("weight") for name in missing), missing
    return module


def torch_forward(module, x):
    import torch

    with torch.no_grad():
        return module(torch.tensor(x)).numpy()


# ---------------------------------------------------------------------- loralib


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("merged", [False, True])
def test_loralib(turned, merged, W0, x, rng):
    loralib = pytest.importorskip("loralib")
    layout, update = LAYOUTS["loralib"], drawn(rng)
    if turned:
        layout = replace(layout, weight=LAYOUTS["PEFT on Conv1D"].weight)
    stored = layout.write(update)
    there = loralib.Linear(
        IN, OUT, r=R, lora_alpha=stored["lora_alpha"], fan_in_fan_out=turned, bias=False
    )
    there = filled(there, layout.write_weight(W0), stored)
    there.train(not merged)  # evaluation merges
    assert there.merged == merged
    assert_allclose(torch_forward(there, x), x @ update.merged(W0).T, **CLOSE)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("enable", [(1, 0, 1), (1, 1, 1), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0)])
def test_loralib_q_k_v_in_one(enable, turned, merged, rng):
    loralib = pytest.importorskip("loralib")
    enable = tuple(map(bool, enable))
    width = 4
    layout = replace(LAYOUTS["loralib, q k v in one"], enable=enable)
    if turned:
        layout = replace(layout, weight=LAYOUTS["PEFT on Conv1D"].weight)
    update = joined([drawn(rng, width) if one else width for one in enable])
    W0 = rng.standard_normal((width * len(enable), IN))
    x = rng.standard_normal((2, 3, IN))
    stored = layout.write(update)
    there = loralib.MergedLinear(
        *(IN, len(W0)),
        r=R,
        lora_alpha=stored["lora_alpha"],
        enable_lora=list(enable),
        fan_in_fan_out=turned,
        bias=False,
    )
    there = filled(there, layout.write_weight(W0), stored)
    there.train(not merged)  # evaluation merges
    assert_allclose(torch_forward(there, x), x @ update.merged(W0).T, **CLOSE)
    theirs = {name: tensor.detach().numpy() for name, tensor in there.named_parameters()}
    back = layout.read({**{n: theirs[n] for n in arrays(stored)}, "lora_alpha": there.lora_alpha})
    assert_allclose(back.delta_w, update.delta_w, **CLOSE)


# ---------------------------------------------------------------------- PEFT


@pytest.mark.parametrize("name", ["PEFT", "PEFT, use_rslora", "PEFT on Conv1D", "PEFT, DoRA"])
def test_peft(name, W0, x, rng):
    peft = pytest.importorskip("peft")
    import torch
    from transformers.pytorch_utils import Conv1D

    layout, update = LAYOUTS[name], drawn(rng)
    if layout.axis:
        update = replace(update, magnitude=rng.uniform(0.5, 2, OUT))
    turned = layout.weight.axes == ("in", "out")
    model = torch.nn.ModuleDict(
        {"fc": Conv1D(OUT, IN) if turned else torch.nn.Linear(IN, OUT, bias=False)}
    )
    stored = layout.write(update)
    config = peft.LoraConfig(
        r=R,
        lora_alpha=stored["lora_alpha"],
        target_modules=["fc"],
        use_rslora=layout.power == 0.5,
        use_dora=layout.axis is not None,
        fan_in_fan_out=turned,
    )
    there = peft.get_peft_model(model.double(), config)
    prefix = "base_model.model.fc."
    tensors = {prefix + key: torch.tensor(array) for key, array in arrays(stored).items()}
    surplus = peft.set_peft_model_state_dict(there, tensors).unexpected_keys
    assert not surplus
    fc = there.base_model.model["fc"].double().eval()
    with torch.no_grad():
        fc.base_layer.weight.copy_(torch.tensor(layout.write_weight(W0)))
    assert_allclose(torch_forward(fc, x), x @ update.merged(W0).T, **CLOSE)
    written = peft.get_peft_model_state_dict(there)
    theirs = {key.removeprefix(prefix): tensor.numpy() for key, tensor in written.items()}
    back = layout.read({**theirs, "lora_alpha": stored["lora_alpha"]})
    assert_allclose(back.merged(W0), update.merged(W0), **CLOSE)


# ---------------------------------------------------------------------- LitGPT


def test_litgpt(W0, x, rng):
    litgpt = pytest.importorskip("litgpt.lora")
    layout, update = LAYOUTS["LitGPT"], drawn(rng)
    stored = layout.write(update)
    there = litgpt.LoRALinear(IN, OUT, r=R, lora_alpha=stored["lora_alpha"], bias=False)
    there = filled(there, layout.write_weight(W0), stored, at=layout.weight.name)
    expected = x @ update.merged(W0).T
    assert_allclose(torch_forward(there, x), expected, **CLOSE)
    there.merge()
    assert_allclose(torch_forward(there, x), expected, **CLOSE)


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("enable", [(1, 0, 1), (1, 1, 1), (0, 1, 0), (0, 1, 1)])
def test_litgpt_q_k_v_in_one(enable, groups, rng):
    litgpt = pytest.importorskip("litgpt.lora")
    enable, heads, size = tuple(map(bool, enable)), 4, 3
    widths = (size * heads, size * groups, size * groups)
    layout = replace(LAYOUTS["LitGPT, q k v in one"], enable=enable, widths=widths)
    parts = zip(widths, enable, strict=True)
    update = joined([drawn(rng, width) if one else width for width, one in parts])
    W0 = rng.standard_normal((sum(widths), IN))
    x = rng.standard_normal((2, 3, IN))
    stored = layout.write(update)
    there = litgpt.LoRAQKVLinear(
        in_features=IN,
        out_features=len(W0),
        head_size=size,
        n_head=heads,
        n_query_groups=groups,
        r=R,
        lora_alpha=stored["lora_alpha"],
        enable_lora=enable,
        bias=False,
    )
    there = filled(there, layout.write_weight(W0), stored, at=layout.weight.name)
    expected = x @ update.merged(W0).T
    assert_allclose(torch_forward(there, x), expected, **CLOSE)
    there.merge()
    assert_allclose(torch_forward(there, x), expected, **CLOSE)


# ---------------------------------------------------------------------- teaching material


def test_labml(W0, x, rng):
    labml = pytest.importorskip("labml_nn.lora")
    layout, update = LAYOUTS["labml"], drawn(rng)
    stored = layout.write(update)
    there = labml.Linear(IN, OUT, bias=False, r=R, alpha=stored["alpha"])
    there = filled(there, layout.write_weight(W0), stored)
    assert_allclose(torch_forward(there, x), x @ update.merged(W0).T, **CLOSE)


def test_llms_from_scratch(W0, x, rng):
    appendix = pytest.importorskip("llms_from_scratch.appendix_e")
    import torch

    layout, update = LAYOUTS["LLMs-from-scratch 1.0.19"], drawn(rng)
    stored = layout.write(update)
    linear = torch.nn.Linear(IN, OUT, bias=False)
    there = appendix.LinearWithLoRA(linear, rank=R, alpha=stored["alpha"])
    there = filled(there, layout.write_weight(W0), stored, at=layout.weight.name)
    assert_allclose(torch_forward(there, x), x @ update.merged(W0).T, **CLOSE)


# ---------------------------------------------------------------------- JAX, Keras, MLX


def test_flax(W0, x, rng):
    nnx = pytest.importorskip("flax.nnx")
    layout, update = LAYOUTS["Flax NNX"], drawn(rng)
    there = nnx.LoRALinear(IN, OUT, lora_rank=R, use_bias=False, rngs=nnx.Rngs(0))
    for name, array in {"kernel": layout.write_weight(W0), **layout.write(update)}.items():
        place = there
        for part in name.split("."):
            place = getattr(place, part)
        assert place.shape == array.shape
        place.set_value(array)
    assert_allclose(there(x), x @ update.merged(W0).T, **SINGLE)


def test_keras(W0, x, rng, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "numpy")
    keras = pytest.importorskip("keras")
    layout, update = LAYOUTS["Keras"], drawn(rng)
    stored = layout.write(update)
    there = keras.layers.Dense(OUT, use_bias=False, dtype="float64")
    there.build((None, IN))
    there._kernel.assign(layout.write_weight(W0))
    there.enable_lora(R, lora_alpha=stored["lora_alpha"])
    for name, array in arrays(stored).items():
        getattr(there, name).assign(array)  # float32, whatever the layer is
    y = keras.ops.convert_to_numpy(keras.ops.stop_gradient(there(x)))
    assert_allclose(y, x @ update.merged(W0).T, **SINGLE)


@pytest.mark.parametrize("name", ["mlx-lm", "mlx-lm, DoRA"])
def test_mlx_lm(name, W0, x, rng):
    mx = pytest.importorskip("mlx.core")
    module = "dora" if LAYOUTS[name].axis else "lora"
    tuner = pytest.importorskip(f"mlx_lm.tuner.{module}")
    layout, update = LAYOUTS[name], drawn(rng)
    if layout.axis:
        update = replace(update, magnitude=rng.uniform(0.5, 2, OUT))
    stored = layout.write(update)
    kind = tuner.DoRALinear if layout.axis else tuner.LoRALinear
    there = kind(IN, OUT, r=R, scale=stored["scale"])
    there.load_weights(
        [
            (key, mx.array(array.astype(np.float32)))
            for key, array in {
                layout.weight.name: layout.write_weight(W0),
                **arrays(stored),
            }.items()
        ],
        strict=True,
    )
    expected = x @ update.merged(W0).T
    given = mx.array(x.astype(np.float32))
    assert_allclose(np.array(there(given)), expected, **SINGLE)
    assert_allclose(np.array(there.fuse()(given)), expected, **SINGLE)
