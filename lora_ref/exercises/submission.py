"""A student's file: the functions in it, whether it is a Python file or a notebook."""

import json
import sys
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lora_ref.exercises.check import checked
from lora_ref.exercises.exercise import Exercise
from lora_ref.exercises.feedback import Feedback
from lora_ref.exercises.trial import message_of

ENDINGS = (".py", ".ipynb")

MISSING = "missing"
"""The result where a file has no function of the exercise's name."""


class Submission(NamedTuple):
    """What running a file left."""

    names: dict[str, Any]
    problem: str  # how it stopped, or an empty text


def run(path: Path) -> Submission:
    """Run a file from the top and keep what it defines; what follows an error is lost.

    Of a notebook every code cell is run, those behind a failing one too, without the lines that
    only IPython reads. The file runs in this process, with all the rights that it has.
    """
    names: dict[str, Any] = {"__name__": "submission", "__file__": str(path)}
    problem = ""
    sys.path.append(str(path.parent))  # last, so that nothing of Python's is replaced
    try:
        pieces = list(_pieces(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Submission(names, f"it cannot be read: {message_of(error)}")
    for where, source in pieces:
        try:
            exec(compile(source, str(path), "exec"), names)
        except (Exception, SystemExit) as error:
            problem = problem or f"{where}{_line(error, path)} stops with {message_of(error)}"
    return Submission(names, problem)


def _pieces(path: Path) -> Iterator[tuple[str, str | bytes]]:
    if path.suffix != ".ipynb":
        yield "the file", path.read_bytes()  # which may say its encoding
        return
    book = json.loads(path.read_text(encoding="utf-8"))
    code = [cell["source"] for cell in book["cells"] if cell["cell_type"] == "code"]
    for number, source in enumerate(code, 1):
        text = source if isinstance(source, str) else "".join(source)
        lines = [line for line in text.splitlines() if not line.lstrip().startswith(("%", "!"))]
        yield f"code cell {number}", "\n".join(lines)


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno},"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}," if lines else ""


def grades(
    submission: Submission, exercises: Sequence[Exercise], seed: int = 0
) -> Iterator[Feedback]:
    """Yield the feedback for each exercise, as it is known."""
    for exercise in exercises:
        function = submission.names.get(exercise.function)
        if function is None:
            why = f"; {submission.problem}" if submission.problem else ""
            yield Feedback(exercise.id, MISSING, f"there is no function of its name{why}.")
        else:
            yield checked(exercise, function, seed)
