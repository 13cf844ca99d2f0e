"""Write ``text-study.md`` and its figures from the committed results of the study on text."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from lora_ref.figures import FIGURES, save
from lora_ref.study.records import mean_error
from lora_ref.study.report import table
from lora_ref.text_study import measures, runs
from lora_ref.text_study.findings import (
    MARGIN,
    Difference,
    TextRuns,
    committed,
    judge,
    judged,
)
from lora_ref.text_study.methods import METHODS, RANKS

PAGE = Path(__file__).parent / "text-study.md"
PICTURES = ("text-by-rank", "learned-and-forgotten", "learning-rates", "intruders")

Table = list[Sequence[str]]


def as_page(results: Mapping[str, Any]) -> str:
    """Return the whole page."""
    found = TextRuns(results["runs"])
    sections = [
        "# The study on text: the small language model in other voices\n",
        "Written by `python docs/text_study_page.py` from `lora_ref/text_study/results.json`; do "
        "not edit.\n",
        _head(found),
        "## What it shows\n",
        _summary(results, found),
        "## In pictures\n",
        _pictures(),
        "## Common sentences\n",
        "A sentence is a difference for each seed, positive where the seed speaks for it, and is "
        "judged as in [the study on digits](study.md): on a text it holds if the mean exceeds two "
        "standard errors; in all it **holds** on both, **partly** on one, **fails** on none, and "
        "is the **opposite** where the contrary holds on both. In nats a token; **bold** where "
        f"the sentence holds, *italic* where the opposite does. *As good as* allows {MARGIN} "
        "nats.\n",
        _sentences(results),
        "## The losses\n",
        "Loss on the test part of the new text and on old text with the adapter on, mean ± "
        "standard error over seeds. *Norm* is that of the change of the 24 maps over that of the "
        "maps, *directions* how many singular directions hold 90 % of its square, mean over "
        "maps, where all change.\n",
        _losses(found),
        "## Trained at a rank, or truncated to it\n",
        "Loss on the new text. *Random* has the rank and the singular values of the truncated "
        "update, in directions drawn uniformly.\n",
        _truncated(found),
        "## Intruder directions\n",
        f"Of the {measures.LEADING} leading left singular vectors of each adapted map, those whose "
        f"cosine with every one of the pretrained map is below {measures.COSINE} (Shuttleworth et "
        "al., 2024, arXiv 2410.21228), in all 24 maps together, mean over texts and seeds. At the "
        "trained norm, and at norms that are the same for all: the update is multiplied by a "
        "number. *Random* has the same singular values.\n",
        _intruders(found),
        "## The learning rates\n",
        "Validation loss on the new text, mean over both texts and two other seeds; the chosen "
        "rate in bold. Further rates were tried until the best had a worse one on either side.\n",
        _rates(results["rates"]),
        "## The methods\n",
        "\n".join(f"- `{name}`: {method.text}" for name, method in METHODS.items()) + "\n",
    ]
    return "\n".join(sections)


def _head(found: TextRuns) -> str:
    texts = {"verse": "*Paradise Lost*", "play": "*As You Like It*"}
    names = " and ".join(f"{texts[name]} (`{name}`)" for name in runs.NEW)
    return (
        "The language model of this package (505,920 numbers; its sources, seeds and losses stand "
        f"in `lora_ref/transformer/weights/SOURCE.md`) is adapted to {names}: {runs.STEPS} steps "
        f"of {runs.BATCH} windows, AdamW with warm-up and cosine, no decay, gradients clipped at "
        "norm 1; alpha = 2 r. Each method has the learning rate that was best for it on "
        "validation text of two other seeds. A seed draws A and the batches, the same batches for "
        f"every method; there are {len(found.seeds)}. *Old text* is the unseen end of the three "
        "texts of the base, the mean of their losses.\n\n"
        "**One base model, of half a million numbers, and two texts**: what holds here need not "
        "hold for a large one. The seeds tell how much a run varies, not how much a base does. "
        "**Where ± stands, it is one standard error of the mean over seeds.**\n"
    )


def _summary(results: Mapping[str, Any], found: TextRuns) -> str:
    def mean(method: str, number: Callable[[Any], float]) -> float:
        return fmean(fmean(found.each(text, number, method)) for text in runs.NEW)

    def new(method: str) -> float:
        return mean(method, lambda run: run["losses"][0])

    def old(method: str) -> float:
        return mean(method, lambda run: run["losses"][1])

    verdicts = {sentence: name for sentence, (name, _) in judge(results["runs"]).items()}
    chosen = {name: runs.best(tried) for name, tried in results["rates"].items()}
    off_new, off_old = (mean("lora-8", lambda run, i=i: run["off"][i]) for i in (0, 1))
    equal = [sentence for sentence in verdicts if "equal count" in sentence]
    ratios = {r: chosen[f"lora-{r}"] / chosen["maps"] for r in RANKS}
    rescaled = results["rescaled"]
    same = sum(run["equal"] for run in rescaled)
    halved = sum(run["equal_with_half_alpha"] for run in rescaled)
    trained = [
        r
        for r in RANKS
        if verdicts[f"trained at rank {r} beats the whole maps truncated to rank {r}"] == "holds"
    ]
    own = {
        name: [
            mean(name, lambda run, key=key: run[key][0])
            for key in ("intruders", "random_intruders")
        ]
        for name in ("lora-1", "lora-8", "lora-32", "maps")
    }
    beyond = {
        name: judged(found.paired(found.intruders(name)))[0]
        for name in ("lora-1", "lora-8", "lora-32", "maps")
    }
    at_equal = {
        norm: judged(found.paired(found.intruders("lora-8", "maps", place)))
        for place, norm in enumerate(measures.NORMS, start=1)
    }
    numbers = found.at("verse", "lora-8", found.seeds[0])["parameters"]
    less = "LoRA (r = 8), on, forgets less than the maps whole"
    as_much = "LoRA (r = 8) forgets less than the maps where both have learned what LoRA can"
    drawn = mean("lora-8", lambda run: run["random"][1])
    shown = {
        "lora-8": "LoRA (r = 8)",
        "lora-1": "at r = 1",
        "lora-32": "at r = 32",
        "maps": "whole",
    }
    lines = [
        f"**The voice changes.** Off, the model has {off_new:.2f} nats a token on the new texts "
        f"and {off_old:.2f} on the old. With LoRA (r = 8, all maps, {numbers:,} numbers) it has "
        f"{new('lora-8'):.2f} and {old('lora-8'):.2f}; with the same maps trained whole "
        f"{new('maps'):.2f} and {old('maps'):.2f}; with everything trained {new('full'):.2f} and "
        f"{old('full'):.2f}.",
        "**Where to put it, at equal count.** "
        + "; ".join(f"{sentence}: {verdicts[sentence]}" for sentence in equal)
        + ".",
        "**Rank.** From r = 1 to r = 32 the loss on the new text goes "
        + ", ".join(f"{new(f'lora-{r}'):.3f}" for r in RANKS)
        + f"; the maps whole have {new('maps'):.3f}.",
        "**Frozen is not kept.** Off, the adapter leaves the base bit for bit. On, that LoRA "
        f"(r = 8) forgets less than the maps trained whole: {verdicts[less]}. It has also learned "
        f"less; at strengths where both have learned what LoRA can: {verdicts[as_much]}; half way "
        f"there: {verdicts['the same, half way there']} (the sizes are in the table). "
        "A random update with the singular values of LoRA's (r = 8) raises the old loss to "
        f"{drawn:.2f}, the trained one to {old('lora-8'):.2f}.",
        "**Which learning rate.** It is often said to be ten times that of full fine-tuning. The "
        "best rate of LoRA over that of the same maps whole: "
        + ", ".join(f"{ratio:g} at r = {r}" for r, ratio in ratios.items())
        + f"; LoRA's at r = 8 over that of everything: {chosen['lora-8'] / chosen['full']:g}. "
        "Rates were tried in twos, so a ratio may be off by a factor of two either way.",
        "**Trained at a rank, or truncated to it.** Training at the rank is better on both texts "
        f"at r = {', '.join(map(str, trained)) or 'none'} of {', '.join(map(str, RANKS))}.",
        "**Intruder directions, beside the control.** At the trained norm, of "
        f"{24 * measures.LEADING} leading directions so many are intruders, and of a random update "
        "of the same singular values so many: "
        + "; ".join(
            f"{name} {own[method][0]:.0f} and {own[method][1]:.0f}"
            for method, name in shown.items()
        )
        + ". That the trained update has more than the random one: "
        + ", ".join(f"{name} {beyond[method]}" for method, name in shown.items())
        + ". That LoRA (r = 8) has more than the maps whole at one and the same norm: "
        + ", ".join(f"at {norm:g} {name}" for norm, (name, _) in at_equal.items())
        + ".",
        "**alpha, A, B and two rates say one thing.** A times p, B times q, alpha over p q, the "
        f"rates of A and B times p and q (p = {rescaled[0]['p']:g}, q = {rescaled[0]['q']:g}, Adam "
        f"with an epsilon of 1e-30, no decay, no clipping): {same} of {len(rescaled)} runs have "
        f"the same bits after {runs.STEPS} steps. With half of alpha and nothing else changed, "
        f"{halved} have.",
    ]
    return "\n".join(f"{i}. {line}" for i, line in enumerate(lines, start=1)) + "\n"


def _pictures() -> str:
    texts = {name: FIGURES[name].picture().alt for name in PICTURES}
    return "\n\n".join(f"![{text}](figures/{name}.png)" for name, text in texts.items()) + "\n"


def _sentences(results: Mapping[str, Any]) -> str:
    body: Table = [
        (sentence, name, *(_marked(pairs[text]) for text in runs.NEW))
        for sentence, (name, pairs) in judge(results["runs"]).items()
    ]
    return _text(table(("sentence", "finding", *runs.NEW), body))


def _marked(pair: Difference) -> str:
    if pair.holds:
        return f"**{pair}**"
    return f"*{pair}*" if pair.opposes else str(pair)


def _losses(found: TextRuns) -> str:
    body: Table = [
        (
            "off",
            "0",
            *(f"{loss:.3f}" for text in runs.NEW for loss in found.at(text, "maps", 0)["off"]),
            "0",
            "",
        )
    ]
    for method in METHODS:
        first = found.at(runs.NEW[0], method, found.seeds[0])
        cells = []
        for text in runs.NEW:
            for i in (0, 1):
                cells.append(_mean(found.each(text, lambda run, i=i: run["losses"][i], method)))
        norm = fmean(x for t in runs.NEW for x in found.each(t, lambda run: run["norm"], method))
        directions = ""
        if "directions" in first:  # only where every map is changed
            each = [found.each(t, lambda run: run["directions"], method) for t in runs.NEW]
            directions = f"{fmean(x for seeds in each for x in seeds):.1f}"
        body.append((method, f"{first['parameters']:,}", *cells, f"{norm:.2f}", directions))
    heads = [f"{text}, {what}" for text in runs.NEW for what in ("new", "old")]
    return _text(table(("method", "numbers", *heads, "norm", "directions"), body))


def _truncated(found: TextRuns) -> str:
    body: Table = []
    for text in runs.NEW:
        trained = [found.each(text, lambda run: run["losses"][0], f"lora-{r}") for r in RANKS]
        body.append((f"{text}: trained", *map(_mean, trained), ""))
        for name, kind in (("truncated", "truncated"), ("random", "random_truncated")):
            cells = [
                _mean(found.each(text, lambda run, r=r, kind=kind: run[kind][str(r)][0], "maps"))
                for r in RANKS
            ]
            whole = _mean(found.each(text, lambda run: run["losses"][0], "maps"))
            body.append((name, *cells, whole if kind == "truncated" else ""))
    return _text(table(("text", *(f"r = {r}" for r in RANKS), "whole"), body))


def _intruders(found: TextRuns) -> str:
    body: Table = []
    for method in runs.SWEPT:
        norm = fmean(
            x for text in runs.NEW for x in found.each(text, lambda run: run["norm"], method)
        )
        for name, key in ((method, "intruders"), ("random", "random_intruders")):
            counts = [
                fmean(
                    x
                    for text in runs.NEW
                    for x in found.each(text, lambda run, i=i, key=key: run[key][i], method)
                )
                for i in range(1 + len(measures.NORMS))
            ]
            own = f"{norm:.2f}" if key == "intruders" else ""
            body.append((name, own, *(f"{count:.1f}" for count in counts)))
    heads = ("update", "trained norm", "intruders", *(f"at {norm:g}" for norm in measures.NORMS))
    return _text(table(heads, body))


def _rates(rates: Mapping[str, Mapping[str, float]]) -> str:
    every = sorted({float(lr) for tried in rates.values() for lr in tried})
    body: Table = []
    for method, tried in rates.items():
        best = runs.best(tried)
        cells = []
        for lr in every:
            loss = tried.get(f"{lr:g}")
            cell = "" if loss is None else f"{loss:.3f}"
            cells.append(f"**{cell}**" if lr == best else cell)
        body.append((method, *cells))
    return _text(table(("method", *(f"{lr:g}" for lr in every)), body))


def _mean(values: Sequence[float]) -> str:
    mean, error = mean_error(values)
    return f"{mean:.3f} ± {error:.3f}"


def _text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(as_page(committed()), encoding="utf-8", newline="\n")
    for picture in PICTURES:
        entry = FIGURES[picture]
        save(PAGE.parent / "figures" / f"{picture}.png", entry.picture(), entry.title)
