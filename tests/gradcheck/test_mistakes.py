"""The zoo of mistakes: each is rejected by the checks that this table names, and right code is not.

Where a check stops rejecting a mistake it has gone blind; where another begins to, the mistake is
no longer the one that was described.
"""

from typing import Any, NamedTuple

import numpy as np
import pytest

from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import MISTAKES, caught_by, evidence, sgd_step
from lora_ref.layers import Linear, LoRALinear
from lora_ref.layers.initializers import kaiming_uniform, normal

SEEDS = range(5)


class Expected(NamedTuple):
    """The checks that reject a mistake, away from the start of training and at it."""

    away: set[str]
    at_start: set[str]


FORWARD, MASKED, MERGE = "forward", "masked forward", "merge"
TABLE = {
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
    "both-zero": Expected({"moves"}, {"moves"}),
    "both-random": Expected({"starts at W0"}, {"starts at W0"}),
    "A-updated-before-grad_x": Expected({"grad_x"}, {"grad_x"}),
    "sign-flipped": Expected({"downhill"}, {"downhill"}),
    "W0-decays": Expected({"keeps W0"}, {"keeps W0"}),
}
NEEDS_SQUARE = {"square-transpose", "factors-swapped"}

RIGHT: dict[str, tuple[Any, Any]] = {
    "LoRALinear, backward": ("backward", LoRALinear),
    "Linear, backward": ("backward", Linear),
    "LoRALinear, in place": ("in place", LoRALinear),
    "LoRALinear, function": ("function", LoRALinear),
    "kaiming_uniform": ("start", kaiming_uniform),
    "normal": ("start", normal()),
    "sgd_step": ("step", sgd_step),
}


def test_the_table_knows_every_mistake_and_there_are_a_dozen_or_more() -> None:
    assert list(TABLE) == list(MISTAKES)
    assert len(TABLE) >= 12
    assert {mistake.kind for mistake in MISTAKES.values()} == {kind for kind, _ in RIGHT.values()}


@pytest.mark.parametrize("name", TABLE)
def test_a_mistake_is_rejected_by_these_checks_and_no_other(name: str) -> None:
    for seed in SEEDS:
        caught = caught_by(name, np.random.default_rng(seed))
        assert set(caught) == TABLE[name].away
        assert min(caught.values()) > 1e-5  # seen from afar, not by a hair


@pytest.mark.parametrize("name", TABLE)
def test_at_the_start_a_mistake_is_rejected_by_fewer_checks(name: str) -> None:
    for seed in SEEDS:
        caught = caught_by(name, np.random.default_rng(seed), at_start=True)
        assert set(caught) == TABLE[name].at_start
    assert TABLE[name].at_start <= TABLE[name].away


def test_a_gradient_of_A_a_hundred_times_too_large_is_invisible_at_the_start() -> None:
    assert caught_by("A-hundredfold", np.random.default_rng(0), at_start=True) == {}
    assert set(caught_by("A-hundredfold", np.random.default_rng(0))) == {"A"}


@pytest.mark.parametrize("name", TABLE)
def test_a_layer_that_is_not_square_hides_no_mistake(name: str) -> None:
    if name in NEEDS_SQUARE:
        with pytest.raises(ValueError, match=r"matmul|broadcast"):
            caught_by(name, np.random.default_rng(0), square=False)
    else:
        assert set(caught_by(name, np.random.default_rng(0), square=False)) == TABLE[name].away


@pytest.mark.parametrize("square", [True, False], ids=["square", "oblong"])
@pytest.mark.parametrize("at_start", [False, True], ids=["away from the start", "at the start"])
@pytest.mark.parametrize("name", RIGHT)
def test_right_code_passes_the_same_checks(name: str, at_start: bool, square: bool) -> None:
    kind, code = RIGHT[name]
    for seed in SEEDS:
        errors, tolerance = evidence(kind, code, np.random.default_rng(seed), at_start, square)
        assert len(errors) >= 3
        assert 0 <= max(errors.values()) <= tolerance


def test_right_code_is_checked_by_every_check_that_rejects_a_mistake() -> None:
    ran = {kind: set() for kind, _ in RIGHT.values()}
    for kind, code in RIGHT.values():
        ran[kind] |= set(evidence(kind, code, np.random.default_rng(0))[0])
    for name, mistake in MISTAKES.items():
        assert TABLE[name].away <= ran[mistake.kind]


def test_the_right_step_goes_downhill_and_hands_on_the_gradient_before_it() -> None:
    for seed in SEEDS:
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


@pytest.mark.parametrize("name", TABLE)
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
