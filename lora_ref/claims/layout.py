"""How reports are laid out: two columns on a terminal, cells of a Markdown table."""

import re
import unicodedata
from collections.abc import Sequence
from textwrap import wrap as wrap_characters

_MATRIX = re.compile(r"-?[\d.,]+(?: -?[\d.,]+)+(?: / -?[\d.,]+(?: -?[\d.,]+)+)+")
"""The rows of a matrix in one line of text, kept apart by slashes."""

_TITLE = re.compile(r"《[^》]*》, ")

NARROW = 72
"""Columns of a terminal below which the two sides stand below each other."""

Entry = tuple[str, str]
"""A label, and what stands beside it."""


def plural(things: Sequence[object], name: str) -> str:
    """Return ``1 claim`` or ``3 claims``."""
    return f"1 {name}" if len(things) == 1 else f"{len(things)} {name}s"


def escape(text: str) -> str:
    """Escape what Markdown would read as markup."""
    for mark in ("\\", "|", "*", "_", "<", ">"):
        text = text.replace(mark, f"\\{mark}")
    return text


def cell(text: str) -> str:
    """Return a text as a cell of a table; the rows of a matrix stand below each other."""
    return _MATRIX.sub(lambda rows: "<br>" + rows[0].replace(" / ", "<br>"), escape(text))


def coloured(text: str, colour: str) -> str:
    """Return a text in a colour, by the number that a terminal knows it by; none if it is empty."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrap(text: str, width: int) -> list[str]:
    """Wrap a text to columns of a terminal."""
    if text.isascii():
        return wrap_characters(text, width)
    padded = "".join(c + "\0" * (columns(c) - 1) for c in text)
    return [line.replace("\0", "") for line in wrap_characters(padded, width)]


def plain(text: str) -> str:
    """Return a text for a plain terminal: signs written out, a Chinese title left out before ours.

    Letters of a reader's own text stay; the command line escapes what the terminal has not.

    Examples
    --------
    >>> plain("《名》, an article: 90.8 ± .1, 4 × 4")
    'an article: 90.8 +- .1, 4 x 4'
    """
    return _TITLE.sub("", text).replace("±", "+-").replace("×", "x")


def two_sides(head: str, left: Sequence[Entry], right: Sequence[Entry], width: int) -> str:
    """Return a heading and below it two columns, or one where the terminal is narrow."""
    if width < NARROW:
        return "\n".join([head, *(f"  {line}" for line in _column([*left, *right], width - 2))])
    half = (width - 3) // 2
    sides = [_column(left, half), _column(right, width - 3 - half)]
    height = max(map(len, sides))
    padded = [side + [""] * (height - len(side)) for side in sides]
    lines = []
    for a, b in zip(*padded, strict=True):
        lines.append(f"  {a}{' ' * (half - columns(a))} {b}".rstrip())
    return "\n".join([head, *lines])


def _column(entries: Sequence[Entry], width: int) -> list[str]:
    """Wrap labelled texts; the rows of a matrix, kept apart by slashes, get lines of their own."""
    lines = []
    for label, text in entries:
        body: list[str] = []
        for part in matrix_lines(text):
            body += wrap(part, width - 10) or [""]
        lines += [f"{label if i == 0 else '':<9} {line}" for i, line in enumerate(body)]
    return lines


def matrix_lines(text: str) -> list[str]:
    """Return a text with the rows of a matrix in it as lines of their own."""
    rows = _MATRIX.search(text)
    if rows is None:
        return [text]
    before, after = text[: rows.start()].rstrip(), text[rows.end() :].strip()
    return [part for part in (before, *rows[0].split(" / "), after) if part]
