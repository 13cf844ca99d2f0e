"""The judge: what comes out of recomputing decides, in one order, and nothing else does."""

import re

import pytest
from cases import over
from test_reader import SOURCE, claim_text

from lora_ref.claims import EXAMPLES, VERDICTS, judge, parse, read
from lora_ref.claims.judge import MEANINGS
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.quantity import OneNumber, quantity_of

RULES = '[rules]\nown = "a rule of the file"\n'


def verdict_of(quantity, keys, printed="", key="printed"):
    """Return the judgement of one claim in a source."""
    text = claim_text(quantity, keys, printed, key=key)
    if not printed:
        text = text.replace(f'{key} = ""\n', "")
    (claim,) = parse(SOURCE + RULES + text, compute=False).claims
    return judge(claim)


def outside(keys):
    (*_, claim) = parse(
        SOURCE
        + claim_text("rank", 'of = "S"', "2")
        + f'[[outside]]\nid = "o"\ntext = "s"\n{keys}\n'
    ).claims
    return judge(claim)


S = 'of = "S"'  # of rank 2
LORA = "in = 10\nout = 20\nr = 1"  # 30 parameters
RIGHT_RULE = 'rule = {name = "own", of = "A"}'  # of rank 1
RIGHT_CONFLICT = 'conflict = {with = "another place", of = "A"}'
RIGHT_UNDER = 'under = {text = "for A", of = "A"}'

ONE_OF_EACH = {
    "false": lambda: verdict_of("rank", S, "1", "at-most"),
    "shape": lambda: verdict_of("shape", 'of = "A B"', "3 x 3"),
    "slip": lambda: verdict_of("rank", S, "1"),
    "conflict": lambda: verdict_of("rank", f"{S}\n{RIGHT_CONFLICT}", "1"),
    "conditional": lambda: verdict_of("rank", f"{S}\n{RIGHT_UNDER}", "1"),
    "unsupported": lambda: outside('unsupported = "nothing"'),
    "measured": lambda: verdict_of("study-finding", 'claim = "full-forgets"'),
    "metaphor": lambda: outside('hides = "much"'),
    "not judged": lambda: outside('reason = "it takes an experiment"'),
    "by-rule": lambda: verdict_of("rank", f"{S}\n{RIGHT_RULE}", "1"),
    "truncated": lambda: verdict_of("lora-count", "in = 40\nout = 39\nr = 1", "0.07K"),
    "confirmed": lambda: verdict_of("rank", S, "2"),
}


@over({name: (name, make) for name, make in ONE_OF_EACH.items()})
def test_each_verdict_comes_out_of_a_claim_of_its_kind(case):
    verdict, make = case
    j = make()
    assert (j.verdict, j.problems) == (verdict, ())
    assert tuple(ONE_OF_EACH) == VERDICTS == tuple(MEANINGS)


ALL = f"{S}\n{RIGHT_RULE}\n{RIGHT_CONFLICT}\n{RIGHT_UNDER}"
WRONG_RULE = RIGHT_RULE.replace('"A"', '"W0"')
AB = 'of = "A B"'  # undefined: 1 x 2 and 3 x 1
BA = 'under = {text = "B A", of = "B A"}'

ORDER = (
    # confirmed before a rule, a rule before a conflict, a conflict before a condition
    ("confirmed", "rank", ALL, "2", "printed"),
    ("by-rule", "rank", ALL, "1", "printed"),
    ("conflict", "rank", f"{S}\n{RIGHT_CONFLICT}\n{RIGHT_UNDER}", "1", "printed"),
    ("conditional", "rank", f"{S}\n{RIGHT_UNDER}", "1", "printed"),
    ("slip", "rank", S, "1", "printed"),
    # what does not bear it out is passed over
    ("conditional", "rank", f"{S}\n{WRONG_RULE}\n{RIGHT_UNDER}", "1", "printed"),
    ("slip", "rank", ALL, "3", "printed"),
    # what the file states for itself is no slip
    ("false", "rank", S, "1", "equals"),
    ("conditional", "rank", f"{S}\n{RIGHT_UNDER}", "1", "equals"),
    # a condition before a shape
    ("shape", "frobenius-norm", AB, "3.162", "printed"),
    ("shape", "frobenius-norm", f"{AB}\n{BA}", "3.163", "printed"),
    ("conditional", "frobenius-norm", f"{AB}\n{BA}", "3.162", "printed"),
)


