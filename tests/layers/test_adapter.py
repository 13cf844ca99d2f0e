"""The bottleneck adapter: its formula, its start, its gradients, and that no weight replaces it."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from layer_examples import examples
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors, vjp_errors
from lora_ref.layers import Linear, LoRALinear
from lora_ref.layers.adapter import Adapter
from lora_ref.ops import ACTIVATIONS

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 6)
activations = pytest.mark.parametrize("activation", ACTIVATIONS)


def random_adapter(rng, features, m, activation):
    shapes = (m, features), (m,), (features, m), (features,)
    return Adapter(*(rng.standard_normal(shape) for shape in shapes), activation)


@st.composite
def inputs(draw):
    """x of two or three axes, and a generator."""
    shape = tuple(draw(st.lists(sizes, min_size=2, max_size=3)))
    rng = np.random.default_rng(draw(seeds))
    return rng.standard_normal(shape), rng


# ---------------------------------------------------------------------------------- the formula

SCALAR = {
    "relu": lambda v: max(v, 0.0),
    "tanh": math.tanh,
    "gelu": lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2,
    "silu": lambda v: v / (1 + math.exp(-v)),
    "gelu_tanh": lambda v: v / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))),
}


def adapter_by_loops(adapter, x):
    m, features = adapter.W_down.shape
    phi, y = SCALAR[adapter.activation], np.empty_like(x)
    for i in range(len(x)):
        h = [
            phi(sum(adapter.W_down[k, j] * x[i, j] for j in range(features)) + adapter.b_down[k])
            for k in range(m)
        ]
        for j in range(features):
            y[i, j] = x[i, j] + sum(adapter.W_up[j, k] * h[k] for k in range(m)) + adapter.b_up[j]
    return y


@activations
@given(inputs(), st.integers(1, 8))
def test_forward_is_the_formula_in_loops(activation, problem, m):
    x, rng = problem
    adapter = random_adapter(rng, x.shape[-1], m, activation)
    expected = adapter_by_loops(adapter, x.reshape(-1, x.shape[-1]))
    assert_allclose(adapter.forward(x)[0], expected.reshape(x.shape), rtol=1e-11, atol=1e-12)


@given(st.integers(1, 9), st.integers(1, 9))
def test_adapter_trains_2dm_plus_m_plus_d_numbers(d, m):
    adapter = Adapter.init(d, m, np.random.default_rng(0))
    assert sum(array.size for array in adapter.trainable.values()) == 2 * d * m + m + d


# ------------------------------------------------------------------------------------ gradients


@given(inputs())
def test_every_example_passes_the_gradient_check(problem):
    x, rng = problem
    made = examples(Adapter, x, 5, rng)
    assert {adapter.activation for adapter, _ in made} == set(ACTIVATIONS)
    for adapter, keywords in made:
        errors = gradient_errors(adapter, x, rng, **keywords)
        assert errors.keys() == {"x", "W_down", "b_down", "W_up", "b_up"}
        assert max(errors.values()) < SMOOTH_TOLERANCE


@given(st.integers(2, 4), st.integers(3, 5), st.integers(1, 3), seeds)
def test_relu_gradients_agree_where_rows_switch_different_units(n, features, m, seed):
    rng = np.random.default_rng(seed)
    x, adapter = rng.standard_normal((n, features)), random_adapter(rng, features, m, "relu")
    before = x @ adapter.W_down.T + adapter.b_down
    assume(np.abs(before).min() > 0.01)  # a step is a thousand times smaller: none meets the kink
    on = before > 0
    assume((on.any(axis=0) & ~on.all(axis=0)).any())
    assert max(gradient_errors(adapter, x, rng).values()) < 10 * SMOOTH_TOLERANCE


def test_one_row_and_a_bottleneck_wider_than_the_features_pass_the_gradient_check(rng):
    x = rng.standard_normal((1, 3))
    adapter = random_adapter(rng, 3, 8, "tanh")
    assert max(gradient_errors(adapter, x, rng).values()) < SMOOTH_TOLERANCE


class ForgetsTheResidual(Adapter):
    def backward(self, grad_y, cache):
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x - grad_y, grads


class ForgetsTheActivation(Adapter):
    def backward(self, grad_y, cache):
        _, grads = super().backward(grad_y, cache)
        grad_h = grad_y @ self.W_up
        return grad_y + grad_h @ self.W_down, {
            **grads,
            "W_down": grad_h.T @ cache.x,
            "b_down": grad_h.sum(axis=0),
        }


class AveragesTheBiases(Adapter):
    def backward(self, grad_y, cache):
        grad_x, grads = super().backward(grad_y, cache)
        means = {name: grads[name] / len(cache.x) for name in ("b_down", "b_up")}
        return grad_x, {**grads, **means}


class UsesTheWrongSideOfTheBottleneck(Adapter):
    def backward(self, grad_y, cache):
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {**grads, "W_up": grad_y.T @ (cache.x @ self.W_down.T + self.b_down)}


@pytest.mark.parametrize(
    ("wrong", "caught"),
    [
        (ForgetsTheResidual, {"x"}),
        (ForgetsTheActivation, {"x", "W_down", "b_down"}),
        (AveragesTheBiases, {"b_down", "b_up"}),
        (UsesTheWrongSideOfTheBottleneck, {"W_up"}),
    ],
)
def test_gradient_check_rejects_a_wrong_backward_and_names_the_argument(wrong, caught, rng):
    shapes = (2, 5), (2,), (5, 2), (5,)
    adapter = wrong(*(rng.standard_normal(shape) for shape in shapes), "tanh")
    errors = gradient_errors(adapter, rng.standard_normal((4, 5)), rng)
    assert {name for name, error in errors.items() if error > 1e-3} == caught


# -------------------------------------------------------------------------------------- the start


@activations
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_start_is_the_identity_bit_for_bit(activation, dtype, rng):
    x = rng.standard_normal((4, 3, 7)).astype(dtype)
    adapter = Adapter.init(7, 2, rng, dtype, activation)
    y, _ = adapter.forward(x)
    assert y.tobytes() == x.tobytes()
    assert y is not x
    assert {array.dtype for array in adapter.trainable.values()} == {np.dtype(dtype)}


@activations
def test_any_down_projection_is_the_identity_under_a_zero_up_projection(activation, rng):
    adapter = random_adapter(rng, 7, 3, activation)
    zero = adapter.with_params({"W_up": np.zeros((7, 3)), "b_up": np.zeros(7)})
    x = rng.standard_normal((4, 7))
    assert zero.forward(x)[0].tobytes() == x.tobytes()
    assert not np.allclose(adapter.forward(x)[0], x)


def test_the_one_exception_to_the_bit_is_the_sign_of_a_zero():
    adapter = Adapter.init(2, 1, np.random.default_rng(0))
    y, _ = adapter.forward(np.array([[-0.0, 1.0]]))
    assert y.tolist() == [[0.0, 1.0]]
    assert not np.signbit(y[0, 0])


@activations
def test_at_the_start_only_the_upper_half_has_a_gradient(activation, rng):
    x = rng.standard_normal((9, 7))
    adapter = Adapter.init(7, 3, rng, activation=activation)
    _, cache = adapter.forward(x)
    grad_x, grads = adapter.backward(rng.standard_normal((9, 7)), cache)
    moving = {name for name, grad in grads.items() if grad.any()}
    assert moving == {"W_up", "b_up"}
    assert grad_x.any()


def test_start_is_a_normal_cut_at_two_standard_deviations_and_so_a_little_narrower(rng):
    W_down = Adapter.init(200, 100, rng).W_down
    assert np.abs(W_down).max() <= 0.02
    assert np.abs(W_down).max() > 0.0199
    assert abs(W_down.mean()) < 3e-4
    assert 0.87 < W_down.std() / 0.01 < 0.89


def test_start_repeats_for_a_seed_and_scales_with_std():
    first, again, wide, single = (
        Adapter.init(5, 2, np.random.default_rng(4), dtype, std=std)
        for dtype, std in [("f8", 0.01), ("f8", 0.01), ("f8", 0.5), ("f4", 0.01)]
    )
    assert_array_equal(first.W_down, again.W_down)
    assert_allclose(wide.W_down, 50 * first.W_down, rtol=1e-14)
    assert_array_equal(single.W_down, first.W_down.astype(np.float32))


# ----------------------------------------------------------------------------- no W reproduces it


def affine_defect(layer, x, step):
    """Return f(x + step) + f(x - step) - 2 f(x): 0 if f is any weight with any bias."""
    ahead, middle, behind = (layer.forward(at)[0] for at in (x + step, x, x - step))
    return ahead + behind - 2 * middle


@activations
def test_no_weight_and_bias_reproduce_an_adapter(activation, rng):
    """f(x) + f(-x) - 2 f(0) is 0 for every affine f; here above a quarter of the largest y - x."""
    adapter = random_adapter(rng, 7, 3, activation)
    x = rng.standard_normal((6, 7))
    defect = affine_defect(adapter, np.zeros_like(x), x)
    added = adapter.forward(x)[0] - x
    assert np.abs(defect).max() > 0.25 * np.abs(added).max()


@given(inputs())
def test_linear_and_lora_layers_have_no_affine_defect(problem):
    x, rng = problem
    for layer_type in (Linear, LoRALinear):
        for layer, _ in examples(layer_type, x, 3, rng):
            step = rng.standard_normal(x.shape)
            size = np.abs(layer.forward(np.stack([x + step, x - step]))[0]).max()
            assert np.abs(affine_defect(layer, x, step)).max() < 1e-13 * (1 + size)


@activations
@given(inputs())
def test_the_best_weight_and_bias_still_miss_by_a_quarter_of_the_defect(activation, problem):
    x, rng = problem
    features = x.shape[-1]
    adapter = random_adapter(rng, features, 2, activation)
    x = x.reshape(-1, features)
    step = rng.standard_normal(x.shape)
    points = np.concatenate([x + step, x, x - step])
    y, _ = adapter.forward(points)
    with_one = np.column_stack([points, np.ones(len(points))])
    W_and_bias, *_ = np.linalg.lstsq(with_one, y)
    missed = np.abs(with_one @ W_and_bias - y).max()
    assert missed >= np.abs(affine_defect(adapter, x, step)).max() / 4 * (1 - 1e-9) - 1e-12


def test_a_quarter_of_the_defect_can_be_reached():
    one, zero = np.ones((1, 1)), np.zeros((1, 1))
    adapter = Adapter(one, zero[0], one, zero[0])
    points = np.array([[-1.0], [0.0], [1.0]])
    line = Linear(1.5 * one, np.array([0.25]))
    missed = np.abs(line.forward(points)[0] - adapter.forward(points)[0])
    assert missed.tolist() == [[0.25], [0.25], [0.25]]
    assert affine_defect(adapter, zero, one).tolist() == [[1.0]]


def test_an_odd_adapter_hides_at_zero_and_shows_elsewhere(rng):
    W_down, W_up = rng.standard_normal((2, 5)), rng.standard_normal((5, 2))
    adapter = Adapter(W_down, np.zeros(2), W_up, np.zeros(5), "tanh")
    x, step = rng.standard_normal((2, 4, 5))
    assert np.abs(affine_defect(adapter, np.zeros_like(x), step)).max() < 1e-15
    assert np.abs(affine_defect(adapter, x, step)).max() > 0.1


# ------------------------------------------------------------------------ after a frozen layer


def test_adapter_after_a_frozen_layer_starts_at_its_output(rng):
    x, frozen = rng.standard_normal((4, 7)), Linear(rng.standard_normal((5, 7)), train=())
    features, _ = frozen.forward(x)
    y, _ = Adapter.init(5, 2, rng).forward(features)
    assert y.tobytes() == features.tobytes()


def test_gradients_pass_through_adapter_and_frozen_layer(rng):
    frozen = Linear(rng.standard_normal((5, 7)), rng.standard_normal(5), train=())
    adapter, x = random_adapter(rng, 5, 2, "tanh"), 0.3 * rng.standard_normal((4, 7))

    def network(arguments):
        names = adapter.trainable
        moved = adapter.with_params({name: arguments[name] for name in names})
        return moved.forward(frozen.forward(arguments["x"])[0])[0]

    features, below = frozen.forward(x)
    y, above = adapter.forward(features)
    grad_y = rng.standard_normal(y.shape)
    grad_features, grads = adapter.backward(grad_y, above)
    grad_x, of_frozen = frozen.backward(grad_features, below)
    assert of_frozen == {}
    at = {"x": x, **adapter.trainable}
    errors = vjp_errors(network, at, grad_y, {"x": grad_x, **grads}, rng)
    assert max(errors.values()) < SMOOTH_TOLERANCE


def test_frozen_layer_and_adapter_together_are_no_single_weight_either(rng):
    W0, adapter = rng.standard_normal((5, 7)), random_adapter(rng, 5, 2, "relu")
    x, step = rng.standard_normal((2, 6, 7))
    assert np.abs(affine_defect(adapter, x @ W0.T, step @ W0.T)).max() > 0.1


# ------------------------------------------------------------------------------- a good neighbour


def test_two_forward_passes_can_wait_for_their_backward(rng):
    adapter = random_adapter(rng, 5, 2, "relu")
    first, second, grad_y = rng.standard_normal((3, 4, 5))
    _, cache = adapter.forward(first)
    adapter.forward(second)
    grad_x, _ = adapter.backward(grad_y, cache)
    assert_array_equal(grad_x, adapter.backward(grad_y, adapter.forward(first)[1])[0])


def test_passes_write_into_nothing(rng):
    adapter = random_adapter(rng, 5, 2, "gelu")
    x, grad_y = rng.standard_normal((2, 4, 5))
    for array in (x, grad_y, *adapter.trainable.values()):
        array.flags.writeable = False
    y, cache = adapter.forward(x)
    adapter.backward(grad_y, cache)
    assert not np.shares_memory(y, x)


@activations
def test_float32_stays_float32(activation, rng):
    adapter = Adapter.init(5, 2, rng, np.float32, activation)
    x = rng.standard_normal((3, 4, 5)).astype(np.float32)
    y, cache = adapter.forward(x)
    grad_x, grads = adapter.backward(x, cache)
    assert {a.dtype for a in (y, grad_x, *grads.values())} == {np.dtype(np.float32)}
    assert y.shape == grad_x.shape == x.shape
    shapes = {name: array.shape for name, array in adapter.trainable.items()}
    assert {name: grad.shape for name, grad in grads.items()} == shapes


def test_repr_is_one_line_that_says_what_it_is(rng):
    adapter = Adapter.init(7, 2, rng, np.float32, "gelu")
    assert repr(adapter) == "Adapter(features=7, bottleneck=2, gelu, float32)"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"W_down": np.ones((5,))},
            r"W_down in Adapter has shape \(5,\), expected \(bottleneck, features",
        ),
        ({"b_down": np.ones(5)}, r"b_down in Adapter has shape \(5,\), expected \(bottleneck=2,\)"),
        ({"W_up": np.ones((2, 5))}, r"expected \(features=5, bottleneck=2\); its transpose fits"),
        ({"b_up": np.ones(2)}, r"b_up in Adapter has shape \(2,\), expected \(features=5,\)"),
        ({"W_up": np.ones((5, 2), np.float32)}, "W_up in Adapter has dtype float32"),
        ({"b_up": np.array([1, 2, np.nan, 4, 5])}, r"b_up in Adapter holds nan at \(2,\)"),
        ({"activation": "swish"}, "is 'swish', expected one of: relu, tanh, gelu, gelu_tanh, silu"),
        ({"activation": np.tanh}, "expected one of: relu"),
        ({"activation": ["relu"]}, r"is \['relu'\]"),
    ],
)
def test_adapter_refuses_what_does_not_fit(change, sentence):
    arrays = {"W_down": np.ones((2, 5)), "b_down": np.ones(2), "W_up": np.ones((5, 2))}
    with pytest.raises(LoraRefError, match=sentence):
        Adapter(**{**arrays, "b_up": np.ones(5), **change}).check()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"features": 0}, "features in Adapter.init is 0"),
        ({"bottleneck": 0}, "bottleneck in Adapter.init is 0"),
        ({"bottleneck": 2.0}, "bottleneck in Adapter.init is 2.0"),
        ({"rng": 0}, "rng in Adapter.init is 0"),
        ({"dtype": int}, "dtype in Adapter.init is int64"),
        ({"std": 0.0}, "std in Adapter.init is 0.0, expected a positive number"),
        ({"std": np.inf}, "std in Adapter.init is inf"),
        ({"activation": "none"}, "activation in Adapter is 'none'"),
    ],
)
def test_start_refuses_what_it_cannot_draw(change, sentence, rng):
    with pytest.raises(LoraRefError, match=sentence):
        Adapter.init(**{"features": 5, "bottleneck": 2, "rng": rng, **change})


def test_forward_and_backward_refuse_other_widths_and_dtypes(rng):
    adapter = Adapter.init(5, 2, rng)
    _, cache = adapter.forward(np.ones((3, 5)))
    with pytest.raises(ShapeError, match=r"x in Adapter.forward has shape \(3, 4\)"):
        adapter.forward(np.ones((3, 4)))
    with pytest.raises(LoraRefError, match="has dtype float32, expected float64"):
        adapter.forward(np.ones((3, 5), np.float32))
    with pytest.raises(ShapeError, match=r"grad_y in Adapter\.backward"):
        adapter.backward(np.ones((1, 5)), cache)
