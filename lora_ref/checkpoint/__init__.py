"""Weights and adapters on disk, in the formats that other libraries read."""

from lora_ref.checkpoint.inspection import inspect
from lora_ref.checkpoint.operations import combine, extract, merge
from lora_ref.checkpoint.peft import load_peft, save_peft
from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors

__all__ = [
    "combine",
    "extract",
    "inspect",
    "load_peft",
    "merge",
    "read_safetensors",
    "save_peft",
    "write_safetensors",
]
