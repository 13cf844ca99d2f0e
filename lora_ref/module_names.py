"""Which modules are meant, as PEFT finds them: by a name or its end, or by a regular expression."""

import re
from collections.abc import Iterable, Mapping, Sequence
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


def meaning_none(names: Iterable[str], by: Sequence[str] | str) -> list[str]:
    """Return those of some names, or the expression, that mean none of the modules."""
    if isinstance(by, str):
        return [] if any(is_meant(name, by) for name in names) else [by]
    return [one for one in by if not any(is_end_of(name, one) for name in names)]


def fits(name: str, pattern: str) -> bool:
    """Whether a regular expression, as in PEFT's ``rank_pattern``, is the end of a name."""
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def by_pattern(name: str, patterns: Mapping[str, Value], default: Value) -> Value:
    """Return the value of the first pattern that fits a name, or the default."""
    return next((value for pattern, value in patterns.items() if fits(name, pattern)), default)
