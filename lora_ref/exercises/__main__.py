"""Grade one file and write the grades as they are known; `grading` starts this, nobody else.

``python -m lora_ref.exercises FILE REPORT SEED ID ...``
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
    path, report, seed, *ids = sys.argv[1:]
    submission = run(Path(path))
    with open(report, "w", encoding="utf-8", newline="\n") as file:
        print(LOADED, file=file, flush=True)
        for said in grades(submission, [exercise(id) for id in ids], int(seed)):
            print(json.dumps([said.exercise, said.result, said.says]), file=file, flush=True)
    os._exit(0)  # threads that a file left behind are not waited for


if __name__ == "__main__":
    main()
