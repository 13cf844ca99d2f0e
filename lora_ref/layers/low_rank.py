"""What layers with factors A and B share: rank, scaling, what trains, checks and one-line text."""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from math import sqrt
from typing import Any, ClassVar

import numpy as np

from lora_ref.checks import (
    AnyDType,
    Array,
    Params,
    as_count,
    as_finite,
    as_flag,
    check_array,
    check_generator,
    check_parameter,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, check_train, chosen, freeze_untrained
from lora_ref.layers.initializers import Initializer


class LowRankLayer(Layer):
    """A layer that adds a multiple of B A to a frozen weight W0.

    Subclasses are dataclasses with these entries, and with more of their own.
    """

    W0: Any  # (out_features, in_features)
    A: Array  # (r, in_features)
    B: Array  # (out_features, r)
    alpha: float
    bias: Array | None  # (out_features,)
    rank_stabilized: bool
    train: tuple[str, ...]

    keywords: ClassVar[tuple[str, ...]] = ("mask",)
    can_train: ClassVar[tuple[str, ...]] = ("A", "B", "bias")
    """The names that `train` may hold."""

    @property
    def r(self) -> int:
        """Rank of the factors: the most that the update can have."""
        return len(self.A)

    @property
    def scaling(self) -> float:
        """Multiplier of the update: alpha / r, or alpha / sqrt(r) if rank-stabilised."""
        return scaling_of(self.alpha, self.r, self.rank_stabilized)

    @property
    def trainable(self) -> Params:
        """The arrays named in `train`; W0 is never among them."""
        return chosen(self, self.can_train)

    def _check_entries(self, dtype: AnyDType) -> None:
        """Check all but W0, make alpha a Python float, and freeze what does not train."""
        here, (out_features, in_features) = type(self).__name__, self.W0.shape
        check_parameter(f"A in {here}", self.A, dtype=dtype, r=None, in_features=in_features)
        check_parameter(f"B in {here}", self.B, dtype=dtype, out_features=out_features, r=self.r)
        if self.bias is not None:
            check_parameter(f"bias in {here}", self.bias, dtype=dtype, out_features=out_features)
        stabilized = as_flag(f"rank_stabilized in {here}", self.rank_stabilized)
        object.__setattr__(self, "rank_stabilized", stabilized)
        object.__setattr__(self, "alpha", as_finite(f"alpha in {here}", self.alpha, dtype))
        as_finite(f"scaling in {here}", self.scaling, dtype)
        check_train(here, self.train, self.can_train)
        if "bias" in self.train and self.bias is None:
            raise LoraRefError(f"train in {here} names 'bias', expected a layer that has one")
        freeze_untrained(self)

    def __repr__(self) -> str:
        """Sizes, rank, strength, dtype and what differs from the default, on one line."""
        out_features, in_features = self.W0.shape
        stabilized = ", rank_stabilized" if self.rank_stabilized else ""
        usual = tuple(name for name in self.can_train if name != "bias")
        train = "" if self.train == usual else f", train={'+'.join(self.trainable) or 'nothing'}"
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"r={self.r}, alpha={self.alpha:g}{stabilized}{train}, {self.A.dtype}{self._more()})"
        )

    def _more(self) -> str:
        """Return what `repr` adds to the common entries."""
        return ""


def scaling_of(alpha: float, r: int, rank_stabilized: bool) -> float:
    """Return the multiplier of an update: alpha / r, or alpha / sqrt(r) if rank-stabilised."""
    return alpha / (sqrt(r) if rank_stabilized else r)


def add_product(out: Array, left: Array, right: Array) -> None:
    """Add ``left @ right`` to `out`, 128 rows at a time, which is faster than the whole product."""
    for i in range(0, len(out), 128):
        out[i : i + 128] += left[i : i + 128] @ right


def initial_factors(
    where: str,
    W0: Array,
    r: int,
    alpha: float,
    rng: np.random.Generator,
    initializer: Initializer,
    bias: Array | None,
    rank_stabilized: bool,
) -> tuple[Array, Array, Array]:
    """Check what an ``init`` is given, and return W0, A and B of the start of training."""
    check_array(f"W0 in {where}", W0, out_features=None, in_features=None)
    if bias is not None:
        check_array(f"bias in {where}", bias, out_features=len(W0))
    check_generator(f"rng in {where}", rng)
    if not callable(initializer):
        raise LoraRefError(
            f"initializer in {where} is {initializer!r}, expected a function such as "
            "lora_ref.layers.initializers.kaiming_uniform"
        )
    r = as_count(f"r in {where}", r)
    alpha = as_finite(f"alpha in {where}", alpha, W0.dtype)
    return initializer(W0, r, scaling_of(alpha, r, rank_stabilized), rng)
