"""The page for teachers: every section, exercise, figure and command that it names exists."""

import re
from pathlib import Path

import build
import pytest

from lora_ref import cli
from lora_ref.exercises import EXERCISES
from lora_ref.figures import FIGURES

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "teaching.md").read_text(encoding="utf-8")
LITERATURE = (DOCS / "literature.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]
SECTIONS = {
    source.name[:2]: {
        cell.text.partition("\n")[0].removeprefix("## ")
        for cell in build.cells_of(source)
        if cell.kind == "markdown" and cell.text.startswith("## ")
    }
    for source in build.sources()
}


def part(title):
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    return found


def named(text):
    """Return the pairs of a notebook's number and a section's title in a text."""
    pairs = []
    for number, titles in re.findall(r"\[(\d\d)\]\(\S+\),\s+(\"[^|\n]+)", text):
        pairs += [(number, title) for title in re.findall(r"\"([^\"]+)\"", titles)]
    return pairs


def test_every_section_that_is_named_stands_in_its_notebook():
    pairs = named(PAGE)
    assert len(pairs) > 25
    for number, title in pairs:
        assert title in SECTIONS[number], f"{number} has no section {title!r}"


def test_a_link_with_a_number_leads_to_the_notebook_of_that_number():
    links = re.findall(r"\[(\d\d)\]\(\.\./notebooks/(\d\d)-[\w-]+\.ipynb\)", PAGE)
    assert len(links) > 25
    assert all(shown == meant for shown, meant in links)


def test_every_misconception_has_a_cell():
    rows = part("What students get wrong, and what clears it up").splitlines()
    body = [row for row in rows if row.startswith("|")][2:]
    assert len(body) >= 15
    assert all(len(named(row)) == 1 for row in body)


def test_the_short_course_has_every_exercise_and_the_project_the_last():
    course = part("Four lectures: a short course")
    assert {name for name in re.findall(r"`([\w-]+)`", course) if name in EXERCISES} == set(
        EXERCISES
    )


@pytest.mark.parametrize("title", ["One lecture: what LoRA is", "Two lectures: and why it trains"])
def test_a_lecture_lasts_ninety_minutes(title):
    assert sum(map(int, re.findall(r"^\| (\d+) \|", part(title), re.MULTILINE))) == 90


def test_each_number_to_judge_has_the_verdict_and_the_numbers_of_its_row():
    rows = dict(re.findall(r"^\| `([\w-]+)`(.*)$", LITERATURE, re.MULTILINE))
    items = re.findall(
        r"^\d+\. (.*?)(?=^\d+\. |\Z)", part("Ten printed numbers to judge in class"), re.M | re.S
    )
    assert len(items) == 10
    for item in items:
        said, id, verdict = re.fullmatch(r"(.*)\(`([\w-]+)`, ([\w-]+)\)\s*", item, re.S).groups()
        assert re.search(rf"\| {verdict}\b", rows[id]), id
        computed = said.split("*")[-1]  # after the question
        for number in re.findall(r"\d[\d,]*(?:\.\d+)?", computed):
            number = number.rstrip(",")
            assert re.search(rf"(?<![\d,.]){number}(?!\d|,\d|\.\d)", rows[id]), (id, number)


def test_every_figure_is_named_once():
    table = [row for row in part("Figures for slides").splitlines() if row.startswith("|")]
    assert sorted(re.findall(r"`([\w-]+)`", "\n".join(table))) == sorted(FIGURES)


def test_the_commands_are_read_as_they_stand(capsys):
    commands = re.findall(r"^lora-ref (.*?)(?: +#.*)?$", PAGE, re.MULTILINE)
    assert len(commands) >= 6
    for command in commands:
        arguments = command.partition(" > ")[0].split()
        options = cli._parser().parse_args(arguments)
        assert options.run
