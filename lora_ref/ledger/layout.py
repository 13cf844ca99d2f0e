"""What the reports of the three ledgers share: counts by verdict, two columns, cells of a table.

The article's claims, the literature's figures and a lecture's claims are judged alike, each by
verdicts of its own; the sequence of verdicts, worst first, is handed in.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from textwrap import wrap
from typing import Protocol, TypeVar

_MATRIX = re.compile(r"-?[\d.,]+(?: -?[\d.,]+)+(?: / -?[\d.,]+(?: -?[\d.,]+)+)+")
"""The rows of a matrix in one line of text, kept apart by slashes."""

NARROW = 72
"""Columns of a terminal below which the two sides stand below each other."""


class Judged(Protocol):
    """A claim or a figure after recomputing; no verdict where its recipe raised."""

    @property
    def verdict(self) -> str | None:
        """What came out."""


AnyJudged = TypeVar("AnyJudged", bound=Judged)
Entry = tuple[str, str]
"""A label, and what stands beside it."""


def counts(judgements: Iterable[Judged], verdicts: Sequence[str]) -> dict[str, int]:
    """Return how often each verdict occurs, in their order."""
    found = Counter(j.verdict for j in judgements)
    return {verdict: found[verdict] for verdict in verdicts}


def worst_first(judgements: Iterable[AnyJudged], verdicts: Sequence[str]) -> list[AnyJudged]:
    """Sort by verdict, what failed to run before everything; the order given within one."""
    ranks: dict[str | None, int] = {verdict: i for i, verdict in enumerate(verdicts)}
    return sorted(judgements, key=lambda j: ranks.get(j.verdict, -1))


def in_words(judgements: Sequence[Judged], verdicts: Sequence[str]) -> str:
    """Return the counts as ``2 slip, 3 confirmed, 1 did not run``."""
    found = [f"{n} {verdict}" for verdict, n in counts(judgements, verdicts).items() if n]
    failed = sum(j.verdict is None for j in judgements)
    return ", ".join(found + ([f"{failed} did not run"] if failed else []))


def many(things: Sequence[object], name: str) -> str:
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


def painted(text: str, colour: str) -> str:
    """Return a text in a colour, by the number that a terminal knows it by; none if it is empty."""
    return f"\x1b[{colour}m{text}\x1b[0m" if colour else text


def columns(text: str) -> int:
    """Return how many columns of a terminal a text takes: a Chinese character takes two."""
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def two_sides(head: str, left: Sequence[Entry], right: Sequence[Entry], width: int) -> str:
    """Return a heading and below it two columns, or one where the terminal is narrow."""
    if width < NARROW:
        return "\n".join([head, *(f"  {line}" for line in _column([*left, *right], width - 2))])
    half = (width - 3) // 2
    sides = [_column(left, half), _column(right, width - 3 - half)]
    height = max(map(len, sides))
    padded = [side + [""] * (height - len(side)) for side in sides]
    return "\n".join([head, *(f"  {a:<{half}} {b}".rstrip() for a, b in zip(*padded, strict=True))])


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
