"""The judge: a claim in, its verdict out. Nothing else knows what a verdict is."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import ge, gt, le, lt
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lora_ref.claims.claim import Check, Claim
from lora_ref.claims.expand import fields, format_text
from lora_ref.claims.likely import likely
from lora_ref.claims.printed import (
    Agreement,
    agreement,
    agreement_of_all,
    joined,
    like_printed,
    plain_text,
    read_printed,
)
from lora_ref.claims.rules import READINGS
from lora_ref.claims.values import exact, shape_text
from lora_ref.errors import ShapeError

Verdict = Literal[
    "false", "shape", "slip", "conflict", "conditional", "unsupported", "measured", "metaphor",
    "not judged", "by-rule", "truncated", "confirmed",
]  # fmt: skip
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Every verdict, worst first."""

MEANINGS: Mapping[Verdict, str] = {
    "false": "the statement is wrong; a computed counterexample shows it",
    "shape": "the expression is undefined for the stated shapes, or has another shape than printed",
    "slip": "the quantity is right, the number printed for it is not",
    "conflict": "the source contradicts itself, or its own code",
    "conditional": "true only under a condition that the source leaves out",
    "unsupported": "nothing in the source, and nothing computable here, bears it out",
    "measured": "depends on data: an experiment of the project measures it",
    "metaphor": "nothing to judge, but something that it hides",
    "not judged": "listed by the file as outside the vocabulary",
    "by-rule": "comes out once a rule is applied that the source leaves unsaid",
    "truncated": "comes out with its last printed digit cut, not rounded",
    "confirmed": "recomputing agrees to the digits that are printed, or keeps its bounds",
}

NOT_COMPUTED: tuple[Verdict, ...] = ("unsupported", "measured", "metaphor", "not judged")
"""Verdicts that come from the kind of the claim or from the study, not from a comparison."""

WRONG: tuple[Verdict, ...] = ("false", "shape", "slip", "conflict", "conditional")
"""Verdicts after which a reader wants to know what is right."""

Finding = Literal["holds", "partly", "fails", "opposite", "not measured yet"]

_BOUNDS = {"at-least": ge, "above": gt, "at-most": le, "below": lt}


@dataclass(frozen=True)
class Judgement:
    """A claim after recomputing."""

    claim: Claim
    verdict: Verdict | None  # None where something raised; `problems` then says what
    agreement: Agreement | None = None  # of the value with what is printed
    printed: str | None = None  # this and the next two as a report shows them
    recomputed: str | None = None
    by_rule: str | None = None
    value: Any = None  # what was recomputed, an array
    finding: Finding | None = None  # of a measured claim, by the study's rule
    correction: str | None = None  # what is right
    correction_holds: bool | None = None  # whether recomputing confirms it
    reason: str = ""  # with its names filled in
    perhaps: str = ""  # of a wrong number for which the file gives no reason: a usual mistake
    varied: str = ""  # of a reader's own file: inputs that change nothing, see `idle_inputs`
    problems: tuple[str, ...] = ()  # what is wrong with the file itself


class _Outcome(NamedTuple):
    """The result of a check."""

    holds: bool
    agreement: Agreement | None = None
    text: str | None = None
    value: Any = None
    wrong_shape: bool = False  # undefined, or of another shape than printed


def judge(claim: Claim) -> Judgement:
    """Recompute a claim and its correction; what raises is a problem, not a verdict."""
    try:
        return _judge(claim)
    except Exception as error:  # any failure of any quantity is reported by name, none ends the run
        problem = f"{claim.id}: recomputing raised {type(error).__name__}: {error}"
        return Judgement(claim, verdict=None, problems=(problem,))


def _judge(claim: Claim) -> Judgement:
    check = claim.check
    if claim.outside is not None:
        label = {"metaphor": "hidden: ", "unsupported": "known: "}.get(claim.outside, "")
        notes = _text(claim, claim.reason), _text(claim, claim.note and label + claim.note)
        return Judgement(claim, claim.outside, reason="; ".join(filter(None, notes)))
    if check is None:
        return _printed_twice(claim)
    if check.quantity.returns.name != "finding":
        return _compared(claim, check)
    finding, text = check.value() if check.value else (None, None)
    reason = _text(claim, claim.reason)
    return Judgement(claim, "measured", recomputed=text, finding=finding, reason=reason)


