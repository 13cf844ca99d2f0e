"""What all figures have in common, their files, and the command that draws them."""

import base64
import json
import re
import sys
from itertools import combinations
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from cases import each
from matplotlib.colors import same_color
from matplotlib.text import Text
from pictures import draw

from lora_ref import cli, figures
from lora_ref.cli import figures as command
from lora_ref.errors import LoraRefError
from lora_ref.figures import FIGURES, write
from lora_ref.figures.style import INKS, LETTERS, THEMES, blank, style

NAMED = ("blocks", "nf4")  # whose titles have a name with a digit in it
DRAWN_DARK = (
    "two-paths",
    "gradient-paths",
    "matrices",
    "start-up",
    "parameters",
    "nf4",
    "scaling-sweep",
)  # one of each kind: time


# ---------------------------------------------------------------------- every figure


def visible_texts(figure):
    """Draw the figure, and return its texts but those of ticks that lie outside of the view."""
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            inside = axes.axison
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not inside or not low <= tick.get_loc() <= high:
                    hidden |= {tick.label1, tick.label2}
    return [
        text
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in hidden
    ]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if place % 2 else name
        for place, name in enumerate(FIGURES)
    ],
)
def test_letters_are_large_within_the_figure_and_do_not_overlap(name):
    figure = draw(name).figure
    texts = visible_texts(figure)
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts]
    for text, (said, box) in zip(texts, boxes, strict=True):
        assert text.get_fontsize() >= LETTERS, said
        assert box.x0 >= -1, said
        assert box.y0 >= -1, said
        assert box.x1 <= figure.bbox.x1 + 1, said
        assert box.y1 <= figure.bbox.y1 + 1, said
    for (one, a), (other, b) in combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 1, f"{one!r} lies over {other!r}"


@each("name", FIGURES)
def test_a_figure_has_the_ground_and_the_letters_of_its_theme(name):
    for theme in THEMES if name in DRAWN_DARK else ("light",):
        figure = draw(name, theme).figure
        assert same_color(figure.get_facecolor(), INKS[theme].paper)
        axes = [axis for axis in figure.axes if axis.axison and axis.get_xlabel()]
        for axis in axes:
            assert same_color(axis.xaxis.label.get_color(), INKS[theme].text)
            assert same_color(axis.get_facecolor(), INKS[theme].paper)


@each("name", FIGURES)
def test_alt_text_states_a_finding_in_plain_characters(name):
    alt = draw(name).alt
    assert alt.endswith(".")
    assert len(re.findall(r"\d+", alt)) >= 2, "no numbers, no finding"
    assert alt.isascii(), "a terminal has to print it"
    assert not re.search(r"\b(nan|inf)\b", alt)
    assert not any(character.isdigit() for character in FIGURES[name].title if name not in NAMED)


def test_drawing_needs_no_pyplot_and_leaves_the_settings_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    for key, theirs in (("font.size", 31.0), ("font.family", ["monospace"])):
        monkeypatch.setitem(matplotlib.rcParams, key, theirs)
    watched = [key for key in matplotlib.rcParams if key != "backend"]  # reading it starts pyplot
    before = {key: matplotlib.rcParams[key] for key in watched}
    figure = FIGURES["dimension"].picture("dark").figure
    assert {key: matplotlib.rcParams[key] for key in watched} == before
    assert 31.0 not in {text.get_fontsize() for text in figure.findobj(Text)}
    assert {*map(tuple, (t.get_fontfamily() for t in figure.findobj(Text)))} == {("sans-serif",)}


