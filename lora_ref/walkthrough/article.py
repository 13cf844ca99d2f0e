"""The example of the article: its printed numbers, read from the article's claims, and our input.

All of it stands in ``lora_ref/claims/data/article.toml``.
"""

from typing import Any, TypeAlias, cast

from lora_ref.claims import article
from lora_ref.exact import ExactArray, floats
from lora_ref.layers import LoRALinear

Table: TypeAlias = tuple[tuple[str, ...], ...]
"""A matrix as it is printed: rows of texts."""

_ARTICLE = article()


def _printed(name: str) -> Table:
    return cast(Table, _ARTICLE.printed[name])


def printed_in(claim: str) -> Any:
    """Return what the article prints in a claim: a number, a vector or a matrix of texts."""
    check = _ARTICLE.claim(claim).check
    return check and check.expected.printed


def _exact(name: str) -> ExactArray:
    return cast(ExactArray, _ARTICLE.values[name]())


# what the article prints

PRINTED_W0 = _printed("W0")
PRINTED_A = _printed("A")
PRINTED_B_START = _printed("B-start")
PRINTED_B = _printed("B")
PRINTED_AB = _printed("AB")
PRINTED_AB_TERMS = cast(tuple[str, ...], _ARTICLE.printed["AB-terms"])
PRINTED_W: Table = printed_in("merge-sums")
PRINTED_NORM: str = printed_in("frobenius")
_SCALING = _ARTICLE.claim("scaling-one").check
ALPHA, R = (cast(int, _SCALING and _SCALING.inputs[key]) for key in ("alpha", "r"))

# the same in exact arithmetic, and what we add

EXACT_W0 = _exact("W0")
EXACT_A = _exact("A")
EXACT_B_START = _exact("B-start")
EXACT_B = _exact("B")

EXACT_X = _exact("x")
"""Our input: the article gives none."""

EXACT_TARGET = _exact("target")
"""What our loss wants y to be."""

EXACT_LR = _exact("lr").item()
"""Our learning rate."""


def tiled(printed: Table) -> Table:
    """Return a matrix twice, side by side: how the article adds a 4x2 matrix to a 4x4 one."""
    return tuple(row * 2 for row in printed)


def article_layer(B: ExactArray = EXACT_B) -> LoRALinear:
    """Return the example in float64, with the article's trained B or another one."""
    return LoRALinear(floats(EXACT_W0), floats(EXACT_A), floats(B), ALPHA)
