"""The judgement of a lecture: the ledger's own, claim by claim."""

from dataclasses import replace

from lora_ref.ledger.claim import Judgement
from lora_ref.ledger.claim import judge as judge_claim
from lora_ref.ledger.lecture.read import Lecture


def judge(lecture: Lecture) -> tuple[Judgement, ...]:
    """Return what the ledger's `judge` says of each claim, in the order of the file.

    A lecture need not say what is right: the recomputed value says it. So a wrong claim without a
    correction is no problem here, as it is in the ledger of the article; a correction that does not
    come out confirmed still is one.
    """
    found = []
    for claim in lecture.claims:
        j = judge_claim(claim)
        if claim.correction is None and j.verdict is not None:
            j = replace(j, problems=())
        found.append(replace(j, printed=lecture.prints[claim.id] or j.printed))
    return tuple(found)
