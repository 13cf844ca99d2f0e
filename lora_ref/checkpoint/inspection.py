"""What an adapter on disk holds, without its base: each update, its spectrum, and what is odd."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from lora_ref.checkpoint.adapter_config import AdapterConfig
from lora_ref.checkpoint.peft import NOT_USED, StoredAdapter, read_adapter
from lora_ref.checks import Array
from lora_ref.errors import FileError
from lora_ref.layers.base import Layer
from lora_ref.layers.dora import DoRALinear
from lora_ref.layers.lora import LoRALinear
from lora_ref.lowrank import effective_rank, small_product

LARGE_SCALING = 8.0
FAR_FROM_OTHERS = 10.0
"""How many times the median norm of an update is remarkable."""


@dataclass(frozen=True)
class UpdateReport:
    """The update of one layer, ``scaling * B @ A``.

    Parameters
    ----------
    name, kind : str
        The layer, and ``"LoRA"`` or ``"DoRA"``.
    out_features, in_features, r, alpha, scaling
        As in the layer.
    norm_A, norm_B, norm : float
        Frobenius norms of the factors and of the update.
    sigma : tuple of float
        The singular values of the update, r at most, the largest first.
    effective_rank : float
        See `lora_ref.lowrank.effective_rank`; 0 for an update of zeros.
    """

    name: str
    kind: str
    out_features: int
    in_features: int
    r: int
    alpha: float
    scaling: float
    norm_A: float
    norm_B: float
    norm: float
    sigma: tuple[float, ...]
    effective_rank: float


@dataclass(frozen=True)
class AdapterReport:
    """What a folder holds: its configuration, each update, and what is odd about them."""

    config: AdapterConfig
    updates: tuple[UpdateReport, ...]
    numbers: int
    remarks: tuple[str, ...]


def inspect(folder: Path) -> AdapterReport:
    """Return what an adapter holds, without its base."""
    stored = read_adapter(folder)
    layers, surplus = without_base(stored)
    surplus += stored.config.idle_names([*layers], "that is stored", excluded=False)
    updates = tuple(
        _report(name, layer)
        for name, layer in layers.items()
        if isinstance(layer, LoRALinear | DoRALinear)
    )
    biases = [one.removesuffix(NOT_USED) for one in surplus if one.endswith(f".bias{NOT_USED}")]
    if stored.config.bias == "all" and biases:  # a base of their layers alone would know them
        surplus = [one for one in surplus if not one.endswith(f".bias{NOT_USED}")]
        surplus.append(f"biases of layers that are not adapted: {', '.join(biases)}")
    remarks = (*_remarks(stored.config, updates, layers), *surplus)
    numbers = sum(array.size for array in stored.tensors.values())
    return AdapterReport(stored.config, updates, numbers, remarks)


def without_base(stored: StoredAdapter) -> tuple[dict[str, Layer], list[str]]:
    """Return the layers of an adapter over weights of zero, and a sentence for what is not used.

    It is for questions about A and B alone: B A is the same over every base, and what DoRA makes of
    it is not. Without both factors of a layer its sides are not known, which raises FileError.
    """
    base: dict[str, Array] = {}
    for key, array in stored.tensors.items():
        name, _, end = key.partition(".lora_")
        if end in ("A.weight", "B.weight"):
            A, B = (stored.tensors.get(f"{name}.lora_{one}.weight") for one in "AB")
            if A is None or B is None or A.ndim != 2 or B.ndim != 2:
                got = ", ".join(
                    f"lora_{one} {'not at all' if a is None else f'of shape {a.shape}'}"
                    for one, a in (("A", A), ("B", B))
                )
                raise FileError(
                    stored.folder,
                    f"stores of {name} {got}, expected (r, in_features) and (out_features, r)",
                )
            sides = (len(B), A.shape[1])
            base[f"{name}.weight"] = np.zeros(sides[::-1] if stored.config.transposed else sides)
        elif not end:
            base[key.replace(".base_layer.", ".")] = np.zeros(array.shape)
    return stored.on(base, strict=False)


def _report(name: str, layer: LoRALinear | DoRALinear) -> UpdateReport:
    _, core, _ = small_product(layer.A.astype(np.float64), layer.B.astype(np.float64))
    core = layer.scaling * core
    sigma = np.linalg.svd(core, compute_uv=False)
    norm = float(np.linalg.norm(sigma))
    return UpdateReport(
        name=name,
        kind="DoRA" if isinstance(layer, DoRALinear) else "LoRA",
        out_features=len(layer.B),
        in_features=layer.A.shape[1],
        r=layer.r,
        alpha=layer.alpha,
        scaling=layer.scaling,
        norm_A=float(np.linalg.norm(layer.A)),
        norm_B=float(np.linalg.norm(layer.B)),
        norm=norm,
        sigma=tuple(sigma.tolist()),
        effective_rank=effective_rank(core) if norm else 0.0,
    )


def _remarks(
    config: AdapterConfig, updates: Sequence[UpdateReport], layers: Mapping[str, Layer]
) -> list[str]:
    """Return what is odd, a sentence each."""
    found = []
    still = [one.name for one in updates if one.norm == 0]
    if len(still) == len(updates):
        found.append("every update is 0: the adapter was saved before its first step, or undone")
    elif still:
        found.append(f"the update is 0 in {len(still)} layers, such as {still[0]}")
    typical = median(one.norm for one in updates)
    for one in updates:
        directions = sum(sigma > 1e-6 * one.sigma[0] for sigma in one.sigma) if one.norm else one.r
        if directions < min(one.r, one.out_features, one.in_features):
            found.append(f"{one.name} has rank {one.r}, but {directions} directions alone")
        if typical and one.norm > FAR_FROM_OTHERS * typical:
            found.append(
                f"the update of {one.name} has norm {one.norm:.3g}, {one.norm / typical:.0f} times "
                "the median of all layers"
            )
        if one.r > min(one.out_features, one.in_features):
            found.append(f"{one.name} has rank {one.r}, more than its matrix can have")
    scalings = {one.scaling: one for one in updates}
    for scaling, one in scalings.items():
        if not 0 < scaling <= LARGE_SCALING:
            found.append(
                f"the scaling is {scaling:g} (alpha {one.alpha:g} at r = {one.r}), in {one.name}"
            )
    whole = [name for name in layers if config.replaces(name)]
    if whole:
        found.append(f"stored whole, so not of low rank: {', '.join(whole)}")
    return found
