"""Execution plans: a LoRA layer as one large product each way, in buffers that are used again.

The plain layer multiplies by W0, multiplies by A and B beside it, and adds the two: one more walk
over every output, and new arrays in every pass. A bordered matrix takes both away ::

    M = [[W0, scaling * B],
         [A,            0]]          of shape (out_features + r, in_features + r)

    y      = [x, x @ A.T] @ M[:out_features].T
    grad_x = [grad_y, scaling * grad_y @ B] @ M[:, :in_features]

Multiplied out block by block these are the formulas of `LoRALinear`. The sum over in_features
terms (out_features on the way back) has r more, and that is the whole cost of the update beyond
its thin products; the corner of M is never read. The price of a plan is a second copy of W0.
"""

from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array, Params, check_rows
from lora_ref.errors import LoraRefError
from lora_ref.layers.lora import LoRALinear


def bordered(layer: LoRALinear) -> "BorderedPlan":
    """Return an execution plan for `layer`: the same passes, faster, with no new arrays.

    Parameters
    ----------
    layer : LoRALinear
        The layer, of exactly this class. Its arrays are copied.

    Raises
    ------
    LoraRefError
        For anything else; a class derived from LoRALinear may compute something else.

    Examples
    --------
    >>> plan = bordered(LoRALinear(np.zeros((5, 7)), np.ones((2, 7)), np.ones((5, 2)), alpha=4))
    >>> y = plan.forward(np.ones((3, 7)))
    >>> float(y[0, 0])  # (4/2) * (7 + 7)
    28.0
    >>> _ = plan.forward(np.zeros((3, 7)))
    >>> float(y[0, 0])  # y lived until that call
    0.0
    """
    return BorderedPlan(layer)


class _Room(NamedTuple):
    """Buffers for n rows; each pass writes its first rows over."""

    x_h: Array  # (n, in_features + r)  x beside h = x @ A.T
    y: Array  # (n, out_features)
    g_h: Array  # (n, out_features + r)  grad_y beside grad_h = scaling * grad_y @ B
    grad_x: Array  # (n, in_features)


