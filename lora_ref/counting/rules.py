"""Counting rules: what a printed number counts otherwise than once and in full.

A rule is a difference, added to the trainable count, to the total, or to both. So rules combine in
any order, and which of them explain a number is a question of sums (`lora_ref.counting.explain`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import NamedTuple

from lora_ref.counting.methods import RANKED, AdaLoRA, LoRA, Method, VeRA
from lora_ref.counting.modules import Model, Module
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest


class Case(NamedTuple):
    """What is counted: a model, the way it is adapted, and the modules that are trained whole."""

    model: Model
    method: Method
    saved: tuple[Module, ...]


class Change(NamedTuple):
    """What a rule adds to the two counts."""

    trainable: int = 0
    total: int = 0


@dataclass(frozen=True)
class Rule:
    """A named way of counting.

    Parameters
    ----------
    name : str
        As on the command line.
    says : str
        One sentence.
    change : callable
        From a `Case` to the `Change` in its counts.
    concerns : str
        What it is about: two rules about the same thing contradict each other.
    """

    name: str
    says: str
    change: Callable[[Case], Change]
    concerns: str

    def contradicts(self, other: "Rule") -> bool:
        """Whether not both can hold."""
        concerns = self.concerns, other.concerns
        alone_and_more = "base" in concerns and any(c.startswith("leftover:") for c in concerns)
        return self.concerns == other.concerns or alone_and_more


def numbers_of(modules: Sequence[Module]) -> int:
    """Return the weights and biases of modules; a weight that two of them share counts once."""
    named = {module.name for module in modules}
    weights = (m.weight for m in modules if m.tied_to is None or m.tied_to not in named)
    return sum(weights) + sum(m.biases for m in modules)


def added_by(method: Method, model: Model) -> int:
    """Return what a method puts on top of a model, trained or frozen."""
    return sum(part.numbers for part in method.parts(model) if part.added)


def _saved_twice(case: Case) -> Change:
    return Change(total=numbers_of(case.saved))


def _saved_twice_trained(case: Case) -> Change:
    return Change(numbers_of(case.saved), numbers_of(case.saved))


def _saved_not_counted(case: Case) -> Change:
    return Change(-numbers_of(case.saved), -numbers_of(case.saved))


def _packed(case: Case) -> Change:
    whole = {module.name for module in case.saved}
    packed = (
        module.copies * (prod(module.shape) // 2)
        for module in case.model.modules
        if module.kind == "linear"
        and module.tied_to is None
        and module.name not in whole
        and not module.answers_to("lm_head")
    )
    return Change(total=-sum(packed))


def _tied_twice(case: Case) -> Change:
    return Change(total=sum(m.weight for m in case.model.modules if m.tied_to is not None))


def _injected_biases(case: Case) -> Change:
    without = (m for m in case.method.targeted(case.model) if m.kind == "linear" and not m.bias)
    return Change(total=sum(m.copies * m.out_features for m in without))


def _base_only(case: Case) -> Change:
    return Change(total=-added_by(case.method, case.model))


def _vera_shared(case: Case) -> Change:
    if not isinstance(case.method, VeRA):
        return Change()
    pair = case.method.shared_pair(case.model).numbers
    return Change(pair, 0 if case.method.shared else pair)


def _leftover(earlier: Method | None) -> Callable[[Case], Change]:
    def change(case: Case) -> Change:
        if earlier is None:
            return Change()
        return Change(total=added_by(earlier, case.model))

    return change


_KNOWN = {
    rule.name: rule
    for rule in (
        Rule(
            "saved-twice",
            "A module that is trained whole counts twice in the total: PEFT keeps the frozen "
            "original beside the copy that it trains.",
            _saved_twice,
            "saved",
        ),
        Rule(
            "saved-twice-trained",
            "A module that is trained whole counts twice in the total and among the trainable: "
            "older versions of PEFT did not freeze the original.",
            _saved_twice_trained,
            "saved",
        ),
        Rule(
            "saved-not-counted",
            "A module that is trained whole, such as a task's head, is left out of both counts.",
            _saved_not_counted,
            "saved",
        ),
        Rule(
            "packed-4bit",
            "The weights of linear modules are stored two in a byte and each byte counts as one; "
            "the output head, modules trained whole, and all else count in full.",
            _packed,
            "packed",
        ),
        Rule(
            "tied-twice",
            "A weight that two modules share counts in the total for each of them.",
            _tied_twice,
            "tied",
        ),
        Rule(
            "injected-biases",
            "Every targeted linear module without a bias gets one, frozen, in the total: PEFT's "
            "docstring for T5 prints such a total.",
            _injected_biases,
            "injected",
        ),
        Rule(
            "base-only",
            "The total is that of the model alone, without what the method adds.",
            _base_only,
            "base",
        ),
        Rule(
            "vera-shared",
            "VeRA's frozen shared A and B count in the total and among the trainable.",
            _vera_shared,
            "shared",
        ),
        Rule(
            "leftover",
            "Adapters of an earlier wrap are still in the model and in its total, frozen; "
            "leftover:loha or leftover:loha:16 says which, of the same targets, by default of the "
            "same rank.",
            _leftover(None),
            "leftover",
        ),
    )
}

RULES: Mapping[str, str] = MappingProxyType({name: rule.says for name, rule in _KNOWN.items()})
"""Every rule: its name and one sentence."""


def rule(name: str, method: Method) -> Rule:
    """Return the rule of that name, ``leftover:METHOD[:RANK]`` among them.

    Parameters
    ----------
    name : str
        One of `RULES`.
    method : Method
        What is counted; a leftover adapter has its targets, and its rank unless one is given.

    Raises
    ------
    LoraRefError
        For an unknown name, with the nearest; for a leftover that does not say which or that is
        not made from a rank and targets.
    """
    if not isinstance(name, str):
        raise LoraRefError(f"a rule is {name!r}, expected a name: {', '.join(RULES)}")
    if name in _KNOWN and name != "leftover":
        return _KNOWN[name]
    head, _, which = name.partition(":")
    if head != "leftover":
        hint = nearest(name, RULES) or f"; known: {', '.join(RULES)}"
        raise LoraRefError(f"no counting rule is called {name!r:.80}{hint}")
    kind, _, rank = which.partition(":")
    if kind not in RANKED or not (rank == "" or (rank.isdecimal() and len(rank) < 10)):
        raise LoraRefError(
            f"rule {name!r:.80} does not say what is left over, expected leftover:METHOD or "
            f"leftover:METHOD:RANK with one of: {', '.join(RANKED)}"
        )
    if not isinstance(method, LoRA | AdaLoRA):
        raise LoraRefError(
            f"rule {name!r} needs the targets of what is counted, and {method.name} has no rank"
        )
    earlier = RANKED[kind](int(rank) if rank else method.r, method.targets)
    return Rule(name, RULES["leftover"], _leftover(earlier), name)
