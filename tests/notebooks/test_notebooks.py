"""Every notebook is run, without Jupyter, and what is stored in it is what comes out."""

import ast
import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import build
import pytest

from lora_ref.exercises import EXERCISES
from lora_ref.figures import Picture

SOURCES = build.sources()
NAMES = [path.stem for path in SOURCES]
NUMBERS = [f"{number:02d}" for number in range(1, 14)]
TRAIN_LONG = ("01", "08", "09")
"""These train for so long that a run of them was half of the time of all notebooks' tests."""
EACH_THAT_IS_RUN = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.exhaustive) if name.startswith(TRAIN_LONG) else name
        for name in NAMES
    ],
)
"""Tests that need a run of the notebook: `make test-exhaustive` runs those that train for long."""
LAST_SECTIONS = ["Exercises", "In practice", "Further reading"]
LARGEST = 300_000
PLACES = re.compile(r"/(?:home|root|tmp|Users|mnt|work|usr|opt)\b|\b[A-Z]:\\|site-packages")
CJK = re.compile(r"[\u4e00-\u9fff]")


@cache
def cells_of(name):
    return build.cells_of(build.SOURCES / f"{name}.py")


@cache
def stored(name):
    return json.loads((build.HERE / f"{name}.ipynb").read_text(encoding="utf-8"))


def alt_text_alone(picture, include=None, exclude=None):
    """Return a picture without its pixels: rendering took half of the time."""
    return {"image/png": "", "text/plain": repr(picture)}, {"image/png": {"alt": picture.alt}}


