"""An exercise: a task, a specification in plain loops, and known wrong answers."""

import inspect
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lora_ref.checks import Array

Arguments: TypeAlias = dict[str, Any]
"""The arguments of a student's function, by name and in order."""

Answer: TypeAlias = Callable[..., Any]
"""A function that answers an exercise, rightly or wrongly."""

WIDTH = 96
"""Characters of a line that is printed."""

RETURNS = {
    float: "a number",
    int: "a whole number",
    bool: "True or False",
    tuple[Array, Array]: "A, B",
}
"""What a specification returns, by its annotation; it is an array elsewhere."""

LOOPS = ("for", "while", "einsum")
"""Ruled out where a task is to be solved by products of matrices: a copy of its loops is not."""


class WrongAnswer(NamedTuple):
    """A wrong answer that is recognized by name."""

    message: str  # what a student who gives it is told: the mistake, never the answer
    answer: Answer  # the wrong answer itself, a function of the exercise's arguments


@dataclass(frozen=True, eq=False)
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
    # what may be special about arguments, in sentences that follow "it is true that"
    special: Callable[[Arguments], Sequence[str]] = lambda arguments: ()
    canonical: Callable[[Any], Any] = lambda answer: answer
    canonical_name: str = ""  # what that value is called in a message, such as "B A"
    values: tuple[str, ...] = ()  # the names of the values, where an answer has several
    batched: bool = False  # whether an answer can be right for a single row alone
    tolerance: float = 1e-9  # relative to the norm of the right answer
    # one for each call; several rows come first, because their error messages are the usual ones
    batch_sizes: tuple[int, ...] = (3, 1, 4, 2, 5, 6, 7)
    question: str = ""  # to answer before anything is written: a prediction or a reason
    hints: tuple[str, ...] = ()  # three steps, none of which is the answer
    folded: bool = False  # whether the loops give the formula away, and are shown on demand alone
    without: tuple[str, ...] = ()  # what an answer may not use: see `restrictions`
    not_formed: str = ""  # a product of two arguments, such as "B A", that may not be formed
    imports: tuple[str, ...] = ()  # the lines that the task needs besides ``import numpy as np``

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

    @property
    def call(self) -> str:
        """The call of the function to write, and what it returns, in a sentence."""
        signature = inspect.signature(self.spec)
        returns = ", ".join(self.values) or RETURNS.get(signature.return_annotation, "an array")
        return f"{self.function}({', '.join(signature.parameters)}) returns {returns}."

    @property
    def asked(self) -> str:
        """The call and the task, with what an answer may not use and what it has to import."""
        lines = [self.call, self.task]
        if self.without:
            lines.append(f"Write it without {in_words(self.without, 'and')}.")
        if self.imports:
            lines.append(f"It needs: {'; '.join(self.imports)}")
        return "\n".join(lines)

    @property
    def how_to_unfold(self) -> str:
        """Where the loops are that `text` does not show, or an empty text."""
        if not self.folded:
            return ""
        return (
            "The specification in plain loops gives the formula away, and is folded:\n"
            f'print(show("{self.id}", loops=True)) shows it, and so does\n'
            f"lora-ref exercises {self.id} --loops."
        )

    def text(self, *, loops: bool = False) -> str:
        """Return title, task, question and specification, to be printed.

        A specification that is folded is shown where `loops` is true.
        """
        parts = [f"{self.id}: {self.title}", self.asked]
        if self.question:
            parts.append(wrapped(f"Before you write: {self.question}"))
        parts.append(f'Check it: print(check("{self.id}", {self.function})).')
        if self.hints:
            last = len(self.hints)
            parts[-1] += f'\nHints: print(hint("{self.id}", 1)), and so on to {last}.'
        shown = loops or not self.folded
        parts.append(f"In plain loops:\n\n{self.loops}" if shown else self.how_to_unfold)
        return "\n\n".join(parts)

    def stub(self) -> str:
        """Return the function to write without its body, under the task as a comment."""
        text = "\n\n".join(filter(None, (self.asked, self.how_to_unfold)))
        comment = textwrap.indent(text, "# ", lambda line: True).replace("# \n", "#\n")
        return f"# {self.id}: {self.title}\n#\n{comment}\n{self.signature}\n    ...\n"


def wrapped(text: str) -> str:
    """Return a text in lines that are as long as those of the tasks."""
    return "\n".join(textwrap.fill(line, WIDTH) for line in text.splitlines())


def in_words(names: Sequence[str], last: str) -> str:
    """Return names as a list in a sentence, `last` before the last of them."""
    return f" {last} ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def _without_annotations(header: re.Match[str]) -> str:
    names = [parameter.partition(":")[0].strip() for parameter in header[2].split(",")]
    return f"def {header[1]}({', '.join(name for name in names if name)}):"
