"""The reader of a check: a quantity with its inputs, and what it is compared with."""

from collections.abc import Collection
from fractions import Fraction

from lora_ref.claims.claim import Check, Expected
from lora_ref.claims.expand import BOUNDS, EXPECTED
from lora_ref.claims.file_errors import FileErrors, Path, Table, kind_of, text_of
from lora_ref.claims.inputs import Inputs, printed_of
from lora_ref.claims.printed import printed_texts, read_printed, read_shape
from lora_ref.claims.quantity import Quantity
from lora_ref.claims.values import Computed
from lora_ref.errors import LoraRefError, ShapeError


def read_check(
    path: Path,
    table: Table,
    inputs: Inputs,
    *,
    known: Collection[str] = ("text", "also"),
    given_by_rule: Collection[str] = (),
    compute: bool = True,
) -> Check | None:
    """Return the check that a table states, or note what is wrong with it.

    `known` are keys that the table may have beside those of a check. Where a key of
    `given_by_rule` is missing there is no value as stated. With `compute` the value is computed, to
    see whether it can be judged.
    """
    errors, quantity = inputs.errors, inputs.quantity(path, table)
    if quantity is None:
        return None
    if quantity.returns.name == "finding" and "id" not in known:
        errors.add((*path, "quantity"), "a finding is a claim's own, and no part of it")
        return None
    owner = path[-1] if isinstance(path[-1], str) else "a claim"
    keys = (*known, "quantity", *EXPECTED, *quantity.keys)
    errors.check_keys(path, table, keys, f"{owner} of the quantity {quantity.name}")
    expected = _expected(errors, path, table, quantity)
    missing = {p.key for p in quantity.parameters if p.required} - set(table)
    is_stated = not missing or not missing <= set(given_by_rule)
    value = inputs.computed(path, table, quantity) if is_stated else None
    if expected is None or (is_stated and value is None):
        return None
    if compute and value is not None and try_value(errors, path, value, quantity.name):
        _check_digits(errors, path, expected, value)
    stated = {key: table[key] for key in quantity.keys if key in table}
    return Check(str(table.get("text") or ""), quantity, value, expected, stated)


def try_value(errors: FileErrors, path: Path, value: Computed, name: str) -> bool:
    """Compute a value and return whether there is one; shapes that do not fit are no error."""
    try:
        value()
        return True
    except ShapeError:
        return False
    except LoraRefError as error:
        errors.add(path, f"{name}: {error}")
    except Exception as error:  # as in the judge, any failure of a quantity is reported by name
        errors.add(path, f"{name} cannot be computed: {type(error).__name__}: {error}")
    return False


def _expected(errors: FileErrors, path: Path, table: Table, quantity: Quantity) -> Expected | None:
    keys = [key for key in ("printed", "equals", "trend") if key in table]
    bounds = [key for key in BOUNDS if key in table]
    returns = quantity.returns.name
    if returns == "finding":
        return Expected()
    if len(keys) + bool(bounds) != 1:
        message = f"the key printed is missing (or one of: {', '.join(BOUNDS)}, equals, trend)"
        if keys:
            second = (keys[1:] + bounds)[0]
            message = f"both {keys[0]} and {second} are given, expected one of them"
        errors.add(path, message)
        return None
    if bounds and returns not in ("number", "numbers"):
        errors.add(path, f"{bounds[0]} needs a quantity that is one number")
        return None
    limits: dict[str, str] = {}
    for key in bounds:
        with errors.at((*path, key)):
            limits[key] = str(printed_of(table[key]))
    if bounds:
        return Expected(bounds=limits) if len(limits) == len(bounds) else None
    about = None
    if "about" in table:
        with errors.at((*path, "about")):
            about = read_printed(text_of(table["about"])).number
            if not 0 < about < 1:
                raise LoraRefError(f'got {table["about"]!r}, expected a share such as "10 %"')
    key, value = keys[0], table[keys[0]]
    is_sweep = any(
        p.kind.sweeps and isinstance(table.get(p.key), list) for p in quantity.parameters
    )
    with errors.at((*path, key)):
        if key == "trend":
            if not is_sweep and returns != "numbers":
                raise LoraRefError("a single value has no trend, expected a list of inputs")
            if value == "rises" or value == "falls":
                return Expected(trend=value)
            raise LoraRefError(f"got {kind_of(value)}, expected rises or falls")
        if returns == "shape":
            return Expected(shape=read_shape(text_of(value)), ours=key == "equals")
        printed = printed_of(value, quantity, sweep=is_sweep)
        return Expected(printed, ours=key == "equals", about=about)
    return None


def _check_digits(errors: FileErrors, path: Path, expected: Expected, value: Computed) -> None:
    """Refuse more digits than floating point has, and bounds nearer to the value than its error."""
    if not value.unit:
        return
    how = f"this quantity is computed in floating point, to {float(value.unit):.0e} here"
    for text in printed_texts(expected.printed) if expected.printed else ():
        if read_printed(text).unit < value.unit:
            key = "equals" if expected.ours else "printed"
            errors.add((*path, key), f"{text!r} has more digits than can be judged: {how}")
    for key, text in expected.bounds.items():
        limit = read_printed(text).number
        if min(abs(Fraction(entry) - limit) for entry in value().flat) <= value.unit:
            errors.add((*path, key), f"{text!r} is too near to the value to be judged: {how}")
