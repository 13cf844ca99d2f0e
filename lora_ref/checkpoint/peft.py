"""LoRA adapters in PEFT's layout: a folder with a configuration and the factors.

``adapter_config.json`` says which layers are adapted, and by which rules
(`lora_ref.checkpoint.adapter_config`). ``adapter_model.safetensors`` has
``base_model.model.<layer>.lora_A.weight`` of shape (r, in_features) and ``lora_B`` of shape
(out_features, r), as here. As PEFT 0.21.2 reads and writes them.
"""

import re
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeVar, cast, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lora_ref.atomic_write import write_together
from lora_ref.checkpoint.adapter_config import AdapterConfig
from lora_ref.checkpoint.safetensors import as_safetensors, read_safetensors
from lora_ref.checks import Array, as_fraction
from lora_ref.errors import FileError, LoraRefError, ShapeError
from lora_ref.layers.base import Layer, without_training
from lora_ref.layers.composite import Composite, layers_of
from lora_ref.layers.dora import DoRALinear
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.low_rank import LowRankLayer
from lora_ref.layers.multitask import MultiTaskLoRA
from lora_ref.module_names import is_end_of

Model = TypeVar("Model", bound=Composite)
Tensors = dict[str, NDArray[Any]]

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

NOT_USED = " is stored and belongs to no layer that is adapted"

STORED_AS = {"W": "weight", "gain": "weight", "bias": "bias"}
"""What the arrays of a layer are called in PyTorch."""


# ---------------------------------------------------------------------------------- reading


@overload
def load_peft(folder: Path, base: Model, *, strict: bool = True) -> Model: ...
@overload
def load_peft(
    folder: Path, base: Mapping[str, Array], *, strict: bool = True
) -> dict[str, Layer]: ...
def load_peft(folder: Path, base: Any, *, strict: bool = True) -> Any:
    """Return the base with the adapter of a folder on it; the base is not modified.

    Arrays get the dtype of their layer. What was trained can be trained on: the factors, and the
    biases and whole layers that are stored with them. All else is frozen.

    Parameters
    ----------
    folder : Path
        Where ``adapter_config.json`` and ``adapter_model.safetensors`` lie.
    base : Composite, or mapping of str to ndarray
        A model, and a model comes back. Or arrays by name, ``"fc1.weight"`` and ``"fc1.bias"``:
        then a layer comes back for each matrix, under the name ``"fc1"``. It is a `LoRALinear` or
        `DoRALinear` where the adapter says so, and a `Linear` elsewhere.
    strict : bool
        Whether what is stored and not used, or asked for and not known, or a pattern that fits no
        adapted layer, is an error; else it is a warning. What is missing is always an error, and a
        name in a list that is no layer of the base always a warning: it decides no number.

    Raises
    ------
    FileError
        Where a file is missing or damaged, where an array is missing, surplus or not finite, and
        where the configuration asks for what is not here.
    ShapeError
        Where an array has another shape than its layer asks for.
    """
    stored = read_adapter(folder)
    result, surplus = stored.on(base, strict=strict)
    for one in (*surplus, *stored.idle_names(base)):
        warnings.warn(f"{folder}: {one}", stacklevel=2)
    return result


class StoredAdapter(NamedTuple):
    """What the two files of an adapter hold, and what they ask for that is not known here."""

    folder: Path
    config: AdapterConfig
    unknown: list[str]
    tensors: Tensors  # by the names that layers have in the base

    def on(self, base: Any, *, strict: bool) -> tuple[Any, list[str]]:
        """Return the base with the adapter on it, and a sentence for each thing not used.

        If `strict`, what is not used is an error; see `load_peft`.
        """
        loader = _Loader(self.folder, self.config, dict(self.tensors))
        if isinstance(base, Composite):
            result: Any = base.mapped(loader.changed)
        else:
            layers = _linear_layers(base, self.config)
            result = {name: loader.changed(name, layer) for name, layer in layers.items()}
        if not loader.adapted:
            keys = (f"{name}.lora_A.weight" for name in _layer_names(base))
            hints = filter(None, (_other_prefix(key, self.tensors) for key in keys))
            hint = next(hints, ", expected one at least")
            raise FileError(self.folder, f"adapts no layer of the base{hint}")
        unused = [f"{key}{NOT_USED}" for key in loader.tensors]
        unmet = [f"{key} is asked for and not known here" for key in self.unknown]
        unmet += self.config.idle_patterns(loader.adapted)
        surplus = [*unused, *unmet]
        if surplus and strict:
            said = "; ".join(surplus[:5])
            if not unused:
                raise FileError(self.folder / CONFIG, f"is not followed in full: {said}")
            raise FileError(self.folder, f"is no adapter of this base: {said}")
        return result, surplus

    def idle_names(self, base: Any) -> list[str]:
        """Return a sentence for each name in the configuration that is no layer of the base."""
        return self.config.idle_names(_layer_names(base), "of the base")