def test_the_colours_of_letters_stand_out_and_no_two_colours_are_alike():
    def luminance(colour):
        channels = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)])
        linear = np.where(
            channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
        )
        return float(linear @ (0.2126, 0.7152, 0.0722))

    for ink in INKS.values():
        for colour, least in ((ink.text, 12), (ink.grey, 4.5), (ink.blue, 4.5), (ink.green, 3)):
            light, dark = sorted((luminance(colour), luminance(ink.paper)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= least, colour
        assert len(set(ink)) == len(ink)


def test_an_unknown_theme_is_a_sentence():
    with pytest.raises(LoraRefError, match="'drak', expected one of: light, dark; the nearest: da"):
        draw("scaling-sweep", "drak")


def test_other_numbers_of_a_figure_can_be_given_all_or_some():
    M = np.diag([4.0, 3.0, 0.0])
    assert "residual of 60.0 %" in FIGURES["singular-values"].picture(M=M, r=1).alt
    assert "first 3, " in FIGURES["singular-values"].picture(r=3).alt


# ---------------------------------------------------------------------- files and the command


def picture_of_nothing():
    with style("light"):
        figure = blank(2, 1)
        figure.text(0.5, 0.5, "φ")
        figure.subplots().plot([0, 1], "o")  # a marker has an id in an SVG
    return figures.Picture(figure, "Nothing at all: 0 of 0 ≤ 1.")


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_a_file_has_the_same_bytes_each_time_and_says_what_it_shows(kind, tmp_path):
    one = write.save(tmp_path / f"one.{kind}", picture_of_nothing(), "Nothing")
    two = write.save(tmp_path / f"two.{kind}", picture_of_nothing(), "Nothing")
    assert one.read_bytes() == two.read_bytes()
    body = one.read_bytes()
    assert "Nothing at all: 0 of 0 ≤ 1.".encode() in body
    assert not re.search(rb"dc:date|Software|Matplotlib v", body)
    assert b"<text" not in body, "letters are outlines: a reader may not have the font"


def test_a_failed_write_leaves_the_old_file_and_no_draft(tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("old", encoding="utf-8")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(LoraRefError, match="cannot be written: No space left"):
        write.save(path, picture_of_nothing(), "Nothing")
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]
    assert path.read_text(encoding="utf-8") == "old"
    with pytest.raises(LoraRefError, match=r"ends in '\.pdf', expected \.png or \.svg"):
        write.save(tmp_path / "a.pdf", picture_of_nothing(), "Nothing")


@pytest.fixture
def main(monkeypatch, capsys):
    others = [module for module in cli.COMMANDS if module is not command]
    monkeypatch.setattr(cli, "COMMANDS", (*others, command))

    def run(*arguments):
        status = cli.main(["figures", *map(str, arguments)])
        return status, *capsys.readouterr()

    return run


def test_the_command_writes_each_theme_and_format(main, tmp_path):
    out = tmp_path / "new" / "folder"
    options = "--theme", "both", "--format", "both", "--json"
    status, said, _ = main("--out", out, "--only", "blocks", *options)
    names = ["blocks-dark.png", "blocks-dark.svg", "blocks.png", "blocks.svg"]
    assert status == 0
    assert sorted(path.name for path in out.iterdir()) == names
    (one,) = json.loads(said)["figures"]
    assert one["name"] == "blocks"
    assert one["alt"] == draw("blocks").alt
    assert sorted(Path(file).name for file in one["files"]) == names
    assert all(Path(file).is_file() for file in one["files"])


def test_the_command_says_what_it_drew(main, tmp_path):
    status, said, _ = main("--out", tmp_path, "--only", "blocks")
    assert status == 0
    assert [path.name for path in tmp_path.iterdir()] == ["blocks.svg"]
    assert draw("blocks").alt in said
    assert str(tmp_path / "blocks.svg") in said


def test_the_command_lists_every_figure_and_draws_none(main, tmp_path):
    status, said, _ = main("--list", "--out", tmp_path / "none")
    assert status == 0
    assert [line.split()[0] for line in said.splitlines()] == list(FIGURES)
    assert not list(tmp_path.iterdir())
    listed_again = json.loads(main("--list", "--json")[1])["figures"]
    assert [one["name"] for one in listed_again] == list(FIGURES)


def test_an_unknown_figure_is_wrong_usage_and_nothing_is_drawn(main, tmp_path):
    out = tmp_path / "out"
    status, said, error = main("--out", out, "--only", "blocks", "pallete")
    assert status == 2
    assert said == ""
    assert "'pallete'; the nearest: palette" in error
    assert not out.exists()
    assert main("--list", "--only", "pallete") == (2, "", error)
    with pytest.raises(LoraRefError, match="no figure 'blocs'; the nearest: blocks"):
        figures.save_figures(out, ["scaling-sweep", "blocs"])
    assert not out.exists()


def test_a_file_in_the_place_of_the_folder_is_a_sentence(main, tmp_path):
    file = tmp_path / "file"
    file.write_text("mine", encoding="utf-8")
    for out, why in ((file, "is a file, expected a folder"), (file / "in", "a file above it")):
        status, said, error = main("--out", out, "--only", "blocks")
        assert status == 2
        assert said == ""
        assert why in error
    assert file.read_text(encoding="utf-8") == "mine"


def test_a_notebook_gets_the_picture_and_its_alt_text():
    picture = picture_of_nothing()
    shown, metadata = picture._repr_mimebundle_()
    assert base64.b64decode(shown["image/png"]).startswith(b"\x89PNG")
    assert shown["text/plain"] == f"Figure: {picture.alt}"
    assert metadata["image/png"]["alt"] == picture.alt
    with pytest.raises(LoraRefError, match="alt is 'scaling', expected a sentence"):
        figures.Picture(picture.figure, "scaling")
