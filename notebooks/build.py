"""Build the notebooks: run ``src/NN-name.py`` and write ``NN-name.ipynb`` with its outputs.

``python notebooks/build.py`` builds all of them, ``python notebooks/build.py 03`` those that begin
so. Nothing but the package and Python's own library is needed: cells run here, in order, and what
they print and show is kept. The same source gives the same bytes: cells are numbered, no time is
noted, and the metadata names no version.

A source is a Python file in the percent format, which editors know as notebooks: ``# %%`` begins
a cell of code, ``# %% [markdown]`` one of text, every line of which is a comment. What stands
behind ``# %%`` of a cell of code are its tags, such as ``# %% to 1e-9, slow``.
"""

import ast
import contextlib
import hashlib
import io
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from lora_ref.atomic_write import write_whole

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # sums in the same order on every build

HERE = Path(__file__).parent
SOURCES = HERE / "src"


class Cell(NamedTuple):
    """A cell of a source: kind, text, the line of the file on which the text begins, and tags."""

    kind: Literal["markdown", "code"]
    text: str
    line: int
    tags: tuple[str, ...] = ()


Output = dict[str, Any]
"""An output in the notebook format."""


def sources() -> list[Path]:
    """Return the sources in order."""
    return sorted(SOURCES.glob("*.py"))


def built(source: Path) -> Path:
    """Return where the notebook of a source stands."""
    return HERE / f"{source.stem}.ipynb"


# ------------------------------------------------------------------------------------ reading


