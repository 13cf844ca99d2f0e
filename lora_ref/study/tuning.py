"""The learning rates: a small grid, judged on validation images of seeds the study does not use."""

from collections.abc import Mapping, Sequence
from itertools import product
from statistics import fmean
from typing import Any

from lora_ref.study.digits import split
from lora_ref.study.methods import METHODS
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.study.runs import adapt, known, pretrain
from lora_ref.study.shifts import SHIFTS
from lora_ref.training import DivergedError, Network, accuracy

GRID = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
"""Learning rates to choose from."""

TUNING_SEEDS = (1001, 1002)
"""Far from 0, 1, 2, ...: other networks, other batches, other splits of the same images."""


def tune(
    methods: Sequence[str] = tuple(METHODS),
    *,
    progress: bool = False,
    processes: int | None = None,
) -> dict[str, Any]:
    """Try every rate of the grid on every shift, and choose one rate a method.

    A rate's worth is the accuracy on the shifted validation images, mean over the shifts and
    `TUNING_SEEDS`; of equal ones the smallest is chosen. One rate serves all shifts. A method that
    trains nothing is left out; `progress` and `processes` are those of `run`.

    Returns
    -------
    dict
        ``schema``, ``seeds``, ``validation`` (by method, the mean accuracy of each rate) and
        ``chosen`` (the rate of each method).
    """
    names = [name for name in known("method", methods, METHODS) if name != "untouched"]
    jobs = list(product(TUNING_SEEDS, SHIFTS, names, GRID))
    tried: dict[str, dict[float, list[float]]] = {name: {lr: [] for lr in GRID} for name in names}
    with workers(processes, len(jobs)) as pool:
        networks = dict(map_unordered(pretrain, [(seed,) for seed in TUNING_SEEDS], pool))
        work = [(*job, networks[job[0]]) for job in jobs]
        for method, lr, found in map_unordered(
            attempt, work, pool, "tuning, runs" if progress else None
        ):
            tried[method][lr].append(found)
    means = {
        name: {f"{lr:g}": round(fmean(sorted(found)), 6) for lr, found in by_rate.items()}
        for name, by_rate in tried.items()
    }
    return {
        "schema": 1,
        "seeds": list(TUNING_SEEDS),
        "validation": means,
        "chosen": {name: best(by_rate) for name, by_rate in means.items()},
    }


def attempt(
    seed: int, shift: str, method: str, lr: float, before: Network
) -> tuple[str, float, float]:
    """Return method, rate and validation accuracy of one trial; 0 where training diverged."""
    parts, target = split(seed), SHIFTS[shift]
    try:
        _, adapted, _ = adapt(METHODS[method], before, target(parts.target), seed, lr)
    except DivergedError:
        return method, lr, 0.0
    validation = target(parts.validation)
    return method, lr, accuracy(adapted, validation.x, validation.labels)


def best(by_rate: Mapping[str, float]) -> float:
    """Return the rate of the highest accuracy, the smallest of equal ones.

    Examples
    --------
    >>> best({"0.01": 0.9, "0.001": 0.9, "0.1": 0.2})
    0.001
    """
    return min((-found, float(lr)) for lr, found in by_rate.items())[1]


def merged(before: Mapping[str, Any], tuned: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was tuned, with what was tuned before for the other methods."""
    parts = {name: before[name] | tuned[name] for name in ("validation", "chosen")}
    known = {part: {m: rates[m] for m in METHODS if m in rates} for part, rates in parts.items()}
    return {**tuned, **known}
