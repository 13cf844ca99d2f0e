"""Where A and B begin, by name.

A start maps ``(W0, r, rng)`` to ``(A, B)``. B is zero in all of them, so training begins exactly
at W0; what differs is how A is drawn.
"""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from lora_ref.arrays import Array, as_finite
from lora_ref.errors import LoraRefError

Start: TypeAlias = Callable[[Array, int, np.random.Generator], tuple[Array, Array]]


def kaiming_uniform(W0: Array, r: int, rng: np.random.Generator) -> tuple[Array, Array]:
    """Draw A uniformly in ±1/sqrt(in_features), as loralib and PEFT do.

    Both call Kaiming's uniform rule (He et al., 2015, arXiv 1502.01852) with ``a = sqrt(5)``: the
    bound is ``sqrt(6 / ((1 + a**2) * in_features))``, which is 1/sqrt(in_features), and the
    standard deviation is 1/sqrt(3 in_features).
    """
    in_features = W0.shape[1]
    bound = in_features**-0.5
    return rng.uniform(-bound, bound, (r, in_features)).astype(W0.dtype), _zero_B(W0, r)


def normal(std: float = 0.02) -> Start:
    """Return a start that draws A from N(0, std**2); the LoRA paper says Gaussian, without a width.

    Parameters
    ----------
    std : float
        Standard deviation of the entries of A, above 0.

    Raises
    ------
    LoraRefError
        If `std` is not a finite number above 0.
    """
    width = as_finite("std in normal", std)
    if width <= 0:
        raise LoraRefError(f"std in normal is {width}, expected a number above 0")

    def start(W0: Array, r: int, rng: np.random.Generator) -> tuple[Array, Array]:
        A = rng.normal(0.0, width, (r, W0.shape[1])).astype(W0.dtype)
        return A, _zero_B(W0, r)

    return start


def _zero_B(W0: Array, r: int) -> Array:
    return np.zeros((W0.shape[0], r), W0.dtype)
