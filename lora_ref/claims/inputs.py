"""The inputs of a file's claims: its matrices, its derived values, and the keys of a quantity."""

from typing import Any

import numpy as np

from lora_ref.claims.file_errors import (
    CLOSE,
    DEEPEST_KEY,
    BareNumber,
    FileErrors,
    Path,
    Table,
    kind_of,
    text_of,
)
from lora_ref.claims.printed import Printed, number_of, read_printed, read_shape, split_rows
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.quantity import Parameter, Quantity
from lora_ref.claims.values import AsNumber, Computed, Sweep, chain
from lora_ref.counting.targets import ALL_LINEAR
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

# limits of a file
MOST_FACTORS = 8  # matrices in one product
MOST_TERMS = 16  # entries of a list at a key
LARGEST_MATRIX = 32  # rows or columns of a matrix that is written out


class Inputs:
    """What a file's claims can refer to by name.

    A name whose matrix is faulty is known and has no value: its error is already noted.
    """

    def __init__(self, errors: FileErrors) -> None:
        self.errors = errors
        self.named: dict[str, Computed | None] = {}
        self.own: dict[str, Computed] = {}
        self.texts: dict[str, Printed] = {}
        self._claims: dict[str, tuple[Inputs, Table] | None] = {}
        self._later: frozenset[str] = frozenset()

    def read_matrices(self, tables: Table) -> None:
        """Read the table ``[matrices]``."""
        for name, value in tables.items():
            array = self._matrix(name, value) if self._is_name(("matrices", name), name) else None
            self.named[name] = None
            if array is not None:
                self.named[name] = Computed(lambda array: array, {"array": array})

    def read_derived(self, path: Path, tables: Any) -> None:
        """Read the tables ``[derived.NAME]``; each may use what stands above it."""
        if not isinstance(tables, dict):
            self.errors.add(path, f"got {kind_of(tables)}, expected tables [derived.NAME]")
            return
        self._later = frozenset(tables)
        for name, table in tables.items():
            here = (*path, name)
            found = self._derived(here, name, table) if self._is_name(here, name) else None
            self.named[name] = found
            if found:
                self.own[name] = found
        self._later = frozenset()

    def with_derived(self, path: Path, tables: Any) -> "Inputs":
        """Return these inputs and a claim's own derived values."""
        inputs = Inputs(self.errors)
        inputs.named, inputs.own, inputs._claims = dict(self.named), dict(self.own), self._claims
        inputs.read_derived(path, tables)
        return inputs

    def add_claim(self, id: str, inputs: "Inputs", table: Table, *, faulty: bool) -> None:
        """Let the claims below refer to a claim by its id; `inputs` has its derived values."""
        self._claims[id] = None if faulty else (inputs, table)

    def quantity(self, path: Path, table: Table) -> Quantity | None:
        """Return the quantity that a table names, or note what is wrong with its name."""
        if "quantity" not in table:
            self.errors.add(path, "the key quantity is missing: what is the number meant to be?")
            return None
        name = table["quantity"]
        if isinstance(name, str) and name in QUANTITIES:
            return QUANTITIES[name]
        message = f"got {kind_of(name)}, expected the name of a quantity"
        if isinstance(name, str):
            near = nearest(name, QUANTITIES, cutoff=CLOSE) or "; docs/add-a-source.md lists all"
            message = f"no quantity is called {name[:60]!r}{near}"
        self.errors.add((*path, "quantity"), message)
        return None

    def computed(self, path: Path, table: Table, quantity: Quantity) -> Computed | None:
        """Return a quantity with the inputs that a table gives, or note what is wrong."""
        arguments, complete = {}, True
        for parameter in quantity.parameters:
            key, default = parameter.key, parameter.default
            if key not in table and parameter.required:
                message = f"{quantity.name} needs the key {key}: {parameter.kind.description}"
                self.errors.add(path, message)
                complete = False
            elif key not in table and (parameter.kind.name != "matrix" or default is None):
                arguments[parameter.argument] = default
            else:
                found = None
                with self.errors.at((*path, key)):
                    found = self._value((*path, key), parameter, table.get(key, default))
                complete = complete and found is not None
                arguments[parameter.argument] = found
        swept = any(isinstance(argument, Sweep) for argument in arguments.values())
        if swept and quantity.returns.name != "number":
            message = f"{quantity.name} is not one number, and takes no lists of inputs"
            self.errors.add(path, message)
            return None
        return Computed(quantity.compute, arguments) if complete else None

    def _derived(self, path: Path, name: str, table: Any) -> Computed | None:
        if name in self.named:
            self.errors.add(path, f"there is a matrix called {name} already")
            return None
        if not isinstance(table, dict):
            self.errors.add(path, f"got {kind_of(table)}, expected a table [derived.{name}]")
            return None
        return self._of_table(path, table)

    def _of_table(self, path: Path, table: Table) -> Computed | None:
        """Return the quantity of a table that holds nothing else."""
        quantity = self.quantity(path, table)
        if quantity is None:
            return None
        self.errors.check_keys(path, table, ("quantity", *quantity.keys), quantity.name)
        return self._used_further(path, table, quantity)

    def _used_further(self, path: Path, table: Table, quantity: Quantity) -> Computed | None:
        if (returns := quantity.returns.name) in ("shape", "finding"):
            self.errors.add((*path, "quantity"), f"a {returns} cannot be used further")
            return None
        return self.computed(path, table, quantity)

    def _in_place(self, path: Path, table: Table) -> Computed | None:
        """Return the quantity whose table stands where a number or a name is wanted."""
        if len(path) > DEEPEST_KEY:
            raise LoraRefError(f"tables within tables, expected at most {DEEPEST_KEY} names")
        if "claim" in table:
            return self._of_claim(path, table)
        return self._of_table(path, table)

    def _of_claim(self, path: Path, table: Table) -> Computed | None:
        """Return the quantity of a claim above, perhaps with other inputs."""
        id = text_of(table["claim"])
        if id not in self._claims:
            near = nearest(id, self._claims, cutoff=CLOSE)
            raise LoraRefError(f"no claim above computes a quantity by the id {id[:60]!r}{near}")
        claim = self._claims[id]
        if claim is None:
            return None
        inputs, keys = claim
        quantity = QUANTITIES[keys["quantity"]]
        given = {key: keys[key] for key in quantity.keys if key in keys}
        if any(_has_table(value) for value in given.values()):
            raise LoraRefError(f"the claim {id!r} is a relation itself, expected one that is none")
        self.errors.check_keys(path, table, ("claim", *quantity.keys), quantity.name)
        changes = {key: value for key, value in table.items() if key in quantity.keys}
        return inputs._used_further(path, given | changes, quantity)

    def _value(self, path: Path, parameter: Parameter, value: Any) -> Any:
        """Return the argument for a key, a `Sweep` for a list; None where a matrix is faulty."""
        sweep = isinstance(value, list) and parameter.kind.sweeps
        if parameter.kind.name in ("names", "targets") and isinstance(value, list) and value:
            sweep = all(isinstance(entry, list) for entry in value)
        if not sweep:
            return self._argument(path, parameter, value)
        if not value or len(value) > MOST_TERMS:
            raise LoraRefError(f"a list of {len(value)}, expected 1 to {MOST_TERMS} values")
        entries = tuple(
            self._argument((*path, i), parameter, entry) for i, entry in enumerate(value)
        )
        return None if None in entries else Sweep(entries)

    def _argument(self, path: Path, parameter: Parameter, value: Any) -> Any:
        match parameter.kind.name:
            case "matrix":
                return self._factors(path, value)
            case "terms":
                terms = tuple(self._factors(path, term) for term in _listed(value))
                return None if None in terms else terms
            case "count" | "whole" | "few" | "steps":
                return _count(value, *parameter.kind.limits)
            case "number":
                return self._number(path, value)
            case "values":
                numbers = tuple(self._number(path, entry) for entry in _listed(value, "numbers"))
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
                return tuple(read_shape(text_of(entry)) for entry in _listed(value))
            case "targets" if value == ALL_LINEAR:
                return value
            case "names" | "targets":
                return tuple(text_of(entry) for entry in _listed(value))
        return text_of(value)

    def _factors(self, path: Path, value: Any) -> Computed | None:
        if isinstance(value, dict):
            return self._in_place(path, value)
        if isinstance(value, list):
            raise LoraRefError('got a list, expected a text; a product is written "B A"')
        names = text_of(value).split()
        if len(names) > MOST_FACTORS:
            raise LoraRefError(f"a product of {len(names)}, expected at most {MOST_FACTORS}")
        sources = tuple(self._source(name) for name in names)
        if None in sources:
            return None
        return sources[0] if len(sources) == 1 else Computed(chain, {"factors": sources})

    def _source(self, name: str) -> Computed | None:
        if name in self.named:
            return self.named[name]
        if name in self._later:
            raise LoraRefError(f"{name!r} does not stand above, expected a name that does")
        if not self.named:
            raise LoraRefError(f"no matrix or number is called {name[:60]!r}: the file has none")
        near = nearest(name, self.named, cutoff=CLOSE) or f"; known are: {', '.join(self.named)}"
        raise LoraRefError(f"no matrix or number is called {name[:60]!r}{near}")

    def _number(self, path: Path, value: Any) -> Any:
        if isinstance(value, dict):
            source = self._in_place(path, value)
        elif type(value) is str and value[:1].isalpha():
            source = self._source(value)
        else:
            return number_of(value)
        return None if source is None else AsNumber(source)

    def _is_name(self, path: Path, name: str) -> bool:
        plain = name.replace("-", "_").replace("'", "_")
        if len(name) <= 40 and plain.isidentifier() and name[0] != "-" and name.isprintable():
            return True
        message = f"{name[:40]!r} is no name for a matrix, expected letters, digits, _ and -"
        self.errors.add(path, message)
        return False

    def _matrix(self, name: str, value: Any) -> Any:
        """Return a read-only array of fractions, or note everything that is wrong with it."""
        path = ("matrices", name)
        rows: list[list[Any]] = []
        with self.errors.at(path):
            rows, is_vector = rows_of(value)
        if not rows:
            return None
        array = np.empty((len(rows), len(rows[0])), dtype=object)
        for (i, k), _ in np.ndenumerate(array):
            try:
                array[i, k] = number_of(rows[i][k])
            except LoraRefError as error:
                place = f"entry {k + 1}" if is_vector else f"row {i + 1}, column {k + 1}"
                self.errors.add(path, f"{place}: {error}")
        if None in array:
            return None
        texts = tuple(tuple(map(str, row)) for row in rows)
        self.texts[name] = texts[0] if is_vector else texts
        array.flags.writeable = False
        return array[0] if is_vector else array


