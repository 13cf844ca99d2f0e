"""The golden cases of `docs/golden`: what each file holds, by its name."""

from collections.abc import Mapping
from typing import NamedTuple

from golden_cases import adamw, adapter, attention, dora, lora, multitask, nf4, norm
from golden_cases.case import Case


class File(NamedTuple):
    """A file of cases, and what it is about."""

    about: str
    cases: tuple[Case, ...]


FILES: Mapping[str, File] = {
    "lora": File("A frozen weight and an update of rank r.", lora.CASES),
    "dora": File("LoRA turns the rows of a weight; a magnitude gives their lengths.", dora.CASES),
    "multitask": File("Several updates on one frozen weight.", multitask.CASES),
    "adapter": File("A bottleneck with an activation, added to the identity.", adapter.CASES),
    "nf4": File("A weight in codes of 4 bits, and a constant for each block.", nf4.CASES),
    "adamw": File("Steps of an optimiser from given gradients.", adamw.CASES),
    "attention": File("Each token takes from the others.", attention.CASES),
    "norm": File("Each row is brought to one size.", norm.CASES),
}
"""Every file, in the order of the page."""
