"""What a golden case is, and what every topic needs to make one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array
from lora_ref.mistakes import MISTAKES

Values = dict[str, Any]
"""Numbers, words, arrays and lists of arrays, by name."""


class Wrong(NamedTuple):
    """A mistake in a sentence, and a computation that makes it."""

    text: str
    compute: Callable[..., Values]


@dataclass(frozen=True)
class Case:
    """Inputs that are exact in binary, the computation, and mistakes that it must tell apart.

    Parameters
    ----------
    id : str
        Its name.
    tests : str
        What it tests, in one sentence.
    function : str
        What is computed; cases of one function have inputs of the same names.
    formula : tuple of str
        The same in NumPy's notation, line by line: every name of what is expected is assigned.
    inputs : dict
        Arguments of `compute`.
    compute : callable
        Takes the inputs by name and returns what is expected, by name.
    wrong : mapping of str to Wrong
        Each returns some or all of these arrays; at least one is not as expected.
    tolerance : float
        The largest difference that passes, as `difference` measures it; 0 where all is exact.
    """

    id: str
    tests: str
    function: str
    formula: tuple[str, ...]
    inputs: Values
    compute: Callable[..., Values]
    wrong: Mapping[str, Wrong]
    tolerance: float = 0.0

    def expected(self) -> Values:
        """Return what the right computation gives."""
        return self.compute(**self.inputs)

    def differences(self, name: str) -> dict[str, float]:
        """Return how far a mistake is off, for each array that it moves beyond the tolerance.

        Where the shapes do not fit and NumPy raises, nothing comes out: all is infinitely far off.
        """
        expected = self.expected()
        try:
            got = self.wrong[name].compute(**self.inputs)
        except ValueError:
            return dict.fromkeys(expected, float("inf"))
        found = {key: difference(got[key], expected[key]) for key in expected if key in got}
        return {key: far for key, far in found.items() if not far <= self.tolerance}


def difference(got: Any, expected: Any) -> float:
    """Return the largest difference of two values as a share of the largest expected entry.

    Either is an array, nested lists, or a list of arrays. The difference is infinite where the
    shapes are not the same, or where an entry is not a number.
    """
    (ours, shape), (right, expected_shape) = (_flat(plain(value)) for value in (got, expected))
    if shape != expected_shape:
        return float("inf")
    far = float(np.abs(ours - right).max())
    return far / float(np.abs(right).max()) if far >= 0 else float("inf")


def plain(value: Any) -> Any:
    """Return arrays as nested lists, and NumPy's numbers as Python's."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    return [plain(one) for one in value] if isinstance(value, list) else value


def _flat(value: Any) -> tuple[Array, Any]:
    """Return the numbers of nested lists, and the lists with nothing in place of the numbers."""
    if not isinstance(value, list):
        return np.array([value], np.float64), None
    parts = [_flat(one) for one in value]
    return np.concatenate([numbers for numbers, _ in parts]), [shape for _, shape in parts]


def draw(seed: int, *shape: int, step: float = 1 / 4, most: float = 2.0) -> Array:
    """Return multiples of a step from -most to most, in no visible order.

    They come from a linear congruential generator: the same in every version of NumPy.
    """
    found, state, count = np.empty(shape), 7_919 * seed, round(most / step)
    for i in range(found.size):
        state = (1_103_515_245 * state + 12_345) % 2**31
        found.flat[i] = ((state >> 16) % (2 * count + 1) - count) * step
    return found


def known(compute: Callable[..., Values], *names: str) -> dict[str, Wrong]:
    """Return mistakes of `lora_ref.mistakes` as the code of a computation."""
    return {
        name: Wrong(MISTAKES[name].text, partial(compute, code=MISTAKES[name].wrong))
        for name in names
    }
