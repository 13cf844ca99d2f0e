"""Byte-pair encoding: frequent neighbours become one token, so that a text has fewer of them.

Sennrich, Haddow and Birch, 2016, arXiv 1508.07909; over bytes, as in GPT-2, so that every text has
tokens, in whatever language.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError

Pair = tuple[int, int]

WORD = re.compile(r" ?[^\s]+|\s+?(?= [^\s])|\s+")
"""A space belongs to the word behind it; no merge reaches from one word into the next."""


@dataclass(frozen=True)
class Tokenizer:
    """Maps texts to tokens and back: tokens 0 to 255 are bytes, 256 + i is the merge i.

    Parameters
    ----------
    merges : tuple of pairs of int
        The two tokens that each new one is made of, in the order in which they were learned. Both
        are older than the new one.

    Examples
    --------
    >>> tokenizer = Tokenizer.learn("so so so soon", vocabulary=258)
    >>> tokenizer.merges, tokenizer.pieces[256:]
    (((115, 111), (32, 256)), (b'so', b' so'))
    >>> tokenizer.encode("so soon").tolist()
    [256, 257, 111, 110]
    >>> tokenizer.decode([257, 111, 110])
    ' soon'
    """

    merges: tuple[Pair, ...]

    def __post_init__(self) -> None:
        given: Any = self.merges
        if not isinstance(given, Sequence):
            raise LoraRefError(f"merges in Tokenizer are a {type(given).__name__}, expected pairs")
        for i, pair in enumerate(given):
            numbers = isinstance(pair, Sequence) and len(pair) == 2
            if not numbers or not all(type(n) is int and 0 <= n < 256 + i for n in pair):
                raise LoraRefError(
                    f"merges[{i}] in Tokenizer is {pair!r}, expected two tokens from 0 to {255 + i}"
                )
        object.__setattr__(self, "merges", tuple((a, b) for a, b in given))

    @property
    def vocabulary(self) -> int:
        """The number of tokens."""
        return 256 + len(self.merges)

    @cached_property
    def pieces(self) -> tuple[bytes, ...]:
        """The bytes of each token."""
        pieces = [bytes([byte]) for byte in range(256)]
        for a, b in self.merges:
            pieces.append(pieces[a] + pieces[b])
        return tuple(pieces)

    @cached_property
    def _ranks(self) -> dict[Pair, int]:
        return {pair: i for i, pair in reversed(list(enumerate(self.merges)))}

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return the tokens of a text; in each word the oldest merge that fits comes first."""
        known: dict[str, list[int]] = {}
        tokens: list[int] = []
        for word in WORD.findall(text):
            if word not in known:
                known[word] = self._merged(list(_utf8(word)))
            tokens += known[word]
        return np.array(tokens, np.int64)

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of some tokens; part of a character becomes U+FFFD."""
        found = [int(token) for token in tokens]
        for token in found:
            if not 0 <= token < self.vocabulary:
                raise LoraRefError(
                    f"token {token} is given to Tokenizer.decode, "
                    f"expected one from 0 to {self.vocabulary - 1}"
                )
        return b"".join(self.pieces[token] for token in found).decode(errors="replace")

    def _merged(self, word: list[int]) -> list[int]:
        while len(word) > 1:
            ranks = [self._ranks.get(pair, len(self.merges)) for pair in pairwise(word)]
            if (best := min(ranks)) == len(self.merges):
                break
            word = _merge(word, self.merges[best], 256 + best)
        return word

    @classmethod
    def learn(cls, text: str, vocabulary: int) -> "Tokenizer":
        """Learn merges from a text: again and again, the most frequent pair becomes a token.

        Among pairs that are equally frequent the one with the lowest tokens wins. A text with too
        few pairs gives a smaller vocabulary.
        """
        vocabulary = as_count("vocabulary in Tokenizer.learn", vocabulary, at_least=256)
        counted = Counter(WORD.findall(text))
        words = [(list(_utf8(word)), count) for word, count in counted.items()]
        frequency: Counter[Pair] = Counter()
        places: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that hold a pair

        def count(i: int, sign: int) -> None:
            word, times = words[i]
            for pair in pairwise(word):
                frequency[pair] += sign * times
                places[pair].add(i)

        for i in range(len(words)):
            count(i, 1)
        merges: list[Pair] = []
        while 256 + len(merges) < vocabulary and frequency:
            best = max(frequency, key=lambda pair: (frequency[pair], -pair[0], -pair[1]))
            if frequency[best] < 2:
                break
            for i in places.pop(best):
                count(i, -1)
                words[i] = _merge(words[i][0], best, 256 + len(merges)), words[i][1]
                count(i, 1)
            frequency = +frequency  # without what is left nowhere
            merges.append(best)
        return cls(tuple(merges))


def _merge(word: list[int], pair: Pair, token: int) -> list[int]:
    """Return a word with the token in place of the pair, from left to right."""
    merged, i = [], 0
    while i < len(word):
        if tuple(word[i : i + 2]) == pair:
            merged.append(token)
            i += 2
        else:
            merged.append(word[i])
            i += 1
    return merged


def _utf8(word: str) -> bytes:
    try:
        return word.encode()
    except UnicodeEncodeError as error:
        raise LoraRefError(
            f"{word!r} holds half of a surrogate pair, expected text that UTF-8 can hold: {error}"
        ) from None
