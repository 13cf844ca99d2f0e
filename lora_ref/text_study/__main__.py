"""Write the results anew: ``python -m lora_ref.text_study --texts DIR --models DIR --tune --run``.

For maintainers, in a checkout; all of it takes hours. What is trained is
kept in the folder of models, so that work that was interrupted goes on, and a further measure
trains nothing twice. ``docs/text_study_page.py`` writes the page from what it leaves.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from lora_ref.atomic_write import write_whole
from lora_ref.text_study.adapting import Folders, facts
from lora_ref.text_study.comparisons import SECTIONS, compare
from lora_ref.text_study.methods import METHODS, RATE_ONLY
from lora_ref.text_study.runs import best, run, tune
from lora_ref.transformer.texts import fetch

HERE = Path(__file__).parent


def main() -> None:
    """Tune, run and compare, as far as asked; what else there is stays."""
    parser = argparse.ArgumentParser(prog="python -m lora_ref.text_study", description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--models", type=Path, required=True, help="folder for what is trained")
    parser.add_argument("--facts", action="store_true", help="measure the texts")
    for name, what in (
        ("tune", "choose the learning rates of these methods, or all"),
        ("run", "run these methods, or all"),
    ):
        parser.add_argument(f"--{name}", nargs="*", metavar="METHOD", choices=METHODS, help=what)
    parser.add_argument("--compare", nargs="*", choices=SECTIONS, help="compare so, or in all ways")
    options = parser.parse_args()
    folders = Folders(options.texts, options.models)
    folders.texts.mkdir(parents=True, exist_ok=True)
    fetch(folders.texts)
    tried, results = _read("learning_rates.json", {}), _read("results.json", {"runs": []})
    if options.tune is not None:
        tried |= tune(folders, options.tune or tuple(METHODS))
        _write("learning_rates.json", {name: tried[name] for name in METHODS if name in tried})
    rates = {name: best(by_rate) for name, by_rate in tried.items()}
    if options.facts:
        results["texts"] = facts(folders.texts)
        _write("results.json", results)
    if options.run is not None:
        for name in options.run or (name for name in METHODS if name not in RATE_ONLY):
            results["runs"] = [r for r in results["runs"] if r["method"] != name]
            results["runs"] += run(folders, rates, [name])
            _write("results.json", results)
    if options.compare is not None:
        for name in options.compare or SECTIONS:
            results[name] = compare(name, rates, folders)
            _write("results.json", results)


def _read(name: str, otherwise: Any) -> Any:
    path = HERE / name
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else otherwise


def _write(name: str, content: Any) -> None:
    """Write each record on a line of its own."""
    text = json.dumps(content, indent=1)
    short = re.sub(r"(?<=[\[{,])\n {4,}|\n {3,}(?=[\]}])", " ", text)
    write_whole(HERE / name, short + "\n")


if __name__ == "__main__":
    main()
