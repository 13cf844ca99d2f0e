"""What may be wrong with a number that does not come out: one of the mistakes that are often made.

A mistake is named only where the printed number agrees with what the mistake gives, to its digits,
and has two digits at least. So it is a hint: that a slip happens to look like another one is rare,
and not excluded.
"""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from lora_ref import counting
from lora_ref.claims import values
from lora_ref.claims.claim import Check
from lora_ref.claims.printed import (
    agreement,
    agreement_of_all,
    like_printed,
    printed_texts,
    read_printed,
)
from lora_ref.claims.rules import READINGS
from lora_ref.claims.values import AsNumber, Computed, exact
from lora_ref.errors import LoraRefError

MOST_ENTRIES = 3
"""Wrong entries of a matrix that are named; of more, only the number is."""

MOST_LEVELS = 3
"""How far below a claim's quantity a product is looked for that may stand in the other order."""


def likely(check: Check, value: Any) -> str:
    """Return a sentence on a number that was printed and does not come out, or an empty text.

    Parameters
    ----------
    check : Check
        What was compared.
    value : ndarray or None
        What was recomputed; None where nothing was.
    """
    printed, computed = check.expected.printed, check.value
    if printed is None or computed is None or value is None:
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
    quantity = check.quantity.name
    by_rule = _by_rule(quantity, str(printed), computed, number)
    for words, mistaken in chain(by_rule, _mistaken(quantity, computed, number)):
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


def _by_rule(
    quantity: str, printed: str, computed: Computed, number: Fraction
) -> Iterator[tuple[str, Fraction]]:
    """Yield what the rules give that the claim could name: of bytes, and of counting."""
    is_size = "bytes" in quantity or re.search(r"[KkMGT]B$", printed)
    sizes = {"comes out": number}
    if quantity == "model-trainable-bytes":
        in_16_bits = "is the size in bfloat16, of 2 bytes a number and not 4"
        yield in_16_bits, number / 2
        sizes[f"{in_16_bits}, and comes out"] = number / 2
    for words, size in sizes.items():
        for name, unit in counting.UNITS.items():
            if name in READINGS and is_size and read_printed(printed).power:
                yield f"{words} by the rule {name}: {unit.text}", READINGS[name](printed, size)
    if "rules" not in computed.inputs:
        return
    given = computed.inputs["rules"] or ()
    for name in (name for name in counting.RULES if name != "leftover"):
        try:
            ruled = Computed(computed.compute, {**computed.inputs, "rules": (*given, name)})()
        except LoraRefError:  # it contradicts one that is given
            continue
        yield f"comes out by the rule {name}: {counting.RULES[name]}", exact(ruled.item())


def _mistaken(
    quantity: str, computed: Computed, number: Fraction
) -> Iterator[tuple[str, Fraction]]:
    """Yield what mistakes give, each with the words for it."""
    yield "is right but for the sign", -number
    if quantity == "ratio" and number:
        yield "is the ratio the other way round", 1 / number
        yield "is what is left of the whole, and the value is the share", 1 - number
    for turned in _other_order(computed):
        yield "comes from the factors in the other order", turned
    alpha, r = (_only(name, computed) for name in ("alpha", "r"))
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
    if "bytes" in quantity or "bits" in quantity:
        yield "is in bits, and the value in bytes", number * 8
        yield "is in bytes, and the value in bits", number / 8


def _only(name: str, value: Computed) -> Fraction | None:
    """Return the input of a name, of a value or of what it rests on; None if there are two."""
    found: set[Fraction] = set()
    below = {id(value): value}
    left = [value]
    while left:
        for key, given in left.pop().inputs.items():
            if key == name and isinstance(given, int | Fraction):
                found.add(Fraction(given))
            for one in given if isinstance(given, tuple) else (given,):
                source = one.source if isinstance(one, AsNumber) else one
                if isinstance(source, Computed) and id(source) not in below:
                    below[id(source)] = source
                    left.append(source)
    return found.pop() if len(found) == 1 else None


def _other_order(value: Computed) -> Iterator[Fraction]:
    """Yield the numbers that the products of the same matrices in the other order give."""
    for turned in _turned(value):
        try:
            number = turned()
        except (LoraRefError, ArithmeticError, ValueError):
            continue
        if np.ndim(number) == 0:
            yield exact(number.item())


def _turned(value: Computed, levels: int = MOST_LEVELS) -> Iterator[Computed]:
    """Yield a computation with one product of two that it rests on turned round."""
    for name, given in value.inputs.items():
        if value.compute is values.chain and len(given) == 2:
            yield Computed(values.chain, {name: given[::-1]})
        source = given.source if isinstance(given, AsNumber) else given
        for turned in (
            _turned(source, levels - 1) if isinstance(source, Computed) and levels else ()
        ):
            again = AsNumber(turned) if isinstance(given, AsNumber) else turned
            yield Computed(value.compute, {**value.inputs, name: again})
