"""The README shows the layer first and what the programs print, and its links lead somewhere."""

import doctest
import inspect
import re
import shlex
from collections import Counter
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from readers_layers import IN, OWN

import lora_ref
from lora_ref import LoRALinear, cli, gradcheck, ops
from lora_ref.claims.judge import NOT_COMPUTED
from lora_ref.exercises import EXERCISES
from lora_ref.figures import FIGURES
from lora_ref.figures import PAGES as SHOWN
from lora_ref.gradcheck import EXACT_TOLERANCE
from lora_ref.layers import LAYERS
from lora_ref.mistakes import MISTAKES
from tests.fixtures.judged import judged, of_the_article

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
PICTURE = re.compile(r'!\[([^]]*)\]\(|<img [^>]*?alt="([^"]*)"')
CONSOLE = re.findall(r"```console\n\$ lora-ref (.*)\n((?:.|\n)*?)```", README)


def test_the_readme_has_a_console_block():
    assert CONSOLE


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        pytest.param(*one, marks=pytest.mark.minilm if one[0].startswith("sentiment") else ())
        for one in CONSOLE
    ],
)
def test_console_blocks_show_what_is_printed(arguments, shown, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "88")
    monkeypatch.setattr("lora_ref.cli.verify.can_print", str.isascii)
    assert cli.main(shlex.split(arguments)) == 0
    assert capsys.readouterr().out == shown


WHOLE = [
    one
    for one in re.findall(r"(?m)^\| `lora-ref (.*?)`", README)
    if not re.search(r"[A-Z[]|\.\.", one)
]
"""Commands of the tables that can be run as they stand, with nothing to put in."""


@pytest.mark.parametrize("arguments", WHOLE)
def test_a_command_of_a_table_that_has_nothing_to_put_in_runs(arguments, capsys):
    assert cli.main(shlex.split(arguments)) == 0
    assert capsys.readouterr().out


def test_python_blocks_run():
    failures, tried = doctest.testfile(str(ROOT / "README.md"), module_relative=False)
    assert tried > 8
    assert failures == 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_relative_links_lead_to_files(page):
    text = page.read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    pictures = re.findall(r'(?:src|srcset|href)="([^"#]+)', text)
    for target in links + pictures:
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_version_is_the_same_everywhere():
    assert f"version: {lora_ref.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_picture_says_what_it_shows():
    texts = {page.name: page.read_text(encoding="utf-8") for page in PAGES}
    pictures = [
        (name, unescape(markdown or html))
        for name, text in texts.items()
        for markdown, html in PICTURE.findall(text)
    ]
    written = sum(text.count("![") + text.count("<img ") for text in texts.values())
    assert len(pictures) == written >= 4
    for name, alt in pictures:
        assert re.search(r"\d", alt), f"{name}: {alt!r} states no finding"


# ---------------------------------------------------------------------- the beginning


def before(heading):
    return README[: README.index(f"## {heading}\n")]


def test_the_layer_comes_first_then_the_course_and_what_is_wrong_elsewhere_last():
    title, sentence, picture = before("Run it").split("\n\n")[:3]
    assert title == "# lora_ref"
    assert sentence.count(".") == 1
    assert picture.startswith("<picture>")
    assert len(re.findall(r"^(?:>>>|\.\.\.) ", before("Run it"), re.MULTILINE)) <= 10
    headings = re.findall(r"^## (.*)", README, re.MULTILINE)
    wanted = ["The course", "A model that changes its voice", "What is checked", "The article"]
    places = [headings.index(heading) for heading in wanted]
    assert places == sorted(places)
    assert "$ lora-ref verify" not in before("The article")
    assert before("The course").count("\n") <= 55


@pytest.mark.parametrize("name", SHOWN)
def test_a_picture_is_shown_on_both_grounds_and_is_the_one_that_the_package_draws(name):
    drawn = FIGURES[name].picture().alt
    files = [ROOT / "docs" / "figures" / f"{stem}.png" for stem in (name, f"{name}-dark")]
    light, dark = (str(file.relative_to(ROOT).as_posix()) for file in files)
    (html,) = re.findall(r"<picture>.*?</picture>", README, re.DOTALL)
    assert f'media="(prefers-color-scheme: dark)" srcset="{dark}"' in html
    assert f'<img src="{light}"' in html
    assert unescape(PICTURE.search(html)[2]) == drawn
    for file in files:
        assert drawn.encode() in file.read_bytes(), f"{file.name} is not current: make docs"


