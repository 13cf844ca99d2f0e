"""What an answer may not use, such as loops or einsum, found in its own bytecode."""

import dis
from collections.abc import Iterator, Sequence
from types import CodeType

from lora_ref.exercises.exercise import Answer, in_words

WORDS = {"for": "a loop (for)", "while": "a loop (while)"}
"""How a message calls what is no name of a function."""


def used(function: Answer, without: Sequence[str]) -> tuple[str, ...]:
    """Return which of some operations the code of a function contains, in their order.

    They are "for", which comprehensions are too, "while", the sign of a binary operation such as
    "@", or a name that is called or looked up, such as "einsum". Only what the function itself says
    is read: of a function without bytecode, and of those that it calls, nothing is known.
    """
    code = getattr(function, "__code__", None)
    found = set(_operations(code)) if isinstance(code, CodeType) else set()
    return tuple(name for name in without if name in found)


def sentence(found: Sequence[str], without: Sequence[str]) -> str:
    """Return what is said about an answer that uses what is ruled out."""
    what = in_words([WORDS.get(name, name) for name in found], "and")
    at_once = " Operations on whole arrays do without." if found[0] in WORDS else ""
    return f"this uses {what}; the task rules out {in_words(without, 'and')}.{at_once}"


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