def _printed_twice(claim: Claim) -> Judgement:
    """Compare two printed places, where there is nothing to compute."""
    texts = str(claim.printed), str(claim.conflict and claim.conflict.printed)
    here, there = map(read_printed, texts)
    same = abs(here.number - there.number) <= max(here.unit, there.unit) / 2
    agrees: Agreement = "exact" if here.number == there.number else "rounded"
    outcomes = {"value": _Outcome(True, text=texts[0]), "elsewhere": _Outcome(True, text=texts[1])}
    return Judgement(
        claim,
        "confirmed" if same else "conflict",
        agrees if same else None,
        printed=texts[0],
        reason=_text(claim, claim.reason, outcomes),
    )


def _compared(claim: Claim, check: Check) -> Judgement:
    """Compare the value of a claim with what is expected of it."""
    outcomes = {"value": (outcome := _assess(check))}
    ruled = _by_rule(claim, outcome)
    if ruled:
        outcomes["by_rule"] = ruled
    recomputed = outcome.text
    if claim.under:
        outcomes["under"] = _assess(claim.under)
        condition = _text(claim, claim.under.text, outcomes)
        recomputed = f"{recomputed}; {condition}: {outcomes['under'].text}"
    correction, correction_holds, problems = _corrected(claim, outcomes)
    verdict = _verdict(claim, check, outcome, ruled)
    unexplained = verdict in ("slip", "shape") and not claim.reason
    return Judgement(
        claim,
        verdict,
        outcome.agreement,
        _expectation(check),
        recomputed,
        ruled.text if ruled else None,
        outcome.value,
        correction=correction,
        correction_holds=correction_holds,
        reason=_text(claim, claim.reason, outcomes),
        perhaps=likely(check, outcome.value) if unexplained else "",
        problems=problems,
    )


def _verdict(claim: Claim, check: Check, outcome: _Outcome, ruled: _Outcome | None) -> Verdict:
    """Return the first verdict that the outcomes bear out."""
    if outcome.holds:
        return "truncated" if outcome.agreement == "truncated" else "confirmed"
    if ruled and ruled.holds:
        return "by-rule"
    if _contradicted(claim, outcome):
        return "conflict"
    if claim.under and _assess(claim.under).holds:
        return "conditional"
    if outcome.wrong_shape:
        return "shape"
    is_number = check.expected.printed is not None or check.expected.shape is not None
    return "slip" if is_number and not check.expected.ours else "false"


def _corrected(
    claim: Claim, outcomes: dict[str, _Outcome]
) -> tuple[str | None, bool | None, tuple[str, ...]]:
    """Return the correction as a text, whether it holds, and the problem where it does not.

    Its outcome is added to the others, as ``right``.
    """
    if claim.correction is None:
        return None, None, ()
    expected, text = claim.correction.expected, claim.correction.text
    wanted = None if expected.printed is None else joined(expected.printed)
    right = _assess(claim.correction)
    holds = right.holds and right.agreement != "truncated"
    if holds and wanted is not None:
        right = right._replace(text=wanted)
    outcomes["right"] = right
    correction = _text(claim, text, outcomes)
    names_it = claim.fills and "right" in fields(text)
    if not names_it and not expected.bounds and right.text is not None:
        correction += f": {right.text}"
    if holds:
        return correction, True, ()
    problem = f"{claim.id}: the correction does not hold: {correction}"
    return correction, False, (problem + (f", expected {wanted}" if wanted is not None else ""),)


def _assess(check: Check) -> _Outcome:
    """Compute a check and those of its `also`; it holds where all of them do."""
    outcome = _compare(check)
    holds = outcome.holds and all(_assess(other).holds for other in check.also)
    return outcome._replace(holds=holds)


