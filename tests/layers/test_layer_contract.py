"""The contract of `lora_ref.layers.base`, for every layer in `LAYERS` and each of its options.

A new layer needs one line in `LAYERS` and its examples in `tests/fixtures/layer_examples.py`.
Keywords of a pass are arrays whose leading axes are those of x, or its rows.
"""

import copy
import importlib
import inspect
import pickle
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import FrozenInstanceError, fields, is_dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import over
from hypothesis import given, settings
from layer_examples import examples
from numpy.testing import assert_allclose, assert_array_equal
from strategies import seeds, sizes, two_sizes
from zero_gradients import zero_is_right

import lora_ref.layers
from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import EXACT_TOLERANCE, SMOOTH_TOLERANCE, gradient_errors
from lora_ref.gradcheck.passes import in_float64 as copy_in_float64
from lora_ref.layers import LAYERS, Composite, Embedding, Layer, LowRankLayer

IN, OUT = 7, 5
BATCHES = {"2-d": (4,), "3-d": (2, 3), "one-row": (1,)}
DTYPES = {"float64": np.dtype(np.float64), "float32": np.dtype(np.float32)}


class Case(NamedTuple):
    layer: Any
    x: Array
    keywords: Mapping[str, Any]

    @property
    def rng(self) -> np.random.Generator:
        return np.random.default_rng(2)

    def grad_y(self) -> Array:
        y, _ = self.layer.forward(self.x, **self.keywords)  # some layers keep the width of x
        return draw(self.rng, y.shape, y.dtype)

    def passes(self) -> tuple[Array, Array, Params]:
        """Return y, grad_x and grads."""
        y, cache = self.layer.forward(self.x, **self.keywords)
        return (y, *self.layer.backward(self.grad_y(), cache))


def draw(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any) -> Array:
    return rng.standard_normal(shape).astype(dtype)


def tokens_in(x: Array) -> Any:
    """Return tokens from 0 to 9 instead of the rows of x; some come twice."""
    kind = np.int32 if x.dtype == np.float32 else np.int64
    return (np.abs(x[..., 0] * 1e4) % 10).astype(kind)


def every_case() -> dict[str, Case]:
    """Return every example of every layer, for each batch and dtype, under a name to read."""
    found = {}
    for cls in LAYERS:
        for batch, leading in BATCHES.items():
            for name, dtype in DTYPES.items():
                if name == "float32" and batch != "2-d":
                    continue  # rounding has nothing to do with leading axes
                if cls.mixes_rows and batch == "one-row":
                    leading = (1, 2)  # a row alone sees itself, and nothing to choose from
                x = draw(np.random.default_rng(0), (*leading, IN), dtype)
                if cls is Embedding:
                    x = tokens_in(x)
                made = examples(cls, x, OUT, np.random.default_rng(1))
                for i, (layer, keywords) in enumerate(made):
                    trains = "+".join(layer.trainable) or "nothing"
                    parts = [cls.__name__, str(i), trains, *keywords, batch, name]
                    found["-".join(parts)] = Case(layer, x, keywords)
    return found


CASES = every_case()


def another(case: Case) -> Any:
    """Return another x of the same shape and dtype."""
    if is_float(case):
        return draw(np.random.default_rng(7), case.x.shape, case.x.dtype)
    return (case.x + 1) % 10


def where(fits: Callable[[str, Case], bool]) -> Any:
    return over({name: case for name, case in CASES.items() if fits(name, case)})


def is_float(case: Case) -> bool:
    """Return whether x holds numbers, and not tokens."""
    return case.x.dtype.kind == "f"


every = over(CASES)
in_float64 = where(lambda name, case: name.endswith("float64"))
in_float32 = where(lambda name, case: name.endswith("float32"))
of_numbers = where(lambda name, case: name.endswith("float64") and is_float(case))
row_by_row = where(lambda name, case: is_float(case) and not case.layer.mixes_rows)


