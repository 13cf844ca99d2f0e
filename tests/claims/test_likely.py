"""What a report says of a wrong number for which the file gives no reason."""

import re

import pytest

from lora_ref import claims, cli

FILE = """
[lecture]
title = "a lecture"

[matrices]
A = "0.10 0.20 0.30 0.40 / 0.50 0.60 0.70 0.80"
B = "0.10 0.20 / 0.30 0.40 / 0.50 0.60 / 0.70 0.80"

[[claim]]
id = "one"
text = "a number"
"""


def perhaps(tmp_path, keys):
    path = tmp_path / "lecture.toml"
    path.write_text(FILE + keys, encoding="utf-8")
    return claims.judge(claims.read(path).claims[0]).perhaps


COUNT = 'quantity = "lora-count"\nin = 768\nout = 768\nr = 8\n'
RATIO = 'quantity = "ratio"\nnumerator = 1\ndenominator = 64\n'
LLAMA = 'model = "llama-7b"\nr = 16\ntargets = ["q_proj", "v_proj"]\n'
BYTES = f'quantity = "model-trainable-bytes"\n{LLAMA}'
SAVED = 'quantity = "model-trainable"\nmodel = "peft-mlp"\nr = 8\ntargets = ["seq.0", "seq.2"]\n'
SAVED += 'saved = ["seq.4"]\n'
DELTA = 'quantity = "delta-w"\nalpha = 4\n'
RIGHT = "0.22 0.28 0.34 0.40 / 0.46 0.60 0.74 0.88 / 0.70 0.92 1.14 1.36 / 0.94 1.24 1.54 1.84"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (COUNT + 'printed = "1,536"', "is the right number divided by r"),
        (COUNT + 'printed = "98,304"', "is r times the right number"),
        (COUNT + 'printed = "-12,288"', "is right but for the sign"),
        (COUNT + 'printed = "24,576"', "is 2 times the right number"),
        (COUNT + 'printed = "12.58K"', "takes 1,024 for a thousand"),
        (COUNT + 'printed = "12,000"', "takes 1,024 for a thousand"),
        (COUNT + 'printed = "12,100"', "^$"),
        (COUNT + 'printed = "12,288"', "^$"),
        (COUNT + 'printed = "~12,100"', "about is said and no tolerance given"),
        (COUNT + 'printed = "1,536"\nreason = "a reason of the file"', "^$"),
        ('quantity = "entry"\nof = "B A"\nrow = 1\ncolumn = 1\nprinted = "0.50"', "other order"),
        ('quantity = "entry"\nof = "B A"\nrow = 1\ncolumn = 1\nprinted = "0.5"', "^$"),
        ('quantity = "product"\nof = "A B"\nprinted = "0.50 1.14 / 0.60 1.40"', "the transpose"),
        (DELTA + f'printed = "{RIGHT.replace("1.84", "1.80")}"', "row 4, column 4 is 1.84"),
        (DELTA + f'printed = "{RIGHT.replace("0", "1")}"', "of 16 entries do not come out"),
        ('quantity = "row"\nof = "A"\nrow = 1\nprinted = "0.10 0.25 0.30 0.40"', "entry 2 is"),
        (BYTES + 'printed = "32.8 MB"', "by the rule thousand-kib: K of bytes is 1,024"),
        (BYTES + 'printed = "32.0 MB"', "by the rule binary-units: "),
        (BYTES + 'printed = "16.78 MB"', "is the size in bfloat16, of 2 bytes a number and not 4$"),
        (BYTES + 'printed = "16.0 MB"', "in bfloat16, .* and comes out by the rule binary-units: "),
        (BYTES + 'printed = "268.4 MB"', "is in bits, and the value in bytes"),
        (SAVED + 'printed = "56,164"', "by the rule saved-twice-trained: "),
        (SAVED + 'rules = ["saved-twice"]\nprinted = "56,164"', "^$"),  # the two contradict
        (SAVED + 'printed = "56,165"', "^$"),
        (RATIO + 'printed = "1.56"', "is in per cent, and the value is a share"),
    ],
)  # fmt: skip
def test_a_usual_mistake_is_named_where_it_gives_the_printed_number(tmp_path, keys, said):
    assert re.search(said, perhaps(tmp_path, keys)), perhaps(tmp_path, keys)


def test_the_report_has_it(tmp_path, capsys):
    path = tmp_path / "lecture.toml"
    path.write_text(FILE + COUNT + 'printed = "1,536"', encoding="utf-8")
    assert cli.main(["verify", "--file", str(path)]) == 0
    page = " ".join(capsys.readouterr().out.split())
    assert "perhaps what" in page
