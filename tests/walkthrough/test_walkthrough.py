"""The 4x4 example: floats against fractions, gradients against quotients, print against print."""

import json
import runpy
import tomllib
from dataclasses import replace
from fractions import Fraction
from itertools import permutations
from math import prod
from typing import Any

import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref import claims, lowrank, walkthrough
from lora_ref.claims import article, judge
from lora_ref.claims.reader import read_tables
from lora_ref.exact import fractions_of, rank_and_determinant
from lora_ref.layers import LoRALinear
from lora_ref.walkthrough import EXACT, PRINTED, Part, Root, Step, exact_pass, example, steps, tiled

STEPS = {step.name: step for step in walkthrough.all_steps()}
PARTS = [(step, name) for step in STEPS.values() for name in step.parts]


def label(value: Any) -> str:
    return value.name if isinstance(value, Step) else str(value)


def as_floats(exact: Any) -> np.ndarray:
    return np.vectorize(float, otypes=[float])(np.asarray(exact))


def exact_of(step: str, part: str) -> Any:
    return STEPS[step].parts[part].exact


# floats beside fractions


def test_there_are_fourteen_steps_with_names_of_their_own_numbered_in_order():
    assert [step.number for step in walkthrough.all_steps()] == list(range(1, 15))
    assert len(STEPS) == 14
    assert [STEPS[name].number for name in ("update", "terms", "norm")] == [4, 8, 9]


@each(("step", "name"), PARTS)
def test_floats_are_fractions_in_every_entry_to_rounding(step, name):
    part = step.parts[name]
    assert np.shape(part.value) == np.shape(part.exact)
    assert_allclose(part.value, as_floats(part.exact), rtol=1e-12, atol=1e-12)
    assert all(isinstance(n, Fraction | Root) for n in np.asarray(part.exact).flat)


def test_a_fault_in_the_layer_moves_the_floats_and_no_fraction(monkeypatch):
    monkeypatch.setattr(LoRALinear, "scaling", property(lambda self: 7.0))
    faulty = {step.name: step for step in walkthrough.all_steps()}
    for name, step in STEPS.items():
        for part in step.parts:
            assert np.all(faulty[name].parts[part].exact == step.parts[part].exact)
    for name, part in [
        ("update", "Delta W"),
        ("scaling", "s"),
        ("merge", "W"),
        ("norm", "|Delta W|"),
        ("forward-one-step", "y"),
        ("forward-two-steps", "(alpha/r) B (A x)"),
        ("forward-two-steps", "y"),
        ("gradients", "grad A"),
        ("gradients", "grad B"),
        ("sgd", "loss after"),
        ("merge-again", "y, merged"),
        ("merge-again", "y, not merged"),
    ]:
        moved = np.abs(faulty[name].parts[part].value - as_floats(exact_of(name, part)))
        assert np.min(moved) > 1e-3, (name, part)


def test_a_fault_in_the_outer_products_moves_the_terms_and_no_fraction(monkeypatch):
    monkeypatch.setattr(
        lowrank,
        "outer_products",
        lambda A, B: np.array([np.outer(a, b) for a, b in zip(A, B.T, strict=True)]),
    )
    faulty = {step.name: step for step in walkthrough.all_steps()}["terms"]
    for name, part in STEPS["terms"].parts.items():
        assert np.all(faulty.parts[name].exact == part.exact)
    for name in ("b_1 a_1^T", "b_2 a_2^T", "their sum"):
        assert not np.allclose(faulty.parts[name].value, as_floats(exact_of("terms", name)))


def test_the_example_starts_at_W0_bit_for_bit():
    assert_array_equal(STEPS["start"].parts["W"].value, as_floats(EXACT.W0))


# the update


def test_update_is_the_sum_over_r_of_B_times_A():
    A, B = [[[Fraction(t) for t in row] for row in m] for m in (PRINTED.A, PRINTED.B)]
    by_hand = [[sum(B[i][k] * A[k][j] for k in range(2)) for j in range(4)] for i in range(4)]
    assert exact_of("update", "Delta W").tolist() == by_hand
    assert by_hand[0] == [Fraction(n, 100) for n in (11, 14, 17, 20)]


def test_squared_norm_of_the_update_is_187_50ths():
    assert exact_of("norm", "|Delta W|") == Root(Fraction(187, 50))
    assert str(exact_of("norm", "|Delta W|")) == "sqrt(187/50)"
    assert f"{STEPS['norm'].parts['|Delta W|'].value:.4f}" == "1.9339"


def test_update_has_rank_two_and_the_merged_weight_rank_four():
    assert (exact_of("update", "rank"), exact_of("merge", "rank")) == (2, 4)
    assert exact_of("pretrained", "rank") == 4
    assert exact_of("pretrained", "determinant") == Fraction("0.0285")


