"""WordPiece: words as the longest pieces of a given vocabulary, the tokens of BERT.

Devlin et al., 2018, arXiv 1810.04805; the rules of its uncased models.
"""

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError

PADDING, UNKNOWN, START, END = "[PAD]", "[UNK]", "[CLS]", "[SEP]"
"""What fills a text up, stands for a word without pieces, and stands before and after a text."""

INSIDE = "##"
"""What a piece begins with that goes on within a word."""

LONGEST_WORD = 100
"""Characters of the longest word that is taken apart."""

IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F)),
    *((0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)
"""The blocks of Unicode in which each character is a word, as in tokenizers 0.23.3."""


@dataclass(frozen=True, repr=False)
class WordPiece:
    """Turns text into tokens: lower case, no accents, the longest pieces from the left.

    Text cannot forge a special token: ``[SEP]`` in a text is a bracket, letters and a bracket.

    Parameters
    ----------
    pieces : tuple of str
        The pieces in the order of their tokens; one inside a word begins with ``##``.

    Examples
    --------
    >>> wordpiece = WordPiece(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "low", "##er", "##est", "!"))
    >>> wordpiece.encode("Lower, lowest!").tolist()
    [2, 4, 5, 1, 4, 6, 7, 3]
    >>> wordpiece.words("Lówer, lowest!")
    ['lower', ',', 'lowest', '!']
    """

    pieces: tuple[str, ...]

    def __post_init__(self) -> None:
        if missing := [one for one in (PADDING, UNKNOWN, START, END) if one not in self.token_of]:
            raise LoraRefError(f"pieces in WordPiece lack {', '.join(missing)}, expected each")

    @cached_property
    def token_of(self) -> dict[str, int]:
        """The token of each piece."""
        return {piece: token for token, piece in enumerate(self.pieces)}

    def encode(self, text: str, longest: int | None = None) -> NDArray[np.int64]:
        """Return the tokens of a text, cut to `longest` where one is given, between start and end.

        Raises
        ------
        LoraRefError
            Where `text` is no string, or `longest` leaves no place for start and end.
        """
        given: object = text
        if not isinstance(given, str):
            raise LoraRefError(f"text in WordPiece is {given!r}, expected a string")
        found = [token for word in self.words(text) for token in self._of_word(word)]
        if longest is not None:
            found = found[: as_count("longest in WordPiece", longest, at_least=2) - 2]
        return np.array([self.token_of[START], *found, self.token_of[END]])

    def encode_all(self, texts: Sequence[str], longest: int) -> NDArray[np.int64]:
        """Return the tokens of texts, a row for each, filled up to the longest with padding."""
        if isinstance(texts, str) or not texts:
            raise LoraRefError(f"texts in WordPiece are {texts!r}, expected a list of one at least")
        rows = [self.encode(text, longest) for text in texts]
        tokens = np.full((len(rows), max(map(len, rows))), self.token_of[PADDING])
        for row, text in zip(tokens, rows, strict=True):
            row[: len(text)] = text
        return tokens

    def words(self, text: str) -> list[str]:
        """Return the words of a text; each mark and each ideograph is one."""
        spaced = "".join(map(_spaced, text))
        plain = (c for c in unicodedata.normalize("NFD", spaced) if unicodedata.category(c) != "Mn")
        small = "".join(c.lower() for c in plain)  # one by one: a sigma does not know its place
        return "".join(f" {c} " if _is_mark(c) else c for c in small).split()

    def _of_word(self, word: str) -> Iterable[int]:
        """Return the tokens of a word: from the left, each time the longest piece that fits."""
        if len(word) > LONGEST_WORD:
            return [self.token_of[UNKNOWN]]
        tokens: list[int] = []
        start = 0
        while start < len(word):
            before = INSIDE if start else ""
            for end in range(len(word), start, -1):
                if (token := self.token_of.get(before + word[start:end])) is not None:
                    tokens.append(token)
                    start = end
                    break
            else:
                return [self.token_of[UNKNOWN]]
        return tokens


@cache
def _spaced(c: str) -> str:
    """Return a character as words are parted: nothing for a control character, blanks for space."""
    category = unicodedata.category(c)
    if c in "\t\n\r" or category.startswith("Z"):
        return " "
    if category in ("Cc", "Cf", "Co") or c == "\ufffd":
        return ""
    return f" {c} " if any(low <= ord(c) <= high for low, high in IDEOGRAPHS) else c


@cache
def _is_mark(c: str) -> bool:
    """Whether a character is a word by itself: punctuation, and every sign of ASCII."""
    sign_of_ascii = c.isascii() and c.isprintable() and not c.isalnum() and c != " "
    return sign_of_ascii or unicodedata.category(c).startswith("P")