@over({str(case): case for case in ORDER})
def test_the_first_that_bears_out_what_is_printed_decides(case):
    verdict, *claim = case
    assert verdict_of(*claim).verdict == verdict


def test_a_shape_is_undefined_or_another_than_printed():
    (undefined, other, number) = (
        verdict_of("shape", keys, "3 x 3") for keys in ('of = "A A"', 'of = "B A"', 'of = "S"')
    )
    assert undefined.recomputed.startswith("undefined, not 3 x 3: no product of shapes")
    assert other.recomputed == "3 x 2, not 3 x 3"
    assert number.recomputed == "2 x 2, not 3 x 3"
    assert verdict_of("shape", 'of = "S"', "2 x 2").agreement == "exact"
    assert verdict_of("product", 'of = "S"', "2 1 4 3").verdict == "shape"


def test_a_printed_number_agrees_as_it_is_printed():
    found = {
        text: (j.verdict, j.agreement, j.recomputed)
        for text, about in (("79", ""), ("0.08K", ""), ("0.07K", ""), ("70", 'about = "20 %"'))
        for j in [verdict_of("lora-count", f"in = 40\nout = 39\nr = 1\n{about}", text)]
    }
    assert found == {
        "79": ("confirmed", "exact", "79"),
        "0.08K": ("confirmed", "rounded", "79"),
        "0.07K": ("truncated", "truncated", "79"),
        "70": ("confirmed", "about", "79"),
    }
    assert verdict_of("lora-count", "in = 40\nout = 39\nr = 1", "70").verdict == "slip"


@over({str(case): case for case in (
    ("at-least", "2", True), ("at-least", "3", False), ("above", "1", True), ("above", "2", False),
    ("at-most", "2", True), ("at-most", "1", False), ("below", "3", True), ("below", "2", False),
)})  # fmt: skip
def test_a_bound_is_exact_and_inclusive_as_its_name_says(case):
    key, text, holds = case
    j = verdict_of("rank", S, text, key)
    assert j.verdict == ("confirmed" if holds else "false")
    assert (j.printed, j.recomputed) == (f"{key.replace('-', ' ')} {text}", "2")


def test_every_entry_keeps_every_bound_and_the_trend_is_strict():
    values = "in = [1, 2, 2]\nout = 1"  # 1, 2, 2
    assert verdict_of("full-count", values + '\nabove = "0"', "2", "at-most").verdict == "confirmed"
    assert verdict_of("full-count", values + '\nabove = "1"', "2", "at-most").verdict == "false"
    assert verdict_of("full-count", values, "1", "at-most").verdict == "false"
    assert verdict_of("full-count", values, "rises", "trend").verdict == "false"
    assert verdict_of("full-count", values.replace("2]", "3]"), "rises", "trend").verdict == (
        "confirmed"
    )
    assert verdict_of("full-count", "in = [1]\nout = 1", "rises", "trend").verdict == "false"


def test_what_must_hold_too_must_hold():
    also = f'{S}\nalso = [{{of = "A", printed = "1"}}, {{of = "B", printed = "1"}}]'
    assert verdict_of("rank", also, "2").verdict == "confirmed"
    assert verdict_of("rank", also.replace('"1"}]', '"2"}]'), "2").verdict == "slip"
    assert verdict_of("rank", also, "1").verdict == "slip"
    under = 'under = {text = "u", of = "A", also = [{of = "B", printed = "1"}]}'
    assert verdict_of("rank", f"{S}\n{under}", "1").verdict == "conditional"
    assert verdict_of("rank", f"{S}\n{under}".replace('"B"', '"W0"'), "1").verdict == "slip"


