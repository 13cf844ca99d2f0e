"""One run of the study, and all of them: kept as they finish, resumed where they stopped."""

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from time import perf_counter

import numpy as np

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.study.digits import Images, split
from lora_ref.study.methods import (
    DEFAULT_METHODS,
    METHODS,
    RANKS,
    SIZES,
    Method,
    base_weights,
    learning_rates,
)
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.study.probes import (
    randomize_update,
    scaling_sweep,
    spectrum,
    truncate_update,
    whiten_update,
)
from lora_ref.study.records import SCHEMA, SWEPT, TRUNCATED, Record, path_of, read, write
from lora_ref.study.shifts import DEFAULT_SHIFT, SHIFTS
from lora_ref.study.solutions import SOLUTIONS, best_first_layer, changes
from lora_ref.suggestions import nearest
from lora_ref.training import AdamW, Network, accuracy, cosine, train

PRETRAINING_EPOCHS, PRETRAINING_RATE = 40, 3e-3
STEPS, BATCH = 500, 32
DEFAULT_SEEDS, MOST_SEEDS = 3, 1000

SETTINGS = (
    f"{'-'.join(map(str, SIZES))} float32, AdamW with cosine, batch {BATCH}, "
    f"pretrained {PRETRAINING_EPOCHS} epochs at {PRETRAINING_RATE:g}, adapted {STEPS} steps"
)
"""The setting of the runs, which every record carries."""


def run(
    shifts: Sequence[str] = (DEFAULT_SHIFT,),
    methods: Sequence[str] = DEFAULT_METHODS,
    seeds: int = DEFAULT_SEEDS,
    *,
    directory: str | os.PathLike[str] | None = None,
    progress: bool = False,
    processes: int | None = None,
    rates: Mapping[str, float] | None = None,
) -> list[Record]:
    """Run every method on every shift with seeds 0, 1, ... and return a record for each.

    Equal seeds give equal records, but for the seconds, on one machine: another one rounds its
    products differently, and after a few hundred steps the paths have parted.

    Parameters
    ----------
    shifts, methods : sequence of str
        Names in `SHIFTS` and `METHODS`.
    seeds : int
        How many seeds. A seed splits the images, draws the network, and orders the batches, the
        same for every method: differences between methods are taken seed by seed.
    directory : path, optional
        Where each finished run is kept in a file of its own, written in one step. Runs found there
        are not run again.
    progress : bool
        Whether to count runs on stderr, if that is a terminal.
    processes : int, optional
        Processes that share the work, each with one thread, as these matrices are too small for
        more. By default as many as the machine has cores, and this one alone for a few runs. A
        script that starts more than one needs the ``if __name__ == "__main__"`` guard.
    rates : mapping of str to float, optional
        Learning rate of each method, such as `tune` chooses; the committed ones if omitted.

    Raises
    ------
    LoraRefError
        For an unknown shift or method, a count of seeds that is not 1 to 1000, or a file in
        `directory` at the place of a run that is damaged or of another setting.
    """
    shifts = known("shift", shifts, SHIFTS)
    methods = known("method", methods, METHODS)
    seeds = as_count("seeds in study.run", seeds)
    if seeds > MOST_SEEDS:  # the rates were chosen on seeds that come after them
        raise LoraRefError(
            f"seeds in study.run is more than {MOST_SEEDS}, expected 1 to {MOST_SEEDS}"
        )
    rates = learning_rates() if rates is None else rates
    for method in methods:
        if method != "untouched" and method not in rates:
            raise LoraRefError(f"rates in study.run has none for {method}, which trains")
    jobs = list(product(shifts, methods, range(seeds)))
    done: dict[tuple[str, str, int], Record] = {}
    folder = None if directory is None else _folder(directory)
    if folder is not None:
        for job in jobs:
            if os.path.lexists(path := path_of(folder, *job)):
                shift, method, seed = job
                done[job] = read(path, shift=shift, method=method, seed=seed, settings=SETTINGS)
                if done[job]["learning_rate"] != rates.get(method):
                    raise LoraRefError(
                        f"{path} trained at {done[job]['learning_rate']}, the study trains "
                        f"{method} at {rates.get(method)}; keep the runs in another folder"
                    )
    left = [job for job in jobs if job not in done]
    with workers(processes, len(left)) as pool:
        fresh = [(seed,) for seed in sorted({seed for *_, seed in left})]
        networks = dict(map_unordered(pretrain, fresh, pool))
        work = [(*job, rates.get(job[1]), networks[job[2]]) for job in left]
        for record in map_unordered(run_one, work, pool, "study, runs" if progress else None):
            job = record["shift"], record["method"], record["seed"]
            done[job] = record
            if folder is not None:
                write(path_of(folder, *job), record)
    return [done[job] for job in jobs]


