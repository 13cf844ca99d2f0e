"""Grades of many files, each run in a process of its own with a time limit.

The process keeps a file that never ends, or that ends Python, from costing other files their
grades. It is no sandbox: a file can read, write and send whatever the caller can. It can also forge
its grades, by patching NumPy or the exercise or by writing lines into the report.
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
from typing import IO, NamedTuple

import lora_ref.errors
from lora_ref.checks import as_finite
from lora_ref.errors import LoraRefError
from lora_ref.exercises.exercise import Exercise
from lora_ref.exercises.feedback import Feedback
from lora_ref.exercises.submission import ENDINGS
from lora_ref.processes import THREADS, interrupted_once

SECONDS = 20.0
"""The default time limit for running a file, and again for each exercise."""

TICK = 0.1
"""Seconds between two checks of a report."""

KILL_SECONDS = 10.0
"""Seconds to wait for the system to remove a process that was killed."""

MOST_CUTS = 1000
"""Pieces into which a file's folder is cut to be removed, where it is deeper than the stack."""

LARGEST = 1_000_000
"""Bytes of a report that are read; the grades of all exercises are a few thousand."""

LOADED = "loaded"
"""First line of a child's report: the file has run, and grades follow."""

TIMED_OUT = "timed-out"
CRASHED = "crashed"


class Grade(NamedTuple):
    """The feedback on one exercise in one file."""

    file: str
    feedback: Feedback


class Found(NamedTuple):
    """The submissions in a folder, and a message for everything else that looks like one."""

    files: list[Path]
    skipped: list[str]


def files_of(path: Path) -> Found:
    """Return a file, or all Python files and notebooks of a folder and the folders in it."""
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
                        skipped.append(f"{entry.path} is a link to a folder, and left out")
                    elif os.path.splitext(entry.name)[1].lower() not in ENDINGS:
                        continue
                    elif os.path.isfile(entry.path):
                        files.append(Path(entry.path))
                    else:
                        what = "a link that leads nowhere" if entry.is_symlink() else "no file"
                        skipped.append(f"{entry.path} is {what}, and left out")
        except OSError as error:
            skipped.append(f"{folder} cannot be read ({error.strerror}), and is left out")
    if not files:
        why = "".join(f"; {one}" for one in sorted(skipped))
        raise LoraRefError(f"{path} holds no .py and no .ipynb file, expected submissions{why}")
    return Found(sorted(files), sorted(skipped))


def grade(
    paths: Sequence[Path],
    exercises: Sequence[Exercise],
    *,
    seconds: float = SECONDS,
    seed: int = 0,
    processes: int | None = None,
) -> list[Grade]:
    """Return the grades file by file, and for each file in the order of the exercises.

    `seconds` limit the running of a file, and again each exercise; their sum is limited too,
    however often the file is run again. `processes` is how many files run at once, by default one
    for each processor.
    """
    seconds = as_finite("seconds in grade", seconds)
    if seconds <= 0:
        raise LoraRefError(f"seconds in grade is {seconds:g}, expected more than 0")
    stop = Event()

    def of_one(path: Path) -> list[Grade]:
        feedbacks = _grade_one(path, exercises, seconds, seed, stop)
        return [Grade(str(path), feedback) for feedback in feedbacks]

    with interrupted_once(), ThreadPoolExecutor(processes or os.cpu_count() or 1) as pool:
        try:
            return [one for grades in pool.map(of_one, paths) for one in grades]
        except BaseException:  # an interruption: running children are ended, and no more start
            stop.set()
            raise


def _grade_one(
    path: Path, exercises: Sequence[Exercise], seconds: float, seed: int, stop: Event
) -> list[Feedback]:
    """Grade one file; after an exercise that ends its process, run it again for the others."""
    done: list[Feedback] = []
    until = monotonic() + seconds * (1 + len(exercises))
    while len(done) < len(exercises) and not stop.is_set():
        left = exercises[len(done) :]
        try:
            loaded, new, (result, how) = _run_child(path, left, seed, seconds, until, stop)
        except OSError as error:  # for example a full disk, which another file may have filled
            loaded, new = False, []
            result, how = CRASHED, f"cannot be run ({error.strerror or error})"
        done += new
        left = exercises[len(done) :]
        # a file that was loaded has failed in its current exercise, any other file in all of them
        if loaded and monotonic() < until:
            failed, what = left[:1], f"the function {left[0].function}" if left else ""
        else:
            failed, what = left, "the file"
        done += [Feedback(one.id, result, f"{what} {how}.") for one in failed]
    return done


