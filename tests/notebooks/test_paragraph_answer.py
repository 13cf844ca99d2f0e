"""What notebook 13 says of its paragraph, of tables and of verdicts is what the judge says."""

import ast
import contextlib
import io
import re
import tomllib
from fractions import Fraction
from itertools import pairwise

import build
import numpy as np
import pytest

from lora_ref.claims import VERDICTS, article, judge, literature, parse
from lora_ref.claims.judge import NOT_COMPUTED
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


def flat(text):
    return " ".join(text.split())


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


def test_830_is_a_slip_without_about_and_its_half_units_are_as_the_notebook_says():
    (said,) = [one.text for one in cells_of_notebook() if "830 promises" in one.text]
    low, high = re.search(rf"830 promises {NUMBER} to {NUMBER}", " ".join(said.split())).groups()
    assert agreement("830", Fraction(low))
    assert agreement("830", Fraction(high))
    assert (Fraction(high) - Fraction(low)) == read_printed("830").unit
    one = judged(value_of("sheet") + tables().replace('about = "1 %"\n', ""))["830"]
    assert one.verdict == "slip"


def function_of_notebook(name):
    """Return a function that a cell of the notebook defines."""
    (cell,) = [one.text for one in cells_of_notebook() if f"def {name}(" in one.text]
    (tree,) = [one for one in ast.parse(cell).body if getattr(one, "name", "") == name]
    names = {"read_printed": read_printed, "agreement": agreement, "Fraction": Fraction}
    exec(ast.unparse(tree), names)
    return names[name]


def ends_of(text):
    return [Fraction(end) for end in re.findall(r"(-?[\d.]+)%", text)]


@pytest.mark.parametrize(
    ("new", "old", "number", "within"),
    [("14.18", "21.33", "-33 %", True), ("2.79", "1.85", "39 %", False)],
)
def test_what_the_answer_says_of_the_half_units_is_what_between_gives(new, old, number, within):
    (said,) = re.findall(rf'between\("{new}", "{old}"\)` gives ([-\d.% to]+%)', flat(answer()))
    assert said == function_of_notebook("between")(new, old)
    units = [read_printed(one).unit / 2 for one in (new, old)]
    low, high = ends_of(said)
    corners = [
        (Fraction(new) + a * units[0]) / (Fraction(old) + b * units[1]) - 1
        for a in (-1, 1)
        for b in (-1, 1)
    ]
    assert agreement(f"{float(low):.2f} %", min(corners))
    assert agreement(f"{float(high):.2f} %", max(corners))
    printed = read_printed(number)
    least, most = printed.number - printed.unit / 2, printed.number + printed.unit / 2
    assert (min(corners) <= most and least <= max(corners)) == within


def test_the_mended_paragraph_holds_wherever_the_two_shares_may_lie():
    assert "saves about a third of the memory, and makes training about half" in flat(answer())
    for (new, old), share in ((("14.18", "21.33"), -100 / 3), (("2.79", "1.85"), 50)):
        ends = ends_of(function_of_notebook("between")(new, old))
        assert all(abs(float(end) - share) < 2 for end in ends)


def test_the_row_that_gives_39_is_not_the_one_that_has_the_hours():
    (cell,) = [one.text for one in cells_of_notebook() if one.text.startswith("runs = ")]
    line = cell.partition("\n")[0]
    runs = ast.literal_eval(line.removeprefix("runs = "))
    seconds, size = map(Fraction, runs["LoRA"])
    longer = {name: Fraction(run[0]) / seconds - 1 for name, run in runs.items()}
    saved = {name: Fraction(run[1]) / size - 1 for name, run in runs.items()}
    assert [name for name in runs if agreement("39 %", longer[name])] == ["fp4"]
    assert agreement("39 %", longer["fp4"]) == "truncated"
    assert agreement("-33 %", saved["fp4"]) == "rounded"
    assert agreement("2.79", Fraction(runs["nf4"][0]) / 3600) == "rounded"
    assert agreement("2.79", Fraction(runs["fp4"][0]) / 3600) is None
    assert agreement("1.85", seconds / 3600) == "truncated"
    (source,) = [one for one in literature() if one.key == "practical-tips"]
    (ours,) = [one for one in source.claims if one.id == "tips-qlora-time"]
    for name in ("nf4", "fp4"):
        assert ours.names[name]().item() == longer[name]


def test_27_per_cent_may_be_what_the_notebook_says():
    low, high = ends_of(function_of_notebook("between")("1.5", "2.0"))
    assert low < -27 < high


