"""The update of one weight in everybody's layout: `LAYOUTS` lists them, and each converts.

Two layouts differ in the names of the factors, in the order of their axes, in the number that is
kept beside them, and in how the weight lies. A product ``x @ a @ b`` of factors (in, r) and (r,
out) is ``B @ A`` transposed; an x in columns changes no stored array. The page
``docs/conventions.md`` has them side by side. A whole adapter in PEFT's files is
`lora_ref.checkpoint.load_peft`.
"""

from lora_ref.checkpoint.conventions.fused_qkv import joined
from lora_ref.checkpoint.conventions.known_layouts import LAYOUTS
from lora_ref.checkpoint.conventions.layout import Layout, Place
from lora_ref.checkpoint.conventions.update import Update

__all__ = ["LAYOUTS", "Layout", "Place", "Update", "joined"]
