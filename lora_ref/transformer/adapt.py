"""LoRA on the layers of a transformer that are named, as PEFT names them."""

from collections.abc import Iterable
from typing import Any, TypeVar, cast

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, without_training
from lora_ref.layers.composite import Composite, layers_of
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.multitask import MultiTaskLoRA
from lora_ref.module_names import is_meant

Model = TypeVar("Model", bound=Composite)


def with_lora(
    model: Model,
    rng: np.random.Generator,
    *,
    targets: Iterable[str] | str = ("q", "v"),
    r: int = 8,
    alpha: float = 16.0,
    initializer: Initializer = kaiming_uniform,
    rank_stabilized: bool = False,
) -> Model:
    """Return the model with `LoRALinear` in place of the targets; all else is frozen.

    Parameters
    ----------
    model : Composite
        A `GPT`, an `Encoder`, a `Network`; it is not modified.
    rng : numpy.random.Generator
        What the layers draw A from, in the order of the model.
    targets : iterable of str, or str
        Names of linear layers, whole or the end after a dot: ``q`` stands for
        ``blocks.0.attention.q`` and its like. A string is a regular expression for whole names, or
        ``"all-linear"``. A head is not among all: PEFT leaves it out too.
    r, alpha, initializer, rank_stabilized
        As in `LoRALinear.init`.

    Examples
    --------
    >>> from lora_ref.transformer.gpt import GPT
    >>> rng = np.random.default_rng(0)
    >>> gpt = GPT.init(vocabulary=50, context=16, features=8, heads=2, blocks=2, rng=rng)
    >>> adapted = with_lora(gpt, rng, r=2)
    >>> list(adapted.trainable)[:3]
    ['blocks.0.attention.q.A', 'blocks.0.attention.q.B', 'blocks.0.attention.v.A']
    >>> adapted
    GPT(vocabulary=50, context=16, features=8, blocks=2, tied: 128 parameters train)
    """
    linears = [path for path, layer in layers_of(model).items() if isinstance(layer, Linear)]
    chosen = _chosen(linears, targets)

    def change(path: str, layer: Layer) -> Layer:
        if path in chosen and isinstance(layer, Linear):
            options: Any = {"initializer": initializer, "rank_stabilized": rank_stabilized}
            return LoRALinear.init(layer.W, r, alpha, rng, bias=layer.bias, **options)
        return cast(Layer, without_training(path, layer))

    return model.mapped(change)


def merged(model: Model) -> Model:
    """Return the model with every update, or weighted sum of updates, folded into its weight."""

    def plain(layer: Any) -> Any:
        if isinstance(layer, Composite) and not isinstance(layer, MultiTaskLoRA):
            return merged(layer)
        return layer.merge() if hasattr(layer, "merge") else layer

    return model.with_children({name: plain(child) for name, child in model.children.items()})


def _chosen(linears: list[str], targets: Iterable[str] | str) -> set[str]:
    """Return the names that are meant, or say which target names nothing."""
    wanted = [targets] if isinstance(targets, str) else list(targets)
    found = set()
    for target in wanted:
        if targets == "all-linear":
            matching = [name for name in linears if name.rpartition(".")[2] != "head"]
        else:
            by = target if isinstance(targets, str) else [target]
            matching = [name for name in linears if is_meant(name, by)]
        if not matching:
            ends = ", ".join(dict.fromkeys(name.rpartition(".")[2] for name in linears))
            raise LoraRefError(
                f"target {target!r} in with_lora names no linear layer, "
                f"expected whole names or ends such as: {ends or 'none'}"
            )
        found |= set(matching)
    if not found:
        raise LoraRefError("targets in with_lora are none, expected one at least")
    return found
