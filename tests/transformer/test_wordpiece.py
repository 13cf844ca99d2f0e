"""WordPiece: what a word is, and which pieces it is made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.errors import LoraRefError
from lora_ref.transformer.wordpiece import WordPiece

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
LETTERS = tuple("abcdef")
ONE = WordPiece((*SPECIAL, *LETTERS, *(f"##{c}" for c in LETTERS), "bad", "##ace", "face", "fa"))


def read(tokens):
    return [ONE.pieces[token] for token in tokens]


def by_trying_all(word):
    """The pieces of a word, by the definition: the longest first piece, then the rest of it."""
    if not word:
        return []
    fitting = [
        piece
        for piece in ONE.pieces
        if not piece.startswith(("[", "##")) and word.startswith(piece)
    ]
    if not fitting:
        return None
    found = [max(fitting, key=len)]
    rest = word[len(found[0]) :]
    while rest:
        fitting = [p for p in ONE.pieces if p.startswith("##") and rest.startswith(p[2:])]
        if not fitting:
            return None
        found.append(max(fitting, key=len))
        rest = rest[len(found[-1]) - 2 :]
    return found


@given(st.lists(st.text("abcdefx", min_size=1, max_size=9), max_size=4))
def test_each_word_is_its_longest_pieces_from_the_left(words):
    expected = [piece for word in words for piece in by_trying_all(word) or ["[UNK]"]]
    assert read(ONE.encode(" ".join(words))) == ["[CLS]", *expected, "[SEP]"]


@given(st.text(max_size=40))
def test_any_text_becomes_tokens_of_the_vocabulary_and_no_special_one_inside(text):
    tokens = ONE.encode(text)
    assert tokens[0] == 2
    assert tokens[-1] == 3
    assert not set(tokens[1:-1]) & {0, 2, 3}
    assert tokens.max() < len(ONE.pieces)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's 3.5%!", ["it", "'", "s", "3", ".", "5", "%", "!"]),
        ("naïve\tÉCLAIR", ["naive", "eclair"]),
        ("中文ab", ["中", "文", "ab"]),
        ("zero\u200bwidth \u0007bell", ["zerowidth", "bell"]),
        ("line\u2028paragraph", ["line", "paragraph"]),
        ("ΟΔΟΣ", ["οδοσ"]),  # one by one: no final sigma
        ("[SEP]", ["[", "sep", "]"]),
        ("\ufffd", []),
    ],
)
def test_words_are_those_of_uncased_bert(text, words):
    assert ONE.words(text) == words


def test_a_long_text_is_cut_and_keeps_its_end_and_short_ones_are_filled_up():
    assert read(ONE.encode("a b c d", longest=4)) == ["[CLS]", "a", "b", "[SEP]"]
    rows = ONE.encode_all(["a", "a b c d"], 5)
    assert rows.tolist() == [[2, 4, 3, 0, 0], [2, 4, 5, 6, 3]]
    assert rows.dtype == np.int64


def test_a_word_of_a_hundred_letters_is_read_and_a_longer_one_is_not():
    assert len(ONE.encode("a" * 100)) == 102
    assert read(ONE.encode("a" * 101)) == ["[CLS]", "[UNK]", "[SEP]"]


def test_what_is_no_text_or_no_vocabulary_is_refused_with_a_sentence():
    with pytest.raises(LoraRefError, match=r"text in WordPiece is 3, expected a string"):
        ONE.encode(3)
    with pytest.raises(LoraRefError, match=r"lack \[CLS\], \[SEP\], expected each"):
        WordPiece(("[PAD]", "[UNK]"))
    with pytest.raises(LoraRefError, match="expected a list of one at least"):
        ONE.encode_all([], 8)
    with pytest.raises(LoraRefError, match="expected a list of one at least"):
        ONE.encode_all("one text", 8)
    with pytest.raises(LoraRefError, match="longest in WordPiece"):
        ONE.encode("a", longest=1)
