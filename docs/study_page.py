"""Write ``docs/study.md`` and its figures: every number comes from the committed records."""

import json
from collections.abc import Iterable, Mapping
from importlib.resources import files
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from results_page import as_text, pictures, write

from lora_ref.figures import STUDY, save_study
from lora_ref.study.digits import split
from lora_ref.study.findings import Paired, Runs, judge_claims, judge_popular, listed
from lora_ref.study.methods import LINEARS, METHODS, RANKS
from lora_ref.study.records import SWEPT, TRUNCATED, Record, committed, grouped, mean_error
from lora_ref.study.report import as_markdown, percent, table
from lora_ref.study.runs import SETTINGS
from lora_ref.study.tuning import GRID

PAGE = Path(__file__).parent / "study.md"

COMMAND = "python docs/study_page.py"

TEST = len(split(0).test.labels)

INTRODUCTION = """\
# The study: every way to adapt, on real data

Written by `{command}` from `lora_ref/study/results.json`; do not edit.

A perceptron learns the digits (1,797 images of 8 x 8; source, authors and licence stand in
`lora_ref/study/SOURCE.md`). It is then adapted to a shifted version of the task on {target} other
images, in every way the article names and some more. The runs have {seeds} seeds; each splits the
images anew into 900 for the source task, 100 for the target, 100 for validation and 697 for
testing, and is shared by all methods.

**Where ± stands, it is one standard error of the mean over the {seeds} seeds.** The sampling error
of {test} images is {high:.1f} points at 97.8 % and {low:.1f} at 50 %.
"""

SETTING = """\
Setting: {settings}. LoRA on every layer, alpha = 2 r. One learning rate a method, chosen on
validation images of two other seeds (`lora_ref/study/learning_rates.json`; the splits are of the
same 1,797 images, so an image validated there may be tested here).

Like is compared with like. `lora-r` freezes the biases, and so does `weights`, which trains every
weight; `lora-r-bias` trains the biases, and so does `full`. *Source, on* is the source task with
the adapter on, *off* with it switched off: a dash where there is nothing to switch off. For
PiSSA, off means the original network, since the W0 that it freezes is what is left of the
original; for QLoRA it means W0 rounded to 4 bits. *W0 same* compares the bytes of every weight
matrix before and after training. Seconds depend on the machine and on who shares it.
"""

RULE = """\
A sentence is turned into a difference for every seed, positive where the seed speaks for it. On a
shift it holds if the mean exceeds two standard errors. It **holds** if it does so on every shift,
holds **partly** if on some, **fails** if on none, and where the contrary holds on every shift by
the same rule it is the **opposite**. A sentence about LoRA and whole matrices has to hold twice,
with biases frozen in both and trained in both. On relabelled, source and target contradict each
other: the same images with other labels, so whoever learns the one must forget the other. The
definitions stand in `lora_ref/study/findings.py`.

With five seeds two standard errors are weak evidence: noise alone passes in about six of a hundred
cells (notebook 09 draws it), so *partly* on a single shift may be chance.
"""

ASKS = """\
Before any result: what would be enough for a perfect adaptation? For each shift there is a network
that does on shifted images what the pretrained one does on the images themselves, to rounding,
written down without looking at one shifted image (`lora_ref/study/solutions.py` has the formulas).

- **near**, contrast `0.3 x + 0.4`: biases alone. With `b1 := 0.3 b1 - 0.4 W1 1`, `b2 := 0.3 b2`
  and `b3 := 0.3 b3` every logit is multiplied by 0.3, and the largest stays the largest.
- **middle**, the same after a turn by 30 degrees: `W1` times the pseudo-inverse of the turn, and
  `b1`. Not exact: four corner pixels leave the frame, and are not black in every image.
- **far**, a turn by 90 degrees: the columns of `W1` change places. No bias.
- **inverted**, `1 - x`: `W1` becomes `-W1`, and `b1` becomes `b1 + W1 1`.
- **relabelled**, every label moves on by one: the rows of `W3` and the entries of `b3` move on.

*Rank* is that of the change of each weight in this solution, and `b` says that the bias changes.
That is what is enough and not what is needed: on digits, which do not fill the space of images, a
somewhat lower rank gives the same outputs, and a network with other features may do with far less.

The right half says what is left of this solution at rank r when `W1` alone changes, biases stay,
and the first layer's outputs are fitted in the squared norm, in closed form
(`lowrank.best_update`), over the 900 source images and their shifted twins. It is no bound on
accuracy: trained updates of rank 1 do better on every shift. On near, middle and inverted a part
of the loss is the missing bias.

What is asked of b may be asked of W instead. The pixel in the corner is black in every image, so on
`near` it is 0.4 everywhere and on `inverted` it is 1, and its column of `W1` is a second bias: to
change one column is an update of rank 1, which LoRA with frozen biases can make.
"""


