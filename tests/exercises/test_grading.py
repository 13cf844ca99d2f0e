"""Files of answers: what is read of them, each in a process of its own, and the command."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from threading import Thread

import pytest

from lora_ref import cli
from lora_ref.errors import LoraRefError
from lora_ref.exercises import EXERCISES, exercise, grading
from lora_ref.exercises.grading import CRASHED, TIMED_OUT, files_of, grade
from lora_ref.exercises.submission import BROKEN, MISSING, grades, run

KEYS = {"id", "notebook", "title", "file", "result"}
TAIL = "def tail(norm, s):\n    return float((norm**2 - (s**2).sum()) ** 0.5)\n"
TWINS = "import os\nif hasattr(os, 'fork'):\n    os.fork()\n"
INTO_REPORT = """import os
def into_report(line):
    for fd in range(3, 9):  # nobody tells a file which one it is
        try:
            os.write(fd, line)
        except OSError:
            pass
"""
FIFO = "if hasattr(os, 'mkfifo'):\n    os.remove('../report')\n    os.mkfifo('../report')\n"
RIGHT = "def delta_w(A, B, alpha):\n    return alpha / len(A) * B @ A\n"
OWN = "def own(f):\n    return lambda *a: f(*a)\n@own\ndef merge(*a):\n    return a\n"
DATACLASS = "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\n"
WRONG = "def delta_w(A, B, alpha):\n    return A @ B\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def notebook(path: Path, *cells: str) -> Path:
    text = {"cell_type": "markdown", "source": ["1 / 0"]}
    code = [{"cell_type": "code", "source": cell.splitlines(keepends=True)} for cell in cells]
    return write(path, json.dumps({"cells": [text, *code]}))


def within(limit, function, *given, **more):
    """Return what a function returns, and fail where it takes longer."""
    found = []
    thread = Thread(target=lambda: found.append(function(*given, **more)), daemon=True)
    thread.start()
    thread.join(limit)
    assert found, f"{function.__name__} raised, or did not end within {limit} seconds"
    return found[0]


def result_of(path: Path, id: str = "delta-w") -> tuple[str, str]:
    (said,) = grades(run(path), [exercise(id)])
    return said.result, said.message


# ---------------------------------------------------------------------- what is read of a file


@pytest.mark.parametrize(
    ("text", "result", "says"),
    [
        (RIGHT, "right", "right"),
        (WRONG, "A-B", "the article's slip"),
        ("x = 1\n", MISSING, "the file defines no function of that name."),
        (RIGHT + "1 / 0\n", "right", "right"),
        ("1 / 0\n" + RIGHT, BROKEN, "the file, line 1, stops with ZeroDivisionError"),
        ("1 / 0\n", MISSING, "the file defines no function of that name."),
        ("def delta_w(:\n", BROKEN, "the file, line 1, stops with SyntaxError"),
        ("raise SystemExit(3)\n" + RIGHT, BROKEN, "stops with SystemExit: 3"),
        ("from __future__ import annotations\n" + DATACLASS + RIGHT, "right", "right"),
        (
            "import functools\n" + RIGHT + "delta_w = functools.cache(delta_w)\n",
            "raises",
            "TypeError",
        ),
        ("import functools as f\n" + RIGHT + "delta_w = f.partial(delta_w)\n", "right", "right"),
        (
            "class C:\n  def d(self, A, B, alpha):\n    return A @ B\ndelta_w = C().d\n",
            "A-B",
            "A B",
        ),
        ("if __name__ == '__main__':\n    1 / 0\n" + RIGHT, "right", "right"),
        ("# coding: latin-1\ns = 'é'\n" + RIGHT, "right", "right"),
        (
            "delta_w = 3\n",
            MISSING,
            "delta_w is an int, and the file defines no function",
        ),
        ("from numpy.linalg import svd as delta_w\n", MISSING, "delta_w is imported"),
    ],
)
def test_a_python_file_is_run_and_asked_for_the_function(tmp_path, text, result, says):
    path = tmp_path / "answers.py"
    path.write_bytes(text.encode("latin-1" if "latin" in text else "utf-8"))
    found = result_of(path)
    assert found[0] == result
    assert says in found[1]


def test_of_a_notebook_every_code_cell_is_run_without_what_only_ipython_reads(tmp_path):
    magic = "%matplotlib inline\n!ls\nimport numpy as np\ntry:\n    pass\nfinally:\n    !ls\n"
    timed = "%%time\nfiles = !ls\n%time s = 1.0\ndisplay(s, files)\n" + TAIL
    cells = magic, "1 / 0", RIGHT + "delta_w?", "%%bash\nfor x in a; do ls; done", timed
    path = notebook(tmp_path / "answers.ipynb", *cells)
    assert result_of(path)[0] == "right"
    assert result_of(path, "tail")[0] == "right"
    (failure,) = run(path).failures
    assert failure[1] == "code cell 2, line 1, stops with ZeroDivisionError: division by zero"


def test_a_cell_that_python_can_read_is_left_as_it_is(tmp_path):
    text = "def tail(norm, s):\n    return float((norm**2 - s @ s) ** 0.5\n    % 10 ** 9)\n"
    path = notebook(tmp_path / "answers.ipynb", text)
    assert result_of(path, "tail")[0] == "right"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert result_of(path, "tail")[0] == "right"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": [{}]}', '{"cells": 3}', "[" * 10**5])
def test_a_file_that_is_no_notebook_is_said_to_be_none(tmp_path, text):
    result, says = result_of(write(tmp_path / "answers.ipynb", text))
    assert result == BROKEN
    assert "it cannot be read: " in says or "the file cannot be read: " in says


def test_a_notebook_of_an_older_format_is_told_so(tmp_path):
    cell = {"cell_type": "code", "input": [RIGHT]}
    text = json.dumps({"nbformat": 3, "worksheets": [{"cells": [cell]}]})
    result, says = result_of(write(tmp_path / "answers.ipynb", text))
    assert result == BROKEN
    assert "a notebook of format 3, expected 4" in says


def test_a_file_in_utf_16_is_broken_and_not_empty(tmp_path):
    path = tmp_path / "answers.py"
    path.write_text(RIGHT, encoding="utf-16")
    assert result_of(path)[0] == BROKEN


def test_a_folder_is_searched_and_what_is_hidden_left_alone(tmp_path):
    names = ("a.py", "b/__main__.py", "b/answers.py", "b/x.ipynb")
    kept = [write(tmp_path / name, RIGHT) for name in names]
    for name in (".a.py", ".ipynb_checkpoints/x.ipynb", "__pycache__/a.py", "notes.txt"):
        write(tmp_path / name, RIGHT)
    assert files_of(tmp_path) == (kept, [])
    assert files_of(kept[0]) == (kept[:1], [])


@pytest.fixture
def in_process(monkeypatch):
    """Run files here, for tests of the command alone: a process of its own takes 0.4 s to start."""

    def graded_here(path, exercises, seed, *rest):
        return True, list(grades(run(path), exercises, seed)), (CRASHED, "ends")

    monkeypatch.setattr(grading, "_run_child", graded_here)


@pytest.mark.usefixtures("in_process")
def test_what_looks_like_a_submission_and_is_none_is_told(capsys, tmp_path):
    write(tmp_path / "a.py", RIGHT)
    write(tmp_path / "b/answers.py", RIGHT)
    try:
        (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere")
        (tmp_path / "c").symlink_to(tmp_path / "b")
    except OSError:
        pytest.skip("no links may be made here")
    said = [
        f"{tmp_path / 'c'} is a link to a folder, and left out",
        f"{tmp_path / 'gone.py'} is a link that leads nowhere, and left out",
    ]
    assert files_of(tmp_path) == ([tmp_path / "a.py", tmp_path / "b" / "answers.py"], said)
    assert cli.main(["exercises", "delta-w", "--check", str(tmp_path)]) == 0
    assert capsys.readouterr().err == "".join(f"lora-ref: {one}\n" for one in said)


def test_a_folder_that_cannot_be_read_is_told(monkeypatch, tmp_path):
    kept = write(tmp_path / "a.py", RIGHT)
    write(tmp_path / "b/answers.py", RIGHT)
    scandir = os.scandir

    def refused(folder):  # root reads whatever the rights say
        if Path(folder).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", refused)
    said = f"{tmp_path / 'b'} cannot be read (Permission denied), and is left out"
    assert files_of(tmp_path) == ([kept], [said])


@pytest.mark.skipif(os.name != "posix", reason="a path has 260 characters there at most")
def test_a_folder_deeper_than_the_stack_of_python_stops_nobody(tmp_path):
    kept, before, levels = write(tmp_path / "a.py", RIGHT), Path.cwd(), 0
    os.chdir(tmp_path)
    try:
        for levels in range(1, 1101):  # noqa: B007  how many there are to take away
            os.mkdir("d")
            os.chdir("d")
        assert files_of(tmp_path).files == [kept]
    finally:
        for _ in range(levels):
            os.chdir("..")
            os.rmdir("d")
        os.chdir(before)


def test_a_path_without_answers_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(LoraRefError, match=r"notes.txt ends in '.txt', expected .py or .ipynb"):
        files_of(write(tmp_path / "notes.txt", ""))
    with pytest.raises(LoraRefError, match=r"holds no \.py and no \.ipynb file"):
        files_of(tmp_path)
    with pytest.raises(LoraRefError, match="nowhere does not exist"):
        files_of(tmp_path / "nowhere")
    with pytest.raises(LoraRefError, match="seconds in grade is 0, expected more than 0"):
        grade([tmp_path], [], seconds=0)


# ---------------------------------------------------------------------- processes of their own


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class graded once: most of its files are hostile."""
    folder = tmp_path_factory.mktemp("class")
    write(folder / "good.py", "print('much' * 9999)\n" + RIGHT)
    write(folder / "wrong.py", WRONG)
    write(folder / "scribbler.py", "open('report', 'w').write('hello\\n[1]\\n')\n" + RIGHT)
    write(folder / "twins.py", TWINS + RIGHT)
    deep = "import os\nfor _ in range(1100):\n    os.mkdir('d')\n    os.chdir('d')\n"
    write(folder / "digger.py", deep + RIGHT)
    write(folder / "flood.py", INTO_REPORT + "into_report(b'a' * 2_000_000)\n" + RIGHT)
    brackets = "into_report(b'[' * 200_000 + b'\\n')\n"
    write(folder / "fifo.py", INTO_REPORT + brackets + FIFO + RIGHT)
    hostile = INTO_REPORT + (
        "import os, sys, threading, time\n"
        "def drip():\n    while True:\n        into_report(b'\\n')\n        time.sleep(0.2)\n"
        "threading.Thread(target=drip).start()\n"
        "open('left behind', 'w').close()\n"
        "def forward(*given):\n    os._exit(7)\n"
        "def merge(*given):\n    time.sleep(3600)\n"
    )
    write(folder / "hostile.py", hostile + RIGHT)
    write(folder / "endless.py", "import time\nwhile True:\n    time.sleep(1)\n")
    chosen = [exercise(id) for id in ("forward", "delta-w", "merge")]
    before, there = Path.cwd(), set(Path(tempfile.gettempdir()).glob("lora-ref-*"))

    def left_over():
        return {
            one
            for one in set(Path(tempfile.gettempdir()).glob("lora-ref-*")) - there
            if (one / "work" / "d").exists() or list(one.glob("cut-*"))
        }

    grades = within(90, grade, files_of(folder).files, chosen, seconds=5.0, processes=4)
    assert Path.cwd() == before
    assert not Path("left behind").exists()
    assert not left_over(), "folders as deep as the digger's are removed"
    assert not (folder / "left behind").exists()
    return {(Path(one.file).stem, one.feedback.exercise): one.feedback for one in grades}


