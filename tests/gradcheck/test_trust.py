"""What the gradient checker may be trusted with: layers of a reader's own, and what it cannot tell.

On the layers and functions here there is no false alarm for a right gradient and no pass for a
wrong one. Where rounding, saturation or a kink leaves the question open, the answer is NaN with a
sentence. Known limits stand in the docstring of `lora_ref.gradcheck.differences`.
"""

import re
import warnings
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from itertools import product
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from readers_layers import IN, OUT, OWN, Gated, Own

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
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


def checked(
    layer: Any, x: Array, rng: np.random.Generator, **options: Any
) -> tuple[dict[str, float], list[str]]:
    """Return the errors, and the sentences."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GradientCheckWarning)
        errors = gradient_errors(layer, x, rng, **options)
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


def told(
    function: Any,
    derivative: Any,
    x: Array,
    *,
    wrong: float = 1.0,
    seed: int = 0,
    affine: bool = False,
) -> tuple[float, str]:
    """Return the error of the derivative of a function of entries, and the sentence about it."""
    rng = np.random.default_rng(seed)
    grad_y = rng.standard_normal(x.shape)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", GradientCheckWarning)
        gradients = {"x": wrong * grad_y * derivative(x)}
        errors = vjp_errors(
            lambda a: function(a["x"]), {"x": x}, grad_y, gradients, rng, affine=affine
        )
    return errors["x"], " ".join(str(warning.message) for warning in caught)


# ---------------------------------------------------------------------- right layers


@pytest.mark.parametrize("name", OWN)
def test_a_right_layer_of_a_readers_own_raises_no_false_alarm(name: str) -> None:
    for size, seed in product(SIZES, range(2)):
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
@pytest.mark.parametrize(
    "wrong",
    [
        pytest.param(1.001, id="a thousandth"),  # the hardest to see
        pytest.param(-1.0, id="sign", marks=pytest.mark.exhaustive),
        pytest.param(0.0, id="zero", marks=pytest.mark.exhaustive),
    ],
)
def test_a_wrong_gradient_of_such_a_layer_is_never_called_right(name: str, wrong: float) -> None:
    rng = np.random.default_rng(0)
    layer = OWN[name](rng)
    for size, argument in product(SIZES[::2], ("x", *layer.trainable)):
        x = size * rng.standard_normal((4, IN))
        changed = tampered(layer, argument, lambda grad: wrong * np.asarray(grad))
        errors, said = checked(changed, x, rng)
        assert not errors[argument] <= SMOOTH_TOLERANCE, argument
        assert not max(errors.values()) <= SMOOTH_TOLERANCE, "NaN stands first"
        if (name, size) not in SATURATED:
            assert errors[argument] > SMOOTH_TOLERANCE
            assert bool(said) == (errors[argument] == INFINITE) == (wrong == 0.0)


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
    for seed in range(20):
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((2, 3)) * 10.0 ** rng.uniform(-6, 2, (2, 3))
        at, grad_y = {"x": x}, rng.standard_normal((2, 3))
        errors = vjp_errors(lambda a: np.log(np.abs(a["x"])), at, grad_y, {"x": grad_y / x}, rng)
        assert errors["x"] < SMOOTH_TOLERANCE


ROUNDED = {
    "1 - cos x": (lambda x: 1 - np.cos(x), np.sin),
    "pseudo-Huber": (lambda x: np.sqrt(1 + x * x) - 1, lambda x: x / np.sqrt(1 + x * x)),
    "exp(x) - 1 - x": (lambda x: np.exp(x) - 1 - x, np.expm1),
    "float32 inside": (lambda x: np.tanh(np.float32(x)), lambda x: 1 / np.cosh(x) ** 2),
}


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("size", [1e-6, 1e-4, 1.0])
def test_a_function_that_is_rounded_inside_raises_no_false_alarm(name: str, size: float) -> None:
    """The smallest steps do not move 1 - cos x at all; that is no slope of zero."""
    function, derivative = ROUNDED[name]
    for seed in range(12):
        x = size * np.random.default_rng(seed).standard_normal((4, 6))
        assert not told(function, derivative, x, seed=seed)[0] > SMOOTH_TOLERANCE
        assert not told(function, derivative, x, seed=seed, wrong=0.0)[0] <= SMOOTH_TOLERANCE
        assert told(function, derivative, x, seed=seed, wrong=-1.0)[0] > SMOOTH_TOLERANCE


@pytest.mark.parametrize("levels", [10, 1000, 32767])
def test_a_quantized_function_has_no_slope_that_is_called_right(levels: int) -> None:
    for slope in (0.0, 1.0):
        x = np.random.default_rng(1).standard_normal((4, 6))
        error, _ = told(lambda x: np.round(levels * x) / levels, lambda x, s=slope: s + 0 * x, x)
        assert not error <= SMOOTH_TOLERANCE
        assert np.isnan(error) or slope == 1.0


@pytest.mark.parametrize("size", [1e-290, 1e-200, 1e200, 1e290])
@pytest.mark.parametrize("affine", [False, True])
def test_gradients_whose_squares_overflow_or_vanish_are_judged(size: float, affine: bool) -> None:
    x = np.random.default_rng(1).standard_normal((4, 6))

    def function(x: Array) -> Array:
        return size * (x if affine else np.tanh(x))

    def derivative(x: Array) -> Array:
        return size * (np.ones_like(x) if affine else 1 / np.cosh(x) ** 2)

    assert told(function, derivative, x, affine=affine)[0] < SMOOTH_TOLERANCE
    assert told(function, derivative, x, wrong=-1.0, affine=affine)[0] > 0.1


def test_a_right_relu_layer_needs_no_search_for_a_step() -> None:
    """Of 65,000 entries before ReLU some are nearer to the kink than the first step."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        x, W, calls = rng.standard_normal((256, 64)), rng.standard_normal((64, 256)), []

        def function(at: Params, W: Array = W, calls: list[int] = calls) -> Array:
            calls.append(1)
            return np.maximum(at["x"] @ W, 0.0)

        grad_y = rng.standard_normal((256, 256))
        gradients = {"x": (grad_y * (x @ W > 0)) @ W.T}
        assert vjp_errors(function, {"x": x}, grad_y, gradients, rng)["x"] < SMOOTH_TOLERANCE
        assert len(calls) <= 5


