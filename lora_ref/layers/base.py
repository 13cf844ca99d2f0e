"""The contract that every layer keeps."""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol, Self

import numpy as np

from lora_ref.checks import Array, Params, check_finite, check_like, frozen
from lora_ref.errors import LoraRefError


class Layer(Protocol):
    """A layer: a frozen dataclass of arrays whose passes are pure.

    ``forward(x) -> (y, cache)`` and ``backward(grad_y, cache) -> (grad_x, grads)``. Nothing is
    stored on the layer, so any number of forward passes can wait for their backward. What a pass
    needs beyond x comes by keyword: a dropout mask, the task of each row.

    A cache holds x itself where it can, not a copy: the caller leaves x unchanged until the
    backward has run. A backward refuses the cache of another kind of layer, or of other widths.

    A constructor checks shapes and dtypes, in a time that does not grow with the arrays; `check`
    scans their values.
    """

    affine_in_each_argument: ClassVar[bool]
    """Whether y is affine in x and in each parameter alone: a difference quotient is then exact."""

    mixes_rows: ClassVar[bool] = False
    """Whether a row of y depends on other rows of x, as in attention."""

    keywords: ClassVar[tuple[str, ...]] = ()
    """Names of the keywords that `forward` takes beyond x."""

    @property
    def trainable(self) -> Params:
        """The parameters that a training step may move; ``grads`` has the same keys."""
        ...

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Map x of shape (n, in_features), or with more leading axes, to y and a cache."""
        ...

    def backward(self, grad_y: Array, cache: Any) -> tuple[Any, Params]:
        """Map the gradient of y to the gradient of x and those of the parameters.

        Where x holds integers, such as tokens, it has no gradient, and grad_x is None.
        """
        ...

    def with_params(self, params: Params) -> Self:
        """Return a layer with other values for some of its trainable parameters.

        Parameters
        ----------
        params : mapping of str to ndarray
            New arrays by name; each has the shape and dtype of the one it replaces. They are not
            copied, and their values are not scanned.
        """
        check_params(f"{type(self).__name__}.with_params", params, self.trainable)
        changes: dict[str, Any] = dict(params)
        return dataclasses.replace(self, **changes)  # type: ignore[type-var]

    def check(self) -> Self:
        """Return the layer, or raise `LoraRefError` where an array is not finite."""
        for name, value in vars(self).items():
            if isinstance(value, np.ndarray):
                check_finite(f"{name} in {type(self).__name__}", value)
        return self

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back from a copy or a pickle with the same arrays read-only."""
        self.__dict__.update(state)
        freeze_untrained(self)


def freeze_untrained(layer: Layer) -> None:
    """Make read-only views of the arrays of a layer that are not in its `trainable`."""
    trainable = layer.trainable
    for name, value in vars(layer).items():
        if not isinstance(value, np.ndarray) or name in trainable:
            continue
        if value.flags.writeable or value.flags.owndata:  # its owner could make it writeable
            object.__setattr__(layer, name, frozen(value))


def without_training(name: str, layer: Any) -> Any:
    """Return a layer with nothing to train, or raise where it has no `train` to say so."""
    if not layer.trainable:
        return layer
    if not hasattr(layer, "train"):
        raise LoraRefError(f"{name} is {layer!r}, which cannot be frozen, expected one with train")
    return dataclasses.replace(layer, train=())


def chosen(layer: Any, names: tuple[str, ...]) -> Params:
    """Return the arrays of a layer that its `train` names, as far as it has them, in order."""
    arrays = {name: getattr(layer, name) for name in names if name in layer.train}
    return {name: array for name, array in arrays.items() if array is not None}


def check_train(where: str, train: object, names: tuple[str, ...]) -> None:
    """Raise unless `train` is a tuple of some of the names of a layer's arrays."""
    if not isinstance(train, tuple) or not all(name in names for name in train):
        listed = ", ".join(map(repr, names[:-1]))
        raise LoraRefError(
            f"train in {where} is {train!r}, expected a tuple of {listed} and {names[-1]!r}"
        )


def check_params(where: str, params: Params, trainable: Params) -> None:
    """Raise unless each of `params` has the name, shape and dtype of a trainable one."""
    got: object = params
    if not isinstance(got, Mapping):
        raise LoraRefError(f"params in {where} is a {type(got).__name__}, expected a mapping")
    for name, array in params.items():
        if name not in trainable:
            layer, names = where.partition(".")[0], ", ".join(trainable) or "none"
            raise LoraRefError(f"{name} is not trainable in {layer}, expected some of: {names}")
        check_like(f"{name} in {where}", array, trainable[name])
