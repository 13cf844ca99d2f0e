"""The ledger as text for a projector, as Markdown for a page, and as JSON for a program."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from textwrap import wrap
from typing import Any

from lora_ref.ledger.claim import VERDICTS, Judgement, Verdict

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

_MATRIX = re.compile(r"-?[\d.,]+(?: -?[\d.,]+)+(?: / -?[\d.,]+(?: -?[\d.,]+)+)+")
"""The rows of a matrix in one line of text, kept apart by slashes."""

_COLOURS = {"wrong": "\x1b[1;33m", "open": "\x1b[1;36m", "right": "\x1b[1;34m"}
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
    """Return how often each verdict occurs."""
    found = Counter(j.verdict for j in judgements)
    return {verdict: found[verdict] for verdict in VERDICTS}


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Sort by verdict, what failed to run before everything; the article's order within one."""
    ranks: dict[Verdict | None, int] = {verdict: i for i, verdict in enumerate(VERDICTS)}
    return sorted(judgements, key=lambda j: ranks.get(j.verdict, -1))


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
            blocks.append("\n".join(_painted(line, j.verdict, colour) for line in lines))
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
        right = "<br>".join(_cell(text) for text in (j.correction, j.finding, j.why) if text)
        printed = f"<br>printed: {_cell(j.printed)}" if j.printed else ""
        cells = (f"`{j.claim.id}`<br>{place}", _cell(j.claim.says) + printed, _cell(j.recomputed))
        rows.append(f"| {' | '.join(cells)} | {right} |")
    return rows


def _cell(text: str) -> str:
    """Escape what Markdown would read as markup; the rows of a matrix stand below each other."""
    for mark in ("\\", "|", "*", "_", "<", ">"):
        text = text.replace(mark, f"\\{mark}")
    return _MATRIX.sub(lambda rows: "<br>" + rows[0].replace(" / ", "<br>"), text)


def _block(j: Judgement, width: int, chinese: bool, colour: bool) -> str:
    where = j.claim.where
    places = [f"part {where.part}, {where.number} {where.english}"]
    if chinese:
        places.append(where.chinese)
    place = " ".join(places)
    name = f"{(j.verdict or 'not run'):<11} {j.claim.id}"
    gap = width - _columns(name) - _columns(place)
    head = _painted(name, j.verdict, colour)
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
    if width < 72:
        return "\n".join([head, *(f"  {line}" for line in _column(left + right, width - 2))])
    half = (width - 3) // 2
    columns = [_column(left, half), _column(right, width - 3 - half)]
    height = max(map(len, columns))
    padded = [column + [""] * (height - len(column)) for column in columns]
    return "\n".join([head, *(f"  {a:<{half}} {b}".rstrip() for a, b in zip(*padded, strict=True))])


def _column(entries: list[tuple[str, str]], width: int) -> list[str]:
    """Wrap labelled texts; the rows of a matrix, kept apart by slashes, get lines of their own."""
    lines = []
    for label, text in entries:
        body: list[str] = []
        for part in _matrix_lines(text):
            body += wrap(part, width - 10) or [""]
        lines += [f"{label if i == 0 else '':<9} {line}" for i, line in enumerate(body)]
    return lines


def _matrix_lines(text: str) -> list[str]:
    rows = _MATRIX.search(text)
    if rows is None:
        return [text]
    before, after = text[: rows.start()].rstrip(), text[rows.end() :].strip()
    return [part for part in (before, *rows[0].split(" / "), after) if part]


def _summary(judgements: Sequence[Judgement], width: int) -> str:
    totals = {verdict: n for verdict, n in counts(judgements).items() if n}
    run = len(judgements) - sum(totals.get(v, 0) for v in NOT_COMPUTED)
    failed = sum(j.verdict is None for j in judgements)
    found = ", ".join(f"{n} {verdict}" for verdict, n in totals.items())
    if failed:
        found += f"{', ' if found else ''}{failed} did not run"
    claims = "1 claim" if len(judgements) == 1 else f"{len(judgements)} claims"
    lines = [f"{claims}, {run - failed} recomputed: {found}."]
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


def _painted(text: str, verdict: Verdict | None, colour: bool) -> str:
    if not colour:
        return text
    return f"{_COLOURS[_GROUP.get(verdict or 'false', 'open')]}{text}\x1b[0m"


def _columns(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)
