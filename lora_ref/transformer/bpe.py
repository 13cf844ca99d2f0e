"""Byte-pair encoding: text as tokens, each a byte or a frequent sequence of bytes.

The method is that of Sennrich et al. 2016 (https://arxiv.org/abs/1508.07909), over bytes as in
GPT-2 (Radford et al. 2019), so that no character is unknown.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.embedding import check_tokens

Pair: TypeAlias = tuple[int, int]

BYTES = 256
"""Tokens that are single bytes."""

LONGEST = 1 << 16
"""Bytes of the longest token: every merge can double it, and a file can hold many merges."""

WORD = re.compile(r"[ ']?\w+| ?[^\w\s]+|\n+|[^\S\n]+(?!\S)|\s")
"""Words, with the blank or apostrophe before them; marks; line ends; other white space."""


@dataclass(frozen=True, repr=False)
class Tokenizer:
    """Turns text into tokens and back, by merges of two tokens into one.

    Tokens 0 to 255 are the bytes of UTF-8, and token ``256 + i`` is merge i. No merge crosses from
    one word into the next. The blank before a word belongs to it.

    Parameters
    ----------
    merges : tuple of pairs of int
        The two tokens that each new token joins, both older than it.

    Examples
    --------
    >>> tokenizer = Tokenizer.learn("low lower lowest", 259)
    >>> tokenizer.pieces[256:]
    (b'lo', b'low', b' low')
    >>> tokenizer.encode("lower, slow").tolist()
    [257, 101, 114, 44, 32, 115, 257]
    >>> tokenizer.decode([257, 258])
    'low low'
    """

    merges: tuple[Pair, ...] = ()

    def __post_init__(self) -> None:
        _check_merges(self.merges)

    @classmethod
    def learn(cls, text: str, vocabulary: int) -> "Tokenizer":
        """Return a tokenizer of `vocabulary` tokens: the most frequent pair is merged, repeatedly.

        Of equally frequent pairs, the lower one is taken. Each distinct word is kept once, with the
        number of its occurrences, and a merge touches the words with its pair alone.

        Raises
        ------
        LoraRefError
            Where every word of `text` is one token before there are `vocabulary` tokens.
        """
        vocabulary = as_count("vocabulary in Tokenizer.learn", vocabulary, at_least=BYTES)
        occurrences = Counter(_words("text in Tokenizer.learn", text))
        words = [list(word.encode()) for word in occurrences]
        times = list(occurrences.values())
        counts: Counter[Pair] = Counter()
        holders: defaultdict[Pair, set[int]] = defaultdict(set)  # words that have or had a pair

        def count(i: int, sign: int) -> None:
            for pair in pairwise(words[i]):
                counts[pair] += sign * times[i]
                holders[pair].add(i)

        for i in range(len(words)):
            count(i, +1)
        merges: list[Pair] = []
        for token in range(BYTES, vocabulary):
            best = min(counts, key=lambda pair: (-counts[pair], pair), default=(0, 0))
            if not counts[best]:
                raise LoraRefError(
                    f"vocabulary in Tokenizer.learn is {vocabulary}, expected {token} at most: "
                    "with these, every word of the text is one token"
                )
            merges.append(best)
            for i in tuple(holders[best]):
                count(i, -1)
                words[i] = _merge(words[i], best, token)
                count(i, +1)
        return cls(tuple(merges))

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return BYTES + len(self.merges)

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes of each token."""
        pieces = [bytes([byte]) for byte in range(BYTES)]
        for first, second in self.merges:
            pieces.append(pieces[first] + pieces[second])
        return tuple(pieces)

    @cached_property
    def _token_of(self) -> dict[Pair, int]:
        return {pair: BYTES + i for i, pair in enumerate(self.merges)}

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of `text`, one axis; each distinct word is encoded once."""
        words = _words("text in Tokenizer.encode", text)
        tokens = {word: self._encode_word(word) for word in set(words)}
        return np.fromiter(chain.from_iterable(tokens[word] for word in words), np.int64)

    def _encode_word(self, word: str) -> list[int]:
        """Return the tokens of one word, by the merges in the order in which they were learned."""
        tokens = list(word.encode())
        while known := self._token_of.keys() & pairwise(tokens):
            oldest = min(known, key=self._token_of.__getitem__)
            tokens = _merge(tokens, oldest, self._token_of[oldest])  # makes no pair of an older one
        return tokens

    def decode(self, tokens: Sequence[int] | NDArray[np.integer[Any]]) -> str:
        r"""Return the text of `tokens`, one axis; bytes that are no character become ``\ufffd``."""
        array = np.asarray(tokens)
        if array.ndim != 1:
            raise ShapeError(f"tokens in Tokenizer.decode has {array.ndim} axes, expected 1")
        if array.size:
            check_tokens("tokens in Tokenizer.decode", array, self.vocabulary)
        return b"".join(self.pieces[int(t)] for t in array).decode(errors="replace")

    def to_json(self) -> str:
        """Return the merges as a JSON list of pairs."""
        return json.dumps(self.merges, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Tokenizer":
        """Return the tokenizer that `to_json` wrote."""
        try:
            merges = json.loads(text)
        except (TypeError, ValueError, RecursionError) as error:
            raise LoraRefError(f"the merges of a tokenizer are no JSON: {error}") from None
        if not isinstance(merges, list):
            raise LoraRefError(f"the merges are a {type(merges).__name__}, expected a list")
        return cls(tuple(tuple(pair) if isinstance(pair, list) else pair for pair in merges))

    def __repr__(self) -> str:
        """Give the number of tokens; the merges would fill a page."""
        return f"{type(self).__name__}(vocabulary={self.vocabulary})"


def _words(what: str, text: object) -> list[str]:
    """Return `text` cut into the words that no merge crosses."""
    if not isinstance(text, str):
        raise LoraRefError(f"{what} is a {type(text).__name__}, expected a str")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"{text[error.start]!a} at {error.start}"
        raise LoraRefError(f"{what} holds half a surrogate pair, {half}") from None
    return WORD.findall(text)


def _merge(tokens: list[int], pair: Pair, token: int) -> list[int]:
    """Return `tokens` with `token` in the place of each `pair`, found from left to right."""
    merged, i = [], 0
    while i < len(tokens):
        found = tokens[i] == pair[0] and tokens[i + 1 : i + 2] == [pair[1]]
        merged.append(token if found else tokens[i])
        i += 1 + found
    return merged


def _check_merges(merges: tuple[Any, ...]) -> None:
    """Raise `LoraRefError` unless each merge is new, and joins two tokens that exist before it."""
    lengths, seen = [1] * BYTES, set()
    for i, pair in enumerate(merges):
        last = len(lengths) - 1
        is_pair = isinstance(pair, tuple) and len(pair) == 2
        if not (is_pair and all(type(one) is int and 0 <= one <= last for one in pair)):
            raise LoraRefError(f"merge {i} is {pair!r}, expected two tokens from 0 to {last}")
        if pair in seen:
            raise LoraRefError(f"merge {i} is {pair}, as merge {merges.index(pair)} is")
        seen.add(pair)
        lengths.append(sum(lengths[one] for one in pair))
        if lengths[-1] > LONGEST:
            raise LoraRefError(f"merge {i} has {lengths[-1]} bytes, expected {LONGEST} at most")
