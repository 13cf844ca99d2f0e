"""Exercises of notebook 09: an adapter, DoRA, what seeds decide, and how a rate is chosen."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import BASIC, scaling_factors, wrong_scalings


def _adapter(x: Array, W_down: Array, b_down: Array, W_up: Array, b_up: Array) -> Array:
    y = np.zeros_like(x)
    for i in range(x.shape[0]):
        for o in range(x.shape[1]):
            y[i, o] = x[i, o] + b_up[o]
            for k in range(len(W_down)):
                inner = b_down[k]
                for j in range(x.shape[1]):
                    inner += W_down[k, j] * x[i, j]
                if inner > 0:  # ReLU
                    y[i, o] += W_up[o, k] * inner
    return y


def _draw_adapter(rng: np.random.Generator, n: int) -> Arguments:
    features, _, m = sizes(rng)
    return {
        "x": rng.standard_normal((n, features)),
        "W_down": rng.standard_normal((m, features)),
        "b_down": rng.standard_normal(m),
        "W_up": rng.standard_normal((features, m)),
        "b_up": rng.standard_normal(features),
    }


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0)


def _activated(activation: Callable[[Array], Any]) -> Answer:
    """Return the answer with another activation in the bottleneck."""
    return lambda x, W_down, b_down, W_up, b_up: (
        x + activation(x @ W_down.T + b_down) @ W_up.T + b_up
    )


ADAPTER = Exercise(
    "09",
    "the bottleneck adapter",
    "Return what a bottleneck adapter returns for rows x (n, features): down to m features with\n"
    "W_down (m, features) and b_down, ReLU, up again with W_up (features, m) and b_up, and the\n"
    "result added to x itself.",
    _adapter,
    _draw_adapter,
    {
        "residual-forgotten": WrongAnswer(
            "x itself is missing: an adapter adds to its input, it does not replace it.",
            lambda x, W_down, b_down, W_up, b_up: _relu(x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        "no-activation": WrongAnswer(
            "there is no ReLU. Without it the two projections are one matrix, and could be merged.",
            lambda x, W_down, b_down, W_up, b_up: x + (x @ W_down.T + b_down) @ W_up.T + b_up,
        ),
        "activation-at-the-end": WrongAnswer(
            "the ReLU stands after the way up; it belongs in the bottleneck.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + _relu((x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
        "activation-behind-the-way-up": WrongAnswer(
            "the ReLU stands after the way up, before b_up; it belongs in the bottleneck.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + _relu((x @ W_down.T + b_down) @ W_up.T) + b_up
            ),
        ),
        "activation-over-the-sum": WrongAnswer(
            "the ReLU is over the sum, x included. It belongs in the bottleneck, and x passes "
            "untouched.",
            lambda x, W_down, b_down, W_up, b_up: _relu(
                x + (x @ W_down.T + b_down) @ W_up.T + b_up
            ),
        ),
        "two-activations": WrongAnswer(
            "there is a second ReLU, over the whole sum; one, in the bottleneck, is enough.",
            lambda x, W_down, b_down, W_up, b_up: _relu(
                x + _relu(x @ W_down.T + b_down) @ W_up.T + b_up
            ),
        ),
        "two-activations-on-the-way": WrongAnswer(
            "a second ReLU stands after the way up, so nothing is ever taken from x. One, in the "
            "bottleneck, is enough.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + _relu(_relu(x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
        "b_down-after-the-activation": WrongAnswer(
            "b_down is added after the ReLU; it moves the place where the ReLU bends, so it comes "
            "before.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + (_relu(x @ W_down.T) + b_down) @ W_up.T + b_up
            ),
        ),
        "biases-forgotten": WrongAnswer(
            "both biases are missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T,
        ),
        "inner-bias-forgotten": WrongAnswer(
            "b_down is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T) @ W_up.T + b_up,
        ),
        "outer-bias-forgotten": WrongAnswer(
            "b_up is missing.",
            lambda x, W_down, b_down, W_up, b_up: x + _relu(x @ W_down.T + b_down) @ W_up.T,
        ),
        "largest-of-a-column": WrongAnswer(
            "np.max(h, 0) takes the largest of each column; entry by entry it is np.maximum.",
            _activated(lambda h: np.max(h, axis=0)),
        ),
        "negative-part": WrongAnswer(
            "what is negative passes and what is positive becomes 0: a ReLU the wrong way round.",
            _activated(lambda h: np.minimum(h, 0.0)),
        ),
        "absolute-values": WrongAnswer(
            "negative inner numbers come out positive; a ReLU makes them 0.",
            _activated(np.abs),
        ),
        "ones-and-zeros": WrongAnswer(
            "positive inner numbers come out as 1; a ReLU lets them as they are.",
            _activated(lambda h: 1.0 * (h > 0)),
        ),
        "hyperbolic-tangent": WrongAnswer(
            "the activation is tanh; a ReLU is asked for.",
            _activated(np.tanh),
        ),
        "activation-first": WrongAnswer(
            "the ReLU is on x, before the way down.",
            lambda x, W_down, b_down, W_up, b_up: (
                x + (_relu(x) @ W_down.T + b_down) @ W_up.T + b_up
            ),
        ),
        "multiplied": WrongAnswer(
            "x is multiplied by the adapter; add.",
            lambda x, W_down, b_down, W_up, b_up: (
                x * (_relu(x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
        "scaled-by-one-more": WrongAnswer(
            "x is multiplied by 1 + the adapter; add.",
            lambda x, W_down, b_down, W_up, b_up: (
                x * (1 + _relu(x @ W_down.T + b_down) @ W_up.T + b_up)
            ),
        ),
    },
    batched=True,
    question="if W_up and both biases are zero, as at the start of training, what comes out?",
    hints=(
        "Write the shape of x beside that of W_down. Which of the two has to be turned, so that "
        "every row of x gets m numbers?",
        "There are three stages: down to m numbers, the activation, up again. Each bias belongs to "
        "one of the two projections, and neither belongs to the activation.",
        "The result is a sum of three things of the shape of x, or that broadcast to it: one is "
        "what came in, one has passed through both projections, one is a bias.",
    ),
    without=LOOPS,
)


def _dora(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
    r, (out_features, in_features) = len(A), W0.shape
    W = np.zeros_like(W0)
    for o in range(out_features):
        squares = 0.0
        for j in range(in_features):
            W[o, j] = W0[o, j]
            for k in range(r):
                W[o, j] += alpha / r * B[o, k] * A[k, j]
            squares += W[o, j] * W[o, j]
        for j in range(in_features):
            W[o, j] *= magnitude[o] / squares**0.5
    return W


def _draw_dora(rng: np.random.Generator, n: int) -> Arguments:
    arguments = layer_arguments("W0", "A", "B", "alpha")(rng, n)
    return {**arguments, "magnitude": rng.uniform(0.5, 3.0, len(arguments["W0"]))}


def _divided(length: Callable[[Array], Any], row: Callable[[Array], Any] = lambda V: V) -> Answer:
    """Return the answer that divides each row, or what is made of it, by another length."""

    def answer(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
        V = W0 + alpha / len(A) * B @ A
        W: Array = magnitude[:, None] * row(V) / length(V)
        return W

    return answer


def _normalized(axis: int | None, *, of_W0: bool = False, power: int = 1) -> Answer:
    def answer(W0: Array, A: Array, B: Array, alpha: float, magnitude: Array) -> Array:
        V = W0 + alpha / len(A) * B @ A
        norms = np.linalg.norm(W0 if of_W0 else V, axis=axis, keepdims=axis is not None)
        W: Array = magnitude[:, None] * V / norms**power
        return W

    return answer


DORA = Exercise(
    "09",
    "the weight of DoRA",
    "With V = W0 + (alpha/r) B A, return the weight whose row o has the direction of row o of V\n"
    "and the norm magnitude[o]. It has the shape of W0, (out_features, in_features).",
    _dora,
    _draw_dora,
    {
        "columns": WrongAnswer(
            "the norms are taken over columns. Each output has a magnitude, so over rows.",
            _normalized(0),
        ),
        "one-norm": WrongAnswer(
            "this divides by one norm, of all of V; each row has its own.", _normalized(None)
        ),
        "norm-of-W0": WrongAnswer(
            "this divides by the norms of W0's rows. They are those of V only at the start.",
            _normalized(1, of_W0=True),
        ),
        **wrong_scalings(_dora, "in V", *BASIC),
        "scaling-forgotten": WrongAnswer(
            "alpha/r is missing in V, or multiplies W0 too, and then drops out with the norm.",
            lambda W0, A, B, alpha, magnitude: _dora(W0, A, B, float(len(A)), magnitude),
        ),
        "squared-norm": WrongAnswer(
            "this divides by the square of each row's norm.", _normalized(1, power=2)
        ),
        "not-normalized": WrongAnswer(
            "V is multiplied by the magnitude, and not divided by its norms.",
            lambda W0, A, B, alpha, magnitude: magnitude[:, None] * (W0 + alpha / len(A) * B @ A),
        ),
        "update-forgotten": WrongAnswer(
            "this has the directions of W0's rows; those of V are expected, which A and B turn.",
            lambda W0, A, B, alpha, magnitude: _dora(W0, A, 0 * B, alpha, magnitude),
        ),
        "update-added-last": WrongAnswer(
            "W0 alone is brought to its lengths, and the update is added afterwards: the rows have "
            "other lengths then. First add, then set the lengths.",
            lambda W0, A, B, alpha, magnitude: (
                _dora(W0, A, 0 * B, alpha, magnitude) + alpha / len(A) * B @ A
            ),
        ),
        "not-normalized-again": WrongAnswer(
            "the rows of W0 have norm 1 before the update is added, and the sum is not divided by "
            "its own norms.",
            lambda W0, A, B, alpha, magnitude: (
                magnitude[:, None]
                * (W0 / np.linalg.norm(W0, axis=1, keepdims=True) + alpha / len(A) * B @ A)
            ),
        ),
        "both-normalized": WrongAnswer(
            "the rows of W0 are brought to norm 1 before the update is added, which changes "
            "how far it turns them. Add to W0 as it is.",
            lambda W0, A, B, alpha, magnitude: _dora(
                W0 / np.linalg.norm(W0, axis=1, keepdims=True), A, B, alpha, magnitude
            ),
        ),
        "sum-of-absolutes": WrongAnswer(
            "this divides by the sum of the absolute values in a row; its length is the root of "
            "the sum of squares.",
            lambda W0, A, B, alpha, magnitude: (
                (V := W0 + alpha / len(A) * B @ A) * (magnitude / np.abs(V).sum(axis=1))[:, None]
            ),
        ),
        "mean-of-squares": WrongAnswer(
            "this takes the mean of the squares in a row; its length is the root of their sum.",
            lambda W0, A, B, alpha, magnitude: (
                _dora(W0, A, B, alpha, magnitude) * W0.shape[1] ** 0.5
            ),
        ),
        "by-columns": WrongAnswer(
            "norms and magnitudes work on columns. Each belongs to an output, a row: what shape do "
            "the vectors need?",
            lambda W0, A, B, alpha, magnitude: (
                magnitude * (V := W0 + alpha / len(A) * B @ A) / np.linalg.norm(V, axis=1)
            ),
        ),
        "magnitude-by-columns": WrongAnswer(
            "the magnitudes multiply columns. Each belongs to an output, a row: what shape does "
            "the vector need?",
            lambda W0, A, B, alpha, magnitude: (
                _dora(W0, A, B, alpha, np.ones_like(magnitude)) * magnitude
            ),
        ),
        "direction-alone": WrongAnswer(
            "the rows have norm 1; the magnitude is missing.",
            lambda W0, A, B, alpha, magnitude: _dora(W0, A, B, alpha, np.ones_like(magnitude)),
        ),
        "largest-entry": WrongAnswer(
            "this divides by the largest entry of a row; its length is the root of the sum of "
            "squares.",
            _divided(lambda V: V.max(axis=1, keepdims=True)),
        ),
        "largest-absolute-value": WrongAnswer(
            "this divides by the largest absolute value in a row; its length is the root of "
            "the sum of squares.",
            _divided(lambda V: np.abs(V).max(axis=1, keepdims=True)),
        ),
        "deviation": WrongAnswer(
            "this divides by the standard deviation of a row; its length is the root of the "
            "sum of squares.",
            _divided(lambda V: V.std(axis=1, keepdims=True)),
        ),
        "sum": WrongAnswer(
            "this divides by the sum of a row; its length is the root of the sum of squares.",
            _divided(lambda V: V.sum(axis=1, keepdims=True)),
        ),
        "norm-of-the-update": WrongAnswer(
            "this divides by the norms of the update's rows; those of V are meant.",
            lambda W0, A, B, alpha, magnitude: (
                magnitude[:, None]
                * (W0 + (update := alpha / len(A) * B @ A))
                / np.linalg.norm(update, axis=1, keepdims=True)
            ),
        ),
        "update-alone": WrongAnswer(
            "the update alone is brought to its lengths, and W0 is added; V is meant, the sum.",
            lambda W0, A, B, alpha, magnitude: W0 + _dora(0 * W0, A, B, alpha, magnitude),
        ),
        "upside-down": WrongAnswer(
            "V is multiplied by its norms and divided by the magnitude: the other way round.",
            lambda W0, A, B, alpha, magnitude: (
                (V := W0 + alpha / len(A) * B @ A)
                * np.linalg.norm(V, axis=1, keepdims=True)
                / magnitude[:, None]
            ),
        ),
    },
    scaling_factors,
    question="W0 and B become three times as large, and the magnitude stays. What changes?",
    hints=(
        "Compute V first, whole, as LoRA would merge it. Then look at one row of it: which number "
        "makes it as long as asked, and leaves its direction?",
        "There is a norm for each row, so out_features of them. A row is divided by its own norm "
        "and multiplied by its own magnitude.",
        "A vector with an entry for each row multiplies a matrix row by row once it is a column. "
        "Both the norms and the magnitudes need that shape.",
    ),
    without=LOOPS,
)


def _verdict(better: Array, worse: Array) -> Any:
    shifts, seeds = better.shape
    verdicts = np.zeros(shifts, np.int64)
    for shift in range(shifts):
        mean, squares = 0.0, 0.0
        for seed in range(seeds):
            mean += (better[shift, seed] - worse[shift, seed]) / seeds
        for seed in range(seeds):
            squares += (better[shift, seed] - worse[shift, seed] - mean) ** 2
        error = (squares / (seeds - 1) / seeds) ** 0.5  # of the mean
        if mean > 2 * error:
            verdicts[shift] = 1
        if mean < -2 * error:
            verdicts[shift] = -1
    return verdicts


def _draw_accuracies(rng: np.random.Generator, n: int) -> Arguments:
    """Draw accuracies of two methods in points; a seed is easy or hard for both."""
    shifts, seeds = int(rng.integers(40, 60)), int(rng.integers(4, 7))
    ease = rng.normal(70.0, 3.0, (shifts, seeds))
    gain = rng.uniform(-3.0, 3.0, (shifts, 1))
    noise = rng.normal(0.0, 0.8, (2, shifts, seeds)) * rng.uniform(0.5, 2.0, (shifts, 1))
    better, worse = ease + gain + noise[0], ease + noise[1]
    better[0] = worse[0]  # nothing is decided where no seed differs
    return {"better": better, "worse": worse}


Error = Callable[[Array, Array], Any]
"""What the mean of a shift is compared with, from the accuracies of two methods."""


def _error(better: Array, worse: Array, ddof: int = 1) -> Any:
    return (better - worse).std(axis=1, ddof=ddof) / better.shape[1] ** 0.5


def _decided(
    error: Error = _error,
    limit: float = 2.0,
    middle: Error = lambda better, worse: (better - worse).mean(axis=1),
) -> Answer:
    def answer(better: Array, worse: Array) -> Any:
        mean, least = middle(better, worse), limit * error(better, worse)
        return (mean > least).astype(int) - (mean < -least)

    return answer


VERDICT = Exercise(
    "09",
    "what some seeds decide",
    "better and worse hold accuracies of two methods, (shifts, seeds): a row for each shift, a\n"
    "column for each seed, and the same seed stands in the same column of both. Return a vector\n"
    "with an entry for each shift: 1 where the mean difference better - worse is above two\n"
    "standard errors of that mean, -1 where it is below minus two, and 0 in between. A standard\n"
    "error is that of a sample: its variance divides by seeds - 1.",
    _verdict,
    _draw_accuracies,
    {
        "unpaired": WrongAnswer(
            "the spread of each method is taken by itself. A seed that is hard for one is hard for "
            "the other, and that drops out if the difference is taken first.",
            _decided(lambda b, w: np.hypot(_error(b, 0 * b), _error(w, 0 * w))),
        ),
        "one-error": WrongAnswer(
            "one standard error is enough here; two are asked for.", _decided(limit=1.0)
        ),
        "deviation-for-error": WrongAnswer(
            "this compares with the deviation of single seeds. The mean of several seeds varies "
            "less than one of them.",
            _decided(lambda b, w: (b - w).std(axis=1, ddof=1)),
        ),
        "divided-by-all": WrongAnswer(
            "the deviation divides by the number of seeds. Their mean was estimated from them too, "
            "which costs one.",
            _decided(lambda b, w: _error(b, w, ddof=0)),
        ),
        "root-forgotten": WrongAnswer(
            "the deviation is divided by the number of seeds; the mean of n numbers does not vary "
            "n times less than one of them.",
            _decided(lambda b, w: _error(b, w) / b.shape[1] ** 0.5),
        ),
        "shifts-for-seeds": WrongAnswer(
            "the deviation is divided by the root of the number of shifts, which is the length of "
            "the array. How many numbers is each mean of?",
            _decided(lambda b, w: (b - w).std(axis=1, ddof=1) / len(b) ** 0.5),
        ),
        "one-error-for-all": WrongAnswer(
            "all shifts are compared with one error; each has its own.",
            _decided(lambda b, w: (b - w).std(ddof=1) / b.shape[1] ** 0.5),
        ),
        "undecided-as-opposite": WrongAnswer(
            "what is not above two standard errors counts as the opposite; there is a third case.",
            lambda better, worse: np.where(_decided()(better, worse) > 0, 1, -1),
        ),
        "sign-alone": WrongAnswer(
            "this is the sign of the mean difference, however small beside its error.",
            _decided(limit=0.0),
        ),
        "opposite-forgotten": WrongAnswer(
            "where the other method is better the answer is 0; undecided and the opposite are not "
            "the same.",
            lambda better, worse: np.maximum(_decided()(better, worse), 0),
        ),
        "decided-alone": WrongAnswer(
            "this says where the two differ, and not which of them is better.",
            lambda better, worse: np.abs(_decided()(better, worse)),
        ),
        "exchanged": WrongAnswer(
            "the signs are exchanged: 1 is for better above worse.",
            lambda better, worse: -_decided()(better, worse),
        ),
        "one-method": WrongAnswer(
            "the error is that of one method alone; that of the difference is meant.",
            _decided(lambda b, w: _error(b, 0 * b)),
        ),
        "errors-added": WrongAnswer(
            "the errors of both methods are added. A seed that is hard for one is hard for "
            "the other, and that drops out if the difference is taken first.",
            _decided(lambda b, w: _error(b, 0 * b) + _error(w, 0 * w), limit=1.0),
        ),
        "variance": WrongAnswer(
            "the root is missing: a variance over the number of seeds is the square of the error.",
            _decided(lambda b, w: _error(b, w) ** 2),
        ),
        "one-off-twice": WrongAnswer(
            "seeds - 1 is under the root a second time.",
            _decided(lambda b, w: (b - w).std(axis=1, ddof=1) / (b.shape[1] - 1) ** 0.5),
        ),
        "1.96": WrongAnswer(
            "1.96 errors are enough here; two are asked for.",
            _decided(limit=1.96),
        ),
        "median": WrongAnswer(
            "this is the median of the differences; the mean is asked for.",
            _decided(middle=lambda b, w: np.median(b - w, axis=1)),
        ),
        "signs-lost": WrongAnswer(
            "the sign of each difference is lost before the mean is taken.",
            lambda better, worse: _decided()(np.abs(better - worse), 0 * worse),
        ),
        "seeds-counted": WrongAnswer(
            "the seeds are counted on which each method wins; how far they differ plays no part.",
            lambda better, worse: np.sign(np.sign(better - worse).sum(axis=1)).astype(int),
        ),
        "two-points": WrongAnswer(
            "a mean difference of two points is the limit for all shifts; each has its own error.",
            _decided(lambda b, w: 1.0),
        ),
        "equal-is-decided": WrongAnswer(
            "a mean of exactly two errors is decided here, as where no seed differs at all; "
            "above is asked for.",
            lambda better, worse: np.where(
                (mean := (better - worse).mean(axis=1)) >= (least := 2 * _error(better, worse)),
                1,
                np.where(mean <= -least, -1, 0),
            ),
        ),
        "truth-values-subtracted": WrongAnswer(
            "NumPy does not subtract truth values; make whole numbers of them first.",
            lambda better, worse: ((better - worse).mean(axis=1) > 0) - (better.mean(axis=1) < 0),
        ),
    },
    without=LOOPS,
    question="one method gains 2 points on every seed, and seeds differ by 10 points. Is that "
    "decided?",
    hints=(
        "The same seed stands in the same column. What do the two methods share on it, and how "
        "does it drop out?",
        "The mean of n numbers varies less than one of them. By which factor? And look up what "
        "NumPy divides by in a standard deviation, if it is not told otherwise.",
        "Each shift has one mean and one error, both over the second axis. Two comparisons make "
        "two arrays of truth values, and as whole numbers their difference has three values.",
    ),
)

# --------------------------------------------------------------------------------- at the best rate


def _at_best_rate(validation: Array, test: Array) -> Array:
    methods, rates, seeds = test.shape
    found = np.zeros(methods)
    for method in range(methods):
        best, highest = 0, -np.inf
        for rate in range(rates):
            total = 0.0
            for seed in range(seeds):
                total += validation[method, rate, seed]
            if total > highest:
                best, highest = rate, total
        for seed in range(seeds):
            found[method] += test[method, best, seed] / seeds
    return found


def _draw_by_rate(rng: np.random.Generator, n: int) -> Arguments:
    """Draw accuracies in points: a hill over the rates, and noise of both sets of images."""
    methods, rates, seeds = int(rng.integers(40, 60)), int(rng.integers(6, 9)), 5
    peak = rng.uniform(1.0, rates - 2.0, (methods, 1))
    hill = rng.uniform(70.0, 90.0, (methods, 1)) - (np.arange(rates) - peak) ** 2
    validation, test = hill[:, :, None] + rng.normal(0.0, 2.5, (2, methods, rates, seeds))
    return {"validation": validation, "test": test}


def _chosen(
    choose: Callable[[Array, Array], Any],
    told: Callable[[Array, Array], Array] = lambda validation, test: test.mean(axis=2),
) -> Answer:
    """Return the entry of a table, (methods, rates), at the place that each method chose."""

    def answer(validation: Array, test: Array) -> Array:
        table = told(validation, test)
        entries: Array = table[np.arange(len(table)), choose(validation, test)]
        return entries

    return answer


def _best_rate(validation: Array, test: Array) -> Any:
    return validation.mean(axis=2).argmax(axis=1)


AT_BEST_RATE = Exercise(
    "09",
    "a rate chosen without the test",
    "validation and test hold accuracies in per cent of some methods, (methods, rates, seeds), on\n"
    "two different sets of images. Each method gets one rate for all seeds: the one whose mean\n"
    "accuracy over the seeds is highest on the validation images. Return for each method its mean\n"
    "accuracy on the test images at that rate.",
    _at_best_rate,
    _draw_by_rate,
    {
        "chosen-on-the-test": WrongAnswer(
            "each rate is chosen on the test images, which are counted afterwards. Of several "
            "noisy numbers the largest is too large on average: which images are there to choose?",
            _chosen(lambda validation, test: test.mean(axis=2).argmax(axis=1)),
        ),
        "validation-told": WrongAnswer(
            "this is the accuracy on the images that chose the rate. The choice favours what they "
            "happen to like, so the number is too high on average.",
            _chosen(_best_rate, lambda validation, test: validation.mean(axis=2)),
        ),
        "sets-exchanged": WrongAnswer(
            "the two sets are exchanged: the test chooses, and the validation is told.",
            lambda validation, test: _chosen(_best_rate)(test, validation),
        ),
        "one-rate-for-all": WrongAnswer(
            "all methods get one rate, the best on average over the methods. The methods differ in "
            "the rate that suits them.",
            _chosen(
                lambda validation, test: np.full(
                    len(test), validation.mean(axis=(0, 2)).argmax(), np.intp
                )
            ),
        ),
        "best-single-run": WrongAnswer(
            "the rate is that of the best single run. One lucky seed decides there; compare means "
            "over the seeds.",
            _chosen(lambda validation, test: validation.max(axis=2).argmax(axis=1)),
        ),
        "each-seed-its-own": WrongAnswer(
            "each seed chooses a rate of its own. A method gets one rate for all of its seeds.",
            lambda validation, test: np.take_along_axis(
                test, validation.argmax(axis=1)[:, None], axis=1
            ).mean(axis=(1, 2)),
        ),
        "first-seed-chooses": WrongAnswer(
            "the first seed alone chooses the rate; the others have a say too.",
            _chosen(lambda validation, test: validation[:, :, 0].argmax(axis=1)),
        ),
        "best-seed-told": WrongAnswer(
            "the rate is right, and of its seeds the best is told. Tell the mean.",
            _chosen(_best_rate, lambda validation, test: test.max(axis=2)),
        ),
        "first-seed-told": WrongAnswer(
            "the rate is right, and the first seed alone is told. Tell the mean of all.",
            _chosen(_best_rate, lambda validation, test: test[:, :, 0]),
        ),
        "median-told": WrongAnswer(
            "the rate is right, and the median of its seeds is told; the mean is asked for.",
            _chosen(_best_rate, lambda validation, test: np.median(test, axis=2)),
        ),
        "median-chooses": WrongAnswer(
            "the rate is the one with the best median; the mean over the seeds is to choose.",
            _chosen(lambda validation, test: np.median(validation, axis=2).argmax(axis=1)),
        ),
        "sum-told": WrongAnswer(
            "the rate is right, and the seeds are added up. Tell their mean.",
            _chosen(_best_rate, lambda validation, test: test.sum(axis=2)),
        ),
        "worst-rate": WrongAnswer(
            "this is the rate with the lowest accuracy. An accuracy is good if it is high.",
            _chosen(lambda validation, test: validation.mean(axis=2).argmin(axis=1)),
        ),
        "both-sets-choose": WrongAnswer(
            "the rate is chosen on both sets together, so the test has a say in it. The test is "
            "to be looked at once, at the end.",
            _chosen(lambda validation, test: (validation + test).mean(axis=2).argmax(axis=1)),
        ),
        "mean-over-rates": WrongAnswer(
            "this is the mean over all rates; one rate is to be chosen.",
            lambda validation, test: test.mean(axis=(1, 2)),
        ),
        "place-of-the-rate": WrongAnswer(
            "this is the place of the rate among the rates. What is its accuracy on the test?",
            lambda validation, test: _best_rate(validation, test),
        ),
        "highest-of-all": WrongAnswer(
            "this is the highest accuracy of any rate and seed on the test: chosen twice on the "
            "images that are counted.",
            lambda validation, test: test.max(axis=(1, 2)),
        ),
        "seeds-for-rates": WrongAnswer(
            "the mean is taken over the rates, and a seed is chosen. The last axis is the seeds.",
            lambda validation, test: test.mean(axis=1)[
                np.arange(len(test)), validation.mean(axis=1).argmax(axis=1)
            ],
        ),
        "on-average-of-both": WrongAnswer(
            "the rate is right, and the mean over both sets of images is told. The validation has "
            "chosen the rate and is too high there.",
            _chosen(_best_rate, lambda validation, test: (validation + test).mean(axis=2) / 2),
        ),
    },
    without=LOOPS,
    question="ten rates are equally good, and a test of 100 images is noisy by 3 points. What will "
    "the best of the ten read?",
    hints=(
        "Two tables are needed, each with a row for a method and a column for a rate. One chooses, "
        "the other one is told.",
        "The place of the largest entry in each row is an argmax along an axis.",
        "A row and a place in it, for all rows at once: index with two vectors of one length.",
    ),
)

ALL = (ADAPTER, DORA, VERDICT, AT_BEST_RATE)
