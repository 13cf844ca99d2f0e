"""What notebook 13 says of its slide, of a table and of the verdicts is what the judge says."""

import ast
import re
from fractions import Fraction

import build

from lora_ref.claims import VERDICTS, judge, parse
from lora_ref.claims.printed import agreement, read_printed

BLANK, NO_LINE = "___", "(no under)"
NUMBER = r"(\d[\d,]*(?:\.\d+)?)"


def cells_of_notebook():
    (path,) = build.SOURCES.glob("13-*.py")
    return build.cells_of(path)


def slide_and_answer():
    cells = cells_of_notebook()
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


def test_rank_4_is_confirmed_and_rank_16_is_not_where_a_and_b_are_counted_in_the_whole():
    slide, answer, _ = slide_and_answer()
    said = rf"{NUMBER} of {NUMBER} are {NUMBER} %, which rounds to {NUMBER}"
    found = re.search(said, " ".join(answer.split()))
    part, whole = (read_printed(text).number for text in found.groups()[:2])
    assert whole == 4096**2 + part
    assert part == 4 * (4096 + 4096)
    assert agreement(f"{found[3]} %", part / whole) == "rounded"
    assert f'printed = "{found[4]} %"' in slide["rank-4"]
    assert agreement(f"{found[4]} %", part / whole) == "rounded"
    assert agreement(f"{found[4]} %", part / 4096**2) == "truncated"
    for total in (4096**2, 4096**2 + 4 * part):
        assert agreement("0.39 %", 4 * part / total) is None
    assert agreement("0.39 %", 2 * part / 4096**2)  # rank 8, or A alone of rank 16


def test_no_fixed_total_gives_two_rows_of_the_table_that_the_notebook_takes_apart():
    (said,) = [cell.text for cell in cells_of_notebook() if "no fixed total" in cell.text]
    sentence = rf"half of {NUMBER} is at most {NUMBER}, and {NUMBER} is at least {NUMBER}"
    found = re.search(sentence, " ".join(said.split()))
    above, most, below, least = (Fraction(text) for text in found.groups())
    half_unit = read_printed(found[1]).unit / 2
    assert read_printed(found[3]).unit / 2 == half_unit
    assert most == (above + half_unit) / 2
    assert least == below - half_unit
    assert most < least


def test_the_two_tables_have_every_verdict_of_a_claim_that_is_judged():
    tables = [cell.text for cell in cells_of_notebook() if "| verdict | meaning |" in cell.text]
    words = [word for table in tables for word in re.findall(r"(?m)^\| `([\w-]+)` \|", table)]
    assert len(words) == len(set(words)) == 4 + 7
    assert {*words, "not judged"} == set(VERDICTS)