class BorderedPlan:
    """The passes of one `LoRALinear` through a bordered matrix; made by `bordered`.

    It agrees with the layer to rounding, and shares no memory with the layer's arrays, x or
    grad_y. **All results live until the next call** of a method of the same plan, which writes
    over them: copy what must last longer. The buffers hold the largest n so far, and the small last
    batch of an epoch uses a part of them; a pass over no more rows than that makes no array.

    A plan is not a second layer: it trains nothing, merges nothing and has no dropout. After a
    training step `update` copies the new factors in.

    A copy of a plan, and one that comes back from a pickle, computes the same in memory of its own;
    no forward waits in it. Threads that share one plan write over each other's results: each needs
    a plan of its own, and to see to that is the caller's part.
    """

    def __init__(self, layer: LoRALinear) -> None:
        _check_layer("layer in fast.bordered", layer)
        (out_features, in_features), r, dtype = layer.W0.shape, layer.r, layer.W0.dtype
        self._M = M = np.zeros((out_features + r, in_features + r), dtype)
        self._rows, self._columns = M[:out_features], M[:, :in_features]  # for y, for grad_x
        self._W0, self._scaled_B = self._rows[:, :in_features], self._rows[:, in_features:]
        self._A = self._columns[out_features:]
        self._W0[:] = layer.W0
        self._bias = None if layer.bias is None else layer.bias.copy()
        self._grad_A, self._grad_B = np.empty_like(layer.A), np.empty_like(layer.B)
        self._room = self._make_room(0)
        self._layer = layer
        self._leading: tuple[int, ...] | None = None  # of the forward that backward may follow
        self.update(layer)

    def update(self, layer: LoRALinear) -> None:
        """Copy A and ``scaling * B`` of `layer` in: the same layer after a training step.

        A backward that waits is off, because its forward used the old factors. W0 and bias are
        not read again: the plan keeps what they held when it was made.

        Raises
        ------
        LoraRefError
            For a layer with another W0, bias, r or dtype; that takes a new plan.
        """
        what = "layer in BorderedPlan.update"
        _check_layer(what, layer)
        same = {
            "dtype": layer.W0.dtype == self._W0.dtype,
            "r": layer.r == self._layer.r,
            "W0": layer.W0 is self._layer.W0 or _equal(layer.W0, self._W0),
            "bias": layer.bias is self._layer.bias or _equal(layer.bias, self._bias),
        }
        for name, is_same in same.items():
            if not is_same:
                raise LoraRefError(
                    f"{what} has another {name} than the layer of this plan, expected one that "
                    "differs in A, B and alpha only; make a new plan with fast.bordered"
                )
        self._A[:] = layer.A
        np.multiply(layer.B, layer.scaling, out=self._scaled_B)
        self._layer, self._leading = layer, None

    def forward(self, x: Array, *, mask: None = None) -> Array:
        """Map x of shape (n, in_features) to y of shape (n, out_features), until the next call.

        Further leading axes of x come back in y. There is no cache to hand over: the plan itself
        keeps what its backward needs, so only the last forward can be followed by one.

        Raises
        ------
        LoraRefError
            If x has another dtype than the layer, or is empty, or a dropout mask comes with it.
        ShapeError
            If the last axis of x is not in_features, or x has one axis only.
        """
        if mask is not None:
            raise LoraRefError(
                "mask in BorderedPlan.forward is not None, expected no dropout: one product "
                "cannot show x to W0 and a masked x to A; use LoRALinear.forward"
            )
        in_features = self._W0.shape[1]
        rows = check_rows("x in BorderedPlan.forward", x, self._W0.dtype, in_features=in_features)
        n, leading = len(rows), x.shape[:-1]
        if n > len(self._room.y):
            self._room = self._make_room(n)
        x_h, y = self._room.x_h[:n], self._room.y[:n]
        x_h[:, :in_features] = rows
        np.matmul(x_h[:, :in_features], self._A.T, out=x_h[:, in_features:])
        np.matmul(x_h, self._rows.T, out=y)
        if self._bias is not None:
            y += self._bias
        self._leading = leading
        return y.reshape(*leading, -1)

    def backward(self, grad_y: Array) -> tuple[Array, Params]:
        """Map grad_y, shaped like the last y, to grad_x and the gradients of A and B.

        All three live until the next call. They belong to the last forward; x itself is not looked
        at again.

        Raises
        ------
        LoraRefError
            If no forward went before, or grad_y has another dtype than the layer.
        ShapeError
            If grad_y is not shaped like the last y.
        """
        what, leading = "grad_y in BorderedPlan.backward", self._leading
        if leading is None:
            raise LoraRefError(
                f"{what} came before a forward pass with the present factors, expected "
                "plan.forward(x) first"
            )
        out_features, in_features = self._W0.shape
        g = check_rows(what, grad_y, self._W0.dtype, leading=leading, out_features=out_features)
        n = len(g)
        x_h, g_h, grad_x = self._room.x_h[:n], self._room.g_h[:n], self._room.grad_x[:n]
        g_h[:, :out_features] = g
        np.matmul(g_h[:, :out_features], self._scaled_B, out=g_h[:, out_features:])
        np.matmul(g_h, self._columns, out=grad_x)
        np.matmul(g_h[:, out_features:].T, x_h[:, :in_features], out=self._grad_A)
        np.matmul(g_h[:, :out_features].T, x_h[:, in_features:], out=self._grad_B)
        self._grad_B *= self._layer.scaling
        return grad_x.reshape(*leading, -1), {"A": self._grad_A, "B": self._grad_B}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and pickle by making anew: copied one by one, the views would leave M."""
        return _made_again, (self._layer, self._M, self._bias)

    def __repr__(self) -> str:
        """Name the layer, and how many rows there is room for."""
        return f"{type(self).__name__}({self._layer}, rows={len(self._room.y)})"

    def _make_room(self, n: int) -> _Room:
        (out_features, in_features), r, dtype = self._W0.shape, len(self._A), self._W0.dtype
        widths = in_features + r, out_features, out_features + r, in_features
        return _Room(*(np.empty((n, width), dtype) for width in widths))


def _made_again(layer: LoRALinear, M: Array, bias: Array | None) -> BorderedPlan:
    """Return a plan of `layer` that holds M and bias, which the layer's arrays may have left."""
    plan = BorderedPlan(layer)
    plan._M[:] = M
    plan._bias = None if bias is None else bias.copy()
    return plan


def _check_layer(what: str, layer: object) -> None:
    if type(layer) is not LoRALinear:
        raise LoraRefError(
            f"{what} is a {type(layer).__name__}, expected a LoRALinear itself: "
            "a plan knows no other formula"
        )


def _equal(one: Array | None, other: Array | None) -> bool:
    return one is not None and other is not None and np.array_equal(one, other)
