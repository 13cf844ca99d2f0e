"""Write ``text-study.md`` and its figures from the committed results of the study on text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from results_page import as_text, pictures, write

from lora_ref.figures.text_study import random_truncated, truncated
from lora_ref.study.records import mean_error
from lora_ref.study.report import table
from lora_ref.text_study import adapting, comparisons, measures, runs
from lora_ref.text_study.findings import (
    EQUAL_RATE,
    LESS_THAN_MAPS,
    LEVEL,
    MARGIN,
    RANDOM,
    SLOW_KEEP,
    SLOW_LEARN,
    TIE,
    Difference,
    TextRuns,
    Verdict,
    committed,
    judge,
    quantile,
    ties,
)
from lora_ref.text_study.methods import EQUAL, METHODS, RANKS, RATE_ONLY

PAGE = Path(__file__).parent / "text-study.md"
PICTURES = ("text-by-rank", "learned-and-forgotten", "learning-rates", "intruders")

Table = list[Sequence[str]]

OFF = "../tests/transformer/test_adapt.py"
"""Where it is tested that a model whose adapters are off is the base, bit for bit."""

LORA = {"lora-1": "r = 1", "lora-8": "r = 8", "lora-32": "r = 32"}


def as_page(results: Mapping[str, Any]) -> str:
    """Return the whole page."""
    found, judged = TextRuns(results), judge(results)
    sections = [
        "# The study on text: the small language model in other voices\n",
        "Written by `python docs/text_study_page.py` from `lora_ref/text_study/results.json`; do "
        "not edit.\n",
        _head(results, found),
        "## What it shows\n",
        _summary(results, found, judged),
        "## In pictures\n",
        pictures(PICTURES),
        "## Common sentences\n",
        _rule(found, judged),
        _sentences(judged),
        "## The losses\n",
        "Loss on the test part of the new text and on old text with the adapter on, mean ± "
        "standard error over seeds. *Norm* is that of the change of the 24 maps over that of the "
        "maps, *directions* how many singular directions hold 90 % of its square, mean over "
        "maps, where all change.\n",
        _losses(found),
        "## Forgetting by learning rate\n",
        "Loss on the new text and on old text, each method at its best rate (**bold**) and at "
        f"three others; mean over {len(found.seeds('by_rate'))} seeds. *Clipped* is the share of "
        "the steps whose gradient had a norm above 1.\n",
        _by_rate(found),
        "## Forgetting at equal learning\n",
        "Loss on old text where an update is turned to the strength at which it has learned a "
        "share of what the weaker method has learned as trained, mean over "
        f"{len(found.seeds('equal'))} seeds; in brackets the strength. The strength is solved for "
        "on the model. Each update is that of its best rate.\n",
        _equal(found),
        "## At which strength an update is best\n",
        "The least loss on the new text of the strengths "
        + ", ".join(f"{strength:g}" for strength in measures.STRENGTHS)
        + " and the strength where it is, beside the loss as trained (strength 1); mean over "
        "seeds. The rates are chosen at strength 1.\n",
        _best_strengths(found),
        "## Trained at a rank, or truncated to it\n",
        "Loss on the new text. The whole maps are truncated at the rate that is best for them at "
        f"that rank, of {_listed(found.rates('maps'))}: by validation text, mean over both texts "
        "and the seeds of the table, where the rates of LoRA are chosen on two other seeds. "
        "*Random* has the rank and the singular values of the update of the best whole rate, "
        "truncated, in directions drawn uniformly.\n",
        _truncated(found),
        "## Intruder directions\n",
        f"Of the {measures.LEADING} leading left singular vectors of each adapted map, those whose "
        "cosine with every one of the pretrained map is below a threshold (0.5 in Shuttleworth et "
        "al., 2024, arXiv 2410.21228), in all 24 maps together, mean over texts and "
        f"{len(found.seeds('intruders'))} seeds. At the trained norm, and at norms that are the "
        "same for all: the update is multiplied by a number; where it is larger than as trained, "
        f"the counts are *in italics*. Behind the stroke the mean of {comparisons.DRAWS} random "
        "updates a run, with the same singular values in directions drawn uniformly.\n",
        _intruders(found),
        "## The learning rates\n",
        "Validation loss on the new text, mean over both texts and two other seeds; the chosen "
        "rate in bold. Further rates were tried until the best had a worse one on either side. "
        f"*In italics* what is within {TIE} of the best: two seeds do not tell these apart.\n",
        _rates(results["rates"]),
        "## The methods\n",
        "\n".join(f"- `{name}`: {method.text}" for name, method in METHODS.items()) + "\n",
    ]
    return "\n".join(sections)


def _listed(numbers: Iterable[float]) -> str:
    return ", ".join(f"{number:g}" for number in numbers)


def _head(results: Mapping[str, Any], found: TextRuns) -> str:
    titles = {"verse": "*Paradise Lost*", "play": "*As You Like It*"}
    names = " and ".join(f"{titles[name]} (`{name}`)" for name in adapting.NEW)
    texts = results["texts"]
    new = "; ".join(
        f"`{name}` {texts[name]['train_tokens']:,} tokens to train on, of which the steps see "
        f"{texts[name]['epochs']:.2f} times as many, and {texts[name]['test_tokens']:,} to test on"
        for name in adapting.NEW
    )
    old = ", ".join(f"{texts[name]['test_tokens']:,}" for name in adapting.OLD)
    unigram = " and ".join(f"{texts[name]['unigram']:.2f}" for name in adapting.NEW)
    clipped = ", ".join(
        f"{fmean(x for text in adapting.NEW for x in _clipped(found, text, method)):.1%} of "
        f"the steps of `{method}`"
        for method in comparisons.BY_RATE
    )
    return (
        f"The language model of this package ({adapting.numbers('full'):,} numbers; its sources, "
        "seeds and losses stand in `lora_ref/transformer/weights/SOURCE.md`) is adapted to "
        f"{names}: {adapting.STEPS} steps of {adapting.BATCH} windows, AdamW with warm-up and "
        "cosine, no decay, gradients clipped at norm 1; alpha = 2 r unless the name of a method "
        f"says otherwise. At the best rates {clipped} are clipped. Each method has the learning "
        "rate that was best for it on validation text of two other seeds, one rate for both texts. "
        "A seed draws A and the batches, the same batches for every method; there are "
        f"{len(found.seeds())}, and {len(found.seeds('by_rate'))} of the comparisons by rate, at "
        "equal learning and of intruders. *Old text* is the unseen end of the three texts of the "
        "base, the mean of their losses.\n\n"
        f"Losses are in nats a token. Chance has ln {adapting.base().tokenizer.vocabulary} = "
        f"{texts['chance']:.2f}; the frequencies "
        f"of the tokens alone have {unigram}. Sizes: {new}; the old texts have {old} to test "
        "on.\n\n"
        "**One base model, of half a million numbers, and two texts**: what holds here need not "
        "hold for a large one. The seeds tell how much a run varies, not how much a base, a test "
        "passage or a choice of rate does. "
        "**Where ± stands, it is one standard error of the mean over seeds.**\n"
    )


def _clipped(found: TextRuns, text: str, method: str) -> list[float]:
    rate = found.best_rate(method)
    return found.each(text, lambda run: run["clipped"], method, "by_rate", rate)


Judged = Mapping[str, tuple[Verdict, Mapping[str, Difference]]]


def _summary(results: Mapping[str, Any], found: TextRuns, judged: Judged) -> str:
    def mean(method: str, number: Callable[[Any], float]) -> float:
        return fmean(fmean(found.each(text, number, method)) for text in adapting.NEW)

    def new(method: str) -> float:
        return mean(method, lambda run: run["losses"][0])

    def old(method: str) -> float:
        return mean(method, lambda run: run["losses"][1])

    def told(sentence: str) -> str:
        verdict, pairs = judged[sentence]
        sizes = ", ".join(f"{text} {pair}" for text, pair in pairs.items())
        return f"{verdict} ({sizes})"

    off_new, off_old = (mean("lora-8", lambda run, i=i: run["off"][i]) for i in (0, 1))
    equal = [sentence for sentence in judged if "equal count" in sentence]
    numbers = found.at("verse", "lora-8", found.seeds()[0])["parameters"]
    lines = [
        f"**The voice changes.** Off, the model has {off_new:.2f} nats a token on the new texts "
        f"and {off_old:.2f} on the old. With LoRA (r = 8, all maps, {numbers:,} numbers) it has "
        f"{new('lora-8'):.2f} and {old('lora-8'):.2f}; with the same maps trained whole "
        f"{new('maps'):.2f} and {old('maps'):.2f}; with everything trained, biases, norms and "
        f"embeddings too, {new('full'):.2f} and {old('full'):.2f}.",
        f"**Where to put it, at equal count, alpha = 2 r and {adapting.STEPS} steps.** "
        + "; ".join(f"{sentence}: {judged[sentence][0]}" for sentence in equal)
        + f". {_saturation()}",
        "**Rank.** From r = 1 to r = 32 the loss on the new text goes "
        + ", ".join(f"{new(f'lora-{r}'):.3f}" for r in RANKS)
        + f"; the maps whole have {new('maps'):.3f}.",
        f"**Frozen is not kept.** Off, the adapter leaves the base [bit for bit]({OFF}). On, it "
        "forgets, and whether it forgets less than whole matrices depends on the rates. "
        + _forgetting(found, told),
        f"**What a random update costs.** {_random(found, judged)}",
        f"**Which learning rate, at alpha = 2 r.** {_which_rate(results['rates'])}",
        f"**Trained at a rank, or truncated to it.** {_truncation(judged)}",
        f"**Intruder directions, beside the control.** {_intruder_line(found)}",
        f"**alpha, A, B and two rates say one thing.** {_parametrization(results['rescaled'])}",
    ]
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)) + "\n"


def _saturation() -> str:
    """Say how much of q and v the largest of their ranks could be."""
    r, _ = EQUAL["qv"][-1]
    whole = [W for name, W in _base_maps().items() if name.split(".")[-2] in ("q", "v")]
    side, trained = len(whole[0]), adapting.numbers(f"qv-{r}")
    return (
        f"At r = {r} of {side}, q and v have {trained:,} numbers in A and B for the "
        f"{sum(W.size for W in whole):,} of their matrices, so there is little left to add."
    )


def _base_maps() -> Mapping[str, Any]:
    arrays = measures.arrays_of(adapting.base().gpt)
    return {name: arrays[name] for name in measures.map_names(adapting.base().gpt)}


def _forgetting(found: TextRuns, told: Callable[[str], str]) -> str:
    best, slow = found.best_rate("lora-8"), found.best_rate("maps") / 4
    sentences = (
        LESS_THAN_MAPS, SLOW_LEARN, SLOW_KEEP, EQUAL_RATE["maps"], EQUAL_RATE["full"],
    )  # fmt: skip
    return (
        f"The best rate of LoRA (r = 8) is {best:g}, that of the maps whole {4 * slow:g}. "
        + "; ".join(f"{sentence}: {told(sentence)}" for sentence in sentences)
        + ". The tables below have the other rates, and what is forgotten at strengths where as "
        "much is learned."
    )


def _random(found: TextRuns, judged: Judged) -> str:
    """Tell of each text alone: a mean over them would say what neither does."""
    verdict, pairs = judged[RANDOM]
    each = []
    for text in adapting.NEW:
        losses, random = (
            fmean(found.each(text, lambda run, key=key: run[key][1], "lora-8"))
            for key in ("losses", "random")
        )
        each.append(
            f"on {text} the trained one leaves {losses:.2f} and the random one {random:.2f}"
        )
    return (
        "Of the old loss, beside a random update with the singular values of LoRA's (r = 8): "
        f"{'; '.join(each)}. That the trained one costs more: {verdict} "
        f"({', '.join(f'{text} {pair}' for text, pair in pairs.items())})."
    )


def _which_rate(rates: Mapping[str, Mapping[str, float]]) -> str:
    chosen = {name: runs.best(tried) for name, tried in rates.items()}
    over = {
        whole: ", ".join(f"{chosen[f'lora-{r}'] / chosen[whole]:g}" for r in RANKS)
        for whole in ("maps", "full")
    }
    tied = [name for name, tried in rates.items() if len(ties(tried)) > 1]
    return (
        "It is often said to be ten times that of full fine-tuning. The best rate of LoRA on all "
        f"maps at r = {', '.join(map(str, RANKS))} is {over['maps']} times that of the same maps "
        f"whole, and {over['full']} times that of everything. It is a statement about alpha: with "
        f"alpha = 32 the best at r = 1 is {chosen['lora-1-alpha-32']:g} and not "
        f"{chosen['lora-1']:g}. Rates were tried in twos, either side of a ratio may be off by "
        "that, and so a ratio by a factor of four; the best rate is not told from another one "
        f"(within {TIE} nats) for {', '.join(tied)}."
    )


def _truncation(judged: Judged) -> str:
    by = {
        r: judged[f"trained at rank {r} beats the whole maps truncated to rank {r}"] for r in RANKS
    }
    holds = [r for r, (verdict, _) in by.items() if verdict == "holds"]
    others = {r: pair for r, pair in by.items() if r not in holds}
    rest = "; ".join(
        f"at r = {r}: {verdict} ({', '.join(f'{text} {pair}' for text, pair in pairs.items())})"
        for r, (verdict, pairs) in others.items()
    )
    return (
        "With the rate of the whole maps chosen for each rank, training at the rank is better on "
        f"both texts at r = {', '.join(map(str, holds)) or 'none'}"
        + (f"; {rest}" if rest else "")
        + "."
    )


def _intruder_line(found: TextRuns) -> str:
    place = measures.COSINES.index(measures.COSINE)

    def mean(method: str, key: str) -> float:
        return fmean(
            run[key][place][0]
            for text in adapting.NEW
            for run in found.each(text, lambda run: run, method, "intruders")
        )

    shown = {**LORA, "maps": "the maps whole", "full": "everything"}
    counts = "; ".join(
        f"{name} {mean(method, 'own'):.0f} and {mean(method, 'random'):.0f}"
        for method, name in shown.items()
    )
    pairs = {method: found.paired(found.intruders(method)) for method in shown}
    apart = {
        method: [f"{text} ({pair})" for text, pair in by.items() if pair.differs()]
        for method, by in pairs.items()
    }
    told = "; ".join(
        f"{shown[method]} on {' and '.join(where)}" for method, where in apart.items() if where
    )
    same = [shown[method] for method, where in apart.items() if not where]
    compared = sum(map(len, pairs.values()))
    line = (
        f"At the trained norm, of {24 * measures.LEADING} leading directions so many are "
        f"intruders, and of random updates of the same singular values so many: {counts}. By the "
        f"rule below, in {compared} further comparisons, trained less random:"
    )
    if told:
        line += f" the count differs from the control's for {told}."
    if same:
        line += f" The count is not told from it on either text for {', '.join(same)}."
    return line


def _parametrization(rescaled: Sequence[Mapping[str, Any]]) -> str:
    (p, q), (p_odd, q_odd) = comparisons.SHIFT, comparisons.UNEVEN
    same = sum(run["equal"] for run in rescaled)
    return (
        "A times p, B times q, alpha over p q, the rates of A and B times p and q (q and v, "
        "r = 8, AdamW with its default betas, an epsilon of 1e-30, no decay, no clipping: not the "
        f"setting of the other runs). At powers of two (p = {p:g}, q = {q:g}) {same} of "
        f"{len(rescaled)} runs have the same bits after {adapting.STEPS} steps. At p = {p_odd:g}, "
        f"q = {q_odd:g} the updates are apart by {_range(run['uneven'] for run in rescaled)} of "
        "their norm, which rounding starts and training enlarges. The control, p and q and alpha "
        f"as in the first and rates not moved: apart by {_range(r['unmoved'] for r in rescaled)}."
    )


def _range(values: Iterable[float]) -> str:
    found = sorted(values)
    return f"{found[0]:.2g} to {found[-1]:.2g}"


def _rule(found: TextRuns, judged: Judged) -> str:
    pairs = [pair for _, by in judged.values() for pair in by.values()]
    counts = len(pairs)
    clear = [pair for pair in pairs if pair.differs()]
    level = LEVEL / counts
    strict = sum(p.differs(level) for p in clear)
    seeds = sorted({pair.seeds for pair in pairs})
    bounds = " and ".join(f"{quantile(n):.2f} for {n} seeds" for n in seeds)
    return (
        "A sentence is a difference for each seed, positive where the seed speaks for it. On a "
        "text it holds if the mean exceeds its standard error times the quantile of Student's t "
        f"({bounds}; [the study on digits](study.md) takes 2 for every number of seeds). In all it "
        "**holds** if it does so on both texts, is the **opposite** if the contrary holds on both, "
        "**mixed** if it holds on one and the contrary on the other, holds **partly** if on one "
        "alone, and **fails** if on none. In nats a token; **bold** where the sentence holds, "
        f"*italic* where the contrary does. *As good as* allows {MARGIN} nats.\n\n"
        f"These are {counts} comparisons, each at a level of {LEVEL:.0%}: some would be beyond it "
        f"by chance. Of the {len(clear)} that are, {strict} are so at {LEVEL:.0%} over {counts} "
        f"too.\n"
    )


def _sentences(judged: Judged) -> str:
    body: Table = [
        (sentence, name, *(_marked(pairs[text]) for text in adapting.NEW))
        for sentence, (name, pairs) in judged.items()
    ]
    return as_text(table(("sentence", "finding", *adapting.NEW), body))


def _marked(pair: Difference) -> str:
    if pair.holds:
        return f"**{pair}**"
    return f"*{pair}*" if pair.opposes else str(pair)


def _losses(found: TextRuns) -> str:
    body: Table = [
        (
            "off",
            "0",
            *(f"{loss:.3f}" for text in adapting.NEW for loss in found.at(text, "maps", 0)["off"]),
            "0",
            "",
        )
    ]
    for method in (name for name in METHODS if name not in RATE_ONLY):
        first = found.at(adapting.NEW[0], method, found.seeds()[0])
        cells = []
        for text in adapting.NEW:
            for i in (0, 1):
                cells.append(_mean(found.each(text, lambda run, i=i: run["losses"][i], method)))
        norm = fmean(
            x for t in adapting.NEW for x in found.each(t, lambda run: run["norm"], method)
        )
        directions = ""
        if "directions" in first:  # only where every map is changed
            each = [found.each(t, lambda run: run["directions"], method) for t in adapting.NEW]
            directions = f"{fmean(x for seeds in each for x in seeds):.1f}"
        body.append((method, f"{first['parameters']:,}", *cells, f"{norm:.2f}", directions))
    heads = [f"{text}, {what}" for text in adapting.NEW for what in ("new", "old")]
    return as_text(table(("method", "numbers", *heads, "norm", "directions"), body))


def _by_rate(found: TextRuns) -> str:
    body: Table = []
    for method in comparisons.BY_RATE:
        for rate in found.rates(method):
            cells = [
                _mean(found.each(text, _loss(i), method, "by_rate", rate))
                for text in adapting.NEW
                for i in (0, 1)
            ]
            clipped = fmean(
                x
                for text in adapting.NEW
                for x in found.each(text, lambda run: run["clipped"], method, "by_rate", rate)
            )
            shown = f"**{rate:g}**" if rate == found.best_rate(method) else f"{rate:g}"
            body.append((method, shown, *cells, f"{clipped:.1%}"))
    heads = [f"{text}, {what}" for text in adapting.NEW for what in ("new", "old")]
    return as_text(table(("method", "rate", *heads, "clipped"), body))


def _equal(found: TextRuns) -> str:
    body: Table = []
    for weaker, others in comparisons.EQUAL_LEARNING.items():
        for text in adapting.NEW:
            for method in (weaker, *others):
                cells = []
                for i in range(len(comparisons.LEARNED)):
                    old, strength = (
                        fmean(
                            found.each(
                                text,
                                lambda run, key=key, i=i, m=method: run[key][m][i],
                                weaker,
                                "equal",
                            )
                        )
                        for key in ("old", "strengths")
                    )
                    cells.append(f"{old:.3f} ({strength:.2f})")
                body.append((f"{text}: {method}", weaker, *cells))
    heads = (f"{share:.0%}" for share in comparisons.LEARNED)
    return as_text(table(("method", "share of what is learned by", *heads), body))


def _best_strengths(found: TextRuns) -> str:
    body: Table = []
    for method in runs.SWEPT:
        cells = []
        for text in adapting.NEW:
            sweeps = [
                [new for new, _ in sweep]
                for sweep in found.each(text, lambda run: run["sweep"], method)
            ]
            means = [fmean(losses) for losses in zip(*sweeps, strict=True)]
            best = min(range(len(means)), key=means.__getitem__)
            cells += [
                f"{means[measures.STRENGTHS.index(1.0)]:.3f}",
                f"{means[best]:.3f} at {measures.STRENGTHS[best]:g}",
            ]
        body.append((method, *cells))
    heads = [f"{text}, {what}" for text in adapting.NEW for what in ("as trained", "best")]
    return as_text(table(("method", *heads), body))


def _truncated(found: TextRuns) -> str:
    chosen = {r: found.truncation_rate(r) for r in RANKS}
    body: Table = [("rate of the whole", *(f"{rate:g}" for rate in chosen.values()), "")]
    for text in adapting.NEW:
        trained = [found.each(text, _loss(0), f"lora-{r}") for r in RANKS]
        cut = [found.each(text, truncated(r), "maps", "by_rate", chosen[r]) for r in RANKS]
        random = [found.each(text, random_truncated(r), "maps") for r in RANKS]
        whole = _mean(found.each(text, _loss(0), "maps"))
        body += [
            (f"{text}: trained", *map(_mean, trained), ""),
            ("truncated", *map(_mean, cut), whole),
            ("random", *map(_mean, random), ""),
        ]
    return as_text(table(("text", *(f"r = {r}" for r in RANKS), "whole"), body))


def _loss(which: int) -> Callable[[Any], float]:
    return lambda run: run["losses"][which]


def _intruders(found: TextRuns) -> str:
    body: Table = []
    for method in runs.SWEPT:
        records = [
            run
            for text in adapting.NEW
            for run in found.each(text, lambda run: run, method, "intruders")
        ]
        norm = fmean(run["norm"] for run in records)
        for i, cosine in enumerate(measures.COSINES):
            cells = []
            for j, at in enumerate((norm, *measures.NORMS)):
                own, random = (fmean(r[key][i][j] for r in records) for key in ("own", "random"))
                cell = f"{own:.1f} / {random:.1f}"
                cells.append(f"*{cell}*" if at > norm else cell)
            body.append((method, f"{cosine:g}", f"{norm:.2f}", *cells))
    heads = ("update", "cosine below", "trained norm", "as trained")
    return as_text(table((*heads, *(f"at {norm:g}" for norm in measures.NORMS)), body))


def _rates(rates: Mapping[str, Mapping[str, float]]) -> str:
    every = sorted({float(lr) for tried in rates.values() for lr in tried})
    body: Table = []
    for method, tried in rates.items():
        best, tied = runs.best(tried), ties(tried)
        cells = []
        for lr in every:
            loss = tried.get(f"{lr:g}")
            cell = "" if loss is None else f"{loss:.3f}"
            if lr in tied:
                cell = f"**{cell}**" if lr == best else f"*{cell}*"
            cells.append(cell)
        body.append((method, *cells))
    return as_text(table(("method", *(f"{lr:g}" for lr in every)), body))


def _mean(values: Sequence[float]) -> str:
    mean, error = mean_error(values)
    return f"{mean:.3f} ± {error:.3f}"


if __name__ == "__main__":
    write(PAGE, as_page(committed()), PICTURES)
