"""A lecture's file with faults is refused: a sentence for each, with its line, and all together."""

import pytest
from test_lecture import MATRICES, claim_text

from lora_ref.errors import LoraRefError
from lora_ref.ledger import lecture as lectures

GOOD = MATRICES + claim_text("entry", 'of = "S"\nrow = 1\ncolumn = 1', "2")
"""A lecture of one claim, confirmed."""


def faults_of(text):
    """Return the sentences about a text's faults."""
    with pytest.raises(LoraRefError) as caught:
        lectures.parse(text)
    said = str(caught.value)
    assert all(line.isprintable() for line in said.split("\n"))
    return said


def changed(old, new):
    assert old in GOOD
    return GOOD.replace(old, new)


def part(table, quantity="rank", of="S", more=""):
    return f'[{table}]\nquantity = "{quantity}"\nof = "{of}"\n{more}'


def test_without_a_fault_the_lecture_is_confirmed():
    (j,) = lectures.judge(lectures.parse(GOOD))
    assert (j.verdict, j.problems) == ("confirmed", ())


WHOLE = {
    "[lecture\n": "is not TOML: Expected ']' at the end of a table declaration (at line 1",
    "a = 1\na = 2\n": "is not TOML: Cannot overwrite a value (at line 2",
    f"a = {'1' * 5000}": "is not TOML: ",
    f"a = {'[' * 100_000}": "is nested too deeply",
    "": "the table [lecture] with a title is missing",
    MATRICES: "there is no [[claim]], expected at least one",
    "claim = [1]\n" + MATRICES: "claim 1: got the number 1, expected a table",
    "matrices = []": "matrices: got a list, expected a table [matrices]",
    "derived.q = 1\n" + GOOD: "derived q: got the number 1, expected a table [derived.q]",
}


@pytest.mark.parametrize("text", WHOLE, ids=range(len(WHOLE)))
def test_a_faulty_text_has_its_sentence(text):
    assert WHOLE[text] in faults_of(text)


MATRIX = {
    "[[1, 2], [3]]": "row 2 has 1 number and row 1 has 2 numbers, expected rows of one length",
    '"1 2 / 3"': "row 2 has 1 number and row 1 has 2 numbers",
    "[[1, 2], 3]": "some rows are lists and some are not",
    "[]": "it is empty, expected numbers",
    "[[], []]": "it is empty, expected numbers",
    '" "': "it is empty, expected numbers",
    "3": "got the number 3, expected rows of numbers",
    "{a = 1}": "got a table, expected rows of numbers",
    "2024-01-01": "got a date, expected rows of numbers",
    str([1] * 33): "it is 1 x 33, expected at most 32 rows and columns",
    '["a"]': "entry 1: 'a' is not a number, expected such as 0.25, -2 or 1/3",
    '["１"]': "entry 1: '１' is not a number",
    "[[1, true]]": "row 1, column 2: got true, expected a number",
    "[nan]": "entry 1: 'nan' is not finite",
    "[[-inf]]": "'-inf' is not finite",
    "[1e999999999]": "'1e999999999' has the power 999999999 of ten, expected at most 60",
    '"1e-99999999999999999999"': "of ten, expected at most 60 either way",
    f'["0.{"1" * 70}"]': "a number of 72 characters (0.1111111111...), expected at most 60",
    f"[{'1' * 70}]": "a number of more than 60 digits",
    '["1/0"]': "'1/0' divides by zero",
    '["0,59"]': "'0,59' has a comma that separates no thousands; the decimal sign is a point",
}


@pytest.mark.parametrize("value", MATRIX)
def test_a_faulty_matrix_has_its_sentence(value):
    said = faults_of(GOOD.replace("[matrices]\n", f"[matrices]\nQ = {value}\n"))
    assert "line 5, matrix Q: " in said
    assert MATRIX[value] in said


PRINTED = {
    "2.50": 'the number 2.50 is not in quotes; write "2.50" with all its digits',
    "2": 'the number 2 is not in quotes; write "2"',
    '[["2", 3]]': "the number 3 is not in quotes",
    "true": "got true, expected a number in quotes",
    "{}": "got a table",
    '""': "it is empty, expected numbers",
    '"two"': "'two' is not a printed number",
    '"2e0"': "'2e0' is not a printed number",
    '"0,59"': "'0,59' has a comma that separates no thousands",
    '"0.5,9"': "'0.5,9' has a comma behind the point",
    f'"2.{"0" * 70}"': "a number of 72 characters",
    '"2 3"': "entry is one number, and more is printed",
}


