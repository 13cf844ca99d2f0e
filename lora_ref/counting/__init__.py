"""How many: parameters, multiply-adds and bytes, of one layer and of published models."""

from lora_ref.counting.layer import (
    OPTIMISER_STATES,
    MultiplyAdds,
    TrainingBytes,
    adapter_params,
    break_even_rank,
    forming_multiply_adds,
    full_bytes,
    full_multiply_adds,
    full_params,
    lora_bytes,
    lora_multiply_adds,
    lora_params,
    merged_multiply_adds,
    several_tasks_params,
)
from lora_ref.counting.model import Model, Module

__all__ = [
    "OPTIMISER_STATES",
    "Model",
    "Module",
    "MultiplyAdds",
    "TrainingBytes",
    "adapter_params",
    "break_even_rank",
    "forming_multiply_adds",
    "full_bytes",
    "full_multiply_adds",
    "full_params",
    "lora_bytes",
    "lora_multiply_adds",
    "lora_params",
    "merged_multiply_adds",
    "several_tasks_params",
]
