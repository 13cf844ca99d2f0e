"""Layers with hand-written gradients; `LAYERS` lists them for the contract suite."""

from lora_ref.layers.base import Layer
from lora_ref.layers.linear import Linear, LinearCache
from lora_ref.layers.lora import LoRACache, LoRALinear

LAYERS: tuple[type[Layer], ...] = (Linear, LoRALinear)

__all__ = ["LAYERS", "Layer", "Linear", "LinearCache", "LoRACache", "LoRALinear"]
