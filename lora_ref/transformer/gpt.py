"""A decoder: from tokens to the logits of the next one, and back.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, NamedTuple, Self, cast

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lora_ref.checks import Array, Params, check_cache
from lora_ref.layers.attention import Past
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import joined
from lora_ref.layers.embedding import Embedding
from lora_ref.layers.linear import Linear
from lora_ref.layers.norm import LayerNorm
from lora_ref.training.network import Network
from lora_ref.transformer.block import Block
from lora_ref.transformer.text_model import TextModel, check_sizes

Tokens = NDArray[np.integer[Any]]


class GPTCache(NamedTuple):
    """What `GPT.backward` needs: the cache of each child, and of a tied head."""

    children: dict[str, Any]
    head: Any


@dataclass(frozen=True, eq=False, repr=False)
class GPT(TextModel):
    """Computes ``logits = head(norm(blocks(tokens + positions)))``.

    Parameters
    ----------
    tokens : Embedding
        A row for each token of the vocabulary.
    positions : Embedding
        A row for each place in a text; their number is the longest text that it can read.
    blocks : Network
        Causal blocks in a row, named ``0``, ``1``, ...
    norm : Layer
        The norm before the head.
    head : Layer, optional
        From features to logits. If omitted it is tied: the logits are products with the rows of
        `tokens`, whose gradient then comes from both ends.

    Examples
    --------
    >>> gpt = GPT.init(vocabulary=50, context=16, features=8, heads=2, blocks=3,
    ...                rng=np.random.default_rng(0))
    >>> gpt
    GPT(vocabulary=50, context=16, features=8, blocks=3, tied: 3160 parameters train)
    >>> gpt.forward(np.array([[3, 1, 4, 1, 5]]))[0].shape
    (1, 5, 50)
    """

    tokens: Embedding
    positions: Embedding
    blocks: Network
    norm: Layer
    head: Layer | None = None

    child_names: ClassVar[tuple[str, ...]] = ("tokens", "positions", "blocks", "norm", "head")

    def forward(
        self, x: Any, *, keywords: Mapping[str, Any] | None = None
    ) -> tuple[Array, GPTCache]:
        """Map tokens of shape (..., n) to logits of shape (..., n, vocabulary).

        The logits at a place are for the token after it.
        """
        parts = self.route("GPT.forward", keywords)
        h, caches = self._embed(x)
        h, caches["blocks"] = self.blocks.forward(h, **parts.get("blocks", {}))
        h, caches["norm"] = self.norm.forward(h)
        logits, head = self._head.forward(h, **parts.get("head", {}))
        return logits, GPTCache(caches, head)

    def backward(self, grad_y: Array, cache: GPTCache) -> tuple[Any, Params]:
        """Map the gradient of the logits to None, for tokens have none, and those of all parts."""
        check_cache("cache in GPT.backward", cache, GPTCache)
        kept = cache.children
        grads: dict[str, Params] = {}
        g, grads["head"] = self._head.backward(grad_y, cache.head)
        g, grads["norm"] = self.norm.backward(g, kept["norm"])
        trains = bool(self.tokens.trainable or self.positions.trainable)
        rows, grads["blocks"] = self.blocks.backward(g, kept["blocks"], need_grad_x=trains)
        grads["tokens"], grads["positions"] = {}, {}
        if rows is not None:
            grads |= self._embed_backward(rows, kept)
        if self.head is None and "W" in grads["head"]:
            grads["tokens"] = {"W": grads["tokens"]["W"] + grads["head"]["W"]}
        return None, joined({name: grads[name] for name in self.children})

    def extend(
        self, tokens: Tokens, past: tuple[Past, ...] | None = None
    ) -> tuple[Array, tuple[Past, ...]]:
        """Return the logits of new tokens, and keys and values of all up to them, block by block.

        The same logits as those of the whole text, at the cost of the new tokens alone.
        """
        start = 0 if past is None else past[0][0].shape[-2]
        h, _ = self._embed(tokens, start)
        longer = []
        for i, block in enumerate(cast(Iterable[Block], self.blocks.layers.values())):
            h, kept = block.extend(h, None if past is None else past[i])
            longer.append(kept)
        return self._head.forward(self.norm.forward(h)[0])[0], tuple(longer)

    @property
    def _head(self) -> Layer:
        """The head, or the tied one, which shares the array of `tokens`."""
        if self.head is not None:
            return self.head
        return Linear(self.tokens.W, train=self.tokens.train)

    @classmethod
    def init(
        cls,
        vocabulary: int,
        context: int,
        features: int,
        heads: int,
        blocks: int,
        rng: np.random.Generator,
        *,
        tied: bool = True,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Draw a decoder as GPT-2 does: normal with 0.02, and less for the layers that add to x."""
        sizes = {"vocabulary": vocabulary, "context": context, "features": features}
        check_sizes("GPT.init", rng, **sizes, blocks=blocks)

        def drawn(rows: int) -> Array:
            return rng.normal(0.0, 0.02, (rows, features)).astype(dtype)

        options: Any = {"causal": True, "std_out": 0.02 / sqrt(2 * blocks), "dtype": dtype}
        row = {str(i): Block.init(features, heads, rng, **options) for i in range(blocks)}
        head = None if tied else Linear(drawn(vocabulary))
        parts = Embedding(drawn(vocabulary)), Embedding(drawn(context)), Network(row)
        return cls(*parts, LayerNorm.init(features, dtype), head)

    def _more(self) -> str:
        return ", tied" if self.head is None else ""
