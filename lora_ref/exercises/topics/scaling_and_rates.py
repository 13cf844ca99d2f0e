"""Exercises of notebook 06: the scaling, and what makes up for other sizes of A and B."""

from collections.abc import Callable
from math import isqrt, sqrt

import numpy as np

from lora_ref.exercises.exercise import Answer, Arguments, Exercise, WrongAnswer


def _scaling(alpha: float, r: int, rank_stabilized: bool) -> float:
    divisor = 0.0
    if rank_stabilized:
        while (divisor + 0.5**30) ** 2 <= r:  # the square root, digit by digit
            step = 1.0
            while (divisor + step) ** 2 > r:
                step /= 2
            divisor += step
    else:
        for _ in range(r):
            divisor += 1
    return alpha / divisor


def _draw_scaling(rng: np.random.Generator, n: int) -> Arguments:
    return {
        "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
        "r": int(rng.choice([3, 5, 6, 8])),
        "rank_stabilized": bool(n % 2),
    }


SCALING = Exercise(
    "06",
    "the factor before the update",
    "Return the factor before B A: alpha over r, or where rank_stabilized is true (rsLoRA) alpha\n"
    "over the square root of r.",
    _scaling,
    _draw_scaling,
    {
        "never-stabilized": WrongAnswer(
            "this is alpha/r in both cases; rank_stabilized is ignored. An rsLoRA adapter would "
            "be too weak by the square root of r.",
            lambda alpha, r, rank_stabilized: alpha / r,
        ),
        "always-stabilized": WrongAnswer(
            "this is alpha/sqrt(r) in both cases.",
            lambda alpha, r, rank_stabilized: alpha / sqrt(r),
        ),
        "cases-exchanged": WrongAnswer(
            "the two cases are exchanged.",
            lambda alpha, r, rank_stabilized: alpha / (r if rank_stabilized else sqrt(r)),
        ),
        "alpha-alone": WrongAnswer(
            "this is alpha; nothing is divided.", lambda alpha, r, rank_stabilized: alpha
        ),
        "power-before-division": WrongAnswer(
            "r**1/2 is no root: Python raises to the power first, so this is alpha over r, and "
            "then half of that. Brackets are missing.",
            lambda alpha, r, rank_stabilized: alpha / r**1 / 2 if rank_stabilized else alpha / r,
        ),
        "half-of-r": WrongAnswer(
            "r**1/2 is no root: Python raises to the power first, so this divides by half of r.",
            lambda alpha, r, rank_stabilized: alpha / (r**1 / 2) if rank_stabilized else alpha / r,
        ),
        "root-of-all": WrongAnswer(
            "the root is taken of alpha/r as a whole; only r belongs under it.",
            lambda alpha, r, rank_stabilized: sqrt(alpha / r) if rank_stabilized else alpha / r,
        ),
        "whole-root": WrongAnswer(
            "the root is cut to a whole number, and right only where r is a square.",
            lambda alpha, r, rank_stabilized: alpha / (isqrt(r) if rank_stabilized else r),
        ),
        "square-for-root": WrongAnswer(
            "r is squared where its root is asked for.",
            lambda alpha, r, rank_stabilized: alpha / (r**2 if rank_stabilized else r),
        ),
        "multiplied": WrongAnswer(
            "alpha is multiplied by r or by its root; it should be divided.",
            lambda alpha, r, rank_stabilized: alpha * (sqrt(r) if rank_stabilized else r),
        ),
        "upside-down": WrongAnswer(
            "the fraction is upside down.",
            lambda alpha, r, rank_stabilized: (sqrt(r) if rank_stabilized else r) / alpha,
        ),
        "whole-division": WrongAnswer(
            "the digits after the decimal point are cut off; // and int() do that.",
            lambda alpha, r, rank_stabilized: alpha // (sqrt(r) if rank_stabilized else r),
        ),
    },
    tolerance=1e-8,
    question="An adapter was trained with rank_stabilized at r = 16, and is loaded without it. "
    "How many times too weak is its update then? Does anything raise an error?",
    hints=(
        "On paper first: for alpha of 32 and r of 16, what is the factor in each of the two cases?",
        "What is a root in Python? Try what you write on 16: it has to give 4.",
        "One return is enough, with a condition in the divisor; or an if, and two returns.",
    ),
)


