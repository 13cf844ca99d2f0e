"""What is done with adapters on disk: merged, extracted, combined, converted."""

import warnings
from collections.abc import Sequence
from math import hypot
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checkpoint.adapter_config import AdapterConfig
from lora_ref.checkpoint.conventions import LAYOUTS, Layout, Update
from lora_ref.checkpoint.inspection import without_base
from lora_ref.checkpoint.peft import read_adapter
from lora_ref.checkpoint.safetensors import Arrays, read_safetensors
from lora_ref.checks import Array, as_count, as_finite
from lora_ref.errors import FileError, LoraRefError, ShapeError
from lora_ref.layers.base import Layer
from lora_ref.layers.dora import DoRALinear
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.lowrank import balanced_factors, small_product, truncation_error
from lora_ref.suggestions import nearest_or_all

# ---------------------------------------------------------------------------------- merged


def read_base(path: Path) -> Arrays:
    """Return the arrays of a base: a safetensors file, or a folder with ``model.safetensors``."""
    if path.is_dir():
        if (path / "model.safetensors.index.json").exists():
            raise FileError(path, "holds a model in several files, expected one file")
        path = path / "model.safetensors"
    return read_safetensors(path)


def merge(base: Arrays, folder: Path) -> tuple[Arrays, list[str]]:
    """Return the base with an adapter folded into it, and the names of the layers that changed.

    Every other array is the one of the base. A sum that is not finite raises FileError; what
    `load_peft` refuses and warns of, this does.
    """
    stored = read_adapter(folder)
    floats = {name: array for name, array in base.items() if array.dtype.kind == "f"}
    layers, _ = stored.on(floats, strict=True)
    for sentence in stored.idle_names(base):
        warnings.warn(f"{folder}: {sentence}", stacklevel=2)
    result, changed = dict(base), []
    for name, one in layers.items():
        layer: Any = one.merge() if isinstance(one, LoRALinear | DoRALinear) else one
        if layer is one and not one.trainable:
            continue
        changed.append(name)
        turned = stored.config.transposed and stored.config.adapts(name)
        result[f"{name}.weight"] = layer.W.T if turned else layer.W
        if layer.bias is not None:
            result[f"{name}.bias"] = layer.bias
        for array in (layer.W, layer.bias):
            if array is not None and not np.isfinite(array).all():
                raise FileError(folder, f"gives {name} an entry that is not finite")
    return result, changed


# ---------------------------------------------------------------------------------- extracted


class Extraction(NamedTuple):
    """The update of one layer, cut to a rank."""

    name: str
    r: int
    norm: float  # of the whole change
    error: float  # of the cut, measured on the product of its factors
    bound: float  # the least error of any matrix of that rank (Eckart and Young)


def extract(
    base: Arrays, tuned: Arrays, r: int, targets: Sequence[str] = ()
) -> tuple[dict[str, Layer], list[Extraction], list[str]]:
    """Return LoRA layers whose updates are the best of rank r for a full fine-tuning.

    Parameters
    ----------
    base, tuned : mapping of str to ndarray
        The arrays before and after, under the same names.
    r : int
        Rank; less where a matrix cannot have so much.
    targets : sequence of str
        The layers to take, whole names or ends; all matrices that changed if empty.

    Returns
    -------
    layers : dict of str to Layer
        For `save_peft`: a `LoRALinear` where something changed, a frozen `Linear` elsewhere.
    extractions : list of Extraction
        The error of each, beside its bound.
    left : list of str
        What changed too, and is not in the layers: biases, norms, what `targets` leaves out.
    """
    r = as_count("rank", r)
    chosen = AdapterConfig(tuple(targets), r, float(r))
    layers: dict[str, Layer] = {}
    extractions, left = [], []
    for key, before in base.items():
        if key not in tuned:
            raise LoraRefError(f"{key} is in the base and not in the tuned model, expected in both")
        after = tuned[key]
        if after.shape != before.shape:
            raise ShapeError(f"{key} has shape {after.shape}, expected {before.shape}")
        name = key.removesuffix(".weight")
        matrix = name != key and before.ndim == 2 and before.dtype.kind == "f"
        if np.array_equal(before, after):
            if matrix:
                layers[name] = Linear(before, train=())
        elif matrix and (not targets or chosen.adapts(name)):
            change = after.astype(np.float64) - before
            rank = min(r, *change.shape)
            A, B = balanced_factors(change, rank)
            error = float(np.linalg.norm(change - B @ A))
            bound = truncation_error(change, rank).frobenius
            extractions.append(Extraction(name, rank, float(np.linalg.norm(change)), error, bound))
            A, B = A.astype(before.dtype), B.astype(before.dtype)
            layers[name] = LoRALinear(before, A, B, alpha=float(rank))
        else:
            left.append(key)
    if not extractions:
        raise LoraRefError("no matrix that is asked for differs between the two models")
    return layers, extractions, left


