"""Published models as data: the sizes of every matrix, the names of the checkpoints.

A family is a function from sizes to modules; a model is a call of it. Names are those of the
Hugging Face checkpoints, so that what PEFT targets there can be targeted here. Task heads are left
out, except the head of a causal language model, which is part of its pre-training.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.counting.models.encoders import bert, deberta, distilbert
from lora_ref.counting.models.gpt import gpt2, opt
from lora_ref.counting.models.llama import decoder, phi
from lora_ref.counting.models.others import mlp, vit, whisper
from lora_ref.counting.models.published import MODELS
from lora_ref.counting.models.t5 import t5
from lora_ref.counting.modules import Model
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest_or_all

__all__ = [
    "ARCHITECTURES",
    "architecture",
    "bert",
    "deberta",
    "decoder",
    "distilbert",
    "gpt2",
    "mlp",
    "opt",
    "phi",
    "t5",
    "vit",
    "whisper",
]

ARCHITECTURES: Mapping[str, Model] = MappingProxyType({model.name: model for model in MODELS})
"""Published models by short name."""


def architecture(name: str) -> Model:
    """Return the published model of that short name.

    Raises
    ------
    LoraRefError
        For an unknown name, with the nearest ones.

    Examples
    --------
    >>> f"{architecture('llama-7b').total:,}"
    '6,738,415,616'
    >>> architecture("lama-7b")
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: there is no model 'lama-7b'; the nearest: llama-7b, ...
    """
    if name in tuple(ARCHITECTURES):
        return ARCHITECTURES[name]
    hint = nearest_or_all(name, ARCHITECTURES)
    raise LoraRefError(f"there is no model {name!r}{hint}")