Triple = tuple[float, float, float]


def _compensating_rates(
    alpha: float, lr_A: float, lr_B: float, p: float, q: float, optimizer: str
) -> Triple:
    a, b, g = 3.0, 5.0, 7.0  # a layer of one input, one output and r = 1; g stands for x grad_y

    def move(lr: float, grad: float) -> float:  # the length of a first step
        return lr * grad if optimizer == "SGD" else lr * grad / abs(grad)

    new_alpha = alpha * b * a / (q * b * p * a)  # the update before any step is the same
    wanted_A = p * move(lr_A, alpha * b * g)  # p A has to move p times as far as A
    wanted_B = q * move(lr_B, alpha * a * g)
    new_lr_A = wanted_A / move(1.0, new_alpha * (q * b) * g)
    new_lr_B = wanted_B / move(1.0, new_alpha * (p * a) * g)
    return new_alpha, new_lr_A, new_lr_B


def _draw_rates(rng: np.random.Generator, n: int) -> Arguments:
    p, q = rng.choice([0.25, 0.5, 3.0, 5.0, 7.0], size=2, replace=False)
    return {
        "alpha": float(rng.choice([8.0, 11.0, 13.0, 32.0])),
        "lr_A": float(rng.choice([0.001, 0.003])),
        "lr_B": float(rng.choice([0.002, 0.016])),
        "p": float(p),
        "q": float(q),
        "optimizer": ("Adam", "SGD")[n % 2],
    }


Power = Callable[[str], int]


def _always(power: int) -> Power:
    return lambda optimizer: power


def _right_power(optimizer: str) -> int:
    return {"Adam": 1, "SGD": 2}[optimizer]


def _with(
    powers: Power = _right_power,
    alpha: Callable[[float, float], float] = lambda p, q: 1 / (p * q),
    rates: Callable[[float, float], tuple[float, float]] = lambda p, q: (p, q),
) -> Answer:
    """Return an answer: alpha times a factor, rates times powers of two factors."""

    def answer(a: float, lr_A: float, lr_B: float, p: float, q: float, optimizer: str) -> Triple:
        (for_A, for_B), power = rates(p, q), powers(optimizer)
        return a * alpha(p, q), lr_A * for_A**power, lr_B * for_B**power

    return answer


def _with_rates_of_SGD(rates: Callable[[float, float], tuple[float, float]]) -> Answer:
    """Return the answer that is right for Adam, and multiplies the rates of SGD by two factors."""

    def answer(a: float, lr_A: float, lr_B: float, p: float, q: float, optimizer: str) -> Triple:
        for_A, for_B = rates(p, q) if optimizer == "SGD" else (p, q)
        return a / (p * q), lr_A * for_A, lr_B * for_B

    return answer