def test_the_files_that_the_beginning_names_hold_the_passes_and_the_scaling():
    passes, scaling = re.findall(r"\]\((lora_ref/.*?)\)", before("Run it"))
    for method in (LoRALinear.forward, LoRALinear.backward):
        assert Path(inspect.getsourcefile(method)) == ROOT / passes
    assert Path(inspect.getsourcefile(LoRALinear.scaling.fget)) == ROOT / scaling
    lines, first = inspect.getsourcelines(LoRALinear.backward)
    assert first + len(lines) - inspect.getsourcelines(LoRALinear.forward)[1] <= 60


def test_the_checker_is_shown_with_a_limit_that_a_plain_class_keeps_too():
    (line,) = re.findall(r"^>>> (max\(gradient_errors.*)", README, re.MULTILINE)
    for make in OWN.values():
        rng = np.random.default_rng(0)
        names = {"trained": make(rng), "x": rng.standard_normal((4, IN)), "rng": rng}
        assert eval(line, vars(gradcheck) | names)


def test_the_number_of_figures_is_counted():
    (count,) = re.findall(r"\| (\d+) pictures", README)
    assert int(count) == len(FIGURES)


# ---------------------------------------------------------------------- what is proved

PROVED = re.findall(r"^\| (.*) \| `(.*)` \| (\d+) \|$", README, re.MULTILINE)


CITED = re.compile(r"\b(?:issue|pull request) \d+|\b(?=\w*\d)[0-9a-f]{7}\b")
"""An issue, a pull request or a commit."""


def numbers_of_the_article():
    judgements = of_the_article()
    corrections = [j.correction_holds for j in judgements if j.correction_holds is not None]
    assert all(corrections)
    verdicts = Counter(j.verdict for j in judgements)
    computed = sum(n for verdict, n in verdicts.items() if verdict not in NOT_COMPUTED)
    return len(judgements), computed, verdicts["confirmed"], len(corrections)


def numbers_of_the_literature():
    verdicts = Counter(j.verdict for j in judged().values() if j.claim.source != "article")
    computed = sum(n for verdict, n in verdicts.items() if verdict not in NOT_COMPUTED)
    said = ("confirmed", "by-rule", "truncated", "conditional", "slip", "conflict", "false")
    assert sum(verdicts[verdict] for verdict in said) == computed, "the row leaves a verdict out"
    return computed, *(verdicts[verdict] for verdict in said)


NUMBERS = {
    "pytest tests/layers/test_layer_contract.py tests/ops/test_ops.py": lambda: (
        len(LAYERS),
        sum(name.endswith("_backward") for name in dir(ops)),
        EXACT_TOLERANCE,
    ),
    "pytest tests/mistakes/test_mistakes.py": lambda: (
        len(MISTAKES),
        sum(bool(CITED.search(mistake.cause)) for mistake in MISTAKES.values()),
    ),
    "make verify": numbers_of_the_article,
    "lora-ref verify --literature": numbers_of_the_literature,
    "pytest tests/checkpoint/test_peft_files.py tests/checkpoint/test_fuzz.py": lambda: (
        sum(path.is_dir() for path in (ROOT / "tests" / "fixtures" / "peft").iterdir()),
    ),
    'pytest -m "" tests/notebooks/test_notebooks.py': lambda: (
        len(list((ROOT / "notebooks").glob("*.ipynb"))),
    ),
    'pytest -m "" tests/exercises/test_exercises.py': lambda: (
        len(EXERCISES),
        sum(len(exercise.wrong_answers) for exercise in EXERCISES.values()),
    ),
}
"""The numbers in the row of a command, in their order; a row without an entry has none."""


def test_the_table_of_what_is_proved_is_read():
    table = before("The article").partition("|---|---|---:|\n")[2].partition("\n\n")[0]
    assert len(PROVED) == len(table.splitlines()) >= 8
    assert NUMBERS.keys() <= {command for _, command, _ in PROVED}


@pytest.mark.parametrize(("claim", "command", "seconds"), PROVED, ids=[row[1] for row in PROVED])
def test_the_numbers_of_a_row_are_the_programs(claim, command, seconds):
    said = [float(number) for number in re.findall(r"\d+(?:e-\d+)?", claim)]
    assert said == list(NUMBERS[command]()) if command in NUMBERS else not said
    assert int(seconds) >= 1


@pytest.mark.parametrize("command", [command for _, command, _ in PROVED])
def test_the_command_of_a_row_exists(command):
    program, *arguments = shlex.split(command)
    if program == "pytest":
        paths = arguments[2:] if arguments[:2] == ["-m", ""] else arguments
        assert paths
        assert all((ROOT / path).is_file() for path in paths)
    elif program == "make":
        (target,) = arguments
        rules = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{target}: ", rules, re.MULTILINE)
    else:
        assert program == "lora-ref"
        assert cli._parser().parse_args(arguments).run
