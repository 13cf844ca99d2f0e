"""A relation between quantities: tables in the place of numbers, and claims referred to by id."""

from cases import over
from test_reader import MATRICES, SOURCE, claim_text, errors_of, judged

from lora_ref.claims import report

COUNT = claim_text("lora-count", "in = 768\nout = 768\nr = 8", "12,288", id="r8")


def relation(numerator, denominator, printed, head=MATRICES, more=""):
    keys = f"numerator = {numerator}\ndenominator = {denominator}"
    return head + COUNT + claim_text("ratio", keys, printed) + more


FULL = '{quantity = "full-count", in = 768, out = 768}'
LORA = '{quantity = "lora-count", in = 768, out = 768, r = 8}'

HOLDS = {  # a relation, what it comes to, and another number
    "two tables": (relation(FULL, LORA, "X"), "48x", "47x"),
    "a table and a claim": (relation(FULL, '{claim = "r8"}', "X"), "48x", "47x"),
    "a claim and the same with another input": (
        relation('{claim = "r8"}', '{claim = "r8", r = 16}', "X"),
        "0.5",
        "0.6",
    ),
    "a table and a number": (relation(LORA, '"12,288"', "X"), "1.00", "1.01"),
    "a table within a table": (
        relation(f"{{quantity = 'ratio', numerator = {FULL}, denominator = {LORA}}}", "4", "X"),
        "12",
        "48",
    ),
    "a difference": (
        MATRICES
        + COUNT
        + claim_text("difference", 'of = [{claim = "r8", r = 16}, {claim = "r8"}]', "X"),
        "12,288",
        "-12,288",
    ),
    "a product where a name may stand": (
        MATRICES + claim_text("trace", 'of = {quantity = "product", of = "S S"}', "X"),
        "21",
        "5",
    ),
    "a list of tables": (
        relation(f"[{FULL}, {LORA}]", "[12288, 12288]", "X"),
        "48, 1",
        "48, 2",
    ),
    "a table with a header": (
        MATRICES
        + claim_text("ratio", "denominator = 12288", "X")
        + '[claim.numerator]\nquantity = "full-count"\nin = 768\nout = 768\n',
        "48x",
        "47x",
    ),
    "one side alone": (
        MATRICES + claim_text("bytes", f'numbers = {LORA}\ndtype = "float32"', "X"),
        "49,152",
        "24,576",
    ),
}


@over(HOLDS)
def test_a_relation_is_computed_from_its_sides(case):
    text, right, wrong = case
    assert judged(text.replace('"X"', f'"{right}"'))["it"].verdict == "confirmed"
    assert judged(text.replace('"X"', f'"{wrong}"'))["it"].verdict == "slip"


def test_a_relation_takes_the_derived_values_and_the_row_of_the_claim_that_it_names():
    text = """
[lecture]
title = "t"
[[claim]]
id = "saved"
text = "s"
quantity = "ratio"
numerator = "count"
denominator = 3
derived.count = {quantity = "lora-count", in = 3, out = 3, r = 1}
printed = "2"
[[claim]]
text = "s"
id = "{row}"
quantity = "lora-count"
in = 3
out = 3
rows = [{id = "one", r = 1, printed = "6"}, {id = "two", r = 2, printed = "12"}]
[[claim]]
id = "it"
text = "s"
quantity = "ratio"
numerator = {claim = "saved"}
denominator = {claim = "two"}
printed = "0.1667"
"""
    text = text.replace("[lecture]\ntitle", '[source]\nkey = "k"\ncite')
    assert judged(text)["it"].verdict == "confirmed"
    assert judged(text.replace('claim = "two"', 'claim = "one"'))["it"].verdict == "slip"


def test_a_part_of_a_claim_may_change_one_side_of_a_relation():
    part = '[claim.under]\ntext = "at r = 16"\nnumerator = {claim = "r8", r = 16}\n'
    assert judged(relation('{claim = "r8"}', LORA, "2", more=part))["it"].verdict == "conditional"


WRONG = {
    "no quantity": ("{r = 8}", "numerator: the key quantity is missing"),
    "an unknown key": (
        '{quantity = "lora-count", in = 1, out = 1, r = 1, alpha = 8}',
        "numerator.alpha: lora-count has no key 'alpha'",
    ),
    "an unknown quantity": (
        '{quantity = "lora-counts"}',
        "numerator.quantity: no quantity is called 'lora-counts'; did you mean lora-count",
    ),
    "an unknown claim": (
        '{claim = "r9"}',
        "numerator: no claim above computes a quantity by the id 'r9'; the nearest: r8",
    ),
    "itself": ('{claim = "it"}', "no claim above computes a quantity by the id 'it'"),
    "no id": ("{claim = 8}", "numerator: got the number 8, expected a text in quotes"),
    "a key that the claim has not": (
        '{claim = "r8", alpha = 8}',
        "numerator.alpha: lora-count has no key 'alpha'; known are: claim, in, out, r, copies",
    ),
    "a quantity for a claim": (
        '{claim = "r8", quantity = "rank"}',
        "numerator.quantity: lora-count has no key 'quantity'",
    ),
    "a wrong input": (
        '{claim = "r8", r = 0}',
        "numerator.r: got the number 0, expected a whole number from 1",
    ),
    "a shape": ('{quantity = "shape", of = "A"}', "numerator.quantity: a shape cannot be used"),
    "a matrix": (
        '{quantity = "product", of = "A"}',
        "ratio: got 1 x 2, expected a single number",
    ),
    "a list of values": (
        '{claim = "r8", r = [8, 16]}',
        "ratio: got a vector of 2, expected a single number",
    ),
    "very many": (
        '{quantity = "ratio", denominator = 1, numerator = ' * 20 + "1" + "}" * 20,
        "tables within tables, expected at most 16 names",
    ),
}


