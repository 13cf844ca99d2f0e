"""Forward against the definition, backward against differences, and what is refused."""

import inspect
import math

import numpy as np
import pytest
from cases import each
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from zero_gradients import zero_is_right

from lora_ref import ops
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import EXACT_STEP, EXACT_TOLERANCE, SMOOTH_TOLERANCE, vjp_errors
from lora_ref.layers import LoRALinear
from lora_ref.ops.special import erf, normal_cdf

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(2, 6)
activations = pytest.mark.parametrize("name", ops.ACTIVATIONS)


@st.composite
def arrays(draw):
    """An array of one to three axes, and a generator."""
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=3)))
    rng = np.random.default_rng(draw(seeds))
    return rng.standard_normal(shape), rng


@st.composite
def classifications(draw):
    """Logits, labels of which one row at least counts, the options, and a generator."""
    leading = tuple(draw(st.lists(sizes, min_size=1, max_size=2)))
    classes = draw(sizes)
    rng = np.random.default_rng(draw(seeds))
    logits = 3 * rng.standard_normal((*leading, classes))
    labels = rng.integers(0, classes, leading)
    ignore = draw(st.sampled_from([None, -100, 0]))
    if ignore is not None:
        labels[rng.random(leading) < 0.5] = ignore
        assume((labels != ignore).any())
    return (
        logits,
        labels,
        {"smoothing": draw(st.sampled_from([0.0, 0.1, 0.9])), "ignore": ignore},
        rng,
    )


@st.composite
def normalisations(draw):
    """Rows x, gain, bias, and a generator."""
    shape = tuple(draw(st.lists(sizes, min_size=1, max_size=2)))
    features = draw(st.integers(3, 7))  # with two, a normed row is (1, -1) whatever x is
    rng = np.random.default_rng(draw(seeds))
    x = 1 + 2 * rng.standard_normal((*shape, features))
    assume(x.std(axis=-1).min() > 0.3)  # the curve is steep, and no step small, at a constant row
    return x, rng.standard_normal(features), rng.standard_normal(features), rng


def away_from_zero(x):
    """Move every entry by a tenth: no step of the check crosses the kink of ReLU."""
    return x + 0.1 * np.sign(x)


def activation_errors(forward, backward, x, rng):
    y, cache = forward(x)
    grad_y = rng.standard_normal(y.shape)
    gradients = {"x": backward(grad_y, cache)}
    return vjp_errors(lambda a: forward(a["x"])[0], {"x": x}, grad_y, gradients, rng)


def cross_entropy_errors(backward, logits, labels, options, rng):
    def loss(a):
        return np.array([ops.softmax_cross_entropy(a["logits"], labels, **options)[0]])

    _, cache = ops.softmax_cross_entropy(logits, labels, **options)
    gradients = {"logits": backward(cache)}
    return vjp_errors(loss, {"logits": logits}, np.ones(1), gradients, rng)


def layer_norm_errors(backward, x, gain, bias, rng):
    y, cache = ops.layer_norm(x, gain, bias)
    grad_y = rng.standard_normal(y.shape)
    grad_x, grads = backward(grad_y, cache)
    at = {"x": x, "gain": gain, "bias": bias}
    return vjp_errors(lambda a: ops.layer_norm(**a)[0], at, grad_y, {"x": grad_x, **grads}, rng)


def dropout_errors(backward, x, rng):
    mask = ops.dropout_mask(x.shape, 0.4, rng)
    y, cache = ops.dropout(x, mask)
    grad_y, at = rng.standard_normal(y.shape), {"x": x}
    given = at, grad_y, {"x": backward(grad_y, cache)}, rng
    return zero_is_right(  # all may be dropped
        vjp_errors, lambda a: ops.dropout(a["x"], mask)[0], *given, step=EXACT_STEP
    )


def squared_errors(backward, y, rng):
    target = rng.standard_normal(y.shape)

    def loss(a):
        return np.array([ops.mean_squared_error(a["y"], target)[0]])

    _, cache = ops.mean_squared_error(y, target)
    gradients = {"y": backward(cache)}  # quadratic: a central difference has no truncation error
    return vjp_errors(loss, {"y": y}, np.ones(1), gradients, rng, step=1.0)


# --------------------------------------------------------------------------------- activations


@activations
@given(arrays())
def test_activation_backward_agrees_with_differences(name, problem):
    x, rng = problem
    assume(name != "relu" or (x > 0).any())  # where nothing passes there is nothing to compare
    errors = activation_errors(*ops.ACTIVATIONS[name], away_from_zero(x), rng)
    assert max(errors.values()) < SMOOTH_TOLERANCE


def area_under_the_normal_density(x):
    """Simpson's rule up to x, from where nothing is left: shares nothing with `math.erfc`."""
    t = np.linspace(min(x, 0) - 12, x, 4001)
    weights = np.ones_like(t)
    weights[1:-1:2], weights[2:-1:2] = 4, 2
    density = np.exp(-0.5 * t**2) / math.sqrt(2 * math.pi)
    return float(weights @ density) * (t[1] - t[0]) / 3


def test_exact_gelu_is_x_times_the_area_under_the_density_far_into_the_tail():
    x = np.array([-10.0, -5.0, -1.0, -0.1, 0.0, 0.3, 2.0, 9.0])
    expected = [entry * area_under_the_normal_density(entry) for entry in x]
    assert_allclose(ops.gelu(x)[0], expected, rtol=1e-8)