@cache
def fresh(name):
    """Run a notebook; its figures are drawn, and rendered by test_registry and in Jupyter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Picture, "_repr_mimebundle_", alt_text_alone)
        outputs = build.outputs_of(cells_of(name), f"src/{name}.py")
    return build.notebook(cells_of(name), outputs)


def code(name):
    return [cell.text for cell in cells_of(name) if cell.kind == "code"]


def texts(outputs):
    """Return what outputs say, pictures by their alt text, each with its kind."""
    return [
        (
            one["output_type"],
            build.text_of(one["text"] if "text" in one else one["data"]["text/plain"]),
        )
        for one in outputs
    ]


def tags_of(cell):
    return cell["metadata"].get("tags", [])


def sections(name):
    """Return the headings and texts of the sections, the first without a heading."""
    text = "\n\n".join(cell.text for cell in cells_of(name) if cell.kind == "markdown")
    return re.split(r"(?:^|\n)## ", text)


# ---------------------------------------------------------------------- each notebook


def test_there_are_thirteen_and_each_is_built():
    assert [name[:2] for name in NAMES] == NUMBERS
    assert sorted(path.stem for path in build.HERE.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_source_and_notebook_agree(name):
    def without_outputs(book):
        return {**book, "cells": [{**cell, "outputs": []} for cell in book["cells"]]}

    empty = build.notebook(cells_of(name), [[] for _ in cells_of(name)])
    assert without_outputs(stored(name)) == without_outputs(empty)


@EACH_THAT_IS_RUN
def test_a_run_gives_what_is_stored_as_exactly_as_each_cell_says(name):
    for old, new in zip(stored(name)["cells"], fresh(name)["cells"], strict=True):
        source = build.text_of(new["source"])
        before, now = texts(old.get("outputs", [])), texts(new.get("outputs", []))
        assert [kind for kind, _ in before] == [kind for kind, _ in now], source
        for (_, a), (_, b) in zip(before, now, strict=True):
            wrong = build.disagreement(a, b, build.mark_of(tags_of(new)))
            assert wrong is None, f"{source}\n{wrong}"


@EACH_THAT_IS_RUN
def test_cells_that_show_numbers_say_how_exact_they_are(name):
    for cell in fresh(name)["cells"]:
        source = build.text_of(cell["source"])
        said = "".join(text for _, text in texts(cell.get("outputs", [])))
        if re.search(r"(?<![a-zA-Z])\d", said):  # the 4 of nf4 is no number
            assert build.mark_of(tags_of(cell)), f"a mark is missing: {source}"
        for line in source.splitlines():
            assert line.removeprefix("# ") not in build.MARKS, f"a mark is no tag: {source}"


@pytest.mark.parametrize("name", NAMES)
def test_a_picture_has_an_alt_text_that_states_its_finding(name):
    pictures = [
        one
        for cell in stored(name)["cells"]
        for one in cell.get("outputs", [])
        if "image/png" in one.get("data", {})
    ]
    assert pictures
    for one in pictures:
        alt = one["metadata"]["image/png"]["alt"]
        assert build.text_of(one["data"]["text/plain"]) == f"Figure: {alt}"
        assert len(alt.split()) >= 8
        assert re.search(r"\d", alt), "a finding has numbers"


@EACH_THAT_IS_RUN
def test_no_path_no_error_no_time_and_no_large_file(name):
    path = build.HERE / f"{name}.ipynb"
    assert path.stat().st_size < LARGEST
    book = stored(name)
    assert book["metadata"] == fresh(name)["metadata"]
    ids = [cell["id"] for cell in book["cells"]]
    assert len(ids) == len(set(ids))
    assert all(cell["metadata"].keys() <= {"tags"} for cell in book["cells"])
    said = [text for cell in book["cells"] for _, text in texts(cell.get("outputs", []))]
    for text in [*said, *(cell.text for cell in cells_of(name))]:
        assert not PLACES.search(text), text
        assert "Traceback" not in text
    kinds = {one["output_type"] for cell in book["cells"] for one in cell.get("outputs", [])}
    assert kinds <= {"stream", "execute_result"}


@pytest.mark.parametrize("name", NAMES)
def test_the_skeleton_is_kept(name):
    head, *rest = sections(name)
    assert re.match(rf"# {name[:2]} · [A-Z][a-z]+ ", head)
    places = [head.index(words) for words in ("**You will**", "**You will learn**", "**You need**")]
    assert places == sorted(places)
    titles = [section.partition("\n")[0] for section in rest]
    assert titles[-3:] == LAST_SECTIONS
    assert len(titles) == len(set(titles)) >= 6


@pytest.mark.parametrize("name", NAMES)
def test_each_section_ends_with_what_to_remember_in_english_and_in_chinese(name):
    for section in sections(name)[1:]:
        title, _, body = section.partition("\n")
        if title in LAST_SECTIONS:
            continue
        last = body.strip().rpartition("\n\n")[2]
        assert last.startswith("> **Remember.** "), f"{title}: {last}"
        english, _, chinese = last.removeprefix("> **Remember.** ").partition("\n>\n> ")
        english = english.replace("\n> ", " ")
        assert re.fullmatch(r"[^\u4e00-\u9fff]+\.", english), title
        assert re.fullmatch(r"[^。\n]+。", chinese), title
        assert len(CJK.findall(chinese)) >= 5, title
        assert not re.search(r"[\u4e00-\u9fff] ?[,:;.]|[,:;.] ?[\u4e00-\u9fff]", chinese), title


@pytest.mark.parametrize("name", NAMES)
def test_results_are_predicted_before_they_are_seen(name):
    asked = [i for i, cell in enumerate(cells_of(name)) if "**Predict.**" in cell.text]
    assert len(asked) >= 2
    for i in asked:
        cell, after = cells_of(name)[i : i + 2]
        assert "?" in cell.text.partition("**Predict.**")[2], cell.text
        assert after.kind == "code" or "<summary>Answer</summary>" in cell.text, cell.text


@pytest.mark.parametrize("name", NAMES)
def test_there_is_the_same_in_peft_in_a_few_lines(name):
    text = "\n".join(cell.text for cell in cells_of(name) if cell.kind == "markdown")
    assert text.count("### The same in PEFT") == 1
    fences = re.findall(r"```python\n(.*?)```", text.partition("### The same in PEFT")[2], re.S)
    assert fences
    ast.parse(fences[0])
    assert 2 <= len(fences[0].splitlines()) <= 10


@pytest.mark.parametrize("name", NAMES)
def test_it_links_the_code_and_leaves_something_to_think_about(name):
    text = "\n".join(cell.text for cell in cells_of(name) if cell.kind == "markdown")
    assert "](../lora_ref/" in text
    _, found, asked = text.partition("### To think about")
    assert found
    assert len(re.findall(r"(?m)^\d\. ", asked.partition("## In practice")[0])) >= 2


@pytest.mark.parametrize("name", NAMES)
def test_no_line_of_text_turns_into_a_list(name):
    """A wrapped line that begins with a minus sign or a plus sign loses it."""
    for cell in cells_of(name):
        if cell.kind == "markdown":
            for before, line in pairwise(cell.text.splitlines()):
                if re.match(r"[-+*] ", line):
                    assert not before or re.match(r"([-+*]|\d+\.|  ) ?", before), line


@pytest.mark.parametrize("name", NAMES)
def test_sections_begin_at_the_top_of_a_cell(name):
    for cell in cells_of(name):
        if cell.kind == "markdown":
            assert "\n## " not in cell.text, cell.text


def imported(text):
    """Return module and name of all that is imported from modules."""
    return {
        (node.module, alias.name)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


@EACH_THAT_IS_RUN
def test_it_has_its_exercises_each_with_its_loops_and_an_empty_function(name):
    ours = {id: one for id, one in EXERCISES.items() if one.notebook == name[:2]}
    cells = code(name)
    shown = re.findall(r'print\(show\("([\w-]+)"\)\)', "\n".join(cells))
    checked = [cell for cell in cells if 'check("' in cell]
    assert shown == list(ours)
    assert len(checked) == len(ours)
    outputs = {build.text_of(cell["source"]): cell.get("outputs") for cell in fresh(name)["cells"]}
    for (id, one), cell in zip(ours.items(), checked, strict=True):
        assert one.signature in cell
        assert imported("\n".join(one.imports)) <= imported("\n".join(cells))
        assert cell.rstrip().endswith(f'check("{id}", {one.function})')
        assert texts(outputs[cell]) == [("execute_result", f"{id}: not attempted yet.")]


@pytest.mark.parametrize("name", NAMES)
def test_a_function_of_its_own_is_short_or_left_to_the_student(name):
    for cell in code(name):
        for node in ast.walk(ast.parse(cell)):
            if isinstance(node, ast.ClassDef):  # the course's first layer, and one for a function
                assert name.startswith(("01", "10")), cell
                assert len(ast.unparse(node).splitlines()) <= 22, cell
            if isinstance(node, ast.FunctionDef):
                assert len(ast.unparse(node).splitlines()) <= 16, cell


@pytest.mark.parametrize("name", NAMES)
def test_links_inside_the_project_lead_somewhere(name):
    text = "\n".join(cell.text for cell in cells_of(name) if cell.kind == "markdown")
    for target in re.findall(r"\]\((?!https?://)([^)#]+)", text):
        assert (build.HERE / target).resolve().is_file(), target
    following = f"{int(name[:2]) + 1:02d}"
    if following in NUMBERS:
        assert re.search(rf"\]\({following}-[a-z-]+\.ipynb\)", sections(name)[-1])


# ---------------------------------------------------------------------- the builder can fail


SMALL = """\
# %% [markdown]
# # A title
#
# text