def read_adapter(folder: Path) -> StoredAdapter:
    """Return what the files of a folder hold; what `load_peft` raises about them, this raises."""
    folder = Path(folder)
    return StoredAdapter(folder, *AdapterConfig.read(folder / CONFIG), _tensors(folder))


class _Loader:
    """The stored arrays, which `changed` takes out one by one."""

    def __init__(self, folder: Path, config: AdapterConfig, tensors: Tensors) -> None:
        self.folder, self.config, self.tensors = folder, config, tensors
        self.adapted: list[str] = []

    def changed(self, name: str, layer: Layer) -> Layer:
        """Return the layer of that name as the adapter has it."""
        config = self.config
        frozen: Any = without_training(name, layer)
        if config.replaces(name):
            return self._whole(name, frozen)
        factor = f"{name}.lora_A.weight"
        if config.adapts(name) and (config.targets != "all-linear" or factor in self.tensors):
            if not isinstance(frozen, Linear):
                self._fail(f"adapts {name}, which is {layer!r}, expected a Linear")
            self.adapted.append(name)
            return self._low_rank(name, frozen)
        bias = getattr(frozen, "bias", None)
        if config.bias == "all" and bias is not None:
            bias = self._take(f"{name}.bias", bias.shape, bias.dtype)
            return cast(Layer, replace(frozen, bias=bias, train=("bias",)))
        return cast(Layer, frozen)

    def _low_rank(self, name: str, layer: Linear) -> Layer:
        config, dtype = self.config, layer.W.dtype
        (out_features, in_features), r = layer.W.shape, config.rank(name)
        A = self._take(f"{name}.lora_A.weight", (r, in_features), dtype)
        B = self._take(f"{name}.lora_B.weight", (out_features, r), dtype)
        bias, train = layer.bias, False
        if config.bias != "none" and bias is not None:
            bias, train = self._take(f"{name}.base_layer.bias", bias.shape, dtype), True
        stabilized, strength = config.rank_stabilized, config.strength(name)
        trains: tuple[str, ...] = ("A", "B", "bias") if train else ("A", "B")
        lora = LoRALinear(layer.W, A, B, strength, bias, stabilized, trains)
        if config.lora_bias:  # scaling * (B h + b) + bias: the two biases are one
            of_B = lora.scaling * self._take(f"{name}.lora_B.bias", (out_features,), dtype)
            trains = ("A", "B", "bias")
            lora = replace(lora, bias=of_B if bias is None else bias + of_B, train=trains)
        if not config.dora:
            return lora
        key = f"{name}.lora_magnitude_vector"
        magnitude, trains = self._take(key, (out_features,), dtype), (*trains, "magnitude")
        return DoRALinear(
            layer.W, A, B, magnitude, strength, lora.bias, stabilized, "detached", trains
        )

    def _whole(self, name: str, layer: Any) -> Layer:
        arrays = {
            own: self._take(f"{name}.{STORED_AS[own]}", array.shape, array.dtype)
            for own, array in _arrays_in(layer).items()
        }
        if not arrays:
            self._fail(f"stores {name} whole, which is {layer!r}, expected a layer with weights")
        self.adapted.append(name)
        self.tensors.pop(f"{name}.original_module.bias", None)  # with bias="all" PEFT also stores
        copy = self.tensors.pop(f"{name}.modules_to_save.bias", None)  # the base's and a copy
        if copy is not None and not np.array_equal(copy, arrays.get("bias", copy)):
            self._fail(f"stores two biases of {name} that differ, expected one")
        return cast(Layer, replace(layer, **arrays, train=tuple(arrays)))

    def _take(self, key: str, shape: tuple[int, ...], dtype: Any) -> Array:
        array = self.tensors.pop(key, None)
        if array is None:
            hint = _other_prefix(key, self.tensors)
            self._fail(f"does not store {key}, expected it, of shape {shape}{hint}")
        if array.shape != shape:
            raise ShapeError(f"{self.folder}: {key} has shape {array.shape}, expected {shape}")
        if array.dtype.kind != "f":
            self._fail(f"stores {key} of dtype {array.dtype}, expected floating-point numbers")
        with np.errstate(over="ignore"):
            array = array.astype(dtype)
        if not np.isfinite(array).all():
            self._fail(f"stores {key} with an entry that is not finite in {array.dtype}")
        return array

    def _fail(self, sentence: str) -> NoReturn:
        raise FileError(self.folder, sentence)


