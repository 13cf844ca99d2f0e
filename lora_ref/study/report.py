"""The runs as a table for a terminal, as JSON for a program, as Markdown for a page."""

import json
from collections.abc import Iterable, Sequence

from lora_ref.study.records import SCHEMA, Record, rows

HEADS = ("method", "parameters", "target", "source, on", "source, off", "W0 same", "seconds")


def as_json(records: Iterable[Record]) -> str:
    """Return ``{"schema": 2, "rows": [...]}``, the rows as `rows` has them."""
    return json.dumps({"schema": SCHEMA, "rows": rows(records)}, indent=2)


def as_text(records: Iterable[Record]) -> str:
    """Return a table for each shift, accuracies in per cent with their standard error."""
    records = list(records)
    seeds = len({record["seed"] for record in records})
    blocks = []
    for shift, body in _tables(records).items():
        cells = [HEADS, *body]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(width) if i == 0 else cell.rjust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in cells
        ]
        blocks.append("\n".join([f"shift: {shift}", "", lines[0], "-" * len(lines[0]), *lines[1:]]))
    blocks.append(
        f"Accuracies in per cent of the test images, mean ± standard error over {seeds} "
        f"seed{'s' * (seeds != 1)}.\n"
        "On: the adapted network on the source task; off: the same with the adapter switched off."
    )
    return "\n\n".join(blocks)


def as_markdown(records: Iterable[Record]) -> str:
    """Return a section with a table for each shift."""
    lines: list[str] = []
    for shift, body in _tables(records).items():
        lines += [f"### {shift}", "", *table(HEADS, body), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def table(heads: Sequence[str], body: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a Markdown table, its first column left, the others right."""
    return [
        f"| {' | '.join(heads)} |",
        "|---|" + "---:|" * (len(heads) - 1),
        *(f"| {' | '.join(row)} |" for row in body),
    ]


def percent(mean: float | None, error: float | None = None) -> str:
    """Return ``97.3 ± 0.4``; a mean alone where there is no error, a dash for nothing."""
    if mean is None:
        return "-"
    return f"{100 * mean:.1f}" + ("" if error is None else f" ± {100 * error:.1f}")


def _tables(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    tables: dict[str, list[tuple[str, ...]]] = {}
    for row in rows(records):
        cells = (
            row["method"],
            f"{row['parameters']:,}",
            percent(row["target_mean"], row["target_error"]),
            percent(row["source_on_mean"], row["source_on_error"]),
            percent(row["source_off_mean"]),
            "yes" if row["w0_unchanged"] else "no",
            f"{row['seconds']:.2f}",
        )
        tables.setdefault(row["shift"], []).append(cells)
    return tables
