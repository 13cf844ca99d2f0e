"""LoRA in pure NumPy: every gradient written by hand and checked, every number recomputed."""

from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError, ShapeError

if TYPE_CHECKING:
    from lora_ref.layers import Linear, LoRALinear

__version__ = "0.2.0"

__all__ = ["Linear", "LoRALinear", "LoraRefError", "ShapeError", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the layers when one is first asked for: the bare import stays instant."""
    if name in ("Linear", "LoRALinear"):
        from lora_ref import layers

        return getattr(layers, name)
    raise AttributeError(f"module 'lora_ref' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
