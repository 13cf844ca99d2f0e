"""Which modules are meant, as PEFT finds them: by a name or its end, or by a regular expression."""

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

Value = TypeVar("Value")


def is_end_of(name: str, end: str) -> bool:
    """Whether `end` is a dotted name or its last parts: ``q`` of ``blocks.0.attention.q``."""
    return name == end or name.endswith(f".{end}")


def is_meant(name: str, by: Sequence[str] | str) -> bool:
    """Whether any of some names means a module, or an expression, a string, its whole name."""
    if isinstance(by, str):
        return re.fullmatch(by, name) is not None
    return any(is_end_of(name, one) for one in by)


def by_pattern(name: str, patterns: Mapping[str, Value], default: Value) -> Value:
    """Return the value of the first pattern that is the end of a name, or the default.

    A pattern is a regular expression, as in PEFT's ``rank_pattern``.
    """
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", name):
            return value
    return default
