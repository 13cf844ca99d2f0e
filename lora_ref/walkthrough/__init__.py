"""The article's 4x4 example, step by step, in floating point and in exact arithmetic.

Every quantity stands up to three times: as the article prints it, as a `LoRALinear` computes it in
float64, and as `fractions.Fraction` computes it without the layer, by the formulas for columns that
the article uses. The article ends with the norm of the update, step 9; the input, the target and
the learning rate of the later steps are our own, short enough to follow by hand.
"""

from lora_ref.walkthrough.article import (
    ALPHA,
    EXACT_A,
    EXACT_B,
    EXACT_B_START,
    EXACT_LR,
    EXACT_TARGET,
    EXACT_W0,
    EXACT_X,
    PRINTED_A,
    PRINTED_AB,
    PRINTED_AB_TERMS,
    PRINTED_B,
    PRINTED_B_START,
    PRINTED_NORM,
    PRINTED_W,
    PRINTED_W0,
    R,
    article_layer,
    tiled,
)
from lora_ref.walkthrough.passes import Pass, exact_pass, layer_pass
from lora_ref.walkthrough.steps import Part, Root, Step, all_steps
from lora_ref.walkthrough.text import format_step, step_as_dict

__all__ = [
    "ALPHA",
    "EXACT_A",
    "EXACT_B",
    "EXACT_B_START",
    "EXACT_LR",
    "EXACT_TARGET",
    "EXACT_W0",
    "EXACT_X",
    "PRINTED_A",
    "PRINTED_AB",
    "PRINTED_AB_TERMS",
    "PRINTED_B",
    "PRINTED_B_START",
    "PRINTED_NORM",
    "PRINTED_W",
    "PRINTED_W0",
    "Part",
    "Pass",
    "R",
    "Root",
    "Step",
    "all_steps",
    "article_layer",
    "exact_pass",
    "format_step",
    "layer_pass",
    "step_as_dict",
    "tiled",
]
