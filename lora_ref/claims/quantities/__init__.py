"""The quantities that a claim can name: a quantity is code and knows no claim."""

from collections.abc import Mapping

from lora_ref.claims.quantities import (
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
from lora_ref.claims.quantity import Quantity, quantities_of

_MODULES = (
    arithmetic, counts, lora_layer, matrices, models, nf4, study, tasks_and_adapters, training,
)  # fmt: skip

QUANTITIES: Mapping[str, Quantity] = {
    found.name: found for module in _MODULES for found in quantities_of(module)
}
"""Every quantity by name."""
