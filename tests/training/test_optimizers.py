"""Steps against the published recursions in Python floats, and what a step may write to."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.training import (
    SGD,
    AdamW,
    AdamWState,
    DivergedError,
    Momentum,
    clip_gradients,
    cosine,
    gradient_norm,
)

STEPS = 20
OPTIMIZERS = {
    "sgd": SGD(0.1),
    "momentum": Momentum(0.1, 0.8),
    "adamw": AdamW(0.1, (0.8, 0.95), 1e-3, 0.3),
    "lora+": AdamW(0.1, lr_ratio={"B": 4.0}),
}
every = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def draw(rng, dtype=np.float64):
    return {
        name: rng.standard_normal(shape).astype(dtype)
        for name, shape in (("fc1.A", (2, 5)), ("fc1.B", (3, 2)), ("fc2.bias", (4,)))
    }


def arrays_of(state):
    """All arrays of a state: of a mapping, or of the two in AdamW's."""
    if isinstance(state, tuple):
        return [array for part in state[1:] for array in part.values()]
    return list((state or {}).values())


def run(optimizer, params, all_grads, lrs):
    state, seen = optimizer.init_state(params), []
    for grads, lr in zip(all_grads, lrs, strict=True):
        params, state = optimizer.step(params, grads, state, lr=lr)
        seen.append(params)
    return seen


# ---------------------------------------------------------------------------------- trajectories


