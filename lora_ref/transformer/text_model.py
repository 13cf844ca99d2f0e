"""What a decoder and an encoder share: embeddings of tokens and positions, and blocks."""

from typing import Any, ClassVar

import numpy as np

from lora_ref.checks import Array, Params, as_count, check_generator
from lora_ref.errors import LoraRefError
from lora_ref.layers.composite import Composite
from lora_ref.layers.embedding import Embedding
from lora_ref.training.network import Network


class TextModel(Composite):
    """A composite that reads tokens.

    Subclasses are dataclasses with these entries, and with more of their own.
    """

    tokens: Embedding
    positions: Embedding
    blocks: Network

    affine_in_each_argument: ClassVar[bool] = False
    mixes_rows: ClassVar[bool] = True

    @property
    def context(self) -> int:
        """The number of tokens in the longest text that it can read."""
        return len(self.positions.W)

    def _embed(self, x: Any, start: int = 0) -> tuple[Array, dict[str, Any]]:
        """Return a row for each token of a text that begins at a place, and the two caches."""
        rows, of_tokens = self.tokens.forward(x)  # (..., n, features)
        end = start + x.shape[-1]
        if end > self.context:
            raise LoraRefError(
                f"a text of {end} tokens is given to {self!r}, expected a shorter one"
            )
        places, of_places = self.positions.forward(np.arange(start, end))
        return rows + places, {"tokens": of_tokens, "positions": of_places}

    def _embed_backward(self, grad_rows: Array, kept: dict[str, Any]) -> dict[str, Params]:
        """Return the gradients of both embeddings; a place is in every text."""
        _, of_tokens = self.tokens.backward(grad_rows, kept["tokens"])
        by_text = grad_rows.reshape(-1, *grad_rows.shape[-2:]).sum(axis=0)
        _, of_places = self.positions.backward(by_text, kept["positions"])
        return {"tokens": of_tokens, "positions": of_places}

    def __repr__(self) -> str:
        """Sizes, and how much trains, on one line."""
        vocabulary, features = self.tokens.W.shape
        count = sum(array.size for array in self.trainable.values())
        return (
            f"{type(self).__name__}(vocabulary={vocabulary}, context={self.context}, "
            f"features={features}, blocks={len(self.blocks.layers)}{self._more()}: "
            f"{count} parameters train)"
        )

    def _more(self) -> str:
        """Return what `repr` adds to the sizes."""
        return ""


def check_sizes(where: str, rng: np.random.Generator, **sizes: int) -> None:
    """Raise unless each size of a model is a whole number of at least 1, and rng a generator."""
    for name, size in sizes.items():
        as_count(f"{name} in {where}", size)
    check_generator(f"rng in {where}", rng)
