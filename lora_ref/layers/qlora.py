"""QLoRA: LoRA over a frozen weight that is stored in 4 bits.

Dettmers et al., "QLoRA: Efficient Finetuning of Quantized LLMs", 2023, arXiv 2305.14314.
"""

from __future__ import annotations  # numpy.random takes 20 ms, and is not loaded for a type

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from lora_ref.checks import Array, Params, as_finite, check_array, check_float
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear
from lora_ref.layers.low_rank import LowRankLayer, initial_factors
from lora_ref.quantize import NF4_BLOCK, Kind, QuantizedArray, quantize


@dataclass(frozen=True, eq=False, repr=False)
class QLoRALinear(LowRankLayer):
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
    A, B, alpha, bias, rank_stabilized, train
        As in `LoRALinear`. The dtype of A is that of the layer, and W0_hat is taken to it.

    Examples
    --------
    >>> import numpy as np
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
    train: tuple[str, ...] = ("A", "B")

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
        check_float("A in QLoRALinear", self.A)
        self._check_entries(self.A.dtype)

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
        return self._with_weight(self.W0.dequantize(self.A.dtype))

    def _with_weight(self, W0: Array) -> LoRALinear:
        factors = (self.A, self.B, self.alpha, self.bias, self.rank_stabilized)
        return LoRALinear(W0, *factors, self.train)

    @property
    def delta_w(self) -> Array:
        """The update ``scaling * B @ A`` of shape (out_features, in_features)."""
        return self.scaling * (self.B @ self.A)

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
        """
        out_features, in_features = self.W0.shape
        axes = {"out_features": out_features, "in_features": in_features}
        check_array("W0 in QLoRALinear.merge_into", W0, dtype=self.A.dtype, **axes)
        return self._with_weight(W0).merge()

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
        train: tuple[str, ...] = ("A", "B"),
        double: bool = True,
    ) -> Self:
        """Quantise W0 to NF4 in blocks of 64 and wrap it, as `LoRALinear.init` wraps an array.

        Parameters
        ----------
        W0, r, alpha, rng, initializer, bias, rank_stabilized, train
            As in `LoRALinear.init`. The initializer is given the array; what it freezes is then
            quantised.
        double : bool
            Whether the constants of the blocks are quantised too, as in QLoRA.
        """
        where = "QLoRALinear.init"
        start = initial_factors(where, W0, r, alpha, rng, initializer, bias, rank_stabilized)
        full = LoRALinear(*start, alpha, bias, rank_stabilized, train)
        return cls.from_lora(full, double=double)

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
        factors = (layer.A, layer.B, layer.alpha, layer.bias, layer.rank_stabilized)
        return cls(W0, *factors, layer.train)

    def check(self) -> Self:
        """Return the layer, or raise where an array or the largest weight is not finite."""
        as_finite("the largest weight in QLoRALinear", self.W0.block_absmax.max(), self.A.dtype)
        return super().check()

    def _more(self) -> str:
        return f", W0={self.W0.kind} in {self.W0.bits_per_weight:.4g} bits"
