"""The exercise of notebook 01: the knob of an adapter."""

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments, Exercise, WrongAnswer


def _dial(y_off: Array, y_on: Array, strength: float) -> Array:
    y = np.zeros_like(y_off)
    for i in range(y_off.shape[0]):
        for o in range(y_off.shape[1]):
            # base + 0 * path is y_off, and base + 1 * path is y_on
            base, path = np.linalg.solve([[1, 0], [1, 1]], [y_off[i, o], y_on[i, o]])
            y[i, o] = base + strength * path
    return y


def _draw(rng: np.random.Generator, n: int) -> Arguments:
    width = int(rng.integers(3, 8)) + n
    y_off, y_on = rng.standard_normal((2, n, width))
    beyond = float(rng.uniform(1.1, 1.9))
    strength = {1: 0.5, 4: 0.0, 2: 1.0, 5: -beyond}.get(n, beyond)
    return {"y_off": y_off, "y_on": y_on, "strength": strength}


DIAL = Exercise(
    "01",
    "the output of a layer at any strength",
    "For some rows, a LoRA layer with its adapter off returned y_off, and with it on y_on, both\n"
    "of shape (n, out_features). Return what it returns for the same rows with the second path\n"
    "multiplied by strength. You have no x, no W0, no A and no B.",
    _dial,
    _draw,
    {
        "no-base": WrongAnswer(
            "at strength 0 this is zero. Switched off, the layer still has W0.",
            lambda y_off, y_on, strength: strength * y_on,
        ),
        "base-scaled": WrongAnswer(
            "the base is multiplied by strength as well; only the second path is.",
            lambda y_off, y_on, strength: strength * (y_off + y_on),
        ),
        "path-alone": WrongAnswer(
            "this is the second path alone; what W0 returns is missing.",
            lambda y_off, y_on, strength: strength * (y_on - y_off),
        ),
        "base-twice": WrongAnswer(
            "y_on has what W0 returns in it already, and here it is added to y_off again.",
            lambda y_off, y_on, strength: y_off + strength * y_on,
        ),
        "exchanged": WrongAnswer(
            "off and on are exchanged: at strength 0 this returns y_on.",
            lambda y_off, y_on, strength: y_on + strength * (y_off - y_on),
        ),
        "beyond-on": WrongAnswer(
            "at strength 1 this is not y_on: it goes as far beyond it.",
            lambda y_off, y_on, strength: y_on + strength * (y_on - y_off),
        ),
        "clipped": WrongAnswer(
            "strengths above 1 are cut to 1. They are allowed, and louder than trained.",
            lambda y_off, y_on, strength: y_off + min(strength, 1.0) * (y_on - y_off),
        ),
        "clipped-on-both-sides": WrongAnswer(
            "strengths above 1 are cut to 1, and those below 0 to 0. Both are allowed.",
            lambda y_off, y_on, strength: y_off + min(max(strength, 0.0), 1.0) * (y_on - y_off),
        ),
        "absolute": WrongAnswer(
            "the second path can be negative too: abs() loses its sign.",
            lambda y_off, y_on, strength: y_off + strength * np.abs(y_on - y_off),
        ),
        "weighted-mean": WrongAnswer(
            "this is divided by 1 + strength: strength 1 does not give y_on.",
            lambda y_off, y_on, strength: (y_off + strength * y_on) / (1 + strength),
        ),
    },
    question="at strength 0, 1 and 1/2, what has to come out?",
    hints=(
        "Switched on, a layer returns what W0 returns plus the second path. Which of the two is "
        "y_off?",
        "So you can compute what the second path alone has returned. Strength multiplies that.",
        "It is a sum of two terms, one of them without strength. Check it at 0 and at 1.",
    ),
)

ALL = (DIAL,)