def adamw_of_the_paper(theta, gradients, etas, alpha, beta1, beta2, epsilon, decay):
    """Algorithm 2 of arXiv 1711.05101 for one number; `decay` is its λ, free of α."""
    m = v = 0.0
    for t, (g, eta) in enumerate(zip(gradients, etas, strict=True), start=1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
        theta = theta - eta * (alpha * m_hat / (math.sqrt(v_hat) + epsilon) + decay * theta)
        yield theta


@pytest.mark.parametrize(
    "optimizer",
    [AdamW(1e-3), AdamW(0.05, (0.7, 0.9), 1e-2, 0.4), AdamW(0.05, (0.0, 0.5), 1e-8, 0.0)],
    ids=str,
)
def test_adamw_follows_the_published_algorithm_for_20_steps(optimizer, rng):
    params, all_grads = draw(rng), [draw(rng) for _ in range(STEPS)]
    etas = [1 / (1 + t) for t in range(STEPS)]
    seen = run(optimizer, params, all_grads, [optimizer.lr * eta for eta in etas])
    decay = optimizer.lr * optimizer.weight_decay
    for name, start in params.items():
        for i in np.ndindex(start.shape):
            gradients = [float(grads[name][i]) for grads in all_grads]
            arguments = optimizer.lr, *optimizer.betas, optimizer.epsilon, decay
            expected = list(adamw_of_the_paper(float(start[i]), gradients, etas, *arguments))
            assert_allclose([step[name][i] for step in seen], expected, rtol=1e-12, atol=1e-14)


def test_adamw_without_epsilons_help_would_divide_zero_by_zero_and_does_not():
    params = {"w": np.ones(3)}
    optimizer = AdamW(0.1, weight_decay=0.0)
    moved, _ = optimizer.step(params, {"w": np.zeros(3)}, optimizer.init_state(params))
    assert_array_equal(moved["w"], params["w"])


@pytest.mark.parametrize("scale", [0.0, 1e-5, 1.0, 1e4])
def test_adamw_in_float16_goes_where_float64_does(scale, rng):
    optimizer = AdamW(0.02, (0.8, 0.95))
    half = draw(rng, np.float16)
    all_grads = [
        {name: (scale * grad).astype(np.float16) for name, grad in draw(rng).items()}
        for _ in range(STEPS)
    ]
    double, *all_double = (
        {name: array.astype(np.float64) for name, array in arrays.items()}
        for arrays in (half, *all_grads)
    )
    got, expected = (
        run(optimizer, params, grads, [0.02] * STEPS)
        for params, grads in ((half, all_grads), (double, all_double))
    )
    for name, right in expected[-1].items():
        assert got[-1][name].dtype == np.float16
        assert_allclose(got[-1][name], right, rtol=0, atol=STEPS * 1e-3)
        assert scale == 0 or np.abs(got[-1][name] - half[name]).max() > 0.02


def test_an_epsilon_that_the_dtype_rounds_to_zero_is_refused_at_the_start(rng):
    with pytest.raises(LoraRefError, match="epsilon in AdamW is 1e-50, which is 0 in the float32"):
        AdamW(0.1, epsilon=1e-50).init_state(draw(rng, np.float32))
    AdamW(0.1, epsilon=1e-50).init_state(draw(rng))


def test_momentum_follows_its_recursion_for_20_steps(rng):
    params, all_grads = draw(rng), [draw(rng) for _ in range(STEPS)]
    lrs = [0.1 / (1 + t) for t in range(STEPS)]
    seen = run(Momentum(0.1, 0.8), params, all_grads, lrs)
    for name, start in params.items():
        for i in np.ndindex(start.shape):
            theta, velocity = float(start[i]), 0.0
            for t in range(STEPS):
                velocity = 0.8 * velocity + float(all_grads[t][name][i])
                theta -= lrs[t] * velocity
                assert seen[t][name][i] == pytest.approx(theta, rel=1e-12, abs=1e-14)


def test_sgd_subtracts_lr_times_the_gradient(rng):
    params, grads = draw(rng), draw(rng)
    moved, state = SGD(0.25).step(params, grads, None)
    assert state is None
    for name in params:
        assert_array_equal(moved[name], params[name] - 0.25 * grads[name])


@every
def test_lr_of_a_step_stands_in_for_that_of_the_optimiser(optimizer, rng):
    params, grads = draw(rng), draw(rng)
    state = optimizer.init_state(params)
    moved, _ = optimizer.step(params, grads, state)
    same, _ = optimizer.step(params, grads, state, lr=optimizer.lr)
    still, _ = optimizer.step(params, grads, state, lr=0.0)
    for name in params:
        assert_array_equal(moved[name], same[name])
        assert_array_equal(still[name], params[name])
        assert (moved[name] != params[name]).all()


# ---------------------------------------------------------------------------------- LoRA+


@pytest.mark.parametrize("kind", [SGD, Momentum, AdamW])
def test_a_ratio_multiplies_the_rate_of_the_names_that_end_in_it(kind, rng):
    params, grads = draw(rng), draw(rng)
    params["fc3.lB"], grads["fc3.lB"] = np.ones(2), np.ones(2)  # ends in B, but is not called so

    def moved(lr, **ratio):
        optimizer = kind(lr, **ratio)
        return optimizer.step(params, grads, optimizer.init_state(params))[0]

    plus, slow, fast = moved(0.01, lr_ratio={"B": 16.0}), moved(0.01), moved(0.16)
    for name in params:
        assert_array_equal(plus[name], (fast if name == "fc1.B" else slow)[name])


def test_the_longest_end_wins_in_any_order(rng):
    params = {"fc1.B": np.zeros(2), "fc2.B": np.zeros(2)}
    grads = {name: -np.ones(2) for name in params}
    for ratios in ({"B": 2.0, "fc1.B": 3.0}, {"fc1.B": 3.0, "B": 2.0}):
        moved, _ = SGD(1.0, lr_ratio=ratios).step(params, grads, None)
        assert (moved["fc1.B"][0], moved["fc2.B"][0]) == (3.0, 2.0)


@pytest.mark.parametrize("kind", [SGD, Momentum, AdamW])
def test_a_ratio_for_no_parameter_is_an_error_at_the_start(kind, rng):
    with pytest.raises(LoraRefError, match=r"'C', which ends no name, .* fc1\.A, fc1\.B"):
        kind(0.1, lr_ratio={"C": 2.0}).init_state(draw(rng))


# ---------------------------------------------------------------------------------- memory


@pytest.mark.parametrize("kind", [SGD, Momentum, AdamW])
@pytest.mark.parametrize("ratio", [16, None, [("B", 2.0)], {1: 2.0}], ids=repr)
def test_a_ratio_is_a_mapping_from_names(kind, ratio):
    with pytest.raises(LoraRefError) as said:
        kind(0.1, lr_ratio=ratio)
    expected = "expected a mapping from ends of names to numbers"
    assert str(said.value) == f"lr_ratio in {kind.__name__} is {ratio!r}, {expected}"


def test_a_ratio_for_no_parameter_is_an_error_in_a_step_too(rng):
    params = draw(rng)
    with pytest.raises(LoraRefError, match="lr_ratio in SGD has 'Z', which ends no name"):
        SGD(0.1, lr_ratio={"Z": 16}).step(params, params, None)


@pytest.mark.parametrize("kind", [SGD, Momentum, AdamW])
def test_a_step_takes_floating_point_arrays_alone(kind, rng):
    params = {name: array.astype(complex) for name, array in draw(rng).items()}
    zeros = {name: np.zeros_like(array) for name, array in params.items()}
    state = AdamWState(0, zeros, zeros) if kind is AdamW else zeros
    with pytest.raises(LoraRefError, match="has dtype complex128, expected a floating-point dtype"):
        kind(0.1).step(params, params, state)


@every
def test_equal_optimisers_have_one_hash(optimizer):
    assert hash(optimizer) == hash(replace(optimizer))
    assert {optimizer: 1}[replace(optimizer)] == 1


@every
@dtypes
def test_a_step_in_place_gives_the_same_bits_in_the_same_memory(optimizer, dtype, rng):
    params, all_grads = draw(rng, dtype), [draw(rng, dtype) for _ in range(4)]
    pure, pure_state = params, optimizer.init_state(params)
    ours = {name: array.copy() for name, array in params.items()}
    state = optimizer.init_state(ours)
    memory = [array.ctypes.data for array in [*ours.values(), *arrays_of(state)]]
    for grads in all_grads:
        pure, pure_state = optimizer.step(pure, grads, pure_state)
        ours, state = optimizer.step(ours, grads, state, out=(ours, state))
    got = [*ours.values(), *arrays_of(state)]
    expected = [*pure.values(), *arrays_of(pure_state)]
    assert [array.ctypes.data for array in got] == memory
    assert [array.tobytes() for array in got] == [array.tobytes() for array in expected]
    assert {array.dtype for array in got} == {np.dtype(dtype)}


@every
def test_a_step_without_out_writes_to_nothing_it_was_given(optimizer, rng):
    params, grads = draw(rng), draw(rng)
    _, state = optimizer.step(params, grads, optimizer.init_state(params))
    given_arrays = [*params.values(), *grads.values(), *arrays_of(state)]
    before = [array.tobytes() for array in given_arrays]
    for array in given_arrays:
        array.flags.writeable = False
    moved, after = optimizer.step(params, grads, state)
    assert [array.tobytes() for array in given_arrays] == before
    for new in [*moved.values(), *arrays_of(after)]:
        assert not any(np.shares_memory(new, array) for array in given_arrays)


@every
def test_a_step_into_other_buffers_leaves_what_went_in(optimizer, rng):
    params, grads = draw(rng), draw(rng)
    state = optimizer.init_state(params)
    before = [array.tobytes() for array in [*params.values(), *arrays_of(state)]]
    buffers = draw(rng), optimizer.init_state(params)
    moved, after = optimizer.step(params, grads, state, out=buffers)
    expected, _ = optimizer.step(params, grads, state)
    assert all(moved[name] is buffers[0][name] for name in params)
    assert [new.ctypes.data for new in arrays_of(after)] == [
        buffer.ctypes.data for buffer in arrays_of(buffers[1])
    ]
    assert [array.tobytes() for array in [*params.values(), *arrays_of(state)]] == before
    for name in params:
        assert_array_equal(moved[name], expected[name])


@every
def test_strided_parameters_count_like_their_copies(optimizer, rng):
    params, grads = draw(rng), draw(rng)
    strided = {name: np.repeat(array, 2, axis=-1)[..., ::2] for name, array in params.items()}
    expected, _ = optimizer.step(params, grads, optimizer.init_state(params))
    state, buffers = optimizer.init_state(strided), optimizer.init_state(params)
    optimizer.step(strided, grads, state, out=(strided, buffers))
    for name in params:
        assert_array_equal(strided[name], expected[name])


@every
def test_gradients_and_buffers_must_be_those_of_the_parameters(optimizer, rng):
    params, grads = draw(rng), draw(rng)
    state = optimizer.init_state(params)
    fewer = {name: grads[name] for name in list(grads)[1:]}
    other = {**grads, "fc1.A": grads["fc1.A"].T}
    for wrong in (fewer, other, draw(rng, np.float32)):
        with pytest.raises(LoraRefError, match=r"grads in \w+\.step"):
            optimizer.step(params, wrong, state)
        with pytest.raises(LoraRefError, match=r"params of out in \w+\.step"):
            optimizer.step(params, grads, state, out=(wrong, state))
    params["fc1.B"].flags.writeable = False
    with pytest.raises(LoraRefError, match=r"fc1\.B in params of out .* is read-only"):
        optimizer.step(params, grads, state, out=(params, state))


@every
@pytest.mark.parametrize("wrong", [None, [np.ones(2)], np.ones(2)], ids=repr)
def test_what_is_no_mapping_of_names_is_named(optimizer, wrong, rng):
    params, kind = draw(rng), type(optimizer).__name__
    state, expected = optimizer.init_state(params), "expected a mapping from names to arrays"
    got = type(wrong).__name__
    for call, what in (
        (lambda: optimizer.init_state(wrong), f"params in {kind}"),
        (lambda: optimizer.step(wrong, params, state), f"params in {kind}"),
        (lambda: optimizer.step(params, wrong, state), f"grads in {kind}.step"),
    ):
        with pytest.raises(LoraRefError) as said:
            call()
        assert str(said.value) == f"{what} is a {got}, {expected}"


@every
def test_what_is_no_array_among_the_parameters_or_gradients_is_named(optimizer, rng):
    params = draw(rng)
    state, wrong = optimizer.init_state(params), {**params, "fc1.B": [1.0]}
    with pytest.raises(LoraRefError, match=r"fc1\.B of params in \w+ is a list, expected a NumPy"):
        optimizer.step(wrong, params, state)
    with pytest.raises(LoraRefError, match=r"fc1\.B in grads in \w+\.step is a list, expected"):
        optimizer.step(params, wrong, state)


@pytest.mark.parametrize("optimizer", [Momentum(0.1), AdamW(0.1)], ids=str)
def test_a_state_of_another_kind_is_named(optimizer, rng):
    params = draw(rng)
    with pytest.raises(LoraRefError, match=r"^state in \w+\.step is a NoneType, expected "):
        optimizer.step(params, params, None)
    out = params, None
    with pytest.raises(LoraRefError, match=r"^state of out in \w+\.step is a NoneType, expected "):
        optimizer.step(params, params, optimizer.init_state(params), out=out)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 3e19), (np.float64, 3e154)])
