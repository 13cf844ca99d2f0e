"""Codes and block constants: nearest levels, bounds on the error, bits in memory."""

import copy
import pickle
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import seeds

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck.passes import in_float64
from lora_ref.quantize import QuantizedArray, bits_per_weight, levels_of, quantize
from lora_ref.quantize import array as module
from lora_ref.quantize.levels import nf4_thresholds

EPS = float(np.finfo(np.float32).eps)
SUBNORMAL = {np.float16: 2.0**-24, np.float32: 2.0**-149}
KINDS = ["nf4", "int4", "int8"]
ZERO = {"nf4": 7, "int4": 7, "int8": 127}


@st.composite
def arrays(draw: st.DrawFn) -> tuple[Array, int]:
    """A matrix and a block size, of which it seldom is a multiple; sizes and a seed are drawn."""
    shape, rng = draw(st.tuples(*2 * [st.integers(1, 12)])), np.random.default_rng(draw(seeds))
    dtype = draw(st.sampled_from([np.float16, np.float32, np.float64]))
    scale = draw(st.sampled_from([1e-3, 1.0, 100.0]))
    return (scale * rng.standard_normal(shape)).astype(dtype), draw(st.integers(1, 20))


def absmax_of_each(q: QuantizedArray) -> Array:
    """The constant of each value's block, in float64 and the shape of the array."""
    spread = np.repeat(q.block_absmax.astype(np.float64), q.block_size)
    return spread[: q.size].reshape(q.shape)


def reach(levels: Array) -> Array:
    """How far from each level a value in [-1, 1] can be that has it as its nearest."""
    halves = np.diff(levels.astype(np.float64)) / 2
    return np.maximum(np.append(halves, 0.0), np.insert(halves, 0, 0.0))


def one_block(*values: float) -> Array:
    return np.array(values, np.float32)


def test_levels_are_not_used_equally_on_normal_data(rng: np.random.Generator) -> None:
    q = quantize(rng.standard_normal((1000, 1280), dtype=np.float32))
    usage = np.bincount(q.indices.reshape(-1), minlength=16) / q.size
    entropy = -(usage * np.log2(usage)).sum()
    assert usage.min() == pytest.approx(0.017, abs=0.0005)
    assert usage.max() == pytest.approx(0.092, abs=0.0005)
    assert entropy == pytest.approx(3.88, abs=0.005)


# codes


