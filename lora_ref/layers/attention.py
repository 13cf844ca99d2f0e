"""Multi-head attention: each token takes from the others, and each projection is a layer.

Vaswani et al., "Attention Is All You Need", 2017, arXiv 1706.03762.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, Params, as_count, as_flag, check_cache, check_float
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import Composite, joined
from lora_ref.ops.attention import AttentionOpCache, attention, attention_backward

Past = tuple[Array, Array]
"""Keys and values of earlier tokens, (..., heads, tokens, width of a head): a key/value cache."""


class AttentionCache(NamedTuple):
    """What `Attention.backward` needs: the cache of each projection and of the heads."""

    children: dict[str, Any]
    inner: AttentionOpCache
    heads: int


@dataclass(frozen=True, eq=False, repr=False)
class Attention(Composite):
    """Computes ``y = o(concat(attention(q(x), k(x), v(x)) of each head))``.

    The axis before the last is the sequence; further axes before it are a batch, whose sequences do
    not see each other.

    Parameters
    ----------
    q, k, v : Layer
        Projections to queries, keys and values, rows to rows: a `Linear`, a `LoRALinear`, or any
        other layer of the contract. The width of each divides into `heads`.
    o : Layer
        Projection of what the heads return, side by side.
    heads : int
        Number of heads.
    causal : bool
        Whether a token sees itself and earlier tokens alone.

    Examples
    --------
    >>> from lora_ref.layers.linear import Linear
    >>> attention = Attention(*(Linear(np.eye(6)) for _ in range(4)), heads=2, causal=True)
    >>> attention
    Attention(q, k, v, o: heads=2, causal)
    >>> sorted(attention.trainable)
    ['k.W', 'o.W', 'q.W', 'v.W']
    """

    q: Layer
    k: Layer
    v: Layer
    o: Layer
    heads: int
    causal: bool = False

    affine_in_each_argument: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = True
    child_names: ClassVar[tuple[str, ...]] = ("q", "k", "v", "o")
    keywords: ClassVar[tuple[str, ...]] = ("attention_mask",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "heads", as_count("heads in Attention", self.heads))
        object.__setattr__(self, "causal", as_flag("causal in Attention", self.causal))

    def forward(
        self,
        x: Array,
        *,
        attention_mask: NDArray[np.bool] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> tuple[Array, AttentionCache]:
        """Map x of shape (..., tokens, features) to y of the same leading axes.

        Parameters
        ----------
        x : ndarray of shape (tokens, features), or with more leading axes
            One sequence, or a batch of them.
        attention_mask : bool ndarray of the shape of x without its last axis, optional
            True for tokens, False for padding, from which nobody takes anything. With `causal` the
            padding stands behind the tokens: before them it would see nothing.
        keywords : mapping of str to value, optional
            Keywords of the projections, by dotted name: ``{"q.mask": mask}``.
        """
        parts = self.route("Attention.forward", keywords)
        projected, caches = {}, {}
        for name in ("q", "k", "v"):
            rows, caches[name] = self.children[name].forward(x, **parts.get(name, {}))
            projected[name] = self._split(name, rows)
        allowed = self._allowed(x.shape[:-1], attention_mask)
        context, inner = attention(**projected, allowed=allowed)
        y, caches["o"] = self.o.forward(_merged(context), **parts.get("o", {}))
        return y, AttentionCache(caches, inner, self.heads)

    def backward(self, grad_y: Array, cache: AttentionCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of the projections."""
        check_cache("cache in Attention.backward", cache, AttentionCache, heads=self.heads)
        grads = {}
        grad_context, grads["o"] = self.o.backward(grad_y, cache.children["o"])
        by_head = attention_backward(self._split("o", grad_context), cache.inner)
        parts = []
        for name, grad in zip(("q", "k", "v"), by_head, strict=True):
            part, grads[name] = self.children[name].backward(_merged(grad), cache.children[name])
            parts.append(part)
        grad_x = parts[0] + parts[1] + parts[2]  # x went into all three
        return grad_x, joined({name: grads[name] for name in self.children})

    def extend(self, x: Array, past: Past | None = None) -> tuple[Array, Past]:
        """Map the rows of new tokens to y, and return keys and values for those after them.

        In text that is written token by token, keys and values of earlier tokens stay what they
        are. So each token is projected once. Needs ``causal=True``.
        """
        if not self.causal:
            raise LoraRefError("Attention.extend needs causal=True: later tokens change nothing")
        q, k, v = (self._split(name, self.children[name].forward(x)[0]) for name in "qkv")
        if past is not None:
            _check_past(past, k, v)
            k, v = (np.concatenate(pair, axis=-2) for pair in zip(past, (k, v), strict=True))
        allowed = np.tri(q.shape[-2], k.shape[-2], k.shape[-2] - q.shape[-2], dtype=np.bool)
        context, _ = attention(q, k, v, allowed=allowed)
        return self.o.forward(_merged(context))[0], (k, v)

    def _split(self, name: str, rows: Array) -> Array:
        """Return (..., tokens, heads * width) as (..., heads, tokens, width)."""
        if rows.ndim < 2 or rows.shape[-1] % self.heads:
            raise ShapeError(
                f"{name} in Attention returns shape {rows.shape}, "
                f"expected (..., tokens, a multiple of heads={self.heads})"
            )
        split = rows.reshape(*rows.shape[:-1], self.heads, -1)
        return np.swapaxes(split, -2, -3)

    def _allowed(
        self, shape: tuple[int, ...], attention_mask: NDArray[np.bool] | None
    ) -> NDArray[np.bool] | None:
        """Return which token may take from which, to broadcast to (..., heads, tokens, tokens)."""
        tokens = shape[-1]
        causal = np.tri(tokens, dtype=np.bool) if self.causal else None
        if attention_mask is None:
            return causal
        given: Any = attention_mask
        if not isinstance(given, np.ndarray) or given.dtype != np.bool or given.shape != shape:
            got = f"{getattr(given, 'dtype', type(given).__name__)} of shape {np.shape(given)}"
            raise ShapeError(
                f"attention_mask in Attention.forward is {got}, expected bool of shape {shape}"
            )
        some = (attention_mask[..., :1] if self.causal else attention_mask).any(axis=-1)
        if not some.all():
            where = f" of sequence {tuple(map(int, np.argwhere(~some)[0]))}" if some.ndim else ""
            hidden, expected = "every token", "one that is True"
            if self.causal:
                hidden = "the first token"
                expected = "padding behind the tokens: with causal=True it sees itself alone"
            raise LoraRefError(
                f"attention_mask in Attention.forward hides {hidden}{where}, expected {expected}"
            )
        padded: NDArray[np.bool] = attention_mask[..., None, None, :]
        return padded if causal is None else padded & causal

    def __repr__(self) -> str:
        """Heads and the direction in which they look, on one line."""
        causal = ", causal" if self.causal else ""
        return f"{type(self).__name__}(q, k, v, o: heads={self.heads}{causal})"


def _check_past(past: object, k: Array, v: Array) -> None:
    """Raise unless `past` holds keys and values of earlier tokens of the same sequences."""
    what = "past in Attention.extend"
    if not isinstance(past, tuple) or len(past) != 2:
        raise LoraRefError(
            f"{what} is {type(past).__name__}, expected keys and values, as extend returns them"
        )
    for name, earlier, new in zip(("keys", "values"), past, (k, v), strict=True):
        check_float(f"{name} of {what}", earlier, new.dtype)
        *leading, _, width = new.shape
        if earlier.shape[:-2] != tuple(leading) or earlier.shape[-1] != width:
            expected = ", ".join(map(str, (*leading, "tokens", width)))
            raise ShapeError(
                f"{name} of {what} have shape {earlier.shape}, expected ({expected}): the same "
                "batch, heads and width as those of x"
            )


def _merged(by_head: Array) -> Array:
    """Return (..., heads, tokens, width) as (..., tokens, heads * width)."""
    merged = np.swapaxes(by_head, -2, -3)
    return merged.reshape(*merged.shape[:-2], -1)
