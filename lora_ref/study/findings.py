"""What the runs of the study show about the article's claims, and others often made about LoRA.

The rule is the same for each. A sentence is turned into a number for every seed, positive where the
seed speaks for it. On a shift it *holds* if the mean over seeds exceeds two standard errors; in all
it ``holds`` if it does so on every shift, holds ``partly`` if on some, and ``fails`` if on none;
where the contrary holds on every shift it is the ``opposite``.

Like is compared with like. Where LoRA meets the training of whole matrices, biases are frozen in
both (``lora-r`` and ``weights``) or train in both (``lora-r-bias`` and ``full``). A claim holds, or
its contrary does, on a shift where it does so in both pairs.
"""

from collections.abc import Callable, Iterable, Mapping
from math import sqrt
from statistics import fmean, stdev
from typing import Literal, NamedTuple

from lora_ref.errors import LoraRefError
from lora_ref.study.records import Record

SMALL, LARGE = 4, 16
"""What "a small rank" and "a large rank" mean: the middle and the last of 1, 2, 4, 8, 16."""

PAIRS = {"biases frozen": ("lora-{}", "weights"), "biases trained": ("lora-{}-bias", "full")}
"""LoRA at a rank, and the method that trains the whole of what LoRA updates."""

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
        return self._exceeds(better, worse, lambda run: run["target"], margin)

    def source(self, better: str, worse: str, margin: float = 0.0) -> dict[str, Paired]:
        """Do the same for the source accuracy, adapter on."""
        return self._exceeds(better, worse, lambda run: run["source_on"], margin)

    def gap(self, smaller: str, larger: str) -> dict[str, Paired]:
        """Return by how much one method's train/test gap lies below another's."""
        return self._exceeds(larger, smaller, lambda run: run["train"] - run["target"])

    def over_truncated(self, trained: str, whole: str, r: int) -> dict[str, Paired]:
        """Return by how much a method of rank r exceeds a whole update truncated to that rank."""
        return self.paired(
            lambda shift, seed: (
                self.at(shift, trained, seed)["target"]
                - self.at(shift, whole, seed)["truncated"][str(r)]
            )
        )

    def _exceeds(
        self, better: str, worse: str, of: Callable[[Record], float], margin: float = 0.0
    ) -> dict[str, Paired]:
        return self.paired(
            lambda shift, seed: (
                of(self.at(shift, better, seed)) - of(self.at(shift, worse, seed)) + margin
            )
        )


def finding(holds: Iterable[bool], opposes: Iterable[bool]) -> FindingName:
    """Return what a verdict on each shift comes to, and the contrary's on each shift."""
    each = list(holds)
    if all(each):
        return "holds"
    return "opposite" if all(opposes) else "partly" if any(each) else "fails"


def _of_pairs(pairs: Mapping[str, Paired]) -> FindingName:
    return finding((p.holds for p in pairs.values()), (p.opposes for p in pairs.values()))


def _of_both(both: Mapping[str, Mapping[str, Paired]]) -> FindingName:
    """Return the finding of two comparisons: each has to hold, or its contrary has to."""
    one, other = both.values()
    return finding(
        (one[shift].holds and other[shift].holds for shift in one),
        (one[shift].opposes and other[shift].opposes for shift in one),
    )


