"""The inputs of a file: its matrices, what is derived from them, and the keys of a quantity."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.ledger.lecture import numbers
from lora_ref.ledger.lecture.exact import chain
from lora_ref.ledger.lecture.faults import CLOSE, Faults, check_keys, kind_of, text_of
from lora_ref.ledger.lecture.lines import Path
from lora_ref.ledger.lecture.quantity import KINDS, AsNumber, Computed, Need, Quantity
from lora_ref.ledger.lecture.vocabulary import VOCABULARY
from lora_ref.names import nearest

MOST_FACTORS = 8
"""The most matrices in one product."""

MOST_TERMS = 16
"""The most entries of a list at a key."""

LARGEST_MATRIX = 32
"""The most rows or columns of a matrix that a file writes out."""


class Inputs:
    """What a file's claims can refer to by name.

    A name whose matrix is faulty is known and unusable: it has been told once.
    """

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._named: dict[str, Computed | None] = {}
        self._derived_names: set[str] = set()

    def read_matrices(self, tables: Mapping[str, Any]) -> None:
        """Read the table ``[matrices]``."""
        for name, value in tables.items():
            path = ("matrices", name)
            self._named[name] = None
            if not self._is_name(path, name):
                continue
            found = self._matrix(path, value)
            if found is not None:
                self._named[name] = Computed(lambda array: array, {"array": found})

    def read_derived(self, tables: Mapping[str, Any]) -> None:
        """Read the tables ``[derived.NAME]``; each may use what stands above it."""
        self._derived_names = set(tables)
        for name, table in tables.items():
            path, found = ("derived", name), None
            if not self._is_name(path, name):
                pass
            elif name in self._named:
                self.faults.add(path, f"there is a matrix called {name} already")
            elif not isinstance(table, dict):
                self.faults.add(path, f"got {kind_of(table)}, expected a table [derived.{name}]")
            else:
                found = self._derived(path, table)
            self._named[name] = found

    def _derived(self, path: Path, table: Mapping[str, Any]) -> Computed | None:
        quantity = self.quantity(path, table)
        if quantity is None:
            return None
        check_keys(self.faults, path, table, ("quantity", *keys_of(quantity)), quantity.name)
        if quantity.gives == "shape":
            self.faults.add((*path, "quantity"), "a shape cannot be used further")
            return None
        return self.computed(path, table, quantity)

    def quantity(self, path: Path, table: Mapping[str, Any]) -> Quantity | None:
        """Return the quantity that a table names, or note what is wrong with its name."""
        if "quantity" not in table:
            self.faults.add(path, "the key quantity is missing: what is the number meant to be?")
            return None
        name = table["quantity"]
        if not isinstance(name, str):
            said = f"got {kind_of(name)}, expected the name of a quantity"
        elif name in VOCABULARY:
            return VOCABULARY[name]
        else:
            near = nearest(name, VOCABULARY, cutoff=CLOSE) or "; docs/your-lecture.md lists all"
            said = f"no quantity is called {name[:60]!r}{near}"
        self.faults.add((*path, "quantity"), said)
        return None

    def computed(self, path: Path, table: Mapping[str, Any], quantity: Quantity) -> Computed | None:
        """Return a quantity with the inputs that a table gives, or note what is wrong."""
        inputs, whole = {}, True
        for need in quantity.needs:
            value = table.get(need.key, need.default)
            if need.key not in table and need.required and value is None:
                self.faults.add(
                    path, f"{quantity.name} needs the key {need.key}: {KINDS[need.kind]}"
                )
                whole = False
            elif value is None or (need.key not in table and need.kind != "factors"):
                inputs[need.argument] = value
            else:
                try:
                    found = self._argument(need, value)
                except LoraRefError as error:
                    if need.key in table:
                        self.faults.add((*path, need.key), error)
                    else:
                        self.faults.add(path, f"{quantity.name} needs {need.key}: {error}")
                    found = None
                whole = whole and found is not None
                inputs[need.argument] = found
        if not whole:
            return None
        result = Computed(quantity.value, inputs)
        return result if self.tried(path, quantity, result) else None

    def tried(self, path: Path, quantity: Quantity, result: Computed) -> bool:
        """Compute once; what is not a matter of shapes is a fault of the file."""
        try:
            result()
        except LoraRefError as error:
            if not isinstance(error, ShapeError):
                self.faults.add(path, f"{quantity.name}: {error}")
                return False
        return True

    def _argument(self, need: Need, value: Any) -> Any:
        """Return the argument for a key; None where it names a faulty matrix."""
        match need.kind:
            case "factors":
                return self._factors(value)
            case "terms":
                terms = tuple(self._factors(term) for term in _listed(value))
                return None if None in terms else terms
            case "count":
                return _count(value)
            case "number":
                return self._number(value)
            case "flag":
                if not isinstance(value, bool):
                    raise LoraRefError(f"got {kind_of(value)}, expected true or false")
                return value
            case "word":
                if value not in need.words:
                    words = ", ".join(need.words)
                    raise LoraRefError(f"got {kind_of(value)}, expected one of: {words}")
                return value
            case "shapes":
                return tuple(numbers.shape(text_of(one)) for one in _listed(value))
            case "names":
                return tuple(text_of(one) for one in _listed(value))
            case "text":
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
        if name in self._named:
            return self._named[name]
        if name in self._derived_names:
            raise LoraRefError(f"{name!r} does not stand above, expected a name that does")
        if not self._named:
            raise LoraRefError(f"no matrix is called {name[:60]!r}: the file has none")
        near = nearest(name, self._named, cutoff=CLOSE) or f"; known are: {', '.join(self._named)}"
        raise LoraRefError(f"no matrix is called {name[:60]!r}{near}")

    def _number(self, value: Any) -> Any:
        if type(value) is str and value[:1].isalpha():
            source = self._source(value)
            return None if source is None else AsNumber(source)
        return number_of(value)

    def _is_name(self, path: Path, name: str) -> bool:
        plain = name.replace("-", "_").replace("'", "_")
        if len(name) <= 40 and plain.isidentifier() and name[0] != "-" and name.isprintable():
            return True
        self.faults.add(
            path, f"{name[:40]!r} is no name for a matrix, expected letters, digits, _ and -"
        )
        return False

    def _matrix(self, path: Path, value: Any) -> Any:
        """Return an array of fractions, or note every fault of it."""
        try:
            rows, vector = rows_of(value)
        except LoraRefError as error:
            self.faults.add(path, error)
            return None
        fractions: list[list[Fraction]] = []
        before = 0
        for i, row in enumerate(rows, start=1):
            fractions.append([])
            for k, text in enumerate(row, start=1):
                try:
                    fractions[-1].append(number_of(text))
                except LoraRefError as error:
                    place = f"entry {k}" if vector else f"row {i}, column {k}"
                    self.faults.add(path, f"{place}: {error}")
                    before += 1
        if before:
            return None
        array = np.empty((len(rows), len(rows[0])), dtype=object)
        array[:] = fractions
        array = array[0] if vector else array
        array.flags.writeable = False
        return array


def keys_of(quantity: Quantity) -> tuple[str, ...]:
    """Return the keys that a quantity takes."""
    return tuple(need.key for need in quantity.needs)


def rows_of(value: Any) -> tuple[list[list[Any]], bool]:
    """Return the rows of a matrix, unread, and whether it is a vector.

    A text has a row on each line, or between ``" / "``; one line is a vector. A list of lists is a
    matrix, a list of numbers a vector.

    Raises
    ------
    LoraRefError
        For anything else, for rows of unequal length, and for more than `LARGEST_MATRIX` of them.
    """
    if type(value) is str:
        lines = [line for line in value.replace(" / ", "\n").splitlines() if line.strip()]
        rows: list[list[Any]] = [
            [token.removesuffix(",") for token in line.replace(" %", "%").split()] for line in lines
        ]
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
                f"row {i} has {_many(len(row))} and row 1 has {_many(len(rows[0]))}, expected rows "
                "of one length"
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
        return numbers.given(value)
    if isinstance(value, int) and not isinstance(value, bool):
        if abs(value) >= 10**numbers.LONGEST:
            raise LoraRefError(f"a number of more than {numbers.LONGEST} digits")
        return Fraction(value)
    raise LoraRefError(f"got {kind_of(value)}, expected a number")


def _many(count: int) -> str:
    return "1 number" if count == 1 else f"{count} numbers"


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise LoraRefError(
            f"got {kind_of(value)}, expected a whole number of at least 1, without quotes"
        )
    if not 1 <= value <= numbers.LARGEST_COUNT:
        raise LoraRefError(
            f"got {kind_of(value)}, expected a whole number from 1 to {numbers.LARGEST_COUNT:,}"
        )
    return value


def _listed(value: Any) -> list[Any]:
    if not isinstance(value, list) or not value:
        said = "an empty list" if value == [] else kind_of(value)
        raise LoraRefError(f"got {said}, expected a list of texts")
    if len(value) > MOST_TERMS:
        raise LoraRefError(f"a list of {len(value)}, expected at most {MOST_TERMS}")
    return value
