"""Adapters looked at, merged, extracted and combined, each against plain matrices."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.checkpoint import (
    combine,
    convert_from,
    convert_to,
    extract,
    inspect,
    load_peft,
    merge,
    read_safetensors,
    save_peft,
    write_safetensors,
)
from lora_ref.checkpoint.conventions import LAYOUTS, Update
from lora_ref.checkpoint.operations import read_base
from lora_ref.errors import FileError, LoraRefError, ShapeError
from lora_ref.layers import DoRALinear, Linear, LoRALinear


def lora(rng, out_features=5, in_features=4, r=2, *, alpha=3.0, kind=LoRALinear, **options):
    shapes = (out_features, in_features), (r, in_features), (out_features, r)
    more = {"magnitude": rng.random(out_features) + 0.5} if kind is DoRALinear else {}
    return kind(*(rng.standard_normal(s) for s in shapes), **more, alpha=alpha, **options)


# ---------------------------------------------------------------------------------- looked at


@given(seed=st.integers(0, 999), r=st.integers(1, 6), stabilized=st.booleans())
def test_an_update_is_described_by_its_factors_alone(seed, r, stabilized, tmp_path_factory):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("adapter")
    layer = lora(rng, r=r, rank_stabilized=stabilized)
    save_peft(folder, {"fc": layer})
    (one,) = inspect(folder).updates
    sigma = np.linalg.svd(layer.delta_w, compute_uv=False)
    found = np.array(one.sigma)[: len(sigma)]
    assert_allclose(found, sigma[: len(found)], rtol=1e-9, atol=1e-12)
    assert one.norm == pytest.approx(np.linalg.norm(layer.delta_w))
    assert (one.out_features, one.in_features, one.r) == (5, 4, r)
    assert one.scaling == layer.scaling
    share = sigma[sigma > 1e-12] / sigma.sum()
    assert one.effective_rank == pytest.approx(np.exp(-(share * np.log(share)).sum()))


def remarks(folder, layers):
    save_peft(folder, layers)
    return " / ".join(inspect(folder).remarks)


def test_what_is_odd_is_said_and_nothing_of_what_is_usual(rng, tmp_path):
    usual = lora(rng, 6, 7, 2, alpha=4.0)
    assert remarks(tmp_path, {"a": usual, "b": usual}) == ""
    still = usual.with_params({"B": np.zeros((6, 2))})
    assert "every update is 0" in remarks(tmp_path, {"a": still})
    assert "update is 0 in 1 layers, such as b" in remarks(tmp_path, {"a": usual, "b": still})
    flat = usual.with_params({"A": np.ones((2, 7))})
    assert "a has rank 2, but 1 directions" in remarks(tmp_path, {"a": flat, "b": usual})
    loud = usual.with_params({"B": 100 * usual.B})
    assert "100 times the median" in remarks(tmp_path, {"a": loud, "b": usual, "c": usual})
    assert "more than its matrix can" in remarks(tmp_path, {"a": lora(rng, 3, 2, 4)})
    assert "scaling is 50 (alpha 100 at r = 2)" in remarks(tmp_path, {"a": lora(rng, alpha=100.0)})
    assert "scaling is -1" in remarks(tmp_path, {"a": lora(rng, alpha=-2.0)})
    head = Linear(np.ones((2, 3)))
    assert "so not of low rank: head" in remarks(tmp_path, {"a": usual, "head": head})
    free = Linear(np.ones((2, 3)), np.ones(2), train=("bias",))
    said = remarks(tmp_path, {"a": usual, "free": free})
    assert said == "biases of layers that are not adapted: free.bias"


@pytest.mark.parametrize("end", ["A", "B"])
@pytest.mark.parametrize("array", [None, np.ones(3), np.float64(1).reshape(())])
def test_without_both_factors_no_shape_is_made_up(end, array, rng, tmp_path):
    save_peft(tmp_path, {"fc": lora(rng), "other": lora(rng)})
    path, key = tmp_path / "adapter_model.safetensors", f"base_model.model.fc.lora_{end}.weight"
    arrays = {**read_safetensors(path), key: array}
    write_safetensors(path, {name: a for name, a in arrays.items() if a is not None})
    got = "not at all" if array is None else f"of shape {array.shape}"
    with pytest.raises(FileError) as said:
        inspect(tmp_path)
    assert f"lora_{end} {got}" in str(said.value)
    assert str(said.value).endswith(", expected (r, in_features) and (out_features, r)")


# ---------------------------------------------------------------------------------- merged


@pytest.mark.parametrize("kind", [LoRALinear, DoRALinear])
def test_a_merged_base_has_the_update_in_it_and_the_rest_untouched(kind, rng, tmp_path):
    layer = lora(rng, kind=kind, bias=np.ones(5))
    other = Linear(rng.standard_normal((3, 5)), train=())
    save_peft(tmp_path, {"fc": layer, "out": other})
    base = {
        "fc.weight": layer.W0,
        "fc.bias": layer.bias,
        "out.weight": other.W,
        "norm.weight": np.ones(4),
        "steps": np.array([3]),
    }
    merged, changed = merge(base, tmp_path)
    assert changed == ["fc"]
    assert merged.keys() == base.keys()
    assert_array_equal(merged["fc.weight"], layer.merge().W)
    assert np.abs(merged["fc.weight"] - layer.W0).max() > 0.1
    for name in ("fc.bias", "out.weight", "norm.weight", "steps"):
        assert_array_equal(merged[name], base[name])


def test_a_merge_that_is_not_finite_is_refused(rng, tmp_path):
    layer = lora(rng)
    save_peft(tmp_path, {"fc": layer.with_params({"B": np.full((5, 2), 1e38)})})
    base = {"fc.weight": np.full((5, 4), 3e38, np.float32)}
    with (
        np.errstate(over="ignore"),
        pytest.raises(FileError, match="gives fc an entry that is not finite"),
    ):
        merge(base, tmp_path)


def test_a_base_is_a_file_or_a_folder_with_one(rng, tmp_path):
    arrays = {"fc.weight": rng.standard_normal((2, 3))}
    write_safetensors(tmp_path / "model.safetensors", arrays)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        assert_array_equal(read_base(path)["fc.weight"], arrays["fc.weight"])
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(FileError, match="holds a model in several files"):
        read_base(tmp_path)


# ---------------------------------------------------------------------------------- extracted


@given(r=st.integers(1, 7), seed=st.integers(0, 999))
def test_an_extracted_update_is_as_near_as_any_of_its_rank(r, seed):
    rng = np.random.default_rng(seed)
    base = {"fc.weight": rng.standard_normal((6, 5)), "fc.bias": rng.standard_normal(6)}
    tuned = {name: a + rng.standard_normal(a.shape) for name, a in base.items()}
    layers, (one,), left = extract(base, tuned, r)
    change = tuned["fc.weight"] - base["fc.weight"]
    sigma = np.linalg.svd(change, compute_uv=False)
    assert one.r == min(r, 5)
    assert one.bound == pytest.approx(np.linalg.norm(sigma[one.r :]), abs=1e-12)
    assert one.error == pytest.approx(one.bound, abs=1e-12)
    distance = np.linalg.norm(change - layers["fc"].delta_w)
    assert distance == pytest.approx(one.bound, abs=1e-12)
    assert left == ["fc.bias"]


def test_what_did_not_change_or_is_not_asked_for_is_left(rng, tmp_path):
    base = {f"{name}.weight": rng.standard_normal((4, 3)) for name in ("a", "b", "c")}
    tuned = {**base, "a.weight": base["a.weight"] + 1, "b.weight": base["b.weight"] + 1}
    layers, found, left = extract(base, tuned, 1, ["a"])
    assert ([one.name for one in found], left) == (["a"], ["b.weight"])
    assert {name: type(layer) for name, layer in layers.items()} == {"a": LoRALinear, "c": Linear}
    save_peft(tmp_path, layers)
    merged, _ = merge(base, tmp_path)
    assert_allclose(merged["a.weight"], tuned["a.weight"], rtol=1e-12)  # a change of rank 1
    with pytest.raises(LoraRefError, match="no matrix that is asked for differs"):
        extract(base, base, 1)
    with pytest.raises(LoraRefError, match=r"c.weight is in the base and not in the tuned"):
        extract(base, {"a.weight": base["a.weight"], "b.weight": base["b.weight"]}, 1)
    with pytest.raises(ShapeError, match=r"a.weight has shape \(3, 4\), expected \(4, 3\)"):
        extract(base, {**base, "a.weight": base["a.weight"].T}, 1)


# ---------------------------------------------------------------------------------- combined


@given(seed=st.integers(0, 999), first=st.floats(-2, 2), second=st.floats(-2, 2))
def test_a_combination_is_the_weighted_sum_and_a_cut_the_nearest(
    seed, first, second, tmp_path_factory
):
    rng, folder = np.random.default_rng(seed), tmp_path_factory.mktemp("adapters")
    one, other, alone = lora(rng, r=2), lora(rng, r=1, alpha=-1.0), lora(rng, 3, 3, 1)
    save_peft(folder / "one", {"fc": one, "alone": alone})
    save_peft(folder / "other", {"fc": other})
    folders, weights = [folder / "one", folder / "other"], [first, second]
    layers, lost = combine(folders, weights)
    total = first * one.delta_w + second * other.delta_w
    assert lost == 0
    assert_allclose(layers["fc"].delta_w, total, atol=1e-12)
    assert_allclose(layers["alone"].delta_w, first * alone.delta_w, atol=1e-12)
    cut, lost = combine(folders, weights, 1)
    sigma = np.linalg.svd(total, compute_uv=False)
    distance = np.linalg.norm(cut["fc"].delta_w - total)
    assert distance == pytest.approx(np.linalg.norm(sigma[1:]), abs=1e-9)
    whole = np.hypot(np.linalg.norm(total), np.linalg.norm(first * alone.delta_w))
    assert lost * whole == pytest.approx(distance, abs=1e-9)


def test_a_combination_can_be_saved_and_loaded(rng, tmp_path):
    one, other = lora(rng), lora(rng)
    save_peft(tmp_path / "one", {"fc": one})
    save_peft(tmp_path / "other", {"fc": other})
    save_peft(tmp_path / "sum", combine([tmp_path / "one", tmp_path / "other"])[0])
    loaded = load_peft(tmp_path / "sum", {"fc.weight": one.W0})["fc"]
    assert_allclose(loaded.delta_w, one.delta_w + other.delta_w, rtol=1e-12)


def test_what_does_not_add_up_is_named(rng, tmp_path):
    save_peft(tmp_path / "lora", {"fc": lora(rng)})
    save_peft(tmp_path / "dora", {"fc": lora(rng, kind=DoRALinear)})
    save_peft(tmp_path / "wide", {"fc": lora(rng, 6, 4)})
    with pytest.raises(FileError, match=r"dora has more than LoRA factors in fc: DoRALinear"):
        combine([tmp_path / "lora", tmp_path / "dora"])
    with pytest.raises(ShapeError, match=r"fc is \[\(5, 4\), \(6, 4\)\] in the adapters"):
        combine([tmp_path / "lora", tmp_path / "wide"])
    with pytest.raises(LoraRefError, match="there are 1 weights for 2 adapters"):
        combine([tmp_path / "lora", tmp_path / "lora"], [1.0])


# ---------------------------------------------------------------------------------- converted

SINGLE = [n for n, one in LAYOUTS.items() if len(one.enable) == 1 and one.axis != "in"]


@pytest.mark.parametrize("layout", SINGLE)
def test_an_adapter_goes_into_every_layout_and_comes_back(layout, rng, tmp_path):
    kind = DoRALinear if LAYOUTS[layout].magnitude else LoRALinear
    layers = {"a.fc": lora(rng, kind=kind), "b": lora(rng, 3, 6, 1, kind=kind)}
    save_peft(tmp_path / "one", layers)
    write_safetensors(tmp_path / "file", convert_to(tmp_path / "one", layout))
    back = convert_from(read_safetensors(tmp_path / "file"), layout)
    assert back.keys() == layers.keys()
    for name, layer in layers.items():
        got, expected = Update.of(back[name]), Update.of(layer)
        assert_allclose(got.delta_w, expected.delta_w, rtol=1e-12)
        if kind is DoRALinear:
            assert_array_equal(back[name].magnitude, layer.magnitude)


def test_a_number_that_is_not_in_the_file_is_asked_for(rng, tmp_path):
    layer = lora(rng)
    save_peft(tmp_path / "one", {"fc": layer})
    arrays = convert_to(tmp_path / "one", "loralib")
    del arrays["fc.lora_alpha"]
    with pytest.raises(LoraRefError, match="fc has no lora_alpha, which loralib keeps in the cons"):
        convert_from(arrays, "loralib")
    assert_allclose(convert_from(arrays, "loralib", 3.0)["fc"].delta_w, layer.delta_w)
    with pytest.raises(LoraRefError, match=r"there is no layout 'loralip'.*loralib"):
        convert_to(tmp_path / "one", "loralip")
    with pytest.raises(LoraRefError, match=r"fc.other is none of what loralib keeps"):
        convert_from({"fc.other": np.ones(2)}, "loralib")
    save_peft(tmp_path / "biased", {"fc": lora(rng, bias=np.ones(5), train=("A", "B", "bias"))})
    with pytest.raises(FileError, match="has more than factors in fc: LoRALinear"):
        convert_to(tmp_path / "biased", "loralib")