def judge_claims(results: Iterable[Record]) -> dict[str, Finding]:
    """Judge the article's claims about forgetting, overfitting and small ranks.

    ``full-forgets``
        The source accuracy falls by full fine-tuning: pretrained less fine-tuned, above 0.
    ``lora-keeps``, ``adapter-keeps``
        With the adapter on, at r = 4 and m = 4, the source accuracy stays within one point of the
        pretrained: adapted less (pretrained - 0.01), above 0. The text also says whether, with the
        adapter off, every run gives back the pretrained accuracy and W0's bytes.
    ``low-rank-regularizes``
        *Overfitting* is the gap between the accuracy on the 100 target training images and that on
        the test images. The gap of whole matrices less that of LoRA at r = 4, above 0. A smaller
        gap that comes from learning less is no gain, so a shift counts only if LoRA's target
        accuracy is not lower by more than two standard errors. The text also has r = 16 less
        r = 4, which asks whether it is the *rank* that does it.
    ``low-rank-suffices``
        LoRA at r = 4 reaches the whole matrices on the target within one point: its accuracy less
        (whole - 0.01), above 0. The text also compares with the whole update truncated to rank 4.
    """
    runs = Runs(results)
    forgets = runs.source("untouched", "full")
    both = {name: (lora.format(SMALL), whole) for name, (lora, whole) in PAIRS.items()}
    suffices = {name: runs.target(*pair, MARGIN) for name, pair in both.items()}
    truncated = {name: runs.over_truncated(*pair, SMALL) for name, pair in both.items()}
    gaps = {name: runs.gap(*pair) for name, pair in both.items()}
    above = {name: runs.target(*pair) for name, pair in both.items()}
    counted = {
        name: {
            shift: gap._replace(mean=min(gap.mean, 0.0)) if above[name][shift].opposes else gap
            for shift, gap in pairs.items()
        }
        for name, pairs in gaps.items()
    }
    by_rank = runs.gap(f"lora-{SMALL}", f"lora-{LARGE}")
    return {
        "full-forgets": Finding(
            _of_pairs(forgets),
            f"full fine-tuning costs the source accuracy, in points: {listed(forgets)}",
        ),
        "lora-keeps": _keeps(runs, f"lora-{SMALL}", f"LoRA at r = {SMALL}"),
        "adapter-keeps": _keeps(runs, "adapter-4", "an adapter of m = 4"),
        "low-rank-regularizes": Finding(
            _of_both(counted),
            f"the train/test gap of LoRA at r = {SMALL} lies below that of whole matrices, in "
            f"points: {_twice(gaps)}; its target accuracy is above by: {_twice(above)}; the gap at "
            f"r = {SMALL} lies below that at r = {LARGE} by: {listed(by_rank)}{_against(by_rank)}",
        ),
        "low-rank-suffices": Finding(
            _of_both(suffices),
            f"target accuracy of LoRA at r = {SMALL}, above whole matrices less one point, in "
            f"points: {_twice(suffices)}; above the whole update truncated to rank {SMALL}: "
            f"{_twice(truncated)}",
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
        run["w0_unchanged"] and run["source_off"] == before["source_on"] for run, before in pairs
    )
    return Finding(
        _of_pairs(kept),
        f"on, {name} moves the source accuracy, in points: {listed(moved)}; off, {back} of "
        f"{len(pairs)} runs give back the pretrained accuracy exactly and W0's bytes",
    )


POPULAR: Mapping[str, Callable[[Runs], dict[str, Paired]]] = {
    "LoRA (r = 8) beats training the head alone": lambda runs: runs.target("lora-8", "head"),
    "LoRA (r = 8) beats training from scratch": lambda runs: runs.target("lora-8", "scratch"),
    "LoRA (r = 8) is within a point of whole matrices, biases frozen": lambda runs: runs.target(
        "lora-8", "weights", MARGIN
    ),
    "LoRA (r = 8) is within a point of full fine-tuning, biases trained": lambda runs: runs.target(
        "lora-8-bias", "full", MARGIN
    ),
    "LoRA (r = 8), on, forgets less than whole matrices, biases frozen": lambda runs: runs.source(
        "lora-8", "weights"
    ),
    "LoRA (r = 8), on, forgets less than full fine-tuning, biases trained": lambda runs: (
        runs.source("lora-8-bias", "full")
    ),
    "LoRA (r = 1), on, forgets less than at r = 16": lambda runs: runs.source("lora-1", "lora-16"),
    "a larger rank is better: r = 16 beats r = 1": lambda runs: runs.target("lora-16", "lora-1"),
    "training the biases too helps LoRA (r = 8)": lambda runs: runs.target("lora-8-bias", "lora-8"),
    "rank-stabilised LoRA beats LoRA (r = 8)": lambda runs: runs.target("rslora", "lora-8"),
    "DoRA beats LoRA (r = 8)": lambda runs: runs.target("dora", "lora-8"),
    "a PiSSA start beats LoRA's (r = 8)": lambda runs: runs.target("pissa", "lora-8"),
    "QLoRA is within a point of LoRA (r = 8)": lambda runs: runs.target("qlora", "lora-8", MARGIN),
    "a bottleneck adapter (m = 16) beats LoRA with biases (r = 8)": lambda runs: runs.target(
        "adapter-16", "lora-8-bias"
    ),
    "biases alone are within a point of LoRA (r = 8)": lambda runs: runs.target(
        "biases", "lora-8", MARGIN
    ),
    "trained at rank 8 beats truncated to rank 8, biases frozen": lambda runs: runs.over_truncated(
        "lora-8", "weights", 8
    ),
    "trained at rank 8 beats truncated to rank 8, biases trained": lambda runs: runs.over_truncated(
        "lora-8-bias", "full", 8
    ),
    "LoRA with a PiSSA start (r = 8) is within a point of whole matrices": lambda runs: runs.target(
        "pissa", "weights", MARGIN
    ),
}
"""Common sentences, as differences that are positive where a run speaks for them."""


def judge_popular(results: Iterable[Record]) -> dict[str, tuple[FindingName, dict[str, Paired]]]:
    """Judge the sentences of `POPULAR` by the same rule; alphas are twice the rank throughout."""
    runs = Runs(results)
    found = {sentence: number(runs) for sentence, number in POPULAR.items()}
    return {sentence: (_of_pairs(pairs), pairs) for sentence, pairs in found.items()}


def listed(pairs: Mapping[str, Paired]) -> str:
    """Return ``near +1.2 ± 0.3, far ...`` for a sentence."""
    return ", ".join(f"{shift} {pair}" for shift, pair in pairs.items())


def _against(pairs: Mapping[str, Paired]) -> str:
    """Say where the opposite holds by the same rule, if anywhere."""
    shifts = [shift for shift, pair in pairs.items() if pair.opposes]
    return f" (the opposite holds on {', '.join(shifts)})" if shifts else ""


def _twice(both: Mapping[str, Mapping[str, Paired]]) -> str:
    """Return what both comparisons gave, for a sentence."""
    return "; ".join(f"{name}, {listed(pairs)}{_against(pairs)}" for name, pairs in both.items())
