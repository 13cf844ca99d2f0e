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
        numbers = [step.number for step in steps]
        if options.step not in numbers:
            raise LoraRefError(
                f"step {options.step} does not exist, expected {numbers[0]} to {numbers[-1]}"
            )
        steps = tuple(step for step in steps if step.number == options.step)
    if options.json:
        body = [walkthrough.step_as_dict(step, exact=options.exact) for step in steps]
        return Outcome(as_json({"schema": 1, "steps": body}))
    return Outcome(
        "\n\n".join(walkthrough.format_step(step, exact=options.exact) for step in steps)
    )
