"""A decoder with its tokenizer: text in, text out; how it is trained, and how it lies on disk."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors
from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.layers.composite import arrays_of
from lora_ref.ops import softmax_cross_entropy
from lora_ref.read_text import read_text
from lora_ref.training import AdamW, History, Network, cosine, train
from lora_ref.transformer.bpe import Tokenizer
from lora_ref.transformer.generation import generate
from lora_ref.transformer.gpt import GPT

WEIGHTS, CONFIG = "model.safetensors", "config.json"

MICRO_BATCH = 8
"""Windows in a pass: enough for the products, and what a pass keeps fits into a cache."""


class Schedule(NamedTuple):
    """How long a model is trained, on how much in a step, and how fast."""

    steps: int
    batch: int
    lr: float
    warmup: int
    weight_decay: float = 0.0
    betas: tuple[float, float] = (0.9, 0.99)
    max_norm: float = 1.0


@dataclass(frozen=True)
class LanguageModel:
    """A `GPT` and the `Tokenizer` of its vocabulary.

    Parameters
    ----------
    gpt : GPT
        With as many logits as the tokenizer has tokens.
    tokenizer : Tokenizer
        What maps texts to its tokens.
    """

    gpt: GPT
    tokenizer: Tokenizer

    def __post_init__(self) -> None:
        rows = len(self.gpt.tokens.W)
        if rows != self.tokenizer.vocabulary:
            raise LoraRefError(
                f"the GPT has {rows} tokens, expected those of the tokenizer, "
                f"{self.tokenizer.vocabulary}"
            )

    def with_gpt(self, gpt: GPT) -> Self:
        """Return the same tokenizer with another GPT, such as one with an adapter."""
        return replace(self, gpt=gpt)

    def write(
        self, prompt: str, length: int, rng: np.random.Generator, *, temperature: float = 0.8
    ) -> str:
        """Return the text that goes on from a prompt, `length` tokens of it."""
        tokens = self.tokenizer.encode(prompt or "\n")
        found = generate(self.gpt, tokens, length, rng, temperature=temperature)
        return self.tokenizer.decode(found)

    def loss(self, text: str) -> float:
        """Return the mean of ``-log(probability)`` of the tokens of a text, in nats.

        The text is read in windows as long as the context, without overlap.
        """
        windows = self.windows(text)[:: self.gpt.context]
        total = 0.0
        for part in np.array_split(windows, -(-len(windows) // 32)):
            logits, _ = self.gpt.forward(part[:, :-1])
            total += softmax_cross_entropy(logits, part[:, 1:])[0] * len(part)
        return total / len(windows)

    def windows(self, text: str) -> NDArray[np.int64]:
        """Return every run of ``context + 1`` tokens of a text, as a view."""
        tokens, width = self.tokenizer.encode(text), self.gpt.context + 1
        if len(tokens) < width:
            raise LoraRefError(
                f"the text has {len(tokens)} tokens, expected {width} at least to fill a context"
            )
        view: NDArray[np.int64] = np.lib.stride_tricks.sliding_window_view(tokens, width)
        return view

    def trained(
        self,
        text: str,
        schedule: Schedule,
        rng: np.random.Generator,
        *,
        first: int | None = None,
        callback: Callable[[int, Network], Any] | None = None,
        threads: int = 1,
    ) -> tuple[Self, History]:
        """Return the model after training on a text, and the losses; what is frozen stays.

        Each step reads `batch` windows drawn from all places of the text. With `first`, the
        training stops after so many steps; the learning rate still follows the whole schedule.
        `callback` and `threads` are those of `train`.
        """
        windows = self.windows(text)
        warmup = min(schedule.warmup, as_count("steps in trained", schedule.steps) - 1)
        network, history = train(
            Network({"gpt": self.gpt}),  # the loop takes networks
            windows[:, :-1],
            windows[:, 1:],
            optimizer=AdamW(schedule.lr, betas=schedule.betas, weight_decay=schedule.weight_decay),
            steps=schedule.steps if first is None else first,
            batch=schedule.batch,
            rng=rng,
            schedule=lambda step, _: cosine(step, schedule.steps, warmup=warmup),
            max_norm=schedule.max_norm,
            callback=callback,
            micro_batch=MICRO_BATCH,
            threads=threads,
        )
        gpt: Any = network["gpt"]
        return self.with_gpt(gpt), history

    def save(self, folder: Path) -> None:
        """Write the weights in 16 bits and the configuration with the merges to a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {name: a.astype(np.float16) for name, a in arrays_of(self.gpt).items()}
        block: Any = self.gpt.blocks["0"]
        config = {
            "heads": block.attention.heads,
            "blocks": len(self.gpt.blocks.layers),
            "merges": self.tokenizer.merges,
        }
        write_safetensors(folder / WEIGHTS, arrays)
        write_whole(folder / CONFIG, json.dumps(config) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read what `save` wrote, as float32."""
        arrays = {
            name: array.astype(np.float32)
            for name, array in read_safetensors(folder / WEIGHTS).items()
        }
        try:
            config = json.loads(read_text(folder / CONFIG, 1_000_000, "a configuration"))
            merges = tuple(tuple(pair) for pair in config["merges"])
            (vocabulary, features), heads = arrays["tokens.W"].shape, config["heads"]
            context, blocks = len(arrays["positions.W"]), config["blocks"]
        except (ValueError, KeyError, TypeError) as error:
            raise LoraRefError(
                f"{folder} holds no language model that can be read: {error}"
            ) from None
        sizes = (vocabulary, context, features, heads, blocks)
        gpt = GPT.init(*sizes, np.random.default_rng(0), dtype=np.float32)
        return cls(gpt.with_params(arrays), Tokenizer(merges))
