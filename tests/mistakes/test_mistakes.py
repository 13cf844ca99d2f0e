"""The zoo of mistakes: each is rejected by the checks that this table names, and right code is not.

Where a check stops rejecting a mistake it has gone blind; where another begins to, the mistake is
no longer the one that was described.
"""

from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from cases import each

from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import LoRALinear
from lora_ref.layers.initializers import kaiming_uniform, normal
from lora_ref.mistakes import MISTAKES, Mistake, caught_by, evidence, losses
from lora_ref.mistakes.lora_backward import linear, lora
from tests.fixtures.how_many_seeds import seeds

EACH_SEED = pytest.mark.parametrize("seed", seeds(3))
at_start_zero_is_right = pytest.mark.filterwarnings(
    "ignore:.* it is zero, as it should be:lora_ref.gradcheck.GradientCheckWarning"
)


class Expected(NamedTuple):
    """The checks that reject a mistake, away from the start of training and at it."""

    away: set[str]
    at_start: set[str]
    falls: bool = True
    """Whether the loss falls in spite of it, in each draw, where it is a matter of gradients."""


FORWARD, MASKED, MERGE = "forward", "masked forward", "merge"
LATER, PADDING = "later tokens", "padding"
OF_SCORES = {"q.W", "q.bias", "k.W", "x"}
TABLE = {
    "softmax-row-sum-forgotten": Expected({"x"}, {"x"}),
    "sqrt-d-forgotten": Expected(OF_SCORES, OF_SCORES),
    "mask-forgotten-in-backward": Expected({*OF_SCORES, "v.W"}, {*OF_SCORES, "v.W"}),
    "next-token-visible": Expected({LATER}, {LATER}),
    "both-zero": Expected({"moves"}, {"moves"}),
    "both-random": Expected({"starts at W0"}, {"starts at W0"}),
    "A-updated-before-grad_x": Expected({"grad_x"}, {"grad_x"}),
    "sign-flipped": Expected({"downhill"}, {"downhill"}),
    "W0-decays": Expected({"keeps W0"}, {"keeps W0"}),
    "batch-divided-twice": Expected({"A", "B"}, {"B"}),
    "mean-for-sum": Expected({"bias"}, {"bias"}),
    "scaling-forgotten": Expected({"A", "B"}, {"B"}),
    "scaling-twice": Expected({"A", "x"}, set()),
    "adapter-path-missing": Expected({"x"}, set()),
    "square-transpose": Expected({"x"}, {"x"}),
    "A-hundredfold": Expected({"A"}, set()),
    "dropout-forgotten": Expected({"x"}, set()),
    "grad_y-scaled-in-place": Expected({"grad_y"}, {"grad_y"}),
    "cached-x-masked-in-place": Expected({"cache.x"}, {"cache.x"}),
    "B-moved-in-backward": Expected({"B"}, {"B"}),
    "factors-swapped": Expected({FORWARD, MASKED}, set()),
    "alpha-forgotten": Expected({FORWARD, MASKED, MERGE}, set()),
    "merge-without-scaling": Expected({MERGE}, set()),
    "merged-twice": Expected({MERGE}, set()),
    "merge-loses-bias": Expected({MERGE}, {MERGE}),
    "one-mask-for-the-batch": Expected({MASKED}, set()),
    "dropout-on-the-base": Expected({MASKED}, {MASKED}),
    "norm-mean-term-missing": Expected({"x"}, {"x"}),
    "norm-variance-term-missing": Expected({"x"}, {"x"}),
    "slope-of-the-other-gelu": Expected({"x"}, {"x"}),
    "repeated-token-overwritten": Expected({"W"}, {"W"}),
    "residual-forgotten": Expected(
        {"x", "attention.v.A", "attention.v.B"}, {"x", "attention.v.B"}, falls=False
    ),
    "tied-weight-from-one-end": Expected({"tokens.W"}, {"tokens.W"}),
    "gradient-to-padding": Expected(
        {"blocks.0.attention.v.A", "blocks.0.attention.v.B"}, {"blocks.0.attention.v.B"}
    ),
    "padding-in-the-mean": Expected({PADDING}, {PADDING}),
}
NEEDS_SQUARE = {"square-transpose", "factors-swapped"}

OTHERS = {"start": [kaiming_uniform, normal()], "step": [sgd_step]}
"""Right code of the mistakes that no class stands for."""


def right_of(mistake: Mistake) -> list[type]:
    """Return the right code of a mistake: the class that the wrong one changes."""
    return OTHERS.get(mistake.kind) or [mistake.wrong.__mro__[1]]


RIGHT = {
    f"{mistake.kind}, {getattr(code, '__name__', 'normal')}": (mistake, code)
    for mistake in MISTAKES.values()
    for code in right_of(mistake)
}
GRADIENTS = [n for n, m in MISTAKES.items() if m.kind in ("backward", LATER, PADDING)]
TWO_WIDTHS = [n for n, m in MISTAKES.items() if m.case in (linear, lora, None)]


