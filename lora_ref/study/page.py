"""The page ``docs/study.md``: every number on it comes from the committed records."""

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from statistics import fmean
from typing import Any

from lora_ref.study.findings import Paired, judge_claims, judge_popular
from lora_ref.study.methods import METHODS, RANKS
from lora_ref.study.records import DIALLED, Record, grouped, mean_std
from lora_ref.study.report import as_markdown, percent, table
from lora_ref.study.runs import SETTINGS
from lora_ref.study.tuning import GRID

COMMAND = "python -m lora_ref.study"

INTRODUCTION = """\
# The study: every way to adapt, on real data

Written by `{command}` from `lora_ref/study/results.json`; do not edit.

A perceptron learns the digits (1,797 images of 8 x 8; source, authors and licence stand in
`lora_ref/study/SOURCE.md`). It is then adapted to a shifted version of the task on {target} other
images, in every way the article names and some more. The runs have {seeds} seeds; each splits the
images anew into 900 for the source task, 100 for the target, 100 for validation and 697 for
testing, and is shared by all methods.

Setting: {settings}. LoRA on every layer, alpha = 2 r, biases frozen. One learning rate a method,
chosen on validation images of two other seeds (`lora_ref/study/learning_rates.json`; the splits
are of the same 1,797 images, so an image validated there may be tested here).

The shifts: **near**, contrast `0.3 x + 0.4`; **middle**, the same after a turn by 30 degrees;
**far**, a turn by 90 degrees; **inverted**, `1 - x`; **relabelled**, every label moves on by one.

How to read the tables. Accuracies are in per cent of the test images, mean ± deviation over
seeds; the sampling error of 697 images is about one point. *Attached* is the source task with the
adapter on, *detached* with it off: a dash where there is nothing to switch off. For PiSSA, off
means the original network, since the W0 that it freezes is what is left of the original; for
QLoRA it means W0 rounded to 4 bits. *W0 same* compares the bytes of every weight matrix before
and after training. Seconds depend on the machine and on who shares it.
"""

RULE = """\
A sentence is turned into a difference for every seed, positive where the seed speaks for it. On a
shift it holds if the mean exceeds two standard errors (the tables give mean ± one standard error,
in points). It **holds** if it does so on every shift, holds **partly** if on some, **fails** if
on none, and where the contrary holds on every shift by the same rule it is the **opposite**. On
relabelled, source and target contradict each other: the same images with other labels, so whoever
learns the one must forget the other. The definitions stand in `lora_ref/study/findings.py`, and
were not changed when the study was run anew.
"""


def as_page(records: Iterable[Record]) -> str:
    """Return the whole page."""
    records = list(records)
    shifts = list(dict.fromkeys(shift for shift, _ in grouped(records)))
    seeds = len({record["seed"] for record in records})
    sections = [
        INTRODUCTION.format(command=COMMAND, settings=SETTINGS, seeds=seeds, target=100),
        "## What became of the claims\n",
        RULE,
        _claims(records),
        "## Sentences that one hears\n",
        "In points, mean ± one standard error; **bold** where the sentence holds, *italic* where "
        "the opposite does by the same rule. A † marks a sentence that was added after a first "
        "run had made one ask.\n",
        _popular(records, shifts),
        "## In pictures\n",
        _pictures(records),
        "## All methods on all shifts\n",
        as_markdown(records),
        "## The gap between training and test\n",
        "Accuracy on the 100 target training images less accuracy on the test images, in points.\n",
        _gaps(records, shifts),
        "## The spectrum of the full update, and what cutting it costs\n",
        "Share of the squared norm of W - W0 that the best matrix of rank r holds, in per cent, "
        "mean over seeds.\n",
        _spectra(records, shifts),
        "Target accuracy when the full update of each layer is cut to rank r (the biases keep "
        "what they learnt), and that of LoRA trained at the same rank.\n",
        _cuts(records, shifts),
        "## The dial\n",
        f"`{DIALLED}` is trained, then its scaling is turned: accuracy on target / source, in per "
        "cent, mean over seeds.\n",
        _dials(records, shifts),
        "## The learning rates\n",
        "Accuracy on the shifted validation images, in per cent, mean over shifts and the two "
        "tuning seeds; the chosen rate in bold.\n",
        _rates(),
        "## The methods\n",
        "\n".join(f"- `{name}`: {method.says}" for name, method in METHODS.items()) + "\n",
    ]
    return "\n".join(sections)


