"""One update of a weight that is made of parts, such as q, k and v above one another.

loralib's ``MergedLinear`` computes it by a grouped convolution; as matrices it is plain::

    B = [[B_q, 0  ],        A = [[A_q],
         [0,   0  ],             [A_v]]
         [0,   B_v]]

So the rank is the sum, and the scaling is still that of one part: alpha over the rank of one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lora_ref.checkpoint.conventions.update import Update
from lora_ref.checks import as_count, check_array
from lora_ref.errors import LoraRefError, ShapeError


def joined(parts: Sequence[Update | int]) -> Update:
    """Return the update of the whole weight; an int is a part of so many outputs without one.

    Examples
    --------
    >>> q, v = (Update(np.full((1, 3), a), np.ones((2, 1)), scaling=2.0) for a in (1.0, 5.0))
    >>> joined([q, 1, v]).delta_w
    array([[ 2.,  2.,  2.],
           [ 2.,  2.,  2.],
           [ 0.,  0.,  0.],
           [10., 10., 10.],
           [10., 10., 10.]])
    """
    updates = [part for part in parts if isinstance(part, Update)]
    if not updates:
        raise LoraRefError("joined is given no update, expected one at least")
    first = updates[0]
    for one in updates:
        if one.magnitude is not None:
            raise LoraRefError("joined is given an update with a magnitude, expected one without")
        if one.scaling != first.scaling:
            raise LoraRefError(
                f"joined is given updates of scaling {first.scaling} and {one.scaling}, expected "
                "one scaling, since one number is kept; Update.rescaled changes it"
            )
        axes = {"r": first.r, "in_features": first.A.shape[1]}
        check_array("A of a part", one.A, dtype=first.A.dtype, **axes)
    heights = [
        len(part.B) if isinstance(part, Update) else as_count("a part without an update", part)
        for part in parts
    ]
    B = np.zeros((sum(heights), first.r * len(updates)), first.B.dtype)
    row = column = 0
    for part, height in zip(parts, heights, strict=True):
        if isinstance(part, Update):
            B[row : row + height, column : column + first.r] = part.B
            column += first.r
        row += height
    return Update(np.concatenate([one.A for one in updates]), B, first.scaling)


def split(
    update: Update, widths: Sequence[int], enable: Sequence[bool]
) -> tuple[Update | int, ...]:
    """Return what `joined` was given, from widths of the parts and which of them have an update.

    Raises
    ------
    ShapeError
        Where the widths are not those of B, or the rank is no multiple of the number of updates.
    LoraRefError
        Where B is not zero outside the blocks: then it was not joined from parts.
    """
    count = sum(enable)
    if sum(widths) != len(update.B):
        wanted = " + ".join(map(str, widths))
        raise ShapeError(f"the update has {len(update.B)} outputs, expected {wanted}, as its parts")
    if update.r % count:
        raise ShapeError(
            f"the update has rank {update.r}, expected a multiple of {count}, the number of parts "
            "with an update: all have one rank"
        )
    r, row, column = update.r // count, 0, 0
    parts = list[Update | int]()
    for width, enabled in zip(widths, enable, strict=True):
        if enabled:
            own = slice(column, column + r)
            B = update.B[row : row + width, own]
            parts.append(Update(update.A[own].copy(), B.copy(), update.scaling))
            column += r
        else:
            parts.append(width)
        row += width
    outside = np.argwhere(joined(parts).B != update.B)
    if len(outside):
        o, q = (int(i) for i in outside[0])
        raise LoraRefError(
            f"B holds {float(update.B[o, q])} at ({o}, {q}), expected 0 outside the blocks of the "
            "parts: a whole update is cut by its rows, and put together with joined"
        )
    return tuple(parts)
