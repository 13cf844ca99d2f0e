"""What the property tests draw: sizes and a seed, never floats.

Hypothesis then shrinks a failure to the smallest matrices, and the numbers in them stay ordinary.
"""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from lora_ref.arrays import Array
from lora_ref.layers import LoRALinear

sizes = st.integers(1, 6)
"""Rows, widths and ranks."""

seeds = st.integers(0, 2**32 - 1)
"""For `numpy.random.default_rng`."""

alphas = st.sampled_from([1.0, 3.0, 16.0, -2.0])
"""Strengths, one of them with the sign that nobody expects."""


@st.composite
def two_sizes(draw: st.DrawFn, at_least: int = 1) -> tuple[int, int]:
    """Return two sizes that differ: the second steps over the first.

    A filter would do, but each draw would make a new one, and Hypothesis parses its source.
    """
    one, other = (
        draw(st.integers(at_least, at_least + 5)),
        draw(st.integers(at_least, at_least + 4)),
    )
    return one, other + (other >= one)


@st.composite
def lora_problems(
    draw: st.DrawFn, *, at_least: int = 1, dtype: DTypeLike = np.float64, **options: Any
) -> tuple[LoRALinear, Array, np.random.Generator]:
    """Return a LoRA layer, rows for it, and a generator for whatever else a test needs.

    W0 is never square, r may exceed both widths, and bias and rank-stabilised scaling come and go.
    B is never zero: a zero B hides a wrong gradient of A.

    Parameters
    ----------
    at_least : int
        The smallest number of rows, columns and ranks.
    dtype
        Of every array.
    **options
        Fields of the layer that are not to be drawn: ``alpha``, ``bias``, ``rank_stabilised``.
    """
    size = st.integers(at_least, at_least + 5)
    in_features, out_features = draw(two_sizes(at_least))
    n, r, rng = draw(size), draw(size), np.random.default_rng(draw(seeds))

    def normal(*shape: int) -> Array:
        return rng.standard_normal(shape).astype(dtype)

    given = {
        "alpha": draw(alphas),
        "bias": normal(out_features) if draw(st.booleans()) else None,
        "rank_stabilised": draw(st.booleans()),
    }
    W0, A, B = (
        normal(*shape)
        for shape in ((out_features, in_features), (r, in_features), (out_features, r))
    )
    return LoRALinear(W0, A, B, **{**given, **options}), normal(n, in_features), rng