def test_erf_and_gelu_agree_with_the_mathematics_library_of_python():
    x = np.concatenate([np.linspace(-45, 45, 4001), np.linspace(-1, 1, 999), [1e300, -1e300]])
    exact = np.array([math.erf(v) for v in x])
    normal = [math.exp(-0.5 * min(v * v, 1e4)) / math.sqrt(2 * math.pi) for v in x.tolist()]
    half = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x])
    assert np.abs(erf(x) - exact).max() < 1e-15
    assert np.abs(ops.gelu(x)[0] - x * half)[np.abs(x) < 9].max() < 2e-15
    assert_allclose(normal_cdf(x)[0], half, rtol=1e-7, atol=1e-300)  # to the end of its tail
    assert_allclose(normal_cdf(x)[1], normal, atol=1e-15)
    narrow = x[:-2].astype(np.float32)
    exact = np.array([math.erf(v) for v in narrow.astype(np.float64)])
    assert np.abs(erf(narrow) - exact).max() < 6e-8  # half a unit in the last place
    assert erf(narrow).dtype == normal_cdf(narrow)[0].dtype == np.float32
    assert np.isnan(erf(np.array([np.nan]))).all()


def test_gelu_in_float32_has_the_digits_of_float32_into_the_tail():
    x = np.linspace(-13, 13, 40_001, dtype=np.float32)
    cdf, _ = normal_cdf(x)
    half = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in x.tolist()])
    assert np.abs(cdf - half).max() < 3e-7
    assert np.abs(cdf / half - 1)[x > -5].max() < 3e-6
    assert np.abs(cdf / half - 1).max() < 2e-5  # the rounding of x²
    (y, cache), (wide, exact) = ops.gelu(x), ops.gelu(x.astype(np.float64))
    assert y.dtype == cache.slope.dtype == np.float32
    assert_allclose(y, wide, rtol=4e-7, atol=4e-7)
    assert_allclose(cache.slope, exact.slope, atol=5e-7)


def test_gelu_of_a_large_array_in_another_order_is_that_of_its_entries(rng):
    x = rng.standard_normal((3, 70, 300), dtype=np.float32).transpose(2, 0, 1)  # several blocks
    y, cache = ops.gelu(x)
    parts = [ops.gelu(part) for part in x]
    assert y.tobytes() == np.stack([y for y, _ in parts]).tobytes()
    assert cache.slope.tobytes() == np.stack([cache.slope for _, cache in parts]).tobytes()


def test_the_two_forms_of_gelu_differ_by_at_most_5e_4_and_somewhere_by_more_than_4e_4():
    x = np.linspace(-12, 12, 24001)
    gap = np.abs(ops.gelu(x)[0] - ops.gelu_tanh(x)[0]).max()
    assert 4e-4 < gap < 5e-4


def test_relu_and_tanh_are_what_their_names_say():
    x = np.array([-2.0, -0.5, 0.0, 0.5, 2.0])
    assert ops.relu(x)[0].tolist() == [0.0, 0.0, 0.0, 0.5, 2.0]
    expected = [(math.exp(2 * v) - 1) / (math.exp(2 * v) + 1) for v in x]
    assert_allclose(ops.tanh(x)[0], expected, rtol=1e-14)


def test_relu_passes_no_gradient_at_exactly_zero_nor_below():
    x = np.array([-1.0, -0.0, 0.0, np.nextafter(0, 1), 1.0])
    _, cache = ops.relu(x)
    assert ops.relu_backward(np.full(5, 3.0), cache).tolist() == [0.0, 0.0, 0.0, 3.0, 3.0]


@activations
@given(st.sampled_from([np.float16, np.float32, np.float64]), st.floats(0, 1))
def test_an_activation_is_straight_far_out_with_no_overflow_on_the_way(name, dtype, share):
    largest = float(np.finfo(dtype).max)
    far = np.array(50 * (largest / 50) ** (share * 0.999), dtype)  # from 50 nearly to the largest
    y, cache = ops.ACTIVATIONS[name].forward(np.array([far, -far]))
    slopes = ops.ACTIVATIONS[name].backward(np.array([2, 3], dtype), cache)
    straight, flat = ([1, -1], [0, 0]) if name == "tanh" else ([far, 0], [2, 0])
    assert_allclose(y, straight, rtol=0, atol=1e-19)  # SiLU has e**-50 left
    assert_allclose(slopes, flat, rtol=0, atol=1e-18)


@activations
def test_activation_does_not_hide_a_nan(name):
    y, _ = ops.ACTIVATIONS[name].forward(np.array([np.nan, 1.0]))
    assert np.isnan(y).tolist() == [True, False]


# -------------------------------------------------------------- what the checks must not let pass


def relu_that_tests_the_output_for_zero_or_more(grad_y, x):
    """The tutorial of numpy/numpy-tutorials on MNIST: an output of ReLU is never negative."""
    return grad_y * (np.maximum(x, 0) >= 0)


def tanh_of_the_wrong_argument(grad_y, x):
    return grad_y * (1 - np.tanh(np.tanh(x)) ** 2)


def gelu_as_if_the_gate_were_constant(grad_y, x):
    return grad_y * normal_cdf(x)[0]


def gelu_with_the_slope_of_its_approximation(grad_y, x):
    return ops.gelu_tanh_backward(grad_y, ops.gelu_tanh(x)[1])


