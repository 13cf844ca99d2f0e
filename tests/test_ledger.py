"""The ledger is tested by mutation: what is printed and what is given decide, and nothing else."""

import unicodedata
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.errors import LoraRefError
from lora_ref.layers import Adapter
from lora_ref.ledger import CLAIMS, Claim, judge, layout, report
from lora_ref.ledger.claim import (
    NEEDS_CORRECTION,
    Correction,
    Evidence,
    Law,
    Measured,
    Number,
    Shape,
    agrees,
    read_number,
)
from lora_ref.study import committed, judge_claims
from lora_ref.worked import EXACT_A, EXACT_B, EXACT_W0, PRINTED_AB, fractions_of, tiled

BY_ID = {claim.id: claim for claim in CLAIMS}

EXPECTED = {
    "w0-full-rank": "confirmed", "w0-random": "unsupported", "square-params": "confirmed",
    "r-far-below-d": "false", "a-gaussian": "false", "a-rows-basis": "conditional",
    "b-zero-init": "confirmed", "delta-order": "shape", "ab-11": "slip", "ab-matrix": "shape",
    "scaling-one": "confirmed", "merge-shape": "shape", "merge-sums": "confirmed",
    "count-4x4": "confirmed", "count-lora-4": "confirmed", "count-1024": "confirmed",
    "count-lora-1024": "confirmed", "ratio-1024": "confirmed", "w-low-rank": "false",
    "one-dim-manifold": "false", "r-dim-subspace": "conditional", "outer-sum": "shape",
    "fixed-directions": "false", "frobenius": "slip", "error-vs-rank": "false",
    "billions-to-millions": "confirmed", "share-range": "conditional", "ab-size": "shape",
    "saving-98": "confirmed", "forward-order": "shape", "forward-split": "confirmed",
    "two-steps": "confirmed", "rank-bound": "confirmed", "scaling-guards-init": "false",
    "alpha-usually-r": "conditional", "alpha-direction": "confirmed",
    "alpha-gradient": "conditional", "qlora-alpha": "unsupported", "init-gaussian": "conditional",
    "breaks-symmetry": "confirmed", "smooth-start": "confirmed", "multi-task-sum": "shape",
    "multi-task-switch": "confirmed", "multi-task-count": "confirmed", "full-count": "confirmed",
    "lora-count": "confirmed", "adapter-formula": "shape", "full-forgets": "measured",
    "lora-keeps": "conditional", "adapter-keeps": "conditional",
    "linear-in-r-quadratic-in-d": "false", "forward-cost": "conditional",
    "grad-isolation": "false", "low-rank-regularises": "measured",
    "low-rank-suffices": "measured", "small-r-more-r": "confirmed",
    "optimal-balance": "unsupported", "filter-metaphor": "conditional",
    "palette-metaphor": "illustrated",
}  # fmt: skip

_DRAW = np.random.default_rng(3)
_SWAPPED = {"A": EXACT_B, "B": EXACT_A}
_LAW = BY_ID["breaks-symmetry"].given["A"]

