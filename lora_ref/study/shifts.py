"""The shifts: what becomes of the images, or of their labels, in the task to adapt to.

===============  ====================================================================
shift            the target task
===============  ====================================================================
``near``         less contrast on a grey ground, ``0.3 x + 0.4``
``middle``       the same after a turn by 30 degrees
``far``          a turn by 90 degrees
``inverted``     ``1 - x``: to keep the first layer's features for every image, W
                 has to become -W, a change of full rank, and the bias to move
``relabelled``   the images stay; every label moves on, ``(label + 1) mod 10``
===============  ====================================================================
"""

from collections.abc import Callable, Mapping

import numpy as np

from lora_ref.checks import Array
from lora_ref.study.digits import CLASSES, SIZE, Images

CONTRAST, GREY = 0.3, 0.4
"""Of the shifts ``near`` and ``middle``."""


def turn(x: Array, degrees: float) -> Array:
    """Turn images, rows of 64, counter-clockwise; bilinear between pixels, black outside.

    Examples
    --------
    >>> corner = np.eye(1, 64)  # the pixel at the top left ...
    >>> int(turn(corner, 90).argmax())  # ... goes to the bottom left
    56
    """
    middle = (SIZE - 1) / 2
    angle = np.deg2rad(degrees)
    row, column = (axis.ravel() - middle for axis in np.indices((SIZE, SIZE)))
    # where each pixel of the turned image comes from; rows count downwards
    from_row = np.cos(angle) * row + np.sin(angle) * column + middle
    from_column = -np.sin(angle) * row + np.cos(angle) * column + middle
    pixels = np.arange(SIZE)
    near_row = np.maximum(1 - np.abs(from_row[:, None] - pixels), 0)  # (64, 8)
    near_column = np.maximum(1 - np.abs(from_column[:, None] - pixels), 0)
    weights = (near_row[:, :, None] * near_column[:, None, :]).reshape(SIZE**2, SIZE**2)
    turned: Array = x @ weights.T.astype(x.dtype)
    return turned


def _grey(x: Array) -> Array:
    return CONTRAST * x + GREY


def _quarter_turn(x: Array) -> Array:
    return np.rot90(x.reshape(-1, SIZE, SIZE), axes=(1, 2)).reshape(x.shape)


SHIFTS: Mapping[str, Callable[[Images], Images]] = {
    "near": lambda images: images._replace(x=_grey(images.x)),
    "middle": lambda images: images._replace(x=_grey(turn(images.x, 30))),
    "far": lambda images: images._replace(x=_quarter_turn(images.x)),
    "inverted": lambda images: images._replace(x=1 - images.x),
    "relabelled": lambda images: images._replace(labels=(images.labels + 1) % CLASSES),
}
"""The shifts by name."""

DEFAULT_SHIFT = "middle"