def _tensors(folder: Path) -> Tensors:
    """Return what is stored, by the names that layers have in the base."""
    if not (folder / WEIGHTS).exists() and (folder / "adapter_model.bin").exists():
        raise FileError(folder, f"holds a pickle, which is never opened here, expected {WEIGHTS}")
    found = {}
    for key, array in read_safetensors(folder / WEIGHTS).items():
        if not key.startswith(PREFIX):
            raise FileError(folder, f"stores {key!r}, expected names after {PREFIX}")
        found[key.removeprefix(PREFIX)] = array
    return found


def _layer_names(base: Composite | Mapping[str, Array]) -> list[str]:
    if isinstance(base, Composite):
        return list(layers_of(base))
    return [key.rpartition(".")[0] for key in base]


def _other_prefix(key: str, stored: Iterable[str]) -> str:
    """Return the end of a sentence about a name that is stored with more or less before it, if any.

    Hugging Face's classes for a task have the bare model in them, under a name such as ``model``.
    """
    for other in stored:
        name = other.partition(".lora_")[0]
        if is_end_of(other, key):
            return f"; {name} is stored, with {other.removesuffix(key)!r} before the name"
        if is_end_of(key, other):
            return f"; {name} is stored, without {key.removesuffix(other)!r} before the name"
    return ""


def _linear_layers(base: Mapping[str, Array], config: AdapterConfig) -> dict[str, Layer]:
    """Return a layer for each matrix of a base, frozen."""
    given: object = base
    if not isinstance(given, Mapping):
        raise LoraRefError(
            f"base in load_peft is a {type(given).__name__}, expected a model, or arrays by name"
        )
    layers: dict[str, Layer] = {}
    for key, weight in base.items():
        name = key.removesuffix(".weight")
        if name == key or np.ndim(weight) != 2:
            continue
        if config.transposed and config.adapts(name):
            weight = weight.T
        bias = base.get(f"{name}.bias")
        layers[name] = Linear(weight, bias, train=())
    return layers


# ---------------------------------------------------------------------------------- writing


def save_peft(
    folder: Path,
    layers: Composite | Mapping[str, Layer],
    *,
    dtype: DTypeLike | None = None,
    base: str | None = None,
    dropout: float = 0.0,
) -> None:
    """Write an adapter to a folder, which is made if it is not there.

    Both files are written, or neither: an error or an interruption leaves what was there before.
    Equal adapters give equal bytes.

    Parameters
    ----------
    folder : Path
        Where the two files go.
    layers : Composite, or mapping of str to Layer
        The layers of a whole model. Its `LoRALinear` or `DoRALinear` layers are written, and with
        them the biases that train, and the other layers that train.
    dtype : dtype, optional
        That of the arrays in the file; as they are if omitted.
    base : str, optional
        What the adapter belongs to, for the reader of the configuration.
    dropout : float
        ``lora_dropout``, with which PEFT trains on. Layers do not know it, as masks are drawn
        outside: ``AdapterConfig.read`` has that of an adapter that was loaded.

    Raises
    ------
    LoraRefError
        Where a layer trains what this layout has no place for, and where a number is not finite.
    """
    folder = Path(folder)
    given: object = layers
    if not isinstance(given, Composite | Mapping):
        raise LoraRefError(
            f"layers in save_peft is {given!r}, expected a model or a mapping, {{'fc': layer}}"
        )
    named = _named(layers)
    config = replace(_config_of(named, base), dropout=as_fraction("dropout in save_peft", dropout))
    arrays = {}
    for name, array in _arrays_of(named, config).items():
        with np.errstate(over="ignore"):
            array = array if dtype is None else array.astype(dtype)
        if not np.isfinite(array).all():
            raise LoraRefError(f"{name} is not finite in {array.dtype}, so it is not saved")
        arrays[f"{PREFIX}{name}"] = array
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise FileError(folder, f"cannot be made: {reason}") from error
    weights = as_safetensors(folder / WEIGHTS, arrays, {"format": "pt"})
    write_together({folder / WEIGHTS: weights, folder / CONFIG: config.as_json().encode()})


