"""The scaling alpha/r in the exercises: factors and wrong answers that many of them share."""

import inspect
from collections.abc import Callable, Mapping

from lora_ref.exercises.exercise import Answer, Arguments, WrongAnswer

Scaling = Callable[[float, int, int, int], float]
"""A factor computed from alpha, r, out_features and in_features."""

BASIC = ("scaling-forgotten", "scaling-twice", "alpha-alone")
"""To be named where the result is not proportional to alpha/r, so that `scaling_factors` fail."""

WRONG_SCALINGS: Mapping[str, tuple[str, Scaling]] = {
    "scaling-forgotten": ("alpha/r is missing {where}.", lambda alpha, r, out, into: 1.0),
    "scaling-twice": (
        "alpha/r is there twice {where}.",
        lambda alpha, r, out, into: (alpha / r) ** 2,
    ),
    "alpha-alone": (
        "the factor {where} is alpha; it should be alpha/r, and r is len(A).",
        lambda alpha, r, out, into: alpha,
    ),
    "root-of-r": (
        "the factor {where} is alpha over the square root of r, as in rsLoRA; it should be "
        "alpha/r.",
        lambda alpha, r, out, into: alpha / r**0.5,
    ),
    "out-for-r": (
        "the factor {where} is alpha over out_features, which is len(B); it should be alpha/r, "
        "and r is len(A).",
        lambda alpha, r, out, into: alpha / out,
    ),
    "in-for-r": (
        "the factor {where} is alpha over in_features, which is A.shape[1] or len(A[0]). What is "
        "r?",
        lambda alpha, r, out, into: alpha / into,
    ),
    "r-over-alpha": (
        "the factor {where} is r/alpha: a larger alpha makes the update weaker here.",
        lambda alpha, r, out, into: r / alpha,
    ),
    "whole-division": (
        "alpha is divided by r with // {where}, which drops what stands behind the point.",
        lambda alpha, r, out, into: alpha // r,
    ),
}


def wrong_scalings(spec: Answer, where: str, *basic: str) -> dict[str, WrongAnswer]:
    """Return wrong answers that differ from a specification in the factor alpha/r alone.

    They are all of `WRONG_SCALINGS`, but of the basic ones those that are named.
    """

    def wrong(name: str) -> WrongAnswer:
        message, scaling = WRONG_SCALINGS[name]
        return WrongAnswer(message.format(where=where), _with_scaling(spec, scaling))

    return {name: wrong(name) for name in WRONG_SCALINGS if name in basic or name not in BASIC}


def _with_scaling(spec: Answer, scaling: Scaling) -> Answer:
    """Return a specification with another scaling, in both tasks where there is a new one too."""

    def answer(*values: object) -> object:
        arguments: Arguments = dict(zip(inspect.signature(spec).parameters, values, strict=True))
        for task in ("", "new_") if "new_A" in arguments else ("",):
            (r, into), out = arguments[f"{task}A"].shape, len(arguments[f"{task}B"])
            arguments[f"{task}alpha"] = r * scaling(arguments[f"{task}alpha"], r, out, into)
        return spec(**arguments)

    return answer


def scaling_factors(arguments: Arguments) -> dict[str, float]:
    """Return the factors by which a result of a LoRA layer may be off, by name."""
    r, alpha = len(arguments["A"]), arguments["alpha"]
    return {"alpha/r": alpha / r, "alpha": alpha, "r": float(r), "(alpha/r)^2": (alpha / r) ** 2}
