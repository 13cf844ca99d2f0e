"""What the runs say of the article's measured claims, and of other sentences that one hears.

The rule, the same for each: a sentence is turned into a number for every seed, positive where the
seed speaks for it. On a shift it *holds* if the mean over seeds exceeds two standard errors; in all
it ``holds`` if it does so on every shift, holds ``partly`` if on some, and ``fails`` if on none;
where the contrary holds on every shift it is the ``opposite``.

The definitions below have not changed since the first results; those marked with a † joined later.
"""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from lora_ref.errors import LoraRefError
from lora_ref.study.records import Record

SMALL = "lora-4"
"""What "a small rank" means here: the middle one of 1, 2, 4, 8, 16, chosen beforehand."""

LARGE = "lora-16"

MARGIN = 0.01
"""One point: what "as good as" and "keeps" may lose. About the sampling error of 697 images."""

FindingName = Literal["holds", "partly", "fails", "opposite"]


class Finding(NamedTuple):
    """What the rule gave, and the numbers it gave it from."""

    finding: FindingName
    text: str


class Paired(NamedTuple):
    """A difference over seeds on one shift."""

    mean: float
    error: float  # standard error of the mean

    @property
    def holds(self) -> bool:
        """Whether the mean exceeds two standard errors."""
        return self.mean > 2 * self.error

    @property
    def opposes(self) -> bool:
        """Whether it lies as far on the other side."""
        return -self.mean > 2 * self.error

    def __str__(self) -> str:
        """In points, as ``+1.2 ± 0.3``."""
        return f"{100 * self.mean:+z.1f} ± {100 * self.error:.1f}"


class Runs:
    """Records by shift, method and seed, for differences between runs of one seed."""

    def __init__(self, records: Iterable[Record]) -> None:
        self._by = {(r["shift"], r["method"], r["seed"]): r for r in records}
        self.shifts = list(dict.fromkeys(shift for shift, _, _ in self._by))
        self.seeds = sorted({seed for _, _, seed in self._by})
        if len(self.seeds) < 2:
            raise LoraRefError(
                f"the records are of {len(self.seeds)} seed(s), expected at least 2: "
                "a finding needs a standard error"
            )

    def at(self, shift: str, method: str, seed: int) -> Record:
        """Return one record, or say that it is missing."""
        try:
            return self._by[shift, method, seed]
        except KeyError:
            raise LoraRefError(
                f"the records have no run of {method!r} on {shift!r} with seed {seed}, "
                "which a claim is judged from"
            ) from None

    def paired(self, number: Callable[[str, int], float]) -> dict[str, Paired]:
        """Return mean and standard error of ``number(shift, seed)`` on each shift."""
        found = {}
        for shift in self.shifts:
            # a billionth: 0.9 - 0.8 and 0.8 - 0.7 are the same number of images
            values = [round(number(shift, seed), 9) for seed in self.seeds]
            found[shift] = Paired(fmean(values), stdev(values) / sqrt(len(values)))
        return found

    def target(self, better: str, worse: str, margin: float = 0.0) -> dict[str, Paired]:
        """Return by how much one method's target accuracy exceeds another's less `margin`."""
        return self.paired(
            lambda shift, seed: (
                self.at(shift, better, seed)["target"]
                - self.at(shift, worse, seed)["target"]
                + margin
            )
        )

    def source(self, better: str, worse: str, margin: float = 0.0) -> dict[str, Paired]:
        """Do the same for the source accuracy, adapter attached."""
        return self.paired(
            lambda shift, seed: (
                self.at(shift, better, seed)["source_attached"]
                - self.at(shift, worse, seed)["source_attached"]
                + margin
            )
        )

    def gap(self, smaller: str, larger: str) -> dict[str, Paired]:
        """Return by how much one method's train/test gap lies below another's."""
        return self.paired(lambda shift, seed: self._gap(shift, larger, seed)
                           - self._gap(shift, smaller, seed))  # fmt: skip

    def over_cut(self, r: int) -> dict[str, Paired]:
        """Return by how much LoRA, trained at rank r, exceeds the full update cut to rank r."""
        return self.paired(
            lambda shift, seed: (
                self.at(shift, f"lora-{r}", seed)["target"]
                - self.at(shift, "full", seed)["cut"][str(r)]
            )
        )

    def _gap(self, shift: str, method: str, seed: int) -> float:
        record = self.at(shift, method, seed)
        return record["train"] - record["target"]


