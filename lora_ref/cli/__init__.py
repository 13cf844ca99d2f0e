"""The command line, one module a command; `COMMANDS` lists them.

A command has `HELP`, `add_arguments` for its options, and `run`, which returns an `Outcome`. Only
`main` prints: results to stdout, messages to stderr. The exit status is 0 if all is well, 1 if a
check failed, 2 for wrong usage, 130 after an interruption.
"""

import argparse
import io
import os
import sys
from collections.abc import Sequence
from typing import TextIO

from lora_ref import __version__
from lora_ref.cli import (
    adapt,
    adapter,
    count,
    exercises,
    figures,
    sentiment,
    speak,
    study,
    verify,
    walkthrough,
)
from lora_ref.cli.outcome import FAILED, INTERRUPTED, USAGE, Outcome
from lora_ref.errors import LoraRefError

COMMANDS = (
    *(verify, walkthrough, speak, adapt, adapter, sentiment),
    *(count, study, figures, exercises),
)
"""In the order of the help."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    try:
        outcome: Outcome = options.run(options)
    except LoraRefError as error:
        _print_message(str(error))
        return USAGE
    except KeyboardInterrupt:
        _print_message(f"interrupted{options.kept}")
        return INTERRUPTED
    for message in outcome.messages:
        _print_message(message)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # a title in a file may be in any script, and the terminal may not have its letters
        sys.stdout.reconfigure(errors="backslashreplace")
        if outcome.page:
            sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        print(outcome.text, flush=True)
    except BrokenPipeError:  # the reader, such as head, reads no further
        _redirect_to_null(sys.stdout)
    except OSError as error:
        _print_message(f"the result cannot be written: {error}")
        _redirect_to_null(sys.stdout)
        return FAILED
    return outcome.status


def _print_message(message: str) -> None:
    """Print a message to stderr; if that fails, the exit status stays what it is."""
    if sys.stderr is None:  # print would write to stdout
        return
    try:
        print(f"lora-ref: {message}", file=sys.stderr, flush=True)
    except OSError:
        _redirect_to_null(sys.stderr)


def _redirect_to_null(stream: TextIO) -> None:
    """Send what is left in a stream's buffer nowhere: Python flushes it once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lora-ref", description="LoRA in pure NumPy: recompute what is written about it."
    )
    parser.add_argument("--version", action="version", version=f"lora-ref {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in COMMANDS:
        name = command.__name__.rpartition(".")[2]
        sub = commands.add_parser(name, help=command.HELP, description=command.HELP)
        sub.set_defaults(run=command.run, kept="")
        command.add_arguments(sub)
    return parser
