"""Products and sums that refuse what their shapes do not allow, and small layers to try laws on."""

from functools import reduce
from typing import Any

import numpy as np

from lora_ref.arrays import Array
from lora_ref.errors import ShapeError
from lora_ref.layers import LoRALinear

RIGHT_BA = (
    ("0.11", "0.14", "0.17", "0.20"),
    ("0.23", "0.30", "0.37", "0.44"),
    ("0.35", "0.46", "0.57", "0.68"),
    ("0.47", "0.62", "0.77", "0.92"),
)
"""What B A is, to the digits of the article: checked wherever it is used."""


def product(*factors: Any) -> Any:
    """Multiply matrices, the last perhaps a column vector, from left to right.

    Raises
    ------
    ShapeError
        Where the columns on the left are not as many as the rows on the right.
    """

    def times(left: Any, right: Any) -> Any:
        if left.shape[-1] != right.shape[0]:
            raise ShapeError(
                f"no product of shapes {left.shape} and {right.shape}: "
                f"{left.shape[-1]} columns meet {right.shape[0]} rows"
            )
        return left @ right

    return reduce(times, factors)


def added(left: Any, right: Any) -> Any:
    """Add two arrays of one shape; nothing is tiled and nothing is broadcast.

    Raises
    ------
    ShapeError
        For two shapes.
    """
    if left.shape != right.shape:
        raise ShapeError(f"no sum of shapes {left.shape} and {right.shape}")
    return left + right


def floats(matrix: Any) -> Array:
    """Return a matrix of fractions, or of printed texts, in floating point."""
    return np.asarray(matrix).astype(np.float64)


def drawn_layer(
    seed: int = 0, r: int = 2, alpha: float = 4.0, n: int = 6
) -> tuple[LoRALinear, Array]:
    """Return a layer of 7 inputs and 5 outputs with all factors random, and n rows for it."""
    rng = np.random.default_rng(seed)
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (r, 7), (5, r)))
    return LoRALinear(W0, A, B, alpha), rng.standard_normal((n, 7))


def norm(array: Any) -> float:
    """Return the Frobenius norm as a Python float."""
    return float(np.linalg.norm(floats(array)))


def unless_rounding(error: float) -> str:
    """Write a relative error, or that it is nothing but rounding: its digits are the machine's."""
    return "0 to rounding" if error < 1e-12 else f"{error:.1%}"
