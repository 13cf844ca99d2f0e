"""A source is one file: what the page says of it is true, and a new one needs nothing else."""

import re
import runpy
import shutil
from pathlib import Path

import pytest

from lora_ref import claims, cli
from lora_ref.claims import inputs, parse, printed, quantity, reader, values
from lora_ref.claims.expand import BOUNDS
from lora_ref.claims.file_errors import DEEPEST_KEY
from lora_ref.claims.judge import VERDICTS
from lora_ref.errors import LoraRefError

DOCS = Path(__file__).parents[2] / "docs"
PAGES = runpy.run_path(str(DOCS / "build.py"))["PAGES"]
PAGE = (DOCS / "add-a-source.md").read_text(encoding="utf-8")
SHORTEST, PAPER, RELATIONS = re.findall(r"(?s)```toml\n(.*?)```", PAGE)


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_current(name):
    assert (DOCS / name).read_text(encoding="utf-8") == PAGES[name](), "run: make docs"


def verdicts_of(text):
    return {claim.id: claims.judge(claim).verdict for claim in parse(text).claims}


def test_the_files_on_the_page_come_out_as_the_page_says():
    assert verdicts_of(SHORTEST) == {"ab-11": "slip"}
    assert "It comes out as a slip: recomputed, the entry is 0.50." in PAGE
    paper = verdicts_of(PAPER)
    assert list(paper.values()).count("confirmed") == 3
    assert paper["paper-13b-dora"] == "slip"
    assert "Three of the four numbers are confirmed, and `paper-13b-dora` is a slip." in PAGE
    relations = list(verdicts_of('[lecture]\ntitle = "t"\n' + RELATIONS).values())
    assert relations == ["confirmed", "confirmed", "confirmed", "slip"]
    assert "The last one is a slip" in PAGE


def test_a_paper_is_added_by_its_file_and_by_nothing_else(tmp_path, monkeypatch, capsys):
    before = {source.key for source in claims.literature()}
    shutil.copytree(claims.DATA, tmp_path / "data")
    (tmp_path / "data" / "a-paper.toml").write_text(PAPER, encoding="utf-8")
    added = claims.literature(tmp_path / "data")
    assert {source.key for source in added} == before | {"a-paper"}
    monkeypatch.setattr(claims, "literature", lambda: added)
    assert cli.main(["verify", "--literature", "--paper", "a-paper"]) == 0
    shown = capsys.readouterr().out
    assert "A paper: its authors, its year" in shown
    assert "4 claims, 4 recomputed: 1 slip, 3 confirmed." in shown


@pytest.mark.parametrize("path", sorted(claims.EXAMPLES.glob("*.toml")), ids=lambda p: p.stem)
def test_a_file_to_copy_has_the_verdicts_that_it_announces(path):
    text = path.read_text(encoding="utf-8")
    announced = dict(
        reversed(pair)
        for pair in re.findall(r'\[\[claim\]\] # comes out as: ([\w-]+)\nid = "([\w-]+)"', text)
    )
    found = verdicts_of(text)
    outside = {id for id, verdict in found.items() if verdict == "not judged"}
    assert {id: verdict for id, verdict in found.items() if id not in outside} == announced
    assert len(outside) == 1


def test_the_lecture_to_copy_claims_in_every_form_and_its_slips_hold_once_corrected():
    text = (claims.EXAMPLES / "lecture.toml").read_text(encoding="utf-8")
    for form in ('"10,000x"', '"~34 MB"', '"13.5 GB"', '{claim = "rank-16", r = 8}', "0 2 2\n"):
        assert text.count(form) == 1
    entry = claims.judge(parse(text).claim("update"))
    assert entry.perhaps == "row 2, column 3 is -2, not 2"
    right = text.replace("0 2 2\n", "0 2 -2\n").replace('"10,000x"', '"1e4"')
    assert [*verdicts_of(right).values()] == ["confirmed"] * 5 + ["not judged"]
    assert verdicts_of(text.replace("r = 8}", "r = 4}"))["half"] == "slip"
    for said, wrong in (("~34 MB", "~35 MB"), ("13.5 GB", "13.6 GB"), ("0.5", "0.6")):
        changed = verdicts_of(text.replace(f'"{said}"', f'"{wrong}"'))
        assert list(changed.values()).count("slip") == 3


def test_the_page_names_every_table_key_verdict_and_limit_of_the_code():
    assert all(f"[{name}" in PAGE for name in reader.TABLES)
    keys = (*reader.TEXTS, *BOUNDS, *reader.PARTS, "printed", "equals", "about", "trend", "hides")
    assert [key for key in keys if f"`{key}`" not in PAGE and f"`{key}." not in PAGE] == []
    assert [verdict for verdict in VERDICTS if f"`{verdict}`" not in PAGE] == []
    limits = re.findall(r"(?m)^\| [^|]+ \| ([\d,]+) \|$", PAGE.split("<!-- limits -->")[1])
    assert [int(limit.replace(",", "")) for limit in limits] == [
        reader.LARGEST_FILE, reader.MOST_CLAIMS, inputs.LARGEST_MATRIX, values.LARGEST_SIDE,
        inputs.MOST_FACTORS, DEEPEST_KEY, inputs.MOST_TERMS, printed.LONGEST,
        printed.LARGEST_POWER, quantity.MOST, quantity.FEW, printed.LARGEST_SIZE,
    ]  # fmt: skip


def test_two_sources_of_one_key_are_refused_by_name(tmp_path):
    for name in ("one", "two"):
        (tmp_path / f"{name}.toml").write_text(PAPER, encoding="utf-8")
    with pytest.raises(LoraRefError, match=r"two\.toml: another source has the key 'a-paper' too"):
        claims.literature(tmp_path)
