"""How many parameters of a model a method trains, out of how many; and the bytes that follow.

Without a counting rule every parameter counts once. The trainable count is what the method trains,
and the modules that are trained whole beside it. The total is the model and what the method adds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from lora_ref.counting.cost import TrainingMemory, states_per_parameter
from lora_ref.counting.methods.base import Method, Part
from lora_ref.counting.methods.partial import Full
from lora_ref.counting.model import Model, Module, as_names
from lora_ref.counting.rules import Rule, Setup, added_parameters, get_rule
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

ITEMSIZES: Mapping[str, int] = MappingProxyType(
    {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8": 1, "int8": 1}
)
"""Bytes of an entry by dtype."""


@dataclass(frozen=True)
class ParameterCount:
    """How many parameters are trained, out of how many, as the rules count them."""

    model: Model
    method: Method
    trainable: int
    total: int
    parts: tuple[Part, ...]  # what the method trains and adds, and the saved modules; no rule
    rules: tuple[str, ...]

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


def count_parameters(
    model: Model,
    method: Method,
    *,
    modules_to_save: Sequence[str] = (),
    rules: Sequence[str] = (),
) -> ParameterCount:
    """Count the parameters that a method trains in a model.

    Parameters
    ----------
    model : Model
        A published model, or one's own.
    method : Method
        Such as ``LoRA(8, ["q_proj", "v_proj"])``.
    modules_to_save : sequence of str
        Modules that are trained whole beside it, as in PEFT: the end of a module's path, or of the
        path of a module that contains it. None of them may be a target too.
    rules : sequence of str
        Names in `RULES`, no two of which contradict each other.

    Examples
    --------
    >>> from lora_ref.counting import LoRA
    >>> up, down = Module("up", "linear", (64, 16), 64), Module("down", "linear", (16, 64), 16)
    >>> mlp, lora = Model("mlp", "", "", (up, down), width=16, blocks=1), LoRA(2, ["up"])
    >>> counted = count_parameters(mlp, lora, modules_to_save=["down"])
    >>> counted.trainable, counted.total, counted.share
    (1200, 2288, Fraction(75, 143))
    >>> twice = count_parameters(mlp, lora, modules_to_save=["down"], rules=["saved-twice"])
    >>> twice.total - counted.total
    1040
    """
    setup = make_setup(model, method, modules_to_save)
    parts = _parts(setup)
    trainable = sum(part.parameters for part in parts if part.trained)
    total = model.total + added_parameters(method, model)
    chosen: list[Rule] = []
    for name in as_names("rules", rules):
        rule = get_rule(name, method)
        for earlier in chosen:
            if rule.contradicts(earlier):
                raise LoraRefError(f"rules {earlier.name} and {name} contradict each other")
        chosen.append(rule)
        change = rule.change(setup)
        trainable, total = trainable + change.trainable, total + change.total
    names = tuple(rule.name for rule in chosen)
    if total < 1:
        raise LoraRefError(f"under {', '.join(names)} nothing of {model.name} is counted")
    return ParameterCount(model, method, trainable, total, parts, names)


def make_setup(model: Model, method: Method, modules_to_save: Sequence[str]) -> Setup:
    """Look up the modules to save; each must exist and be neither targeted nor trained anyway."""
    saved = _named_modules(model, as_names("modules_to_save", modules_to_save))
    targeted = {module.name for module in method.targeted(model)}
    for module in saved:
        if any(name == module.name or name.startswith(module.name + ".") for name in targeted):
            raise LoraRefError(
                f"{model.name}: {module.name} is both saved and targeted, expected one of the two"
            )
        if isinstance(method, Full):
            raise LoraRefError(f"full trains {module.name} anyway, expected no module to save")
    return Setup(model, method, saved)


def checkpoint_bytes(counted: ParameterCount, dtype: str = "float32") -> int:
    """Return the bytes of a checkpoint that holds the trainable parameters and nothing else."""
    return counted.trainable * itemsize(dtype)


def training_memory(
    counted: ParameterCount,
    dtype: str = "float32",
    *,
    optimizer: str = "adamw",
    state_dtype: str | None = None,
) -> TrainingMemory:
    """Return the bytes of weights, gradients and optimiser states.

    The dtypes are names in `ITEMSIZES`, the optimiser is one in `OPTIMIZER_STATES`. The states have
    the dtype of weights and gradients unless they get their own: mixed precision often keeps them
    in float32.
    """
    states = counted.trainable * states_per_parameter(optimizer)
    size, state_size = itemsize(dtype), itemsize(dtype if state_dtype is None else state_dtype)
    return TrainingMemory(counted.total * size, counted.trainable * size, states * state_size)


def itemsize(dtype: str) -> int:
    """Return the bytes of an entry; a dtype that is not in `ITEMSIZES` is an error."""
    if dtype not in tuple(ITEMSIZES):
        raise LoraRefError(f"dtype is {dtype!r}, expected one of: {', '.join(ITEMSIZES)}")
    return ITEMSIZES[dtype]


def _named_modules(model: Model, names: Sequence[str]) -> tuple[Module, ...]:
    """Return the modules that the names mean or contain, in the model's order."""
    for name in names:
        if not any(_is_in(module, name) for module in model.modules):
            ends = sorted({m.name.rpartition(".")[2] for m in model.modules} - {"*"})
            raise LoraRefError(f"{model.name} has no module {name!r} to save{nearest(name, ends)}")
    return tuple(m for m in model.modules if any(_is_in(m, name) for name in names))


def _is_in(module: Module, name: str) -> bool:
    """Whether `name` means the module, or a module that contains it."""
    return f".{name}." in f".{module.name}."


def _parts(setup: Setup) -> tuple[Part, ...]:
    """Return the method's parts and the saved modules, without counting anything twice."""
    model, method, saved = setup
    parts = method.parts(model)
    if not saved:
        return parts
    twice = sum(method.trained_in(model, module) for module in saved)
    once = tuple(
        part if part.added else part._replace(parameters=part.parameters - twice) for part in parts
    )
    return (*once, Part("saved modules", setup.saved, added=False))
