"""The command line: what it prints, where, and with which exit status."""

import ast
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import pytest

import lora_ref
from lora_ref import claims, cli
from lora_ref.claims import EXAMPLES, VERDICTS, article, literature
from lora_ref.claims.values import Computed

CLAIM_KEYS = {
    "id", "source", "where", "text", "quantity", "inputs", "printed", "recomputed", "agreement",
    "verdict", "finding", "rule", "by_rule", "conflict", "correction", "reason",
}  # fmt: skip
ARTICLE = claims.DATA / "article.toml"
EXAMPLE = EXAMPLES / "example.toml"
LECTURE = """
[lecture]
title = "核心公式"
[[claim]]
id = "trained"
text = "参数有十个"
quantity = "lora-count"
in = 3
out = 2
r = 2
printed = "10"
"""
FINDINGS = {"holds", "partly", "fails", "opposite", "not measured yet"}


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


@pytest.fixture
def plant(monkeypatch):
    """Put another check or correction into one claim of the article, and judge no others."""

    def run(id, **changes):
        planted = replace(article().claim(id), **changes)
        source = replace(article(), claims=(planted, article().claim("count-1024")))
        monkeypatch.setattr(claims, "article", lambda: source)

    return run


def raises():
    raise ZeroDivisionError("planted")


def failing(id):
    """Return the check of a claim, with a quantity that raises."""
    return replace(article().claim(id).check, value=Computed(raises, {}))


def expecting(check, printed):
    return replace(check, expected=replace(check.expected, printed=printed))


def judged(capsys, *arguments, status=0):
    """Return what ``verify --json`` says of each claim, by id and in order."""
    assert cli.main(["verify", *arguments, "--json"]) == status
    body = json.loads(capsys.readouterr().out)
    assert len({claim["id"] for claim in body["claims"]}) == len(body["claims"])
    return {claim["id"]: claim for claim in body["claims"]}


def shown(text, ids):
    """Return the ids that head a block of a report, in order."""
    heads = [line.split() for line in text.splitlines() if not line.startswith(" ")]
    verdicts = {"not", *(verdict.split()[0] for verdict in VERDICTS)}
    return [word for line in heads if line and line[0] in verdicts for word in line if word in ids]


