"""What the runs on rated sentences show: accuracies by seed, and differences between methods."""

import json
from collections.abc import Mapping
from importlib.resources import files
from statistics import fmean
from typing import Any, NamedTuple

from lora_ref.study.records import mean_error
from lora_ref.text_study.findings import Difference


class Sentence(NamedTuple):
    """A sentence that holds where one method is more accurate than another."""

    text: str
    better: str
    worse: str


SENTENCES = (
    Sentence("LoRA (r = 8) beats the head alone", "lora-8", "head"),
    Sentence("LoRA of rank 1 beats the head alone", "lora-1", "head"),
    Sentence("LoRA of rank 8 beats rank 1 at the same rate", "lora-8", "lora-1"),
    Sentence("LoRA of rank 64 beats rank 8", "lora-64", "lora-8"),
    Sentence("the same twelve matrices whole beat LoRA (r = 8)", "matrices", "lora-8"),
    Sentence("everything beats LoRA (r = 8)", "full", "lora-8"),
    Sentence("LoRA (r = 8) beats the twelve matrices, cut to 8 directions", "lora-8", "matrices/8"),
    Sentence(
        "the matrices cut to 8 directions beat them cut to all others",
        "matrices/8",
        "matrices/beyond-8",
    ),
    Sentence("LoRA (r = 8) beats the same in shuffled blocks", "lora-8", "shuffled"),
    Sentence("in shuffled blocks LoRA (r = 8) beats the head alone", "shuffled", "shuffled-head"),
    Sentence("the head alone beats the head on shuffled blocks", "head", "shuffled-head"),
)
"""What is judged, on each kind of text. ``matrices/8`` is `matrices`, its changes cut afterwards to
their 8 leading directions, and ``matrices/beyond-8`` to all others."""

PLAIN, BALANCED = 0, 1
"""The two accuracies of a record: the share of texts, and its mean over both classes."""


def committed() -> dict[str, Any]:
    """Return the results that come with the package."""
    text = files("lora_ref.sentiment").joinpath("results.json").read_text(encoding="utf-8")
    results: dict[str, Any] = json.loads(text)
    return results


def accuracies(
    results: Mapping[str, Any], method: str, kind: str, which: int = PLAIN
) -> list[float]:
    """Return the accuracy of each seed in percent, in order; the method may be ``matrices/8``."""
    name, _, cut = method.partition("/")
    runs = sorted((r for r in results["runs"] if r["method"] == name), key=lambda r: r["seed"])
    return [100 * (r["cut"][cut] if cut else r["accuracy"])[kind][which] for r in runs]


def difference(
    results: Mapping[str, Any], sentence: Sentence, kind: str, which: int = PLAIN
) -> Difference:
    """Return by how many points one method is ahead of another, seed by seed."""
    better, worse = (accuracies(results, m, kind, which) for m in (sentence.better, sentence.worse))
    apart = [a - b for a, b in zip(better, worse, strict=True)]
    mean, error = mean_error(apart)
    return Difference(mean, float(error or 0), len(apart))


def mean_accuracy(results: Mapping[str, Any], method: str, kind: str, which: int = PLAIN) -> float:
    """Return the mean accuracy over seeds, in percent."""
    return fmean(accuracies(results, method, kind, which))
