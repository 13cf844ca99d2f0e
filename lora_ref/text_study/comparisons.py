"""What one run at the best rate cannot show: other rates, equal learning, drawn controls."""

from collections.abc import Callable, Mapping
from itertools import product
from typing import Any

import numpy as np

from lora_ref.checks import Params
from lora_ref.processes import cores
from lora_ref.study.parallel import map_unordered, workers
from lora_ref.text_study import measures
from lora_ref.text_study.adapting import (
    BATCH,
    NEW,
    STEPS,
    WARMUP,
    Folders,
    Record,
    adapted,
    base,
    exponent,
    losses_of,
    old_loss,
    part,
    rate,
    with_arrays,
)
from lora_ref.text_study.methods import RANKS
from lora_ref.text_study.runs import SWEPT, in_order
from lora_ref.training import AdamW, Network, cosine, train
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.language_model import LanguageModel

BY_RATE: Mapping[str, tuple[int, ...]] = {
    "lora-8": (1, 2, 3, 4),
    "maps": (-1, 0, 1, 2),
    "full": (-2, -1, 0, 1),
}
"""The k of the rates at which forgetting is measured: the best, and three smaller ones."""

TURNED = (0.5, 0.75)
"""The strengths at which each of these is measured besides."""

EQUAL_LEARNING: Mapping[str, tuple[str, ...]] = {"lora-8": ("maps", "full"), "lora-1": ("lora-32",)}
"""Methods compared where they have learned a share of what the first one, the weaker, has."""

LEARNED = (0.5, 0.75, 0.9)
"""Shares of what the weaker one has learned as trained."""

DRAWS = 8
"""Random updates to which the intruders of one run are compared."""

SHIFT = (4.0, 0.125)
"""p and q, powers of two, by which A and B are multiplied: does Adam take the same path?"""

UNEVEN = (3.0, 0.1)
"""Others, by which float32 has to round."""

COMPARED, RESCALED = 3, 1
"""Seeds of the comparisons, and of that of parametrizations."""

SECTIONS = ("by_rate", "equal", "intruders", "rescaled")
"""The names of the comparisons among the results."""


def compare(section: str, rates: Mapping[str, float], folders: Folders) -> list[Record]:
    """Make all records of one comparison, in order; a rate is the best of its method."""
    k = {name: exponent(lr) for name, lr in rates.items()}
    all_jobs: Mapping[str, tuple[Callable[..., Record], list[tuple[str, Any]]]] = {
        "by_rate": (at_rate, [(m, each) for m, tried in BY_RATE.items() for each in tried]),
        "equal": (at_equal_learning, [(weaker, k) for weaker in EQUAL_LEARNING]),
        "intruders": (intruding, [(method, k[method]) for method in SWEPT]),
        "rescaled": (rescaled, [("qv-9", k["qv-9"])]),
    }
    measure, jobs = all_jobs[section]
    seeds = range(RESCALED if section == "rescaled" else COMPARED)
    work: list[tuple[Any, ...]] = [
        (method, new, seed, how, folders) for seed, (method, how), new in product(seeds, jobs, NEW)
    ]
    with workers(cores(), len(work)) as pool:
        found = list(map_unordered(measure, work, pool, f"study on text, {section}"))
    return in_order(found)


def at_rate(method: str, new: str, seed: int, k: int, folders: Folders) -> Record:
    """Measure losses at one rate as trained and at other strengths, and truncated whole maps.

    Truncated maps have their losses on validation and test text of the new one.
    """
    after, before, maps = adapted(method, new, seed, k, folders), *_base()
    record: Record = {
        "method": method,
        "text": new,
        "seed": seed,
        "rate": rate(k),
        "clipped": round(after.clipped, 4),
        "losses": losses_of(with_arrays(after.arrays), new, folders.texts),
        "turned": [
            losses_of(
                with_arrays(measures.at_strength(before, after.arrays, s)), new, folders.texts
            )
            for s in TURNED
        ],
    }
    if method == "maps":
        cut = {r: with_arrays(measures.truncated(before, after.arrays, maps, r)) for r in RANKS}
        record["truncated"] = {
            str(r): [
                round(model.loss(part(new, which, folders.texts)), 4)
                for which in ("validation", "test")
            ]
            for r, model in cut.items()
        }
    return record