# %% to 1e-9, slow
import numpy as np

print("a", 1 / 3)
print("b")

# %%
from lora_ref.figures import Picture
from lora_ref.figures.style import blank

Picture(blank(1, 1), "nothing to see here at all")

# %%

x = np.arange(3)
x.sum() > 2
"""


def source(tmp_path, text):
    path = tmp_path / "01-small.py"
    path.write_text(text, encoding="utf-8")
    return path


def built(tmp_path, text):
    cells = build.cells_of(source(tmp_path, text))
    return build.notebook(cells, build.outputs_of(cells, "src/01-small.py"))


def test_cells_are_read_with_the_lines_they_begin_on(tmp_path):
    cells = build.cells_of(source(tmp_path, SMALL))
    assert [cell.kind for cell in cells] == ["markdown", "code", "code", "code"]
    assert cells[0].text == "# A title\n\ntext"
    assert cells[1].text.startswith("import numpy")
    assert [cell.tags for cell in cells] == [(), ("to 1e-9", "slow"), (), ()]
    assert [cell.line for cell in cells] == [2, 7, 13, 20]
    assert built(tmp_path, SMALL)["cells"][1]["metadata"] == {"tags": ["to 1e-9", "slow"]}


def test_a_second_build_gives_the_same_bytes(tmp_path):
    one, other = (build.as_file(built(tmp_path, SMALL)) for _ in range(2))
    assert one == other
    assert '"image/png"' in one


def test_what_is_printed_and_shown_is_kept(tmp_path):
    _, printed, picture, value = built(tmp_path, SMALL)["cells"]
    assert texts(printed["outputs"]) == [("stream", f"a {1 / 3}\nb\n")]
    assert texts(picture["outputs"]) == [("execute_result", "Figure: nothing to see here at all")]
    assert texts(value["outputs"]) == [("execute_result", "np.True_")]
    assert [cell["execution_count"] for cell in (printed, picture, value)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "line 1: 'x = 1' stands before the first cell"),
        ("# %% [markdown]\n# a\nx = 1\n", "line 3: Markdown, but no comment: 'x = 1'"),
        ("# %% exct\nx = 1\n", "line 1: there is no tag 'exct'"),
    ],
)
def test_a_source_of_another_form_is_refused(tmp_path, text, says):
    with pytest.raises(ValueError, match=re.escape(says)):
        build.cells_of(source(tmp_path, text))


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        ("1 / 0", "line 3, in <module>"),
        ("import warnings; warnings.warn('old')", "UserWarning: old"),
        ("import sys; print('oh', file=sys.stderr)", "it writes to stderr: oh"),
    ],
)
def test_a_cell_that_fails_warns_or_complains_is_named_with_its_line(tmp_path, cell, says):
    with pytest.raises(RuntimeError) as caught:
        built(tmp_path, f"# %%\na = 1\n{cell}\n")
    assert "src/01-small.py, the cell at line 2 fails" in str(caught.value)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "mark", "same"),
    [
        ("rank 2", "rank 2", "exact", True),
        ("rank 2", "rank 3", "exact", False),
        ("rank 2", "rank 3", "to 1e-9", False),
        ("norm 1.9339", "norm 1.9340", "to 1e-9", True),  # a rounding may fall either way
        ("norm 1.9339", "norm 1.9340", "exact", False),
        ("norm 1.9339", "norm 1.9349", "to 1e-9", False),
        ("norm 1.9339", "size 1.9339", "to 1e-9", False),
        ("6e-04", "7e-04", "to 1e-6", True),
        ("6e-04", "6e-05", "to 1e-6", False),
        ("6e-04", "8e-04", "to 1e-6", False),
        ("1,024", "1,025", "to 1e-9", False),
        ("0.500", "0.508", "depends on the seed", True),
        ("0.500", "0.520", "depends on the seed", False),
        ("−3.10", "3.10", "depends on the seed", False),
        ("a 1.0", "a 1.0 2.0", "to 1e-9", False),
        ("True", "False", "depends on the seed", False),
        ("6e-04", "2e-03", "order of magnitude", True),
        ("6e-04", "8e-03", "order of magnitude", False),
        ("6e-04", "6e-06", "order of magnitude", False),
        ("1.00", "1.01", None, False),
    ],
)
def test_a_changed_digit_is_noticed_where_the_mark_asks_for_it(old, new, mark, same):
    assert (build.disagreement(old, new, mark) is None) == same
    assert (build.disagreement(new, old, mark) is None) == same


def test_the_command_builds_what_begins_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(build, "SOURCES", tmp_path)
    monkeypatch.setattr(build, "HERE", tmp_path)
    source(tmp_path, SMALL)
    assert build.main(["01"]) == 0
    assert capsys.readouterr().out.startswith("01-small.ipynb: 4 cells, ")
    text = (tmp_path / "01-small.ipynb").read_text(encoding="utf-8")
    assert json.loads(text) == built(tmp_path, SMALL)
    assert build.main(["02"]) == 2
    assert "no notebook begins with 02" in capsys.readouterr().err


def test_the_repository_holds_no_other_notebook():
    root = Path(build.HERE).parent
    kept = [path for path in root.glob("docs/**/*.ipynb") if "_build" not in path.parts]
    assert not kept
