"""Grade one file and print the grades as they are known; `grading` starts this, nobody else.

``python -m lora_ref.exercises FILE SEED ID ...``
"""

import json
import os
import sys
from pathlib import Path

from lora_ref.exercises import exercise
from lora_ref.exercises.grading import LOADED
from lora_ref.exercises.submission import grades, run


def main() -> None:
    """Run the file, then write a line for each exercise."""
    path, seed, *ids = sys.argv[1:]
    chosen, dumps, leave, of_process = [exercise(id) for id in ids], json.dumps, os._exit, os.getpid
    process = of_process()
    file = open(os.dup(1), "w", encoding="utf-8", newline="\n")  # noqa: SIM115  open to the end
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what the file prints is no grade
    os.close(nowhere)
    write, flush = file.write, file.flush  # all taken before the file can put others in their place

    def tell(line: str) -> None:
        if of_process() != process:  # a file that forks is two, and one of them is enough
            leave(0)
        write(line + "\n")
        flush()

    sys.argv[:] = [path]
    submission = run(Path(path))
    tell(LOADED)
    for said in grades(submission, chosen, int(seed)):
        tell(dumps([said.exercise, said.result, said.says]))
    leave(0)  # threads that a file left behind are not waited for


if __name__ == "__main__":
    main()
