"""The article's claims, in the order in which it makes them."""

from lora_ref.ledger.claim import Claim
from lora_ref.ledger.document import (
    counts,
    geometry,
    matrix,
    measured,
    passes,
    promises,
    training,
)

_TOPICS = (matrix, counts, geometry, passes, training, promises, measured)

CLAIMS: tuple[Claim, ...] = tuple(
    sorted(
        (claim for topic in _TOPICS for claim in topic.CLAIMS),
        key=lambda claim: (claim.where.part, claim.where.number),
    )
)
"""Every checkable claim of the article, sections in order."""
