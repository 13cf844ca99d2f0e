"""Which inputs of a claim change nothing: each number is changed once, and judged again.

An author who believes that alpha matters, or that a bound depends on the width, sees here that
nothing changes. One other value is tried for each; what is said names it, and claims no more.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from lora_ref.claims.judge import Judgement, judge
from lora_ref.claims.printed import plain_text
from lora_ref.claims.values import AsNumber, Computed, Sweep

AS_STATED = ("confirmed", "truncated")
"""Verdicts that rest on a claim's own inputs; what is wrong is mostly wrong with others too."""


def note(judgement: Judgement) -> str:
    """Return a sentence on inputs that change nothing about a claim, or an empty text.

    Of a claim that holds as stated, that is its verdict if no input changes it; of any other
    claim, and where some input does, the inputs with which the value is the same.
    """
    claim, check = judgement.claim, judgement.claim.check
    if check is None or check.value is None or judgement.value is None:
        return ""
    same_verdict, same_value, tried = [], [], 0
    for text, value in _changed(check.value, check.inputs):
        other = judge(replace(claim, check=replace(check, value=value)))
        tried += 1
        if other.verdict == judgement.verdict:
            same_verdict.append(text)
        if other.value is not None and np.array_equal(other.value, judgement.value):
            same_value.append(text)
    if tried and len(same_verdict) == tried and judgement.verdict in AS_STATED:
        return f"no input that was varied changes the verdict: {'; '.join(same_verdict)}"
    return f"the value is the same with {'; '.join(same_value)}" if same_value else ""


def _changed(value: Computed, written: Mapping[str, Any]) -> Iterator[tuple[str, Computed]]:
    """Yield a quantity with each number that its table writes changed, and the words for it."""
    for argument, given in value.inputs.items():
        key = argument.rstrip("_").replace("_", "-")
        if key in written:
            for text, other in _others(key, given, written[key]):
                yield text, Computed(value.compute, {**value.inputs, argument: other})


def _others(key: str, given: Any, written: Any) -> Iterator[tuple[str, Any]]:
    """Yield other values of an input, one for each number in it."""
    match given:
        case AsNumber(source) if isinstance(written, dict):
            yield from ((text, AsNumber(other)) for text, other in _others(key, source, written))
        case Computed() if isinstance(written, dict):
            yield from ((f"{key}.{text}", other) for text, other in _changed(given, written))
        case Sweep(values):
            yield from ((text, Sweep(other)) for text, other in _others(key, values, written))
        case tuple() if isinstance(written, list):
            for i, entry in enumerate(given):
                for text, other in _others(key, entry, written[i]):
                    yield text, (*given[:i], other, *given[i + 1 :])
        case bool():
            yield f"{key} = {str(not given).lower()}", not given
        case int() | Fraction():
            half = given / 2 if isinstance(given, Fraction) else given // 2
            other = half or given + 1
            yield f"{key} = {plain_text(other)} in place of {written}", other
