"""A published number, and how its verdict comes out of recomputing it.

A figure holds what a paper or a library prints, the inputs it gives, and the formula as a
function. Nobody writes a verdict down. Where the number does not come out, the figure may name a
counting rule that its source leaves unsaid, or another statement of the same source; both are
recomputed too.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from lora_ref.errors import LoraRefError
from lora_ref.ledger.claim import exact, fill, read_number

Verdict = Literal["slip", "conflict", "by-rule", "truncates", "rounds", "exact"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Every verdict, worst first."""

MEANINGS: Mapping[Verdict, str] = {
    "slip": "the formula and the inputs given do not give the printed number",
    "conflict": "the source contradicts itself, or its own code",
    "by-rule": "comes out once a counting rule is applied that the source leaves unsaid",
    "truncates": "comes out with its last printed digit cut, not rounded",
    "rounds": "comes out to the digits printed, or within a tolerance that is stated",
    "exact": "comes out to the last digit, nothing rounded",
}

Recipe: TypeAlias = Callable[..., int | float | Fraction]

_SUFFIXES = {"K": 10**3, "k": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_PRINTED = re.compile(r"(?P<number>[-−]?[\d.,]+ ?%?) ?(?:(?P<suffix>[KkMGT])B?|(?P<billion>B))?")


class Source(NamedTuple):
    """Where a number is printed: what ``--paper`` calls it, and how to cite it."""

    key: str
    cite: str


@dataclass(frozen=True)
class Rule:
    """A counting rule that the source leaves unsaid, and what the number is under it.

    `name` is one of `counting.RULES`, or of the ledger's own, `literature.RULES`.
    """

    name: str
    value: Recipe


@dataclass(frozen=True)
class Conflict:
    """Another statement of the same source. Give one of the two.

    Parameters
    ----------
    says : str
        The other statement and its place.
    value : callable, optional
        The number under the other statement's inputs. It is a conflict if this gives what is
        printed while the figure's own inputs do not.
    printed : str, optional
        What the source prints elsewhere for the same quantity. It is a conflict if recomputing
        agrees with that and not with the figure.
    """

    says: str
    value: Recipe | None = None
    printed: str | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.printed is None):
            raise LoraRefError(f"{self.says!r}: expected either a value or a printed number")


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One published number.

    Parameters
    ----------
    id : str
        Stable name, used on the command line and in the tests.
    source : Source
        The paper or the library.
    where : str
        Table, section, or path in the repository.
    says : str
        What the number is, in our words.
    printed : str
        As printed, such as ``"4.7M"``, ``"56,164"``, ``"27.1 MB"`` or ``"0.83 %"``; K, M, B (or
        G) and T stand for powers of a thousand, and so do KB, MB, GB and TB.
    formula : str
        What is computed, with the names of `given`.
    given : mapping
        The inputs of every recipe of the figure, by argument name.
    value : callable
        Recomputes the number from `given`, in whole units (parameters, bytes, a share of 1).
    within : str, optional
        The tolerance of an approximation, relative, such as ``"5 %"``: only where the source says
        "about", or where the formula is one.
    rule : Rule, optional
        See there.
    conflict : Conflict, optional
        See there.
    why : str
        Where the difference comes from; ``{value}`` and names of `given` are filled in. Required
        unless the verdict is exact or rounds.
    """

    id: str
    source: Source
    where: str
    says: str
    printed: str
    formula: str
    given: Mapping[str, Any] = field(default_factory=dict)
    value: Recipe
    within: str | None = None
    rule: Rule | None = None
    conflict: Conflict | None = None
    why: str = ""


@dataclass(frozen=True)
class Judgement:
    """A figure after recomputing. `problems` says what is wrong with the ledger itself."""

    figure: Figure
    verdict: Verdict | None
    value: Fraction | None = None
    by_rule: Fraction | None = None
    why: str = ""
    problems: tuple[str, ...] = ()


def judge(figure: Figure) -> Judgement:
    """Recompute a figure; a recipe that raises is a problem, not a verdict."""
    try:
        return _judge(figure)
    except Exception as error:  # any failure of any recipe is reported by name, none ends the run
        problem = f"{figure.id}: the recipe raised {type(error).__name__}: {error}"
        return Judgement(figure, verdict=None, problems=(problem,))


def _judge(figure: Figure) -> Judgement:
    value = exact(figure.value(**figure.given))
    by_rule = None if figure.rule is None else exact(figure.rule.value(**figure.given))
    verdict = compare(figure.printed, value, figure.within)
    if verdict is None and by_rule is not None and compare(figure.printed, by_rule):
        verdict = "by-rule"
    if verdict is None and figure.conflict and _contradicts(figure, figure.conflict, value):
        verdict = "conflict"
    verdict = verdict or "slip"
    why = fill(figure.why, {**figure.given, "value": value, "by_rule": by_rule})
    problems = []
    if not why and verdict not in ("exact", "rounds"):
        problems.append(f"{figure.id}: {verdict}, and no explanation is given")
    for name, wanted in (("rule", "by-rule"), ("conflict", "conflict")):
        if getattr(figure, name) is not None and verdict != wanted:
            problems.append(f"{figure.id}: has a {name} and comes out as {verdict}")
    return Judgement(figure, verdict, value, by_rule, why, tuple(problems))


def compare(
    printed: str, value: int | float | Fraction, within: str | None = None
) -> Verdict | None:
    """Return how a printed number and a computed one agree, or None.

    Examples
    --------
    >>> compare("37.7M", 37_748_736), compare("9.4M", 9_437_184), compare("603.9M", 603_979_776)
    ('rounds', 'rounds', 'truncates')
    >>> compare("56,164", 56_164), compare("0.8M", 1_000_000)
    ('exact', None)
    """
    number, unit = read_printed(printed)
    gap = exact(value) - number
    if gap == 0:
        return "exact"
    if abs(gap) <= unit / 2:
        return "rounds"
    if 0 < (gap if number >= 0 else -gap) < unit:
        return "truncates"
    if within is not None and abs(gap) <= read_number(within)[0] * abs(number):
        return "rounds"
    return None


def read_printed(printed: str) -> tuple[Fraction, Fraction]:
    """Return a printed number and one unit of its last digit, both exact.

    Raises
    ------
    LoraRefError
        If the text is not a decimal with an optional per cent sign, or K, M, B, G, T, KB, MB, GB
        or TB.

    Examples
    --------
    >>> print(*read_printed("4.7M"), *read_printed("350 GB"))
    4700000 100000 350000000000 1000000000
    """
    match = _PRINTED.fullmatch(printed.strip())
    if match is None:
        raise LoraRefError(f"{printed!r} is not a printed number, expected such as 4.7M or 0.83 %")
    number, unit = read_number(match["number"])
    power = _SUFFIXES.get(match["suffix"] or match["billion"], 1)
    return number * power, unit * power


def _contradicts(figure: Figure, conflict: Conflict, value: Fraction) -> bool:
    if conflict.value is not None:
        return compare(figure.printed, exact(conflict.value(**figure.given))) is not None
    return conflict.printed is not None and compare(conflict.printed, value) is not None
