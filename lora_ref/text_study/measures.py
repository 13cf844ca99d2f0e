"""What is measured of an adapted model: losses, strengths, truncations, intruder directions.

All of it is done on the arrays of plain models, by dotted name: what an adapter has learned is
merged first.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.layers import composite
from lora_ref.layers.linear import Linear
from lora_ref.lowrank import rank_of_share
from lora_ref.transformer.adapt import merged
from lora_ref.transformer.gpt import GPT

STRENGTHS = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
"""Multiples of an update at which losses are measured; at 0 the base would be left."""

NORMS = (0.1, 0.2, 0.4, 0.8)
"""Norms of a change, relative to that of the maps, at which intruders are counted."""

LEADING, COSINE, COSINES = 10, 0.5, (0.4, 0.5, 0.6)
"""Shuttleworth et al. (2024, arXiv 2410.21228): one of the 10 leading left singular vectors of an
adapted matrix is an intruder if its cosine with each of the pretrained ones is below 0.5. Two
other thresholds tell how much hangs on that one."""


def arrays_of(gpt: GPT) -> dict[str, Array]:
    """Return every array of a model by dotted name, with the updates merged into W."""
    return composite.arrays_of(merged(gpt))


def map_names(gpt: GPT) -> list[str]:
    """Return the names of the matrices of the linear layers, the ones that LoRA adapts."""
    return [
        f"{path}.W" for path, layer in composite.layers_of(gpt).items() if isinstance(layer, Linear)
    ]


def at_strength(before: Params, after: Params, strength: float) -> dict[str, Array]:
    """Return the arrays with every change multiplied by a number: 0 is before, 1 after."""
    return {name: before[name] + strength * (after[name] - before[name]) for name in before}


def truncated(before: Params, after: Params, maps: list[str], r: int) -> dict[str, Array]:
    """Return the arrays with the change of each map truncated to rank r."""
    return _changed(before, after, maps, lambda U, s, Vh: (U[:, :r] * s[:r]) @ Vh[:r])


def randomized(
    before: Params, after: Params, maps: list[str], rng: np.random.Generator
) -> dict[str, Array]:
    """Return the arrays with a random change of each map: the same singular values, and norm.

    The directions are drawn uniformly. This is the control: what an update of that size does
    whatever it has learned. Arrays other than the maps stay as they were before.
    """

    def drawn(U: Array, s: Array, Vh: Array) -> Array:
        k = np.count_nonzero(s > 1e-6 * s[0])  # a low-rank change stays one of that rank
        left, right = (
            np.linalg.qr(rng.standard_normal((side, k)))[0] for side in (len(U), Vh.shape[1])
        )
        change: Array = (left * s[:k]) @ right.T
        return change

    return _changed(before, {**before, **{name: after[name] for name in maps}}, maps, drawn)


def _changed(before: Params, after: Params, maps: list[str], change: Any) -> dict[str, Array]:
    arrays = dict(after)
    for name in maps:
        W0 = before[name]
        parts = np.linalg.svd((after[name] - W0).astype(np.float64), full_matrices=False)
        arrays[name] = W0 + change(*parts).astype(W0.dtype)
    return arrays


def relative_norm(before: Params, after: Params, maps: list[str]) -> float:
    """Return the Frobenius norm of the change of all maps over that of the maps."""
    change = sum(float(np.sum(np.square(after[name] - before[name]))) for name in maps)
    return float(np.sqrt(change / sum(float(np.sum(np.square(before[name]))) for name in maps)))


def left_vectors(arrays: Params, maps: list[str]) -> dict[str, Array]:
    """Return the left singular vectors of each map, as columns."""
    return {name: np.linalg.svd(arrays[name], full_matrices=False)[0] for name in maps}


def nearest_cosines(old: Mapping[str, Array], after: Params, maps: list[str]) -> Array:
    """Return, for each leading left singular vector of each map, its cosine with the nearest old.

    ``old`` are the `left_vectors` of the maps before. A vector is an intruder if this is small.
    """
    new = left_vectors(after, maps)
    return np.concatenate(
        [np.abs(old[name].T @ new[name][:, :LEADING]).max(axis=0) for name in maps]
    )


def crossing(
    above: Callable[[float], float], at_0: float, at_1: float, exact: float = 1e-4
) -> float:
    """Return where a function falls to 0 between 0 and 1, by false position.

    A point is taken when the function is within ``exact`` of 0 there. A loss is smooth in the
    strength, so three or four evaluations do. Where one end stays twice, its value is halved
    (the Illinois algorithm: Dowell and Jarratt, 1971, BIT 11).
    """
    if not at_0 > 0 >= at_1:
        raise LoraRefError(
            f"the function in crossing is {at_0:g} at 0 and {at_1:g} at 1, "
            "expected one that falls from above 0 to below it"
        )
    low, high, stayed = (0.0, at_0), (1.0, at_1), ""
    while True:
        point = (low[0] * high[1] - high[0] * low[1]) / (high[1] - low[1])
        value = above(point)
        if abs(value) <= exact:
            return point
        if value > 0:
            high = (high[0], high[1] / 2) if stayed == "high" else high
            low, stayed = (point, value), "high"
        else:
            low = (low[0], low[1] / 2) if stayed == "low" else low
            high, stayed = (point, value), "low"


def directions(before: Params, after: Params, maps: list[str], share: float = 0.9) -> float:
    """Return how many singular directions hold a share of a change's square, mean over maps."""
    return float(np.mean([rank_of_share(after[name] - before[name], share) for name in maps]))