@over(WRONG)
def test_what_is_wrong_with_a_side_is_told_with_its_line(case):
    said = errors_of(relation(case[0], "2", "1"))
    line = relation("X", "2", "1").split("\n").index("numerator = X") + 1
    assert case[1].split("; did you mean")[0] in said, said
    assert f"line {line}" in said or f'claim 2 ("it"): {case[1]}' in said, said


def test_a_relation_of_a_relation_is_refused_and_so_are_ids_that_stand_below():
    again = claim_text("ratio", 'numerator = {claim = "it"}\ndenominator = 1', "1", id="again")
    said = errors_of(relation(FULL, LORA, "48x", more=again))
    assert "the claim 'it' is a relation itself, expected one that is none" in said
    pairs = claim_text("difference", 'of = [{claim = "r8"}, "S"]', "1", id="pairs")
    again = claim_text("trace", 'of = {claim = "pairs"}', "1", id="again")
    assert "the claim 'pairs' is a relation itself" in errors_of(MATRICES + COUNT + pairs + again)
    below = MATRICES + claim_text("ratio", 'numerator = {claim = "r8"}\ndenominator = 1', "1")
    assert "no claim above" in errors_of(below + COUNT)


def test_a_faulty_claim_is_told_once_and_not_again_by_a_relation_to_it():
    text = relation('{claim = "r8"}', "2", "6,144").replace("out = 768\nr = 8\n", "r = 8\n", 1)
    assert "1 error\n" in errors_of(text)
    assert "lora-count needs the key out" in errors_of(text)


def test_a_side_whose_shapes_do_not_fit_is_a_verdict():
    (j,) = judged(
        MATRICES
        + claim_text(
            "ratio",
            'numerator = {quantity = "frobenius-norm", of = "S W0"}\ndenominator = 1',
            "1",
        )
    ).values()
    assert j.verdict == "shape"


def test_the_report_says_what_each_side_comes_to():
    j = judged(relation(FULL, '{claim = "r8", r = 16}', "24x"))["it"]
    assert report.inputs_text(j) == (
        "ratio: numerator (full-count: in 768, out 768) = 589,824, "
        "denominator (claim r8, r 16) = 24,576"
    )
    (named,) = judged(
        MATRICES
        + '[derived.n]\nquantity = "lora-count"\nin = 768\nout = 768\nr = 8\n'
        + claim_text("ratio", 'numerator = "n"\ndenominator = [1, 2]', ["12,288", "6,144"])
    ).values()
    assert report.inputs_text(named) == "ratio: numerator n = 12,288, denominator 1 2"
    pair = judged(HOLDS["a difference"][0].replace("X", "1"))["it"]
    assert "of (claim r8, r 16) = 24,576 (claim r8) = 12,288" in report.inputs_text(pair)
    assert report.as_dict([j])["claims"][0]["inputs"]["denominator"] == {"claim": "r8", "r": 16}


def test_a_reason_of_a_source_may_name_a_side():
    more = 'reason = "it is {numerator:,} by {denominator:,}, and no more"\n'
    text = relation(FULL, LORA, "49x", head=SOURCE, more=more)
    assert judged(text)["it"].reason == "it is 589,824 by 12,288, and no more"


TURNED = '{quantity = "entry", of = {quantity = "product", of = "S T"}, row = 1, column = 1}'


@over(
    {
        "upside down": ((LORA, FULL, "48x"), "is the ratio the other way round"),
        "the rest": ((LORA, FULL, "97.92 %"), "is what is left of the whole"),
        "r of a table": ((FULL, LORA, "384x"), "is r times the right number"),
        "r of a claim": ((FULL, '{claim = "r8", r = 4}', "384x"), "is r times the right number"),
        "two ranks, and neither is r": ((LORA, '{claim = "r8", r = 4}', "16x"), ""),
        "a share": ((LORA, FULL, "2.08"), "is in per cent, and the value is a share"),
        "a product": ((TURNED, 1, "4.0"), "comes from the factors in the other order"),
    }
)
def test_a_usual_mistake_in_a_relation_is_named(case):
    sides, said = case
    text = relation(*sides).replace("S = ", "T = [[0, 1], [1, 0]]\nS = ")
    j = judged(text)["it"]
    assert j.verdict == "slip"
    assert said in j.perhaps
    assert bool(said) == bool(j.perhaps), j.perhaps
