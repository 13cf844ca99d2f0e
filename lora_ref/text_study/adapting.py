"""The setting of the study on text: texts, seeds, steps, and one training, which is kept."""

from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors
from lora_ref.checks import Params
from lora_ref.text_study import measures
from lora_ref.text_study.methods import METHODS
from lora_ref.transformer.language_model import LanguageModel, Schedule
from lora_ref.transformer.pretrain import BASE_TEXTS, HELD_OUT, WEIGHTS
from lora_ref.transformer.texts import text

NEW, OLD = ("verse", "play"), tuple(BASE_TEXTS)
"""The texts to adapt to, and those of the base."""

SEEDS, TUNING_SEEDS = 4, (1001, 1002)
STEPS, BATCH, WARMUP = 200, 8, 20

OLD_TEST = 10_000
"""Characters of the test part of each old text that losses are measured on."""

NORMS = "gradient_norms"
"""The name beside the arrays of a kept model."""

Record = dict[str, Any]


class Folders(NamedTuple):
    """Where the archives of the texts are, and where trained models are kept."""

    texts: Path
    models: Path


class Adapted(NamedTuple):
    """What one training leaves: every array, updates merged, and each step's gradient norm."""

    arrays: Params
    norms: Any

    @property
    def clipped(self) -> float:
        """The share of the steps whose gradient was clipped."""
        return float(np.mean(np.asarray(self.norms) > schedule(0).max_norm))


def rate(k: int) -> float:
    """Return the learning rate ``0.001 * 2**k``."""
    return 1e-3 * 2.0**k


def exponent(lr: float) -> int:
    """Return the k of a learning rate."""
    return round(float(np.log2(lr / rate(0))))


def schedule(k: int) -> Schedule:
    """Return how every method is trained, at its own rate."""
    return Schedule(STEPS, BATCH, rate(k), WARMUP)


@cache
def base() -> LanguageModel:
    """Return the base with every array of it trainable."""
    return LanguageModel.load(WEIGHTS / "base")


@cache
def part(name: str, which: str, folder: Path) -> str:
    """Return what of a text is trained on, validated on, or tested on.

    The test part is that on which nothing of the base was trained either.
    """
    whole = text(name, folder)
    ends = {
        "train": slice(-2 * HELD_OUT),
        "validation": slice(-2 * HELD_OUT, -HELD_OUT),
        "test": slice(-HELD_OUT, None),
    }
    return whole[ends[which]]


def old_part(name: str, folder: Path) -> str:
    """Return what of an old text losses are measured on."""
    return part(name, "test", folder)[-OLD_TEST:]


def adapt(method: str, new: str, seed: int, k: int, folder: Path) -> tuple[LanguageModel, Any]:
    """Return the adapted model, and each step's gradient norm before clipping."""
    start = METHODS[method].build(base().gpt, np.random.default_rng([seed, 1]))
    rng = np.random.default_rng([seed, 2])  # the same batches for every method
    model, history = base().with_gpt(start).trained(part(new, "train", folder), schedule(k), rng)
    return model, np.asarray(history.norms)


def adapted(method: str, new: str, seed: int, k: int, folders: Folders) -> Adapted:
    """Return the arrays of the adapted model: the kept ones, or those of a training now."""
    path = folders.models / f"{method}--{new}--{seed}--{k}.safetensors"
    if not path.exists():
        model, norms = adapt(method, new, seed, k, folders.texts)
        folders.models.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, {**measures.arrays_of(model.gpt), NORMS: norms})
    arrays = dict(read_safetensors(path))
    return Adapted(arrays, arrays.pop(NORMS))


def numbers(method: str) -> int:
    """Return how many numbers a method trains."""
    start = METHODS[method].build(base().gpt, np.random.default_rng(0))
    return sum(array.size for array in start.trainable.values())


def with_arrays(arrays: Params) -> LanguageModel:
    """Return the base with other arrays."""
    return base().with_gpt(base().gpt.with_params(arrays))


def losses_of(model: LanguageModel, new: str, folder: Path) -> list[float]:
    """Return the loss on the test part of a new text, and the mean over the old texts'."""
    return [round(model.loss(part(new, "test", folder)), 4), round(old_loss(model, folder), 4)]


def old_loss(model: LanguageModel, folder: Path) -> float:
    """Return the mean of the losses on the old texts."""
    return fmean(model.loss(old_part(name, folder)) for name in OLD)


@cache
def off(new: str, folder: Path) -> list[float]:
    """Return the losses of the base."""
    return losses_of(base(), new, folder)


def facts(folder: Path) -> dict[str, Any]:
    """Return what the losses are to be compared with: chance, frequencies alone, and sizes.

    The unigram loss is that of the frequencies of tokens in the training part, each count plus
    one half.
    """
    encode, context = base().tokenizer.encode, base().gpt.context
    found: dict[str, Any] = {"chance": round(float(np.log(base().tokenizer.vocabulary)), 4)}
    for name in NEW:
        trained, tested = (encode(part(name, which, folder)) for which in ("train", "test"))
        counts = np.bincount(trained, minlength=base().tokenizer.vocabulary) + 0.5
        found[name] = {
            "train_tokens": len(trained),
            "test_tokens": len(tested),
            "epochs": round(STEPS * BATCH * context / len(trained), 2),
            "unigram": round(float(-np.log(counts / counts.sum())[tested].mean()), 4),
        }
    for name in OLD:
        found[name] = {"test_tokens": len(encode(old_part(name, folder)))}
    return found
