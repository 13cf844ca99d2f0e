"""A lecture's judgements as text, as Markdown and as JSON, in the manner of the ledger's report."""

from collections.abc import Sequence
from textwrap import wrap
from typing import Any

from lora_ref.ledger import layout, report
from lora_ref.ledger.claim import VERDICTS, Judgement, Verdict
from lora_ref.ledger.layout import cell
from lora_ref.ledger.lecture.read import Lecture

MEANINGS: dict[Verdict, str] = {
    "false": "the statement is wrong; the value that shows it was computed",
    "shape": report.MEANINGS["shape"],
    "slip": report.MEANINGS["slip"],
    "conditional": "true only under the condition that the file states",
    "confirmed": "recomputing agrees to the digits that are printed",
}
"""The verdicts that a file's claim can have, worst first."""

OUTSIDE = "listed by the file as outside the vocabulary, and not judged"


def as_dict(lecture: Lecture, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return the judgements in JSON types; ``counts`` is as in the ledger's."""
    return {
        "schema": 1,
        "lecture": lecture.title,
        "source": lecture.source or None,
        "claims": [
            {
                "id": j.claim.id,
                "where": _place(j) or None,
                "says": j.claim.says,
                "quantity": lecture.quantities[j.claim.id],
                "printed": j.printed,
                "recomputed": j.recomputed or None,
                "verdict": j.verdict,
                "correction": j.correction,
                "why": j.why,
            }
            for j in judgements
        ],
        "outside": [
            {"id": one.id, "where": one.where or None, "says": one.says, "why": one.why}
            for one in lecture.outside
        ],
        "counts": report.counts(judgements),
    }


def as_text(
    lecture: Lecture, judgements: Sequence[Judgement], *, width: int = 96, colour: bool = False
) -> str:
    """Return the report for a terminal: what is claimed, and beside it what comes out.

    Parameters
    ----------
    lecture : Lecture
        Whose claims they are.
    judgements : sequence of Judgement
        In the order in which to show them.
    width : int
        Columns of the terminal.
    colour : bool
        Whether to colour the verdicts.
    """
    width = max(width, 40)
    title = lecture.title + (f" ({lecture.source})" if lecture.source else "")
    blocks = ["\n".join(wrap(title, width))]
    blocks += [_block(j, width, colour) for j in judgements]
    if lecture.outside:
        lines = wrap(f"OUTSIDE: {OUTSIDE} ({len(lecture.outside)})", width)
        for one in lecture.outside:
            lines += wrap(f"{one.id}: {one.says}", width, subsequent_indent="  ")
            lines += wrap(one.why, width, initial_indent="  because ", subsequent_indent=" " * 10)
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, "\n".join(wrap(summary(lecture, judgements), width))])


def as_markdown(lecture: Lecture, judgements: Sequence[Judgement]) -> str:
    """Return a page with a table for each verdict, worst first."""
    totals = report.counts(judgements)
    lines = [f"# {cell(lecture.title)}", ""]
    lines += [cell(lecture.source), ""] if lecture.source else []
    lines += ["| verdict | claims | means |", "|---|---:|---|"]
    lines += [f"| {v} | {totals[v]} | {meaning} |" for v, meaning in MEANINGS.items()]
    lines.append(f"| **all** | **{len(judgements)}** | |")
    for verdict in MEANINGS:
        chosen = [j for j in judgements if j.verdict == verdict]
        if chosen:
            lines += ["", f"## {verdict.capitalize()}", ""]
            lines += ["| id | says | recomputed | what is right, and why |", "|---|---|---|---|"]
        for j in chosen:
            place = f"<br>{cell(_place(j))}" if _place(j) else ""
            printed = f"<br>printed: {cell(j.printed)}" if j.printed else ""
            right = "<br>".join(cell(text) for text in (j.correction, j.why) if text)
            name = f"`{j.claim.id}`{place}"
            lines.append(
                f"| {name} | {cell(j.claim.says)}{printed} | {cell(j.recomputed)} | {right} |"
            )
    if lecture.outside:
        lines += ["", "## Outside", "", f"What is {OUTSIDE}.", "", "| id | says | why |"]
        lines.append("|---|---|---|")
        lines += [f"| `{o.id}` | {cell(o.says)} | {cell(o.why)} |" for o in lecture.outside]
    return "\n".join(lines) + "\n"


def summary(lecture: Lecture, judgements: Sequence[Judgement]) -> str:
    """Return the counts in a sentence."""
    found = layout.in_words(judgements, VERDICTS)
    text = f"{layout.many(judgements, 'claim')} recomputed: {found}."
    if lecture.outside:
        text += f" {len(lecture.outside)} outside the vocabulary, not judged."
    checked = [j.correction_holds for j in judgements if j.correction_holds is not None]
    if checked:
        text += f" {sum(checked)} of {len(checked)} corrections hold when recomputed."
    return text


def _place(j: Judgement) -> str:
    return j.claim.where.english


def _block(j: Judgement, width: int, colour: bool) -> str:
    name = f"{(j.verdict or 'not run'):<11} {j.claim.id}"
    head = report.painted(name, j.verdict, colour)
    gap = width - layout.columns(name) - layout.columns(_place(j))
    if _place(j):
        head += " " * gap + _place(j) if gap > 1 else f"\n  {_place(j)}"
    left = [("says", j.claim.says)] + ([("prints", j.printed)] if j.printed else [])
    right = [("computed", j.recomputed)] if j.recomputed else []
    right += (
        [("but" if j.verdict == "confirmed" else "right", j.correction)] if j.correction else []
    )
    right += [("note", j.why)] if j.why else []
    right += [("PROBLEM", problem) for problem in j.problems]
    return layout.two_sides(head, left, right, width)
