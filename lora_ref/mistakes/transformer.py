"""Wrong gradients of blocks and models, and a mean that counts padding."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, Params
from lora_ref.layers.composite import joined
from lora_ref.mistakes.mistake import Case, Place, enter
from lora_ref.transformer import (
    GPT,
    Block,
    BlockCache,
    Encoder,
    EncoderCache,
    GPTCache,
    with_lora,
)
from lora_ref.transformer.adapt import frozen

SIZES = {"vocabulary": 6, "context": 4, "features": 6, "heads": 2, "blocks": 1}
TEXTS = np.array([[3, 1, 4, 1], [5, 1, 2, 4]])


def block(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return a causal block with LoRA on v, and two texts of four rows."""
    layer = with_lora(_moved(code.init(6, 2, rng, causal=True), rng), rng, targets=["v"], r=2)
    return Case(layer if place.at_start else _moved(layer, rng), rng.standard_normal((2, 4, 6)))


def tied(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return a GPT whose tied embedding trains, with all else but places frozen, and two texts."""
    model = code.init(**SIZES, rng=rng)
    if not place.at_start:
        model = _moved(model, rng)
    embeddings = ("tokens", "positions")
    return Case(model.mapped(lambda path, a: a if path in embeddings else frozen(path, a)), TEXTS)


def padded(code: Any, rng: np.random.Generator, place: Place) -> Case:
    """Return an encoder with LoRA on v, and two texts of four tokens and of two."""
    model = with_lora(_moved(code.init(**SIZES, rng=rng), rng), rng, targets=["v"], r=2)
    mask = np.arange(4) < np.array([[4], [2]])
    return Case(model if place.at_start else _moved(model, rng), TEXTS, {"attention_mask": mask})


def _moved(model: Any, rng: np.random.Generator) -> Any:
    """Return a model away from where it starts."""
    old = model.trainable.items()
    return model.with_params({name: a + 0.3 * rng.standard_normal(a.shape) for name, a in old})


@enter(
    "backward",
    "residual-forgotten",
    case=block,
    text="The gradient goes back through the MLP of a block, not past it as well.",
    cause="of two paths the one with layers on it is seen; the other is a plus sign",
)
class _ResidualForgotten(Block):
    def backward(self, grad_y: Array, cache: BlockCache) -> tuple[Array, Params]:
        grads: dict[str, Params] = {}

        def back(name: str, grad: Array) -> Array:
            grad_x: Array
            grad_x, grads[name] = self.children[name].backward(grad, cache.children[name])
            return grad_x

        g = back("norm2", back("mlp", grad_y))  # and not grad_y + ...
        g = g + back("norm1", back("attention", g))
        return g, joined({name: grads[name] for name in self.children})


@enter(
    "backward",
    "tied-weight-from-one-end",
    case=tied,
    text="A tied weight has the gradient of the embedding alone, without that of the head.",
    cause="two layers hold one array, each with its part of the gradient: paiml/entrenar issue 314",
)
class _TiedWeightFromOneEnd(GPT):
    def backward(self, grad_y: Array, cache: GPTCache) -> tuple[Any, Params]:
        _, grads = super().backward(grad_y, cache)
        _, of_head = self._head.backward(grad_y, cache.head)
        return None, {**grads, "tokens.W": grads["tokens.W"] - of_head["W"]}


@enter(
    "backward",
    "gradient-to-padding",
    case=padded,
    text="The gradient of a mean over tokens is spread over all places, padding too.",
    cause="the mean has a mask in forward, and its gradient is that of a plain mean",
)
class _GradientToPadding(Encoder):
    def backward(self, grad_y: Array, cache: EncoderCache) -> tuple[Any, Params]:
        everywhere = np.full_like(cache.weights, 1 / cache.weights.shape[-2])
        return super().backward(grad_y, cache._replace(weights=everywhere))


@enter(
    "padding",
    "padding-in-the-mean",
    case=padded,
    text="The mean of a text counts its padding, so a text changes with the longest beside it.",
    cause="attention has the mask and the mean has none, as in HKUDS/LightRAG pull request 3675",
)
class _PaddingInTheMean(Encoder):
    def forward(
        self,
        x: Any,
        *,
        attention_mask: NDArray[np.bool] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> tuple[Array, EncoderCache]:
        blocks = {f"blocks.{name}.attention_mask": attention_mask for name in self.blocks}
        return super().forward(x, keywords={**blocks, **(keywords or {})})
