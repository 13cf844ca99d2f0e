"""From a claim to its verdict: the only place that knows what a verdict is."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import ge, gt, le, lt
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from lora_ref.claims.claim import Check, Claim
from lora_ref.claims.expand import fields, format_text
from lora_ref.claims.printed import (
    Agreement,
    agreement,
    agreement_of_all,
    joined,
    like_printed,
    plain_text,
    printed_texts,
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
    "slip": "the expression is right, the printed number is not",
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

_TWICE = ("value", "elsewhere")
"""The names of two printed places in a reason."""

_BOUNDS = {"at-least": ge, "above": gt, "at-most": le, "below": lt}


@dataclass(frozen=True)
class Judgement:
    """A claim after recomputing.

    Parameters
    ----------
    claim : Claim
        What was judged.
    verdict : str or None
        None where something raised; `problems` then says what.
    agreement : {"exact", "rounded", "about", "truncated"} or None
        How the value agrees with what is printed.
    printed, recomputed, by_rule : str or None
        As a report shows them.
    value : ndarray or None
        What was recomputed.
    finding : str or None
        Of a measured claim, by the study's rule.
    correction : str or None
        What is right, and `correction_holds` whether recomputing confirms it.
    reason : str
        With its names filled in.
    problems : tuple of str
        What is wrong with the file itself.
    """

    claim: Claim
    verdict: Verdict | None
    agreement: Agreement | None = None
    printed: str | None = None
    recomputed: str | None = None
    by_rule: str | None = None
    value: Any = None
    finding: Finding | None = None
    correction: str | None = None
    correction_holds: bool | None = None
    reason: str = ""
    problems: tuple[str, ...] = ()


class _Outcome(NamedTuple):
    """What a check came to."""

    holds: bool
    agreement: Agreement | None = None
    shown: str | None = None
    value: Any = None
    shape: bool = False  # undefined, or of another shape


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
    found, text = check.value() if check.value else (None, None)
    reason = _text(claim, claim.reason)
    return Judgement(claim, "measured", recomputed=text, finding=found, reason=reason)


def _printed_twice(claim: Claim) -> Judgement:
    """Compare two printed places, where there is nothing to compute."""
    texts = str(claim.printed), str(claim.elsewhere and claim.elsewhere.printed)
    here, there = map(read_printed, texts)
    same = abs(here.number - there.number) <= max(here.unit, there.unit) / 2
    agrees: Agreement | None = "exact" if here.number == there.number else "rounded"
    shown = {name: _Outcome(True, None, text) for name, text in zip(_TWICE, texts, strict=True)}
    return Judgement(
        claim,
        "confirmed" if same else "conflict",
        agrees if same else None,
        printed=texts[0],
        reason=_text(claim, claim.reason, shown),
    )


def _compared(claim: Claim, check: Check) -> Judgement:
    outcomes = {"value": (outcome := _assess(check))}
    if ruled := _by_rule(claim, outcome):
        outcomes["by_rule"] = ruled
    if claim.under:
        outcomes["under"] = _assess(claim.under)
    expected = check.expected
    verdict: Verdict
    if outcome.holds and all(_assess(one).holds for one in claim.also):
        verdict = "truncated" if outcome.agreement == "truncated" else "confirmed"
    elif ruled and ruled.holds:
        verdict = "by-rule"
    elif _contradicted(claim, outcome):
        verdict = "conflict"
    elif claim.under and all(_assess(one).holds for one in (claim.under, *claim.under_also)):
        verdict = "conditional"
    elif outcome.shape:
        verdict = "shape"
    else:
        printed = expected.printed is not None or expected.shape is not None
        verdict = "slip" if printed and not expected.ours else "false"
    correction, right_holds, problems = None, None, []
    if claim.correction is not None:
        right = _assess(claim.correction)
        right_holds = right.holds and right.agreement != "truncated"
        if right_holds and claim.correction.expected.printed is not None:
            right = right._replace(shown=joined(claim.correction.expected.printed))
        outcomes["right"] = right
        correction = _text(claim, claim.correction.text, outcomes)
        says_it = claim.fills and "right" in fields(claim.correction.text)
        if not says_it and not claim.correction.expected.bounds and right.shown is not None:
            correction += f": {right.shown}"
        if not right_holds:
            said = f"the correction does not hold: {correction}"
            wanted = claim.correction.expected.printed
            said += "" if wanted is None else f", expected {joined(wanted)}"
            problems.append(f"{claim.id}: {said}")
    recomputed = outcome.shown
    if claim.under:
        condition = _text(claim, claim.under.text, outcomes)
        recomputed = f"{recomputed}; {condition}: {outcomes['under'].shown}"
    return Judgement(
        claim,
        verdict,
        outcome.agreement,
        _expectation(check),
        recomputed,
        ruled.shown if ruled else None,
        outcome.value,
        correction=correction,
        correction_holds=right_holds,
        reason=_text(claim, claim.reason, outcomes),
        problems=tuple(problems),
    )


def _assess(check: Check) -> _Outcome:
    """Compute a check's value and compare it with what is expected."""
    expected = check.expected
    try:
        value = check.value() if check.value else None
    except ShapeError as error:
        wanted = "" if expected.shape is None else f", not {shape_text(expected.shape)}"
        return _Outcome(False, shown=f"undefined{wanted}: {error}", shape=True)
    if value is None:
        return _Outcome(False)
    if expected.shape is not None:
        found = shape_text(value.shape)
        if value.shape == expected.shape:
            return _Outcome(True, "exact", found, value)
        if value.ndim == 0:
            found += f", {plain_text(value)}"
        return _Outcome(False, None, f"{found}, not {shape_text(expected.shape)}", value, True)
    if expected.printed is not None:
        texts = np.array(expected.printed, dtype=object)
        shown = _like(value, texts)
        if value.shape != texts.shape:
            shown += f" ({shape_text(value.shape)}, not {shape_text(texts.shape)})"
            return _Outcome(False, None, shown, value, shape=True)
        agrees = agreement_of_all(expected.printed, value, expected.about)
        return _Outcome(agrees is not None, agrees, shown, value)
    numbers = [exact(entry) for entry in np.ravel(value)]
    if expected.trend is not None:
        follow = lt if expected.trend == "rises" else gt
        holds = len(numbers) > 1 and all(follow(a, b) for a, b in pairwise(numbers))
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
    """Whether another statement of the source is borne out where this one is not."""
    other, value = claim.conflict, outcome.value
    if other is None:
        return False
    if other.check is not None:
        return _assess(other.check).holds
    single = other.printed is not None and value is not None and value.ndim == 0
    return single and agreement(str(other.printed), value.item()) is not None


