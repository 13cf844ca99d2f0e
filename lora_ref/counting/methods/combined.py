"""Several methods together, and methods that only papers and libraries count."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from lora_ref.counting.methods.base import Method, Part, Targeted
from lora_ref.counting.methods.low_rank import LoRA
from lora_ref.counting.model import Model, Module
from lora_ref.counting.targets import Targets


@dataclass(frozen=True)
class PTuning(Method):
    """A table of tokens, and three linear maps behind it.

    Liu et al., 2021, arXiv 2103.10385, as PEFT builds it with ``encoder_hidden_size=hidden``.
    """

    name: ClassVar[str] = "p-tuning"

    tokens: int
    hidden: int

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the table and the maps."""
        maps = (model.width, self.hidden), (self.hidden, self.hidden), (self.hidden, model.width)
        weights = sum(in_features * out + out for in_features, out in maps)
        return Part("tokens", self.tokens * model.width), Part("maps", weights)


@dataclass(frozen=True)
class OneFactor(LoRA):
    """LoRA with one factor frozen: LoRA-FA trains B alone, MiCA trains A alone.

    Zhang et al., 2023, arXiv 2308.03303, as PEFT's optimiser freezes A; for MiCA arXiv 2604.01694,
    as PEFT's ``init_lora_weights="mica"`` freezes B.
    """

    name: ClassVar[str] = "one-factor"

    trained: Literal["A", "B"] = "B"

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield A and B, one of them frozen."""
        for part in super().parts_of(module):
            yield part._replace(trained=part.name == self.trained)


@dataclass(frozen=True)
class Magnitudes(Targeted):
    """DoRA's magnitudes alone: one for each row of the targets."""

    name: ClassVar[str] = "magnitudes"

    targets: Sequence[str] | str | Targets

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield a magnitude for each row."""
        yield Part("m", module.out_features)


@dataclass(frozen=True)
class Combined(Method):
    """Several methods in one model."""

    name: ClassVar[str] = "combined"

    methods: tuple[Method, ...]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the parts of all methods."""
        return tuple(part for method in self.methods for part in method.parts(model))

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return the modules that any of the methods wraps."""
        return tuple(dict.fromkeys(m for method in self.methods for m in method.targeted(model)))

    def trained_in(self, model: Model, module: Module) -> int:
        """Return how many of the model's own parameters in `module` the methods train."""
        return sum(method.trained_in(model, module) for method in self.methods)
