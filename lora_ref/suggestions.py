"""What somebody may have meant by a name that nothing has."""

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST_NAME = 500
"""Characters of a name that are compared: a page of text is no misspelt name."""


def nearest(name: object, known: Iterable[str], *, cutoff: float = 0.4) -> str:
    """Return the end of a sentence about an unknown name: the known ones nearest to it, if any.

    Parameters
    ----------
    name : object
        What was given; upper and lower case count as the same.
    known : iterable of str
        What might have been meant.
    cutoff : float
        How alike two names must be, from 0 to 1.

    Examples
    --------
    >>> nearest("GPT-2", ["gpt2", "gpt2-medium", "bert-base"])
    '; the nearest: gpt2, gpt2-medium'
    >>> nearest("whisper", ["gpt2"])
    ''
    """
    by_fold = {one.casefold(): one for one in known}
    folded = str(name).casefold()[:LONGEST_NAME]
    near = get_close_matches(folded, by_fold, n=3, cutoff=cutoff)
    return f"; the nearest: {', '.join(by_fold[one] for one in near)}" if near else ""


def nearest_or_all(name: object, known: Iterable[str], *, cutoff: float = 0.4) -> str:
    """Return what `nearest` does, and all known names where none is near.

    Examples
    --------
    >>> nearest_or_all("whisper", ["gpt2", "bert-base"])
    '; there are: gpt2, bert-base'
    """
    names = tuple(known)
    return nearest(name, names, cutoff=cutoff) or f"; there are: {', '.join(names)}"
