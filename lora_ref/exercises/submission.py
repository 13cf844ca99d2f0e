"""A student's file: the functions in it, whether it is a Python file or a notebook."""

import functools
import json
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from lora_ref.exercises.attempt import a_type, message_of
from lora_ref.exercises.check import checked
from lora_ref.exercises.exercise import Exercise
from lora_ref.exercises.feedback import Feedback

ENDINGS = (".py", ".ipynb")

MISSING = "missing"
"""The result where a file has no function of the exercise's name."""

BROKEN = "broken"
"""The result where it had one, and lost it to an error."""

NAME = "submission"
"""What a file is called as a module, so that what it defines can be found again."""


@dataclass(frozen=True)
class Submission:
    """What running a file left.

    Parameters
    ----------
    names : dict
        All that the file defines and imports.
    failures : tuple of (str, str)
        The text that failed, the whole file or a cell, and how.
    """

    names: dict[str, Any]
    failures: tuple[tuple[str, str], ...] = ()

    def function(self, name: str) -> object:
        """Return what the file itself defines under a name, None for what it only imports."""
        value = self.names.get(name)
        return value if callable(value) and self._is_own(value) else None

    def _is_own(self, value: object) -> bool:
        """Return whether a callable is made in the file, through whatever wraps it."""
        if isinstance(value, functools.partial):
            return self._is_own(value.func)
        if isinstance(value, MethodType):
            return self._is_own(value.__func__)
        if isinstance(value, np.vectorize):
            return self._is_own(value.pyfunc)
        if isinstance(value, FunctionType):
            cells = value.__closure__ or ()
            wrapped = [cell.cell_contents for cell in cells if cell.cell_contents is not value]
            own = value.__globals__ is self.names
            return own or any(self._is_own(one) for one in wrapped if isinstance(one, FunctionType))
        wrapped_by_c = value.__dict__.get("__wrapped__") if hasattr(value, "__dict__") else None
        if wrapped_by_c is not None and not isinstance(value, type):  # functools.cache
            return self._is_own(wrapped_by_c)
        kind = value if isinstance(value, type) else type(value)
        return kind.__module__ in (NAME, "__main__")

    def loss_of(self, name: str) -> str:
        """Return how a function was lost to an error, or an empty text where it was not."""
        for text, how in self.failures:
            if not text or re.search(rf"\b{name}\b", text):
                return how
        return ""


def run(path: Path) -> Submission:
    """Run a file from the top and keep what it defines; what follows an error is lost.

    Of a notebook every code cell is run, those behind a failing one too, without the lines that
    only IPython reads. The file runs in this process, with all the rights that it has.
    """
    module = ModuleType(NAME)
    sys.modules[NAME] = module  # a dataclass looks its own module up
    module.__file__ = str(path)
    if path.suffix.lower() == ".ipynb":  # Jupyter runs what is guarded so, and shows things
        vars(module).update(__name__="__main__", display=lambda *shown, **options: None)
    sys.path.append(str(path.parent))  # last, so that nothing of Python's is replaced
    try:
        pieces = list(_pieces(path))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return Submission(vars(module), (("", f"the file cannot be read: {message_of(error)}"),))
    failures = []
    for where, source in pieces:
        try:
            exec(compile(source, str(path), "exec"), vars(module))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            text = source if isinstance(source, str) else source.decode("utf-8", "replace")
            text = text.replace("\0", "")  # UTF-16, of which Python reads nothing
            how = f"{where}{_line(error, path)} stops with {message_of(error)}"
            failures.append((text, how))
    return Submission(vars(module), tuple(failures))


def _pieces(path: Path) -> Iterator[tuple[str, str | bytes]]:
    if path.suffix.lower() != ".ipynb":
        yield "the file", path.read_bytes()  # which may say its encoding
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
    """Return a cell as it is, or, if Python cannot read it, without what is IPython's own."""
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
    """Yield the feedback for each exercise, as it is known."""
    for exercise in exercises:
        function = submission.function(exercise.function)
        lost = submission.loss_of(exercise.function) if function is None else ""
        if function is not None:
            yield checked(exercise, function, seed)  # type: ignore[arg-type]  # it is asked there
        elif lost:
            yield Feedback(exercise.id, BROKEN, f"{lost}.")
        elif exercise.function in submission.names:
            value = submission.names[exercise.function]
            what = "comes from elsewhere" if callable(value) else f"is {a_type(value)}"
            says = f"{exercise.function} {what}, and the file makes no function of its name."
            yield Feedback(exercise.id, MISSING, says)
        else:
            yield Feedback(exercise.id, MISSING, "there is no function of its name.")