def test_a_correction_a_rule_and_a_conflict_hold_only_with_their_own_also():
    of_1, of_2 = 'also = [{of = "B", printed = "1"}]', 'also = [{of = "B", printed = "2"}]'
    parts = {
        "by-rule": f'rule = {{name = "own", of = "A", {of_1}}}',
        "conflict": f'conflict = {{with = "p. 2", of = "A", {of_1}}}',
    }
    for verdict, part in parts.items():
        assert verdict_of("rank", f"{S}\n{part}", "1").verdict == verdict
        assert verdict_of("rank", f"{S}\n{part}".replace(of_1, of_2), "1").verdict == "slip"
    corrected = f'{S}\ncorrection = {{text = "it is", printed = "2", {of_1}}}'
    assert verdict_of("rank", corrected, "1").correction_holds
    (problem,) = verdict_of("rank", corrected.replace(of_1, of_2), "1").problems
    assert "the correction does not hold" in problem


# ---------------- rules and conflicts


READINGS = (
    ("binary-units", "model-bytes", 'model = "gpt2"\nbits = 16', "237M", "by-rule"),
    ("binary-units", "model-bytes", 'model = "gpt2"\nbits = 16', "238M", "slip"),
    ("thousand-kib", "stated", "number = 33_554_432", "32.8 MB", "by-rule"),
    ("thousand-kib", "stated", "number = 33_554_432", "32.6 MB", "slip"),
    ("thousand-kib", "stated", "number = 49_152", "48 KB", "by-rule"),
    ("thousand-kib", "stated", "number = 33_554_432_000", "32.8 GB", "by-rule"),
    ("thousand-kib", "stated", "number = 33_554_432", "33,554,431", "slip"),
    ("file-listing", "stated", "number = 1_100_000", "1.1M", "confirmed"),
    ("file-listing", "stated", "number = 1_160_000", "1.2M", "confirmed"),
    ("file-listing", "stated", "number = 1_155_000", "1.3M", "slip"),
    ("file-listing", "stated", "number = 3_400_000", "3.3M", "by-rule"),
    ("doubled-after-cutting", "stated", "number = 3_180_000", "3.0M", "by-rule"),
    ("doubled-after-cutting", "stated", "number = 3_180_000", "2.8M", "slip"),
)


@over({str(case): case for case in READINGS})
def test_a_reading_takes_the_printed_number_in_another_way(case):
    rule, quantity, keys, printed, verdict = case
    j = verdict_of(quantity, f'{keys}\nrule = "{rule}"', printed)
    assert (j.verdict, j.problems) == (verdict, ())


def test_a_reading_of_more_than_one_number_bears_nothing_out():
    assert verdict_of("product", f'{S}\nrule = "binary-units"', "3").verdict == "shape"
    assert verdict_of("singular-values", f'{S}\nrule = "file-listing"', "5.3 0.3").verdict == "slip"


def test_a_counting_rule_is_one_more_rule_of_the_count():
    keys = 'model = "gpt2"\nr = 1\ntargets = ["c_attn"]\nsaved = ["wpe"]'
    plain = verdict_of("model-trainable", keys, "823,296")
    ruled = verdict_of("model-trainable", f'{keys}\nrule = "saved-twice-trained"', "1,609,728")
    assert (plain.verdict, ruled.verdict, ruled.by_rule) == ("confirmed", "by-rule", "1,609,728")
    assert ruled.recomputed == "823,296"


def test_a_rule_that_is_not_needed_does_no_harm():
    j = verdict_of("rank", f"{S}\n{RIGHT_RULE}", "2")
    assert (j.verdict, j.agreement, j.problems) == ("confirmed", "exact", ())


