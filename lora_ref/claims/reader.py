"""The reader of a file of claims: TOML in, a source out. Nothing in the file is evaluated.

Errors of the file are no verdict: all of them are reported together, each with its line.
"""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path as FilePath
from typing import Any, Literal

from lora_ref.claims import rules
from lora_ref.claims.check_reader import read_check, try_value
from lora_ref.claims.claim import Check, Claim, Conflict, Rule, Section, Source
from lora_ref.claims.expand import Expanded, expand, fields, format_text, variant
from lora_ref.claims.file_errors import (
    CLOSE,
    LONGEST_TEXT,
    BareNumber,
    FileErrors,
    Lines,
    Path,
    Table,
    kind_of,
    text_of,
    too_deep,
)
from lora_ref.claims.inputs import Inputs
from lora_ref.claims.printed import read_printed
from lora_ref.errors import LoraRefError
from lora_ref.read_text import read_text
from lora_ref.suggestions import nearest

# limits of a file
LARGEST_FILE = 256 * 1024  # bytes
MOST_CLAIMS = 500
LONGEST_REASON = 2000
LONGEST_ID = 60

TABLES = ("source", "lecture", "sections", "reasons", "rules", "matrices", "derived", "claim",
          "outside")  # fmt: skip
PARTS = ("also", "rule", "conflict", "elsewhere", "under", "correction", "derived")
TEXTS = ("id", "text", "where", "reason")
OUTSIDE: Mapping[str, Literal["metaphor", "unsupported"]] = {
    "hides": "metaphor",
    "unsupported": "unsupported",
}
FILLED = ("value", "under", "right", "by_rule", "elsewhere")
"""What a reason may name beside inputs and derived values."""
OLD_NAMES = {"says": "text", "why": "reason"}
"""Keys of earlier files, which are still read."""


def read(path: str | FilePath) -> Source:
    """Read a file of claims: TOML in UTF-8, as `docs/add-a-source.md` describes it.

    A `LoraRefError` lists everything that is wrong with the file, a line each.
    """
    return parse(read_text(path, LARGEST_FILE, "a TOML file"), str(path))


def parse(text: str, name: str = "the text", *, compute: bool = True) -> Source:
    """Read the text of a file; `name` is what errors call it.

    With `compute` every value is computed at once: an input that a quantity cannot work with is
    then an error of the file. Without, `judge` reports it.
    """
    if line := too_deep(text):
        raise LoraRefError(f"{name}, line {line}: a key is nested too deeply")
    try:
        tables = tomllib.loads(text, parse_float=BareNumber)
    except RecursionError:
        raise LoraRefError(f"{name} is nested too deeply, expected tables and rows") from None
    except ValueError as error:  # no TOML, or a whole number of thousands of digits
        raise LoraRefError(f"{name} is not TOML: {error}") from None
    return read_tables(tables, FileErrors(name, Lines(text)), compute=compute)


def read_tables(tables: Table, errors: FileErrors | None = None, *, compute: bool = True) -> Source:
    """Read the tables of a file; a test changes one value in them and reads them again."""
    errors = errors or FileErrors("the tables", Lines(""))
    source = _Reader(tables, errors, compute).source()
    errors.raise_if_any()
    return source


