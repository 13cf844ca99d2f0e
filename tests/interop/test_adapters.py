"""Adapters that PEFT wrote, read here, and ours, read by PEFT: outputs, gradients, merges."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from peft import PeftModel

from lora_ref.checkpoint import load_peft, save_peft
from lora_ref.layers import DoRALinear, MultiTaskLoRA
from lora_ref.layers.composite import layers_of
from tests.fixtures.peft_model import as_network, layer_arrays, our_name, run
from tests.interop.options import GRID, adapted, arrays_of, torch_base, torch_run

X = np.random.default_rng(0).standard_normal((9, 5))
GRAD = np.random.default_rng(1).standard_normal((9, 3))
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


@pytest.mark.filterwarnings("ignore:Adapter 'default'. [0-9]+ LoRA tensor:UserWarning")
@pytest.mark.parametrize("case", GRID)
@pytest.mark.parametrize("kind", ["arrays", "model"])
def test_what_peft_wrote_computes_here_what_it_computes_there(case, kind, tmp_path):
    options = GRID[case]
    there = adapted(options)
    there.save_pretrained(tmp_path)
    turned = options.get("fan_in_fan_out", False) and kind == "arrays"
    arrays = layer_arrays(arrays_of(torch_base()), turned=turned)
    if kind == "model":
        layers = layers_of(load_peft(tmp_path, as_network(arrays)))
    else:
        layers = load_peft(tmp_path, arrays)
    y, backward = run(layers, X)
    expected, theirs = torch_run(there, X, GRAD)
    assert_allclose(y, expected, **CLOSE)
    grads = backward(GRAD)
    named = {our_name(name) for name in theirs}
    assert named == set(grads)
    for name, grad in theirs.items():
        if name.endswith("lora_B.bias"):  # folded into the bias: its rate here is not theirs
            layer = layers[name.removesuffix(".lora_B.bias")]
            grad = grad / layer.scaling
        assert_allclose(grads[our_name(name)], grad, err_msg=name, **CLOSE)
    merged = {name: one.merge() if hasattr(one, "merge") else one for name, one in layers.items()}
    assert_allclose(run(merged, X)[0], expected, **CLOSE)
    assert_allclose(there.merge_and_unload()(torch.tensor(X)).detach(), expected, **CLOSE)


@pytest.mark.parametrize("case", [case for case in GRID if case != "a bias of B"])
def test_what_is_written_here_computes_there_what_it_computes_here(case, tmp_path):
    options = GRID[case]
    adapted(options).save_pretrained(tmp_path / "theirs")
    turned = options.get("fan_in_fan_out", False)
    arrays = layer_arrays(arrays_of(torch_base()), turned=turned)
    layers = load_peft(tmp_path / "theirs", arrays)
    save_peft(tmp_path / "ours", layers)
    if turned:  # the layers here are turned already; what the base there is like, its reader knows
        path = tmp_path / "ours" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "fan_in_fan_out": True}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = PeftModel.from_pretrained(torch_base(), tmp_path / "ours", is_trainable=True)
    y, backward = run(layers, X)
    expected, theirs = torch_run(there.eval(), X, GRAD)
    assert_allclose(y, expected, **CLOSE)
    grads = backward(GRAD)
    assert {our_name(name) for name in theirs} == set(grads)
    for name, grad in theirs.items():
        assert_allclose(grads[our_name(name)], grad, err_msg=name, **CLOSE)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_files_of_other_dtypes_are_read_to_the_same_numbers(dtype, tmp_path):
    there = adapted(GRID["plain"]).to(dtype)
    there.save_pretrained(tmp_path)
    arrays = {name: a.astype(np.float32) for name, a in arrays_of(torch_base()).items()}
    loaded = load_peft(tmp_path, layer_arrays(arrays, turned=False))
    for name, parameter in there.named_parameters():
        if ".lora_" in name:
            path, _, end = name.removeprefix("base_model.model.").partition(".lora_")
            got = getattr(loaded[path], end[0])
            assert got.dtype == np.float32
            assert np.array_equal(got, parameter.detach().float().numpy())


def test_several_adapters_are_a_sum_a_weighted_sum_or_a_row_each(tmp_path):
    base = layer_arrays(arrays_of(torch_base()), turned=False)
    for name, seed in (("one", 1), ("two", 2)):
        adapted(GRID["plain"], seed).save_pretrained(tmp_path / name)
    there = PeftModel.from_pretrained(torch_base(), tmp_path / "one", adapter_name="one")
    there.load_adapter(tmp_path / "two", adapter_name="two")
    loaded = [load_peft(tmp_path / name, base) for name in ("one", "two")]

    def together(*weights):
        return {
            name: MultiTaskLoRA((one, loaded[1][name]), weights) if hasattr(one, "A") else one
            for name, one in loaded[0].items()
        }

    x = torch.tensor(X)
    there.base_model.set_adapter(["one", "two"])
    assert_allclose(run(together(1.0, 1.0), X)[0], there(x).detach(), **CLOSE)
    there.add_weighted_adapter(["one", "two"], [0.7, -0.2], "both", combination_type="cat")
    there.set_adapter("both")
    assert_allclose(run(together(0.7, -0.2), X)[0], there(x).detach(), **CLOSE)
    rows = ["one", "two", "__base__"] * 3
    task = np.array([{"one": 0, "two": 1, "__base__": -1}[row] for row in rows])
    there.eval()
    expected = there(x, adapter_names=rows).detach().numpy()
    layers = {
        name: _Row(one, task) if isinstance(one, MultiTaskLoRA) else one
        for name, one in together(1.0, 1.0).items()
    }
    assert_allclose(run(layers, X)[0], expected, **CLOSE)


class _Row:
    """A layer whose rows have a task each."""

    def __init__(self, layer, task):
        self.layer, self.task = layer, task

    def forward(self, x):
        return self.layer.forward(x, task=self.task)


def test_the_gradient_of_DoRA_there_is_the_detached_one_here(tmp_path):
    adapted(GRID["DoRA"]).save_pretrained(tmp_path)
    layers = load_peft(tmp_path, layer_arrays(arrays_of(torch_base()), turned=False))
    dora = {name: one for name, one in layers.items() if isinstance(one, DoRALinear)}
    assert {one.norm_gradient for one in dora.values()} == {"detached"}
    true = {**layers, **{name: replace(one, norm_gradient="true") for name, one in dora.items()}}
    _, theirs = torch_run(adapted(GRID["DoRA"]), X, GRAD)
    grads = run(true, X)[1](GRAD)
    name = "body.fc1.lora_B.weight"
    assert np.abs(grads[our_name(name)] - theirs[name]).max() > 1e-3
