"""The ways to adapt the encoder to the rated texts: what trains in each, beside the head.

Like is compared with like: LoRA and ``matrices`` change the same twelve matrices, those to queries
and values in the six blocks, and freeze their biases. ``shuffled`` is LoRA on an encoder whose
blocks have had the entries of each matrix put in random order, and ``shuffled-head`` the head alone
on it: what is left without pretraining.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lora_ref.layers.base import Layer
from lora_ref.layers.linear import Linear
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.encoder import Encoder

TARGETS = ("q", "v")


class Method(NamedTuple):
    """A way to adapt, the middle of the rates that are tried, and how it begins."""

    text: str
    middle: float
    build: Callable[[Encoder, np.random.Generator], Encoder]


def _lora(r: int, middle: float) -> Method:
    def build(encoder: Encoder, rng: np.random.Generator) -> Encoder:
        return with_lora(encoder, rng, targets=TARGETS, r=r, alpha=2.0 * r)

    return Method(f"LoRA on q and v, r = {r}", middle, build)


def _shuffled(encoder: Encoder, rng: np.random.Generator) -> Encoder:
    def change(path: str, layer: Layer) -> Layer:
        if path.startswith("blocks.") and isinstance(layer, Linear):
            return replace(layer, W=rng.permuted(layer.W.ravel()).reshape(layer.W.shape))
        return layer

    return encoder.mapped(change)


def _lora_on_shuffled(encoder: Encoder, rng: np.random.Generator) -> Encoder:
    return with_lora(_shuffled(encoder, rng), rng, targets=TARGETS, r=8, alpha=16.0)


def _matrices(encoder: Encoder, rng: np.random.Generator) -> Encoder:
    def change(path: str, layer: Layer) -> Layer:
        return replace(layer, train=("W",)) if is_adapted(path) else layer  # type: ignore[type-var]

    return encoder.mapped(change)


def _full(encoder: Encoder, rng: np.random.Generator) -> Encoder:
    def change(path: str, layer: Any) -> Layer:
        arrays = tuple(n for n in ("W", "gain", "bias") if getattr(layer, n, None) is not None)
        trains: Layer = replace(layer, train=arrays) if arrays else layer
        return trains

    return encoder.mapped(change)


def is_adapted(path: str) -> bool:
    """Whether a layer of the encoder is one of the twelve that LoRA adapts."""
    return path.rpartition(".")[2] in TARGETS


METHODS: Mapping[str, Method] = {
    "head": Method("the head alone", 2e-2, lambda encoder, rng: encoder),
    "lora-1": _lora(1, 2e-3),
    "lora-8": _lora(8, 2e-3),
    "lora-64": _lora(64, 1e-3),
    "matrices": Method("the twelve matrices of q and v, whole", 4e-4, _matrices),
    "full": Method("everything", 4e-5, _full),
    "shuffled-head": Method("the head alone, on blocks of shuffled entries", 2e-2, _shuffled),
    "shuffled": Method("LoRA on q and v, r = 8, in the same blocks", 2e-3, _lora_on_shuffled),
}
"""The methods by name, in the order of every table."""

RATE_OF = {"lora-1": "lora-8"}
"""Methods that take the learning rate of another."""
