"""What a quantity of the vocabulary is: its name, the keys it takes, and how it is computed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

from lora_ref.errors import LoraRefError
from lora_ref.ledger.claim import shape_text
from lora_ref.ledger.lecture.exact import Rounded, within_limits

Kind = Literal["factors", "terms", "count", "number", "flag", "word", "shapes", "names", "text"]
Gives = Literal["number", "numbers", "matrix", "shape"]

KINDS: Mapping[Kind, str] = {
    "factors": 'names of matrices, such as "W0" or, for a product, "B A"',
    "terms": 'a list of such texts, such as ["W0", "B A"]',
    "count": "a whole number of at least 1",
    "number": 'a number such as 2, 0.5 or "1/3", or the name of a derived number',
    "flag": "true or false",
    "word": "one of the words listed",
    "shapes": 'a list of shapes, such as ["4 x 2", "2 x 4"]',
    "names": 'a list of names, such as ["q_proj", "v_proj"]',
    "text": 'a name, such as "gpt2"',
}
"""What may stand at a key, by kind."""


@dataclass(frozen=True)
class Need:
    """A key that a quantity takes.

    `default` is what holds where the key is left out: None without `required` means that it plays
    no part then. For `factors` it is the name of a matrix.
    """

    key: str
    kind: Kind
    required: bool = True
    default: Any = None
    words: tuple[str, ...] = ()

    @property
    def argument(self) -> str:
        """The name of the Python argument: ``in`` is a keyword, and a hyphen is no letter."""
        names = {"in": "in_features", "out": "out_features", "pass": "which"}
        return names.get(self.key, self.key.replace("-", "_"))


@dataclass(frozen=True)
class Quantity:
    """One name of the vocabulary.

    Parameters
    ----------
    name : str
        As a file writes it.
    means : str
        What it is, for the page.
    needs : tuple of Need
        Its keys.
    gives : {"number", "numbers", "matrix", "shape"}
        What is to be printed.
    value : callable
        Computes it from the arguments of `needs`; a `Rounded` where it takes floating point.
    """

    name: str
    means: str
    needs: tuple[Need, ...]
    gives: Gives
    value: Callable[..., Any]


@dataclass(frozen=True)
class AsNumber:
    """A derived number where a quantity takes a number and no array."""

    source: "Computed"


@dataclass(eq=False)
class Computed:
    """A quantity with its inputs: computed when it is first asked for, and once.

    It takes keywords and passes over them, so that it can be the recipe of any claim.
    """

    compute: Callable[..., Any]
    inputs: Mapping[str, Any]
    unit: Fraction = Fraction(0)
    _done: list[Any] = field(default_factory=list)

    def __call__(self, **given: Any) -> Any:
        """Return the value.

        Raises
        ------
        ShapeError
            Where the shapes do not allow it.
        LoraRefError
            For inputs that the quantity cannot work with.
        """
        if not self._done:
            try:
                self._done.append(self._value())
            except LoraRefError as error:
                self._done.append(error)
        if isinstance(self._done[0], LoraRefError):
            raise self._done[0]
        return self._done[0]

    def _value(self) -> Any:
        found = self.compute(**{name: self._resolve(given) for name, given in self.inputs.items()})
        if isinstance(found, Rounded):
            self.unit = max(self.unit, found.unit)
            found = found.value
        return within_limits(found)

    def _resolve(self, given: Any) -> Any:
        if isinstance(given, tuple):
            return tuple(self._resolve(one) for one in given)
        if isinstance(given, AsNumber):
            number = self._resolve(given.source)
            if number.ndim:
                raise LoraRefError(f"got {shape_text(number.shape)}, expected a single number")
            return number.item()
        if not isinstance(given, Computed):
            return given
        value = given()
        self.unit = max(self.unit, given.unit)
        return value
