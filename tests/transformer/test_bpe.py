"""The tokenizer is held to two plain specifications, and to the text that went in."""

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lora_ref.errors import LoraRefError
from lora_ref.transformer.bpe import BYTES, LONGEST, WORD, Tokenizer

FEW_LETTERS = st.text("ab '\n界", max_size=40)
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
RHYME = "the cat sat on the mat, and that was that; 那只猫坐在垫子上\n\n" * 3


def joined(tokens: list[int], pair: tuple[int, int], token: int) -> list[int]:
    """Join a pair from left to right, in the plainest way."""
    if len(tokens) < 2:
        return tokens
    if tuple(tokens[:2]) == pair:
        return [token, *joined(tokens[2:], pair, token)]
    return [tokens[0], *joined(tokens[1:], pair, token)]


def plain_learn(text: str, merges: int) -> list[tuple[int, int]]:
    """Count every pair of the text anew for every merge, until none is left."""
    words = [list(word.encode()) for word in WORD.findall(text)]
    found: list[tuple[int, int]] = []
    while len(found) < merges:
        pairs = [pair for word in words for pair in pairwise(word)]
        if not pairs:
            break
        best = max(sorted(set(pairs)), key=pairs.count)  # the first of the most frequent
        words = [joined(word, best, BYTES + len(found)) for word in words]
        found.append(best)
    return found


def plain_encode(merges: list[tuple[int, int]], text: str) -> list[int]:
    """Apply every merge to every word, in order."""
    tokens = []
    for word in WORD.findall(text):
        one = list(word.encode())
        for i, pair in enumerate(merges):
            one = joined(one, pair, BYTES + i)
        tokens += one
    return tokens


@given(FEW_LETTERS, FEW_LETTERS, st.integers(0, 12))
@example("aaaa aaa", "aaaaa", 3)  # pairs that overlap
@example("ab ab ab ba ba ba", "ab ba", 1)  # equally frequent
def test_it_learns_and_encodes_as_the_plain_loops_do(text: str, other: str, merges: int) -> None:
    found = plain_learn(text, merges)
    tokenizer = Tokenizer.learn(text, BYTES + len(found))
    assert tokenizer.merges == tuple(found)
    for one in (text, other):
        assert tokenizer.encode(one).tolist() == plain_encode(found, one)
    if len(found) < merges:
        with pytest.raises(LoraRefError, match=f"expected {BYTES + len(found)} at most"):
            Tokenizer.learn(text, BYTES + merges)


def test_the_merge_that_was_learned_first_applies_first() -> None:
    ab, bc = (97, 98), (98, 99)
    assert Tokenizer((ab, bc)).encode("abc").tolist() == [256, 99]
    assert Tokenizer((bc, ab)).encode("abc").tolist() == [97, 256]


@given(TEXT)
@example("\r\n \t\u2028\x1c\x00  x")
def test_what_is_decoded_is_what_was_encoded(text: str) -> None:
    for tokenizer in (Tokenizer(), Tokenizer.learn(RHYME, 300)):
        tokens = tokenizer.encode(text)
        assert tokens.dtype == np.int64
        assert tokens.ndim == 1
        assert tokenizer.decode(tokens) == text
        assert tokenizer.decode(tokens.tolist()) == text


@given(TEXT)
def test_the_words_are_the_whole_text(text: str) -> None:
    assert "".join(WORD.findall(text)) == text


def test_a_blank_belongs_to_the_word_after_it_and_a_line_end_to_nothing() -> None:
    text = "Don't  stop, 'tis\n\n(那只猫) \n"
    words = ["Don", "'t", " ", " stop", ",", " '", "tis", "\n\n", "(", "那只猫", ")", " ", "\n"]
    assert WORD.findall(text) == words


def test_no_token_crosses_from_one_word_into_the_next() -> None:
    tokenizer = Tokenizer.learn("of the of the of the of the", BYTES + 5)
    assert b" the" in tokenizer.pieces
    assert not [piece for piece in tokenizer.pieces if re.search(rb"\w ", piece)]
    with pytest.raises(LoraRefError, match=f"is {BYTES + 6}, expected {BYTES + 5} at most"):
        Tokenizer.learn("of the of the of the of the", BYTES + 6)


def test_merges_make_a_text_shorter() -> None:
    tokenizer = Tokenizer.learn(RHYME, 280)
    assert tokenizer.vocabulary == len(tokenizer.pieces) == 280
    assert len(tokenizer.encode(RHYME)) < len(RHYME.encode()) / 2
    assert repr(tokenizer) == "Tokenizer(vocabulary=280)"


@given(st.lists(st.integers(0, 299)))
@example(list("那".encode()[:2]))
def test_any_tokens_are_some_text(tokens: list[int]) -> None:
    tokenizer = Tokenizer.learn(RHYME, 300)
    whole = b"".join(tokenizer.pieces[token] for token in tokens)
    assert tokenizer.decode(tokens) == whole.decode(errors="replace")


def test_json_keeps_the_tokenizer() -> None:
    tokenizer = Tokenizer.learn(RHYME, 270)
    assert Tokenizer.from_json(tokenizer.to_json()) == tokenizer
    assert Tokenizer().to_json() == "[]"


CHAIN = [[97, 97], *([i, i] for i in range(BYTES, BYTES + 20))]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[[1, 2], [3, 257]]", r"merge 1 is \(3, 257\), expected two tokens from 0 to 256"),
        ("[[-1, 2]]", r"merge 0 is \(-1, 2\), expected two tokens from 0 to 255"),
        ("[[1, 2, 3]]", r"merge 0 is \(1, 2, 3\), expected two"),
        ("[[1, 2.0]]", r"merge 0 is \(1, 2.0\), expected two"),
        ("[[1, true]]", r"merge 0 is \(1, True\), expected two"),
        ("[7]", "merge 0 is 7, expected two"),
        ('["ab"]', "merge 0 is 'ab', expected two"),
        ("[[1, 2], [1, 2]]", r"merge 1 is \(1, 2\), as merge 0 is"),
        (f"{CHAIN}", f"merge 16 has {2 * LONGEST} bytes, expected {LONGEST} at most"),
        ("{}", "the merges are a dict, expected a list"),
        ("[[1, 2]", "the merges of a tokenizer are no JSON"),
        ("[" * 100_000, "the merges of a tokenizer are no JSON"),
    ],
)
def test_merges_that_cannot_be_are_refused(text: str, sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        Tokenizer.from_json(text)


@pytest.mark.parametrize(
    ("tokens", "sentence"),
    [
        ([1, 256], "tokens in Tokenizer.decode holds 256 at .*, expected a token from 0 to 255"),
        ([-1], "holds -1 at"),
        ([1.0], "dtype float64, expected integers"),
        ([[1], [2]], "has 2 axes, expected 1"),
        (7, "has 0 axes, expected 1"),
    ],
)
def test_tokens_that_cannot_be_are_refused(tokens: object, sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        Tokenizer().decode(tokens)  # type: ignore[arg-type]


@pytest.mark.parametrize("use", [Tokenizer().encode, lambda text: Tokenizer.learn(text, 260)])
@pytest.mark.parametrize(
    ("text", "sentence"),
    [("cat \ud83d", r"holds half a surrogate pair, '\\ud83d' at 4"), (b"cat", "is a bytes, expe")],
)
def test_only_text_is_encoded(use: object, text: object, sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        use(text)  # type: ignore[operator]


def test_a_vocabulary_holds_the_bytes() -> None:
    with pytest.raises(LoraRefError, match="is 255, expected a whole number of at least 256"):
        Tokenizer.learn("cat", 255)