# texts


def _text(claim: Claim, text: str, outcomes: Mapping[str, _Outcome] = {}) -> str:
    """Fill a text of the file from inputs, derived values, and what was recomputed."""
    if not claim.fills or "{" not in text:
        return text
    found: dict[str, Any] = dict(claim.rule.check.inputs) if claim.rule and claim.rule.check else {}
    found |= claim.check.inputs if claim.check else {}
    for name in fields(text):
        if name in outcomes:
            outcome, formatted = outcomes[name], f"{{{name}:" in text
            found[name] = _numbers(outcome.value) if formatted else outcome.shown or ""
        elif name in claim.names:
            try:
                found[name] = _numbers(claim.names[name]())
            except ShapeError:  # as of the claim's own value
                found[name] = "undefined"
    return format_text(text, found)


def _numbers(value: Any) -> Any:
    """Return an array as numbers to be formatted: whole ones as int, others as float."""
    if value is None:
        return ""
    flat = [exact(entry) for entry in np.ravel(value)]
    plain = [int(n) if n.denominator == 1 else float(n) for n in flat]
    return plain if np.ndim(value) else plain[0]


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


def _like(value: Any, texts: Any) -> str:
    """Write recomputed values in the manner of the printed ones."""
    printed = list(printed_texts(texts))
    if value.shape != texts.shape:
        printed = [printed[0]] * value.size
    shown = [like_printed(entry, text) for entry, text in zip(value.flat, printed, strict=True)]
    return joined(np.array(shown, dtype=object).reshape(value.shape))