def at_equal_learning(
    weaker: str, new: str, seed: int, ks: Mapping[str, int], folders: Folders
) -> Record:
    """Measure the old loss where methods have the same new loss, by turning their strengths.

    The new loss falls from that of the base by a share of what the weaker method has learned as
    trained. Each strength is solved for on the model itself.
    """
    before, _ = _base()
    test = part(new, "test", folders.texts)
    methods = (weaker, *EQUAL_LEARNING[weaker])
    after = {name: adapted(name, new, seed, ks[name], folders).arrays for name in methods}
    off_loss = base().loss(test)
    trained = {name: with_arrays(arrays).loss(test) for name, arrays in after.items()}
    levels = [off_loss - share * (off_loss - trained[weaker]) for share in LEARNED]

    def turned(name: str, strength: float) -> LanguageModel:
        return with_arrays(measures.at_strength(before, after[name], strength))

    def strength(name: str, level: float) -> float:
        return measures.crossing(
            lambda s: turned(name, s).loss(test) - level, off_loss - level, trained[name] - level
        )

    strengths = {name: [strength(name, level) for level in levels] for name in methods}
    return {
        "method": weaker,
        "text": new,
        "seed": seed,
        "strengths": {name: [round(s, 4) for s in found] for name, found in strengths.items()},
        "old": {
            name: [round(old_loss(turned(name, s), folders.texts), 4) for s in found]
            for name, found in strengths.items()
        },
    }


def intruding(method: str, new: str, seed: int, k: int, folders: Folders) -> Record:
    """Count intruders by threshold and norm: of the update, and the mean of random ones."""
    before, maps = _base()
    after = adapted(method, new, seed, k, folders).arrays
    norm = measures.relative_norm(before, after, maps)
    old = measures.left_vectors(before, maps)
    shares = [1.0, *(wanted / norm for wanted in measures.NORMS)]

    def counts(arrays: Params) -> Any:
        nearest = [
            measures.nearest_cosines(old, measures.at_strength(before, arrays, share), maps)
            for share in shares
        ]
        return np.array([[np.sum(c < limit) for c in nearest] for limit in measures.COSINES])

    rng = np.random.default_rng([seed, 5])
    drawn = [counts(measures.randomized(before, after, maps, rng)) for _ in range(DRAWS)]
    return {
        "method": method,
        "text": new,
        "seed": seed,
        "norm": round(norm, 4),
        "own": counts(after).tolist(),
        "random": np.mean(drawn, axis=0).round(3).tolist(),
    }


def rescaled(method: str, new: str, seed: int, k: int, folders: Folders) -> Record:
    """Train LoRA (r = 8, on q and v) in several parametrizations at a rate, and compare.

    A is multiplied by p and B by q, alpha by 1 / (p q), and their learning rates by p and q. Adam
    then takes the same path where epsilon is too small to matter. Gradients are not clipped: their
    norm is not that of the other parametrization. The control moves A, B and alpha and leaves the
    rates. A distance is that of two updates of all maps over the norm of one.
    """
    windows = base().windows(part(new, "train", folders.texts))
    before, maps = _base()

    def trained(p: float, q: float, *, moved: bool = True) -> Params:
        rng = np.random.default_rng([seed, 1])
        gpt = with_lora(base().gpt, rng, r=8, alpha=16 / (p * q))
        scaled = {n: p * a if n.endswith(".A") else q * a for n, a in gpt.trainable.items()}
        network, _ = train(
            Network({"gpt": gpt.with_params({n: a.astype(np.float32) for n, a in scaled.items()})}),
            windows[:, :-1],
            windows[:, 1:],
            optimizer=AdamW(
                rate(k),
                lr_ratio={"A": p, "B": q} if moved else {},
                epsilon=1e-30,
                weight_decay=0.0,
            ),
            steps=STEPS,
            batch=BATCH,
            rng=np.random.default_rng([seed, 2]),
            schedule=lambda step, _: cosine(step, STEPS, warmup=WARMUP),
        )
        gpt_after: Any = network["gpt"]
        return measures.arrays_of(gpt_after)

    plain = trained(1, 1)
    shifted, uneven, unmoved = trained(*SHIFT), trained(*UNEVEN), trained(*SHIFT, moved=False)
    norm = measures.relative_norm(before, plain, maps)

    def distance(other: Params) -> float:
        moved = {name: before[name] + other[name] - plain[name] for name in maps}
        return float(f"{measures.relative_norm(before, moved, maps) / norm:.3g}")

    return {
        "method": method,
        "text": new,
        "seed": seed,
        "equal": all(plain[name].tobytes() == shifted[name].tobytes() for name in plain),
        "uneven": distance(uneven),
        "unmoved": distance(unmoved),
    }


def _base() -> tuple[Params, list[str]]:
    """Return the arrays of the base, and the names of its maps."""
    return measures.arrays_of(base().gpt), measures.map_names(base().gpt)
