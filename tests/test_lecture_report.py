"""A lecture's report, and the page that describes its file."""

import json
import re
import unicodedata
from pathlib import Path

import pytest
from test_lecture import ARTICLE, EXAMPLE, TEMPLATE

from lora_ref.ledger import lecture as lectures
from lora_ref.ledger.claim import VERDICTS
from lora_ref.ledger.lecture import exact, inputs, numbers, report, vocabulary
from lora_ref.ledger.lecture.read import LARGEST_FILE, MOST_CLAIMS, TABLES

PAGE = (Path(__file__).parents[1] / "docs" / "your-lecture.md").read_text(encoding="utf-8")
KEYS = {
    "id", "where", "says", "quantity", "printed", "recomputed", "verdict", "correction", "why",
}  # fmt: skip


def reported(text):
    lecture = lectures.parse(text)
    return lecture, lectures.judge(lecture)


def between(begin, end):
    return PAGE.split(f"<!-- {begin} -->\n")[1].split(f"<!-- {end} -->")[0].strip("\n")


# ---------------- the report


def test_the_json_form_has_every_claim_with_every_key():
    lecture, judgements = reported(ARTICLE)
    body = json.loads(json.dumps(report.as_dict(lecture, judgements)))
    assert list(body) == ["schema", "lecture", "source", "claims", "outside", "counts"]
    assert body["schema"] == 1
    assert all(set(claim) == KEYS for claim in body["claims"])
    assert list(body["counts"]) == list(VERDICTS)
    assert sum(body["counts"].values()) == len(body["claims"]) == len(lecture.claims)
    by_id = {claim["id"]: claim for claim in body["claims"]}
    assert by_id["ab-11"] == {
        "id": "ab-11",
        "where": "part 1, 2.3",
        "says": "(AB)_11 = 0.10 + 0.06 + 0.15 + 0.28 = 0.59",
        "quantity": "entry",
        "printed": "0.59",
        "recomputed": "0.50",
        "verdict": "slip",
        "correction": None,
        "why": "0.10 x 0.10 is 0.01, not 0.10",
    }
    assert by_id["billions-to-millions"]["printed"] == "at least 1,000,000, below 100,000,000"
    assert by_id["init-gaussian"]["printed"] == "0.02"
    assert by_id["delta-order"]["printed"] == "4 x 4"
    assert all(claim["printed"] and claim["recomputed"] for claim in body["claims"])
    assert [one["id"] for one in body["outside"]] == [one.id for one in lecture.outside]


def columns(line):
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


@pytest.mark.parametrize("width", [50, 80, 120])
@pytest.mark.parametrize("text", [ARTICLE, EXAMPLE, TEMPLATE], ids=["article", "example", "new"])
def test_the_text_names_everything_and_fits_its_width(text, width):
    lecture, judgements = reported(text)
    shown = report.as_text(lecture, judgements, width=width)
    assert "\x1b" not in shown
    assert [line for line in shown.splitlines() if columns(line) > width] == []
    names = [c.id for c in lecture.claims] + [o.id for o in lecture.outside]
    assert [name for name in names if name not in shown] == []


def test_the_text_counts_verdicts_and_corrections_and_colours_on_request():
    lecture, judgements = reported(EXAMPLE)
    shown = report.as_text(lecture, judgements, colour=True)
    assert "\x1b[1;33mslip" in shown
    assert report.summary(lecture, judgements) == (
        "16 claims recomputed: 1 false, 1 shape, 2 slip, 1 conditional, 11 confirmed. "
        "1 outside the vocabulary, not judged. 2 of 2 corrections hold when recomputed."
    )


def test_the_page_of_a_lecture_has_a_row_for_each_claim_and_no_broken_one():
    lecture, judgements = reported(ARTICLE.replace("W0 has rank 4", "W0 has | rank <4>"))
    page = report.as_markdown(lecture, judgements)
    assert "W0 has \\| rank \\<4\\>" in page
    for name in [c.id for c in lecture.claims] + [o.id for o in lecture.outside]:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}`")]
        assert len(re.findall(r"(?<!\\)\|", row)) in (4, 5)


# ---------------- the page docs/your-lecture.md


def test_the_page_has_the_vocabulary_of_the_code():
    assert between("vocabulary", "end of vocabulary") == vocabulary.as_markdown().strip("\n"), (
        "put lecture.vocabulary.as_markdown() between the two marks"
    )


def test_the_page_has_the_limits_of_the_code():
    limits = re.findall(r"\| ([\d,]+) \|", between("limits", "end of limits"))
    assert [int(limit.replace(",", "")) for limit in limits] == [
        LARGEST_FILE, MOST_CLAIMS, inputs.LARGEST_MATRIX, exact.LARGEST_SIDE, inputs.MOST_FACTORS,
        inputs.MOST_TERMS, numbers.LONGEST, numbers.LARGEST_POWER, numbers.LARGEST_COUNT,
        numbers.LARGEST_SIZE,
    ]  # fmt: skip


def test_the_page_has_every_verdict_table_and_key_of_the_code():
    assert re.findall(r"(?m)^\| `(\w+)` \|", PAGE.split("## Verdicts")[1].split("## How")[0]) == [
        "confirmed", "slip", "shape", "false", "conditional",
    ]  # fmt: skip
    assert set(report.MEANINGS) == {"confirmed", "slip", "shape", "false", "conditional"}
    assert all(f"[{name}" in PAGE for name in TABLES)


def test_the_file_on_the_page_comes_out_as_the_page_says():
    (text,) = re.findall(r"(?s)```toml\n(.*?)```", PAGE)
    (j,) = reported(text)[1]
    assert (j.verdict, j.printed, j.recomputed) == ("slip", "0.59", "0.50")
    assert "It comes out as a slip: recomputed, the entry is 0.50." in PAGE