def gelu_tanh_without_the_cube(grad_y, x):
    t = np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
    return grad_y * (0.5 * (1 + t) + 0.5 * x * (1 - t**2) * math.sqrt(2 / math.pi))


def silu_as_if_the_gate_were_constant(grad_y, x):
    return grad_y / (1 + np.exp(-x))


@pytest.mark.parametrize(
    ("name", "wrong", "at_least"),
    [
        ("relu", relu_that_tests_the_output_for_zero_or_more, 0.01),
        ("tanh", tanh_of_the_wrong_argument, 0.01),
        ("gelu", gelu_as_if_the_gate_were_constant, 0.01),
        ("gelu", gelu_with_the_slope_of_its_approximation, 1e-5),
        ("gelu_tanh", gelu_tanh_without_the_cube, 0.01),
        ("silu", silu_as_if_the_gate_were_constant, 0.01),
    ],
)
def test_wrong_activation_backward_is_rejected(name, wrong, at_least, rng):
    x = away_from_zero(rng.standard_normal((5, 7)))
    forward = ops.ACTIVATIONS[name].forward
    assert activation_errors(forward, lambda g, cache: wrong(g, x), x, rng)["x"] > at_least


def test_the_mask_of_the_tutorial_never_masks(rng):
    grad_y, x = rng.standard_normal((2, 5, 7))
    _, cache = ops.relu(x)
    assert_array_equal(relu_that_tests_the_output_for_zero_or_more(grad_y, x), grad_y)
    assert np.count_nonzero(ops.relu_backward(grad_y, cache)) < grad_y.size


def cross_entropy_without_smoothing(cache):
    return ops.softmax_cross_entropy_backward(cache._replace(smoothing=0.0))


def cross_entropy_divided_by_all_rows(cache):
    return ops.softmax_cross_entropy_backward(cache) * cache.counted.mean()


def cross_entropy_not_divided(cache):
    return ops.softmax_cross_entropy_backward(cache) * len(cache.labels)


@pytest.mark.parametrize(
    "wrong",
    [cross_entropy_without_smoothing, cross_entropy_divided_by_all_rows, cross_entropy_not_divided],
)
def test_wrong_cross_entropy_backward_is_rejected(wrong, rng):
    logits, labels = rng.standard_normal((6, 4)), np.array([0, -100, 3, 2, -100, 1])
    options = {"smoothing": 0.2, "ignore": -100}
    assert cross_entropy_errors(wrong, logits, labels, options, rng)["logits"] > 0.01


def layer_norm_with_constant_statistics(grad_y, cache):
    _, grads = ops.layer_norm_backward(grad_y, cache)
    return cache.inverse_std * grad_y * cache.gain, grads


def layer_norm_with_constant_variance(grad_y, cache):
    _, grads = ops.layer_norm_backward(grad_y, cache)
    g = grad_y * cache.gain
    return cache.inverse_std * (g - g.mean(axis=1, keepdims=True)), grads


@pytest.mark.parametrize(
    "wrong", [layer_norm_with_constant_statistics, layer_norm_with_constant_variance]
)
def test_wrong_layer_norm_backward_is_rejected(wrong, rng):
    x, gain, bias = rng.standard_normal((5, 7)), rng.standard_normal(7), rng.standard_normal(7)
    assert layer_norm_errors(wrong, x, gain, bias, rng)["x"] > 0.01


def test_dropout_backward_without_the_mask_is_rejected(rng):
    assert dropout_errors(lambda g, cache: g, rng.standard_normal((5, 7)), rng)["x"] > 0.01


def test_squared_error_backward_without_its_two_is_rejected(rng):
    def wrong(cache):
        return cache.error / cache.error.size

    assert squared_errors(wrong, rng.standard_normal((5, 7)), rng)["y"] > 0.01


# ------------------------------------------------------------------------ softmax cross-entropy


def cross_entropy_by_loops(logits, labels, smoothing, ignore):
    rows = logits.reshape(-1, logits.shape[-1]).tolist()
    losses = []
    for row, label in zip(rows, labels.ravel().tolist(), strict=True):
        if label == ignore:
            continue
        total = math.fsum(math.exp(logit) for logit in row)
        loss = 0.0
        for k, logit in enumerate(row):
            target = (1 - smoothing) * (k == label) + smoothing / len(row)
            loss -= target * math.log(math.exp(logit) / total)
        losses.append(loss)
    return math.fsum(losses) / len(losses)


@given(classifications())
def test_cross_entropy_is_the_mean_over_the_rows_that_count(problem):
    logits, labels, options, _ = problem
    loss, _ = ops.softmax_cross_entropy(logits, labels, **options)
    assert type(loss) is float
    assert_allclose(loss, cross_entropy_by_loops(logits, labels, **options), rtol=1e-12, atol=1e-14)


@given(classifications())
def test_cross_entropy_backward_agrees_with_differences(problem):
    logits, labels, options, _ = problem
    grad = ops.softmax_cross_entropy_backward(
        ops.softmax_cross_entropy(logits, labels, **options)[1]
    )
    assume(np.linalg.norm(grad) > 1e-3)  # where all is certain and right, rounding is larger
    errors = cross_entropy_errors(ops.softmax_cross_entropy_backward, *problem)
    assert max(errors.values()) < SMOOTH_TOLERANCE


