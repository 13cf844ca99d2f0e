"""Random arguments for the exercises; no two sides are equal, so that nothing fits by accident."""

from collections.abc import Callable

import numpy as np

from lora_ref.exercises.exercise import Arguments


def sizes(rng: np.random.Generator) -> tuple[int, int, int]:
    """Return out_features, in_features and r: all different, and no side as long as a batch."""
    out_features, in_features = rng.choice(np.arange(8, 12), size=2, replace=False)
    return int(out_features), int(in_features), int(rng.integers(2, 5))


def layer_arguments(*names: str) -> Callable[[np.random.Generator, int], Arguments]:
    """Return a function that draws a LoRA layer with a batch and returns the named parts of it."""

    def draw(rng: np.random.Generator, n: int) -> Arguments:
        out_features, in_features, r = sizes(rng)
        values = {
            "x": rng.standard_normal((n, in_features)),
            "grad_y": rng.standard_normal((n, out_features)),
            "W0": rng.standard_normal((out_features, in_features)),
            "A": rng.standard_normal((r, in_features)),
            "B": rng.standard_normal((out_features, r)),
            "alpha": float(rng.choice([5.0, 7.0, 11.0, 13.0])),
            "lr": float(rng.choice([0.1, 0.3])),
        }
        return {name: values[name] for name in names}

    return draw