# ---------------------------------------------------------------------------------- combined


def combine(
    folders: Sequence[Path], weights: Sequence[float] = (), r: int | None = None
) -> tuple[dict[str, Layer], float]:
    """Return layers whose update is the weighted sum of those of several adapters.

    Factors stand side by side, which is exact; the rank is the sum of the ranks. With `r` the sum
    is cut to that rank, the nearest one. Also return what the cut leaves out, as a share of the
    norm of the sum, over all layers together.
    """
    weights = tuple(weights) or (1.0,) * len(folders)
    if len(weights) != len(folders) or not folders:
        raise LoraRefError(
            f"there are {len(weights)} weights for {len(folders)} adapters, expected one for each"
        )
    found: dict[str, list[tuple[Array, Array]]] = {}
    for folder, weight in zip(folders, weights, strict=True):
        factor = as_finite("weight", weight)
        for name, layer in _layers_in(folder).items():
            if not isinstance(layer, LoRALinear) or layer.bias is not None:
                raise FileError(
                    folder, f"has more than LoRA factors in {name}: {layer!r}, which do not add up"
                )
            pair = layer.A.astype(np.float64), factor * layer.scaling * layer.B.astype(np.float64)
            found.setdefault(name, []).append(pair)
    layers: dict[str, Layer] = {}
    lost, total = 0.0, 0.0
    for name, pairs in found.items():
        sides = {(pair[1].shape[0], pair[0].shape[1]) for pair in pairs}
        if len(sides) > 1:
            raise ShapeError(f"{name} is {sorted(sides)} in the adapters, expected one shape")
        A, B = np.vstack([A for A, _ in pairs]), np.hstack([B for _, B in pairs])
        left, core, right = small_product(A, B)
        total = hypot(total, float(np.linalg.norm(core)))
        if r is not None and r < min(core.shape):
            lost = hypot(lost, truncation_error(core, r).frobenius)
            small_A, small_B = balanced_factors(core, r)
            A, B = small_A @ right.T, left @ small_B
        layers[name] = LoRALinear(np.zeros((len(B), A.shape[1])), A, B, alpha=float(len(A)))
    return layers, lost / total if total else 0.0


# ---------------------------------------------------------------------------------- converted


def convert_to(folder: Path, layout: str) -> Arrays:
    """Return what another library keeps of an adapter: arrays and numbers, by layer and name.

    Parameters
    ----------
    folder : Path
        An adapter in PEFT's layout, of factors and magnitudes alone.
    layout : str
        One of `lora_ref.checkpoint.conventions.LAYOUTS`.
    """
    kept, found = _layout(layout), {}
    for name, layer in _layers_in(folder).items():
        if not isinstance(layer, LoRALinear | DoRALinear) or layer.bias is not None:
            raise FileError(folder, f"has more than factors in {name}: {layer!r}")
        for key, value in kept.write(Update.of(layer)).items():
            found[f"{name}.{key}"] = np.asarray(value)
    return found


def convert_from(arrays: Arrays, layout: str, number: float | None = None) -> dict[str, Layer]:
    """Return layers for `save_peft` from what another library keeps.

    `number` is the one beside the factors, such as alpha, where the arrays do not have it.
    """
    kept = _layout(layout)
    found: dict[str, dict[str, Any]] = {}
    for key, array in arrays.items():
        end = max((n for n in kept.names if key.endswith(f".{n}")), key=len, default="")
        if not end:
            raise LoraRefError(
                f"{key} is none of what {layout} keeps, expected ends: {', '.join(kept.names)}"
            )
        found.setdefault(key[: -len(end) - 1], {})[end] = array
    for name, stored in found.items():
        if kept.number is not None and kept.number not in stored:
            if number is None:
                raise LoraRefError(
                    f"{name} has no {kept.number}, which {layout} keeps in {kept.kept}: "
                    "expected it as the number"
                )
            stored[kept.number] = number
    updates = {name: kept.read(stored) for name, stored in found.items()}
    return {
        name: update.layer(np.zeros((len(update.B), update.A.shape[1]), update.A.dtype))
        for name, update in updates.items()
    }


def _layers_in(folder: Path) -> dict[str, Layer]:
    """Return the layers of an adapter over weights of zero, or say what else it holds."""
    layers, surplus = without_base(read_adapter(folder))
    if surplus:
        raise FileError(folder, f"is not used in full: {'; '.join(surplus[:5])}")
    return layers


def _layout(name: str) -> Layout:
    if name not in LAYOUTS:
        raise LoraRefError(f"there is no layout {name!r}{nearest_or_all(name, LAYOUTS)}")
    return LAYOUTS[name]
