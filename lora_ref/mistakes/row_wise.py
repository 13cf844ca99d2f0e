"""Wrong gradients of layers that treat each row alone: norm, activation, embedding."""

from typing import Any

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.layers.activation import Activation
from lora_ref.layers.embedding import Embedding, EmbeddingCache
from lora_ref.layers.norm import LayerNorm
from lora_ref.mistakes.mistake import Case, Place, enter
from lora_ref.ops import gelu_tanh
from lora_ref.ops.activations import GELUCache
from lora_ref.ops.normalization import LayerNormCache


def norm(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return a norm and four rows."""
    layer, x = code.init(6), 2 + rng.standard_normal((4, 6))
    if not place.at_start:
        arrays = layer.trainable.items()
        layer = layer.with_params(
            {name: rng.standard_normal(array.shape) for name, array in arrays}
        )
    return Case(layer, x)


def exact_gelu(code: Any, rng: np.random.Generator, _: Place) -> Case:
    """Return the exact GELU as a layer, and four rows."""
    return Case(code("gelu"), rng.standard_normal((4, 6)))


def embedding(code: Any, rng: np.random.Generator, _: Place) -> Case:
    """Return an embedding of six tokens and two texts, in which some tokens come again."""
    texts = np.array([[3, 1, 4, 1], [5, 1, 2, 4]])
    return Case(code(rng.standard_normal((6, 3))), texts)


@enter(
    "backward",
    "norm-mean-term-missing",
    case=norm,
    text="grad_x of layer norm lacks the term of the mean: its rows no longer have mean 0.",
    cause="the mean is taken for a constant, though every entry of the row moves it",
)
class _NormMeanTermMissing(LayerNorm):
    def backward(self, grad_y: Array, cache: LayerNormCache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        return grad_x + cache.inverse_std * _row_means(grad_y * self.gain), grads


@enter(
    "backward",
    "norm-variance-term-missing",
    case=norm,
    text="grad_x of layer norm lacks the term of the variance: a row that is only longer counts.",
    cause="the divisor is taken for a constant, as DoRA does on purpose",
)
class _NormVarianceTermMissing(LayerNorm):
    def backward(self, grad_y: Array, cache: LayerNormCache) -> tuple[Array, Params]:
        grad_x, grads = super().backward(grad_y, cache)
        along = _row_means(grad_y * self.gain * cache.normed)
        return grad_x + cache.inverse_std * cache.normed * along, grads


@enter(
    "backward",
    "slope-of-the-other-gelu",
    case=exact_gelu,
    text="The exact GELU goes forward, and the slope of its tanh form goes back.",
    cause="two formulas bear one name, and they differ in the fourth digit",
)
class _SlopeOfTheOtherGELU(Activation):
    def forward(self, x: Array) -> tuple[Array, GELUCache]:
        return super().forward(x)[0], GELUCache(gelu_tanh(x)[1].slope)


@enter(
    "backward",
    "repeated-token-overwritten",
    case=embedding,
    text="Of a token that comes more than once, the last place alone has a gradient.",
    cause="grad[tokens] = rows, and NumPy's grad[tokens] += rows adds once to each row as well",
)
class _RepeatedTokenOverwritten(Embedding):
    def backward(self, grad_y: Array, cache: EmbeddingCache) -> tuple[Any, Params]:
        grad = np.zeros_like(self.W)
        grad[cache.tokens] += grad_y
        return None, {"W": grad}


def _row_means(rows: Array) -> Array:
    """Return the mean of each row, as a column."""
    means: Array = rows.mean(axis=-1, keepdims=True)
    return means
