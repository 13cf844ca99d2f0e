"""A classifier of sentences: MiniLM, on which LoRA may stand, and a linear head on its row.

An adapter and its head lie on disk as PEFT stores them for BERT's classifiers, under the names
``bert`` and ``classifier``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from lora_ref.checkpoint.peft import load_peft, save_peft
from lora_ref.checkpoint.safetensors import read_safetensors
from lora_ref.checks import Array
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import layers_of
from lora_ref.layers.linear import Linear
from lora_ref.ops import softmax
from lora_ref.sentiment.snippets import Snippets
from lora_ref.training import AdamW, History, Network, train
from lora_ref.transformer.minilm import (
    WIDTH,
    SentenceEncoder,
    bert_name,
    layers_from,
    minilm,
    sentence_encoder,
    stored,
)

ALONE = Path(__file__).parent / "weights" / "head.safetensors"
ADAPTED = Path(__file__).parent / "weights" / "lora"
"""What the package keeps: a head that was trained alone, and an adapter with its head."""

ENCODER, HEAD = "bert.", "classifier"
"""What the parts are called on disk."""

LONGEST = 40
"""Tokens that training reads of a text: all of nine snippets in ten."""

STEPS, BATCH, WARMUP, HEAD_RATE = 150, 16, 15, 1e-3
"""One pass over the training films, and the learning rate of the head in all methods."""

PASS = 6
"""Texts in a pass. Of a batch in order of length the six longest have about as many tokens as the
other ten, so that two threads are done at about the same time."""


@dataclass(frozen=True, repr=False)
class Classifier:
    """Reads a text and says how likely it is that people would rate it as positive.

    Parameters
    ----------
    sentences : SentenceEncoder
        From texts to rows.
    head : Linear
        From a row to two logits: negative, positive.
    """

    sentences: SentenceEncoder
    head: Linear

    @property
    def network(self) -> Network:
        """The two parts in a row, from tokens to logits."""
        return Network({"encoder": self.sentences.encoder, "head": self.head})

    def with_network(self, network: Network) -> Self:
        """Return a classifier with the parts of another network."""
        parts: Any = network.layers
        return replace(
            self, sentences=self.sentences.with_encoder(parts["encoder"]), head=parts["head"]
        )

    def probabilities(self, texts: Sequence[str]) -> Array:
        """Return the probability that each text is positive."""
        tokens, found = self.sentences.tokens(texts), np.empty(len(texts))
        by_length = np.argsort((tokens > 0).sum(axis=1), kind="stable")  # short ones together
        for part in np.array_split(by_length, -(-len(texts) // 64)):
            logits, _ = self.network.forward(tokens[part])
            found[part] = softmax(logits)[0][:, 1]
        return found

    def accuracy(self, snippets: Snippets) -> tuple[float, float]:
        """Return the share of texts that are classified right, and its mean over both classes."""
        right = (self.probabilities(snippets.texts) > 0.5) == snippets.labels
        classes = [right[snippets.labels == label].mean() for label in (0, 1)]
        return float(right.mean()), float(np.mean(classes))

    def trained(
        self,
        snippets: Snippets,
        lr: float,
        rng: np.random.Generator,
        *,
        threads: int = 1,
        steps: int = STEPS,
    ) -> tuple[Self, History]:
        """Return the classifier after training on snippets; `lr` is that of all but the head."""
        network = self.network
        whole = any(not name.startswith("head.") for name in network.trainable)
        ratios = dict.fromkeys(("head.W", "head.bias"), HEAD_RATE / lr) if whole else {}
        tokens = self.sentences.tokens(snippets.texts, LONGEST)
        network, history = train(
            network,
            tokens,
            snippets.labels,
            optimizer=AdamW(lr, weight_decay=0.0, lr_ratio=ratios),
            steps=steps,
            batch=BATCH,
            rng=rng,
            schedule=_rise_and_fall,
            max_norm=1.0,
            micro_batch=PASS,
            sort_by=(tokens > 0).sum(axis=1),
            threads=threads,
        )
        return self.with_network(network), history

    def save(self, folder: Path) -> None:
        """Write adapter and head in 16 bits, as PEFT does."""
        encoder = layers_of(self.sentences.encoder)
        named = {
            f"{ENCODER}{bert_name(path)}": layer
            for path, layer in encoder.items()
            if not path.endswith(".act")
        }
        save_peft(folder, {**named, HEAD: self.head}, dtype=np.float16, base="all-MiniLM-L6-v2")


def plain() -> Classifier:
    """Return the pretrained encoder with a head of zeros, which alone trains."""
    return Classifier(minilm(), Linear(*_no_head()))


def with_head(path: Path, base: Mapping[str, Array] | None = None) -> Classifier:
    """Return the pretrained encoder with a head that was trained alone, from its file.

    `base` is what `stored` returned, where it has been read already.
    """
    encoder = sentence_encoder(layers_from(stored() if base is None else base))
    arrays = {name: a.astype(np.float32) for name, a in read_safetensors(path).items()}
    return Classifier(encoder, Linear(arrays["weight"], arrays["bias"]))


def with_adapter(folder: Path, base: Mapping[str, Array] | None = None) -> Classifier:
    """Return the pretrained encoder with the adapter and the head that `Classifier.save` wrote.

    `base` is what `stored` returned, where it has been read already.
    """
    weights, bias = _no_head()
    base = stored() if base is None else base
    arrays = {f"{ENCODER}{name}": array for name, array in base.items()}
    layers: dict[str, Layer] = layers_from(base)
    adapted: Mapping[str, Any] = load_peft(
        folder, {**arrays, f"{HEAD}.weight": weights, f"{HEAD}.bias": bias}
    )
    layers |= {
        name: adapted[f"{ENCODER}{name}"]
        for name, layer in layers.items()
        if isinstance(layer, Linear)
    }
    return Classifier(sentence_encoder(layers), adapted[HEAD])


def _no_head() -> tuple[Array, Array]:
    """Return weights and bias of a head that finds both classes equally likely."""
    return np.zeros((2, WIDTH), np.float32), np.zeros(2, np.float32)


def _rise_and_fall(step: int, steps: int) -> float:
    """Return the factor of the learning rate: up in `WARMUP` steps, and down in a straight line."""
    return min((step + 1) / WARMUP, (steps - step) / (steps - min(WARMUP, steps) + 1))
