"""The slide that notebook 13 leaves to the reader is judged as its folded answer says."""

import ast
import re

import build

from lora_ref.claims import judge, parse

BLANK = "___"


def test_the_answer_fills_every_blank_and_gives_the_verdicts_of_its_table():
    (path,) = build.SOURCES.glob("13-*.py")
    cells = build.cells_of(path)
    (slide,) = [ast.literal_eval(cell.text[8:]) for cell in cells if cell.text[:8] == "slide = "]
    (answer,) = [cell.text for cell in cells if "| `always` |" in cell.text]
    filled = answer.partition("```\n")[2].partition("```")[0].splitlines()
    told = dict(re.findall(r"\| `([\w-]+)` \| (\w+ \| .+) \|", answer))
    judged = {}
    for name, text in slide.items():
        lines = text.splitlines()
        for i, line in enumerate(lines):
            if BLANK in line:
                lines[i] = filled.pop(0)
                assert lines[i].split(" = ")[0] == line.split(" = ")[0]
        file = ['[lecture]\ntitle = "a slide"', f'[[claim]]\nid = "{name}"', *lines]
        judgement = judge(parse("\n".join(file)).claims[0])
        judged[name] = f"{judgement.verdict} | {judgement.recomputed}"
    assert not filled
    assert judged == told
