"""`lora-ref adapter`: what each action prints and writes."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lora_ref.checkpoint import load_peft, read_safetensors, save_peft, write_safetensors
from lora_ref.cli import main
from lora_ref.layers import LoRALinear


@pytest.fixture
def layer(rng):
    return LoRALinear(*(rng.standard_normal(s) for s in ((5, 4), (2, 4), (5, 2))), alpha=3.0)


@pytest.fixture
def files(layer, tmp_path):
    """An adapter, its base, and the base trained whole."""
    save_peft(tmp_path / "adapter", {"fc": layer}, base="some base")
    base = {"fc.weight": layer.W0, "fc.bias": np.zeros(5)}
    write_safetensors(tmp_path / "base.safetensors", base)
    tuned = {"fc.weight": layer.W0 + layer.delta_w, "fc.bias": np.ones(5)}
    write_safetensors(tmp_path / "tuned.safetensors", tuned)
    return tmp_path


def said(capsys, *arguments):
    status = main(["adapter", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_inspect_prints_each_update_and_what_is_odd(files, layer, capsys):
    status, out, _ = said(capsys, "inspect", files / "adapter")
    assert status == 0
    assert out.startswith("LoRA on 1 layers of some base; 18 numbers; scaling is alpha / r\n")
    row = out.splitlines()[3].split()
    assert row[:6] == ["fc", "5", "x", "4", "2", "1.5"]
    assert row[8] == f"{np.linalg.norm(layer.delta_w):.3g}"
    assert out.endswith("What is odd about it:\n- nothing\n")


def test_inspect_in_json_has_all_singular_values(files, layer, capsys):
    status, out, _ = said(capsys, "inspect", files / "adapter", "--json")
    (one,) = json.loads(out)["updates"]
    assert status == 0
    assert_allclose(one["sigma"], np.linalg.svd(layer.delta_w, compute_uv=False)[:2])


def test_merge_writes_the_base_with_the_update(files, layer, capsys):
    target = files / "merged.safetensors"
    status, out, _ = said(
        capsys, "merge", files / "base.safetensors", files / "adapter", "--out", target
    )
    assert (status, "2 arrays, 1 layers changed: fc" in out) == (0, True)
    assert_allclose(read_safetensors(target)["fc.weight"], layer.W0 + layer.delta_w)


def test_what_a_configuration_asks_for_in_vain_is_said(files, capsys):
    config = files / "adapter" / "adapter_config.json"
    options = json.loads(config.read_text())
    config.write_text(json.dumps({**options, "target_modules": ["fc", "fd"]}))
    merge = "merge", files / "base.safetensors", files / "adapter", "--out", files / "merged"
    status, out, err = said(capsys, *merge, "--json")
    assert (status, json.loads(out)["changed"]) == (0, ["fc"])
    assert err == (
        f"lora-ref: {files / 'adapter'}: target_modules has 'fd', which is no layer of the base\n"
    )
    _, out, _ = said(capsys, "inspect", files / "adapter")
    assert out.endswith(
        "is odd about it:\n- target_modules has 'fd', which is no layer that is stored\n"
    )
    config.write_text(json.dumps({**options, "alpha_pattern": {"fd": 1}}))
    _, out, _ = said(capsys, "inspect", files / "adapter")
    assert out.endswith("is odd about it:\n- alpha_pattern has 'fd', which fits no adapted layer\n")
    for action in (("combine", "--out"), ("convert", "--to", "mlx-lm", "--out")):
        name, *more = action
        status, _, err = said(capsys, name, files / "adapter", *more, files / "x")
        assert (status, "is not used in full: alpha_pattern has 'fd'" in err) == (2, True)


def test_extract_gives_the_adapter_back_with_its_error_and_bound(files, layer, capsys):
    models = files / "base.safetensors", files / "tuned.safetensors"
    out_folder = files / "extracted"
    status, out, _ = said(capsys, "extract", *models, "--rank", 2, "--out", out_folder)
    assert (status, "changed too, and not in it: fc.bias" in out) == (0, True)
    loaded = load_peft(out_folder, {"fc.weight": layer.W0})["fc"]
    assert_allclose(loaded.delta_w, layer.delta_w, atol=1e-12)
    _, out, _ = said(capsys, "extract", *models, "--rank", 1, "--out", out_folder, "--json")
    (one,) = json.loads(out)["updates"]
    sigma = np.linalg.svd(layer.delta_w, compute_uv=False)
    assert one["error"] == pytest.approx(sigma[1])
    assert one["bound"] == pytest.approx(sigma[1])


def test_combine_adds_up_and_says_what_a_cut_leaves_out(files, layer, capsys):
    folder = files / "adapter"
    status, out, _ = said(
        capsys, "combine", folder, folder, "--weights", "0.5,-0.25", "--out", files / "sum"
    )
    assert (status, "1 layers, the sum exactly" in out) == (0, True)
    loaded = load_peft(files / "sum", {"fc.weight": layer.W0})["fc"]
    assert_allclose(loaded.delta_w, 0.25 * layer.delta_w)
    _, out, _ = said(capsys, "combine", folder, "--rank", 1, "--out", files / "sum", "--json")
    sigma = np.linalg.svd(layer.delta_w, compute_uv=False)
    assert json.loads(out)["left out"] == pytest.approx(sigma[1] / np.linalg.norm(sigma))


def test_convert_goes_to_another_layout_and_back(files, layer, capsys):
    there, back = files / "mlx.safetensors", files / "back"
    status, out, _ = said(capsys, "convert", files / "adapter", "--to", "mlx-lm", "--out", there)
    assert (status, "3 arrays and numbers, such as fc.lora_a" in out) == (0, True)
    assert read_safetensors(there)["fc.lora_a"].shape == (4, 2)
    status, out, _ = said(capsys, "convert", there, "--from", "mlx-lm", "--out", back, "--json")
    assert (status, json.loads(out)["written"]) == (0, ["fc"])
    loaded = load_peft(back, {"fc.weight": layer.W0})["fc"]
    assert_allclose(loaded.delta_w, layer.delta_w)


def test_what_cannot_be_done_is_a_sentence_and_writes_nothing(files, capsys):
    for arguments, sentence in (
        (("inspect", files / "nothing"), "cannot be read: No such file"),
        (("merge", files / "nothing", files / "adapter", "--out", files / "x"), "cannot be read"),
        (("combine", files / "adapter", "--weights", "a", "--out", files / "x"), "--weights is a"),
        (
            ("combine", files / "adapter", "--weights", "1,2", "--out", files / "x"),
            "there are 2 weights for 1 adapters",
        ),
    ):
        status, out, err = said(capsys, *arguments)
        assert (status, out) == (2, "")
        assert sentence in err
    assert not (files / "x").exists()
