"""``lora-ref study``: compare the ways to adapt on the digits."""

import argparse
from pathlib import Path

from lora_ref.atomic_write import write_whole
from lora_ref.cli.outcome import Outcome, can_print

HELP = "compare the ways to adapt on real data, the digits"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--shift", default="middle", metavar="S", help="one shift, or all (middle)")
    parser.add_argument("--methods", nargs="+", metavar="M", help="methods to compare (all)")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 (3)")
    parser.add_argument("--tune", action="store_true", help="choose the learning rates anew first")
    folder = "lora-ref-study"
    kept = f"where runs are kept and resumed, and tables and figures written ({folder})"
    parser.add_argument("--out", default=folder, metavar="DIR", help=kept)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.set_defaults(kept="; runs that had finished are kept")


def run(options: argparse.Namespace) -> Outcome:
    """Compare the ways to adapt on the digits."""
    from lora_ref import study as digits
    from lora_ref.figures import save_study

    out = Path(options.out)
    methods = tuple(options.methods or digits.DEFAULT_METHODS)
    shifts = tuple(digits.SHIFTS) if options.shift == "all" else (options.shift,)
    rates = None
    if options.tune:
        rates = digits.tune(methods, progress=True)["chosen"]
    runs = out / ("runs-tuned" if options.tune else "runs")
    records = digits.run(shifts, methods, options.seeds, directory=runs, progress=True, rates=rates)
    results, tables = out / "results.json", out / "tables.md"
    write_whole(results, digits.as_results(records))
    write_whole(tables, digits.as_markdown(records))
    figures = save_study(records, out)
    written = ", ".join(str(path) for path in (results, tables, *figures))
    text = digits.as_json(records) if options.json else digits.as_text(records)
    if not can_print(text):
        text = text.replace("±", "+/-")
    return Outcome(text, messages=(f"written: {written}; finished runs are kept in {runs}",))