def as_page(records: Iterable[Record]) -> str:
    """Return the whole page."""
    records = list(records)
    shifts = list(dict.fromkeys(shift for shift, _ in grouped(records)))
    seeds = sorted({record["seed"] for record in records})
    sections = [
        INTRODUCTION.format(
            command=COMMAND,
            seeds=len(seeds),
            target=100,
            test=TEST,
            high=100 * sqrt(0.978 * 0.022 / TEST),
            low=100 * sqrt(0.25 / TEST),
        ),
        "## In seven sentences\n",
        _summary(records, shifts),
        "## What each shift asks of W and b\n",
        ASKS,
        _asks(records, shifts),
        "## The setting\n",
        SETTING.format(settings=SETTINGS),
        "## What became of the claims\n",
        RULE,
        _claims(records),
        "## Common sentences\n",
        "In points; **bold** where the sentence holds, *italic* where the opposite does.\n",
        _popular(records, shifts),
        "## In pictures\n",
        pictures(STUDY, records=records),
        "## Trained at a rank, or truncated to it\n",
        "Target accuracy of LoRA trained at rank r; of whole matrices trained and their update "
        "truncated to rank r, layer by layer, biases kept; of the same with each update whitened "
        "first, by the inputs that its layer has on the target training images; and of the "
        "control, a random update of "
        "the same rank and singular values instead, with the same biases, one draw a seed. The "
        "last column is the whole update; from r = 10 on that of the last layer is whole. "
        "Each method "
        "has a learning rate of its own.\n",
        _truncations(records, shifts),
        "Share of the squared norm of W - W0, in `full`, that the best matrix of rank r holds, in "
        "per cent, mean over seeds.\n",
        _spectra(records, shifts),
        "## All methods on all shifts\n",
        as_markdown(records),
        "## The gap between training and test\n",
        "Accuracy on the 100 target training images less accuracy on the test images, in points. "
        "Where a method fits all of the 100, the gap says the same as its target accuracy.\n",
        _gaps(records, shifts),
        "## The scaling after training\n",
        f"`{SWEPT}` is trained, then its scaling is changed: accuracy on target / source, in per "
        "cent, mean over seeds.\n",
        _sweeps(records, shifts),
        "## The learning rates\n",
        "Accuracy on the shifted validation images, in per cent, mean over shifts and the two "
        "tuning seeds; the chosen rate in bold. It was chosen for the target alone, and one rate "
        f"serves all shifts, so a seed may go astray: {_astray(records)}. Differences between "
        "methods of other rates mix the rate in.\n",
        _rates(),
        "## The methods\n",
        "\n".join(f"- `{name}`: {method.text}" for name, method in METHODS.items()) + "\n",
    ]
    return "\n".join(sections)


