"""``lora-ref exercises``: the exercises of the notebooks, and the grades of a class."""

import argparse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from lora_ref.cli.outcome import FAILED, GOOD, Outcome, as_json, columns, whole
from lora_ref.errors import LoraRefError

if TYPE_CHECKING:
    from lora_ref.exercises import Exercise
    from lora_ref.exercises.grading import Grade

HELP = "list the exercises of the notebooks, or check a file or a folder of answers"

HINT = "lora-ref exercises ID prints a task, --stubs a file to fill in, --check FILE its grades."

UNTRIED = ("missing", "not-attempted")
"""Results of exercises without an attempt; they count neither as right nor as wrong."""

WIDTH = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("ids", nargs="*", metavar="ID", help="exercises (all); alone: their tasks")
    parser.add_argument(
        "--check",
        metavar="PATH",
        help="a file with answers, .py or .ipynb, or a folder of such files. Each runs in a "
        "process of its own with a time limit, which is no sandbox: a file can do what you can "
        "and forge its grades. Check files of people you trust",
    )
    parser.add_argument("--seconds", metavar="S", help="the time limit of a file (20)")
    parser.add_argument("--seed", metavar="N", help="draw other sizes and numbers (0)")
    parser.add_argument("--stubs", action="store_true", help="print a file to fill in")
    parser.add_argument(
        "--loops", action="store_true", help="print the loops of tasks that fold them away"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """List exercises, print their tasks or stubs, or check answers."""
    from lora_ref.exercises import EXERCISES, exercise

    forms = {"--check": options.check is not None, "--stubs": options.stubs}
    asked = [flag for flag, given in forms.items() if given]
    if len(asked) > 1 or (options.json and asked not in ([], ["--check"])):
        flags = " and ".join([*asked, "--json"] if options.json else asked)
        raise LoraRefError(f"{flags} do not go together, expected one of them")
    if options.loops and (asked or options.json or not options.ids):
        raise LoraRefError("--loops goes with names of exercises, and with no other option")
    chosen = [exercise(id) for id in dict.fromkeys(options.ids or EXERCISES)]
    if options.check is not None:
        return _check(options, chosen)
    for flag in ("seconds", "seed"):
        if getattr(options, flag) is not None:
            raise LoraRefError(f"--{flag} goes with --check")
    if options.json:
        rows = [_row(one, None, None) for one in chosen]
        return Outcome(as_json({"schema": 1, "exercises": rows}))
    if options.stubs:
        needed = dict.fromkeys(line for one in chosen for line in one.imports)
        head = "\n".join([*needed, *([""] if needed else []), "import numpy as np"])
        return Outcome(head + "\n\n\n" + "\n\n".join(one.stub() for one in chosen).rstrip())
    if options.ids:
        return Outcome("\n\n\n".join(one.text(loops=options.loops) for one in chosen))
    lines = columns(((one.notebook, one.id, one.title) for one in chosen), "<<<")
    return Outcome("\n".join([*lines, "", HINT]))


def _check(options: argparse.Namespace, chosen: "Sequence[Exercise]") -> Outcome:
    from lora_ref.exercises.grading import SECONDS, files_of, grade

    if not options.check:
        raise LoraRefError("--check is empty, expected a file or a folder of answers")
    paths, skipped = files_of(Path(options.check))
    messages = tuple(_plain(one) for one in skipped)
    seconds = SECONDS if options.seconds is None else _seconds(options.seconds)
    seed = 0 if options.seed is None else whole("--seed", options.seed, 10**9 - 1, smallest=0)
    grades = grade(paths, chosen, seconds=seconds, seed=seed)
    tried = [one for one in grades if one.feedback.result not in UNTRIED]
    status = GOOD if tried and all(one.feedback.right for one in tried) else FAILED
    if options.json:
        by_id = {one.id: one for one in chosen}
        rows = [_row(by_id[one.feedback.exercise], one.file, one.feedback.result) for one in grades]
        return Outcome(as_json({"schema": 1, "exercises": rows}), status, messages)
    files = [
        _of_file(str(path), [one for one in grades if one.file == str(path)]) for path in paths
    ]
    summary = _of_class(chosen, grades) if len(paths) > 1 else []
    text = "\n\n".join("\n".join(lines) for lines in (*files, summary) if lines)
    return Outcome(text, status, messages)


def _plain(text: str) -> str:
    """Return a text with the control characters of terminals escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        raise LoraRefError(f"--seconds is {text!r}, expected a number") from None
    if not 0 <= seconds < 1e9:
        raise LoraRefError(f"--seconds is {text}, expected a number from 0, below 1e9")
    return seconds


def _row(exercise: "Exercise", file: str | None, result: str | None) -> dict[str, Any]:
    row = {"id": exercise.id, "notebook": exercise.notebook, "title": exercise.title}
    return {**row, "file": file, "result": result}


def _of_file(name: str, grades: "Sequence[Grade]") -> list[str]:
    """Return how many answers are right, and the feedback for the others, each text once."""
    said: dict[str, list[str]] = {}
    for grade in grades:
        words = "right" if grade.feedback.right else _plain(grade.feedback.message)
        said.setdefault(words, []).append(grade.feedback.exercise)
    lines = [f"{_plain(name)}: {len(said.get('right', []))} of {len(grades)} right"]
    for words, ids in said.items():
        lines += wrap(
            f"{', '.join(ids)}: {words}", WIDTH, initial_indent="  ", subsequent_indent="    ",
            break_on_hyphens=False,
        )  # fmt: skip
    return lines


def _of_class(exercises: "Sequence[Exercise]", grades: "Sequence[Grade]") -> list[str]:
    """Return a table: a line for each exercise, with the most frequent mistake."""
    rows = [["exercise", "right", "wrong", "untried", "most frequent mistake"]]
    for exercise in exercises:
        results = [one.feedback.result for one in grades if one.feedback.exercise == exercise.id]
        wrong = Counter(one for one in results if one not in (*UNTRIED, "right"))
        name, times = wrong.most_common(1)[0] if wrong else ("", 0)
        often = f"{name} ({times})" if wrong else ""
        counts = results.count("right"), wrong.total(), sum(one in UNTRIED for one in results)
        rows.append([exercise.id, *map(str, counts), often])
    return columns(rows, "<>>><")