def rows_of(value: Any) -> tuple[list[list[Any]], bool]:
    """Return the rows of a matrix, not yet read, and whether it is a vector.

    A text has a row on each line, or between ``" / "``; one line is a vector. A list of lists is a
    matrix, a list of numbers a vector.
    """
    if type(value) is str:
        rows: list[list[Any]] = list(split_rows(value))
        is_vector = len(rows) == 1
    elif isinstance(value, list):
        are_lists = [isinstance(row, list) for row in value]
        if any(are_lists) and not all(are_lists):
            raise LoraRefError("some rows are lists and some are not, expected all or none")
        is_vector = not any(are_lists)
        rows = [value] if is_vector else value
    else:
        raise LoraRefError(
            f"got {kind_of(value)}, expected rows of numbers, such as [[1, 0.5], [0, 2]]"
        )
    if not rows or not rows[0]:
        raise LoraRefError("it is empty, expected numbers")
    width = len(rows[0])
    for i, row in enumerate(rows, start=1):
        if len(row) != width:
            raise LoraRefError(f"row {i} has length {len(row)}, expected {width}, that of row 1")
    if max(len(rows), width) > LARGEST_MATRIX:
        raise LoraRefError(
            f"it is {len(rows)} x {width}, expected at most {LARGEST_MATRIX} rows and columns: "
            "a lecture's example"
        )
    return rows, is_vector


