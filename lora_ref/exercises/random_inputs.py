"""Sizes and numbers for the exercises: no two sides alike, so that nothing fits by accident."""

from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.exercises.exercise import Arguments


def sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return out_features, in_features and r: all different, no side as long as a batch."""
    out_features, in_features = rng.choice(np.arange(8, 12), size=2, replace=False)
    return int(out_features), int(in_features), int(rng.integers(2, 5))


def layer(rng: np.random.Generator, n: int) -> dict[str, Any]:
    """Return all that a LoRA layer and one pass through it have, for an exercise to choose from."""
    out_features, in_features, r = sizes(rng)
    return {
        "x": rng.standard_normal((n, in_features)),
        "grad_y": rng.standard_normal((n, out_features)),
        "W0": rng.standard_normal((out_features, in_features)),
        "A": rng.standard_normal((r, in_features)),
        "B": rng.standard_normal((out_features, r)),
        "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
        "lr": float(rng.choice([0.1, 0.3])),
    }


def chosen(values: dict[str, Any], *names: str) -> Arguments:
    """Return some of the values, in the order of the names."""
    return {name: values[name] for name in names}


def scalings(arguments: Arguments) -> dict[str, float]:
    """Return the factors by which a result of a LoRA layer may be off."""
    r = len(arguments["A"])
    return {
        "alpha/r": arguments["alpha"] / r,
        "alpha": arguments["alpha"],
        "r": float(r),
        "(alpha/r)^2": (arguments["alpha"] / r) ** 2,
    }


def singular(rng: np.random.Generator, out_features: int, in_features: int) -> Array:
    """Return a matrix whose singular values are far apart, each 0.55 of the one before."""
    small = min(out_features, in_features)
    U = np.linalg.qr(rng.standard_normal((out_features, small)))[0]
    V = np.linalg.qr(rng.standard_normal((in_features, small)))[0]
    M: Array = U * (3 * 0.55 ** np.arange(small)) @ V.T
    return M
