"""A step of the example as text and in JSON types, for the command line."""

from fractions import Fraction
from itertools import zip_longest
from textwrap import indent, wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array
from lora_ref.exact import ExactArray, fractions_of
from lora_ref.walkthrough.steps import Part, Root, Step


def step_as_dict(step: Step, exact: bool = False) -> dict[str, Any]:
    """Return a step in JSON types; `exact` adds the fractions, as texts such as ``"11/100"``."""
    fields = ("printed", "value", "exact") if exact else ("printed", "value")
    parts = {
        name: {field: _plain(getattr(part, field)) for field in fields}
        for name, part in step.parts.items()
    }
    return {**vars(step), "parts": parts}


def format_step(step: Step, exact: bool = False) -> str:
    """Return a step as ASCII text for 80 columns, in decimals or, with `exact`, in fractions."""
    texts = {name: _texts(part.exact if exact else part.value) for name, part in step.parts.items()}
    width = max((len(name) for name, text in texts.items() if text.ndim < 2), default=0)
    blocks, lines = [step.formula], list[str]()
    for name, part in step.parts.items():
        if texts[name].ndim == 2:
            blocks += ["\n".join(lines), "\n".join(_matrix(name, texts[name], part))]
            lines = []
        else:
            text = ", ".join(texts[name].flat)
            article = f"   (article: {part.printed})" if part.printed else ""
            lines.append(f"{name:<{width}} = {f'({text})' if texts[name].ndim else text}{article}")
    blocks += ["\n".join(lines), "\n".join(wrap(step.note, 76))]
    body = indent("\n\n".join(filter(None, blocks)), "   ")
    return f"{step.number}. {step.title}\n\n{body}"


def _matrix(name: str, texts: NDArray[Any], part: Part) -> list[str]:
    """Lay out a matrix, and beside it what the article prints where that is another."""
    if not isinstance(part.printed, tuple):
        return [name, *_rows(texts)]
    article = fractions_of(part.printed)
    if article.shape == texts.shape and np.all(article == part.exact):
        return [f"{name}, as in the article", *_rows(texts)]
    left, right = [name, *_rows(texts)], ["the article", *_rows(np.array(part.printed))]
    width = max(map(len, left)) + 6
    return [f"{ours:<{width}}{theirs}" for ours, theirs in zip_longest(left, right, fillvalue="")]


def _rows(texts: NDArray[Any]) -> list[str]:
    widths = [max(map(len, column)) for column in texts.T]
    return [
        "".join(f"  {text:>{width}}" for text, width in zip(row, widths, strict=True))
        for row in texts
    ]


def _texts(numbers: Array | ExactArray | Fraction | Root | float) -> NDArray[Any]:
    """Write whole and exact numbers as they are, others to the places that they need, up to 5."""
    array = np.asarray(numbers)
    if array.dtype.kind == "f":
        places = next((p for p in (2, 3, 4, 5) if np.allclose(array, array.round(p), 0, 1e-9)), 4)
        texts = [f"{number:.{places}f}" for number in (array.round(places) + 0.0).flat]  # no -0.00
    else:
        entries = array.ravel().tolist()
        texts = [f"{entry:,}" if isinstance(entry, int) else str(entry) for entry in entries]
    return np.array(texts, dtype=object).reshape(array.shape)


def _plain(value: object) -> Any:
    """Turn arrays and tuples into lists, and what is exact into its text."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Fraction | Root) else value
