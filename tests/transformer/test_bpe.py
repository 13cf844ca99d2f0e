"""Byte-pair encoding: texts come back, and merges are those of the plain algorithm."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.errors import LoraRefError
from lora_ref.transformer.bpe import WORD, Tokenizer

TEXT = "the cat sat on the mat; the hat. 低秩适应 低秩 \n\n  two  spaces\tand a tab\n"
LEARNED = Tokenizer.learn(20 * TEXT, 300)


@given(st.text())
def test_every_text_comes_back(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return  # half of a surrogate pair, see below
    assert LEARNED.decode(LEARNED.encode(text)) == text
    assert Tokenizer(()).encode(text).tolist() == list(text.encode())


@given(st.text(alphabet="ab \n低", max_size=40))
def test_words_make_up_the_text(text):
    assert "".join(WORD.findall(text)) == text


def learned_plainly(text, vocabulary):
    """Count all pairs anew before each merge."""
    words, merges = [list(word.encode()) for word in WORD.findall(text)], []
    while 256 + len(merges) < vocabulary:
        counts = {}
        for word in words:
            for pair in pairwise(word):
                counts[pair] = counts.get(pair, 0) + 1
        if not counts or max(counts.values()) < 2:
            break
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        for word in words:
            i = 0
            while i < len(word) - 1:
                if (word[i], word[i + 1]) == best:
                    word[i : i + 2] = [256 + len(merges)]
                i += 1
        merges.append(best)
    return tuple(merges)


@given(st.text(alphabet="abc ", max_size=60))
def test_merges_are_those_of_the_plain_algorithm(text):
    assert Tokenizer.learn(text, 264).merges == learned_plainly(text, 264)


def test_frequent_words_become_one_token_and_no_merge_crosses_words():
    assert len(LEARNED.encode(" the")) == 1
    assert b" the" in LEARNED.pieces
    assert all(b" " not in piece.strip(b" ") for piece in LEARNED.pieces)
    assert len(LEARNED.encode(TEXT)) < 0.6 * len(TEXT.encode())


def test_tokens_of_words_are_those_of_the_text():
    parts = [LEARNED.encode(word) for word in WORD.findall(TEXT)]
    assert np.concatenate(parts).tolist() == LEARNED.encode(TEXT).tolist()


def test_part_of_a_character_can_be_shown():
    assert Tokenizer(()).decode([0xE4, 0xBD]) == "\ufffd"


@pytest.mark.parametrize(
    ("merges", "sentence"),
    [
        ([(1, 256)], r"merges\[0\] .* is \(1, 256\), expected two tokens from 0 to 255"),
        ([(1, 2), (256, 257)], r"merges\[1\] .* expected two tokens from 0 to 256"),
        ([(1, -2)], "expected two tokens"),
        ([(1, 2, 3)], "expected two tokens"),
        ([(1, True)], "expected two tokens"),
        ([5], "expected two tokens"),
        (5, "merges in Tokenizer are a int, expected pairs"),
    ],
)
def test_merges_that_name_no_older_tokens_are_refused(merges, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        Tokenizer(merges)


def test_half_of_a_surrogate_pair_and_an_unknown_token_are_refused():
    with pytest.raises(LoraRefError, match=r"holds half of a surrogate pair"):
        LEARNED.encode("a \ud800")
    with pytest.raises(LoraRefError, match=r"token 300 is given .* from 0 to 299"):
        LEARNED.decode([300])
    with pytest.raises(LoraRefError, match=r"vocabulary in Tokenizer.learn is 255"):
        Tokenizer.learn("", 255)
