"""Methods that add nothing and train some of the model's own parameters."""

from dataclasses import dataclass
from typing import ClassVar

from lora_ref.checks import as_count
from lora_ref.counting.methods.base import Method, Part, last_stack
from lora_ref.counting.model import Model, Module
from lora_ref.errors import LoraRefError


class _Partial(Method):
    """A method that is defined by how many parameters of each module it trains."""

    part: ClassVar[str]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the model's own parameters that are trained."""
        trained = sum(self.trained_in(model, module) for module in model.modules)
        return (Part(self.part, trained, added=False),)


@dataclass(frozen=True)
class Full(_Partial):
    """Full fine-tuning: every parameter, a shared weight once."""

    name: ClassVar[str] = "full"
    part: ClassVar[str] = "weights"

    def trained_in(self, model: Model, module: Module) -> int:
        """Return all parameters of the module."""
        return module.parameters


@dataclass(frozen=True)
class BitFit(_Partial):
    """The biases alone, those of the normalisations included.

    Ben Zaken et al., 2022, arXiv 2106.10199.
    """

    name: ClassVar[str] = "bitfit"
    part: ClassVar[str] = "biases"

    def trained_in(self, model: Model, module: Module) -> int:
        """Return the biases of all copies."""
        return module.biases


@dataclass(frozen=True)
class TopLayers(_Partial):
    """The last few blocks whole; of a model with an encoder and a decoder, those of the decoder.

    FT-Top2 of Li and Liang, 2021, arXiv 2101.00190, and of table 3 of arXiv 2106.09685. The blocks
    of the stack must be equal.
    """

    name: ClassVar[str] = "top"
    part: ClassVar[str] = "blocks"

    blocks: int

    def __post_init__(self) -> None:
        as_count("blocks", self.blocks)

    def trained_in(self, model: Model, module: Module) -> int:
        """Return the share of the copies that stands in the last blocks."""
        stack = last_stack(model)
        if self.blocks > stack.blocks:
            raise LoraRefError(
                f"blocks is {self.blocks}, expected at most {stack.blocks}, those of {stack.name}"
            )
        return module.parameters // stack.blocks * self.blocks if module in stack.modules else 0
