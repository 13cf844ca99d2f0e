"""An exercise: a task, a specification in plain loops, and known wrong answers."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

Arguments: TypeAlias = dict[str, Any]
"""The arguments of a student's function, by name and in order."""

Answer: TypeAlias = Callable[..., Any]
"""A function that answers an exercise, rightly or wrongly."""


class WrongAnswer(NamedTuple):
    """A wrong answer that is recognized by name."""

    message: str  # what a student who gives it is told: the mistake, never the answer
    answer: Answer  # the wrong answer itself, a function of the exercise's arguments


@dataclass(frozen=True)
class Exercise:
    """One exercise.

    ``spec`` is the right answer in plain loops: slow, so that the formula is left to find. The
    exercise has its name: ``_grad_A`` is the specification of ``"grad-A"``. ``draw`` makes random
    arguments from a generator and a batch size; no matrix is square, so that a transposed one does
    not fit by accident. Where several answers are right, ``canonical`` maps all of them to the same
    value, which is compared; it raises LoraRefError for what is no answer.
    """

    notebook: str  # its number, such as "03"
    title: str
    task: str  # what to write, its arguments and what it returns
    spec: Answer
    draw: Callable[[np.random.Generator, int], Arguments]
    wrong_answers: Mapping[str, WrongAnswer]  # by name, a few words with dashes
    # named factors by which an answer may be off
    factors: Callable[[Arguments], Mapping[str, float]] = lambda arguments: {}
    canonical: Callable[[Any], Any] = lambda answer: answer
    canonical_name: str = ""  # what that value is called in a message, such as "B A: "
    batched: bool = False  # whether an answer can be right for a single row alone
    tolerance: float = 1e-9  # relative to the norm of the right answer
    # one for each call; several rows come first, because their error messages are the usual ones
    batch_sizes: tuple[int, ...] = (3, 1, 4, 2, 5, 6, 7)
    question: str = ""  # to answer before anything is written: a prediction or a reason
    hints: tuple[str, ...] = ()  # three steps, none of which is the answer

    @property
    def function(self) -> str:
        """The name of the function to write, such as ``"grad_A"``."""
        return self.spec.__name__.removeprefix("_")

    @property
    def id(self) -> str:
        """The name of the exercise, such as ``"grad-A"``."""
        return self.function.replace("_", "-")

    @property
    def signature(self) -> str:
        """The first line of the function to write."""
        return f"def {self.function}({', '.join(inspect.signature(self.spec).parameters)}):"

    @property
    def loops(self) -> str:
        """The source of the specification, called ``spec`` and without annotations."""
        source = inspect.getsource(self.spec).rstrip().replace(self.spec.__name__, "spec", 1)
        source = re.sub(r"def (\w+)\(([^)]*)\)(?: -> [^:\n]*)?:", _without_annotations, source)
        return re.sub(r"(?m)^(\s+\w+): [\w\[\], ]+ = ", r"\1 = ", source)

    def text(self) -> str:
        """Return title, task, question and specification, to be printed."""
        asked = f"\n\nBefore you write: {self.question}" if self.question else ""
        head = f"{self.id}: {self.title}\n\n{self.task}{asked}"
        return f"{head}\n\nIn plain loops:\n\n{self.loops}"

    def stub(self) -> str:
        """Return the function to write without its body, under the task as a comment."""
        comment = textwrap.indent(self.task, "# ", lambda line: True).replace("# \n", "#\n")
        return f"# {self.id}: {self.title}\n#\n{comment}\n{self.signature}\n    ...\n"


def _without_annotations(header: re.Match[str]) -> str:
    names = [parameter.partition(":")[0].strip() for parameter in header[2].split(",")]
    return f"def {header[1]}({', '.join(name for name in names if name)}):"
