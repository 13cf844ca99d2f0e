"""Write the committed results and their page: ``python -m lora_ref.study [--tune] [--again DIR]``.

For maintainers, in a checkout. Without an option the page alone is written, from the results.
"""

import argparse
from importlib.resources import files
from pathlib import Path

from lora_ref.study import METHODS, SHIFTS, as_page, as_results, committed, run, tune
from lora_ref.study.tuning import as_file

SEEDS = 5
"""Seeds of the committed results."""


def main() -> None:
    """Tune, run the whole study, and write the page, as far as asked."""
    parser = argparse.ArgumentParser(prog="python -m lora_ref.study", description=__doc__)
    parser.add_argument("--tune", action="store_true", help="choose the learning rates anew")
    parser.add_argument("--again", metavar="DIR", help="run the whole study; keep the runs in DIR")
    options = parser.parse_args()
    here = Path(str(files("lora_ref.study")))
    if options.tune:
        (here / "learning_rates.json").write_text(as_file(tune(progress=True)), encoding="utf-8")
    if options.again is not None:
        records = run(tuple(SHIFTS), tuple(METHODS), SEEDS, directory=options.again, progress=True)
        (here / "results.json").write_text(as_results(records), encoding="utf-8")
    page = here.parents[1] / "docs" / "study.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(as_page(committed()), encoding="utf-8")


if __name__ == "__main__":
    main()
