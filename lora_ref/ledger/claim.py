"""What a claim is, and how its verdict comes out of recomputing it.

A claim holds a statement of the article, the inputs that the article prints, and a recipe. Nobody
writes a verdict down: `judge` runs the recipe on the inputs and compares. The correction of a wrong
claim is a statement of our own, judged by the same rules, and must come out confirmed.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from lora_ref.errors import LoraRefError, ShapeError

Verdict = Literal[
    "false", "shape", "slip", "conditional", "unsupported", "measured", "illustrated", "confirmed"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
"""Every verdict, worst first."""

NEEDS_CORRECTION = ("false", "shape", "slip", "conditional")

FindingName = Literal["holds", "partly", "fails", "not measured yet"]

Printed: TypeAlias = str | tuple[str, ...] | tuple[tuple[str, ...], ...]
Recipe: TypeAlias = Callable[..., Any]


class Evidence(NamedTuple):
    """What recomputing a law gave: whether it holds as stated, and under the condition left out."""

    as_stated: bool
    numbers: Mapping[str, Any]
    with_condition: bool = False


@dataclass(frozen=True)
class Number:
    """A number or a matrix of numbers, as printed, and the document's own expression for it.

    Judged in decimal: half a unit of the last printed digit, inclusive. A value of another shape
    than what is printed, or an expression that its shapes do not allow, is a matter of shape.
    """

    printed: Printed
    value: Recipe


@dataclass(frozen=True)
class Shape:
    """An expression, and the shape that the document says it has."""

    printed: tuple[int, ...]
    value: Recipe


@dataclass(frozen=True)
class Law:
    """A statement that holds or does not, with the numbers that show it."""

    evidence: Callable[..., Evidence]
    recomputed: str


@dataclass(frozen=True)
class Measured:
    """A statement about data: `found` returns what the study finds, and the numbers for it.

    Whether it holds is decided by the study's rule; None means that there is no result yet.
    """

    found: Callable[..., tuple[FindingName, str] | None]


@dataclass(frozen=True)
class Illustrated:
    """A metaphor: nothing to judge, but something that it hides."""

    hides: str


@dataclass(frozen=True)
class Unsupported:
    """A statement that nothing computable bears out; what is known instead, and from where."""

    known: str
    source: str


Statement: TypeAlias = Number | Shape | Law | Measured | Illustrated | Unsupported


class Section(NamedTuple):
    """Where a claim stands in the article."""

    part: int
    number: str
    english: str
    chinese: str


@dataclass(frozen=True)
class Correction:
    """What is right, in our words, and a statement that recomputing must confirm."""

    says: str
    check: Number | Shape | Law


@dataclass(frozen=True, kw_only=True)
class Claim:
    """One checkable statement of the document.

    Parameters
    ----------
    id : str
        Stable name, used on the command line and in the tests.
    where : Section
        Its place in the article.
    says : str
        The statement in our words.
    statement : Number, Shape, Law, Measured, Illustrated or Unsupported
        How it is judged.
    given : mapping
        The inputs of every recipe of the claim, by argument name.
    correction : Correction, optional
        Required once the verdict is false, shape, slip or conditional.
    why : str
        The reason; names in braces are filled from what was recomputed.
    shown : callable, optional
        Further numbers for `why` and the correction, from the same inputs.
    """

    id: str
    where: Section
    says: str
    statement: Statement
    given: Mapping[str, Any] = field(default_factory=dict)
    correction: Correction | None = None
    why: str = ""
    shown: Callable[..., Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Judgement:
    """A claim after recomputing. `problems` says what is wrong with the ledger itself."""

    claim: Claim
    verdict: Verdict | None
    printed: str | None = None
    recomputed: str = ""
    finding: FindingName | None = None
    correction: str | None = None
    correction_holds: bool | None = None
    why: str = ""
    problems: tuple[str, ...] = ()


def judge(claim: Claim) -> Judgement:
    """Recompute a claim and its correction; a recipe that raises is a problem, not a verdict."""
    try:
        return _judge(claim)
    except Exception as error:  # any failure of any recipe is reported by name, none ends the run
        problem = f"{claim.id}: the recipe raised {type(error).__name__}: {error}"
        return Judgement(claim, verdict=None, problems=(problem,))


def _judge(claim: Claim) -> Judgement:
    verdict, printed, recomputed, numbers = _assess(claim.statement, claim.given)
    if claim.shown is not None:
        numbers = {**numbers, **claim.shown(**claim.given)}
    right, holds, problems = None, None, []
    if claim.correction is not None:
        found, right_text, _, more = _assess(claim.correction.check, claim.given)
        names = {**numbers, **more, "printed": right_text}
        right = fill(claim.correction.says, names)
        holds = found == "confirmed"
        if not holds:
            problems.append(f"{claim.id}: the correction does not hold ({found}): {right}")
    elif verdict in NEEDS_CORRECTION:
        problems.append(f"{claim.id}: {verdict}, and no correction is given")
    finding = numbers.get("finding")
    reasons = [fill(claim.why, numbers)] if claim.why else []
    if isinstance(claim.statement, Unsupported):
        reasons.append(f"known: {claim.statement.known} ({claim.statement.source})")
    if isinstance(claim.statement, Illustrated):
        reasons.append(f"hidden: {claim.statement.hides}")
    why = "; ".join(reasons)
    return Judgement(
        claim, verdict, printed, recomputed, finding, right, holds, why, tuple(problems)
    )


def _assess(
    statement: Statement, given: Mapping[str, Any]
) -> tuple[Verdict, str | None, str, Mapping[str, Any]]:
    """Return verdict, printed text, recomputed text and the numbers found on the way."""
    if isinstance(statement, Number):
        printed = _join(np.array(statement.printed, dtype=object))
        try:
            value = np.array(statement.value(**given), dtype=object)
        except ShapeError as error:
            return "shape", printed, f"undefined: {error}", {"value": "undefined"}
        texts = np.array(statement.printed, dtype=object)
        shown = _join(_like_printed(value, texts))
        if value.shape != texts.shape:
            return "shape", printed, shown, {"value": shown}
        same = all(agrees(text, v) for text, v in zip(texts.flat, value.flat, strict=True))
        return "confirmed" if same else "slip", printed, shown, {"value": shown}
    if isinstance(statement, Shape):
        wanted = shape_text(statement.printed)
        try:
            value = np.asarray(statement.value(**given))
        except ShapeError as error:
            return "shape", None, f"undefined, not {wanted}: {error}", {"value": "undefined"}
        found = shape_text(value.shape)
        if value.shape == statement.printed:
            return "confirmed", None, found, {"value": found}
        if value.ndim == 0:
            found += f", {float(exact(value.item())):.2f}"
        return "shape", None, f"{found}, not {wanted}", {"value": found}
    if isinstance(statement, Law):
        evidence = statement.evidence(**given)
        recomputed = fill(statement.recomputed, evidence.numbers)
        if evidence.as_stated:
            return "confirmed", None, recomputed, evidence.numbers
        verdict: Verdict = "conditional" if evidence.with_condition else "false"
        return verdict, None, recomputed, evidence.numbers
    if isinstance(statement, Measured):
        finding, text = statement.found(**given) or (
            "not measured yet",
            "no result of the study yet",
        )
        return "measured", None, text, {"finding": finding}
    if isinstance(statement, Illustrated):
        return "illustrated", None, "", {}
    return "unsupported", None, "", {}


def agrees(printed: str, value: Any) -> bool:
    """Whether `value` lies within half a unit of the last printed digit, inclusive, in decimal.

    Parameters
    ----------
    printed : str
        Such as ``"0.59"``, ``"1,048,576"`` or ``"1.56 %"``.
    value : int, float or Fraction
        A float counts as the shortest decimal that stands for it.

    Examples
    --------
    >>> agrees("0.50", 0.505), agrees("0.50", 0.506), agrees("1.56 %", Fraction(1, 64))
    (True, False, True)
    """
    number, unit = read_number(printed)
    return abs(exact(value) - number) <= unit / 2


def read_number(printed: str) -> tuple[Fraction, Fraction]:
    """Return a printed number, and one unit of its last digit, both exact.

    Raises
    ------
    LoraRefError
        If the text is not a plain decimal, perhaps with thousands separators or a per cent sign.
    """
    text = printed.replace(",", "").replace("−", "-").strip()
    per = Fraction(1, 100) if text.endswith("%") else Fraction(1)
    text = text.removesuffix("%").strip()
    digits = text.removeprefix("-")
    if not digits.isascii() or not digits.replace(".", "", 1).isdigit():
        raise LoraRefError(f"{printed!r} is not a printed number, expected such as 0.59 or 1.56 %")
    decimals = len(digits.partition(".")[2])
    return Fraction(text) * per, Fraction(1, 10**decimals) * per


def exact(value: Any) -> Fraction:
    """Return a finite number as a fraction, a float by the shortest decimal that stands for it."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int | np.integer):
        return Fraction(int(value))
    number = float(value)
    if not np.isfinite(number):
        raise LoraRefError(f"recomputing gave {number}, expected a finite number")
    return Fraction(repr(number))