def test_two_printed_places_are_compared_where_nothing_can_be_computed():
    def places(one, other):
        keys = f'printed = "{one}"\nelsewhere = {{printed = "{other}", where = "p. 2"}}'
        text = f'[[claim]]\nid = "it"\ntext = "s"\nreason = "{{value}}, {{elsewhere}}"\n{keys}\n'
        (claim,) = parse(SOURCE + text).claims
        j = judge(claim)
        return j.verdict, j.agreement, j.printed, j.reason

    assert places("25", "25.0") == ("confirmed", "exact", "25", "25, 25.0")
    assert places("25", "24.6") == ("confirmed", "rounded", "25", "25, 24.6")
    assert places("25", "26") == ("conflict", None, "25", "25, 26")


def test_a_conflict_with_what_is_printed_elsewhere_needs_the_value_to_agree_with_that():
    conflict = 'conflict = {with = "p. 2", printed = "2"}'
    assert verdict_of("rank", f"{S}\n{conflict}", "1").verdict == "conflict"
    assert verdict_of("rank", f'of = "A"\n{conflict}', "3").verdict == "slip"


# ---------------- corrections, reasons, and what goes wrong


def test_a_correction_that_does_not_hold_is_a_problem_and_a_missing_one_is_none():
    assert verdict_of("rank", S, "1").problems == ()
    right = verdict_of("rank", f'{S}\ncorrection = {{text = "it is", equals = "2"}}', "1")
    assert (right.correction, right.correction_holds, right.problems) == ("it is: 2", True, ())
    wrong = verdict_of("rank", f'{S}\ncorrection = {{text = "it is", equals = "3"}}', "1")
    assert wrong.problems == ("it: the correction does not hold: it is: 2, expected 3",)
    assert (wrong.verdict, wrong.correction_holds) == ("slip", False)
    cut = 'number = "0.79"\ncorrection = {text = "it is {right}", equals = "0.7"}'
    assert verdict_of("stated", cut, "1").problems == (
        "it: the correction does not hold: it is 0.79, expected 0.7",
    )


def test_a_reason_names_inputs_derived_values_and_what_came_out():
    keys = f'{LORA}\nrule = {{name = "own", r = 2}}\nunder = {{text = "at {{under}}", r = 3}}'
    keys += '\ncorrection = {text = "{right}", equals = "30"}'
    keys += '\nderived.half = {quantity = "ratio", numerator = 1, denominator = 2}'
    keys += '\nreason = "{in} {half} {half:.0%} {value:.2f} {by_rule} {under} {right}"'
    j = verdict_of("lora-count", keys, "7")
    assert (j.verdict, j.recomputed, j.correction) == ("slip", "30; at 90: 90", "30")
    assert j.reason == "10 0.5 50% 30.00 60 90 30"


def test_a_reason_may_name_what_is_undefined():
    keys = f'{S}\nderived.n = {{quantity = "product", of = "A A"}}\nreason = "{{n}} {{n:.1f}}"'
    assert verdict_of("rank", keys, "2").reason == "undefined undefined"


def test_a_quantity_that_raises_is_a_problem_and_no_verdict():
    def planted(number: OneNumber) -> OneNumber:
        raise ZeroDivisionError("planted")

    planted.__annotations__ = QUANTITIES["stated"].compute.__annotations__
    try:
        QUANTITIES["planted"] = quantity_of(planted, "Tests")
        j = verdict_of("planted", "number = 1", "1")
    finally:
        del QUANTITIES["planted"]
    assert (j.verdict, j.value) == (None, None)
    assert j.problems == ("it: recomputing raised ZeroDivisionError: planted",)
    (again,) = verdict_of("ratio", "numerator = 1\ndenominator = 0", "1").problems
    assert again == "it: recomputing raised LoraRefError: denominator is 0, expected another number"


@pytest.mark.parametrize("name", ["example", "template"])
def test_a_file_that_comes_along_has_the_verdicts_that_it_announces(name):
    path = EXAMPLES / f"{name}.toml"
    text = path.read_text(encoding="utf-8")
    announced = re.findall(r'\[\[claim\]\] # comes out as: (\w+)\nid = "([\w-]+)"', text)
    judgements = [judge(claim) for claim in read(path).claims]
    assert [(j.verdict, j.claim.id) for j in judgements if j.claim.check] == announced
    assert [problem for j in judgements for problem in j.problems] == []
