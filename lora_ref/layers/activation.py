"""An activation as a layer: nothing to train, and in a network a place of its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer
from lora_ref.ops import ACTIVATIONS


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Layer):
    """Computes ``y = φ(x)``, entry by entry.

    Parameters
    ----------
    name : {"relu", "tanh", "gelu", "gelu_tanh"}
        The name of φ in `lora_ref.ops.ACTIVATIONS`.

    Raises
    ------
    LoraRefError
        For a name that is not there.

    Examples
    --------
    >>> layer = Activation("relu")
    >>> layer
    Activation(relu)
    >>> layer.forward(np.array([[-1.0, 2.0]]))[0]
    array([[0., 2.]])
    """

    name: str

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        name: object = self.name
        if not isinstance(name, str) or name not in ACTIVATIONS:
            names = ", ".join(ACTIVATIONS)
            raise LoraRefError(f"name in Activation is {name!r}, expected one of: {names}")

    @property
    def trainable(self) -> Params:
        """Nothing."""
        return {}

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Map x of any shape to y of the same shape, and the cache of `lora_ref.ops`.

        Raises
        ------
        LoraRefError
            If x is not a floating-point array, or is empty.
        """
        return ACTIVATIONS[self.name].forward(x)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x; there are no other gradients."""
        return ACTIVATIONS[self.name].backward(grad_y, cache), {}

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return each activation; y is shaped like x, whatever `out_features` is."""
        return [(cls(name), {}) for name in ACTIVATIONS]

    def __repr__(self) -> str:
        """Name the function."""
        return f"{type(self).__name__}({self.name})"