def test_the_answer_of_your_judge_agrees_with_the_package():
    (text,) = [one.text for one in cells_of_notebook() if "**Do.** Mend" in one.text]
    (mended,) = re.findall(r"```python\n(found = .*?)```", text, re.S)
    (cell,) = [one.text for one in cells_of_notebook() if "def your_judge" in one.text]
    lines = cell.splitlines()
    (old,) = [k for k, line in enumerate(lines) if line.strip().startswith("return ")]
    lines[old : old + 1] = [f"    {line}" for line in mended.splitlines()]
    (tree,) = [one for one in ast.parse("\n".join(lines)).body if isinstance(one, ast.FunctionDef)]
    names = {"agreement": agreement}
    exec(ast.unparse(tree), names)
    lecture = value_of("lecture")
    found = [names["your_judge"](claim) for claim in tomllib.loads(lecture)["claim"]]
    assert found == [judge(claim).verdict for claim in parse(lecture).claims]
    assert found == ["confirmed", "slip", "truncated"]


def test_no_fixed_total_gives_two_rows_of_the_table_that_the_notebook_takes_apart():
    (said,) = [cell.text for cell in cells_of_notebook() if "With a fixed total" in cell.text]
    sentence = rf"half of {NUMBER} is at most {NUMBER}, and {NUMBER} is at least {NUMBER}"
    found = re.search(sentence, " ".join(said.split()))
    above, most, below, least = (Fraction(text) for text in found.groups())
    half_unit = read_printed(found[1]).unit / 2
    assert read_printed(found[3]).unit / 2 == half_unit
    assert most == (above + half_unit) / 2
    assert least == below - half_unit
    assert most < least


def test_a_verdict_is_explained_once_and_before_it_is_used():
    """Words that are verdicts stand in code, as `slip`, and are bold where they are explained."""
    cells = [cell.text for cell in cells_of_notebook() if cell.kind == "markdown"]
    text = "\n".join(cells)
    explained = re.findall(r"\*\*`([\w-]+)`\*\*", text)
    assert len(explained) == len(set(explained)) == 8
    assert set(explained) <= set(VERDICTS)
    for word in VERDICTS:
        uses = [found.start() for found in re.finditer(rf"(?<!\*)`{word}`(?!\*)", text)]
        assert not uses or text.index(f"**`{word}`**") < min(uses), word
    met = {judge(claim).verdict for claim in article().claims} | set(explained)
    by_a_person_or_a_training = set(NOT_COMPUTED) - {"not judged"}
    assert met - set(explained) == by_a_person_or_a_training


def test_the_examples_of_the_table_have_its_verdicts():
    """Each number of the table is judged; the other examples are those of a word."""
    (text,) = [one.text for one in cells_of_notebook() if "| verdict | what computing" in one.text]
    table = dict(re.findall(r"(?m)^\| \*\*`([\w-]+)`\*\* \| .+ \| (.+) \|$", text))
    assert len(table) == 8
    by_agreement = {"rounded": "confirmed", "truncated": "truncated", None: "slip"}
    for found, verdict in by_agreement.items():
        value, printed = table[verdict].split(" is ")
        assert agreement(printed, Fraction(value)) == found
    computed, printed = re.fullmatch(rf"{NUMBER} bytes are {NUMBER} KB", table["by-rule"]).groups()
    number = Fraction(computed.replace(",", ""))
    assert agreement(printed, number / 1000) is None
    assert agreement(printed, number / 1024) == "exact"
    assert np.linalg.matrix_rank(np.zeros((2, 2))) < 2  # not every square matrix has an inverse


def test_the_four_statements_have_the_four_verdicts_that_are_printed():
    (cell,) = [one.text for one in cells_of_notebook() if one.text.startswith("for id in (")]
    names = ast.literal_eval(re.search(r"\(.+?\)", cell).group())
    found = [judge(article().claim(name)).verdict for name in names]
    assert found == ["confirmed", "slip", "shape", "false"]


def test_each_of_the_three_slips_gives_the_number_of_the_lecture():
    (said,) = [one.text for one in cells_of_notebook() if "Several slips give" in one.text]
    assert "Several slips give 196,608, such as A alone, r = 2, or 24 weights." in flat(said)
    assert 48 * 4 * 1024 == 48 * 2 * (1024 + 1024) == 24 * 4 * (1024 + 1024) == 196_608


def test_the_counts_beside_the_two_papers_are_those_of_the_ledger():
    ours = {one.id: one for source in literature() for one in source.claims}
    vera, lora = ours["vera-roberta-base-1-lora-bytes"], ours["lora-deberta-xxl"]
    assert judge(vera).value.item() == 12 * 2 * (768 + 768) * 4 == 144 * 1024
    assert lora.conflict.check.value().item() == 48 * 2 * 16 * (1536 + 1536)
    assert "lora_r 16 in microsoft/LoRA" in lora.conflict.text


def test_the_five_sentences_have_the_verdicts_that_the_cells_print():
    """What is refuted is false, what is not is confirmed, and what is both is conditional."""
    cells = cells_of_notebook()
    A = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.6, 0.7, 0.8]])
    B = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    names, printed = {"np": np, "A": A, "B": B}, ""
    start, end = (
        next(k for k, one in enumerate(cells) if one.text.startswith(title))
        for title in ("## Five statements", "## Exercises")
    )
    for cell in cells[start:end]:
        if cell.kind == "code":
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(cell.text, names)
            printed += out.getvalue()
    found = {}
    for number, says in re.findall(r"(?m)^(\d)\. .*: (false|not refuted)$", printed):
        found.setdefault(number, set()).add(says)
    said = dict(re.findall(r"(?m)^(\d)\\\. `(\w+)`", "\n".join(c.text for c in cells[start:end])))
    assert list(said) == list(found) == list("12345")
    meant = {"false": {"false"}, "confirmed": {"not refuted"}}
    meant["conditional"] = {"false", "not refuted"}
    for number, verdict in said.items():
        assert found[number] == meant[verdict], number


