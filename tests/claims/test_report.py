"""A report: all that was judged as text, as Markdown and as JSON, with nothing left out."""

import json
import re
from dataclasses import replace

from cases import over
from test_reader import SOURCE, claim_text

from lora_ref.claims import EXAMPLES, VERDICTS, article, judge, parse, read
from lora_ref.claims.layout import columns, matrix_lines
from lora_ref.claims.report import (
    as_dict,
    as_markdown,
    as_text,
    counts,
    inputs_text,
    summary,
    worst_first,
)

KEYS = {
    "id", "source", "where", "text", "quantity", "inputs", "printed", "recomputed", "agreement",
    "verdict", "finding", "rule", "by_rule", "conflict", "correction", "reason",
}  # fmt: skip

S = 'of = "S"\nwhere = "table 1"'
LORA = "in = 20000\nout = 20\nr = [1, 2]"
ODD = "a|b_c*d<e>f\\\\"
TINY = (
    SOURCE
    + '[rules]\nown = "a rule of the file"\n[sections]\n"table 1" = ["The table", "表一"]\n'
    + claim_text("rank", f'{S}\ncorrection = {{text = "it is", equals = "2"}}', "1", "slip")
    + claim_text("rank", f'{S}\nrule = {{name = "own", of = "A"}}\nreason = "r"', "1", "ruled")
    + claim_text("rank", f'{S}\nconflict = {{with = "p. 2", of = "A"}}', "1", "against")
    + claim_text("lora-count", LORA, "20,020 40,040", "sweep")
    + claim_text("product", 'of = "S S"', "8 5 / 20 13", "matrix")
    + claim_text("study-finding", 'claim = "full-forgets"', "", "study").replace('printed = ""', "")
    + claim_text("model-count", 'model = "gpt2"', "100M", "bound", "above")
    + claim_text("rank", f'{S}\nrule = {{name = "own", of = "A"}}', "2", "unused")
    + claim_text("rank", S, "2", "odd|<id>").replace('"s"', f'"{ODD}"')
    + '[[outside]]\nid = "open"\ntext = "s"\nhides = "h"\n'
)


def reported(source):
    return [judge(claim) for claim in source.claims], [source]


TOGETHER = {
    "article": reported(article()),
    "example": reported(read(EXAMPLES / "example.toml")),
    "tiny": reported(parse(TINY, compute=False)),
}
TOGETHER["several"] = (
    [j for js, _ in TOGETHER.values() for j in js],
    [source for _, sources in TOGETHER.values() for source in sources],
)
(BROKEN,) = (
    judge(claim)
    for claim in parse(
        SOURCE + claim_text("ratio", "numerator = 1\ndenominator = 0", "1", "raises"), compute=False
    ).claims
)
TINY_BY_ID = {j.claim.id: j for j in TOGETHER["tiny"][0]}


# ---------------- JSON


@over({name: case[0] for name, case in TOGETHER.items()})
def test_the_json_form_has_every_claim_with_every_key_in_plain_types(judgements):
    body = as_dict(judgements)
    assert json.loads(json.dumps(body)) == body
    assert list(body) == ["schema", "claims", "counts"]
    assert body["schema"] == 2
    assert [claim["id"] for claim in body["claims"]] == [j.claim.id for j in judgements]
    assert all(set(claim) == KEYS for claim in body["claims"])
    assert tuple(body["counts"]) == VERDICTS
    assert sum(body["counts"].values()) == len(judgements)
    assert body["counts"] == counts(judgements)