@given(classifications())
def test_ignoring_rows_is_leaving_them_out(problem):
    logits, labels, options, _ = problem
    counted = labels != options["ignore"]
    logits[~counted] = np.nan  # what an ignored row holds must not matter
    loss, cache = ops.softmax_cross_entropy(logits, labels, **options)
    kept = {"smoothing": options["smoothing"]}
    left, left_cache = ops.softmax_cross_entropy(logits[counted], labels[counted], **kept)
    grad = ops.softmax_cross_entropy_backward(cache)
    assert loss == left
    assert_array_equal(grad[counted], ops.softmax_cross_entropy_backward(left_cache))
    assert not grad[~counted].any()


@given(classifications())
def test_a_number_added_to_all_logits_of_a_row_changes_nothing(problem):
    logits, labels, options, rng = problem
    shift = rng.choice([-1e4, 0.0, 1e4], (*labels.shape, 1))  # no single number fits all rows
    loss, cache = ops.softmax_cross_entropy(logits, labels, **options)
    shifted, shifted_cache = ops.softmax_cross_entropy(logits + shift, labels, **options)
    assert_allclose(shifted, loss, rtol=1e-9, atol=1e-10)
    grad = ops.softmax_cross_entropy_backward(cache)
    assert_allclose(ops.softmax_cross_entropy_backward(shifted_cache), grad, atol=1e-10)
    assert_allclose(grad.sum(axis=-1), 0, atol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_cross_entropy_is_finite_and_right_at_logits_of_1e4(dtype):
    logits = np.array([[1e4, -1e4], [-1e4, 1e4]], dtype)
    right, _ = ops.softmax_cross_entropy(logits, np.array([0, 1]))
    wrong, cache = ops.softmax_cross_entropy(logits, np.array([1, 0]))
    smoothed, _ = ops.softmax_cross_entropy(logits, np.array([0, 1]), smoothing=0.5)
    assert (right, wrong, smoothed) == (0.0, 2e4, 5e3)
    grad = ops.softmax_cross_entropy_backward(cache)
    assert grad.tolist() == [[0.5, -0.5], [-0.5, 0.5]]


def test_label_smoothing_prefers_an_unsure_answer_to_a_certain_one():
    labels = np.array([0])
    unsure, certain = np.array([[2.0, 0.0, 0.0]]), np.array([[50.0, 0.0, 0.0]])
    plain = [ops.softmax_cross_entropy(x, labels)[0] for x in (unsure, certain)]
    smooth = [ops.softmax_cross_entropy(x, labels, smoothing=0.1)[0] for x in (unsure, certain)]
    assert plain[0] > plain[1]
    assert smooth[0] < smooth[1]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int32, np.uint64])