def _run_child(
    path: Path, exercises: Sequence[Exercise], seed: int, seconds: float, until: float, stop: Event
) -> tuple[bool, list[Feedback], tuple[str, str]]:
    """Grade a file in a child process; return whether it was loaded, its grades, how it ended.

    The report is the child's stdout. It is read through the file that was opened here, because a
    submission can rename or replace the path. The child ends when its stdin is closed.
    """
    package = str(Path(lora_ref.errors.__file__).parents[1])
    environment = {
        **os.environ,
        **dict.fromkeys(THREADS, "1"),  # there are as many processes as cores already
        "MPLBACKEND": "Agg",  # plt.show() returns at once
        "PYTHONPATH": os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH")))),
    }
    ids = [one.id for one in exercises]
    command = [sys.executable, "-m", "lora_ref.exercises", str(path.resolve()), str(seed), *ids]
    with _temporary_folder() as folder:
        work, name = Path(folder, "work"), Path(folder, "report")
        work.mkdir()
        with open(name, "wb") as written, open(name, "rb") as report:
            child = subprocess.Popen(
                command,
                cwd=work,  # what a file writes beside itself is removed with it
                env=environment,
                stdin=subprocess.PIPE,
                stdout=written,
                stderr=subprocess.DEVNULL,
                start_new_session=os.name == "posix",
            )
            try:
                ending = _wait(child, report, ids, seconds, until, stop)
            finally:
                _kill(child)
            return *_read(report, ids), ending


@contextmanager
def _temporary_folder() -> Iterator[str]:
    """Make a folder and remove it, ignoring errors: a file can do anything to its folder."""
    folder = mkdtemp(prefix="lora-ref-")
    try:
        yield folder
    finally:
        for number in range(MOST_CUTS):
            with suppress(OSError, RecursionError):
                shutil.rmtree(folder, ignore_errors=True)
            if not os.path.lexists(folder):
                break
            with suppress(OSError):
                os.rename(_far_down(folder), os.path.join(folder, f"cut-{number}"))


def _far_down(folder: str) -> str:
    """Return a folder some way down; one that is deeper than Python's stack is cut there."""
    for _ in range(300):
        inside = [entry.path for entry in os.scandir(folder) if entry.is_dir(follow_symlinks=False)]
        if not inside or len(inside[0]) > 1000:  # a path has a longest length too
            break
        folder = max(inside)
    return folder


def _wait(
    child: "subprocess.Popen[bytes]",
    report: IO[bytes],
    ids: Sequence[str],
    seconds: float,
    until: float,
    stop: Event,
) -> tuple[str, str]:
    """Wait for a child, up to `seconds` for each grade; return a result and a message's end."""
    size, graded, since = 0, 0, monotonic()
    while True:
        status = None
        with suppress(subprocess.TimeoutExpired):
            status = child.wait(TICK)
        now, grown = monotonic(), os.fstat(report.fileno()).st_size
        if grown > LARGEST:
            return CRASHED, f"writes more than {LARGEST:,} bytes where its grades stand"
        if status is not None:
            return CRASHED, f"ends Python with {_status_text(status)} before there is a result"
        if grown != size:
            size, (loaded, feedbacks) = grown, _read(report, ids)
            if loaded + len(feedbacks) > graded:
                graded, since = loaded + len(feedbacks), now
        if now > until:
            return TIMED_OUT, "takes too long: the time of all its exercises is over"
        if stop.is_set() or now - since > seconds:
            return TIMED_OUT, f"does not end within {seconds:g} seconds"


def _status_text(status: int) -> str:
    if status < 0:  # a signal, where the system has them
        with suppress(ValueError):
            return signal.Signals(-status).name
    return f"status {status}"


def _kill(child: "subprocess.Popen[bytes]") -> None:
    """Kill a child and, where the system has process groups, whatever it has started."""
    if sys.platform != "win32":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.kill()
    if child.stdin is not None:
        child.stdin.close()
    with suppress(subprocess.TimeoutExpired):  # the system may keep it; other files are waiting
        child.wait(KILL_SECONDS)


def _read(report: IO[bytes], ids: Sequence[str]) -> tuple[bool, list[Feedback]]:
    """Return whether the file was loaded, and the grades in the order of the ids.

    A file can write to the report too: a line that is not the next grade is ignored.
    """
    report.seek(0)
    text = report.read(LARGEST).decode("utf-8", "replace")
    lines = [line.rstrip("\r") for line in text.split("\n")[:-1]]  # the last one is not complete
    found: list[Feedback] = []
    for line in lines:
        with suppress(ValueError, TypeError, RecursionError):
            id, result, message = json.loads(line)
            if len(found) < len(ids) and id == ids[len(found)]:
                found.append(Feedback(id, str(result), str(message)))
    return LOADED in lines, found
