"""A mistake: wrong code, what it is tried on, and the checks that it is shown to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.gradcheck import (
    EXACT_TOLERANCE,
    SMOOTH_TOLERANCE,
    formula_errors,
    gradient_errors,
    in_place_changes,
    later_token_errors,
    padding_errors,
    property_errors,
    sgd_step,
)
from lora_ref.gradcheck.reference import TOLERANCE
from lora_ref.layers.initializers import kaiming_uniform

Kind = Literal["backward", "in place", "function", "later tokens", "padding", "start", "step"]
Wrong = TypeVar("Wrong", bound=Callable[..., Any])


class Place(NamedTuple):
    """Where to look."""

    at_start: bool = False
    """Whether parameters are as before training: B = 0, weights small, gains 1."""

    square: bool = True
    """Whether a layer with two widths has two equal ones, which some wrong code needs to run."""


class Case(NamedTuple):
    """What a check is given: a layer, x, and the keywords of a forward pass."""

    layer: Any
    x: Any
    keywords: Mapping[str, Any] = {}


MakeCase: TypeAlias = Callable[[Any, np.random.Generator, Place], Case]
"""Makes a case of some code: a class of layers, right or wrong."""


@dataclass(frozen=True)
class Mistake:
    """One mistake: what is wrong, what leads to it, and the wrong code itself."""

    name: str
    kind: Kind
    text: str
    cause: str
    wrong: Callable[..., Any]
    case: MakeCase | None
    """What the code is tried on; None for a start and for a step, whose check draws its own."""


MISTAKES: dict[str, Mistake] = {}
"""Every mistake by name, one file after the other."""


def enter(
    kind: Kind, name: str, *, text: str, cause: str, case: MakeCase | None = None
) -> Callable[[Wrong], Wrong]:
    """Enter the decorated code in `MISTAKES`; the arguments are those of `Mistake`."""

    def keep(wrong: Wrong) -> Wrong:
        MISTAKES[name] = Mistake(name, kind, text, cause, wrong, case)
        return wrong

    return keep


def caught_by(
    name: str, rng: np.random.Generator, *, at_start: bool = False, square: bool = True
) -> dict[str, float]:
    """Return the checks that reject a mistake, each with the error that it found.

    Parameters
    ----------
    name : str
        A key of `MISTAKES`.
    rng : numpy.random.Generator
        Draws layer, data and directions.
    at_start, square
        As in `Place`. A wrong gradient of A is invisible where B = 0: the checker leaves it open,
        and says so in a `lora_ref.gradcheck.GradientCheckWarning`.
    """
    if name not in MISTAKES:
        raise LoraRefError(f"no mistake is called {name!r}, expected one of: {', '.join(MISTAKES)}")
    mistake = MISTAKES[name]
    errors, tolerance = evidence(mistake, mistake.wrong, rng, at_start=at_start, square=square)
    return {check: error for check, error in errors.items() if error > tolerance}


def evidence(
    mistake: Mistake,
    code: Callable[..., Any],
    rng: np.random.Generator,
    *,
    at_start: bool = False,
    square: bool = True,
) -> tuple[dict[str, float], float]:
    """Return the errors that the checks of a mistake find in some code, and their tolerance.

    The code is the wrong one, the right one that it stands for, or the reader's own: a class of
    layers, and for a start or a step a function as in `lora_ref.gradcheck.init_and_step`. Other
    arguments as in `caught_by`.
    """
    if mistake.kind == "start":
        return property_errors(code, sgd_step, rng), TOLERANCE
    if mistake.case is None:
        return property_errors(kaiming_uniform, code, rng), TOLERANCE
    layer, x, keywords = mistake.case(code, rng, Place(at_start, square))
    match mistake.kind:
        case "in place":
            return in_place_changes(layer, x, rng, **keywords), 0.0
        case "function":
            return formula_errors(layer, x, rng), TOLERANCE
        case "later tokens":
            return later_token_errors(layer, x, rng, **keywords), TOLERANCE
        case "padding":
            return padding_errors(layer, x, rng, **keywords), TOLERANCE
    tolerance = EXACT_TOLERANCE if layer.affine_in_each_argument else SMOOTH_TOLERANCE
    return gradient_errors(layer, x, rng, **keywords), tolerance


def losses(
    mistake: Mistake, code: Callable[..., Any], rng: np.random.Generator, *, steps: int = 30
) -> list[float]:
    """Return the losses of gradient descent with the backward of some code.

    The loss is the mean squared distance of y from random rows. All parameters move, and x does in
    place of layers below. A step is a thousandth as long as what moves, so a factor on all
    gradients makes no difference.

    Parameters
    ----------
    mistake, code
        As in `evidence`; the mistake is one of a layer.
    rng : numpy.random.Generator
        Draws layer and data.
    steps : int
        How many losses to return.
    """
    if mistake.case is None:
        raise LoraRefError(f"{mistake.name} is a mistake of a {mistake.kind}, expected a layer's")
    layer, x, keywords = mistake.case(code, rng, Place())
    y, _ = layer.forward(x, **keywords)
    target, found = y + rng.standard_normal(y.shape), []
    for _ in range(steps):
        y, cache = layer.forward(x, **keywords)
        found.append(float(np.mean((y - target) ** 2)))
        grad_x, grads = layer.backward(2 * (y - target) / y.size, cache)
        at = dict(layer.trainable) if grad_x is None else {**layer.trainable, "x": x}
        grads = grads if grad_x is None else {**grads, "x": grad_x}
        step = 0.001 * _size(at.values()) / _size(grads.values())
        moved = {argument: value - step * grads[argument] for argument, value in at.items()}
        x = moved.pop("x", x)
        layer = layer.with_params(moved)
    return found


def _size(arrays: Any) -> float:
    """Return the norm of all arrays together."""
    return float(np.sqrt(sum(np.vdot(array, array) for array in arrays)))
