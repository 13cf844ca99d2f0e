"""Quantities of the committed study on the digits: its findings, and numbers behind them."""

from functools import cache
from typing import Annotated

from lora_ref.claims.quantity import Kind, Name, Numbers, StudyFinding
from lora_ref.errors import LoraRefError
from lora_ref.study import Finding, committed, judge_claims
from lora_ref.study.findings import Runs
from lora_ref.suggestions import nearest_or_all

TOPIC = "The study"


def study_finding(
    claim: Annotated[str, Kind("name", "the name of a claim of the study")],
) -> StudyFinding:
    """Return what the study on the digits finds of a claim, by its rule; `docs/study.md` has it."""
    found = _findings()
    if claim not in found:
        raise LoraRefError(f"the study judges no claim {claim!r}{nearest_or_all(claim, found)}")
    return found[claim]


def source_points_lost(method: Name) -> Numbers:
    """Return the points of source accuracy that a method costs with the adapter on, by shift.

    They are means over the seeds of the committed study.
    """
    lost = Runs(committed()).source("untouched", method)
    return tuple(100 * pair.mean for pair in lost.values())


@cache
def _findings() -> dict[str, Finding]:
    return judge_claims(committed())
