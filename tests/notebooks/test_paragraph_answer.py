"""What notebook 13 says of its paragraph, of a table and of the verdicts is what the judge says."""

import ast
import re
from fractions import Fraction

import build
import pytest

from lora_ref.claims import VERDICTS, judge, literature, parse
from lora_ref.claims.printed import agreement, read_printed

NUMBER = r"(\d[\d,]*(?:\.\d+)?)"


def cells_of_notebook():
    (path,) = build.SOURCES.glob("13-*.py")
    return build.cells_of(path)


def value_of(name):
    """Return what the cell gives that begins with an assignment to this name."""
    (cell,) = [one.text for one in cells_of_notebook() if one.text.startswith(f"{name} = ")]
    return ast.literal_eval(cell.removeprefix(f"{name} = "))


def answer():
    (text,) = [one.text for one in cells_of_notebook() if "| the test in a line |" in one.text]
    return text


def tables():
    """Return the tables that the answer adds to the sheet."""
    (found,) = re.findall(r"```toml\n(.*?)```", answer(), re.S)
    return found


def judged(text):
    return {one.printed.lstrip("-"): one for one in map(judge, parse(text).claims)}


def rows():
    """Return the rows of the answer: the number, a line of Python, what it gives, the verdict."""
    return re.findall(r"(?m)^\| ([\d,]+(?: %)?) \| `(.+)` \| (.+) \| (\w+) \|$", answer())


def test_the_answer_writes_every_number_down_and_has_the_verdicts_and_values_of_its_table():
    found = judged(value_of("sheet") + tables())
    assert list(found) == list(value_of("marks")) == [number for number, *_ in rows()]
    for number, line, computed, verdict in rows():
        one = found[number]
        assert (one.verdict, one.recomputed) == (verdict, computed)
        assert agreement(computed, eval(line)) in ("exact", "rounded"), line
        assert number in one.claim.text


def test_the_sheet_as_it_is_given_is_judged():
    assert [one.verdict for one in judged(value_of("sheet")).values()] == ["confirmed"]


def test_the_numbers_of_the_paragraph_are_those_of_the_ledger_with_its_verdicts():
    (source,) = [one for one in literature() if one.key == "practical-tips"]
    ours = {one.printed: one.verdict for one in map(judge, source.claims)}
    for one in judged(value_of("sheet") + tables()).values():
        assert ours[one.printed] == one.verdict


def test_without_about_830_is_a_slip_and_its_half_units_are_as_the_answer_says():
    low, high = re.search(rf"promises {NUMBER} to {NUMBER}", " ".join(answer().split())).groups()
    assert agreement("830", Fraction(low))
    assert agreement("830", Fraction(high))
    assert (Fraction(high) - Fraction(low)) == read_printed("830").unit
    one = judged(value_of("sheet") + tables().replace('about = "1 %"\n', ""))["830"]
    assert one.verdict == "slip"


def test_no_whole_gives_39_and_the_mended_paragraph_is_confirmed():
    longer = Fraction("2.79") - Fraction("1.85")
    (said,) = re.findall(rf"difference\s+is\s+{NUMBER} %", answer())
    assert agreement(f"{said} %", longer / Fraction("2.79")) == "rounded"
    assert agreement("39 %", longer / Fraction("2.79")) is None
    mended = re.search(rf"Mended: \"saves {NUMBER} %.*training {NUMBER} %", answer()).groups()
    text = value_of("sheet") + tables()
    for old, new in zip(("33 %", "39 %"), mended, strict=True):
        text = text.replace(f'{old}"', f'{new} %"')
    assert {one.verdict for one in judged(text).values()} == {"confirmed"}


def test_no_fixed_total_gives_two_rows_of_the_table_that_the_notebook_takes_apart():
    (said,) = [cell.text for cell in cells_of_notebook() if "Answer to 3" in cell.text]
    sentence = rf"half of {NUMBER} is at most {NUMBER}, and {NUMBER} is at least {NUMBER}"
    found = re.search(sentence, " ".join(said.split()))
    above, most, below, least = (Fraction(text) for text in found.groups())
    half_unit = read_printed(found[1]).unit / 2
    assert read_printed(found[3]).unit / 2 == half_unit
    assert most == (above + half_unit) / 2
    assert least == below - half_unit
    assert most < least


def test_the_two_tables_have_every_verdict_of_a_claim_that_is_judged():
    found = [cell.text for cell in cells_of_notebook() if "| verdict | meaning |" in cell.text]
    words = [word for table in found for word in re.findall(r"(?m)^\| `([\w-]+)` \|", table)]
    assert len(words) == len(set(words)) == 4 + 7
    assert {*words, "not judged"} == set(VERDICTS)


@pytest.mark.parametrize(
    ("mark", "says"),
    [("", "waits for your mark"), ("by-rule", "slip, computed 50.81 % (you: by-rule)")],
)
def test_a_number_that_has_its_table_is_judged_once_it_is_marked(mark, says, capsys):
    (cell,) = [one.text for one in cells_of_notebook() if one.text.startswith("written = ")]
    marks = {**value_of("marks"), "39 %": mark}
    names = {"sheet": value_of("sheet") + tables(), "marks": marks, "judge": judge, "parse": parse}
    exec(cell, names)
    assert says in capsys.readouterr().out.splitlines()[-1]