def test_any_integer_dtype_will_do_for_labels(dtype, rng):
    logits, labels = rng.standard_normal((4, 3)), np.array([0, 2, 1, 2])
    expected, _ = ops.softmax_cross_entropy(logits, labels)
    assert ops.softmax_cross_entropy(logits, labels.astype(dtype))[0] == expected
    assert ops.softmax_cross_entropy(logits, labels.astype(dtype), ignore=-100)[0] == expected


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        (np.array([0, 3]), {}, r"holds 3 at \(1,\), expected a class from 0 to 2$"),
        (np.array([-1, 0]), {}, r"holds -1 at \(0,\), expected a class from 0 to 2$"),
        (np.array([-100, 0]), {}, "holds -100"),
        (np.array([-1, -100]), {"ignore": -100}, "holds -1 .* from 0 to 2, or -100 to ignore"),
        (np.array([3, -100]), {"ignore": -100}, "holds 3"),
        (np.array([-100, -100]), {"ignore": -100}, "are all -100, .* expected at least one row"),
        (np.array([1, 1]), {"ignore": 1}, "are all 1,"),
        (np.array([0.0, 1.0]), {}, "has dtype float64, expected integers"),
        (np.array([True, False]), {}, "has dtype bool, expected integers"),
        (np.array(["0", "1"]), {}, "expected integers"),
        ([0, 1], {}, "is a list, expected a plain NumPy array"),
        (np.ma.array([0, 1], mask=[0, 1]), {}, "is a MaskedArray"),
        (np.array([0, 1, 2]), {}, r"has shape \(3,\), expected \(2,\)"),
        (np.array([[0], [1]]), {}, r"has shape \(2, 1\), expected \(2,\)"),
        (np.array([0, 1]), {"smoothing": 1.0}, "smoothing in .* is 1.0, expected .* below 1"),
        (np.array([0, 1]), {"smoothing": -0.1}, "smoothing in .* is -0.1"),
        (np.array([0, 1]), {"smoothing": np.nan}, "smoothing in .* is nan"),
        (np.array([0, 1]), {"smoothing": True}, "smoothing in .* is True"),
        (np.array([0, 1]), {"ignore": True}, "the label to ignore is True"),
        (np.array([0, 1]), {"ignore": -1.0}, "the label to ignore is -1.0"),
    ],
)
def test_cross_entropy_refuses_what_is_no_label_or_no_option(labels, options, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        ops.softmax_cross_entropy(np.zeros((2, 3)), labels, **options)


@pytest.mark.parametrize(
    ("logits", "sentence"),
    [
        (np.zeros(3), r"a single row is x\[None\]"),
        (np.zeros((2, 3), int), "floating-point"),
        (np.zeros((0, 3)), "is empty"),
        ([[0.0, 1.0]], "is a list"),
    ],
)
def test_cross_entropy_refuses_what_are_no_logits(logits, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        ops.softmax_cross_entropy(logits, np.array([0, 1]))


# ------------------------------------------------------------------- layer norm, dropout, errors


@given(normalisations())
def test_layer_norm_is_its_formula_row_by_row(problem):
    x, gain, bias, _ = problem
    y, _ = ops.layer_norm(x, gain, bias, epsilon=0.01)
    for at in np.ndindex(x.shape[:-1]):
        row = x[at].tolist()
        mean = math.fsum(row) / len(row)
        variance = math.fsum((v - mean) ** 2 for v in row) / len(row)
        expected = [
            g * (v - mean) / math.sqrt(variance + 0.01) + b
            for v, g, b in zip(row, gain, bias, strict=True)
        ]
        assert_allclose(y[at], expected, rtol=1e-10, atol=1e-12)


@given(normalisations())
def test_layer_norm_backward_agrees_with_differences(problem):
    errors = layer_norm_errors(ops.layer_norm_backward, *problem)
    assert errors.keys() == {"x", "gain", "bias"}
    assert max(errors.values()) < SMOOTH_TOLERANCE


@given(normalisations())
def test_layer_norm_takes_the_mean_and_the_normed_row_out_of_grad_x(problem):
    x, gain, bias, rng = problem
    y, cache = ops.layer_norm(x, gain, bias, epsilon=1e-30)
    grad_x, _ = ops.layer_norm_backward(rng.standard_normal(y.shape), cache)
    rows = grad_x.reshape(-1, x.shape[-1])
    size = np.linalg.norm(rows) + np.abs(cache.inverse_std).max()
    assert np.abs(rows.sum(axis=1)).max() < 1e-10 * size
    assert np.abs((rows * cache.normed).sum(axis=1)).max() < 1e-10 * size


@pytest.mark.parametrize(
    ("dtype", "scale", "tolerance"),
    [(np.float16, 1024, 2e-2), (np.float32, 2.0**80, 1e-5), (np.float64, 2.0**600, 1e-12)],
)
@settings(max_examples=5)
@given(normalisations())
def test_layer_norm_of_large_entries_is_that_of_small_ones(dtype, scale, tolerance, problem):
    x, gain, bias, rng = problem
    x, gain, bias, grad_y = (
        array.astype(dtype) for array in (x, gain, bias, rng.standard_normal(x.shape))
    )
    y, cache = ops.layer_norm(x * dtype(scale), gain, bias)
    grad_x, grads = ops.layer_norm_backward(grad_y, cache)
    small = [array.astype(np.float64) for array in (x, gain, bias)]
    expected_y, cache = ops.layer_norm(*small, epsilon=max(1e-5 / scale / scale, 1e-300))
    expected_x, expected = ops.layer_norm_backward(grad_y.astype(np.float64), cache)
    for got, right in (
        (y, expected_y),
        (grad_x.astype(np.float64) * scale, expected_x),
        *((grads[name], grad) for name, grad in expected.items()),
    ):
        assert np.linalg.norm(got - right) <= tolerance * (1 + np.linalg.norm(right))


def test_layer_norm_makes_a_constant_row_the_bias_and_its_gradient_finite():
    bias = np.array([1.0, -2.0, 3.0])
    y, cache = ops.layer_norm(np.full((2, 3), 5.0), np.ones(3), bias)
    assert_array_equal(y, [bias, bias])
    grad_x, _ = ops.layer_norm_backward(np.array([[1.0, 0, 0], [0, 1.0, 0]]), cache)
    assert np.isfinite(grad_x).all()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"gain": np.ones(3)}, r"gain in layer_norm has shape \(3,\), expected \(features=4,\)"),
        ({"bias": np.ones((1, 4))}, "bias in layer_norm has shape"),
        ({"bias": np.ones(4, np.float32)}, "bias in layer_norm has dtype float32"),
        ({"x": np.ones(4)}, r"a single row is x\[None\]"),
        ({"x": np.float64(1.0)}, "expected a NumPy array"),
        ({"epsilon": 0.0}, "epsilon in layer_norm is 0.0, expected a positive number"),
        ({"epsilon": -1e-5}, "expected a positive number"),
    ],
)
def test_layer_norm_refuses_what_does_not_fit(change, sentence):
    arguments = {"x": np.ones((2, 4)), "gain": np.ones(4), "bias": np.zeros(4), **change}
    with pytest.raises(LoraRefError, match=sentence):
        ops.layer_norm(**arguments)


@given(arrays())
def test_dropout_backward_agrees_with_differences(problem):
    errors = dropout_errors(ops.dropout_backward, *problem)
    assert max(errors.values()) < EXACT_TOLERANCE


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_drops_the_share_p_and_keeps_the_mean(p, dtype, rng):
    mask = ops.dropout_mask((200, 300), p, rng, dtype)
    kept = mask != 0
    assert mask.dtype == dtype
    assert_array_equal(mask[kept], dtype(1 / (1 - p)))
    assert abs(kept.mean() - (1 - p)) < 0.01  # five deviations: sqrt(0.25 / 60000) is 0.002
    assert abs(mask.mean() - 1) < 0.06


def test_dropout_masks_of_one_seed_agree_in_every_dtype_and_rows_differ():
    wide, narrow = (
        ops.dropout_mask((8, 20), 0.5, np.random.default_rng(3), dtype)
        for dtype in (np.float64, np.float32)
    )
    assert_array_equal(wide, narrow)
    assert len(np.unique(wide, axis=0)) == 8


