"""The door, one module a command; `COMMANDS` lists them.

Exit status: 0 good, 1 a check failed, 2 wrong usage. Results go to stdout, messages to stderr.
A command says what it takes (`add_arguments`) and returns an `Outcome` (`run`); only `main` prints.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence

from lora_ref import __version__
from lora_ref.cli import count, exercises, figures, study, verify, walkthrough
from lora_ref.cli.outcome import FAILED, INTERRUPTED, USAGE, Outcome
from lora_ref.errors import LoraRefError

COMMANDS = (verify, walkthrough, count, study, figures, exercises)
"""In the order in which the help lists them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        outcome: Outcome = options.run(options)
    except LoraRefError as error:
        _say(str(error))
        return USAGE
    except KeyboardInterrupt:
        _say(f"interrupted{options.kept}")
        return INTERRUPTED
    for message in outcome.messages:
        _say(message)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a title in a file may be written in any script, a terminal need not have its letters
        sys.stdout.reconfigure(errors="backslashreplace")
        if outcome.page:
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        print(outcome.text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        _say(f"the result cannot be written: {error}")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return outcome.status


def _say(message: str) -> None:
    """Print a message to stderr; where nobody can hear it, the exit status still speaks."""
    if sys.stderr is None:  # print would take stdout for it
        return
    try:
        print(f"lora-ref: {message}", file=sys.stderr, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-ref", description="LoRA in pure NumPy: recompute what is written about it."
    )
    parser.add_argument("--version", action="version", version=f"lora-ref {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        sub = commands.add_parser(name, help=command.SAYS, description=command.SAYS)
        sub.set_defaults(run=command.run, kept="")
        command.add_arguments(sub)
    return parser
