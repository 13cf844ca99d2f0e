"""The article's claims as a picture: a cell for each claim, a row for each section."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from lora_ref.claims import Judgement
from lora_ref.claims.judge import NOT_COMPUTED, VERDICTS, WRONG, Verdict
from lora_ref.errors import LoraRefError
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.style import Ink, blank, listed, readable_on, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CELL_STYLES: Mapping[Verdict, tuple[str, str, str]] = {
    "false": ("×", "vermillion", ""),
    "shape": ("□", "purple", ""),
    "slip": ("≠", "orange", ""),
    "conflict": ("!", "orange", "xxx"),
    "conditional": ("if", "sky", ""),
    "unsupported": ("?", "grey", "///"),
    "measured": ("m", "grey", "|||"),
    "metaphor": ("i", "grey", ""),
    "not judged": ("-", "grey", "..."),
    "by-rule": ("r", "green", "///"),
    "truncated": ("~", "green", "|||"),
    "confirmed": ("✓", "green", ""),
}
"""Sign, colour and hatch of each verdict's cell: no reader needs the colour. Uncomputed is grey."""

ROW = 0.25
"""Inches of a row."""


def verdicts(judgements: Sequence[Judgement], *, theme: str = "light") -> Picture:
    """Draw every claim, in the order of the article, as a cell with the look of its verdict."""
    if not judgements:
        raise LoraRefError("judgements in figures.verdicts is empty, expected at least one")
    rows: dict[tuple[str, str, str], list[tuple[str, Verdict]]] = {}
    for judgement in judgements:
        if judgement.verdict is None:
            raise LoraRefError(
                f"{judgement.claim.id} in figures.verdicts has no verdict, recomputing raised: "
                f"{'; '.join(judgement.problems)}"
            )
        part, _, number = judgement.claim.where.removeprefix("part ").partition(", ")
        key = part, number, judgement.claim.section.english
        rows.setdefault(key, []).append((judgement.claim.id, judgement.verdict))
    parts = [part for part, _, _ in rows]
    breaks = sum(a != b for a, b in pairwise(parts))
    longest = max(map(len, rows.values()))
    height = len(rows) + breaks + 0.5
    left, legend = 16.0, 9.5  # rows' widths of the section names, and of the legend
    with style(theme) as ink:
        width = left + longest + 1.0 + legend
        figure = blank(width * ROW, height * ROW + 0.2, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height + 0.4, -0.4))
        axes.set_axis_off()
        y, part = 0.0, parts[0]
        for (now, number, name), claims in rows.items():
            y, part = y + (now != part), now
            axes.text(left - 0.4, y + 0.5, name, ha="right", va="center")
            axes.text(0.3, y + 0.5, f"{now}.{number}", va="center", color=ink.grey)
            for k, (id, verdict) in enumerate(claims):
                _cell(axes, left + k, y, verdict, ink, id)
            y += 1
        totals = Counter(verdict for claims in rows.values() for _, verdict in claims)
        _legend(axes, left + longest + 1.0, totals, ink)
    fails = {v: totals[v] for v in WRONG if totals[v] and v != "conditional"}
    run = sum(totals[v] for v in VERDICTS if v not in NOT_COMPUTED)
    under, failed = totals["conditional"], sum(fails.values())
    named = [f"{n} {verdict}" for verdict, n in fails.items()]
    return Picture(
        figure,
        f"Of {len(judgements)} claims of the article {run} can be recomputed: "
        f"{run - under - failed} come out, {under} do so under a condition that is not said, and "
        f"{failed} fail{': ' if named else ''}{listed(named) if named else ''}.",
        theme,
    )


def _cell(axes: "Axes", x: float, y: float, verdict: Verdict, ink: Ink, label: str) -> None:
    from matplotlib.patches import Rectangle

    sign, colour_name, hatch = CELL_STYLES[verdict]
    colour: str = getattr(ink, colour_name)
    face = ink.paper if hatch else colour
    axes.add_patch(
        Rectangle(
            (x + 0.06, y + 0.06), 0.88, 0.88, facecolor=face, edgecolor=colour, hatch=hatch,
            lw=1.2, label=label,
        )
    )  # fmt: skip
    ground = {"facecolor": ink.paper, "edgecolor": "none", "pad": 0.5} if hatch else None
    axes.text(
        x + 0.5, y + 0.48, sign, ha="center", va="center", bbox=ground,
        color=ink.text if hatch else readable_on(face),
    )  # fmt: skip


def _legend(axes: "Axes", x: float, totals: Counter[Verdict], ink: Ink) -> None:
    axes.text(x, 0.5, f"{totals.total()} claims", va="center", fontsize=14)
    for k, verdict in enumerate(v for v in VERDICTS if totals[v]):
        y = 2.0 + 1.35 * k
        _cell(axes, x, y, verdict, ink, f"key to {verdict}")
        axes.text(x + 1.5, y + 0.5, f"{totals[verdict]}", va="center", ha="left")
        axes.text(x + 2.8, y + 0.5, verdict, va="center")
