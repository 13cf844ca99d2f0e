"""What PEFT loads without a word, or with a warning alone, is an error here: a case for each."""

import json
import warnings

import numpy as np
import pytest
from peft import PeftModel

from lora_ref.checkpoint import load_peft, read_safetensors, write_safetensors
from lora_ref.errors import FileError
from tests.fixtures.peft_model import layer_arrays
from tests.interop.options import GRID, adapted, arrays_of, torch_base

A = "base_model.model.body.fc1.lora_A.weight"

GONE = object()

SILENT = {
    "no alpha": {"lora_alpha": GONE},
    "alpha NaN": {"lora_alpha": float("nan")},
    "alpha true": {"lora_alpha": True},
    "rslora no": {"use_rslora": "no"},
    "dropout NaN": {"lora_dropout": float("nan")},
    "PiSSA": {"init_lora_weights": "pissa"},
    "a key twice": "twice",
    "whole numbers": {A: np.ones((4, 6), np.int64)},
    "NaN": {A: np.full((4, 6), np.nan)},
    "all biases": {"bias": "all"},
    "a layer that is not there": {"base_model.model.body.fc9.lora_A.weight": np.ones((4, 6))},
}
WARNED = {"no A": {A: None}, "an idle pattern": {"alpha_pattern": {"fc9": 2}}}


def damage(folder, change):
    path, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    config, arrays = json.loads(path.read_text()), read_safetensors(weights)
    if change == "twice":
        path.write_text(json.dumps(config).replace("{", '{"r": 2,', 1))
        return
    for key, value in change.items():
        target = arrays if key.startswith("base_model.") else config
        target[key] = value
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not GONE}))
    kept = {name: array for name, array in arrays.items() if array is not None}
    write_safetensors(weights, kept, {"format": "pt"})


@pytest.mark.parametrize("case", [*SILENT, *WARNED])
def test_what_peft_loads_is_refused_here(case, tmp_path):
    adapted(GRID["plain"]).save_pretrained(tmp_path)
    damage(tmp_path, {**SILENT, **WARNED}[case])
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        PeftModel.from_pretrained(torch_base().float(), tmp_path)
    assert bool(said) is (case in WARNED), [str(one.message) for one in said]
    with pytest.raises(FileError) as error:
        load_peft(tmp_path, layer_arrays(arrays_of(torch_base()), turned=False))
    assert str(tmp_path) in str(error.value)
