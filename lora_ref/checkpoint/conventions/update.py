"""The update of one weight in the convention of this project, whatever layout it came from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self, TypeAlias

from lora_ref.checks import Array, as_finite, check_array
from lora_ref.errors import LoraRefError
from lora_ref.layers.dora import DoRALinear, row_norms
from lora_ref.layers.lora import LoRALinear

Axis: TypeAlias = Literal["out", "in"]


@dataclass(frozen=True, eq=False)
class Update:
    """What an adapter does to one weight W0: ``V = W0 + scaling * B @ A``, and DoRA's magnitude.

    Parameters
    ----------
    A : ndarray of shape (r, in_features)
    B : ndarray of shape (out_features, r)
    scaling : float
        The multiplier itself, with no rule by which it came from an alpha.
    magnitude : ndarray of shape (out_features,) or (in_features,), optional
        With it the weight is V, each vector of which is brought to that length.
    axis : {"out", "in"}
        What has a magnitude each: an output, which is a row of V, or an input, a column.

    Examples
    --------
    >>> import numpy as np
    >>> update = Update(np.array([[1.0, 2.0]]), np.array([[3.0], [0.0]]), scaling=0.5)
    >>> update.delta_w
    array([[1.5, 3. ],
           [0. , 0. ]])
    """

    A: Array
    B: Array
    scaling: float
    magnitude: Array | None = None
    axis: Axis = "out"

    def __post_init__(self) -> None:
        check_array("A in Update", self.A, r=None, in_features=None)
        check_array("B in Update", self.B, dtype=self.A.dtype, out_features=None, r=self.r)
        object.__setattr__(
            self, "scaling", as_finite("scaling in Update", self.scaling, self.A.dtype)
        )
        if self.axis not in ("out", "in"):
            raise LoraRefError(f"axis in Update is {self.axis!r}, expected 'out' or 'in'")
        if self.magnitude is not None:
            axes = {"out_features": len(self.B)} if self.axis == "out" else {}
            axes = axes or {"in_features": self.A.shape[1]}
            check_array("magnitude in Update", self.magnitude, dtype=self.A.dtype, **axes)

    @property
    def r(self) -> int:
        """Rank of the factors."""
        return len(self.A)

    @property
    def delta_w(self) -> Array:
        """What is added to W0, before a magnitude sets the lengths: ``scaling * B @ A``."""
        return self.scaling * (self.B @ self.A)

    def merged(self, W0: Array) -> Array:
        """Return the weight of shape (out_features, in_features) that the update makes of W0."""
        self._check_weight(W0)
        V = W0 + self.delta_w
        if self.magnitude is None:
            return V
        ratio = self.magnitude / self._norms(W0, self.axis)
        return ratio[:, None] * V if self.axis == "out" else V * ratio

    def rescaled(self, scaling: float) -> Self:
        """Return the same update with another scaling; B takes up the difference.

        Training goes on differently: the gradients of A and B depend on how the scaling is shared.
        """
        if not scaling:
            raise LoraRefError("scaling in Update.rescaled is 0, expected a number that B can meet")
        return replace(self, B=self.B * (self.scaling / scaling), scaling=scaling)

    def as_dora(self, W0: Array, axis: Axis = "out") -> Self:
        """Return the update with the lengths that V has, so that it makes the same weight of W0."""
        self._check_weight(W0)
        if self.magnitude is not None:
            raise LoraRefError(
                f"the update has a magnitude for each {self.axis}put already, expected none: "
                "the other kind makes another weight of the same factors"
            )
        return replace(self, magnitude=self._norms(W0, axis), axis=axis)

    def layer(self, W0: Array, bias: Array | None = None) -> LoRALinear | DoRALinear:
        """Return W0 with the update on it, as a layer; magnitudes of inputs have no layer here."""
        alpha = self.scaling * self.r
        if self.magnitude is None:
            return LoRALinear(W0, self.A, self.B, alpha, bias)
        if self.axis == "in":
            raise LoraRefError(
                "the update has a magnitude for each input, expected one for each output, as "
                "DoRALinear has them: merge it, in general no such layer makes the same weight"
            )
        return DoRALinear(W0, self.A, self.B, self.magnitude, alpha, bias)

    @classmethod
    def of(cls, layer: LoRALinear | DoRALinear) -> Self:
        """Return the update that a layer makes to its W0."""
        if not isinstance(layer, LoRALinear | DoRALinear):
            raise LoraRefError(f"layer is {layer!r}, expected a LoRALinear or a DoRALinear")
        return cls(layer.A, layer.B, layer.scaling, getattr(layer, "magnitude", None))

    def _norms(self, W0: Array, axis: Axis) -> Array:
        if axis == "out":
            return row_norms(W0, self.A, self.B, self.scaling)[0]
        return row_norms(W0.T, self.B.T, self.A.T, self.scaling)[0]  # a column is a row of V.T

    def _check_weight(self, W0: Array) -> None:
        axes = {"out_features": len(self.B), "in_features": self.A.shape[1]}
        check_array("W0 of an Update", W0, dtype=self.A.dtype, **axes)
