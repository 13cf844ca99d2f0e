"""One line of the benchmark: what was measured, the figures, and what they were to reach."""

from dataclasses import dataclass, field
from textwrap import fill
from typing import Any, Literal


@dataclass(frozen=True)
class Target:
    """A figure of a row, and the bound it was to reach."""

    figure: str
    sense: Literal["<=", ">=", "<"]
    bound: float

    def judge(self, figures: dict[str, float]) -> bool | None:
        """Return whether the figure keeps the bound; None if it was not measured here."""
        if self.figure not in figures:
            return None
        value = figures[self.figure]
        return {
            "<=": value <= self.bound,
            "<": value < self.bound,
            ">=": value >= self.bound,
        }[self.sense]


@dataclass(frozen=True)
class Row:
    """What a topic yields.

    Parameters
    ----------
    name : str
        For ``--only``.
    measured : str
        What the figures are: the sizes, and over what.
    figures : dict of str to float
        By contender.
    targets : tuple of Target
        What is to be reached.
    note : str
        What else a reader has to know.
    seconds : dict of str to float
        Of one call, for the figures that come from one contender.
    """

    name: str
    measured: str
    figures: dict[str, float]
    targets: tuple[Target, ...]
    note: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return the row as plain data, the verdicts with it."""
        targets = [
            {
                "figure": target.figure,
                "reach": f"{target.sense} {target.bound:g}",
                "reached": target.judge(self.figures),
            }
            for target in self.targets
        ]
        plain = {name: getattr(self, name) for name in ("name", "measured", "note")}
        return {**plain, "figures": self.figures, "seconds": self.seconds, "targets": targets}

    def __str__(self) -> str:
        """Return the row for a terminal."""
        lines = [fill(f"{self.name}: {self.measured}", 96, subsequent_indent="    ")]
        measured = dict.fromkeys([*self.figures, *(target.figure for target in self.targets)])
        for name in measured:
            value = _digits(self.figures[name]) if name in self.figures else ""
            time = f"{1e3 * self.seconds[name]:.3f} ms" if name in self.seconds else ""
            verdicts = ", ".join(self._verdict(one) for one in self.targets if one.figure == name)
            lines.append(f"    {name:<40}{value:>10}{time:>14}   {verdicts}".rstrip())
        if self.note:
            lines.append(fill(self.note, 96, initial_indent="    ", subsequent_indent="    "))
        return "\n".join(lines)

    def _verdict(self, target: Target) -> str:
        said = {True: "reached", False: "missed", None: "not measured"}[target.judge(self.figures)]
        return f"reach {target.sense} {target.bound:g}: {said}"


def _digits(value: float) -> str:
    """Return three digits after the point, six where three would say 0 or 1 of what is not."""
    near = any(0 < abs(value - whole) < 0.005 for whole in (0, 1))
    return f"{value:.6f}" if near else f"{value:.3f}"
