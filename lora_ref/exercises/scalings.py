"""The scaling alpha/r in the exercises: factors and wrong answers that many of them share."""

import inspect
from collections.abc import Callable, Mapping

from lora_ref.exercises.exercise import Answer, Arguments, WrongAnswer

Scaling = Callable[[float, int, int], float]
"""A factor computed from alpha, r and out_features."""

WRONG_SCALINGS: Mapping[str, tuple[str, Scaling]] = {
    "scaling-forgotten": ("alpha/r is missing {where}.", lambda alpha, r, out: 1.0),
    "scaling-twice": ("alpha/r is there twice {where}.", lambda alpha, r, out: (alpha / r) ** 2),
    "alpha-alone": (
        "the factor {where} is alpha; it should be alpha/r, and r is len(A).",
        lambda alpha, r, out: alpha,
    ),
    "root-of-r": (
        "the factor {where} is alpha over the square root of r, as in rsLoRA; it should be "
        "alpha/r.",
        lambda alpha, r, out: alpha / r**0.5,
    ),
    "out-for-r": (
        "the factor {where} is alpha over out_features, which is len(B); it should be alpha/r, "
        "and r is len(A).",
        lambda alpha, r, out: alpha / out,
    ),
}


def wrong_scalings(spec: Answer, where: str, *names: str) -> dict[str, WrongAnswer]:
    """Return wrong answers that differ from a specification in the factor alpha/r alone."""

    def wrong(name: str) -> WrongAnswer:
        message, scaling = WRONG_SCALINGS[name]
        return WrongAnswer(message.format(where=where), _with_scaling(spec, scaling))

    return {name: wrong(name) for name in names}


def _with_scaling(spec: Answer, scaling: Scaling) -> Answer:
    def answer(*values: object) -> object:
        arguments: Arguments = dict(zip(inspect.signature(spec).parameters, values, strict=True))
        r, out_features = len(arguments["A"]), len(arguments["B"])
        arguments["alpha"] = r * scaling(arguments["alpha"], r, out_features)
        return spec(**arguments)

    return answer


def scaling_factors(arguments: Arguments) -> dict[str, float]:
    """Return the factors by which a result of a LoRA layer may be off, by name."""
    r, alpha = len(arguments["A"]), arguments["alpha"]
    return {"alpha/r": alpha / r, "alpha": alpha, "r": float(r), "(alpha/r)^2": (alpha / r) ** 2}
