"""A file of claims, read: TOML, and nothing in it is evaluated."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lora_ref.errors import LoraRefError
from lora_ref.ledger.claim import Claim
from lora_ref.ledger.lecture.claims import Outside, Read, read_claim, read_outside
from lora_ref.ledger.lecture.faults import Faults, check_keys, kind_of, text_of
from lora_ref.ledger.lecture.inputs import Inputs
from lora_ref.ledger.lecture.lines import Lines
from lora_ref.ledger.lecture.numbers import BareNumber

LARGEST_FILE = 256 * 1024
"""Bytes."""

MOST_CLAIMS = 500

TABLES = ("lecture", "matrices", "derived", "claim", "outside")


@dataclass(frozen=True)
class Lecture:
    """A file's claims as the ledger's, and what it lists as outside the vocabulary.

    `quantities` and `prints` hold what each claim is claimed to be, and what it prints where the
    ledger's judgement does not say, by id.
    """

    title: str
    source: str
    claims: tuple[Claim, ...]
    quantities: Mapping[str, str]
    prints: Mapping[str, str]
    outside: tuple[Outside, ...] = ()


def read(path: str | Path) -> Lecture:
    """Read a lecture's file.

    Parameters
    ----------
    path : str or pathlib.Path
        A TOML file in UTF-8, as `docs/your-lecture.md` describes it.

    Raises
    ------
    LoraRefError
        For a file that cannot be read, and for all faults of it together, a line each.
    """
    name = str(path)
    try:
        if Path(path).is_dir():
            raise LoraRefError(f"{name} is a folder, expected a TOML file")
        with open(path, "rb") as file:
            raw = file.read(LARGEST_FILE + 1)
    except (OSError, ValueError) as error:
        if isinstance(error, LoraRefError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise LoraRefError(f"{name!r} cannot be read: {reason}") from None
    if len(raw) > LARGEST_FILE:
        raise LoraRefError(f"{name} is larger than {LARGEST_FILE // 1024} KiB, a lecture is not")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise LoraRefError(
            f"{name}, line {line}: the byte 0x{raw[error.start]:02x} is not UTF-8; save the file "
            "as UTF-8"
        ) from None
    return parse(text, name)


def parse(text: str, name: str = "the text") -> Lecture:
    """Read the text of a lecture's file; `name` is what errors call it.

    Raises
    ------
    LoraRefError
        For all faults together, a line each.
    """
    try:
        tables = tomllib.loads(text, parse_float=BareNumber)
    except tomllib.TOMLDecodeError as error:
        raise LoraRefError(f"{name} is not TOML: {error}") from None
    except RecursionError:
        raise LoraRefError(f"{name} is nested too deeply, expected tables and rows") from None
    except ValueError as error:  # Python refuses whole numbers of thousands of digits
        raise LoraRefError(f"{name} is not TOML: {error}") from None
    faults = Faults(name, Lines(text))
    lecture = _lecture(faults, tables)
    faults.tell()
    return lecture


def _lecture(faults: Faults, tables: Mapping[str, Any]) -> Lecture:
    check_keys(faults, (), tables, TABLES, "a lecture's file")
    head = _table(faults, tables, "lecture")
    check_keys(faults, ("lecture",), head, ("title", "source"), "[lecture]")
    texts = {"title": "", "source": ""}
    if "lecture" not in tables:
        faults.add((), "the table [lecture] with a title is missing")
    elif isinstance(tables["lecture"], dict) and "title" not in head:
        faults.add(("lecture",), "the key title is missing")
    for key in texts:
        if key in head:
            try:
                texts[key] = text_of(head[key])
            except LoraRefError as error:
                faults.add(("lecture", key), error)
    inputs = Inputs(faults)
    inputs.read_matrices(_table(faults, tables, "matrices"))
    claims, outside = _list(faults, tables, "claim"), _list(faults, tables, "outside")
    if "claim" not in tables or tables["claim"] == []:
        faults.add((), "there is no [[claim]], expected at least one")
    _name_all(faults, claims, outside)
    inputs.read_derived(_table(faults, tables, "derived"))
    found: list[Read] = []
    for i, table in claims:
        claim = read_claim(inputs, i, table)
        found += [claim] if claim else []
    beyond = [read_outside(faults, i, table) for i, table in outside]
    return Lecture(
        **texts,
        claims=tuple(one.claim for one in found),
        quantities={one.claim.id: one.quantity for one in found},
        prints={one.claim.id: one.prints for one in found},
        outside=tuple(one for one in beyond if one),
    )


def _table(faults: Faults, tables: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = tables.get(name, {})
    if isinstance(value, dict):
        return value
    faults.add((name,), f"got {kind_of(value)}, expected a table [{name}]")
    return {}


def _list(
    faults: Faults, tables: Mapping[str, Any], name: str
) -> list[tuple[int, Mapping[str, Any]]]:
    """Return the tables ``[[name]]`` with their places."""
    value = tables.get(name, [])
    if not isinstance(value, list):
        faults.add((name,), f"got {kind_of(value)}, expected tables with two brackets, [[{name}]]")
        return []
    if len(value) > MOST_CLAIMS:
        faults.add((name,), f"{len(value)} of them, expected at most {MOST_CLAIMS}")
        return []
    found: list[tuple[int, Mapping[str, Any]]] = []
    for i, table in enumerate(value):
        if isinstance(table, dict):
            found.append((i, table))
        else:
            faults.add((name, i), f"got {kind_of(table)}, expected a table [[{name}]]")
    return found


def _name_all(
    faults: Faults,
    claims: list[tuple[int, Mapping[str, Any]]],
    outside: list[tuple[int, Mapping[str, Any]]],
) -> None:
    """Let faults name claims by their id, and note ids that stand twice."""
    first: dict[str, str] = {}
    for kind, tables in (("claim", claims), ("outside", outside)):
        for i, table in tables:
            name = table.get("id")
            if type(name) is not str or not name.isprintable() or len(name) > 60:
                continue
            faults.ids[kind, i] = name
            if name in first:
                faults.add((kind, i, "id"), f"{name!r} is the id of {first[name]} already")
            first.setdefault(name, f"{kind} {i + 1}")
