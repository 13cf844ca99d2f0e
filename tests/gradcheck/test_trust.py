"""What the gradient checker may be trusted with: layers of a reader's own, and what it cannot tell.

On the layers and functions here there is no false alarm for a right gradient and no pass for a
wrong one. Where rounding, saturation or a kink leaves the question open, the answer is NaN with a
sentence. Known limits stand in the docstring of `lora_ref.gradcheck.differences`.
"""

import warnings
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
from readers_layers import IN, OWN, Gated, Own

from lora_ref.checks import Array, Params
from lora_ref.gradcheck import (
    EXACT_TOLERANCE,
    SMOOTH_TOLERANCE,
    GradientCheckWarning,
    gradient_errors,
    in_place_changes,
    numerical_gradients,
    vjp_errors,
)
from lora_ref.layers import Linear, LoRALinear
from lora_ref.training import Network

SIZES = (1e-6, 1e-3, 1.0, 1e3, 1e6)
INFINITE = float("inf")

SATURATED = {("gated unit", 1e3), ("gated unit", 1e6), ("causal attention", 1e-6)}
SATURATED |= {("causal attention", 1e3), ("causal attention", 1e6)}
"""Where a gate or a softmax is at its end, or all positions weigh alike, something stays open."""


def checked(layer: Any, x: Array, rng: np.random.Generator) -> tuple[dict[str, float], list[str]]:
    """Return the errors, and the sentences."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GradientCheckWarning)
        errors = gradient_errors(layer, x, rng)
    return errors, [str(warning.message) for warning in caught]


def tampered(layer: Any, name: str, tamper: Callable[[Array], Any]) -> Any:
    """Return a layer of another class, whose backward has one gradient wrong."""

    class Tampered(type(layer)):  # type: ignore[misc]
        def backward(self, grad_y: Array, cache: Any) -> Any:
            grad_x, grads = super().backward(grad_y, cache)
            if name == "x":
                return tamper(grad_x), grads
            return grad_x, {**grads, name: tamper(grads[name])}

    made = object.__new__(Tampered)
    made.__dict__.update(vars(layer))
    return made


# ---------------------------------------------------------------------- right layers


@pytest.mark.parametrize("name", OWN)
def test_a_right_layer_of_a_readers_own_raises_no_false_alarm(name: str) -> None:
    for size, seed in product(SIZES, range(4)):
        rng = np.random.default_rng(seed)
        layer, x = OWN[name](rng), size * rng.standard_normal((4, IN))
        errors, said = checked(layer, x, rng)
        assert set(errors) == {"x", *layer.trainable}
        told = [error for error in errors.values() if not np.isnan(error)]
        assert max(told) < SMOOTH_TOLERANCE
        assert len(said) == len(errors) - len(told)
        if (name, size) not in SATURATED:
            assert not said


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("wrong", [1.001, -1.0, 0.0], ids=["a thousandth", "sign", "zero"])
def test_a_wrong_gradient_of_such_a_layer_is_never_called_right(name: str, wrong: float) -> None:
    rng = np.random.default_rng(0)
    layer = OWN[name](rng)
    for size, argument in product(SIZES, ("x", *layer.trainable)):
        x = size * rng.standard_normal((4, IN))
        changed = tampered(layer, argument, lambda grad: wrong * np.asarray(grad))
        errors, said = checked(changed, x, rng)
        assert not errors[argument] <= SMOOTH_TOLERANCE, argument
        assert not max(errors.values()) <= SMOOTH_TOLERANCE, "NaN stands first"
        if (name, size) not in SATURATED:
            assert errors[argument] > SMOOTH_TOLERANCE
            assert not said


def test_a_network_in_float32_is_checked_in_float64() -> None:
    rng = np.random.default_rng(0)
    network = Network.mlp([6, 5, 4, 3], rng, dtype=np.float32)
    moved = {name: p + np.float32(0.1) for name, p in network.trainable.items()}
    network = network.with_params(moved)  # biases of zero put dead rows on the kink of ReLU
    x = rng.standard_normal((4, 6)).astype(np.float32)
    errors = gradient_errors(network, x, rng)
    assert len(errors) == 7
    assert max(errors.values()) < SMOOTH_TOLERANCE
    assert network["fc1"].trainable["W"].dtype == np.float32


def test_a_parameter_may_be_a_list_or_a_number() -> None:
    class Affine(Own):
        def forward(self, x: Array) -> tuple[Array, Any]:
            return x @ np.asarray(self.W) + self.b, x

        def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
            grads = {"W": (cache.T @ grad_y).tolist(), "b": float(grad_y.sum())}
            return grad_y @ np.transpose(self.W), grads

    rng = np.random.default_rng(0)
    layer, x = Affine(W=[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], b=0.5), rng.standard_normal((4, 3))
    assert max(gradient_errors(layer, x, rng).values()) < SMOOTH_TOLERANCE
    numerical = numerical_gradients(layer, x, np.ones((4, 2)))
    assert {name: grad.shape for name, grad in numerical.items()} == {
        "x": (4, 3), "W": (3, 2), "b": (),
    }  # fmt: skip
    np.testing.assert_allclose(numerical["b"], 8.0, rtol=1e-6)


def test_the_step_follows_the_size_of_each_argument() -> None:
    """At an absolute step of 6e-6 the first has truncation, and the second is rounding alone."""
    for size in (1e-9, 1e9):
        rng = np.random.default_rng(0)
        at, grad_y = {"x": size * (1 + rng.random((3, 4)))}, rng.standard_normal((3, 4))
        gradients = {"x": grad_y / at["x"]}
        errors = vjp_errors(lambda a: np.log(a["x"]), at, grad_y, gradients, rng)
        assert errors["x"] < SMOOTH_TOLERANCE


def test_the_smallest_entries_of_an_array_are_checked_beside_its_largest() -> None:
    for seed in range(60):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((2, 3)) * 10.0 ** rng.uniform(-6, 2, (2, 3))
        at, grad_y = {"x": x}, rng.standard_normal((2, 3))
        errors = vjp_errors(lambda a: np.log(np.abs(a["x"])), at, grad_y, {"x": grad_y / x}, rng)
        assert errors["x"] < SMOOTH_TOLERANCE


def test_a_function_that_is_rounded_inside_raises_no_false_alarm() -> None:
    """The smallest steps do not move 1 - cos x at all; that is no slope of zero."""
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, grad_y = 1e-4 * rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
        for function, derivative in (
            (lambda x: 1 - np.cos(x), np.sin),
            (lambda x: np.sqrt(1 + x * x) - 1, lambda x: x / np.sqrt(1 + x * x)),
        ):
            gradients = {"x": grad_y * derivative(x)}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", GradientCheckWarning)
                error = vjp_errors(lambda a: function(a["x"]), {"x": x}, grad_y, gradients, rng)  # noqa: B023
            assert not error["x"] > SMOOTH_TOLERANCE


# ---------------------------------------------------------------------- what cannot be told


def told(function: Any, derivative: Any, x: Array, *, wrong: float = 1.0) -> tuple[float, str]:
    """Return the error of the derivative of a function of entries, and the sentence about it."""
    rng = np.random.default_rng(0)
    grad_y = rng.standard_normal(x.shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GradientCheckWarning)
        gradients = {"x": wrong * grad_y * derivative(x)}
        errors = vjp_errors(lambda a: function(a["x"]), {"x": x}, grad_y, gradients, rng)
    return errors["x"], " ".join(str(warning.message) for warning in caught)


@pytest.mark.parametrize("wrong", [1.0, -1.0, 100.0])
def test_a_saturated_function_cannot_be_told(wrong: float) -> None:
    error, said = told(np.tanh, lambda x: 1 - np.tanh(x) ** 2, np.full((3, 4), 30.0), wrong=wrong)
    assert np.isnan(error)
    assert said == (
        "the gradient of x cannot be told right or wrong: y does not move at all here, and does "
        "further away, as where it is saturated"
    )


@pytest.mark.parametrize("at_kink", [0.0, 1.0])
def test_at_a_kink_both_slopes_may_be_right(at_kink: float) -> None:
    x = np.array([[0.0, 1.0, -2.0]])
    error, said = told(lambda x: np.maximum(x, 0), lambda x: np.where(x, x > 0, at_kink), x)
    assert np.isnan(error)
    assert "y has a kink here, and the slopes on its two sides differ" in said


def test_beside_a_kink_a_gradient_outside_its_two_slopes_is_wrong() -> None:
    x = np.array([[0.0, 1.0, -2.0]])
    error, said = told(lambda x: np.maximum(x, 0), lambda x: np.where(x, x > 0, 5.0), x)
    assert error > 0.1
    assert not said


@pytest.mark.parametrize("near", [1e-3, 1e-6, 1e-8])
def test_a_kink_nearby_is_stepped_over(near: float) -> None:
    x = np.array([[near, 1.0, -2.0]])
    error, _ = told(lambda x: np.maximum(x, 0), lambda x: x > 0, x)
    assert error < SMOOTH_TOLERANCE or np.isnan(error)
    error, _ = told(lambda x: np.maximum(x, 0), lambda x: 1.01 * (x > 0), x)
    assert not error < 1e-4


@pytest.mark.parametrize("weight", [1e-8, 1e-10, 1e-12])
@pytest.mark.parametrize("wrong", [1.0, -1.0, 0.0])
def test_a_branch_that_weighs_next_to_nothing_is_told_or_left_open(
    weight: float, wrong: float
) -> None:
    x = np.random.default_rng(1).standard_normal((3, 4))
    error, said = told(
        lambda x: 1 + weight * np.sin(x), lambda x: weight * np.cos(x), x, wrong=wrong
    )
    if wrong == 1.0:
        assert np.isnan(error)
        assert "y is large beside what moves it" in said
    elif weight > 1e-12:
        assert error > 0.1
        assert not said
    else:
        assert not error < 0.1


def test_a_gradient_below_the_rounding_of_y_is_neither_right_nor_wrong() -> None:
    """Softmax does not see a shift: the slope is zero, and what is computed is rounding."""

    def shifted(arguments: Params) -> Array:
        e = np.exp(arguments["z"] + arguments["shift"])
        return e / e.sum()

    rng = np.random.default_rng(0)
    at, grad_y = {"z": rng.standard_normal(5), "shift": np.array(0.3)}, rng.standard_normal(5)
    p = shifted(at)
    grad = p * (grad_y - p @ grad_y)
    with pytest.warns(GradientCheckWarning, match="shift .* smaller than what rounding of y"):
        errors = vjp_errors(shifted, at, grad_y, {"z": grad, "shift": grad.sum() + 1e-17}, rng)
    assert errors["z"] < SMOOTH_TOLERANCE
    assert np.isnan(errors["shift"])
    assert vjp_errors(shifted, at, grad_y, {"z": grad, "shift": 1e-3}, rng)["shift"] > 0.1


def test_a_function_that_is_not_finite_nearby_cannot_be_told() -> None:
    x = np.array([[1.0, 2.0]])
    error, said = told(lambda x: np.where(x == 1.0, 0.0, np.nan), np.zeros_like, x)
    assert np.isnan(error)
    assert "y is not finite around this point" in said


def test_what_cannot_be_told_stands_first_so_that_the_largest_error_is_nan() -> None:
    rng = np.random.default_rng(0)
    layer = Gated(G=1e6 * rng.standard_normal((IN, 5)), V=rng.standard_normal((IN, 5)))
    errors, said = checked(layer, rng.standard_normal((4, IN)), rng)
    assert len(said) == 1
    assert next(iter(errors)) == "G"
    assert np.isnan(max(errors.values()))
    assert not all(error < INFINITE for error in errors.values())


# ---------------------------------------------------------------------- hints


def test_a_mask_drawn_inside_forward_is_hinted_at() -> None:
    class Drops(Linear):
        def forward(self, x: Array) -> Any:
            return super().forward(x * (np.random.default_rng().random(x.shape) < 0.5))

    rng = np.random.default_rng(0)
    with pytest.warns(GradientCheckWarning, match="forward gives two outputs for one x, .* mask"):
        errors = gradient_errors(Drops(rng.standard_normal((5, 7))), np.ones((3, 7)), rng)
    assert set(errors) == {"x", "W"}
    assert np.isnan(list(errors.values())).all()


# ---------------------------------------------------------------------- changes in place


def problem() -> tuple[tuple[Array, ...], Array, np.random.Generator]:
    rng = np.random.default_rng(0)
    arrays = tuple(rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 2)))
    return arrays, rng.standard_normal((3, 7)), rng


class ScalesGradY(LoRALinear):
    def backward(self, grad_y: Array, cache: Any) -> Any:
        grad_y *= 2.0
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x / 2, {name: grad / 2 for name, grad in grads.items()}


class OverwritesX(LoRALinear):
    def backward(self, grad_y: Array, cache: Any) -> Any:
        grad_x, grads = super().backward(grad_y, cache)
        cache.x[...] = grad_x
        return grad_x, grads


class CentresX(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> Any:
        out = super().forward(x.copy(), mask=mask)
        x -= x.mean()
        return out


class MovesA(LoRALinear):
    def backward(self, grad_y: Array, cache: Any) -> Any:
        grad_x, grads = super().backward(grad_y, cache)
        self.A[...] -= 0.1 * grads["A"]
        return grad_x, grads


class UsesUpTheCache(LoRALinear):
    def backward(self, grad_y: Array, cache: Any) -> Any:
        grad_x, grads = super().backward(grad_y, cache)
        cache.h[...] = 0.0
        return grad_x, grads


IN_PLACE = {
    ScalesGradY: "grad_y",
    OverwritesX: "x",
    CentresX: "x",
    MovesA: "A",
    UsesUpTheCache: "cache.h",
}


@pytest.mark.parametrize(("kind", "named"), IN_PLACE.items(), ids=lambda one: str(one))
def test_what_is_changed_in_place_is_named_beside_gradients_that_are_right(
    kind: type[LoRALinear], named: str
) -> None:
    arrays, x, rng = problem()
    layer = kind(*(array.copy() for array in arrays), 4.0)
    given = x.copy()
    errors = gradient_errors(layer, x, rng)
    assert errors.pop(f"{named} changed in place") == INFINITE
    assert set(errors) == {"x", "A", "B"}
    assert max(errors.values()) < EXACT_TOLERANCE
    changes = in_place_changes(layer, x, rng)
    assert changes.pop(named) > 1e-3
    assert not any(changes.values())
    np.testing.assert_array_equal(x, given)
    np.testing.assert_array_equal(layer.A, arrays[1])


def test_pure_passes_change_nothing_and_every_array_is_looked_at() -> None:
    arrays, x, rng = problem()
    changes = in_place_changes(LoRALinear(*arrays, 4.0), x, rng)
    assert changes == dict.fromkeys(["x", "W0", "A", "B", "grad_y", "cache.h"], 0.0)
    network = Network.mlp([7, 4, 3], rng)
    changes = in_place_changes(network, x, rng)
    assert {"x", "grad_y", "layers.fc1.W", "layers.fc2.bias"} <= set(changes)
    assert not any(changes.values())


def test_a_mask_changed_in_place_is_named() -> None:
    class HalvesMask(LoRALinear):
        def forward(self, x: Array, *, mask: Array | None = None) -> Any:
            out = super().forward(x, mask=None if mask is None else mask.copy())
            if mask is not None:
                mask /= 2
            return out

    arrays, x, rng = problem()
    mask = 2.0 * (rng.random(x.shape) < 0.5)
    errors = gradient_errors(HalvesMask(*arrays, 4.0), x, rng, mask=mask)
    assert errors["mask changed in place"] == INFINITE
    assert set(np.unique(mask)) == {0.0, 2.0}
