"""A user's own model, read from a JSON file such as ``example_spec.json`` beside this module.

The keys are the fields of `Model` and `Module`; ``bias``, ``copies``, ``tied_to``, ``splits``,
``groups``, ``also``, ``title``, ``family`` and ``published`` may be left out. What they say is
held against itself: copies against blocks, a side of some module against the width, and the
parameters against a published number. Every number is a whole one.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields
from math import prod
from pathlib import Path
from typing import Any

from lora_ref.counting.model import Model, Module, overlaps
from lora_ref.errors import LoraRefError
from lora_ref.read_text import read_text
from lora_ref.suggestions import nearest_or_all

MAX_BYTES = 1_000_000
"""Largest file; a model of a thousand modules needs a tenth of that."""

MAX_SIZE = 10**9
"""Largest size; a larger one more likely has a digit too many."""

MAX_PARAMETERS = 10**15
"""Most parameters of a module with all its copies; no model has as many."""

MAX_AXES = 8
MAX_ERRORS = 20
"""Errors of a file that are reported; of more, only the number is."""

MODEL_KEYS = ("name", "width", "blocks", "modules", "title", "family", "published")
MODULE_KEYS = tuple(field.name for field in fields(Module))
_REQUIRED = tuple(field.name for field in fields(Module) if field.default is MISSING)

_HUGE = 10**40


def load(path: str | Path) -> Model:
    """Return the model that a JSON file in UTF-8 describes.

    All errors of the file are reported together, each with its place.
    """
    text = read_text(path, MAX_BYTES, "a JSON file")
    try:
        return parse(json.loads(text, object_pairs_hook=_Object, parse_int=_bounded_int))
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise LoraRefError(f"{path}, {place}: not JSON: {error.msg}") from None
    except RecursionError:
        raise LoraRefError(f"{path} nests too deep, expected a list of modules") from None
    except LoraRefError as error:
        raise LoraRefError(f"{path}: {error}") from None


def parse(body: object) -> Model:
    """Return the model that a parsed JSON object describes."""
    if not isinstance(body, dict):
        raise LoraRefError(
            f"{_short(body)} at the top, expected an object with {', '.join(MODEL_KEYS[:4])}"
        )
    errors = [*_key_errors("the model", body, MODEL_KEYS, MODEL_KEYS[:4])]
    for key in ("width", "blocks", "published"):
        largest = MAX_PARAMETERS if key == "published" else MAX_SIZE
        errors += _count_errors(key, body.get(key, 1), largest=largest)
    for key in ("name", "title", "family"):
        errors += _text_errors(key, body.get(key, "x"))
    entries = body.get("modules", [])
    if "modules" in body and not (isinstance(entries, list) and entries):
        errors.append(f"modules is {_short(entries)}, expected a list of objects, at least one")
        entries = []
    modules = []
    for number, entry in enumerate(entries, start=1):
        found = [*_module_errors(f"module {number}", entry)]
        try:
            modules += [] if found else [_module(entry)]
        except LoraRefError as error:
            found = [f"module {number}: {error}"]
        errors += found
    if errors:
        errors += overlaps(modules)
        more = len(errors) - MAX_ERRORS
        also = [f"and {more} more errors"] if more > 0 else []
        raise LoraRefError("\n  ".join([*errors[:MAX_ERRORS], *also]))
    name: str = body["name"]
    title: str = body.get("title", name)
    given = {key: body[key] for key in ("width", "blocks", "published", "family") if key in body}
    model = Model(name, title, "a file", tuple(modules), **given)
    errors = [*contradictions(model)]
    if errors:
        raise LoraRefError("\n  ".join(errors))
    return model


def contradictions(model: Model) -> Iterator[str]:
    """Yield where the numbers of a model do not fit each other, though each may be right."""
    stacks: dict[str, dict[int, str]] = {}
    for module in model.modules:
        before, star, after = module.name.partition("*")
        if star and "*" not in after:
            stacks.setdefault(before, {}).setdefault(module.copies, module.name)
    for before, names in stacks.items():
        if len(names) > 1:
            (one, name), (other, another) = list(names.items())[:2]
            yield (
                f"{name} has {one} copies and {another} has {other}, expected as many of all "
                f"modules of {before}*, or names with numbers in place of the *"
            )
    blocks = sum(max(names) for names in stacks.values())
    if stacks and blocks != model.blocks:
        yield f"blocks is {model.blocks}, and the modules of {', '.join(stacks)} have {blocks}"
    if not any(model.width in module.shape for module in model.modules):
        yield f"width is {model.width}, and no module has a side of that length"
    if model.published not in (None, model.total):
        yield f"published is {model.published:,}, and the modules have {model.total:,} parameters"


def _module(entry: Mapping[str, Any]) -> Module:
    splits = tuple((name, rows) for name, rows in entry.get("splits", ()))
    return Module(**{**entry, "shape": tuple(entry["shape"]), "splits": splits})


def _module_errors(place: str, entry: object) -> Iterator[str]:
    """Yield what is wrong with an entry, as far as it can be told without making a `Module`."""
    if not isinstance(entry, dict):
        yield f"{place} is {_short(entry)}, expected an object"
        return
    if not [*_text_errors("", entry.get("name"))]:
        place += f" ({entry['name']})"
    yield from _key_errors(place, entry, MODULE_KEYS, _REQUIRED)
    for key in ("name", "kind"):
        yield from _text_errors(f"{place}: {key}", entry.get(key, "x"))
    yield from _size_errors(place, entry.get("shape", [1]), entry.get("copies", 1))
    yield from _count_errors(f"{place}: bias", entry.get("bias", 0), at_least=0)
    yield from _count_errors(f"{place}: groups", entry.get("groups", 1))
    if "*" in str(entry.get("name")) and "copies" not in entry:
        yield f"{place} has a * in its name and no copies, expected how often it occurs"
    if entry.get("also", ""):
        yield from _text_errors(f"{place}: also", entry["also"])
    if entry.get("tied_to") is not None:
        yield from _text_errors(f"{place}: tied_to", entry["tied_to"])
    splits = entry.get("splits", [])
    if not isinstance(splits, list):
        yield f"{place}: splits is {_short(splits)}, expected a list of pairs"
        return
    for split in splits:
        if not (isinstance(split, list) and len(split) == 2 and isinstance(split[0], str)):
            yield f'{place}: a split is {_short(split)}, expected such as ["q", 64]'
        else:
            yield from _count_errors(f"{place}: split {_short(split[0])}", split[1])


def _size_errors(place: str, shape: object, copies: object) -> Iterator[str]:
    if not isinstance(shape, list) or not shape:
        yield f"{place}: shape is {_short(shape)}, expected a list of sizes"
        shape = []
    if len(shape) > MAX_AXES:
        yield f"{place}: shape has {len(shape)} axes, expected at most {MAX_AXES}"
        return
    errors = [error for size in shape for error in _count_errors(f"{place}: shape", size)]
    errors += _count_errors(f"{place}: copies", copies)
    if not errors and prod([*shape, copies]) > MAX_PARAMETERS:
        errors = [f"{place}: shape and copies make more than {MAX_PARAMETERS:,} parameters"]
    yield from errors


def _key_errors(
    place: str, entry: Mapping[str, Any], known: tuple[str, ...], required: tuple[str, ...]
) -> Iterator[str]:
    for key in required:
        if key not in entry:
            yield f"{place} has no {key!r}"
    for key in entry.twice if isinstance(entry, _Object) else ():
        yield f"{place}: the key {_short(key)} stands twice"
    for key in entry:
        if key not in known:
            yield f"{place} has an unknown key {_short(key)}{nearest_or_all(key, known)}"


def _count_errors(
    what: str, value: object, at_least: int = 1, largest: int = MAX_SIZE
) -> Iterator[str]:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not (whole and isinstance(value, int) and at_least <= value <= largest):
        yield f"{what} is {_short(value)}, expected a whole number from {at_least} to {largest:,}"


def _text_errors(what: str, value: object) -> Iterator[str]:
    if not (isinstance(value, str) and value.strip() and value.isprintable()):
        yield f"{what} is {_short(value)}, expected a name"


def _short(value: object) -> str:
    """Return a value as JSON has it, shortened where it is long."""
    if isinstance(value, int) and abs(value) >= _HUGE:
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


def _bounded_int(text: str) -> int:
    """Return a JSON integer; Python refuses to read one of thousands of digits."""
    return int(text) if len(text) <= 40 else _HUGE