# Every claim with inputs: one input changed, and the verdict that must come out of it.
_FORGOTTEN = [
    record | {"target": 1.0 if record["method"] == "lora-4" else 0.5, "source_attached": 0.9}
    for record in committed()
]
UNFALSIFIABLE = {"adapter-formula"}  # by its inputs; the adapter itself is changed below
CHANGED_INPUT = {
    "w0-full-rank": ({"W0": EXACT_W0[[0, 0, 2, 3]]}, "slip"),
    "w0-random": ({"W0": EXACT_W0 / 3}, "unsupported"),
    "square-params": ({"exponent": 3}, "false"),
    "r-far-below-d": ({"d": 1024}, "confirmed"),
    "a-gaussian": ({"A": _DRAW.normal(0, 0.02, (2, 4))}, "confirmed"),
    "a-rows-basis": ({"A": np.eye(2, 4)}, "confirmed"),
    "b-zero-init": ({"B": np.full((4, 2), 0.1)}, "false"),
    "delta-order": (_SWAPPED, "confirmed"),
    "ab-11": ({"A": EXACT_A + Fraction(9, 100) / EXACT_B[:, 0].sum()}, "confirmed"),
    "ab-matrix": (_SWAPPED, "shape"),
    "scaling-one": ({"alpha": 16}, "slip"),
    "merge-shape": ({"AB": fractions_of(tiled(PRINTED_AB))}, "confirmed"),
    "merge-sums": ({"W0": EXACT_W0 + 1}, "slip"),
    "count-4x4": ({"W0": EXACT_W0[:3]}, "slip"),
    "count-lora-4": ({"A": EXACT_A[:1]}, "slip"),
    "count-1024": ({"d": 1000}, "slip"),
    "count-lora-1024": ({"r": 4}, "slip"),
    "ratio-1024": ({"r": 4}, "slip"),
    "w-low-rank": ({"W0": EXACT_W0 * 0}, "confirmed"),
    "one-dim-manifold": ({"dimension": 12}, "confirmed"),
    "r-dim-subspace": ({"A2": EXACT_A, "B2": EXACT_B}, "confirmed"),
    "outer-sum": ({"A": EXACT_A * 2}, "shape"),
    "fixed-directions": ({"lr": 0}, "confirmed"),
    "frobenius": ({"AB": fractions_of((("8.97",),))}, "confirmed"),
    "error-vs-rank": (
        {"A": EXACT_A[[0, 0]], "B": EXACT_B[:, [0, 0]] * np.array([Fraction(1), Fraction(-1, 2)])},
        "confirmed",
    ),
    "billions-to-millions": (
        {"models": {"wide": BY_ID["share-range"].given["models"]["GPT-3, r = 1 on q and v"]
                    | {"r": 512}}},
        "false",
    ),
    "share-range": ({"low": "0.001 %", "high": "2 %"}, "confirmed"),
    "ab-size": ({"r": 16}, "shape"),
    "saving-98": ({"r": 16}, "slip"),
    "forward-order": (_SWAPPED, "confirmed"),
    "forward-split": ({"terms": ("W0 x",)}, "false"),
    "two-steps": ({"r": 3}, "false"),
    "rank-bound": ({"bound": 2}, "false"),
    "scaling-guards-init": ({"B": np.full((5, 2), 0.1)}, "confirmed"),
    "alpha-usually-r": ({"conventions": {"one default": (8, 8.0, "a source")}}, "confirmed"),
    "alpha-direction": ({"B": EXACT_B * 0}, "false"),
    "alpha-gradient": ({"ranks": (8,)}, "confirmed"),
    "init-gaussian": ({"widths": (768,)}, "confirmed"),
    "breaks-symmetry": ({"A": np.tile(_LAW[:1], (len(_LAW), 1))}, "false"),
    "smooth-start": ({"B": np.full((5, 2), 0.1)}, "false"),
    "multi-task-sum": ({"ranks": (1, 3)}, "shape"),
    "multi-task-switch": ({"retrained": 0.1}, "false"),
    "multi-task-count": ({"r": 512}, "false"),
    "full-count": ({"out_features": 20}, "false"),
    "lora-count": ({"out_features": 20}, "false"),
    "adapter-formula": ({"d": 7}, "shape"),
    "lora-keeps": ({"lr": 0.0}, "confirmed"),
    "adapter-keeps": ({"lr": 0.0}, "confirmed"),
    "linear-in-r-quadratic-in-d": ({"ranks": (8, 16)}, "confirmed"),
    "forward-cost": ({"ranks": (8,)}, "confirmed"),
    "grad-isolation": ({"x": np.zeros((6, 7))}, "confirmed"),
    "small-r-more-r": ({"step": lambda layer, x, grad_y, lr: (layer, grad_y)}, "false"),
    "filter-metaphor": ({"B": EXACT_B * 0}, "confirmed"),
    "full-forgets": ({"results": _FORGOTTEN}, "measured"),
    "low-rank-regularises": ({"results": _FORGOTTEN}, "measured"),
    "low-rank-suffices": ({"results": _FORGOTTEN}, "measured"),
}  # fmt: skip


_OTHER_ROWS = fractions_of((("1", "0", "0", "0"), ("0", "1", "0", "0")))

# Every conditional claim: an input with which it does not even hold under its condition.
CONDITION_FAILS = {
    "a-rows-basis": {"Q": np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])},
    "r-dim-subspace": {"r": 1},
    "share-range": {"low": "50 %", "high": "60 %"},
    "alpha-usually-r": {"conventions": {"one script": (8, 16.0, "a source")}},
    "alpha-gradient": {"other": False},
    "init-gaussian": {"widths": (4096,)},
    "forward-cost": {"ranks": (512,)},
    "lora-keeps": {"retrained": 0.1},
    "adapter-keeps": {"retrained": 0.1},
    "filter-metaphor": {"rows": _OTHER_ROWS},
}


