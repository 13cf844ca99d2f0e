"""What the runs on text show about sentences often said about LoRA.

A sentence is a difference for each seed, positive where the seed speaks for it. On a text it holds
if the mean exceeds its standard error times the quantile of Student's t for so many seeds. In all
it ``holds`` if it does so on both texts, is the ``opposite`` if the contrary holds on both and
``mixed`` if each holds on one; it holds ``partly`` if on one, and else ``fails``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from math import atan, cos, pi, sin, sqrt
from statistics import fmean, stdev
from typing import Any, Literal, NamedTuple

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.text_study.adapting import NEW, Record
from lora_ref.text_study.comparisons import LEARNED
from lora_ref.text_study.measures import COSINE, COSINES
from lora_ref.text_study.methods import EQUAL, RANKS

MARGIN = 0.02
"""Nats a token that "as good as" may lose: 2 % of perplexity."""

LEVEL = 0.05
"""The probability of a difference beyond the quantile, on either side, where there is none."""

TIE = 0.004
"""Nats on validation text within which two learning rates are as good as one another."""

Verdict = Literal["holds", "partly", "mixed", "fails", "opposite"]


def within(t: float, dof: int) -> float:
    """Return the probability that Student's t lies between -t and t.

    Abramowitz and Stegun (1964), 26.7.3 and 26.7.4: a sum of powers of the cosine of
    ``atan(t / sqrt(dof))``.
    """
    angle = atan(t / sqrt(dof))
    term, total = 1.0, 0.0
    for k in range(1 + dof % 2, dof, 2):
        total += term
        term *= cos(angle) ** 2 * k / (k + 1)
    if dof % 2 == 0:
        return sin(angle) * total
    return 2 / pi * (angle + sin(angle) * cos(angle) * total)


@cache
def quantile(seeds: int, level: float = LEVEL) -> float:
    """Return how many standard errors the mean of so many seeds has to exceed."""
    low, high = 0.0, 1e6
    while high - low > 1e-9 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if 1 - within(middle, seeds - 1) > level else (low, middle)
    return high


class Difference(NamedTuple):
    """A difference over seeds on one text, in nats a token or in directions."""

    mean: float
    error: float  # standard error of the mean
    seeds: int

    @property
    def holds(self) -> bool:
        """Whether the mean exceeds its error times the quantile."""
        return self.exceeds(LEVEL)

    @property
    def opposes(self) -> bool:
        """Whether it lies as far on the other side."""
        return self._replace(mean=-self.mean).holds

    def exceeds(self, level: float) -> bool:
        """Return whether the mean is that far above 0 at another level."""
        return self.mean > quantile(self.seeds, level) * self.error

    def differs(self, level: float = LEVEL) -> bool:
        """Return whether the mean is as far from 0 on either side."""
        return self._replace(mean=abs(self.mean)).exceeds(level)

    def __str__(self) -> str:
        """In its own unit, as ``+0.123 ± 0.004``."""
        return f"{self.mean:+z.3f} ± {self.error:.3f}"


LESS_THAN_MAPS = "LoRA (r = 8), on, forgets less than the maps whole, each at its best rate"
LESS_THAN_FULL = "LoRA (r = 8), on, forgets less than training everything, each at its best rate"
SLOW_LEARN = "the maps whole at a quarter of their rate learn more than LoRA (r = 8) at its best"
SLOW_KEEP = "the maps whole at a quarter of their rate forget less than LoRA (r = 8) at its best"
EQUAL_RATE = {
    "maps": "LoRA (r = 8) forgets less than the maps whole at a rate where they learn no less",
    "full": "LoRA (r = 8) forgets less than everything at a rate where it learns no less",
}
RANDOM = "what LoRA (r = 8) forgets is more than a random update of its size costs"
"""Sentences of which the page tells more than their verdict."""


class Number(NamedTuple):
    """A number of a text and a seed, and the section of the results whose seeds it has."""

    of: Callable[[str, int], float]
    section: str = "runs"


class TextRuns:
    """The records of all sections, for differences between runs of one seed.

    Parameters
    ----------
    results : mapping
        ``runs``, and those of ``by_rate``, ``equal`` and ``intruders`` that are asked for.
    """

    def __init__(self, results: Mapping[str, Any]) -> None:
        self._by: dict[tuple[Any, ...], Record] = {}
        self._seeds: dict[str, list[int]] = {}
        for section in ("runs", "by_rate", "equal", "intruders"):
            records = results.get(section, [])
            for r in records:
                at = r["rate"] if section == "by_rate" else None
                self._by[section, r["text"], r["method"], r["seed"], at] = r
            self._seeds[section] = sorted({r["seed"] for r in records})

    def seeds(self, section: str = "runs") -> list[int]:
        """Return the seeds of a section, at least two."""
        seeds = self._seeds[section]
        if len(seeds) < 2:
            raise LoraRefError(
                f"the records of {section!r} are of {len(seeds)} seed(s), expected at least 2: "
                "a finding needs a standard error"
            )
        return seeds

    def at(
        self, text: str, method: str, seed: int, section: str = "runs", rate: float | None = None
    ) -> Record:
        """Return one record, or say that it is missing."""
        if (section, text, method, seed, rate) not in self._by:
            where = "" if rate is None else f" at the rate {rate:g}"
            raise LoraRefError(
                f"the records of {section!r} have no run of {method!r} on {text!r}, seed {seed}"
                f"{where}"
            )
        return self._by[section, text, method, seed, rate]

    def each(
        self,
        text: str,
        number: Callable[[Record], float],
        method: str,
        section: str = "runs",
        rate: float | None = None,
    ) -> list[float]:
        """Return a number of each seed's run."""
        return [number(self.at(text, method, seed, section, rate)) for seed in self.seeds(section)]

    def rates(self, method: str) -> list[float]:
        """Return the rates at which a method was compared, in order."""
        return sorted({key[-1] for key in self._by if key[0] == "by_rate" and key[2] == method})

    def best_rate(self, method: str) -> float:
        """Return the rate of a method's runs, which was best on validation text."""
        rate: float = self.at(NEW[0], method, self.seeds()[0])["rate"]
        return rate

    def paired(self, number: Number) -> dict[str, Difference]:
        """Return mean and standard error of a difference on each text."""
        found, seeds = {}, self.seeds(number.section)
        for text in NEW:
            values = [round(number.of(text, seed), 9) for seed in seeds]
            found[text] = Difference(fmean(values), stdev(values) / sqrt(len(values)), len(seeds))
        return found

    def new(self, better: str, worse: str, margin: float = 0.0) -> Number:
        """Return by how much one method's loss on the new text lies below another's."""
        return Number(
            lambda text, seed: (
                self.at(text, worse, seed)["losses"][0]
                - self.at(text, better, seed)["losses"][0]
                + margin
            )
        )

    def old(self, better: str, worse: str) -> Number:
        """Return the same of the loss on the old texts, with the adapter on."""
        return Number(
            lambda text, seed: (
                self.at(text, worse, seed)["losses"][1] - self.at(text, better, seed)["losses"][1]
            )
        )

    def below(self, better: tuple[str, float], worse: tuple[str, float], which: int) -> Number:
        """Return the same of methods at rates; which is 0 for the new text, 1 for the old."""
        return Number(
            lambda text, seed: (
                self.at(text, worse[0], seed, "by_rate", worse[1])["losses"][which]
                - self.at(text, better[0], seed, "by_rate", better[1])["losses"][which]
            ),
            "by_rate",
        )

    def old_at_equal_rate(self, better: str, worse: str) -> Number:
        """Return the same of the old text where the second method has learned what the first has.

        The first one is at its best rate; the second between two rates, where a line between their
        losses reaches the same loss on the new text, or at its smallest if it has learned more
        even there.
        """

        def number(text: str, seed: int) -> float:
            here = self.at(text, better, seed, "by_rate", self.best_rate(better))["losses"]
            path = [
                self.at(text, worse, seed, "by_rate", rate)["losses"] for rate in self.rates(worse)
            ]
            return old_where(path, here[0]) - float(here[1])

        return Number(number, "by_rate")

    def old_at_equal_strength(self, better: str, worse: str, share: float) -> Number:
        """Return the same at strengths where both have learned a share of what the first has."""
        place = LEARNED.index(share)

        def number(text: str, seed: int) -> float:
            old = self.at(text, better, seed, "equal")["old"]
            return float(old[worse][place] - old[better][place])

        return Number(number, "equal")

    def truncation_rate(self, r: int) -> float:
        """Return the rate of the whole maps that is best when truncated to rank r.

        The best on validation text, mean over both texts and the seeds.
        """

        def loss(rate: float) -> float:
            return fmean(
                x
                for text in NEW
                for x in self.each(
                    text, lambda run: run["truncated"][str(r)][0], "maps", "by_rate", rate
                )
            )

        return min(self.rates("maps"), key=loss)

    def over_truncated(self, r: int) -> Number:
        """Return by how much LoRA of rank r is better than whole maps truncated to it."""
        rate = self.truncation_rate(r)
        return Number(
            lambda text, seed: (
                self.at(text, "maps", seed, "by_rate", rate)["truncated"][str(r)][1]
                - self.at(text, f"lora-{r}", seed)["losses"][0]
            ),
            "by_rate",
        )

    def intruders(self, method: str, cosine: float = COSINE) -> Number:
        """Return how many more intruders a method has than random updates, at its own norm."""
        place = COSINES.index(cosine)

        def number(text: str, seed: int) -> float:
            run = self.at(text, method, seed, "intruders")
            return float(run["own"][place][0] - run["random"][place][0])

        return Number(number, "intruders")