def finding(holds: Iterable[bool], opposes: Iterable[bool]) -> FindingName:
    """Return what a verdict on each shift comes to, and the contrary's on each shift."""
    each = list(holds)
    if all(each):
        return "holds"
    return "opposite" if all(opposes) else "partly" if any(each) else "fails"


def _of_pairs(pairs: Mapping[str, Paired]) -> FindingName:
    return finding((p.holds for p in pairs.values()), (p.opposes for p in pairs.values()))


def judge_claims(results: Iterable[Record]) -> dict[str, Finding]:
    """Judge the article's claims about forgetting, overfitting and small ranks.

    ``full-forgets``
        The source accuracy falls by full fine-tuning: pretrained less fine-tuned, above 0.
    ``lora-keeps``, ``adapter-keeps``
        Attached, at r = 4 and m = 4: the source accuracy stays within one point of the pretrained,
        so adapted less (pretrained - 0.01), above 0. Detached, whether every run gives back the
        pretrained accuracy and W0's bytes; the text says so, the finding is about attached.
    ``low-rank-regularizes``
        *Overfitting* is the gap between the accuracy on the 100 target training images and that on
        the test images. The gap of full fine-tuning less that of LoRA at r = 4, above 0. A smaller
        gap that comes from learning less is no gain, so a shift counts only if LoRA's target
        accuracy is not below full fine-tuning's by more than two standard errors. The text also
        has r = 16 less r = 4, which asks whether it is the *rank* that does it.
    ``low-rank-suffices``
        LoRA at r = 4 reaches full fine-tuning on the target within one point: its accuracy less
        (full - 0.01), above 0. The text also has what the update cut to rank 4 gives.

    Parameters
    ----------
    results : iterable of Record
        Such as `lora_ref.study.committed` returns.

    Raises
    ------
    LoraRefError
        If a run is missing that a claim is judged from, or there is one seed only.
    """
    runs = Runs(results)
    forgets = runs.source("untouched", "full")
    suffices = runs.target(SMALL, "full", MARGIN)
    gaps, not_worse = runs.gap(SMALL, "full"), runs.target("full", SMALL)
    regularises = [gaps[s].holds and not not_worse[s].holds for s in runs.shifts]
    by_rank = runs.gap(SMALL, LARGE)
    cut = runs.over_cut(4)
    return {
        "full-forgets": Finding(
            _of_pairs(forgets),
            f"full fine-tuning costs the source accuracy, in points: {listed(forgets)}",
        ),
        "lora-keeps": _keeps(runs, SMALL, "LoRA at r = 4"),
        "adapter-keeps": _keeps(runs, "adapter-4", "an adapter of m = 4"),
        "low-rank-regularizes": Finding(
            finding(regularises, (gaps[s].opposes for s in runs.shifts)),
            "the train/test gap of LoRA at r = 4 lies below that of full fine-tuning, in points: "
            f"{listed(gaps)}{_against(gaps)}; its target accuracy is above by: "
            f"{listed(_negated(not_worse))}; "
            f"the gap at r = 4 lies below that at r = 16 by: {listed(by_rank)}{_against(by_rank)}",
        ),
        "low-rank-suffices": Finding(
            _of_pairs(suffices),
            "target accuracy of LoRA at r = 4, above full fine-tuning less one point, in points: "
            f"{listed(suffices)}{_against(suffices)}; above the full update cut to rank 4: "
            f"{listed(cut)}",
        ),
    }


