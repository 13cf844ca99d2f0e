"""What the functions of this folder ask of their arguments."""

import numpy as np

from lora_ref.arrays import (
    Array,
    as_finite,
    check_float,
    check_same_axes,
)
from lora_ref.errors import LoraRefError


def check_like(what: str, array: object, like: Array) -> None:
    """Raise unless `array` has the shape and dtype of `like`."""
    check_float(what, array, like.dtype)
    check_same_axes(what, np.asarray(array), like.shape)


def as_share(what: str, value: float) -> float:
    """Return a number of at least 0 and below 1, or say why it is none."""
    number = as_finite(what, value)
    if not 0 <= number < 1:
        raise LoraRefError(f"{what} is {number}, expected a number of at least 0 and below 1")
    return number
