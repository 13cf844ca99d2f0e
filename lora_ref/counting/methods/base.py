"""What a method is to a count: what it puts beside the weights, and which of them it trains."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from lora_ref.counting.modules import Kind, Model, Module
from lora_ref.errors import LoraRefError


class Part(NamedTuple):
    """Numbers that a method trains or adds.

    Parameters
    ----------
    name : str
        What they are, such as ``"A"``.
    numbers : int
        How many, in the whole model.
    trained : bool
        Whether the optimiser changes them; what is added and frozen is part of the total alone.
    added : bool
        Whether they come on top of the model; the model's own are in its total already.
    """

    name: str
    numbers: int
    trained: bool = True
    added: bool = True


class Method(ABC):
    """A way to adapt a model, as far as counting goes."""

    name: ClassVar[str]
    """Short name, as on the command line."""

    source: ClassVar[str]
    """The paper that its counts follow."""

    @abstractmethod
    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return what it trains and adds in `model`.

        Raises
        ------
        LoraRefError
            If the model has not what the method needs, such as a targeted module.
        """

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return the modules that it wraps; none for a method that takes no targets."""
        return ()

    def trained_in(self, model: Model, module: Module) -> int:
        """Return how many of the model's own numbers in `module` it trains."""
        return 0


class Targeted(Method):
    """A method that wraps the modules which PEFT-style target names match.

    A subclass is a dataclass with a field `targets`, and says in `parts_of` what one module gets.
    """

    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "embedding", "convolution")
    """Kinds of module that it wraps, the same that PEFT wraps."""

    targets: Sequence[str]

    def __post_init__(self) -> None:
        """Take the targets as a tuple, each once."""
        object.__setattr__(self, "targets", as_names("targets", self.targets))

    @abstractmethod
    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield what one copy of a wrapped module gets."""

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return what all wrapped modules get, by name.

        Raises
        ------
        LoraRefError
            As `targeted`.
        """
        sums: dict[str, Part] = {}
        for module in self.targeted(model):
            for part in self.parts_of(module):
                before = sums[part.name].numbers if part.name in sums else 0
                sums[part.name] = part._replace(numbers=before + module.copies * part.numbers)
        return tuple(sums.values())

    def targeted(self, model: Model) -> tuple[Module, ...]:
        """Return the modules that the targets match.

        Raises
        ------
        LoraRefError
            As `Model.targeted`, and for a kind of module that the method does not wrap.
        """
        modules = model.targeted(self.targets)
        for module in modules:
            if module.kind not in self.kinds:
                raise LoraRefError(
                    f"{model.name}: {module.name} is of kind {module.kind}, and {self.name} wraps "
                    f"{' and '.join(self.kinds)} modules only"
                )
        return modules


class Stack(NamedTuple):
    """Blocks that follow each other."""

    name: str
    blocks: int
    modules: tuple[Module, ...]


def last_stack(model: Model) -> Stack:
    """Return the last stack of blocks: of a model with an encoder and a decoder, the decoder.

    Raises
    ------
    LoraRefError
        If nothing in the model repeats, or if the blocks differ from each other.
    """
    repeated = [module for module in model.modules if "*" in module.name.split(".")]
    if not repeated:
        raise LoraRefError(f"{model.name} has no repeated blocks, expected a * in a module's name")
    name = _before_star(repeated[-1])
    modules = tuple(module for module in repeated if _before_star(module) == name)
    blocks = min(module.copies for module in modules)
    if any(module.copies % blocks for module in modules):
        raise LoraRefError(f"{model.name}: the blocks of {name or '*'} differ from each other")
    return Stack(name or "*", blocks, modules)


def _before_star(module: Module) -> str:
    """Return the path up to the first running number."""
    steps = module.name.split(".")
    return ".".join(steps[: steps.index("*")])


def as_names(what: str, names: object) -> tuple[str, ...]:
    """Return names as a tuple, each once; a single string is refused, not taken apart."""
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise LoraRefError(f"{what} is {names!r}, expected a list or a tuple of names")
    return tuple(dict.fromkeys(names))
