"""The slide that notebook 13 leaves to the reader is judged as its folded answer says."""

import ast
import re

import build

from lora_ref.claims import judge, parse

BLANK, NO_LINE = "___", "(no under)"


def slide_and_answer():
    (path,) = build.SOURCES.glob("13-*.py")
    cells = build.cells_of(path)
    (slide,) = [ast.literal_eval(cell.text[8:]) for cell in cells if cell.text[:8] == "slide = "]
    (answer,) = [cell.text for cell in cells if "| `always` |" in cell.text]
    return slide, answer, answer.partition("```\n")[2].partition("```")[0].splitlines()


def judgement_of(name, lines):
    file = ['[lecture]\ntitle = "a slide"', f'[[claim]]\nid = "{name}"', *lines]
    return judge(parse("\n".join(file)).claims[0])


def filled_in(text, answers):
    """Return the lines of a claim, each blank filled or, where the answer says so, left out."""
    for line in text.splitlines():
        if BLANK not in line:
            yield line
        elif (given := answers.pop(0)) == NO_LINE:
            assert line.startswith("under = ")
        else:
            assert given.split(" = ")[0] == line.split(" = ")[0]
            yield given


def test_the_answer_fills_every_blank_and_gives_the_verdicts_of_its_table():
    slide, answer, answers = slide_and_answer()
    told = dict(re.findall(r"\| `([\w-]+)` \| (\w+ \| .+) \|", answer))
    judged = {}
    for name, text in slide.items():
        judgement = judgement_of(name, filled_in(text, answers))
        judged[name] = f"{judgement.verdict} | {judgement.recomputed}"
    assert not answers
    assert judged == told


def test_without_always_the_condition_of_the_answer_reaches_as_far_as_it_can():
    slide, answer, _ = slide_and_answer()
    (under,) = re.findall(r"`(under = \{.+\})`\s+makes it `conditional`", answer)
    for given, verdict in ((under, "conditional"), (under.replace("20", "21"), "false")):
        lines = list(filled_in(slide["always"], ["r = [1, 4096]", given]))
        assert judgement_of("always", lines).verdict == verdict
