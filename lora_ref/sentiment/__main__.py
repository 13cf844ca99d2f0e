"""Write the results anew: ``python -m lora_ref.sentiment --texts DIR --tune --run --measure``.

For maintainers, in a checkout; all of it takes an hour. It needs all-MiniLM-L6-v2, which ``make
minilm`` installs. ``docs/sentiment_page.py`` writes the page from what it leaves.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.safetensors import write_safetensors
from lora_ref.processes import cores
from lora_ref.sentiment.classifier import ADAPTED, ALONE
from lora_ref.sentiment.methods import METHODS, RATE_OF
from lora_ref.sentiment.runs import (
    WHOLE,
    Folders,
    best,
    between_ranks,
    in_order,
    measured,
    run,
    trained,
    tune,
)
from lora_ref.sentiment.snippets import PACKAGE

RESULTS = Path(__file__).with_name("results.json")


def main() -> None:
    """Tune, run, measure and keep, as far as asked; what else there is stays."""
    parser = argparse.ArgumentParser(prog="python -m lora_ref.sentiment", description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder for the archive")
    parser.add_argument("--changes", type=Path, help="folder for what is trained (in that one)")
    parser.add_argument("--fetch", action="store_true", help="only download the archive")
    for name, what in (
        ("tune", "choose the learning rates of these methods, or all"),
        ("run", "run these methods, or all"),
    ):
        parser.add_argument(f"--{name}", nargs="*", metavar="METHOD", choices=METHODS, help=what)
    parser.add_argument("--measure", action="store_true", help="measure the changes")
    parser.add_argument("--keep", action="store_true", help="train what the package keeps")
    options = parser.parse_args()
    folders = Folders(options.texts, options.changes or options.texts / "changes")
    folders.texts.mkdir(parents=True, exist_ok=True)
    PACKAGE.download(folders.texts)
    if options.fetch:
        return
    results = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}
    tuned = [name for name in METHODS if name not in RATE_OF]
    if options.tune is not None:
        results["rates"] = results.get("rates", {}) | tune(folders, options.tune or tuned)
        _write(results)
    rates = {name: best(results["rates"][RATE_OF.get(name, name)]) for name in METHODS}
    if options.run is not None:
        methods = options.run or list(METHODS)
        others = [one for one in results.get("runs", []) if one["method"] not in methods]
        results["runs"] = in_order([*others, *run(folders, rates, methods)])
        _write(results)
    if options.measure:
        changing = [name for name in METHODS if name.startswith("lora-") or name in WHOLE]
        results["changes"] = measured(folders, changing)
        results["ranks"] = between_ranks("lora-8", "lora-64", folders)
        _write(results)
    if options.keep:
        ADAPTED.mkdir(parents=True, exist_ok=True)
        head = trained("head", 0, rates["head"], folders.texts, cores()).head
        arrays = {"weight": head.W, "bias": head.bias}
        write_safetensors(ALONE, {name: np.asarray(a, np.float16) for name, a in arrays.items()})
        trained("lora-8", 0, rates["lora-8"], folders.texts, cores()).save(ADAPTED)


def _write(results: dict[str, Any]) -> None:
    """Write the results, a line for each run."""
    lines = []
    for key in sorted(results):
        value = results[key]
        rows = ",\n  ".join(json.dumps(one) for one in value) if isinstance(value, list) else ""
        lines.append(f' "{key}": ' + (f"[\n  {rows}\n ]" if rows else json.dumps(value)))
    write_whole(RESULTS, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