COMPENSATING_RATES = Exercise(
    "06",
    "the same training from larger factors",
    "A training with alpha, lr_A and lr_B, from any A and B, is to be repeated from p A and q B.\n"
    "Return `alpha, lr_A, lr_B` that make it the same training: after every step the update is\n"
    'what it was. optimizer is "Adam" or "SGD" (plain gradient descent); Adam\'s epsilon is\n'
    "negligible, nothing decays and nothing is clipped. p and q are above 0.",
    _compensating_rates,
    _draw_rates,
    {
        "exchanged": WrongAnswer(
            "p and q are exchanged in the learning rates: p belongs to A, and q to B.",
            _with(rates=lambda p, q: (q, p)),
        ),
        "alpha-multiplied": WrongAnswer(
            "alpha goes the wrong way: B A has become larger by p q, and alpha has to make up "
            "for it.",
            _with(alpha=lambda p, q: p * q),
        ),
        "alpha-kept": WrongAnswer(
            "alpha is unchanged, so already the first update is p q times too large.",
            _with(alpha=lambda p, q: 1.0),
        ),
        "alpha-squared": WrongAnswer(
            "alpha makes up for p q twice; it stands in front of B A once.",
            _with(alpha=lambda p, q: (p * q) ** -2),
        ),
        "alpha-by-one": WrongAnswer(
            "alpha makes up for one of the two factors only.", _with(alpha=lambda p, q: 1 / p)
        ),
        "alpha-by-sum": WrongAnswer(
            "alpha is divided by p + q; B A has become larger by their product.",
            _with(alpha=lambda p, q: 1 / (p + q)),
        ),
        "rates-not-squared": WrongAnswer(
            "right for Adam. With SGD the gradient changes too, and that is not made up for.",
            _with(_always(1)),
        ),
        "rates-squared": WrongAnswer(
            "right for SGD, and the same is returned for Adam, whose step has the same length for "
            "a gradient of any size. (Is its name spelt as in the task?)",
            _with(_always(2)),
        ),
        "optimizers-exchanged": WrongAnswer(
            "the rules of Adam and of SGD are exchanged.",
            _with(lambda name: 3 - _right_power(name)),
        ),
        "rates-kept": WrongAnswer(
            "the learning rates are unchanged: A is p times as large and has to move p times as "
            "far.",
            _with(_always(0)),
        ),
        "rates-kept-for-SGD": WrongAnswer(
            "right for Adam. For SGD the rates come back as they were: p A has to move p times as "
            "far, and what has become of its gradient, now that alpha and B are others?",
            _with(lambda name: {"Adam": 1, "SGD": 0}[name]),
        ),
        "alpha-forgotten-in-the-gradient": WrongAnswer(
            "right for Adam. For SGD the gradient of A has B and alpha in it: B is q times as "
            "large, and alpha is another one too. Only the first is made up for.",
            _with_rates_of_SGD(lambda p, q: (p / q, q / p)),
        ),
        "rates-divided": WrongAnswer(
            "the learning rates go the wrong way: a larger factor has to move further.",
            _with(lambda name: -_right_power(name)),
        ),
        "undone": WrongAnswer(
            "this leads back: it is right if the first training began from p A and q B.",
            _with(lambda name: -_right_power(name), alpha=lambda p, q: p * q),
        ),
        "undone-and-not-squared": WrongAnswer(
            "this leads back, from p A and q B to A and B, and it treats SGD like Adam.",
            _with(_always(-1), alpha=lambda p, q: p * q),
        ),
        "exchanged-and-not-squared": WrongAnswer(
            "p and q are exchanged in the learning rates, and SGD is treated like Adam.",
            _with(_always(1), rates=lambda p, q: (q, p)),
        ),
        "one-factor": WrongAnswer(
            "both learning rates are multiplied by p q; each factor has a number of its own.",
            _with(_always(1), rates=lambda p, q: (p * q, p * q)),
        ),
        "A-alone": WrongAnswer(
            "the learning rate of B is unchanged, though B is q times as large.",
            _with(rates=lambda p, q: (p, 1.0)),
        ),
        "B-alone": WrongAnswer(
            "the learning rate of A is unchanged, though A is p times as large.",
            _with(rates=lambda p, q: (1.0, q)),
        ),
        "gradients-only": WrongAnswer(
            "for SGD these make the steps as long as before. But p A has to move p times as far "
            "as A did, and q B q times.",
            _with(lambda name: {"Adam": 0, "SGD": 1}[name]),
        ),
        "order": WrongAnswer(
            "the order is alpha, lr_A, lr_B; here the rate of B comes first.",
            lambda *arguments: tuple(np.array(_compensating_rates(*arguments))[[0, 2, 1]].tolist()),
        ),
        "one-factor-squared": WrongAnswer(
            "each learning rate makes up for p q; each factor has a number of its own.",
            _with(rates=lambda p, q: (p * q, p * q)),
        ),
        "alpha-by-root": WrongAnswer(
            "alpha makes up for the root of p q only.", _with(alpha=lambda p, q: (p * q) ** -0.5)
        ),
    },
    values=("alpha", "lr_A", "lr_B"),
    question="A starts twice as large, B is zero as ever, and Adam trains. Which of the three "
    "numbers have to change, and is B's learning rate among them?",
    hints=(
        "Ask two things of the new training: is the update the same before the first step, and "
        "is it the same after it?",
        "If A is p times as large before a step and is to be p times as large after it, how much "
        "further must it move? And what has become of its gradient, which contains alpha and B?",
        "Three numbers, each the old one times a factor of p and q. The factors of the rates are "
        "powers, and the power depends on the optimizer.",
    ),
    folded=True,
)

