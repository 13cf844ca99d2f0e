"""A forward and a backward of a copy of a layer, and the arrays that they changed in place."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.layers.base import Layer


class Passes(NamedTuple):
    """What a layer returned, and by how much its passes changed what they were given."""

    y: Array
    grad_y: Array
    gradients: Params
    """The gradient of x and those that backward returned for parameters, by name."""

    changed: Mapping[str, float]
    """The relative change of each array: x, grad_y, those of the layer and of the cache."""

    repeatable: bool
    """Whether a second forward of the same x gave the same y."""


def run_passes(
    layer: Layer, x: Array, rng: np.random.Generator, keywords: Mapping[str, Any]
) -> Passes:
    """Run forward twice and backward once on copies, with a random gradient of y."""
    again = in_float64(layer).forward(x.copy(), **copy.deepcopy(keywords))[0]
    probe = in_float64(layer)
    masks = {name: one.copy() for name, one in keywords.items() if isinstance(one, np.ndarray)}
    given = {"x": x.copy(), **masks, **dict(_arrays(probe))}
    before = {name: array.copy() for name, array in given.items()}
    y, cache = probe.forward(given["x"], **{**keywords, **masks})
    y, grad_y = np.array(y), np.asarray(rng.standard_normal(np.shape(y)))
    given["grad_y"], before["grad_y"] = grad_y.copy(), grad_y
    for name, array in _arrays(cache, "cache"):
        if not any(np.may_share_memory(array, other) for other in given.values()):
            given[name], before[name] = array, array.copy()
    grad_x, grads = probe.backward(given["grad_y"], cache)
    changed = {name: _change(given[name], before[name]) for name in before}
    spread = 64 * np.finfo(np.float64).eps * np.abs(y).max(initial=0.0)
    repeatable = np.shape(again) == y.shape and not bool((np.abs(again - y) > spread).any())
    return Passes(y, grad_y, {"x": grad_x, **grads}, changed, repeatable)


def in_place_changes(
    layer: Layer, x: Array, rng: np.random.Generator, **keywords: Any
) -> dict[str, float]:
    """Return by how much the passes of a layer change each array that they are given.

    Parameters
    ----------
    layer, x, rng, **keywords
        As in `gradient_errors`.

    Returns
    -------
    dict of str to float
        The relative change of ``x``, ``grad_y``, every array of the layer, frozen or not, and
        those that backward alone could change, such as ``cache.h``: 0 where passes are pure.
    """
    return dict(run_passes(layer, in_float64(x), rng, in_float64(keywords)).changed)


def in_float64(value: Any) -> Any:
    """Copy a layer, or what one is made of, with float64 in place of every floating dtype."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "f":
        return value.astype(np.float64)
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(in_float64, value))
    if isinstance(value, list | tuple):
        return type(value)(map(in_float64, value))
    if isinstance(value, Mapping):
        return {key: in_float64(one) for key, one in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(
            value, **{f.name: in_float64(getattr(value, f.name)) for f in fields(value) if f.init}
        )
    if hasattr(value, "forward") and hasattr(value, "__dict__") and not isinstance(value, type):
        made = copy.copy(value)
        made.__dict__.update(in_float64(vars(value)))
        return made
    return value


def with_params(layer: Layer, params: Params) -> Layer:
    """Return the layer with other parameters; a class without that method is copied."""
    if hasattr(layer, "with_params"):
        return layer.with_params(params)
    made = copy.copy(layer)
    for name, array in params.items():
        setattr(made, name, array)
    return made


def _arrays(value: Any, path: str = "") -> Iterator[tuple[str, Array]]:
    """Walk through the arrays of a layer, with their dotted names."""
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, Mapping):
        for key, one in value.items():
            yield from _arrays(one, f"{path}.{key}".lstrip("."))
    elif isinstance(value, list | tuple):
        for key, one in zip(getattr(value, "_fields", range(len(value))), value, strict=True):
            yield from _arrays(one, f"{path}.{key}".lstrip("."))
    elif is_dataclass(value) or hasattr(value, "forward"):
        yield from _arrays(vars(value), path)


def _change(after: Array, before: Array) -> float:
    """Return the size of a change, relative to what there was, or to 1 where that is zero."""
    if np.array_equal(after, before, equal_nan=after.dtype.kind in "fc"):
        return 0.0
    with np.errstate(all="ignore"):
        moved, size = np.linalg.norm(after - before), np.linalg.norm(before)
        return float(moved / size if size else moved)
