"""A lecture's file: judged as the ledger judges, and refused with a sentence for every fault."""

import json
import re
import tomllib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import seeds

from lora_ref.layers import Linear, LoRALinear
from lora_ref.ledger import CLAIMS
from lora_ref.ledger import judge as judge_claim
from lora_ref.ledger import lecture as lectures
from lora_ref.ledger.lecture import VOCABULARY, exact, report

FOLDER = Path(lectures.__file__).parent
PAGE = Path(__file__).parents[1] / "docs" / "your-lecture.md"
ARTICLE, EXAMPLE, TEMPLATE = (
    (FOLDER / f"{name}.toml").read_text(encoding="utf-8")
    for name in ("article", "example", "template")
)


def judged(text):
    """Return the judgements of a text by id."""
    lecture = lectures.parse(text)
    return {j.claim.id: j for j in lectures.judge(lecture)}


def changed_digit(text, at, by=1):
    """Return a text with one digit another one."""
    return text[:at] + str((int(text[at]) + by) % 10) + text[at + 1 :]


# ---------------- the article, the example, the template


def test_the_article_as_a_file_gets_the_verdicts_of_the_ledger():
    lecture = lectures.parse(ARTICLE)
    ours = {j.claim.id: j for j in lectures.judge(lecture)}
    ledger = {claim.id: judge_claim(claim) for claim in CLAIMS}
    outside = {one.id for one in lecture.outside}
    assert set(ours) | outside == set(ledger)
    assert not set(ours) & outside
    assert len(ours) >= 42
    assert {name: j.verdict for name, j in ours.items()} == {
        name: ledger[name].verdict for name in ours
    }
    assert [problem for j in ours.values() for problem in j.problems] == []


def test_the_article_as_a_file_prints_and_recomputes_what_the_ledger_does():
    ours = judged(ARTICLE)
    compared = 0
    for claim in CLAIMS:
        j = judge_claim(claim)
        if claim.id in ours and j.printed is not None:
            assert ours[claim.id].printed == j.printed, claim.id
            assert ours[claim.id].recomputed == j.recomputed, claim.id
            compared += 1
    assert compared >= 11


def test_every_claim_of_the_ledger_that_prints_a_number_or_a_shape_is_in_the_file():
    from lora_ref.ledger.claim import Number, Shape

    numbers_and_shapes = {c.id for c in CLAIMS if isinstance(c.statement, Number | Shape)}
    assert numbers_and_shapes <= set(judged(ARTICLE))


@pytest.mark.parametrize("text", [EXAMPLE, TEMPLATE], ids=["example", "template"])
def test_a_file_that_comes_along_has_the_verdicts_that_it_announces(text):
    announced = dict(
        reversed(pair)
        for pair in re.findall(r'\[\[claim\]\] # comes out as: (\w+)\nid = "([\w-]+)"', text)
    )
    ours = judged(text)
    assert {name: j.verdict for name, j in ours.items()} == announced
    assert [problem for j in ours.values() for problem in j.problems] == []


def test_the_example_shows_every_verdict_that_a_file_can_have():
    assert {j.verdict for j in judged(EXAMPLE).values()} == set(report.MEANINGS)


# ---------------- every printed digit decides

HEAD, *BLOCKS = re.split(r"(?m)^(?=\[\[claim\]\])", ARTICLE)
BLOCKS = [re.split(r"(?m)^\[\[outside\]\]", block)[0] for block in BLOCKS]
PRINTED = re.compile(r'(?ms)^printed = ("""(?:.*?)"""|"[^"\n]*")')
STATED = {j.claim.id: j.verdict for j in lectures.judge(lectures.parse(ARTICLE))}


def printed_digits(block):
    """Yield the place of every digit of what a block prints, and the table that it stands in."""
    for found in PRINTED.finditer(block):
        for at in range(found.start(1), found.end(1)):
            if block[at].isdigit():
                above = re.findall(r"(?m)^\[claim\.(\w+)\]", block[:at])
                yield at, above[-1] if above else "claim"


NUMBERED = {
    tomllib.loads(block)["claim"][0]["id"]: block for block in BLOCKS if any(printed_digits(block))
}


