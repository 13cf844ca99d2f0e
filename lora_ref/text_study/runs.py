"""One run of the study on text, the search for a learning rate, and all runs."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from lora_ref.checks import Params
from lora_ref.processes import cores
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.text_study import measures
from lora_ref.text_study.methods import METHODS, RANKS
from lora_ref.training import AdamW, DivergedError, Network, cosine, train
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.language_model import LanguageModel, Schedule
from lora_ref.transformer.pretrain import BASE_TEXTS, HELD_OUT, WEIGHTS
from lora_ref.transformer.texts import text

NEW, OLD = ("verse", "play"), tuple(BASE_TEXTS)
"""The texts to adapt to, and those of the base."""

SEEDS, TUNING_SEEDS = 4, (1001, 1002)
STEPS, BATCH, WARMUP = 200, 8, 20

OLD_TEST = 10_000
"""Characters of the test part of each old text that losses are measured on."""

SWEPT = ("lora-1", "lora-8", "lora-32", "maps", "full")
"""The methods whose update is measured at other strengths and beside a random one."""

WIDE = ("lora-8", "maps", "full")
"""The methods of which more learning rates are tried, for a picture."""

SHIFT = {"p": 4.0, "q": 0.125}
"""Powers of two by which A and B are multiplied to see whether Adam takes the same path."""

Record = dict[str, Any]


def rate(k: int) -> float:
    """Return the learning rate ``0.001 * 2**k``."""
    return 1e-3 * 2.0**k


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


def adapt(method: str, new: str, seed: int, k: int, folder: Path) -> tuple[LanguageModel, int]:
    """Return the adapted model, and how many numbers trained."""
    start = METHODS[method].build(base().gpt, np.random.default_rng([seed, 1]))
    schedule = Schedule(STEPS, BATCH, rate(k), WARMUP)
    rng = np.random.default_rng([seed, 2])  # the same batches for every method
    model, _ = base().with_gpt(start).trained(part(new, "train", folder), schedule, rng)
    return model, sum(array.size for array in start.trainable.values())


def attempt(method: str, new: str, seed: int, k: int, folder: Path) -> tuple[str, int, float]:
    """Return method, rate and validation loss of one trial; infinite where training diverged."""
    try:
        model, _ = adapt(method, new, seed, k, folder)
        loss = model.loss(part(new, "validation", folder))
    except DivergedError:
        loss = float("inf")
    return method, k, loss if np.isfinite(loss) else float("inf")


def losses_of(model: LanguageModel, new: str, folder: Path) -> list[float]:
    """Return the loss on the test part of a new text, and the mean over the old texts'."""
    old = fmean(model.loss(part(name, "test", folder)[-OLD_TEST:]) for name in OLD)
    return [round(model.loss(part(new, "test", folder)), 4), round(old, 4)]


@cache
def off(new: str, folder: Path) -> list[float]:
    """Return the losses of the base."""
    return losses_of(base(), new, folder)


