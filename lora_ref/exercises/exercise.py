"""What an exercise is: a task, a specification in plain loops, and the wrong answers one meets."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Arguments: TypeAlias = dict[str, Any]
"""What a function of a student is called with, by name and in order."""

Answer: TypeAlias = Callable[..., Any]
"""A function of a student, or one of ours that stands for it."""


ROWS = (3, 1, 4, 2, 5, 6, 7)
"""Sizes of the batch, a draw each: more than one row first, for that is the usual case."""


@dataclass(frozen=True)
class Slip:
    """A wrong answer that is worth a name.

    Parameters
    ----------
    name : str
        A few words with dashes, unique in its exercise.
    says : str
        What is said to whoever gives it: the mistake, never the answer.
    answer : callable
        The wrong answer itself, of the same arguments.
    """

    name: str
    says: str
    answer: Answer


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    Parameters
    ----------
    id : str
        Its name; with underscores for dashes, that of the function to write.
    notebook : str
        The number of the notebook that it belongs to.
    title : str
        A few words.
    task : str
        What to write, its arguments and what it returns.
    spec : callable
        The same in plain loops. Right by being slow.
    draw : callable
        Makes arguments from a generator and the size of the batch. Sizes are drawn, and no matrix
        is square.
    slips : tuple of Slip
        Wrong answers that are known by name.
    factors : callable, optional
        From the arguments to named numbers by which an answer may be off.
    view : callable, optional
        What of an answer is compared, where more than one answer is right.
    viewed : str
        What that is, for sentences about it, such as ``"B A "``.
    batched : bool
        Whether the size of the batch matters, so that an answer can be right for one row alone.
    tolerance : float
        Relative to the size of the right answer.
    rows : tuple of int
        Sizes of the batch, a draw each; where there is no batch, the numbers of the draws.
    """

    id: str
    notebook: str
    title: str
    task: str
    spec: Answer
    draw: Callable[[np.random.Generator, int], Arguments]
    slips: tuple[Slip, ...]
    factors: Callable[[Arguments], Mapping[str, float]] = lambda arguments: {}
    view: Callable[[Any], Any] = lambda answer: answer
    viewed: str = ""
    batched: bool = False
    tolerance: float = 1e-9
    rows: tuple[int, ...] = ROWS

    @property
    def function(self) -> str:
        """The name of the function to write."""
        return self.id.replace("-", "_")

    @property
    def signature(self) -> str:
        """The function to write, up to its colon."""
        return f"def {self.function}({', '.join(inspect.signature(self.spec).parameters)}):"

    @property
    def loops(self) -> str:
        """The specification as it is shown: called ``spec``, and without annotations."""
        source = inspect.getsource(self.spec).rstrip().replace(self.spec.__name__, "spec", 1)
        source = re.sub(r"def (\w+)\(([^)]*)\)(?: -> [^:\n]*)?:", _bare, source)
        return re.sub(r"(?m)^(\s+\w+): [\w\[\], ]+ = ", r"\1 = ", source)

    def text(self) -> str:
        """Return title, task and specification, as a student reads them."""
        return f"{self.id}: {self.title}\n\n{self.task}\n\nIn plain loops:\n\n{self.loops}"

    def stub(self) -> str:
        """Return the function to write, its task above and its body left out."""
        comment = textwrap.indent(self.task, "# ", lambda line: True).replace("# \n", "#\n")
        return f"# {self.id}: {self.title}\n#\n{comment}\n{self.signature}\n    ...\n"


def _bare(header: re.Match[str]) -> str:
    """Return the first line of a function without annotations."""
    names = [one.partition(":")[0].strip() for one in header[2].split(",")]
    return f"def {header[1]}({', '.join(name for name in names if name)}):"
