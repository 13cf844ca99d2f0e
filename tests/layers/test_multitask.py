"""Several tasks on one W0: the sum, the switch, a task for each row, and combining adapters."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import alphas, seeds, two_sizes
from zero_gradients import zero_is_right

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import EXACT_TOLERANCE, gradient_errors
from lora_ref.layers import Linear, LoRALinear
from lora_ref.layers.initializers import pissa
from lora_ref.layers.multitask import BASE, MultiTaskLoRA
from tests.fixtures.memory import peak_bytes

Problem = tuple[MultiTaskLoRA, Array, Array, np.random.Generator]
size = st.integers(1, 6)
weight = st.sampled_from([1.0, 0.0, -0.5, 2.0])


@st.composite
def problems(
    draw: st.DrawFn, *, weights: st.SearchStrategy[float] = weight, ranks: Any = size
) -> Problem:
    """Return a layer of one to four tasks of different r and alpha, x, grad_y and a generator."""
    n, (in_features, out_features) = draw(size), draw(two_sizes())
    rs, rng = draw(st.lists(ranks, min_size=1, max_size=4)), np.random.default_rng(draw(seeds))
    W0 = rng.standard_normal((out_features, in_features))
    bias = rng.standard_normal(out_features) if draw(st.booleans()) else None
    tasks = tuple(
        LoRALinear(
            W0,
            rng.standard_normal((r, in_features)),
            rng.standard_normal((out_features, r)),
            draw(alphas),
            bias,
            draw(st.booleans()),
        )
        for r in rs
    )
    layer = MultiTaskLoRA(tasks, tuple(draw(weights) for _ in tasks))
    x, grad_y = rng.standard_normal((n, in_features)), rng.standard_normal((n, out_features))
    return layer, x, grad_y, rng


def outcome(layer: Any, x: Array, grad_y: Array, **keywords: Any) -> dict[str, Array]:
    """Return y, grad_x and the gradients, by name."""
    y, cache = layer.forward(x, **keywords)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "x": grad_x, **grads}


def assert_close(got: Any, expected: Any) -> None:
    largest = max(1.0, float(np.abs(expected).max()))
    assert_allclose(got, expected, rtol=1e-10, atol=1e-11 * largest)


def true_sum(layer: MultiTaskLoRA) -> Array:
    """Return the weighted sum of the updates, each formed by itself."""
    return sum(
        (weight * task.delta_w for weight, task in zip(layer.weights, layer.tasks, strict=True)),
        np.zeros_like(layer.W0),
    )


def rows_by_task(layer: MultiTaskLoRA, n: int, rng: np.random.Generator) -> Any:
    return rng.integers(BASE, len(layer.tasks), n)


# ---------------------------------------------------------------------- the sum


@given(problems())
def test_without_task_y_is_W0_plus_the_weighted_sum_of_all_updates(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    dense = Linear(layer.W0 + true_sum(layer), layer.bias)
    got, expected = outcome(layer, x, grad_y), outcome(dense, x, grad_y)
    assert_close(got["y"], expected["y"])
    assert_close(got["x"], expected["x"])


@given(problems())
def test_a_weight_scales_the_gradients_of_its_task_alone(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    got = outcome(layer, x, grad_y)
    for t, task in enumerate(layer.tasks):
        alone = outcome(task, x, grad_y)
        for name in ("A", "B"):
            assert_close(got[f"{t}.{name}"], layer.weights[t] * alone[name])


@given(problems(weights=st.just(0.0)))
def test_tasks_of_weight_zero_leave_W0_alone_and_have_zero_gradients(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    got = outcome(layer, x, grad_y)
    base = outcome(Linear(layer.W0, layer.bias), x, grad_y)
    assert_array_equal(got["y"], base["y"])
    assert_array_equal(got["x"], base["x"])
    for name, factor in layer.trainable.items():
        assert got[name].shape == factor.shape
        assert not got[name].any()


def test_weights_are_one_each_if_left_out(rng: np.random.Generator) -> None:
    layer = two_tasks(rng)
    assert layer.weights == (1.0, 1.0)
    assert_close(layer.delta_w, layer.tasks[0].delta_w + layer.tasks[1].delta_w)


@given(problems())
def test_the_sum_merges_into_one_weight(problem: Problem) -> None:
    layer, x, _, _ = problem
    merged = layer.merge()
    assert type(merged) is Linear
    assert_close(layer.delta_w, true_sum(layer))
    assert_close(merged.forward(x)[0], layer.forward(x)[0])


# ---------------------------------------------------------------------- switching


@given(problems())
def test_switching_there_and_back_gives_the_same_bits(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    before = [outcome(layer.select(t), x, grad_y) for t in range(len(layer.tasks))]
    for t in [*range(len(layer.tasks)), *reversed(range(len(layer.tasks)))]:
        for name, array in outcome(layer.select(t), x, grad_y).items():
            assert array.tobytes() == before[t][name].tobytes()


@given(problems())
def test_a_selected_task_is_a_LoRALinear_on_the_memory_of_W0(problem: Problem) -> None:
    layer, x, _, _ = problem
    for t, task in enumerate(layer.tasks):
        alone = layer.select(t)
        assert type(alone) is LoRALinear
        assert alone.W0 is layer.W0
        assert alone.bias is layer.bias
        assert alone.A is layer.trainable[f"{t}.A"]
        bias = 0 if layer.bias is None else layer.bias
        assert_close(alone.forward(x)[0], x @ (layer.W0 + task.delta_w).T + bias)


def test_equal_copies_of_W0_and_bias_become_one(rng: np.random.Generator) -> None:
    first, second = (replace(task, bias=np.ones(5)) for task in two_tasks(rng).tasks)
    second = replace(second, W0=first.W0.copy())
    assert not np.shares_memory(first.W0, second.W0)
    layer = MultiTaskLoRA((first, second))
    assert layer.select(1).W0 is layer.select(0).W0 is first.W0
    assert layer.select(1).bias is first.bias
    assert not np.shares_memory(second.W0, first.W0)  # what was handed in is as it was


@pytest.mark.parametrize("t", [2, -1, 0.0, True, None], ids=repr)
def test_there_is_no_other_task_to_select(t: Any, rng: np.random.Generator) -> None:
    with pytest.raises(LoraRefError, match=r"^t in MultiTaskLoRA.select is .*, expected "):
        two_tasks(rng).select(t)


# ---------------------------------------------------------------------- a task for each row


@given(problems())
def test_a_mixed_batch_agrees_with_single_task_runs(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    task = rows_by_task(layer, len(x), rng)
    got = outcome(layer, x, grad_y, task=task)
    base = Linear(layer.W0, layer.bias)
    for i, t in enumerate(task):
        alone = outcome(base if t == BASE else layer.select(t), x[i : i + 1], grad_y[i : i + 1])
        assert_close(got["y"][i : i + 1], alone["y"])
        assert_close(got["x"][i : i + 1], alone["x"])


@given(problems())
def test_a_task_learns_from_its_own_rows_alone(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    task = rows_by_task(layer, len(x), rng)
    got = outcome(layer, x, grad_y, task=task)
    for t in range(len(layer.tasks)):
        here = task == t
        for name in ("A", "B"):
            grad, factor = got[f"{t}.{name}"], layer.trainable[f"{t}.{name}"]
            assert (grad.shape, grad.dtype) == (factor.shape, factor.dtype)
            if here.any():
                assert_close(grad, outcome(layer.select(t), x[here], grad_y[here])[name])
            else:  # absent from the batch: zeros, not a missing key
                assert not grad.any()


@given(problems())
def test_gradients_of_both_modes_pass_the_check(problem: Problem) -> None:
    layer, x, _, rng = problem
    for keywords in ({}, {"task": rows_by_task(layer, len(x), rng)}):
        errors = zero_is_right(gradient_errors, layer, x, rng, **keywords)  # an absent task
        assert errors.keys() == {"x", *layer.trainable}
        assert max(errors.values()) < EXACT_TOLERANCE, (keywords, errors)


@given(two_sizes(), two_sizes(), seeds)
def test_a_cache_of_exchanged_ranks_is_refused(
    ranks: tuple[int, int], widths: tuple[int, int], seed: int
) -> None:
    (in_features, out_features), rng = widths, np.random.default_rng(seed)
    W0 = rng.standard_normal((out_features, in_features))
    tasks = tuple(
        LoRALinear(W0, rng.standard_normal((r, in_features)), rng.standard_normal((len(W0), r)), 2)
        for r in ranks
    )
    y, cache = MultiTaskLoRA(tasks).forward(rng.standard_normal((3, in_features)))
    with pytest.raises(LoraRefError) as said:
        MultiTaskLoRA(tasks[::-1]).backward(y, cache)
    assert str(said.value) == (
        f"cache in MultiTaskLoRA.backward holds ranks {ranks}, expected {ranks[::-1]}: "
        "it comes from a forward pass of another layer"
    )


@given(problems())
def test_a_batch_of_one_task_is_the_selected_task(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    for t in range(len(layer.tasks)):
        got = outcome(layer, x, grad_y, task=np.full(len(x), t))
        alone = outcome(layer.select(t), x, grad_y)
        assert_close(got["y"], alone["y"])
        assert_close(got["x"], alone["x"])


@given(problems())
def test_a_batch_of_no_task_is_W0_bit_for_bit(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    got = outcome(layer, x, grad_y, task=np.full(len(x), BASE))
    base = outcome(Linear(layer.W0, layer.bias), x, grad_y)
    assert_array_equal(got["y"], base["y"])
    assert_array_equal(got["x"], base["x"])
    assert not any(got[name].any() for name in layer.trainable)


@given(problems())
def test_weights_have_no_say_where_rows_have_tasks(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    task = rows_by_task(layer, len(x), rng)
    plain = replace(layer, weights=())
    expected = outcome(plain, x, grad_y, task=task)
    for name, array in outcome(layer, x, grad_y, task=task).items():
        assert_array_equal(array, expected[name])


@given(problems())
def test_rows_may_come_in_any_order(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    task, shuffled = rows_by_task(layer, len(x), rng), rng.permutation(len(x))
    got = outcome(layer, x, grad_y, task=task)
    moved = outcome(layer, x[shuffled], grad_y[shuffled], task=task[shuffled])
    assert_close(moved["y"], got["y"][shuffled])
    assert_close(moved["x"], got["x"][shuffled])
    for name in layer.trainable:
        assert_close(moved[name], got[name])


@given(problems())
def test_dropout_touches_the_updates_alone_in_both_modes(problem: Problem) -> None:
    layer, x, grad_y, rng = problem
    mask = 2.0 * (rng.random(x.shape) < 0.5)
    base = outcome(Linear(layer.W0, layer.bias), x, grad_y)
    for keywords in ({}, {"task": rows_by_task(layer, len(x), rng)}):
        got = outcome(layer, x, grad_y, mask=mask, **keywords)
        dropped = outcome(layer, x * mask, grad_y, **keywords)
        alone = outcome(Linear(layer.W0, layer.bias), x * mask, grad_y)
        assert_close(got["y"], base["y"] + (dropped["y"] - alone["y"]))
        assert_close(got["x"], base["x"] + mask * (dropped["x"] - alone["x"]))
        for name in layer.trainable:
            assert_close(got[name], dropped[name])


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.uint64])
def test_any_dtype_of_integers_names_a_task(dtype: Any, rng: np.random.Generator) -> None:
    layer, x = two_tasks(rng), rng.standard_normal((3, 7))
    task = np.array([1, 0, 1])
    expected = layer.forward(x, task=task)[0]
    assert_array_equal(layer.forward(x, task=task.astype(dtype))[0], expected)


EXPECTED = r"expected an array of integers from -1 \(W0 alone\) to 1"


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ([0, 1, 0], f"is a list, {EXPECTED}, one for each row"),
        (1, f"is a int, {EXPECTED}"),
        (np.array([0.0, 1.0, 0.0]), f"has dtype float64, {EXPECTED}"),
        (np.array([True, False, True]), f"has dtype bool, {EXPECTED}"),
        (np.array([0, 2, 0]), rf"holds 2 at \(1,\), {EXPECTED}"),
        (np.array([0, 0, -2]), rf"holds -2 at \(2,\), {EXPECTED}"),
        (np.array([0, 255, 0], np.uint8), rf"holds 255 at \(1,\), {EXPECTED}"),
    ],
    ids=repr,
)
def test_a_task_that_is_none_is_refused_in_a_sentence(
    task: Any, said: str, rng: np.random.Generator
) -> None:
    with pytest.raises(LoraRefError, match=f"^task in MultiTaskLoRA.forward {said}"):
        two_tasks(rng).forward(np.ones((3, 7)), task=task)


@pytest.mark.parametrize("shape", [(), (1,), (2,), (3, 1), (3, 7)])
def test_there_is_one_task_for_each_row(shape: Any, rng: np.random.Generator) -> None:
    with pytest.raises(ShapeError, match=r"^task in MultiTaskLoRA.forward has shape .*\(3,\)$"):
        two_tasks(rng).forward(np.ones((3, 7)), task=np.zeros(shape, int))
    with pytest.raises(ShapeError, match=r"expected \(3, 2\)"):
        two_tasks(rng).forward(np.ones((3, 2, 7)), task=np.zeros(6, int))


# ---------------------------------------------------------------------- combining adapters


@given(problems())
def test_concatenated_factors_are_the_weighted_sum(problem: Problem) -> None:
    layer, x, grad_y, _ = problem
    one = layer.concatenate_factors()
    assert type(one) is LoRALinear
    assert one.r == sum(task.r for task in layer.tasks)
    assert np.shares_memory(one.W0, layer.W0)
    assert_close(one.delta_w, true_sum(layer))
    got, expected = outcome(one, x, grad_y), outcome(layer, x, grad_y)
    assert_close(got["y"], expected["y"])
    assert_close(got["x"], expected["x"])


@pytest.mark.parametrize("T", [2, 4, 8])
def test_concatenating_is_exact_to_rounding(T: int) -> None:
    for seed in range(5):
        rng = np.random.default_rng(seed)
        W0 = rng.standard_normal((40, 50))
        pairs = [(rng.standard_normal((4, 50)), rng.standard_normal((40, 4))) for _ in range(T)]
        tasks = tuple(LoRALinear(W0, A, B, 8.0) for A, B in pairs)
        layer = MultiTaskLoRA(tasks, (1 / T,) * T)
        right = true_sum(layer)
        missed = np.linalg.norm(layer.concatenate_factors().delta_w - right)
        assert missed < 1e-14 * np.linalg.norm(right)


# ---------------------------------------------------------------------- parameters


def two_tasks(rng: np.random.Generator) -> MultiTaskLoRA:
    W0 = rng.standard_normal((5, 7))
    return MultiTaskLoRA(
        tuple(
            LoRALinear(W0, rng.standard_normal((r, 7)), rng.standard_normal((5, r)), alpha)
            for r, alpha in ((2, 3.0), (3, 8.0))
        )
    )


def test_a_parameter_is_named_by_its_path(rng: np.random.Generator) -> None:
    layer = two_tasks(rng)
    assert list(layer.trainable) == ["0.A", "0.B", "1.A", "1.B"]
    for t, task in enumerate(layer.tasks):
        assert layer.trainable[f"{t}.A"] is task.A
        assert layer.trainable[f"{t}.B"] is task.B


def test_new_factors_go_to_their_task_and_leave_nothing_else_behind(
    rng: np.random.Generator,
) -> None:
    layer = two_tasks(rng)
    B = rng.standard_normal((5, 3))
    new = layer.with_params({"1.B": B})
    assert new.select(1).B is B
    assert new.select(1).A is layer.select(1).A
    assert new.select(0) is layer.select(0)
    assert new.select(1).W0 is layer.W0
    assert vars(new).keys() == {field.name for field in fields(new)}
    for name in ("B", "2.A", "1.W0", "1.alpha", "1", "W0"):
        with pytest.raises(LoraRefError, match=f"^{name} is not trainable in MultiTaskLoRA, "):
            layer.with_params({name: B})


def test_training_one_task_leaves_the_bytes_of_W0_and_of_the_others(
    rng: np.random.Generator,
) -> None:
    layer = two_tasks(rng)
    before = {"W0": layer.W0.tobytes(), **{n: a.tobytes() for n, a in layer.trainable.items()}}
    for _ in range(3):
        _, cache = layer.forward(rng.standard_normal((4, 7)), task=np.array([BASE, 1, 1, BASE]))
        _, grads = layer.backward(rng.standard_normal((4, 5)), cache)
        layer = layer.with_params({n: a - 0.1 * grads[n] for n, a in layer.trainable.items()})
    after = {"W0": layer.W0.tobytes(), **{n: a.tobytes() for n, a in layer.trainable.items()}}
    assert {name for name in before if before[name] != after[name]} == {"1.A", "1.B"}


# ---------------------------------------------------------------------- argument checks, and memory


def test_tasks_on_another_W0_are_refused_in_a_sentence(rng: np.random.Generator) -> None:
    first, second = two_tasks(rng).tasks
    other = "task 1 in MultiTaskLoRA"
    with pytest.raises(LoraRefError, match=f"^W0 of {other} has other entries, expected those"):
        MultiTaskLoRA((first, replace(second, W0=second.W0 + 1)))
    with pytest.raises(LoraRefError, match=f"^bias of {other} is given, expected none as for"):
        MultiTaskLoRA((first, replace(second, bias=np.ones(5))))
    with pytest.raises(ShapeError, match=rf"^W0 of {other} has shape \(7, 5\), expected task 0's"):
        MultiTaskLoRA((first, LoRALinear(np.ones((7, 5)), np.ones((1, 5)), np.ones((7, 1)), 1.0)))
    single = LoRALinear(*(a.astype(np.float32) for a in (first.W0, first.A, first.B)), 1.0)
    with pytest.raises(LoraRefError, match=f"^W0 of {other} has dtype float32, expected task 0's"):
        MultiTaskLoRA((first, single))
    # two PiSSA starts of different rank have moved different parts out of one W0
    tasks = tuple(LoRALinear.init(first.W0, r, 1.0, rng, initializer=pissa) for r in (1, 2))
    with pytest.raises(LoraRefError, match=f"^W0 of {other} has other entries"):
        MultiTaskLoRA(tasks)


class Derived(LoRALinear):
    """Something that may compute something else."""


def test_what_is_not_a_tuple_of_tasks_is_refused_in_a_sentence(rng: np.random.Generator) -> None:
    first, second = two_tasks(rng).tasks
    bad: Any
    for bad, said in (
        ([first, second], "tasks in MultiTaskLoRA is a list, expected a tuple of LoRALinear"),
        ((), "tasks in MultiTaskLoRA is empty, expected"),
        ((first, Linear(first.W0)), "task 1 in MultiTaskLoRA is a Linear, expected a LoRALinear"),
        ((Derived(first.W0, first.A, first.B, 1.0),), "task 0 in MultiTaskLoRA is a Derived"),
    ):
        with pytest.raises(LoraRefError, match=f"^{said}"):
            MultiTaskLoRA(bad)


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ((1.0,), r"weights in MultiTaskLoRA is \(1.0,\), expected a tuple of 2, one number"),
        ([1.0, 1.0], r"weights in MultiTaskLoRA is \[1.0, 1.0\], expected a tuple"),
        ((1.0, np.nan), "weight 1 in MultiTaskLoRA is nan, expected a number"),
        (("1", 1.0), "weight 0 in MultiTaskLoRA is '1', expected a number"),
        ((1e308, 1.0), "weight times scaling of task 0 in MultiTaskLoRA is inf, expected"),
    ],
    ids=repr,
)
def test_weights_are_one_finite_number_for_each_task(
    weights: Any, said: str, rng: np.random.Generator
) -> None:
    tasks = tuple(replace(task, alpha=100.0) for task in two_tasks(rng).tasks)
    with pytest.raises(LoraRefError, match=f"^{said}"):
        MultiTaskLoRA(tasks, weights)


def test_numpy_weights_do_not_turn_float32_into_float64(rng: np.random.Generator) -> None:
    tasks = tuple(
        LoRALinear(*(a.astype(np.float32) for a in (task.W0, task.A, task.B)), 2.0)
        for task in two_tasks(rng).tasks
    )
    layer = MultiTaskLoRA(tasks, (np.float64(0.3), np.float64(-1.0)))
    assert {type(weight) for weight in layer.weights} == {float}
    assert layer.forward(np.ones((1, 7), np.float32))[0].dtype == np.float32


@pytest.mark.parametrize("by_row", [False, True], ids=["the sum", "rows by task"])
def test_a_pass_allocates_nothing_of_the_size_of_W0(by_row: bool, rng: np.random.Generator) -> None:
    out_features, in_features, n = 900, 1100, 4
    W0 = np.ones((out_features, in_features))
    layer = MultiTaskLoRA(tuple(LoRALinear.init(W0, 2, 4.0, rng) for _ in range(3)))
    x, grad_y = np.ones((n, in_features)), np.ones((n, out_features))
    keywords = {"task": np.array([2, 0, BASE, 2])} if by_row else {}
    found: list[int] = []
    with peak_bytes(found):
        _, cache = layer.forward(x, **keywords)
        layer.backward(grad_y, cache)
    with peak_bytes(found):
        layer.delta_w  # noqa: B018 what a pass must not do: the measurement sees it
    in_pass, in_product = found
    assert in_product >= W0.nbytes
    assert in_pass < W0.nbytes / 10
