"""An activation as a layer: nothing to train, and in a network a place of its own."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lora_ref.checks import Array, Params
from lora_ref.errors import LoraRefError
from lora_ref.layers.base import Layer
from lora_ref.ops import ACTIVATIONS


@dataclass(frozen=True, eq=False, repr=False)
class Activation(Layer):
    """Computes ``y = φ(x)``, entry by entry.

    Parameters
    ----------
    name : {"relu", "tanh", "gelu", "gelu_tanh", "silu"}
        The name of φ in `lora_ref.ops.ACTIVATIONS`.

    Examples
    --------
    >>> import numpy as np
    >>> layer = Activation("relu")
    >>> layer
    Activation(relu)
    >>> layer.forward(np.array([[-1.0, 2.0]]))[0]
    array([[0., 2.]])
    """

    name: str

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_activation("name in Activation", self.name)

    @property
    def trainable(self) -> Params:
        """Nothing."""
        return {}

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Map x of any shape to y of the same shape, and the cache of `lora_ref.ops`."""
        return ACTIVATIONS[self.name].forward(x)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x; there are no other gradients."""
        return ACTIVATIONS[self.name].backward(grad_y, cache), {}

    def __repr__(self) -> str:
        """Name the function."""
        return f"{type(self).__name__}({self.name})"


def check_activation(what: str, name: object) -> None:
    """Raise `LoraRefError` unless `name` is one of `lora_ref.ops.ACTIVATIONS`."""
    if not isinstance(name, str) or name not in ACTIVATIONS:
        names = ", ".join(ACTIVATIONS)
        raise LoraRefError(f"{what} is {name!r}, expected one of: {names}")
