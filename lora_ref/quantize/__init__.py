"""Quantisation: weights in 4 or 8 bits, as codes and one scale for each block of values.

All kinds work alike. A block is divided by its largest magnitude, its absmax, so that it lies in
[-1, 1]. Each value is stored as the index of the nearest of a few fixed levels. To read a value
back, multiply the level by the absmax. The kinds differ only in their levels:

``nf4``
    16 quantiles of a normal distribution: NormalFloat, of QLoRA (Dettmers et al., 2023,
    arXiv 2305.14314). The values are derived in `nf4_levels`, not copied.
``int4``
    The integers from -7 to 7, divided by 7. Symmetric: -8 is left out, and one code in 16 unused.
``int8``
    The integers from -127 to 127, divided by 127; one code in 256 is unused.

A code is an index into the levels, so the integer of ``int4`` is its code minus 7.
"""

from lora_ref.quantize.array import ABSMAX_BLOCK, QuantizedArray, bits_per_weight, quantize
from lora_ref.quantize.levels import NF4_BLOCK, NF4_OFFSET, Kind, levels_of, nf4_levels

__all__ = [
    "ABSMAX_BLOCK",
    "NF4_BLOCK",
    "NF4_OFFSET",
    "Kind",
    "QuantizedArray",
    "bits_per_weight",
    "levels_of",
    "nf4_levels",
    "quantize",
]