def test_a_gradient_whose_square_overflows_is_named_and_nothing_is_changed(dtype, size):
    # an infinite square would divide every later gradient: the parameter would never move again
    optimizer, params = AdamW(0.1), {"A": np.ones(3, dtype), "B": np.ones(2, dtype)}
    fits = {"A": np.ones(3, dtype), "B": np.array([1, size / 3], dtype)}
    params, state = optimizer.step(params, fits, optimizer.init_state(params))
    given_arrays = [*params.values(), *arrays_of(state)]
    before = [array.tobytes() for array in given_arrays]
    grads = {**fits, "B": np.array([1, size], dtype)}
    sentence = rf"^B overflows {np.dtype(dtype)} in step 2 of AdamW: its gradient is up to 3e\+"
    with pytest.raises(DivergedError, match=sentence), np.errstate(all="ignore"):  # as in train
        optimizer.step(params, grads, state)
    assert [array.tobytes() for array in given_arrays] == before


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: SGD(-0.1), "lr in SGD is -0.1"),
        (lambda: SGD(float("nan")), "lr in SGD is nan"),
        (lambda: SGD(0.1, lr_ratio={"B": -1.0}), "lr_ratio of B in SGD"),
        (lambda: Momentum(0.1, 1.0), "momentum in Momentum is 1.0"),
        (lambda: AdamW(0.1, betas=(0.9, 1.0)), "betas in AdamW is 1.0"),
        (lambda: AdamW(0.1, betas=(0.9,)), "expected two numbers"),
        (lambda: AdamW(0.1, epsilon=0.0), "expected a positive number"),
        (lambda: AdamW(0.1, weight_decay=-1.0), "weight_decay in AdamW is -1.0"),
    ],
)
def test_a_hyperparameter_out_of_range_is_named(make, what):
    with pytest.raises(LoraRefError, match=what):
        make()


