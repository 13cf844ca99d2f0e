"""LoRA in pure NumPy: every gradient written by hand and checked, every number recomputed."""

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import Linear, LoRALinear

__version__ = "0.1.0"

__all__ = ["Linear", "LoRALinear", "LoraRefError", "ShapeError", "__version__"]