def arrays_in(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every array that a value holds, with its path."""
    if isinstance(value, np.ndarray):
        yield name, value
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from arrays_in(getattr(value, field.name), f"{name}.{field.name}")
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from arrays_in(item, f"{name}[{key!r}]")
    elif isinstance(value, tuple | list):
        for i, item in enumerate(value):
            yield from arrays_in(item, f"{name}[{i}]")


def frozen_in(layer: Any) -> dict[str, Any]:
    """Return the arrays of a layer that are not trainable, by path."""
    trained = {id(array) for array in layer.trainable.values()}
    return {path: array for path, array in arrays_in(layer) if id(array) not in trained}


def bytes_in(*values: Any) -> dict[str, bytes]:
    return {path: array.tobytes() for path, array in arrays_in(values)}


def rows_of(case: Case) -> Case:
    """Return the case with its rows under one axis, and the keywords to match."""
    leading = case.x.shape[:-1]

    def flat(value: Any) -> Any:
        if np.shape(value)[: len(leading)] != leading:
            return value
        return value.reshape(-1, *value.shape[len(leading) :])

    keywords = {name: flat(value) for name, value in case.keywords.items()}
    return Case(case.layer, case.x.reshape(-1, IN), keywords)


def assert_close(got: Any, expected: Any, tolerance: float) -> None:
    """Assert that two arrays differ by little, measured by the norm of the right one."""
    assert got.shape == expected.shape
    assert np.linalg.norm(got - expected) <= tolerance * np.linalg.norm(expected)


# ---------------------------------------------------------------------- the list of layers


def test_LAYERS_lists_every_layer_of_the_package() -> None:
    found = set()
    for module in pkgutil.iter_modules(lora_ref.layers.__path__, "lora_ref.layers."):
        for _, cls in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
            keeps_contract = Layer in cls.__mro__ or {"forward", "backward"} <= set(dir(cls))
            public = cls not in (Layer, Composite, LowRankLayer) and not cls.__name__.startswith(
                "_"
            )
            if keeps_contract and public and cls.__module__ == module.name:
                found.add(cls)
    assert found == set(LAYERS)
    assert len(LAYERS) == len(found)


@pytest.mark.parametrize("cls", LAYERS, ids=lambda cls: cls.__name__)
def test_a_layer_has_examples_that_train_and_none_with_zeros(cls: Any) -> None:
    x = np.random.default_rng(0).standard_normal((4, IN))
    made = examples(cls, x, OUT, np.random.default_rng(1))
    has_arrays = any(list(arrays_in(layer)) for layer, _ in made)
    assert any(layer.trainable for layer, _ in made) == has_arrays
    for layer, _ in made:
        assert type(layer) is cls
        for name, value in layer.trainable.items():
            assert np.count_nonzero(value) == value.size, name


# ---------------------------------------------------------------------- gradients


@every
def test_there_is_a_gradient_for_each_trainable_parameter_and_no_other(case: Case) -> None:
    _, _, grads = case.passes()
    assert grads.keys() == case.layer.trainable.keys()


@every
def test_a_gradient_looks_like_what_it_belongs_to(case: Case) -> None:
    _, grad_x, grads = case.passes()
    pairs = [(grads[name], value) for name, value in case.layer.trainable.items()]
    if case.x.dtype.kind == "i":
        assert grad_x is None
    else:
        pairs.append((grad_x, case.x))
    for got, owner in pairs:
        assert type(got) is np.ndarray
        assert (got.shape, got.dtype) == (owner.shape, owner.dtype)


@every
def test_gradients_agree_with_differences(case: Case) -> None:
    tolerance = EXACT_TOLERANCE if case.layer.affine_in_each_argument else SMOOTH_TOLERANCE
    errors = zero_is_right(gradient_errors, case.layer, case.x, case.rng, **case.keywords)
    assert errors.keys() == {*(["x"] if is_float(case) else []), *case.layer.trainable}
    assert max(errors.values(), default=0.0) < tolerance, errors


@of_numbers
def test_a_layer_says_whether_y_is_affine_in_each_argument_alone(case: Case) -> None:
    def y(arguments: Params) -> Array:
        layer = case.layer.with_params({name: arguments[name] for name in case.layer.trainable})
        return layer.forward(arguments["x"], **case.keywords)[0]

    at, rng, bent = {"x": case.x, **case.layer.trainable}, case.rng, False
    for name, value in at.items():
        along = rng.standard_normal(value.shape)
        ahead, behind = (y({**at, name: value + step * along}) for step in (1, -1))
        bend = np.linalg.norm(ahead + behind - 2 * y(at))
        bent |= bool(bend > 1e-12 * np.linalg.norm(ahead))
    assert case.layer.affine_in_each_argument == (not bent)


@in_float64
def test_backward_is_linear_in_grad_y(case: Case) -> None:
    y, cache = case.layer.forward(case.x, **case.keywords)
    u, v = case.rng.standard_normal((2, *y.shape))
    at_u, at_v, at_sum = (
        {**({} if grad_x is None else {"x": grad_x}), **grads}
        for grad_x, grads in (case.layer.backward(g, cache) for g in (u, v, 2 * u - v))
    )
    for name, grad in at_sum.items():
        assert_allclose(grad, 2 * at_u[name] - at_v[name], rtol=1e-9, atol=1e-9, err_msg=name)


def twice(value: Any) -> Any:
    """Return the keywords of a pass for two batches, one after the other."""
    if isinstance(value, Mapping):
        return {name: twice(one) for name, one in value.items()}
    return np.concatenate([value, value])


@in_float64
def test_parameter_gradients_of_stacked_batches_add_up(case: Case) -> None:
    if case.layer.mixes_rows and case.x.ndim < 3:
        return  # both batches would be one sequence
    other = case._replace(x=another(case))
    stacked = Case(case.layer, np.concatenate([case.x, other.x]), twice(case.keywords))
    both = [case.layer.forward(part.x, **part.keywords) for part in (case, other)]
    y, cache = stacked.layer.forward(stacked.x, **stacked.keywords)
    assert_close(y, np.concatenate([part for part, _ in both]), 1e-12)
    grad_y = stacked.grad_y()
    halves = np.split(grad_y, 2)
    parts = [case.layer.backward(g, c) for g, (_, c) in zip(halves, both, strict=True)]
    grad_x, grads = case.layer.backward(grad_y, cache)
    if is_float(case):
        assert_close(grad_x, np.concatenate([part for part, _ in parts]), 1e-12)
    for name, grad in grads.items():
        assert_close(grad, sum(part[name] for _, part in parts), 1e-12)


# ---------------------------------------------------------------------- purity


@every
def test_a_pass_changes_nothing_that_it_was_given(case: Case) -> None:
    grad_y = case.grad_y()
    given = (case.layer, case.x, case.keywords, grad_y)
    before = bytes_in(*given)
    _, cache = case.layer.forward(case.x, **case.keywords)
    kept = bytes_in(cache)
    case.layer.backward(grad_y, cache)
    assert bytes_in(*given) == before
    assert bytes_in(cache) == kept


@every
def test_a_pass_runs_on_read_only_arrays(case: Case) -> None:
    expected = case.passes()
    read_only = case._replace(x=case.x.copy())
    read_only.x.flags.writeable = False
    grad_y = case.grad_y()
    grad_y.flags.writeable = False
    y, cache = read_only.layer.forward(read_only.x, **case.keywords)
    assert bytes_in(y, *case.layer.backward(grad_y, cache)) == bytes_in(*expected)


@every
def test_the_same_pass_gives_the_same_bits(case: Case) -> None:
    assert bytes_in(*case.passes()) == bytes_in(*case.passes())


@every
def test_a_forward_can_wait_for_its_backward_while_others_run(case: Case) -> None:
    expected = bytes_in(*case.passes())
    y, cache = case.layer.forward(case.x, **case.keywords)
    other, other_cache = case.layer.forward(another(case), **case.keywords)
    case.layer.backward(other, other_cache)
    assert bytes_in(y, *case.layer.backward(case.grad_y(), cache)) == expected


@every
def test_what_a_pass_returns_is_not_the_memory_of_the_layer_or_of_its_input(case: Case) -> None:
    y, grad_x, grads = case.passes()
    owned = [array for _, array in arrays_in((case.layer, case.x, case.keywords))]
    for returned in (y, grad_x, *grads.values()):
        assert not any(np.shares_memory(returned, array) for array in owned)


# ---------------------------------------------------------------------- the cache


class Passed(NamedTuple):
    """An example of a layer after its forward pass."""

    layer: Any
    x: Array
    y: Array
    cache: Any

    @classmethod
    def all(cls, x: Array, out_features: int, rng: np.random.Generator) -> "list[Passed]":
        passed = []
        for kind in LAYERS:
            given = tokens_in(x) if kind is Embedding else x
            for layer, keywords in examples(kind, given, out_features, rng):
                passed.append(cls(layer, given, *layer.forward(given, **keywords)))
        return passed

    def looks_like(self, other: "Passed") -> bool:
        """Whether the cache of `other` has the type, the dtype and every width of this one's."""
        mine, its = self.layer.trainable, other.layer.trainable
        return (
            type(self.cache) is type(other.cache)
            and self.x.shape == other.x.shape
            and (self.x.dtype == other.x.dtype or self.x.dtype.kind == "i")  # tokens have no dtype
            and all(mine[name].shape == its[name].shape for name in mine.keys() & its.keys())
        )


@settings(max_examples=2)
@given(two_sizes(2), sizes, sizes, seeds)
def test_a_backward_refuses_the_cache_of_another_layer(
    widths: tuple[int, int], out_features: int, n: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    xs = [rng.standard_normal((n, width)) for width in widths]
    passed = [Passed.all(x, out_features, rng) for x in (*xs, xs[0].astype(np.float32))]
    strangers = [other for some in passed for other in some]
    for mine in passed[0]:
        grad_y = rng.standard_normal(mine.y.shape)
        for other in strangers:
            if not mine.looks_like(other):
                with pytest.raises(LoraRefError, match=r"^(cache|grad_y) in .* expected "):
                    mine.layer.backward(grad_y, other.cache)
        for wrong in (None, (), mine.y, mine.layer):
            with pytest.raises(LoraRefError, match=f"^cache in .* is a {type(wrong).__name__}, "):
                mine.layer.backward(grad_y, wrong)


# ---------------------------------------------------------------------- dtype and axes


@every
def test_the_dtype_that_comes_in_goes_out(case: Case) -> None:
    y, grad_x, grads = case.passes()
    wanted = case.x.dtype if is_float(case) else y.dtype
    assert {a.dtype for a in (y, grad_x, *grads.values()) if a is not None} == {wanted}


@in_float32
def test_float32_agrees_with_float64_to_rounding(case: Case) -> None:
    exact = Case(*(copy_in_float64(part) for part in (case.layer, case.x)), {})
    exact = exact._replace(keywords={k: copy_in_float64(v) for k, v in case.keywords.items()})
    y, cache = exact.layer.forward(exact.x, **exact.keywords)
    grad_x, grads = exact.layer.backward(case.grad_y().astype(np.float64), cache)
    got_y, got_grad_x, got = case.passes()
    assert grads.keys() == got.keys()
    rounding = 16 * float(np.finfo(np.float32).eps)
    pairs = [(got_y, y)] + [(got[name], grads[name]) for name in got]
    for single, double in pairs + ([(got_grad_x, grad_x)] if is_float(case) else []):
        assert double.dtype == np.float64
        assert_close(single, double, rounding)


@row_by_row
def test_leading_axes_come_back_and_mean_rows(case: Case) -> None:
    y, grad_x, grads = case.passes()
    flat = rows_of(case)
    flat_y, cache = flat.layer.forward(flat.x, **flat.keywords)
    grad_y = case.grad_y().reshape(flat_y.shape)
    flat_grad_x, flat_grads = flat.layer.backward(grad_y, cache)
    assert y.shape == (*case.x.shape[:-1], flat_y.shape[-1])
    assert_array_equal(y.reshape(flat_y.shape), flat_y)
    assert_array_equal(grad_x.reshape(-1, IN), flat_grad_x)
    for name, grad in grads.items():
        assert_array_equal(grad, flat_grads[name])


@of_numbers
def test_a_row_of_y_depends_on_its_own_row_of_x_alone(case: Case) -> None:
    y = case.layer.forward(case.x, **case.keywords)[0]
    moved = case.x.copy()
    moved[(0,) * (moved.ndim - 1)] += 1  # one row of the batch
    changed = (case.layer.forward(moved, **case.keywords)[0] != y).any(axis=-1)
    assert changed.flat[0]
    assert bool(changed.flat[1:].any()) == (case.layer.mixes_rows and changed.size > 1)


@of_numbers
def test_strided_rows_count_like_their_copy(case: Case) -> None:
    wide = np.repeat(np.repeat(case.x, 2, axis=0), 2, axis=-1)
    strided = case._replace(x=wide[::2, ..., ::2])
    assert not strided.x.flags.c_contiguous
    assert_array_equal(strided.x, case.x)
    outcomes = (arrays_in(part.passes()) for part in (strided, case))
    for (path, got), (_, expected) in zip(*outcomes, strict=True):
        assert np.linalg.norm(got - expected) <= 1e-13 * np.linalg.norm(expected), path


# ---------------------------------------------------------------------- other values, same layer


@every
def test_with_params_gives_a_layer_of_the_same_type_with_the_new_values(case: Case) -> None:
    params = {name: 2 * value for name, value in case.layer.trainable.items()}
    before, held = bytes_in(case.layer), dict(frozen_in(case.layer))
    new = case.layer.with_params(params)
    assert type(new) is type(case.layer)
    assert bytes_in(case.layer) == before
    assert all(new.trainable[name] is params[name] for name in params)
    assert all(array is held[path] for path, array in frozen_in(new).items())
    assert repr(new) == repr(case.layer)


@every
def test_with_params_of_one_parameter_keeps_the_others(case: Case) -> None:
    for name, value in case.layer.trainable.items():
        new = case.layer.with_params({name: -value})
        for other, array in new.trainable.items():
            expected = -value if other == name else case.layer.trainable[other]
            assert_array_equal(array, expected)
    assert bytes_in(case.layer.with_params({})) == bytes_in(case.layer)


@every
def test_with_params_knows_names_shapes_and_dtypes(case: Case) -> None:
    for name, value in case.layer.trainable.items():
        here = f"{name} in {type(case.layer).__name__}.with_params"
        with pytest.raises(ShapeError, match=f"^{here} has shape"):
            case.layer.with_params({name: value[..., :-1]})
        with pytest.raises(ShapeError, match=f"^{here} has shape"):
            case.layer.with_params({name: value[None]})
        with pytest.raises(LoraRefError, match=f"^{here} has dtype float16, expected"):
            case.layer.with_params({name: value.astype(np.float16)})
    for name in ("nothing-of-that-name", "x", *(field.name for field in fields(case.layer))):
        if name not in case.layer.trainable:
            with pytest.raises(LoraRefError, match=f"^{name} is not trainable in "):
                case.layer.with_params({name: np.ones(1, case.x.dtype)})


@every
def test_with_params_does_not_scan_values(case: Case) -> None:
    for name, value in case.layer.trainable.items():
        new = case.layer.with_params({name: np.full_like(value, np.nan)})
        assert np.isnan(new.trainable[name]).all()


# ---------------------------------------------------------------------- what is frozen


def refuses_to_be_written(array: Any) -> bool:
    before = array.tobytes()
    with pytest.raises(ValueError, match="read-only"):
        array[...] = 0
    return bool(array.tobytes() == before)


@every
def test_what_does_not_train_is_read_only(case: Case) -> None:
    for path, array in frozen_in(case.layer).items():
        assert refuses_to_be_written(array), path


@every
def test_what_trains_can_be_written(case: Case) -> None:
    for name, array in case.layer.trainable.items():
        assert array.flags.writeable, name


@every
def test_a_copy_and_a_pickle_stay_frozen(case: Case) -> None:
    for twin in (copy.deepcopy(case.layer), pickle.loads(pickle.dumps(case.layer))):
        assert bytes_in(twin) == bytes_in(case.layer)
        assert twin.trainable.keys() == case.layer.trainable.keys()
        for path, array in frozen_in(twin).items():
            assert refuses_to_be_written(array), path


@every
def test_a_layer_takes_no_assignment(case: Case) -> None:
    for field in fields(case.layer):
        with pytest.raises(FrozenInstanceError):
            setattr(case.layer, field.name, None)
    with pytest.raises(FrozenInstanceError):
        case.layer.anything = 1


@every
def test_training_leaves_the_bytes_of_what_is_frozen(case: Case) -> None:
    layer, before = case.layer, bytes_in(frozen_in(case.layer))
    start = bytes_in(dict(layer.trainable))
    for _ in range(3):
        _, cache = layer.forward(case.x, **case.keywords)
        _, grads = layer.backward(case.grad_y(), cache)
        layer = layer.with_params(
            {name: value - 0.1 * grads[name] for name, value in layer.trainable.items()}
        )
    assert bytes_in(frozen_in(layer)) == before
    assert not start or bytes_in(dict(layer.trainable)) != start


@every
def test_repr_is_one_short_line_that_begins_with_the_type(case: Case) -> None:
    said = repr(case.layer)
    assert said.startswith(f"{type(case.layer).__name__}(")
    assert "\n" not in said
    assert len(said) < 120
