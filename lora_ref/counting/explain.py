"""The search for the counting rules, at most three together, that give a printed number.

Nothing found is an answer too: then the number counts something else, or is a slip.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations
from typing import Any, Literal, get_args

from lora_ref.checks import as_count
from lora_ref.counting.methods.base import Method
from lora_ref.counting.methods.low_rank import LOW_RANK_METHODS, LoRA
from lora_ref.counting.model import Model, as_names
from lora_ref.counting.parameters import count_parameters, make_setup
from lora_ref.counting.rules import RULES, Rule, get_rule

Count = Literal["trainable", "total"]

MAX_RULES = 3
"""How many rules are tried together."""

RANKS = (*range(1, 129), 256, 512, 1024)
"""Which other ranks are tried."""


@dataclass(frozen=True)
class Explanation:
    """A count under some rules, and the other one: a source often prints both side by side."""

    count: Count  # which of the two is meant
    rules: tuple[str, ...]  # empty for the plain count
    trainable: int
    total: int

    @property
    def value(self) -> int:
        """The count that is meant."""
        return self.trainable if self.count == "trainable" else self.total


def explain(
    printed: int,
    model: Model,
    method: Method,
    *,
    modules_to_save: Sequence[str] = (),
    extra_rules: Sequence[str] = (),
    within: Fraction = Fraction(0),
) -> tuple[Explanation, ...]:
    """Return every way to get the printed number, the fewest rules first.

    No rule, each rule, and two and three rules together are tried, for the trainable count and for
    the total. Where fewer rules give the number, no further rule is added to them. If none gives
    it, the result is empty; `closest` then has the nearest count.

    Of a number that is printed rounded, such as 4.7M, `within` is half the last digit. So much fits
    it that one rule is tried and not three.

    `extra_rules` are tried besides, such as ``"leftover:loha:16"``; leftovers of the same rank and
    targets are tried anyway. The other arguments are those of `count_parameters`.

    Examples
    --------
    >>> from lora_ref.counting.model import Module
    >>> up, down = Module("up", "linear", (64, 16), 64), Module("down", "linear", (16, 64), 16)
    >>> mlp = Model("mlp", "", "", (up, down), width=16, blocks=1)
    >>> explain(3328, mlp, LoRA(2, ["up"]), modules_to_save=["down"])[0].rules
    ('saved-twice',)
    """
    as_count("printed", printed)
    found: list[Explanation] = []
    most = 1 if within else MAX_RULES
    for candidate in candidates(model, method, modules_to_save, extra_rules, most):
        fewer = (set(earlier.rules) for earlier in found if earlier.count == candidate.count)
        rules = set(candidate.rules)
        if abs(candidate.value - printed) <= within and not any(some <= rules for some in fewer):
            found.append(candidate)
    return tuple(found)


def closest(
    printed: int,
    model: Model,
    method: Method,
    *,
    modules_to_save: Sequence[str] = (),
    extra_rules: Sequence[str] = (),
) -> Explanation:
    """Return the count nearest to a printed number, of all that `explain` tries."""
    as_count("printed", printed)
    tried = candidates(model, method, modules_to_save, extra_rules)
    return min(tried, key=lambda candidate: abs(candidate.value - printed))


def other_ranks(
    fits: Callable[[Explanation], bool],
    model: Model,
    method: Method,
    modules_to_save: Sequence[str] = (),
) -> tuple[tuple[int, Explanation], ...]:
    """Return each rank of `RANKS` at which a count with no rule fits, with that count.

    A pattern's ranks stay what they are; a method without a rank has no other one.
    """
    if not isinstance(method, LoRA):
        return ()
    changed: Any = method
    return tuple(
        (r, plain)
        for r in RANKS
        for plain in candidates(model, replace(changed, r=r), modules_to_save, most=0)
        if fits(plain)
    )


def candidates(
    model: Model,
    method: Method,
    modules_to_save: Sequence[str] = (),
    extra_rules: Sequence[str] = (),
    most: int = MAX_RULES,
) -> Iterator[Explanation]:
    """Yield both counts under at most so many rules that do not contradict each other."""
    plain = count_parameters(model, method, modules_to_save=modules_to_save)
    setup = make_setup(model, method, modules_to_save)
    changes = [(rule, rule.change(setup)) for rule in _rules(model, method, extra_rules)]
    for size in range(most + 1):
        for chosen in combinations(changes, size):
            if any(one.contradicts(other) for (one, _), (other, _) in combinations(chosen, 2)):
                continue
            names = tuple(rule.name for rule, _ in chosen)
            trainable = plain.trainable + sum(change.trainable for _, change in chosen)
            total = plain.total + sum(change.total for _, change in chosen)
            for count in get_args(Count):
                yield Explanation(count, names, trainable, total)


def _rules(model: Model, method: Method, extra_rules: Sequence[str]) -> list[Rule]:
    """Return every rule, the extra ones, and the leftovers of methods that can wrap the targets."""
    names = [name for name in RULES if name != "leftover"]
    names += [name for name in as_names("extra_rules", extra_rules) if name not in RULES]
    if isinstance(method, LoRA):
        kinds = {module.kind for module in method.targeted(model)}
        able = (name for name, earlier in LOW_RANK_METHODS.items() if kinds <= {*earlier.kinds})
        names += [f"leftover:{name}" for name in able]
    return [get_rule(name, method) for name in names]
