"""Changes the tokens that a mask has to hide, and measures how far y moves.

No difference quotient finds a mask that lets too much through: such a layer is another function,
and its backward may be that function's own.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array
from lora_ref.gradcheck.reference import relative_error
from lora_ref.layers.base import Layer


def later_token_errors(
    layer: Layer, x: Any, rng: np.random.Generator, **keywords: Any
) -> dict[str, float]:
    """Return how far y moves when the tokens after it are exchanged.

    Parameters
    ----------
    layer : Layer
        One that is meant to be causal.
    x : ndarray of shape (..., tokens, features), or integers of shape (..., tokens)
        At least two tokens, and not all the same.
    rng : numpy.random.Generator
        Draws what stands in place of later tokens.
    **keywords
        For the forward pass.

    Returns
    -------
    dict of str to float
        ``later tokens``: the largest change of y, relative to its size; `TOLERANCE` of
        `lora_ref.gradcheck.reference` and less if nobody looks ahead.
    """
    y, _ = layer.forward(x, **keywords)
    other, worst = _others(x, rng), 0.0
    along = x.ndim - 1 if x.dtype.kind in "iu" else x.ndim - 2  # the axis of the tokens
    place = np.arange(x.shape[along]).reshape(-1, *(1,) * (x.ndim - 1 - along))
    for last in range(x.shape[along] - 1):
        changed, _ = layer.forward(np.where(place > last, other, x), **keywords)
        here = (slice(None),) * along + (slice(last + 1),)
        worst = max(worst, relative_error(changed[here], y[here]))
    return {"later tokens": worst}


def padding_errors(
    layer: Layer, x: Any, rng: np.random.Generator, *, attention_mask: NDArray[np.bool]
) -> dict[str, float]:
    """Return how far y moves when the padding is exchanged.

    Parameters
    ----------
    layer : Layer
        One that takes an `attention_mask`.
    x, rng
        As in `later_token_errors`.
    attention_mask : bool ndarray of shape (..., tokens)
        True for tokens, False for padding, of which there is some.

    Returns
    -------
    dict of str to float
        ``padding``: the change of y, relative to its size. Where y has a row for each token, the
        rows of padding do not count.
    """
    forward: Any = layer.forward
    y, _ = forward(x, attention_mask=attention_mask)
    kept = attention_mask if x.dtype.kind in "iu" else attention_mask[..., None]
    changed, _ = forward(np.where(kept, x, _others(x, rng)), attention_mask=attention_mask)
    if y.shape[:-1] == attention_mask.shape:
        y, changed = y[attention_mask], changed[attention_mask]
    return {"padding": relative_error(changed, y)}


def _others(x: Any, rng: np.random.Generator) -> Array:
    """Return other tokens than those of x, from among them; or other rows."""
    if x.dtype.kind not in "iu":
        return np.asarray(rng.standard_normal(x.shape))
    known = np.unique(x)
    steps = rng.integers(1, len(known), x.shape)  # to another one: not all the way round
    others: Array = known[(np.searchsorted(known, x) + steps) % len(known)]
    return others
