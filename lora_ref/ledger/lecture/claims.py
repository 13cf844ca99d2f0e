"""The claims of a file as claims of the ledger, so that the same `judge` judges them."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from operator import ge, gt, le, lt
from typing import Any, NamedTuple

import numpy as np

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.ledger.claim import (
    Claim,
    Correction,
    Evidence,
    Law,
    Number,
    Printed,
    Section,
    Shape,
    exact,
    judge,
    read_number,
)
from lora_ref.ledger.lecture import numbers
from lora_ref.ledger.lecture.faults import Faults, check_keys, kind_of, text_of
from lora_ref.ledger.lecture.inputs import Inputs, keys_of, rows_of
from lora_ref.ledger.lecture.lines import Path
from lora_ref.ledger.lecture.numbers import BareNumber
from lora_ref.ledger.lecture.quantity import Computed, Quantity

BOUNDS: Mapping[str, Callable[[Fraction, Fraction], bool]] = {
    "at-least": ge,
    "above": gt,
    "at-most": le,
    "below": lt,
}
"""What may stand instead of ``printed``, for a number: how the value is to compare."""

TEXTS = ("id", "says", "where", "why")


class Read(NamedTuple):
    """A claim of the file: the ledger's claim, its quantity, and what the file prints."""

    claim: Claim
    quantity: str
    prints: str


class Outside(NamedTuple):
    """A claim that the file lists and that the vocabulary cannot express."""

    id: str
    says: str
    why: str
    where: str


class _Stated(NamedTuple):
    """A statement of the ledger, its quantity, and what the file prints."""

    statement: Number | Shape | Law
    quantity: Quantity
    prints: str


def read_claim(inputs: Inputs, index: int, table: Mapping[str, Any]) -> Read | None:
    """Return the claim of a table ``[[claim]]``, or note what is wrong with it."""
    path: Path = ("claim", index)
    texts = texts_of(inputs.faults, path, table, required=("id", "says"))
    known = (*TEXTS, "quantity", "printed", *BOUNDS, "under", "correction")
    stated = _stated(inputs, path, table, known, "a claim")
    under = _part(inputs, path, table, "under")
    correction = _part(inputs, path, table, "correction")
    if stated is None or texts is None:
        return None
    statement, prints = stated.statement, stated.prints
    if "under" in table:
        if under is None:
            return None
        prints = prints or judge(_claim(statement)).printed or ""
        statement = _conditional(statement, under[0], under[1].statement)
    claim = Claim(
        id=texts["id"],
        where=Section(0, "", texts["where"], ""),
        says=texts["says"],
        statement=statement,
        correction=correction and _correction(correction[0], correction[1].statement),
        why=_plain(texts["why"]),
    )
    return Read(claim, stated.quantity.name, prints)


def read_outside(faults: Faults, index: int, table: Mapping[str, Any]) -> Outside | None:
    """Return the claim of a table ``[[outside]]``, or note what is wrong with it."""
    path: Path = ("outside", index)
    check_keys(faults, path, table, TEXTS, "an outside claim")
    texts = texts_of(faults, path, table, required=("id", "says", "why"))
    return Outside(**texts) if texts else None


def texts_of(
    faults: Faults, path: Path, table: Mapping[str, Any], required: tuple[str, ...]
) -> dict[str, str] | None:
    """Return the texts of a table, empty where one is left out, or note what is wrong."""
    found, whole = {}, True
    for key in TEXTS:
        found[key] = ""
        if key not in table and key not in required:
            continue
        try:
            if key not in table:
                raise LoraRefError(f"the key {key} is missing")
            found[key] = text_of(table[key])
            if key == "id" and (" " in found[key] or len(found[key]) > 60):
                raise LoraRefError(f"{found[key][:60]!r} is no id, expected one short word")
        except LoraRefError as error:
            faults.add((*path, key) if key in table else path, error)
            whole = False
    return found if whole else None


def _part(
    inputs: Inputs, path: Path, table: Mapping[str, Any], key: str
) -> tuple[str, _Stated] | None:
    """Return what ``[claim.under]`` or ``[claim.correction]`` says and states."""
    if key not in table:
        return None
    part, path = table[key], (*path, key)
    if not isinstance(part, dict):
        inputs.faults.add(path, f"got {kind_of(part)}, expected a table [claim.{key}]")
        return None
    says = None
    try:
        if "says" not in part:
            raise LoraRefError("the key says is missing")
        says = text_of(part["says"])
    except LoraRefError as error:
        inputs.faults.add((*path, "says"), error)
    known = ("says", "quantity", "printed", *BOUNDS)
    stated = _stated(inputs, path, part, known, key)
    return None if says is None or stated is None else (says, stated)