@pytest.mark.parametrize("name", NUMBERED)
def test_a_changed_digit_of_the_article_is_noticed(name):
    block = NUMBERED[name]
    digits = dict(printed_digits(block))
    variants = [
        changed_digit(block, at).replace(f'id = "{name}"', f'id = "{name}-{at}"', 1)
        for at in digits
    ]
    ours = judged(HEAD + "".join(variants))  # in one file, whose matrices are computed once
    assert len(ours) == len(digits)
    for at, table in digits.items():
        j = ours[f"{name}-{at}"]
        if table == "correction":
            assert j.problems, (name, at)
        elif table == "under":
            assert j.verdict == "false", (name, at)
        elif STATED[name] == "confirmed":
            assert j.verdict in ("slip", "shape"), (name, at)
        else:  # only the right number can make it right
            right = j.recomputed.partition(";")[0]
            assert j.verdict == STATED[name] or j.printed == right, (name, at)


def test_the_right_number_confirms_what_was_a_slip():
    right = ARTICLE.replace('printed = "0.59"', 'printed = "0.50"')
    right = right.replace('of = "A B"\nprinted = "4 x 4"', 'of = "A B"\nprinted = "2 x 2"')
    ours = judged(right)
    assert (STATED["ab-11"], ours["ab-11"].verdict) == ("slip", "confirmed")
    assert (STATED["delta-order"], ours["delta-order"].verdict) == ("shape", "confirmed")


# ---------------- every quantity of the vocabulary, with a value worked out by hand

MATRICES = """
[lecture]
title = "t"
[matrices]
M = [[3, 0], [0, 4], [0, 0]]
S = [[2, 1], [4, 3]]
W0 = [[1, 2], [3, 4], [5, 6]]
A = [[1, 2]]
B = [[1], [0], [-1]]
x = [1, 1]
grad_y = [1, 2, 4]
"""

BY_HAND = {
    "entry": ('of = "S S"\nrow = 2\ncolumn = 1', "20"),
    "product": ('of = "W0 x"', "3 7 11"),
    "sum": ('of = ["W0", "B A", "M"]', "5 4 / 3 8 / 4 4"),
    "difference": ('of = ["W0", "M"]', "-2 2 / 3 0 / 5 6"),
    "scaled": ('of = "A"\nby = "1/4"', [["0.25", "0.50"]]),
    "transpose": ('of = "W0"', "1 3 5 / 2 4 6"),
    "beside": ('of = ["B", "M"]', "1 3 0 / 0 0 4 / -1 0 0"),
    "term": ("k = 1", "1 2 / 0 0 / -1 -2"),
    "best-approximation": ('of = "M"\nr = 1', "0 0 / 0 4.0 / 0 0"),
    "trace": ('of = "S"', "5"),
    "determinant": ('of = "S"', "2"),
    "rank": ('of = "B A"', "1"),
    "frobenius-norm": ('of = "M"', "5"),
    "squared-norm": ('of = "M"', "25"),
    "spectral-norm": ('of = "M"', "4"),
    "nuclear-norm": ('of = "M"', "7"),
    "singular-values": ('of = "M"', "4 3"),
    "condition-number": ('of = "M"', "1.33333"),
    "effective-rank": ('of = "M"', "1.9796"),
    "truncation-error": ('of = "M"\nr = 1\nnorm = "spectral"', "3.0"),
    "largest-entry": ('of = "B A"', "2"),
    "size": ('of = "W0"', "6"),
    "shape": ('of = "B A x"', "3"),
    "product-shape": ('shapes = ["3 x 1", "1 x 70000"]', "3 x 70000"),
    "path": ('of = ["B", "A"]', "2, 1, 3"),
    "ratio": ('numerator = 1\ndenominator = "8"', "12.5 %"),
    "scaling": ("alpha = 6\nr = 9\nrank-stabilised = true", "2"),
    "delta-w": ("alpha = 3", "3 6 / 0 0 / -3 -6"),
    "merged": ("", "2 4 / 3 4 / 4 4"),
    "output": ("alpha = 2", "9 7 5"),
    "grad-A": ("alpha = 2", [["-6", "-6"]]),
    "grad-B": ("", [["3"], ["6"], ["12"]]),
    "grad-x": ("", "24 28"),
    "grad-W0": ("", "1 1 / 2 2 / 4 4"),
    "kaiming-std": ("in = 12", "0.1667"),
    "full-count": ("in = 3\nout = 5\ncopies = 2", "30"),
    "lora-count": ("in = 3\nout = 5\nr = 2\ncopies = 10", "160"),
    "dora-count": ("in = 3\nout = 5\nr = 2\ncopies = 10", "210"),
    "adapter-count": ("d = 10\nm = 3", "73"),
    "tasks-count": ("in = 10\nout = 10\nr = 1\ntasks = 3", "160"),
    "lora-share": ("in = 10\nout = 10\nr = 1", "20 %"),
    "lora-saving": ("in = 10\nout = 10\nr = 1", "80 %"),
    "lora-account": ("in = 3\nout = 5\nr = 2", "6, 10, 16, -1"),
    "break-even-rank": ("in = 5\nout = 7", "2.917"),
    "rank-set-dimension": ("in = 5\nout = 7\nr = 2", "20"),
    "multiply-adds": (
        'method = "lora"\npass = "total"\nin = 4\nout = 4\nr = 2\nn = 3', "240",
    ),
    "training-bytes": (
        'method = "full"\npart = "optimiser"\nin = 4\nout = 4\noptimiser = "momentum"', "64",
    ),
    "bytes": ('numbers = 1001\ndtype = "nf4"', "500.5"),
    "model-count": ('model = "gpt2"', "124,439,808"),
    "model-trainable": ('model = "gpt2"\nr = 8\ntargets = ["c_attn"]', "294,912"),
    "model-total": ('model = "gpt2"\nr = 8\ntargets = ["c_attn"]', "124,734,720"),
    "model-share": ('model = "gpt2"\nr = 8\ntargets = ["c_attn"]\nmethod = "lora"', "0.2364 %"),
}  # fmt: skip


