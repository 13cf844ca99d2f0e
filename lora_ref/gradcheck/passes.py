"""A forward and a backward of a copy of a layer, and the arrays that they changed in place."""

import copy
from collections.abc import Iterator, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer

PLAIN = (type(None), bool, int, float, complex, str, bytes)
"""Types of values that hold no array: the alphas and flags of a layer, most of what is copied."""


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
    again = run_forward(in_float64(layer), x.copy(), copy.deepcopy(keywords))[0]
    probe, x, keywords = in_float64(layer), x.copy(), copy.deepcopy(keywords)
    watched: list[tuple[str, Array, Array]] = []  # the name of an array, itself, and a copy

    def watch(value: Any, path: str = "") -> None:
        for name, array in _arrays(value, path):
            if not any(np.may_share_memory(array, other) for _, other, _ in watched):
                own = not path and name.split(".")[0] in taken  # an attribute called like an input
                watched.append((f"self.{name}" if own else name, array, array.copy()))

    taken = {"x", "grad_y", "cache", *keywords}
    for name, value in {"x": x, **keywords}.items():
        watch(value, name)
    watch(probe)
    parameters = in_float64(probe.trainable)
    y, cache = run_forward(probe, x, keywords)
    grad_y = np.asarray(rng.standard_normal(y.shape))
    given = grad_y.copy()
    watch(given, "grad_y")
    watch(cache, "cache")
    watch(probe)  # what forward stored there
    what = f"backward of {type(layer).__name__}"
    grad_x, grads = _two(probe.backward(given, cache), what, "the gradient of x and the others")
    if not isinstance(grads, Mapping):
        got = type(grads).__name__
        raise LoraRefError(f"{what} returned parameters as a {got}, expected a mapping by name")
    changed: dict[str, float] = {}
    for name, array, before in watched:
        changed[name] = max(_change(array, before), changed.get(name, 0.0))
    for name, value in probe.trainable.items() if not any(changed.values()) else ():
        if change := _change(value, parameters.get(name)):  # a list, or another array in its place
            changed[name] = change
    gradients = grads if grad_x is None and x.dtype.kind in "iu" else {**grads, "x": grad_x}
    return Passes(y, grad_y, gradients, changed, agree(y, again))


def run_forward(layer: Layer, x: Array, keywords: Mapping[str, Any]) -> tuple[Array, Any]:
    """Run a forward pass; return y as an array of its own, and the cache."""
    what = f"forward of {type(layer).__name__}"
    y, cache = _two(layer.forward(x, **keywords), what, "y and a cache")
    if (real := floats(y)) is None:
        got = getattr(y, "dtype", type(y).__name__)
        raise LoraRefError(f"y in {what} is of {got}, expected an array of real numbers")
    return real, cache


def _two(got: Any, what: str, expected: str) -> tuple[Any, Any]:
    if not isinstance(got, tuple | list) or len(got) != 2:
        raise LoraRefError(f"{what} returned a {type(got).__name__}, expected two: {expected}")
    return got[0], got[1]


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


def in_float64(value: Any, copies: dict[int, tuple[Any, Any]] | None = None) -> Any:
    """Copy a layer, or what one is made of, with float64 in place of every floating dtype.

    Every array is copied, integers as well, and one that has two names stays one. What holds no
    array is shared, such as a generator.
    """
    copies = {} if copies is None else copies
    if type(value) in PLAIN or isinstance(value, type | ModuleType):
        return value
    if id(value) in copies:
        return copies[id(value)][1]
    made = value
    if isinstance(value, np.ndarray):
        made = value.astype(np.float64 if value.dtype.kind == "f" else value.dtype)
    elif isinstance(value, list | tuple):
        make = getattr(value, "_make", type(value))
        made = make(in_float64(one, copies) for one in value)
    elif isinstance(value, Mapping):
        made = {key: in_float64(one, copies) for key, one in value.items()}
    elif hasattr(value, "forward") or next(_arrays(value), None):
        made = copy.copy(value)
        copies[id(value)] = value, made  # before its attributes, which may lead back to it
        state = {name: in_float64(one, copies) for name, one in _attributes(value).items()}
        if hasattr(made, "__setstate__") and hasattr(made, "__dict__"):
            made.__setstate__(state)
        else:
            for name, one in state.items():
                object.__setattr__(made, name, one)
    copies[id(value)] = value, made
    return made


def with_params(layer: Layer, params: Params) -> Layer:
    """Return a copy of the layer with other parameters, even if its class has no such method."""
    made: Layer = in_float64(layer)
    if hasattr(made, "with_params"):
        return made.with_params(params)
    old = layer.trainable
    for name, array in params.items():
        inside: Any = made.trainable[name]
        own = isinstance(inside, np.ndarray) and not np.may_share_memory(inside, old[name])
        if own and inside.flags.writeable:
            inside[...] = array  # where it is, under whatever name
        if not np.array_equal(made.trainable[name], array, equal_nan=True):
            with suppress(AttributeError):
                object.__setattr__(made, name, array)
    return made


def floats(values: Any) -> Array | None:
    """Return an array of float64 of its own, or None for what holds no real numbers."""
    try:
        array = np.asarray(values)
    except ValueError:  # rows of several lengths
        return None
    return array.astype(np.float64) if array.dtype.kind in "fiub" else None


def agree(y: Array, again: Array) -> bool:
    """Return whether two forward passes of one x gave the same y, but for rounding."""
    spread = 64 * np.finfo(np.float64).eps * np.abs(y).max(initial=0.0)
    return y.shape == again.shape and not bool((np.abs(again - y) > spread).any())


def _attributes(value: Any) -> dict[str, Any]:
    """Return what an object keeps in its `__dict__` and its slots; nothing for plain callables."""
    if isinstance(value, type | ModuleType) or (callable(value) and not hasattr(value, "forward")):
        return {}
    kept = {}
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(value, name):
                kept[name] = getattr(value, name)
    return {**kept, **getattr(value, "__dict__", {})}


def _arrays(value: Any, path: str = "", seen: tuple[int, ...] = ()) -> Iterator[tuple[str, Array]]:
    """Walk through the arrays of a layer or a cache, with their dotted names."""
    if isinstance(value, np.ndarray):
        yield path, value
        return
    if isinstance(value, Mapping):
        inside = dict(value)
    elif isinstance(value, list | tuple):
        inside = dict(zip(getattr(value, "_fields", range(len(value))), value, strict=True))
    else:
        inside = _attributes(value)
    for key, one in inside.items() if id(value) not in seen else ():
        yield from _arrays(one, f"{path}.{key}".lstrip("."), (*seen, id(value)))


def _change(after: Any, before: Any) -> float:
    """Return the size of a change, relative to what there was, or to 1 where that is zero."""
    after, before = np.asarray(after), np.asarray(before)
    if np.array_equal(after, before, equal_nan=after.dtype.kind in "fc"):
        return 0.0
    if after.shape != before.shape or not {after.dtype.kind, before.dtype.kind} <= set("fiubc"):
        return float("inf")
    with np.errstate(all="ignore"):
        size, moved = (float(np.abs(one * 1.0).max()) for one in (before, after - 1.0 * before))
        return moved / size if size else moved