def printed_of(value: Any, quantity: Quantity | None = None, sweep: bool = False) -> Printed:
    """Return a printed number, vector or matrix; without a quantity a single number."""
    if not isinstance(value, list | dict):
        try:
            return _printed_number(value)
        except LoraRefError:
            if type(value) is not str:
                raise
    rows, is_vector = rows_of(value)
    texts = tuple(tuple(_printed_number(entry) for entry in row) for row in rows)
    is_single = is_vector and len(texts[0]) == 1
    returns = "number" if quantity is None else quantity.returns.name
    name = "it" if quantity is None else quantity.name
    if returns == "number" and not (is_vector and sweep) and not is_single:
        raise LoraRefError(f"{name} is one number, and more is printed: {value!r:.60}")
    if returns == "numbers" and not is_vector:
        raise LoraRefError(f"{name} is a list of numbers, and more is printed")
    if is_single and type(value) is str:
        return texts[0][0]
    return texts[0] if is_vector else texts


def _printed_number(value: Any) -> str:
    """Return a printed number as it is shown, or refuse one without quotes."""
    if type(value) is str:
        read_printed(value)
        return " ".join(value.replace("−", "-").split())
    if isinstance(value, bool) or not isinstance(value, int | BareNumber):
        raise LoraRefError(f'got {kind_of(value)}, expected a number in quotes, such as "0.50"')
    shown = str(value)[:30] if isinstance(value, str) or abs(value) < 10**30 else "..."
    raise LoraRefError(
        f'the number {shown} is not in quotes; write "{shown}" with all its digits: they decide '
        "how exactly it is judged"
    )


def _count(value: Any, least: int, most: int) -> int:
    expected = f"expected a whole number from {least} to {most:,}"
    if not isinstance(value, int) or isinstance(value, bool):
        raise LoraRefError(f"got {kind_of(value)}, {expected}, without quotes")
    if not least <= value <= most:
        raise LoraRefError(f"got {kind_of(value)}, {expected}")
    return value


def _has_table(value: Any) -> bool:
    return any(isinstance(one, dict) for one in (value if isinstance(value, list) else [value]))


def _listed(value: Any, of: str = "texts") -> list[Any]:
    if not isinstance(value, list) or not value:
        found = "an empty list" if value == [] else kind_of(value)
        raise LoraRefError(f"got {found}, expected a list of {of}")
    if len(value) > MOST_TERMS:
        raise LoraRefError(f"a list of {len(value)}, expected at most {MOST_TERMS}")
    return value
