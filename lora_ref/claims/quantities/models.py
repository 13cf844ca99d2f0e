"""Quantities of published models: how many parameters, and how many of them a method trains."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import partial
from inspect import signature
from typing import Any, Literal, NamedTuple, TypeAlias

from lora_ref import counting
from lora_ref.claims.quantities.counts import BITS, FloatWord, TypeWord
from lora_ref.claims.quantity import Count, Name, Names, Number, OneNumber, TargetNames, Whole
from lora_ref.claims.values import exact
from lora_ref.counting import Method
from lora_ref.counting.methods.combined import Combined, Magnitudes, OneFactor, PTuning
from lora_ref.counting.models.examples import any_model
from lora_ref.errors import LoraRefError

TOPIC = "Counts of published models"

MethodWord: TypeAlias = Literal[
    "lora", "lora-fa", "mica", "dora", "vera", "loha", "lokr", "adalora", "ia3", "bitfit", "top",
    "prefix", "prefix-embed", "prefix-layer", "p-tuning", "none",
    "lora+bitfit", "lora+magnitudes", "lora+prefix-embed", "lora+prefix-layer", "vera+magnitudes",
]  # fmt: skip
"""A method, or two together."""


class _Recipe(NamedTuple):
    """How a method is made, and the keys of its arguments."""

    make: Callable[..., Method]
    required: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()  # passed by name


_R_AND_TARGETS = ("r", "targets")
_METHODS: Mapping[str, _Recipe] = {
    **{name: _Recipe(method, _R_AND_TARGETS) for name, method in counting.LOW_RANK_METHODS.items()},
    "lora-fa": _Recipe(partial(OneFactor, trained="B"), _R_AND_TARGETS),
    "mica": _Recipe(partial(OneFactor, trained="A"), _R_AND_TARGETS),
    "lokr": _Recipe(counting.LoKr, _R_AND_TARGETS, ("factor",)),
    "ia3": _Recipe(counting.IA3, ("targets",), ("feedforward",)),
    "bitfit": _Recipe(counting.BitFit),
    "top": _Recipe(counting.TopLayers, ("layers",)),
    "prefix": _Recipe(counting.Prefix, ("tokens",)),
    "prefix-embed": _Recipe(counting.PrefixEmbed, ("prefix", "infix")),
    "prefix-layer": _Recipe(counting.PrefixLayer, ("prefix", "infix")),
    "p-tuning": _Recipe(PTuning, ("tokens", "hidden")),
    "magnitudes": _Recipe(Magnitudes, ("magnitudes",)),
    "none": _Recipe(partial(Combined, ())),
}


def _method(word: str, inputs: Mapping[str, Any]) -> Method:
    """Return the method of a word, or the methods that it joins by a plus sign."""
    methods: list[Method] = []
    taken: set[str] = set()
    for name in word.split("+"):
        make, required, optional = _METHODS[name]
        for key in required:
            if inputs[key] is None:
                raise LoraRefError(f"method is {word!r} and {key} is missing")
        by_name = {key: inputs[key] for key in optional if inputs[key] is not None}
        methods.append(make(*(inputs[key] for key in required), **by_name))
        taken.update(required, optional)
    for key, value in inputs.items():
        if value and key not in taken:
            raise LoraRefError(f"method is {word!r}, which takes no {key}")
    return methods[0] if len(methods) == 1 else Combined(tuple(methods))


def _count(
    model: Name,
    r: Count | None = None,
    targets: TargetNames | None = None,
    method: MethodWord = "lora",
    saved: Names | None = None,
    rules: Names | None = None,
    tokens: Count | None = None,
    hidden: Count | None = None,
    prefix: Whole | None = None,
    infix: Whole = 0,
    layers: Count | None = None,
    magnitudes: Names | None = None,
    factor: Count | None = None,
    feedforward: Names | None = None,
) -> counting.ParameterCount:
    """Return what a method trains in a model; saved modules are trained whole."""
    if isinstance(targets, str):  # as on the command line: what is saved whole is not adapted
        targets = counting.Targets(targets, saved or ())
    inputs = {"r": r, "targets": targets, "tokens": tokens, "hidden": hidden, "prefix": prefix}
    inputs |= {"infix": infix, "layers": layers, "magnitudes": magnitudes}
    inputs |= {"factor": factor, "feedforward": feedforward}
    return counting.count_parameters(
        any_model(model), _method(method, inputs), modules_to_save=saved or (), rules=rules or ()
    )


def _of_count(function: Callable[[counting.ParameterCount], Any]) -> Callable[..., Any]:
    """Return a quantity of a parameter count, which takes the keys of `_count`."""

    def compute(**inputs: Any) -> Any:
        return function(_count(**inputs))

    compute.__name__, compute.__doc__ = function.__name__, function.__doc__
    compute.__annotations__ = {**_count.__annotations__, "return": OneNumber}
    compute.__signature__ = signature(_count)  # type: ignore[attr-defined]
    return compute


# the model


def model_count(model: Name) -> OneNumber:
    """Return the parameters of a published model, a shared weight once."""
    return any_model(model).total


def model_bytes(model: Name, bits: Number, share: Number = 1) -> OneNumber:
    """Return model-count times bits / 8, of all parameters or a share of them."""
    return any_model(model).total * exact(bits) * exact(share) / 8


def model_matrices(model: Name, targets: TargetNames) -> OneNumber:
    """Return how many matrices the targets name, in all blocks together."""
    return sum(module.copies for module in counting.Targets(targets).of(any_model(model)))


def square_share(model: Name) -> OneNumber:
    """Return the share of the weights in a model's blocks that stands in square matrices."""
    repeated = [m for m in any_model(model).modules if m.kind == "linear" and "*" in m.name]
    square = sum(m.weight for m in repeated if m.in_features == m.out_features)
    return Fraction(square, sum(m.weight for m in repeated))