def _decays(layer, x, grad_y, lr):
    return replace(layer, W0=0.9 * layer.W0), grad_y


# Every correction that is a law: an input with which it does not hold.
CORRECTION_FAILS = {
    "a-gaussian": {"A": EXACT_A * EXACT_A},
    "a-rows-basis": {"A": EXACT_A[[0, 0]]},
    "fixed-directions": {"r": 1},
    "filter-metaphor": {"B": EXACT_B[:, [0, 0]]},
    "scaling-guards-init": {"B": np.full((5, 2), 0.1)},
    "alpha-usually-r": {"equal": ((2, 4.0), (8, 8.0))},
    "alpha-gradient": {"other": False},
    "init-gaussian": {"per": 6},
    "forward-cost": {"d": 7, "ranks": (1,)},
    "grad-isolation": {"step": _decays},
    "multi-task-sum": {"ranks": (2,)},
    "lora-keeps": {"retrained": 0.1},
    "adapter-keeps": {"retrained": 0.1},
}


@pytest.fixture(scope="module")
def judged():
    return {claim.id: judge(claim) for claim in CLAIMS}


def test_every_claim_is_judged_as_expected_and_nothing_goes_wrong(judged):
    assert {name: j.verdict for name, j in judged.items()} == EXPECTED
    assert [p for j in judged.values() for p in j.problems] == []


def test_ids_are_unique():
    assert len(BY_ID) == len(CLAIMS)


def test_what_is_wrong_carries_a_correction_and_what_is_open_says_what_is_known(judged):
    for j in judged.values():
        if j.verdict in NEEDS_CORRECTION:
            assert j.correction, j.claim.id
            assert j.why, j.claim.id
        if j.verdict == "unsupported":
            assert "known: " in j.why
        if j.verdict == "illustrated":
            assert "hidden: " in j.why


def test_a_claim_has_no_place_to_store_a_verdict():
    assert not {"verdict", "ok", "expected"} & {f.name for f in fields(Claim)}


def test_measured_claims_have_the_finding_of_the_study_and_no_other_claim_has_one(judged):
    measured = {n: j for n, j in judged.items() if isinstance(j.claim.statement, Measured)}
    assert len(measured) == 3
    findings = judge_claims(committed())
    assert {n: j.finding for n, j in measured.items()} == {n: findings[n].finding for n in measured}
    assert all(j.finding is None for n, j in judged.items() if n not in measured)


def test_without_results_a_measured_claim_is_not_measured_yet_which_is_no_failure():
    for name in ("full-forgets", "low-rank-regularises", "low-rank-suffices"):
        j = judge(replace(BY_ID[name], given={"results": []}))
        assert (j.verdict, j.finding, j.problems) == ("measured", "not measured yet", ())


def test_the_numbers_of_the_study_are_filled_in(judged):
    for name in ("lora-keeps", "adapter-keeps"):
        assert judge_claims(committed())[name].text in judged[name].why


# ---------------- mutation of what is printed


def printed_texts(printed):
    """Every printed number of a statement with its path."""
    if isinstance(printed, str):
        yield (), printed
    else:
        for i, part in enumerate(printed):
            for path, text in printed_texts(part):
                yield (i, *path), text


def with_text(printed, path, text):
    if not path:
        return text
    return tuple(
        with_text(part, path[1:], text) if i == path[0] else part for i, part in enumerate(printed)
    )


def one_digit_changed(text):
    for at, character in enumerate(text):
        if character.isdigit():
            for other in {str((int(character) + 1) % 10), str((int(character) - 1) % 10)}:
                yield text[:at] + other + text[at + 1 :]


@pytest.mark.parametrize(
    "name",
    [c.id for c in CLAIMS if EXPECTED[c.id] == "confirmed" and isinstance(c.statement, Number)],
)
def test_any_changed_digit_of_a_confirmed_number_is_a_slip(name):
    claim = BY_ID[name]
    tried = 0
    for path, text in printed_texts(claim.statement.printed):
        for wrong in one_digit_changed(text):
            changed = with_text(claim.statement.printed, path, wrong)
            mutant = replace(claim, statement=replace(claim.statement, printed=changed))
            mutant = replace(mutant, correction=claim.correction or Correction("", claim.statement))
            assert judge(mutant).verdict == "slip", (name, path, wrong)
            tried += 1
    assert tried > 0


