"""The literature: every verdict comes out of recomputing, and a change anywhere changes it."""

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lora_ref import cli, counting
from lora_ref.errors import LoraRefError
from lora_ref.ledger import literature
from lora_ref.ledger.claim import read_number
from lora_ref.ledger.literature import FIGURES, PAPERS, RULES, VERDICTS, judge, report
from lora_ref.ledger.literature.figure import (
    MEANINGS,
    Conflict,
    Figure,
    Rule,
    Source,
    compare,
    read_printed,
)

IDS = [figure.id for figure in FIGURES]

EXPECTED = {
    "lora-roberta-base": "rounds",
    "lora-roberta-large": "rounds",
    "lora-deberta-xxl": "conflict",
    "lora-roberta-base-alpha": "conflict",
    "lora-roberta-large-adapter-p-3m": "slip",
    "lora-roberta-large-adapter-p-0.8m": "rounds",
    "lora-roberta-large-adapter-h-6m": "slip",
    "lora-roberta-large-adapter-h-0.8m": "rounds",
    "lora-gpt2-medium-full": "slip",
    "lora-gpt2-large-full": "rounds",
    "lora-gpt2-medium-top-2-table-3": "rounds",
    "lora-gpt2-medium-top-2-table-13": "conflict",
    "lora-gpt2-medium-adapter-l-0.37m": "by-rule",
    "lora-gpt2-medium-adapter-l-11m": "by-rule",
    "lora-gpt2-large-adapter-l-0.88m": "by-rule",
    "lora-gpt2-large-adapter-l-23m": "by-rule",
    "lora-gpt2-medium-adapter-h": "slip",
    "lora-gpt2-medium": "slip",
    "lora-gpt2-large": "slip",
    "lora-gpt2-medium-checkpoint": "truncates",
    "lora-gpt2-large-checkpoint": "slip",
    "lora-gpt3-4.7m-qv": "rounds",
    "lora-gpt3-4.7m-v": "rounds",
    "lora-gpt3-9.4m": "rounds",
    "lora-gpt3-18.8m": "truncates",
    "lora-gpt3-18.8m-four": "truncates",
    "lora-gpt3-37.7m": "rounds",
    "lora-gpt3-37.7m-four": "rounds",
    "lora-gpt3-37.7m-d4": "conflict",
    "lora-gpt3-301.9m": "truncates",
    "lora-gpt3-603.8m": "by-rule",
    "lora-gpt3-18m-one": "truncates",
    "lora-gpt3-18m-two": "truncates",
    "lora-gpt3-18m-four": "truncates",
    "lora-gpt3-prefix-embed-32": "truncates",
    "lora-gpt3-prefix-embed-64": "rounds",
    "lora-gpt3-prefix-embed-128": "rounds",
    "lora-gpt3-prefix-embed-256": "rounds",
    "lora-gpt3-prefix-embed-512": "rounds",
    "lora-gpt3-prefix-layer-2-2": "slip",
    "lora-gpt3-prefix-layer-8-0": "slip",
    "lora-gpt3-prefix-layer-8-8": "slip",
    "lora-gpt3-prefix-layer-32-4": "slip",
    "lora-gpt3-prefix-layer-64-0": "slip",
    "lora-gpt3-adapter-h-1": "rounds",
    "lora-gpt3-adapter-h-4": "rounds",
    "lora-gpt3-adapter-h-8": "rounds",
    "lora-gpt3-adapter-h-16": "rounds",
    "lora-gpt3-adapter-h-64": "rounds",
    "lora-gpt3-lora-pe-8": "truncates",
    "lora-gpt3-lora-pe-32": "rounds",
    "lora-gpt3-lora-pe-64": "rounds",
    "lora-gpt3-lora-pl": "slip",
    "lora-gpt3-bitfit": "slip",
    "lora-gpt3-full": "slip",
    "lora-checkpoint-10000": "exact",
    "lora-parameters-10000": "rounds",
    "lora-checkpoint-35mb": "rounds",
    "lora-100-tasks": "rounds",
    "lora-100-models": "exact",
    "lora-speed-up": "by-rule",
    "lora-random-subspace-4": "rounds",
    "lora-random-subspace-64": "rounds",
    "lora-amplification": "truncates",
    "lora-amplification-64": "rounds",
}


@pytest.fixture(scope="module")
def judged() -> dict[str, literature.Judgement]:
    return {figure.id: judge(figure) for figure in FIGURES}


def test_the_figures_of_the_lora_paper_come_out_as_expected(judged) -> None:
    found = {id: j.verdict for id, j in judged.items() if j.figure.source.key == "lora"}
    assert found == EXPECTED


