"""The quantities that a claim can name: a quantity is code and knows no claim."""

from lora_ref.claims.quantities import (  # noqa: F401
    arithmetic,
    counts,
    lora_layer,
    matrices,
    models,
    nf4,
    study,
    tasks_and_adapters,
    training,
)
from lora_ref.claims.registry import QUANTITIES

__all__ = ["QUANTITIES"]
