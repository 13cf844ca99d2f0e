"""Many files, each run in a process of its own with a time limit: the grades of a class.

The process is there so that a file which never ends, or takes Python down with it, costs its own
grade alone. It is no sandbox: a file can read, write and send whatever the caller can.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from threading import Event
from time import monotonic
from typing import NamedTuple

import lora_ref.errors
from lora_ref.arrays import as_finite
from lora_ref.errors import LoraRefError
from lora_ref.exercises.exercise import Exercise
from lora_ref.exercises.feedback import Feedback
from lora_ref.exercises.submission import ENDINGS

SECONDS = 20.0
"""What a file may take, from its first line to each further grade."""

THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

TICK = 0.1
"""Seconds between two looks at a report."""

LOADED = "loaded"
"""First line of a child's report: the file has run, what follows are grades."""

TIMED_OUT = "timed-out"
CRASHED = "crashed"


class Grade(NamedTuple):
    """The feedback on one exercise in one file."""

    file: str
    feedback: Feedback


def files_of(path: Path) -> list[Path]:
    """Return a file, or all Python files and notebooks of a folder and those in it.

    Raises
    ------
    LoraRefError
        For a path that does not exist, a file of another kind, or a folder without any.
    """
    try:
        exists = path.exists()
    except OSError as error:
        raise LoraRefError(f"{path} cannot be looked for: {error.strerror}") from None
    if not exists:
        raise LoraRefError(f"{path} does not exist, expected a file or a folder of submissions")
    if not path.is_dir():
        if path.suffix.lower() not in ENDINGS:
            raise LoraRefError(f"{path} ends in {path.suffix!r}, expected .py or .ipynb")
        return [path]
    found = sorted(
        one
        for one in path.rglob("*")
        if one.suffix.lower() in ENDINGS and one.is_file() and not _is_hidden(one.relative_to(path))
    )
    if not found:
        raise LoraRefError(f"{path} holds no .py and no .ipynb file, expected submissions")
    return found


def _is_hidden(path: Path) -> bool:
    return any(part.startswith((".", "__")) for part in path.parts)


def grade(
    paths: Sequence[Path],
    exercises: Sequence[Exercise],
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    processes: int | None = None,
) -> list[Grade]:
    """Return the grades, file by file and in each in the order of the exercises.

    Parameters
    ----------
    paths : sequence of Path
        Python files and notebooks.
    exercises : sequence of Exercise
        What is looked for in each.
    seconds : float
        The time limit: for running the file, and again for each exercise that does not end.
    seed : int
        Of the arguments that are drawn.
    processes : int, optional
        How many files run at once; one for each processor if omitted.
    """
    seconds = as_finite("seconds in grade", seconds)
    if seconds <= 0:
        raise LoraRefError(f"seconds in grade is {seconds:g}, expected more than 0")

    stop = Event()

    def of_one(path: Path) -> list[Grade]:
        return [Grade(str(path), said) for said in _grade_one(path, exercises, seconds, seed, stop)]

    with ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
        try:
            return [one for grades in pool.map(of_one, paths) for one in grades]
        except BaseException:  # an interruption: the children that run are ended, no more begin
            stop.set()
            raise


def _grade_one(
    path: Path, exercises: Sequence[Exercise], seconds: float, seed: int, stop: Event
) -> list[Feedback]:
    done: list[Feedback] = []
    with _folder() as folder:
        report, work = Path(folder, "report"), Path(folder, "work")
        work.mkdir()
        while len(done) < len(exercises) and not stop.is_set():
            left = exercises[len(done) :]
            report.unlink(missing_ok=True)
            ids = [one.id for one in left]
            ended = _run_child(path, report, ids, seed, seconds, work, stop)
            loaded, heard = _read(report, ids)
            done += heard
            left = exercises[len(done) :]
            if not left:
                break
            # the one that was being checked stopped the process; without a file that runs, all did
            stopped = left[:1] if loaded else left
            done += [_stopped(one, ended, loaded, seconds) for one in stopped]
    return done


@contextmanager
def _folder() -> Iterator[str]:
    """Make a folder for a while; what a file has done to it is no reason to stop grading."""
    folder = mkdtemp(prefix="lora-ref-")
    try:
        yield folder
    finally:
        with suppress(OSError, RecursionError):
            shutil.rmtree(folder, ignore_errors=True)


def _run_child(
    path: Path,
    report: Path,
    ids: Sequence[str],
    seed: int,
    seconds: float,
    folder: Path,
    stop: Event,
) -> int | None:
    """Run and grade a file in a process of its own; return its exit status, None if ended."""
    home = str(Path(lora_ref.errors.__file__).parents[1])
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),  # as many processes as cores, each with as many threads?
        "MPLBACKEND": "Agg",  # plt.show() returns at once
        "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH")))),
    }
    command = [sys.executable, "-m", "lora_ref.exercises", str(path.resolve()), str(report)]
    child = subprocess.Popen(
        [*command, str(seed), *ids],
        cwd=folder,  # what a file writes beside itself goes away with it
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=os.name == "posix",
    )
    try:
        return _wait(child, report, seconds, stop)
    finally:
        _end(child)


def _wait(
    child: "subprocess.Popen[bytes]", report: Path, seconds: float, stop: Event
) -> int | None:
    """Wait for a child; the limit begins anew whenever its report has grown."""
    size, since = 0, monotonic()
    while True:
        try:
            return child.wait(TICK)
        except subprocess.TimeoutExpired:
            grown = report.stat().st_size if report.exists() else 0
            if grown != size:
                size, since = grown, monotonic()
            elif stop.is_set() or monotonic() - since > seconds:
                return None


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a child and, where the system has groups, whatever it started."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    child.wait()


def _read(report: Path, ids: Sequence[str]) -> tuple[bool, list[Feedback]]:
    """Return whether the file has run, and the grades in their order, up to the first that fails.

    A file can write here as well, by accident or not: what is no grade in its turn is passed over.
    """
    try:
        lines = report.read_text(encoding="utf-8").split("\n")[:-1]  # the last is not whole
    except (OSError, ValueError):
        return False, []
    found: list[Feedback] = []
    for line in lines:
        with suppress(ValueError, TypeError):
            id, result, says = json.loads(line)
            if len(found) < len(ids) and id == ids[len(found)]:
                found.append(Feedback(id, str(result), str(says)))
    return LOADED in lines, found


def _stopped(exercise: Exercise, status: int | None, loaded: bool, seconds: float) -> Feedback:
    what = f"the function {exercise.function}" if loaded else "the file"
    if status is None:
        return Feedback(exercise.id, TIMED_OUT, f"{what} does not end within {seconds:g} seconds.")
    how = f"status {status}"
    if status < 0:  # a signal, where the system has them
        with suppress(ValueError):
            how = signal.Signals(-status).name
    return Feedback(
        exercise.id, CRASHED, f"{what} ends Python with {how} before there is a result."
    )
