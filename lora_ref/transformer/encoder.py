"""An encoder: from tokens to one row for each text, the mean over its tokens.

Devlin et al., 2018, arXiv 1810.04805 (BERT); the mean as in Reimers and Gurevych, 2019,
arXiv 1908.10084.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lora_ref.checks import Array, Params, check_cache, check_like
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import joined
from lora_ref.layers.embedding import Embedding, check_tokens
from lora_ref.layers.norm import LayerNorm
from lora_ref.training.network import Network
from lora_ref.transformer.block import Block
from lora_ref.transformer.text_model import TextModel, check_sizes


class EncoderCache(NamedTuple):
    """What `Encoder.backward` needs: the cache of each child, and the weights of the mean."""

    children: dict[str, Any]
    weights: Array  # (..., n, 1)  1 / number of tokens, and 0 for padding
    y: Array  # (..., features)


@dataclass(frozen=True, eq=False, repr=False)
class Encoder(TextModel):
    """Computes the mean over the tokens of ``blocks(norm(tokens + positions))``.

    Parameters
    ----------
    tokens, positions : Embedding
        A row for each token, and for each place in a text.
    norm : Layer
        The norm before the blocks.
    blocks : Network
        Blocks in a row, named ``0``, ``1``, ..., in which each token sees all others.
    padding : int, optional
        The token that shorter texts are filled up with. Then `forward` needs no mask.

    Examples
    --------
    >>> encoder = Encoder.init(vocabulary=50, context=16, features=8, heads=2, blocks=3,
    ...                        rng=np.random.default_rng(0))
    >>> text = np.array([[3, 1, 4, 0, 0]])
    >>> row, _ = encoder.forward(text, attention_mask=text > 0)
    >>> bool(np.allclose(row, encoder.forward(text[:, :3])[0]))
    True
    """

    tokens: Embedding
    positions: Embedding
    norm: Layer
    blocks: Network
    padding: int | None = None

    child_names: ClassVar[tuple[str, ...]] = ("tokens", "positions", "norm", "blocks")
    keywords: ClassVar[tuple[str, ...]] = ("attention_mask",)

    def forward(
        self,
        x: Any,
        *,
        attention_mask: NDArray[np.bool] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> tuple[Array, EncoderCache]:
        """Map tokens of shape (..., n) to y of shape (..., features).

        Parameters
        ----------
        x : integer ndarray of shape (..., n)
            Texts, filled up to one length.
        attention_mask : bool ndarray of shape (..., n), optional
            True for tokens, False for what a text was filled up with; by default the tokens other
            than `padding`.
        keywords : mapping of str to value, optional
            Keywords of the parts, by dotted name.
        """
        parts = self.route("Encoder.forward", keywords)
        if attention_mask is None and self.padding is not None:
            x, attention_mask = self._without_padding(x)
        h, caches = self._embed(x)
        h, caches["norm"] = self.norm.forward(h)
        own = parts.get("blocks", {}).get("keywords", {})
        to_all = {f"{name}.attention_mask": attention_mask for name in self.blocks}
        h, caches["blocks"] = self.blocks.forward(h, keywords={**to_all, **own})
        seen = (
            np.ones(x.shape, h.dtype) if attention_mask is None else attention_mask.astype(h.dtype)
        )
        weights = (seen / seen.sum(axis=-1, keepdims=True))[..., None]
        y = (weights * h).sum(axis=-2)
        return y, EncoderCache(caches, weights, y)

    def backward(self, grad_y: Array, cache: EncoderCache) -> tuple[Any, Params]:
        """Map the gradient of y to None, for tokens have none, and the gradients of all parts."""
        check_cache("cache in Encoder.backward", cache, EncoderCache)
        check_like("grad_y in Encoder.backward", grad_y, cache.y)
        kept = cache.children
        grads: dict[str, Params] = {}
        g = cache.weights * grad_y[..., None, :]  # nothing for padding
        trains = any(self.children[name].trainable for name in ("tokens", "positions", "norm"))
        rows, grads["blocks"] = self.blocks.backward(g, kept["blocks"], need_grad_x=trains)
        grads |= {"norm": {}, "tokens": {}, "positions": {}}
        if rows is not None:
            rows, grads["norm"] = self.norm.backward(rows, kept["norm"])
            grads |= self._embed_backward(rows, kept)
        return None, joined({name: grads[name] for name in self.children})

    def _without_padding(self, x: Any) -> tuple[Any, NDArray[np.bool]]:
        """Return the tokens up to the end of the longest text, and which of them are no padding."""
        check_tokens("x in Encoder.forward", x, len(self.tokens.W))
        mask = x != self.padding
        used = mask.reshape(-1, x.shape[-1]).any(axis=0)
        if not used.any():
            raise LoraRefError("x in Encoder.forward is padding alone, expected a token at least")
        end = int(np.flatnonzero(used)[-1]) + 1
        return x[..., :end], mask[..., :end]

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
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Draw an encoder as BERT does: all weights normal with 0.02, norms after each sum."""
        sizes = {"vocabulary": vocabulary, "context": context, "features": features}
        check_sizes("Encoder.init", rng, **sizes, blocks=blocks)

        def table(rows: int) -> Embedding:
            return Embedding(rng.normal(0.0, 0.02, (rows, features)).astype(dtype))

        options: Any = {"causal": False, "pre_norm": False, "activation": "gelu", "dtype": dtype}
        row = {str(i): Block.init(features, heads, rng, **options) for i in range(blocks)}
        norm = LayerNorm.init(features, dtype)
        return cls(table(vocabulary), table(context), norm, Network(row))
