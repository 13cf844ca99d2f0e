"""Counts of parameters, multiply-adds and bytes, of one layer and of published models."""

from lora_ref.counting.byte_sizes import (
    DTYPES,
    UNITS,
    Size,
    SizeExplanation,
    explain_size,
    sizes_of,
)
from lora_ref.counting.cost import (
    OPTIMIZER_STATES,
    MultiplyAdds,
    TrainingMemory,
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
from lora_ref.counting.explain import Explanation, closest, explain, other_ranks
from lora_ref.counting.methods.adapters_and_prompts import (
    IA3,
    Adapter,
    Prefix,
    PrefixEmbed,
    PrefixLayer,
)
from lora_ref.counting.methods.base import Method, Part
from lora_ref.counting.methods.low_rank import (
    LOW_RANK_METHODS,
    AdaLoRA,
    DoRA,
    LoHa,
    LoKr,
    LoRA,
    VeRA,
)
from lora_ref.counting.methods.partial import BitFit, Full, TopLayers
from lora_ref.counting.model import Model, Module
from lora_ref.counting.models import MODELS, get_model
from lora_ref.counting.parameters import (
    ITEMSIZES,
    ParameterCount,
    checkpoint_bytes,
    count_parameters,
    training_memory,
)
from lora_ref.counting.rules import RULES
from lora_ref.counting.targets import Targets

__all__ = [
    "DTYPES",
    "IA3",
    "ITEMSIZES",
    "LOW_RANK_METHODS",
    "MODELS",
    "OPTIMIZER_STATES",
    "RULES",
    "UNITS",
    "AdaLoRA",
    "Adapter",
    "BitFit",
    "DoRA",
    "Explanation",
    "Full",
    "LoHa",
    "LoKr",
    "LoRA",
    "Method",
    "Model",
    "Module",
    "MultiplyAdds",
    "ParameterCount",
    "Part",
    "Prefix",
    "PrefixEmbed",
    "PrefixLayer",
    "Size",
    "SizeExplanation",
    "Targets",
    "TopLayers",
    "TrainingMemory",
    "VeRA",
    "adapter_params",
    "break_even_rank",
    "checkpoint_bytes",
    "closest",
    "count_parameters",
    "explain",
    "explain_size",
    "forming_multiply_adds",
    "full_bytes",
    "full_multiply_adds",
    "full_params",
    "get_model",
    "lora_bytes",
    "lora_multiply_adds",
    "lora_params",
    "merged_multiply_adds",
    "other_ranks",
    "several_tasks_params",
    "sizes_of",
    "training_memory",
]