def run_one(method: str, new: str, seed: int, k: int, folder: Path) -> Record:
    """Adapt the base to a text by one method, and measure."""
    model, parameters = adapt(method, new, seed, k, folder)
    before, after = measures.arrays_of(base().gpt), measures.arrays_of(model.gpt)
    maps = measures.map_names(base().gpt)

    def losses(arrays: Params) -> list[float]:
        changed = base().with_gpt(base().gpt.with_params(arrays))
        return losses_of(changed, new, folder)

    record: Record = {
        "method": method,
        "text": new,
        "seed": seed,
        "rate": rate(k),
        "parameters": parameters,
        "train": round(model.loss(part(new, "train", folder)[: 2 * HELD_OUT]), 4),
        "off": off(new, folder),
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
        norm = measures.relative_norm(before, after, maps)
        for name, arrays in (("intruders", after), ("random_intruders", drawn)):
            shares = [1.0, *(wanted / norm for wanted in measures.NORMS)]
            record[name] = [
                measures.intruders(before, measures.at_strength(before, arrays, share), maps)
                for share in shares
            ]
    if method == "maps":
        cut = {r: measures.truncated(before, after, maps, r) for r in RANKS}
        rng = np.random.default_rng([seed, 4])
        drawn_cut = {r: measures.randomized(before, cut[r], maps, rng) for r in RANKS}
        record["truncated"] = {str(r): losses(arrays) for r, arrays in cut.items()}
        record["random_truncated"] = {str(r): losses(arrays) for r, arrays in drawn_cut.items()}
    return record


def tune(folder: Path, methods: Sequence[str] = tuple(METHODS)) -> dict[str, dict[str, float]]:
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
                (name, new, seed, k, folder)
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


def run(folder: Path, rates: Mapping[str, float], methods: Iterable[str]) -> list[Record]:
    """Run methods on both texts with every seed; a record for each, in order."""
    steps = {name: round(np.log2(rates[name] / rate(0))) for name in methods}
    work = [
        (name, new, seed, k, folder)
        for (name, k), new, seed in product(steps.items(), NEW, range(SEEDS))
    ]
    with workers(cores(), len(work)) as pool:
        done = list(map_unordered(run_one, work, pool, "study on text, runs"))
    order = list(METHODS)
    return sorted(done, key=lambda r: (NEW.index(r["text"]), order.index(r["method"]), r["seed"]))


def rescaled(new: str, seed: int, k: int, folder: Path) -> Record:
    """Train LoRA (r = 8, on q and v) and the same from another parametrization, and compare bits.

    A is multiplied by p and B by q, alpha by 1 / (p q), and their learning rates by p and q. Adam
    then takes the same path where epsilon is too small to matter. Gradients are not clipped: their
    norm is not that of the other parametrization. The control halves alpha and the norm of nothing.
    """
    windows = base().windows(part(new, "train", folder))

    def trained(p: float, q: float, alpha: float) -> Params:
        rng = np.random.default_rng([seed, 1])
        gpt = with_lora(base().gpt, rng, r=8, alpha=alpha / (p * q))
        scaled = {n: p * a if n.endswith(".A") else q * a for n, a in gpt.trainable.items()}
        network, _ = train(
            Network({"gpt": gpt.with_params({n: a.astype(np.float32) for n, a in scaled.items()})}),
            windows[:, :-1],
            windows[:, 1:],
            optimizer=AdamW(
                rate(k), lr_ratio={"A": p, "B": q}, epsilon=1e-30, weight_decay=0.0
            ),
            steps=STEPS,
            batch=BATCH,
            rng=np.random.default_rng([seed, 2]),
            schedule=lambda step, _: cosine(step, STEPS, warmup=WARMUP),
        )  # fmt: skip
        gpt_after: Any = network["gpt"]
        return measures.arrays_of(gpt_after)

    plain, shifted, halved = trained(1, 1, 16), trained(**SHIFT, alpha=16), trained(1, 1, 8)
    maps = measures.map_names(base().gpt)
    return {
        "text": new,
        "seed": seed,
        **SHIFT,
        "equal": all(plain[name].tobytes() == shifted[name].tobytes() for name in plain),
        "equal_with_half_alpha": all(np.array_equal(plain[n], halved[n]) for n in plain),
        "norm": round(measures.relative_norm(measures.arrays_of(base().gpt), plain, maps), 4),
    }


def rescale_all(folder: Path, lr: float) -> list[Record]:
    """Compare the two parametrizations on both texts with every seed."""
    k = round(np.log2(lr / rate(0)))
    work = [(new, seed, k, folder) for new, seed in product(NEW, range(SEEDS))]
    with workers(cores(), len(work)) as pool:
        done = list(map_unordered(rescaled, work, pool, "rescaled, runs"))
    return sorted(done, key=lambda r: (NEW.index(r["text"]), r["seed"]))