def test_the_json_form_says_what_was_computed_and_what_came_out():
    found = {claim["id"]: claim for claim in as_dict(list(TINY_BY_ID.values()))["claims"]}
    nothing = dict.fromkeys(KEYS)
    base = nothing | {"source": "k", "text": "s", "quantity": "rank", "inputs": {"of": "S"}}
    base |= {"where": "table 1", "printed": "1", "recomputed": "2"}
    assert found["slip"] == base | {"id": "slip", "verdict": "slip", "correction": "it is: 2"}
    assert found["ruled"] == base | {
        "id": "ruled", "verdict": "by-rule", "rule": "own", "by_rule": "1", "reason": "r",
    }  # fmt: skip
    assert found["unused"] == base | {
        "id": "unused", "verdict": "confirmed", "printed": "2", "agreement": "exact",
    }  # fmt: skip
    assert found["against"] == base | {"id": "against", "verdict": "conflict", "conflict": "p. 2"}
    assert found["sweep"]["inputs"] == {"in": 20000, "out": 20, "r": [1, 2]}
    assert (found["sweep"]["printed"], found["sweep"]["agreement"]) == ("20,020, 40,040", "exact")
    assert found["bound"]["printed"] == "above 100M"
    assert (found["study"]["verdict"], found["study"]["finding"]) == ("measured", "holds")
    assert found["open"] == nothing | {
        "id": "open", "source": "k", "text": "s", "inputs": {}, "verdict": "metaphor",
        "reason": "hidden: h",
    }  # fmt: skip


# ---------------- text


def heads_of(shown):
    """Return the ids that a text has at the heads of its blocks."""
    lines = (line for line in shown.splitlines() if line[11:12] == " ")
    return [line[12:].split()[0] for line in lines if line[:11].strip() in (*VERDICTS, "not run")]


@over({f"{name}, {width}": (*TOGETHER[name], width) for name in ("tiny", "several")
       for width in (20, 56, 72, 120)})  # fmt: skip
def test_the_text_names_everything_and_fits_its_width(case):
    judgements, sources, width = case
    for chinese in (True, False):
        shown = as_text(judgements, sources, width=width, chinese=chinese)
        assert "\x1b" not in shown
        assert chinese or shown.isascii()
        heads = {f"{j.verdict:<11} {j.claim.id}" for j in judgements}
        lines = shown.splitlines()
        assert [line for line in lines if columns(line) > max(width, 40)
                and line not in heads] == []  # fmt: skip
        assert sorted(heads_of(shown)) == sorted(j.claim.id for j in judgements)


def test_the_text_has_a_heading_for_each_verdict_worst_first_and_can_do_without():
    judgements, sources = TOGETHER["article"]
    grouped = as_text(worst_first(judgements), sources)
    headings = re.findall(r"(?m)^([A-Z -]+): .* \((\d+)\)$", grouped.replace("\n  ", " "))
    found = counts(judgements)
    assert headings == [(v.upper(), str(found[v])) for v in VERDICTS if found[v]]
    plain = as_text(judgements, sources, grouped=False)
    assert re.findall(r"(?m)^[A-Z -]+: ", plain) == []
    assert heads_of(plain) == [j.claim.id for j in judgements]  # in the order of the source
    assert "初始化低秩矩阵" in plain


def test_the_text_has_what_was_computed_on_the_left_and_what_came_out_on_the_right():
    judgements, sources = TOGETHER["tiny"]
    lines = {re.sub(r" +", " ", line.strip()) for line in
             as_text(judgements, sources, width=60, grouped=False).splitlines()}  # fmt: skip
    assert any(line.endswith(" table 1 The table 表一") for line in lines)
    assert {
        "says s", "prints 1", "computes rank: of S", "computed 2", "right it is: 2",
        "by rule 1; own: a rule of the file", "because r", "against p. 2", "that is above 100M",
        "computes lora-count: in 20,000, out 20, r 1 2", "note hidden: h", "finding holds",
    } <= lines  # fmt: skip
    at = [line.strip() for line in as_text(judgements, sources, width=60).splitlines()]
    assert at.index("prints    8 5") + 1 == at.index("20 13")  # a row on each line
    wide = as_text(judgements, sources, width=100).splitlines()
    assert any("says" in line and "computed" in line for line in wide)


def test_the_text_is_coloured_on_request_and_by_what_the_verdict_means():
    judgements, sources = TOGETHER["tiny"]
    shown = as_text(judgements, sources, colour=True)
    for verdict, code in (("slip", "1;33"), ("conflict", "1;33"), ("by-rule", "1;36"),
                          ("metaphor", "1;36"), ("confirmed", "1;34")):  # fmt: skip
        assert f"\x1b[{code}m{verdict}" in shown
    assert re.sub(r"\x1b\[[\d;]*m", "", shown) == as_text(judgements, sources)


