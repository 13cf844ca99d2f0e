"""The inputs of a file: its matrices, what is derived from them, and the keys of a quantity."""

from contextlib import suppress
from fractions import Fraction
from typing import Any

import numpy as np

from lora_ref.claims.file_errors import CLOSE, BareNumber, FileErrors, Path, Table, kind_of, text_of
from lora_ref.claims.printed import (
    LONGEST,
    Printed,
    read_given,
    read_printed,
    read_shape,
    split_rows,
)
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.registry import Parameter, Quantity
from lora_ref.claims.values import AsNumber, Computed, Sweep, chain
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

MOST_FACTORS = 8
"""The most matrices in one product."""

MOST_TERMS = 16
"""The most entries of a list at a key."""

LARGEST_MATRIX = 32
"""The most rows or columns of a matrix that a file writes out."""

LARGEST_COUNT = 10**12
"""The largest whole number that a quantity takes, such as a width."""

LARGEST_FEW = 1024
"""The largest where arrays of that size are made, or so many steps are trained."""


class Inputs:
    """What a file's claims can refer to by name.

    A name whose matrix is faulty is known and unusable: it has been told once.
    """

    def __init__(self, errors: FileErrors) -> None:
        self.errors = errors
        self.named: dict[str, Computed | None] = {}
        self.own: dict[str, Computed] = {}
        self.texts: dict[str, Printed] = {}
        self._later: frozenset[str] = frozenset()

    def read_matrices(self, tables: Table) -> None:
        """Read the table ``[matrices]``."""
        for name, value in tables.items():
            path = ("matrices", name)
            self.named[name] = None
            if not self._is_name(path, name):
                continue
            found = self._matrix(path, value)
            if found is not None:
                self.named[name] = Computed(lambda array: array, {"array": found})

    def read_derived(self, path: Path, tables: Any) -> None:
        """Read the tables ``[derived.NAME]``; each may use what stands above it."""
        if not isinstance(tables, dict):
            self.errors.add(path, f"got {kind_of(tables)}, expected tables [derived.NAME]")
            return
        self._later = frozenset(tables)
        for name, table in tables.items():
            here, found = (*path, name), None
            if not self._is_name(here, name):
                pass
            elif name in self.named:
                self.errors.add(here, f"there is a matrix called {name} already")
            elif not isinstance(table, dict):
                self.errors.add(here, f"got {kind_of(table)}, expected a table [derived.{name}]")
            else:
                found = self._derived(here, table)
            self.named[name] = found
            if found:
                self.own[name] = found
        self._later = frozenset()

    def with_derived(self, path: Path, tables: Any) -> "Inputs":
        """Return these inputs and a claim's own derived values."""
        inputs = Inputs(self.errors)
        inputs.named, inputs.own = dict(self.named), dict(self.own)
        if tables != {}:
            inputs.read_derived(path, tables)
        return inputs

    def quantity(self, path: Path, table: Table) -> Quantity | None:
        """Return the quantity that a table names, or note what is wrong with its name."""
        if "quantity" not in table:
            self.errors.add(path, "the key quantity is missing: what is the number meant to be?")
            return None
        name = table["quantity"]
        if not isinstance(name, str):
            said = f"got {kind_of(name)}, expected the name of a quantity"
        elif name in QUANTITIES:
            return QUANTITIES[name]
        else:
            near = nearest(name, QUANTITIES, cutoff=CLOSE) or "; docs/add-a-source.md lists all"
            said = f"no quantity is called {name[:60]!r}{near}"
        self.errors.add((*path, "quantity"), said)
        return None

    def computed(self, path: Path, table: Table, quantity: Quantity) -> Computed | None:
        """Return a quantity with the inputs that a table gives, or note what is wrong."""
        arguments, whole = {}, True
        for parameter in quantity.parameters:
            key, default = parameter.key, parameter.default
            if key not in table and parameter.required:
                said = f"{quantity.name} needs the key {key}: {parameter.kind.description}"
                self.errors.add(path, said)
                whole = False
            elif key not in table and (parameter.kind.name != "matrix" or default is None):
                arguments[parameter.argument] = default
            else:
                found = None
                with self.errors.at((*path, key)):
                    found = self._value(parameter, table.get(key, default))
                whole = whole and found is not None
                arguments[parameter.argument] = found
        swept = any(isinstance(given, Sweep) for given in arguments.values())
        if swept and quantity.returns.name != "number":
            said = f"{quantity.name} is not one number, and takes no lists of inputs"
            self.errors.add(path, said)
            return None
        return Computed(quantity.compute, arguments) if whole else None

    def _derived(self, path: Path, table: Table) -> Computed | None:
        quantity = self.quantity(path, table)
        if quantity is None:
            return None
        self.errors.check_keys(path, table, ("quantity", *quantity.keys), quantity.name)
        if (returns := quantity.returns.name) in ("shape", "finding"):
            self.errors.add((*path, "quantity"), f"a {returns} cannot be used further")
            return None
        return self.computed(path, table, quantity)

    def _value(self, parameter: Parameter, value: Any) -> Any:
        """Return the argument for a key, a `Sweep` for a list; None where a matrix is faulty."""
        listed = isinstance(value, list)
        lists = listed and value != [] and all(isinstance(one, list) for one in value)
        if not (lists if parameter.kind.name == "names" else listed and parameter.kind.sweeps):
            return self._argument(parameter, value)
        if not value or len(value) > MOST_TERMS:
            raise LoraRefError(f"a list of {len(value)}, expected 1 to {MOST_TERMS} values")
        found = tuple(self._argument(parameter, one) for one in value)
        return None if None in found else Sweep(found)

    def _argument(self, parameter: Parameter, value: Any) -> Any:
        match parameter.kind.name:
            case "matrix":
                return self._factors(value)
            case "terms":
                terms = tuple(self._factors(term) for term in _listed(value))
                return None if None in terms else terms
            case "count" | "whole" | "few" | "steps":
                least = 1 if parameter.kind.name in ("count", "few") else 0
                few = parameter.kind.name in ("few", "steps")
                return _count(value, least, LARGEST_FEW if few else LARGEST_COUNT)
            case "number":
                return self._number(value)
            case "values":
                numbers = tuple(self._number(one) for one in _listed(value, "numbers"))
                return None if None in numbers else numbers
            case "flag":
                if not isinstance(value, bool):
                    raise LoraRefError(f"got {kind_of(value)}, expected true or false")
                return value
            case "word":
                if value not in parameter.words:
                    words = ", ".join(parameter.words)
                    raise LoraRefError(f"got {kind_of(value)}, expected one of: {words}")
                return value
            case "shapes":
                return tuple(read_shape(text_of(one)) for one in _listed(value))
            case "names":
                return tuple(text_of(one) for one in _listed(value))
        return text_of(value)

    def _factors(self, value: Any) -> Computed | None:
        if isinstance(value, list):
            raise LoraRefError('got a list, expected a text; a product is written "B A"')
        names = text_of(value).split()
        if len(names) > MOST_FACTORS:
            raise LoraRefError(f"a product of {len(names)}, expected at most {MOST_FACTORS}")
        sources = [self._source(name) for name in names]
        if None in sources:
            return None
        if len(sources) == 1:
            return sources[0]
        return Computed(lambda factors: chain(factors), {"factors": tuple(sources)})

    def _source(self, name: str) -> Computed | None:
        if name in self.named:
            return self.named[name]
        if name in self._later:
            raise LoraRefError(f"{name!r} does not stand above, expected a name that does")
        if not self.named:
            raise LoraRefError(f"no matrix or number is called {name[:60]!r}: the file has none")
        near = nearest(name, self.named, cutoff=CLOSE) or f"; known are: {', '.join(self.named)}"
        raise LoraRefError(f"no matrix or number is called {name[:60]!r}{near}")

    def _number(self, value: Any) -> Any:
        if type(value) is str and value[:1].isalpha():
            source = self._source(value)
            return None if source is None else AsNumber(source)
        return number_of(value)

    def _is_name(self, path: Path, name: str) -> bool:
        plain = name.replace("-", "_").replace("'", "_")
        if len(name) <= 40 and plain.isidentifier() and name[0] != "-" and name.isprintable():
            return True
        self.errors.add(
            path, f"{name[:40]!r} is no name for a matrix, expected letters, digits, _ and -"
        )
        return False

    def _matrix(self, path: Path, value: Any) -> Any:
        """Return an array of fractions, or note everything that is wrong with it."""
        rows: list[list[Any]] = []
        with self.errors.at(path):
            rows, vector = rows_of(value)
        fractions: list[list[Fraction | None]] = [[None] * len(row) for row in rows]
        for i, row in enumerate(rows):
            for k, text in enumerate(row):
                try:
                    fractions[i][k] = number_of(text)
                except LoraRefError as error:
                    place = f"entry {k + 1}" if vector else f"row {i + 1}, column {k + 1}"
                    self.errors.add(path, f"{place}: {error}")
        if not rows or any(None in row for row in fractions):
            return None
        texts = tuple(tuple(map(str, row)) for row in rows)
        self.texts[str(path[-1])] = texts[0] if vector else texts
        array = np.empty((len(rows), len(rows[0])), dtype=object)
        array[:] = fractions
        array = array[0] if vector else array
        array.flags.writeable = False
        return array


