"""A user's own model, read from a JSON file.

.. code-block:: json

    {
      "name": "mine",
      "width": 64,
      "blocks": 2,
      "modules": [
        {"name": "embed", "kind": "embedding", "shape": [1000, 64]},
        {"name": "blocks.*.attention.qkv", "kind": "linear", "shape": [192, 64], "bias": 192,
         "copies": 2, "pieces": [["q", 64], ["k", 64], ["v", 64]]},
        {"name": "blocks.*.norm", "kind": "norm", "shape": [64], "bias": 64, "copies": 2},
        {"name": "head", "kind": "linear", "shape": [1000, 64], "tied_to": "embed"}
      ]
    }

The keys are the fields of `Model` and `Module`, and mean what is said there; ``bias``, ``copies``,
``tied_to``, ``pieces`` and ``title`` may be left out. Every number is a whole one. An example
stands beside this file, ``example_spec.json``.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import MISSING, fields
from difflib import get_close_matches
from math import prod
from pathlib import Path
from typing import Any

from lora_ref.counting.modules import KINDS, Model, Module, clashes
from lora_ref.errors import LoraRefError

LARGEST_FILE = 1_000_000
"""Bytes of a file; a model of a thousand modules needs a tenth of that."""

LARGEST = 10**9
"""The largest size: beyond it a digit too many is more likely than a model."""

LARGEST_MODULE = 10**15
"""Numbers of a module with all its copies: more than any model has."""

MOST_AXES = 8
SHOWN_FAULTS = 20

MODEL_KEYS = ("name", "width", "blocks", "modules", "title")
MODULE_KEYS = tuple(field.name for field in fields(Module))
_REQUIRED = tuple(field.name for field in fields(Module) if field.default is MISSING)


def load(path: str | Path) -> Model:
    """Return the model that a JSON file describes.

    Parameters
    ----------
    path : str or Path
        A file in UTF-8, of the form above.

    Raises
    ------
    LoraRefError
        If the file cannot be read, is no JSON, or describes no model: then all its faults
        together, each with its place.
    """
    if not isinstance(path, str | Path):
        raise LoraRefError(f"path is {path!r}, expected the name of a JSON file")
    path = Path(path)
    try:
        with path.open("rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LoraRefError(f"{path} cannot be read ({reason}), expected a JSON file") from None
    if len(raw) > LARGEST_FILE:
        raise LoraRefError(f"{path} has more than {LARGEST_FILE:,} bytes, expected a model's sizes")
    try:
        body = json.loads(
            raw.decode("utf-8-sig"),
            object_pairs_hook=_Object,
            parse_int=_bounded,
        )
    except UnicodeDecodeError as error:
        raise LoraRefError(f"{path} is not UTF-8: byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise LoraRefError(
            f"{path}, line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise LoraRefError(f"{path} nests too deep, expected a list of modules") from None
    try:
        return parse(body)
    except LoraRefError as error:
        raise LoraRefError(f"{path}: {error}") from None


def parse(body: object) -> Model:
    """Return the model that a parsed JSON object describes.

    Raises
    ------
    LoraRefError
        As `load`.
    """
    if not isinstance(body, dict):
        raise LoraRefError(
            f"{_shown(body)} at the top, expected an object with {', '.join(MODEL_KEYS[:4])}"
        )
    faults = list(_key_faults("the model", body, MODEL_KEYS, MODEL_KEYS[:4]))
    for key in ("width", "blocks"):
        faults += _count_faults(key, body.get(key, 1))
    for key in ("name", "title"):
        faults += _text_faults(key, body.get(key, "x"))
    listed = body.get("modules", [{}])
    modules = []
    if not isinstance(listed, list) or not listed:
        faults.append(f"modules is {_shown(listed)}, expected a list of objects, at least one")
        listed = []
    for number, entry in enumerate(listed if "modules" in body else [], start=1):
        place = _place(number, entry)
        wrong = _module_faults(place, entry)
        faults += wrong
        if wrong:
            continue
        try:
            modules.append(_module(entry))
        except LoraRefError as error:
            faults.append(f"module {number}: {error}")
    if faults:
        faults += clashes(modules)
        further = len(faults) - SHOWN_FAULTS
        also = [f"and {further} further faults"] if further > 0 else []
        raise LoraRefError("\n  ".join([*faults[:SHOWN_FAULTS], *also]))
    called: str = body["name"]
    title: str = body.get("title", called)
    return Model(called, title, "a file", tuple(modules), body["width"], body["blocks"])


def _place(number: int, entry: object) -> str:
    """Return how a module is called in a sentence: its number, and its name if it has one."""
    name = entry.get("name") if isinstance(entry, dict) else None
    return f"module {number}" + (f" ({name})" if not _text_faults("", name) else "")


def _module(entry: Mapping[str, Any]) -> Module:
    given = dict(entry)
    given["shape"] = tuple(given["shape"])
    given["pieces"] = tuple((name, rows) for name, rows in given.get("pieces", ()))
    return Module(**given)


def _module_faults(place: str, entry: object) -> list[str]:
    if not isinstance(entry, dict):
        return [f"{place} is {_shown(entry)}, expected an object"]
    faults = _key_faults(place, entry, MODULE_KEYS, _REQUIRED)
    for key in ("name", "kind"):
        faults += _text_faults(f"{place}: {key}", entry.get(key, "x"))
    if isinstance(entry.get("kind"), str) and entry["kind"] not in KINDS:
        faults.append(f"{place}: kind is {entry['kind']!r}, expected one of: {', '.join(KINDS)}")
    shape = entry.get("shape", [1])
    if isinstance(shape, list) and shape:
        faults += [f for size in shape for f in _count_faults(f"{place}: shape", size)]
    else:
        faults.append(f"{place}: shape is {_shown(shape)}, expected a list of sizes")
    if isinstance(shape, list) and len(shape) > MOST_AXES:
        faults.append(f"{place}: shape has {len(shape)} axes, expected at most {MOST_AXES}")
    copies = entry.get("copies", 1)
    faults += _count_faults(f"{place}: copies", copies)
    if not faults and prod(shape) * copies > LARGEST_MODULE:
        faults.append(f"{place}: shape and copies make more than {LARGEST_MODULE:,} numbers")
    faults += _count_faults(f"{place}: bias", entry.get("bias", 0), at_least=0)
    if entry.get("tied_to") is not None:
        faults += _text_faults(f"{place}: tied_to", entry["tied_to"])
    pieces = entry.get("pieces", [])
    if not isinstance(pieces, list):
        return [*faults, f"{place}: pieces is {_shown(pieces)}, expected a list of pairs"]
    for piece in pieces:
        if not (isinstance(piece, list) and len(piece) == 2 and isinstance(piece[0], str)):
            faults.append(f'{place}: a piece is {_shown(piece)}, expected such as ["q", 64]')
        else:
            faults += _count_faults(f"{place}: piece {_shown(piece[0])}", piece[1])
    return faults


def _key_faults(
    place: str, entry: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...]
) -> list[str]:
    faults = [f"{place} has no {key!r}" for key in required if key not in entry]
    if isinstance(entry, _Object):
        faults += [f"{place}: the key {_shown(key)} stands twice" for key in entry.twice]
    for key in entry:
        if key not in known:
            near = get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f", expected {', '.join(known)}"
            faults.append(f"{place} has an unknown key {_shown(key)}{hint}")
    return faults


def _count_faults(what: str, value: object, at_least: int = 1) -> list[str]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if whole and isinstance(value, int) and at_least <= value <= LARGEST:
        return []
    return [f"{what} is {_shown(value)}, expected a whole number from {at_least} to {LARGEST:,}"]


def _text_faults(what: str, value: object) -> list[str]:
    if isinstance(value, str) and value.strip() and value.isprintable():
        return []
    return [f"{what} is {_shown(value)}, expected a name"]


def _shown(value: object) -> str:
    """Return a value as JSON has it, cut where it is long."""
    if isinstance(value, int) and abs(value) >= _TOO_LONG:
        return "a huge number"
    try:
        text = json.dumps(value)
    except RecursionError:
        return "a deep nest"
    return text if len(text) <= 40 else text[:37] + "..."


class _Object(dict[str, Any]):
    """A JSON object that knows which of its keys stood there twice."""

    def __init__(self, pairs: list[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        keys = Counter(key for key, _ in pairs)
        self.twice = [key for key, times in keys.items() if times > 1]


_TOO_LONG = 10**40


def _bounded(text: str) -> int:
    """Return a JSON integer; Python refuses to read one of thousands of digits."""
    return int(text) if len(text) <= 40 else _TOO_LONG