def _pictures(records: list[Record]) -> str:
    """Return the figures, each with what it shows as its alternative text."""
    found = judge_claims(records)
    runs = [record["dial"] for record in records if "dial" in record]
    kept = [fmean(run[i][2] for run in runs) for i in (0, 2, 4)]
    first = [shares[0] for r in records for shares in r.get("spectrum", {}).values()]
    texts = {
        "forgetting": "Target accuracy against source accuracy for every method, a panel a shift: "
        f"{found['full-forgets'].text}.",
        "dial": "Target and source accuracy while the scaling is turned: at 0, 0.5 and 1 of it the "
        f"source accuracy, mean over shifts, is {', '.join(percent(k) for k in kept)} per cent.",
        "spectrum": "Share of the full update that its best rank-r approximation holds: rank 1 "
        f"holds {percent(min(first))} to {percent(max(first))} per cent.",
    }
    return "\n\n".join(f"![{text}](figures/{name}.png)" for name, text in texts.items()) + "\n"


def _claims(records: list[Record]) -> str:
    lines = []
    for claim, found in judge_claims(records).items():
        lines += [f"- `{claim}` **{found.finding}**: {found.text}."]
    return "\n".join(lines) + "\n"


def _popular(records: list[Record], shifts: list[str]) -> str:
    body = []
    for sentence, (finding, pairs) in judge_popular(records).items():
        body.append((sentence, finding, *(_marked(pairs[shift]) for shift in shifts)))
    return _text(table(("sentence", "finding", *shifts), body))


def _marked(pair: Paired) -> str:
    if pair.holds:
        return f"**{pair}**"
    return f"*{pair}*" if pair.opposes else str(pair)


def _gaps(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for method in (name for name in METHODS if name != "untouched"):
        cells = []
        for shift in shifts:
            gaps = [r["train"] - r["target"] for r in groups[shift, method]]
            cells.append(percent(*mean_std(gaps)))
        body.append((method, *cells))
    return _text(table(("method", *shifts), body))


def _spectra(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for shift in shifts:
        spectra = [r["spectrum"] for r in groups[shift, "full"] if "spectrum" in r]
        for layer in spectra[0]:
            shares = [fmean(s[layer][min(r, len(s[layer])) - 1] for s in spectra) for r in RANKS]
            body.append((f"{shift}, {layer}", *map(percent, shares)))
    return _text(table(("shift, layer", *(f"r = {r}" for r in RANKS)), body))


def _cuts(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for shift in shifts:
        cuts = [r["cut"] for r in groups[shift, "full"] if "cut" in r]
        whole = percent(*mean_std([r["target"] for r in groups[shift, "full"]]))
        body.append(
            (
                f"{shift}, cut",
                *(percent(*mean_std([c[str(r)] for c in cuts])) for r in RANKS),
                whole,
            )
        )
        trained = [[r["target"] for r in groups[shift, f"lora-{rank}"]] for rank in RANKS]
        body.append((f"{shift}, trained", *(percent(*mean_std(t)) for t in trained), whole))
    return _text(table(("shift", *(f"r = {r}" for r in RANKS), "full"), body))


def _dials(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body, heads = [], ["shift"]
    for shift in shifts:
        dials = [r["dial"] for r in groups[shift, DIALLED] if "dial" in r]
        columns = list(zip(*dials, strict=True))  # a tuple of seeds for each share
        heads = ["shift", *(f"{column[0][0]:g}" for column in columns)]
        cells = [
            f"{percent(fmean(c[1] for c in column))} / {percent(fmean(c[2] for c in column))}"
            for column in columns
        ]
        body.append((shift, *cells))
    return _text(table(heads, body))


def _rates() -> str:
    text = (files("lora_ref.study") / "learning_rates.json").read_text(encoding="utf-8")
    tuned: Mapping[str, Any] = json.loads(text)
    edges = [name for name, lr in tuned["chosen"].items() if lr in (GRID[0], GRID[-1])]
    body = []
    for method, by_rate in tuned["validation"].items():
        cells = [percent(by_rate[f"{lr:g}"]) for lr in GRID]
        chosen = GRID.index(tuned["chosen"][method])
        cells[chosen] = f"**{cells[chosen]}**"
        body.append((method, *cells))
    page = _text(table(("method", *(f"{lr:g}" for lr in GRID)), body))
    if edges:
        names = ", ".join(f"`{name}`" for name in edges)
        page += f"\nChosen at an edge of the grid, so perhaps better beyond it: {names}.\n"
    return page


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"
