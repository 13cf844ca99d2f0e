"""What the runs on text show about sentences often said about LoRA, by the rule of `study`.

A sentence is a difference for each seed, positive where the seed speaks for it. On a text it holds
if the mean exceeds two standard errors; see `lora_ref.study.findings`.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from importlib.resources import files
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np

from lora_ref.errors import LoraRefError
from lora_ref.study.findings import FindingName, Paired, finding
from lora_ref.text_study.methods import EQUAL, RANKS
from lora_ref.text_study.runs import NEW, Record

MARGIN = 0.02
"""Nats a token that "as good as" may lose: 2 % of perplexity."""

Number = Callable[[str, int], float]
"""A difference, from a text and a seed."""


class Difference(Paired):
    """A difference over seeds on one text, in nats a token or in directions."""

    def __str__(self) -> str:
        """In its own unit, as ``+0.123 ± 0.004``."""
        return f"{self.mean:+z.3f} ± {self.error:.3f}"


class TextRuns:
    """Records by text, method and seed, for differences between runs of one seed."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._by = {(r["text"], r["method"], r["seed"]): r for r in records}
        self.seeds = sorted({seed for _, _, seed in self._by})
        if len(self.seeds) < 2:
            raise LoraRefError(
                f"the records are of {len(self.seeds)} seed(s), expected at least 2: "
                "a finding needs a standard error"
            )

    def at(self, text: str, method: str, seed: int) -> Record:
        """Return one record, or say that it is missing."""
        if (text, method, seed) not in self._by:
            raise LoraRefError(f"the records have no run of {method!r} on {text!r}, seed {seed}")
        return self._by[text, method, seed]

    def each(self, text: str, number: Callable[[Record], float], method: str) -> list[float]:
        """Return a number of each seed's run."""
        return [number(self.at(text, method, seed)) for seed in self.seeds]

    def paired(self, number: Number) -> dict[str, Difference]:
        """Return mean and standard error of a difference on each text."""
        found = {}
        for text in NEW:
            values = [round(number(text, seed), 9) for seed in self.seeds]
            found[text] = Difference(fmean(values), stdev(values) / sqrt(len(values)))
        return found

    def new(self, better: str, worse: str, margin: float = 0.0) -> Number:
        """Return by how much one method's loss on the new text lies below another's."""
        return lambda text, seed: (
            self.at(text, worse, seed)["losses"][0]
            - self.at(text, better, seed)["losses"][0]
            + margin
        )

    def old(self, better: str, worse: str) -> Number:
        """Return the same of the loss on the old texts, with the adapter on."""
        return lambda text, seed: (
            self.at(text, worse, seed)["losses"][1] - self.at(text, better, seed)["losses"][1]
        )

    def old_at_equal(self, better: str, worse: str, share: float = 1.0) -> Number:
        """Return the same at strengths where both have the same loss on the new text.

        That is the loss that the one who learns less has at its best strength, or a share of the
        way there from the base.
        """

        def number(text: str, seed: int) -> float:
            runs = [self.at(text, method, seed) for method in (better, worse)]
            start = runs[0]["off"][0]
            best = max(min(new for new, _ in _path(run)) for run in runs)
            level = start + share * (best - start)
            one, other = (_old_at(_path(run), level) for run in runs)
            return other - one

        return number

    def over_truncated(self, r: int) -> Number:
        """Return by how much LoRA of rank r is better than whole maps truncated to it."""
        return lambda text, seed: (
            self.at(text, "maps", seed)["truncated"][str(r)][0]
            - self.at(text, f"lora-{r}", seed)["losses"][0]
        )

    def intruders(self, method: str, other: str | None = None, place: int = 0) -> Number:
        """Return how many more intruders a method has than another, or than its random control.

        Place 0 is that of the trained norm; place k is at `measures.NORMS` k - 1 for both.
        """

        def number(text: str, seed: int) -> float:
            here = self.at(text, method, seed)
            there = (
                here["random_intruders"]
                if other is None
                else self.at(text, other, seed)["intruders"]
            )
            return float(here["intruders"][place] - there[place])

        return number


def _path(run: Record) -> list[list[float]]:
    """Return the losses on new and old text by strength, from off up to the best strength."""
    path = [run["off"], *run["sweep"]]
    best = min(range(len(path)), key=lambda i: path[i][0])
    return path[: best + 1]


def _old_at(path: list[list[float]], level: float) -> float:
    """Return the old loss where the new one, which falls along the path, reaches a level."""
    new, old = np.array(path).T
    return float(np.interp(-level, -np.asarray(new), old))


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
    equal = runs.old_at_equal("lora-8", "maps")
    found |= {
        "a larger rank is better: r = 32 beats r = 1": runs.new("lora-32", "lora-1"),
        "a larger rank is better: r = 32 beats r = 8": runs.new("lora-32", "lora-8"),
        "LoRA (r = 8) is as good as the same maps whole": runs.new("lora-8", "maps", MARGIN),
        "LoRA (r = 32) is as good as the same maps whole": runs.new("lora-32", "maps", MARGIN),
        "LoRA (r = 32) is as good as training everything": runs.new("lora-32", "full", MARGIN),
        "LoRA (r = 8), on, forgets less than the maps whole": runs.old("lora-8", "maps"),
        "LoRA (r = 8), on, forgets less than training everything": runs.old("lora-8", "full"),
        "LoRA (r = 8) forgets less than the maps where both have learned what LoRA can": equal,
        "the same, half way there": runs.old_at_equal("lora-8", "maps", 0.5),
        "LoRA (r = 1), on, forgets less than at r = 32": runs.old("lora-1", "lora-32"),
        "the same, at strengths where both have learned what r = 1 can": runs.old_at_equal(
            "lora-1", "lora-32"
        ),
        "what LoRA (r = 8) forgets is more than a random update of its size costs": lambda t, s: (
            runs.at(t, "lora-8", s)["losses"][1] - runs.at(t, "lora-8", s)["random"][1]
        ),
    }
    for r in RANKS:
        sentence = f"trained at rank {r} beats the whole maps truncated to rank {r}"
        found[sentence] = runs.over_truncated(r)
    return found


def judge(records: Iterable[Record]) -> dict[str, tuple[FindingName, dict[str, Difference]]]:
    """Judge the sentences."""
    runs = TextRuns(records)
    return {name: judged(runs.paired(number)) for name, number in sentences(runs).items()}


def judged(pairs: dict[str, Difference]) -> tuple[FindingName, dict[str, Difference]]:
    """Return the finding of a difference on each text, and the differences."""
    each = pairs.values()
    return finding((p.holds for p in each), (p.opposes for p in each)), pairs


def committed() -> Mapping[str, Any]:
    """Return the committed results: ``runs``, ``rescaled`` and ``rates``."""
    here = files("lora_ref.text_study")
    read = {
        name: json.loads((here / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("results", "learning_rates")
    }
    return {**read["results"], "rates": read["learning_rates"]}
