"""The article's 4x4 example, step by step, in floating point and in exact arithmetic.

Every quantity stands up to three times: as the article prints it, as a `LoRALinear` computes it in
float64, and as `fractions.Fraction` computes it without the layer, by the formulas for columns that
the article uses. The article ends with the norm of the update, step 9; the input, the target and
the learning rate of the later steps are our own, short enough to follow by hand.
"""

from lora_ref.walkthrough.example import (
    ALPHA,
    EXACT,
    PRINTED,
    Pass,
    R,
    article_layer,
    exact_pass,
    layer_pass,
    tiled,
)
from lora_ref.walkthrough.steps import Part, Root, Step, all_steps
from lora_ref.walkthrough.text import format_step, step_as_dict

__all__ = [
    "ALPHA",
    "EXACT",
    "PRINTED",
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