def _summary(records: list[Record], shifts: list[str]) -> str:
    """Return what a teacher can say, with the numbers it rests on."""
    runs = Runs(records)

    def mean(shift: str, method: str, key: str = "target") -> float:
        return 100 * fmean(r[key] for r in grouped(records)[shift, method])  # type: ignore[literal-required]

    trained = {
        r: [runs.over_truncated(lora.format(r=r), whole, r) for whole, lora in TRUNCATED.items()]
        for r in RANKS
    }
    ahead = {r: sum(p.holds for each in both for p in each.values()) for r, both in trained.items()}
    total = 2 * len(shifts)
    behind = {
        r: sum(p.opposes for each in both for p in each.values()) for r, both in trained.items()
    }
    bias = runs.target("lora-8-bias", "lora-8")
    closed = 100 * fmean(r["first_layer"]["8"] for r in grouped(records)["far", "untouched"])
    helped = [shift for shift, pair in bias.items() if pair.holds]
    best = "; ".join(
        f"on `{at}` {' and '.join(names)} with {_number(most)} %"
        for at in shifts
        for most in [max(mean(at, name) for name in METHODS)]
        for names in [[name for name in METHODS if mean(at, name) > most - 0.05]]
    )
    kept = [r for r in records if r["method"].startswith(("lora", "dora", "adapter"))]
    off = {(r["shift"], r["seed"]): r["source_on"] for r in records if r["method"] == "untouched"}
    same = sum(r["source_off"] == off[r["shift"], r["seed"]] for r in kept)
    back = f"{same} of {len(kept)}"
    outcome = {
        "holds": "holds on every shift",
        "partly": "holds on some shifts",
        "fails": "is not shown on any shift",
        "opposite": "is contradicted on every shift",
    }[judge_claims(records)["lora-keeps"].finding]
    biases = grouped(records)["near", "biases"][0]
    asked = {at: grouped(records)[at, "untouched"][0]["changes"]["fc1"][0] for at in shifts}
    near, far, inverted = (_number(mean(at, "biases")) for at in ("near", "far", "inverted"))
    lines = [
        "**One exact solution says what is enough, not what is needed.** Biases alone solve `near` "
        f"exactly; trained, their {biases['parameters']} numbers reach {near} %. On `far` and "
        f"`inverted` they reach {far} and {inverted} % (their rate lies at the edge of the grid). "
        "There the solution that keeps the first layer's features changes `W1` by rank "
        f"{asked['far']} and {asked['inverted']}, and yet the head alone, of rank 10, reaches "
        f"{_number(mean('far', 'head'))} and {_number(mean('inverted', 'head'))} %.",
        "**Rank helps, and not as the exact change would have it.** From r = 1 to r = 16 LoRA "
        f"gains, in points: {listed(runs.target('lora-16', 'lora-1'))}. On `inverted` it then has "
        f"{_number(mean('inverted', 'lora-16'))} %, a PiSSA start at r = 8 "
        f"{_number(mean('inverted', 'pissa'))} %, and all weights "
        f"{_number(mean('inverted', 'weights'))} %.",
        "**Biases trained in both, or in neither.** Full fine-tuning trains them, and LoRA as it "
        "is mostly used does not. At r = 8 a gain from training them too is seen on "
        f"{', '.join(helped) or 'no shift'} ({listed(bias)}); at r = 1 the differences are "
        f"{listed(runs.target('lora-1-bias', 'lora-1'))}. Three shifts barely ask for a bias of "
        "the first layer, since constant pixels can stand in for it.",
        "**Labels of 100 images do not single out the good update.** On `far` a rank-8 update of "
        f"the first weight, fitted to pairs of images, reaches {_number(closed)} %. LoRA at r "
        f"= 8 fits "
        f"{_number(mean('far', 'lora-8', 'train'))} % of its 100 labelled images, and reaches "
        f"{_number(mean('far', 'lora-8'))} % of the others; all weights reach "
        f"{_number(mean('far', 'weights'))} %.",
        "**To train at a rank is not to truncate to it.** At r = 1 the trained update is better in "
        f"{ahead[1]} of {total} comparisons (five shifts, biases frozen or trained) and worse in "
        f"{behind[1]}. At r = 16, where truncation costs almost nothing, it is better in "
        f"{ahead[16]} and worse in {behind[16]}, as it is worse than the whole.",
        "**Frozen is not kept.** With the adapter off, and the old biases put back where they "
        "trained, LoRA, DoRA and the bottleneck adapters give back the pretrained accuracy in "
        f"{back} runs; QLoRA gives that of the rounded W0, and PiSSA needs the original weights. "
        f"With it on, that LoRA (r = 4) keeps the source task within a point {outcome} "
        f"({listed(runs.source('lora-4', 'untouched'))}), at the rate that was chosen.",
        f"**The simplest is often best here.** Best on the target are {best}.",
    ]
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)) + "\n"


def _astray(records: list[Record]) -> str:
    """Return the runs that are far below the other seeds of their method and shift."""
    found = []
    for (shift, method), runs in grouped(records).items():
        lowest, *others = sorted(100 * r["target"] for r in runs)
        if others[0] - lowest > 20:
            low, high = _number(lowest), _number(others[0])
            found.append(f"`{method}` on {shift} has {low} %, the others {high} % or more")
    return "; ".join(found)


