"""``lora-ref figures``: pictures for slides and pages, from the package's own numbers."""

import argparse
from pathlib import Path

from lora_ref.cli.outcome import Outcome, as_json, columns

HELP = "draw the figures, for slides and pages, light and dark"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    folder = "lora-ref-figures"
    parser.add_argument("--out", default=folder, metavar="DIR", help=f"where to write ({folder})")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="figures to draw (all)")
    parser.add_argument("--theme", default="light", choices=("light", "dark", "both"))
    parser.add_argument("--format", default="svg", choices=("png", "svg", "both"))
    parser.add_argument("--list", action="store_true", help="only name the figures")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """Draw the figures that are named, or list them."""
    from lora_ref.figures import FIGURES, FORMATS, THEMES, entry, save_figures

    names = tuple(dict.fromkeys(options.only or FIGURES))
    chosen = {name: entry(name) for name in names}
    if options.list:
        if options.json:
            listed = [{"name": name, "title": chosen[name].title} for name in names]
            return Outcome(as_json({"schema": 1, "figures": listed}))
        return Outcome("\n".join(columns(((name, chosen[name].title) for name in names), "<<")))
    themes = tuple(theme for theme in THEMES if options.theme in (theme, "both"))
    formats = tuple(kind for kind in FORMATS if options.format in (kind, "both"))
    files = save_figures(Path(options.out), names, themes, formats)
    shown = [
        {
            "name": name,
            "title": chosen[name].title,
            "alt": chosen[name].picture().alt,
            "files": [str(path) for path in files[name]],
        }
        for name in names
    ]
    if options.json:
        return Outcome(as_json({"schema": 1, "figures": shown}))
    text = "\n\n".join(
        f"{one['title']}\n  alt: {one['alt']}\n" + "\n".join(f"  {path}" for path in one["files"])
        for one in shown
    )
    return Outcome(text)