@given(arrays())
def test_every_code_is_the_nearest_level(problem: tuple[Array, int]) -> None:
    array, block_size = problem
    for kind in KINDS:
        q = quantize(array, kind, block_size=block_size)
        flat = array.astype(np.float32).reshape(-1)
        for start in range(0, array.size, block_size):
            block = flat[start : start + block_size]
            assert q.block_absmax[start // block_size] == np.abs(block).max()
            x = (block / np.abs(block).max()).astype(np.float64)
            distance = np.abs(x[:, None] - q.levels)
            codes = q.indices.reshape(-1)[start : start + block_size]
            chosen = distance[np.arange(len(block)), codes]
            # exact but where x is within rounding of a threshold
            assert (chosen <= distance.min(axis=1) + EPS).all()


def test_halfway_between_two_levels_nf4_takes_the_lower() -> None:
    q = quantize(np.append(nf4_thresholds(), np.float32(1)))
    assert_array_equal(q.indices, np.append(np.arange(15), 15))
    above = np.nextafter(nf4_thresholds(), np.float32(2))
    assert_array_equal(quantize(np.append(above, np.float32(1))).indices[:-1], np.arange(1, 16))


def test_halfway_between_two_integers_int4_takes_the_even_one() -> None:
    q = quantize(one_block(7, 0.5, 1.5, 2.5, -0.5, -1.5), "int4")
    assert_array_equal(q.indices.astype(int) - 7, [7, 0, 2, 2, 0, -2])


def test_two_codes_share_a_byte_the_first_in_the_high_nibble() -> None:
    assert quantize(one_block(-1, 1)).codes.tolist() == [0x0F]
    assert quantize(one_block(1, -1)).codes.tolist() == [0xF0]
    assert quantize(one_block(1, -1), "int4").codes.tolist() == [0xE0]
    assert quantize(one_block(1, -1), "int8").codes.tolist() == [254, 0]


def test_the_spare_nibble_of_an_odd_size_is_the_code_of_zero() -> None:
    assert quantize(one_block(1, -1, 1)).codes.tolist() == [0xF0, 0xF7]


@given(arrays())
def test_what_comes_back_is_level_times_absmax_rounded_to_float32(
    problem: tuple[Array, int],
) -> None:
    array, block_size = problem
    for kind in KINDS:
        for double in (False, True):
            q = quantize(array, kind, block_size=block_size, double=double)
            product = (q.levels[q.indices] * absmax_of_each(q)).astype(np.float32)
            back = q.dequantize()
            assert back.shape == array.shape
            assert back.dtype == array.dtype
            assert_array_equal(back, product.astype(array.dtype))
            assert_array_equal(q.dequantize(np.dtype(np.float64)), product)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block_size", [1, 3, 5, 64, None])
def test_chunks_do_not_show(
    kind: str, block_size: int, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for size in (1, 2, 29, 30, 200):
        array = rng.standard_normal(size).astype(np.float32)
        whole = quantize(array, kind, block_size=block_size, double=True)
        back = whole.dequantize()
        with monkeypatch.context() as patch:
            patch.setattr(module, "CHUNK", 9)  # three blocks of 3: an odd number of both
            parts = quantize(array, kind, block_size=block_size, double=True)
            assert_array_equal(parts.codes, whole.codes, f"{size} numbers")
            assert_array_equal(parts.block_absmax, whole.block_absmax, f"{size} numbers")
            assert_array_equal(parts.dequantize(), back, f"{size} numbers")


def test_a_large_matrix_is_worked_on_in_several_chunks(rng: np.random.Generator) -> None:
    array = rng.standard_normal((501, 263)).astype(np.float32)
    assert array.size > 2 * module.CHUNK
    q = quantize(array)
    assert_array_equal(q.block_absmax[-1], np.abs(array.reshape(-1)[-(array.size % 64) :]).max())
    assert (
        np.abs(q.dequantize() - array).max() <= reach(levels_of("nf4")).max() * np.abs(array).max()
    )
    assert_array_equal(q.indices[0, :64], quantize(array[0, :64]).indices)
    assert_array_equal(
        q.indices.reshape(-1)[-(array.size % 64) :],
        quantize(array.reshape(-1)[-(array.size % 64) :]).indices,
    )


def test_a_matrix_in_another_memory_order_has_the_same_codes(rng: np.random.Generator) -> None:
    array = rng.standard_normal((5, 14)).astype(np.float32)
    for other in (np.asfortranarray(array), np.repeat(array, 2, axis=1)[:, ::2]):
        assert_array_equal(quantize(other, block_size=4).codes, quantize(array, block_size=4).codes)
        assert_array_equal(quantize(other).dequantize(), quantize(array).dequantize())


# error


@given(arrays())
def test_error_stays_below_the_reach_of_the_level(problem: tuple[Array, int]) -> None:
    array, block_size = problem
    array = array.astype(np.float32)
    for kind in KINDS:
        q = quantize(array, kind, block_size=block_size)
        error = np.abs(q.dequantize(np.dtype(np.float64)) - array)
        allowed = reach(q.levels)[q.indices] + 2 * EPS  # of the two roundings on the way
        assert (error <= allowed * absmax_of_each(q)).all()


def test_the_widest_gap_of_nf4_is_met() -> None:
    # halfway between -1 and the next level: no bound below half of that gap would hold
    q = quantize(one_block(1, nf4_thresholds()[0]))
    error = abs(float(q.dequantize()[1]) - float(nf4_thresholds()[0]))
    assert error == pytest.approx(reach(levels_of("nf4")).max(), rel=1e-6)
    assert error == pytest.approx(0.152, abs=0.0005)


@pytest.mark.parametrize(("kind", "largest"), [("int4", 7), ("int8", 127)])
def test_integers_are_symmetric_and_their_error_is_at_most_half_a_step(
    kind: Any, largest: int, rng: np.random.Generator
) -> None:
    array = rng.standard_normal((31, 67)).astype(np.float32)
    q = quantize(array, kind, block_size=50)
    integers = q.indices.astype(int) - largest
    assert integers.min() == -largest
    assert integers.max() == largest
    assert_array_equal(
        quantize(-array, kind, block_size=50).indices.astype(int) - largest, -integers
    )
    step = absmax_of_each(q) / largest
    error = np.abs(q.dequantize(np.dtype(np.float64)) - array)
    assert (error <= step * (0.5 + 2 * largest * EPS)).all()
    assert (error > 0.49 * step).any()


def test_one_absmax_for_the_whole_array_costs_accuracy(rng: np.random.Generator) -> None:
    array = rng.standard_normal((40, 64)).astype(np.float32)
    for kind in KINDS:
        whole, blocks = quantize(array, kind, block_size=None), quantize(array, kind)
        assert_array_equal(whole.block_absmax, [np.abs(array).max()])
        assert whole.nbytes < blocks.nbytes
        errors = [np.linalg.norm(q.dequantize() - array) for q in (whole, blocks)]
        assert errors[0] > 1.1 * errors[1]


def test_nf4_errs_less_than_int4_on_normal_data(rng: np.random.Generator) -> None:
    array = rng.standard_normal((100, 640)).astype(np.float32)
    nf4, int4 = (np.linalg.norm(quantize(array, k).dequantize() - array) for k in ("nf4", "int4"))
    assert nf4 < 0.9 * int4


# the ends of the range


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("double", [False, True])
def test_a_block_of_zeros_comes_back_as_zeros(kind: str, double: bool) -> None:
    array = np.zeros((3, 64), np.float32)
    array[1] = np.linspace(-2, 3, 64)
    array[0, 0] = -0.0
    q = quantize(array, kind, double=double)
    assert_array_equal(q.indices[[0, 2]], np.full((2, 64), ZERO[kind]))
    assert_array_equal(q.dequantize()[[0, 2]], np.zeros((2, 64)))
    assert q.dequantize()[1].any()


@given(seed=seeds)
def test_one_number_comes_back_exactly(seed: int) -> None:
    array = np.random.default_rng(seed).standard_normal((1, 1)).astype(np.float32)
    for kind in KINDS:
        q = quantize(array, kind)
        assert q.codes.shape == (1,)
        assert_array_equal(q.dequantize(), array)


@each("kind", KINDS)
@each("double", [False, True])
@each("size", [SUBNORMAL[np.float32], 1e-42, 1e-38, 1e38, float(np.finfo(np.float32).max)])
def test_the_smallest_and_the_largest_float32_stay_finite_and_near(
    kind: str, double: bool, size: float, rng: np.random.Generator
) -> None:
    array = (size * rng.uniform(-1, 1, 640)).astype(np.float32)
    array[::64] = size
    array[1] = -size
    q = quantize(array, kind, double=double)
    back = q.dequantize(np.dtype(np.float64))
    allowed = reach(q.levels).max() + (1 / 127 if double else 0) + 4 * EPS
    assert np.isfinite(back).all()
    assert np.abs(back - array).max() <= allowed * size + SUBNORMAL[np.float32]


def test_float64_is_rounded_to_float32_first() -> None:
    array = np.array([[1 / 3, 1e-300, -0.1]])
    q = quantize(array)
    assert_array_equal(q.absmax, [np.float32(1 / 3)])
    assert q.dequantize().dtype == np.float64
    assert_array_equal(q.dequantize()[0, :2], [np.float32(1 / 3), 0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_what_is_not_finite_is_refused_and_located(bad: float, dtype: Any) -> None:
    array = np.ones((4, 50), dtype)
    array[2, 30] = bad
    with pytest.raises(LoraRefError, match=r"array in quantize holds -?(nan|inf) at \(2, 30\)"):
        quantize(array)


def test_a_value_beyond_float32_is_refused() -> None:
    with pytest.raises(LoraRefError, match=r"largest magnitude .* is 1e\+39.*finite in float32"):
        quantize(np.array([1.0, -1e39]))


# idempotence


@given(arrays())
def test_quantising_again_gives_the_same_codes_and_absmax(problem: tuple[Array, int]) -> None:
    array, block_size = problem
    for kind in KINDS:
        for signed in (array, -array, -np.abs(array)):  # of each sign at the largest magnitude
            once = quantize(signed, kind, block_size=block_size)
            again = quantize(once.dequantize(), kind, block_size=block_size)
            assert_array_equal(again.codes, once.codes)
            assert_array_equal(
                again.block_absmax.view(np.uint32), once.block_absmax.view(np.uint32)
            )
            assert_array_equal(again.dequantize(), once.dequantize())


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("kind", KINDS)
def test_among_subnormals_one_value_is_the_only_exception(kind: Any, dtype: Any) -> None:
    # every absmax of few smallest steps, with every value below it; with more steps than 1/gap,
    # which is 13 for the narrowest gap of NF4, rounding cannot reach another level's half
    changed = []
    for absmax in range(1, 140):
        steps = np.arange(-absmax, absmax + 1)
        once = quantize((SUBNORMAL[dtype] * steps).astype(dtype), kind, block_size=None)
        again = quantize(once.dequantize(), kind, block_size=None)
        assert_array_equal(again.absmax, once.absmax)
        changed += [(absmax, int(s)) for s in steps[again.indices != once.indices]]
        thrice = quantize(again.dequantize(), kind, block_size=None)
        assert_array_equal(thrice.codes, again.codes)
    assert changed == ([(5, -4)] if kind == "nf4" else [])


def test_with_double_quantisation_the_constants_move_when_quantised_again(
    rng: np.random.Generator,
) -> None:
    once = quantize(rng.standard_normal((64, 160)).astype(np.float32), double=True)
    again = quantize(once.dequantize(), double=True)
    assert_array_equal(again.codes, once.codes)
    assert not np.array_equal(again.block_absmax, once.block_absmax)


# double quantisation and memory


@given(seed=seeds, blocks=st.integers(1, 600))
def test_double_quantisation_errs_by_half_a_step_of_int8_at_most(seed: int, blocks: int) -> None:
    array = np.random.default_rng(seed).standard_normal((blocks, 4)).astype(np.float32)
    plain, double = (quantize(array, block_size=4, double=d) for d in (False, True))
    assert_array_equal(double.codes, plain.codes)
    absmax = plain.block_absmax.astype(np.float64)
    assert double.mean == float(np.float32(absmax.mean()))
    for start in range(0, blocks, 256):
        block = absmax[start : start + 256]
        step = np.abs(block - double.mean).max() / 127
        error = np.abs(double.block_absmax[start : start + 256] - block)
        assert error.max() <= 0.5 * step + 4 * EPS * absmax.max()


def test_a_rounded_absmax_never_turns_signs_round() -> None:
    array = np.ones((300, 2), np.float32)
    array[7] = 1e-3  # of a block far below the mean: its rounded constant would be negative
    array[8] = 1000
    q = quantize(array, block_size=2, double=True)
    assert (q.block_absmax >= 0).all()
    assert q.block_absmax[7] == 0
    assert isinstance(q.absmax, QuantizedArray)
    assert (q.absmax.dequantize() + q.mean).min() < 0


def test_constants_with_a_large_mean_stay_finite() -> None:
    q = replace(MADE_DOUBLE, absmax=quantize(np.full(15, 3e38)), mean=3e38)
    assert_array_equal(q.dequantize(), np.full((3, 300), np.finfo(np.float32).max))


def test_a_block_larger_than_the_array_takes_no_memory_of_its_own() -> None:
    q = quantize(one_block(1, -1, 1), block_size=10**15)
    assert q.nbytes == 2 + 4
    assert_array_equal(q.dequantize(), [1, -1, 1])


def test_bits_a_weight_are_the_formula_and_the_rounding_at_the_end() -> None:
    assert bits_per_weight() == 4.5
    assert bits_per_weight(double=True) == 4 + 8 / 64 + 32 / (64 * 256) == 4.126953125
    assert f"{bits_per_weight() - bits_per_weight(double=True):.3f}" == "0.373"
    assert bits_per_weight(8, block_size=256) == 8.125
    array = np.ones((256, 512), np.float32)  # whole blocks of blocks
    assert quantize(array).bits_per_weight == bits_per_weight()
    mean = 32 / array.size
    assert quantize(array, double=True).bits_per_weight == bits_per_weight(double=True) + mean
    assert quantize(array, "int4").bits_per_weight == bits_per_weight(4)
    assert quantize(array, "int8").bits_per_weight == bits_per_weight(8)
    assert quantize(array, "int8", block_size=None).bits_per_weight == 8 + 32 / array.size


@given(arrays())
def test_nbytes_are_those_of_the_arrays(problem: tuple[Array, int]) -> None:
    array, block_size = problem
    q = quantize(array, block_size=block_size, double=True)
    assert isinstance(q.absmax, QuantizedArray)
    assert isinstance(q.absmax.absmax, np.ndarray)
    blocks = -(-array.size // block_size)
    assert q.codes.nbytes == (array.size + 1) // 2
    assert q.absmax.codes.nbytes == blocks
    assert q.absmax.absmax.nbytes == 4 * -(-blocks // 256)
    parts = q.codes.nbytes + q.absmax.codes.nbytes + q.absmax.absmax.nbytes + 4
    assert q.nbytes == parts
    assert q.bits_per_weight == 8 * parts / array.size


# the object


@given(arrays())
def test_a_copy_in_float64_dequantises_to_the_same_bits(problem: tuple[Array, int]) -> None:
    array, block_size = problem
    for double in (False, True):
        q = quantize(array, block_size=block_size, double=double)
        copy = in_float64(q)
        assert isinstance(copy, QuantizedArray)
        assert copy.nbytes == q.nbytes
        assert_array_equal(copy.dequantize(), q.dequantize())


def test_nothing_in_it_can_be_written_to_and_nothing_given_is_changed(
    rng: np.random.Generator,
) -> None:
    array = rng.standard_normal((5, 70)).astype(np.float32)
    before = array.copy()
    q = quantize(array, double=True)
    q.dequantize()[:] = 0
    assert_array_equal(array, before)
    assert isinstance(q.absmax, QuantizedArray)
    for inside in (q.codes, q.absmax.codes, q.absmax.absmax, quantize(array).absmax):
        assert not inside.flags.writeable


@pytest.mark.parametrize("again", [copy.deepcopy, lambda q: pickle.loads(pickle.dumps(q))])
def test_a_copy_and_a_pickle_stay_read_only(again: Any) -> None:
    twin = again(MADE_DOUBLE)
    assert repr(twin) == repr(MADE_DOUBLE)
    assert_array_equal(twin.dequantize(), MADE_DOUBLE.dequantize())
    for inside in (twin.codes, twin.absmax.codes, twin.absmax.absmax):
        assert not inside.flags.writeable


def test_its_repr_is_one_short_line() -> None:
    q = quantize(np.ones((512, 512), np.float32), double=True)
    assert repr(q) == (
        "QuantizedArray(nf4, shape=(512, 512), block_size=64, double, float32, 4.127 bits a weight)"
    )


MADE = quantize(np.ones((3, 30), np.float32), "int4")
MADE_DOUBLE = quantize(np.ones((3, 300), np.float32), double=True)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"kind": "fp4"}, LoraRefError, "kind .* is 'fp4', expected one of: nf4, int4, int8"),
        ({"kind": ["nf4"]}, LoraRefError, "kind .* expected one of"),
        ({"codes": MADE.codes[1:]}, ShapeError, r"codes .* \(44,\), expected \(45,\)"),
        ({"codes": MADE.codes.astype(int)}, LoraRefError, "codes .* int64, expected .* uint8"),
        ({"codes": [0] * 45}, LoraRefError, "codes .* list, expected .* uint8"),
        ({"codes": MADE.codes | 15}, LoraRefError, "codes .* holds 15, expected at most 14"),
        ({"absmax": -np.ones(2)}, LoraRefError, "absmax .* holds -1.0, expected no negative"),
        ({"absmax": np.ones(3)}, ShapeError, "absmax .* expected .*blocks=2"),
        ({"absmax": np.array([1.0, np.nan])}, LoraRefError, "absmax .* holds nan"),
        ({"absmax": np.array([1.0, 1e39])}, LoraRefError, "absmax .* finite in float32"),
        ({"absmax": np.array([1.0, 1 / 3])}, LoraRefError, "absmax .* between those of float32"),
        ({"absmax": MADE_DOUBLE.absmax}, ShapeError, r"absmax .* \(15,\), expected \(2,\)"),
        ({"block_size": 0}, LoraRefError, "block_size .* is 0"),
        ({"shape": (3, 0)}, LoraRefError, "an axis of shape .* is 0"),
        ({"dtype": np.dtype(int)}, LoraRefError, "dtype .* int64, expected a floating-point dtype"),
        ({"shape": 90}, LoraRefError, "shape .* is 90, expected a tuple of axes"),
        ({"mean": float("nan")}, LoraRefError, "mean .* is nan"),
        ({"mean": 0.5}, LoraRefError, "mean .* is 0.5, expected 0: absmax is not quantised"),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    change: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        replace(MADE, **change)


def test_a_shape_in_a_list_becomes_a_tuple() -> None:
    assert replace(MADE, shape=[np.int64(3), 30]).shape == (3, 30)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"array": [1.0]}, "array in quantize is a list"),
        ({"array": np.arange(3)}, "array in quantize has dtype int64"),
        ({"array": np.empty((0, 3))}, "array in quantize is empty"),
        ({"kind": "NF4"}, "kind in quantize is 'NF4'"),
        ({"block_size": 0}, "block_size in quantize is 0"),
        ({"block_size": 64.0}, "block_size in quantize is 64.0"),
    ],
)
def test_what_cannot_be_quantised_is_refused(given: dict[str, Any], says: str) -> None:
    with pytest.raises(LoraRefError, match=says):
        quantize(**{"array": np.ones(3), **given})


def test_a_dtype_that_cannot_hold_the_weight_is_refused() -> None:
    q = quantize(np.float32([1e5]))
    with pytest.raises(LoraRefError, match=r"absmax .* is 100000\.0, .* finite in float16"):
        q.dequantize(np.dtype(np.float16))
    with pytest.raises(LoraRefError, match="dtype in dequantize is int64"):
        q.dequantize(np.dtype(int))
