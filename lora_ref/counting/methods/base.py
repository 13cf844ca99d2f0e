"""`Method`: what counting asks of a way to adapt a model; and the base of those with targets."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import ClassVar, NamedTuple, Self

from lora_ref.counting.model import Kind, Model, Module
from lora_ref.counting.targets import Adapted, Targets, as_targets
from lora_ref.errors import LoraRefError


class Part(NamedTuple):
    """Parameters of one sort, such as ``"A"``, that a method trains or adds."""

    name: str
    parameters: int  # in the whole model
    trained: bool = True  # what is added and frozen counts in the total alone
    added: bool = True  # the model's own parameters are in its total already


class Method(ABC):
    """A way to adapt a model, as far as counting goes."""

    name: ClassVar[str]
    """Short name, as on the command line."""

    @abstractmethod
    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return what the method trains and adds in `model`."""

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return the modules that the method wraps; none for a method without targets."""
        return ()

    def trained_in(self, model: Model, module: Module) -> int:
        """Return how many of the model's own parameters in `module` the method trains."""
        return 0


class Targeted(Method):
    """A method that wraps the modules which its targets mean, as in PEFT.

    A subclass is a dataclass with a field `targets`: names, an expression, or `Targets`. Its
    `parts_of` yields what one module gets.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "embedding", "convolution")
    """Kinds of module that the method wraps, the same that PEFT wraps."""

    grouped: ClassVar[bool] = False
    """Whether it wraps convolutions in groups."""

    targets: Sequence[str] | str | Targets

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", as_targets(self.targets))

    @abstractmethod
    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield what one copy of a wrapped module gets."""

    def by_copies(self, paths: Sequence[str]) -> Iterable[tuple[Self, int]]:
        """Return the settings for the copies of a module, and how many copies have them."""
        return [(self, len(paths))]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return what all wrapped modules get, added up by name."""
        sums: dict[str, Part] = {}
        for module, paths in self._found(model):
            for setting, copies in self.by_copies(paths):
                for part in setting.parts_of(module):
                    before = sums[part.name].parameters if part.name in sums else 0
                    count = before + copies * part.parameters
                    sums[part.name] = part._replace(parameters=count)
        return tuple(sums.values())

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return the modules that the targets match; a kind that is not wrapped is an error."""
        return tuple(adapted.module for adapted in self._found(model))

    def _found(self, model: Model) -> tuple[Adapted, ...]:
        found = as_targets(self.targets).found(model)
        for module, _ in found:
            if module.kind not in self.kinds:
                raise LoraRefError(
                    f"{model.name}: {module.name} is of kind {module.kind}, and {self.name} wraps "
                    f"{' and '.join(self.kinds)} modules only"
                )
            if module.groups > 1 and not self.grouped:
                raise LoraRefError(
                    f"{model.name}: {module.name} is a convolution in {module.groups} groups, "
                    f"which {self.name} does not wrap"
                )
        return found


class Stack(NamedTuple):
    """Equal blocks that follow each other."""

    name: str
    blocks: int
    modules: tuple[Module, ...]


def last_stack(model: Model) -> Stack:
    """Return the last stack of blocks: the decoder of a model with an encoder and a decoder.

    A model in which nothing repeats, or whose blocks differ from each other, is an error.
    """
    repeated = [module for module in model.modules if "*" in module.name]
    if not repeated:
        raise LoraRefError(f"{model.name} has no repeated blocks, expected a * in a module's name")
    before, _, _ = repeated[-1].name.partition("*")
    name = before.rstrip(".") or "*"
    modules = tuple(module for module in repeated if module.name.startswith(before + "*"))
    blocks = min(module.copies for module in modules)
    if any(module.copies % blocks for module in modules):
        raise LoraRefError(f"{model.name}: the blocks of {name} differ from each other")
    return Stack(name, blocks, modules)
