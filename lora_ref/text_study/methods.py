"""The ways to adapt the small language model to another text: what trains in each.

Like is compared with like. All LoRA freezes biases, norms and embeddings and has alpha = 2 r;
``maps`` trains the same 24 matrices whole, and ``full`` everything. Attention and the MLP, and q, v
and all matrices, are compared at ranks that train equally many numbers.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lora_ref.layers.base import Layer, without_training
from lora_ref.layers.linear import Linear
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.gpt import GPT

RANKS = (1, 2, 4, 8, 16, 32)

TARGETS: Mapping[str, tuple[str, ...]] = {
    "lora": ("q", "k", "v", "o", "fc1", "fc2"),
    "qv": ("q", "v"),
    "attention": ("q", "k", "v", "o"),
    "mlp": ("fc1", "fc2"),
}
"""What LoRA adapts in each family of methods."""

EQUAL = {"qv": ((9, 2), (18, 4), (36, 8)), "attention": ((5, 4), (10, 8))}
"""Ranks of q and v, and of all maps, that train equally many; of attention, and of the MLP."""


class Method(NamedTuple):
    """A way to adapt, the middle of the rates that are tried first, and how it begins."""

    text: str
    middle: int  # k of the rate 0.001 * 2**k
    build: Callable[[GPT, np.random.Generator], GPT]


def _lora(family: str, r: int) -> Method:
    targets = TARGETS[family]
    named = {"lora": "all six maps of a block", "qv": "q and v"}.get(family, ", ".join(targets))
    return Method(
        f"LoRA on {named}, r = {r}, alpha = {2 * r}",
        4,
        lambda gpt, rng: with_lora(gpt, rng, targets=targets, r=r, alpha=2.0 * r),
    )


def _with_alpha(r: int, alpha: int, middle: int) -> Method:
    return Method(
        f"LoRA on all six maps of a block, r = {r}, alpha = {alpha}",
        middle,
        lambda gpt, rng: with_lora(gpt, rng, targets=TARGETS["lora"], r=r, alpha=float(alpha)),
    )


def _maps(gpt: GPT, rng: np.random.Generator) -> GPT:
    def change(path: str, layer: Layer) -> Layer:
        if isinstance(layer, Linear):
            return replace(layer, train=("W",))
        frozen: Layer = without_training(path, layer)
        return frozen

    return gpt.mapped(change)


METHODS: Mapping[str, Method] = {
    **{f"lora-{r}": _lora("lora", r) for r in RANKS},
    "lora-1-alpha-32": _with_alpha(1, 32, 2),
    **{f"qv-{r}": _lora("qv", r) for r, _ in EQUAL["qv"]},
    **{f"attention-{r}": _lora("attention", r) for r, _ in EQUAL["attention"]},
    **{f"mlp-{r}": _lora("mlp", r) for _, r in EQUAL["attention"]},
    "maps": Method("the 24 matrices that LoRA adapts, whole", 0, _maps),
    "full": Method("everything", 0, lambda gpt, rng: gpt),
}
"""The methods by name, in the order of every table."""

RATE_ONLY = ("lora-1-alpha-32",)
"""The methods of which nothing is asked but the best rate."""
