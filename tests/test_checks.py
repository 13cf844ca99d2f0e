"""Argument checks: what is accepted, and the sentence for what is not."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import over
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from strategies import sizes

from lora_ref.checks import (
    as_count,
    as_finite,
    check_finite,
    check_float,
    check_rows,
    check_shape,
    frozen,
)
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import Linear, LoRALinear

OUT, IN, R, N = 5, 7, 2, 3
W0, A, B, BIAS = np.ones((OUT, IN)), np.ones((R, IN)), np.ones((OUT, R)), np.ones(OUT)
X, GRAD_Y = np.ones((N, IN)), np.ones((N, OUT))
LINEAR, LORA = Linear(W0), LoRALinear(W0, A, B, alpha=4)


def refusal(call: Callable[[], object]) -> str:
    """Return the sentence with which a call is refused."""
    with pytest.raises(LoraRefError) as info:
        call()
    return str(info.value)


def as_matrix(array: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.asmatrix(array)


# ---------------------------------------------------------------------- every entry, every refusal

ENTRIES: dict[str, tuple[Any, Callable[[Any], object]]] = {
    "W in Linear": (W0, Linear),
    "bias in Linear": (BIAS, lambda bad: Linear(W0, bad)),
    "x in Linear.forward": (X, LINEAR.forward),
    "grad_y in Linear.backward": (GRAD_Y, lambda bad: LINEAR.backward(bad, LINEAR.forward(X)[1])),
    "W in Linear.with_params": (W0, lambda bad: LINEAR.with_params({"W": bad})),
    "W0 in LoRALinear": (W0, lambda bad: LoRALinear(bad, A, B, 4)),
    "A in LoRALinear": (A, lambda bad: LoRALinear(W0, bad, B, 4)),
    "B in LoRALinear": (B, lambda bad: LoRALinear(W0, A, bad, 4)),
    "bias in LoRALinear": (BIAS, lambda bad: LoRALinear(W0, A, B, 4, bad)),
    "x in LoRALinear.forward": (X, LORA.forward),
    "mask in LoRALinear.forward": (X, lambda bad: LORA.forward(X, mask=bad)),
    "grad_y in LoRALinear.backward": (GRAD_Y, lambda bad: LORA.backward(bad, LORA.forward(X)[1])),
    "A in LoRALinear.with_params": (A, lambda bad: LORA.with_params({"A": bad})),
    "W0 in LoRALinear.init": (
        W0,
        lambda bad: LoRALinear.init(bad, R, 4, np.random.default_rng(0)),
    ),
}
"""Where arrays come in, with an array that may."""

FIRST = {"W in Linear", "W0 in LoRALinear", "W0 in LoRALinear.init"}
"""Entries that set the dtype of the layer instead of being held to it."""

NOT_FLOAT = "expected a floating-point dtype; convert it on purpose, e.g. with .astype(np.float64)"
OTHER_RULES = "expected a plain NumPy array: its products would follow other rules"
REFUSALS: dict[str, tuple[Callable[[Any], object], str]] = {
    "list": (lambda good: good.tolist(), "is a list, expected a NumPy array"),
    "scalar": (lambda good: 1.0, "is a float, expected a NumPy array"),
    "int": (lambda good: good.astype(np.int64), f"has dtype int64, {NOT_FLOAT}"),
    "bool": (lambda good: good.astype(bool), f"has dtype bool, {NOT_FLOAT}"),
    "complex": (lambda good: good.astype(complex), f"has dtype complex128, {NOT_FLOAT}"),
    "object": (lambda good: good.astype(object), f"has dtype object, {NOT_FLOAT}"),
    "text": (lambda good: good.astype("U3"), f"has dtype {np.dtype('U3')}, {NOT_FLOAT}"),
    "masked": (np.ma.masked_array, f"is a MaskedArray, {OTHER_RULES}"),
    "matrix": (as_matrix, f"is a matrix, {OTHER_RULES}"),
    "0-d": (lambda good: np.array(1.0), "is a 0-d array, expected at least one axis"),
    "empty": (lambda good: good[:0], "is empty, its shape is {empty}; expected entries"),
}


@over({f"{entry}-{kind}": (entry, kind) for entry in ENTRIES for kind in REFUSALS})
def test_no_entry_accepts_what_is_not_a_float_array(case: tuple[str, str]) -> None:
    entry, kind = case
    good, enter = ENTRIES[entry]
    make, sentence = REFUSALS[kind]
    said = refusal(lambda: enter(make(good)))
    assert said == f"{entry} {sentence.format(empty=(0, *good.shape[1:]))}"


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_entry_accepts_a_good_array(entry: str) -> None:
    good, enter = ENTRIES[entry]
    assert enter(good) is not None


@pytest.mark.parametrize("entry", ENTRIES)
def test_no_entry_accepts_the_byte_order_of_another_machine(entry: str) -> None:
    good, enter = ENTRIES[entry]
    swapped = good.astype(good.dtype.newbyteorder())
    said = refusal(lambda: enter(swapped))
    if entry in FIRST:
        assert said == f"{entry} has the byte order of another machine, expected the native one"
    else:
        assert said == f"{entry} has dtype {swapped.dtype}, expected float64: nothing is cast here"


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("entry", sorted(ENTRIES.keys() - FIRST))
def test_no_entry_casts_to_the_dtype_of_the_layer(entry: str, dtype: Any) -> None:
    good, enter = ENTRIES[entry]
    said = refusal(lambda: enter(good.astype(dtype)))
    assert said == f"{entry} has dtype {np.dtype(dtype)}, expected float64: nothing is cast here"


def test_a_float32_layer_refuses_float64_rows() -> None:
    layer = Linear(W0.astype(np.float32))
    said = refusal(lambda: layer.forward(X))
    assert said == "x in Linear.forward has dtype float64, expected float32: nothing is cast here"


# ---------------------------------------------------------------------- shapes

LEADING = "or more leading axes"
SHAPES: dict[str, tuple[str, Any, str]] = {
    "W 1-d": ("W in Linear", np.ones(7), "(7,), expected (out_features, in_features)"),
    "W0 3-d": ("W0 in LoRALinear", W0[None], "(1, 5, 7), expected (out_features, in_features)"),
    "bias column": ("bias in Linear", BIAS[:, None], "(5, 1), expected (out_features=5,)"),
    "bias row": ("bias in LoRALinear", BIAS[None], "(1, 5), expected (out_features=5,)"),
    "bias longer": ("bias in LoRALinear", np.ones(6), "(6,), expected (out_features=5,)"),
    "A transposed": (
        "A in LoRALinear",
        A.T,
        "(7, 2), expected (r, in_features=7); its transpose fits",
    ),
    "A of another width": ("A in LoRALinear", A[:, 1:], "(2, 6), expected (r, in_features=7)"),
    "B transposed": (
        "B in LoRALinear",
        B.T,
        "(2, 5), expected (out_features=5, r=2); its transpose fits",
    ),
    "B of another rank": (
        "B in LoRALinear",
        np.ones((5, 3)),
        "(5, 3), expected (out_features=5, r=2)",
    ),
    "x transposed": (
        "x in LoRALinear.forward",
        X.T,
        f"(7, 3), expected (n, in_features=7) {LEADING}; its transpose fits",
    ),
    "x 1-d": (
        "x in LoRALinear.forward",
        X[0],
        f"(7,), expected (n, in_features=7) {LEADING}; a single row is x[None]",
    ),
    "x 1-d, too long": (
        "x in Linear.forward",
        np.ones(8),
        f"(8,), expected (n, in_features=7) {LEADING}",
    ),
    "x of another width": (
        "x in Linear.forward",
        np.ones((2, 3, 8)),
        f"(2, 3, 8), expected (n, in_features=7) {LEADING}",
    ),
    "one mask for all rows": ("mask in LoRALinear.forward", X[:1], "(1, 7), expected (3, 7)"),
    "one mask for all features": (
        "mask in LoRALinear.forward",
        X[:, :1],
        "(3, 1), expected (3, 7)",
    ),
    "grad_y transposed": (
        "grad_y in LoRALinear.backward",
        GRAD_Y.T,
        "(5, 3), expected (3, 5); its transpose fits",
    ),
    "grad_y of another batch": ("grad_y in Linear.backward", GRAD_Y[:2], "(2, 5), expected (3, 5)"),
    "grad_y with an axis more": (
        "grad_y in Linear.backward",
        GRAD_Y[None],
        "(1, 3, 5), expected (3, 5)",
    ),
    "grad_y of one axis": ("grad_y in Linear.backward", GRAD_Y[0], "(5,), expected (3, 5)"),
    "parameter that broadcasts": ("A in LoRALinear.with_params", A[:1], "(1, 7), expected (2, 7)"),
    "parameter transposed": (
        "A in LoRALinear.with_params",
        A.T,
        "(7, 2), expected (2, 7); its transpose fits",
    ),
}


@pytest.mark.parametrize("case", SHAPES)
def test_a_wrong_shape_is_refused_with_both_shapes(case: str) -> None:
    entry, bad, sentence = SHAPES[case]
    with pytest.raises(ShapeError) as info:
        ENTRIES[entry][1](bad)
    assert str(info.value) == f"{entry} has shape {sentence}"


@given(
    shape=st.lists(sizes, min_size=1, max_size=3), wanted=st.lists(sizes | st.none(), max_size=3)
)
def test_a_shape_passes_where_each_axis_has_its_length(
    shape: list[int], wanted: list[int | None]
) -> None:
    axes = {f"axis_{i}": size for i, size in enumerate(wanted)}

    def fits(lengths: list[int]) -> bool:
        return len(lengths) == len(wanted) and all(
            want in (None, got) for got, want in zip(lengths, wanted, strict=True)
        )

    if fits(shape):
        check_shape("it", np.ones(shape), **axes)
    else:
        said = refusal(lambda: check_shape("it", np.ones(shape), **axes))
        assert said.startswith(f"it has shape {tuple(shape)}, expected (")
        assert said.endswith("; its transpose fits") == fits(shape[::-1])


@given(leading=st.lists(sizes, min_size=1, max_size=3), width=sizes)
def test_rows_are_the_same_memory_under_two_axes(leading: list[int], width: int) -> None:
    x = np.arange(np.prod(leading) * width, dtype=float).reshape(*leading, width)
    rows = check_rows("x", x, x.dtype, in_features=width)
    assert rows.shape == (np.prod(leading), width)
    assert np.shares_memory(rows, x)
    assert_array_equal(rows.ravel(), x.ravel())


# ---------------------------------------------------------------------- values

SCANNED = [
    entry
    for entry in ENTRIES
    if not any(passes in entry for passes in ("forward", "backward", "with_params"))
]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf], ids=str)
@pytest.mark.parametrize("entry", SCANNED)
def test_a_check_says_where_the_first_value_is_that_is_not_finite(entry: str, value: float) -> None:
    good, enter = ENTRIES[entry]
    bad = good.copy()
    bad[-1, ...] = value  # a whole row, or the last entry of a bias
    last, count = good.shape[0] - 1, good[-1, ...].size
    where = (last, *(0 for _ in good.shape[1:]))
    if not entry.endswith("init"):
        assert enter(bad) is not None  # a constructor does not scan
    assert refusal(lambda: enter(bad).check()) == (
        f"{entry} holds {value} at {where}, expected finite entries; {count} of {bad.size} are not"
    )


def test_the_position_of_a_value_that_is_not_finite_is_exact() -> None:
    array = np.ones((3, 4))
    array[1, 2], array[2, 0] = np.inf, np.nan
    said = refusal(lambda: check_finite("it", array))
    assert said == "it holds inf at (1, 2), expected finite entries; 2 of 12 are not"


def test_passes_do_not_scan_values_and_a_nan_stays_in_its_row() -> None:
    x = X.copy()
    x[1, 0] = np.nan
    for layer in (LINEAR, LORA):
        y = layer.forward(x)[0]
        assert np.isnan(y[1]).all()
        assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize(
    ("dtype", "alpha", "got"),
    [
        (np.float64, np.nan, "is nan"),
        (np.float64, np.inf, "is inf"),
        (np.float64, -np.inf, "is -inf"),
        (np.float64, np.float32(np.nan), "is nan"),
        (np.float64, "4", "is '4'"),
        (np.float64, b"4", "is b'4'"),
        (np.float64, True, "is True"),
        (np.float64, np.True_, "is np.True_"),
        (np.float64, None, "is None"),
        (np.float64, 4j, "is 4j"),
        (np.float64, np.complex128(4), "is np.complex128(4+0j)"),
        (np.float64, [4.0], "is [4.0]"),
        (np.float64, np.array(4.0), "is array(4.)"),
        (np.float64, np.timedelta64(4, "D"), "is np.timedelta64(4,'D')"),
        (np.float64, 10**400, "is larger than any float64"),
        (np.float32, 1e39, "is 1e+39"),
        (np.float32, -1e39, "is -1e+39"),
        (np.float16, 7e4, "is 70000.0"),
        (np.longdouble, np.inf, "is inf"),
    ],
    ids=lambda value: getattr(value, "__name__", repr(value)[:24]),
)
def test_alpha_is_a_number_that_the_layer_can_hold(dtype: Any, alpha: Any, got: str) -> None:
    arrays = (W0.astype(dtype), A[:1].astype(dtype), B[:, :1].astype(dtype))
    said = refusal(lambda: LoRALinear(*arrays, alpha))
    expected = f"LoRALinear {got}, expected a number that is finite in {np.dtype(dtype)}"
    assert said.removeprefix("alpha in ").removeprefix("scaling in ") == expected


@pytest.mark.parametrize("rank_stabilized", [False, True])
def test_a_scaling_beyond_the_dtype_is_refused(rank_stabilized: bool) -> None:
    arrays = (W0.astype(np.float16), A[:1].astype(np.float16), B[:, :1].astype(np.float16))
    said = refusal(lambda: LoRALinear(*arrays, 1e5, rank_stabilized=rank_stabilized))
    assert said.endswith("in LoRALinear is 100000.0, expected a number that is finite in float16")
    assert LoRALinear(*arrays, 6e4, rank_stabilized=rank_stabilized).scaling == 6e4


@pytest.mark.parametrize("alpha", [4, 4.0, np.int8(4), np.float32(4), np.float64(4)], ids=repr)
def test_alpha_is_kept_as_a_python_float(alpha: Any) -> None:
    layer = LoRALinear(W0, A, B, alpha)
    assert type(layer.alpha) is float
    assert layer.alpha == 4


@pytest.mark.parametrize("value", ["no", 1, None, 0.0], ids=repr)
def test_rank_stabilized_is_true_or_false(value: Any) -> None:
    said = refusal(lambda: LoRALinear(W0, A, B, 4, rank_stabilized=value))
    assert said == f"rank_stabilized in LoRALinear is {value!r}, expected True or False"


@pytest.mark.parametrize(
    "r",
    [0, -1, 1.5, 2.0, True, np.True_, "2", None, np.float64(2), np.timedelta64(2, "s")],
    ids=repr,
)
def test_a_rank_is_a_whole_number_of_at_least_one(r: Any) -> None:
    said = refusal(lambda: LoRALinear.init(W0, r, 4, np.random.default_rng(0)))
    expected = "expected a whole number of at least 1"
    assert said == f"r in LoRALinear.init is {r!r}, {expected}"


@pytest.mark.parametrize("r", [1, 3, np.int64(3), np.uint8(3)], ids=repr)
def test_a_rank_of_any_integer_type_is_kept_as_an_int(r: Any) -> None:
    assert type(as_count("r", r)) is int
    assert LoRALinear.init(W0, r, 4, np.random.default_rng(0)).A.shape == (r, IN)


@pytest.mark.parametrize(
    "rng", [0, None, np.random, np.random.RandomState(0)], ids=lambda rng: type(rng).__name__
)
def test_rng_is_a_generator(rng: Any) -> None:
    said = refusal(lambda: LoRALinear.init(W0, R, 4, rng))
    such_as = "expected a numpy.random.Generator such as np.random.default_rng(0)"
    assert said == f"rng in LoRALinear.init is {rng!r}, {such_as}"


@given(st.integers(-5, 5), st.integers(-5, 5))
def test_a_count_is_held_to_its_lower_bound(value: int, at_least: int) -> None:
    if value >= at_least:
        assert as_count("it", value, at_least) == value
    else:
        said = refusal(lambda: as_count("it", value, at_least))
        assert said == f"it is {value}, expected a whole number of at least {at_least}"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_the_largest_number_of_a_dtype_is_finite_in_it(dtype: Any) -> None:
    largest = float(np.finfo(dtype).max)
    assert as_finite("it", largest, np.dtype(dtype)) == largest
    assert as_finite("it", -largest, np.dtype(dtype)) == -largest


# ---------------------------------------------------------------------- what is let in


def test_arrays_on_disk_are_let_in(tmp_path: Path, rng: np.random.Generator) -> None:
    def on_disk(name: str, array: Any) -> Any:
        mapped = np.memmap(tmp_path / name, array.dtype, "w+", shape=array.shape)
        mapped[:] = array
        return mapped

    arrays = {"W0": W0.shape, "A": A.shape, "B": B.shape, "x": X.shape, "grad_y": GRAD_Y.shape}
    plain = {name: rng.standard_normal(shape) for name, shape in arrays.items()}
    mapped = {name: on_disk(name, array) for name, array in plain.items()}
    outcomes = []
    for source in (plain, mapped):
        layer = LoRALinear(source["W0"], source["A"], source["B"], 4)
        y, cache = layer.forward(source["x"])
        grad_x, grads = layer.backward(source["grad_y"], cache)
        outcomes.append([y, grad_x, *grads.values()])
    for expected, got in zip(*outcomes, strict=True):
        assert type(got) is np.ndarray
        assert_array_equal(got, expected)


def test_a_frozen_view_refuses_writing_and_its_maker_may_still_write() -> None:
    array = np.ones((2, 3))
    view = frozen(array)
    with pytest.raises(ValueError, match="read-only"):
        view[0, 0] = 5.0
    array[0, 0] = 5.0
    assert view[0, 0] == 5.0


def test_every_refusal_is_a_value_error() -> None:
    assert issubclass(ShapeError, LoraRefError)
    assert issubclass(LoraRefError, ValueError)
    with pytest.raises(ValueError, match="it is a NoneType, expected a NumPy array"):
        check_float("it", None)