# the terms


def test_a_term_is_a_column_of_B_times_a_row_of_A():
    for k, name in enumerate(("b_1 a_1^T", "b_2 a_2^T")):
        by_hand = [[EXACT.B[i, k] * EXACT.A[k, j] for j in range(4)] for i in range(4)]
        assert exact_of("terms", name).tolist() == by_hand
        assert rank_and_determinant(exact_of("terms", name))[0] == 1


def test_the_terms_add_up_to_the_update():
    terms = STEPS["terms"].parts
    assert np.all(terms["their sum"].exact == exact_of("update", "Delta W"))
    assert_allclose(terms["their sum"].value, STEPS["update"].parts["Delta W"].value, rtol=1e-15)


def test_the_derivative_reaches_as_many_dimensions_as_the_formula_says():
    reached = STEPS["terms"].parts["dimensions that B A reaches"]
    assert reached.value == reached.exact == 2 * (4 + 4 - 2)
    assert exact_of("terms", "dimensions of all W") == 16
    assert judge(article().claim("one-dim-manifold")).value == reached.value


def test_two_updates_of_rank_two_do_add_up_to_rank_four():
    assert judge(article().claim("r-dim-subspace")).value == 4
    assert "two updates of rank 2 can add up to rank 4" in STEPS["terms"].note


# what the article prints


def printed_in(claim: str) -> Any:
    return article().claim(claim).check.expected.printed


def test_the_printed_matrices_are_those_of_the_articles_claims(monkeypatch):
    text = (claims.DATA / "article.toml").read_text(encoding="utf-8")
    tables = tomllib.loads(text.replace("0.80 0.20 0.30 0.70", "0.81 0.20 0.30 0.70"))
    other = {claim["id"]: claim for claim in tables["claim"] if "id" in claim}
    other["frobenius"]["printed"] = "8.98"
    changed = read_tables(tables, compute=False)
    assert runpy.run_path(example.__file__)["PRINTED"] == PRINTED
    monkeypatch.setattr(claims, "article", lambda: changed)
    found = runpy.run_path(example.__file__)
    assert found["PRINTED"].W0[0] == ("0.81", "0.20", "0.30", "0.70")
    assert found["EXACT"].W0[0, 0] == Fraction("0.81")
    assert found["PRINTED"]._replace(W0=PRINTED.W0, norm=PRINTED.norm) == PRINTED
    assert found["PRINTED"].norm == "8.98"


@pytest.mark.parametrize(
    ("step", "name", "claim", "place"),
    [
        ("pretrained", "rank", "w0-full-rank", None),
        ("update", "Delta W", "ab-matrix", None),
        ("scaling", "s", "scaling-one", None),
        ("merge", "W", "merge-sums", None),
        ("parameters", "W0", "count-4x4", None),
        ("parameters", "A", "count-lora-4", 0),
        ("parameters", "B", "count-lora-4", 1),
        ("parameters", "A and B", "count-lora-4", 2),
        ("parameters", "W0 at 1024", "count-1024", None),
        ("parameters", "A and B, r = 8", "count-lora-1024", None),
        ("parameters", "A and B, % of W0", "ratio-1024", None),
        ("norm", "|Delta W|", "frobenius", None),
    ],
)
def test_a_step_and_a_claim_print_the_same_of_the_article(step, name, claim, place):
    printed = printed_in(claim)
    assert STEPS[step].parts[name].printed == (printed if place is None else printed[place])


def test_alpha_and_r_are_those_of_the_article():
    inputs = article().claim("scaling-one").check.inputs
    for name, ours in (("alpha", walkthrough.ALPHA), ("r", walkthrough.R)):
        part = STEPS["scaling"].parts[name]
        assert part.value == part.exact == int(part.printed) == ours == inputs[name] == 2


def test_the_printed_first_entry_is_the_sum_of_the_printed_terms():
    terms = [Fraction(term) for term in PRINTED.AB_terms]
    right = [a * b for a, b in zip(EXACT.A[0], EXACT.B[:, 0], strict=True)]
    assert sum(terms) == Fraction(PRINTED.AB[0][0])
    wrong = [term for term, product in zip(terms, right, strict=True) if term != product]
    assert wrong == [Fraction("0.10")]
    assert right[0] == Fraction("0.01")
    assert sum(right) == Fraction(1, 2) == exact_of("update", "A B")[0, 0]
    part = STEPS["update"].parts["AB_11 terms"]
    assert part.exact.tolist() == right
    assert part.printed == "0.10, 0.06, 0.15, 0.28"


def test_the_printed_columns_are_arithmetic_sequences():
    rises = np.diff(fractions_of(PRINTED.AB), axis=0)
    assert np.all(rises == fractions_of(("0.80", "1.00")))