def test_each_file_has_its_own_grades(graded):
    assert graded["good", "delta-w"].right
    assert graded["wrong", "delta-w"].result == "A-B"
    assert graded["wrong", "merge"].result == MISSING


def test_a_file_that_writes_a_report_or_forks_spoils_nothing(graded):
    assert graded["scribbler", "delta-w"].right
    assert graded["twins", "delta-w"].right


def test_a_line_that_no_reader_survives_and_a_fifo_in_the_report_s_place_stop_nobody(graded):
    assert graded["fifo", "delta-w"].right


def test_a_report_without_end_is_not_read_to_its_end(graded):
    said = graded["flood", "delta-w"]
    assert said.result == CRASHED
    assert said.message == "the file writes more than 1,000,000 bytes where its grades stand."


def test_all_runs_of_a_file_together_have_a_time_limit(monkeypatch, tmp_path):
    clock, runs = [0.0], []

    def slow(path, exercises, *rest):
        runs.append([one.id for one in exercises])
        clock[0] += 60
        return True, [], (TIMED_OUT, "does not end")

    monkeypatch.setattr(grading, "_run_child", slow)
    monkeypatch.setattr(grading, "monotonic", lambda: clock[0])
    grades = grade([tmp_path], [exercise(id) for id in ("forward", "merge", "tail")], seconds=20)
    assert runs == [["forward", "merge", "tail"], ["merge", "tail"]]
    assert [one.feedback.result for one in grades] == 3 * [TIMED_OUT]
    assert grades[-1].feedback.message == "the file does not end."