def test_the_table_knows_every_mistake_and_there_are_a_dozen_or_more() -> None:
    assert list(TABLE) == list(MISTAKES)
    assert len(TABLE) >= 12


@EACH_SEED
@each("name", TABLE)
def test_a_mistake_is_rejected_by_these_checks_and_no_other(name: str, seed: int) -> None:
    caught = caught_by(name, np.random.default_rng(seed))
    assert set(caught) == TABLE[name].away
    assert min(caught.values()) > 1e-6  # seen from afar, not by a hair


@at_start_zero_is_right
@EACH_SEED
@each("name", TABLE)
def test_at_the_start_a_mistake_is_rejected_by_fewer_checks(name: str, seed: int) -> None:
    caught = caught_by(name, np.random.default_rng(seed), at_start=True)
    assert set(caught) == TABLE[name].at_start
    assert TABLE[name].at_start <= TABLE[name].away


@at_start_zero_is_right
def test_a_gradient_of_A_a_hundred_times_too_large_is_invisible_at_the_start() -> None:
    assert caught_by("A-hundredfold", np.random.default_rng(0), at_start=True) == {}
    assert set(caught_by("A-hundredfold", np.random.default_rng(0))) == {"A"}


@pytest.mark.parametrize("name", TWO_WIDTHS)
def test_a_layer_that_is_not_square_hides_no_mistake(name: str) -> None:
    if name in NEEDS_SQUARE:
        with pytest.raises(ValueError, match=r"matmul|broadcast"):
            caught_by(name, np.random.default_rng(0), square=False)
    else:
        assert set(caught_by(name, np.random.default_rng(0), square=False)) == TABLE[name].away


@at_start_zero_is_right
@EACH_SEED
@each("at_start", [False, True])
@each("name", RIGHT)
def test_right_code_passes_every_check_that_rejects_a_mistake(
    name: str, at_start: bool, seed: int
) -> None:
    mistake, code = RIGHT[name]
    mistakes = [other for other in MISTAKES.values() if other.kind == mistake.kind]
    rejecting = {check for m in mistakes if code in right_of(m) for check in TABLE[m.name].away}
    where = {"at_start": at_start, "square": seed % 2 == 0}
    errors, tolerance = evidence(mistake, code, np.random.default_rng(seed), **where)
    assert rejecting <= errors.keys()
    told = [error for error in errors.values() if not np.isnan(error)]
    assert 0 <= max(told) <= tolerance
    assert at_start or len(told) == len(errors)


@cache
def falls(case: Any, code: type) -> bool:
    """Return whether the loss falls in each draw; one right code is that of many mistakes."""
    mistake = next(m for m in MISTAKES.values() if m.case is case)
    found = [losses(mistake, code, np.random.default_rng(seed)) for seed in range(3)]
    return all(some[-1] < some[0] for some in found)


@pytest.mark.parametrize("name", GRADIENTS)
def test_whether_the_loss_falls_in_spite_of_a_mistake(name: str) -> None:
    mistake = MISTAKES[name]
    (code,) = right_of(mistake)
    found = {"wrong": falls(mistake.case, mistake.wrong), "right": falls(mistake.case, code)}
    assert found == {"wrong": TABLE[name].falls, "right": True}


def test_with_most_wrong_gradients_the_loss_falls() -> None:
    falling = [name for name in GRADIENTS if TABLE[name].falls]
    assert len(falling) > 0.9 * len(GRADIENTS)


def test_losses_are_those_of_a_layer() -> None:
    with pytest.raises(LoraRefError) as info:
        losses(MISTAKES["both-zero"], kaiming_uniform, np.random.default_rng(0))
    assert str(info.value) == "both-zero is a mistake of a start, expected a layer's"


@EACH_SEED
def test_the_right_step_goes_downhill_and_hands_on_the_gradient_before_it(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, grad_y = rng.standard_normal((4, 7)), rng.standard_normal((4, 5))
    layer = LoRALinear.init(rng.standard_normal((5, 7)), 2, 4.0, rng)
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    after, handed_on = sgd_step(layer, x, grad_y, lr=0.1)
    np.testing.assert_array_equal(handed_on, grad_x)
    fall = float(np.vdot(grad_y, y - after.forward(x)[0]))
    # where B = 0 only B moves and y is linear in B: the fall is exactly that of the first order
    assert fall == pytest.approx(0.1 * float(np.vdot(grads["B"], grads["B"])), rel=1e-9)


@each("name", TABLE)
def test_a_mistake_says_what_is_wrong_and_how_it_arises(name: str) -> None:
    mistake = MISTAKES[name]
    assert mistake.name == name
    assert mistake.text.endswith(".")
    assert len(mistake.text) > 20
    assert len(mistake.cause) > 20
    assert len({other.text for other in MISTAKES.values()}) == len(MISTAKES)


def test_an_unknown_name_is_answered_with_the_names_there_are() -> None:
    with pytest.raises(LoraRefError) as info:
        caught_by("scaling-forgoten", np.random.default_rng(0))
    names = ", ".join(TABLE)
    assert str(info.value) == (f"no mistake is called 'scaling-forgoten', expected one of: {names}")
