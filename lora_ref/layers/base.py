"""The contract that every layer keeps."""

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from lora_ref.checks import Array, Params, check_float, check_same_axes, frozen
from lora_ref.errors import LoraRefError


class Layer(Protocol):
    """A layer is a frozen dataclass of arrays; its passes are pure.

    ``forward(x) -> (y, cache)`` and ``backward(grad_y, cache) -> (grad_x, grads)``. Nothing is
    stored on the layer, so any number of forward passes can wait for their backward. What a pass
    needs beyond x comes by keyword (a dropout mask, the task of each row).

    A cache holds x itself where it can, not a copy: to leave x as it is until the backward has run
    is the caller's part. A backward refuses the cache of another kind of layer, or of other widths;
    the cache of a layer of the very same shapes looks like its own.
    """

    affine_in_each_argument: ClassVar[bool]
    """Whether y is affine in x and in each parameter alone: a difference quotient is then exact."""

    @property
    def trainable(self) -> Params:
        """The parameters that a training step may move; ``grads`` has the same keys."""
        ...

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Map x of shape (n, in_features), or with more leading axes, to y and a cache."""
        ...

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        """Map the gradient of y to the gradient of x and those of the parameters."""
        ...

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return layers that take `x`, one for each option, with the keywords of their passes.

        Every parameter is random, B included: at a start with B = 0 a wrong gradient hides.
        """
        ...

    def with_params(self, params: Params) -> Self:
        """Return a layer with other values for some of its trainable parameters.

        Shape and dtype are checked, values are not scanned: this stands in every training step.

        Parameters
        ----------
        params : mapping of str to ndarray
            New arrays by name; each has the shape and dtype of the one it replaces. They are not
            copied.

        Raises
        ------
        LoraRefError
            For a name that is not trainable here, or another dtype.
        ShapeError
            For another shape.
        """
        here = type(self).__name__
        if not isinstance(params, Mapping):
            raise LoraRefError(
                f"params in {here}.with_params is a {type(params).__name__}, expected a mapping"
            )
        old = self.trainable
        for name, array in params.items():
            if name not in old:
                names = ", ".join(old) or "none"
                raise LoraRefError(f"{name} is not trainable in {here}, expected some of: {names}")
            check_float(f"{name} in {here}.with_params", array, old[name].dtype)
            check_same_axes(f"{name} in {here}.with_params", array, old[name].shape)
        new = object.__new__(type(self))  # not the constructor, which scans every weight for NaN
        new.__dict__.update(self.__dict__ | dict(params))
        return new

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back from a copy or a pickle with the same arrays read-only."""
        self.__dict__.update(state)
        freeze_untrained(self)


def freeze_untrained(layer: Layer) -> None:
    """Make read-only views of the arrays of a layer that are not in its `trainable`."""
    trainable = layer.trainable.keys()
    for name, value in vars(layer).items():
        if isinstance(value, np.ndarray) and name not in trainable:
            object.__setattr__(layer, name, frozen(value))
