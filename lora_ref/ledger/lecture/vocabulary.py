"""The fixed vocabulary: every quantity that a lecture's file may claim a value of."""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.ledger.lecture import counts, lora, matrices, models
from lora_ref.ledger.lecture.quantity import Need, Quantity

GROUPS: Mapping[str, tuple[Quantity, ...]] = MappingProxyType(
    {
        "Matrices": matrices.QUANTITIES,
        "A LoRA layer": lora.QUANTITIES,
        "Counts of one weight": counts.QUANTITIES,
        "Counts of published models": models.QUANTITIES,
    }
)
"""The quantities by topic."""

VOCABULARY: Mapping[str, Quantity] = MappingProxyType(
    {quantity.name: quantity for quantities in GROUPS.values() for quantity in quantities}
)
"""The quantities by name."""


def as_markdown() -> str:
    """Return the vocabulary as tables, a heading for each topic: what the page shows.

    A key in brackets may be left out; what holds then stands behind it.
    """
    lines = []
    for title, quantities in GROUPS.items():
        lines += [f"### {title}", "", "| quantity | what it is | keys | printed is |"]
        lines.append("|---|---|---|---|")
        lines += [
            f"| `{q.name}` | {q.means} | {', '.join(map(_key, q.needs))} | {_printed(q)} |"
            for q in quantities
        ]
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _key(need: Need) -> str:
    text = f"`{need.key}`"
    if need.kind == "terms":
        text += " (a list)"
    if need.kind == "word":
        text += f" ({', '.join(need.words)})"
    if need.kind == "factors" and need.default:
        return f"[{text}]"
    if need.required:
        return text
    default = {None: "", False: " = false"}.get(need.default, f" = {need.default}")
    return f"[{text}{default}]"


def _printed(quantity: Quantity) -> str:
    return {
        "number": "a number",
        "numbers": "a list of numbers",
        "matrix": "a matrix or vector",
        "shape": "a shape",
    }[quantity.gives]