def _number(value: float) -> str:
    return f"{value:.1f}"


def _asks(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for shift in shifts:
        runs = groups[shift, "untouched"]
        parts = [f"{rank}{' b' * bias}" for rank, bias in runs[0]["changes"].values()]
        best = [percent(*mean_error([r["first_layer"][str(k)] for r in runs])) for k in RANKS]
        if shift == "relabelled":
            best = ["-"] * len(RANKS)  # its first layer has nothing to change
        body.append((shift, *parts, percent(*mean_error([r["solution"] for r in runs])), *best))
    heads = ("shift", *(f"{name}: rank" for name in LINEARS), "this solution")
    return as_text(table((*heads, *(f"fc1 at r = {r}" for r in RANKS)), body))


def _claims(records: list[Record]) -> str:
    lines = []
    for claim, found in judge_claims(records).items():
        lines += [f"- `{claim}` **{found.finding}**: {found.text}."]
    return "\n".join(lines) + "\n"


def _popular(records: list[Record], shifts: list[str]) -> str:
    body = []
    for sentence, (name, pairs) in judge_popular(records).items():
        body.append((sentence, name, *(_marked(pairs[shift]) for shift in shifts)))
    return as_text(table(("sentence", "finding", *shifts), body))


def _marked(pair: Paired) -> str:
    if pair.holds:
        return f"**{pair}**"
    return f"*{pair}*" if pair.opposes else str(pair)


def _truncations(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for shift in shifts:
        for whole, lora in TRUNCATED.items():
            runs = groups[shift, whole]
            biases = "biases trained" if whole == "full" else "biases frozen"
            trained = [[r["target"] for r in groups[shift, lora.format(r=r_)]] for r_ in RANKS]
            body += [
                (
                    f"{shift}, {biases}: trained",
                    *(percent(*mean_error(found)) for found in trained),
                    "",
                ),
                (
                    "truncated",
                    *(percent(*mean_error([r["truncated"][str(k)] for r in runs])) for k in RANKS),
                    percent(*mean_error([r["target"] for r in runs])),
                ),
                *(
                    (
                        label,
                        *(percent(*mean_error([r[part][str(k)] for r in runs])) for k in RANKS),
                        "",
                    )
                    for label, part in (("whitened, truncated", "whitened"), ("random", "random"))
                ),
            ]
    return as_text(table(("shift", *(f"r = {r}" for r in RANKS), "whole"), body))


def _gaps(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for method in (name for name in METHODS if name != "untouched"):
        cells = []
        for shift in shifts:
            gaps = [r["train"] - r["target"] for r in groups[shift, method]]
            cells.append(percent(*mean_error(gaps)))
        body.append((method, *cells))
    return as_text(table(("method", *shifts), body))


def _spectra(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body = []
    for shift in shifts:
        spectra = [r["spectrum"] for r in groups[shift, "full"]]
        for layer in spectra[0]:
            shares = [fmean(s[layer][min(r, len(s[layer])) - 1] for s in spectra) for r in RANKS]
            body.append((f"{shift}, {layer}", *map(percent, shares)))
    return as_text(table(("shift, layer", *(f"r = {r}" for r in RANKS)), body))


def _sweeps(records: list[Record], shifts: list[str]) -> str:
    groups = grouped(records)
    body, heads = [], ["shift"]
    for shift in shifts:
        sweeps = [r["scaling_sweep"] for r in groups[shift, SWEPT]]
        columns = list(zip(*sweeps, strict=True))  # a tuple of seeds for each share
        heads = ["shift", *(f"{column[0][0]:g}" for column in columns)]
        cells = [
            f"{percent(fmean(c[1] for c in column))} / {percent(fmean(c[2] for c in column))}"
            for column in columns
        ]
        body.append((shift, *cells))
    return as_text(table(heads, body))


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
    page = as_text(table(("method", *(f"{lr:g}" for lr in GRID)), body))
    if edges:
        names = ", ".join(f"`{name}`" for name in edges)
        page += f"\nChosen at an edge of the grid, so perhaps better beyond it: {names}.\n"
    return page


if __name__ == "__main__":
    write(PAGE, as_page(committed()))
    save_study(committed(), PAGE.parent / "figures")