def test_what_a_file_does_to_its_folder_stops_nobody(graded):
    assert graded["digger", "delta-w"].right


def test_a_function_that_ends_python_or_never_ends_costs_its_own_grade_alone(graded):
    assert graded["hostile", "forward"].result == CRASHED
    assert "forward ends Python with status 7" in graded["hostile", "forward"].message
    assert graded["hostile", "merge"].result == TIMED_OUT
    assert "merge does not end within 5 seconds" in graded["hostile", "merge"].message
    assert graded["hostile", "delta-w"].right


def test_a_file_that_never_ends_costs_all_its_grades_and_no_other_s(graded):
    results = {graded["endless", id].result for id in ("forward", "delta-w", "merge")}
    assert results == {TIMED_OUT}
    assert "the file does not end" in graded["endless", "merge"].message


# ---------------------------------------------------------------------- the command


def test_the_exercises_are_listed_with_their_notebooks(capsys):
    assert cli.main(["exercises"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for one, line in zip(EXERCISES.values(), lines, strict=False):
        assert line.split(maxsplit=2) == [one.notebook, one.id, one.title]


def test_the_list_as_json_has_no_file_and_no_result(capsys):
    assert cli.main(["exercises", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {"schema", "exercises"}
    assert body["schema"] == 1
    assert [one["id"] for one in body["exercises"]] == list(EXERCISES)
    assert all(set(one) == KEYS for one in body["exercises"])
    assert all(one["file"] is None and one["result"] is None for one in body["exercises"])


def test_a_task_is_printed_by_its_id(capsys):
    assert cli.main(["exercises", "grad-A"]) == 0
    assert capsys.readouterr().out.strip() == exercise("grad-A").text()


def test_the_loops_of_a_folded_task_are_printed_on_demand(capsys):
    assert cli.main(["exercises", "count"]) == 0
    assert "def spec" not in capsys.readouterr().out
    assert cli.main(["exercises", "count", "--loops"]) == 0
    assert capsys.readouterr().out.strip() == exercise("count").text(loops=True)
    for more in ([], ["count", "--stubs"], ["count", "--json"], ["count", "--check", "x.py"]):
        assert cli.main(["exercises", "--loops", *more]) == 2
        assert "--loops goes with names of exercises" in capsys.readouterr().err


def test_the_stubs_are_a_file_to_fill_in(capsys, tmp_path):
    assert cli.main(["exercises", "--stubs"]) == 0
    path = write(tmp_path / "answers.py", capsys.readouterr().out)
    said = list(grades(run(path), list(EXERCISES.values())))
    assert {one.result for one in said} == {"not-attempted"}


def test_a_folder_is_graded_with_a_table_and_as_json(capsys, tmp_path):
    write(tmp_path / "one.py", WRONG)
    write(tmp_path / "two.py", RIGHT)
    assert cli.main(["exercises", "delta-w", "merge", "--check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert f"{tmp_path / 'one.py'}: 0 of 2 right" in out
    assert "delta-w: this is A B, the article's slip." in out
    assert (
        f"{tmp_path / 'two.py'}: 1 of 2 right\n  delta-w: right\n  merge: the file defines no"
        in out
    )
    assert "exercise  right  wrong  untried  most frequent mistake" in out
    assert "\ndelta-w       1      1        0  A-B (1)\nmerge         0      0        2\n" in out
    assert cli.main(["exercises", "delta-w", "--check", str(tmp_path / "two.py"), "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    (row,) = body["exercises"]
    assert set(row) == KEYS
    assert (row["file"], row["result"]) == (str(tmp_path / "two.py"), "right")


@pytest.mark.usefixtures("in_process")
def test_a_broken_file_is_no_success_beside_a_good_one(capsys, tmp_path):
    write(tmp_path / "good.py", RIGHT)
    write(tmp_path / "broken.py", "def delta_w(:\n")
    assert cli.main(["exercises", "delta-w", "--check", str(tmp_path)]) == 1
    assert "\ndelta-w       1      1        0  broken (1)" in capsys.readouterr().out


@pytest.mark.usefixtures("in_process")
def test_what_would_steer_a_terminal_is_spelled_out(capsys, tmp_path):
    text = 'def delta_w(A, B, alpha):\n    raise ValueError("\\x1b[2J")\n'
    write(tmp_path / "red\x1b[31m.py", text)
    assert cli.main(["exercises", "delta-w", "--check", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "red\\x1b[31m.py: 0 of 1 right" in out
    assert "ValueError: \\x1b[2J" in out


@pytest.fixture
def grader(tmp_path):
    """A grader in a process of its own, and the process of the endless file that it has started."""
    text = "import os, time\nopen('up', 'w').write(f'{os.getpid()}\\n')\ntime.sleep(600)\n"
    write(tmp_path / "endless.py", text)
    home = tmp_path / "home"
    home.mkdir()
    command = [sys.executable, "-m", "lora_ref", "exercises", "--check", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(home)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        (student,) = eventually(lambda: [one.read_text() for one in home.rglob("up")])
        yield process, int(student), home
        process.kill()


@pytest.mark.skipif(os.name != "posix", reason="a request to end is a signal there")
def test_requests_to_end_end_the_children_too(grader):
    process, student, home = grader
    for _ in range(3):
        process.terminate()
        time.sleep(0.02)
    _, said = process.communicate(timeout=30)
    if process.returncode != -signal.SIGTERM:  # the last may come after the ending
        assert process.returncode == 130
        assert said == b"lora-ref: interrupted\n"
    assert eventually(lambda: not is_running(student))
    assert not list(home.iterdir()), "no folder of a child is left"


@pytest.mark.skipif(os.name != "posix", reason="a killed process cannot clean up there either")
def test_a_child_ends_when_its_grader_is_killed(grader):
    process, student, _ = grader
    process.kill()
    assert eventually(lambda: not is_running(student))


def eventually(found, limit=30):
    """Return what is found as soon as something is, and fail where nothing is in time."""
    until = time.monotonic() + limit
    while time.monotonic() < until:
        if (result := found()) and result != [""]:
            return result
        time.sleep(0.02)
    raise AssertionError(f"nothing is found within {limit} seconds")


def is_running(process):
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.usefixtures("in_process")
def test_a_file_without_any_answer_is_no_success(capsys, tmp_path):
    path = write(tmp_path / "empty.py", "")
    assert cli.main(["exercises", "delta-w", "--check", str(path)]) == 1
    assert "0 of 1 right" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["grad-a"], "there is no exercise 'grad-a'; the nearest: grad-A"),
        (["--check", "nowhere.py"], "nowhere.py does not exist"),
        (["--check", 300 * "a" + ".py"], "cannot be looked for" if os.name == "posix" else "exist"),
        (["--seconds", "3"], "--seconds goes with --check"),
        (["--check", ""], "--check is empty, expected a file or a folder of answers"),
        (["--stubs", "--check", "x.py"], "--check and --stubs do not go together"),
        (["--stubs", "--json"], "--stubs and --json do not go together"),
        (["--check", os.path.dirname(__file__), "--seconds", "x"], "'x', expected a number"),
        (["--check", os.path.dirname(__file__), "--seed", "1.5"], "expected a whole number"),
        (["--check", os.path.dirname(__file__), "--seconds", "-1"], "expected a number from 0"),
    ],
)
def test_wrong_usage_is_a_sentence_and_status_2(capsys, arguments, says):
    assert cli.main(["exercises", *arguments]) == 2
    assert says in capsys.readouterr().err


def test_running_a_file_changes_the_search_path_at_its_end_alone(tmp_path):
    write(tmp_path / "numpy.py", "1 / 0")  # a name of ours or of Python's is not replaced
    before = list(sys.path)
    assert result_of(write(tmp_path / "answers.py", "import numpy\n" + RIGHT))[0] == "right"
    assert sys.path[: len(before)] == before
    sys.path[:] = before
