"""QLoRA: LoRA over a weight in few bits, and what each way of merging does to it."""

import tracemalloc
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layer_examples import examples
from numpy.testing import assert_allclose, assert_array_equal
from strategies import lora_problems

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import EXACT_TOLERANCE, gradient_errors
from lora_ref.layers.initializers import pissa
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear
from lora_ref.layers.qlora import QLoRALinear
from lora_ref.quantize import QuantizedArray, quantize


@st.composite
def qlora_problems(
    draw: st.DrawFn, **options: Any
) -> tuple[QLoRALinear, LoRALinear, Array, np.random.Generator]:
    """A QLoRA layer, the LoRA layer it was made from, rows for them, and a generator."""
    whole, x, rng = draw(lora_problems(**options))
    layer = QLoRALinear.from_lora(
        whole,
        draw(st.sampled_from(["nf4", "int4", "int8"])),
        block_size=draw(st.sampled_from([1, 5, 64, None])),
        double=draw(st.booleans()),
    )
    return layer, whole, x, rng


def drawn(rng: np.random.Generator, size_of_B: float = 1.0, **options: Any) -> QLoRALinear:
    """A float32 layer of 96 to 64 features; its B is random, of the size that is asked for."""
    W0 = rng.standard_normal((64, 96), dtype=np.float32)
    layer = QLoRALinear.init(W0, 4, 8.0, rng, **options)
    B = size_of_B * rng.standard_normal(layer.B.shape, dtype=np.float32)
    return layer.with_params({"B": B})


def dequantisings(monkeypatch: pytest.MonkeyPatch) -> list[QuantizedArray]:
    """A list that grows with every dequantised matrix."""
    calls, plain = [], QuantizedArray.dequantize

    def counted(self: QuantizedArray, *args: Any) -> Array:
        if len(self.shape) == 2:  # absmax has one axis
            calls.append(self)
        return plain(self, *args)

    monkeypatch.setattr(QuantizedArray, "dequantize", counted)
    return calls


# passes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@given(data=st.data(), masked=st.booleans())
def test_passes_are_those_of_lora_over_the_dequantised_weight_bit_for_bit(
    dtype: Any, data: st.DataObject, masked: bool
) -> None:
    layer, whole, x, rng = data.draw(qlora_problems(dtype=dtype))
    full = replace(whole, W0=quantize_like(layer.W0, whole.W0).dequantize())
    keywords = {"mask": (2.0 * (rng.random(x.shape) < 0.5)).astype(dtype)} if masked else {}
    y, cache = layer.forward(x, **keywords)
    expected, expected_cache = full.forward(x, **keywords)
    assert y.dtype == dtype
    assert_array_equal(y, expected)
    grad_y = rng.standard_normal(y.shape).astype(dtype)
    grad_x, grads = layer.backward(grad_y, cache)
    expected_x, expected_grads = full.backward(grad_y, expected_cache)
    assert_array_equal(grad_x, expected_x)
    assert list(grads) == ["A", "B"] == list(layer.trainable)
    for name, grad in grads.items():
        assert grad.dtype == dtype
        assert_array_equal(grad, expected_grads[name])


def quantize_like(q: QuantizedArray, array: Array) -> QuantizedArray:
    return quantize(array, q.kind, block_size=q.block_size, double=q.double)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("leading", [(3,), (1,), (2, 3)])
