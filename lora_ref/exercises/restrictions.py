"""What an answer may not do: use loops or einsum, found in its bytecode, or form a product."""

import dis
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType
from typing import Any

import numpy as np

from lora_ref.exercises.attempt import call
from lora_ref.exercises.exercise import Answer, Arguments, in_words

WORDS = {"for": "a loop (for)", "while": "a loop (while)"}
"""How a message calls what is no name of a function."""


def used(function: Answer, without: Sequence[str]) -> tuple[str, ...]:
    """Return which of some operations the code of a function contains, in their order.

    They are "for", which comprehensions are too, "while", the sign of a binary operation such as
    "@", or a name that is called or looked up, such as "einsum". Functions of the same file that
    the function names are read too, and those that they name; of others, and of what has no
    bytecode, nothing is known.
    """
    found = {name for code in _codes(function, set()) for name in _operations(code)}
    return tuple(name for name in without if name in found)


def sentence(found: Sequence[str], without: Sequence[str]) -> str:
    """Return what is said about an answer that uses what is ruled out."""
    what = in_words([WORDS.get(name, name) for name in found], "and")
    at_once = " Operations on whole arrays do without." if found[0] in WORDS else ""
    return f"this uses {what}; the task rules out {in_words(without, 'and')}.{at_once}"


def forms(function: Answer, arguments: Arguments, product: str) -> bool:
    """Return whether a function makes an array of the shape of a product, such as "B A", of it.

    The two matrices are watched: every array that NumPy makes of them is one that notes its shape.
    A copy by `np.array` is not followed.
    """
    left, right = product.split()
    shape = (len(arguments[left]), arguments[right].shape[1])
    seen = set()

    class Watched(np.ndarray[Any, Any]):
        def __array_finalize__(self, made_of: object) -> None:
            seen.add(self.shape)

    watched = {name: arguments[name].view(Watched) for name in (left, right)}
    call(function, arguments | watched)
    return shape in seen or shape[::-1] in seen


def _codes(function: object, known: set[object]) -> Iterator[CodeType]:
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType) or function in known:
        return
    known.add(function)
    yield code
    if not isinstance(function, FunctionType):
        return
    names = {step.argval for step in dis.get_instructions(code) if step.opname == "LOAD_GLOBAL"}
    helpers = [function.__globals__.get(name) for name in names]
    helpers += [cell.cell_contents for cell in function.__closure__ or ()]
    for helper in helpers:
        if getattr(helper, "__globals__", None) is function.__globals__:
            yield from _codes(helper, known)


def _operations(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    steps = [step for step in dis.get_instructions(code) if step.opname != "EXTENDED_ARG"]
    for step in steps:
        if step.opname == "FOR_ITER":
            yield "for"
        elif step.opname == "BINARY_OP":
            yield step.argrepr.removesuffix("=")
        elif "JUMP_BACKWARD" in step.opname:
            # an argument may be too long for one instruction, and a jump leads to its first part
            to = next(one for one in steps if one.offset >= step.argval)
            if to.opname not in ("FOR_ITER", "SEND"):  # the other jump is that of an await
                yield "while"
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _operations(inner)