@pytest.mark.parametrize(("name", "right"), [("ab-11", "0.50"), ("frobenius", "9.06")])
def test_the_right_number_in_a_slip_confirms_it(name, right):
    claim = BY_ID[name]
    wrong_digit = replace(claim, statement=replace(claim.statement, printed=right))
    assert judge(wrong_digit).verdict == "confirmed"


@pytest.mark.parametrize(
    "name", [c.id for c in CLAIMS if isinstance(getattr(c.correction, "check", None), Number)]
)
def test_a_changed_digit_in_a_correction_is_a_problem(name):
    claim = BY_ID[name]
    check = claim.correction.check
    path, text = list(printed_texts(check.printed))[-1]
    wrong = next(one_digit_changed(text))
    planted = replace(check, printed=with_text(check.printed, path, wrong))
    judgement = judge(replace(claim, correction=replace(claim.correction, check=planted)))
    assert any("correction does not hold" in problem for problem in judgement.problems)


@pytest.mark.parametrize("name", [c.id for c in CLAIMS if isinstance(c.statement, Shape)])
def test_the_shape_that_comes_out_would_be_confirmed(name):
    """Only where the expression is defined at all."""
    claim = BY_ID[name]
    j = judge(claim)
    if j.recomputed.startswith("undefined"):
        assert "ShapeError" not in j.recomputed
        return
    shape = np.shape(claim.statement.value(**claim.given))
    assert judge(replace(claim, statement=replace(claim.statement, printed=shape))).verdict == (
        "confirmed"
    )


# ---------------- mutation of the inputs


def test_every_claim_with_inputs_has_a_changed_input():
    assert set(CHANGED_INPUT) == {claim.id for claim in CLAIMS if claim.given}


@pytest.mark.parametrize("name", CHANGED_INPUT)
def test_a_changed_input_changes_what_is_recomputed(name, judged):
    changed, verdict = CHANGED_INPUT[name]
    claim = BY_ID[name]
    assert set(changed) <= set(claim.given), "the input is one that the claim has"
    mutant = judge(replace(claim, given={**claim.given, **changed}))
    before = judged[name]
    assert mutant.verdict == verdict, mutant
    assert (mutant.verdict, mutant.recomputed, mutant.why) != (
        before.verdict,
        before.recomputed,
        before.why,
    )
    if isinstance(claim.statement, Measured):
        assert mutant.finding != before.finding


def test_every_predicate_can_come_out_otherwise(judged):
    laws = [claim.id for claim in CLAIMS if isinstance(claim.statement, Law)]
    assert len(laws) > 25
    for name in laws:
        assert CHANGED_INPUT[name][1] != judged[name].verdict, name


def test_every_condition_and_every_law_of_a_correction_has_an_input_that_breaks_it():
    assert set(CONDITION_FAILS) == {n for n, v in EXPECTED.items() if v == "conditional"}
    laws = {c.id for c in CLAIMS if isinstance(getattr(c.correction, "check", None), Law)}
    assert set(CORRECTION_FAILS) == laws - UNFALSIFIABLE


@pytest.mark.parametrize("name", CONDITION_FAILS)
def test_a_condition_can_fail(name):
    claim = BY_ID[name]
    assert set(CONDITION_FAILS[name]) <= set(claim.given)
    mutant = judge(replace(claim, given={**claim.given, **CONDITION_FAILS[name]}))
    assert mutant.verdict == "false"


@pytest.mark.parametrize("name", CORRECTION_FAILS)
def test_the_law_of_a_correction_can_fail(name):
    claim = BY_ID[name]
    assert set(CORRECTION_FAILS[name]) <= set(claim.given)
    mutant = judge(replace(claim, given={**claim.given, **CORRECTION_FAILS[name]}))
    assert mutant.correction_holds is False
    assert any("correction does not hold" in problem for problem in mutant.problems)


def test_the_law_of_the_adapter_compares_a_formula_with_real_arrays(monkeypatch):
    monkeypatch.setattr(Adapter, "trainable", property(lambda self: {"W_up": self.W_up}))
    assert judge(BY_ID["adapter-formula"]).correction_holds is False


# ---------------- the ledger's own faults


