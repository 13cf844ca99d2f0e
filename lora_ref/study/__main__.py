"""Write the committed results anew: ``python -m lora_ref.study --tune [METHOD ...] --again DIR``.

For maintainers, in a checkout; ``docs/study_page.py`` writes the page from them.
"""

import argparse
import json
from importlib.resources import files
from pathlib import Path

from lora_ref.study import METHODS, SHIFTS, as_results, run, tune
from lora_ref.study.tuning import merged

SEEDS = 5
"""Seeds of the committed results."""


def main() -> None:
    """Tune and run the whole study, as far as asked."""
    parser = argparse.ArgumentParser(prog="python -m lora_ref.study", description=__doc__)
    parser.add_argument(
        "--tune", nargs="*", metavar="METHOD", help="choose the learning rates of these, or of all"
    )
    parser.add_argument("--again", metavar="DIR", help="run the whole study; keep the runs in DIR")
    options = parser.parse_args()
    here = Path(str(files("lora_ref.study")))
    if options.tune is not None:
        rates = here / "learning_rates.json"
        tuned = tune(tuple(options.tune) or tuple(METHODS), progress=True)
        before = json.loads(rates.read_text(encoding="utf-8"))
        text = json.dumps(merged(before, tuned), indent=1) + "\n"
        rates.write_text(text, encoding="utf-8")
    if options.again is not None:
        records = run(tuple(SHIFTS), tuple(METHODS), SEEDS, directory=options.again, progress=True)
        (here / "results.json").write_text(as_results(records), encoding="utf-8")


if __name__ == "__main__":
    main()