def test_dropout_mask_is_one_for_the_adapted_layer(rng):
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 2)))
    x = rng.standard_normal((3, 7))
    mask = ops.dropout_mask(x.shape, 0.3, rng)
    y, _ = LoRALinear(W0, A, B, alpha=2.0).forward(x, mask=mask)
    assert_allclose(y, x @ W0.T + ops.dropout(x, mask)[0] @ A.T @ B.T)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"p": 1.0}, "p in dropout_mask is 1.0, expected a number of at least 0 and below 1"),
        ({"p": -0.1}, "p in dropout_mask is -0.1"),
        ({"p": np.nan}, "p in dropout_mask is nan"),
        ({"p": False}, "p in dropout_mask is False"),
        ({"shape": 3}, "shape in dropout_mask is 3, expected a tuple"),
        ({"shape": ()}, r"shape in dropout_mask is \(\)"),
        ({"shape": (2, 0)}, "axis 1 of shape in dropout_mask is 0"),
        ({"rng": 0}, "expected a numpy.random.Generator"),
        ({"dtype": np.int64}, "dtype in dropout_mask is int64"),
        ({"p": 1 - 1e-6, "dtype": np.float16}, "finite in float16"),
    ],
)
def test_dropout_mask_refuses_what_it_cannot_draw(change, sentence, rng):
    arguments = {"shape": (2, 3), "p": 0.5, "rng": rng, **change}
    with pytest.raises(LoraRefError, match=sentence):
        ops.dropout_mask(**arguments)


@given(arrays())
def test_squared_error_is_the_mean_over_all_entries_and_its_backward_is_exact(problem):
    y, rng = problem
    target = rng.standard_normal(y.shape)
    loss, _ = ops.mean_squared_error(y, target)
    pairs = zip(y.ravel().tolist(), target.ravel().tolist(), strict=True)
    assert type(loss) is float
    assert_allclose(loss, math.fsum((a - b) ** 2 for a, b in pairs) / y.size, rtol=1e-13)
    errors = squared_errors(ops.mean_squared_error_backward, y, rng)
    assert max(errors.values()) < EXACT_TOLERANCE


def test_squared_error_does_not_broadcast_a_column_against_a_row():
    with pytest.raises(ShapeError, match=r"target .* has shape \(4,\), expected \(4, 1\)"):
        ops.mean_squared_error(np.zeros((4, 1)), np.zeros(4))


def test_squared_error_does_not_overflow_in_half_precision():
    y, target = np.full(3, 300, np.float16), np.zeros(3, np.float16)
    assert ops.mean_squared_error(y, target)[0] == 90000.0


# --------------------------------------------------------------------- RMS norm and attention


def rms_norm_errors(backward, x, gain, rng):
    y, cache = ops.rms_norm(x, gain)
    grad_y = rng.standard_normal(y.shape)
    grad_x, grads = backward(grad_y, cache)
    at = {"x": x, "gain": gain}
    return vjp_errors(lambda a: ops.rms_norm(**a)[0], at, grad_y, {"x": grad_x, **grads}, rng)


@given(normalisations())
def test_rms_norm_is_its_formula_and_its_backward_agrees_with_differences(problem):
    x, gain, _, rng = problem
    y, _ = ops.rms_norm(x, gain, epsilon=0.01)
    for at in np.ndindex(x.shape[:-1]):
        size = math.sqrt(math.fsum(v * v for v in x[at].tolist()) / x.shape[-1] + 0.01)
        assert_allclose(y[at], gain * x[at] / size, rtol=1e-12)
    assert max(rms_norm_errors(ops.rms_norm_backward, x, gain, rng).values()) < SMOOTH_TOLERANCE


def test_rms_norm_backward_as_if_its_size_were_constant_is_rejected(rng):
    def wrong(g, cache):
        return g * cache.gain * cache.inverse_rms, ops.rms_norm_backward(g, cache)[1]

    x, gain = rng.standard_normal((5, 7)), rng.standard_normal(7)
    assert rms_norm_errors(wrong, x, gain, rng)["x"] > 0.01


@given(arrays())
def test_softmax_rows_add_up_to_1_and_its_backward_agrees_with_differences(problem):
    x, rng = problem
    y, cache = ops.softmax(x)
    assert_allclose(y.sum(axis=-1), 1)
    assert_allclose(ops.softmax(x + 1e3)[0], y, rtol=1e-9)
    errors = activation_errors(ops.softmax, ops.softmax_backward, x, rng)
    assert max(errors.values()) < SMOOTH_TOLERANCE
    assert np.abs(ops.softmax_backward(rng.standard_normal(x.shape), cache).sum(-1)).max() < 1e-15


@st.composite
def attentions(draw):
    """Queries, keys and values for some heads, which may see which, and a generator."""
    batch, heads, n, m, d, e = (draw(st.integers(1, 4)) for _ in range(6))
    rng = np.random.default_rng(draw(seeds))
    q, k, v = (
        rng.standard_normal((batch, heads, *size)) for size in ((n, d), (m + 1, d), (m + 1, e))
    )
    allowed = draw(st.sampled_from([None, "random"]))
    if allowed:
        allowed = rng.random((batch, 1, n, m + 1)) < 0.5
        allowed[..., 0] = True
    return q, k, v, allowed, rng


