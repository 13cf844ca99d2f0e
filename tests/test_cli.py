"""The command line: what it prints, where, and with which exit status."""

import ast
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import lora_ref
from lora_ref import cli, ledger
from lora_ref.ledger import lecture
from lora_ref.ledger.claim import VERDICTS, Number

CLAIM_KEYS = {
    "id", "part", "says", "printed", "recomputed", "verdict", "finding", "correction", "why",
}  # fmt: skip


@pytest.fixture
def terminal(monkeypatch):
    """Run a command on a terminal of an encoding: on streams as Python opens them for it."""

    def run(encoding, *arguments):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        with monkeypatch.context() as patch:
            for name, stream in zip(("stdout", "stderr"), streams, strict=True):
                patch.setattr(sys, name, stream)
            status = cli.main(arguments)
        return status, *(stream.buffer.getvalue() for stream in streams)

    return run


def test_verify_prints_the_whole_ledger_and_exits_0(capsys):
    assert cli.main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out, "no colour when piped"
    for claim in ledger.CLAIMS:
        assert claim.id in out


def test_verify_json_is_one_object_of_the_stated_form(capsys):
    assert cli.main(["verify", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {"schema", "claims", "counts"}
    assert body["schema"] == 1
    assert all(set(claim) == CLAIM_KEYS for claim in body["claims"])
    assert list(body["counts"]) == list(VERDICTS)
    assert sum(body["counts"].values()) == len(body["claims"]) == len(ledger.CLAIMS)
    by_id = {claim["id"]: claim for claim in body["claims"]}
    assert by_id["ab-11"]["printed"] == "0.59"
    assert by_id["ab-11"]["recomputed"] == "0.50"
    assert by_id["frobenius"]["recomputed"] == "9.0650"
    assert "1.9339" in by_id["frobenius"]["correction"]
    assert by_id["full-forgets"]["finding"] in {"holds", "partly", "fails", "not measured yet"}
    assert {claim["part"] for claim in body["claims"]} == {1, 2}


def test_verify_takes_ids_and_a_verdict(capsys):
    assert (
        cli.main(["verify", "ab-11", "frobenius", "count-4x4", "--verdict", "slip", "--json"]) == 0
    )
    body = json.loads(capsys.readouterr().out)
    assert [claim["id"] for claim in body["claims"]] == ["ab-11", "frobenius"]


def test_an_unknown_id_is_wrong_usage_and_names_the_nearest(capsys):
    assert cli.main(["verify", "ab-12"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "'ab-12'" in err
    assert "ab-11" in err


def test_nothing_to_show_is_not_success(capsys):
    assert cli.main(["verify", "ab-11", "--verdict", "confirmed"]) == 2
    assert "none of these claims" in capsys.readouterr().err


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_recipe_that_raises_exits_1_and_is_named_on_stderr(monkeypatch, capsys, form):
    def broken(**given):
        raise ZeroDivisionError("planted")

    planted = tuple(
        replace(c, statement=Number("16", broken)) if c.id == "count-4x4" else c
        for c in ledger.CLAIMS
    )
    monkeypatch.setattr(ledger, "CLAIMS", planted)
    assert cli.main(["verify", *form]) == 1
    assert "count-4x4: the recipe raised" in capsys.readouterr().err


def test_a_failing_recipe_is_not_hidden_by_an_empty_selection(monkeypatch, capsys):
    def broken(**given):
        raise ZeroDivisionError("planted")

    planted = tuple(replace(c, statement=Number("16", broken)) for c in ledger.CLAIMS[:1])
    monkeypatch.setattr(ledger, "CLAIMS", planted)
    assert cli.main(["verify", "--verdict", "slip", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["claims"] == []


def test_a_correction_that_does_not_hold_exits_1_even_if_filtered_away(monkeypatch, capsys):
    planted = tuple(
        replace(c, correction=replace(c.correction, check=Number("0.51", c.correction.check.value)))
        if c.id == "ab-11"
        else c
        for c in ledger.CLAIMS
    )
    monkeypatch.setattr(ledger, "CLAIMS", planted)
    assert cli.main(["verify", "--verdict", "confirmed"]) == 1
    assert "ab-11: the correction does not hold" in capsys.readouterr().err


def test_colour_only_on_a_terminal_and_never_with_no_color(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    cli.main(["verify", "ab-11"])
    assert "\x1b[" in capsys.readouterr().out
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    cli.main(["verify", "ab-11"])
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "encoding"),
    [
        (["verify"], "ascii"),
        (["verify"], "utf-8"),
        (["verify", "--markdown"], "cp1252"),
        (["walkthrough"], "ascii"),
    ],
)
def test_every_encoding_of_a_terminal_will_do(terminal, encoding, command):
    status, out, err = terminal(encoding, *command)
    assert status == 0, err
    assert err == b""
    page = "--markdown" in command  # is UTF-8 wherever it is written
    text = out.decode("utf-8" if page else encoding)
    assert ("低秩" in text) == (page or (encoding == "utf-8" and command == ["verify"]))
    assert "?" not in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "gbk"])
def test_a_lecture_in_any_script_is_printed_in_the_letters_of_the_terminal(terminal, encoding):
    article = Path(lecture.__file__).with_name("article.toml")
    status, out, err = terminal(encoding, "verify", "--file", str(article))
    assert status == 0, err
    assert err == b""
    text = out.decode(encoding)
    assert "核心" in text if encoding == "gbk" else "\\u6838\\u5fc3" in text


def test_the_program_prints_on_the_terminal_that_it_is_started_on(terminal):
    """Python opens the streams, not a test: in letters that the lecture has not all."""
    article = Path(lecture.__file__).with_name("article.toml")
    arguments = "verify", "--file", str(article)
    done = subprocess.run(
        [sys.executable, "-m", "lora_ref", *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == terminal("cp1252", *arguments)


def test_a_closed_pipe_leaves_no_traceback():
    child = subprocess.Popen(
        [sys.executable, "-m", "lora_ref", "verify"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    child.stdout.close()
    _, err = b"", child.stderr.read()
    child.stderr.close()
    assert child.wait(timeout=60) == 0
    assert err == b""


def test_walkthrough_shows_all_steps_or_one(capsys):
    assert cli.main(["walkthrough"]) == 0
    whole = capsys.readouterr().out
    assert cli.main(["walkthrough", "--step", "4", "--exact"]) == 0
    one = capsys.readouterr().out
    assert "11/100" in one
    assert len(one) < len(whole) / 4
    assert cli.main(["walkthrough", "--json", "--exact"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == 1
    assert "11/100" in json.dumps(body["steps"][3])


@pytest.mark.parametrize("step", ["0", "99", "-1"])
def test_a_step_that_does_not_exist_is_wrong_usage(capsys, step):
    assert cli.main(["walkthrough", "--step", step]) == 2
    assert f"step {step} does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["7", "1024", str(10**12)])
def test_the_columns_of_count_stand_below_each_other(capsys, size):
    assert cli.main(["count", "--in", size, "--out", size, "--rank", "3"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("training", "multiply"))]
    assert len(table) > 5
    assert len({len(line) for line in table}) == 1


def test_a_page_is_utf_8_in_every_locale(terminal):
    _, out, _ = terminal("gbk", "verify", "--markdown")
    assert "低秩" in out.decode("utf-8")
    assert b"\r" not in out


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_is_one_sentence():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lora_ref", "count", "--in", "4", "--out", "4", "--rank", "1"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("lora-ref: the result cannot be written")
    assert "Traceback" not in done.stderr


def test_count_of_the_article(capsys):
    arguments = ["count", "--in", "1024", "--out", "1024", "--rank", "8", "--tasks", "10"]
    assert cli.main([*arguments, "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert body["schema"] == 1
    assert body["parameters"] == {"full": 1048576, "lora": 16384}
    assert body["ratio"] == 0.015625
    assert body["break_even_rank"] == 512
    assert body["tasks"] == {"tasks": 10, "shared": 1212416, "separate": 10485760}
    assert cli.main(arguments) == 0
    assert "1,212,416" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--in", "0", "--out", "4", "--rank", "1"], "--in is 0"),
        (["--in", "4", "--out", "4", "--rank", "-2"], "--rank is -2"),
        (["--in", "4", "--out", "4", "--rank", "2", "--rows", "0"], "--rows is 0"),
        (["--in", "9" * 400, "--out", "4", "--rank", "2"], "expected a whole number from 1 to"),
        (["--in", "4", "--out", "4", "--rank", "2", "--tasks", "0"], "--tasks is 0"),
        (["--in", "4", "--out", "4", "--rank", "2", "--optimiser", "lion"], "'lion'"),
    ],
)
def test_count_refuses_with_a_sentence(capsys, arguments, sentence):
    assert cli.main(["count", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["judge"], ["verify", "--verdict", "fine"], ["count"]])
def test_wrong_usage_exits_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.strip() == f"lora-ref {lora_ref.__version__}"


@pytest.mark.parametrize("arguments", [["--version"], ["verify", "--help"], ["count", "--help"]])
def test_what_judges_nothing_loads_no_ledger_and_no_numpy(arguments):
    code = f"import sys; sys.argv[1:] = {arguments!r}; from lora_ref import cli\n"
    code += "try:\n    cli.main()\nfinally:\n    print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "lora_ref.cli.verify" in loaded
    assert not loaded & {"numpy", "lora_ref.ledger", "lora_ref.counting"}


def test_verify_needs_no_matplotlib():
    code = "import sys; from lora_ref import cli; cli.main(['verify']); "
    code += "print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "False"


def test_study_writes_tables_figures_and_runs_and_resumes(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("lora_ref.study.runs.PRETRAINING_EPOCHS", 1)
    arguments = ["study", "--methods", "untouched", "--seeds", "2", "--out", str(tmp_path)]
    assert cli.main([*arguments, "--json"]) == 0
    out, err = capsys.readouterr()
    body = json.loads(out)
    assert body["schema"] == 1
    (row,) = body["rows"]
    assert set(row) == {
        "shift", "method", "trained", "target_mean", "target_std", "source_attached_mean",
        "source_attached_std", "source_detached_mean", "w0_unchanged", "seconds",
    }  # fmt: skip
    assert "forgetting.png" in err
    assert (tmp_path / "forgetting.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tables.md").read_text(encoding="utf-8").startswith("### middle")
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["schema"] == 1
    assert len(list((tmp_path / "runs").iterdir())) == 2
    monkeypatch.setattr("lora_ref.study.runs.one", None)  # nothing is run again
    assert cli.main(arguments) == 0
    assert "untouched" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--shift", "nowhere"], "no shift is called 'nowhere'"),
        (["--methods", "lora-3"], "no method is called 'lora-3'"),
        (["--seeds", "0"], "is 0, expected"),
    ],
)
def test_study_refuses_with_a_sentence(capsys, tmp_path, arguments, sentence):
    assert cli.main(["study", *arguments, "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_interruption_is_a_sentence(capsys, tmp_path, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("lora_ref.study.run", interrupted)
    assert cli.main(["study", "--out", str(tmp_path)]) == 130
    assert "had finished are kept" in capsys.readouterr().err
