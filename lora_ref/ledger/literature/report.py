"""Published numbers as text for a projector, as Markdown for a page, and as JSON for a program."""

import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from textwrap import wrap
from typing import Any

from lora_ref.ledger import layout
from lora_ref.ledger.literature.figure import (
    MEANINGS,
    VERDICTS,
    Figure,
    Judgement,
    Verdict,
)
from lora_ref.ledger.literature.rules import RULES

OPENING = (
    "What papers, libraries and books print about LoRA, and what first principles give. A verdict "
    "is what comes out of recomputing the number from its own inputs; none is stored."
)

_COLOURS: dict[Verdict, str] = {
    "slip": "1;33",
    "conflict": "1;33",
    "by-rule": "1;36",
    "truncates": "1;36",
    "rounds": "1;34",
    "exact": "1;34",
}


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how often each verdict occurs, worst first."""
    return layout.counts(judgements, VERDICTS)


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Sort by verdict, what failed to run before everything; the sources' order within one."""
    return layout.worst_first(judgements, VERDICTS)


def as_dict(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return the figures in JSON types; ``counts`` has every verdict, in order, worst first."""
    return {
        "schema": 1,
        "figures": [
            {
                "id": j.figure.id,
                "paper": j.figure.source.key,
                "where": j.figure.where,
                "says": j.figure.says,
                "printed": j.figure.printed,
                "computed": None if j.value is None else _number(j.value),
                "verdict": j.verdict,
                "rule": None if j.figure.rule is None else j.figure.rule.name,
                "formula": j.figure.formula,
                "inputs": {name: _plain(value) for name, value in j.figure.given.items()},
                "why": j.why,
            }
            for j in judgements
        ],
        "counts": counts(judgements),
    }


def as_text(judgements: Sequence[Judgement], *, width: int = 96, colour: bool = False) -> str:
    """Return the report for a terminal, in ASCII.

    Parameters
    ----------
    judgements : sequence of Judgement
        In the order in which to show them.
    width : int
        Columns of the terminal.
    colour : bool
        Whether to colour the verdicts.
    """
    width = max(width, 40)
    blocks, previous = ["\n".join(wrap(OPENING, width))], ""
    for j in judgements:
        verdict = j.verdict or "not run"
        if verdict != previous and len({k.verdict for k in judgements}) > 1:
            total = sum(k.verdict == j.verdict for k in judgements)
            meaning = MEANINGS[j.verdict] if j.verdict else "the recipe raised"
            blocks.append("\n".join(wrap(f"{verdict.upper()}: {meaning} ({total})", width)))
        previous = verdict
        head = f"{verdict:<9} {j.figure.id}"
        if colour and j.verdict:
            head = layout.painted(head, _COLOURS[j.verdict])
        entries = [
            ("says", j.figure.says),
            ("where", f"{j.figure.source.cite}, {j.figure.where}"),
            ("prints", j.figure.printed),
        ]
        if j.value is not None:
            entries.append(("computed", f"{shown(j.value, j.figure.printed)} = {j.figure.formula}"))
            if j.figure.given:
                entries.append(("inputs", inputs(j.figure)))
        if j.verdict == "by-rule" and j.figure.rule is not None and j.by_rule is not None:
            entries.append(("by rule", shown(j.by_rule, j.figure.printed)))
            entries.append(("", f"{j.figure.rule.name}: {RULES[j.figure.rule.name]}"))
        if j.verdict == "conflict" and j.figure.conflict is not None:
            entries.append(("against", j.figure.conflict.says))
        if j.why:
            entries.append(("because", j.why))
        entries += [("PROBLEM", problem) for problem in j.problems]
        lines = [head]
        for label, text in entries:
            for i, line in enumerate(wrap(text, width - 11) or [""]):
                lines.append(f"  {label if i == 0 else '':<8} {line}")
        blocks.append("\n".join(lines))
    return "\n\n".join([*blocks, "\n".join(wrap(_summary(judgements), width))])


def as_markdown(judgements: Sequence[Judgement]) -> str:
    """Return a page with a table for each source."""
    totals = counts(judgements)
    lines = [
        "# Published numbers, recomputed",
        "",
        OPENING,
        "",
        "Written by `lora-ref verify --literature --markdown`; do not edit.",
        "",
        "| verdict | numbers | means |",
        "|---|---:|---|",
        *(f"| {verdict} | {totals[verdict]} | {MEANINGS[verdict]} |" for verdict in VERDICTS),
        f"| **all** | **{len(judgements)}** | |",
    ]
    for source in dict.fromkeys(j.figure.source for j in judgements):
        lines += ["", f"## {source.cite}", "", "| where | what | printed | computed | verdict | |"]
        lines.append("|---|---|---:|---:|---|---|")
        for j in (j for j in judgements if j.figure.source == source):
            f = j.figure
            verdict: str = j.verdict or "not run"
            computed = "" if j.value is None else shown(j.value, f.printed)
            if j.verdict == "by-rule" and f.rule is not None and j.by_rule is not None:
                verdict += f": `{f.rule.name}`"
                computed += f", by the rule {shown(j.by_rule, f.printed)}"
            texts = (f.where, f.says, f.printed, computed)
            cells = [*map(layout.escape, texts), verdict, layout.escape(j.why)]
            lines.append(f"| {' | '.join(cells)} |")
    used = {j.figure.rule.name for j in judgements if j.verdict == "by-rule" and j.figure.rule}
    lines += ["", "## The rules", "", "| rule | says |", "|---|---|"]
    lines += [f"| `{name}` | {layout.escape(RULES[name])} |" for name in sorted(used)]
    return "\n".join(lines) + "\n"


def shown(value: Fraction, printed: str) -> str:
    """Return a recomputed number as a reader wants it beside the printed one.

    Whole units where it is whole or large, else two digits more than are printed.

    Examples
    --------
    >>> shown(Fraction(2_359_296), "4.7M"), shown(Fraction(41, 198), "20.7 %")
    ('2,359,296', '20.707 %')
    >>> shown(Fraction(691, 32), "21.5"), shown(Fraction(72_094, 1), "72 KB")
    ('21.594', '72,094')
    """
    share = printed.rstrip().endswith("%")
    scaled = 100 * value if share else value
    sign = " %" if share else ""
    if not share and (scaled.denominator == 1 or abs(scaled) >= 10**4):
        return f"{round(scaled):,}"
    decimals = len(re.sub(r"[^\d.]", "", printed).partition(".")[2])
    return f"{float(scaled):,.{decimals + 2}f}{sign}"


def inputs(figure: Figure) -> str:
    """Return what the recipe was given, as ``matrices 48, d 1024, r 4``."""
    return ", ".join(f"{name} {_input(value)}" for name, value in figure.given.items())


def _summary(judgements: Sequence[Judgement]) -> str:
    found = layout.in_words(judgements, VERDICTS)
    return f"{layout.many(judgements, 'number')} recomputed: {found}."


def _number(value: Fraction) -> int | float:
    return int(value) if value.denominator == 1 else float(value)


def _input(value: Any) -> str:
    if isinstance(value, tuple | list):
        return " ".join(map(str, value)) or "none"
    plain = _plain(value)
    return f"{plain:,}" if isinstance(plain, int) and plain >= 10**6 else str(plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Fraction):
        return _number(value)
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    return value if isinstance(value, str | int | float | None) else str(value)
