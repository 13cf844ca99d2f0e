"""Grade one file and print each grade as it is known; `grading` starts this as a child process.

``python -m lora_ref.exercises FILE SEED ID ...``
"""

import json
import os
import sys
from functools import partial
from pathlib import Path

from lora_ref.exercises import exercise
from lora_ref.exercises.grading import LOADED
from lora_ref.exercises.submission import grades, run
from lora_ref.processes import exit_with_parent


def main() -> None:
    """Run the file, then write one line for each exercise."""
    path, seed, *ids = sys.argv[1:]
    # these names are bound before the file runs, because it can put others in their place
    chosen, dumps, leave, get_pid = [exercise(id) for id in ids], json.dumps, os._exit, os.getpid
    process = get_pid()
    exit_with_parent(partial(os.read, os.dup(0), 1))  # stdin is a pipe of the parent
    report = open(os.dup(1), "w", encoding="utf-8", newline="\n")  # noqa: SIM115  open to the end
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)  # what the file prints is no grade
    os.close(nothing)
    write, flush = report.write, report.flush

    def write_line(line: str) -> None:
        if get_pid() != process:  # a file that forks is two, of which one reports
            leave(0)
        write(line + "\n")
        flush()

    sys.argv[:] = [path]
    submission = run(Path(path))
    write_line(LOADED)
    for feedback in grades(submission, chosen, int(seed)):
        write_line(dumps([feedback.exercise, feedback.result, feedback.message]))
    leave(0)  # without waiting for threads that the file has left behind


if __name__ == "__main__":
    main()
