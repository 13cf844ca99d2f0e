"""Files that PEFT wrote compute here what they computed there; tests/fixtures/peft/SOURCE.md."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lora_ref.checkpoint import load_peft, read_safetensors, save_peft
from lora_ref.layers.composite import layers_of
from tests.fixtures.peft_model import as_network, layer_arrays, our_name, run

FOLDER = Path(__file__).parents[1] / "fixtures" / "peft"
CASES = sorted(path.name for path in FOLDER.iterdir() if path.is_dir())
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def expected_of(case):
    """Return what was computed there, and the base."""
    found = read_safetensors(FOLDER / case / "expected.safetensors")
    base = {name.removeprefix("base."): a for name, a in found.items() if name.startswith("base.")}
    return found, base


def test_there_are_all_cases():
    assert len(CASES) == 8


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", ["arrays", "model"])
def test_outputs_and_gradients_are_those_of_peft(case, kind):
    found, base = expected_of(case)
    turned = json.loads((FOLDER / case / "adapter_config.json").read_text())["fan_in_fan_out"]
    arrays = layer_arrays(base, turned=turned and kind == "arrays")
    loaded = load_peft(FOLDER / case, as_network(arrays) if kind == "model" else arrays)
    layers = layers_of(loaded) if kind == "model" else loaded
    y, backward = run(layers, found["x"])
    assert_allclose(y, found["y"], **CLOSE)
    grads = backward(found["grad_y"])
    theirs = {name.removeprefix("grad."): a for name, a in found.items() if "grad." in name}
    assert {our_name(name) for name in theirs} == set(grads)
    for name, grad in theirs.items():
        path, _, end = name.partition(".lora_B.bias")
        scale = layers[path].scaling if path != name and not end else 1.0  # folded into the bias
        assert_allclose(grads[our_name(name)] * scale, grad, err_msg=name, **CLOSE)


def test_the_base_alone_computes_something_else():
    found, base = expected_of("plain")
    layers = layers_of(as_network(layer_arrays(base, turned=False)))
    assert np.abs(run(layers, found["x"])[0] - found["y"]).max() > 0.1


@pytest.mark.parametrize("case", CASES)
def test_what_is_saved_again_loads_to_the_same_bits(case, tmp_path):
    found, base = expected_of(case)
    turned = json.loads((FOLDER / case / "adapter_config.json").read_text())["fan_in_fan_out"]
    layers = load_peft(FOLDER / case, layer_arrays(base, turned=turned))
    save_peft(tmp_path, layers)
    again = load_peft(tmp_path, layer_arrays(base, turned=False))
    assert np.array_equal(run(again, found["x"])[0], run(layers, found["x"])[0])
