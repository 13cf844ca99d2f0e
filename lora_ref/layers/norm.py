"""Layer norm and RMS norm as layers: each row is brought to one size, and scaled by a gain."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import Array, Params, as_count, as_positive, check_parameter
from lora_ref.layers.base import Layer, check_train, chosen, freeze_untrained
from lora_ref.ops import layer_norm, layer_norm_backward, rms_norm, rms_norm_backward
from lora_ref.ops.normalization import LayerNormCache, RMSNormCache


class _Norm(Layer):
    """What both norms share: their parameters, checks and one-line text."""

    gain: Array  # (features,)
    epsilon: float
    train: tuple[str, ...]

    affine_in_each_argument: ClassVar[bool] = False
    can_train: ClassVar[tuple[str, ...]]
    """The names that `train` may hold, and the arrays of the layer."""

    def __post_init__(self) -> None:
        here = type(self).__name__
        check_parameter(f"gain in {here}", self.gain, features=None)
        dtype, features = self.gain.dtype, len(self.gain)
        for name in self.can_train:
            array = getattr(self, name)
            check_parameter(f"{name} in {here}", array, dtype=dtype, features=features)
        epsilon = as_positive(f"epsilon in {here}", self.epsilon, dtype)
        object.__setattr__(self, "epsilon", epsilon)
        check_train(here, self.train, self.can_train)
        freeze_untrained(self)

    @property
    def trainable(self) -> Params:
        """The arrays named in `train`."""
        return chosen(self, self.can_train)

    @classmethod
    def init(cls, features: int, dtype: DTypeLike = np.float64) -> Self:
        """Begin with a gain of ones, and a bias of zeros where there is one."""
        features = as_count(f"features in {cls.__name__}.init", features)
        ones, zeros = np.ones(features, dtype), np.zeros(features, dtype)
        return cls(*(ones, zeros)[: len(cls.can_train)])

    def __repr__(self) -> str:
        """Size, dtype and what trains, on one line."""
        train = "+".join(self.trainable) or "nothing"
        return f"{type(self).__name__}(features={len(self.gain)}, {self.gain.dtype}, train={train})"


@dataclass(frozen=True, eq=False, repr=False)
class LayerNorm(_Norm):
    """Computes ``y = gain * (x - mean) / sqrt(variance + epsilon) + bias``, row by row.

    Ba, Kiros and Hinton, 2016, arXiv 1607.06450.

    Parameters
    ----------
    gain, bias : ndarray of shape (features,)
        Ones and zeros at the start.
    epsilon : float
        Positive: it keeps a constant row finite.
    train : tuple of str
        Which of ``"gain"`` and ``"bias"`` train; the others are read-only.

    Examples
    --------
    >>> norm = LayerNorm.init(4)
    >>> norm
    LayerNorm(features=4, float64, train=gain+bias)
    >>> norm.forward(np.array([[1.0, 1.0, 3.0, 3.0]]))[0].round(3).tolist()
    [[-1.0, -1.0, 1.0, 1.0]]
    """

    gain: Array
    bias: Array
    epsilon: float = 1e-5
    train: tuple[str, ...] = ("gain", "bias")

    can_train: ClassVar[tuple[str, ...]] = ("gain", "bias")

    def forward(self, x: Array) -> tuple[Array, LayerNormCache]:
        """Map x of shape (n, features), or with more leading axes, to y of the same shape."""
        return layer_norm(x, self.gain, self.bias, epsilon=self.epsilon)

    def backward(self, grad_y: Array, cache: LayerNormCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradients of what trains."""
        return layer_norm_backward(grad_y, cache, train=self.train)


@dataclass(frozen=True, eq=False, repr=False)
class RMSNorm(_Norm):
    """Computes ``y = gain * x / sqrt(mean(x²) + epsilon)``, row by row.

    Zhang and Sennrich, 2019, arXiv 1910.07467.

    Parameters
    ----------
    gain : ndarray of shape (features,)
        Ones at the start.
    epsilon : float
        Positive: it keeps a row of zeros finite.
    train : tuple of str
        ``("gain",)``, or ``()`` for a frozen and read-only gain.
    """

    gain: Array
    epsilon: float = 1e-6
    train: tuple[str, ...] = ("gain",)

    can_train: ClassVar[tuple[str, ...]] = ("gain",)

    def forward(self, x: Array) -> tuple[Array, RMSNormCache]:
        """Map x of shape (n, features), or with more leading axes, to y of the same shape."""
        return rms_norm(x, self.gain, epsilon=self.epsilon)

    def backward(self, grad_y: Array, cache: RMSNormCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x and the gradient of the gain, if it trains."""
        return rms_norm_backward(grad_y, cache, train=self.train)