# ----------------------------------------------------------------- clipping and schedules


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.1, 1.0, 3.0, 100.0]))
def test_clipping_keeps_the_direction_and_bounds_the_norm(seed, limit):
    grads = draw(np.random.default_rng(seed))
    flat = np.concatenate([grad.ravel() for grad in grads.values()])
    clipped, norm = clip_gradients(grads, limit)
    assert norm == pytest.approx(np.linalg.norm(flat), rel=1e-12)
    assert gradient_norm(clipped) == pytest.approx(min(norm, limit), rel=1e-12)
    factor = min(1.0, limit / norm)
    for name, grad in grads.items():
        assert_allclose(clipped[name], factor * grad, rtol=1e-12)


scales = st.sampled_from(
    [
        *((np.float16, 3e-5), (np.float16, 3e3), (np.float32, 1e-30), (np.float32, 1e30)),
        *((np.float64, 1e-200), (np.float64, 1.0), (np.float64, 1e200)),
    ]
)


@given(st.integers(0, 2**32 - 1), scales)
def test_the_norm_is_right_where_squares_leave_the_dtype(seed, scaled):
    dtype, scale = scaled
    rng = np.random.default_rng(seed)
    grads = {name: (scale * grad).astype(dtype) for name, grad in draw(rng).items()}
    expected = math.hypot(*(float(v) for grad in grads.values() for v in grad.flat))
    assert gradient_norm(grads) == pytest.approx(expected, rel=1e-5, abs=0)
    clipped, _ = clip_gradients(grads, expected / 2)
    for name, grad in grads.items():
        tiny = float(np.finfo(dtype).smallest_subnormal)
        assert_allclose(clipped[name], grad.astype(np.float64) / 2, rtol=1e-2, atol=tiny)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_norm_of_nothing_and_of_no_number_stays_what_it_is(dtype):
    at = {0.0: 0.0, np.inf: np.inf, -np.inf: np.inf}
    for value, norm in at.items():
        assert gradient_norm({"A": np.array([value, 0], dtype)}) == norm
    assert math.isnan(gradient_norm({"A": np.array([1, np.nan], dtype)}))


