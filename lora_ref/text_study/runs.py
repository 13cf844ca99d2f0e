"""One run of the study on text, the search for a learning rate, and all runs."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from statistics import fmean

import numpy as np

from lora_ref.checks import Params
from lora_ref.processes import cores
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.text_study import measures
from lora_ref.text_study.adapting import (
    NEW,
    SEEDS,
    TUNING_SEEDS,
    Folders,
    Record,
    adapt,
    adapted,
    base,
    exponent,
    losses_of,
    numbers,
    off,
    part,
    rate,
    with_arrays,
)
from lora_ref.text_study.methods import METHODS, RANKS
from lora_ref.training import DivergedError
from lora_ref.transformer.pretrain import HELD_OUT

SWEPT = ("lora-1", "lora-8", "lora-32", "maps", "full")
"""The methods whose update is measured at other strengths, beside a random one, for intruders."""

WIDE = ("lora-8", "maps", "full")
"""The methods of which more learning rates are tried, for a picture."""


def attempt(method: str, new: str, seed: int, k: int, folders: Folders) -> tuple[str, int, float]:
    """Return method, rate and validation loss of one trial; infinite where training diverged."""
    try:
        model, _ = adapt(method, new, seed, k, folders.texts)
        loss = model.loss(part(new, "validation", folders.texts))
    except DivergedError:
        loss = float("inf")
    return method, k, loss if np.isfinite(loss) else float("inf")


def run_one(method: str, new: str, seed: int, k: int, folders: Folders) -> Record:
    """Adapt the base to a text by one method, and measure."""
    after = adapted(method, new, seed, k, folders).arrays
    before, maps = measures.arrays_of(base().gpt), measures.map_names(base().gpt)

    def losses(arrays: Params) -> list[float]:
        return losses_of(with_arrays(arrays), new, folders.texts)

    trained_on = part(new, "train", folders.texts)[: 2 * HELD_OUT]
    record: Record = {
        "method": method,
        "text": new,
        "seed": seed,
        "rate": rate(k),
        "parameters": numbers(method),
        "train": round(with_arrays(after).loss(trained_on), 4),
        "off": off(new, folders.texts),
        "losses": losses(after),
        "norm": round(measures.relative_norm(before, after, maps), 4),
    }
    if all((before[name] != after[name]).any() for name in maps):
        record["directions"] = round(measures.directions(before, after, maps), 2)
    if method in SWEPT:
        drawn = measures.randomized(before, after, maps, np.random.default_rng([seed, 3]))
        swept = (measures.at_strength(before, after, share) for share in measures.STRENGTHS)
        record["sweep"] = [losses(arrays) for arrays in swept]
        record["random"] = losses(drawn)
    if method == "maps":
        cut = {r: measures.truncated(before, after, maps, r) for r in RANKS}
        rng = np.random.default_rng([seed, 4])
        drawn_cut = {r: measures.randomized(before, cut[r], maps, rng) for r in RANKS}
        record["random_truncated"] = {str(r): losses(arrays) for r, arrays in drawn_cut.items()}
    return record


def tune(folders: Folders, methods: Sequence[str] = tuple(METHODS)) -> dict[str, dict[str, float]]:
    """Return, for each method, the validation loss of each rate that was tried.

    Rates go up in twos, one rate for both texts. Further ones are tried until the best has a worse
    one on either side.
    """
    found: dict[str, dict[int, list[float]]] = {name: {} for name in methods}
    wanted = {
        (name, METHODS[name].middle + k)
        for name in methods
        for k in range(*((-3, 4) if name in WIDE else (-1, 2)))
    }
    with workers(cores(), len(wanted)) as pool:
        while wanted:
            work = [
                (name, new, seed, k, folders)
                for (name, k), new, seed in product(sorted(wanted), NEW, TUNING_SEEDS)
            ]
            for name, k, loss in map_unordered(attempt, work, pool, "tuning, runs"):
                found[name].setdefault(k, []).append(loss)
            wanted = {(n, k) for n, tried in found.items() for k in _beyond(tried)}
    return {
        name: {f"{rate(k):g}": round(fmean(losses), 4) for k, losses in sorted(tried.items())}
        for name, tried in found.items()
    }


def _beyond(tried: Mapping[int, list[float]]) -> list[int]:
    """Return the next rate where the best is the first or the last, or nothing."""
    best = min(tried, key=lambda k: fmean(tried[k]))
    ends = {min(tried): min(tried) - 1, max(tried): max(tried) + 1}
    return [ends[best]] if best in ends else []


def best(by_rate: Mapping[str, float]) -> float:
    """Return the rate of the lowest loss, the smallest of equal ones."""
    return min((loss, float(lr)) for lr, loss in by_rate.items())[1]


def run(folders: Folders, rates: Mapping[str, float], methods: Iterable[str]) -> list[Record]:
    """Run methods on both texts with every seed; a record for each, in order."""
    work = [
        (name, new, seed, exponent(rates[name]), folders)
        for name, new, seed in product(methods, NEW, range(SEEDS))
    ]
    with workers(cores(), len(work)) as pool:
        done = list(map_unordered(run_one, work, pool, "study on text, runs"))
    return in_order(done)


def in_order(records: Iterable[Record]) -> list[Record]:
    """Return records by text, method and seed, in the order of every table."""
    order = list(METHODS)
    return sorted(
        records,
        key=lambda r: (NEW.index(r["text"]), order.index(r["method"]), r.get("rate", 0), r["seed"]),
    )
