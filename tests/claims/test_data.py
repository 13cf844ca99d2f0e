"""The package's own sources: their verdicts, and what a change anywhere in them changes.

What is printed and what is given decide, and nothing else: every printed digit, numeric input,
bound, rule, conflict and condition of every file is changed once, and the outcome must change.
"""

import copy
import json
import re
import tomllib
from collections.abc import Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from lora_ref import counting
from lora_ref.claims import DATA, article, judge, literature, parse
from lora_ref.claims.expand import BOUNDS, fields
from lora_ref.claims.file_errors import BareNumber
from lora_ref.claims.judge import WRONG
from lora_ref.claims.printed import agreement, like_printed, read_printed
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.reader import read_tables
from lora_ref.claims.rules import NAMED, READINGS
from lora_ref.errors import LoraRefError
from lora_ref.study import digits, methods
from lora_ref.study import findings as study_findings
from tests.fixtures.judged import judged

PATHS = sorted(DATA.glob("*.toml"))
SOURCES = [path.stem for path in PATHS]
MANY_DIGITS = {"adalora", "dora", "fourierft", "lora", "peft", "peft-benchmark", "tinker-cookbook"}
MANY_DIGITS |= {"vera"}
"""Sources whose printed digits `make test-exhaustive` alone changes, one by one."""

EXPECTED = json.loads(
    (Path(__file__).parent / "expected_verdicts.json").read_text(encoding="utf-8")
)
"""By source, verdict and agreement: the ids."""