def cells_of(source: Path) -> list[Cell]:
    """Return the cells of a source.

    Raises
    ------
    ValueError
        For text before the first cell, an unknown tag, or a line of Markdown that is no comment.
    """
    cells: list[Cell] = []
    lines: list[str] = []
    start: tuple[Literal["markdown", "code"], int, tuple[str, ...]] | None = None

    def close() -> None:
        if start is not None:
            text = "\n".join(lines)
            blank = len(text) - len(text.lstrip("\n"))
            cells.append(Cell(start[0], text.strip("\n"), start[1] + 1 + blank, start[2]))
        lines.clear()

    for number, line in enumerate(source.read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("# %%"):
            close()
            if line == "# %% [markdown]":
                start = "markdown", number, ()
                continue
            tags = tuple(tag for tag in line.removeprefix("# %%").strip().split(", ") if tag)
            for tag in tags:
                if tag not in {*MARKS, SLOW}:
                    raise ValueError(f"{source.name}, line {number}: there is no tag {tag!r}")
            start = "code", number, tags
        elif start is None:
            raise ValueError(f"{source.name}, line {number}: {line!r} stands before the first cell")
        elif start[0] == "markdown":
            if line not in ("", "#") and not line.startswith("# "):
                raise ValueError(
                    f"{source.name}, line {number}: Markdown, but no comment: {line!r}"
                )
            lines.append(line[2:])  # empty at the end of a cell, where the formatter wants it
        else:
            lines.append(line)
    close()
    return cells


# ------------------------------------------------------------------------------------ running


def outputs_of(cells: Sequence[Cell], name: str) -> list[list[Output]]:
    """Run the code cells in order, in one namespace, and return what each prints and shows.

    Raises
    ------
    RuntimeError
        Where a cell fails, warns, or writes to stderr, with its place in the source.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    found: list[list[Output]] = []
    count = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for cell in cells:
            if cell.kind == "markdown":
                found.append([])
                continue
            count += 1
            try:
                found.append(list(_run(cell, name, namespace, count)))
            except Exception:
                where = f"{name}, the cell at line {cell.line}"
                raise RuntimeError(f"{where} fails:\n{traceback.format_exc()}") from None
    return found


def _run(cell: Cell, name: str, namespace: dict[str, Any], count: int) -> Iterator[Output]:
    body = ast.parse(cell.text)
    ast.increment_lineno(body, cell.line - 1)  # a traceback names the line of the source
    last = body.body.pop() if body.body and isinstance(body.body[-1], ast.Expr) else None
    printed, complained, value = io.StringIO(), io.StringIO(), None
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        exec(compile(body, name, "exec"), namespace)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), name, "eval"), namespace)
    if complained.getvalue():
        raise RuntimeError(f"it writes to stderr: {complained.getvalue()}")
    if printed.getvalue():
        yield {"name": "stdout", "output_type": "stream", "text": _lines(printed.getvalue())}
    if value is not None:
        data, metadata = {"text/plain": repr(value)}, {}
        if hasattr(value, "_repr_mimebundle_"):
            data, metadata = value._repr_mimebundle_()
        yield {
            "data": {kind: _lines(text) for kind, text in data.items()},
            "execution_count": count,
            "metadata": metadata,
            "output_type": "execute_result",
        }


# ------------------------------------------------------------------------------------ writing


def notebook(cells: Sequence[Cell], outputs: Sequence[Sequence[Output]]) -> dict[str, Any]:
    """Return cells and their outputs in the notebook format, version 4.5."""
    written: list[dict[str, Any]] = []
    count = 0
    for position, (cell, shown) in enumerate(zip(cells, outputs, strict=True)):
        digest = hashlib.sha256(cell.text.encode()).hexdigest()[:8]
        entry: dict[str, Any] = {
            "cell_type": cell.kind,
            "id": f"{position:02d}-{digest}",
            "metadata": {"tags": list(cell.tags)} if cell.tags else {},
            "source": _lines(cell.text),
        }
        if cell.kind == "code":
            count += 1
            entry |= {"execution_count": count, "outputs": list(shown)}
        written.append(entry)
    return {
        "cells": written,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def as_file(book: dict[str, Any]) -> str:
    """Return the text of a notebook file, as the notebook format's own library writes it."""
    return json.dumps(book, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _lines(text: str) -> str | list[str]:
    lines = text.splitlines(keepends=True)
    return lines if len(lines) > 1 else text


def text_of(lines: str | Sequence[str]) -> str:
    """Return the text of a source or an output, which the format keeps as lines or whole."""
    return lines if isinstance(lines, str) else "".join(lines)


# ---------------------------------------------------------------------------------- comparing

ORDER = "order of magnitude"
MARKS = {
    "exact": 0.0,
    "to 1e-12": 1e-12,
    "to 1e-9": 1e-9,
    "to 1e-6": 1e-6,
    "depends on the seed": 2e-2,
    ORDER: 9.0,
}
"""Tags of code cells: how exact the numbers below are, and how near a second run must come.

An exact output is compared as text. Of the others the words are compared as text and each number
by its distance, relative to its size; one unit of the last printed digit is allowed besides. What
depends on the seed is the same draw everywhere and differs by rounding alone, which training may
amplify: only its shape is meant. Of what is itself an error of rounding, no more than the power of
ten means anything.
"""

SLOW = "slow"
"""The tag of a cell that takes seconds: it is not run again with other numbers."""

NUMBER = re.compile(r"[-−]?(?:\d[\d,]*\d|\d)(?:\.\d+)?(?:e[-+]?\d+)?")


def mark_of(tags: Sequence[str]) -> str | None:
    """Return the tag of a cell that says how exact it is, if it has one."""
    return next((tag for tag in tags if tag in MARKS), None)


def disagreement(stored: str, fresh: str, mark: str | None) -> str | None:
    """Return how two outputs of a cell differ, or None where they agree as its mark asks."""
    if stored == fresh:
        return None
    tolerance = MARKS[mark] if mark else 0.0
    if not tolerance or NUMBER.sub("#", stored) != NUMBER.sub("#", fresh):
        return f"stored:\n{stored}\nfresh:\n{fresh}"
    for old, new in zip(NUMBER.findall(stored), NUMBER.findall(fresh), strict=True):
        a, b = _value(old), _value(new)
        small, large = sorted((abs(a), abs(b)))
        size, units = (small, 0.0) if mark == ORDER else (large, max(_unit(old), _unit(new)))
        if abs(a - b) > tolerance * size + units:
            return f"{old} is stored, {new} comes out, in:\n{fresh}"
    return None


def _value(number: str) -> float:
    return float(number.replace(",", "").replace("−", "-"))


def _unit(number: str) -> float:
    """Return what one unit of the last printed digit is worth."""
    digits, _, exponent = number.partition("e")
    decimals = len(digits.partition(".")[2])
    return 0.0 if not decimals and not exponent else 1.01 * 10.0 ** (int(exponent or 0) - decimals)


def main(prefixes: Sequence[str]) -> int:
    """Build the notebooks whose names begin with one of the prefixes, or all."""
    chosen = [path for path in sources() if not prefixes or path.name.startswith(tuple(prefixes))]
    if not chosen:
        print(f"no notebook begins with {' or '.join(prefixes)}", file=sys.stderr)
        return 2
    for source in chosen:
        cells = cells_of(source)
        text = as_file(notebook(cells, outputs_of(cells, f"src/{source.name}")))
        write_whole(built(source), text)
        print(f"{built(source).name}: {len(cells)} cells, {len(text.encode()) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
