"""The comparison on real data: shifts, methods, seeds, and what is forgotten.

>>> from lora_ref.study import committed, judge_claims
>>> sorted(judge_claims(committed()))[:3]
['adapter-keeps', 'full-forgets', 'lora-keeps']
"""

from lora_ref.study.findings import Finding, judge_claims, judge_popular
from lora_ref.study.methods import DEFAULT_METHODS, METHODS
from lora_ref.study.records import Record, as_results, committed, rows
from lora_ref.study.report import as_json, as_markdown, as_text
from lora_ref.study.runs import DEFAULT_SEEDS, run
from lora_ref.study.shifts import DEFAULT_SHIFT, SHIFTS
from lora_ref.study.tuning import tune

__all__ = [
    "DEFAULT_METHODS",
    "DEFAULT_SEEDS",
    "DEFAULT_SHIFT",
    "METHODS",
    "SHIFTS",
    "Finding",
    "Record",
    "as_json",
    "as_markdown",
    "as_results",
    "as_text",
    "committed",
    "judge_claims",
    "judge_popular",
    "rows",
    "run",
    "tune",
]
