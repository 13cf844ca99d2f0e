"""The types of a claim: a check, the parts that qualify it, and the source that makes it.

A check is a quantity with its inputs and what it is compared with. A claim may add a rule, a
conflict, a condition and a correction; each holds a check too. `judge` derives the verdict.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from lora_ref.claims.printed import Printed
from lora_ref.claims.quantity import Quantity
from lora_ref.claims.values import Computed


@dataclass(frozen=True)
class Expected:
    """What a value is compared with: a printed number, a shape, bounds or a trend."""

    printed: Printed | None = None  # judged to its digits
    shape: tuple[int, ...] | None = None
    ours: bool = False  # stated by the file itself (`equals`), not printed by the source
    about: Fraction | None = None  # a relative tolerance, only where the source says "about"
    bounds: Mapping[str, str] = field(default_factory=dict)  # exact; every entry keeps them
    trend: Literal["rises", "falls"] | None = None  # how the entries follow each other


@dataclass(frozen=True)
class Check:
    """A quantity with its inputs, and what it is compared with.

    The checks of `also` must hold too.
    """

    text: str
    quantity: Quantity
    value: Computed | None  # None where only a rule of the claim gives one of the inputs
    expected: Expected
    inputs: Mapping[str, Any]  # as the file writes them
    also: "tuple[Check, ...]" = ()

    def given(self, key: str) -> Any:
        """Return what an input of the file stands for; what is computed returns it when called."""
        arguments = {one.key: one.argument for one in self.quantity.parameters}
        return self.value.inputs.get(arguments[key]) if self.value else None


@dataclass(frozen=True)
class Rule:
    """A rule that the source does not state: other inputs, or another reading of the number."""

    name: str
    text: str
    check: Check | None = None  # None for a reading of `lora_ref.claims.rules.READINGS`


@dataclass(frozen=True)
class Conflict:
    """Another statement of the same source: its inputs as a check, or what it prints."""

    text: str
    check: Check | None = None
    printed: str | None = None


class Section(NamedTuple):
    """The name of a place in the source, in English and perhaps in the source's own words."""

    english: str = ""
    original: str = ""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One statement of a source.

    It has a check, or two printed places to compare, or it is outside: a person decided.
    """

    id: str  # on the command line and in the tests
    source: str  # the source's key
    text: str  # the statement in our words
    where: str = ""  # a table, a section, a slide, or a path in a repository
    section: Section = field(default_factory=Section)  # the name of that place
    check: Check | None = None
    printed: str | None = None  # without a check: of two printed places, and `conflict` the other
    rule: Rule | None = None
    conflict: Conflict | None = None
    under: Check | None = None  # a condition that the source leaves out
    correction: Check | None = None  # what is right
    outside: Literal["metaphor", "unsupported", "not judged"] | None = None
    note: str = ""  # what a metaphor hides, or what is known of an unsupported claim
    reason: str = ""  # names in braces stand for inputs, `names` and what was recomputed
    names: Mapping[str, Any] = field(default_factory=dict)
    fills: bool = True  # whether names in braces are replaced; not in a teacher's lecture
    group: tuple[Any, ...] = ()  # the same for all claims of one column of a table of the file


@dataclass(frozen=True)
class Source:
    """A file of claims, in the order of the file."""

    key: str  # for `--paper`
    cite: str  # how to cite it; of a lecture its title
    claims: tuple[Claim, ...]
    values: Mapping[str, Computed]  # its matrices and derived values
    printed: Mapping[str, Printed] = field(default_factory=dict)  # its matrices as written

    def claim(self, id: str) -> Claim:
        """Return the claim of that id."""
        return next(claim for claim in self.claims if claim.id == id)
