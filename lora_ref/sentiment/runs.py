"""One training, measured; the search for learning rates; all runs, and what their updates share."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, median
from typing import Any, NamedTuple

import numpy as np

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors
from lora_ref.checks import Array, Params
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import arrays_of
from lora_ref.lowrank import rank_of_share, subspace_overlap, truncation_error
from lora_ref.processes import cores
from lora_ref.sentiment.amplification import (
    amplification,
    amplification_of_leading,
    amplification_of_random,
)
from lora_ref.sentiment.classifier import Classifier, plain
from lora_ref.sentiment.methods import METHODS, is_adapted
from lora_ref.sentiment.snippets import FILES, films, tested
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.training import DivergedError
from lora_ref.transformer.adapt import merged

SEEDS, TUNING_SEED = 3, 1001
FACTORS = (0.5, 1.0, 2.0)
"""Learning rates that are tried first, times the middle one of a method."""

SHARE = 0.9
"""Of the squared norm of a change, which so many directions hold."""

FEW = 8
"""Directions of which it is measured what share of the squared norm they hold."""

COUNTS = (1, 2, 4, 8)
"""Leading directions of which it is measured how many two changes share."""

OF_THE_LARGER = (1, 2, 4, 8, 16, 32, 64)
"""Leading directions of an update of rank 64, in which those of one of rank 8 are sought."""

CUTS = {
    "0": slice(0),
    "1": slice(1),
    "2": slice(2),
    "4": slice(4),
    "8": slice(FEW),
    "64": slice(64),
    "beyond-8": slice(FEW, None),
}
"""Singular directions, the leading first, that are kept of the changes of matrices that trained
whole; none is the trained head on the encoder as it was, and the last are the others of ``8``."""

WHOLE = ("matrices", "full")
Record = dict[str, Any]


class Folders(NamedTuple):
    """Where the archive of the texts is, and where the changes of the matrices are kept."""

    texts: Path
    changes: Path


def start(method: str, seed: int) -> Classifier:
    """Return the classifier before its first step."""
    base = plain()
    encoder = METHODS[method].build(base.sentences.encoder, np.random.default_rng([seed, 1]))
    return replace(base, sentences=base.sentences.with_encoder(encoder))


def trained(method: str, seed: int, lr: float, texts: Path, threads: int = 1) -> Classifier:
    """Return the classifier after training; a seed draws the same batches for every method."""
    rng = np.random.default_rng([seed, 2])
    return start(method, seed).trained(films("train", texts), lr, rng, threads=threads)[0]


def adapted_arrays(classifier: Classifier) -> Params:
    """Return the twelve matrices that LoRA adapts, updates merged, by dotted name."""
    whole = arrays_of(merged(classifier.sentences.encoder))
    return {
        name: array
        for name, array in whole.items()
        if name.endswith(".W") and is_adapted(name.removesuffix(".W"))
    }


def attempt(method: str, lr: float, folders: Folders) -> tuple[str, float, float]:
    """Return method, rate and accuracy on the validation films; 0 where training diverged."""
    try:
        classifier = trained(method, TUNING_SEED, lr, folders.texts)
        return method, lr, round(classifier.accuracy(films("validation", folders.texts))[0], 4)
    except DivergedError:
        return method, lr, 0.0


def tune(folders: Folders, methods: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return the accuracy of each rate that was tried; further ones until the best is inside."""
    found: dict[str, dict[float, float]] = {name: {} for name in methods}
    wanted = {(name, METHODS[name].middle * k) for name in methods for k in FACTORS}
    with workers(cores(), len(wanted)) as pool:
        while wanted:
            work = [(name, lr, folders) for name, lr in sorted(wanted)]
            for name, lr, right in map_unordered(attempt, work, pool, "tuning, runs"):
                found[name][lr] = right
            wanted = {(name, lr) for name, tried in found.items() for lr in _beyond(tried)}
    return {
        name: {f"{lr:g}": right for lr, right in sorted(tried.items())}
        for name, tried in found.items()
    }


def _beyond(tried: Mapping[float, float]) -> list[float]:
    """Return the next rate where the best is the first or the last, or nothing."""
    best = max(tried, key=lambda lr: tried[lr])
    ends = {min(tried): min(tried) / 2, max(tried): max(tried) * 2}
    return [ends[best]] if best in ends else []


def best(by_rate: Mapping[str, float]) -> float:
    """Return the rate of the highest accuracy, the smallest of equal ones."""
    return min((-right, float(lr)) for lr, right in by_rate.items())[1]


def run_one(method: str, seed: int, lr: float, folders: Folders) -> Record:
    """Train by one method and test on all kinds of text, or return the record that is kept.

    Beside the record the change of the twelve matrices is kept.
    """
    path = changes_path(method, seed, folders)
    kept = path.with_suffix(".json")
    if kept.exists():
        record: Record = json.loads(kept.read_text(encoding="utf-8"))
        if record["rate"] == lr:
            return record
    before, after = start(method, seed), trained(method, seed, lr, folders.texts)
    old, new = adapted_arrays(before), adapted_arrays(after)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(path, {name: new[name] - old[name] for name in old})
    record = {
        "method": method,
        "seed": seed,
        "rate": lr,
        "parameters": sum(a.size for a in before.network.trainable.values()),
        "accuracy": accuracies_of(after, folders.texts),
    }
    if method == "matrices":
        record["cut"] = {
            name: accuracies_of(with_change_cut(after, old, kept), folders.texts)
            for name, kept in CUTS.items()
        }
    write_whole(kept, json.dumps(record) + "\n")
    return record


