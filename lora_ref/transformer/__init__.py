"""Transformers: blocks, a decoder and an encoder, LoRA on their layers, and text from them."""

from lora_ref.transformer.adapt import merged, with_lora
from lora_ref.transformer.block import Block, BlockCache
from lora_ref.transformer.encoder import Encoder, EncoderCache
from lora_ref.transformer.generation import generate
from lora_ref.transformer.gpt import GPT, GPTCache

__all__ = [
    "GPT",
    "Block",
    "BlockCache",
    "Encoder",
    "EncoderCache",
    "GPTCache",
    "generate",
    "merged",
    "with_lora",
]
