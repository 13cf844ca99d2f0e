"""The digits: 1,797 grey images of 8 x 8, and how a seed splits them.

Source, authors and licence stand in ``SOURCE.md``, beside the data.
"""

from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, as_count, frozen

SIZE = 8
"""Pixels on a side."""

CLASSES = 10

SIZES = {"source": 900, "target": 100, "validation": 100}
"""Images of each part of a split; the rest is for testing."""


class Images(NamedTuple):
    """Images as rows, and what they show."""

    x: Array  # (n, 64), float32, from 0 to 1
    labels: NDArray[np.integer[Any]]  # (n,)


class Split(NamedTuple):
    """Four parts that share no image."""

    source: Images
    target: Images
    validation: Images
    test: Images


@cache
def load() -> Images:
    """Return all images, float32 from 0 to 1, read-only, in the order of the file.

    Examples
    --------
    >>> digits = load()
    >>> digits.x.shape, digits.labels[:5].tolist()
    ((1797, 64), [0, 1, 2, 3, 4])
    """
    with (files("lora_ref.study") / "digits.npz").open("rb") as file:
        archive = np.load(file, allow_pickle=False)
        x = archive["images"].astype(np.float32)
        labels = archive["labels"].astype(np.int64)
    x /= 16
    labels.flags.writeable = False
    return Images(frozen(x), labels)


def split(seed: int) -> Split:
    """Divide the images by a permutation that `seed` draws, at least 0.

    Examples
    --------
    >>> [len(part.labels) for part in split(0)]
    [900, 100, 100, 697]
    """
    digits = load()
    seed = as_count("seed in split", seed, at_least=0)
    order = np.random.default_rng([seed, 0]).permutation(len(digits.labels))
    parts = np.split(order, np.cumsum(list(SIZES.values())))
    return Split(*(Images(digits.x[part], digits.labels[part]) for part in parts))
