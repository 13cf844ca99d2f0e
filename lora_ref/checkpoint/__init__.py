"""Weights and adapters on disk, in the formats that other libraries read."""

from lora_ref.checkpoint.inspection import inspect
from lora_ref.checkpoint.operations import combine, convert_from, convert_to, extract, merge
from lora_ref.checkpoint.peft import load_peft, save_peft
from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors

__all__ = [
    "combine",
    "convert_from",
    "convert_to",
    "extract",
    "inspect",
    "load_peft",
    "merge",
    "read_safetensors",
    "save_peft",
    "write_safetensors",
]