def accuracies_of(classifier: Classifier, texts: Path) -> dict[str, list[float]]:
    """Return both accuracies on each kind of text, as they are kept."""
    found = {kind: classifier.accuracy(tested(kind, texts)) for kind in FILES}
    return {kind: [round(share, 4) for share in both] for kind, both in found.items()}


def with_change_cut(after: Classifier, old: Params, kept: slice) -> Classifier:
    """Return a trained classifier with some singular directions of its changes of twelve matrices.

    `old` holds the matrices before training. The head stays as it was trained.
    """

    def cut(path: str, layer: Layer) -> Layer:
        if not is_adapted(path):
            return layer
        before = old[f"{path}.W"].astype(float)
        U, sigma, Vt = np.linalg.svd(layer.W - before, full_matrices=False)  # type: ignore[attr-defined]
        W = before + (U[:, kept] * sigma[kept]) @ Vt[kept]
        return replace(layer, W=W.astype(np.float32))  # type: ignore[type-var]

    sentences = after.sentences
    return replace(after, sentences=sentences.with_encoder(sentences.encoder.mapped(cut)))


def run(folders: Folders, rates: Mapping[str, float], methods: Iterable[str]) -> list[Record]:
    """Run methods with every seed; a record for each, in order."""
    work = [(name, seed, rates[name], folders) for name, seed in product(methods, range(SEEDS))]
    with workers(cores(), len(work)) as pool:
        return in_order(map_unordered(run_one, work, pool, "sentiment, runs"))


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records by method and seed, in the order of every table."""
    order = list(METHODS)
    return sorted(records, key=lambda one: (order.index(one["method"]), one["seed"]))


# ---------------------------------------------------------------------- the changes


def changes_path(method: str, seed: int, folders: Folders) -> Path:
    """Return where the change of the twelve matrices is kept."""
    return folders.changes / f"{method}--{seed}.safetensors"


def measured(folders: Folders, methods: Sequence[str]) -> dict[str, Any]:
    """Return what the changes of the twelve matrices look like, by method.

    Beside them stand W0 itself and, as a control, random matrices of its shapes.
    """
    W0 = {n: a.astype(float) for n, a in adapted_arrays(plain()).items()}
    random = (np.random.default_rng(0).standard_normal(W.shape) for W in W0.values())
    found: dict[str, Any] = {
        name: {
            "directions": rounded(fmean(rank_of_share(M, SHARE) for M in matrices)),
            "held": rounded(fmean(_held(M, FEW) for M in matrices)),
        }
        for name, matrices in (("W0", list(W0.values())), ("random", list(random)))
    }
    for method in methods:
        r = 8 if method in WHOLE else int(method.partition("-")[2])
        by_seed = [_changes(method, seed, folders) for seed in range(SEEDS)]
        found[method] = _measured(by_seed, W0, r, np.random.default_rng(0))
    return found


def between_ranks(smaller: str, larger: str, folders: Folders) -> dict[str, dict[str, float]]:
    """Return how much of the first i directions of one method lies in the first j of another.

    Means over matrices and pairs of *different* seeds: of the same seed the A of both ranks begins
    with the same numbers (LoRA paper, section 7.2 and figure 3).
    """
    few, many = ([_changes(m, s, folders) for s in range(SEEDS)] for m in (smaller, larger))
    pairs = [
        (few[s][n], many[t][n])
        for s, t in product(range(SEEDS), repeat=2)
        if s != t
        for n in few[s]
    ]
    return {
        str(i): {
            str(j): rounded(fmean(subspace_overlap(one, other, i, j) for one, other in pairs))
            for j in OF_THE_LARGER
        }
        for i in COUNTS
    }


def _measured(by_seed: list[Params], W0: Params, r: int, rng: np.random.Generator) -> Record:
    """Return the measures of one method, by seed: means over the matrices, of quotients medians."""

    def by(
        measure: Callable[[Array, Array], float], of_all: Callable[..., float] = fmean
    ) -> list[float]:
        return [rounded(of_all([measure(one[n], W0[n]) for n in W0])) for one in by_seed]

    def amplified(measure: Callable[[Array, Array, int], float]) -> list[float]:
        return by(lambda change, W: measure(change, W, r), median)

    def shared(counts: Iterable[int], pairs: Iterable[tuple[Array, Array]]) -> dict[str, float]:
        both = list(pairs)
        return {
            str(i): rounded(fmean(subspace_overlap(first, second, i, i) for first, second in both))
            for i in counts
            if i <= r
        }

    features = next(iter(W0.values())).shape[1]
    of_seeds = [(a[n], b[n]) for a, b in combinations(by_seed, 2) for n in W0]
    random = [tuple(rng.standard_normal((2, r, features))) for _ in range(20)]
    return {
        "r": r,
        "directions": by(lambda change, W: rank_of_share(change, SHARE)),
        "held": by(lambda change, W: _held(change, FEW)),
        "norm": by(lambda change, W: float(np.linalg.norm(change) / np.linalg.norm(W))),
        "amplification": amplified(amplification),
        "amplification of random": amplified(amplification_of_random),
        "amplification of leading": amplified(amplification_of_leading),
        "overlap": shared(COUNTS, of_seeds),
        "overlap of random": shared(COUNTS, random),
    }


def _held(M: Array, r: int) -> float:
    """Return the share of the squared norm of M that its r leading directions hold."""
    return 1 - float((truncation_error(M, r).frobenius / np.linalg.norm(M)) ** 2)


def _changes(method: str, seed: int, folders: Folders) -> Params:
    stored = read_safetensors(changes_path(method, seed, folders))
    return {name: array.astype(float) for name, array in stored.items()}


def rounded(number: float) -> float:
    """Return a number with four digits, as results are kept."""
    return float(f"{number:.4g}")