def attention_by_loops(q, k, v, allowed):
    """One number after the other, and no array operation."""
    y = np.zeros((*q.shape[:-1], v.shape[-1]))
    seen = np.broadcast_to(True if allowed is None else allowed, (*q.shape[:-1], k.shape[-2]))
    for b, h, i in np.ndindex(q.shape[:-1]):
        weights = {}
        for j in range(k.shape[-2]):
            if seen[b, h, i, j]:
                products = [x * z for x, z in zip(q[b, h, i], k[b, h, j], strict=True)]
                weights[j] = math.exp(math.fsum(products) / math.sqrt(q.shape[-1]))
        for j, weight in weights.items():
            y[b, h, i] += weight / math.fsum(weights.values()) * v[b, h, j]
    return y


def attention_errors(backward, q, k, v, allowed, rng):
    y, cache = ops.attention(q, k, v, allowed=allowed)
    grad_y, at = rng.standard_normal(y.shape), {"q": q, "k": k, "v": v}
    gradients = dict(zip(at, backward(grad_y, cache), strict=True))
    return vjp_errors(lambda a: ops.attention(**a, allowed=allowed)[0], at, grad_y, gradients, rng)


@settings(max_examples=40)
@given(attentions())
def test_attention_is_its_definition_in_loops(problem):
    *arguments, _ = problem
    y, _ = ops.attention(*arguments[:3], allowed=arguments[3])
    assert_allclose(y, attention_by_loops(*arguments), rtol=1e-12, atol=1e-14)


def test_attention_backward_agrees_with_differences(rng):
    q, k, v = (rng.standard_normal((2, 3, *size)) for size in ((4, 5), (6, 5), (6, 2)))
    for allowed in (None, np.tri(4, 6, 2, dtype=bool)):
        errors = attention_errors(ops.attention_backward, q, k, v, allowed, rng)
        assert max(errors.values()) < SMOOTH_TOLERANCE, errors


def without_the_root(g, cache):
    grad_q, grad_k, grad_v = ops.attention_backward(g, cache)
    return grad_q * math.sqrt(5), grad_k * math.sqrt(5), grad_v


def without_the_sum_of_the_softmax(g, cache):
    grad_scores = cache.weights.y * (g @ cache.v.swapaxes(-1, -2)) / math.sqrt(5)
    grad_v = ops.attention_backward(g, cache)[2]
    return grad_scores @ cache.k, grad_scores.swapaxes(-1, -2) @ cache.q, grad_v


@pytest.mark.parametrize("wrong", [without_the_root, without_the_sum_of_the_softmax])
def test_wrong_attention_backward_is_rejected(wrong, rng):
    q, k, v = (rng.standard_normal((2, 3, 4, 5)) for _ in range(3))
    errors = attention_errors(wrong, q, k, v, None, rng)
    assert errors["v"] < SMOOTH_TOLERANCE < 0.001 < min(errors["q"], errors["k"])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"q": np.ones(3)}, r"q in attention has shape \(3,\), expected \(..., rows, width\)"),
        ({"k": np.ones((2, 4))}, r"have shapes \(2, 3\), \(2, 4\) and \(2, 3\), expected"),
        ({"v": np.ones((3, 3))}, "expected"),
        ({"v": np.ones((2, 3), np.float32)}, "v in attention has dtype float32"),
        ({"allowed": np.ones((2, 2))}, "allowed in attention is of float64, expected a NumPy"),
        ({"allowed": [[True]]}, "allowed in attention is of list"),
        ({"allowed": np.ones((3, 2), bool)}, r"has shape \(3, 2\), expected one that broadcasts"),
        ({"allowed": np.tri(2, 2, -1, dtype=bool)}, r"allows nothing at \(0,\)"),
    ],
)
def test_attention_refuses_what_does_not_fit(change, sentence):
    arguments = {"q": np.ones((2, 3)), "k": np.ones((2, 3)), "v": np.ones((2, 3)), **change}
    with pytest.raises(LoraRefError, match=sentence):
        ops.attention(**arguments)


# ------------------------------------------------------------------------------ what all keep


def calls(dtype, rng):
    """Every pair once: forward without arguments left, and a backward of the cache alone."""
    x = rng.standard_normal((2, 3, 4)).astype(dtype)
    g = rng.standard_normal((2, 3, 4)).astype(dtype)
    gain, bias = (rng.standard_normal(4).astype(dtype) for _ in range(2))
    mask, labels = ops.dropout_mask(x.shape, 0.5, rng, dtype), rng.integers(0, 4, (2, 3))
    options = {"smoothing": 0.1, "ignore": int(labels[0, 0])}
    arrays = [x, g, gain, bias, mask, labels]
    pairs = {
        name: (lambda f=f: f(x), lambda cache, b=b: b(g, cache))
        for name, (f, b) in ops.ACTIVATIONS.items()
    }
    pairs["layer_norm"] = (
        lambda: ops.layer_norm(x, gain, bias),
        lambda cache: ops.layer_norm_backward(g, cache)[0],
    )
    pairs["rms_norm"] = (
        lambda: ops.rms_norm(x, gain),
        lambda cache: ops.rms_norm_backward(g, cache)[0],
    )
    pairs["softmax"] = (lambda: ops.softmax(x), lambda cache: ops.softmax_backward(g, cache))
    pairs["attention"] = (
        lambda: ops.attention(x, g, x),
        lambda cache: np.add(*ops.attention_backward(g, cache)[:2]),
    )
    pairs["dropout"] = (
        lambda: ops.dropout(x, mask),
        lambda cache: ops.dropout_backward(g, cache),
    )
    pairs["cross_entropy"] = (
        lambda: ops.softmax_cross_entropy(x, labels, **options),
        ops.softmax_cross_entropy_backward,
    )
    pairs["squared_error"] = (
        lambda: ops.mean_squared_error(x, g),
        ops.mean_squared_error_backward,
    )
    return pairs, arrays


