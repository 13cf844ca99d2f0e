"""Methods that add nothing and train some of the model's own numbers."""

from dataclasses import dataclass
from typing import ClassVar

from lora_ref.checks import as_count
from lora_ref.counting.methods.base import Method, Part, last_stack
from lora_ref.counting.modules import Model, Module
from lora_ref.errors import LoraRefError


class _Own(Method):
    """A method that says of every module how many of its numbers are trained."""

    part: ClassVar[str]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the model's own numbers that are trained."""
        numbers = sum(self.trained_in(model, module) for module in model.modules)
        return (Part(self.part, numbers, added=False),)


@dataclass(frozen=True)
class Full(_Own):
    """Full fine-tuning: every number, a shared weight once."""

    name: ClassVar[str] = "full"
    source: ClassVar[str] = "all parameters"
    part: ClassVar[str] = "weights"

    def trained_in(self, model: Model, module: Module) -> int:
        """Return all of it."""
        return own_numbers(module)


@dataclass(frozen=True)
class BitFit(_Own):
    """The biases alone, those of the normalisations among them.

    Ben Zaken et al., 2022, arXiv 2106.10199.
    """

    name: ClassVar[str] = "bitfit"
    source: ClassVar[str] = "Ben Zaken et al., 2022, arXiv 2106.10199"
    part: ClassVar[str] = "biases"

    def trained_in(self, model: Model, module: Module) -> int:
        """Return the biases of all copies."""
        return module.biases


@dataclass(frozen=True)
class TopLayers(_Own):
    """The last k blocks whole: of the decoder, where a model has an encoder before it.

    FT-Top2 of Li and Liang, 2021, arXiv 2101.00190, and of table 3 of arXiv 2106.09685.

    Parameters
    ----------
    k : int
        Blocks.

    Raises
    ------
    LoraRefError
        If `k` is not a whole number of at least 1; in `parts`, if the stack has fewer blocks, or
        blocks that differ.
    """

    name: ClassVar[str] = "top"
    source: ClassVar[str] = "Li and Liang, 2021, arXiv 2101.00190"
    part: ClassVar[str] = "blocks"

    k: int

    def __post_init__(self) -> None:
        """Check the field."""
        as_count("k", self.k)

    def trained_in(self, model: Model, module: Module) -> int:
        """Return the share of the copies that stands in the last k blocks."""
        stack = last_stack(model)
        if self.k > stack.blocks:
            raise LoraRefError(
                f"k is {self.k}, expected at most {stack.blocks}, the blocks of {stack.name}"
            )
        own = own_numbers(module)
        return own // stack.blocks * self.k if module in stack.modules else 0


def own_numbers(module: Module) -> int:
    """Return what a module has of its own: a weight that it shares is counted with its owner."""
    return (0 if module.tied_to else module.weight) + module.biases