# what a method trains


@_of_count
def model_trainable(counted: counting.ParameterCount) -> int:
    """Return what a method trains in the modules that the targets name, as PEFT matches them.

    They may be `"all-linear"`. `saved` modules are trained whole; `rules` are counting rules, as on
    the command line. `layers` is for top; `tokens` for prefix and p-tuning; `prefix` and `infix`
    for prefix-embed and prefix-layer. `magnitudes` are the modules with a magnitude for each row.
    `factor` is for lokr, `feedforward` for ia3: the targets whose input is rescaled. lora-fa trains
    B alone, mica A; none is for `saved` modules alone.
    """
    return counted.trainable


@_of_count
def model_total(counted: counting.ParameterCount) -> int:
    """Return model-count and what the method adds."""
    return counted.total


@_of_count
def model_share(counted: counting.ParameterCount) -> Fraction:
    """Return model-trainable / model-total."""
    return counted.share


@_of_count
def model_times_fewer(counted: counting.ParameterCount) -> Fraction:
    """Return model-count / model-trainable."""
    return Fraction(counted.model.total, counted.trainable)


@_of_count
def model_trainable_bytes(counted: counting.ParameterCount) -> int:
    """Return the bytes of model-trainable in float32, as in an adapter's file."""
    return 4 * counted.trainable


def model_training_bytes(
    model: Name,
    dtype: TypeWord,
    moments: FloatWord,
    r: Count | None = None,
    targets: TargetNames | None = None,
    master: FloatWord | None = None,
) -> OneNumber:
    """Return the bytes of a model in training with Adam, activations left out.

    Every weight has the type `dtype`. LoRA of rank `r` trains on the `targets`, or everything where
    both are left out; what trains has a gradient of its own type, two `moments`, and with `master`
    a copy. The numbers of LoRA itself have the type of the moments if `dtype` is none of floats.
    """
    if (r is None) != (targets is None):
        raise LoraRefError("r and targets go together: both for LoRA, neither for full fine-tuning")
    found = any_model(model)
    added = 0
    if r is not None and targets is not None:
        added = counting.count_parameters(found, counting.LoRA(r, targets)).trainable
    trained = added or found.total
    own = BITS[dtype if dtype not in ("int8", "nf4") else moments]
    copies = BITS[master] if master else 0
    bits = found.total * BITS[dtype] + added * own
    return Fraction(bits + trained * (own + 2 * BITS[moments] + copies), 8)


def adam_bytes(numbers: Number, dtype: FloatWord, moments: FloatWord) -> OneNumber:
    """Return the bytes of weights and gradients of one type, and of Adam's two moments."""
    return exact(numbers) * (2 * BITS[dtype] + 2 * BITS[moments]) / 8