# ---------------------------------------------------------------------- what cannot be told


@pytest.mark.parametrize("wrong", [1.0, -1.0, 100.0])
def test_a_saturated_function_cannot_be_told(wrong: float) -> None:
    error, said = told(np.tanh, lambda x: 1 - np.tanh(x) ** 2, np.full((3, 4), 30.0), wrong=wrong)
    assert np.isnan(error)
    assert said == (
        "the gradient of x cannot be told right or wrong: y does not move at all here, and does "
        "further away, as where it is saturated, a ReLU is dead, or y is rounded inside"
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
        assert "only: rounding, or kinks nearby, leave no more" in said
    elif weight > 1e-12:
        assert error > 0.1
        assert said.endswith("it is zero or as good as zero, and y moves") == (wrong == 0.0)
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


def test_a_reason_says_what_it_is() -> None:
    x = np.array([[1.0, 2.0]])
    error, said = told(lambda x: np.where(x == 1.0, 0.0, np.nan), np.zeros_like, x)
    assert np.isnan(error)
    assert "y is not finite around this point, or no two steps agree" in said
    error, said = told(lambda x: np.maximum(x - 10, 0.0), np.zeros_like, x)
    assert np.isnan(error)
    assert "a ReLU is dead" in said


@pytest.mark.parametrize("step", [None, 1.0])
@pytest.mark.parametrize(
    ("zero", "untold"),
    [
        ("B1", {"x", "A1", "A2", "B2"}),
        ("A2", {"x", "A1", "B1", "B2"}),
        ("x", {"A1", "B1", "A2", "B2"}),
    ],
)
def test_what_is_zero_here_is_named_where_a_gradient_is_zero_with_it(
    zero: str, untold: set[str], step: float | None
) -> None:
    rng = np.random.default_rng(0)
    layer, x = OWN["LoHa"](rng), rng.standard_normal((4, IN))
    (x if zero == "x" else getattr(layer, zero))[...] = 0.0
    errors, said = checked(layer, x, rng, step=step)
    assert set(list(errors)[: len(untold)]) == untold, "NaN stands first"
    assert {name for name, error in errors.items() if np.isnan(error)} == untold
    assert max(error for name, error in errors.items() if name not in untold) < SMOOTH_TOLERANCE
    assert len(said) == len(untold)
    assert all(sentence.endswith(f"check where {zero} is not zero") for sentence in said)


def test_an_argument_that_does_not_enter_is_left_open_and_not_called_wrong() -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((IN, OUT)), rng.standard_normal((4, IN))
    layer = Plain(W, idle=rng.standard_normal(3))
    at, grad_y = {"x": x, **vars(layer)}, rng.standard_normal((4, OUT))
    right = {"x": grad_y @ W.T, "W": x.T @ grad_y}
    with pytest.warns(GradientCheckWarning, match=r"unless y has nothing to do with idle$"):
        errors = vjp_errors(
            lambda a: a["x"] @ a["W"], at, grad_y, {**right, "idle": np.zeros(3)}, rng
        )
    assert np.isnan(errors.pop("idle"))
    assert max(errors.values()) < SMOOTH_TOLERANCE


def test_a_gradient_that_is_zero_where_y_is_stationary_is_left_open() -> None:
    error, said = told(np.cos, lambda x: -np.sin(x), np.zeros((3, 4)))
    assert np.isnan(error)
    assert "it is zero, as it should be here, and so is 100 times it; check at another" in said


def test_a_forward_that_raises_outside_its_domain_is_searched_inside_it() -> None:
    def log(x: Array) -> Array:
        if x.min() <= 0:
            raise ValueError("only positive numbers have a logarithm")
        return np.log(x)

    x = np.array([[1e-8, 1.0, 2.0]])
    assert told(log, lambda x: 1 / x, x)[0] < SMOOTH_TOLERANCE
    assert told(log, lambda x: -1 / x, x)[0] > 0.1


def test_what_cannot_be_told_stands_first_so_that_the_largest_error_is_nan() -> None:
    rng = np.random.default_rng(0)
    layer = Gated(G=1e6 * rng.standard_normal((IN, 5)), V=rng.standard_normal((IN, 5)))
    errors, said = checked(layer, rng.standard_normal((4, IN)), rng)
    assert len(said) == 1
    assert next(iter(errors)) == "G"
    assert np.isnan(max(errors.values()))
    assert not all(error < INFINITE for error in errors.values())


# ---------------------------------------------------------------------- classes of many kinds


class Plain:
    """y = x @ W, with more attributes."""

    def __init__(self, W: Array, **more: Any) -> None:
        self.W = W
        vars(self).update(more)

    @property
    def trainable(self) -> Params:
        return {"W": self.W}

    def forward(self, x: Array) -> Any:
        return x @ self.W, x

    def backward(self, grad_y: Array, cache: Any) -> Any:
        return grad_y @ self.trainable["W"].T, {"W": cache.T @ grad_y}


@dataclass
class Scaled(Plain):
    W: Array
    scale: float = field(default=1.0, init=False)

    def forward(self, x: Array) -> Any:
        return self.scale * (x @ self.W), self.scale * x

    def backward(self, grad_y: Array, cache: Any) -> Any:
        return self.scale * grad_y @ self.W.T, {"W": cache.T @ grad_y}


class ForgetsScale(Scaled):
    def backward(self, grad_y: Array, cache: Any) -> Any:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x / self.scale, grads


@dataclass
class Doubled(Plain):
    W: Array

    def __post_init__(self) -> None:
        self.W = 2 * self.W


@dataclass(frozen=True, slots=True)
class Slotted:
    W: Array
    std: InitVar[float]
    trainable = Plain.trainable
    forward = Plain.forward
    backward = Plain.backward


class InADict(Plain):
    def __init__(self, W: Array) -> None:
        self.params = {"0.W": W}

    @property
    def trainable(self) -> Params:
        return {"W": self.params["0.W"]}

    def forward(self, x: Array) -> Any:
        return x @ self.params["0.W"], x


class InABuffer(Plain):
    def forward(self, x: Array) -> Any:
        np.matmul(x, self.W, out=self.out)
        return self.out, x


class KeepsState(Plain):
    """The counter, which is frozen, is changed in place and `factor` is replaced."""

    def forward(self, x: Array) -> Any:
        self.counter += 1
        self.factor = 2 * self.factor
        return self.factor * (x @ self.W), (x, self.factor)

    def backward(self, grad_y: Array, cache: Any) -> Any:
        return super().backward(cache[1] * grad_y, cache[0])


def made_scaled(W: Array, kind: type[Scaled] = Scaled) -> Scaled:
    layer = kind(W)
    layer.scale = 3.0
    return layer


def in_a_circle(W: Array) -> Plain:
    backend = ModuleType("backend")
    vars(backend).update(forward=np.matmul, W=W)
    layer = Plain(W, backend=backend)
    layer.child = SimpleNamespace(W=W, parent=layer)
    return layer


KINDS: dict[str, tuple[Callable[[Array], Any], list[str]]] = {
    "init=False": (made_scaled, []),
    "post-init": (Doubled, []),
    "frozen, slots, InitVar": (lambda W: Slotted(W, 1.0), []),
    "a backend, and itself": (in_a_circle, []),
    "an attribute x": (lambda W: Plain(W, x=np.zeros((4, 6)), grad_y=np.ones(2)), []),
    "in a dict": (InADict, []),
    "in a buffer": (lambda W: InABuffer(W, out=np.zeros((4, 5))), ["out changed in place"]),
    "state": (
        lambda W: KeepsState(W, counter=np.array([0]), factor=np.array(1.0)),
        ["counter changed in place"],
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_class_may_keep_its_parameters_and_its_state_as_it_likes(kind: str) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((6, 5)), rng.standard_normal((4, 6))
    make, changed = KINDS[kind]
    layer, kept = make(W), W.copy()
    errors, said = checked(layer, x, rng)
    assert list(errors) == ["x", "W", *changed]
    assert max(errors["x"], errors["W"]) < SMOOTH_TOLERANCE
    assert not said
    if kind != "frozen, slots, InitVar":
        assert checked(tampered(layer, "W", np.negative), x, rng)[0]["W"] > 0.1
    np.testing.assert_array_equal(W, kept)
    assert getattr(layer, "counter", 0) == 0


def test_a_field_that_the_constructor_does_not_take_keeps_its_value() -> None:
    rng = np.random.default_rng(0)
    layer = made_scaled(rng.standard_normal((6, 5)), ForgetsScale)
    errors = gradient_errors(layer, rng.standard_normal((4, 6)), rng)
    assert errors["x"] > 1e-3
    assert errors["W"] < SMOOTH_TOLERANCE


class Copies(Plain):
    trainable = property(lambda self: {"W": self._W.copy()})


class Tied(Plain):
    trainable = property(lambda self: {"W": self.W, "V": self.W})


class NamedX(Plain):
    trainable = property(lambda self: {"x": self.W})


class Method(Plain):
    trainable = lambda self: {"W": self.W}  # noqa: E731


class Nothing:
    pass


class OneOutput(Plain):
    forward = lambda self, x: x @ self.W  # noqa: E731


class Complex(Plain):
    forward = lambda self, x: (x @ self.W * 1j, x)  # noqa: E731


class OneGradient(Plain):
    backward = lambda self, grad_y, cache: grad_y @ self.W.T  # noqa: E731


class ListOfGradients(Plain):
    backward = lambda self, grad_y, cache: (grad_y @ self.W.T, [cache.T @ grad_y])  # noqa: E731


REFUSED = {
    Copies: "W in trainable of Copies cannot be moved: .* give Copies a with_params",
    Tied: "W in trainable of Tied cannot be moved: .* another parameter is the same array",
    NamedX: "trainable of NamedX has a parameter x, expected parameters by names other than x",
    Method: "trainable of Method is a method, expected parameters by names",
    Nothing: "trainable of Nothing is a NoneType",
    OneOutput: "forward of OneOutput returned a ndarray, expected two: y and a cache",
    Complex: "y in forward of Complex is of complex128, expected an array of real numbers",
    OneGradient: "backward of OneGradient returned a ndarray, expected two: the gradient of x",
    ListOfGradients: "backward of ListOfGradients returned parameters as a list, expected",
}


@pytest.mark.parametrize(
    ("kind", "sentence"), REFUSED.items(), ids=lambda one: getattr(one, "__name__", "")
)
def test_what_is_no_layer_is_refused_in_a_sentence(kind: Any, sentence: str) -> None:
    rng = np.random.default_rng(0)
    W, x = rng.standard_normal((6, 5)), rng.standard_normal((4, 6))
    layer = Nothing() if kind is Nothing else kind(W, _W=W)
    with pytest.raises(LoraRefError, match=sentence):
        gradient_errors(layer, x, rng)


@pytest.mark.parametrize(
    "grad", [1j * np.ones((6, 5)), [[1.0], [2.0, 3.0]], np.full((6, 5), None), "W"]
)
def test_a_gradient_that_is_no_array_of_real_numbers_is_wrong(grad: Any) -> None:
    rng = np.random.default_rng(0)
    layer = tampered(Plain(rng.standard_normal((6, 5))), "W", lambda _: grad)
    with pytest.warns(GradientCheckWarning, match="W is wrong: it is no array of real numbers$"):
        errors = gradient_errors(layer, rng.standard_normal((4, 6)), rng)
    assert errors["W"] == INFINITE
    assert errors["x"] < SMOOTH_TOLERANCE


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


def test_a_rare_mask_is_hinted_at_as_well() -> None:
    class Drops(Plain):
        def forward(self, x: Array) -> Any:
            kept = x * (self.rng.random(x.shape) >= 0.01)
            return kept @ self.W, kept

    hinted = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layer = Drops(rng.standard_normal((6, 5)), rng=np.random.default_rng(seed))
        errors, said = checked(layer, rng.standard_normal((4, 6)), rng)
        right = max(errors.values()) <= SMOOTH_TOLERANCE
        hinted += right or "forward gives two outputs" in said[-1]
    assert hinted >= 19


@pytest.mark.parametrize("function", [np.square, np.exp, lambda z: np.logaddexp(0, z)])
def test_a_layer_that_claims_to_be_affine_is_hinted_at_whatever_comes_of_it(function: Any) -> None:
    class Claims(Plain):
        affine_in_each_argument = True

        def forward(self, x: Array) -> Any:
            return function(x @ self.W), x

    rng = np.random.default_rng(0)
    errors, said = checked(Claims(rng.standard_normal((6, 5))), rng.standard_normal((4, 6)), rng)
    assert not max(errors.values()) < EXACT_TOLERANCE
    assert "y is not affine in x and W" in said[-1]


class Merges(Own):
    """y = x (W0 + B A).T, merged once, at construction."""

    def __init__(self, W0: Array, **params: Array) -> None:
        super().__init__(**params)
        self.W0, self.W = W0, W0 + self.B @ self.A

    def forward(self, x: Array) -> tuple[Array, Any]:
        return x @ self.W.T, x

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        grad_W = grad_y.T @ cache
        return grad_y @ self.W, {"A": self.B.T @ grad_W, "B": grad_W @ self.A.T}


class Scales(Merges):
    """s B is kept, and A enters as it is; affine, and it says so."""

    affine_in_each_argument = True

    def __init__(self, W0: Array, **params: Array) -> None:
        super().__init__(W0, **params)
        self.sB = 1.0 * self.B

    def forward(self, x: Array) -> tuple[Array, Any]:
        return x @ self.W0.T + x @ self.A.T @ self.sB.T, x


class MergesAnew(Merges):
    def with_params(self, params: Params) -> "MergesAnew":
        return MergesAnew(self.W0, **{**self.trainable, **params})


@pytest.mark.parametrize(
    ("kind", "stale"), [(Merges, ["A", "B"]), (Scales, ["B"]), (MergesAnew, [])]
)
def test_a_copy_made_at_construction_is_hinted_at(kind: Any, stale: list[str]) -> None:
    rng = np.random.default_rng(0)
    W0, A, B = (rng.standard_normal(shape) for shape in ((OUT, IN), (2, IN), (OUT, 2)))
    errors, said = checked(kind(W0, A=A, B=B), rng.standard_normal((4, IN)), rng)
    assert [name for name, error in errors.items() if error > SMOOTH_TOLERANCE] == stale
    assert [re.search("at all, and the gradient of (.) is not zero", s)[1] for s in said] == stale
    assert all("merged weight, with_params has to make that anew" in sentence for sentence in said)


def test_a_wrong_gradient_of_what_hardly_moves_y_is_not_taken_for_a_copy() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4))
    for wrong in (-1.0, 1e3):
        error, said = told(lambda x: 1e6 + 1e-9 * x, lambda x: 1e-9 + 0 * x, x, wrong=wrong)
        assert not error < SMOOTH_TOLERANCE
        assert "at all" not in said


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


def test_an_array_in_a_list_or_on_an_object_of_the_cache_is_looked_at_too() -> None:
    class UsesUp(Plain):
        def forward(self, x: Array, masks: list[Array]) -> Any:  # type: ignore[override]
            mask = masks[0].copy()
            masks[0][...] = 0
            return x @ self.W * mask, SimpleNamespace(x=x.copy(), mask=mask)

        def backward(self, grad_y: Array, cache: Any) -> Any:
            out = super().backward(grad_y * cache.mask, cache.x)
            cache.x[...] = 0.0
            return out

    rng, masks = np.random.default_rng(0), [np.ones((4, 5), np.int64)]
    layer = UsesUp(rng.standard_normal((6, 5)))
    errors = gradient_errors(layer, rng.standard_normal((4, 6)), rng, masks=masks)
    assert max(errors.pop("x"), errors.pop("W")) < SMOOTH_TOLERANCE
    assert set(errors) == {f"{name} changed in place" for name in ("masks.0", "cache.x")}
    assert masks[0].all()


def test_a_parameter_that_backward_replaces_is_named() -> None:
    class Steps(Plain):
        def backward(self, grad_y: Array, cache: Any) -> Any:
            out = super().backward(grad_y, cache)
            self.W = self.W - out[1]["W"]
            return out

    rng = np.random.default_rng(0)
    errors = gradient_errors(Steps(rng.standard_normal((6, 5))), rng.standard_normal((4, 6)), rng)
    assert errors.pop("W changed in place") == INFINITE
    assert max(errors.values()) < SMOOTH_TOLERANCE
