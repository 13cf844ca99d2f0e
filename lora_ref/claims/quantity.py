"""What a quantity is: a function whose signature says which keys a file may give it."""

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    NamedTuple,
    TypeAlias,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)

MOST = 10**12  # the largest whole number that a quantity takes, such as a width
FEW = 1024  # the largest of which arrays are made, or so many steps trained


class Kind(NamedTuple):
    """What may stand at a key of a file."""

    name: str  # decides how the reader converts the value
    description: str  # the end of a sentence such as "rank needs the key of: ..."
    sweeps: bool = False  # whether a list of such values stands for several computations
    limits: tuple[int, int] = (0, 0)  # of a whole number


class Returns(NamedTuple):
    """What a quantity returns, and the words of the vocabulary page for it."""

    name: Literal["number", "numbers", "matrix", "shape", "finding"]
    description: str


Matrix: TypeAlias = Annotated[Any, Kind("matrix", 'names of matrices, such as "W0" or "B A"')]
Own: TypeAlias = Annotated[Matrix, "where the key is left out, the matrix of that name"]
Terms: TypeAlias = Annotated[Any, Kind("terms", 'a list of such texts, such as ["W0", "B A"]')]
Count: TypeAlias = Annotated[int, Kind("count", "a whole number of at least 1", True, (1, MOST))]
Whole: TypeAlias = Annotated[int, Kind("whole", "a whole number of at least 0", True, (0, MOST))]
Few: TypeAlias = Annotated[int, Kind("few", "a whole number from 1 to 1,024", True, (1, FEW))]
Steps: TypeAlias = Annotated[int, Kind("steps", "a whole number from 0 to 1,024", True, (0, FEW))]
Number: TypeAlias = Annotated[
    Any,
    Kind(
        "number",
        'a number such as 2, 0.5 or "1/3", the name of a derived number, or a table of a quantity',
        True,
    ),
]
Values: TypeAlias = Annotated[
    Any, Kind("values", "a list of numbers such as [4, 16, 64], taken together")
]
Flag: TypeAlias = Annotated[bool, Kind("flag", "true or false")]
Shapes: TypeAlias = Annotated[Any, Kind("shapes", 'a list of shapes, such as ["4 x 2", "2 x 4"]')]
Names: TypeAlias = Annotated[Any, Kind("names", 'a list of names, such as ["q_proj", "v_proj"]')]
TargetNames: TypeAlias = Annotated[
    Any, Kind("targets", 'a list of names, such as ["q_proj", "v_proj"], or "all-linear"')
]
Name: TypeAlias = Annotated[str, Kind("name", 'a name, such as "gpt2"', True)]

OneNumber: TypeAlias = Annotated[Any, Returns("number", "a number")]
Numbers: TypeAlias = Annotated[Any, Returns("numbers", "a list of numbers")]
OneMatrix: TypeAlias = Annotated[Any, Returns("matrix", "a matrix or vector")]
Shape: TypeAlias = Annotated[Any, Returns("shape", "a shape")]
StudyFinding: TypeAlias = Annotated[Any, Returns("finding", "nothing: the study's rule decides")]


@dataclass(frozen=True)
class Parameter:
    """A key that a quantity takes."""

    key: str  # as a file writes it
    argument: str  # of the Python function
    kind: Kind
    required: bool
    default: Any = None  # where the key is left out; for a matrix, the name of one
    words: tuple[str, ...] = ()  # to choose from, if the kind is a word


@dataclass(frozen=True)
class Quantity:
    """A name of the vocabulary: what it means, which keys it takes, how it is computed."""

    name: str
    topic: str
    meaning: str
    parameters: tuple[Parameter, ...]
    returns: Returns
    compute: Callable[..., Any]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that it takes."""
        return tuple(parameter.key for parameter in self.parameters)


def quantities_of(module: ModuleType) -> Iterator[Quantity]:
    """Yield a module's quantities: its functions that return one of the kinds above."""
    for function in vars(module).values():
        if inspect.isfunction(function) and function.__module__ == module.__name__:
            returned = get_type_hints(function, include_extras=True).get("return")
            if any(isinstance(one, Returns) for one in get_args(returned)):
                yield quantity_of(function, module.TOPIC)


def quantity_of(function: Callable[..., Any], topic: str) -> Quantity:
    """Return a function as a quantity.

    The name is the function's, with hyphens. Each annotation is one of the kinds above or a
    ``Literal`` of words; the return annotation says what is to be printed. The docstring is what
    the vocabulary page shows.
    """
    hints = get_type_hints(function, include_extras=True)
    (returns,) = get_args(hints.pop("return"))[1:]
    parameters = tuple(
        _parameter(parameter, hints[name])
        for name, parameter in inspect.signature(function).parameters.items()
    )
    name = function.__name__.rstrip("_").replace("_", "-")
    text = " ".join((function.__doc__ or "").split())
    meaning = text.removeprefix("Return ").removesuffix(".")
    return Quantity(name, topic, meaning, parameters, returns, function)


def _parameter(parameter: inspect.Parameter, hint: Any) -> Parameter:
    required = parameter.default is inspect.Parameter.empty
    default = None if required else parameter.default
    if get_origin(hint) in (Union, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    key = parameter.name.rstrip("_")
    if get_origin(hint) is Literal:
        kind, words = Kind("word", "one of the words listed", True), get_args(hint)
        return Parameter(key.replace("_", "-"), parameter.name, kind, required, default, words)
    kind, *own = get_args(hint)[1:]
    if own:
        required, default = False, key
    if kind.name != "matrix":
        key = key.replace("_", "-")
    return Parameter(key, parameter.name, kind, required, default)
