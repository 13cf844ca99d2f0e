"""Write the results anew: ``python -m lora_ref.text_study --texts DIR --tune --run``.

For maintainers, in a checkout; it takes about two hours on two cores.
``docs/text_study_page.py`` writes the page from what it leaves.
"""

import argparse
import json
import re
from pathlib import Path
from typing import Any

from lora_ref.atomic_write import write_whole
from lora_ref.text_study.methods import METHODS
from lora_ref.text_study.runs import best, rescale_all, run, tune
from lora_ref.transformer.texts import fetch

HERE = Path(__file__).parent


def main() -> None:
    """Tune, and run, as far as asked; what other methods have is kept."""
    parser = argparse.ArgumentParser(prog="python -m lora_ref.text_study", description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--tune", action="store_true", help="choose the learning rates")
    parser.add_argument("--run", nargs="*", metavar="METHOD", help="run these methods, or all")
    parser.add_argument("--rescale", action="store_true", help="test the invariance of Adam")
    options = parser.parse_args()
    options.texts.mkdir(parents=True, exist_ok=True)
    fetch(options.texts)
    if options.tune:
        _write("learning_rates.json", tune(options.texts))
    tried = _read("learning_rates.json", {})
    rates = {name: best(by_rate) for name, by_rate in tried.items()}
    results = _read("results.json", {"runs": [], "rescaled": []})
    if options.run is not None:
        for name in options.run or METHODS:
            results["runs"] = [r for r in results["runs"] if r["method"] != name]
            results["runs"] += run(options.texts, rates, [name])
            _write("results.json", results)
    if options.rescale:
        results["rescaled"] = rescale_all(options.texts, rates["qv-9"])
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
