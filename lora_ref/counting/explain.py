"""Which counting rule, or which few together, give a number that somebody printed.

A rule is a difference (`lora_ref.counting.rules`), so a number is explained by the rules whose
differences add up to what it is off by. None is an answer too: then the number counts something
else, or is a slip.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, get_args

from lora_ref.checks import as_count
from lora_ref.counting.methods import RANKED, AdaLoRA, LoRA, Method
from lora_ref.counting.methods.base import as_names
from lora_ref.counting.modules import Model
from lora_ref.counting.parameters import as_case, tally
from lora_ref.counting.rules import RULES, Rule, rule
from lora_ref.errors import LoraRefError

Count = Literal["trainable", "total"]

MOST_RULES = 3
"""How many rules are tried together."""


@dataclass(frozen=True)
class Explanation:
    """A count that comes out under some rules.

    Parameters
    ----------
    count : {"trainable", "total"}
        Which of the two is meant.
    rules : tuple of str
        Under which rules; none for the plain count.
    trainable, total : int
        Both counts under these rules: who printed the one has often printed the other beside it.
    """

    count: Count
    rules: tuple[str, ...]
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
    saved: Sequence[str] = (),
    further: Sequence[str] = (),
) -> tuple[Explanation, ...]:
    """Return every way to get the printed number, the fewest rules first.

    Tried are no rule, each rule, and two and three together, for the trainable count and for the
    total. Rules that change nothing here are not named, nor are more rules where fewer of them
    will do.

    Parameters
    ----------
    printed : int
        The number to explain.
    model, method, saved
        As in `tally`: what the number is said to count.
    further : sequence of str
        Rules to try besides, such as ``"leftover:loha:16"``. Leftovers of the same rank and targets
        are tried anyway.

    Returns
    -------
    tuple of Explanation
        Empty if no rule explains the number; `nearest` then says how close they come.

    Raises
    ------
    LoraRefError
        As `tally`; if `printed` is not a whole number of at least 1.

    Examples
    --------
    >>> from lora_ref.counting.modules import Module
    >>> up, down = Module("up", "linear", (64, 16), 64), Module("down", "linear", (16, 64), 16)
    >>> mlp = Model("mlp", "", "", (up, down), width=16, blocks=1)
    >>> explain(3328, mlp, LoRA(2, ["up"]), saved=["down"])[0].rules
    ('saved-twice',)
    """
    as_count("printed", printed)
    found: list[Explanation] = []
    for tried in _tried(model, method, saved, further):
        before = (set(f.rules) for f in found if f.count == tried.count)
        if tried.value == printed and not any(rules <= set(tried.rules) for rules in before):
            found.append(tried)
    return tuple(found)


def nearest(
    printed: int,
    model: Model,
    method: Method,
    *,
    saved: Sequence[str] = (),
    further: Sequence[str] = (),
) -> Explanation:
    """Return what comes closest to a printed number, of all that `explain` tries.

    Raises
    ------
    LoraRefError
        As `explain`.
    """
    as_count("printed", printed)
    return min(_tried(model, method, saved, further), key=lambda tried: abs(tried.value - printed))


def _tried(
    model: Model, method: Method, saved: Sequence[str], further: Sequence[str]
) -> Iterator[Explanation]:
    """Yield every count under every few rules that do not contradict each other."""
    plain = tally(model, method, saved=saved)
    case = as_case(model, method, saved)
    changes = [(r, r.change(case)) for r in _candidates(model, method, further)]
    for size in range(MOST_RULES + 1):
        for chosen in combinations(changes, size):
            if any(one.contradicts(other) for (one, _), (other, _) in combinations(chosen, 2)):
                continue
            names = tuple(r.name for r, _ in chosen)
            trainable = plain.trainable + sum(change.trainable for _, change in chosen)
            total = plain.total + sum(change.total for _, change in chosen)
            for count in get_args(Count):
                yield Explanation(count, names, trainable, total)


def _candidates(model: Model, method: Method, further: Sequence[str]) -> list[Rule]:
    """Return the rules to try: all of them, and those leftovers that can have been there."""
    rules = [rule(name, method) for name in RULES if name != "leftover"]
    rules += [rule(name, method) for name in as_names("further", further) if name not in RULES]
    if isinstance(method, LoRA | AdaLoRA):
        rules += [
            rule(f"leftover:{name}", method) for name in RANKED if _wraps(name, model, method)
        ]
    return rules


def _wraps(name: str, model: Model, method: LoRA | AdaLoRA) -> bool:
    """Whether a method of that name can have wrapped the same targets."""
    try:
        RANKED[name](method.r, method.targets).parts(model)
    except LoraRefError:
        return False
    return True