@pytest.mark.parametrize("value", PRINTED)
def test_what_is_printed_wrongly_has_its_sentence(value):
    said = faults_of(changed('printed = "2"', f"printed = {value}"))
    assert 'claim 1 ("it"), printed: ' in said
    assert PRINTED[value] in said
    assert said.count("\n") == 1


ARGUMENTS = {
    ("sum", 'of = "S"'): "of: got the text 'S', expected a list of texts",
    ("sum", "of = []"): "of: got an empty list, expected a list of texts",
    ("sum", f"of = {['S'] * 17}"): "of: a list of 17, expected at most 16",
    ("product", f'of = "{"S " * 9}"'): "of: a product of 9, expected at most 8",
    ("product", f'of = "{"L " * 8}"'): "the result is beyond 1e100 in size",
    ("product", f'of = "{"F " * 8}"'): "the result is a fraction of more than 4000 bits",
    ("squared-norm", 'of = "F"'): "the sum of squares is a fraction of more than 4000 bits",
    ("rank", 'of = "F F"'): "elimination needs whole numbers of more than 20000 bits",
    ("rank", 'of = ["S"]'): 'of: got a list, expected a text; a product is written "B A"',
    ("rank", 'of = "w0"'): "of: no matrix is called 'w0'; the nearest: W0",
    ("rank", 'of = ""'): "of: the text is empty",
    ("rank", ""): "rank needs the key of: names of matrices",
    ("merged", 'W0 = "W1"'): "W0: no matrix is called 'W1'; the nearest: W0",
    ("merged", 'alpha = 1\nrank-stabilised = "yes"'): "got the text 'yes', expected true or false",
    ("merged", "rank-stabilised = true"): "alpha is missing, expected both",
    ("entry", 'of = "S"\nrow = 3\ncolumn = 1'): "row is 3, expected 1 to 2: of has no more",
    ("entry", 'of = "S"\nrow = 1\ncolumn = 3'): "column is 3, expected 1 to 2",
    ("entry", 'of = "x"\nrow = 1\ncolumn = 1'): "of is a vector of 2, expected row alone",
    ("entry", 'of = "S"\nrow = 1'): "of is 2 x 2, expected row and column",
    ("entry", 'of = "x"\nrow = 0'): "row: got the number 0, expected a whole number from 1",
    ("entry", 'of = "x"\nrow = "1"'): "row: got the text '1', expected a whole number of at",
    ("entry", 'of = "x"\nrow = 1.5'): "row: got the number 1.5, expected a whole number",
    ("entry", 'of = "x"'): "entry needs the key row: a whole number of at least 1",
    ("term", "k = 2"): "k is 2, expected 1 to 1",
    ("truncation-error", 'of = "S"\nr = 3'): "r is 3, expected at most 2",
    ("truncation-error", 'of = "S"\nr = 1\nnorm = "l1"'): "expected one of: frobenius, spectral",
    ("difference", 'of = ["S", "S", "S"]'): "of has 3 terms, expected 2",
    ("ratio", "numerator = 1\ndenominator = 0"): "denominator is 0, expected another number",
    ("ratio", 'numerator = "S"\ndenominator = 1'): "got 2 x 2, expected a single number",
    ("ratio", "numerator = [1]\ndenominator = 1"): "numerator: got a list, expected a number",
    ("condition-number", 'of = "B A"'): "of has a singular value 0, so no condition number",
    ("condition-number", 'of = "N"'): "of is too near to a matrix of lower rank",
    ("effective-rank", 'of = "Z"'): "of is zero, expected a singular value above 0",
    ("product-shape", 'shapes = ["2 by 3"]'): "'2 by 3' is not a shape, expected such as",
    ("product-shape", 'shapes = ["0 x 3"]'): "'0 x 3' is not a shape, expected sizes from 1",
    ("product-shape", 'shapes = ["9999999999 x 3"]'): "expected sizes from 1 to 1,000,000,000",
    ("multiply-adds", 'method = "lora"\npass = "total"\nin = 1\nout = 1'): "r is missing",
    ("model-count", 'model = "gpt-2"'): "there is no model 'gpt-2'; the nearest: gpt2",
    ("model-share", 'model = "gpt2"\nr = 1\ntargets = ["q_proj"]'): "has no module 'q_proj'",
    ("full-count", "in = 9999999999999\nout = 1"): "expected a whole number from 1 to 1,000,",
    ("entri", ""): "quantity: no quantity is called 'entri'; the nearest: entry",
}