Pair = tuple[float, float]


def _another_start(
    alpha: float,
    r: int,
    rank_stabilized: bool,
    size: float,
    lr_A: float,
    lr_B: float,
    new_size: float,
) -> Pair:
    def update(s: float, a: float, lr_A: float, lr_B: float, steps: int) -> float:
        b = 0.0  # a layer of one input and one output, whose gradients keep their signs
        for _ in range(steps):
            a, b = a + lr_A, b + lr_B
        return s * b * a

    s = alpha / (r**0.5 if rank_stabilized else r)
    first, second = (update(s, size, lr_A, lr_B, steps) for steps in (1, 2))
    low, high = 0.0, new_size
    for _ in range(100):  # the rate at which the second step adds as much to the first as it did
        lr = (low + high) / 2
        once, twice = (update(1.0, new_size, lr, lr, steps) for steps in (1, 2))
        if twice / once > second / first:
            high = lr
        else:
            low = lr
    return r * first / once, lr


def _draw_start(rng: np.random.Generator, n: int) -> Arguments:
    size, new_size = rng.choice([0.05, 0.075, 0.125, 0.3, 0.5], size=2, replace=False)
    return {
        "alpha": float(rng.choice([8.0, 11.0, 13.0, 32.0])),
        "r": int(rng.choice([3, 5, 6, 8])),
        "rank_stabilized": bool(n % 2),
        "size": float(size),
        "lr_A": float(rng.choice([0.001, 0.003])),
        "lr_B": float(rng.choice([0.002, 0.016])),
        "new_size": float(new_size),
    }


def _repeated(
    for_alpha: int = -2,
    for_lr: float = 1,
    for_ratio: float = 1,
    lr_of_B: bool = False,
    made_plain: Callable[[float, int, bool], float] = lambda alpha, r, rank_stabilized: (
        alpha * sqrt(r) if rank_stabilized else alpha
    ),
) -> Answer:
    """Return an answer: alpha and lr times powers of the growth of A and of the ratio of rates."""

    def answer(
        alpha: float,
        r: int,
        rank_stabilized: bool,
        size: float,
        lr_A: float,
        lr_B: float,
        new_size: float,
    ) -> Pair:
        p, ratio = new_size / size, lr_B / lr_A
        plain = made_plain(alpha, r, rank_stabilized)
        return plain * p**for_alpha * ratio**for_ratio, (lr_B if lr_of_B else lr_A) * p**for_lr

    return answer


