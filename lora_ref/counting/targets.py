"""Which modules of a model a method adapts: names, an expression, all linear maps; some blocks."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

from lora_ref.checks import as_count
from lora_ref.counting.model import Model, Module, as_names, short_names, split_modules
from lora_ref.errors import LoraRefError
from lora_ref.module_names import is_meant
from lora_ref.suggestions import nearest

ALL_LINEAR = "all-linear"
WRAPPED = ("linear", "embedding", "convolution")
"""Kinds of modules that an adapter can be put on."""


class Adapted(NamedTuple):
    """A module with copies that are adapted, and the paths of those copies."""

    module: Module  # its `copies` are the adapted ones
    paths: tuple[str, ...]


@dataclass(frozen=True)
class Targets:
    r"""What PEFT's options say about which modules are adapted.

    Parameters
    ----------
    names : sequence of str, or str
        Names of modules, whole or the end after a dot: ``q_proj``, ``layers.3.self_attn.q_proj``.
        ``c_attn.q`` is one split of a fused projection, which PEFT does not know; a fused
        projection and one of its splits cannot both be named. A string is a regular expression for
        whole paths, or ``"all-linear"``: every linear map but the output head.
    exclude : sequence of str, or str
        Modules that are left out, named in the same ways (``exclude_modules``).
    layers : sequence of int, optional
        Numbers of the blocks whose modules are adapted, all if omitted (``layers_to_transform``).
        The first number of a path is that of its block. It goes with names alone, as in PEFT.

    Examples
    --------
    >>> from lora_ref.counting import get_model
    >>> gpt2 = get_model("gpt2")
    >>> [m.name for m in Targets(["c_attn"]).of(gpt2)]
    ['h.*.attn.c_attn']
    >>> [(m.name, m.copies) for m in Targets(r".*[01]\.attn\.c_\w+").of(gpt2)]
    [('h.*.attn.c_attn', 4), ('h.*.attn.c_proj', 4)]
    """

    names: Sequence[str] | str
    exclude: Sequence[str] | str = ()
    layers: Sequence[int] | None = None

    def __post_init__(self) -> None:
        for field in ("names", "exclude"):
            value = getattr(self, field)
            if isinstance(value, str):
                check_expression("targets" if field == "names" else field, value)
            else:
                what = "targets" if field == "names" else field
                object.__setattr__(self, field, as_names(what, value))
        if self.layers is not None:
            if isinstance(self.names, str):
                instead = "an expression has the numbers of the blocks in it"
                if self.names == ALL_LINEAR:
                    instead = "name the modules, such as q_proj, for PEFT refuses the two together"
                raise LoraRefError(
                    f"layers go with names, and the targets are {self.names!r}: {instead}"
                )
            layers = tuple(as_count("layers", layer, at_least=0) for layer in self.layers)
            object.__setattr__(self, "layers", layers)

    def __str__(self) -> str:
        """Return the options in words."""
        words = self.names if isinstance(self.names, str) else ", ".join(self.names)
        if self.exclude:
            left_out = self.exclude if isinstance(self.exclude, str) else ", ".join(self.exclude)
            words += f" without {left_out}"
        if self.layers is not None:
            words += f" in layers {', '.join(map(str, self.layers))}"
        return words

    def of(self, model: Model) -> tuple[Module, ...]:
        """Return the adapted modules, in the model's order, with the number of adapted copies."""
        return tuple(adapted.module for adapted in self.found(model))

    def found(self, model: Model) -> tuple[Adapted, ...]:
        """Return what `of` does, with the path of every adapted copy.

        Raises
        ------
        LoraRefError
            Where a name, a layer or the expression means nothing in the model.
        """
        return _found(self, model)

    def _chosen(self, model: Model) -> Iterator[Adapted]:
        for module in self._candidates(model):
            paths = tuple(name for names in model.names(module) for name in self._meant(names))
            if paths:
                yield Adapted(module.times(len(paths)), paths)

    def _candidates(self, model: Model) -> Iterator[Module]:
        for module in model.modules:
            if self.names == ALL_LINEAR:
                if module.kind == "linear" and module not in model.output_heads:
                    yield module
            elif module.kind in WRAPPED:
                yield module
                if not isinstance(self.names, str):
                    yield from split_modules(module)

    def _meant(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Return the name by which a copy is meant, or none where it is not adapted."""
        if any(is_meant(name, self.exclude) for name in names):
            return ()
        meant = (n for n in names if self.names == ALL_LINEAR or is_meant(n, self.names))
        found = tuple(n for n in meant if self.layers is None or _layer_of(n) in self.layers)
        return found[:1]

    def _check_names(self, model: Model) -> None:
        """Raise for a name that means nothing, and for a layer that the model has not."""
        if isinstance(self.names, str):
            return
        matchable = [module for module in model.modules if module.kind in WRAPPED]
        paths = {
            path
            for module in matchable
            for one in (module, *split_modules(module))
            for names in model.names(one)
            for path in names
        }
        for name in self.names:
            if not any(is_meant(path, [name]) for path in paths):
                known = sorted({short for module in matchable for short in short_names(module)})
                hint = nearest(name, known) or f"; it has: {', '.join(known)}"
                raise LoraRefError(f"{model.name} has no module {name!r}{hint}")
        last = max((layer for path in paths if (layer := _layer_of(path)) is not None), default=-1)
        for layer in self.layers or ():
            if layer > last:
                raise LoraRefError(f"{model.name} has no layer {layer}, expected 0 to {last}")

    def _hint(self) -> str:
        if isinstance(self.names, str) and self.names != ALL_LINEAR:
            return ": a string is a regular expression for whole paths, such as .*\\.q_proj"
        return ""


@lru_cache(maxsize=64)  # a count asks three times, and a table of claims for one model many times
def _found(targets: Targets, model: Model) -> tuple[Adapted, ...]:
    if not targets.names:
        raise LoraRefError("targets is empty, expected names, at least one")
    found = tuple(targets._chosen(model))
    targets._check_names(model)
    if not found:
        raise LoraRefError(f"{model.name} has no module for the targets {targets}{targets._hint()}")
    for (module, _), (following, _) in pairwise(found):
        if following.name in {split.name for split in split_modules(module)}:
            raise LoraRefError(
                f"{model.name}: the targets name both {module.name} and its split "
                f"{following.name}, expected one of the two"
            )
    return found


DEFAULT_TARGETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "bert": ("query", "value"),
        "deberta": ("query_proj", "value_proj"),
        "gpt2": ("c_attn",),
        "llama": ("q_proj", "v_proj"),
        "opt": ("q_proj", "v_proj"),
        "phi": ("q_proj", "v_proj", "fc1", "fc2"),
        "t5": ("q", "v"),
    }
)
"""What PEFT 0.21.2 adapts with LoRA where no target is named, by the family of a model."""


def default_targets(model: Model) -> tuple[str, ...]:
    """Return what PEFT adapts in a model where no target is named."""
    if model.family not in DEFAULT_TARGETS:
        raise LoraRefError(
            f"targets are not named, and PEFT has no default for {model.name}, only for models "
            f"built like: {', '.join(DEFAULT_TARGETS)}"
        )
    return DEFAULT_TARGETS[model.family]


def as_targets(targets: object) -> Targets:
    """Return targets as they are, or made of names or of an expression."""
    if isinstance(targets, Targets):
        return targets
    if isinstance(targets, str):
        return Targets(targets)
    return Targets(as_names("targets", targets))


def _layer_of(path: str) -> int | None:
    """Return the first number of a path, which is that of its block."""
    return next((int(step) for step in path.split(".") if step.isdecimal()), None)


def check_expression(what: str, expression: object) -> None:
    """Raise `LoraRefError` unless it is a text, and a regular expression."""
    try:
        if isinstance(expression, str):
            re.compile(expression)
            return
        error: Exception | str = "expected a text"
    except (re.error, RecursionError, OverflowError) as caught:
        error = caught
    raise LoraRefError(f"{what} is {expression!r}, no regular expression: {error}")
