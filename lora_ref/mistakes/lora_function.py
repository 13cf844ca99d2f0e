"""Layers that compute something else than LoRA, or merge into something else."""

from functools import partial

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear
from lora_ref.mistakes.lora_backward import lora
from lora_ref.mistakes.mistake import enter

_wrong_function = partial(enter, "function", case=lora)


@_wrong_function(
    "factors-swapped",
    text="B is applied first and A second: the update is transposed.",
    cause="every layer in sight was square, so nothing complained",
)
class _FactorsSwapped(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        seen = x if mask is None else x * mask
        y = x @ self.W0.T + self.scaling * (seen @ self.B @ self.A)
        return (y if self.bias is None else y + self.bias), LoRACache(x.shape[:-1], seen, x, mask)


@_wrong_function(
    "alpha-forgotten",
    text="The multiplier is alpha, not alpha / r.",
    cause="asked for a year after the code came out, in rasbt/LLMs-from-scratch issue 821",
)
class _AlphaForgotten(LoRALinear):
    @property
    def scaling(self) -> float:
        return self.alpha


@_wrong_function(
    "merge-without-scaling",
    text="The scaling stands in forward but not in merge.",
    cause="two places know the scaling; in microsoft/LoRA the two parted until 7036ee0",
)
class _MergeWithoutScaling(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + self.B @ self.A, self.bias)


@_wrong_function(
    "merged-twice",
    text="Merging adds the update twice.",
    cause="a merged flag that a second call does not look at",
)
class _MergedTwice(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + 2 * self.delta_w, self.bias)


@_wrong_function(
    "merge-loses-bias",
    text="The merged layer has no bias.",
    cause="the merged layer is made from the weight alone",
)
class _MergeLosesBias(LoRALinear):
    def merge(self) -> Linear:
        return Linear(self.W0 + self.delta_w)


@_wrong_function(
    "one-mask-for-the-batch",
    text="All rows share the first row's dropout mask.",
    cause="the mask is drawn with the shape of one row",
)
class _OneMaskForTheBatch(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        shared = None if mask is None else np.tile(mask[:1], (len(mask), 1))
        return super().forward(x, mask=shared)


@_wrong_function(
    "dropout-on-the-base",
    text="Dropout hits the frozen path too.",
    cause="x is dropped out before it is split between the branches",
)
class _DropoutOnTheBase(LoRALinear):
    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        return super().forward(x if mask is None else x * mask)
