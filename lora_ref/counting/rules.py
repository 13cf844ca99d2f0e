"""Counting rules: the ways in which a printed number differs from counting everything once.

A rule is a difference, added to the trainable count, to the total, or to both. So rules combine in
any order, and `lora_ref.counting.explain` finds the rules whose differences add up to a number.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from types import MappingProxyType
from typing import NamedTuple

from lora_ref.counting.methods.base import Method
from lora_ref.counting.methods.low_rank import LOW_RANK_METHODS, LoRA, VeRA
from lora_ref.counting.model import Model, Module
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest


class Setup(NamedTuple):
    """What is counted: a model, the method that adapts it, the modules that are trained whole."""

    model: Model
    method: Method
    modules_to_save: tuple[Module, ...]

    @property
    def saved(self) -> int:
        """Weights and biases of the modules to save; a weight shared by two counts once."""
        names = {module.name for module in self.modules_to_save}
        weights = (m.weight for m in self.modules_to_save if m.tied_to not in names)
        return sum(weights) + sum(m.biases for m in self.modules_to_save)


class Change(NamedTuple):
    """What a rule adds to the two counts."""

    trainable: int = 0
    total: int = 0


@dataclass(frozen=True)
class Rule:
    """A named way of counting."""

    name: str  # as on the command line
    subject: str  # two rules about the same subject contradict each other
    text: str  # the rule in one sentence
    change: Callable[[Setup], Change]

    def contradicts(self, other: "Rule") -> bool:
        """Whether the two rules cannot hold together."""
        kinds = {rule.subject.partition(":")[0] for rule in (self, other)}
        return self.subject == other.subject or kinds == {"base", "leftover"}


def added_parameters(method: Method, model: Model) -> int:
    """Return how many parameters a method adds to a model, trained or frozen."""
    return sum(part.parameters for part in method.parts(model) if part.added)


def _packed_4bit(setup: Setup) -> Change:
    saved = {module.name for module in setup.modules_to_save}
    packed = (
        module.copies * (prod(module.shape) // 2)
        for module in setup.model.modules
        if module.kind == "linear"
        and module.tied_to is None
        and module.name not in saved
        and not module.matches("lm_head")
    )
    return Change(total=-sum(packed))


def _injected_biases(setup: Setup) -> Change:
    targeted = setup.method.targeted(setup.model)
    without = (m for m in targeted if m.kind == "linear" and not m.bias)
    return Change(total=sum(m.copies * m.out_features for m in without))


def _vera_shared(setup: Setup) -> Change:
    if not isinstance(setup.method, VeRA):
        return Change()
    pair = setup.method.shared_pair(setup.model)
    return Change(pair, pair)


def _head_too(setup: Setup) -> Change:
    method, model = setup.method, setup.model
    if not isinstance(method, LoRA):
        return Change()
    taken = {module.name for module in (*method.targeted(model), *setup.modules_to_save)}
    parts = [p for m in model.output_heads if m.name not in taken for p in method.parts_of(m)]
    added = sum(part.parameters for part in parts if part.added)
    return Change(sum(part.parameters for part in parts if part.trained), added)


_RULES = (
    Rule(
        "saved-twice",
        "saved",
        "A module that is trained whole counts twice in the total: PEFT keeps the frozen original "
        "beside the copy that it trains.",
        lambda setup: Change(total=setup.saved),
    ),
    Rule(
        "saved-twice-trained",
        "saved",
        "A module that is trained whole counts twice in the total and among the trainable: older "
        "versions of PEFT did not freeze the original.",
        lambda setup: Change(setup.saved, setup.saved),
    ),
    Rule(
        "saved-not-counted",
        "saved",
        "A module that is trained whole, such as a task's head, is left out of both counts.",
        lambda setup: Change(-setup.saved, -setup.saved),
    ),
    Rule(
        "packed-4bit",
        "packed",
        "The weights of linear modules are stored two in a byte and each byte counts as one; the "
        "output head, modules trained whole, and all else count in full.",
        _packed_4bit,
    ),
    Rule(
        "tied-twice",
        "tied",
        "A weight that two modules share counts in the total for each of them.",
        lambda setup: Change(total=sum(m.weight for m in setup.model.modules if m.tied_to)),
    ),
    Rule(
        "injected-biases",
        "injected",
        "Every targeted linear module without a bias gets one, frozen, in the total: PEFT's "
        "docstring for T5 prints such a total.",
        _injected_biases,
    ),
    Rule(
        "base-only",
        "base",
        "The total is that of the model alone, without what the method adds.",
        lambda setup: Change(total=-added_parameters(setup.method, setup.model)),
    ),
    Rule(
        "head-too",
        "head",
        "The output head is adapted as well, beside the targets: LoRA Without Regret counts so.",
        _head_too,
    ),
    Rule(
        "vera-shared",
        "shared",
        "VeRA's frozen shared A and B count in the total and among the trainable.",
        _vera_shared,
    ),
)
_LEFTOVER = (
    "Adapters of an earlier wrap are still in the model and in its total, frozen; leftover:loha or "
    "leftover:loha:16 says which, of the same targets, by default of the same rank."
)
_BY_NAME = {rule.name: rule for rule in _RULES}

RULES: Mapping[str, str] = MappingProxyType(
    {**{rule.name: rule.text for rule in _RULES}, "leftover": _LEFTOVER}
)
"""Every rule: its name and one sentence."""


def get_rule(name: str, method: Method) -> Rule:
    """Return the rule of that name, or the rule of ``leftover:METHOD[:RANK]``.

    A leftover adapter has the targets of `method`, and its rank unless the name has one.
    """
    if name in _BY_NAME:
        return _BY_NAME[name]
    head, _, rest = name.partition(":")
    if head != "leftover":
        hint = nearest(name, RULES) or f"; known: {', '.join(RULES)}"
        raise LoraRefError(f"no counting rule is called {name!r:.80}{hint}")
    kind, _, rank = rest.partition(":")
    valid_rank = rank == "" or (rank.isdecimal() and len(rank) < 10)
    if kind not in LOW_RANK_METHODS or not valid_rank:
        raise LoraRefError(
            f"rule {name!r:.80} does not say what is left over, expected leftover:METHOD or "
            f"leftover:METHOD:RANK with one of: {', '.join(LOW_RANK_METHODS)}"
        )
    if not isinstance(method, LoRA):
        raise LoraRefError(
            f"rule {name!r} needs the targets of what is counted, and {method.name} has no rank"
        )
    earlier = LOW_RANK_METHODS[kind](int(rank) if rank else method.r, method.targets)

    def change(setup: Setup) -> Change:
        return Change(total=added_parameters(earlier, setup.model))

    return Rule(name, subject=name, text=_LEFTOVER, change=change)
