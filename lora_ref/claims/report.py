"""Reports of judgements: text for a terminal, Markdown for a page, JSON for a program."""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from lora_ref.claims import layout
from lora_ref.claims.claim import Source
from lora_ref.claims.judge import MEANINGS, NOT_COMPUTED, VERDICTS, Judgement, Verdict
from lora_ref.claims.layout import cell, wrap
from lora_ref.claims.printed import plain_text
from lora_ref.claims.values import AsNumber, Sweep

RULE = (
    "A measured claim holds where the paired mean over seeds exceeds two standard errors in the "
    "claimed direction on every shift of the study; it holds partly where it does on some, and "
    "fails where it does on none. Where the contrary holds on every shift, the finding is "
    "'opposite'. Not measured yet is never counted as holding."
)

SEVERAL = "Papers, libraries and teaching material"

_COLOURS = {"wrong": "1;33", "open": "1;36", "right": "1;34"}
_GROUP = dict.fromkeys(("false", "shape", "slip", "conflict"), "wrong") | {"confirmed": "right"}


def counts(judgements: Iterable[Judgement]) -> dict[str, int]:
    """Return how often each verdict occurs, worst first."""
    found = Counter(j.verdict for j in judgements)
    return {verdict: found[verdict] for verdict in VERDICTS}


def worst_first(judgements: Iterable[Judgement]) -> list[Judgement]:
    """Sort by verdict, failures to run first; within a verdict in the source's order."""
    ranks: dict[str | None, int] = {verdict: i for i, verdict in enumerate(VERDICTS)}
    return sorted(judgements, key=lambda j: ranks.get(j.verdict, -1))


