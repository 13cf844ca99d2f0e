"""The ledger: what a text claims, recomputed and judged."""

from lora_ref.ledger.claim import Claim, Judgement, judge
from lora_ref.ledger.document import CLAIMS

__all__ = ["CLAIMS", "Claim", "Judgement", "judge"]