def run_one(shift: str, method: str, seed: int, lr: float | None, before: Network) -> Record:
    """Adapt `before`, the pretrained network of the seed, to a shift by one method, and measure."""
    parts = split(seed)
    way, target = METHODS[method], SHIFTS[shift]
    off = way.switch_off
    start, adapted, seconds = adapt(way, before, target(parts.target), seed, lr)
    test = target(parts.test)
    record = Record(
        schema=SCHEMA,
        shift=shift,
        method=method,
        seed=seed,
        settings=SETTINGS,
        parameters=0 if lr is None else sum(array.size for array in start.trainable.values()),
        learning_rate=lr,
        target=_accuracy(adapted, test),
        train=_accuracy(adapted, target(parts.target)),
        source_on=_accuracy(adapted, parts.test),
        source_off=None if off is None else _accuracy(off(adapted, before), parts.test),
        w0_unchanged=base_weights(start) == base_weights(adapted),
        seconds=round(seconds, 4),
    )
    if method == "untouched":
        record["solution"] = _accuracy(SOLUTIONS[shift](before), test)
        record["first_layer"] = {
            str(r): _accuracy(best_first_layer(shift, before, parts.source, r), test) for r in RANKS
        }
        record["changes"] = changes(shift, before)
    if method == SWEPT:
        record["scaling_sweep"] = [
            [share, _accuracy(scaled, test), _accuracy(scaled, parts.test)]
            for share, scaled in scaling_sweep(adapted)
        ]
    if method in TRUNCATED:
        rng = np.random.default_rng([seed, 4])
        record["spectrum"] = spectrum(adapted, before)
        record["truncated"] = _by_rank(truncate_update(adapted, before), test)
        record["whitened"] = _by_rank(whiten_update(adapted, before, target(parts.target).x), test)
        record["random"] = _by_rank(randomize_update(adapted, before, rng), test)
    return record


def adapt(
    way: Method, before: Network, target: Images, seed: int, lr: float | None
) -> tuple[Network, Network, float]:
    """Return the network at the start, the trained one, and the seconds of training.

    With lr None nothing is trained.
    """
    start = way.build(before, np.random.default_rng([seed, 2]))
    if lr is None:
        return start, start, 0.0
    began = perf_counter()
    adapted, _ = train(
        start,
        target.x,
        target.labels,
        optimizer=AdamW(lr),
        steps=STEPS,
        batch=BATCH,
        rng=np.random.default_rng([seed, 3]),
        schedule=cosine,
    )
    return start, adapted, perf_counter() - began


def pretrain(seed: int) -> tuple[int, Network]:
    """Return the seed, and its network trained on the source images."""
    source = split(seed).source
    rng = np.random.default_rng([seed, 1])
    network, _ = train(
        Network.mlp(SIZES, rng, dtype=np.float32),
        source.x,
        source.labels,
        optimizer=AdamW(PRETRAINING_RATE),
        steps=PRETRAINING_EPOCHS * -(-len(source.labels) // BATCH),
        batch=BATCH,
        rng=rng,
        schedule=cosine,
    )
    return seed, network


def _accuracy(network: Network, images: Images) -> float:
    return round(accuracy(network, images.x, images.labels), 6)


def _by_rank(networks: Mapping[int, Network], images: Images) -> dict[str, float]:
    return {str(r): _accuracy(network, images) for r, network in networks.items()}


def known(what: str, names: Iterable[str], among: Iterable[str]) -> list[str]:
    """Return the names without repetition, or say which ones there are."""
    among = list(among)
    given = [names] if isinstance(names, str) else list(dict.fromkeys(names))
    for name in given:
        if name not in among:
            expected = f"expected {', '.join(among)}{nearest(name, among)}"
            raise LoraRefError(f"no {what} is called {name!r}, {expected}")
    if not given:
        raise LoraRefError(f"no {what} is named, expected some of {', '.join(among)}")
    return given


def _folder(directory: str | os.PathLike[str]) -> Path:
    folder = Path(directory)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoraRefError(
            f"{folder} cannot hold the runs ({error.strerror}), expected a folder"
        ) from None
    return folder