def old_where(path: Sequence[Sequence[float]], level: float) -> float:
    """Return the old loss where the new one, which falls along the path, reaches a level.

    Between two points of the path, losses on new and old text are taken to lie on a line. If the
    new loss is below the level from the start, it is the old loss there.
    """
    best = min(range(len(path)), key=lambda i: path[i][0])
    new, old = np.array(path[: best + 1]).T
    if level < new[-1]:
        raise LoraRefError(
            f"the loss on the new text is {new[-1]:g} at best along the path, "
            f"expected it to reach {level:g}"
        )
    return float(np.interp(-level, -new, old))


def sentences(runs: TextRuns) -> dict[str, Number]:
    """Return common sentences as differences, positive where a run speaks for them."""
    found: dict[str, Number] = {}
    for qv, r in EQUAL["qv"]:
        found[f"LoRA on all maps (r = {r}) beats q and v at equal count (r = {qv})"] = runs.new(
            f"lora-{r}", f"qv-{qv}"
        )
    for attention, r in EQUAL["attention"]:
        sentence = f"LoRA on the MLP (r = {r}) beats attention at equal count (r = {attention})"
        found[sentence] = runs.new(f"mlp-{r}", f"attention-{attention}")
    best = ("lora-8", runs.best_rate("lora-8"))
    slow = ("maps", runs.best_rate("maps") / 4)
    found |= {
        "a larger rank is better: r = 32 beats r = 1": runs.new("lora-32", "lora-1"),
        "a larger rank is better: r = 32 beats r = 8": runs.new("lora-32", "lora-8"),
        "LoRA (r = 8) is as good as the same maps whole": runs.new("lora-8", "maps", MARGIN),
        "LoRA (r = 32) is as good as the same maps whole": runs.new("lora-32", "maps", MARGIN),
        "LoRA (r = 32) is as good as training everything": runs.new("lora-32", "full", MARGIN),
        LESS_THAN_MAPS: runs.old("lora-8", "maps"),
        LESS_THAN_FULL: runs.old("lora-8", "full"),
        SLOW_LEARN: runs.below(slow, best, 0),
        SLOW_KEEP: runs.below(slow, best, 1),
        EQUAL_RATE["maps"]: runs.old_at_equal_rate("lora-8", "maps"),
        EQUAL_RATE["full"]: runs.old_at_equal_rate("lora-8", "full"),
    }
    for worse, name in (("maps", "the maps whole"), ("full", "everything")):
        for share in LEARNED:
            found[
                f"LoRA (r = 8) forgets less than {name} at strengths where both have learned "
                f"{share:.0%} of what it has"
            ] = runs.old_at_equal_strength("lora-8", worse, share)
    found["LoRA (r = 1), on, forgets less than at r = 32, each at its best rate"] = runs.old(
        "lora-1", "lora-32"
    )
    for share in LEARNED:
        found[
            "LoRA (r = 1) forgets less than at r = 32 at strengths where both have learned "
            f"{share:.0%} of what r = 1 has"
        ] = runs.old_at_equal_strength("lora-1", "lora-32", share)
    found[RANDOM] = Number(
        lambda text, seed: (
            runs.at(text, "lora-8", seed)["losses"][1] - runs.at(text, "lora-8", seed)["random"][1]
        )
    )
    for r in RANKS:
        sentence = f"trained at rank {r} beats the whole maps truncated to rank {r}"
        found[sentence] = runs.over_truncated(r)
    return found


