"""The exercises, one file for each topic, in the order of the notebooks."""

from lora_ref.exercises.topics import (
    adapter_and_dora,
    adapting,
    counts,
    gradients,
    init_and_step,
    multitask,
    quantization,
    rank,
    rounding,
    scaling_and_rates,
    training,
    transformer,
    update,
)

ALL = (
    *adapting.ALL,
    *rank.ALL,
    *update.ALL,
    *gradients.ALL,
    *init_and_step.ALL,
    *scaling_and_rates.ALL,
    *training.ALL,
    *transformer.ALL,
    *adapter_and_dora.ALL,
    *multitask.ALL,
    *quantization.ALL,
    *counts.ALL,
    *rounding.ALL,
)