names = pytest.mark.parametrize("name", list(calls(np.float64, np.random.default_rng(0))[0]))


@each("name", list(calls(np.float64, np.random.default_rng(0))[0]))
@each("dtype", [np.float16, np.float32, np.float64])
def test_dtype_and_shape_come_back(name, dtype, rng):
    forward, backward = calls(dtype, rng)[0][name]
    y, cache = forward()
    grad = backward(cache)
    assert (grad.dtype, grad.shape) == (dtype, (2, 3, 4))
    assert type(y) is float or (y.dtype, y.shape) == (dtype, (2, 3, 4))


def test_layer_norm_gradients_of_gain_and_bias_keep_the_dtype(rng):
    x, gain = rng.standard_normal((3, 4)).astype(np.float32), np.ones(4, np.float32)
    _, grads = ops.layer_norm_backward(x, ops.layer_norm(x, gain, gain)[1])
    assert {name: (g.dtype, g.shape) for name, g in grads.items()} == {
        "gain": (np.float32, (4,)),
        "bias": (np.float32, (4,)),
    }


@names
def test_passes_change_nothing_and_repeat_to_the_bit(name, rng):
    pairs, arrays = calls(np.float64, rng)
    before = [array.tobytes() for array in arrays]
    for array in arrays:
        array.flags.writeable = False
    forward, backward = pairs[name]
    y, cache = forward()
    first = backward(cache)
    kept = first.tobytes()
    again, _ = forward()
    assert np.asarray(y).tobytes() == np.asarray(again).tobytes()
    assert backward(cache).tobytes() == kept == first.tobytes()
    assert [array.tobytes() for array in arrays] == before


@names
def test_float32_agrees_with_float64_to_rounding(name):
    narrow, wide = (calls(dtype, np.random.default_rng(5))[0][name] for dtype in ("f4", "f8"))
    (y, cache), (y_wide, cache_wide) = narrow[0](), wide[0]()
    assert_allclose(y, y_wide, rtol=1e-4, atol=1e-5)
    assert_allclose(narrow[1](cache), wide[1](cache_wide), rtol=1e-4, atol=1e-5)


BACKWARD = {
    **ops.ACTIVATIONS,
    "layer_norm": (lambda x: ops.layer_norm(x, x[0], x[0]), ops.layer_norm_backward),
    "rms_norm": (lambda x: ops.rms_norm(x, x[0]), ops.rms_norm_backward),
    "softmax": (ops.softmax, ops.softmax_backward),
    "attention": (lambda x: ops.attention(x, x, x), ops.attention_backward),
    "dropout": (lambda x: ops.dropout(x, x), ops.dropout_backward),
}


@pytest.mark.parametrize("name", BACKWARD)
def test_backward_refuses_a_grad_y_of_another_shape_or_dtype(name):
    forward, backward = BACKWARD[name]
    _, cache = forward(np.arange(12.0).reshape(3, 4))
    with pytest.raises(ShapeError, match=r"grad_y in \w+_backward has shape"):
        backward(np.ones((1, 4)), cache)
    with pytest.raises(LoraRefError, match=r"grad_y in \w+_backward has dtype float32"):
        backward(np.ones((3, 4), np.float32), cache)


def test_every_backward_refuses_a_cache_of_another_function(rng):
    x, ones = rng.standard_normal((2, 3)), np.ones(3)
    passed = {name: pair.forward(x) for name, pair in ops.ACTIVATIONS.items()} | {
        "softmax_cross_entropy": ops.softmax_cross_entropy(x, np.array([0, 2])),
        "mean_squared_error": ops.mean_squared_error(x, -x),
        "layer_norm": ops.layer_norm(x, ones, ones),
        "rms_norm": ops.rms_norm(x, ones),
        "softmax": ops.softmax(x),
        "attention": ops.attention(x, x, x),
        "dropout": ops.dropout(x, ops.dropout_mask(x.shape, 0.5, rng)),
    }
    assert {f"{name}_backward" for name in passed} == {
        name for name in ops.__all__ if name.endswith("_backward")
    }
    for name, (_, own) in passed.items():
        backward = getattr(ops, f"{name}_backward")
        parameters = inspect.signature(backward).parameters.values()
        places = [one for one in parameters if one.kind is not one.KEYWORD_ONLY]
        before = [np.ones_like(x)] * (len(places) - 1)
        for wrong in (None, x, *(cache for _, cache in passed.values() if cache is not own)):
            got, expected = (type(cache).__name__ for cache in (wrong, own))
            with pytest.raises(LoraRefError) as said:
                backward(*before, wrong)
            assert str(said.value) == (
                f"cache in {name}_backward is a {got}, expected the {expected} of a forward pass"
            )


@activations
def test_activation_refuses_what_is_no_floating_point_array(name):
    for wrong in (np.arange(3), [1.0], 1.0, np.empty(0)):
        with pytest.raises(LoraRefError, match=f"x in {name} "):
            ops.ACTIVATIONS[name].forward(wrong)


def test_dropout_does_not_broadcast_one_mask_over_the_batch(rng):
    with pytest.raises(ShapeError, match="mask in dropout has shape"):
        ops.dropout(np.ones((3, 4)), ops.dropout_mask((1, 4), 0.5, rng))
