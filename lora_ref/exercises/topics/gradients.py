"""Exercises of notebook 04: the three gradients of a LoRA layer, and a check of them.

The specifications of the gradients change one entry at a time and look at the loss. The loss is
affine in each entry alone, so the difference quotient is the derivative, to rounding. Indices: i
rows, o outputs, j inputs, k ranks.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import LOOPS, Answer, Arguments, Exercise, WrongAnswer
from lora_ref.exercises.random_inputs import layer_arguments, sizes
from lora_ref.exercises.scalings import BASIC, scaling_factors, wrong_scalings

LOSS = (
    "The layer has dropout before A: rows x (n, in_features) have gone through\n"
    "y = x W0^T + (alpha/r) ((mask * x) A^T) B^T. The mask has the shape of x; its entries are 0\n"
    "where x is dropped, and 1/(1 - p) elsewhere. grad_y, of shape (n, out_features), is the\n"
    "gradient of the loss with respect to y. "
)


def _with_mask(*names: str) -> Callable[[np.random.Generator, int], Arguments]:
    """Return a function that draws the named parts of a LoRA layer, a dropout mask among them."""
    others = layer_arguments("x", *(name for name in names if name not in ("x", "mask")))

    def draw(rng: np.random.Generator, n: int) -> Arguments:
        values = others(rng, n)
        p = float(rng.choice([0.2, 0.25, 0.5]))
        values["mask"] = (rng.random(values["x"].shape) >= p) / (1 - p)
        return {name: values[name] for name in names}

    return draw


def _mean_over_rows(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "this is divided by the number of rows. If the loss is a mean, grad_y has that factor.",
        lambda grad_y, *others: answer(grad_y, *others) / len(grad_y),
    )


def _rows_summed_first(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "the rows are added up before they are multiplied, so every row of grad_y meets every row "
        "of x. Right only for batch size 1.",
        lambda grad_y, x, mask, *others: answer(
            grad_y.sum(axis=0, keepdims=True),
            (mask * x).sum(axis=0, keepdims=True),
            np.ones((1, x.shape[1])),
            *others,
        ),
    )


def _moved(answer: Callable[..., Array], name: str, place: int) -> WrongAnswer:
    return WrongAnswer(
        f"this is {name} after a step with a learning rate of 1; return the gradient alone.",
        lambda *arguments: arguments[place] - answer(*arguments),
    )


def _mask_forgotten(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "the mask is missing: these are the gradients of a layer without dropout.",
        lambda grad_y, x, mask, *others: answer(grad_y, x, np.ones_like(mask), *others),
    )


def _mask_twice(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "the mask is there twice, so 1/(1 - p) is squared. How often does x meet it on its way?",
        lambda grad_y, x, mask, *others: answer(grad_y, x, mask * mask, *others),
    )


def _mask_added(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "the mask is added to x; it multiplies.",
        lambda grad_y, x, mask, *others: answer(grad_y, mask + x, np.ones_like(mask), *others),
    )


def _mask_without_scale(answer: Callable[..., Array]) -> WrongAnswer:
    return WrongAnswer(
        "what is dropped is dropped here, and what is kept lacks the factor 1/(1 - p) of the mask.",
        lambda grad_y, x, mask, *others: answer(grad_y, x, 1.0 * (mask > 0), *others),
    )


# ---------------------------------------------------------------------------- the gradient of A


def _grad_A(grad_y: Array, x: Array, mask: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(A: Array) -> float:  # the part of the loss that depends on A
        return float(np.sum(grad_y * (alpha / len(A) * ((mask * x) @ A.T @ B.T))))

    grad = np.zeros_like(A)
    for k in range(A.shape[0]):
        for j in range(A.shape[1]):
            moved = A.copy()
            moved[k, j] += 1.0
            grad[k, j] = loss(moved) - loss(A)
    return grad


GRAD_A = Exercise(
    "04",
    "the gradient of A",
    LOSS + "Return the gradient\nwith respect to A, shaped like A (r, in_features).",
    _grad_A,
    _with_mask("grad_y", "x", "mask", "A", "B", "alpha"),
    {
        "zeros": WrongAnswer(
            "these are zeros. The gradient is zero at the start, where B = 0; here B is not zero.",
            lambda grad_y, x, mask, A, B, alpha: np.zeros_like(A),
        ),
        "through-A": WrongAnswer(
            "this takes x to the space of A and back; the gradient of A does not contain A.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * (mask * x @ A.T).T @ (mask * x),
        ),
        "A-and-back": WrongAnswer(
            "x goes through A and back, by A^T A; the gradient of A does not contain A.",
            lambda grad_y, x, mask, A, B, alpha: (
                alpha / len(A) * B.T @ grad_y.T @ (mask * x) @ A.T @ A
            ),
        ),
        "gradient-of-h": WrongAnswer(
            "this is the gradient of h, which A makes, a row for each row of x. One step is left: "
            "from h to the entries of A.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * grad_y @ B,
        ),
        "h-for-x": WrongAnswer(
            "what came back through B meets h, which A has made; it should meet what A is given.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ (mask * x @ A.T),
        ),
        "mean-over-rows": _mean_over_rows(_grad_A),
        "B-transposed": WrongAnswer(
            "grad_y meets B from the wrong side: rows of grad_y have out_features entries, as the "
            "columns of B.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * (grad_y @ B.T).T @ (mask * x),
        ),
        "rows-summed-first": _rows_summed_first(_grad_A),
        "gradient-of-B": WrongAnswer(
            "this is the gradient of B.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * grad_y.T @ (mask * x @ A.T),
        ),
        "whole-weight": WrongAnswer(
            "this is the gradient of a whole weight, of the shape of W0. A is one factor of two.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * grad_y.T @ (mask * x),
        ),
        "mask-forgotten": _mask_forgotten(_grad_A),
        "mask-twice": _mask_twice(_grad_A),
        "mask-added": _mask_added(_grad_A),
        "mask-without-scale": _mask_without_scale(_grad_A),
        "mask-on-the-gradient": WrongAnswer(
            "the mask multiplies the gradient of A, whose rows are ranks. The rows of the mask are "
            "those of x.",
            lambda grad_y, x, mask, A, B, alpha: mask * (alpha / len(A) * (grad_y @ B).T @ x),
        ),
        "moved": _moved(_grad_A, "A", 3),
        **wrong_scalings(_grad_A, "in the gradient of A"),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question=(
        "grad_y stays as it is. What becomes of the answer where B is replaced by 3 B, what where "
        "A is replaced by 3 A, and what of its column j where the mask drops input j in every row?"
    ),
    hints=(
        "between A and y stands h, of shape (n, r), which A makes. What is the slope of the loss "
        "in one entry of h, and what exactly was A given?",
        "first carry grad_y back through B, to the shape of h. Then ask what one entry of A does "
        "to h, in every row.",
        "two products, one after the other. The first has shape (n, r); in the second the rows, n, "
        "are summed over, and the result has shape (r, in_features). The scaling and the mask "
        "stand there once.",
    ),
)

# ---------------------------------------------------------------------------- the gradient of B


def _grad_B(grad_y: Array, x: Array, mask: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(B: Array) -> float:  # the part of the loss that depends on B
        return float(np.sum(grad_y * (alpha / len(A) * ((mask * x) @ A.T @ B.T))))

    grad = np.zeros_like(B)
    for o in range(B.shape[0]):
        for k in range(B.shape[1]):
            moved = B.copy()
            moved[o, k] += 1.0
            grad[o, k] = loss(moved) - loss(B)
    return grad


GRAD_B = Exercise(
    "04",
    "the gradient of B",
    LOSS + "Return the gradient\nwith respect to B, shaped like B (out_features, r).",
    _grad_B,
    _with_mask("grad_y", "x", "mask", "A", "B", "alpha"),
    {
        "zeros": WrongAnswer(
            "these are zeros. It is the gradient of A that is zero at the start.",
            lambda grad_y, x, mask, A, B, alpha: np.zeros_like(B),
        ),
        "through-B": WrongAnswer(
            "this contains B. The gradient of B does not; at the start it would be zero for ever.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * (grad_y @ B).T @ (mask * x),
        ),
        "B-and-back": WrongAnswer(
            "this goes through B and back, by B^T B; the gradient of B does not contain B.",
            lambda grad_y, x, mask, A, B, alpha: _grad_B(grad_y, x, mask, A, B, alpha) @ B.T @ B,
        ),
        "mean-over-rows": _mean_over_rows(_grad_B),
        "rows-summed-first": _rows_summed_first(_grad_B),
        "A-forgotten": WrongAnswer(
            "this is the gradient of a whole weight, from grad_y and x; B is given what A makes.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * grad_y.T @ (mask * x),
        ),
        "mask-forgotten": _mask_forgotten(_grad_B),
        "mask-twice": _mask_twice(_grad_B),
        "mask-added": _mask_added(_grad_B),
        "mask-without-scale": _mask_without_scale(_grad_B),
        "mask-behind-A": WrongAnswer(
            "the mask comes behind A here. It stands before A, where x is as wide as the mask.",
            lambda grad_y, x, mask, A, B, alpha: alpha / len(A) * grad_y.T @ (mask * (x @ A.T)),
        ),
        "moved": _moved(_grad_B, "B", 4),
        **wrong_scalings(_grad_B, "in the gradient of B"),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question=(
        "one of the six arguments can be replaced by any other numbers of its shape, "
        "and the answer stays. Which one, and why?"
    ),
    hints=(
        "one entry of B moves one column of y. What stands beside this entry, in each row?",
        "what B is given is not x: the mask and A come first. An entry of the answer is a sum over "
        "the rows of two numbers multiplied.",
        "one product for what B is given, of shape (n, r), and one more in which the rows, n, are "
        "summed over, with a result of shape (out_features, r). The scaling stands there once.",
    ),
)

# ---------------------------------------------------------------------------- the gradient of x


def _grad_x(grad_y: Array, mask: Array, W0: Array, A: Array, B: Array, alpha: float) -> Array:
    def loss(x: Array) -> float:
        return float(np.sum(grad_y * (x @ W0.T + alpha / len(A) * ((mask * x) @ A.T @ B.T))))

    zero = np.zeros_like(mask)  # the loss is linear in x: any place will do
    grad = np.zeros_like(mask)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            moved = zero.copy()
            moved[i, j] += 1.0
            grad[i, j] = loss(moved) - loss(zero)
    return grad


GRAD_X = Exercise(
    "04",
    "the gradient that goes on to the layer below",
    LOSS + "Return the gradient\nwith respect to x, of shape (n, in_features).",
    _grad_x,
    _with_mask("grad_y", "mask", "W0", "A", "B", "alpha"),
    {
        "adapter-path-missing": WrongAnswer(
            "the gradient goes back through W0 alone. x went through B A too, so its gradient has "
            "to; with B = 0 the difference would not show.",
            lambda grad_y, mask, W0, A, B, alpha: grad_y @ W0,
        ),
        "base-path-missing": WrongAnswer(
            "the gradient goes back through B A alone. W0 is frozen: it gets no gradient, and "
            "lets one pass.",
            lambda grad_y, mask, W0, A, B, alpha: mask * (alpha / len(A) * (grad_y @ B @ A)),
        ),
        "mask-forgotten": WrongAnswer(
            "the mask is missing: where x is dropped before A, nothing comes back through A.",
            lambda grad_y, mask, W0, A, B, alpha: grad_y @ (W0 + alpha / len(A) * (B @ A)),
        ),
        "mask-on-all": WrongAnswer(
            "the mask multiplies the way through W0 too. Forward, that path has no dropout.",
            lambda grad_y, mask, W0, A, B, alpha: mask * (grad_y @ (W0 + alpha / len(A) * (B @ A))),
        ),
        "mask-on-W0-alone": WrongAnswer(
            "the mask multiplies the way through W0; forward it stands on the other path.",
            lambda grad_y, mask, W0, A, B, alpha: (
                mask * (grad_y @ W0) + alpha / len(A) * (grad_y @ B @ A)
            ),
        ),
        "mask-twice": WrongAnswer(
            "the mask is there twice, so 1/(1 - p) is squared. How often does x meet it on its "
            "way?",
            lambda grad_y, mask, W0, A, B, alpha: _grad_x(grad_y, mask * mask, W0, A, B, alpha),
        ),
        "mask-without-scale": WrongAnswer(
            "what is dropped is dropped here, and what is kept lacks the factor 1/(1 - p) of the "
            "mask.",
            lambda grad_y, mask, W0, A, B, alpha: _grad_x(
                grad_y, 1.0 * (mask > 0), W0, A, B, alpha
            ),
        ),
        **wrong_scalings(_grad_x, "on the way through B A", *BASIC),
        "paths-multiplied": WrongAnswer(
            "the two ways are multiplied; the gradients of two paths add up.",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0 * mask * (alpha / len(A) * (grad_y @ B @ A))
            ),
        ),
        "one-path-or-the-other": WrongAnswer(
            "the way through W0 is cut where x is kept; it has no dropout at all.",
            lambda grad_y, mask, W0, A, B, alpha: (
                (mask == 0) * (grad_y @ W0) + mask * (alpha / len(A) * (grad_y @ B @ A))
            ),
        ),
        "scaling-on-all": WrongAnswer(
            "alpha/r multiplies the way through W0 too; it belongs to B A alone.",
            lambda grad_y, mask, W0, A, B, alpha: (
                alpha / len(A) * (grad_y @ W0 + mask * (grad_y @ B @ A))
            ),
        ),
        "subtracted": WrongAnswer(
            "the way through B A is subtracted; it should be added.",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0 - mask * (alpha / len(A) * (grad_y @ B @ A))
            ),
        ),
        "W0-transposed": WrongAnswer(
            "W0 is transposed here. Going back, rows of grad_y meet W0 as it is. With a square W0 "
            "this would have run, and given wrong numbers.",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0.T + mask * (alpha / len(A) * (grad_y @ B @ A))
            ),
        ),
        "all-transposed": WrongAnswer(
            "grad_y goes through the layer as x does, forward; the way back has another direction.",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0.T + mask * (alpha / len(A) * (grad_y @ A.T @ B.T))
            ),
        ),
        "A-first": WrongAnswer(
            "grad_y meets A before B. Forward, A comes first; which of them comes first on the way "
            "back?",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0 + mask * (alpha / len(A) * (grad_y @ A @ B))
            ),
        ),
        "mask-first": WrongAnswer(
            "the mask meets grad_y, which is as wide as y; the mask is as wide as x. What comes "
            "first forward comes last on the way back.",
            lambda grad_y, mask, W0, A, B, alpha: (
                grad_y @ W0 + alpha / len(A) * ((mask * grad_y) @ B @ A)
            ),
        ),
        "columns": WrongAnswer(
            "grad_y stands on the right, as if its examples were columns; they are rows.",
            lambda grad_y, mask, W0, A, B, alpha: (
                W0.T @ grad_y + mask * (alpha / len(A) * (A.T @ B.T @ grad_y))
            ),
        ),
        "mean-over-rows": _mean_over_rows(_grad_x),
    },
    scaling_factors,
    batched=True,
    tolerance=1e-8,
    without=LOOPS,
    question=(
        "x is not among the arguments. Why can you do without it? And what is left of row i of the "
        "answer where the mask drops all of row i?"
    ),
    hints=(
        "x reaches y on two paths. If B were zero, what would be left? On which of the paths does "
        "the mask stand?",
        "a row of grad_y has out_features entries, and a row of the answer in_features. Which "
        "matrices lead from one to the other, on each path, and in which order?",
        "a sum of two arrays of shape (n, in_features), one for each path; the scaling and the "
        "mask belong to one of them.",
    ),
)

# ---------------------------------------------------------------------------- a gradient check


@dataclass(frozen=True)
class Pass:
    """A forward or a backward pass, which says what it is where a message shows the arguments."""

    says: str
    run: Callable[..., Any]

    def __call__(self, *values: Array, **named: Array) -> Any:
        """Run it."""
        return self.run(*values, **named)

    def __repr__(self) -> str:
        return self.says


def _forward(x: Array, W0: Array, A: Array, B: Array, s: float) -> tuple[Array, Array]:
    h = x @ A.T
    return x @ W0.T + s * h @ B.T, h


def _backward(says: str, changed: Callable[[SimpleNamespace], dict[str, Array]]) -> Pass:
    """Return a right backward in which some gradients are changed."""

    def backward(
        g: Array, h: Array, x: Array, W0: Array, A: Array, B: Array, s: float
    ) -> dict[str, Array]:
        grad_h = s * g @ B
        grads = {"x": g @ W0 + grad_h @ A, "A": grad_h.T @ x, "B": s * g.T @ h}
        at = SimpleNamespace(g=g, h=h, x=x, W0=W0, A=A, B=B, s=s, grad_h=grad_h, grads=grads)
        return grads | changed(at)

    return Pass(says, backward)


def _without_the_last(grad: Array) -> Array:
    grad = grad.copy()
    grad[-1, -1] = 0.0
    return grad


BACKWARDS: Sequence[Pass] = (
    _backward("that is right", lambda at: {}),
    _backward("without s in the gradient of A", lambda at: {"A": (at.g @ at.B).T @ at.x}),
    _backward("with s twice in the gradient of B", lambda at: {"B": at.s * at.grads["B"]}),
    _backward(
        "with a mean over rows in the gradient of B", lambda at: {"B": at.grads["B"] / len(at.g)}
    ),
    _backward("with ten times the gradient of A", lambda at: {"A": 10 * at.grads["A"]}),
    _backward(
        "with the rows of x reversed in the gradient of A",
        lambda at: {"A": at.grad_h.T @ at.x[::-1]},
    ),
    _backward("with x going back through W0 alone", lambda at: {"x": at.g @ at.W0}),
    _backward(
        "that is right, by way of g^T x",
        lambda at: {
            "x": at.g @ (at.W0 + at.s * at.B @ at.A),
            "A": at.s * at.B.T @ (at.g.T @ at.x),
            "B": at.s * (at.g.T @ at.x) @ at.A.T,
        },
    ),
    _backward("with x going back through A and B alone", lambda at: {"x": at.grad_h @ at.A}),
    _backward("with minus the gradient of B", lambda at: {"B": -at.grads["B"]}),
    _backward(
        "that loses the last entry of the gradient of B",
        lambda at: {"B": _without_the_last(at.grads["B"])},
    ),
    _backward(
        "with a weight decay of 1e-7 in the gradient of A",
        lambda at: {"A": at.grads["A"] + 1e-7 * at.A},
    ),
    *(_backward("that is right", lambda at: {}) for _ in range(8)),
)
"""One for each number of a draw, from 1 on; the last ones are right, at as many sizes."""


def _draw_passes(rng: np.random.Generator, n: int) -> Arguments:
    out_features, in_features, r = sizes(rng)
    if n > 12:  # wide ones, in which rounding is larger
        in_features += 20
    return {
        "forward": Pass("of the layer", _forward),
        "backward": BACKWARDS[n - 1],
        "out_features": out_features,
        "in_features": in_features,
        "r": r,
    }


def _gradient_check(
    forward: Answer, backward: Answer, out_features: int, in_features: int, r: int
) -> bool:
    rng = np.random.default_rng(0)
    shapes = {
        "x": (3, in_features),
        "W0": (out_features, in_features),
        "A": (r, in_features),
        "B": (out_features, r),
    }
    at: Any = {name: rng.standard_normal(shape) for name, shape in shapes.items()} | {"s": 2.5}
    g = rng.standard_normal((3, out_features))
    y, h = forward(**at)
    grads = backward(g, h, **at)
    wrong = 0
    for name in ("x", "A", "B"):
        for entry in np.ndindex(shapes[name]):
            moved = at[name].copy()
            moved[entry] += 1.0
            slope = np.sum(g * (forward(**(at | {name: moved}))[0] - y))
            wrong += abs(grads[name][entry] - slope) > 1e-9 * np.abs(grads[name]).max()
    return bool(wrong == 0)


def _poor_check(
    special: Callable[[dict[str, Any]], dict[str, Any]] = lambda at: {},
    *,
    names: Sequence[str] = ("x", "A", "B"),
    tolerance: float = 1e-9,
    seen: Callable[[Array], Array] = lambda grad: grad,
) -> Answer:
    """Return a check at a special point, of some gradients or of a part of each."""

    def check(
        forward: Answer, backward: Answer, out_features: int, in_features: int, r: int
    ) -> bool:
        rng = np.random.default_rng(0)
        drawn: dict[str, Any] = {
            "x": rng.standard_normal((3, in_features)),
            "W0": rng.standard_normal((out_features, in_features)),
            "A": rng.standard_normal((r, in_features)),
            "B": rng.standard_normal((out_features, r)),
            "g": rng.standard_normal((3, out_features)),
            "s": 2.5,
        }
        at = drawn | special(drawn)
        g = at.pop("g")
        y, h = forward(**at)
        grads = backward(g, h, **at)
        for name in names:
            slopes = np.zeros_like(at[name])
            for entry in np.ndindex(slopes.shape):
                moved = at[name].copy()
                moved[entry] += 1.0
                slopes[entry] = np.sum(g * (forward(**(at | {name: moved}))[0] - y))
            got, expected = seen(grads[name]), seen(slopes)
            if np.linalg.norm(got - expected) > tolerance * np.linalg.norm(expected):
                return False
        return True

    return check


GRADIENT_CHECK = Exercise(
    "04",
    "a check that finds hidden mistakes",
    "forward(x, W0, A, B, s) returns y and h, and backward(g, h, x, W0, A, B, s) a dictionary of\n"
    'gradients, with the keys "x", "A" and "B": those of the notebook, but in this backward there\n'
    "may be a mistake. Choose a point of the sizes out_features, in_features and r, with any\n"
    "number of rows. Return True if the backward is right for all numbers, to rounding, at every\n"
    "size, and else False. A gradient that is off by a ten-millionth of its size is wrong.",
    _gradient_check,
    _draw_passes,
    {
        "always-true": WrongAnswer(
            "every backward passes, wrong ones too. A check that cannot fail checks nothing.",
            lambda forward, backward, out_features, in_features, r: True,
        ),
        "always-false": WrongAnswer(
            "no backward passes, and two of them are right. Is the slope that of the sum of g * y? "
            "Is each entry put back before the next is moved? Is the step so small that rounding "
            "shows, or are numbers expected to be equal to the last bit?",
            lambda forward, backward, out_features, in_features, r: False,
        ),
        "exchanged": WrongAnswer(
            "True and False are exchanged: what is right should give True.",
            lambda *arguments: not _gradient_check(*arguments),
        ),
        "B-zero": WrongAnswer(
            "four wrong backwards pass, and all of them are right where B is 0.",
            _poor_check(lambda at: {"B": 0 * at["B"]}),
        ),
        "A-zero": WrongAnswer(
            "five wrong backwards pass, and all of them are right where A is 0.",
            _poor_check(lambda at: {"A": 0 * at["A"]}),
        ),
        "s-zero": WrongAnswer(
            "many wrong backwards pass, and all of them are right where s is 0.",
            _poor_check(lambda at: {"s": 0.0}),
        ),
        "s-one": WrongAnswer(
            "a backward without s passes, and one with s twice. At which points are both right?",
            _poor_check(lambda at: {"s": 1.0}),
        ),
        "one-row": WrongAnswer(
            "a mean over the rows passes, and so do rows in the wrong order. At which points are "
            "both right?",
            _poor_check(lambda at: {"x": at["x"][:1], "g": at["g"][:1]}),
        ),
        "rows-of-g-alike": WrongAnswer(
            "a backward passes in which rows of g meet the wrong rows of x. At which g, and at "
            "which x, does that not matter?",
            _poor_check(lambda at: {"g": np.ones_like(at["g"])}),
        ),
        "W0-zero": WrongAnswer(
            "a backward passes in which nothing goes back through W0. At which points is it right?",
            _poor_check(lambda at: {"W0": 0 * at["W0"]}),
        ),
        "x-left-out": WrongAnswer(
            "every mistake in the gradient of x passes. A layer below would learn from it.",
            _poor_check(names=("A", "B")),
        ),
        "A-left-out": WrongAnswer(
            "every mistake in the gradient of A passes, and none in the other two.",
            _poor_check(names=("x", "B")),
        ),
        "B-left-out": WrongAnswer(
            "every mistake in the gradient of B passes, and none in the other two.",
            _poor_check(names=("x", "A")),
        ),
        "last-verdict": WrongAnswer(
            "every mistake in the gradients of x and A passes. Does one comparison overwrite the "
            "one before it?",
            _poor_check(names=("B",)),
        ),
        "one-entry": WrongAnswer(
            "a backward passes that loses one entry. Does the check meet all of them?",
            _poor_check(seen=lambda grad: grad[:1, :1]),
        ),
        "size-alone": WrongAnswer(
            "a gradient with the wrong sign passes. Is a difference taken of sizes alone?",
            _poor_check(seen=np.abs),
        ),
        "too-loose": WrongAnswer(
            "a weight decay of 1e-7 in the gradient passes. How large is the error of a right "
            "gradient at your step, and how much larger is the tolerance?",
            _poor_check(tolerance=1e-3),
        ),
    },
    batch_sizes=tuple(range(1, len(BACKWARDS) + 1)),
    question=(
        "you may choose x, W0, A, B, s and g. What must not be special about each of them, and "
        "which mistake would it hide?"
    ),
    hints=(
        "There are two things to choose, a point and a judge. Which judge have you met that knows "
        "no formula, and at which points is a wrong gradient right?",
        "Draw whatever you can. Then compare what backward returns for x, for A and for B with "
        "slopes of the sum of g * y, which forward gives.",
        "Draw the point; run forward and backward once; for each of three names compute slopes "
        "with a step that is not small, entry by entry or along a random direction; compare each "
        "with a tolerance that is little more than rounding.",
    ),
    folded=True,
)

ALL = (GRAD_B, GRAD_A, GRAD_X, GRADIENT_CHECK)
