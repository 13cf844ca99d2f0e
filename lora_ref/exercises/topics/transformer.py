"""Exercises of notebook 08: attention and layer norm, and LoRA inside a head.

A specification of a gradient moves one entry by a tiny imaginary step. The imaginary part of the
loss is then the derivative times the step, and no difference costs digits (Squire and Trapp, 1998,
"Using Complex Variables to Estimate Derivatives of Real Functions").
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.errors import LoraRefError
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer
from lora_ref.exercises.scalings import wrong_scalings

# ---------------------------------------------------------------------------------- causal mask


def _softmax(x: Array) -> Array:
    y: Array = np.exp(x - x.max(axis=-1, keepdims=True))
    y /= y.sum(axis=-1, keepdims=True)
    return y


def _with_mask(allowed: Callable[[Array], Any], instead: float) -> Callable[[Array], Array]:
    """Return the weights where some scores are replaced before the softmax."""
    return lambda scores: _softmax(np.where(allowed(scores), scores, instead))


def _earlier(scores: Array, diagonal: int = 0) -> Any:
    """Return what each of the last tokens sees, up to some places before or after itself."""
    n, m = scores.shape[-2:]
    return np.tri(n, m, k=m - n + diagonal, dtype=np.bool)


def _causal_mask(scores: Array) -> Array:
    heads, n, m = scores.shape
    weights = np.zeros_like(scores)
    for head in range(heads):
        for i in range(n):  # a token asks
            before = m - n + i
            total = 0.0
            for j in range(before + 1):  # those before it, and itself
                total += np.exp(scores[head, i, j])
            for j in range(before + 1):
                weights[head, i, j] = np.exp(scores[head, i, j]) / total
    return weights


def _draw_scores(rng: np.random.Generator, n: int) -> Arguments:
    asking = int(rng.integers(4, 8))
    return {"scores": rng.standard_normal((n, asking, asking + int(rng.integers(2, 5))))}


def _weights(answer: Any) -> Any:
    """Return weights as they are, or say what those that are not finite come from."""
    if not isinstance(answer, np.ndarray) or answer.dtype.kind != "f":
        return answer
    if np.isnan(answer).any():
        at = tuple(int(i) for i in np.argwhere(np.isnan(answer))[0])
        raise LoraRefError(
            f"it gives nan at {at}: the softmax of a row that is -inf throughout is 0/0 (does each "
            "token see at least itself?), and -inf times 0 is nan too"
        )
    if np.isinf(answer).any():
        raise LoraRefError(
            "it gives -inf: these are masked scores, and the softmax is missing, or they are the "
            "logarithms of weights"
        )
    return answer


CAUSAL_MASK = Exercise(
    "08",
    "weights that cannot see what comes later",
    "Of m tokens the last n are computed now. Row i of scores (heads, n, m) belongs to token\n"
    "m - n + i; column j says how well its query fits the key of token j, before the mask. Return\n"
    "the attention weights, of the same shape: each row a softmax over the token itself and those\n"
    "before it, and 0 for those after it. The last row sees all m.",
    _causal_mask,
    _draw_scores,
    {
        "mask-after-softmax": WrongAnswer(
            "the mask comes after the softmax, so the later tokens are in the sum that each row is "
            "divided by: the rows no longer add up to 1.",
            lambda scores: _softmax(scores) * _earlier(scores),
        ),
        "zeros-for-infinity": WrongAnswer(
            "the later scores are 0, and their shares are not: exp(0) is 1. Which score has the "
            "share 0?",
            _with_mask(_earlier, 0.0),
        ),
        "diagonal-masked": WrongAnswer(
            "a token does not see itself here. It may: what it has to predict is the next one.",
            _with_mask(lambda scores: _earlier(scores, -1), -1e9),
        ),
        "next-visible": WrongAnswer(
            "each token sees the next one, which it is to predict: off by one.",
            _with_mask(lambda scores: _earlier(scores, 1), -np.inf),
        ),
        "mask-from-the-first": WrongAnswer(
            "the first row sees the first token alone, as if it were that token. Those that ask "
            "are the last n of m: how many tokens stand before the first of them?",
            _with_mask(lambda scores: np.tri(*scores.shape[-2:], dtype=np.bool), -np.inf),
        ),
        "mask-too-early": WrongAnswer(
            "the mask is moved the wrong way: the first rows see nothing at all. Those that ask "
            "are the last n of m, so each sees more than its place among them.",
            _with_mask(
                lambda scores: _earlier(scores, 2 * (scores.shape[1] - scores.shape[2])), -1e9
            ),
        ),
        "mask-transposed": WrongAnswer(
            "the mask is the wrong way round: each token sees itself and those after it.",
            _with_mask(lambda scores: ~_earlier(scores, -1), -np.inf),
        ),
        "mask-forgotten": WrongAnswer(
            "nothing is masked: each token sees those after it too.",
            _softmax,
        ),
        "down-the-columns": WrongAnswer(
            "columns add up to 1 here. A token that asks is a row, and shares out 1 along it.",
            lambda scores: np.swapaxes(
                _softmax(np.swapaxes(np.where(_earlier(scores), scores, -np.inf), -1, -2)), -1, -2
            ),
        ),
        "one-sum-for-all": WrongAnswer(
            "all rows are divided by one sum. Each row is a softmax of its own: axis=-1, "
            "keepdims=True.",
            lambda scores: (
                np.exp(np.where(_earlier(scores), scores, -np.inf))
                / np.exp(np.where(_earlier(scores), scores, -np.inf)).sum()
            ),
        ),
        "sum-forgotten": WrongAnswer(
            "the rows add up to more than 1: the division by the sum of a row is missing.",
            lambda scores: np.exp(scores) * _earlier(scores),
        ),
        "over-the-heads": WrongAnswer(
            "the softmax runs over the heads here, axis 0. A row shares out 1 along itself.",
            lambda scores: (
                (e := np.exp(scores) * _earlier(scores)) / np.maximum(e.sum(axis=0), 1e-300)
            ),
        ),
        "scores-not-used": WrongAnswer(
            "all weights of a row are the same: the scores are not used.",
            lambda scores: _softmax(np.where(_earlier(scores), 0 * scores, -np.inf)),
        ),
        "window": WrongAnswer(
            "the first tokens are lost to the later rows; every row begins at the first token.",
            _with_mask(
                lambda scores: (
                    _earlier(scores) & ~_earlier(scores, scores.shape[1] - scores.shape[2] - 1)
                ),
                -np.inf,
            ),
        ),
        "small-penalty": WrongAnswer(
            "10 is subtracted from the later scores, and so their weights are small and not "
            "0. Which score has the weight 0, whatever the others are?",
            lambda scores: _softmax(scores - 10.0 * ~_earlier(scores)),
        ),
    },
    canonical=_weights,
    question="a model writes a text, and keeps the keys of what it has read. One new token asks "
    "(n = 1): what does the mask do then? And where n = m, what is the first row, whatever the "
    "scores are?",
    hints=(
        "Look at the last row: all its entries are allowed. How many fewer in the row above?",
        "A weight is exp of a score over a sum of such. Which score makes exp vanish, in the "
        "numerator and in the sum at once?",
        "Three steps: which pairs are allowed (np.tri takes rows, columns and a diagonal k), other "
        "scores for the rest, and then a softmax along the last axis.",
    ),
)


# ---------------------------------------------------------------------------------- softmax


def _softmax_gradient(
    scores: Array, temperature: float, allowed: Array, grad_weights: Array
) -> Array:
    heads, n, m = scores.shape

    def loss(row: Any, head: int, i: int) -> Any:
        seen = [j for j in range(m) if allowed[i, j]]
        top = max(row[j].real for j in seen)  # the same number off a whole row changes nothing
        powers = {j: np.exp((row[j] - top) / temperature) for j in seen}
        return sum(grad_weights[head, i, j] * powers[j] for j in seen) / sum(powers.values())

    step = 1e-30  # an imaginary step: a derivative without a difference
    grad = np.zeros_like(scores)
    for head in range(heads):
        for i in range(n):
            for j in range(m):
                moved = scores[head, i].astype(complex)
                moved[j] += step * 1j
                grad[head, i, j] = loss(moved, head, i).imag / step
    return grad


def _softmax_back(
    combine: Callable[[Array, Array, Array], Array] | None = None,
    *,
    forward: bool = True,
    backward: float = -1,
    masked: Callable[[Array, Array], Array] = lambda S, allowed: _softmax(
        np.where(allowed, S, -np.inf)
    ),
) -> Callable[[Array, float, Array, Array], Array]:
    """Return the backward of a softmax, with some of it done otherwise.

    `combine` makes the gradient of attention weights, of the gradient that came in and of scores;
    the gradient is multiplied by the temperature to the power of `backward`.
    """

    def answer(scores: Array, temperature: float, allowed: Array, grad_weights: Array) -> Array:
        S = scores / temperature if forward else scores
        P = masked(S, allowed)
        rows = (P * grad_weights).sum(axis=-1, keepdims=True)
        grad = P * (grad_weights - rows) if combine is None else combine(P, grad_weights, S)
        scaled: Array = grad * temperature**backward
        return scaled

    return answer


def _finite_gradient(answer: Any) -> Any:
    """Return a gradient as it is, or say what a nan in it comes from."""
    if isinstance(answer, np.ndarray) and answer.dtype.kind == "f" and np.isnan(answer).any():
        at = tuple(int(i) for i in np.argwhere(np.isnan(answer))[0])
        raise LoraRefError(
            "exp(1000) is inf, and inf/inf is nan, as are 0/0, -inf times 0 and -inf minus -inf: "
            f"look at the largest score of each row. It gives nan at {at}"
        )
    return answer


def _draw_softmax(rng: np.random.Generator, n: int) -> Arguments:
    asking, asked = int(rng.integers(3, 5)), int(rng.integers(5, 8))
    shape = (n, asking, asked)
    allowed = rng.random((asking, asked)) < 0.6
    allowed[:, :2], allowed[:, -1] = True, False
    return {
        "scores": rng.standard_normal(shape) + rng.choice([0.0, 1000.0], size=(n, asking, 1)),
        "temperature": float(rng.choice([0.5, 2.0, 3.0])),
        "allowed": allowed,
        "grad_weights": rng.standard_normal(shape),
    }


SOFTMAX_GRADIENT = Exercise(
    "08",
    "back through a softmax",
    "scores (heads, n, m) were divided by temperature, a number. Where allowed (n, m) is False,\n"
    "they were replaced by -inf in all heads. A softmax made each row into attention weights.\n"
    "grad_weights (heads, n, m) is the gradient of the loss with respect to the attention\n"
    "weights. Return the gradient with respect to scores, of the same shape. Some rows of scores\n"
    "are near 1000, and each row has at least one allowed entry.",
    _softmax_gradient,
    _draw_softmax,
    {
        "row-sum-forgotten": WrongAnswer(
            "softmax is not an activation, entry by entry: all of a row share one divisor, which "
            "every score moves. What should each row of this gradient add up to?",
            _softmax_back(lambda P, g, S: P * g),
        ),
        "entry-by-entry": WrongAnswer(
            "y (1 - y) is the slope of a sigmoid, and of the diagonal here: a score moves the "
            "other attention weights of its row as well.",
            _softmax_back(lambda P, g, S: P * (1 - P) * g),
        ),
        "plain-row-sum": WrongAnswer(
            "the plain sum of grad_weights is subtracted. An attention weight that is nearly 0 "
            "hardly changes the loss: its part of the sum has to be small too.",
            _softmax_back(lambda P, g, S: P * (g - g.sum(axis=-1, keepdims=True))),
        ),
        "mean-for-sum": WrongAnswer(
            "a mean is subtracted where a sum should be: the attention weights of a row share out "
            "1 already.",
            _softmax_back(lambda P, g, S: P * (g - (P * g).mean(axis=-1, keepdims=True))),
        ),
        "one-sum-for-all": WrongAnswer(
            "one sum is subtracted from all rows. Rows do not see each other in a softmax.",
            _softmax_back(lambda P, g, S: P * (g - (P * g).sum())),
        ),
        "one-sum-for-each-head": WrongAnswer(
            "one sum is subtracted from all rows of a head. Each row has a divisor of its own.",
            _softmax_back(lambda P, g, S: P * (g - (P * g).sum(axis=(1, 2), keepdims=True))),
        ),
        "weights-forgotten": WrongAnswer(
            "the rows add up to something else than 0: the attention weights multiply the whole "
            "difference, not the sum alone.",
            _softmax_back(lambda P, g, S: g - (P * g).sum(axis=-1, keepdims=True)),
        ),
        "sum-alone": WrongAnswer(
            "the direct way is missing: a score moves its own attention weight, and by the divisor "
            "the rest.",
            _softmax_back(lambda P, g, S: -P * (P * g).sum(axis=-1, keepdims=True)),
        ),
        "columns": WrongAnswer(
            "the sum runs over the tokens that ask: axis=1 of (heads, n, m). The attention weights "
            "that share a divisor stand side by side in a row.",
            _softmax_back(lambda P, g, S: P * (g - (P * g).sum(axis=1, keepdims=True))),
        ),
        "over-the-heads": WrongAnswer(
            "the sum runs over the heads: axis=0 of (heads, n, m). Heads do not see each other.",
            _softmax_back(lambda P, g, S: P * (g - (P * g).sum(axis=0, keepdims=True))),
        ),
        "log-softmax": WrongAnswer(
            "this is the way back through the logarithm of a softmax; there is none here.",
            _softmax_back(lambda P, g, S: g - P * g.sum(axis=-1, keepdims=True)),
        ),
        "scores-for-weights": WrongAnswer(
            "the scores stand where the attention weights should: what is the softmax of a row?",
            _softmax_back(lambda P, g, S: S * (g - (S * g).sum(axis=-1, keepdims=True))),
        ),
        "temperature-forgotten": WrongAnswer(
            "the temperature is missing, forward and backward.",
            _softmax_back(forward=False, backward=0),
        ),
        "temperature-forgotten-forward": WrongAnswer(
            "the attention weights are those of scores that were not divided by the temperature.",
            _softmax_back(forward=False),
        ),
        "temperature-forgotten-backward": WrongAnswer(
            "the attention weights are right, and this is the gradient of the divided scores. What "
            "does a step of an undivided score do to a divided one?",
            _softmax_back(backward=0),
        ),
        "temperature-multiplied": WrongAnswer(
            "forward divides by the temperature, and backward multiplies by it. A constant factor "
            "is the same in both directions.",
            _softmax_back(backward=1),
        ),
        "mask-forgotten": WrongAnswer(
            "nothing is masked: entries that are not allowed have a share of the divisor, and a "
            "gradient.",
            _softmax_back(masked=lambda S, allowed: _softmax(S)),
        ),
        "zeros-for-infinity": WrongAnswer(
            "the masked scores are 0, and their shares are not: exp(0) is 1. Which score has the "
            "share 0?",
            _softmax_back(masked=lambda S, allowed: _softmax(np.where(allowed, S, 0.0))),
        ),
        "mask-after-softmax": WrongAnswer(
            "the mask comes after the softmax, so the masked scores are in the divisor: the "
            "attention weights of a row no longer add up to 1.",
            _softmax_back(masked=lambda S, allowed: _softmax(S) * allowed),
        ),
        "mask-on-the-gradient-alone": WrongAnswer(
            "the mask is on the gradient, and not on the scores: the masked entries are in the "
            "divisor and in the row sum.",
            lambda scores, temperature, allowed, grad_weights: (
                allowed
                * _softmax_back(masked=lambda S, allowed: _softmax(S))(
                    scores, temperature, allowed, grad_weights
                )
            ),
        ),
        "mask-turned-round": WrongAnswer(
            "the mask is the wrong way round: where allowed is True, the score stays.",
            _softmax_back(
                masked=lambda S, allowed: _softmax(np.where(allowed, -np.inf, S)),
            ),
        ),
        "plain-mean": WrongAnswer(
            "the plain mean of grad_weights is subtracted. An attention weight that is nearly "
            "0 hardly changes the loss: its part of the mean has to be small too.",
            _softmax_back(lambda P, g, S: P * (g - g.mean(axis=-1, keepdims=True))),
        ),
        "cross-entropy": WrongAnswer(
            "this is the gradient of a softmax with a cross-entropy behind it, weights minus "
            "target; grad_weights is no target.",
            _softmax_back(lambda P, g, S: P - g),
        ),
        "forward-again": WrongAnswer(
            "these are the attention weights; their gradient comes in, and that of scores is "
            "asked for.",
            _softmax_back(lambda P, g, S: P, backward=0),
        ),
        "softmax-skipped": WrongAnswer(
            "the gradient of the attention weights is used as that of the scores: the softmax "
            "is skipped.",
            _softmax_back(lambda P, g, S: g * (P > 0)),
        ),
        "temperature-upside-down": WrongAnswer(
            "the attention weights are those of scores times the temperature; they were "
            "divided by it.",
            lambda scores, temperature, allowed, g: (
                _softmax_back(backward=0)(scores, 1 / temperature, allowed, g) / temperature
            ),
        ),
    },
    lambda arguments: {"temperature": arguments["temperature"]},
    batch_sizes=(2, 1, 3, 2),
    canonical=_finite_gradient,
    question="which entries of the gradient are 0, whatever the loss is? And the attention weights "
    "and their gradient stay as they are, but the temperature that made them was twice as high: "
    "what becomes of the gradient?",
    hints=(
        "Make the attention weights first, from scores whose largest is 0 in each row. Then follow "
        "the four steps back, sum, exp, mask and division: which needs a line of its own?",
        "A softmax makes each row on its own, in all heads at once: along which axis do the "
        "attention weights share a divisor? A division by a constant goes back as a division.",
        "Two lines for the attention weights; then these times a difference: the gradient that "
        "came in, minus one number for each row of each head. One more division is left.",
    ),
)


# ---------------------------------------------------------------------------------- scale


def _attention_scale(q: Array, k: Array, grad_scores: Array) -> tuple[Array, Array]:
    heads, n, m = grad_scores.shape
    d = q.shape[1] // heads  # the width of one head

    def scores_of(q: Array) -> Array:
        scores = np.zeros((heads, n, m))
        for head in range(heads):
            for i in range(n):
                for j in range(m):
                    total = 0.0
                    for c in range(head * d, (head + 1) * d):
                        total += q[i, c] * k[j, c]
                    scores[head, i, j] = total / d**0.5
        return scores

    before, grad_q = scores_of(q), np.zeros_like(q)
    for i in range(q.shape[0]):
        for c in range(q.shape[1]):
            moved = q.copy()
            moved[i, c] += 1.0  # the scores are linear in q: any step will do
            grad_q[i, c] = np.sum(grad_scores * (scores_of(moved) - before))
    return before, grad_q


def _split(rows: Array, heads: int) -> Array:
    return np.swapaxes(rows.reshape(len(rows), heads, -1), 0, 1)


def _joined(by_head: Array) -> Array:
    return np.swapaxes(by_head, 0, 1).reshape(by_head.shape[1], -1)


def _scaled(
    q: Array, k: Array, grad_scores: Array, forward: float, backward: float
) -> tuple[Array, Array]:
    """Return scores and the gradient of q, with these factors in place of 1 / sqrt(d)."""
    a, b = (_split(rows, len(grad_scores)) for rows in (q, k))
    return forward * (a @ np.swapaxes(b, 1, 2)), backward * _joined(grad_scores @ b)


def _scale_of(q: Array, grad_scores: Array) -> float:
    return math.sqrt(len(grad_scores) / q.shape[1])


def _interleaved(q: Array, k: Array, grad_scores: Array) -> tuple[Array, Array]:
    def split(rows: Array) -> Array:
        return np.moveaxis(rows.reshape(len(rows), -1, len(grad_scores)), 2, 0)

    a, b, s = split(q), split(k), _scale_of(q, grad_scores)
    grad = np.moveaxis(grad_scores @ b, 0, 2).reshape(q.shape)
    return s * (a @ np.swapaxes(b, 1, 2)), s * grad


def _cut_by_reshape(q: Array, k: Array, grad_scores: Array) -> tuple[Array, Array]:
    heads, s = len(grad_scores), _scale_of(q, grad_scores)
    a, b = (rows.reshape(heads, len(rows), -1) for rows in (q, k))
    return s * (a @ np.swapaxes(b, 1, 2)), s * (grad_scores @ b).reshape(q.shape)


def _without_the_last_head(scores: Array, grad_q: Array) -> tuple[Array, Array]:
    first = np.arange(len(scores)) < len(scores) - 1
    return first[:, None, None] * scores, np.repeat(first, grad_q.shape[1] // len(scores)) * grad_q


def _draw_scale(rng: np.random.Generator, n: int) -> Arguments:
    heads, d = int(rng.integers(2, 4)), int(rng.choice([5, 6, 7]))
    m = n + int(rng.integers(1, 4))
    return {
        "q": rng.standard_normal((n, heads * d)),
        "k": rng.standard_normal((m, heads * d)),
        "grad_scores": rng.standard_normal((heads, n, m)),
    }


ATTENTION_SCALE = Exercise(
    "08",
    "scores of several heads, and their way back",
    "q (n, width) are the queries of n tokens and k (m, width) the keys of m tokens. The width is\n"
    "that of all attention heads, side by side; grad_scores (heads, n, m) is the gradient of the\n"
    "loss with respect to the scores. Return (scores, grad_q): the scaled scores (heads, n, m),\n"
    "without mask and softmax, and the gradient of q (n, width).",
    _attention_scale,
    _draw_scale,
    {
        "scale-forgotten": WrongAnswer(
            "nothing is divided, forward or backward: the wider the head, the larger the scores.",
            lambda q, k, grad_scores: _scaled(q, k, grad_scores, 1, 1),
        ),
        "backward-not-scaled": WrongAnswer(
            "the scores are right, and the gradient of q is too large: what divides forward "
            "divides backward. The loss would not show it, and training would run.",
            lambda q, k, grad_scores: _scaled(q, k, grad_scores, _scale_of(q, grad_scores), 1),
        ),
        "d-for-its-root": WrongAnswer(
            "this divides by d. The standard deviation of a "
            "sum of d independent products is sqrt(d) times that of one.",
            lambda q, k, grad_scores: _scaled(
                q, k, grad_scores, *[_scale_of(q, grad_scores) ** 2] * 2
            ),
        ),
        "width-of-the-model": WrongAnswer(
            "this divides by the root of the whole width. A score is a sum over one head alone.",
            lambda q, k, grad_scores: _scaled(q, k, grad_scores, *[q.shape[1] ** -0.5] * 2),
        ),
        "number-of-keys": WrongAnswer(
            "this divides by the root of the number of tokens. A score is a sum over the width of "
            "a head, however many tokens there are.",
            lambda q, k, grad_scores: _scaled(q, k, grad_scores, *[len(k) ** -0.5] * 2),
        ),
        "scaled-twice": WrongAnswer(
            "the gradient of q is divided twice, as if the scaled scores were scaled again.",
            lambda q, k, grad_scores: _scaled(
                q, k, grad_scores, _scale_of(q, grad_scores), _scale_of(q, grad_scores) ** 2
            ),
        ),
        "backward-multiplied": WrongAnswer(
            "forward divides by sqrt(d), and backward multiplies by it. A constant factor is the "
            "same in both directions.",
            lambda q, k, grad_scores: _scaled(
                q, k, grad_scores, _scale_of(q, grad_scores), 1 / _scale_of(q, grad_scores)
            ),
        ),
        "heads-interleaved": WrongAnswer(
            "the columns are dealt out to the heads in turn. A head has d columns side by side: "
            "reshape to (tokens, heads, d), and not to (tokens, d, heads).",
            _interleaved,
        ),
        "cut-by-reshape-alone": WrongAnswer(
            "reshape to (heads, tokens, d) runs on from one token into the next. A head has d "
            "columns of every token: reshape to (tokens, heads, d), then swap axes.",
            _cut_by_reshape,
        ),
        "not-swapped-back": WrongAnswer(
            "the gradients of the heads, (heads, n, d), are reshaped to (n, width) as they lie in "
            "memory. Put the heads side by side: swap the axes first.",
            lambda q, k, grad_scores: (
                _attention_scale(q, k, grad_scores)[0],
                _scale_of(q, grad_scores)
                * (grad_scores @ _split(k, len(grad_scores))).reshape(q.shape),
            ),
        ),
        "gradient-of-k": WrongAnswer(
            "the second value is the gradient of k; that of q is asked for.",
            lambda q, k, grad_scores: (
                _attention_scale(q, k, grad_scores)[0],
                _scale_of(q, grad_scores)
                * _joined(np.swapaxes(grad_scores, 1, 2) @ _split(q, len(grad_scores))),
            ),
        ),
        "whole-root": WrongAnswer(
            "the root of d is cut to a whole number.",
            lambda q, k, grad_scores: _scaled(
                q, k, grad_scores, *[1 / math.isqrt(q.shape[1] // len(grad_scores))] * 2
            ),
        ),
        "number-of-heads": WrongAnswer(
            "this divides by the root of the number of heads; d is the width of one of them.",
            lambda q, k, grad_scores: _scaled(q, k, grad_scores, *[len(grad_scores) ** -0.5] * 2),
        ),
        "one-score-for-all-heads": WrongAnswer(
            "all heads have the same scores, those of the whole width. Each has its own "
            "columns of q and k.",
            lambda q, k, grad_scores: (
                np.stack([_scale_of(q, grad_scores) * q @ k.T] * len(grad_scores)),
                _scale_of(q, grad_scores) * grad_scores.sum(axis=0) @ k,
            ),
        ),
        "softmax-included": WrongAnswer(
            "the rows of the scores add up to 1: a softmax is in them, which the task leaves out.",
            lambda q, k, grad_scores: (
                _softmax((found := _attention_scale(q, k, grad_scores))[0]),
                found[1],
            ),
        ),
        "scores-for-their-gradient": WrongAnswer(
            "the gradient of q is made from the scores; it should be made from grad_scores.",
            lambda q, k, grad_scores: (
                scores := _attention_scale(q, k, grad_scores)[0],
                _attention_scale(q, k, scores)[1],
            ),
        ),
        "last-head-left-out": WrongAnswer(
            "the last head is left at 0: where does the loop end?",
            lambda q, k, grad_scores: _without_the_last_head(*_attention_scale(q, k, grad_scores)),
        ),
    },
    lambda arguments: {
        "sqrt(d)": 1 / _scale_of(arguments["q"], arguments["grad_scores"]),
        "sqrt(heads)": math.sqrt(len(arguments["grad_scores"])),
    },
    values=("scores", "grad_q"),
    batch_sizes=(3, 1, 4, 2, 5),
    question="width is 96 and there are 4 heads: by which number is each score divided?",
    hints=(
        "How many heads there are is in the shape of grad_scores. What is the width of one?",
        "Cut the columns into heads and treat each head as a pair of small matrices. Forward is a "
        "product and a division. Which matrix is grad_q then a product of?",
        "reshape and swapaxes give (heads, tokens, d); then @ works on all heads at once. Put the "
        "heads side by side again at the end, and mind the division on both ways.",
    ),
)


# ---------------------------------------------------------------------------------- LoRA on q


def _lora_on_q(
    grad_y: Array, x: Array, W0: Array, A: Array, B: Array, alpha: float, k: Array, v: Array
) -> Array:
    def loss(A: Any) -> Any:
        q = x @ W0.T + alpha / len(A) * (x @ A.T) @ B.T
        total = 0.0
        for i in range(len(x)):
            powers = []
            for j in range(len(k)):
                powers.append(np.exp(sum(q[i] * k[j]) / len(k[j]) ** 0.5))
            for j in range(len(k)):
                total += powers[j] / sum(powers) * sum(grad_y[i] * v[j])
        return total

    step = 1e-30  # an imaginary step: a derivative without a difference
    grad = np.zeros_like(A)
    for a in range(A.shape[0]):
        for b in range(A.shape[1]):
            moved = A.astype(complex)
            moved[a, b] += step * 1j
            grad[a, b] = loss(moved).imag / step
    return grad


def _grad_A_of_q(
    *,
    scaling: float | None = None,
    back: float | None = None,
    on_W0: bool = False,
    without_update: bool = False,
    row_sum: bool = True,
    root_back: bool = True,
    root_forward: bool = True,
    softmax: bool = True,
    weights_back: bool = True,
    plain: bool = False,
    axis: int = 1,
    root_of: Callable[[Array, Array], int] = lambda k, v: k.shape[1],
    through_A: bool = False,
) -> Callable[..., Array]:
    """Return the gradient of A, with some of it left out or done otherwise."""

    def answer(
        grad_y: Array, x: Array, W0: Array, A: Array, B: Array, alpha: float, k: Array, v: Array
    ) -> Array:
        s = alpha / len(A) if scaling is None else scaling
        base = s * (x @ W0.T) if on_W0 else x @ W0.T
        q = base if without_update else base + s * (x @ A.T) @ B.T
        root = math.sqrt(root_of(k, v))
        S = q @ k.T / (root if root_forward else 1.0)
        P = _softmax(S) if axis == 1 else _softmax(S.T).T
        grad_P = grad_y @ v.T
        sums = (grad_P if plain else P * grad_P).sum(axis=axis, keepdims=True)
        grad_S = grad_P - sums * (row_sum and softmax)
        if softmax and weights_back:
            grad_S = P * grad_S
        grad_q = grad_S @ k / (root if root_back else 1.0)
        grad_h: Array = (s if back is None else back) * grad_q @ B
        grad: Array = grad_h.T @ (x @ A.T @ A if through_A else x)
        return grad

    return answer


def _draw_lora_on_q(rng: np.random.Generator, n: int) -> Arguments:
    into, d, e = (int(one) for one in rng.permutation([12, 13, 14, 15])[:3])
    r, m = int(rng.integers(2, 4)), n + int(rng.integers(2, 5))
    return {
        "grad_y": rng.standard_normal((n, e)),
        "x": rng.standard_normal((n, into)),
        "W0": rng.standard_normal((d, into)) / math.sqrt(into),
        "A": rng.standard_normal((r, into)) / math.sqrt(into),
        "B": rng.standard_normal((d, r)) / 2,
        "alpha": float(rng.choice([1.5, 2.5, 3.5])) * r,
        "k": rng.standard_normal((m, d)),
        "v": rng.standard_normal((m, e)),
    }


LORA_ON_Q = Exercise(
    "08",
    "the gradient of A, behind a whole head of attention",
    "One attention head without a mask has LoRA on its q: for x (n, in_features), whose rows are\n"
    "tokens, q = x W0^T + (alpha/r) (x A^T) B^T, then y = softmax(q k^T / sqrt(d)) v, with keys\n"
    "k (m, d) and values v (m, e). grad_y (n, e) is the gradient of the loss with respect to y.\n"
    "Return the gradient of A, shaped like A (r, in_features).",
    _lora_on_q,
    _draw_lora_on_q,
    {
        "row-sum-forgotten": WrongAnswer(
            "the softmax is taken back entry by entry: the exercise softmax-gradient, again.",
            _grad_A_of_q(row_sum=False),
        ),
        "softmax-skipped": WrongAnswer(
            "the gradient of the attention weights is used as that of the scores: the softmax is "
            "skipped on the way back.",
            _grad_A_of_q(softmax=False),
        ),
        "weights-forgotten": WrongAnswer(
            "on the way back through the softmax, the attention weights multiply the whole "
            "difference, not the sum alone.",
            _grad_A_of_q(weights_back=False),
        ),
        "backward-not-scaled": WrongAnswer(
            "the scores were divided by sqrt(d), and their gradient is not.",
            _grad_A_of_q(root_back=False),
        ),
        "root-forgotten": WrongAnswer(
            "sqrt(d) is missing, forward and backward.",
            _grad_A_of_q(root_back=False, root_forward=False),
        ),
        "root-forgotten-forward": WrongAnswer(
            "the attention weights come from scores that are not divided by sqrt(d); their "
            "gradient is.",
            _grad_A_of_q(root_forward=False),
        ),
        "update-forgotten": WrongAnswer(
            "the attention weights come from W0 alone. They are those of the adapted q, and at "
            "B = 0 the difference would not show.",
            _grad_A_of_q(without_update=True),
        ),
        "scaling-on-W0": WrongAnswer(
            "alpha/r multiplies the way through W0 too; it belongs to B A alone.",
            _grad_A_of_q(on_W0=True),
        ),
        "scaling-forgotten": WrongAnswer(
            "alpha/r is missing, forward and backward.",
            _grad_A_of_q(scaling=1.0),
        ),
        **wrong_scalings(_lora_on_q, "forward and backward", "scaling-twice", "alpha-alone"),
        "width-of-v": WrongAnswer(
            "this divides by the root of the width of v; d is that of k.",
            _grad_A_of_q(root_of=lambda k, v: v.shape[1]),
        ),
        "number-of-keys": WrongAnswer(
            "this divides by the root of the number of keys; d is the width of one.",
            _grad_A_of_q(root_of=lambda k, v: len(k)),
        ),
        "softmax-over-the-queries": WrongAnswer(
            "the softmax runs over the queries, axis 0. Each token that asks is a row, and shares "
            "out 1 along it.",
            _grad_A_of_q(axis=0),
        ),
        "plain-row-sum": WrongAnswer(
            "a plain sum is subtracted on the way back through the softmax: the exercise "
            "softmax-gradient, again.",
            _grad_A_of_q(plain=True),
        ),
        "scaling-forgotten-backward": WrongAnswer(
            "alpha/r is in q, and missing on the way back.",
            _grad_A_of_q(back=1.0),
        ),
        "through-A": WrongAnswer(
            "this takes x to the space of A and back; the gradient of A does not contain A.",
            _grad_A_of_q(through_A=True),
        ),
        "zeros": WrongAnswer(
            "these are zeros. The gradient is zero at the start, where B = 0; here B is not zero.",
            lambda grad_y, x, W0, A, B, alpha, k, v: np.zeros_like(A),
        ),
    },
    lambda arguments: {
        "alpha/r": arguments["alpha"] / len(arguments["A"]),
        "r": float(len(arguments["A"])),
        "sqrt(r)": math.sqrt(len(arguments["A"])),
        "sqrt(d)": math.sqrt(arguments["k"].shape[1]),
    },
    batched=True,
    tolerance=1e-8,
    question="which of these do you need on the way back: W0, k, v, the attention weights, A? And "
    "which of them on the way forward alone?",
    hints=(
        "Go forward first and keep the attention weights. Then ask of each step, from the last to "
        "the first, what its gradient is.",
        "y is attention weights times v; these are a softmax of scores; the scores are q times k, "
        "scaled; and q is a LoRA layer, whose gradients notebook 04 derives.",
        "Five lines: the gradient of the attention weights, of the scores (softmax-gradient), of q "
        "(attention-scale), of h = x A^T, and of A. Each shaped like what it belongs to.",
    ),
)


# ---------------------------------------------------------------------------------- layer norm


def _layer_norm_backward(grad_y: Array, x: Array, gain: Array, epsilon: float) -> Array:
    def loss(row: Any, i: int) -> Any:
        mean = sum(row) / len(row)
        variance = sum((one - mean) ** 2 for one in row) / len(row)
        total = 0.0
        for j in range(len(row)):
            total += grad_y[i, j] * gain[j] * (row[j] - mean) / (variance + epsilon) ** 0.5
        return total

    step = 1e-30  # an imaginary step: a derivative without a difference
    grad = np.zeros_like(x)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            moved = x[i].astype(complex)
            moved[j] += step * 1j
            grad[i, j] = loss(moved, i).imag / step
    return grad


def _norm_backward(
    sigma_of: Callable[[Array, float], Array] | None = None,
    *,
    mean: bool = True,
    variance: float = 1.0,
    divided: bool = True,
    gain_late: bool = False,
    gain_first_alone: bool = False,
    over: Callable[[Array], tuple[float, float]] = lambda x: (1.0, 1.0),
    z_of: Callable[[Array, Array], Array] = lambda centred, sigma: centred / sigma,
    axis: int = 1,
) -> Callable[[Array, Array, Array, float], Array]:
    """Return the backward of layer norm, with some of it left out or done otherwise."""

    def answer(grad_y: Array, x: Array, gain: Array, epsilon: float) -> Array:
        centred = x - x.mean(axis=axis, keepdims=True)
        squares = (centred**2).mean(axis=axis, keepdims=True)
        sigma = np.sqrt(squares + epsilon) if sigma_of is None else sigma_of(x, epsilon)
        z = z_of(centred, sigma)
        g = grad_y if gain_late else grad_y * gain
        part = grad_y if gain_first_alone else g
        first, second = over(x)
        grad: Array = g - mean * first * part.mean(axis=axis, keepdims=True)
        grad -= variance * second * z * (z * part).mean(axis=axis, keepdims=True)
        if divided:
            grad = grad / sigma
        if gain_late:
            grad = grad * gain
        return grad

    return answer


def _not_centred(grad_y: Array, x: Array, gain: Array, epsilon: float) -> Array:
    sigma, g = np.sqrt(x.var(axis=1, keepdims=True) + epsilon), grad_y * gain
    z = x / sigma
    means = (one.mean(axis=1, keepdims=True) for one in (g, z * g))
    grad: Array = (g - next(means) - z * next(means)) / sigma
    return grad


def _draw_norm(rng: np.random.Generator, n: int) -> Arguments:
    features = int(rng.integers(8, 12))
    x, grad_y = rng.standard_normal((2, n, features))
    return {
        "grad_y": grad_y,
        "x": 2 * x + rng.standard_normal((n, 1)),
        "gain": rng.uniform(0.5, 1.5, features),
        "epsilon": float(rng.choice([0.1, 0.2, 0.3])),
    }


LAYER_NORM_BACKWARD = Exercise(
    "08",
    "back through a layer norm",
    "Each row of x (n, features) became gain * (x - mean) / sqrt(variance + epsilon) + bias, with\n"
    "the mean and the variance of that row (divided by features); gain has shape (features,).\n"
    "grad_y (n, features) is the gradient of the loss with respect to the result. Return the\n"
    "gradient with respect to x. Here epsilon is large, so that its place shows.",
    _layer_norm_backward,
    _draw_norm,
    {
        "constants": WrongAnswer(
            "mean and variance are taken for constants. They are made of x: a moved entry moves "
            "them, and with them the whole row.",
            _norm_backward(mean=False, variance=0.0),
        ),
        "mean-term-missing": WrongAnswer(
            "the mean is taken for a constant. A shifted row gives the same output, so each row of "
            "the gradient has to add up to 0.",
            _norm_backward(mean=False),
        ),
        "variance-term-missing": WrongAnswer(
            "the variance is taken for a constant. A row that is twice as long gives nearly the "
            "same output, so the gradient has next to nothing along the normed row.",
            _norm_backward(variance=0.0),
        ),
        "ddof-1": WrongAnswer(
            "the variance is divided by features - 1. Layer norm divides by features, as np.var "
            "does by itself.",
            _norm_backward(lambda x, e: np.sqrt(x.var(axis=1, ddof=1, keepdims=True) + e)),
        ),
        "epsilon-outside": WrongAnswer(
            "epsilon is added to the root. It stands under it, beside the variance.",
            _norm_backward(lambda x, e: x.std(axis=1, keepdims=True) + e),
        ),
        "epsilon-forgotten": WrongAnswer(
            "epsilon is missing. It is usually too small to be seen; here it is not.",
            _norm_backward(lambda x, e: x.std(axis=1, keepdims=True)),
        ),
        "root-forgotten": WrongAnswer(
            "this divides by the variance; its root is meant.",
            _norm_backward(lambda x, e: x.var(axis=1, keepdims=True) + e),
        ),
        "gain-forgotten": WrongAnswer(
            "the gain is missing: y is gain times the normed row.",
            lambda grad_y, x, gain, epsilon: _norm_backward()(
                grad_y, x, np.ones_like(gain), epsilon
            ),
        ),
        "gain-at-the-end": WrongAnswer(
            "the gain comes last here. It was the last on the way forward, so it is the first on "
            "the way back.",
            _norm_backward(gain_late=True),
        ),
        "not-divided": WrongAnswer(
            "the division by the root is missing: the larger a row, the less one entry of it does.",
            _norm_backward(divided=False),
        ),
        "sums-for-means": WrongAnswer(
            "sums are subtracted where means should be, so the rows do not add up to 0.",
            _norm_backward(over=lambda x: (x.shape[1], x.shape[1])),
        ),
        "centred-not-normed": WrongAnswer(
            "the part along the row is taken with the centred row; the normed one is divided by "
            "the root of variance + epsilon.",
            _norm_backward(z_of=lambda centred, sigma: centred),
        ),
        "forward-again": WrongAnswer(
            "this is the way forward. Going back, x is known and a gradient comes in.",
            lambda grad_y, x, gain, epsilon: (
                gain
                * (x - x.mean(axis=1, keepdims=True))
                / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
            ),
        ),
        "columns": WrongAnswer(
            "the means are those of columns. Each row, a token, is normed by itself: axis=1.",
            _norm_backward(axis=0),
        ),
        "sum-along-the-row": WrongAnswer(
            "a sum is subtracted along the normed row where a mean should be.",
            _norm_backward(over=lambda x: (1.0, x.shape[1])),
        ),
        "means-over-len-x": WrongAnswer(
            "sums are divided by len(x), the number of rows; the means are over features.",
            _norm_backward(over=lambda x: (x.shape[1] / len(x), x.shape[1] / len(x))),
        ),
        "divided-by-the-variance": WrongAnswer(
            "the last division is by variance + epsilon; its root is meant.",
            lambda grad_y, x, gain, epsilon: (
                _norm_backward()(grad_y, x, gain, epsilon)
                / np.sqrt(x.var(axis=1, keepdims=True) + epsilon)
            ),
        ),
        "whole-projection": WrongAnswer(
            "this takes off all that lies along the row, by the square of the normed row. A "
            "mean over features takes off less, because epsilon is in the root.",
            _norm_backward(
                z_of=lambda centred, sigma: centred / centred.std(axis=1, keepdims=True)
            ),
        ),
        "second-sign": WrongAnswer(
            "the part along the normed row is added; it should be subtracted.",
            _norm_backward(variance=-1.0),
        ),
        "gain-in-the-first-term-alone": WrongAnswer(
            "the gain is in the first term alone; the means are of grad_y times gain too.",
            _norm_backward(gain_first_alone=True),
        ),
        "norm-of-the-gradient": WrongAnswer(
            "this is the layer norm of grad_y. The way back is another.",
            lambda grad_y, x, gain, epsilon: (
                gain
                * (grad_y - grad_y.mean(axis=1, keepdims=True))
                / np.sqrt(grad_y.var(axis=1, keepdims=True) + epsilon)
            ),
        ),
        "not-centred": WrongAnswer(
            "the normed row is not centred: its mean is not taken off.",
            _not_centred,
        ),
        "mean-of-squares": WrongAnswer(
            "the mean is not taken off before the squares: this is the way back through an "
            "RMS norm.",
            lambda grad_y, x, gain, epsilon: (
                (
                    (g := grad_y * gain)
                    - (z := x / (root := np.sqrt(np.mean(x**2, axis=1, keepdims=True) + epsilon)))
                    * (z * g).mean(axis=1, keepdims=True)
                )
                / root
            ),
        ),
    },
    question="all entries of a row grow by one number, or (with epsilon 0) are doubled: what does "
    "layer norm do then? Two facts about each row of the gradient follow.",
    hints=(
        "One entry of x moves three things: itself, the mean of its row and its variance.",
        "Two sums vanish (nearly, for the second): that of a row of the gradient, and that of its "
        "products with the normed row. What has to be subtracted for that?",
        "Gain first. Then two things are taken from each row, one for each sum, and the root "
        "divides last.",
    ),
)

ALL = (CAUSAL_MASK, SOFTMAX_GRADIENT, ATTENTION_SCALE, LORA_ON_Q, LAYER_NORM_BACKWARD)