def claim_text(name, keys, printed, id="it"):
    value = printed if isinstance(printed, str) else [list(row) for row in printed]
    return (
        f'[[claim]]\nid = "{id}"\nsays = "s"\nquantity = "{name}"\n{keys}\n'
        f"printed = {json.dumps(value)}\n"
    )


def test_every_quantity_has_a_value_worked_out_by_hand():
    assert set(BY_HAND) == set(VOCABULARY)


@pytest.mark.parametrize("name", BY_HAND)
def test_a_quantity_has_its_value_by_hand_and_no_other(name):
    keys, printed = BY_HAND[name]
    right = claim_text(name, keys, printed)
    assert judged(MATRICES + right)["it"].verdict == "confirmed"
    at = right.rindex(next(c for c in reversed(right) if c.isdigit()))
    assert judged(MATRICES + changed_digit(right, at))["it"].verdict in ("slip", "shape")


@pytest.mark.parametrize("decimals", [0, 1, 6, 7, 20])
def test_a_value_that_ends_early_is_judged_to_any_number_of_decimals(decimals):
    keys = "numerator = 1\ndenominator = 1"
    j = judged(MATRICES + claim_text("ratio", keys, f"{1:.{decimals}f}"))["it"]
    assert (j.verdict, j.recomputed) == ("confirmed", f"{1:.{decimals}f}")


def test_every_key_of_the_vocabulary_matters():
    """Each optional key appears in a value by hand, or is the name of a matrix."""
    used = "\n".join(keys for keys, _ in BY_HAND.values())
    keys = {n.key for q in VOCABULARY.values() for n in q.needs if n.kind != "factors"}
    assert {key for key in keys if not re.search(rf"(?m)^{re.escape(key)} =", used)} == {"itemsize"}


# ---------------- random lectures


def rounded(array, places):
    """Return an array as printed texts, rounded."""
    return np.array([f"{value:.{places}f}" for value in np.ravel(array)]).reshape(np.shape(array))


