"""Checks that can fail: gradients by differences, pure passes, formula, masks, a first step."""

from lora_ref.gradcheck.differences import (
    EXACT_STEP,
    EXACT_TOLERANCE,
    SMOOTH_STEP,
    SMOOTH_TOLERANCE,
    GradientCheckWarning,
    gradient_errors,
    numerical_gradients,
    vjp_errors,
)
from lora_ref.gradcheck.init_and_step import property_errors, sgd_step
from lora_ref.gradcheck.masking import later_token_errors, padding_errors
from lora_ref.gradcheck.passes import in_place_changes
from lora_ref.gradcheck.reference import formula_errors, lora_by_loops

__all__ = [
    "EXACT_STEP",
    "EXACT_TOLERANCE",
    "SMOOTH_STEP",
    "SMOOTH_TOLERANCE",
    "GradientCheckWarning",
    "formula_errors",
    "gradient_errors",
    "in_place_changes",
    "later_token_errors",
    "lora_by_loops",
    "numerical_gradients",
    "padding_errors",
    "property_errors",
    "sgd_step",
    "vjp_errors",
]
