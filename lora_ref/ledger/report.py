"""The ledger as text for a projector, as Markdown for a page, and as JSON for a program."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

from lora_ref.ledger import layout
from lora_ref.ledger.claim import VERDICTS, Judgement, Verdict
from lora_ref.ledger.layout import cell

MEANINGS: dict[Verdict, str] = {
    "false": "the statement is wrong; a computed counterexample shows it",
    "shape": "the expression is undefined for the stated shapes, or has another shape than printed",
    "slip": "the expression is right, the printed number is not",
    "conditional": "true only under a condition that the article leaves out",
    "unsupported": "nothing in the article, and nothing computable here, bears it out",
    "measured": "depends on data: an experiment of the project measures it",
    "illustrated": "a metaphor: nothing to judge, but something that it hides",
    "confirmed": "recomputing agrees to the digits that the article prints",
}
NOT_COMPUTED: tuple[Verdict, ...] = ("unsupported", "measured", "illustrated")
"""Verdicts that come from the kind of the claim, not from a recipe."""

OPENING = (
    "What an article on the core formulas of LoRA says (left), and what recomputing it gives "
    "(right). Part 1 of the article is its 4x4 example, part 2 its formulas."
)

RULE = (
    "A measured claim holds where the paired mean over seeds exceeds two standard errors in the "
    "claimed direction on every shift of the study; it holds partly where it does on some, and "
    "fails where it does on none. Not measured yet is never counted as holding."
)

_COLOURS = {"wrong": "1;33", "open": "1;36", "right": "1;34"}
_GROUP = dict.fromkeys(("false", "shape", "slip"), "wrong") | {"confirmed": "right"}


def as_dict(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return the ledger in JSON types; ``counts`` has every verdict, in order, worst first."""
    return {
        "schema": 1,
        "claims": [
            {
                "id": j.claim.id,
                "part": j.claim.where.part,
                "says": j.claim.says,
                "printed": j.printed,
                "recomputed": j.recomputed or None,
                "verdict": j.verdict,
                "finding": j.finding,
                "correction": j.correction,
                "why": j.why,
            }
            for j in judgements
        ],
        "counts": counts(judgements),
    }


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how often each verdict occurs, worst first."""
    return layout.counts(judgements, VERDICTS)


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Sort by verdict, what failed to run before everything; the article's order within one."""
    return layout.worst_first(judgements, VERDICTS)


def as_text(
    judgements: Sequence[Judgement],
    *,
    width: int = 96,
    chinese: bool = True,
    colour: bool = False,
) -> str:
    """Return the report for a terminal: the article on the left, what is right beside it.

    Parameters
    ----------
    judgements : sequence of Judgement
        In the order in which to show them.
    width : int
        Columns of the terminal.
    chinese : bool
        Whether to name the sections in the article's own words too; without it, all is ASCII.
    colour : bool
        Whether to colour the verdicts.
    """
    width = max(width, 40)
    if not chinese:
        judgements = [_ascii(j) for j in judgements]
    blocks, previous = ["\n".join(wrap(OPENING, width))], ""
    for j in judgements:
        verdict = j.verdict or "NOT RUN"
        if len({k.verdict for k in judgements}) > 1 and verdict != previous:
            meaning = MEANINGS[j.verdict] if j.verdict else "the recipe raised"
            title = f"{verdict.upper()}: {meaning}"
            total = sum(k.verdict == j.verdict for k in judgements)
            lines = wrap(f"{title} ({total})", width)
            blocks.append("\n".join(painted(line, j.verdict, colour) for line in lines))
        previous = verdict
        blocks.append(_block(j, width, chinese, colour))
    return "\n\n".join([*blocks, _summary(judgements, width)])


