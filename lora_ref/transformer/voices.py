"""Voices: the small language model of this package, and adapters that change how it writes."""

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checkpoint.peft import load_peft
from lora_ref.checks import as_count, as_finite
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer, without_training
from lora_ref.layers.composite import layers_of
from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.multitask import MultiTaskLoRA
from lora_ref.read_text import read_text
from lora_ref.suggestions import nearest
from lora_ref.training import Network
from lora_ref.training.gradients import keep_freed_memory
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.gpt import GPT
from lora_ref.transformer.language_model import LanguageModel, Schedule

WEIGHTS = Path(__file__).parent / "weights"
"""Where the model and its voices are kept: a folder each."""

BASE = "base"

LARGEST_TEXT = 20_000_000
"""Bytes of a text to train on; more take longer than anybody waits."""


def voices() -> tuple[str, ...]:
    """Return the names of the voices that come with the package."""
    folders = (path.parent for path in WEIGHTS.glob("*/adapter_config.json"))
    return tuple(sorted(folder.name for folder in folders))


@cache
def base_model() -> LanguageModel:
    """Return the language model without any voice; nothing in it trains."""
    keep_freed_memory()  # whoever loads it will read texts, and each takes the same large arrays
    model = LanguageModel.load(WEIGHTS / BASE)
    return model.with_gpt(model.gpt.mapped(without_training))


def with_voices(
    model: LanguageModel, names: Sequence[str], strengths: Sequence[float]
) -> LanguageModel:
    """Return a model with the sum of some voices on it, each times its strength.

    Parameters
    ----------
    model : LanguageModel
        The base; it is not modified.
    names : sequence of str
        Voices of the package, or folders with an adapter in PEFT's layout.
    strengths : sequence of float
        A number for each: 0 is off, 1 as trained.
    """
    adapted = [layers_of(load_peft(folder_of(name), model.gpt)) for name in names]
    numbers = [as_finite("a strength", strength) for strength in strengths]

    def change(path: str, layer: Layer) -> Layer:
        here: list[Any] = [layers[path] for layers in adapted]
        found = [
            (one, weight)
            for one, weight in zip(here, numbers, strict=True)
            if isinstance(one, LoRALinear)
        ]
        if not found:
            return layer
        tasks, weights = zip(*found, strict=True)
        return MultiTaskLoRA(tasks, weights)

    return model.with_gpt(model.gpt.mapped(change))


def folder_of(name: str) -> Path:
    """Return the folder of a voice of the package, or the one that is named."""
    if name in voices():
        return WEIGHTS / name
    if not Path(name).is_dir():
        raise LoraRefError(
            f"{name!r} is neither a voice nor a folder, expected a folder or one of: "
            f"{', '.join(voices())}{nearest(name, voices())}"
        )
    return Path(name)


def fingerprint(gpt: GPT) -> str:
    """Return the beginning of a hash of all frozen arrays, the weights of the base."""
    total = hashlib.sha256()
    for path, layer in layers_of(gpt).items():
        for name in ("W", "W0", "bias", "gain"):
            array = getattr(layer, name, None)
            if isinstance(array, np.ndarray):
                total.update(f"{path}.{name.removesuffix('0')}".encode() + array.tobytes())
    return total.hexdigest()[:16]


class Adapted(NamedTuple):
    """A voice of a reader's own text, and the losses on it before and after."""

    model: LanguageModel
    steps: int
    before: float
    after: float
    held_out: bool  # whether the losses are of a part that was not trained on


def adapt(
    base: LanguageModel,
    text: str,
    *,
    r: int,
    targets: Sequence[str],
    steps: int,
    seed: int,
    report: Callable[[int, int], None] = lambda step, steps: None,
    threads: int = 1,
) -> Adapted:
    """Train LoRA on a text; an interruption (Ctrl-C) ends the training and keeps what there is.

    The last tenth of the text is not trained on if it fills a context. `report` is called after
    each step with its number and that of all; `threads` are those of `train`.
    """
    r, steps = as_count("rank", r), as_count("steps", steps)
    rng = np.random.default_rng(seed)
    cut = len(text) - len(text) // 10
    rest = text[cut:]
    held_out = len(base.tokenizer.encode(rest)) > base.gpt.context
    trained_on, compared = (text[:cut], rest) if held_out else (text, text)
    start = base.with_gpt(with_lora(base.gpt, rng, targets=targets, r=r, alpha=2.0 * r))
    latest: list[tuple[int, Any]] = [(0, start.gpt)]

    def keep(step: int, network: Network) -> None:
        latest[0] = step, network["gpt"]
        report(step, steps)

    schedule = Schedule(steps=steps, batch=16, lr=1e-2, warmup=min(20, steps - 1))
    before = base.loss(compared)
    try:
        start.trained(trained_on, schedule, rng, callback=keep, threads=threads)
    except KeyboardInterrupt:
        if not latest[0][0]:
            raise
    made, gpt = latest[0]
    model = base.with_gpt(gpt)
    return Adapted(model, made, before, model.loss(compared), held_out)


def read_own_text(path: Path) -> str:
    """Return the text of a reader's file, or say what is wrong with it."""
    text = read_text(path, LARGEST_TEXT, "a text to train on").replace("\r\n", "\n")
    if not text.strip():
        raise LoraRefError(f"{path} is empty, expected some text to train on")
    return text
