"""Tables that stand for several: rows, columns, and a check with some of its keys changed."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from lora_ref.claims.file_errors import FileErrors, Path, Table, kind_of
from lora_ref.claims.quantities import QUANTITIES

BOUNDS = ("at-least", "above", "at-most", "below")
EXPECTED = ("printed", "equals", *BOUNDS, "trend", "about")
"""Keys that say what a value is compared with."""

NOT_OVERRIDDEN = ("name", "text", "with", "also")

MOST_ROWS = 500

_FIELD = re.compile(r"\{([A-Za-z_][\w-]*)(?::([^{}]*))?\}")
_SPEC = re.compile(r",?(\.\d{1,2})?[defg%]?")


class Expanded(NamedTuple):
    """One claim of a table, and its path; `group` is the same for one column."""

    path: Path
    table: dict[str, Any]
    group: tuple[Any, ...]


def expand(errors: FileErrors, path: Path, table: Table) -> Iterator[Expanded]:
    """Yield a claim for each row and column of a table; the table itself if it has no rows.

    A row's keys override the table's. A column is a set of keys too; what a row has under its name
    is what is printed there, or a table of further keys. In the texts of all of them, names in
    braces stand for inputs, ``{row}`` for the row's id and ``{column}`` for the column's name.
    """
    base = {key: value for key, value in table.items() if key not in ("rows", "columns")}
    rows = table.get("rows", [{}])
    columns = table.get("columns", {})
    if not isinstance(rows, list):
        errors.add((*path, "rows"), f"got {kind_of(rows)}, expected a list of tables")
        rows = []
    elif not 1 <= len(rows) <= MOST_ROWS:
        errors.add((*path, "rows"), f"{len(rows)} of them, expected 1 to {MOST_ROWS}")
        rows = []
    if not isinstance(columns, dict) or not all(isinstance(c, dict) for c in columns.values()):
        errors.add((*path, "columns"), f"got {kind_of(columns)}, expected tables columns.NAME")
        rows = []
    for i, row in enumerate(rows):
        here = (*path, "rows", i) if "rows" in table else path
        if not isinstance(row, dict):
            errors.add(here, f"got {kind_of(row)}, expected a table")
            continue
        own = {key: value for key, value in row.items() if key not in columns}
        if not columns:
            yield Expanded(here, _merged(base, own), path)
        elif not any(name in row for name in columns):
            errors.add(here, f"it has none of the columns: {', '.join(columns)}")
        for name in (name for name in columns if name in row):
            cell = row[name] if isinstance(row[name], dict) else {"printed": row[name]}
            keys = _merged(base, columns[name], own, cell)
            texts = (columns[name].get("text"), own.get("text", base.get("text")))
            keys["text"] = ", ".join(text for text in texts if isinstance(text, str))
            keys.setdefault("column", name)  # an input of that name comes first
            yield Expanded(here, keys, (*path, name))


def variant(base: Table, changes: Table, *, inherit: bool) -> dict[str, Any]:
    """Return the keys of a claim's check, some of them changed.

    If `changes` says what is expected, nothing of `base` is expected. With `inherit`, a check of
    another quantity keeps those inputs of `base` that the quantity takes; without, it starts anew.
    """
    own = {key: value for key, value in changes.items() if key not in NOT_OVERRIDDEN}
    if "quantity" in own and not inherit:
        return own
    quantity = QUANTITIES.get(str(own.get("quantity", base.get("quantity"))))
    kept = () if quantity is None else ("quantity", *quantity.keys)
    if not any(key in own for key in EXPECTED):
        kept = (*kept, *EXPECTED)
    return {key: base[key] for key in kept if key in base} | own


def format_text(text: str, values: Mapping[str, Any]) -> str:
    """Fill names in braces, as ``{value}`` or ``{share:.1%}``; what is not known stays as it is.

    Nothing is evaluated: a name is looked up, and a format says digits and no more.

    Examples
    --------
    >>> format_text("{share:.1%} of {n:,}, and {x.__class__}", {"share": 1 / 64, "n": 2048})
    '1.6% of 2,048, and {x.__class__}'
    """

    def filled(found: re.Match[str]) -> str:
        name, spec = found[1], found[2] or ""
        if name not in values or not _SPEC.fullmatch(spec):
            return found[0]
        try:
            return _formatted(values[name], spec)
        except (TypeError, ValueError, OverflowError):  # no number, or one beyond floating point
            return found[0]

    return _FIELD.sub(filled, text)


def fields(text: str) -> list[str]:
    """Return the names that a text has in braces."""
    return [name for name, _ in _FIELD.findall(text)]


def _formatted(value: Any, spec: str) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(_formatted(entry, spec) for entry in value)
    if isinstance(value, str):
        return value
    if not spec:
        return f"{value:,}" if isinstance(value, int) and abs(value) >= 10**4 else str(value)
    whole = spec.endswith("d") or (spec == "," and float(value) == int(value))
    return format(int(value) if whole else float(value), spec)


def _merged(*tables: Table) -> dict[str, Any]:
    """Return tables over each other; derived values are added to each other."""
    merged: dict[str, Any] = {}
    for table in tables:
        derived, own = merged.get("derived", {}), table.get("derived", {})
        derived = {**derived, **own} if isinstance(own, dict) and isinstance(derived, dict) else own
        if "id" in table and "id" in merged:
            table = {"row": merged.get("row", table["id"]), **table}  # an input of that name first
            if "{" in str(merged["id"]):
                table["id"] = merged["id"]
        merged |= table
        if derived != {}:
            merged["derived"] = derived
    return merged