DENOMINATORS = [[f"1/{10**40 + (10 * i + k) ** 20}" for k in range(8)] for i in range(8)]
FURTHER = f'L = [[1e50]]\nF = {DENOMINATORS}\nN = [[1, 1], [1, "{1 + 10**-20:.20f}1"]]\nZ = [[0]]\n'


@pytest.mark.parametrize("case", ARGUMENTS, ids=lambda case: f"{case[0]}: {case[1][:40]}")
def test_a_faulty_argument_has_its_sentence(case):
    said = faults_of(MATRICES + FURTHER + claim_text(*case, "1"))
    assert "the text: 1 fault\n" in said
    assert "line " in said
    assert ARGUMENTS[case] in said


BY_CHANGE = {
    ('title = "t"', ""): "line 2, lecture: the key title is missing",
    ('"t"', "3"): "lecture.title: got the number 3, expected a text in quotes",
    ("title", "titel"): "lecture.titel: [lecture] has no key 'titel'; the nearest: title",
    ("[matrices]", "[matrixes]"): "has no key 'matrixes'; the nearest: matrices",
    ("[[claim]]", "[claim]"): "got a table, expected tables with two brackets, [[claim]]",
    ("S =", '"a b" = [1]\nS ='): "'a b' is no name for a matrix",
    ("S =", '"\\u001b[31m" = [1]\nS ='): "matrix ?[31m: ",
    ('id = "it"', ""): "claim 1: the key id is missing",
    ('"it"', '"i t"'): "'i t' is no id, expected one short word",
    ('says = "s"', ""): 'claim 1 ("it"): the key says is missing',
    ('"s"', '" "'): "says: the text is empty",
    ('"s"', f'"{"s" * 600}"'): "says: a text of 600 characters, expected at most 500",
    ('"s"', r'"\u001b[2J"'): "says: the text holds U+001B, a character that is not printed",
    ('quantity = "entry"', ""): "the key quantity is missing",
    ('"entry"', "[1]"): "quantity: got a list, expected the name of a quantity",
    ("row =", "colour = 2\nrow ="): 'line 17, claim 1 ("it"), colour: a claim of the quantity '
    "entry has no key 'colour'; the nearest: column",
    (
        'printed = "2"',
        "",
    ): "the key printed is missing (or one of: at-least, above, at-most, below)",
    ('printed = "2"', 'printed = "2"\nabove = "1"'): "both printed and above are given",
    ('printed = "2"', "below = 3"): "below: the number 3 is not in quotes",
    ('printed = "2"', 'printed = "2"\nunder = "no"'): "expected a table [claim.under]",
}


@pytest.mark.parametrize("change", BY_CHANGE, ids=range(len(BY_CHANGE)))
def test_a_fault_in_a_good_lecture_has_its_sentence(change):
    assert BY_CHANGE[change] in faults_of(changed(*change))


APPENDED = {
    claim_text("rank", 'of = "S"', "2"): "claim 2 (\"it\"), id: 'it' is the id of claim 1 already",
    '[[outside]]\nid = "it"\nsays = "s"\nwhy = "w"\n': "'it' is the id of claim 1 already",
    '[[outside]]\nid = "o"\nsays = "s"\n': 'outside 1 ("o"): the key why is missing',
    '[[outside]]\nid = "o"\nsays = "s"\nwhy = "w"\nof = "S"\n': "outside claim has no key 'of'",
    part("claim.under", more='printed = "2"'): "under.says: the key says is missing",
    part("claim.correction", of="Q", more='printed = "2"\nsays = "s"'): 'line 22, claim 1 ("it"), '
    "correction.of: no matrix is called 'Q'",
    part("derived.S"): "derived S: there is a matrix called S already",
    part("derived.q", "shape"): "derived q, quantity: a shape cannot be used further",
    part("derived.q", of="q"): "derived q, of: 'q' does not stand above",
    part("derived.q", of="p") + part("derived.p"): "derived q, of: 'p' does not stand above",
    part("derived.q", more='printed = "2"'): "derived q, printed: rank has no key 'printed'",
    claim_text("product", 'of = "S"', "1", "p").replace(
        "printed", "above"
    ): "above needs a quantity that is one number",
    part("derived.q", "best-approximation", more="r = 1\n")
    + claim_text("entry", 'of = "q S"\nrow = 1\ncolumn = 1', "1.23456789012345", "p"): "has more "
    "digits than can be judged",
    claim_text("shape", 'of = "S"', "two", "p"): "printed: 'two' is not a shape, expected such as",
    claim_text("spectral-norm", 'of = "S"', "5.3983456789012345", "p"): "has more digits than can "
    "be judged: this quantity is computed in floating point, to 1e-11 here",
}


