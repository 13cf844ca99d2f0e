"""A LoRA layer as one large product each way, in buffers that are used again.

It shows what a LoRA layer costs at least. The layer multiplies by W0, multiplies by A and B beside
it, and adds the two: one more pass over every output, and new arrays each time. A bordered matrix
needs neither ::

    M = [[W0, scaling * B],
         [A,            0]]          of shape (out_features + r, in_features + r)

    y      = [x, x @ A.T] @ M[:out_features].T
    grad_x = [grad_y, scaling * grad_y @ B] @ M[:, :in_features]

Multiplied out block by block these are the formulas of `LoRALinear`. The price is a second copy of
W0. There is no dropout, because one product cannot multiply W0 by x and A by a masked x.
"""

import numpy as np

from lora_ref.checks import Array, Params
from lora_ref.layers import LoRALinear


class BorderedPlan:
    """The passes of one `LoRALinear` through a bordered matrix, for x of up to `rows` rows.

    The results agree with the layer's to rounding. Each call overwrites the results of the call
    before, and `backward` follows the last `forward`. The arrays of the layer are copied; after a
    training step `update` copies the new factors.
    """

    def __init__(self, layer: LoRALinear, rows: int) -> None:
        (out_features, in_features), r, dtype = layer.W0.shape, layer.r, layer.W0.dtype
        self.M = np.zeros((out_features + r, in_features + r), dtype)
        self.M[:out_features, :in_features] = layer.W0
        self.bias = None if layer.bias is None else layer.bias.copy()
        self._x_h = np.empty((rows, in_features + r), dtype)  # x beside h = x @ A.T
        self._y = np.empty((rows, out_features), dtype)
        self._g_h = np.empty((rows, out_features + r), dtype)  # grad_y beside grad_h
        self._grad_x = np.empty((rows, in_features), dtype)
        self._grad_A, self._grad_B = np.empty_like(layer.A), np.empty_like(layer.B)
        self.update(layer)

    def update(self, layer: LoRALinear) -> None:
        """Copy A and ``scaling * B`` of the same layer after a training step."""
        out_features, in_features = layer.W0.shape
        self.scaling = layer.scaling
        self.M[out_features:, :in_features] = layer.A
        np.multiply(layer.B, layer.scaling, out=self.M[:out_features, in_features:])

    def forward(self, x: Array) -> Array:
        """Map x of shape (n, in_features) to y of shape (n, out_features)."""
        n, in_features = x.shape
        out_features = self._y.shape[1]
        x_h, y = self._x_h[:n], self._y[:n]
        x_h[:, :in_features] = x
        np.matmul(x, self.M[out_features:, :in_features].T, out=x_h[:, in_features:])
        np.matmul(x_h, self.M[:out_features].T, out=y)
        if self.bias is not None:
            y += self.bias
        return y

    def backward(self, grad_y: Array) -> tuple[Array, Params]:
        """Map grad_y, shaped like the last y, to grad_x and the gradients of A and B."""
        n, out_features = grad_y.shape
        in_features = self._grad_x.shape[1]
        x_h, g_h, grad_x = self._x_h[:n], self._g_h[:n], self._grad_x[:n]
        g_h[:, :out_features] = grad_y
        np.matmul(grad_y, self.M[:out_features, in_features:], out=g_h[:, out_features:])
        np.matmul(g_h, self.M[:, :in_features], out=grad_x)
        np.matmul(g_h[:, out_features:].T, x_h[:, :in_features], out=self._grad_A)
        np.matmul(grad_y.T, x_h[:, in_features:], out=self._grad_B)
        self._grad_B *= self.scaling
        return grad_x, {"A": self._grad_A, "B": self._grad_B}