def _compare(check: Check) -> _Outcome:
    """Compute a check's value and compare it with what is expected."""
    expected = check.expected
    try:
        value = check.value() if check.value else None
    except ShapeError as error:
        wanted = "" if expected.shape is None else f", not {shape_text(expected.shape)}"
        return _Outcome(False, text=f"undefined{wanted}: {error}", wrong_shape=True)
    if value is None:
        return _Outcome(False)
    if expected.shape is not None:
        text = shape_text(value.shape)
        if value.shape == expected.shape:
            return _Outcome(True, "exact", text, value)
        if value.ndim == 0:
            text += f", {plain_text(value)}"
        text += f", not {shape_text(expected.shape)}"
        return _Outcome(False, None, text, value, wrong_shape=True)
    if expected.printed is not None:
        printed = np.array(expected.printed, dtype=object)
        text = _like(value, printed)
        if value.shape != printed.shape:
            text += f" ({shape_text(value.shape)}, not {shape_text(printed.shape)})"
            return _Outcome(False, None, text, value, wrong_shape=True)
        agrees = agreement_of_all(expected.printed, value, expected.about)
        return _Outcome(agrees is not None, agrees, text, value)
    numbers = [exact(entry) for entry in np.ravel(value)]
    if expected.trend is not None:
        follows = lt if expected.trend == "rises" else gt
        holds = len(numbers) > 1 and all(follows(a, b) for a, b in pairwise(numbers))
        return _Outcome(holds, None, plain_text(value), value)
    limits = {key: read_printed(text) for key, text in expected.bounds.items()}
    holds = all(_BOUNDS[key](n, limit.number) for key, limit in limits.items() for n in numbers)
    first = next(iter(limits.values()))
    return _Outcome(holds, None, plain_text(value, first.percent), value)


def _by_rule(claim: Claim, outcome: _Outcome) -> _Outcome | None:
    """Return what the rule gives, and whether that is what is printed."""
    rule, printed = claim.rule, claim.check and claim.check.expected.printed
    if rule is None:
        return None
    if rule.check is not None:
        return _assess(rule.check)
    if np.ndim(outcome.value) or outcome.value is None or type(printed) is not str:
        return None
    value = READINGS[rule.name](printed, exact(outcome.value.item()))
    agrees = agreement(printed, value)
    return _Outcome(agrees is not None, agrees, like_printed(value, printed), np.array(value))


def _contradicted(claim: Claim, outcome: _Outcome) -> bool:
    """Return whether another statement of the source agrees where this one does not."""
    other, value = claim.conflict, outcome.value
    if other is None:
        return False
    if other.check is not None:
        return _assess(other.check).holds
    is_number = other.printed is not None and value is not None and value.ndim == 0
    return is_number and agreement(str(other.printed), value.item()) is not None


# texts


def _text(claim: Claim, text: str, outcomes: Mapping[str, _Outcome] = {}) -> str:
    """Fill a text of the file from inputs, derived values, and what was recomputed."""
    if not claim.fills or "{" not in text:
        return text
    known: dict[str, Any] = dict(claim.rule.check.inputs) if claim.rule and claim.rule.check else {}
    inputs = claim.check.inputs if claim.check else {}
    computed = dict(claim.names)
    for key, given in inputs.items():
        if isinstance(given, dict) and claim.check and claim.check.value:
            computed[key] = claim.check.given(key)
    known |= inputs
    for name in fields(text):
        if name in outcomes:
            outcome, formatted = outcomes[name], f"{{{name}:" in text
            known[name] = _numbers(outcome.value) if formatted else outcome.text or ""
        elif name in computed:
            try:
                known[name] = _numbers(computed[name]())
            except ShapeError:  # as of the claim's own value
                known[name] = "undefined"
    return format_text(text, known)


def _numbers(value: Any) -> Any:
    """Return an array as numbers to be formatted: whole ones as int, others as float."""
    if value is None:
        return ""
    entries = [exact(entry) for entry in np.ravel(value)]
    numbers = [int(n) if n.denominator == 1 else float(n) for n in entries]
    return numbers if np.ndim(value) else numbers[0]


def _expectation(check: Check) -> str | None:
    """Return what the source prints, or the bounds that stand for it."""
    expected = check.expected
    if expected.ours or expected.trend:
        return None
    if expected.shape is not None:
        return " x ".join(map(str, expected.shape)) or "number"
    if expected.printed is not None:
        return joined(expected.printed)
    return ", ".join(f"{key.replace('-', ' ')} {text}" for key, text in expected.bounds.items())


def _like(value: Any, printed: Any) -> str:
    """Write values in the manner of the printed ones; of another shape, of the first of them."""
    same_shape = value.shape == printed.shape
    forms = printed.flat if same_shape else [printed.flat[0]] * value.size
    texts = [like_printed(entry, form) for entry, form in zip(value.flat, forms, strict=True)]
    return joined(np.array(texts, dtype=object).reshape(value.shape))
