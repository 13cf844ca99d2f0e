"""The gradient checker: what it must pass, and what it must not."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from strategies import lora_problems, seeds

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import (
    EXACT_STEP,
    EXACT_TOLERANCE,
    SMOOTH_STEP,
    SMOOTH_TOLERANCE,
    GradientCheckWarning,
    gradient_errors,
    numerical_gradients,
    vjp_errors,
)
from lora_ref.layers import Linear, LoRALinear

Problem = tuple[LoRALinear, Array, np.random.Generator]
Tamper = Callable[[Array], Any]
INFINITE = float("inf")

# gradients of one entry are left to fixed seeds: where one cancels, rounding is all that is left
problems = lora_problems(at_least=2)


def draw(seed: int = 0, r: int = 2, **options: Any) -> Problem:
    """Return a layer of 7 inputs and 5 outputs, three rows for it, and a generator."""
    rng = np.random.default_rng(seed)
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (r, 7), (5, r)))
    return LoRALinear(W0, A, B, **{"alpha": 4.0, **options}), rng.standard_normal((3, 7)), rng


def tampered(name: str, tamper: Tamper) -> type[LoRALinear]:
    """Return a layer like LoRALinear whose backward returns another gradient for one argument."""

    class Tampered(LoRALinear):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            grad_x, grads = super().backward(grad_y, cache)
            if name == "x":
                return tamper(grad_x), grads
            return grad_x, {**grads, name: tamper(grads[name])}

    return Tampered


def errors_with(name: str, tamper: Tamper, seed: int = 0, **fields: Any) -> dict[str, float]:
    """Return what the checker says of a backward that was tampered with."""
    layer, x, rng = draw(seed)
    given = {"W0": layer.W0, "A": layer.A, "B": layer.B, "alpha": layer.alpha, **fields}
    return gradient_errors(tampered(name, tamper)(**given), x, rng)


# ---------------------------------------------------------------------- right gradients pass


@given(problems, st.booleans())
def test_a_right_lora_layer_passes_at_the_exact_step(problem: Problem, masked: bool) -> None:
    layer, x, rng = problem
    keywords = {"mask": 2.0 * (rng.random(x.shape) < 0.5)} if masked else {}
    keywords = {name: mask for name, mask in keywords.items() if mask.any()}
    errors = gradient_errors(layer, x, rng, step=EXACT_STEP, **keywords)
    assert set(errors) == {"x", "A", "B"}
    assert max(errors.values()) < EXACT_TOLERANCE


@given(problems)
def test_a_right_linear_layer_passes_at_the_exact_step(problem: Problem) -> None:
    layer, x, rng = problem
    errors = gradient_errors(Linear(layer.W0, np.ones(len(layer.W0))), x, rng)
    assert set(errors) == {"x", "W", "bias"}
    assert max(errors.values()) < EXACT_TOLERANCE


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (1, 6, 1, 3), (2, 1, 5, 4), (1, 40, 60, 8)])
def test_a_right_layer_of_an_unusual_shape_passes(shape: tuple[int, int, int, int]) -> None:
    for seed in range(10):
        n, out_features, in_features, r = shape
        rng = np.random.default_rng(seed)
        W0, A, B = (
            rng.standard_normal(size)
            for size in ((out_features, in_features), (r, in_features), (out_features, r))
        )
        x = rng.standard_normal((n, in_features))
        errors = gradient_errors(LoRALinear(W0, A, B, alpha=4), x, rng)
        assert max(errors.values()) < EXACT_TOLERANCE


SCALED = ("x", "W0", "A", "B", "alpha")


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("scaled", [*SCALED, "all"])
def test_tiny_and_huge_numbers_raise_no_false_alarm(scaled: str, factor: float) -> None:
    for seed in range(10):
        layer, x, rng = draw(seed)
        values = {"x": x, "W0": layer.W0, "A": layer.A, "B": layer.B, "alpha": layer.alpha}
        for name in SCALED if scaled == "all" else (scaled,):
            values[name] = factor * values[name]
        x = values.pop("x")
        errors = gradient_errors(LoRALinear(**values), x, rng)
        assert max(errors.values()) < EXACT_TOLERANCE


@pytest.mark.parametrize("factor", [1e-6, 1e6])
@pytest.mark.parametrize("scaled", [*SCALED, "all"])
def test_a_wrong_gradient_is_found_among_tiny_and_huge_numbers(scaled: str, factor: float) -> None:
    layer, x, rng = draw()
    values = {"x": x, "W0": layer.W0, "A": layer.A, "B": layer.B, "alpha": layer.alpha}
    for name in SCALED if scaled == "all" else (scaled,):
        values[name] = factor * values[name]
    x = values.pop("x")
    for argument in ("x", "A", "B"):
        wrong = tampered(argument, lambda grad: 1.01 * grad)(**values)
        errors = gradient_errors(wrong, x, rng)
        assert {name for name, error in errors.items() if error > 1e-5} == {argument}


def test_a_float32_layer_is_checked_in_float64() -> None:
    rng = np.random.default_rng(0)

    def single(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(np.float32)

    layer = LoRALinear(single(5, 7), single(2, 7), single(5, 2), 3.0, single(5))
    mask = (rng.random((3, 7)) < 0.5).astype(np.float32) * 2
    errors = gradient_errors(layer, single(3, 7), rng, mask=mask)
    assert max(errors.values()) < EXACT_TOLERANCE  # rounding in float32 is 1e5 times larger
    gradients = numerical_gradients(layer, single(3, 7), single(3, 5), mask=mask)
    assert {gradient.dtype for gradient in gradients.values()} == {np.dtype(np.float64)}
    assert layer.W0.dtype == np.float32


AT_START = (
    "the gradient of A cannot be told right or wrong: it is zero, as it should be where B is zero, "
    "and so is 100 times it; check where B is not zero"
)


@given(seeds)
def test_at_the_start_x_and_B_of_a_right_layer_pass_and_A_cannot_be_told(seed: int) -> None:
    layer, x, rng = draw(seed)
    start = LoRALinear.init(layer.W0, 2, 4.0, rng)
    with pytest.warns(GradientCheckWarning, match=f"^{AT_START}$"):
        errors = gradient_errors(start, x, rng)
    assert list(errors) == ["A", "x", "B"]
    assert np.isnan(errors.pop("A"))
    assert max(errors.values()) < EXACT_TOLERANCE


# ---------------------------------------------------------------------- wrong gradients do not


@pytest.mark.parametrize("argument", ["x", "A", "B"])
def test_a_gradient_too_large_by_a_twentieth_of_a_percent_fails(argument: str) -> None:
    for seed in range(20):
        errors = errors_with(argument, lambda grad: 1.0005 * grad, seed)
        assert errors.pop(argument) > 1e3 * EXACT_TOLERANCE
        assert max(errors.values()) < EXACT_TOLERANCE


@pytest.mark.parametrize("argument", ["x", "A", "B"])
def test_a_gradient_of_the_other_sign_fails(argument: str) -> None:
    assert errors_with(argument, lambda grad: -grad)[argument] > 1e-3


def test_a_backward_that_is_right_for_a_grad_y_of_ones_alone_fails() -> None:
    class SumsFirst(LoRALinear):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            return super().backward(np.full_like(grad_y, grad_y.mean()), cache)

    layer, x, rng = draw()
    errors = gradient_errors(SumsFirst(layer.W0, layer.A, layer.B, 4.0), x, rng)
    assert min(errors.values()) > 1e-3


@pytest.mark.parametrize("argument", ["x", "A", "B"])
def test_one_wrong_entry_fails(argument: str) -> None:
    for seed in range(20):

        def tamper(grad: Array, entry: int = seed) -> Array:
            wrong = grad.copy()
            wrong.flat[entry % wrong.size] += 1e-3
            return wrong

        assert errors_with(argument, tamper, seed)[argument] > 1e3 * EXACT_TOLERANCE


@pytest.mark.parametrize("argument", ["x", "A", "B"])
@pytest.mark.parametrize(
    ("tamper", "reason"),
    [
        (np.zeros_like, "it is zero or as good as zero, and y moves"),
        (lambda grad: np.full_like(grad, np.nan), "it is not finite"),
        (lambda grad: np.where(grad == grad.max(), np.inf, grad), "it is not finite"),
        (lambda grad: grad.T, r"it has shape \((7|5|2), \d\), expected \(\d, (7|5|2)\)"),
        (lambda grad: grad.ravel(), r"it has shape \(\d\d,\), expected \(\d, \d\)"),
        (lambda grad: grad[None], r"it has shape \(1, \d, \d\), expected \(\d, \d\)"),
        (lambda grad: grad[:1], r"it has shape \(1, \d\), expected \(\d, \d\)"),
        (lambda grad: grad.sum(), r"it has shape \(\), expected \(\d, \d\)"),
        (lambda grad: None, "there is none"),
        (lambda grad: 1j * grad, "it is no array of real numbers"),
    ],
    ids=["zero", "nan", "inf", "transposed", "flat", "deeper", "one-row", "number", "none", "1j"],
)
def test_a_gradient_that_cannot_be_right_has_an_infinite_error_and_a_sentence(
    argument: str, tamper: Tamper, reason: str
) -> None:
    with pytest.warns(
        GradientCheckWarning, match=f"^the gradient of {argument} is wrong: {reason}$"
    ):
        errors = errors_with(argument, tamper)
    assert errors.pop(argument) == INFINITE
    assert max(errors.values()) < EXACT_TOLERANCE


@pytest.mark.parametrize("start", [False, True], ids=["away from the start", "at the start"])
def test_a_missing_gradient_has_an_infinite_error_even_where_it_is_zero(start: bool) -> None:
    class Forgets(LoRALinear):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            grad_x, grads = super().backward(grad_y, cache)
            return grad_x, {"B": grads["B"]}

    layer, x, rng = draw()
    B = 0 * layer.B if start else layer.B
    with pytest.warns(GradientCheckWarning, match="^the gradient of A is wrong: there is none$"):
        errors = gradient_errors(Forgets(layer.W0, layer.A, B, 4.0), x, rng)
    assert errors["A"] == INFINITE
    assert errors["B"] < EXACT_TOLERANCE


def test_a_gradient_of_something_frozen_has_an_infinite_error() -> None:
    class TrainsW0(LoRALinear):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            grad_x, grads = super().backward(grad_y, cache)
            return grad_x, {**grads, "W0": grad_y.T @ cache.x}

    layer, x, rng = draw()
    with pytest.warns(GradientCheckWarning, match=r"W0 is wrong: only x, A, B should have one$"):
        errors = gradient_errors(TrainsW0(layer.W0, layer.A, layer.B, 4.0), x, rng)
    assert errors.pop("W0") == INFINITE
    assert max(errors.values()) < EXACT_TOLERANCE


def test_a_gradient_that_should_be_zero_and_is_not_fails() -> None:
    layer, x, rng = draw()
    for wrong in (1.0, 1e-6):
        made = tampered("A", lambda grad, wrong=wrong: grad + wrong)
        with pytest.warns(GradientCheckWarning, match="A is wrong: it should be zero where B is"):
            errors = gradient_errors(made(layer.W0, layer.A, 0 * layer.B, 4.0), x, rng)
        assert errors["A"] > 1e-3


def test_a_wrong_factor_is_invisible_where_the_gradient_is_zero() -> None:
    layer, _, _ = draw()
    with pytest.warns(GradientCheckWarning, match=AT_START):  # why to check away from the start
        errors = errors_with("A", lambda grad: 100 * grad, B=np.zeros_like(layer.B))
    assert np.isnan(errors["A"])
    assert errors_with("A", lambda grad: 100 * grad)["A"] > 0.01


# ---------------------------------------------------------------------- smooth functions


def tanh_errors(seed: int, factor: float = 1.0, step: float = SMOOTH_STEP) -> dict[str, float]:
    """Return the errors of a hand-written gradient of tanh(x @ W.T), `factor` times too large."""
    rng = np.random.default_rng(seed)
    at = {"x": rng.standard_normal((4, 6)), "W": rng.standard_normal((3, 6)) / 2}
    grad_y = rng.standard_normal((4, 3))

    def function(arguments: Params) -> Array:
        return np.tanh(arguments["x"] @ arguments["W"].T)

    through = factor * grad_y * (1 - function(at) ** 2)
    gradients = {"x": through @ at["W"], "W": through.T @ at["x"]}
    return vjp_errors(function, at, grad_y, gradients, rng, step=step)


def test_a_right_derivative_of_tanh_passes_at_the_smooth_step() -> None:
    for seed in range(30):
        assert max(tanh_errors(seed).values()) < SMOOTH_TOLERANCE


def test_a_derivative_of_tanh_too_large_by_a_twentieth_of_a_percent_fails() -> None:
    for seed in range(30):
        errors = tanh_errors(seed, factor=1.0005)
        assert min(errors.values()) > 10 * SMOOTH_TOLERANCE


@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0, 2.0])
def test_a_small_slope_on_a_large_value_is_still_judged(factor: float) -> None:
    rng = np.random.default_rng(0)
    at, grad_y = {"x": rng.standard_normal((4, 6))}, rng.standard_normal((4, 6))
    right = 1e-6 * grad_y / np.cosh(at["x"]) ** 2

    def function(arguments: Params) -> Array:
        return 1 + 1e-6 * np.tanh(arguments["x"])

    if factor == 1.0:
        with pytest.warns(GradientCheckWarning, match="x .* the slope is known to .*e-0[67] only"):
            assert np.isnan(vjp_errors(function, at, grad_y, {"x": right}, rng)["x"])
    elif factor == 0.0:
        with pytest.warns(GradientCheckWarning, match="x is wrong: it is zero"):
            assert vjp_errors(function, at, grad_y, {"x": 0 * right}, rng)["x"] == INFINITE
    else:
        assert vjp_errors(function, at, grad_y, {"x": factor * right}, rng)["x"] > 1e-2


def test_the_exact_step_is_for_affine_functions_only() -> None:
    assert min(tanh_errors(0, step=EXACT_STEP).values()) > 1e-3


class Squashed(Linear):
    """y = tanh(x @ W.T): smooth in W and x, affine in neither."""

    affine_in_each_argument = False

    def forward(self, x: Array) -> Any:
        z, cache = super().forward(x)
        return np.tanh(z), (np.tanh(z), cache)

    def backward(self, grad_y: Array, cache: Any) -> Any:
        y, below = cache
        return super().backward(grad_y * (1 - y**2), below)


@given(problems)
def test_a_layer_that_is_not_affine_in_each_argument_is_checked_at_the_smooth_step(
    problem: Problem,
) -> None:
    layer, x, rng = problem
    errors = gradient_errors(Squashed(layer.W0 / 4), x, rng)
    assert max(errors.values()) < SMOOTH_TOLERANCE


def test_a_layer_that_only_claims_to_be_affine_in_each_argument_fails() -> None:
    class Claims(Squashed):
        affine_in_each_argument = True

    layer, x, rng = draw()
    with pytest.warns(
        GradientCheckWarning, match=r"not affine in x and W, but Claims\.affine_in_each_argument"
    ):
        assert min(gradient_errors(Claims(layer.W0), x, rng).values()) > 1e-3


def test_the_smooth_step_is_the_cube_root_of_the_spacing_of_float64() -> None:
    assert pytest.approx(float(np.spacing(1.0)), rel=1e-12) == SMOOTH_STEP**3


# ---------------------------------------------------------------------- keywords, rounding


def test_keywords_reach_the_forward_pass() -> None:
    layer, x, rng = draw()
    mask = np.zeros_like(x)
    mask[:, 0] = 2.0
    grad_y = np.ones((3, 5))
    with_mask = numerical_gradients(layer, x, grad_y, mask=mask)
    without = numerical_gradients(layer, x, grad_y)
    assert_allclose(with_mask["A"][:, 1:], 0.0, atol=1e-12)
    assert np.abs(without["A"][:, 1:]).min() > 1e-3

    class ForgetsMask(LoRALinear):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            return super().backward(grad_y, cache._replace(mask=None))

    wrong = ForgetsMask(layer.W0, layer.A, layer.B, 4.0)
    assert gradient_errors(wrong, x, rng)["x"] < EXACT_TOLERANCE
    assert gradient_errors(wrong, x, rng, mask=mask)["x"] > 1e-3


def test_integer_keywords_stay_integers() -> None:
    seen = []

    class Chooses(Linear):
        def forward(self, x: Array, *, task: Any) -> Any:  # type: ignore[override]
            seen.append(task.dtype)
            y, cache = super().forward(x)
            return y, cache

    layer, x, rng = draw()
    gradient_errors(Chooses(layer.W0), x, rng, task=np.zeros(3, np.int64))
    assert set(seen) == {np.dtype(np.int64)}


@pytest.mark.filterwarnings("ignore:.*it is zero or as good as zero")
@pytest.mark.parametrize("size", [1e3, 1e6, 1e9])
def test_a_large_frozen_part_does_not_hide_a_wrong_gradient_of_ordinary_size(size: float) -> None:
    layer, x, rng = draw()
    for argument in ("A", "B"):
        for tamper in (lambda grad: 1.01 * grad, np.zeros_like):
            wrong = tampered(argument, tamper)(size * layer.W0, layer.A, layer.B, 4.0)
            errors = gradient_errors(wrong, x, rng)
            assert errors[argument] > 1e3 * EXACT_TOLERANCE


# ---------------------------------------------------------------------- whole gradients


@given(problems, st.booleans())
def test_whole_numerical_gradients_equal_those_of_backward(problem: Problem, masked: bool) -> None:
    layer, x, rng = problem
    keywords = {"mask": 2.0 * (rng.random(x.shape) < 0.5)} if masked else {}
    grad_y = rng.standard_normal((len(x), len(layer.W0)))
    grad_x, grads = layer.backward(grad_y, layer.forward(x, **keywords)[1])
    numerical = numerical_gradients(layer, x, grad_y, **keywords)
    assert set(numerical) == {"x", "A", "B"}
    for name, grad in {"x": grad_x, **grads}.items():
        assert numerical[name].shape == grad.shape
        assert_allclose(numerical[name], grad, rtol=1e-10, atol=1e-10)


def test_whole_numerical_gradients_of_a_smooth_layer_equal_those_of_backward() -> None:
    lora, x, rng = draw()
    layer = Squashed(lora.W0 / 4)
    grad_y = rng.standard_normal((3, 5))
    grad_x, grads = layer.backward(grad_y, layer.forward(x)[1])
    numerical = numerical_gradients(layer, x, grad_y)
    assert_allclose(numerical["x"], grad_x, rtol=1e-7, atol=1e-8)
    assert_allclose(numerical["W"], grads["W"], rtol=1e-7, atol=1e-8)


def test_whole_numerical_gradients_fit_the_step_to_each_entry() -> None:
    class Log(Linear):
        affine_in_each_argument = False
        trainable: Any = property(lambda self: {})

        def forward(self, x: Array) -> Any:
            return np.log(np.abs(x)), x

    x = np.array([[1e-7, 1.0, -30.0]])
    numerical = numerical_gradients(Log(np.ones((3, 3))), x, np.ones((1, 3)))
    assert_allclose(numerical["x"], 1 / x, rtol=1e-9)


# ---------------------------------------------------------------------- what it is given


def test_checking_changes_nothing() -> None:
    layer, x, rng = draw()
    arrays = (layer.W0, layer.A, layer.B, x)
    before = [array.copy() for array in arrays]
    gradient_errors(layer, x, rng)
    numerical_gradients(layer, x, np.ones((3, 5)))
    for array, kept in zip(arrays, before, strict=True):
        assert_array_equal(array, kept)


@pytest.mark.parametrize("rng", [None, 0, np.random.RandomState(0)], ids=["none", "seed", "old"])
def test_the_check_asks_for_a_generator(rng: Any) -> None:
    layer, x, _ = draw()
    with pytest.raises(LoraRefError, match=r"^rng in gradient_errors is .*numpy.random.Generator"):
        gradient_errors(layer, x, rng)


def test_the_check_asks_for_finite_rows_of_floats() -> None:
    layer, x, rng = draw()
    with pytest.raises(LoraRefError, match=r"^x in LoRALinear.forward has dtype int64"):
        gradient_errors(layer, np.ones((3, 7), np.int64), rng)
    with pytest.raises(LoraRefError, match=r"^x in the gradient check holds nan at \(0, 0\)"):
        gradient_errors(layer, x * np.nan, rng)


@pytest.mark.parametrize("shape", [(5, 3), (15,), (1, 3, 5), (3, 4), (5,)])
def test_the_check_asks_for_a_grad_y_like_y(shape: tuple[int, ...]) -> None:
    layer, x, rng = draw()
    with pytest.raises(ShapeError, match=r"^grad_y in .* has shape .*, expected \(3, 5\)"):
        numerical_gradients(layer, x, np.ones(shape))
    with pytest.raises(ShapeError, match=r"^grad_y in .* has shape .*, expected \(3, 5\)"):
        vjp_errors(lambda at: at["x"], {"x": np.ones((3, 5))}, np.ones(shape), {}, rng)
