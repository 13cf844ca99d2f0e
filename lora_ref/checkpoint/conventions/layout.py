"""A layout: by what names, in what shapes and with what number the update of a weight is kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checkpoint.conventions.fused_qkv import joined, split
from lora_ref.checkpoint.conventions.update import Axis, Update
from lora_ref.checks import AnyDType, Array, as_finite, check_array
from lora_ref.errors import LoraRefError, ShapeError


class Place(NamedTuple):
    """An array as it is stored: its name, and its axes in their order."""

    name: str
    axes: tuple[str, ...]

    def turned(self, array: Array) -> Array:
        """Return a copy with ``out`` first or ``in`` last; it is its own inverse."""
        turns = self.axes[0] == "in" or self.axes[-1] == "out"
        return np.array(array.T if turns else array, order="C")


@dataclass(frozen=True)
class Layout:
    """How somebody keeps the update of one weight, as data; `read` and `write` follow from it.

    Parameters
    ----------
    name, source : str
        Who, and the file and version where all of this was read.
    weight, A, B : Place
        The frozen weight and the factors. A meets the input and B makes the output, whatever they
        are called there.
    merged : str
        Code: from the stored arrays, by the last part of their names, to the weight ``merged`` with
        the update in it, which lies as the stored weight does. It is what the source computes;
        `read` and `write` make no use of it, so the one checks the other.
    number : str, optional
        The number kept beside the factors. Without one the scaling is 1, and `write` folds it into
        B, so that the same weight comes back and not the same B.
    power : float
        ``scaling = number / r**power``: 1 for alpha / r, 1/2 for alpha / sqrt(r), 0 for a number
        that is the scaling.
    kept : str
        Where the number is kept.
    dropout : str
        Where dropout stands in training.
    magnitude : Place, optional
        DoRA's lengths, with the axis ``out`` or ``in``.
    enable : tuple of bool
        Which parts of the weight have an update, where it has several, such as q, k and v in one.
        The g parts with one have factors of rank r each, which lie behind one another.
    widths : tuple of int, optional
        Outputs of each part; equal shares if omitted.
    zero_means_r : bool
        Whether a stored number 0 stands for r.

    Examples
    --------
    >>> from lora_ref.checkpoint.conventions import LAYOUTS
    >>> update = Update(np.ones((2, 5)), np.ones((4, 2)), scaling=3.0)
    >>> stored = LAYOUTS["loralib"].write(update)
    >>> stored["lora_A"].shape, stored["lora_alpha"]
    ((2, 5), 6.0)
    >>> stored = LAYOUTS["mlx-lm"].write(LAYOUTS["loralib"].read(stored))
    >>> stored["lora_a"].shape, stored["scale"]
    ((5, 2), 3.0)
    """

    name: str
    source: str
    weight: Place
    A: Place
    B: Place
    merged: str
    number: str | None = None
    power: float = 1
    kept: str = "nowhere"
    dropout: str = "none"
    magnitude: Place | None = None
    enable: tuple[bool, ...] = (True,)
    widths: tuple[int, ...] | None = None
    zero_means_r: bool = False

    def __post_init__(self) -> None:
        n = len(self.enable)
        if not any(self.enable):
            raise LoraRefError(
                f"enable in {self.name} is {self.enable}, expected one True at least"
            )
        if self.widths is not None and len(self.widths) != n:
            raise LoraRefError(
                f"widths in {self.name} is {self.widths}, expected {n} numbers, as in enable"
            )
        if self.magnitude is not None and n > 1:
            raise LoraRefError(f"{self.name} has a magnitude and {n} parts, expected one part")

    @property
    def names(self) -> tuple[str, ...]:
        """What is stored of an update, in the order of `write`."""
        magnitude = () if self.magnitude is None else (self.magnitude.name,)
        number = () if self.number is None else (self.number,)
        return (self.A.name, self.B.name, *number, *magnitude)

    @property
    def axis(self) -> Axis | None:
        """What has a magnitude each, or None where there is no magnitude."""
        if self.magnitude is None:
            return None
        return "in" if "in" in self.magnitude.axes else "out"

    # ------------------------------------------------------------------ the weight

    def read_weight(self, stored: Array) -> Array:
        """Return a stored weight as (out_features, in_features)."""
        axes: Any = dict.fromkeys(self.weight.axes)
        check_array(f"{self.weight.name} in {self.name}", stored, **axes)
        return self.weight.turned(stored)

    def write_weight(self, W0: Array) -> Array:
        """Return a weight (out_features, in_features) as it is stored."""
        check_array(f"W0 for {self.name}", W0, out_features=None, in_features=None)
        return self.weight.turned(W0)

    # ------------------------------------------------------------------ the update

    def read(self, stored: Mapping[str, Any]) -> Update:
        """Return the update that is stored, from its arrays and its number by name.

        Of a weight of several parts it is one update of all, as `joined` makes it.

        Raises
        ------
        LoraRefError
            Where a name is missing or surplus, an array has other axes (`ShapeError`), or a value
            is not finite. Exchanged factors of a square weight have the right shapes: that cannot
            be seen.
        """
        if set(stored) != set(self.names):
            raise LoraRefError(
                f"{self.name} keeps {', '.join(self.names)}; got {', '.join(stored) or 'nothing'}"
            )
        sizes: dict[str, int] = {"1": 1}
        B = self._taken(stored, self.B, sizes)
        sizes["g r"] = sum(self.enable) * sizes["r"]
        A = self._taken(stored, self.A, sizes, B.dtype)
        scaling = self._scaling(stored, sizes["r"], B.dtype)
        if self.magnitude is not None:
            lengths = self._taken(stored, self.magnitude, sizes, B.dtype).reshape(-1)
            return Update(A, B, scaling, lengths, self.axis or "out")
        if len(self.enable) == 1:
            return Update(A, B, scaling)
        widths = self._widths_of(len(B))
        ends = np.cumsum([w for w, enabled in zip(widths, self.enable, strict=True) if enabled])
        factors = zip(np.split(A, len(ends)), np.split(B, ends[:-1].tolist()), strict=True)
        updates = iter([Update(*two, scaling) for two in factors])
        parts = zip(widths, self.enable, strict=True)
        return joined([next(updates) if enabled else width for width, enabled in parts])

    def write(self, update: Update) -> dict[str, Any]:
        """Return what is stored of an update: arrays, and the number, by name.

        Raises
        ------
        LoraRefError
            Where the layout has no place for what the update is: for a magnitude, or without one,
            for magnitudes of the other axis, for the update of a part that has none.
        """
        if not isinstance(update, Update):
            raise LoraRefError(f"{self.name} is given {update!r}, expected an Update")
        self._check_magnitude(update)
        if self.zero_means_r and not update.scaling:
            raise LoraRefError(
                f"the scaling of the update is 0, expected another: {self.name} reads 0 as r"
            )
        if self.number is None:
            update = update.rescaled(1.0)
        parts = [part for part in self.split(update) if isinstance(part, Update)]
        stored: dict[str, Any] = {
            self.A.name: self.A.turned(np.concatenate([part.A for part in parts])),
            self.B.name: self.B.turned(np.concatenate([part.B for part in parts])),
        }
        if self.number is not None:
            stored[self.number] = update.scaling * parts[0].r ** self.power
        if self.magnitude is not None and update.magnitude is not None:
            leading = [1] * (len(self.magnitude.axes) - 1)
            stored[self.magnitude.name] = update.magnitude.reshape(*leading, -1).copy()
        return stored

    def split(self, update: Update) -> tuple[Update | int, ...]:
        """Return the update of each part, or how many outputs it has where it has no update."""
        n, out_features = len(self.enable), len(update.B)
        if n == 1:
            return (update,)
        if self.widths is None and out_features % n:
            raise ShapeError(
                f"the update has {out_features} outputs, expected a multiple of {n}, the parts in "
                f"{self.name}; other shares are given by widths"
            )
        return split(update, self.widths or (out_features // n,) * n, self.enable)

    # ------------------------------------------------------------------ inside

    def _taken(
        self,
        stored: Mapping[str, Any],
        place: Place,
        sizes: dict[str, int],
        dtype: AnyDType | None = None,
    ) -> Array:
        """Return an array with ``out`` first or ``in`` last, and note the sizes of its axes."""
        array: Array = stored[place.name]
        axes: Any = {axis: sizes.get(axis) for axis in place.axes}
        check_array(f"{place.name} in {self.name}", array, dtype=dtype, **axes)
        sizes |= dict(zip(place.axes, array.shape, strict=True))
        return place.turned(array)

    def _widths_of(self, rows: int) -> tuple[int, ...]:
        """Return the outputs of each part, where `rows` are the rows of the stored B."""
        count = sum(self.enable)
        widths = self.widths or (rows // count,) * len(self.enable)
        expected = sum(w for w, enabled in zip(widths, self.enable, strict=True) if enabled)
        if rows != expected:
            shares = "other shares are given by widths" if self.widths is None else f"of {widths}"
            raise ShapeError(
                f"{self.B.name} in {self.name} has {rows} rows, expected {expected} for the "
                f"{count} parts with an update; {shares}"
            )
        return widths

    def _scaling(self, stored: Mapping[str, Any], r: int, dtype: AnyDType) -> float:
        if self.number is None:
            return 1.0
        value = stored[self.number]
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value[()]
        number = as_finite(f"{self.number} in {self.name}", value, dtype)
        return float((number or r if self.zero_means_r else number) / r**self.power)

    def _check_magnitude(self, update: Update) -> None:
        kinds = {axis: f"a magnitude for each {axis}put" for axis in ("out", "in")}
        got = None if update.magnitude is None else update.axis
        if got != self.axis:
            raise LoraRefError(
                f"the update has {kinds.get(got or '', 'no magnitude')}, and {self.name} keeps "
                f"{kinds.get(self.axis or '', 'none')}"
                + ("; Update.as_dora finds it" if got is None else "")
            )