def test_nothing_is_wrong_with_the_ledger_itself(judged) -> None:
    assert not [problem for j in judged.values() for problem in j.problems]
    assert len(IDS) == len(set(IDS)) >= 100


def test_what_does_not_come_out_plainly_is_explained(judged) -> None:
    for j in judged.values():
        if j.verdict not in ("exact", "rounds"):
            assert len(j.why.split()) >= 4, j.figure.id


def test_every_rule_that_is_named_is_known_and_every_own_rule_is_used() -> None:
    named = {figure.rule.name for figure in FIGURES if figure.rule}
    assert named <= set(RULES)
    assert named >= set(RULES) - set(counting.RULES)


def test_a_tolerance_stands_only_where_a_source_or_a_formula_approximates(judged) -> None:
    for j in judged.values():
        if j.figure.within is not None:
            assert read_number(j.figure.within)[0] <= Fraction(1, 10), j.figure.id
            assert compare(j.figure.printed, j.value) is None, f"{j.figure.id} needs none"
            text = f"{j.figure.says} {j.figure.why}".lower()
            approximate = ("about", "roughly", "approximat", "simulat", "times fewer")
            assert any(word in text for word in approximate), j.figure.id


# ---------------------------------------------------------------------- a change is seen


@pytest.mark.parametrize("figure", FIGURES, ids=IDS)
def test_a_value_further_off_is_a_slip(figure: Figure) -> None:
    number, unit = read_printed(figure.printed)
    step = unit
    if figure.within:
        step = max(unit, 3 * read_number(figure.within)[0] * abs(number))
    for wrong in (number + 3 * step, number - 3 * step):
        planted = replace(figure, value=constant(wrong), why="a reason of four words")
        if figure.rule is not None:
            planted = replace(planted, rule=Rule(figure.rule.name, constant(wrong)))
        if figure.conflict is not None and figure.conflict.value is not None:
            planted = replace(planted, conflict=Conflict("planted", value=constant(wrong)))
        assert judge(planted).verdict == "slip", figure.id


def constant(value: Fraction) -> Callable[..., Fraction]:
    return lambda **given: value


def is_number(value: object) -> bool:
    return isinstance(value, int | Fraction) and not isinstance(value, bool)


WITH_INPUTS = [f for f in FIGURES if any(is_number(value) for value in f.given.values())]


@pytest.mark.parametrize("figure", WITH_INPUTS, ids=lambda f: f.id)
def test_another_input_is_another_outcome(figure: Figure, judged) -> None:
    before = judged[figure.id]
    for name, value in figure.given.items():
        if not is_number(value):
            continue
        after = judge(replace(figure, given={**figure.given, name: 2 * value + 1}))
        same = (after.verdict, after.value, after.by_rule)
        assert same != (before.verdict, before.value, before.by_rule), f"{figure.id}: {name}"


@pytest.mark.parametrize("figure", [f for f in FIGURES if f.rule or f.conflict], ids=lambda f: f.id)
def test_without_its_rule_or_conflict_a_number_is_a_slip(figure: Figure) -> None:
    alone = replace(figure, rule=None, conflict=None, why="a reason of four words")
    assert judge(alone).verdict == "slip"


# ---------------------------------------------------------------------- judging

PAPER = Source("paper", "Nobody, 1900")


def figure(printed: str, value: object, **more: object) -> Figure:
    return Figure(
        id="x", source=PAPER, where="table 1", says="a number", printed=printed, formula="f",
        value=lambda: value, why="a reason of four words", **more,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("printed", "value", "verdict"),
    [
        ("56,164", 56_164, "exact"),
        ("56,164", 56_165, "slip"),
        ("4.7M", 4_718_592, "rounds"),
        ("4.7M", 4_750_000, "rounds"),  # half a unit, inclusive
        ("4.7M", 4_750_001, "truncates"),
        ("4.7M", 4_799_999, "truncates"),
        ("4.7M", 4_800_000, "slip"),
        ("4.7M", 4_649_999, "slip"),
        ("0.83 %", Fraction(8256, 10**6), "rounds"),
        ("18 K", 18_456, "rounds"),
        ("-0.5", Fraction(-1, 2), "exact"),
        ("-0.5", Fraction(-59, 100), "truncates"),
        ("-0.5", Fraction(-41, 100), "slip"),
    ],
)
def test_a_printed_number_is_compared(printed: str, value: object, verdict: str) -> None:
    assert judge(figure(printed, value)).verdict == verdict