def fill(template: str, numbers: Mapping[str, Any]) -> str:
    """Fill names in braces; a fraction is formatted like the float next to it."""
    plain = {
        name: float(value) if isinstance(value, Fraction) and value.denominator != 1 else value
        for name, value in numbers.items()
    }
    plain = {k: int(v) if isinstance(v, Fraction) else v for k, v in plain.items()}
    return template.format(**plain)


def shape_text(shape: tuple[int, ...]) -> str:
    """Return ``4 x 2``, or what a shape with fewer axes is called."""
    if len(shape) == 0:
        return "a single number"
    if len(shape) == 1:
        return f"a vector of {shape[0]}"
    return " x ".join(map(str, shape))


def _join(texts: Any) -> str:
    if texts.ndim == 0:
        return str(texts.item())
    if texts.ndim == 1:
        return ", ".join(texts)
    return " / ".join(" ".join(row) for row in texts)


def _like_printed(value: Any, printed: Any) -> Any:
    """Write recomputed values in the manner of the printed ones, and two digits further.

    A value that ends within six decimals is written whole.
    """
    first = printed.flat[0]
    per = first.endswith("%")
    decimals = len(first.rstrip("% ").partition(".")[2])

    def text(number: Any) -> str:
        scaled = exact(number) * (100 if per else 1)
        digits = decimals + 2
        if (scaled * 10**6).denominator == 1 and not isinstance(number, float):
            ends = (k for k in range(decimals, 7) if (scaled * 10**k).denominator == 1)
            digits = next(ends, decimals)
        return f"{float(scaled):,.{digits}f}" + (" %" if per else "")

    return np.array([text(v) for v in value.flat], dtype=object).reshape(value.shape)
