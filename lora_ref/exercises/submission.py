"""The functions in a student's file, which is a Python file or a notebook, and their grades."""

import functools
import json
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from lora_ref.exercises.attempt import message_of
from lora_ref.exercises.comparison import type_name
from lora_ref.exercises.exercise import Answer, Exercise
from lora_ref.exercises.feedback import Feedback, diagnose

ENDINGS = (".py", ".ipynb")

MISSING = "missing"
"""The result where a file has no function of the exercise's name."""

BROKEN = "broken"
"""The result where an error in the file kept the function from being defined."""

NAME = "submission"
"""The module name of a file while it runs."""

WRAPPERS = ((functools.partial, "func"), (np.vectorize, "pyfunc"))
"""Types of callables without the module of the function that they wrap, and its attribute."""


@dataclass(frozen=True)
class Submission:
    """What a file has defined, and where it failed."""

    names: dict[str, Any]  # all that the file defines and imports
    failures: tuple[tuple[str, str], ...] = ()  # the source, the whole file or a cell; a message

    def function(self, name: str) -> Answer | None:
        """Return the callable that the file itself defines under a name, or None."""
        value = self.names.get(name)
        return value if callable(value) and _is_own(value) else None

    def failure_of(self, name: str) -> str:
        """Return the message of a failure in a source that contains a name, or an empty text."""
        for source, message in self.failures:
            if not source or re.search(rf"\b{name}\b", source):
                return message
        return ""


def _is_own(value: object) -> bool:
    """Return whether a callable, or a function that it wraps, is defined in the file."""
    for wrapper, attribute in WRAPPERS:
        if isinstance(value, wrapper):
            return _is_own(getattr(value, attribute))
    if getattr(value, "__module__", None) in (NAME, "__main__"):
        return True
    cells = getattr(value, "__closure__", None) or ()  # a decorator of another module
    contents = [cell.cell_contents for cell in cells]
    return any(isinstance(one, FunctionType) and _is_own(one) for one in contents)


def run(path: Path) -> Submission:
    """Run a file and keep what it defines, in this process and with all its rights.

    A Python file stops at its first error. Of a notebook every code cell is run, also after one
    that fails, without the lines that only IPython can read.
    """
    module = ModuleType(NAME)
    sys.modules[NAME] = module  # dataclasses look up their module there
    module.__file__ = str(path)
    if path.suffix.lower() == ".ipynb":  # as Jupyter does
        vars(module).update(__name__="__main__", display=lambda *shown, **options: None)
    sys.path.append(str(path.parent))  # last, so that it hides no module of Python's
    try:
        sources = list(_sources(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Submission(vars(module), (("", f"the file cannot be read: {message_of(error)}"),))
    failures = []
    for where, source in sources:
        try:
            exec(compile(source, str(path), "exec"), vars(module))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = source if isinstance(source, str) else source.decode("utf-8", "replace")
            text = text.replace("\0", "")  # so that a name is found in UTF-16 too
            message = f"{where}{_line(error, path)} stops with {message_of(error)}"
            failures.append((text, message))
    return Submission(vars(module), tuple(failures))


def _sources(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the file, or each code cell of a notebook, with its name for a message."""
    if path.suffix.lower() != ".ipynb":
        yield "the file", path.read_bytes()  # as bytes, because its first line may name an encoding
        return
    book = json.loads(path.read_text(encoding="utf-8-sig"))
    if "worksheets" in book:
        raise ValueError("a notebook of format 3, expected 4: open it in Jupyter and save it")
    code = [cell["source"] for cell in book["cells"] if cell["cell_type"] == "code"]
    for number, source in enumerate(code, 1):
        text = source if isinstance(source, str) else "".join(source)
        head, _, body = text.lstrip().partition("\n")
        if re.match(r"%%(?:time|timeit|capture|prun|python\d?)\b", head):
            text = body
        if not text.lstrip().startswith("%%"):  # a cell in another language
            yield f"code cell {number}", _as_python(text)


def _as_python(cell: str) -> str:
    """Return a cell without IPython's syntax; one that Python can compile is not changed."""
    try:
        compile(cell, "cell", "exec")
    except (SyntaxError, ValueError):
        cell = re.sub(r"(?m)^(\s*)%time(?:it)?\s+(?!-)(.+)$", r"\1\2", cell)
        cell = re.sub(r"(?m)^(\s*\w+\s*=)\s*[!%].*$", r"\1 []", cell)
        cell = re.sub(r"(?m)^(\s*)(?:[%!?].*|[\w.]+\?{1,2}\s*)$", r"\1pass", cell)
    return cell


def _line(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError) and error.lineno:
        return f", line {error.lineno},"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == str(path)]
    return f", line {lines[-1]}," if lines else ""


def grades(
    submission: Submission, exercises: Sequence[Exercise], seed: int = 0
) -> Iterator[Feedback]:
    """Yield the feedback for each exercise as soon as it is known."""
    for exercise in exercises:
        name = exercise.function
        function = submission.function(name)
        if function is not None:
            yield diagnose(exercise, function, seed)
        elif failure := submission.failure_of(name):
            yield Feedback(exercise.id, BROKEN, f"{failure}.")
        elif name in submission.names:
            value = submission.names[name]
            what = "is imported" if callable(value) else f"is {type_name(value)}"
            message = f"{name} {what}, and the file defines no function of that name."
            yield Feedback(exercise.id, MISSING, message)
        else:
            yield Feedback(exercise.id, MISSING, "the file defines no function of that name.")