def test_the_summary_counts_verdicts_agreements_and_corrections():
    judgements, _ = TOGETHER["example"]
    assert summary(judgements) == [
        "17 claims, 16 recomputed: 1 false, 1 shape, 2 slip, 1 conditional, 1 not judged, "
        "11 confirmed.",
        "Numbers and shapes confirmed: 9 exact, 2 rounded.",
        "2 of 2 corrections hold when recomputed.",
    ]


def test_a_division_is_not_taken_for_a_matrix():
    for j in TOGETHER["article"][0]:
        assert matrix_lines(j.claim.text) == [j.claim.text]
    assert matrix_lines("W = 1 2 / 3 4 and more") == ["W =", "1 2", "3 4", "and more"]


def test_the_inputs_are_written_on_one_line():
    assert inputs_text(TINY_BY_ID["sweep"]) == "lora-count: in 20,000, out 20, r 1 2"
    assert inputs_text(TINY_BY_ID["matrix"]) == "product: of S S"
    assert inputs_text(TINY_BY_ID["open"]) == ""


# ---------------- Markdown


@over(TOGETHER)
def test_the_page_has_a_row_for_each_claim_and_no_broken_one(case):
    judgements, sources = case
    page = as_markdown(judgements, sources, "make docs").splitlines()
    assert "Written by `make docs`; do not edit." in page
    heads = [i for i, line in enumerate(page) if line.startswith("| id and place")]
    rows = [line for i in heads for line in _table(page, i)]
    assert len(rows) == len(judgements)
    for j in judgements:
        name = j.claim.id.replace("|", "\\|")
        assert any(row.startswith(f"| `{name}`") for row in rows)
    for row in rows:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", row)) == 6, row
        assert re.findall(r"(?<!\\)<(?!br>)", re.sub(r"`[^`]*`", "", row)) == []
    assert ("## Slip" in page) is (len(sources) == 1)
    assert all(f"| {v} | {n} |" in "\n".join(page) for v, n in counts(judgements).items() if n)


def _table(page, head):
    rows = page[head + 2 :]
    return rows[: rows.index("")] if "" in rows else rows


def test_a_cell_of_the_page_holds_no_markup_and_the_rules_are_explained():
    judgements, sources = TOGETHER["tiny"]
    page = as_markdown(judgements, sources, "c")
    assert r"| a\|b\_c\*d\<e\>f\\ |" in page.replace("<br>prints: 2", "")
    assert "| `own` | a rule of the file |" in page
    assert "by-rule: `own` |" in page
    assert "8 5<br>20 13" in page


# ---------------- what did not run


def test_a_judgement_that_raised_comes_first_and_is_named_everywhere():
    judgements, sources = TOGETHER["tiny"]
    both = [*judgements, BROKEN]
    assert worst_first(both)[0] is BROKEN
    shown = as_text(worst_first(both), sources, width=60)
    assert "NOT RUN: recomputing raised (1)" in shown
    assert "not run     raises" in shown
    assert "PROBLEM   raises: recomputing raised LoraRefError" in shown
    assert "1 did not run." in " ".join(summary(both))
    assert f"{len(both)} claims, {len(both) - 3} recomputed" in summary(both)[0]
    page = as_markdown(both, sources, "c")
    assert "## Not run" in page
    assert "| not run | raises: recomputing raised LoraRefError" in page
    (one,) = as_dict([BROKEN])["claims"]
    assert (one["verdict"], one["recomputed"], one["id"]) == (None, None, "raises")
    assert sum(as_dict([BROKEN])["counts"].values()) == 0


def test_a_correction_that_fails_is_named_in_every_form_for_a_reader():
    slip = TINY_BY_ID["slip"]
    wrong = replace(slip, problems=("slip: the correction does not hold: it is: 2",))
    for text in (
        as_text([wrong], TOGETHER["tiny"][1]),
        as_markdown([wrong], TOGETHER["tiny"][1], ""),
    ):
        assert "the correction does not hold" in " ".join(text.split())
