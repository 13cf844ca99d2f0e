"""The embedding: a row of numbers for each token."""

from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import (
    AnyDType,
    Array,
    Params,
    check_cache,
    check_parameter,
    check_rows,
)
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, check_train, chosen, freeze_untrained


class EmbeddingCache(NamedTuple):
    """What `Embedding.backward` needs from the forward pass."""

    tokens: NDArray[np.integer[Any]]
    features: int


@dataclass(frozen=True, eq=False, repr=False)
class Embedding(Layer):
    """Looks up a row of W for each token: ``y = W[x]``.

    The same as a linear layer on one-hot rows, without the products with 0.

    Parameters
    ----------
    W : ndarray of shape (vocabulary, features)
        A row for each token.
    train : tuple of str
        ``("W",)``, or ``()`` for a frozen and read-only W.

    Examples
    --------
    >>> layer = Embedding(np.array([[0.0, 1.0], [2.0, 3.0], [4.0, 5.0]]))
    >>> layer
    Embedding(vocabulary=3, features=2, float64, train=W)
    >>> y, cache = layer.forward(np.array([2, 0, 2]))
    >>> y.tolist()
    [[4.0, 5.0], [0.0, 1.0], [4.0, 5.0]]
    >>> layer.backward(np.ones((3, 2)), cache)[1]["W"].tolist()  # token 2 stands there twice
    [[1.0, 1.0], [0.0, 0.0], [2.0, 2.0]]
    """

    W: Array
    train: tuple[str, ...] = ("W",)

    affine_in_each_argument: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_parameter("W in Embedding", self.W, vocabulary=None, features=None)
        check_train("Embedding", self.train, ("W",))
        freeze_untrained(self)

    @property
    def trainable(self) -> Params:
        """W, if it trains."""
        return chosen(self, ("W",))

    def forward(self, x: Any) -> tuple[Array, EmbeddingCache]:
        """Map tokens of any shape, integers from 0 to vocabulary - 1, to y with one axis more."""
        check_tokens("x in Embedding.forward", x, len(self.W))
        return self.W[x], EmbeddingCache(x, self.W.shape[1])

    def backward(self, grad_y: Array, cache: EmbeddingCache) -> tuple[Any, Params]:
        """Map grad_y, shaped like y, to None and the gradient of W, if it trains.

        A token has no gradient. The rows of grad_y that belong to the same token add up.
        """
        where, features = "Embedding.backward", self.W.shape[1]
        check_cache(f"cache in {where}", cache, EmbeddingCache, features=features)
        leading, what = cache.tokens.shape, f"grad_y in {where}"
        g = check_rows(what, grad_y, self.W.dtype, leading=leading, features=features)
        if not self.train:
            return None, {}
        return None, {"W": sum_by_token(g, cache.tokens.ravel(), len(self.W))}

    def __repr__(self) -> str:
        """Sizes, dtype and what trains, on one line."""
        vocabulary, features = self.W.shape
        return (
            f"{type(self).__name__}(vocabulary={vocabulary}, features={features}, "
            f"{self.W.dtype}, train={'+'.join(self.trainable) or 'nothing'})"
        )


def sum_by_token(rows: Array, tokens: NDArray[np.integer[Any]], vocabulary: int) -> Array:
    """Return the sum of the rows that belong to each token, zeros where there are none.

    The rows are sorted by token and added in runs; ``np.add.at`` does the same, far slower.
    """
    total = np.zeros((vocabulary, rows.shape[1]), rows.dtype)
    order = np.argsort(tokens, kind="stable")
    in_order = tokens[order]
    starts = np.flatnonzero(np.diff(in_order, prepend=-1))
    total[in_order[starts]] = np.add.reduceat(rows[order], starts, axis=0)
    return total


def check_tokens(what: str, tokens: object, vocabulary: int) -> None:
    """Raise `LoraRefError` unless `tokens` is an array of integers from 0 to vocabulary - 1."""
    if not isinstance(tokens, np.ndarray) or isinstance(tokens, np.ma.MaskedArray):
        raise LoraRefError(f"{what} is a {type(tokens).__name__}, expected a plain NumPy array")
    kind: AnyDType = tokens.dtype
    if kind.kind not in "iu":
        raise LoraRefError(f"{what} has dtype {kind}, expected integers: they are tokens")
    if tokens.ndim == 0 or tokens.size == 0:
        raise LoraRefError(f"{what} has shape {tokens.shape}, expected one token at least")
    if tokens.min() < 0 or tokens.max() >= vocabulary:
        where = tuple(int(i) for i in np.argwhere((tokens < 0) | (tokens >= vocabulary))[0])
        raise LoraRefError(
            f"{what} holds {int(tokens[where])} at {where}, "
            f"expected a token from 0 to {vocabulary - 1}"
        )
