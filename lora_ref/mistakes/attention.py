"""Wrong gradients of softmax and attention, and a mask that lets too much through."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, Params
from lora_ref.layers.attention import Attention, AttentionCache
from lora_ref.layers.base import Layer
from lora_ref.layers.linear import Linear
from lora_ref.mistakes.mistake import Case, Place, enter
from lora_ref.ops import attention, softmax, softmax_backward
from lora_ref.ops.attention import SoftmaxCache


@dataclass(frozen=True)
class Softmax(Layer):
    """The softmax as a layer, which no transformer needs by itself."""

    affine_in_each_argument: ClassVar[bool] = False

    @property
    def trainable(self) -> Params:
        """Nothing."""
        return {}

    def forward(self, x: Array) -> tuple[Array, SoftmaxCache]:
        """Map rows to rows of positive numbers with the sum 1."""
        return softmax(x)

    def backward(self, grad_y: Array, cache: SoftmaxCache) -> tuple[Array, Params]:
        """Map grad_y to grad_x, whose rows add up to 0."""
        return softmax_backward(grad_y, cache), {}


def scores(code: Any, rng: np.random.Generator, _: Place) -> Case:
    """Return a softmax, and four rows of scores."""
    return Case(code(), rng.standard_normal((4, 6)))


def causal(code: Any, rng: np.random.Generator, _: Place) -> Case:
    """Return causal attention of two heads, and two texts of four tokens.

    k has no bias: its gradient is zero, and what rounding leaves of it is no number.
    """

    def projection(out: int, into: int, bias: bool = True) -> Linear:
        W = rng.standard_normal((out, into)) / np.sqrt(into)
        return Linear(W, rng.standard_normal(out) if bias else None)

    q, k, v = projection(4, 6), projection(4, 6, bias=False), projection(8, 6)
    x = rng.standard_normal((2, 4, 6))
    return Case(code(q, k, v, projection(5, 8), heads=2, causal=True), x)


@enter(
    "backward",
    "softmax-row-sum-forgotten",
    case=scores,
    text="Backward of softmax multiplies by y and subtracts nothing: rows no longer add up to 0.",
    cause="softmax is taken for an activation, entry by entry; all of a row share one divisor",
)
class _SoftmaxRowSumForgotten(Softmax):
    def backward(self, grad_y: Array, cache: SoftmaxCache) -> tuple[Array, Params]:
        return grad_y * cache.y, {}


@enter(
    "backward",
    "sqrt-d-forgotten",
    case=causal,
    text="The gradients of q and k lack 1 / sqrt(d).",
    cause="the scaling of the scores was added to forward later",
)
class _SqrtDForgotten(Attention):
    def backward(self, grad_y: Array, cache: AttentionCache) -> tuple[Array, Params]:
        root = np.sqrt(cache.inner.q.shape[-1])  # k alone is in the gradient of q, and q in k's
        inner = cache.inner._replace(q=root * cache.inner.q, k=root * cache.inner.k)
        return super().backward(grad_y, cache._replace(inner=inner))


@enter(
    "backward",
    "mask-forgotten-in-backward",
    case=causal,
    text="Backward computes the weights of attention again, without the causal mask.",
    cause="the weights are not kept, to save memory, and two places have to know the mask",
)
class _MaskForgottenInBackward(Attention):
    def backward(self, grad_y: Array, cache: AttentionCache) -> tuple[Array, Params]:
        _, unmasked = attention(cache.inner.q, cache.inner.k, cache.inner.v)
        return super().backward(grad_y, cache._replace(inner=unmasked))


@enter(
    "later tokens",
    "next-token-visible",
    case=causal,
    text="The causal mask is off by one: each token sees the next, which it is to predict.",
    cause="diagonal=1 for 0; masks get lost too, as in huggingface/transformers issue 48745",
)
class _NextTokenVisible(Attention):
    def _allowed(self, shape: tuple[int, ...], _: NDArray[np.bool] | None) -> NDArray[np.bool]:
        return np.tri(shape[-1], k=1, dtype=np.bool)