def as_markdown(judgements: Sequence[Judgement]) -> str:
    """Return a page with a table for each verdict, worst first."""
    totals = counts(judgements)
    lines = [
        "# The ledger: every claim of the article, recomputed",
        "",
        "The article is 《LoRA核心公式》, the core formulas of LoRA. Part 1 is its 4x4 example,",
        "part 2 its formulas.",
        "",
        "Written by `lora-ref verify --markdown`; do not edit. No verdict is stored anywhere: each",
        "is what comes out of recomputing the claim from the article's own inputs, and each",
        "correction is recomputed as well.",
        "",
        "| verdict | claims | means |",
        "|---|---:|---|",
        *(f"| {verdict} | {totals[verdict]} | {MEANINGS[verdict]} |" for verdict in VERDICTS),
        f"| **all** | **{len(judgements)}** | |",
        "",
        RULE,
    ]
    for verdict in VERDICTS:
        chosen = [j for j in judgements if j.verdict == verdict]
        if chosen:
            lines += ["", f"## {verdict.capitalize()}", "", *_table(chosen)]
    return "\n".join(lines) + "\n"


def _table(judgements: Iterable[Judgement]) -> list[str]:
    rows = [
        "| id and place | the article says | recomputed | what is right, and why |",
        "|---|---|---|---|",
    ]
    for j in judgements:
        where = j.claim.where
        place = f"part {where.part}, {where.number}: {where.english}<br>{where.chinese}"
        right = "<br>".join(cell(text) for text in (j.correction, j.finding, j.why) if text)
        printed = f"<br>printed: {cell(j.printed)}" if j.printed else ""
        cells = (f"`{j.claim.id}`<br>{place}", cell(j.claim.says) + printed, cell(j.recomputed))
        rows.append(f"| {' | '.join(cells)} | {right} |")
    return rows


def _block(j: Judgement, width: int, chinese: bool, colour: bool) -> str:
    where = j.claim.where
    places = [f"part {where.part}, {where.number} {where.english}"]
    if chinese:
        places.append(where.chinese)
    place = " ".join(places)
    name = f"{(j.verdict or 'not run'):<11} {j.claim.id}"
    gap = width - layout.columns(name) - layout.columns(place)
    head = painted(name, j.verdict, colour)
    if gap > 1:
        head += " " * gap + place
    else:
        head += "".join(f"\n  {line}" for line in places)
    left = [("says", j.claim.says)]
    if j.printed is not None:
        left.append(("prints", j.printed))
    right = []
    if j.recomputed:
        right.append(("computed", j.recomputed))
    if j.correction:
        right.append(("but" if j.verdict == "confirmed" else "right", j.correction))
    if j.finding:
        right.append(("finding", j.finding))
    if j.why:
        right.append(("because" if j.correction or j.verdict == "confirmed" else "note", j.why))
    right += [("PROBLEM", problem) for problem in j.problems]
    return layout.two_sides(head, left, right, width)


def _summary(judgements: Sequence[Judgement], width: int) -> str:
    totals = {verdict: n for verdict, n in counts(judgements).items() if n}
    run = len(judgements) - sum(totals.get(v, 0) for v in NOT_COMPUTED)
    failed = sum(j.verdict is None for j in judgements)
    found = layout.in_words(judgements, VERDICTS)
    lines = [f"{layout.many(judgements, 'claim')}, {run - failed} recomputed: {found}."]
    checked = [j.correction_holds for j in judgements if j.correction_holds is not None]
    if checked:
        lines.append(f"{sum(checked)} of {len(checked)} corrections hold when recomputed.")
    if "measured" in totals:
        lines.append(RULE)
    return "\n".join("\n".join(wrap(line, width)) for line in lines)


def _ascii(j: Judgement) -> Judgement:
    """Write out the one sign of the recipes that a plain terminal may not have."""
    texts = {name: getattr(j, name) for name in ("recomputed", "correction", "why")}
    return replace(j, **{k: v and v.replace("±", "+-") for k, v in texts.items()})


def painted(text: str, verdict: Verdict | None, colour: bool) -> str:
    """Return a text in the colour of a verdict, where colours are wanted."""
    code = _COLOURS[_GROUP.get(verdict or "false", "open")]
    return layout.painted(text, code if colour else "")
