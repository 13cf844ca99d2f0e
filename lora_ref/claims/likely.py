"""What may be wrong with a number that does not come out: one of the mistakes that are often made.

A mistake is named only where the printed number agrees with what the mistake gives, to its digits,
and has two digits at least. So it is a hint: that a slip happens to look like another one is rare,
and not excluded.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np

from lora_ref.claims.claim import Check
from lora_ref.claims.printed import (
    agreement,
    agreement_of_all,
    like_printed,
    printed_texts,
    read_printed,
)
from lora_ref.claims.values import Computed, exact
from lora_ref.errors import LoraRefError

MOST_ENTRIES = 3
"""Wrong entries of a matrix that are named; of more, only the number is."""


def likely(check: Check, value: Any) -> str:
    """Return a sentence on a number that was printed and does not come out, or an empty text.

    Parameters
    ----------
    check : Check
        What was compared.
    value : ndarray or None
        What was recomputed; None where nothing was.
    """
    printed = check.expected.printed
    if printed is None or value is None:
        return ""
    texts = np.array(printed, dtype=object)
    if texts.ndim == 2 and texts.T.shape == value.shape:
        turned = tuple(tuple(row) for row in texts.T)
        if agreement_of_all(turned, value):
            return "what is printed is the transpose of it"
    if texts.shape == value.shape and texts.ndim:
        return _entries(texts, value)
    if texts.shape != value.shape or not _has_digits(printed):
        return ""
    number = exact(value.item())
    for words, mistaken in _mistaken(check, number):
        if agreement(str(printed), mistaken) in ("exact", "rounded"):
            return f"what is printed {words}"
    if str(printed).startswith("~") and check.expected.about is None:
        return "about is said and no tolerance given, so the digits are judged; see the key about"
    return ""


def _entries(texts: Any, value: Any) -> str:
    """Say which entries do not come out."""
    wrong = [at for at in np.ndindex(texts.shape) if not agreement(str(texts[at]), value[at])]
    if not wrong or len(wrong) > MOST_ENTRIES:
        return f"{len(wrong)} of {texts.size} entries do not come out" if wrong else ""
    named = (
        f"{_place(at)} is {like_printed(value[at], str(texts[at]))}, not {texts[at]}"
        for at in wrong
    )
    return "; ".join(named)


def _place(at: tuple[int, ...]) -> str:
    numbers = [index + 1 for index in at]
    return f"entry {numbers[0]}" if len(numbers) == 1 else f"row {numbers[0]}, column {numbers[1]}"


def _has_digits(printed: Any) -> bool:
    """Whether a number has two digits that count, so that an agreement says something."""
    (text,) = printed_texts(printed)
    digits = re.sub(r"\D", "", text.partition("e")[0]).lstrip("0")
    return len(digits) >= 2 and read_printed(text).number != 0


def _mistaken(check: Check, number: Fraction) -> Iterator[tuple[str, Fraction]]:
    """Yield what mistakes give, each with the words for it."""
    yield "is right but for the sign", -number
    turned = _other_order(check)
    if turned is not None:
        yield "comes from the factors in the other order", turned
    inputs = {
        name: exact(Fraction(str(given)))
        for name, given in check.inputs.items()
        if re.fullmatch(r"\d+(\.\d+)?", str(given))
    }
    alpha, r = inputs.get("alpha"), inputs.get("r")
    factors = {"r": r, "alpha": alpha, "alpha/r": alpha / r if alpha and r else None}
    for name, factor in (*factors.items(), ("2", Fraction(2))):
        if factor and factor != 1:
            yield f"is {name} times the right number", number * factor
            yield f"is the right number divided by {name}", number / factor
    for power in (1, 2, 3):
        for ratio in (Fraction(1024, 1000) ** power, Fraction(1000, 1024) ** power):
            yield "takes 1,024 for a thousand, or a thousand for it", number * ratio
    yield "is in per cent, and the value is a share", number * 100
    yield "is a share, and the value is in per cent", number / 100
    yield "is in bits, and the value in bytes", number * 8
    yield "is in bytes, and the value in bits", number / 8


def _other_order(check: Check) -> Fraction | None:
    """Return the number that the product of the same matrices in the other order gives."""
    if check.value is None:
        return None
    inputs = dict(check.value.inputs)
    for name, product in inputs.items():
        if not isinstance(product, Computed):
            continue
        for key, factors in product.inputs.items():
            if isinstance(factors, tuple) and len(factors) == 2:
                turned = Computed(product.compute, {**product.inputs, key: factors[::-1]})
                try:
                    value = Computed(check.value.compute, {**inputs, name: turned})()
                except (LoraRefError, ArithmeticError, ValueError):
                    return None
                return exact(value.item()) if np.ndim(value) == 0 else None
    return None
