"""What a claim is: data. Nobody writes a verdict down; `judge` derives it.

A claim states a check, a quantity with its inputs and what is printed of it. It may name a rule
under which the number comes out, another statement of the same source that contradicts it, a
condition under which it holds, and what is right instead. Each of these is a check too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from lora_ref.claims.printed import Printed
from lora_ref.claims.registry import Quantity
from lora_ref.claims.values import Computed

Trend = Literal["rises", "falls"]


@dataclass(frozen=True)
class Expected:
    """What a value is compared with.

    Parameters
    ----------
    printed : str, or tuple of them
        A number, vector or matrix as printed, judged to its digits.
    shape : tuple of int, optional
        A shape, where the quantity is one.
    ours : bool
        Whether the file states it for itself (``equals``), and not as what the source prints.
    about : Fraction, optional
        A relative tolerance: only where the source says "about".
    bounds : mapping of str to str
        ``at-least``, ``above``, ``at-most``, ``below``: exact, every entry of the value keeps them.
    trend : {"rises", "falls"}, optional
        How the entries of the value follow each other.
    """

    printed: Printed | None = None
    shape: tuple[int, ...] | None = None
    ours: bool = False
    about: Fraction | None = None
    bounds: Mapping[str, str] = field(default_factory=dict)
    trend: Trend | None = None


@dataclass(frozen=True)
class Check:
    """A quantity with its inputs, and what it is compared with.

    `value` is None where an input is given by no source, only by a rule. `inputs` are as the file
    writes them.
    """

    text: str
    quantity: Quantity
    value: Computed | None
    expected: Expected
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Rule:
    """A rule that the source leaves unsaid: other inputs, or another reading of what is printed.

    `check` is None for a reading of `lora_ref.claims.rules.READINGS`.
    """

    name: str
    text: str
    check: Check | None = None


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

    Parameters
    ----------
    id : str
        Stable name, used on the command line and in the tests.
    source : str
        The source's key.
    where : str
        Table, section, slide, or path in a repository.
    section : Section
        The name of that place.
    text : str
        The statement in our words.
    check : Check, optional
        None for a metaphor, for what is unsupported or not judged, and for two printed places.
    also : tuple of Check
        What must hold too.
    printed : str, optional
        What is printed, where there is nothing to compute.
    elsewhere : Conflict, optional
        What is printed in another place of the source, with `printed`.
    rule, conflict, under, correction
        See there; `under` is a condition that the source leaves out, `correction` what is right.
    under_also : tuple of Check
        What must hold too under the condition.
    outside : {"metaphor", "unsupported", "not judged"}, optional
        Where a person decides, and `note` says what the metaphor hides or what is known.
    reason : str
        Names in braces are filled from inputs, derived values and what was recomputed.
    names : mapping
        The values that a reason may name.
    fills : bool
        Whether braces are filled at all; in a teacher's lecture they are braces.
    group : tuple
        Claims that one table of the file stands for, one column of it at a time.
    """

    id: str
    source: str
    text: str
    where: str = ""
    section: Section = field(default_factory=Section)
    check: Check | None = None
    also: tuple[Check, ...] = ()
    printed: str | None = None
    elsewhere: Conflict | None = None
    rule: Rule | None = None
    conflict: Conflict | None = None
    under: Check | None = None
    under_also: tuple[Check, ...] = ()
    correction: Check | None = None
    outside: Literal["metaphor", "unsupported", "not judged"] | None = None
    note: str = ""
    reason: str = ""
    names: Mapping[str, Any] = field(default_factory=dict)
    fills: bool = True
    group: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Source:
    """A file of claims.

    Parameters
    ----------
    key : str
        What ``--paper`` calls it.
    cite : str
        How to cite it; of a lecture its title.
    claims : tuple of Claim
        In the order of the file.
    values : mapping of str to Computed
        Its matrices and derived values by name.
    printed : mapping of str to Printed
        Its matrices by name, as the file writes them.
    """

    key: str
    cite: str
    claims: tuple[Claim, ...]
    values: Mapping[str, Computed]
    printed: Mapping[str, Printed] = field(default_factory=dict)

    def claim(self, id: str) -> Claim:
        """Return the claim of that id."""
        return next(claim for claim in self.claims if claim.id == id)