@cache
def tables(source: str) -> dict[str, Any]:
    text = (DATA / f"{source}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text, parse_float=BareNumber)


def verdict_of(j: Any) -> str:
    return j.verdict if j.agreement is None else f"{j.verdict}, {j.agreement}"


# ---------------- what comes out


@pytest.mark.parametrize("source", SOURCES)
def test_every_claim_is_judged_as_expected(source):
    found: dict[str, list[str]] = {}
    for j in judged().values():
        if j.claim.source == source:
            found.setdefault(verdict_of(j), []).append(j.claim.id)
    assert {verdict: sorted(ids) for verdict, ids in found.items()} == EXPECTED[source]


def test_nothing_is_wrong_with_the_files_themselves():
    assert [problem for j in judged().values() for problem in j.problems] == []
    assert len(judged()) == sum(len(s.claims) for s in (article(), *literature()))


@pytest.mark.parametrize("path", PATHS, ids=SOURCES)
def test_a_file_of_the_package_passes_what_a_readers_own_file_has_to_pass(path):
    assert parse(path.read_text(encoding="utf-8"), path.name, compute=True).claims


def test_what_is_wrong_is_explained_and_in_the_article_corrected():
    for j in judged().values():
        if j.verdict in WRONG:
            assert len(j.reason.split()) >= 4, j.claim.id
            if j.claim.source == "article":
                assert j.correction_holds, j.claim.id


def test_a_tolerance_stands_only_where_a_source_or_a_formula_approximates():
    tolerant = {
        "lora-checkpoint-10000": "section 4.2 says roughly",
        "lora-parameters-10000": "the abstract counts in powers of ten",
        "lora-checkpoint-35mb": "section 7.1 says roughly",
        "lora-random-subspace-64": "the formula is of the expected square, the entry was measured",
        "book-factor-16": "the book says about",
        "book-factor-8": "the book says about",
        "no-magic-base": "the comment says about",
        "nf4-largest-quantile": "the docstring writes a tilde",
        "hf-course-cut": "the course says about",
        "atlas-7b-lora": "the guide says approximately",
        "tips-times-fewer": "the article says about",
        "regret-rank-1-times": "the post says almost",
        "qlora-elo-100": "section 5.2 says approximately",
        "qlora-elo-10": "the caption says approximately",
        **{
            f"llama-factory-{row}-{size}": "the table is headed as estimated"
            for row in ("full", "pure-bf16")
            for size in ("7b", "14b", "30b", "70b")
        },
    }
    found = {}
    for j in judged().values():
        for check in (j.claim.check, j.claim.under):
            if check and check.expected.about:
                found[j.claim.id] = check.expected.about
    assert set(found) == set(tolerant)
    assert max(found.values()) <= Fraction(1, 10)


def test_the_scope_in_the_row_of_a_measured_claim_is_the_studys():
    scope = (
        "-".join(map(str, methods.SIZES)),
        f"{digits.SIZES['target']} training images",
        f"r = {study_findings.SMALL}",
    )
    measured = [j for j in judged().values() if j.verdict == "measured"]
    assert {j.claim.id: j.finding for j in measured} == {
        "full-forgets": "holds", "avoids-forgetting": "opposite",
        "low-rank-regularizes": "fails", "low-rank-suffices": "fails",
    }  # fmt: skip
    for j in measured:
        if j.finding != "holds":
            assert all(text in j.reason for text in scope), j.claim.id


# ---------------- what the files may hold


def texts_of(claim: Any) -> Iterator[str]:
    parts = [part for part in (claim.check, claim.under, claim.correction) if part]
    yield from (claim.text, claim.reason, claim.note)
    yield from (check.text for part in parts for check in (part, *part.also))
    if claim.conflict:
        yield claim.conflict.text


def test_every_name_in_braces_is_filled():
    for j in judged().values():
        shown = " ".join(filter(None, (j.reason, j.correction, j.recomputed, j.claim.text)))
        assert fields(shown) == [], j.claim.id


def test_every_derived_value_of_a_claim_is_used():
    for source in SOURCES:
        for table in (t for kind in ("claim", "outside") for t in tables(source).get(kind, [])):
            for one in (table, *table.get("rows", [])):
                for name in one.get("derived", {}):
                    reasons = tables(source).get("reasons", {})
                    text = json.dumps([{**one, "derived": {}, "id": ""}, reasons])
                    others = [v for k, v in one["derived"].items() if k != name]
                    used = re.search(rf'[" {{]{re.escape(name)}[":}} ]', text + json.dumps(others))
                    assert used, (source, table.get("id"), name)


NAMES_THINGS = re.compile(
    r"arXiv [\d.]+|\b(?:19|20)\d\d\b|(?:tables?|sections?|part|footnotes?|appendix) [A-Z]?[\d.]+"
    r"(?:(?:, | and | to )[\d.]+)*|\b\d+[- ]bits?\b|float\d+|\bint\d\b|\d+-\d+-\d+-\d+"
    r"|[A-Za-z]+-?\d+"
    r"|\b[A-Z][\w-]* \d[\d.]*[BM]?\b|\br = \d+|\brank \d+|\bblocks of \d+|\^\d|\b\d d\b"
    r"|\b1,024\b|\b18 MB\b|\b\d+ training images|\b\d+ inputs and \d+ outputs|\b\d+ x \d+\b"
    r"|\d+\.\d+\.\d+|\bhalf\b"
)
"""Numbers that name a thing, a setting or a unit, or are quoted, and are not results."""


def typed_numbers(text: str) -> list[str]:
    plain = NAMES_THINGS.sub("", re.sub(r"\{[^{}]*\}", "", text))
    return re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", plain)


def test_no_result_is_typed_into_a_reason():
    """A number in a reason is filled in, names a thing, or stands in the claim's own table."""
    for source in SOURCES:
        reasons = tables(source).get("reasons", {})
        for table in (t for kind in ("claim", "outside") for t in tables(source).get(kind, [])):
            for row in table.get("rows", [{}]):
                one = {**table, **row, "rows": []}
                cells = [cell for cell in one.values() if isinstance(cell, dict)]
                for holder in (one, *cells):
                    reason = reasons.get(holder.get("reason", ""), holder.get("reason", ""))
                    own = json.dumps({**one, "reason": ""}, ensure_ascii=False)
                    known = {n.rstrip(",").replace(",", "") for n in re.findall(r"[\d.,]+", own)}
                    known |= {str(float(n)) for n in known if n.replace(".", "", 1).isdigit()}
                    typed = [n for n in typed_numbers(reason) if n.replace(",", "") not in known]
                    assert not typed, (source, one.get("id"), typed)


def test_a_rule_is_used_at_least_once_where_it_is_named():
    used: dict[tuple[Any, ...], list[bool]] = {}
    for j in judged().values():
        if j.claim.rule:
            key = (j.claim.source, *j.claim.group, j.claim.rule.name)
            used.setdefault(key, []).append(j.verdict == "by-rule")
        if j.claim.check and j.claim.conflict:
            assert j.verdict == "conflict", j.claim.id
    assert used
    assert [key for key, found in used.items() if not any(found)] == []
    named = {key[-1] for key in used}
    assert named >= set(NAMED) - {"thousand-kib"}  # for readers' files: FourierFT prints so
    assert named & set(counting.RULES)


def test_every_quantity_of_the_package_serves_a_claim_or_a_reader():
    """A quantity that no file uses is one of the vocabulary for lectures."""
    text = "".join(path.read_text(encoding="utf-8") for path in PATHS)
    unused = {name for name in QUANTITIES if f'quantity = "{name}"' not in text}
    assert {QUANTITIES[name].topic for name in unused} <= {
        "Matrices",
        "A LoRA layer",
        "Counts of one weight",
        "Counts of published models",
    }


# ---------------- one claim at a time, changed


class Single(NamedTuple):
    """The tables of a file with one claim or one row left, which no test changes in place."""

    tables: dict[str, Any]
    kind: str  # claim or outside
    outcomes: dict[str, Any]  # the judgements by id

    @property
    def table(self) -> dict[str, Any]:
        return self.tables[self.kind][0]

    def judged_with(self, path: tuple[Any, ...], value: Any) -> dict[str, Any]:
        """Judge it with another value at a path in its table, with nothing there for None."""
        changed = [replaced(self.table, path, value)]
        return outcomes({**self.tables, self.kind: changed})


@cache
def singles(source: str) -> tuple[Single, ...]:
    """Take a file apart; every claim as it stands is judged once for all tests."""
    return tuple(Single(*alone, outcomes(alone[0])) for alone in taken_apart(source))


def taken_apart(source: str) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the tables of each claim, with those matrices alone that it may take, and its kind."""
    whole = tables(source)
    keys = {p.key for q in QUANTITIES.values() for p in q.parameters}  # some are taken unnamed
    filler = {"id": "filler", "text": "t", "quantity": "stated", "number": 1, "printed": "1"}
    for kind in ("claim", "outside"):
        for table in whole.get(kind, []):
            for row in table.get("rows", [None]):
                one = table if row is None else {**table, "rows": [row]}
                taken = keys | names_in([one, whole.get("derived", {})])
                matrices = {k: v for k, v in whole.get("matrices", {}).items() if k in taken}
                claims = {"claim": [filler], "outside": [], kind: [one]}
                yield {**whole, "matrices": matrices, **claims}, kind


def names_in(value: Any) -> set[str]:
    """Return every word that stands in a table, but for those of sentences."""
    sentences = ("text", "reason", "note")
    return {
        word
        for path, leaf in leaves(value)
        if path[-1:] not in [(key,) for key in sentences]
        for word in re.findall(r"[\w-]+", str(leaf))
    }


def outcomes(alone: dict[str, Any]) -> dict[str, Any]:
    """Read and judge a file of one claim; a change that its quantity refuses counts as a change."""
    source = read_tables(alone, compute=False)
    return {c.id: judge(c) for c in source.claims if c.id != "filler"}


def seen(j: Any) -> tuple[Any, ...]:
    """Return all that a reader sees of a judgement."""
    return (j.verdict, j.agreement, j.finding, j.recomputed, j.by_rule, j.correction,
            j.correction_holds, j.reason, j.problems)  # fmt: skip


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, (*path, key))
    elif isinstance(value, list):
        for i, one in enumerate(value):
            yield from leaves(one, (*path, i))
    else:
        yield path, value


def replaced(old: Any, path: tuple[Any, ...], value: Any) -> Any:
    """Return tables with another value at a path, or without it; what is beside it is shared."""
    key, *rest = path
    new = copy.copy(old)
    if rest:
        new[key] = replaced(old[key], rest, value)
    elif value is None:
        del new[key]
    else:
        new[key] = value
    return new


def columns_of(table: dict[str, Any]) -> set[str]:
    return set(table.get("columns", {}))


def is_printed(path: tuple[Any, ...], table: dict[str, Any]) -> bool:
    """Whether a leaf is what the source prints: not an expectation of ours, not the other place."""
    names = [key for key in path if isinstance(key, str)]
    if names[-1] == "printed":
        return not set(names) & {"conflict", "elsewhere", "correction", "under", "also", "rule"}
    return names[-1] in columns_of(table) and names[:1] == ["rows"]


def changed_digits(text: str) -> Iterator[str]:
    for at, character in enumerate(text):
        if character.isdigit():
            yield text[:at] + str((int(character) + 1) % 10) + text[at + 1 :]


@pytest.mark.parametrize(
    "source",
    [
        pytest.param(source, marks=pytest.mark.exhaustive) if source in MANY_DIGITS else source
        for source in SOURCES
    ],
)
def test_every_printed_digit_decides(source):
    """With another digit a number is no longer confirmed, by rule, in conflict or conditional."""
    tried = 0
    for one in singles(source):
        for path, text in leaves(one.table):
            if not isinstance(text, str) or not is_printed(path, one.table):
                continue
            for wrong in changed_digits(text):
                for id, after in one.judged_with(path, wrong).items():
                    was = one.outcomes[id]
                    if verdict_of(after) == verdict_of(was) and was.printed != after.printed:
                        about = was.claim.check and was.claim.check.expected.about
                        loose = was.verdict in ("slip", "shape", "false", "conditional") or about
                        loose = loose or still_against(after) or halfway(was)
                        assert loose, (id, wrong)
                    tried += 1
    assert tried or source == "article"


def halfway(j: Any) -> bool:
    """Whether the value lies midway between two printed numbers, of which either is right."""
    if j.value is None or j.value.ndim or j.verdict not in ("confirmed", "by-rule"):
        return False
    value, printed = Fraction(j.value.item()), read_printed(j.printed)
    if j.verdict == "by-rule" and j.claim.rule.name in READINGS:
        value = READINGS[j.claim.rule.name](j.printed, value)
    return 2 * abs(value - printed.number) == printed.unit


def still_against(j: Any) -> bool:
    """Whether a source still contradicts itself: two printed places differ with this digit too."""
    if j.verdict != "conflict":
        return False
    other = j.claim.conflict
    return other.printed is not None


@pytest.mark.parametrize("source", SOURCES)
def test_the_right_number_in_a_slip_confirms_it(source):
    for one in singles(source):
        for id, was in one.outcomes.items():
            if was.verdict != "slip" or was.value is None or was.value.ndim:
                continue
            right = like_printed(was.value.item(), was.printed)
            for path, text in leaves(one.table):
                if is_printed(path, one.table) and str(text).replace(" ", "") in (
                    was.printed.replace(" ", ""),
                ):
                    after = one.judged_with(path, right)[id]
                    assert after.verdict == "confirmed", (id, right)


def test_a_changed_digit_in_a_correction_is_a_problem():
    tried = 0
    for one in singles("article"):
        for path, text in leaves(one.table):
            if path[-1] not in ("equals", "printed") or "correction" not in path:
                continue
            for wrong in changed_digits(text):
                for id, after in one.judged_with(path, wrong).items():
                    said = any("the correction does not hold" in p for p in after.problems)
                    assert said, (id, wrong)
                    tried += 1
    assert tried > 100


# ---------------- bounds, trends, conditions, rules


def flipped(key: str, limit: str, values: list[Fraction]) -> str:
    """Return a bound that all values keep where one did not, or that one breaks."""
    percent = limit.endswith("%")
    number = read_printed(limit).number
    kept = {
        "at-least": all(v >= number for v in values),
        "above": all(v > number for v in values),
        "at-most": all(v <= number for v in values),
        "below": all(v < number for v in values),
    }[key]
    low, high = min(values), max(values)
    step = max(abs(low), abs(high), Fraction(1))
    upper = key in ("at-most", "below")
    new = (low - step if kept else high + step) if upper else (high + step if kept else low - step)
    return f"{float(100 * new):.3f} %" if percent else f"{float(new):.6f}"


def bounded_parts(table: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], str]]:
    for path, text in leaves(table):
        if path[-1] in BOUNDS:
            yield path, text


def values_at(claim: Any, path: tuple[Any, ...]) -> list[Fraction]:
    check = claim.check
    if "correction" in path:
        check = claim.correction
    elif "also" in path:
        whole = claim.under if "under" in path else claim.check
        check = whole.also[path[path.index("also") + 1]]
    elif "under" in path:
        check = claim.under
    return [Fraction(v) for v in np.ravel(check.value())]


def test_every_bound_decides():
    tried = 0
    for source in SOURCES:
        for one in singles(source):
            for path, limit in bounded_parts(one.table):
                for id, was in one.outcomes.items():
                    new = flipped(path[-1], limit, values_at(was.claim, path))
                    after = one.judged_with(path, new)[id]
                    changed = (after.verdict, after.correction_holds) != (
                        was.verdict,
                        was.correction_holds,
                    )
                    two = sum(key in BOUNDS for key in one.table) > 1
                    assert changed or (two and was.verdict == "conditional"), (id, path, new)
                    tried += 1
    assert tried > 30


def test_every_trend_decides():
    tried = 0
    for one in singles("article"):
        for path, trend in leaves(one.table):
            if path[-1] == "trend":
                other = "falls" if trend == "rises" else "rises"
                for id, was in one.outcomes.items():
                    after = one.judged_with(path, other)[id]
                    changed = after.verdict != was.verdict
                    if "under" in path and "also" not in path:
                        assert (was.verdict, after.verdict) == ("conditional", "false")
                    else:
                        assert changed, id
                    tried += 1
    assert tried >= 6


PARTS = {"rule": "by-rule", "conflict": "conflict", "elsewhere": "conflict", "under": "conditional"}


@pytest.mark.parametrize("part", ["rule", "conflict", "under"])
def test_without_its_rule_conflict_or_condition_a_claim_comes_out_otherwise(part):
    tried = 0
    for source in SOURCES:
        for one in singles(source):
            parts = (path for path, _ in leaves(one.table) if part in path)
            for path in {path[: path.index(part) + 1] for path in parts}:
                if "fitted-width" in str(one.table[path[0]]):
                    with pytest.raises(LoraRefError, match="needs the key m"):
                        one.judged_with(path, None)
                    continue
                after = one.judged_with(path, None)
                for id, was in one.outcomes.items():
                    if was.verdict == PARTS[part] and getattr(was.claim, part) is not None:
                        others = {"slip", "false", "shape"}
                        came = after[id].verdict
                        inherited = getattr(after[id].claim, part) is not None
                        assert came in others or inherited, id
                        tried += 1
    assert tried >= 5


def test_a_changed_number_in_the_other_place_leaves_a_slip():
    tried = 0
    for source in SOURCES:
        for one in singles(source):
            for path, text in leaves(one.table):
                if path[-2:] == ("conflict", "printed"):
                    (wrong, *_) = changed_digits(text)
                    for after in one.judged_with(path, wrong).values():
                        if after.claim.conflict:
                            assert after.verdict == "slip", after.claim.id
                            tried += 1
    assert tried >= 3


def test_two_printed_places_that_agree_are_no_conflict():
    tried = 0
    for source in SOURCES:
        for one in singles(source):
            for part in (one.table, *one.table.get("rows", [])):
                if "elsewhere" in part:
                    for j in one.outcomes.values():
                        there = part["elsewhere"]["printed"]
                        same = agreement(there, read_printed(j.printed).number)
                        assert (j.verdict == "confirmed") is (same is not None), j.claim.id
                        tried += 1
    assert tried >= 3


# ---------------- the inputs


def another(value: Any) -> Any:
    """Return an input of the same kind that is not the same."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return 2 * value + 1
    number = str(value)
    digits = re.search(r"\d+", number)
    assert digits is not None
    return number[: digits.start()] + str(2 * int(digits[0]) + 1) + number[digits.end() :]


INPUT_KEYS = {
    p.key
    for q in QUANTITIES.values()
    for p in q.parameters
    if p.kind.name in ("count", "whole", "number", "values", "flag")
}

LAW = "the law holds at every size"
UNMOVED = {
    ("b-zero-init", "alpha"): "the change is 0 for every alpha: that is the claim",
    ("scaling-guards-init", "alpha"): "the change is 0 for every alpha: that is the correction",
    ("qlora-alpha", "alpha"): "the error is the same for every alpha: that is the correction",
    ("ab-matrix", "row"): "all rows rise alike: that is the reason",
    ("small-r-more-r", "r"): "the best is reached at every rank, and more rank is more parameters",
    ("small-r-more-r", "in"): "at every width more rank is more parameters",
    ("small-r-more-r", "out"): "at every width more rank is more parameters",
    ("multi-task-sum", "tasks"): LAW,
    ("multi-task-switch", "tasks"): LAW,
    ("efficiency-per-task", "tasks"): LAW,
    ("adapter-formula", "d"): LAW,
    ("adapter-formula", "m"): LAW,
    ("adapter-formula", "in"): "the adapter stands behind the layer, and has its outputs",
    ("alpha-gradient", "along"): "to one digit the slope is that between the ends",
    ("linear-in-r-quadratic-in-d", "in"): "a growth in r does not depend on the width",
    ("linear-in-r-quadratic-in-d", "out"): "a growth in r does not depend on the width",
    ("linear-in-r-quadratic-in-d", "r"): "a growth in d does not depend on the rank",
    ("grad-isolation", "steps"): LAW,
    ("peft-vit-guide-alpha", "alpha"): "the count is the same for every alpha: that is the reason",
    ("peft-vit-lokr-trainable", "r"): "32 x 32 is kept whole once r is half of 32",
    ("lora-gpt2-medium-adapter-l-0.37m", "m"): "members of a progression are equally far apart",
    ("lora-gpt2-medium-adapter-l-11m", "m"): "members of a progression are equally far apart",
    ("lora-gpt2-large-adapter-l-0.88m", "m"): "members of a progression are equally far apart",
    ("lora-gpt2-large-adapter-l-23m", "m"): "members of a progression are equally far apart",
}
"""Inputs that may not matter in some place, and why; everywhere else each of them does."""


def numeric_inputs(table: dict[str, Any]) -> Iterator[tuple[tuple[Any, ...], Any]]:
    for path, value in leaves(table):
        names = [key for key in path if isinstance(key, str)]
        key = names[-1]
        row = table.get("rows", [{}])[0]
        unused = path[0] == "columns" and path[1] not in row
        if key not in INPUT_KEYS or key in columns_of(table) or unused:
            continue
        numeric = isinstance(value, int) or bool(re.match(r"-?[\d.]", str(value)))
        if numeric:
            yield path, value


@pytest.mark.parametrize("source", SOURCES)
def test_every_numeric_input_matters(source):
    same = {}
    for one in singles(source):
        before = {id: seen(j) for id, j in one.outcomes.items()}
        for path, value in numeric_inputs(one.table):
            after = one.judged_with(path, another(value))
            if all(seen(j) == before.get(id) for id, j in after.items()):
                key = [name for name in path if isinstance(name, str)][-1]
                same[next(iter(before)), key] = (path, value)
    assert {k: v for k, v in same.items() if k not in UNMOVED} == {}
    ids = {claim.id for one in (article(), *literature()) for claim in one.claims}
    assert {id for id, _ in UNMOVED} <= ids


def test_every_entry_of_the_articles_matrices_matters():
    whole = tables("article")
    before = {id: seen(j) for id, j in judged().items() if j.claim.source == "article"}
    cheap = [t for t in whole["claim"] if "study" not in str(t) and "fitted" not in str(t)]
    unnoticed = []
    for name, text in whole["matrices"].items():
        if name in ("B-start", "AB-terms", "A2", "B2"):
            continue  # the walkthrough's, and the second update: its rank counts, not its entries
        for found in re.finditer(r"[\d.]+", text):
            changed = text[: found.start()] + str(Fraction(found[0]) * 3 + 1) + text[found.end() :]
            file = {**whole, "matrices": {**whole["matrices"], name: changed}, "outside": []}
            likely = [table for table in cheap if name in names_in(table)]
            for some in filter(None, (likely, cheap)):  # all of them only if need be
                source = read_tables({**file, "claim": some}, compute=False)
                noticed = any(seen(judge(claim)) != before[claim.id] for claim in source.claims)
                if noticed:
                    break
            else:
                unnoticed.append((name, found[0], found.start()))
    assert unnoticed == []


def test_updates_whose_sum_has_rank_two_again_would_confirm_the_subspace():
    whole = tables("article")
    (claim,) = (one for one in whole["claim"] if one.get("id") == "r-dim-subspace")
    same = {"A2": whole["matrices"]["A"], "B2": whole["matrices"]["B"]}
    file = {**whole, "matrices": {**whole["matrices"], **same}, "claim": [claim], "outside": []}
    (j,) = outcomes(file).values()
    assert (j.verdict, j.correction_holds) == ("confirmed", False)


def test_a_reading_of_a_number_is_used_and_falls_with_its_digits():
    for id, j in judged().items():
        if j.claim.rule and j.claim.rule.name in READINGS and j.verdict == "by-rule":
            value = READINGS[j.claim.rule.name](j.printed, Fraction(j.value.item()))
            assert agreement(j.printed, value), id
            assert agreement(j.printed, Fraction(j.value.item())) is None, id