def test_a_recipe_that_raises_is_a_problem_and_no_verdict():
    def broken(**given):
        raise ZeroDivisionError("planted")

    j = judge(replace(BY_ID["count-4x4"], statement=Number("16", broken)))
    assert j.verdict is None
    assert j.problems == ("count-4x4: the recipe raised ZeroDivisionError: planted",)


def test_a_wrong_claim_without_a_correction_is_a_problem():
    j = judge(replace(BY_ID["ab-11"], correction=None))
    assert j.problems == ("ab-11: slip, and no correction is given",)


def test_a_law_is_conditional_only_by_its_condition():
    def law(as_stated, with_condition):
        evidence = Evidence(as_stated, {}, with_condition)
        statement = Law(lambda **given: evidence, "")
        right = Correction("", Law(lambda **given: Evidence(True, {}), ""))
        return judge(
            Claim(id="x", where=CLAIMS[0].where, says="", statement=statement, correction=right)
        )

    assert law(True, False).verdict == "confirmed"
    assert law(False, True).verdict == "conditional"
    assert law(False, False).verdict == "false"


def test_not_finite_is_not_a_number_to_judge():
    j = judge(replace(BY_ID["count-4x4"], statement=Number("16", lambda W0: float("nan"))))
    assert "expected a finite number" in j.problems[0]


# ---------------- judging in decimal


@given(st.integers(-(10**6), 10**6), st.integers(0, 5), st.integers(-1000, 1000))
def test_half_a_unit_of_the_last_digit_is_inclusive(mantissa, places, thousandths):
    unit = Fraction(1, 10**places)
    sign, digits = "-" * (mantissa < 0), f"{abs(mantissa):0{places + 1}d}"
    text = sign + (f"{digits[:-places]}.{digits[-places:]}" if places else digits)
    value = mantissa * unit + unit * Fraction(thousandths, 1000)
    assert agrees(text, value) == (abs(thousandths) <= 500)


def test_floats_are_judged_by_the_decimal_that_they_stand_for():
    assert not abs(0.505 - 0.50) <= 0.005, "the comparison in floats that this replaces"
    assert agrees("0.50", 0.505)
    assert agrees("0.50", np.float64(0.495))
    assert not agrees("0.50", 0.5051)


@pytest.mark.parametrize("text", ["", "abc", "1.2.3", "1e5", "½", "0x10", "--1", "%", "."])
def test_what_is_no_printed_number_is_refused(text):
    with pytest.raises(LoraRefError, match="is not a printed number"):
        read_number(text)


def test_separators_signs_and_percent_are_read():
    assert read_number("1,048,576") == (1048576, 1)
    assert read_number("1.56 %") == (Fraction(156, 10000), Fraction(1, 10000))
    assert read_number("−0.5") == (Fraction(-1, 2), Fraction(1, 10))


# ---------------- reports


def test_the_generated_page_is_current():
    page = Path(__file__).parents[1] / "docs" / "ledger.md"
    current = report.as_markdown([judge(claim) for claim in CLAIMS])
    assert page.read_text(encoding="utf-8") == current, "run: make docs"


def columns(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("width", [50, 80, 100, 120])
def test_text_fits_its_width_and_is_ascii_without_chinese(judged, width):
    plain = report.as_text(list(judged.values()), width=width, chinese=False)
    assert plain.isascii()
    both = report.as_text(list(judged.values()), width=width)
    limit = max(width, 62)  # the longest place of a claim needs so much
    assert [line for line in (plain + "\n" + both).splitlines() if columns(line) > limit] == []


def test_a_division_is_not_taken_for_a_matrix(judged):
    for claim in (j.claim for j in judged.values()):
        assert layout.matrix_lines(claim.says) == [claim.says]
    assert len(layout.matrix_lines(judged["ab-matrix"].printed)) == 4


def test_text_names_every_claim_and_counts_them(judged):
    text = report.as_text(list(judged.values()))
    assert all(name in text for name in judged)
    assert f"{len(CLAIMS)} claims, 52 recomputed: 9 false" in text.replace("\n", " ")
    assert "初始化低秩矩阵" in text
    assert "\x1b" not in text
    assert "\x1b[1;" in report.as_text(list(judged.values()), colour=True)


def test_worst_first_begins_with_what_did_not_run(judged):
    broken = replace(judged["ab-11"], verdict=None)
    order = report.worst_first([*judged.values(), broken])
    assert order[0] is broken
    assert order[-1].verdict == "confirmed"