class _Reader:
    """Reads the tables of one file, and notes what is wrong with them."""

    def __init__(self, tables: Table, errors: FileErrors, compute: bool) -> None:
        self.errors, self.compute, self.tables = errors, compute, tables
        errors.check_keys((), tables, TABLES, "a file of claims")
        self.fills = "lecture" not in tables
        self.longest = LONGEST_REASON if self.fills else LONGEST_TEXT
        self.inputs = Inputs(errors)
        self.inputs.read_matrices(self._table("matrices"))
        self.inputs.read_derived(("derived",), self._table("derived"))
        self.reasons, self.sections = self._table("reasons"), self._table("sections")
        self.rules = {**rules.RULES, **self._table("rules")}
        self.key, self.cite = self._head()

    def source(self) -> Source:
        """Return the source, its claims in the order of the file."""
        if not self.tables.get("claim"):
            self.errors.add((), "there is no [[claim]], expected at least one")
        placed = [claim for kind in ("claim", "outside") for claim in self._expanded(kind)]
        placed.sort(key=lambda claim: self.errors.line(claim.path[:2]))
        self._check_ids(placed)
        values = {name: value for name, value in self.inputs.named.items() if value}
        for name, value in values.items() if self.compute else ():
            try_value(self.errors, ("derived", name), value, name)
        claims = tuple(claim for claim in map(self._claim, placed) if claim is not None)
        return Source(self.key, self.cite, claims, values, self.inputs.texts)

    def _head(self) -> tuple[str, str]:
        """Return the key of the source, and how to cite it."""
        head, required = ("source", ("key", "cite")) if self.fills else ("lecture", ("title",))
        if head not in self.tables:
            self.errors.add((), "the table [lecture] with a title is missing (or [source])")
            return "", ""
        table = self._table(head)
        known = required if self.fills else ("title", "source")
        self.errors.check_keys((head,), table, known, f"[{head}]")
        texts = {name: self._text((head, name), value) for name, value in table.items()}
        for name in required:
            if name not in table:
                self.errors.add((head,), f"the key {name} is missing")
        if self.fills:
            return texts.get("key", ""), texts.get("cite", "")
        source = f" ({texts['source']})" if texts.get("source") else ""
        return "lecture", texts.get("title", "") + source

    # claims

    def _expanded(self, kind: str) -> Iterator[Expanded]:
        """Yield every claim of a kind, with its rows and columns."""
        tables = self.tables.get(kind, [])
        if not isinstance(tables, list):
            message = f"got {kind_of(tables)}, expected tables with two brackets, [[{kind}]]"
            self.errors.add((kind,), message)
            return
        if len(tables) > MOST_CLAIMS:
            self.errors.add((kind,), f"{len(tables)} of them, expected at most {MOST_CLAIMS}")
            return
        for i, table in enumerate(tables):
            if not isinstance(table, dict):
                self.errors.add((kind, i), f"got {kind_of(table)}, expected a table [[{kind}]]")
                continue
            table = self._renamed((kind, i), table)
            if isinstance(table.get("id"), str) and len(table["id"]) <= LONGEST_ID:
                self.errors.ids[kind, i] = table["id"]
            for claim in expand(self.errors, (kind, i), table):
                yield claim._replace(table=_filled(claim.table)) if self.fills else claim

    def _renamed(self, path: Path, table: Table) -> Table:
        """Return a table with the present names in place of earlier ones, in all its parts."""
        renamed: dict[str, Any] = {}
        for key, value in table.items():
            name = OLD_NAMES.get(key, key)
            if name != key and name in table:
                self.errors.add((*path, key), f"both {key} and {name} are given: they are the same")
            is_part = isinstance(value, dict) and key in ("under", "correction")
            renamed[name] = self._renamed((*path, key), value) if is_part else value
        return renamed

    def _check_ids(self, placed: list[Expanded]) -> None:
        first: dict[str, str] = {}
        for path, table, _ in placed:
            name = table.get("id")
            if type(name) is str and name.isprintable() and len(name) <= LONGEST_ID:
                if name in first:
                    self.errors.add((*path, "id"), f"{name!r} is the id of {first[name]} already")
                first.setdefault(name, f"{path[0]} {int(path[1]) + 1}")

    def _claim(self, placed: Expanded) -> Claim | None:
        path, table, group = placed
        texts = self._texts(path, table)
        inputs = self.inputs.with_derived((*path, "derived"), table.get("derived", {}))
        for name in inputs.own.keys() - self.inputs.own.keys() if self.compute else ():
            try_value(self.errors, (*path, "derived", name), inputs.own[name], name)
        if path[0] == "outside":
            parts = self._outside(path, table)
        elif "elsewhere" in table and "quantity" not in table:
            parts = self._printed_twice(path, table)
        else:
            parts = self._checked(path, table, inputs)
            if type(table.get("id")) is str:
                self.inputs.add_claim(table["id"], inputs, table, faulty=parts is None)
        if texts is None or parts is None:
            return None
        rule = table.get("rule")
        known = {*table, *inputs.own, *(rule if isinstance(rule, dict) else ()), *FILLED}
        for name in fields(texts["reason"]) if self.fills else ():
            if name not in known:
                message = f"there is nothing called {name!r} to be filled in"
                self.errors.add((*path, "reason"), message + nearest(name, (*inputs.own, *FILLED)))
        return Claim(
            source=self.key,
            section=self._section(texts["where"]),
            names=inputs.own,
            fills=self.fills,
            group=group,
            **{**texts, **parts},
        )

    def _outside(self, path: Path, table: Table) -> dict[str, Any] | None:
        known = (*TEXTS, *OUTSIDE, "derived", "row")
        self.errors.check_keys(path, table, known, "an outside claim")
        for key, kind in OUTSIDE.items():
            if key in table:
                return {"outside": kind, "note": self._text((*path, key), table[key])}
        return {"outside": "not judged"}

    def _printed_twice(self, path: Path, table: Table) -> dict[str, Any] | None:
        known = (*TEXTS, "printed", "elsewhere", "derived", "row", "column")
        self.errors.check_keys(path, table, known, "a claim")
        with self.errors.at((*path, "elsewhere")):
            other = table["elsewhere"]
            if not isinstance(other, dict) or set(other) != {"printed", "where"}:
                raise LoraRefError("elsewhere needs two keys, printed and where")
            for text in (table.get("printed"), other["printed"]):
                read_printed(text_of(text))
            conflict = Conflict(self._text(path, other["where"]), printed=other["printed"])
            return {"printed": table["printed"], "conflict": conflict}
        return None

    def _checked(self, path: Path, table: Table, inputs: Inputs) -> dict[str, Any] | None:
        rule = table.get("rule")
        known = (*TEXTS, *PARTS, "row", "column")
        given_by_rule = tuple(rule) if isinstance(rule, dict) else ()
        check = self._check(path, table, inputs, known=known, given_by_rule=given_by_rule)
        parts = {
            "rule": self._rule((*path, "rule"), table, inputs),
            "conflict": self._conflict((*path, "conflict"), table, inputs),
            "under": self._part((*path, "under"), table, inputs),
            "correction": self._part((*path, "correction"), table, inputs),
        }
        return None if check is None else {"check": check, **parts}

    # parts of a claim: checks that take from it what they do not state

    def _check(self, path: Path, table: Table, inputs: Inputs, **keys: Any) -> Check | None:
        if table.get("text"):
            table = {**table, "text": self._text((*path, "text"), table["text"])}
        check = read_check(path, table, inputs, compute=self.compute, **keys)
        also = self._also(path, table, inputs)
        return replace(check, also=also) if check else None

    def _changed(
        self, path: Path, table: Table, changes: Any, inputs: Inputs, *, inherit: bool
    ) -> Check | None:
        """Return the claim's check with some keys changed."""
        if not isinstance(changes, dict):
            names = ".".join(["claim", *(key for key in path[2:] if isinstance(key, str))])
            self.errors.add(path, f"got {kind_of(changes)}, expected a table [{names}]")
            return None
        keys = variant(table, changes, inherit=inherit)
        keys |= {"text": changes.get("text"), "also": changes.get("also", [])}
        return self._check(path, keys, inputs)

    def _part(self, path: Path, table: Table, inputs: Inputs) -> Check | None:
        """Return the check of ``[claim.under]`` or ``[claim.correction]``, which has a text."""
        part = table.get(str(path[-1]))
        if isinstance(part, dict) and "text" not in part:
            self.errors.add(path, "the key text is missing")
        return None if part is None else self._changed(path, table, part, inputs, inherit=False)

    def _also(self, path: Path, table: Table, inputs: Inputs) -> tuple[Check, ...]:
        parts, path = table.get("also", []), (*path, "also")
        if not isinstance(parts, list):
            self.errors.add(path, f"got {kind_of(parts)}, expected tables [[claim.also]]")
            return ()
        checks = [
            self._changed((*path, i), table, part, inputs, inherit=False)
            for i, part in enumerate(parts)
        ]
        return tuple(check for check in checks if check)

    def _rule(self, path: Path, table: Table, inputs: Inputs) -> Rule | None:
        if "rule" not in table:
            return None
        value = table["rule"]
        names = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            names, changes = [value.get("name")], value
        else:
            before = table.get("rules", [])
            changes = {"rules": [*before, *names] if isinstance(before, list) else before}
        for name in names or [""]:
            if not isinstance(name, str) or name.partition(":")[0] not in self.rules:
                near = nearest(name, self.rules, cutoff=CLOSE)
                self.errors.add(path, f"no rule is called {str(name)[:60]!r}{near}")
                return None
        name = names[-1].partition(":")[0]
        text = self._text(("rules", name), self.rules[name])
        if name in rules.READINGS:
            return Rule(name, text)
        check = self._changed(path, table, changes, inputs, inherit=True)
        return Rule(name, text, check) if check else None

    def _conflict(self, path: Path, table: Table, inputs: Inputs) -> Conflict | None:
        if "conflict" not in table:
            return None
        value = table["conflict"]
        if not isinstance(value, dict) or "with" not in value:
            self.errors.add(path, 'got no table with the key "with": the other statement')
            return None
        text = self._text((*path, "with"), value["with"])
        if "printed" in value:
            with self.errors.at((*path, "printed")):
                read_printed(text_of(value["printed"]))
            return Conflict(text, printed=str(value["printed"]))
        check = self._changed(path, table, value, inputs, inherit=True)
        return Conflict(text, check) if check else None

    # texts

    def _texts(self, path: Path, table: Table) -> dict[str, str] | None:
        """Return the texts of a claim, or None where one that is needed is missing."""
        judged = path[0] == "claim" or any(key in table for key in OUTSIDE)
        required = ("id", "text") if judged else ("id", "text", "reason")
        texts = dict.fromkeys(TEXTS, "")
        for key in (key for key in TEXTS if key in table or key in required):
            value = table.get(key)
            with self.errors.at((*path, key) if key in table else path):
                if value is None or (key == "text" and value == "" and "column" in table):
                    raise LoraRefError(f"the key {key} is missing")
                if key == "reason" and isinstance(value, str):
                    value = self.reasons.get(value, value)
                texts[key] = text_of(value, self.longest)
                if key == "id" and (" " in texts[key] or len(texts[key]) > LONGEST_ID):
                    raise LoraRefError(f"{texts[key][:60]!r} is no id, expected one short word")
        return texts if all(texts[key] for key in required) else None

    def _section(self, where: str) -> Section:
        names = self.sections.get(where, [])
        with self.errors.at(("sections", where)):
            if not isinstance(names, list) or len(names) > 2:
                raise LoraRefError("expected a list of one or two names")
            return Section(*(text_of(name) for name in names))
        return Section()

    def _text(self, path: Path, value: Any) -> str:
        with self.errors.at(path):
            return text_of(value, self.longest)
        return ""

    def _table(self, name: str) -> Table:
        value = self.tables.get(name, {})
        if isinstance(value, dict):
            return value
        self.errors.add((name,), f"got {kind_of(value)}, expected a table [{name}]")
        return {}


def _filled(table: Table) -> dict[str, Any]:
    """Fill the names in braces in id, text and where."""
    values = {key: value for key, value in table.items() if key not in TEXTS}
    keys = [key for key in ("id", "text", "where") if isinstance(table.get(key), str)]
    return {**table, **{key: format_text(table[key], values) for key in keys}}
