"""The two counts that everybody prints, trainable and total, and what follows from them.

With no rule every parameter counts once: trainable is what the method trains and the modules that
are saved, the total is the model and what the method adds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from lora_ref.counting.cost import states_of
from lora_ref.counting.methods import Full, Method, Part
from lora_ref.counting.methods.base import as_names
from lora_ref.counting.modules import Model, Module
from lora_ref.counting.rules import Case, Rule, added_by, numbers_of, rule
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

ITEMSIZES: Mapping[str, int] = MappingProxyType(
    {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1}
)
"""Bytes of a number by dtype."""


@dataclass(frozen=True)
class Tally:
    """What is trained, out of how much.

    Parameters
    ----------
    model : Model
        What is adapted.
    method : Method
        How.
    trainable : int
        Numbers that the optimiser changes, as the rules count them.
    total : int
        All numbers, as the rules count them.
    parts : tuple of Part
        What the method trains and adds, and the saved modules, before any rule.
    rules : tuple of str
        The rules that were applied.
    """

    model: Model
    method: Method
    trainable: int
    total: int
    parts: tuple[Part, ...]
    rules: tuple[str, ...] = ()

    @property
    def share(self) -> Fraction:
        """Trainable divided by total."""
        return Fraction(self.trainable, self.total)

    def __str__(self) -> str:
        """Return the line that PEFT's ``print_trainable_parameters`` prints."""
        return (
            f"trainable params: {self.trainable:,} || all params: {self.total:,} || "
            f"trainable%: {100 * self.trainable / self.total:.4f}"
        )


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training holds whatever the batch: activations depend on it and are left out."""

    weights: int
    gradients: int
    optimizer: int

    @property
    def total(self) -> int:
        """All three."""
        return self.weights + self.gradients + self.optimizer


def tally(
    model: Model, method: Method, *, saved: Sequence[str] = (), rules: Sequence[str] = ()
) -> Tally:
    """Count what a method trains in a model.

    Parameters
    ----------
    model : Model
        A published model, or one's own.
    method : Method
        Such as ``LoRA(8, ["q_proj", "v_proj"])``.
    saved : sequence of str
        Modules that are trained whole beside it, PEFT's ``modules_to_save``: the end of a module's
        path, or of the path of what it stands in.
    rules : sequence of str
        Names in `lora_ref.counting.rules.RULES`; none counts every parameter once.

    Returns
    -------
    Tally
        With ``trainable``, ``total``, their ``share`` and the ``parts``.

    Raises
    ------
    LoraRefError
        For names that match nothing, a module that is both saved and targeted, unknown rules, two
        rules that contradict each other, and rules under which nothing is left to count.

    Examples
    --------
    >>> from lora_ref.counting.methods import LoRA
    >>> up, down = Module("up", "linear", (64, 16), 64), Module("down", "linear", (16, 64), 16)
    >>> mlp = Model("mlp", "", "", (up, down), width=16, blocks=1)
    >>> counted = tally(mlp, LoRA(2, ["up"]), saved=["down"])
    >>> counted.trainable, counted.total, counted.share
    (1200, 2288, Fraction(75, 143))
    >>> tally(mlp, LoRA(2, ["up"]), saved=["down"], rules=["saved-twice"]).total - counted.total
    1040
    """
    case = as_case(model, method, saved)
    parts = _parts(case)
    trainable = sum(part.numbers for part in parts if part.trained)
    total = model.total + added_by(method, model)
    chosen: list[Rule] = []
    for name in as_names("rules", rules):
        further = rule(name, method)
        for before in chosen:
            if further.contradicts(before):
                raise LoraRefError(f"rules {before.name} and {name} contradict each other")
        chosen.append(further)
        change = further.change(case)
        trainable, total = trainable + change.trainable, total + change.total
    names = tuple(applied.name for applied in chosen)
    if total < 1:
        raise LoraRefError(f"under {', '.join(names)} nothing of {model.name} is counted")
    return Tally(model, method, trainable, total, parts, names)


def as_case(model: Model, method: Method, saved: Sequence[str]) -> Case:
    """Return what is counted, its names looked up.

    Raises
    ------
    LoraRefError
        As `tally` says of names.
    """
    modules = _saved(model, as_names("saved", saved))
    targeted = {module.name for module in method.targeted(model)}
    for module in modules:
        if any(name == module.name or name.startswith(module.name + ".") for name in targeted):
            raise LoraRefError(
                f"{model.name}: {module.name} is both saved and targeted, expected one of the two"
            )
        if isinstance(method, Full):
            raise LoraRefError(f"full trains everything, {module.name} too: nothing is to be saved")
    return Case(model, method, modules)


def checkpoint_bytes(counted: Tally, dtype: str = "float32") -> int:
    """Return the bytes of a checkpoint that holds the trainable numbers and nothing else.

    Raises
    ------
    LoraRefError
        For a dtype that is not in `ITEMSIZES`.
    """
    return counted.trainable * itemsize(dtype)


def training_memory(
    counted: Tally,
    dtype: str = "float32",
    *,
    optimizer: str = "adamw",
    state_dtype: str | None = None,
) -> TrainingMemory:
    """Return the bytes of weights, gradients and optimiser states.

    Parameters
    ----------
    counted : Tally
        What is trained, out of how much.
    dtype : str
        Of weights and gradients, a name in `ITEMSIZES`.
    optimizer : {"sgd", "momentum", "adamw"}
        Sets how many states a trainable number has.
    state_dtype : str, optional
        Of the states; `dtype` if omitted. Mixed precision often keeps them in float32.

    Raises
    ------
    LoraRefError
        For an unknown dtype or optimiser.
    """
    states = states_of(optimizer)
    size, of_state = itemsize(dtype), itemsize(dtype if state_dtype is None else state_dtype)
    return TrainingMemory(
        weights=counted.total * size,
        gradients=counted.trainable * size,
        optimizer=counted.trainable * states * of_state,
    )


def itemsize(dtype: str) -> int:
    """Return the bytes of a number, or say which dtypes are known."""
    if dtype not in tuple(ITEMSIZES):
        raise LoraRefError(f"dtype is {dtype!r}, expected one of: {', '.join(ITEMSIZES)}")
    return ITEMSIZES[dtype]


def _saved(model: Model, names: Sequence[str]) -> tuple[Module, ...]:
    """Return the modules that are trained whole, in the model's order."""
    for name in names:
        if not any(_stands_in(module, name) for module in model.modules):
            ends = sorted({m.name.rpartition(".")[2] for m in model.modules} - {"*"})
            raise LoraRefError(
                f"{model.name} has no module {name!r} to be saved{nearest(name, ends)}"
            )
    return tuple(m for m in model.modules if any(_stands_in(m, name) for name in names))


def _stands_in(module: Module, name: str) -> bool:
    """Whether `name` names the module, or something that it is a part of."""
    return f".{name}." in f".{module.name}."


def _parts(case: Case) -> tuple[Part, ...]:
    """Return what is trained and added; what a saved module trains anyway is counted with it."""
    model, method, saved = case
    if not saved:
        return method.parts(model)
    twice = sum(method.trained_in(model, module) for module in saved)
    own = tuple(
        part if part.added else part._replace(numbers=part.numbers - twice)
        for part in method.parts(model)
    )
    return (*own, Part("saved modules", numbers_of(saved), added=False))