def rows_of(value: Any) -> tuple[list[list[Any]], bool]:
    """Return the rows of a matrix, unread, and whether it is a vector.

    A text has a row on each line, or between ``" / "``; one line is a vector. A list of lists is a
    matrix, a list of numbers a vector.
    """
    if type(value) is str:
        rows: list[list[Any]] = list(split_rows(value))
        vector = len(rows) == 1
    elif isinstance(value, list):
        inner = [isinstance(row, list) for row in value]
        if any(inner) and not all(inner):
            raise LoraRefError("some rows are lists and some are not, expected all or none")
        vector = not any(inner)
        rows = [value] if vector else value
    else:
        raise LoraRefError(
            f"got {kind_of(value)}, expected rows of numbers, such as [[1, 0.5], [0, 2]]"
        )
    if not rows or not rows[0]:
        raise LoraRefError("it is empty, expected numbers")
    for i, row in enumerate(rows, start=1):
        if len(row) != len(rows[0]):
            raise LoraRefError(
                f"row {i} has {_numbers(len(row))} and row 1 has {_numbers(len(rows[0]))}, "
                "expected rows of one length"
            )
    size = max(len(rows), len(rows[0]))
    if size > LARGEST_MATRIX:
        raise LoraRefError(
            f"it is {len(rows)} x {len(rows[0])}, expected at most {LARGEST_MATRIX} rows and "
            "columns: a lecture's example"
        )
    return rows, vector


