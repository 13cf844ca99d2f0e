"""``lora-ref walkthrough``: the article's example, step by step."""

import argparse

from lora_ref.cli.outcome import Outcome, as_json
from lora_ref.errors import LoraRefError

HELP = "step through the article's 4x4 example"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--step", type=int, metavar="N", help="one step alone")
    parser.add_argument("--exact", action="store_true", help="show fractions")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """Step through the article's 4x4 example."""
    from lora_ref import walkthrough

    steps = walkthrough.all_steps()
    if options.step is not None:
        if not 1 <= options.step <= len(steps):
            raise LoraRefError(f"step {options.step} does not exist, expected 1 to {len(steps)}")
        steps = (steps[options.step - 1],)
    if options.json:
        body = [walkthrough.step_as_dict(step, exact=options.exact) for step in steps]
        return Outcome(as_json({"schema": 1, "steps": body}))
    texts = (walkthrough.format_step(step, exact=options.exact) for step in steps)
    return Outcome("\n\n".join(texts))
