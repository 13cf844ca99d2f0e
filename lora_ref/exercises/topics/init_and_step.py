"""The exercises of notebook 05: initial values, and the first two steps."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import sizes


def _start(
    out_features: int, in_features: int, r: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    A, B = np.zeros((r, in_features)), np.zeros((out_features, r))
    bound = 1 / np.sqrt(in_features)
    for k in range(r):
        for j in range(in_features):
            A[k, j] = rng.uniform(-bound, bound)
    return A, B


def _draw_start(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    fresh = np.random.default_rng(int(rng.integers(1000, 2000)))
    return {"out_features": out_features, "in_features": in_features, "r": r, "rng": fresh}


def _in_any_order(answer: Any) -> Any:
    """Sort the entries of A, which may be filled by columns as well as by rows."""
    if not isinstance(answer, tuple) or len(answer) != 2:
        return answer
    A, B = answer
    if not isinstance(A, np.ndarray) or A.dtype.kind != "f":
        return answer
    return np.sort(A, axis=None).reshape(A.shape), B


Draw = Callable[[np.random.Generator, int, int, int], Array]


def _with(draw: Draw) -> Answer:
    """Return an answer with B at zero and an A drawn from rng, out_features, in_features and r."""
    return lambda out, in_, r, rng: (draw(rng, out, in_, r), np.zeros((out, r)))


def _within(bound: Callable[[int, int, int], float]) -> Answer:
    """Return an answer whose A is uniform within a bound of out_features, in_features and r."""

    def draw(rng: np.random.Generator, out: int, in_: int, r: int) -> Array:
        limit = bound(out, in_, r)
        return rng.uniform(-limit, limit, (r, in_))

    return _with(draw)


def _start_from(seed: int) -> Answer:
    """Return the answer that draws from a generator of its own."""
    return lambda out, in_, r, rng: _start(out, in_, r, np.random.default_rng(seed))


ONE_DIRECTION = (
    "the rows of A are equal. Then the columns of B get equal gradients, and the update has "
    "rank 1 for ever."
)

START = Exercise(
    "05",
    "where training begins",
    "Return A (r, in_features) and B (out_features, r), floats, as `return A, B`. The entries of\n"
    "A are independent draws, uniform between -1/sqrt(in_features) and 1/sqrt(in_features). Draw\n"
    "them from rng before anything else; in which order they fill A does not matter.\n"
    "Training must begin exactly at W0.",
    _start,
    _draw_start,
    {
        "both-zero": WrongAnswer(
            "both are zero: each gradient contains the other factor, so neither ever moves.",
            _with(lambda rng, out, in_, r: np.zeros((r, in_))),
        ),
        "both-random": WrongAnswer(
            "both are random: the model is disturbed before it has learnt anything.",
            lambda out, in_, r, rng: (
                rng.uniform(-(in_**-0.5), in_**-0.5, (r, in_)),
                rng.uniform(-(in_**-0.5), in_**-0.5, (out, r)),
            ),
        ),
        "exchanged": WrongAnswer(
            "here B is random and A is zero. It would train, but it is the other way round.",
            lambda out, in_, r, rng: (
                np.zeros((r, in_)),
                rng.uniform(-(in_**-0.5), in_**-0.5, (out, r)),
            ),
        ),
        "order": WrongAnswer(
            "this returns B, A; expected A, B.",
            lambda out, in_, r, rng: _start(out, in_, r, rng)[::-1],
        ),
        "A-transposed": WrongAnswer(
            "A has the shape of its transpose: its rows are as long as those of x.",
            lambda out, in_, r, rng: (_start(out, in_, r, rng)[0].T, np.zeros((out, r))),
        ),
        "both-transposed": WrongAnswer(
            "A and B have the shapes of their transposes. PyTorch's `nn.Linear(in, out)` names the "
            "axes the other way round than its weight has them.",
            lambda out, in_, r, rng: (_start(out, in_, r, rng)[0].T, np.zeros((r, out))),
        ),
        "root-forgotten": WrongAnswer(
            "A is uniform, but its bound is 1/in_features: the root is missing.",
            _within(lambda out, in_, r: 1 / in_),
        ),
        "upside-down": WrongAnswer(
            "A is uniform, but its bound is upside down: a wider layer would get a wider A.",
            _within(lambda out, in_, r: in_**0.5),
        ),
        "by-out-features": WrongAnswer(
            "the bound follows out_features; h is a sum over the inputs.",
            _within(lambda out, in_, r: out**-0.5),
        ),
        "by-rank": WrongAnswer(
            "the bound is 1/sqrt(r); it should follow in_features.",
            _within(lambda out, in_, r: r**-0.5),
        ),
        "deviation-for-bound": WrongAnswer(
            "1/sqrt(3 in_features) is the bound here; it should be the standard deviation.",
            _within(lambda out, in_, r: (3 * in_) ** -0.5),
        ),
        "width-forgotten": WrongAnswer(
            "A is uniform between -1 and 1; the width of the task is missing.",
            _within(lambda out, in_, r: 1.0),
        ),
        "fixed-width": WrongAnswer(
            "A is uniform between -0.02 and 0.02 in every layer; the task asks for a width that "
            "follows in_features.",
            _within(lambda out, in_, r: 0.02),
        ),
        "fixed-normal": WrongAnswer(
            "A is normal with the standard deviation 0.02 in every layer; the task asks for a "
            "uniform draw, and for a width that follows in_features.",
            _with(lambda rng, out, in_, r: rng.normal(0, 0.02, (r, in_))),
        ),
        "normal": WrongAnswer(
            "A is normal, with the bound as its standard deviation; the task asks for a uniform "
            "draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, in_**-0.5, (r, in_))),
        ),
        "normal-of-this-width": WrongAnswer(
            "A is normal, of the right standard deviation; the task asks for a uniform draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, (3 * in_) ** -0.5, (r, in_))),
        ),
        "he-normal": WrongAnswer(
            "A is normal with the standard deviation sqrt(2/in_features), which is made for layers "
            "with a ReLU; the task asks for a uniform draw.",
            _with(lambda rng, out, in_, r: rng.normal(0, (2 / in_) ** 0.5, (r, in_))),
        ),
        "uniform-above-0": WrongAnswer(
            "A is uniform between 0 and the bound, so its mean is not 0.",
            _with(lambda rng, out, in_, r: rng.uniform(0, in_**-0.5, (r, in_))),
        ),
        "equal-rows": WrongAnswer(
            f"one row is drawn and repeated: {ONE_DIRECTION}",
            _with(
                lambda rng, out, in_, r: np.tile(rng.uniform(-(in_**-0.5), in_**-0.5, in_), (r, 1))
            ),
        ),
        "one-number": WrongAnswer(
            f"one number is drawn for all entries: {ONE_DIRECTION}",
            _with(lambda rng, out, in_, r: np.full((r, in_), rng.uniform(-(in_**-0.5), in_**-0.5))),
        ),
        "constant": WrongAnswer(
            f"nothing is drawn, all entries of A are the bound: {ONE_DIRECTION}",
            _with(lambda rng, out, in_, r: np.full((r, in_), in_**-0.5)),
        ),
        **{
            f"seed-{seed}": WrongAnswer(
                f"this draws from a new generator with the seed {seed}, not from rng. Two layers "
                "of a model would get the same A.",
                _start_from(seed),
            )
            for seed in (0, 1, 42)
        },
    },
    canonical=_in_any_order,
    tolerance=1e-6,  # float32 is a usual dtype of A
    values=("A", "B"),
    question="Four starts are possible: each factor zero or random. Which two leave the model as "
    "it is and can learn, and what is wrong with each of the other two?",
    hints=(
        "Two demands: y has to be that of W0, bit for bit, and the first step has to move "
        "something.",
        "The update is a product, so one of its factors can be zero. A gradient contains the other "
        "factor, which therefore may not be zero. The task says which is which.",
        "Two lines: one call of rng with two bounds and a shape, and one call of np.zeros with a "
        "shape. Mind which axis of each factor is r.",
    ),
)


# ------------------------------------------------------------------------------ the first two steps


def _two_steps(A: Array, G: Array, s: float, lr: float) -> Array:
    B = np.zeros((len(G), len(A)))
    for _ in range(2):
        grad_A, grad_B = np.zeros_like(A), np.zeros_like(B)
        for o in range(len(B)):
            for j in range(A.shape[1]):
                for k in range(len(A)):
                    grad_A[k, j] += s * B[o, k] * G[o, j]
                    grad_B[o, k] += s * G[o, j] * A[k, j]
        A, B = A - lr * grad_A, B - lr * grad_B
    return s * B @ A


def _draw_two_steps(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    return {
        "A": rng.standard_normal((r, in_features)),
        "G": rng.standard_normal((out_features, in_features)),
        "s": float(rng.choice([0.5, 1.5, 2.5])),
        "lr": float(rng.choice([0.1, 0.3])),
    }


def _first_B(A: Array, G: Array, s: float, lr: float) -> Array:
    """Return B after the first step."""
    return -lr * s * G @ A.T


def _second_A(A: Array, G: Array, s: float, lr: float) -> Array:
    """Return A after the second step."""
    return A - lr * s * _first_B(A, G, s, lr).T @ G


def _each_move_at_once(A: Array, G: Array, s: float, lr: float) -> Array:
    """Return the update where a factor moves before the gradient of the other one is taken."""
    B = _first_B(A, G, s, lr)
    A = A - lr * s * B.T @ G
    B = B + _first_B(A, G, s, lr)
    return s * B @ (A - lr * s * B.T @ G)


TWO_STEPS = Exercise(
    "05",
    "the update after two steps",
    "Gradient descent begins at A (r, in_features) and at B = 0, with the scaling s and the\n"
    "learning rate lr. G (out_features, in_features), the gradient of the loss with respect to\n"
    "the whole weight, is taken to be the same in both steps. A step takes both gradients, then\n"
    "moves both factors. Return s B A after two steps. Leave A as it is.",
    _two_steps,
    _draw_two_steps,
    {
        "A-held": WrongAnswer(
            "this is twice the first step: here A stands still in the second step as well.",
            lambda A, G, s, lr: 2 * s * _first_B(A, G, s, lr) @ A,
        ),
        "one-step": WrongAnswer(
            "this is the update after one step.",
            lambda A, G, s, lr: s * _first_B(A, G, s, lr) @ A,
        ),
        "second-change": WrongAnswer(
            "this is what the second step adds; return the whole update after it.",
            lambda A, G, s, lr: _two_steps(A, G, s, lr) - s * _first_B(A, G, s, lr) @ A,
        ),
        "B-moved-once": WrongAnswer(
            "here A is as after two steps, and B as after one.",
            lambda A, G, s, lr: _two_steps(A, G, s, lr) / 2,
        ),
        "each-move-at-once": WrongAnswer(
            "here B moves before the gradient of A is taken. A step takes both gradients first.",
            _each_move_at_once,
        ),
        "A-first": WrongAnswer(
            "in the second step A moves before the gradient of B is taken; take both gradients "
            "first.",
            lambda A, G, s, lr: (
                (s * (_first_B(A, G, s, lr) + _first_B(_second_A(A, G, s, lr), G, s, lr)))
                @ _second_A(A, G, s, lr)
            ),
        ),
        "B-too-late": WrongAnswer(
            "the gradient of A in the second step contains B as it is after that step.",
            lambda A, G, s, lr: (
                2 * s * _first_B(A, G, s, lr) @ (A - 2 * lr * s * _first_B(A, G, s, lr).T @ G)
            ),
        ),
        "A-uphill": WrongAnswer(
            "A moves uphill in the second step: mind the sign of the B that is in its gradient.",
            lambda A, G, s, lr: (
                2 * s * _first_B(A, G, s, lr) @ (A + lr * s * _first_B(A, G, s, lr).T @ G)
            ),
        ),
        "both-uphill": WrongAnswer(
            "both factors move uphill; a step subtracts the gradient.",
            lambda A, G, s, lr: _two_steps(A, G, s, -lr),
        ),
        "scaling-forgotten": WrongAnswer(
            "s is nowhere: it stands in both gradients and before B A.",
            lambda A, G, s, lr: _two_steps(A, G, 1.0, lr),
        ),
        "scaling-not-in-gradients": WrongAnswer(
            "s stands before B A, but not in the gradients.",
            lambda A, G, s, lr: s * _two_steps(A, G, 1.0, lr),
        ),
        "scaling-not-in-front": WrongAnswer(
            "this is B A; s stands in the gradients, but not before B A.",
            lambda A, G, s, lr: _two_steps(A, G, s, lr) / s,
        ),
        "scaling-not-in-gradient-of-A": WrongAnswer(
            "s is missing in the gradient of A.",
            lambda A, G, s, lr: (
                2 * s * _first_B(A, G, s, lr) @ (A - lr * _first_B(A, G, s, lr).T @ G)
            ),
        ),
        "scaling-not-in-gradient-of-B": WrongAnswer(
            "s is missing in the gradient of B.",
            lambda A, G, s, lr: (
                2 * s * _first_B(A, G, 1.0, lr) @ (A - lr * s * _first_B(A, G, 1.0, lr).T @ G)
            ),
        ),
        "rate-forgotten": WrongAnswer(
            "lr is missing: these are steps with a learning rate of 1.",
            lambda A, G, s, lr: _two_steps(A, G, s, 1.0),
        ),
        "whole-weight": WrongAnswer(
            "these are two steps of a whole weight, with no A and no B.",
            lambda A, G, s, lr: -2 * lr * G,
        ),
    },
    question="Which factor has moved how often after two steps? Is the update then twice that of "
    "the first step?",
    hints=(
        "Write down A and B after the first step. One of them is what it was.",
        "In the second step the gradient of B is that of the first step, because A has not moved "
        "yet. The gradient of A is no longer zero.",
        "Three lines: B after the first step, A after the second, and a product with a number "
        "before it.",
    ),
    without=LOOPS,
)


ALL = (START, TWO_STEPS)
