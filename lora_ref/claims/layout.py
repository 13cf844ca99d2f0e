"""The layout of reports: two columns on a terminal, cells of a Markdown table."""

import re
import unicodedata
from collections.abc import Sequence
from itertools import zip_longest
from textwrap import wrap as wrap_characters

_MATRIX = re.compile(r"-?[\d.,]+(?: -?[\d.,]+)+(?: / -?[\d.,]+(?: -?[\d.,]+)+)+")
"""The rows of a matrix in one line of text, kept apart by slashes."""

_TITLE = re.compile(r"《[^》]*》, ")

NARROW = 72  # columns of a terminal below which the two sides stand below each other

Entry = tuple[str, str]
"""A label, and the text beside it."""


def escape(text: str) -> str:
    """Escape what Markdown would read as markup."""
    for mark in ("\\", "|", "*", "_", "<", ">"):
        text = text.replace(mark, f"\\{mark}")
    return text


def cell(text: str) -> str:
    """Return a text as a cell of a table; the rows of a matrix stand below each other."""
    return _MATRIX.sub(lambda rows: "<br>" + rows[0].replace(" / ", "<br>"), escape(text))


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: two for a Chinese character."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def wrap(text: str, width: int) -> list[str]:
    """Wrap a text to columns of a terminal."""
    if text.isascii():
        return wrap_characters(text, width)
    padded = "".join(c + "\0" * (columns(c) - 1) for c in text)
    return [line.replace("\0", "") for line in wrap_characters(padded, width)]


def plain(text: str) -> str:
    """Return a text for a plain terminal: signs spelt out, a Chinese title before ours left out.

    Letters of a reader's own text stay; the command line escapes those that the terminal lacks.

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
    pairs = zip_longest(_column(left, half), _column(right, width - 3 - half), fillvalue="")
    lines = [f"  {a}{' ' * (half - columns(a))} {b}".rstrip() for a, b in pairs]
    return "\n".join([head, *lines])


def _column(entries: Sequence[Entry], width: int) -> list[str]:
    """Wrap labelled texts; the rows of a matrix, kept apart by slashes, get lines of their own."""
    lines = []
    for label, text in entries:
        body = [line for part in matrix_lines(text) for line in wrap(part, width - 10) or [""]]
        lines += [f"{label if i == 0 else '':<9} {line}" for i, line in enumerate(body)]
    return lines


def matrix_lines(text: str) -> list[str]:
    """Return a text with the rows of a matrix in it as lines of their own."""
    rows = _MATRIX.search(text)
    if rows is None:
        return [text]
    before, after = text[: rows.start()].rstrip(), text[rows.end() :].strip()
    return [part for part in (before, *rows[0].split(" / "), after) if part]
