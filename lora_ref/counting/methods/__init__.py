"""The methods whose parameters can be counted, each after its paper."""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.counting.methods.adapters_and_prompts import (
    IA3,
    Adapter,
    Prefix,
    PrefixEmbed,
    PrefixLayer,
)
from lora_ref.counting.methods.base import Method, Part, Targeted
from lora_ref.counting.methods.low_rank import AdaLoRA, DoRA, LoHa, LoKr, LoRA, VeRA
from lora_ref.counting.methods.partial import BitFit, Full, TopLayers

RANKED: Mapping[str, type[LoRA] | type[AdaLoRA]] = MappingProxyType(
    {method.name: method for method in (LoRA, DoRA, VeRA, LoHa, LoKr, AdaLoRA)}
)
"""By name, the methods that are made from a rank and targets."""

__all__ = [
    "IA3",
    "RANKED",
    "AdaLoRA",
    "Adapter",
    "BitFit",
    "DoRA",
    "Full",
    "LoHa",
    "LoKr",
    "LoRA",
    "Method",
    "Part",
    "Prefix",
    "PrefixEmbed",
    "PrefixLayer",
    "Targeted",
    "TopLayers",
    "VeRA",
]