def test_gradients_pass_the_checker(
    dtype: Any, leading: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = rng.standard_normal((*leading, 7)).astype(dtype)
    made = examples(QLoRALinear, x, 5, rng)
    assert {layer.W0.kind for layer, _ in made} == {"nf4", "int4", "int8"}
    assert {layer.W0.double for layer, _ in made} == {False, True}
    assert {len(keywords) for _, keywords in made} == {0, 1}
    for layer, keywords in made:
        errors = gradient_errors(layer, x, rng, **keywords)
        assert errors.keys() == {"x", *layer.trainable}
        assert max(errors.values()) <= EXACT_TOLERANCE


def test_a_backward_through_the_weight_before_quantisation_is_caught(
    rng: np.random.Generator,
) -> None:
    W0 = rng.standard_normal((5, 7))

    class ThroughOriginal(QLoRALinear):
        def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
            return replace(self.dequantized(), W0=W0).backward(grad_y, cache)

    right = QLoRALinear.from_lora(
        LoRALinear(W0, rng.standard_normal((2, 7)), rng.standard_normal((5, 2)), alpha=3)
    )
    wrong = ThroughOriginal(**vars(right))
    x = rng.standard_normal((3, 7))
    assert max(gradient_errors(right, x, rng).values()) <= EXACT_TOLERANCE
    errors = gradient_errors(wrong, x, rng)
    assert errors["x"] > 1e-3
    assert max(errors["A"], errors["B"]) <= EXACT_TOLERANCE


def test_each_pass_dequantises_once_and_keeps_nothing(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = drawn(rng)
    x, before = rng.standard_normal((2, 96), dtype=np.float32), vars(layer).copy()
    layer.backward(*layer.forward(x))  # whatever NumPy allocates once
    calls = dequantisings(monkeypatch)
    tracemalloc.start()
    y, cache = layer.forward(x)
    assert len(calls) == 1
    result = layer.backward(y, cache)
    assert len(calls) == 2
    calls.clear()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weight = 64 * 96 * 4
    assert kept < 0.5 * weight < weight < peak
    assert vars(layer) == before
    assert len(result) == 2


def test_the_update_alone_takes_no_dequantising(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = drawn(rng)
    calls = dequantisings(monkeypatch)
    assert_allclose(layer.delta_w, 2.0 * layer.B @ layer.A, rtol=1e-6)
    assert layer.scaling == 2.0
    assert replace(layer, rank_stabilized=True).scaling == 4.0
    assert_allclose(
        replace(layer, rank_stabilized=True).delta_w, 4.0 * layer.B @ layer.A, rtol=1e-6
    )
    assert not calls


def test_nothing_of_the_weight_can_be_written_to(rng: np.random.Generator) -> None:
    layer = replace(drawn(rng), bias=np.ones(64, np.float32))
    assert isinstance(layer.W0.absmax, QuantizedArray)
    assert layer.bias is not None
    for array in (
        layer.W0.codes,
        layer.W0.absmax.codes,
        layer.W0.absmax.absmax,
        layer.bias,
        layer.dequantized().W0,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


def test_float32_and_float64_compute_with_the_same_weight(rng: np.random.Generator) -> None:
    layer = drawn(rng)
    in_float64 = replace(layer, A=layer.A.astype(float), B=layer.B.astype(float))
    assert in_float64.dequantized().W0.dtype == np.float64
    assert_array_equal(in_float64.dequantized().W0, layer.dequantized().W0)


def test_training_changes_the_factors_and_no_code(rng: np.random.Generator) -> None:
    layer = drawn(rng)
    codes, x = layer.W0.codes.tobytes(), rng.standard_normal((5, 96), dtype=np.float32)
    for _ in range(3):
        y, cache = layer.forward(x)
        grads = layer.backward(y, cache)[1]
        moved = layer.with_params({k: v - 1e-5 * grads[k] for k, v in layer.trainable.items()})
        assert np.linalg.norm(moved.forward(x)[0]) < np.linalg.norm(y)
        layer = moved
    assert layer.W0.codes.tobytes() == codes


# starts


def test_it_starts_at_the_quantised_weight(rng: np.random.Generator) -> None:
    W0 = rng.standard_normal((64, 96), dtype=np.float32)
    layer = QLoRALinear.init(W0, 4, 8.0, rng)
    x = rng.standard_normal((5, 96), dtype=np.float32)
    assert_array_equal(layer.forward(x)[0], x @ quantize(W0, double=True).dequantize().T)
    assert layer.W0.double
    assert layer.scaling == 2.0
    other = QLoRALinear.init(W0, 4, 8.0, rng, rank_stabilized=True, double=False)
    assert other.scaling == 4.0
    assert not other.W0.double


def test_a_start_that_changes_the_weight_changes_it_before_it_is_quantised(
    rng: np.random.Generator,
) -> None:
    # a weight with a strong part of rank 4: what PiSSA leaves of it has a smaller absmax
    W0 = rng.standard_normal((64, 96)) + 3 * rng.standard_normal((64, 4)) @ rng.standard_normal(
        (4, 96)
    )
    layer = QLoRALinear.init(W0, 4, 8.0, rng, initializer=pissa)
    whole = LoRALinear.init(W0, 4, 8.0, rng, initializer=pissa)
    assert_array_equal(layer.W0.codes, quantize(whole.W0).codes)
    error = np.linalg.norm(layer.merge().W - W0)
    assert error < 0.5 * np.linalg.norm(quantize(W0, double=True).dequantize() - W0)


def test_an_update_can_make_up_for_a_part_of_the_quantization_error(
    rng: np.random.Generator,
) -> None:
    W0 = rng.standard_normal((64, 96))
    layer = QLoRALinear.init(W0, 4, 4.0, rng)
    missing = W0 - layer.dequantized().W0
    U, s, Vh = np.linalg.svd(missing, full_matrices=False)
    made_up = layer.with_params({"A": Vh[:4].copy(), "B": U[:, :4] * s[:4]})
    left = np.linalg.norm(W0 - made_up.merge().W)
    assert left == pytest.approx(np.linalg.norm(s[4:]))
    assert left < 0.95 * np.linalg.norm(missing)


# merging


@given(qlora_problems())
def test_merged_into_the_dequantised_weight_it_is_the_same_function(
    problem: tuple[QLoRALinear, LoRALinear, Array, np.random.Generator],
) -> None:
    layer, _, x, _ = problem
    assert_allclose(layer.merge().forward(x)[0], layer.forward(x)[0], rtol=1e-9, atol=1e-9)


@given(qlora_problems())
def test_merged_into_the_original_weight_it_is_off_by_the_quantization_error(
    problem: tuple[QLoRALinear, LoRALinear, Array, np.random.Generator],
) -> None:
    layer, whole, x, _ = problem
    merged = layer.merge_into(whole.W0)
    assert_allclose(merged.W, whole.merge().W, rtol=1e-12, atol=1e-12)
    off = x @ (whole.W0 - layer.dequantized().W0).T
    assert_allclose(merged.forward(x)[0] - layer.forward(x)[0], off, rtol=1e-9, atol=1e-9)


@given(qlora_problems())
def test_quantised_again_is_quantised_in_the_same_way(
    problem: tuple[QLoRALinear, LoRALinear, Array, np.random.Generator],
) -> None:
    layer = problem[0]
    again = layer.merge_quantized()
    assert (again.kind, again.block_size, again.double, again.nbytes) == (
        layer.W0.kind,
        layer.W0.block_size,
        layer.W0.double,
        layer.W0.nbytes,
    )
    assert_array_equal(again.codes, quantize_like(layer.W0, layer.merge().W).codes)


def merge_errors(layer: QLoRALinear, W0: Array, x: Array) -> dict[str, float]:
    """Return how far y moves, relative to y, when the update is merged in each of three ways."""
    y = layer.forward(x)[0]
    merged = {
        "dequantised": layer.merge(),
        "quantised again": Linear(layer.merge_quantized().dequantize(), layer.bias),
        "original": layer.merge_into(W0),
    }
    return {
        way: float(np.linalg.norm(linear.forward(x)[0] - y) / np.linalg.norm(y))
        for way, linear in merged.items()
    }


def test_a_small_update_is_lost_when_the_merged_weight_is_quantised_again(
    rng: np.random.Generator,
) -> None:
    small, large = drawn(rng, 1e-3), drawn(rng, 1.0)
    assert np.mean(small.merge_quantized().indices != small.W0.indices) < 0.001
    assert np.mean(large.merge_quantized().indices != large.W0.indices) > 0.5
    x = rng.standard_normal((20, 96), dtype=np.float32)

    def lost(layer: QLoRALinear) -> float:
        """The error, as a share of what the update does to y."""
        error = merge_errors(layer, original(layer), x)["quantised again"]
        y = np.linalg.norm(layer.forward(x)[0])
        return float(error * y / np.linalg.norm(x @ layer.delta_w.T))

    assert lost(small) > 0.9
    assert lost(large) < 0.5


def original(layer: QLoRALinear) -> Array:
    """A weight that was never seen, of the right shape and dtype."""
    return np.ones(layer.W0.shape, layer.A.dtype)


def test_three_ways_to_merge_have_three_errors(rng: np.random.Generator) -> None:
    W0 = rng.standard_normal((64, 96), dtype=np.float32)
    layer = QLoRALinear.init(W0, 4, 8.0, rng)
    layer = layer.with_params({"B": 0.3 * rng.standard_normal((64, 4), dtype=np.float32)})
    x = rng.standard_normal((20, 96), dtype=np.float32)
    errors = merge_errors(layer, W0, x)
    assert list(errors) == ["dequantised", "quantised again", "original"]
    assert errors["dequantised"] < 1e-6
    assert 0.05 < errors["original"] < 0.15  # each is about the error of NF4 itself
    assert 0.05 < errors["quantised again"] < 0.15
    y = layer.forward(x)[0]
    again = x @ layer.merge_quantized().dequantize().T
    assert errors["quantised again"] == pytest.approx(
        float(np.linalg.norm(again - y) / np.linalg.norm(y)), rel=1e-4
    )


def test_a_bias_is_part_of_every_merge(rng: np.random.Generator) -> None:
    W0 = rng.standard_normal((64, 96), dtype=np.float32)
    bias = 100 * np.ones(64, np.float32)
    layer = QLoRALinear.init(W0, 4, 8.0, rng, bias=bias)
    x = rng.standard_normal((20, 96), dtype=np.float32)
    assert max(merge_errors(layer, W0, x).values()) < 0.05


# argument checks


def test_its_repr_is_one_short_line(rng: np.random.Generator) -> None:
    layer = replace(drawn(rng), rank_stabilized=True)
    assert repr(layer) == (
        "QLoRALinear(in_features=96, out_features=64, r=4, alpha=8, rank_stabilized, float32, "
        "W0=nf4 in 4.135 bits)"
    )


PARTS: Mapping[str, Any] = {
    "W0": quantize(np.ones((5, 7))),
    "A": np.ones((2, 7)),
    "B": np.ones((5, 2)),
    "alpha": 4,
}


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"W0": np.ones((5, 7))}, LoraRefError, "W0 .* is a ndarray, expected a QuantizedArray"),
        ({"W0": quantize(np.ones(35))}, ShapeError, r"W0 .* has shape \(35,\), expected \(out"),
        ({"A": np.ones((7, 2))}, ShapeError, "A in QLoRALinear .*; its transpose fits"),
        ({"B": np.ones((7, 2))}, ShapeError, "B in QLoRALinear .*out_features=5"),
        ({"B": np.ones((5, 2), np.float32)}, LoraRefError, "B in QLoRALinear has dtype float32"),
        ({"A": np.full((2, 7), np.nan)}, LoraRefError, "A in QLoRALinear holds nan"),
        ({"alpha": np.inf}, LoraRefError, "alpha in QLoRALinear is inf"),
        ({"bias": np.ones(7)}, ShapeError, "bias in QLoRALinear .*out_features=5"),
        (
            {
                "W0": quantize(np.full((5, 7), 1e5)),
                "A": np.ones((2, 7), np.float16),
                "B": np.ones((5, 2), np.float16),
            },
            LoraRefError,
            "largest weight in QLoRALinear is 100000.0, .* float16",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    change: dict[str, Any], error: type[Exception], says: str
) -> None:
    QLoRALinear(**PARTS)
    with pytest.raises(error, match=says):
        QLoRALinear(**{**PARTS, **change}).check()


@pytest.mark.parametrize(
    ("W0", "error", "says"),
    [
        (np.ones((7, 5)), ShapeError, "W0 in QLoRALinear.merge_into .* its transpose fits"),
        (np.ones((5, 7), np.float32), LoraRefError, "W0 in QLoRALinear.merge_into has dtype"),
        (np.full((5, 7), np.inf), LoraRefError, "W0 in QLoRALinear.merge_into holds inf"),
    ],
)
def test_a_weight_that_does_not_fit_takes_no_update(
    W0: Array, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        QLoRALinear(**PARTS).merge_into(W0)


@pytest.mark.parametrize("wrong", ["no", 1, None], ids=repr)
def test_rank_stabilized_is_a_bool_and_no_word_that_counts_as_true(wrong):
    x = np.random.default_rng(0).standard_normal((4, 7))
    layer = examples(QLoRALinear, x, 5, np.random.default_rng(1))[0][0]
    with pytest.raises(LoraRefError, match="rank_stabilized in QLoRALinear is "):
        replace(layer, rank_stabilized=wrong)
