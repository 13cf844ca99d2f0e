"""Layers with hand-written gradients; `LAYERS` lists them for the contract suite."""

from lora_ref.layers.activation import Activation
from lora_ref.layers.adapter import Adapter, AdapterCache
from lora_ref.layers.attention import Attention, AttentionCache
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import Composite
from lora_ref.layers.dora import DoRACache, DoRALinear
from lora_ref.layers.embedding import Embedding, EmbeddingCache
from lora_ref.layers.linear import Linear, LinearCache
from lora_ref.layers.lora import LoRACache, LoRALinear
from lora_ref.layers.low_rank import LowRankLayer
from lora_ref.layers.multitask import BASE, MultiTaskCache, MultiTaskLoRA
from lora_ref.layers.norm import LayerNorm, RMSNorm
from lora_ref.layers.qlora import QLoRALinear

LAYERS: tuple[type[Layer], ...] = (
    Linear,
    LoRALinear,
    DoRALinear,
    QLoRALinear,
    MultiTaskLoRA,
    Adapter,
    Activation,
    LayerNorm,
    RMSNorm,
    Embedding,
    Attention,
)

__all__ = [
    "BASE",
    "LAYERS",
    "Activation",
    "Adapter",
    "AdapterCache",
    "Attention",
    "AttentionCache",
    "Composite",
    "DoRACache",
    "DoRALinear",
    "Embedding",
    "EmbeddingCache",
    "Layer",
    "LayerNorm",
    "Linear",
    "LinearCache",
    "LoRACache",
    "LoRALinear",
    "LowRankLayer",
    "MultiTaskCache",
    "MultiTaskLoRA",
    "QLoRALinear",
    "RMSNorm",
]
