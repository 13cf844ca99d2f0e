"""How much a trained change of a matrix enlarges what W0 does in the directions of the change.

Beside it stand random directions and the leading ones of W0: what would be found in a change that
has learned nothing, and in one that repeats W0.
"""

import numpy as np

from lora_ref.checks import Array
from lora_ref.lowrank import truncated_svd


def amplification(change: Array, W0: Array, r: int) -> float:
    """Return ``norm(change) / norm(U.T @ W0 @ V)``, U and V the r leading directions of change.

    How much the change enlarges what W0 does in these directions (LoRA paper, arXiv 2106.09685,
    section 7.3 and table 7).
    """
    U, sigma, Vh = truncated_svd(change, r)
    return float(np.linalg.norm(sigma) / np.linalg.norm(U.T @ W0 @ Vh.T))


def amplification_of_random(change: Array, W0: Array, r: int) -> float:
    """Return what `amplification` would be in random directions, with the same singular values.

    There the square of ``norm(U.T @ W0 @ V)`` is ``r * r / W0.size`` of that of W0, on average.
    """
    sigma = truncated_svd(change, r)[1]
    return float(np.linalg.norm(sigma) / np.linalg.norm(W0) * np.sqrt(W0.size) / r)


def amplification_of_leading(change: Array, W0: Array, r: int) -> float:
    """Return what `amplification` would be in the leading directions of W0 itself."""
    sigma, largest = (truncated_svd(M, r)[1] for M in (change, W0))
    return float(np.linalg.norm(sigma) / np.linalg.norm(largest))