def test_the_printed_A_and_B_are_arithmetic_sequences():
    for matrix in (EXACT.A, EXACT.B):
        assert np.all(np.diff(matrix.ravel()) == Fraction(1, 10))


def test_the_16_printed_sums_are_those_of_W0_and_the_tiled_print():
    assert np.all(EXACT.W0 + fractions_of(tiled(PRINTED.AB)) == fractions_of(PRINTED.W))
    with pytest.raises(ValueError, match="broadcast"):
        EXACT.W0 + fractions_of(PRINTED.AB)


def test_the_printed_norm_is_not_that_of_the_printed_numbers():
    root = exact_of("norm", "the article's sum, redone")
    assert root.square == 2 * sum(Fraction(text) ** 2 for row in PRINTED.AB for text in row)
    assert f"{float(root):.4f}" == "9.0650"
    eight = exact_of("norm", "over its 8 printed numbers")
    assert eight.square == root.square / 2
    assert f"{float(eight):.2f}" == "6.41"
    assert PRINTED.norm == STEPS["norm"].parts["|Delta W|"].printed == "8.97"


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("W0", 16),
        ("A", 8),
        ("B", 8),
        ("A and B", 16),
        ("W0 at 1024", 1_048_576),
        ("A and B, r = 8", 16_384),
    ],
)
def test_the_printed_counts_are_right(name, count):
    part = STEPS["parameters"].parts[name]
    assert part.value == part.exact == count == int(part.printed.replace(",", ""))


def test_the_printed_share_is_right_at_its_digits():
    part = STEPS["parameters"].parts["A and B, % of W0"]
    assert part.exact == Fraction("1.5625")
    assert abs(part.exact - Fraction(part.printed.removesuffix(" %"))) <= Fraction("0.005")


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("pretrained", ["rank 3 is only 1.5 % of its norm", "determinant does not say so"]),
        ("update", ["2x2", "4x2", "becomes 0.59", "A B has 0.50", "B A has 0.11", "0.80 and 1.00"]),
        ("merge", ["a 4x2 matrix to a 4x4 one", "16 of its 16 sums"]),
        ("parameters", ["r = 2", "at rank 2 ", "At 1024", "at rank 512"]),
        ("terms", ["r (2d - r) dimensions", "no subspace"]),
        ("norm", ["16 numbers", "9.0650", "not 8.97"]),
        ("forward-two-steps", ["two steps B (A x) cost 16", "forming B A alone costs 32"]),
        ("gradients", ["1.3229"]),
        ("sgd", ["from 0.1400 to 0.0742"]),
    ],
)
def test_a_note_states_the_computed_numbers(name, facts):
    assert [fact for fact in facts if fact not in STEPS[name].note] == []


def test_notes_follow_the_inputs(monkeypatch):
    printed = PRINTED._replace(AB_terms=("0.20", "0.06", "0.15", "0.28"), norm="9.07")
    monkeypatch.setattr(steps, "PRINTED", printed)
    monkeypatch.setattr(steps, "EXACT", EXACT._replace(lr=Fraction("0.2")))
    faulty = {step.name: step for step in walkthrough.all_steps()}
    assert "becomes 0.69" in faulty["update"].note
    assert "not 9.07" in faulty["norm"].note
    assert "from 0.1400 to 0.0742" not in faulty["sgd"].note


# passes, gradients and the step


def test_one_step_and_two_steps_are_equal_in_fractions():
    assert np.all(exact_of("forward-one-step", "y") == exact_of("forward-two-steps", "y"))


@pytest.mark.parametrize("width", [Fraction(1), Fraction(1, 7)])
@pytest.mark.parametrize("factor", ["A", "B"])
def test_gradients_are_the_exact_central_difference_of_the_loss(factor, width):
    factors = {"A": EXACT.A, "B": EXACT.B}
    gradient = exact_of("gradients", f"grad {factor}")
    for where in np.ndindex(gradient.shape):
        losses = []
        for move in (width, -width):
            moved = factors[factor].copy()
            moved[where] += move
            losses.append(exact_pass(**{**factors, factor: moved}).loss)
        assert gradient[where] == (losses[0] - losses[1]) / (2 * width) != 0


def test_the_loss_is_half_the_squared_distance_to_the_target():
    y, target = exact_of("forward-one-step", "y"), exact_of("gradients", "target")
    squares = [(a - b) ** 2 for a, b in zip(y, target, strict=True)]
    assert exact_of("gradients", "loss") == sum(squares) / 2 == Fraction("0.14")


def test_one_step_moves_both_factors_against_their_gradients():
    for name, before in {"A": EXACT.A, "B": EXACT.B}.items():
        moved = exact_of("sgd", name) - before
        assert np.all(moved == -EXACT.lr * exact_of("gradients", f"grad {name}"))
        assert np.all(moved != 0)


