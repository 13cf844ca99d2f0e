"""The exercises, one file for each topic, in the order of the notebooks."""

from lora_ref.exercises.topics import (
    adapter_and_dora,
    counts,
    gradients,
    init_and_step,
    multitask,
    quantization,
    rank,
    rounding,
    update,
)

NOTEBOOKS = (rank, update, gradients, init_and_step, adapter_and_dora, multitask, quantization)
ALL = tuple(one for topic in (*NOTEBOOKS, counts, rounding) for one in topic.ALL)
