"""The errors of a file: sentences with their line and key, collected and raised together."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

Path = tuple[str | int, ...]
"""Keys and numbers of a file from the outside in, such as ``("claim", 2, "printed")``."""

Table = Mapping[str, Any]
"""A table of a file."""

MOST_SHOWN = 40  # errors; the others are counted
LONGEST_TEXT = 500  # characters of a text that is not a number
DEEPEST_KEY = 16  # names in one dotted key: `tomllib` takes time and memory quadratic in it
CLOSE = 0.5  # how alike a key and a known one must be for the known one to be named

_LEXEMES = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*",
    re.DOTALL,
)
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w-]+(?:\s*\.\s*[\w-]+)*)\s*\]\]?\s*$")
_KEY = re.compile(r"\s*([\w-]+)\s*(?:\.\s*[\w-]+\s*)*=")


class BareNumber(str):
    """A number that the file writes without quotes: `tomllib` hands over its text."""

    __slots__ = ()


class Lines:
    r"""Finds the line of a key in the text of a valid TOML file, which `tomllib` does not say.

    Examples
    --------
    >>> lines = Lines('[[claim]]\nid = "a"\n\n[[claim]]\nid = "b"\n')
    >>> lines.of(("claim", 1, "id")), lines.of(("claim", 1, "text")), lines.of(("unheard-of",))
    (5, 4, None)
    """

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        last_index: dict[Path, int] = {}  # of an array of tables
        here: Path = ()
        for number, line in enumerate(_without_strings(text).split("\n"), start=1):
            if header := _HEADER.match(line):
                here = ()
                for step in header[2].split("."):
                    if here in last_index:  # a header goes on in the last table of an array
                        here = (*here, last_index[here])
                    here = (*here, step.strip())
                    self._found.setdefault(here, number)
                if header[1] == "[[":
                    last_index[here] = last_index.get(here, -1) + 1
                    here = (*here, last_index[here])
                    self._found[here] = number
            elif key := _KEY.match(line):
                self._found.setdefault((*here, key[1]), number)

    def of(self, path: Path) -> int | None:
        """Return the line of a key, or of the nearest thing around it; counted from 1."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return None


class FileErrors:
    """The errors of one file, in the order of its lines.

    `ids` are the ids of its tables by kind and number, for the errors to name them.
    """

    def __init__(self, name: str, lines: Lines) -> None:
        self._name, self._lines = name, lines
        self._found: list[tuple[int, str]] = []
        self.ids: dict[tuple[str, int], str] = {}

    def add(self, path: Path, message: object) -> None:
        """Note what is wrong at a key."""
        line = self.line(path)
        where = ", ".join(filter(None, (f"line {line}" if line else "", self._place(path))))
        text = f"{where}: {message}" if where else str(message)
        found = (line, "".join(c if c.isprintable() else "?" for c in text))
        if found not in self._found:
            self._found.append(found)

    def at(self, path: Path) -> "_At":
        """Return a context that notes at a key what is raised within it."""
        return _At(self, path)

    def raise_if_any(self) -> None:
        """Raise `LoraRefError` with a line for each error, if there is any."""
        if not self._found:
            return
        messages = [message for _, message in sorted(self._found, key=lambda error: error[0])]
        count = "1 error" if len(messages) == 1 else f"{len(messages)} errors"
        more = len(messages) - MOST_SHOWN
        shown = messages[:MOST_SHOWN] + ([f"and {more} more"] if more > 0 else [])
        raise LoraRefError("\n  ".join([f"{self._name}: {count}", *shown]))

    def check_keys(self, path: Path, table: Table, known: Iterable[str], owner: str) -> None:
        """Note every key of a table that its owner does not have."""
        known = tuple(known)
        for key in table:
            if key not in known:
                near = nearest(key, known, cutoff=CLOSE) or f"; known are: {', '.join(known)}"
                self.add((*path, key), f"{owner} has no key {key[:60]!r}{near}")

    def line(self, path: Path) -> int:
        """Return the line of a path, 0 where there is none."""
        return self._lines.of(path) or 0

    def _place(self, path: Path) -> str:
        """Return a path in words, such as ``claim 3 ("ab-11"), printed``."""
        path = tuple(key[:60] if isinstance(key, str) else key for key in path)
        match path:
            case (str(kind), int(index), *rest):
                name = self.ids.get((kind, index))
                head = f"{kind} {index + 1}" + (f' ("{name}")' if name else "")
            case ("matrices", name, *rest):
                head = f"matrix {name}"
            case ("derived", name, *rest):
                head = f"derived {name}"
            case _:
                head, rest = "", list(path)
        keys = ".".join(str(key + 1) if isinstance(key, int) else key for key in rest)
        return ", ".join(part for part in (head, keys) if part)


class _At(NamedTuple):
    errors: FileErrors
    path: Path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, LoraRefError):
            self.errors.add(self.path, error)
        return isinstance(error, LoraRefError)


def too_deep(text: str) -> int | None:
    """Return the first line with a dotted key of more than `DEEPEST_KEY` names, if there is one."""
    for number, line in enumerate(_without_strings(text).split("\n"), start=1):
        words = re.split(r"[^\w.-]+", "".join(line.split()))
        if any(word.count(".") >= DEEPEST_KEY for word in words):
            return number
    return None


def kind_of(value: object) -> str:
    """Return what a value of a TOML file is, in words and never long."""
    match value:
        case bool():
            return "true" if value else "false"
        case BareNumber():
            return f"the number {value[:30]}" + ("..." if len(value) > 30 else "")
        case str():
            return f"the text {value[:30]!r}" + ("..." if len(value) > 30 else "")
        case int():
            return f"the number {value}" if abs(value) < 10**30 else "a very large number"
        case list():
            return "a list"
        case dict():
            return "a table"
    return f"a {type(value).__name__}"


def text_of(value: object, longest: int = LONGEST_TEXT) -> str:
    """Return a text of one line, fit to be printed."""
    if type(value) is not str:
        raise LoraRefError(f"got {kind_of(value)}, expected a text in quotes")
    text = " ".join(value.split())
    if not text:
        raise LoraRefError("the text is empty")
    if len(text) > longest:
        raise LoraRefError(f"a text of {len(text)} characters, expected at most {longest}")
    if not text.isprintable():
        bad = next(c for c in text if not c.isprintable())
        raise LoraRefError(f"the text holds U+{ord(bad):04X}, a character that is not printed")
    return text


def _without_strings(text: str) -> str:
    """Return the text without its strings and comments, line for line."""
    return _LEXEMES.sub(lambda found: "\n" * found[0].count("\n"), text)
