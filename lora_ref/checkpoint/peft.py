"""LoRA adapters in PEFT's layout: a folder with a configuration and the factors.

``adapter_config.json`` names the rank, alpha and the layers. ``adapter_model.safetensors`` has
``base_model.model.<layer>.lora_A.weight`` of shape (r, in_features) and ``lora_B`` of shape
(out_features, r), as here. As PEFT 0.21.2 reads and writes them.
"""

import json
import math
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.safetensors import read_safetensors, write_safetensors
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.base import Layer, without_training
from lora_ref.layers.composite import Composite, layers_of
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.read_text import read_text

Model = TypeVar("Model", bound=Composite)

PREFIX = "base_model.model."
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
LARGEST_CONFIG = 1_000_000


def save_peft(
    folder: Path, model: Composite, *, dtype: DTypeLike | None = None, base: str | None = None
) -> None:
    """Write the LoRA factors of a model to a folder, which is made if it is not there.

    Parameters
    ----------
    folder : Path
        Where the two files go.
    model : Composite
        Its `LoRALinear` layers are written; all have one rank, one alpha and one rule of scaling.
    dtype : dtype, optional
        That of the factors in the file; as they are if omitted.
    base : str, optional
        What the adapter belongs to, for the reader of the configuration.
    """
    innermost = layers_of(model).items()
    layers = {name: layer for name, layer in innermost if isinstance(layer, LoRALinear)}
    settings = {(layer.r, layer.alpha, layer.rank_stabilized) for layer in layers.values()}
    if len(settings) != 1:
        raise LoraRefError(
            f"the model has {len(settings)} kinds of rank and alpha, expected one in all its "
            "LoRALinear layers, and one such layer at least"
        )
    ((r, alpha, stabilized),) = settings
    config = {
        "base_model_name_or_path": base,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": r,
        "target_modules": sorted(layers),
        "task_type": None,
        "use_dora": False,
        "use_rslora": stabilized,
    }
    arrays = {}
    for name, layer in layers.items():
        for factor in ("A", "B"):
            array: Any = getattr(layer, factor)
            array = array if dtype is None else array.astype(dtype)
            if not np.isfinite(array).all():
                raise LoraRefError(f"{name}.{factor} is not finite in {array.dtype}, so not saved")
            arrays[f"{PREFIX}{name}.lora_{factor}.weight"] = array
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LoraRefError(f"{folder} cannot be made: {error.strerror or error}") from None
    write_safetensors(folder / WEIGHTS, arrays, {"format": "pt"})
    write_whole(folder / CONFIG, json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_peft(folder: Path, base: Model) -> Model:
    """Return a model with the adapter of a folder on it; the base is not modified.

    Factors get the dtype of their layer. What does not train in the base stays frozen.

    Raises
    ------
    LoraRefError
        Where a file is missing or damaged, where a factor is missing, surplus, not finite or of
        another shape, and where the configuration asks for what is not here.
    """
    config = _config(folder / CONFIG)
    r, alpha, stabilized = config["r"], config["lora_alpha"], config.get("use_rslora", False)
    arrays = read_safetensors(folder / WEIGHTS)
    factors: dict[str, dict[str, NDArray[Any]]] = {}
    for key, array in arrays.items():
        name, _, end = key.removeprefix(PREFIX).rpartition(".lora_")
        if not key.startswith(PREFIX) or end not in ("A.weight", "B.weight") or not name:
            _fail(folder, f"{key} is stored, expected {PREFIX}<layer>.lora_A.weight and lora_B")
        factors.setdefault(name, {})[end[0]] = array
    left = dict(factors)

    def adapted(name: str, layer: Layer) -> Layer:
        if name not in left:
            return layer
        pair = left.pop(name)
        if not isinstance(layer, Linear):
            _fail(folder, f"it adapts {name}, which is {layer!r}, expected a Linear")
        if pair.keys() != {"A", "B"}:
            _fail(folder, f"{name} has lora_{' and lora_'.join(pair)} alone, expected both factors")
        out_features, in_features = layer.W.shape
        for factor, expected in (("A", (r, in_features)), ("B", (out_features, r))):
            got = pair[factor]
            if got.shape != expected:
                raise ShapeError(
                    f"{folder}: lora_{factor} of {name} has shape {got.shape}, expected {expected}"
                )
            if got.dtype.kind != "f" or not np.isfinite(got).all():
                _fail(folder, f"lora_{factor} of {name} holds what is no finite number")
        A, B = (pair[factor].astype(layer.W.dtype) for factor in ("A", "B"))
        return LoRALinear(layer.W, A, B, alpha, layer.bias, stabilized)

    model = base.mapped(without_training).mapped(adapted)
    if left:
        _fail(folder, f"it adapts {', '.join(sorted(left))}, which the model does not have")
    if not factors:
        _fail(folder, "it holds no factors, expected lora_A and lora_B of one layer at least")
    return model


def _config(path: Path) -> dict[str, Any]:
    """Return the configuration, with what decides numbers checked."""
    text = read_text(path, LARGEST_CONFIG, "the configuration of an adapter")
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        _fail(path, f"it is no JSON: {error}")
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        _fail(path, "it has no peft_type LORA, expected the configuration of a LoRA adapter")
    r, alpha = config.get("r"), config.get("lora_alpha")
    if type(r) is not int or r < 1:
        _fail(path, f"r is {r!r}, expected a whole number of at least 1")
    if type(alpha) not in (int, float) or not math.isfinite(float(alpha or 0)):
        _fail(path, f"lora_alpha is {alpha!r}, expected a finite number")
    if type(config.get("use_rslora", False)) is not bool:
        _fail(path, f"use_rslora is {config['use_rslora']!r}, expected true or false")
    for key in ("use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(key):
            _fail(path, f"{key} is {config[key]!r}, which is not supported, expected none")
    if config.get("bias", "none") != "none" or config.get("lora_bias"):
        _fail(path, "it has biases, which are not supported, expected bias none")
    return config


def _fail(path: Path, reason: str) -> NoReturn:
    raise LoraRefError(f"{path} is no adapter that can be loaded: {reason}")
