"""Inputs that change nothing: what `lora-ref verify --file` says of them, and when nothing."""

from cases import over
from test_reader import MATRICES, claim_text, judged

from lora_ref import cli
from lora_ref.claims import idle_inputs

COUNT = claim_text("lora-count", "in = 768\nout = 768\nr = 8", "12,288", id="r8")
LAW = "no input that was varied changes the verdict: "
SAME = "the value is the same with "


def note(text):
    return idle_inputs.note(judged(MATRICES + text)["it"])


NOTES = {
    "a count, of which every input decides": (COUNT.replace("r8", "it"), ""),
    "a bound that holds at every rank": (
        claim_text("largest-rank-of-products", "r = 3", "3", key="at-most"),
        LAW + "r = 1 in place of 3",
    ),
    "a bound that one input decides": (
        claim_text("lora-share", "in = 1024\nout = 1024\nr = 1", "0.2 %", key="at-most"),
        "",
    ),
    "alpha before the first step": (
        claim_text("output-change", "steps = 0\nalpha = 16", "0"),
        f"{SAME}alpha = 8 in place of 16",
    ),
    "alpha where the number is wrong too": (
        claim_text("output-change", "steps = 0\nalpha = 16", "1.0"),
        f"{SAME}alpha = 8 in place of 16",
    ),
    "a flag": (
        claim_text("scaling", "alpha = 1\nr = 1\nrank-stabilized = true", "1.0"),
        f"{SAME}rank-stabilized = false",
    ),
    "a list, of which each entry is tried": (
        claim_text("output-change", "steps = 0\nalpha = [16, 3]", "0", key="at-most"),
        f"{SAME}alpha = 8 in place of 16; alpha = 1.5 in place of 3",
    ),
    "digits too few to see it": (
        claim_text("lora-share", "in = 65536\nout = 65536\nr = 1", "0"),
        f"{LAW}in = 32,768 in place of 65536; out = 32,768 in place of 65536; r = 2 in place of 1",
    ),
    "a row that the matrix has not is a change": (
        claim_text("entry", 'of = "A"\nrow = 1\ncolumn = 2', "2"),
        "",
    ),
    "no number to vary": (claim_text("rank", 'of = "S"', "2"), ""),
    "a shape": (claim_text("shape", 'of = "A B"', "1 x 1"), ""),
}  # fmt: skip


@over(NOTES)
def test_an_input_that_changes_nothing_is_named(case):
    assert note(case[0]) == case[1]


def test_the_tables_of_a_relation_are_varied_and_only_what_they_write():
    sides = """
        numerator = {quantity = "full-count", in = 64, out = 64}
        denominator = {quantity = "lora-count", in = 64, out = 64, r = 8}"""
    assert note(claim_text("ratio", sides, "4")) == ""
    said = note(claim_text("ratio", sides, "1", key="above")).removeprefix(LAW).split("; ")
    assert said == [
        "numerator.in = 32 in place of 64",
        "numerator.out = 32 in place of 64",
        "denominator.in = 32 in place of 64",
        "denominator.out = 32 in place of 64",
        "denominator.r = 4 in place of 8",
    ]
    of_claims = 'of = [{claim = "r8", r = 16}, {claim = "r8"}]'
    assert note(COUNT + claim_text("difference", of_claims, "12,288")) == ""
    norm = 'of = {quantity = "scaled", of = "A", by = 0}'
    assert note(claim_text("frobenius-norm", norm, "0")) == ""
    zero = 'of = {quantity = "output-change", steps = 0, alpha = 2}'
    assert note(claim_text("size", zero, "1")) == (
        f"{LAW}of.steps = 1 in place of 0; of.alpha = 1 in place of 2"
    )


def test_the_report_of_a_file_has_the_note_and_that_of_the_package_has_not(
    tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", "120")
    path = tmp_path / "lecture.toml"
    path.write_text(MATRICES + NOTES["alpha before the first step"][0], encoding="utf-8")
    assert cli.main(["verify", "--file", str(path)]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "varied the value is the same with alpha = 8 in" in shown
    assert cli.main(["verify", "--file", str(path), "--markdown"]) == 0
    assert "the value is the same with alpha = 8 in place of 16 |" in capsys.readouterr().out
    assert cli.main(["verify", "rank-bound"]) == 0
    assert "varied" not in capsys.readouterr().out
