"""Write the golden cases, and the page about them: ``python docs/golden.py``, or ``make docs``.

What a case is stands in `golden_cases/case.py`; `golden/schema.json` describes the files.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from golden_cases import FILES, File
from golden_cases.case import Case, plain

FOLDER = Path(__file__).parent / "golden"
WIDTH = 100


def as_record(case: Case) -> dict[str, Any]:
    """Return a case as it stands in a file, with the arrays in which each mistake shows."""
    return {
        "id": case.id,
        "tests": case.tests,
        "function": case.function,
        "formula": list(case.formula),
        "inputs": {name: plain(value) for name, value in case.inputs.items()},
        "expected": {name: plain(value) for name, value in case.expected().items()},
        "tolerance": case.tolerance,
        "catches": [
            {"mistake": name, "text": wrong.text, "shows_in": list(case.differences(name))}
            for name, wrong in case.wrong.items()
        ],
    }


def as_records(file: File) -> dict[str, Any]:
    """Return a file as it is read back."""
    return {
        "$schema": "schema.json",
        "about": file.about,
        "cases": [as_record(case) for case in file.cases],
    }


def as_json(record: dict[str, Any]) -> str:
    """Return the text of a file."""
    return "".join(_lines(record)) + "\n"


def _lines(value: Any, indent: str = "") -> Iterator[str]:
    """Yield the parts of a text: what fits on a line stays on one, and an array always does."""
    line = json.dumps(value)
    if '"' not in line:  # numbers alone
        yield line.replace(" ", "")
        return
    if isinstance(value, str) or len(indent + line) <= WIDTH:
        yield line
        return
    items = value.items() if isinstance(value, dict) else ((None, one) for one in value)
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    for i, (key, one) in enumerate(items):
        yield f"{',' if i else opening}\n{indent} {'' if key is None else json.dumps(key) + ': '}"
        yield from _lines(one, indent + " ")
    yield f"\n{indent}{closing}"


def table() -> str:
    """Return the cases in a table."""
    rows = ["| case | file | tolerance | mistakes | what it tests |", "|---|---|---|---|---|"]
    for name, file in FILES.items():
        for case in file.cases:
            place = f"`{case.id}` | [{name}.json]({name}.json)"
            rows.append(f"| {place} | {case.tolerance:g} | {len(case.wrong)} | {case.tests} |")
    return "\n".join(rows)


def least_difference() -> float:
    """Return the difference of the mistake that is hardest to see, where it shows most."""
    return min(
        max(case.differences(name).values())
        for file in FILES.values()
        for case in file.cases
        for name in case.wrong
    )


def as_page() -> str:
    """Return the page: the text of the template, and in it the table and what was measured."""
    text = (FOLDER.parent / "golden_cases" / "page.md").read_text(encoding="utf-8")
    cases = [case for file in FILES.values() for case in file.cases]
    measured = {
        "cases": len(cases),
        "mistakes": sum(len(case.wrong) for case in cases),
        "least": f"{least_difference():.1g}",
        "table": table(),
    }
    for name, value in measured.items():
        text = text.replace(f"<{name}>", str(value))
    return text


if __name__ == "__main__":
    for name, file in FILES.items():
        text = as_json(as_records(file))
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")
    (FOLDER / "README.md").write_text(as_page(), encoding="utf-8", newline="\n")