@st.composite
def random_lectures(draw):
    """Return the text of a lecture whose numbers NumPy computed, and the ids of its claims."""
    rng = np.random.default_rng(draw(seeds))
    size = st.integers(2, 5)
    out, into, r, places = draw(size), draw(size), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stabilised = draw(st.booleans())
    given_ = {
        name: rng.integers(-30, 30, shape) / 10
        for name, shape in {
            "W0": (out, into), "A": (r, into), "B": (out, r), "x": (3, into), "grad_y": (3, out),
        }.items()
    }  # fmt: skip
    layer = LoRALinear(given_["W0"], given_["A"], given_["B"], 3.0, rank_stabilised=stabilised)
    y, cache = layer.forward(given_["x"])
    grad_x, grads = layer.backward(given_["grad_y"], cache)
    dense = Linear(given_["W0"])
    grad_W0 = dense.backward(given_["grad_y"], dense.forward(given_["x"])[1])[1]["W"]
    W0, update = given_["W0"], layer.delta_w
    s = np.linalg.svd(W0, compute_uv=False)
    flag = f"alpha = 3\nrank-stabilised = {str(stabilised).lower()}"
    row, column = int(rng.integers(out)), int(rng.integers(into))
    claims = {
        "entry": (f'of = "B A"\nrow = {row + 1}\ncolumn = {column + 1}',
                  (given_["B"] @ given_["A"])[row, column]),
        "product": ('of = "B A"', given_["B"] @ given_["A"]),
        "delta-w": (flag, update),
        "merged": (flag, W0 + update),
        "output": (flag, y),
        "grad-A": (flag, grads["A"]),
        "grad-B": (flag, grads["B"]),
        "grad-x": (flag, grad_x),
        "grad-W0": ("", grad_W0),
        "frobenius-norm": ('of = "W0"', np.linalg.norm(W0)),
        "spectral-norm": ('of = "W0"', s[0]),
        "singular-values": ('of = "W0"', s),
        "truncation-error": ('of = "W0"\nr = 1', np.sqrt((s[1:] ** 2).sum())),
        "best-approximation": (
            'of = "W0"\nr = 1',
            s[0] * np.outer(np.linalg.svd(W0)[0][:, 0], np.linalg.svd(W0)[2][0]),
        ),
    }  # fmt: skip
    matrices = "".join(
        f"{name} = {[list(row) for row in rounded(array, 1)]}\n".replace("np.str_", "")
        .replace("(", "").replace(")", "")
        for name, array in given_.items()
    )  # fmt: skip
    text = f'[lecture]\ntitle = "drawn"\n[matrices]\n{matrices}'
    for name, (keys, value) in claims.items():
        printed = rounded(value, places).tolist()
        text += (
            claim_text(name, keys, printed, id=name)
            if not isinstance(printed, list)
            else (
                f'[[claim]]\nid = "{name}"\nsays = "s"\nquantity = "{name}"\n{keys}\n'
                f"printed = {json.dumps(printed)}\n"
            )
        )
    return text, tuple(claims), rng


@given(random_lectures())
@settings(max_examples=12, deadline=None)
def test_a_lecture_rounded_right_is_confirmed_and_one_digit_off_is_a_slip_there_alone(drawn):
    text, ids, rng = drawn
    before = judged(text)
    assert {name: j.verdict for name, j in before.items()} == dict.fromkeys(ids, "confirmed")
    chosen = ids[int(rng.integers(len(ids)))]
    block = text.index(f'id = "{chosen}"')
    start = text.index("printed = ", block)
    places = [at for at in range(start, text.index("\n", start)) if text[at].isdigit()]
    wrong = changed_digit(text, places[int(rng.integers(len(places)))], by=5)
    verdicts = {name: j.verdict for name, j in judged(wrong).items()}
    assert verdicts == {**dict.fromkeys(ids, "confirmed"), chosen: "slip"}


@given(seeds, st.integers(1, 5), st.integers(1, 5), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_rank_and_determinant_are_those_of_the_matrix(seed, rows, columns, dependent):
    rng = np.random.default_rng(seed)
    whole = rng.integers(-3, 4, (rows, columns))
    if dependent < rows - 1:
        whole[-1] = whole[0] * 2
    fractions = np.array([[Fraction(int(v), 7) for v in row] for row in whole], dtype=object)
    rank, determinant = exact.rank_and_determinant(fractions)
    assert rank == np.linalg.matrix_rank(whole.astype(float))
    if rows == columns:
        wanted = np.linalg.det(whole / 7.0)
        assert float(determinant) == pytest.approx(wanted, abs=1e-9)


def test_a_swap_of_rows_turns_the_sign_of_the_determinant():
    swap = np.array([[Fraction(0), Fraction(1)], [Fraction(1), Fraction(0)]], dtype=object)
    assert exact.rank_and_determinant(swap) == (2, -1)


@given(st.integers(0, 10**12), st.integers(1, 10**12))
def test_a_root_squared_is_the_number(top, bottom):
    square = Fraction(top, bottom)
    found = exact.root(square)
    assert 0 <= square - found**2 < Fraction(1, 10**50) * (1 + square)
    assert exact.root(square**2) == square
