"""Published models as data: the names and shapes of all modules, as in the checkpoints.

A family is a function from sizes to a `Model`, such as ``gpt2(768, 12)``: `width` is that of the
residual stream, `feed_forward` that of the layer inside a block, `vocabulary` the entries of the
token table, `positions` those of a table of positions. Modules have the names of the Hugging Face
checkpoints, so the targets of PEFT are targets here. Heads for a task are left out, except the head
of a causal language model, which is part of its pre-training.
"""

from lora_ref.counting.models.encoders import bert, deberta, distilbert
from lora_ref.counting.models.gpt import gpt2, opt
from lora_ref.counting.models.llama import llama, phi
from lora_ref.counting.models.others import mlp, vit, whisper
from lora_ref.counting.models.published import MODELS, get_model
from lora_ref.counting.models.t5 import t5

__all__ = [
    "MODELS",
    "bert",
    "deberta",
    "distilbert",
    "get_model",
    "gpt2",
    "llama",
    "mlp",
    "opt",
    "phi",
    "t5",
    "vit",
    "whisper",
]
