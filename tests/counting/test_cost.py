"""The formulas against real layers: their arrays are weighed, their matrix products counted."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from cases import over
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from lora_ref import counting
from lora_ref.errors import LoraRefError
from lora_ref.layers import Linear, LoRALinear

sizes = st.integers(1, 9)
seeds = st.integers(0, 2**32 - 1)


@st.composite
def problems(draw: st.DrawFn) -> tuple[LoRALinear, np.ndarray, np.ndarray]:
    """A LoRA layer, x and grad_y of any shapes; r may exceed both widths."""
    n, in_features, out_features, r = (draw(sizes) for _ in range(4))
    rng = np.random.default_rng(draw(seeds))
    dtype = draw(st.sampled_from([np.float32, np.float64]))
    shapes = (out_features, in_features), (r, in_features), (out_features, r)
    layer = LoRALinear(*(rng.standard_normal(s).astype(dtype) for s in shapes), alpha=3)
    x, grad_y = (rng.standard_normal((n, width)) for width in (in_features, out_features))
    return layer, x.astype(dtype), grad_y.astype(dtype)


def dimensions(layer: LoRALinear) -> tuple[int, int, int]:
    out_features, in_features = layer.W0.shape
    return in_features, out_features, layer.r


class Counted(np.ndarray):
    """An array whose matrix products are written down; whatever comes from one is one.

    A product of two plain arrays would not be seen: in each pass x or grad_y takes part in all.
    """

    products: list[tuple[int, int, int]] = []  # noqa: RUF012 - one list, emptied by `count`

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        if ufunc is np.matmul:
            (m, k), (_, n) = (i.shape for i in inputs)
            Counted.products.append((m, k, n))
        if "out" in kwargs:
            kwargs["out"] = tuple(np.asarray(o) for o in kwargs["out"])
        result = getattr(ufunc, method)(*(np.asarray(i) for i in inputs), **kwargs)
        return np.asarray(result).view(Counted)


def count(run: Any) -> int:
    """Multiply-adds of the matrix products in `run()` that touch a `Counted` array."""
    Counted.products.clear()
    run()
    return sum(m * k * n for m, k, n in Counted.products)


def passes(layer: Any, x: np.ndarray, grad_y: np.ndarray) -> counting.MultiplyAdds:
    """What a real pass of `layer` there and back multiplies and adds."""
    x, grad_y = x.view(Counted), grad_y.view(Counted)
    _, cache = layer.forward(x)
    return counting.MultiplyAdds(
        forward=count(lambda: layer.forward(x)),
        backward=count(lambda: layer.backward(grad_y, cache)),
    )


# parameters


@given(problems())
def test_parameter_counts_are_those_of_real_layers(problem):
    layer, _, _ = problem
    in_features, out_features, r = dimensions(layer)
    assert counting.lora_params(in_features, out_features, r) == sum(
        array.size for array in layer.trainable.values()
    )
    merged = layer.merge()
    assert counting.full_params(in_features, out_features) == merged.trainable["W"].size


@given(problems(), st.integers(1, 4))
def test_tasks_share_one_frozen_weight(problem, tasks):
    layer, _, _ = problem
    copies = [layer.with_params({"A": layer.A.copy(), "B": layer.B.copy()}) for _ in range(tasks)]
    weights = {copy.W0.ctypes.data: copy.W0.size for copy in copies}
    adapters = sum(array.size for copy in copies for array in copy.trainable.values())
    counted = counting.several_tasks_params(*dimensions(layer), tasks=tasks)
    assert counted == sum(weights.values()) + adapters


@given(sizes, sizes)
def test_adapter_count_is_two_projections_and_their_biases(d, m):
    arrays = np.zeros((m, d)), np.zeros(m), np.zeros((d, m)), np.zeros(d)
    assert counting.adapter_params(d, m) == sum(array.size for array in arrays)


@given(sizes, sizes, st.integers(1, 12))
def test_break_even_rank_parts_fewer_parameters_from_more(in_features, out_features, r):
    full = counting.full_params(in_features, out_features)
    lora = counting.lora_params(in_features, out_features, r)
    at = counting.break_even_rank(in_features, out_features)
    assert (lora < full, lora == full, lora > full) == (r < at, r == at, r > at)


def test_a_square_weight_breaks_even_at_half_its_width():
    assert counting.break_even_rank(4, 4) == 2
    assert counting.break_even_rank(1025, 1025) == Fraction(1025, 2)


def test_counts_do_not_overflow_where_numpy_integers_would():
    wide = np.int32(2**20)
    assert counting.full_params(wide, wide) == 2**40
    assert counting.full_bytes(wide, wide, n=wide).activations == 2**42
    assert counting.lora_bytes(wide, wide, 1, n=wide).activations == 4 * (2**40 + 2**20)


# multiply-adds


@given(problems())
def test_lora_multiply_adds_are_those_of_a_real_pass(problem):
    layer, x, grad_y = problem
    counted = counting.lora_multiply_adds(*dimensions(layer), n=len(x))
    assert passes(layer, x, grad_y) == counted


@given(problems())
def test_full_multiply_adds_are_those_of_a_real_pass(problem):
    layer, x, grad_y = problem
    in_features, out_features, _ = dimensions(layer)
    full = Linear(layer.W0.copy(), train=("W",))
    counted = counting.full_multiply_adds(in_features, out_features, n=len(x))
    assert passes(full, x, grad_y) == counted


@given(problems())
def test_merged_multiply_adds_are_those_of_a_real_pass(problem):
    layer, x, grad_y = problem
    in_features, out_features, _ = dimensions(layer)
    merged = Linear(layer.merge().W, train=())
    counted = counting.merged_multiply_adds(in_features, out_features, n=len(x))
    assert passes(merged, x, grad_y) == counted


@given(problems())
def test_merging_costs_the_product_of_B_and_A(problem):
    layer, _, _ = problem
    watched = layer.with_params({"A": layer.A.view(Counted)})
    assert count(watched.merge) == counting.forming_multiply_adds(*dimensions(layer))


def test_counting_a_pass_does_not_change_its_numbers(rng):
    layer = LoRALinear(*(rng.standard_normal(s) for s in ((5, 7), (2, 7), (5, 2))), alpha=3)
    x, grad_y = rng.standard_normal((3, 7)), rng.standard_normal((3, 5))
    plain_y, cache = layer.forward(x)
    plain = [plain_y, *layer.backward(grad_y, cache)[1].values()]
    watched_y, cache = layer.forward(x.view(Counted))
    watched = [watched_y, *layer.backward(grad_y.view(Counted), cache)[1].values()]
    for was, now in zip(plain, watched, strict=True):
        assert isinstance(now, Counted)
        assert_array_equal(np.asarray(now), was)


@given(sizes, sizes, st.integers(1, 6), sizes)
def test_a_pass_is_cheaper_than_full_only_below_a_third_of_the_break_even_rank(
    in_features, out_features, r, n
):
    lora = counting.lora_multiply_adds(in_features, out_features, r, n=n).total
    full = counting.full_multiply_adds(in_features, out_features, n=n).total
    assert (lora < full) == (r < counting.break_even_rank(in_features, out_features) / 3)


# bytes


@given(problems())
def test_lora_bytes_are_those_of_real_arrays_and_of_the_real_cache(problem):
    layer, x, grad_y = problem
    _, cache = layer.forward(x)
    _, grads = layer.backward(grad_y, cache)
    assert cache.mask is None
    counted = counting.lora_bytes(*dimensions(layer), n=len(x), itemsize=x.itemsize)
    assert counted.weights == layer.W0.nbytes + layer.A.nbytes + layer.B.nbytes
    assert counted.gradients == sum(grad.nbytes for grad in grads.values())
    assert counted.activations == cache.x.nbytes + cache.h.nbytes


@given(problems())
def test_full_bytes_are_those_of_real_arrays_and_of_the_real_cache(problem):
    layer, x, grad_y = problem
    full = layer.merge()
    _, cache = full.forward(x)
    _, grads = full.backward(grad_y, cache)
    in_features, out_features, _ = dimensions(layer)
    counted = counting.full_bytes(in_features, out_features, n=len(x), itemsize=x.itemsize)
    assert counted.weights == full.W.nbytes
    assert counted.gradients == grads["W"].nbytes
    assert counted.activations == cache.x.nbytes


@pytest.mark.parametrize(("optimizer", "states"), [("sgd", 0), ("momentum", 1), ("adamw", 2)])
def test_optimiser_keeps_that_many_numbers_for_each_trainable_one(optimizer, states):
    lora = counting.lora_bytes(7, 5, 2, n=3, optimizer=optimizer)
    full = counting.full_bytes(7, 5, n=3, optimizer=optimizer)
    assert lora.optimizer == states * lora.gradients == states * 4 * 2 * (7 + 5)
    assert full.optimizer == states * full.gradients == states * 4 * 7 * 5


def test_total_bytes_are_the_sum_of_the_four_parts():
    parts = counting.lora_bytes(7, 5, 2, n=3, itemsize=8)
    assert parts.total == 8 * ((35 + 24) + 24 + 48 + 3 * (7 + 2))


@given(sizes, sizes, sizes, sizes)
def test_lora_keeps_more_activations_than_full_fine_tuning(in_features, out_features, r, n):
    lora = counting.lora_bytes(in_features, out_features, r, n=n)
    full = counting.full_bytes(in_features, out_features, n=n)
    assert lora.activations - full.activations == 4 * n * r


# arguments

CALLS: list[tuple[Any, dict[str, int]]] = [
    (counting.full_params, {"in_features": 7, "out_features": 5}),
    (counting.lora_params, {"in_features": 7, "out_features": 5, "r": 2}),
    (counting.several_tasks_params, {"in_features": 7, "out_features": 5, "r": 2, "tasks": 3}),
    (counting.adapter_params, {"features": 7, "bottleneck": 2}),
    (counting.break_even_rank, {"in_features": 7, "out_features": 5}),
    (counting.full_multiply_adds, {"in_features": 7, "out_features": 5, "n": 3}),
    (counting.lora_multiply_adds, {"in_features": 7, "out_features": 5, "r": 2, "n": 3}),
    (counting.merged_multiply_adds, {"in_features": 7, "out_features": 5, "n": 3}),
    (counting.forming_multiply_adds, {"in_features": 7, "out_features": 5, "r": 2}),
    (counting.full_bytes, {"in_features": 7, "out_features": 5, "n": 3, "itemsize": 2}),
    (counting.lora_bytes, {"in_features": 7, "out_features": 5, "r": 2, "n": 3, "itemsize": 2}),
]


@over(
    {
        f"{function.__name__}-{name}-{bad!r}": (function, good, name, bad)
        for function, good in CALLS
        for name in good
        for bad in (0, -1, 2.0, True, np.True_, "2", None)
    }
)
def test_every_argument_that_is_no_positive_whole_number_is_refused(case):
    function, good, name, bad = case
    function(**good)
    with pytest.raises(LoraRefError, match=rf"^{name} is .*, expected a whole number"):
        function(**{**good, name: bad})


@pytest.mark.parametrize("optimizer", ["adam", "", None, ["sgd"]])
def test_an_unknown_optimiser_is_refused_with_the_known_ones(optimizer):
    with pytest.raises(LoraRefError, match=r"expected one of: sgd, momentum, adamw"):
        counting.lora_bytes(7, 5, 2, n=3, optimizer=optimizer)


def test_multiply_adds_and_bytes_refuse_to_be_changed():
    with pytest.raises(AttributeError):
        counting.full_multiply_adds(7, 5, n=3).forward = 0
    with pytest.raises(AttributeError):
        counting.full_bytes(7, 5, n=3).weights = 0