def beside_whole(runs: TextRuns) -> str:
    """Return a table of LoRA (r = 8) beside the maps whole, and how many differences are clear.

    LoRA has its best rate, the maps have theirs and a quarter of it. The rows hold losses on new
    and old text, mean over seeds; the lines below count the differences between either row of maps
    and LoRA that are beyond Student's limit for one of them, and beyond that for all together.
    """
    lora = ("lora-8", runs.best_rate("lora-8"))
    whole = [("maps", share * runs.best_rate("maps")) for share in (1, 1 / 4)]
    places = [(text, which) for text in NEW for which in (0, 1)]
    off = [runs.at(text, "lora-8", runs.seeds()[0])["off"][which] for text, which in places]
    rows = [("untouched", off)]
    for method, rate in (lora, *whole):
        both = {
            text: np.mean(
                runs.each(text, lambda run: run["losses"], method, "by_rate", rate), axis=0
            )
            for text in NEW
        }
        rows.append((f"{method} at {rate:g}", [both[text][which] for text, which in places]))
    lines = [f"{'loss':<16}" + "".join(f"{text:>7} {w:<4}" for text in NEW for w in ("new", "old"))]
    lines += [
        f"{name:<16}" + "".join(f"{loss:>10.3f}  " for loss in losses) for name, losses in rows
    ]
    gaps = [
        runs.paired(runs.below(maps, lora, which))[text] for maps in whole for text, which in places
    ]
    seeds = len(runs.seeds("by_rate"))
    lines.append(f"nats a token, {seeds} seeds; of {len(gaps)} differences of maps less lora-8")
    for level, told in ((LEVEL, ""), (LEVEL / len(gaps), ", the limit of all together")):
        clear = sum(gap.differs(level) for gap in gaps)
        lines.append(f"  {clear} are beyond {quantile(seeds, level):.1f} errors{told}")
    return "\n".join(map(str.rstrip, lines))


