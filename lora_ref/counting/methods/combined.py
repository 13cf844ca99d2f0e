"""Methods beside each other, and two that papers and libraries put beside another one."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from lora_ref.counting.methods.base import Method, Part, Targeted
from lora_ref.counting.methods.low_rank import DoRA
from lora_ref.counting.modules import Model, Module


@dataclass(frozen=True)
class PTuning(Method):
    """A table of tokens, and three linear maps behind it.

    Liu et al., 2021, arXiv 2103.10385, as PEFT builds it with ``encoder_hidden_size=hidden``.
    """

    name: ClassVar[str] = "p-tuning"
    source: ClassVar[str] = "Liu et al., 2021, arXiv 2103.10385"

    tokens: int
    hidden: int

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the table and the maps."""
        maps = (model.width, self.hidden), (self.hidden, self.hidden), (self.hidden, model.width)
        weights = sum(into * out + out for into, out in maps)
        return Part("tokens", self.tokens * model.width), Part("maps", weights)


@dataclass(frozen=True)
class Magnitudes(Targeted):
    """DoRA's magnitudes alone: a number for each row of the targets."""

    name: ClassVar[str] = "magnitudes"
    source: ClassVar[str] = DoRA.source

    targets: tuple[str, ...]

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield a number for each row."""
        yield Part("m", module.out_features)


@dataclass(frozen=True)
class Together(Method):
    """Methods beside each other."""

    name: ClassVar[str] = "several"
    source: ClassVar[str] = ""

    methods: tuple[Method, ...]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the parts of all."""
        return tuple(part for method in self.methods for part in method.parts(model))

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return what any of them wraps."""
        return tuple(dict.fromkeys(m for method in self.methods for m in method.targeted(model)))

    def trained_in(self, model: Model, module: Module) -> int:
        """Return how many of the model's own numbers they train."""
        return sum(method.trained_in(model, module) for method in self.methods)
