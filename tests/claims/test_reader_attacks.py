"""Whatever stands in a file of claims, it is a source or a sentence: nothing raises."""

import json
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_reader import EXAMPLE, GOOD, MATRICES, TABLE, claim_text
from test_report import TINY

from lora_ref.claims import VERDICTS, judge, parse, read, report
from lora_ref.claims.quantities import QUANTITIES
from lora_ref.claims.reader import LARGEST_FILE
from lora_ref.errors import LoraRefError

# ---------------- the file itself


def test_what_is_no_text_file_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "lecture.toml"
    for raw, said in (
        (GOOD.encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
        (b"# one\n# t\xe9te\n", "line 2: the byte 0xe9 is not UTF-8"),
        (b"#" * (LARGEST_FILE + 1), "has more than 262,144 bytes"),
        (b"", "there is no [[claim]]"),
        (b"\0", "is not TOML"),
    ):
        path.write_bytes(raw)
        with pytest.raises(LoraRefError) as caught:
            read(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)


def test_what_is_no_file_is_refused_with_a_sentence(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)  # opening it would wait for somebody who writes
    for path, said in (
        (tmp_path, f"{tmp_path} is a folder, expected a TOML file"),
        (tmp_path / "none.toml", "cannot be read: No such file"),
        (fifo, f"{fifo} is no regular file, expected a TOML file"),
        ("a\0b", "cannot be read: "),
        ("", ". is a folder, expected a TOML file"),
    ):
        with pytest.raises(LoraRefError) as caught:
            read(path)
        assert said in str(caught.value)


# ---------------- attacks


def survives(text):
    """Parse and judge a text; return whether it was a source."""
    said, source = "", None
    try:
        source = parse(text)
    except LoraRefError as error:
        said = str(error)
    assert all(line.isprintable() for line in said.split("\n"))
    if source is None:
        return False
    judgements = [judge(claim) for claim in source.claims]
    assert judgements
    assert all(j.verdict in VERDICTS for j in judgements), [j.problems for j in judgements]
    assert all(line.isprintable() for line in report.as_text(judgements, [source]).split("\n"))
    assert report.as_markdown(judgements, [source], "c")
    assert json.dumps(report.as_dict(judgements))
    return True


FULL = (
    TINY
    + TABLE
    + """
[[claim]]
id = "parts"
text = "s"
quantity = "lora-count"
in = [10, 20]
out = 10
r = 2
printed = "60 90"
about = "1 %"
reason = "note"
rule = {name = "own", r = 3}
conflict = {with = "p. 2", out = [20, 25]}
also = [{quantity = "rank", of = "S", above = "1"}]
under = {text = "at r = 3, {under}", r = 3}
correction = {text = "{right:.2f}", quantity = "full-count", in = 1, out = 2, equals = "2"}
derived.half = {quantity = "ratio", numerator = 1, denominator = "number"}

[[claim]]
id = "tally"
text = "{model}, r = {r}"
quantity = "model-total"
model = "gpt2"
r = 4
targets = ["c_attn"]
saved = ["wpe"]
rules = ["saved-twice"]
rule = ["tied-twice", "leftover:loha:4"]
printed = "126M"

[[claim]]
id = "twice"
text = "s"
printed = "25 %"
elsewhere = {printed = "24 %", where = "p. 2"}
reason = "{value}, {elsewhere}"

[[claim]]
id = "trend"
text = "s"
quantity = "first-gradient-norm"
r = [1, 4]
trend = "falls"
conflict = {with = "p. 3", printed = "7"}

[derived.number]
quantity = "frobenius-norm"
of = "S"

[reasons]
note = "it is {value:,}, not {printed}; {half:.1%} of {in}"
"""
)

NASTY = (
    "0", "-1", "1.5", "nan", "1e400", "true", "[]", "{}", "[[]]", '""', '" "', '"A"', '"A B x"',
    '"B A"', '"W0"', '"x x"', '"two"', '"0.5"', '"1/3"', '"1 %"', '"2 x 3"', '"number"', '"1 2"',
    '"1 / 2"', '"%"', '"-"', '"."', '"{}"', '"½"', '"\\u0000"', '"lora"', '"full"', '"total"',
    '["A"]', '["A", "B A"]', '["x", "x"]', '[["1"]]', '[1, "a"]', "2024-01-01", "12:00:00",
    '"target"', '"update"', '"two-norm"', '"1,000"', '["2 x 3", "3"]', '["c_attn"]', "99999999999",
    "[1, 2]", "[0, 0.5]", '["1", "2"]', '"rises"', '"rank"', '"product"', '"study-finding"', "1000",
    '"{value:.1f}{r:d}{a.b}{0}{{}}"', '{printed = "1"}', '{with = "x", printed = "2"}', '"own"',
    '"\\u001b[2J"',
    '{name = "own", quantity = "rank", of = "A"}', '[{of = "A", printed = "1"}]', '"file-listing"',
    '{text = "t", quantity = "shape", of = "A", printed = "1"}', '{p = {r = 1}}', '[{id = "z"}]',
    '{number = {quantity = "product", of = "S"}}', '["leftover:loha", "own"]', "1" + "0" * 400,
    '{claim = "update"}', '{claim = "trained", r = 2}', '{claim = 1, r = "S"}',
    '[{claim = "output"}]',
    '{quantity = "ratio", numerator = {quantity = "rank", of = "S"}, denominator = "n"}',
)  # fmt: skip


def places(text):
    return [i for i, line in enumerate(text.split("\n")) if re.match(r'[\w.-]+ = (?!""")', line)]


def test_both_files_are_sources_before_anything_is_changed():
    assert survives(EXAMPLE)
    assert survives(FULL)
    assert {judge(claim).verdict for claim in parse(FULL).claims} >= {"by-rule", "conflict"}


@given(
    st.sampled_from((EXAMPLE, FULL, FULL)),
    st.lists(st.tuples(st.integers(0, 999), st.sampled_from(NASTY)), min_size=1, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_a_file_with_other_values_is_a_source_or_a_sentence(text, changes):
    lines, where = text.split("\n"), places(text)
    for at, value in changes:
        place = where[at % len(where)]
        lines[place] = f"{lines[place].split(' = ')[0]} = {value}"
    survives("\n".join(lines))


@given(st.sampled_from((EXAMPLE, FULL)), st.data())
@settings(max_examples=30, deadline=None)
def test_a_file_cut_and_pasted_is_a_source_or_a_sentence(text, data):
    lines = text.split("\n")
    place = st.integers(0, len(lines) - 1)
    for _ in range(data.draw(st.integers(1, 3))):
        at, other = data.draw(place), data.draw(place)
        if data.draw(st.booleans()):
            del lines[min(at, other, len(lines) - 1)]
        else:
            lines.insert(at, lines[other % len(lines)])
    survives("\n".join(lines))


@given(st.text(max_size=200))
@settings(max_examples=20, deadline=None)
def test_any_text_is_a_sentence(text):
    assert not survives(text)


PRINTS = ("1", "0.5 %", "1 2", "1 / 2", "2 x 2", "number", "-0", "0.000000000000000000001")
HEAD = (
    MATRICES
    + 'v = "1 2"\nn = "3"\nZ = [[0, 0], [0, 0]]\ntiny = ["1e-60", 0]\nlarge = [["1e60", 1]]\n'
    + '[derived.two-norm]\nquantity = "frobenius-norm"\nof = "W0"\n'
)
VALUES = (*NASTY, '"v"', '"n"', '"Z"', '"tiny"', '"large"', '["v", "n"]', '"1e-60"', '"1e60"')


@given(st.sampled_from(sorted(QUANTITIES)), st.data())
@settings(max_examples=100, deadline=None)
def test_any_quantity_with_any_keys_is_a_source_or_a_sentence(name, data):
    lines = ""
    for parameter in QUANTITIES[name].parameters:
        if parameter.required or data.draw(st.booleans()):
            words = tuple(f'"{word}"' for word in parameter.words)
            fit = {"matrix": ('"S"', '"W0"', '"x"', '"Z"', '"two-norm"', '"large"', '"tiny"'),
                   "count": ("1", "2", "[1, 2]"), "number": ("0", '"1e60"', '"-1/3"')}  # fmt: skip
            chosen = words or fit.get(parameter.kind.name, VALUES)
            lines += f"{parameter.key} = {data.draw(st.sampled_from((*chosen, *VALUES[:9])))}\n"
    key = data.draw(st.sampled_from(("printed", "above", "at-most", "equals")))
    survives(HEAD + claim_text(name, lines, data.draw(st.sampled_from(PRINTS)), key=key))
