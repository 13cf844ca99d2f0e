"""The README shows what the programs print, and its links lead somewhere."""

import doctest
import re
from pathlib import Path

import pytest

import lora_ref
from lora_ref import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
CONSOLE = re.findall(r"```console\n\$ lora-ref (.*)\n((?:.|\n)*?)```", README)


def test_the_readme_has_a_console_block():
    assert CONSOLE


@pytest.mark.parametrize(("arguments", "shown"), CONSOLE)
def test_console_blocks_show_what_is_printed(arguments, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "88")
    monkeypatch.setattr("lora_ref.cli.verify.can_print", str.isascii)
    assert cli.main(arguments.split()) == 0
    assert capsys.readouterr().out == shown


def test_python_blocks_run():
    failures, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 8
    assert failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_version_is_the_same_everywhere():
    assert f"version: {lora_ref.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_picture_says_what_it_shows():
    pictures = [
        (page.name, alt)
        for page in PAGES
        for alt in re.findall(r"!\[([^]]*)\]", page.read_text(encoding="utf-8"))
    ]
    assert len(pictures) >= 3
    for name, alt in pictures:
        assert re.search(r"\d", alt), f"{name}: {alt!r} states no finding"