def test_verify_prints_every_claim_of_the_article_once_and_exits_0(capsys):
    assert cli.main(["verify"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "\x1b" not in out, "no colour when piped"
    ids = [claim.id for claim in article().claims]
    assert sorted(shown(out, ids)) == sorted(ids)
    assert f"{len(ids)} claims, 61 recomputed" in out
    assert "43 of 43 corrections hold" in out


def test_the_worst_stand_first_unless_the_order_of_the_article_is_asked_for(capsys):
    ids = [claim.id for claim in article().claims]
    by_id = judged(capsys)
    assert list(by_id) == ids, "JSON and Markdown keep the order of the file"
    cli.main(["verify", "--order", "article"])
    assert shown(capsys.readouterr().out, ids) == ids
    cli.main(["verify", "--order", "worst"])
    worst = shown(capsys.readouterr().out, ids)
    ranks = [VERDICTS.index(by_id[id]["verdict"]) for id in worst]
    assert ranks == sorted(ranks)
    assert worst != ids
    cli.main(["verify"])
    assert shown(capsys.readouterr().out, ids) == worst


def test_verify_json_is_one_object_of_the_stated_form(capsys):
    assert cli.main(["verify", "--json"]) == 0
    body = json.loads(capsys.readouterr().out)
    assert set(body) == {"schema", "claims", "counts"}
    assert body["schema"] == 2
    assert all(set(claim) == CLAIM_KEYS for claim in body["claims"])
    assert list(body["counts"]) == list(VERDICTS)
    assert sum(body["counts"].values()) == len(body["claims"]) == len(article().claims)
    for verdict, number in body["counts"].items():
        assert number == sum(claim["verdict"] == verdict for claim in body["claims"])
    by_id = {claim["id"]: claim for claim in body["claims"]}
    slip = by_id["ab-11"]
    assert (slip["printed"], slip["recomputed"], slip["agreement"]) == ("0.59", "0.50", None)
    assert (slip["quantity"], slip["where"]) == ("entry", "part 1, 2.3")
    assert slip["inputs"] == {"of": "A B", "row": 1, "column": 1}
    assert slip["reason"] == "0.10 x 0.10 is 0.01, not 0.10"
    assert by_id["count-1024"]["agreement"] == "exact"
    assert by_id["ratio-1024"]["agreement"] == "rounded"
    assert by_id["frobenius"]["recomputed"] == "9.0650"
    assert "1.9339" in by_id["frobenius"]["correction"]
    assert by_id["full-forgets"]["finding"] in FINDINGS
    assert by_id["palette-metaphor"]["quantity"] is None
    assert {claim["source"] for claim in body["claims"]} == {"article"}


def test_verify_takes_ids_and_a_verdict(capsys):
    found = judged(capsys, "ab-11", "frobenius", "count-4x4", "--verdict", "slip")
    assert list(found) == ["ab-11", "frobenius"]
    assert list(judged(capsys, "--verdict", "slip")) == ["ab-11", "frobenius"]


def test_an_unknown_id_is_wrong_usage_and_names_the_nearest(capsys):
    assert cli.main(["verify", "ab-12"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "'ab-12'" in err
    assert "ab-11" in err


def test_nothing_to_show_is_not_success(capsys):
    assert cli.main(["verify", "ab-11", "--verdict", "confirmed"]) == 2
    assert "none of these claims" in capsys.readouterr().err


def test_an_unknown_verdict_is_told_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", "--verdict", "illustrated"])
    assert stop.value.code == 2
    assert f"expected one of: {', '.join(VERDICTS)}" in capsys.readouterr().err


# ---------------------------------------------------------------------- the literature, a file


def test_the_literature_is_every_source_but_the_article(capsys):
    found = judged(capsys, "--literature")
    assert list(found) == [claim.id for source in literature() for claim in source.claims]
    assert {claim["source"] for claim in found.values()} == {source.key for source in literature()}
    assert not set(found) & {claim.id for claim in article().claims}
    for claim in found.values():
        assert set(claim) == CLAIM_KEYS
        by_rule = claim["verdict"] == "by-rule"
        assert (claim["rule"] is not None) == (claim["by_rule"] is not None) == by_rule
        assert (claim["conflict"] is not None) == (claim["verdict"] == "conflict")
        if claim["verdict"] == "truncated":
            assert claim["agreement"] == "truncated"
    assert {"by-rule", "truncated", "conflict"} <= {c["verdict"] for c in found.values()}


def test_each_source_of_the_literature_can_be_had_alone(capsys):
    for source in literature():
        found = judged(capsys, "--literature", "--paper", source.key)
        assert list(found) == [claim.id for claim in source.claims]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--paper", "lora"], "--paper chooses among the literature, expected --literature"),
        (["--literature", "--paper", "loora"], "no source is called 'loora', expected one of: "),
        (["--literature", "--paper", "loora"], "the nearest: lora"),
        (["ab-11", "--literature"], "no claim is called 'ab-11'"),
        (
            ["nf4-offset", "--literature", "--paper", "lora"],
            "none of the claims named is of the source 'lora'",
        ),
        (["--file", "nowhere.toml"], "'nowhere.toml' cannot be read: No such file"),
        (["--file", "."], ". is a folder, expected a TOML file"),
        (["nothing", "--file", str(EXAMPLE)], "no claim is called 'nothing'"),
    ],
)
def test_what_cannot_be_judged_is_a_sentence(capsys, arguments, sentence):
    assert cli.main(["verify", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    "arguments",
    [["--literature", "--file", str(EXAMPLE)], ["--json", "--markdown"], ["--order", "best"]],
)
def test_options_that_contradict_each_other_are_refused(capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", *arguments])
    assert stop.value.code == 2
    assert capsys.readouterr().out == ""


def test_a_file_is_judged_in_its_own_order(capsys):
    ids = [claim.id for claim in claims.read(EXAMPLE).claims]
    found = judged(capsys, "--file", str(EXAMPLE))
    assert list(found) == ids
    assert {claim["source"] for claim in found.values()} == {"lecture"}
    assert found["cheap"]["verdict"] == "conditional"
    assert found["as-good"]["verdict"] == "not judged"
    assert cli.main(["verify", "--file", str(EXAMPLE)]) == 0
    assert shown(capsys.readouterr().out, ids) == ids
    assert list(judged(capsys, "order", "norm", "--file", str(EXAMPLE))) == ["norm", "order"]


def test_the_article_as_a_file_comes_out_as_without(capsys):
    assert judged(capsys, "--file", str(ARTICLE)) == judged(capsys)


def test_a_changed_digit_of_a_file_changes_its_verdict(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    text = EXAMPLE.read_text(encoding="utf-8")
    path.write_text(text.replace('printed = "1.8"', 'printed = "1.6"'), encoding="utf-8")
    before, after = (judged(capsys, "--file", str(one)) for one in (EXAMPLE, path))
    assert [id for id in before if before[id] != after[id]] == ["update-entry"]
    assert (before["update-entry"]["verdict"], after["update-entry"]["verdict"]) == (
        "slip",
        "confirmed",
    )


def test_faults_of_a_file_are_told_together_and_no_verdict(capsys, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('[lecture]\ntitle = "x"\n[[claim]]\nid = "a"\n', encoding="utf-8")
    assert cli.main(["verify", "--file", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "the key text is missing" in err
    assert "quantity" in err


@pytest.mark.parametrize(
    ("arguments", "heading", "command"),
    [
        ([], f"# {article().cite}", "lora-ref verify --markdown"),
        (
            ["--literature"],
            "# Published numbers, recomputed",
            "lora-ref verify --literature --markdown",
        ),
        (
            ["--file", str(EXAMPLE)],
            "# An example: LoRA of rank 1 on a 2 x 3 weight",
            f"lora-ref verify --file {EXAMPLE} --markdown",
        ),
    ],
)
def test_a_page_names_its_source_and_the_command_that_writes_it(
    capsys, arguments, heading, command
):
    assert cli.main(["verify", *arguments, "--markdown"]) == 0
    page = capsys.readouterr().out
    assert page.startswith(f"{heading}\n")
    assert f"Written by `{command}`; do not edit." in page
    rows = re.findall(r"^\| `([^`]+)`", page.partition("\n## The rules")[0], re.MULTILINE)
    assert sorted(rows) == sorted(judged(capsys, *arguments))


# ---------------------------------------------------------------------- what fails


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_quantity_that_raises_exits_1_and_is_named_on_stderr(plant, capsys, form):
    plant("count-4x4", check=failing("count-4x4"))
    assert cli.main(["verify", *form]) == 1
    out, err = capsys.readouterr()
    assert "count-4x4: recomputing raised ZeroDivisionError: planted" in err
    assert "count-1024" in out, "the others are judged"


def test_a_quantity_that_raises_has_no_verdict(plant, capsys):
    plant("count-4x4", check=failing("count-4x4"))
    found = judged(capsys, status=1)
    assert [found[id]["verdict"] for id in ("count-4x4", "count-1024")] == [None, "confirmed"]
    assert cli.main(["verify"]) == 1
    out = capsys.readouterr().out
    assert "NOT RUN" in out
    assert "1 did not run" in out


def test_a_failing_quantity_is_not_hidden_by_an_empty_selection(plant, capsys):
    plant("count-4x4", check=failing("count-4x4"))
    assert judged(capsys, "--verdict", "slip", status=1) == {}


def test_a_claim_that_is_wrong_is_no_failure_of_the_run(plant, capsys):
    plant("count-4x4", check=expecting(article().claim("count-4x4").check, "17"))
    assert judged(capsys)["count-4x4"]["verdict"] == "slip"


def test_a_correction_that_does_not_hold_exits_1_even_if_filtered_away(plant, capsys):
    correction = article().claim("ab-11").correction
    plant("ab-11", correction=expecting(correction, "0.50"))
    assert cli.main(["verify"]) == 0
    capsys.readouterr()
    plant("ab-11", correction=expecting(correction, "0.51"))
    assert cli.main(["verify", "--verdict", "confirmed"]) == 1
    assert "ab-11: the correction does not hold" in capsys.readouterr().err
    assert judged(capsys, status=1)["ab-11"]["verdict"] == "slip", "the verdict stays"


def test_a_correction_that_raises_exits_1_too(plant, capsys):
    broken = replace(article().claim("ab-11").correction, value=Computed(raises, {}))
    plant("ab-11", correction=broken)
    assert cli.main(["verify"]) == 1
    assert "ab-11" in capsys.readouterr().err


# ---------------------------------------------------------------------- --fail-on


@pytest.mark.parametrize("form", [[], ["--json"], ["--markdown"]])
def test_a_verdict_that_one_fails_on_exits_1_and_its_claims_are_named(capsys, form):
    assert cli.main(["verify", "ab-11", "count-4x4", *form]) == 0
    without = capsys.readouterr()
    assert without.err == ""
    assert cli.main(["verify", "ab-11", "count-4x4", "--fail-on", "false, slip", *form]) == 1
    out, err = capsys.readouterr()
    assert out == without.out, "the report is the same"
    assert err == "lora-ref: ab-11 is judged slip\n"


def test_it_exits_0_where_no_claim_has_such_a_verdict(capsys):
    assert cli.main(["verify", "ab-11", "count-4x4", "--fail-on", "false"]) == 0
    assert cli.main(["verify", "count-4x4", "--fail-on", "slip"]) == 0, "of the claims judged"
    assert capsys.readouterr().err == ""


def test_a_verdict_that_one_fails_on_is_not_hidden_by_a_selection(capsys):
    chosen = ["verify", "ab-11", "count-4x4", "--verdict", "confirmed"]
    assert cli.main([*chosen, "--fail-on", "slip"]) == 1
    assert cli.main(["verify", "ab-11", "--verdict", "confirmed", "--fail-on", "slip"]) == 1


@pytest.mark.parametrize("names", ["illustrated", "slip,illustrated", "", "slip,"])
def test_an_unknown_verdict_to_fail_on_is_told_with_those_that_there_are(capsys, names):
    with pytest.raises(SystemExit) as stop:
        cli.main(["verify", "ab-11", "--fail-on", names])
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert f"--fail-on has {names.split(',')[-1]!r}, expected some of: " in err
    assert ", ".join(VERDICTS) in err


# ---------------------------------------------------------------------- terminals


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
def test_a_lecture_in_any_script_is_printed_in_the_letters_of_the_terminal(
    terminal, tmp_path, encoding
):
    path = tmp_path / "mine.toml"
    path.write_text(LECTURE, encoding="utf-8")
    status, out, err = terminal(encoding, "verify", "--file", str(path))
    assert status == 0, err
    assert err == b""
    text = out.decode(encoding)
    for said in ("公式", "参数"):
        assert (said if encoding == "gbk" else said.encode("unicode_escape").decode()) in text


@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
def test_words_stay_apart_where_a_terminal_cannot_write_what_is_between_them(terminal, encoding):
    _, out, _ = terminal(encoding, "verify", "ab-11")
    assert re.search(r"\ban article on the core formulas of LoRA\b", out.decode(encoding))


def test_the_program_prints_on_the_terminal_that_it_is_started_on(terminal):
    """Python opens the streams, not a test: in letters that the lecture has not all."""
    arguments = "verify", "--file", str(ARTICLE)
    done = subprocess.run(
        [sys.executable, "-m", "lora_ref", *arguments],
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0"},
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == terminal("cp1252", *arguments)


def test_a_closed_pipe_leaves_no_traceback():
    child = subprocess.Popen(
        [sys.executable, "-m", "lora_ref", "exercises", "--stubs"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
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
        (["--in", "4", "--out", "4", "--rank", "2", "--optimizer", "lion"], "'lion'"),
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
def test_what_judges_nothing_loads_no_claims_and_no_numpy(arguments):
    code = f"import sys; sys.argv[1:] = {arguments!r}; from lora_ref import cli\n"
    code += "try:\n    cli.main()\nfinally:\n    print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    loaded = set(ast.literal_eval(done.stdout.splitlines()[-1]))
    assert "lora_ref.cli.verify" in loaded
    assert not loaded & {"numpy", "lora_ref.claims", "lora_ref.counting"}


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
    assert body["schema"] == 2
    (row,) = body["rows"]
    assert set(row) == {
        "shift", "method", "parameters", "target_mean", "target_error", "source_on_mean",
        "source_on_error", "source_off_mean", "w0_unchanged", "seconds",
    }  # fmt: skip
    assert "forgetting.png" in err
    assert (tmp_path / "forgetting.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "tables.md").read_text(encoding="utf-8").startswith("### middle")
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["schema"] == 2
    assert len(list((tmp_path / "runs").iterdir())) == 2
    monkeypatch.setattr("lora_ref.study.runs.run_one", None)  # nothing is run again
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


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device refuses what is written")
def test_a_message_that_nobody_can_hear_leaves_the_exit_status(monkeypatch):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert cli.main(["exercises", "no-such"]) == 2


def test_an_interruption_is_a_sentence(capsys, tmp_path, monkeypatch):
    def interrupted(*given, **more):
        raise KeyboardInterrupt

    monkeypatch.setattr("lora_ref.study.run", interrupted)
    assert cli.main(["study", "--out", str(tmp_path)]) == 130
    assert "had finished are kept" in capsys.readouterr().err