def test_a_tolerance_counts_as_rounding() -> None:
    assert judge(figure("35M", 37_748_736, within="10 %")).verdict == "rounds"
    assert judge(figure("35M", 37_748_736, within="5 %")).verdict == "slip"


def test_a_rule_is_asked_only_where_the_number_fails() -> None:
    rule = Rule("saved-twice", lambda: 7)
    assert judge(figure("7", 6, rule=rule)).verdict == "by-rule"
    (problem,) = judge(figure("7", 7, rule=rule)).problems
    assert "has a rule and comes out as exact" in problem
    assert judge(figure("8", 6, rule=rule)).verdict == "slip"


def test_a_conflict_needs_the_other_statement_to_bear_it_out() -> None:
    assert judge(figure("24", 25, conflict=Conflict("there", printed="25"))).verdict == "conflict"
    assert judge(figure("24", 26, conflict=Conflict("there", printed="25"))).verdict == "slip"
    other = Conflict("there", value=lambda: 24)
    assert judge(figure("24", 26, conflict=other)).verdict == "conflict"
    assert judge(figure("23", 26, conflict=other)).verdict == "slip"
    for both in ({}, {"value": lambda: 1, "printed": "1"}):
        with pytest.raises(LoraRefError, match="either a value or a printed number"):
            Conflict("there", **both)


def test_a_recipe_that_raises_is_a_problem_and_no_verdict() -> None:
    broken = replace(figure("7", 7), value=lambda: 1 // 0)
    j = judge(broken)
    assert j.verdict is None
    assert "x: the recipe raised ZeroDivisionError" in j.problems[0]


@pytest.mark.parametrize("text", ["", "M", "four", "4.7X", "4..7", "1e5"])
def test_what_is_no_printed_number_is_refused(text: str) -> None:
    with pytest.raises(LoraRefError, match="is not a printed number"):
        read_printed(text)


def test_random_subspaces_shrink_a_norm_as_table_7_says() -> None:
    rng, d, r = np.random.default_rng(0), 96, 6
    W = rng.standard_normal((d, d))
    norms = []
    for _ in range(100):
        U, V = (np.linalg.qr(rng.standard_normal((d, r)))[0] for _ in range(2))
        norms.append(np.linalg.norm(U.T @ W @ V))
    predicted = np.linalg.norm(W) * r / d
    assert np.sqrt(np.mean(np.square(norms))) == pytest.approx(predicted, rel=0.05)


# ---------------------------------------------------------------------- what is shown


def test_the_text_names_every_number_and_stays_within_its_width(judged) -> None:
    js = report.worst_first(judged.values())
    text = report.as_text(js, width=88)
    assert text.isascii()
    assert max(map(len, text.splitlines())) <= 88
    assert all(id in text for id in IDS)
    assert f"{len(IDS)} numbers recomputed:" in text
    order = [VERDICTS.index(j.verdict) for j in js]
    assert order == sorted(order)


def test_the_page_is_current(judged) -> None:
    path = Path(__file__).parents[1] / "docs" / "literature.md"
    assert path.read_text(encoding="utf-8") == report.as_markdown(list(judged.values())), (
        "run make docs"
    )


def test_verify_literature_prints_all_or_one_source(capsys) -> None:
    assert cli.main(["verify", "--literature", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {"schema", "figures", "counts"}
    assert body["schema"] == 1
    assert [f["id"] for f in body["figures"]] == IDS
    assert list(body["counts"]) == list(VERDICTS) == list(MEANINGS)
    assert sum(body["counts"].values()) == len(IDS)
    for paper in PAPERS:
        assert cli.main(["verify", "--literature", "--paper", paper, "--json"]) == 0
        one = json.loads(capsys.readouterr().out)
        assert {f["paper"] for f in one["figures"]} == {paper}
    assert cli.main(["verify", "--literature", "--paper", "lora", "--verdict", "conflict"]) == 0
    out = capsys.readouterr().out
    assert "lora-deberta-xxl" in out
    assert "lora-gpt3-full" not in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--literature", "--paper", "lroa"], "no source is called 'lroa'"),
        (["--paper", "lora"], "expected --literature with it"),
        (["--literature", "lora-deberta"], "the nearest: lora-deberta-xxl"),
        (["--literature", "lora-deberta-xxl", "--paper", "vera"], "none of the numbers named"),
        (["--literature", "lora-deberta-xxl", "--verdict", "exact"], "none of these claims"),
    ],
)
def test_wrong_usage_is_a_sentence(capsys, arguments: list[str], sentence: str) -> None:
    assert cli.main(["verify", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