def _keeps(runs: Runs, method: str, name: str) -> Finding:
    kept = runs.source(method, "untouched", MARGIN)
    moved = runs.source(method, "untouched")
    pairs = [
        (runs.at(shift, method, seed), runs.at(shift, "untouched", seed))
        for shift in runs.shifts
        for seed in runs.seeds
    ]
    back = sum(
        run["w0_unchanged"] and run["source_detached"] == before["source_attached"]
        for run, before in pairs
    )
    return Finding(
        _of_pairs(kept),
        f"attached, {name} moves the source accuracy, in points: {listed(moved)}; detached, "
        f"{back} of {len(pairs)} runs give back the pretrained accuracy exactly and W0's bytes",
    )


POPULAR: Mapping[str, Callable[[Runs], dict[str, Paired]]] = {
    "LoRA (r = 8) beats training the head alone": lambda runs: runs.target("lora-8", "head"),
    "LoRA (r = 8) beats training from scratch": lambda runs: runs.target("lora-8", "scratch"),
    "LoRA (r = 8) is within a point of full fine-tuning": lambda runs: runs.target(
        "lora-8", "full", MARGIN
    ),
    "LoRA (r = 8), attached, forgets less than full fine-tuning": lambda runs: runs.source(
        "lora-8", "full"
    ),
    "LoRA (r = 1), attached, forgets less than at r = 16": lambda runs: runs.source(
        "lora-1", LARGE
    ),
    "a larger rank is better: r = 16 beats r = 1": lambda runs: runs.target(LARGE, "lora-1"),
    "rank-stabilized LoRA beats LoRA (r = 8)": lambda runs: runs.target("rslora", "lora-8"),
    "DoRA beats LoRA (r = 8)": lambda runs: runs.target("dora", "lora-8"),
    "a PiSSA start beats LoRA's (r = 8)": lambda runs: runs.target("pissa", "lora-8"),
    "QLoRA is within a point of LoRA (r = 8)": lambda runs: runs.target("qlora", "lora-8", MARGIN),
    "an adapter (m = 16) beats LoRA (r = 8)": lambda runs: runs.target("adapter-16", "lora-8"),
    "biases alone are within a point of LoRA (r = 8)": lambda runs: runs.target(
        "biases", "lora-8", MARGIN
    ),
    "an update trained at rank 8 beats the full one cut to rank 8 †": lambda runs: runs.over_cut(8),
    "LoRA with a PiSSA start (r = 8) is within a point of full fine-tuning †": lambda runs: (
        runs.target("pissa", "full", MARGIN)
    ),
}
"""Sentences that one hears, as differences that are positive where a run speaks for them.

Those with a † were added after a first run had made one ask.
"""


def judge_popular(results: Iterable[Record]) -> dict[str, tuple[FindingName, dict[str, Paired]]]:
    """Judge the sentences of `POPULAR` by the same rule; alphas are twice the rank throughout."""
    runs = Runs(results)
    judged = {}
    for sentence, number in POPULAR.items():
        pairs = number(runs)
        judged[sentence] = (_of_pairs(pairs), pairs)
    return judged


def listed(pairs: Mapping[str, Paired]) -> str:
    """Return ``near +1.2 ± 0.3, far ...`` for a sentence."""
    return ", ".join(f"{shift} {pair}" for shift, pair in pairs.items())


def _against(pairs: Mapping[str, Paired]) -> str:
    """Say where the opposite holds by the same rule, if anywhere."""
    shifts = [shift for shift, pair in pairs.items() if pair.opposes]
    return f" (the opposite holds on {', '.join(shifts)})" if shifts else ""


def _negated(pairs: Mapping[str, Paired]) -> Mapping[str, Paired]:
    return {shift: pair._replace(mean=-pair.mean) for shift, pair in pairs.items()}