def test_clipping_by_a_factor_below_float16_leaves_a_gradient():
    clipped, norm = clip_gradients({"A": np.array([6e4, -3e4], np.float16)}, 1e-3)
    assert norm == pytest.approx(math.hypot(6e4, 3e4), rel=1e-3)
    assert clipped["A"].dtype == np.float16
    assert_allclose(clipped["A"], [8.944e-4, -4.472e-4], rtol=1e-3)


def test_small_gradients_come_back_themselves_and_float32_stays(rng):
    grads = draw(rng, np.float32)
    assert clip_gradients(grads, 1e6)[0] is grads
    clipped, norm = clip_gradients(grads, 0.1)
    assert type(norm) is float
    assert {grad.dtype for grad in clipped.values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("limit", [0.0, -1.0, float("inf")])
def test_max_norm_is_positive_and_finite(limit, rng):
    with pytest.raises(LoraRefError, match="max_norm in clip_gradients"):
        clip_gradients(draw(rng), limit)


def test_gradients_without_a_direction_are_not_clipped():
    with pytest.raises(LoraRefError, match="norm of grads in clip_gradients is nan"):
        clip_gradients({"A": np.array([np.nan])}, 1.0)


@given(st.integers(1, 50), st.data())
def test_cosine_rises_to_one_and_falls_to_zero(steps, data):
    warmup = data.draw(st.integers(0, steps - 1))
    factors = [cosine(step, steps, warmup=warmup) for step in range(steps + 1)]
    assert factors[warmup] == 1.0
    assert factors[-1] == pytest.approx(0, abs=1e-15)
    assert_allclose(np.diff(factors[: warmup + 1]), 1 / (warmup + 1))
    assert (np.diff(factors[warmup:]) <= 0).all()
    assert 0 < factors[0] <= 1


def test_cosine_is_halfway_in_the_middle():
    assert cosine(6, 10, warmup=2) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "arguments",
    [
        {"step": 11, "steps": 10},
        {"step": -1, "steps": 10},
        {"step": 0, "steps": 0},
        {"step": 0, "steps": 10, "warmup": 10},
    ],
)
def test_cosine_knows_its_ranges(arguments):
    with pytest.raises(LoraRefError, match="in cosine"):
        cosine(**arguments)
