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
    *training.ALL,
    *transformer.ALL,
    *adapter_and_dora.ALL,
    *multitask.ALL,
    *quantization.ALL,
    *counts.ALL,
    *rounding.ALL,
)