def _config_of(layers: Mapping[str, Layer], base: str | None) -> AdapterConfig:
    """Return the configuration that says what these layers are."""
    adapted = {name: layer for name, layer in layers.items() if isinstance(layer, LowRankLayer)}
    kinds = {(isinstance(one, DoRALinear), one.rank_stabilized) for one in adapted.values()}
    if len(kinds) != 1:
        listed = ", ".join(sorted({repr(one) for one in adapted.values()})[:2]) or "none"
        raise LoraRefError(
            f"the adapted layers are of {len(kinds)} kinds ({listed}), expected one kind of layer "
            "and one rule of scaling, and one such layer at least"
        )
    ((dora, stabilized),) = kinds
    ranks, alphas = ([getattr(one, n) for one in adapted.values()] for n in ("r", "alpha"))
    r, alpha = max(ranks, key=ranks.count), max(alphas, key=alphas.count)
    others = {name: set(layer.trainable) for name, layer in layers.items() if name not in adapted}
    bias = "all" if {"bias"} in others.values() else "none"
    if bias == "none" and any("bias" in one.trainable for one in adapted.values()):
        bias = "lora_only"
    whole = tuple(sorted(name for name, trained in others.items() if trained - {"bias"}))
    return AdapterConfig(
        targets=_targets_of(adapted, [name for name in layers if name not in whole]),
        r=r,
        alpha=alpha,
        rank_pattern={_exactly(n): one.r for n, one in adapted.items() if one.r != r},
        alpha_pattern={_exactly(n): one.alpha for n, one in adapted.items() if one.alpha != alpha},
        rank_stabilized=stabilized,
        dora=dora,
        bias=bias,
        whole=whole,
        base=base,
    )


def _targets_of(adapted: Iterable[str], names: list[str]) -> tuple[str, ...] | str:
    """Return what means the adapted layers and no other: their names, or an expression for them."""
    listed = tuple(sorted(adapted))
    ends = tuple(f".{name}" for name in listed)
    if any(name.endswith(ends) for name in names if name not in listed):
        return "|".join(re.escape(name) for name in listed)
    return listed


def _exactly(name: str) -> str:
    """Return the expression that means this name, and not another one that ends in it."""
    return f"^{re.escape(name)}"


def _arrays_of(layers: Mapping[str, Layer], config: AdapterConfig) -> Tensors:
    """Return what is stored, by name."""
    found: dict[str, Any] = {}
    for name, one in layers.items():
        layer: Any = one
        bias = getattr(layer, "bias", None)
        if isinstance(layer, LowRankLayer):
            found |= {f"{name}.lora_A.weight": layer.A, f"{name}.lora_B.weight": layer.B}
            if isinstance(layer, DoRALinear):
                found[f"{name}.lora_magnitude_vector"] = layer.magnitude
            if config.bias != "none" and bias is not None:
                found[f"{name}.base_layer.bias"] = bias
        elif config.replaces(name):
            found |= {f"{name}.{STORED_AS[own]}": a for own, a in _arrays_in(layer).items()}
        elif config.bias == "all" and bias is not None:
            found[f"{name}.bias"] = bias
    return found


def _arrays_in(layer: Layer) -> dict[str, Array]:
    """Return the arrays of a layer that PyTorch stores, by the names that they have here."""
    return {n: a for n, a in vars(layer).items() if n in STORED_AS and isinstance(a, np.ndarray)}


def _named(layers: Composite | Mapping[str, Layer]) -> dict[str, Layer]:
    """Return innermost layers by name, or say which of them this layout has no place for."""
    children = layers.children if isinstance(layers, Composite) else dict(layers)
    found: dict[str, Layer] = {}
    for name, layer in children.items():
        if isinstance(layer, MultiTaskLoRA):
            raise LoraRefError(
                f"{name} is {layer!r}, and a folder holds one adapter: save each task by itself, "
                "or make one of all with concatenate_factors"
            )
        inner = _named(layer) if isinstance(layer, Composite) else {"": layer}
        found |= {f"{name}.{path}".rstrip("."): one for path, one in inner.items()}
    return found
