"""Whatever stands in a lecture's file, it is a lecture or a sentence: nothing raises."""

import json
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_lecture import EXAMPLE, MATRICES, claim_text
from test_lecture_faults import GOOD

from lora_ref.errors import LoraRefError
from lora_ref.ledger import lecture as lectures
from lora_ref.ledger.claim import VERDICTS
from lora_ref.ledger.lecture import VOCABULARY, report
from lora_ref.ledger.lecture.read import LARGEST_FILE

# ---------------- the file itself


def test_a_file_is_read_with_a_byte_order_mark_and_with_the_line_ends_of_windows(tmp_path):
    path = tmp_path / "lecture.toml"
    path.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    assert lectures.judge(lectures.read(path))[0].verdict == "confirmed"
    path.write_bytes(GOOD.replace("row = 1", "row = 7").replace("\n", "\r\n").encode())
    with pytest.raises(LoraRefError, match=r'line 12, claim 1 \("it"\): entry: row is 7'):
        lectures.read(path)


def test_what_is_no_text_file_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "lecture.toml"
    for raw, said in (
        (GOOD.encode("utf-16"), "line 1: the byte 0xff is not UTF-8"),
        (b"# one\n# t\xe9te\n", "line 2: the byte 0xe9 is not UTF-8"),
        (b"#" * (LARGEST_FILE + 1), "is larger than 256 KiB"),
        (b"", "there is no [[claim]]"),
        (b"\0", "is not TOML"),
    ):
        path.write_bytes(raw)
        with pytest.raises(LoraRefError) as caught:
            lectures.read(path)
        assert said in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_file_a_folder_and_an_impossible_name_are_refused_with_a_sentence(tmp_path):
    for path, said in (
        (tmp_path, "is a folder, expected a TOML file"),
        (tmp_path / "none.toml", "cannot be read: No such file"),
        ("a\0b", "cannot be read: "),
    ):
        with pytest.raises(LoraRefError) as caught:
            lectures.read(path)
        assert said in str(caught.value)


# ---------------- attacks: whatever the text, a lecture or a sentence


def survives(text):
    """Parse and judge a text; return whether it was a lecture."""
    said = ""
    try:
        lecture = lectures.parse(text)
    except LoraRefError as error:
        said = str(error)
    if said:
        assert all(line.isprintable() for line in said.split("\n"))
        return False
    judgements = lectures.judge(lecture)
    assert len(judgements) == len(tomllib.loads(text)["claim"])
    assert all(j.verdict in VERDICTS for j in judgements)
    assert not [p for j in judgements for p in j.problems if "the recipe raised" in p]
    assert report.as_text(lecture, judgements)
    assert report.as_markdown(lecture, judgements)
    json.dumps(report.as_dict(lecture, judgements))
    return True


NASTY = (
    "0", "-1", "1.5", "nan", "1e400", "true", "[]", "{}", "[[]]", '""', '" "', '"A"', '"A B x"',
    '"B A"', '"W0"', '"x x"', '"two"', '"0.5"', '"1/3"', '"1 %"', '"2 x 3"', '"number"', '"1 2"',
    '"1 / 2"', '"%"', '"-"', '"."', '"{}"', '"½"', '"\\u0000"', '"lora"', '"full"', '"total"',
    '["A"]', '["A", "B A"]', '["x", "x"]', '[["1"]]', '[1, "a"]', "2024-01-01", "12:00:00",
    '"target"', '"update"', '"two-norm"', '"1,000"', '["2 x 3", "3"]', '["c_attn"]', "99999999999",
)  # fmt: skip
PLACES = [i for i, line in enumerate(EXAMPLE.split("\n")) if " = " in line and '"""' not in line]


@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(NASTY)), min_size=1, max_size=4))
@settings(max_examples=40, deadline=None)
def test_the_example_with_other_values_is_a_lecture_or_a_sentence(changes):
    lines = EXAMPLE.split("\n")
    for place, value in changes:
        lines[place] = f"{lines[place].split(' = ')[0]} = {value}"
    survives("\n".join(lines))


@given(st.data())
@settings(max_examples=30, deadline=None)
def test_the_example_cut_and_pasted_is_a_lecture_or_a_sentence(data):
    lines = EXAMPLE.split("\n")
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


KEYS = sorted({need.key for q in VOCABULARY.values() for need in q.needs})
PRINTS = ("1", "0.5 %", "1 2", "1 / 2", "2 x 2", "number", "-0", "0.000000000000000000001")


@given(
    st.sampled_from(sorted(VOCABULARY)),
    st.dictionaries(st.sampled_from(KEYS), st.sampled_from(NASTY), max_size=5),
    st.sampled_from(("printed", "above", "at-most")),
    st.sampled_from(PRINTS),
)
@settings(max_examples=60, deadline=None)
def test_any_quantity_with_any_keys_is_a_lecture_or_a_sentence(name, keys, key, printed):
    wanted = {need.key for need in VOCABULARY[name].needs}
    lines = "\n".join(f"{k} = {value}" for k, value in keys.items() if k in wanted)
    vector = 'v = "1 2"\nn = "3"\n'
    text = claim_text(name, lines, printed).replace("printed = ", f"{key} = ")
    derived = '[derived.two-norm]\nquantity = "frobenius-norm"\nof = "W0"\n'
    survives(MATRICES + vector + derived + text)