ANOTHER_START = Exercise(
    "06",
    "somebody's training, repeated in plain LoRA",
    "Somebody has trained with Adam, from an A with the start size `size` (the standard deviation\n"
    "of its entries) and from B = 0, with the learning rates lr_A and lr_B. alpha was divided by\n"
    "sqrt(r) where rank_stabilized is true, and by r elsewhere. Your program has the same r and\n"
    "divides by r itself. It starts from the same draw of A with the start size new_size, and has\n"
    "one learning rate for A and B. Return `alpha, lr` with which it repeats that training: after\n"
    "every step the update is what it was. Adam's epsilon is negligible, nothing decays and\n"
    "nothing is clipped.",
    _another_start,
    _draw_start,
    {
        "start-ignored": WrongAnswer(
            "the new start size plays no part: another A has to move another length, and makes "
            "another update.",
            _repeated(for_alpha=0, for_lr=0),
        ),
        "rate-kept": WrongAnswer(
            "lr is lr_A still. That keeps the first update nearly what it was, but not the pace "
            "of A beside its size.",
            _repeated(for_alpha=-1, for_lr=0),
        ),
        "alpha-alone": WrongAnswer(
            "alpha is right, and lr is not: it is lr_A still, though A has another size.",
            _repeated(for_lr=0),
        ),
        "B-at-its-old-rate": WrongAnswer(
            "lr is right. alpha makes up for the size of A; but lr is the rate of B as well, and "
            "what that changes is not made up for in full.",
            _repeated(for_alpha=-1),
        ),
        "B-forgotten": WrongAnswer(
            "lr is right, and alpha makes up for the size of A. That B had a rate of its own, and "
            "has that of A now, is not made up for.",
            _repeated(for_alpha=-1, for_ratio=0),
        ),
        "B-and-divisor-forgotten": WrongAnswer(
            "lr is right, and alpha makes up for the size of A. Two things are left out: "
            "rank_stabilized, and that B has another rate now.",
            _repeated(
                for_alpha=-1, for_ratio=0, made_plain=lambda alpha, r, rank_stabilized: alpha
            ),
        ),
        "rate-kept-and-B-forgotten": WrongAnswer(
            "lr is lr_A still, though A has another size; and that B has another rate now is not "
            "made up for.",
            _repeated(for_alpha=-1, for_lr=0, for_ratio=0),
        ),
        "sizes-as-variances": WrongAnswer(
            "lr and alpha have the root of new_size/size where the ratio itself belongs: a size is "
            "a standard deviation, and A is multiplied by the ratio of two.",
            _repeated(for_alpha=-1, for_lr=0.5),
        ),
        "rate-of-B": WrongAnswer(
            "lr comes from lr_B, so A moves at the wrong pace, and no alpha makes up for that. "
            "What is wrong with the pace of B alone, an alpha can mend.",
            _repeated(for_alpha=-1, for_ratio=0, lr_of_B=True),
        ),
        "lr-upside-down": WrongAnswer(
            "alpha is right, and lr goes the wrong way: a larger A has to move further.",
            _repeated(for_lr=-1),
        ),
        "ratio-forgotten": WrongAnswer(
            "this is right where lr_A and lr_B are equal. Here they differ.",
            _repeated(for_ratio=0),
        ),
        "ratio-upside-down": WrongAnswer(
            "the ratio of lr_A and lr_B goes the wrong way: if B was faster than A, alpha has to "
            "be larger now.",
            _repeated(for_ratio=-1),
        ),
        "sizes-exchanged": WrongAnswer(
            "size and new_size are exchanged: a larger A has to move further.",
            _repeated(for_alpha=2, for_lr=-1),
        ),
        "divisor-ignored": WrongAnswer(
            "rank_stabilized is ignored: where alpha was divided by sqrt(r), yours has to be "
            "another one.",
            _repeated(made_plain=lambda alpha, r, rank_stabilized: alpha),
        ),
        "always-stabilized": WrongAnswer(
            "alpha is made up for a division by sqrt(r) in both cases.",
            _repeated(made_plain=lambda alpha, r, rank_stabilized: alpha * sqrt(r)),
        ),
        "divisor-the-wrong-way": WrongAnswer(
            "where alpha was divided by sqrt(r), yours goes the wrong way: it is divided by more "
            "now.",
            _repeated(
                made_plain=lambda alpha, r, rank_stabilized: (
                    alpha / sqrt(r) if rank_stabilized else alpha
                )
            ),
        ),
        "scaling-for-alpha": WrongAnswer(
            "this is the factor before B A; your program divides alpha by r to get it.",
            _repeated(
                made_plain=lambda alpha, r, rank_stabilized: (
                    alpha / (sqrt(r) if rank_stabilized else r)
                )
            ),
        ),
        "gradient-descent": WrongAnswer(
            "this repeats a training with gradient descent; Adam trains here.",
            _repeated(for_lr=2, for_ratio=0.5),
        ),
        "order": WrongAnswer(
            "the order is alpha, lr; here lr comes first.",
            lambda *arguments: _another_start(*arguments)[::-1],
        ),
    },
    tolerance=1e-8,
    values=("alpha", "lr"),
    question="PEFT's default start of A has the standard deviation 1/sqrt(3 in_features), and its "
    '"gaussian" one 1/r. Which is the larger for 768 inputs and r of 8? If you change from the '
    "default to the other and change nothing else, does A turn faster than before?",
    hints=(
        "B starts at 0, so q times B is B: nothing forces a q upon you, and you may choose it. "
        "What do you need it for?",
        "What rate does A need for its new size? B gets the same one. By what factor is that "
        "another rate than B had, and what makes up for such a factor?",
        "Find p from the sizes and q from the rate of B. The factor before B A that was used "
        "follows from alpha, r and the bool; the new one from p and q. Then ask which alpha "
        "gives it.",
    ),
    folded=True,
)

ALL = (SCALING, COMPENSATING_RATES, ANOTHER_START)