def _stated(
    inputs: Inputs, path: Path, table: Mapping[str, Any], known: tuple[str, ...], what: str
) -> _Stated | None:
    quantity = inputs.quantity(path, table)
    if quantity is None:
        return None
    what = f"{what} of the quantity {quantity.name}"
    check_keys(inputs.faults, path, table, (*known, *keys_of(quantity)), what)
    value = inputs.computed(path, table, quantity)
    bounds = [key for key in BOUNDS if key in table]
    try:
        if "printed" in table and bounds:
            raise LoraRefError(f"both printed and {bounds[0]} are given, expected one of them")
        if "printed" not in table and not bounds:
            raise LoraRefError(f"the key printed is missing (or one of: {', '.join(BOUNDS)})")
        if bounds:
            return _bounded(inputs, path, table, quantity, value, bounds)
    except LoraRefError as error:
        inputs.faults.add(path, error)
        return None
    try:
        if quantity.gives == "shape":
            shape = numbers.shape(text_of(table["printed"]))
            return _Stated(Shape(shape, value), quantity, table["printed"]) if value else None
        printed = _printed(table["printed"], quantity)
        if value is not None:
            _check_unit(printed, value.unit)
    except LoraRefError as error:
        inputs.faults.add((*path, "printed"), error)
        return None
    return _Stated(Number(printed, value), quantity, "") if value else None


def _printed(value: Any, quantity: Quantity) -> Printed:
    """Return a printed number, vector or matrix as the ledger takes it."""
    if type(value) is str and _is_single(value):
        return numbers.printed(value)
    if isinstance(value, int | BareNumber):
        _refuse_bare(value)
    rows, vector = rows_of(value)
    for entry in (entry for row in rows for entry in row):
        if type(entry) is not str:
            _refuse_bare(entry)
    texts = tuple(tuple(numbers.printed(entry) for entry in row) for row in rows)
    if quantity.gives == "number" or (quantity.gives == "numbers" and not vector):
        wanted = "one number" if quantity.gives == "number" else "a list of numbers"
        raise LoraRefError(f"{quantity.name} is {wanted}, and more is printed")
    return texts[0] if vector else texts


def _is_single(text: str) -> bool:
    return len(text.replace(" %", "%").split()) == 1


def _refuse_bare(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | BareNumber):
        raise LoraRefError(f'got {kind_of(value)}, expected a number in quotes, such as "0.50"')
    shown = str(value)[:30] if isinstance(value, str) or abs(value) < 10**30 else "..."
    raise LoraRefError(
        f'the number {shown} is not in quotes; write "{shown}" with all its digits: they decide '
        "how exactly it is judged"
    )


def _check_unit(printed: Printed, unit: Fraction) -> None:
    """Refuse digits that floating point cannot vouch for."""
    for text in np.array(printed, dtype=object).flat:
        if read_number(text)[1] < unit:
            raise LoraRefError(
                f"{text!r} has more digits than can be judged: this quantity is computed in "
                f"floating point, to {float(unit):.0e} here"
            )


def _bounded(
    inputs: Inputs,
    path: Path,
    table: Mapping[str, Any],
    quantity: Quantity,
    value: Computed | None,
    bounds: list[str],
) -> _Stated | None:
    """Return the law that a number keeps its bounds."""
    if quantity.gives != "number":
        raise LoraRefError(f"{bounds[0]} needs a quantity that is one number")
    limits = {}
    for key in bounds:
        try:
            limits[key] = _printed(table[key], quantity)
        except LoraRefError as error:
            inputs.faults.add((*path, key), error)
    if len(limits) < len(bounds) or value is None:
        return None
    prints = ", ".join(f"{key.replace('-', ' ')} {text}" for key, text in limits.items())
    first = next(iter(limits.values()))
    try:
        number = exact(value().item())
    except ShapeError:
        return _Stated(Number(first, value), quantity, prints)
    kept = all(BOUNDS[key](number, read_number(str(limits[key]))[0]) for key in limits)
    shown = judge(_claim(Number(first, value))).recomputed
    evidence = Evidence(kept, {"value": shown})
    return _Stated(Law(lambda **given: evidence, "{value}"), quantity, prints)


def _conditional(statement: Number | Shape | Law, says: str, under: Number | Shape | Law) -> Law:
    """Return the law of a statement that may hold under a condition only."""

    def evidence(**given: Any) -> Evidence:
        as_stated, with_condition = judge(_claim(statement)), judge(_claim(under))
        numbers = {
            "as_stated": as_stated.recomputed,
            "says": says,
            "with_condition": with_condition.recomputed,
        }
        holds = with_condition.verdict == "confirmed"
        return Evidence(as_stated.verdict == "confirmed", numbers, holds)

    return Law(evidence, "{as_stated}; {says}: {with_condition}")


def _correction(says: str, check: Number | Shape | Law) -> Correction:
    name = "{printed}" if isinstance(check, Number) else "{value}"
    return Correction(f"{_plain(says)}: {name}", check)


def _claim(statement: Number | Shape | Law) -> Claim:
    return Claim(id="part", where=Section(0, "", "", ""), says="", statement=statement)


def _plain(text: str) -> str:
    """Return a text of the file for `fill`, which takes names in braces: here they are braces."""
    return text.replace("{", "{{").replace("}", "}}")
