"""The code of the LoRA paper: what microsoft/LoRA prints and sets, beside the paper."""

from fractions import Fraction
from typing import Any

from lora_ref.ledger.literature.figure import Conflict, Figure, Rule
from lora_ref.ledger.literature.lora_language import ADAPTED, SOURCE, lora

_REPOSITORY = "microsoft/LoRA, "
_MEGA = 2**20


def _numbers(itemsize: int, **given: Any) -> int:
    return itemsize * lora(**given)


def _with_head(matrices: int, d: int, r: int, labels: int, itemsize: int) -> int:
    head = d * (d + 1) + labels * (d + 1)
    return itemsize * (lora(matrices, d, r) + head)


def _listed(**given: int) -> Fraction:
    """Return the bytes in tenths of a binary mega, rounded up, as millions."""
    tenths = -(-10 * _with_head(**given) // _MEGA)
    return Fraction(tenths * 10**6, 10)


def _alpha(id: str, where: str, run: str, printed: str, alpha: int) -> Figure:
    script = f"{_REPOSITORY}examples/NLU/{run}_mnli.sh"
    agrees = printed == str(alpha)
    return Figure(
        id=f"lora-{id}-alpha",
        source=SOURCE,
        where=where,
        says=f"alpha of LoRA on MNLI, {run.replace('_', ' ')}",
        printed=printed,
        formula="what the published script sets",
        given={"alpha": alpha},
        value=lambda alpha: alpha,
        conflict=None if agrees else Conflict(script, printed=str(alpha)),
        why="" if agrees else "The authors' own script for this run sets alpha = {value}.",
    )


def _checkpoint(
    id: str, says: str, printed: str, given: tuple[int, int, int], more: str = ""
) -> Figure:
    matrices, d, r = given
    return Figure(
        id=f"lora-{id}-checkpoint",
        source=SOURCE,
        where=f"{_REPOSITORY}examples/NLU/README.md",
        says=f"{says}, the published LoRA checkpoint for MNLI",
        printed=printed,
        formula="4 bytes x (2 matrices d r + (d + labels) (d + 1))",
        given={"matrices": matrices, "d": d, "r": r, "labels": 3, "itemsize": 4},
        value=_with_head,
        rule=Rule("file-listing", _listed),
        why="The file holds the head too, which run_glue.py trains: {value:,} bytes." + more,
    )


def _checkpoint_gpt2(id: str, says: str, printed: str, matrices: int, d: int, why: str) -> Figure:
    return Figure(
        id=f"lora-{id}-checkpoint",
        source=SOURCE,
        where=f"{_REPOSITORY}README.md",
        says=f"{says}, the published LoRA checkpoints",
        printed=printed,
        formula="4 bytes x 2 matrices d r",
        given={"matrices": matrices, "d": d, "r": 4, "itemsize": 4},
        value=_numbers,
        why=why,
    )


FIGURES: tuple[Figure, ...] = (
    Figure(
        id="lora-readme-roberta-base",
        source=SOURCE,
        where=f"{_REPOSITORY}README.md",
        says="RoBERTa base, LoRA r = 8 on q and v",
        printed="0.8M",
        formula=ADAPTED,
        given={"matrices": 24, "d": 768, "r": 8},
        value=lora,
        conflict=Conflict("table 2, and the repository's examples/NLU/README.md", printed="0.3M"),
        why="r = {r} has {value:,}, as the paper and the folder with the scripts say.",
    ),
    _alpha("roberta-base", "table 9", "roberta_base", "8", 16),
    _alpha("roberta-large", "table 9", "roberta_large", "16", 16),
    _alpha("deberta-xxl", "table 10", "deberta_v2_xxlarge", "8", 32),
    _checkpoint("roberta-base", "RoBERTa base", "3.4 MB", (24, 768, 8)),
    _checkpoint("roberta-large", "RoBERTa large", "7.1 MB", (48, 1024, 8)),
    _checkpoint(
        "deberta-xxl",
        "DeBERTa XXL",
        "27.1 MB",
        (96, 1536, 16),
        " That is r = {r}, not the r = 8 of table 10.",
    ),
    _checkpoint_gpt2(
        "gpt2-medium",
        "GPT-2 medium",
        "1.5 MB",
        48,
        1024,
        "{value:,} bytes, 1.5 times 1,024^2: the file holds what r = {r} has, not the 0.35M of "
        "table 3.",
    ),
    _checkpoint_gpt2(
        "gpt2-large",
        "GPT-2 large",
        "2.3 MB",
        72,
        1280,
        "r = {r} takes {value:,} bytes: the file fits neither that nor the 0.77M of table 3.",
    ),
)
