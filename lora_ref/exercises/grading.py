"""Many files, each run in a process of its own with a time limit: the grades of a class.

The process is there so that a file which never ends, or takes Python down with it, costs its own
grade alone. It is no sandbox: a file can read, write and send whatever the caller can. It can
forge its grades too, by patching NumPy or the exercise or by writing lines into the report.
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
from typing import IO, NamedTuple, TypeAlias

import lora_ref.errors
from lora_ref.checks import as_finite
from lora_ref.errors import LoraRefError
from lora_ref.exercises.exercise import Exercise
from lora_ref.exercises.feedback import Feedback
from lora_ref.exercises.submission import ENDINGS
from lora_ref.processes import THREADS, interrupted_once

SECONDS = 20.0
"""What a file may take, from its first line to each further grade."""

TICK = 0.1
"""Seconds between two looks at a report."""

ENDED = 10.0
"""Seconds in which the system takes away a process that was ended."""

LARGEST = 1_000_000
"""Bytes of a report that are read; the grades of all exercises are a few thousand."""

LONGEST_NAME = 200
"""Characters of a folder's name that are shown; one of 1,500 levels fills a screen."""

LOADED = "loaded"
"""First line of a child's report: the file has run, what follows are grades."""

TIMED_OUT = "timed-out"
CRASHED = "crashed"

Ending: TypeAlias = tuple[str, str]
"""How a process ended: the result of what was being checked, and the rest of a sentence."""


class Grade(NamedTuple):
    """The feedback on one exercise in one file."""

    file: str
    feedback: Feedback


class Found(NamedTuple):
    """The submissions of a folder, and in a sentence each what is none and looks like one."""

    files: list[Path]
    skipped: list[str]


def files_of(path: Path) -> Found:
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
        return Found([path], [])
    files, skipped, folders = [], [], [str(path)]
    while folders:  # no recursion: a folder may be deeper than Python's stack
        folder = folders.pop()
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith((".", "__pycache__", "__MACOSX")):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    elif os.path.isdir(entry.path):
                        skipped.append(f"{_short(entry.path)} is a link to a folder, and left out")
                    elif os.path.splitext(entry.name)[1].lower() not in ENDINGS:
                        continue
                    elif os.path.isfile(entry.path):
                        files.append(Path(entry.path))
                    else:
                        what = "a link that leads nowhere" if entry.is_symlink() else "no file"
                        skipped.append(f"{_short(entry.path)} is {what}, and left out")
        except OSError as error:
            skipped.append(f"{_short(folder)} cannot be read ({error.strerror}), and is left out")
    if not files:
        why = "".join(f"; {one}" for one in sorted(skipped))
        raise LoraRefError(f"{path} holds no .py and no .ipynb file, expected submissions{why}")
    return Found(sorted(files), sorted(skipped))


def _short(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]} ..."


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
        The time limit: for running the file, and again for each exercise. All together take no
        longer than that, however often the file is run anew.
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

    with interrupted_once(), ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
        try:
            return [one for grades in pool.map(of_one, paths) for one in grades]
        except BaseException:  # an interruption: the children that run are ended, no more begin
            stop.set()
            raise


def _grade_one(
    path: Path, exercises: Sequence[Exercise], seconds: float, seed: int, stop: Event
) -> list[Feedback]:
    done: list[Feedback] = []
    until = monotonic() + seconds * (1 + len(exercises))  # whatever it does, it is over by then
    while len(done) < len(exercises) and not stop.is_set():
        left = exercises[len(done) :]
        try:
            loaded, heard, (result, how) = _run_child(path, left, seed, seconds, until, stop)
        except OSError as error:  # no room on the disk, such as after another file filled it
            loaded, heard = False, []
            result, how = CRASHED, f"cannot be run ({error.strerror or error})"
        done += heard
        left = exercises[len(done) :]
        # the one that was being checked stopped the process; without a file that runs, all did
        if loaded and monotonic() < until:
            stopped, what = left[:1], f"the function {left[0].function}" if left else ""
        else:
            stopped, what = left, "the file"
        done += [Feedback(one.id, result, f"{what} {how}.") for one in stopped]
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
    exercises: Sequence[Exercise],
    seed: int,
    seconds: float,
    until: float,
    stop: Event,
) -> tuple[bool, list[Feedback], Ending]:
    """Run and grade a file in a process of its own; return what it reports, and how it ended.

    The report is the child's stdout: the file that is read is the one that was opened here,
    whatever is done to its name meanwhile.
    """
    home = str(Path(lora_ref.errors.__file__).parents[1])
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),  # as many processes as cores, each with as many threads?
        "MPLBACKEND": "Agg",  # plt.show() returns at once
        "PYTHONPATH": os.pathsep.join(filter(None, (home, os.environ.get("PYTHONPATH")))),
    }
    ids = [one.id for one in exercises]
    command = [sys.executable, "-m", "lora_ref.exercises", str(path.resolve()), str(seed), *ids]
    with _folder() as folder:
        work, name = Path(folder, "work"), Path(folder, "report")
        work.mkdir()
        with open(name, "wb") as written, open(name, "rb") as report:
            child = subprocess.Popen(
                command,
                cwd=work,  # what a file writes beside itself goes away with it
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=written,
                stderr=subprocess.DEVNULL,
                start_new_session=os.name == "posix",
            )
            try:
                ending = _wait(child, report, ids, seconds, until, stop)
            finally:
                _end(child)
            return *_read(report, ids), ending


def _wait(
    child: "subprocess.Popen[bytes]",
    report: IO[bytes],
    ids: Sequence[str],
    seconds: float,
    until: float,
    stop: Event,
) -> Ending:
    """Wait for a child; the limit begins anew with each grade, and never goes beyond `until`."""
    size, graded, since = 0, 0, monotonic()
    while True:
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(TICK)
        now, grown = monotonic(), os.fstat(report.fileno()).st_size
        if grown > LARGEST:
            return CRASHED, f"writes more than {LARGEST:,} bytes where its grades stand"
        if status is not None:
            return CRASHED, f"ends Python with {_status(status)} before there is a result"
        if grown != size:
            size, (loaded, heard) = grown, _read(report, ids)
            if loaded + len(heard) > graded:
                graded, since = loaded + len(heard), now
        if now > until:
            return TIMED_OUT, "takes too long: the time of all its exercises is over"
        if stop.is_set() or now - since > seconds:
            return TIMED_OUT, f"does not end within {seconds:g} seconds"


def _status(status: int) -> str:
    if status < 0:  # a signal, where the system has them
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"status {status}"


def _end(child: "subprocess.Popen[bytes]") -> None:
    """End a child and, where the system has groups, whatever it started."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    with suppress(subprocess.TimeoutExpired):  # the system may hold it, and others wait
        child.wait(ENDED)


def _read(report: IO[bytes], ids: Sequence[str]) -> tuple[bool, list[Feedback]]:
    """Return whether the file has run, and the grades in their order, up to the first that fails.

    A file can write here as well, by accident or not: what is no grade in its turn is passed over.
    """
    report.seek(0)
    text = report.read(LARGEST).decode("utf-8", "replace")
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]  # the last is not whole
    found: list[Feedback] = []
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):
            id, result, says = json.loads(line)
            if len(found) < len(ids) and id == ids[len(found)]:
                found.append(Feedback(id, str(result), str(says)))
    return LOADED in lines, found
