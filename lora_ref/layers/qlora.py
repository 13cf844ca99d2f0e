"""QLoRA: LoRA over a frozen weight that is stored in 4 bits.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, arXiv 2305.14314.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lora_ref.checks import Array, Params, as_finite, as_flag, check_array, frozen
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.base import Layer, freeze_untrained
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear, scaling_of
from lora_ref.quantize import NF4_BLOCK, Kind, QuantizedArray, quantize


@dataclass(frozen=True, eq=False, repr=False)
class QLoRALinear(Layer):
    """Computes ``y = x @ W0_hat.T + scaling * (x @ A.T) @ B.T + bias``, W0_hat from few bits.

    Each pass dequantises W0 into W0_hat, does what `LoRALinear` does over it, and drops it: the one
    place in lora_ref where a pass forms an array of out_features x in_features. It is not kept
    from forward to backward either, so between passes the weight takes what its codes take.

    Gradients flow through W0_hat to x, and never into the codes. The quantisation error sits in
    W0_hat; alpha scales the update, as ever, and leaves that error as it is.

    Parameters
    ----------
    W0 : QuantizedArray of shape (out_features, in_features)
        Frozen weight, as `lora_ref.quantize.quantize` makes one: all its arrays are read-only.
    A : ndarray of shape (r, in_features)
        Down-projection. Its dtype is that of the layer, and W0_hat is taken to it.
    B : ndarray of shape (out_features, r)
        Up-projection.
    alpha : float
        Strength of the update.
    bias : ndarray of shape (out_features,), optional
        Frozen.
    rank_stabilized : bool
        Whether scaling is alpha / sqrt(r), not alpha / r.

    Raises
    ------
    LoraRefError
        For a W0 that is not a QuantizedArray, arrays that are not finite floating-point arrays of
        one dtype, or a weight or alpha that is not finite in that dtype.
    ShapeError
        For shapes that do not fit each other.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> W0 = rng.standard_normal((64, 96), dtype=np.float32)
    >>> layer = QLoRALinear.init(W0, r=4, alpha=8, rng=rng)
    >>> layer
    QLoRALinear(in_features=96, out_features=64, r=4, alpha=8, float32, W0=nf4 in 4.135 bits)
    >>> layer.W0.nbytes, W0.nbytes
    (3176, 24576)
    """

    W0: QuantizedArray
    A: Array
    B: Array
    alpha: float
    bias: Array | None = None
    rank_stabilized: bool = False

    @property
    def r(self) -> int:
        """Rank of the factors: the most that the update can have."""
        return len(self.A)

    @property
    def scaling(self) -> float:
        """Multiplier of the update: alpha / r, or alpha / sqrt(r) if rank-stabilized."""
        return scaling_of(self.alpha, self.r, self.rank_stabilized)

    @property
    def trainable(self) -> Params:
        """A and B; W0 and bias are not among them."""
        return {"A": self.A, "B": self.B}

    def forward(self, x: Array, *, mask: Array | None = None) -> tuple[Array, LoRACache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features), as `LoRALinear` does.

        The cache is that of `LoRALinear`: no weight is in it.
        """
        return self.dequantized().forward(x, mask=mask)

    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of A and B; dequantises again."""
        return self.dequantized().backward(grad_y, cache)

    def dequantized(self) -> LoRALinear:
        """Return the layer in full: the same function over W0_hat, a new array in A's dtype."""
        return self._over(self.W0.dequantize(self.A.dtype))

    @property
    def delta_w(self) -> Array:
        """The update ``scaling * B @ A`` of shape (out_features, in_features)."""
        no_weight = np.broadcast_to(self.A.dtype.type(0), self.W0.shape)
        return self._over(no_weight).delta_w

    def merge(self) -> Linear:
        """Fold the update into W0_hat: the same function, to rounding, and no longer in 4 bits."""
        return self.dequantized().merge()

    def merge_quantized(self) -> QuantizedArray:
        """Fold the update into W0_hat and quantise that as W0 was: 4 bits again, and rounded again.

        W0_hat lies on levels. Where the update is small against the gaps between them, the codes
        stay what they were and the update is lost.
        """
        W0 = self.W0
        W = self.merge().W
        return quantize(W, W0.kind, block_size=W0.block_size, double=W0.double)

    def merge_into(self, W0: Array) -> Linear:
        """Fold the update into the weight that W0 was quantised from, or into any other.

        This takes away the quantisation error that A and B were trained on top of, but not what
        they learnt to make up for it: another function than the one that was trained.

        Parameters
        ----------
        W0 : ndarray of shape (out_features, in_features)
            A weight of the layer's dtype.
        """
        out_features, in_features = self.W0.shape
        axes = {"out_features": out_features, "in_features": in_features}
        check_array("W0 in QLoRALinear.merge_into", W0, dtype=self.A.dtype, **axes)
        return self._over(W0).merge()

    @classmethod
    def init(
        cls,
        W0: Array,
        r: int,
        alpha: float,
        rng: np.random.Generator,
        *,
        initializer: Initializer = kaiming_uniform,
        bias: Array | None = None,
        rank_stabilized: bool = False,
        double: bool = True,
    ) -> Self:
        """Quantise W0 to NF4 in blocks of 64 and wrap it, as `LoRALinear.init` wraps an array.

        Parameters
        ----------
        W0, r, alpha, rng, initializer, bias, rank_stabilized
            As in `LoRALinear.init`. The start sees the array; what it freezes is then quantised.
        double : bool
            Whether the constants of the blocks are quantised too, as in QLoRA.
        """
        whole = LoRALinear.init(
            W0, r, alpha, rng, initializer=initializer, bias=bias, rank_stabilized=rank_stabilized
        )
        return cls.from_lora(whole, double=double)

    @classmethod
    def from_lora(
        cls,
        layer: LoRALinear,
        kind: Kind = "nf4",
        *,
        block_size: int | None = NF4_BLOCK,
        double: bool = True,
    ) -> Self:
        """Quantise the weight of a layer and keep its factors; `dequantized` is the way back.

        Parameters
        ----------
        layer : LoRALinear
            Its A, B and bias are taken as they are, not copied.
        kind, block_size, double
            As in `lora_ref.quantize.quantize`; the constants are quantised too, as in QLoRA.
        """
        W0 = quantize(layer.W0, kind, block_size=block_size, double=double)
        return cls(W0, layer.A, layer.B, layer.alpha, layer.bias, layer.rank_stabilized)

    affine_in_each_argument: ClassVar[bool] = True

    def __post_init__(self) -> None:
        W0: object = self.W0
        if not isinstance(W0, QuantizedArray):
            raise LoraRefError(
                f"W0 in QLoRALinear is a {type(W0).__name__}, expected a QuantizedArray; "
                "lora_ref.quantize.quantize makes one"
            )
        if len(W0.shape) != 2:
            raise ShapeError(
                f"W0 in QLoRALinear has shape {W0.shape}, expected (out_features, in_features)"
            )
        out_features, in_features = W0.shape
        check_array("A in QLoRALinear", self.A, r=None, in_features=in_features)
        dtype = self.A.dtype
        check_array("B in QLoRALinear", self.B, dtype=dtype, out_features=out_features, r=self.r)
        as_finite("the largest weight in QLoRALinear", W0.block_absmax.max(), dtype)
        stabilized = as_flag("rank_stabilized in QLoRALinear", self.rank_stabilized)
        object.__setattr__(self, "rank_stabilized", stabilized)
        object.__setattr__(self, "alpha", as_finite("alpha in QLoRALinear", self.alpha, dtype))
        if self.bias is not None:
            check_array("bias in QLoRALinear", self.bias, dtype=dtype, out_features=out_features)
        freeze_untrained(self)

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return the layers of `LoRALinear.examples` over weights quantised in different ways."""
        plain, stabilized, high_rank, dropped = LoRALinear.examples(x, out_features, rng)
        return [
            (cls.from_lora(plain[0], double=False), plain[1]),
            (cls.from_lora(stabilized[0]), stabilized[1]),
            (cls.from_lora(high_rank[0], "int4", block_size=5), high_rank[1]),
            (cls.from_lora(dropped[0], "int8", block_size=None), dropped[1]),
        ]

    def _over(self, W0: Array) -> LoRALinear:
        """Return the same update over an array; not through the constructor, which scans it all."""
        layer = object.__new__(LoRALinear)
        layer.__dict__.update(vars(self), W0=frozen(W0))
        return layer

    def __repr__(self) -> str:
        """Sizes, rank, strength, dtype and what the weight takes, on one line."""
        out_features, in_features = self.W0.shape
        stabilized = ", rank_stabilized" if self.rank_stabilized else ""
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"r={self.r}, alpha={self.alpha:g}{stabilized}, {self.A.dtype}, "
            f"W0={self.W0.kind} in {self.W0.bits_per_weight:.4g} bits)"
        )


def merge_errors(layer: QLoRALinear, W0: Array, x: Array) -> dict[str, float]:
    """Return how far y moves when the update is merged in each of three ways: for looking at.

    Parameters
    ----------
    layer : QLoRALinear
        The layer, as trained.
    W0 : ndarray of shape (out_features, in_features)
        The weight that was quantised.
    x : ndarray of shape (n, in_features)
        Rows to compare at.

    Returns
    -------
    dict of str to float
        ``norm(y_merged - y) / norm(y)``: ``dequantized`` for `QLoRALinear.merge`, which is exact to
        rounding, ``quantised again`` for `QLoRALinear.merge_quantized` and ``original`` for
        `QLoRALinear.merge_into`.

    Raises
    ------
    LoraRefError
        Where y is zero, so that nothing is relative to it.
    """
    y = layer.forward(x)[0]
    size = float(np.linalg.norm(y))
    if size == 0:
        raise LoraRefError("y in merge_errors is zero, expected rows x that give another")
    merged = {
        "dequantized": layer.merge(),
        "quantised again": Linear(layer.merge_quantized().dequantize(), layer.bias),
        "original": layer.merge_into(W0),
    }
    return {
        name: float(np.linalg.norm(linear.forward(x)[0] - y)) / size
        for name, linear in merged.items()
    }
