"""Wrong gradients of linear and LoRA layers, and passes that change what they are given."""

from functools import partial
from typing import Any

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRACache, LoRALinear
from lora_ref.mistakes.mistake import Case, Place, enter


def linear(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return a linear layer with a bias, and four rows."""
    W = rng.standard_normal((6 if place.square else 5, 6))
    return Case(code(W, rng.standard_normal(len(W))), rng.standard_normal((4, 6)))


def lora(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return a LoRA layer of rank 2 whose alpha is not its rank, four rows, and a dropout mask."""
    W0 = rng.standard_normal((6 if place.square else 5, 6))
    bias, A = rng.standard_normal(len(W0)), rng.standard_normal((2, 6))
    B = (0.0 if place.at_start else 1.0) * rng.standard_normal((len(W0), 2))
    x = rng.standard_normal((4, 6))
    return Case(code(W0, A, B, 5.0, bias), x, {"mask": 2.0 * (rng.random(x.shape) < 0.5)})


_wrong_backward = partial(enter, "backward", case=lora)
_change_in_place = partial(enter, "in place", case=lora)


# ------------------------------------------------------------------------------ wrong backward


@_wrong_backward(
    "batch-divided-twice",
    text="The gradients of A and B are divided by the batch size.",
    cause="the loss was a mean already, and each layer divides again",
)
class _BatchDividedTwice(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {name: grad / len(cache.x) for name, grad in grads.items()}


@_wrong_backward(
    "mean-for-sum",
    case=linear,
    text="The gradient of the bias is the mean over the rows, not their sum.",
    cause="the bias gradient is taken for an average over the batch",
)
class _MeanForSum(Linear):
    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {**grads, "bias": grads["bias"] / len(cache.x)}


@_wrong_backward(
    "scaling-forgotten",
    text="The gradients of A and B lack alpha / r.",
    cause="the scaling was added to forward later",
)
class _ScalingForgotten(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {name: grad / self.scaling for name, grad in grads.items()}


@_wrong_backward(
    "scaling-twice",
    text="The gradient of A, and the adapter's part of grad_x, carry alpha / r squared.",
    cause="grad_y is scaled at the top and grad_h once more below",
)
class _ScalingTwice(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        base = (grad_y @ self.W0).reshape(grad_x.shape)
        return base + self.scaling * (grad_x - base), {**grads, "A": self.scaling * grads["A"]}


@_wrong_backward(
    "adapter-path-missing",
    text="grad_x goes through W0 alone, not through B and A.",
    cause="the backward of the frozen layer was left as it was",
)
class _AdapterPathMissing(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        return grad_y @ self.W0, super().backward(grad_y, cache)[1]


@_wrong_backward(
    "square-transpose",
    text="grad_x uses W0 transposed, which only a square W0 forgives.",
    cause="all test matrices were square, so nothing complained",
)
class _SquareTranspose(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x - grad_y @ self.W0 + grad_y @ self.W0.T, grads


@_wrong_backward(
    "A-hundredfold",
    text="The gradient of A is a hundred times too large.",
    cause="the check ran at the start only, where B = 0 hides it",
)
class _AHundredfold(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x, {**grads, "A": 100 * grads["A"]}


@_wrong_backward(
    "dropout-forgotten",
    text="grad_x passes the adapter without the dropout mask.",
    cause="the backward was written before dropout came",
)
class _DropoutForgotten(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        return super().backward(grad_y, cache._replace(mask=None))


# ----------------------------------------------------------------------------- changes in place


@_change_in_place(
    "grad_y-scaled-in-place",
    text="Backward multiplies the grad_y that it is given by alpha / r.",
    cause="one array fewer is allocated; another layer may still need what is overwritten",
)
class _GradYScaledInPlace(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        grad_y *= self.scaling
        return grad_x, grads


@_change_in_place(
    "cached-x-masked-in-place",
    text="Backward multiplies the x in the cache by the dropout mask.",
    cause="the cache is taken for scratch space; without dropout its x is the caller's",
)
class _CachedXMaskedInPlace(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        x: Array = cache.x
        x *= 1.0 if cache.mask is None else cache.mask
        return grad_x, grads


@_change_in_place(
    "B-moved-in-backward",
    text="Backward moves B as soon as its gradient is known.",
    cause="the optimiser is fused into backward, and a second backward sees another layer",
)
class _BMovedInBackward(LoRALinear):
    def backward(self, grad_y: Array, cache: LoRACache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        B: Array = self.B
        B -= 0.01 * grads["B"]
        return grad_x, grads