def test_one_step_lowers_the_loss():
    for column in ("value", "exact"):
        before, after = (
            getattr(STEPS["sgd"].parts[name], column) for name in ("loss before", "loss after")
        )
        assert 0 < after < before


def test_merged_and_unmerged_are_equal_in_fractions_after_the_step():
    merged, unmerged = (exact_of("merge-again", f"y, {how}") for how in ("merged", "not merged"))
    assert np.all(merged == unmerged)
    assert np.all(merged != exact_of("forward-one-step", "y"))


def test_gradient_of_A_is_zero_at_the_start_and_that_of_B_is_not():
    start = exact_pass(EXACT.A, EXACT.B_start)
    assert not start.grad_A.any()
    assert start.grad_B.all()
    assert_array_equal(walkthrough.layer_pass(walkthrough.article_layer(EXACT.B_start)).grad_A, 0)


# tools


def test_decimals_are_read_exactly_and_kept_from_harm():
    numbers = fractions_of((("0.10", "-1.5"),))
    assert numbers.tolist() == [[Fraction(1, 10), Fraction(-3, 2)]]
    for array in (numbers, EXACT.W0, EXACT.A, EXACT.B, EXACT.x):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0


@given(st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_determinant_is_the_signed_sum_over_permutations(d, seed):
    matrix = np.random.default_rng(seed).integers(-2, 3, (d, d))
    rank, determinant = rank_and_determinant(fractions_of(matrix.astype(str).tolist()))
    signed = [
        round(np.linalg.det(np.eye(d)[list(p)])) * prod(int(matrix[i, p[i]]) for i in range(d))
        for p in permutations(range(d))
    ]
    assert determinant == sum(signed)
    assert rank == np.linalg.matrix_rank(matrix)


# text and JSON


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("step", STEPS.values(), ids=label)
def test_a_step_prints_in_ascii_on_80_columns(step, exact):
    text = walkthrough.format_step(step, exact=exact)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"{step.number}. {step.title}\n")
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert "\n\n\n" not in text
    assert [name for name in step.parts if name not in text] == []
    assert text.split()[-len(step.note.split()) :] == step.note.split()


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(
    ("step", "name"), [("update", "Delta W"), ("gradients", "grad B"), ("sgd", "Delta W")]
)
def test_a_printed_matrix_reads_back_as_the_fractions_in_aligned_columns(step, name, exact):
    lines = walkthrough.format_step(STEPS[step], exact=exact).splitlines()
    at = next(i for i, line in enumerate(lines) if line.split("   the")[0].strip() == name)
    matrix = exact_of(step, name)
    rows = [line.split()[: matrix.shape[1]] for line in lines[at + 1 : at + 1 + len(matrix)]]
    assert [[Fraction(text) for text in row] for row in rows] == matrix.tolist()
    assert len({len(line) for line in lines[at + 1 : at + 1 + len(matrix)]}) == 1


def test_the_article_stands_beside_a_matrix_only_where_it_prints_another():
    assert "W0, as in the article" in walkthrough.format_step(STEPS["pretrained"])
    for name, row in {
        "update": "0.11  0.14  0.17  0.20        0.59  0.74",
        "merge": "0.91  0.34  0.47  0.90        1.39  0.94  0.89  1.44",  # another, of one shape
    }.items():
        lines = walkthrough.format_step(STEPS[name]).splitlines()
        assert row in [line.strip() for line in lines]
        assert "as in the article" not in "\n".join(lines)


def test_a_negative_zero_prints_as_zero_and_a_whole_number_with_commas():
    parts = {
        "minus": Part(np.array([-0.0, -1e-12]), fractions_of(("0", "0"))),
        "many": Part(1234567, Fraction(1234567)),
    }
    text = walkthrough.format_step(replace(STEPS["norm"], parts=parts))
    assert "(0.00, 0.00)" in text
    assert "1,234,567" in text


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("step", STEPS.values(), ids=label)
def test_a_step_as_dict_survives_json(step, exact):
    record = walkthrough.step_as_dict(step, exact=exact)
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert list(record) == ["number", "name", "title", "formula", "parts", "note"]
    assert list(record["parts"]) == list(step.parts)
    assert all(("exact" in part) == exact for part in record["parts"].values())


def test_fractions_stand_in_json_as_texts():
    parts = walkthrough.step_as_dict(STEPS["update"], exact=True)["parts"]
    assert parts["Delta W"]["exact"][0] == ["11/100", "7/50", "17/100", "1/5"]
    assert parts["Delta W"]["printed"][0] == ["0.59", "0.74"]
    assert parts["rank"]["exact"] == "2"
    norm = walkthrough.step_as_dict(STEPS["norm"], exact=True)["parts"]["|Delta W|"]
    assert norm["exact"] == "sqrt(187/50)"
