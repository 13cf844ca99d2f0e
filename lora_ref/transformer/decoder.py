"""A GPT that reads one token at a time: laid out for speed, or else layer by layer.

For a single row most of the time of the layers is Python's. A `Decoder` has gains and biases of
norms folded into the matrices behind them, q, k and v as one product, and one buffer for keys and
values. The formulas are those of the layers, and the logits equal theirs to rounding.
"""

from math import sqrt
from typing import Any, NamedTuple, Protocol

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.activation import Activation
from lora_ref.layers.attention import Past
from lora_ref.layers.linear import Linear
from lora_ref.layers.norm import LayerNorm
from lora_ref.training.network import Network
from lora_ref.transformer.adapt import merged
from lora_ref.transformer.block import Block
from lora_ref.transformer.gpt import GPT

SQRT_2_OVER_PI, CUBIC = sqrt(2 / np.pi), 0.044715
"""Constants of the GELU with tanh; see `lora_ref.ops.activations`."""


class Affine(NamedTuple):
    """A matrix and a bias, of a linear layer and of what is folded into it."""

    W: Array
    bias: Array

    def __call__(self, row: Array) -> Array:
        """Return ``W row + bias``."""
        y: Array = np.dot(self.W, row)
        y += self.bias
        return y


class Parts(NamedTuple):
    """A block as four products and the buffer of its keys and values."""

    epsilons: tuple[float, float]
    qkv: Affine  # behind norm1, with 1 / sqrt(width of a head) in q
    o: Affine
    fc1: Affine  # behind norm2
    fc2: Affine  # with the 1/2 of the GELU
    keys: Array  # (heads, context, width of a head)
    values: Array


class Reader(Protocol):
    """A model with what it has read so far: keys and values of all tokens up to now."""

    read: int  # how many tokens

    def restart(self) -> None:
        """Forget what was read."""
        ...

    def logits(self, token: int) -> Array:
        """Read one more token, and return the logits of the one behind it."""
        ...


def reader_of(gpt: GPT) -> Reader:
    """Return a model ready to read: a `Decoder` where its parts allow it, with updates merged."""
    plain = merged(gpt)
    head = plain.head is None or type(plain.head) is Linear
    blocks = plain.blocks.layers.values()
    if head and type(plain.norm) is LayerNorm and all(map(_fits, blocks)):
        return Decoder(plain)
    return LayerByLayer(gpt)


class LayerByLayer:
    """Reads through `GPT.extend`, whatever the layers are."""

    def __init__(self, gpt: GPT) -> None:
        self._gpt = gpt
        self.restart()

    def restart(self) -> None:
        """Forget what was read."""
        self.read = 0
        self._past: tuple[Past, ...] | None = None

    def logits(self, token: int) -> Array:
        """Read one more token, and return the logits of the one behind it."""
        logits, self._past = self._gpt.extend(np.array([token]), self._past)
        self.read += 1
        last: Array = logits[-1]
        return last


class Decoder:
    """Reads with a GPT of plain layers and pre-norm blocks."""

    def __init__(self, plain: GPT) -> None:
        self._tokens, self._positions = plain.tokens.W, plain.positions.W
        self._blocks = [_parts(block, plain.context) for block in plain.blocks.layers.values()]
        head: Any = plain.head or Linear(plain.tokens.W)
        norm: Any = plain.norm
        self._head, self._epsilon = _behind(norm, head), norm.epsilon
        self.read = 0

    def restart(self) -> None:
        """Forget what was read."""
        self.read = 0

    def logits(self, token: int) -> Array:
        """Read one more token, and return the logits of the one behind it."""
        row = self._tokens[token] + self._positions[self.read]
        self.read += 1
        for block in self._blocks:
            row += self._attend(block, _normed(row, block.epsilons[0]))
            row += _mlp(block, _normed(row, block.epsilons[1]))
        return self._head(_normed(row, self._epsilon))

    def _attend(self, block: Parts, row: Array) -> Array:
        """Return what the token takes from itself and those before it."""
        heads, _, width = block.keys.shape
        q, k, v = block.qkv(row).reshape(3, heads, width)
        block.keys[:, self.read - 1], block.values[:, self.read - 1] = k, v
        weights = np.matmul(block.keys[:, : self.read], q[:, :, None])[:, :, 0]
        weights -= np.maximum.reduce(weights, axis=1, keepdims=True)
        np.exp(weights, out=weights)
        weights /= np.add.reduce(weights, axis=1, keepdims=True)
        taken = np.matmul(weights[:, None], block.values[:, : self.read])
        return block.o(taken.reshape(-1))


def _mlp(block: Parts, row: Array) -> Array:
    x = block.fc1(row)
    t = x * x
    t *= SQRT_2_OVER_PI * CUBIC
    t += SQRT_2_OVER_PI
    t *= x
    np.tanh(t, out=t)
    t += 1
    t *= x
    return block.fc2(t)


def _normed(row: Array, epsilon: float) -> Array:
    """Return the row with mean 0 and variance 1; gain and bias are in the product behind it."""
    centred: Array = row - np.add.reduce(row) / len(row)
    centred *= 1 / sqrt(float(np.dot(centred, centred)) / len(row) + epsilon)
    return centred


def _parts(layer: Any, context: int) -> Parts:
    attention, heads = layer.attention, layer.attention.heads
    q, k, v = (_behind(layer.norm1, getattr(attention, name)) for name in "qkv")
    width = len(q.W) // heads
    scale = 1 / sqrt(width)
    W = np.concatenate([scale * q.W, k.W, v.W])
    bias = np.concatenate([scale * q.bias, k.bias, v.bias])
    fc1, fc2 = layer.mlp.layers["fc1"], _affine(layer.mlp.layers["fc2"])
    buffers = (np.empty((heads, context, width), W.dtype) for _ in range(2))
    return Parts(
        (layer.norm1.epsilon, layer.norm2.epsilon),
        Affine(W, bias),
        _affine(attention.o),
        _behind(layer.norm2, fc1),
        Affine(0.5 * fc2.W, fc2.bias),
        *buffers,
    )


def _affine(linear: Linear) -> Affine:
    bias = np.zeros(len(linear.W), linear.W.dtype) if linear.bias is None else linear.bias
    return Affine(linear.W, bias)


def _behind(norm: Any, linear: Linear) -> Affine:
    """Return a linear layer with the gain and the bias of the norm before it folded in."""
    W, bias = _affine(linear)
    return Affine(W * norm.gain, bias + W @ norm.bias)


def _fits(block: Any) -> bool:
    if type(block) is not Block or not block.pre_norm or not block.attention.causal:
        return False
    if type(block.norm1) is not LayerNorm or type(block.norm2) is not LayerNorm:
        return False
    attention = block.attention
    if any(type(getattr(attention, name)) is not Linear for name in "qkvo"):
        return False
    widths = {len(getattr(attention, name).W) for name in "qkv"}
    if len(widths) > 1 or type(block.mlp) is not Network:
        return False
    layers: Any = block.mlp.layers
    return (
        list(layers) == ["fc1", "act", "fc2"]
        and type(layers["fc1"]) is type(layers["fc2"]) is Linear
        and type(layers["act"]) is Activation
        and layers["act"].name == "gelu_tanh"
    )
