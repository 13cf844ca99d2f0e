"""What only data can judge: the study's findings, with the numbers they come from."""

from collections.abc import Callable, Sequence
from typing import Any

from lora_ref.ledger.claim import Claim, FindingName, Measured
from lora_ref.ledger.document import sections
from lora_ref.study import Record, committed, judge_claims


def found(name: str) -> Callable[[Sequence[Record]], tuple[FindingName, str] | None]:
    """Return a recipe for what the study finds about one claim; None before it has been run."""

    def recipe(results: Sequence[Record]) -> tuple[FindingName, str] | None:
        if not results:
            return None
        finding, text = judge_claims(results)[name]
        return finding, text

    return recipe


def measured_text(name: str) -> Callable[..., dict[str, Any]]:
    """Return the numbers of the study for a claim that is judged otherwise."""

    def shown(results: Sequence[Record], **given: Any) -> dict[str, Any]:
        return {"measured": judge_claims(results)[name].text if results else "not measured yet"}

    return shown


RESULTS = {"results": committed()}

CLAIMS = (
    Claim(
        id="full-forgets",
        where=sections.COMPARISON,
        says="full fine-tuning partly loses the pretrained knowledge",
        statement=Measured(found("full-forgets")),
        given=RESULTS,
        why="the study on the digits: accuracy on the source task, before and after",
    ),
    Claim(
        id="low-rank-regularises",
        where=sections.COMPARISON,
        says="limiting r regularises and prevents overfitting",
        statement=Measured(found("low-rank-regularises")),
        given=RESULTS,
        why="the gap between training and test accuracy, on 100 training images",
    ),
    Claim(
        id="low-rank-suffices",
        where=sections.ALGEBRA,
        says="LoRA assumes that task updates lie in a low-dimensional subspace, so r is enough",
        statement=Measured(found("low-rank-suffices")),
        given=RESULTS,
        why="accuracy against r, and what cutting the full update costs",
    ),
)