def test_a_first_step_falls_by_about_8_and_2_as_the_rank_is_fourfold():
    """The rows of A add up as the root of r, in a wide layer; here a little less is left."""
    (said,) = [one.text for one in cells_of_notebook() if "add up, in random" in one.text]
    assert "about 8 and 2, and a little less here" in flat(said)
    draws = np.random.default_rng(0)
    d, sizes = 2048, {}
    for r in (2, 8, 32):
        squares = np.zeros(2)
        for _ in range(40):
            A, x = draws.uniform(-1, 1, (r, d)) / d**0.5, draws.standard_normal(d)
            for k, column in enumerate((A @ x / r**2, np.sign(A @ x) / r)):
                squares[k] += np.sum((column @ A) ** 2)
        sizes[r] = np.sqrt(squares)
    for low, high in ((2, 8), (8, 32)):
        np.testing.assert_allclose(sizes[low] / sizes[high], (8, 2), rtol=0.15)
    step = {"np": np, "norm": np.linalg.norm}
    (cell,) = [one.text for one in cells_of_notebook() if "def first_step" in one.text]
    exec(cell[cell.index("def first_step") : cell.index("for name, rule")], step)
    for rule, most in ((np.array, 8), (np.sign, 2)):
        norms = [np.mean([step["first_step"](r, k, rule) for k in range(200)]) for r in (2, 8, 32)]
        for one, four in pairwise(norms):
            assert 0.8 * most < one / four < most


def test_an_output_stays_where_the_two_products_with_A_are_orthogonal():
    draws = np.random.default_rng(0)
    A, x, g = draws.standard_normal((2, 5)), draws.standard_normal(5), draws.standard_normal(3)
    B_after = -0.1 * np.outer(g, A @ x)
    stays = np.linalg.svd((A.T @ A @ x)[None])[2][1:]  # all that is orthogonal to A^T A x
    np.testing.assert_allclose(B_after @ A @ stays.T, 0, atol=1e-12)
    assert (
        np.linalg.matrix_rank(stays @ A.T, 1e-9) == 1
    )  # so most of them have A x' that is not zero
    unseen = np.linalg.svd(A)[2][2:]
    np.testing.assert_allclose(draws.standard_normal((3, 2)) @ A @ unseen.T, 0, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_step_on_one_row_has_rank_1_if_it_scales_the_gradient_and_not_with_eps(seed):
    draws = np.random.default_rng(seed)
    A, row, g = (draws.standard_normal(shape) for shape in ((8, 8), 8, 8))
    gradient = 1e-6 * np.outer(g, A @ row)

    def share(step):
        first, second, *_ = np.linalg.svd(step @ A)[1]
        return second / first

    assert share(0.1 * gradient) < 1e-14
    assert share(np.sign(gradient)) < 1e-14
    shares = [share(gradient / (np.abs(gradient) + eps)) for eps in (1e-8, 1e-10, 1e-14)]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 1e-3
    assert shares[-1] < 1e-6


@pytest.mark.parametrize(
    ("percent", "ranks", "supplied", "verdict"),
    [
        (1, 1024, 32, "false"),
        (10, 1024, 32, "conditional"),
        (10, 32, 32, "confirmed"),
        (10, 1024, 0, "false"),
    ],
)
def test_one_sentence_gets_the_verdicts_that_the_package_gives_it(
    percent, ranks, supplied, verdict
):
    """With the same bound, ranks and condition, as a table of a file."""
    says = function_of_notebook("far_below")
    assert says(percent, range(1, ranks + 1), range(1, supplied + 1)) == verdict
    under = f'under = {{text = "for a small rank", r = [1, {supplied}]}}' if supplied else ""
    assert judge(parse(share(percent, [1, ranks], under)).claims[0]).verdict == verdict


def test_the_ranks_at_which_the_bounds_are_crossed_are_those_that_the_text_says():
    (said,) = [one.text for one in cells_of_notebook() if "it holds up to r = 5" in one.text]
    assert "Below 10 % it holds up to r = 51" in flat(said)
    for percent, r in ((1, 5), (10, 51)):
        assert 2 * r / 1024 < percent / 100 <= 2 * (r + 1) / 1024


def share(percent, ranks, under=""):
    return f"""
[lecture]
title = "what a forward pass costs"

[[claim]]
id = "cost"
text = "far below"
quantity = "lora-share"
in = 1024
out = 1024
r = {ranks}
below = "{percent} %"
{under}
"""


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