def number_of(value: Any) -> Fraction:
    """Return a number that a file gives, written with quotes or without."""
    if isinstance(value, str):
        return read_given(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**LONGEST:
            raise LoraRefError(f"a number of more than {LONGEST} digits")
        return Fraction(value)
    raise LoraRefError(f"got {kind_of(value)}, expected a number")


def printed_of(value: Any, quantity: Quantity | None, sweep: bool = False) -> Printed:
    """Return a printed number, vector or matrix; without a quantity a single number."""
    if isinstance(value, int | BareNumber):
        _refuse_bare(value)
    if type(value) is str:
        with suppress(LoraRefError):
            read_printed(value)
            return " ".join(value.replace("−", "-").split())
    rows, vector = rows_of(value)
    entries = [entry for row in rows for entry in row]
    for entry in entries:
        if type(entry) is not str:
            _refuse_bare(entry)
    for entry in entries:
        read_printed(entry)
    texts = tuple(tuple(" ".join(entry.replace("−", "-").split()) for entry in row) for row in rows)
    single = vector and len(texts[0]) == 1
    returns = "number" if quantity is None else quantity.returns.name
    name = "it" if quantity is None else quantity.name
    if returns == "number" and not (vector and sweep) and not single:
        raise LoraRefError(f"{name} is one number, and more is printed: {value!r:.60}")
    if returns == "numbers" and not vector:
        raise LoraRefError(f"{name} is a list of numbers, and more is printed")
    if single and type(value) is str:
        return texts[0][0]
    return texts[0] if vector else texts


def _refuse_bare(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int | BareNumber):
        raise LoraRefError(f'got {kind_of(value)}, expected a number in quotes, such as "0.50"')
    shown = str(value)[:30] if isinstance(value, str) or abs(value) < 10**30 else "..."
    raise LoraRefError(
        f'the number {shown} is not in quotes; write "{shown}" with all its digits: they decide '
        "how exactly it is judged"
    )


def _numbers(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _count(value: Any, least: int, most: int = LARGEST_COUNT) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LoraRefError(
            f"got {kind_of(value)}, expected a whole number of at least {least}, without quotes"
        )
    if not least <= value <= most:
        raise LoraRefError(
            f"got {kind_of(value)}, expected a whole number from {least} to {most:,}"
        )
    return value


def _listed(value: Any, of: str = "texts") -> list[Any]:
    if not isinstance(value, list) or not value:
        said = "an empty list" if value == [] else kind_of(value)
        raise LoraRefError(f"got {said}, expected a list of {of}")
    if len(value) > MOST_TERMS:
        raise LoraRefError(f"a list of {len(value)}, expected at most {MOST_TERMS}")
    return value
