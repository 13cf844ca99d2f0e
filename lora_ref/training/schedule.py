"""Learning-rate schedules: the factor of the learning rate in each step."""

import math

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError


def cosine(step: int, steps: int, *, warmup: int = 0) -> float:
    """Return the factor of the learning rate: a linear rise, then half a cosine down.

    Loshchilov and Hutter, "SGDR", 2017, arXiv 1608.03983, without restarts. `step` counts the steps
    made before this one. The factor rises from ``1 / (warmup + 1)`` at step 0 to 1 at step
    `warmup`, which is below `steps`. It falls to 0 at step `steps`, after the last one.

    Examples
    --------
    >>> [round(cosine(step, 6, warmup=2), 2) for step in range(7)]
    [0.33, 0.67, 1.0, 0.85, 0.5, 0.15, 0.0]
    """
    steps = as_count("steps in cosine", steps)
    step = as_count("step in cosine", step, at_least=0)
    warmup = as_count("warmup in cosine", warmup, at_least=0)
    if step > steps or warmup >= steps:
        raise LoraRefError(
            f"step and warmup in cosine are {step} and {warmup}, "
            f"expected at most {steps} and less than {steps}"
        )
    if step < warmup:
        return (step + 1) / (warmup + 1)
    turned = math.pi * (step - warmup) / (steps - warmup)
    return (1 + math.cos(turned)) / 2
