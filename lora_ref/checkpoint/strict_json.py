"""JSON without what the standard leaves open: names that stand twice, NaN, and endless nesting."""

import json
from pathlib import Path
from typing import Any, NoReturn

from lora_ref.errors import FileError


def strict_json(path: Path, text: str) -> dict[str, Any]:
    """Return the object that a text describes; `path` is for the sentence of an error."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            twice = max(names, key=names.count)
            raise FileError(path, f"has {twice!r} twice in an object, expected once")
        return dict(pairs)

    def refuse(constant: str) -> NoReturn:
        raise FileError(path, f"holds {constant}, which is no number of JSON")

    try:
        found = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except FileError:
        raise
    except (ValueError, RecursionError) as error:
        raise FileError(path, f"is no JSON: {error}") from error
    if not isinstance(found, dict):
        raise FileError(path, f"holds a {type(found).__name__}, expected an object of JSON")
    return found