def judge(results: Mapping[str, Any]) -> dict[str, tuple[Verdict, dict[str, Difference]]]:
    """Judge the sentences."""
    runs = TextRuns(results)
    return {name: judged(runs.paired(number)) for name, number in sentences(runs).items()}


def judged(pairs: dict[str, Difference]) -> tuple[Verdict, dict[str, Difference]]:
    """Return the verdict of a difference on each text, and the differences."""
    holds, opposes = ([getattr(p, name) for p in pairs.values()] for name in ("holds", "opposes"))
    verdict: Verdict = "partly" if any(holds) else "fails"
    if any(holds) and any(opposes):
        verdict = "mixed"
    elif all(holds):
        verdict = "holds"
    elif all(opposes):
        verdict = "opposite"
    return verdict, pairs


def ties(by_rate: Mapping[str, float]) -> list[float]:
    """Return the rates that are as good as the best one: within `TIE` of its loss."""
    least = min(by_rate.values())
    return [float(lr) for lr, loss in by_rate.items() if loss < least + TIE]


def committed() -> Mapping[str, Any]:
    """Return the committed results by section, and the losses by rate as ``rates``."""
    here = files("lora_ref.text_study")
    read = {
        name: json.loads((here / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("results", "learning_rates")
    }
    return {**read["results"], "rates": read["learning_rates"]}
