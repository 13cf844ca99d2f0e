"""The block of a transformer: attention, then a small network for each token by itself."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lora_ref.checks import Array, Params, as_flag, check_cache
from lora_ref.layers.activation import Activation
from lora_ref.layers.attention import Attention, Past
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import Composite, joined
from lora_ref.layers.linear import Linear
from lora_ref.layers.norm import LayerNorm
from lora_ref.training.network import Network


class BlockCache(NamedTuple):
    """What `Block.backward` needs: the cache of each child, by name."""

    children: dict[str, Any]
    pre_norm: bool


@dataclass(frozen=True, eq=False, repr=False)
class Block(Composite):
    """Adds to each token what attention brings from others, and then what an MLP makes of it.

    With ``pre_norm`` (GPT-2) ``h = x + attention(norm1(x))`` and ``y = h + mlp(norm2(h))``.
    Without it (BERT) ``h = norm1(x + attention(x))`` and ``y = norm2(h + mlp(h))``.

    Parameters
    ----------
    attention : Attention
        Its width out is its width in.
    norm1, norm2 : Layer
        `LayerNorm` or `RMSNorm`.
    mlp : Layer
        From rows to rows of the same width; usually a `Network` of ``fc1``, ``act``, ``fc2``.
    pre_norm : bool
        Where the norms stand.
    """

    attention: Attention
    norm1: Layer
    mlp: Layer
    norm2: Layer
    pre_norm: bool = True

    affine_in_each_argument: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = True
    child_names: ClassVar[tuple[str, ...]] = ("attention", "norm1", "mlp", "norm2")
    keywords: ClassVar[tuple[str, ...]] = ("attention_mask",)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pre_norm", as_flag("pre_norm in Block", self.pre_norm))

    def forward(
        self,
        x: Array,
        *,
        attention_mask: NDArray[np.bool] | None = None,
        keywords: Mapping[str, Any] | None = None,
    ) -> tuple[Array, BlockCache]:
        """Map x of shape (..., tokens, features) to y of the same shape.

        The keywords are those of `Attention.forward`.
        """
        parts = self.route("Block.forward", keywords)
        caches: dict[str, Any] = {}
        parts["attention"] = {"attention_mask": attention_mask, **parts.get("attention", {})}

        def through(name: str, rows: Array) -> Array:
            y: Array
            y, caches[name] = self.children[name].forward(rows, **parts.get(name, {}))
            return y

        if self.pre_norm:
            x = x + through("attention", through("norm1", x))
            x = x + through("mlp", through("norm2", x))
        else:
            x = through("norm1", x + through("attention", x))
            x = through("norm2", x + through("mlp", x))
        return x, BlockCache(caches, self.pre_norm)

    def backward(self, grad_y: Array, cache: BlockCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of all parts.

        Where a sum goes forward, the gradient goes back along both of its terms.
        """
        what = "cache in Block.backward"
        check_cache(what, cache, BlockCache, pre_norm=self.pre_norm)
        grads: dict[str, Params] = {}

        def back(name: str, grad: Array) -> Array:
            grad_x: Array
            grad_x, grads[name] = self.children[name].backward(grad, cache.children[name])
            return grad_x

        g = grad_y
        if self.pre_norm:
            g = g + back("norm2", back("mlp", g))
            g = g + back("norm1", back("attention", g))
        else:
            g = back("norm2", g)
            g = back("norm1", g + back("mlp", g))
            g = g + back("attention", g)
        return g, joined({name: grads[name] for name in self.children})

    def extend(self, x: Array, past: Past | None = None) -> tuple[Array, Past]:
        """Map the rows of new tokens to y, given keys and values of those before them."""

        def rows(name: str, x: Array) -> Array:
            return self.children[name].forward(x)[0]

        if self.pre_norm:
            brought, past = self.attention.extend(rows("norm1", x), past)
            x = x + brought
            return x + rows("mlp", rows("norm2", x)), past
        brought, past = self.attention.extend(x, past)
        x = rows("norm1", x + brought)
        return rows("norm2", x + rows("mlp", x)), past

    @classmethod
    def init(
        cls,
        features: int,
        heads: int,
        rng: np.random.Generator,
        *,
        causal: bool,
        pre_norm: bool = True,
        activation: str = "gelu_tanh",
        std: float = 0.02,
        std_out: float = 0.02,
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Draw a block whose MLP is four times as wide inside.

        Weights are normal with `std`, those of the two layers that add to x with `std_out`; biases
        are zero.
        """

        def linear(out: int, into: int, spread: float) -> Linear:
            W = rng.normal(0.0, spread, (out, into)).astype(dtype)
            return Linear(W, np.zeros(out, dtype))

        q, k, v = (linear(features, features, std) for _ in range(3))
        attention = Attention(q, k, v, linear(features, features, std_out), heads, causal)
        fc1 = linear(4 * features, features, std)
        fc2 = linear(features, 4 * features, std_out)
        mlp = Network({"fc1": fc1, "act": Activation(activation), "fc2": fc2})
        norm1, norm2 = (LayerNorm.init(features, dtype) for _ in range(2))
        return cls(attention, norm1, mlp, norm2, pre_norm)

    def __repr__(self) -> str:
        """Say where the norms stand, and what attention there is."""
        norms = "pre_norm" if self.pre_norm else "post_norm"
        return f"{type(self).__name__}({norms}, {self.attention!r})"