def as_dict(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """Return the judgements in JSON types; ``counts`` has every verdict, in order, worst first."""
    return {
        "schema": 2,
        "claims": [
            {
                "id": j.claim.id,
                "source": j.claim.source,
                "where": j.claim.where or None,
                "text": j.claim.text,
                "quantity": j.claim.check.quantity.name if j.claim.check else None,
                "inputs": dict(j.claim.check.inputs) if j.claim.check else {},
                "printed": j.printed,
                "recomputed": j.recomputed,
                "agreement": j.agreement,
                "verdict": j.verdict,
                "finding": j.finding,
                "rule": j.claim.rule.name if j.claim.rule and j.verdict == "by-rule" else None,
                "by_rule": j.by_rule if j.verdict == "by-rule" else None,
                "conflict": _against(j),
                "correction": j.correction,
                "reason": j.reason or None,
            }
            for j in judgements
        ],
        "counts": counts(judgements),
    }


def as_text(
    judgements: Sequence[Judgement],
    sources: Sequence[Source],
    *,
    width: int = 96,
    grouped: bool = True,
    chinese: bool = True,
    colour: bool = False,
) -> str:
    """Return the report for a terminal: the statement on the left, the result on the right.

    If `grouped`, the worst verdict comes first, and each has a heading. If `chinese`, sections are
    named in their own words too; without it, all is ASCII.
    """
    width = max(width, 40)
    judgements = worst_first(judgements) if grouped else judgements
    tidy = str if chinese else layout.plain  # before the lines are wrapped
    cites = {source.key: tidy(source.cite) for source in sources}
    who = next(iter(cites.values())) if len(cites) == 1 else SEVERAL
    blocks = ["\n".join(wrap(f"{who}: what is said (left), and what recomputing gives.", width))]
    previous = ""
    several = len({j.verdict for j in judgements}) > 1
    for j in judgements:
        verdict = j.verdict or "NOT RUN"
        if grouped and several and verdict != previous:
            meaning = MEANINGS[j.verdict] if j.verdict else "recomputing raised"
            total = sum(k.verdict == j.verdict for k in judgements)
            lines = wrap(f"{verdict.upper()}: {meaning} ({total})", width)
            blocks.append("\n".join(_coloured(line, j.verdict, colour) for line in lines))
        previous = verdict
        blocks.append(_block(j, cites if len(cites) > 1 else {}, width, chinese, colour))
    blocks.append("\n".join("\n".join(wrap(line, width)) for line in summary(judgements)))
    return "\n\n".join(blocks)


def as_markdown(judgements: Sequence[Judgement], sources: Sequence[Source], command: str) -> str:
    """Return a page: one source by verdict, worst first; several sources one after the other.

    `command` is the one that writes the page.
    """
    totals = counts(judgements)
    alone = len(sources) == 1
    lines = [
        f"# {cell(sources[0].cite)}" if alone else "# Published numbers, recomputed",
        "",
        "What is said, and what recomputing gives. A verdict is what comes out of recomputing from",
        "the source's own inputs; none is stored, and each correction is recomputed as well.",
        "",
        f"Written by `{command}`; do not edit.",
        "",
        "| verdict | claims | means |",
        "|---|---:|---|",
        *(f"| {v} | {totals[v]} | {MEANINGS[v]} |" for v in VERDICTS if totals[v]),
        f"| **all** | **{len(judgements)}** | |",
    ]
    if totals["measured"]:
        lines += ["", RULE]
    if alone:
        for verdict in (*VERDICTS, None):
            chosen = [j for j in judgements if j.verdict == verdict]
            if chosen:
                lines += ["", f"## {(verdict or 'not run').capitalize()}", "", *_table(chosen)]
    else:
        for source in sources:
            own = [j for j in judgements if j.claim.source == source.key]
            lines += ["", f"## {cell(source.cite)}", "", *_table(own)] if own else []
    used = {j.claim.rule.name: j.claim.rule.text for j in judgements
            if j.claim.rule and j.verdict == "by-rule"}  # fmt: skip
    if used:
        lines += ["", "## The rules", "", "| rule | means |", "|---|---|"]
        lines += [f"| `{name}` | {layout.escape(used[name])} |" for name in sorted(used)]
    return "\n".join(lines) + "\n"


def summary(judgements: Sequence[Judgement]) -> list[str]:
    """Return the counts in sentences."""
    totals = {verdict: n for verdict, n in counts(judgements).items() if n}
    failed = sum(j.verdict is None for j in judgements)
    run = len(judgements) - sum(totals.get(v, 0) for v in NOT_COMPUTED) - failed
    found = [f"{n} {verdict}" for verdict, n in totals.items()]
    found += [f"{failed} did not run"] if failed else []
    agreed = Counter(j.agreement for j in judgements if j.verdict == "confirmed" and j.agreement)
    claims = "1 claim" if len(judgements) == 1 else f"{len(judgements)} claims"
    lines = [f"{claims}, {run} recomputed: {', '.join(found)}."]
    if agreed:
        how = ", ".join(f"{n} {name}" for name, n in sorted(agreed.items(), key=lambda a: -a[1]))
        lines.append(f"Numbers and shapes confirmed: {how}.")
    checked = [j.correction_holds for j in judgements if j.correction_holds is not None]
    if checked:
        lines.append(f"{sum(checked)} of {len(checked)} corrections hold when recomputed.")
    if "measured" in totals:
        lines.append(RULE)
    return lines


def inputs_text(j: Judgement) -> str:
    """Return the quantity and its inputs, as ``lora-count: in 1,536, out 1,536, r 8``.

    Behind a number that is computed itself stands what it is.
    """
    if j.claim.check is None:
        return ""
    check = j.claim.check
    given = {key: check.given(key) if j.value is not None else None for key in check.inputs}
    inputs = [f"{key} {_input(value, given[key])}" for key, value in check.inputs.items()]
    name = check.quantity.name
    return f"{name}: {', '.join(inputs)}" if inputs else name


def _table(judgements: Iterable[Judgement]) -> list[str]:
    rows = [
        "| id and place | says | recomputed | verdict | what is right, and why |",
        "|---|---|---|---|---|",
    ]
    for j in judgements:
        name = j.claim.id.replace("|", "\\|")
        places = (j.claim.where, j.claim.section.english, j.claim.section.original)
        place = "<br>".join(cell(text) for text in places if text)
        printed = f"<br>{_label(j)}: {cell(j.printed)}" if j.printed else ""
        shown = cell(j.recomputed or "")
        verdict: str = j.verdict or "not run"
        if j.verdict == "by-rule" and j.claim.rule:
            verdict += f": `{j.claim.rule.name}`"
            shown += f"<br>by the rule {cell(j.by_rule)}" if j.by_rule else ""
        elif j.verdict == "confirmed" and j.agreement:
            verdict += f", {j.agreement}"
        why = (_against(j), j.correction, j.finding, j.reason, j.perhaps, j.varied, *j.problems)
        right = "<br>".join(cell(text) for text in why if text)
        name = f"`{name}`" + (f"<br>{place}" if place else "")
        rows.append(f"| {name} | {cell(j.claim.text)}{printed} | {shown} | {verdict} | {right} |")
    return rows


def _block(j: Judgement, cites: dict[str, str], width: int, chinese: bool, colour: bool) -> str:
    section, tidy = j.claim.section, str if chinese else layout.plain
    places = [tidy(" ".join(filter(None, (j.claim.where, section.english))))]
    if j.claim.source in cites:
        places = [f"{cites[j.claim.source]}, {places[0]}"]
    if chinese and section.original:
        places.append(section.original)
    place = " ".join(places)
    name = f"{(j.verdict or 'not run'):<11} {j.claim.id}"
    gap = width - layout.columns(name) - layout.columns(place)
    head = _coloured(name, j.verdict, colour)
    if gap > 1:
        head += " " * gap + place if place else ""
    else:
        head += "".join(f"\n  {line}" for text in places for line in wrap(text, width - 2))
    left = [("says", j.claim.text), (_label(j), j.printed), ("computes", inputs_text(j))]
    ruled = ""
    if j.verdict == "by-rule" and j.claim.rule is not None:
        ruled = f"{j.by_rule or ''}; {j.claim.rule.name}: {j.claim.rule.text}"
    right = [
        ("computed", j.recomputed),
        ("by rule", ruled),
        ("against", _against(j)),
        ("but" if j.verdict == "confirmed" else "right", j.correction),
        ("finding", j.finding),
        ("because" if j.verdict not in NOT_COMPUTED else "note", j.reason),
        ("perhaps", j.perhaps),
        ("varied", j.varied),
        *(("PROBLEM", problem) for problem in j.problems),
    ]
    sides = [[(label, tidy(text)) for label, text in side if text] for side in (left, right)]
    return layout.two_sides(head, sides[0], sides[1], width)


def _label(j: Judgement) -> str:
    """Return the label of what is printed, or of the bounds that stand for it."""
    bounds = j.claim.check is not None and bool(j.claim.check.expected.bounds)
    return "that is" if bounds else "prints"


def _against(j: Judgement) -> str | None:
    """Return the other statement of a source that contradicts itself."""
    other = j.claim.conflict
    if j.verdict != "conflict" or other is None:
        return None
    return f"{other.text}: {other.printed}" if other.printed else other.text


def _input(value: Any, given: Any = None) -> str:
    """Write an input as the file has it, and its number if `given`, what it stands for, has one."""
    if isinstance(value, list | tuple):
        nested = any(isinstance(entry, list | tuple) for entry in value)
        each = given.values if isinstance(given, Sweep) else given
        each = each if isinstance(each, tuple) else [None] * len(value)
        return (" / " if nested else " ").join(map(_input, value, each)) or "none"
    if isinstance(given, AsNumber) and isinstance(value, str):
        return f"{value} = {plain_text(given())}"
    if isinstance(value, dict):
        keys = (f"{key} {_input(one)}" for key, one in value.items() if key != "quantity")
        text = f"({': '.join(filter(None, (value.get('quantity'), ', '.join(keys))))})"
        is_number = given is not None and given().ndim == 0
        return f"{text} = {plain_text(given())}" if is_number else text
    return f"{value:,}" if isinstance(value, int) and abs(value) >= 10**4 else str(value)


def _coloured(text: str, verdict: Verdict | None, colour: bool) -> str:
    code = _COLOURS[_GROUP.get(verdict or "false", "open")]
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text