@pytest.mark.parametrize("text", APPENDED, ids=range(len(APPENDED)))
def test_a_fault_behind_a_good_claim_has_its_sentence(text):
    assert APPENDED[text] in faults_of(GOOD + text)


def test_all_faults_of_a_file_are_told_together_in_the_order_of_its_lines():
    text = GOOD.replace("title", "titel").replace("[[2, 1], [4, 3]]", '[["x", 1], [4]]')
    text = text.replace("row = 1", 'row = "1"').replace('"2"\n', "2\n")
    lines = faults_of(text).split("\n")
    assert lines[0] == "the text: 5 faults"
    found = [int(line.split("line ")[1].split(",")[0]) for line in lines[1:]]
    assert found == sorted(found)
    assert len(found) == 5


def test_the_line_is_found_behind_texts_of_several_lines_and_what_looks_like_a_table():
    many = 'why = """\n[[claim]]\nid = "no"\n"""  # [[claim]]\n'
    text = GOOD + many + claim_text("rank", 'of = "Q"', "2", "second")
    text += claim_text("rank", 'of = "S"', "two", "third")
    lines = text.split("\n")
    said = [line.split("line ")[1].split(", ") for line in faults_of(text).split("\n")[1:]]
    assert [lines[int(number) - 1] for number, *_ in said] == ['of = "Q"', 'printed = "two"']
    assert [place for _, place, *_ in said] == ['claim 2 ("second")', 'claim 3 ("third")']


def test_a_faulty_matrix_is_told_once_and_not_again_by_every_claim_on_it():
    text = GOOD.replace("[[2, 1], [4, 3]]", "[]") + claim_text("rank", 'of = "S"', "2", id="r")
    assert faults_of(text).split("\n")[0] == "the text: 1 fault"


def test_very_many_faults_are_counted_and_not_all_told():
    text = GOOD + "".join(claim_text("rnk", "", "1", id=f"c{i}") for i in range(60))
    lines = faults_of(text).split("\n")
    assert lines[0] == "the text: 60 faults"
    assert lines[-1].strip() == "and 20 more"


def test_too_many_claims_are_refused():
    text = GOOD + "".join(claim_text("rank", 'of = "S"', "2", id=f"c{i}") for i in range(500))
    assert "claim: 501 of them, expected at most 500" in faults_of(text)


def test_braces_in_a_text_are_braces():
    text = GOOD.replace('"s"', '"{x.__class__} {0} {"') + 'why = "{value}"\n'
    text += (
        '[claim.correction]\nsays = "{printed} {}"\nquantity = "rank"\nof = "S"\nprinted = "2"\n'
    )
    (j,) = lectures.judge(lectures.parse(text))
    assert (j.claim.says, j.why, j.correction) == (
        "{x.__class__} {0} {",
        "{value}",
        "{printed} {}: 2",
    )
    assert j.problems == ()


def test_a_correction_that_does_not_come_out_is_a_problem_and_a_missing_one_is_not():
    wrong = GOOD.replace('"2"\n', '"3"\n')
    (j,) = lectures.judge(lectures.parse(wrong))
    assert (j.verdict, j.problems) == ("slip", ())
    wrong += '[claim.correction]\nsays = "s"\nquantity = "rank"\nof = "S"\nprinted = "1"\n'
    (j,) = lectures.judge(lectures.parse(wrong))
    assert j.problems == ("it: the correction does not hold (slip): s: 1",)
