"""Mistakes easily made, most of which still train, each with the check that catches it.

There are seven kinds. A wrong *backward* is caught by differences, a change *in place* by comparing
copies, a wrong *function* by the formula in plain loops. A look at *later tokens* or at *padding*
shows when these are exchanged, a wrong *start* or *step* by what a first step of training must do.
The code here is wrong on purpose; some causes cite real code that has met the mistake.
``caught_by("scaling-forgotten", rng)`` returns the checks that reject it, and `losses` tells
whether it trains.
"""

from lora_ref.mistakes import (
    attention,
    init_and_step,
    lora_backward,
    lora_function,
    row_wise,
    transformer,
)
from lora_ref.mistakes.mistake import (
    MISTAKES,
    Case,
    Kind,
    Mistake,
    Place,
    caught_by,
    evidence,
    losses,
)

__all__ = [
    "MISTAKES",
    "Case",
    "Kind",
    "Mistake",
    "Place",
    "attention",
    "caught_by",
    "evidence",
    "init_and_step",
    "lora_backward",
    "lora_function",
    "losses",
    "row_wise",
    "transformer",
]
