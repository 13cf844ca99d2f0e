"""Layers as a reader may write them: plain classes with right gradients, none of the package's.

Each has `trainable`, `forward` and `backward`, and no more of the contract. `OWN` makes each of
them from a generator.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lora_ref.arrays import Array, Params

IN, OUT, R = 6, 5, 3


class Own:
    """A plain class: parameters are attributes."""

    def __init__(self, **params: Any) -> None:
        self.names = list(params)
        vars(self).update(params)

    @property
    def trainable(self) -> Params:
        return {name: getattr(self, name) for name in self.names}


class Bilinear(Own):
    """y = (x U) * (x V), quadratic in x."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        u, v = x @ self.U, x @ self.V
        return u * v, (x, u, v)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        x, u, v = cache
        grad_u, grad_v = grad_y * v, grad_y * u
        return grad_u @ self.U.T + grad_v @ self.V.T, {"U": x.T @ grad_u, "V": x.T @ grad_v}


class LoHa(Own):
    """y = x W.T with W = (B1 A1) * (B2 A2)."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        first, second = self.B1 @ self.A1, self.B2 @ self.A2
        return x @ (first * second).T, (x, first, second)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        x, first, second = cache
        grad_W = grad_y.T @ x
        grad_first, grad_second = grad_W * second, grad_W * first
        return grad_y @ (first * second), {
            "A1": self.B1.T @ grad_first,
            "B1": grad_first @ self.A1.T,
            "A2": self.B2.T @ grad_second,
            "B2": grad_second @ self.A2.T,
        }


class Gated(Own):
    """y = sigmoid(x G) * (x V)."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        gate, value = 0.5 * (1 + np.tanh(0.5 * (x @ self.G))), x @ self.V
        return gate * value, (x, gate, value)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        x, gate, value = cache
        grad_z, grad_v = grad_y * value * gate * (1 - gate), grad_y * gate
        return grad_z @ self.G.T + grad_v @ self.V.T, {"G": x.T @ grad_z, "V": x.T @ grad_v}


class TiedAutoencoder(Own):
    """y = x W W.T: W stands twice."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        h = x @ self.W
        return h @ self.W.T, (x, h)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        x, h = cache
        grad_h = grad_y @ self.W
        return grad_h @ self.W.T, {"W": x.T @ grad_h + grad_y.T @ h}


class RMSNorm(Own):
    """y = gain * x / rms(x), with one gain for all: a parameter without axes."""

    def forward(self, x: Array) -> tuple[Array, Any]:
        rms = np.sqrt((x**2).mean(axis=-1, keepdims=True))
        return self.gain * x / rms, (x / rms, rms)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        unit, rms = cache
        along = (grad_y * unit).mean(axis=-1, keepdims=True)
        return self.gain * (grad_y - unit * along) / rms, {"gain": (grad_y * unit).sum()}


class VeRA(Own):
    """y = x W.T + b * ((d * (x A.T)) B.T), A and B fixed and at random."""

    def __init__(self, fixed: dict[str, Array], **params: Array) -> None:
        super().__init__(**params)
        self.fixed = fixed

    def forward(self, x: Array) -> tuple[Array, Any]:
        h = x @ self.fixed["A"].T
        z = (self.d * h) @ self.fixed["B"].T
        return x @ self.fixed["W"].T + self.b * z, (h, z)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        h, z = cache
        grad_dh = (grad_y * self.b) @ self.fixed["B"]
        grads = {"d": (grad_dh * h).sum(axis=0), "b": (grad_y * z).sum(axis=0)}
        return grad_y @ self.fixed["W"] + (grad_dh * self.d) @ self.fixed["A"], grads


class CausalAttention(Own):
    """One head over rows as positions, the parameters in a list: queries, keys, values."""

    def __init__(self, weights: list[Array]) -> None:
        super().__init__()
        self.weights = weights

    @property
    def trainable(self) -> Params:
        return dict(zip("QKV", self.weights, strict=True))

    def with_params(self, params: Params) -> "CausalAttention":
        return CausalAttention([params.get(name, old) for name, old in self.trainable.items()])

    def forward(self, x: Array) -> tuple[Array, Any]:
        q, k, v = (x @ W for W in self.weights)
        scores = np.where(np.tri(len(x), dtype=bool), q @ k.T / np.sqrt(q.shape[1]), -np.inf)
        p = np.exp(scores - scores.max(axis=-1, keepdims=True))
        p /= p.sum(axis=-1, keepdims=True)
        return p @ v, (x, q, k, v, p)

    def backward(self, grad_y: Array, cache: Any) -> tuple[Array, Params]:
        x, q, k, v, p = cache
        grad_p = grad_y @ v.T
        grad_scores = p * (grad_p - (p * grad_p).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[1])
        through = grad_scores @ k, grad_scores.T @ q, p.T @ grad_y
        grad_x = sum(grad @ W.T for grad, W in zip(through, self.weights, strict=True))
        return grad_x, {name: x.T @ grad for name, grad in zip("QKV", through, strict=True)}


def _drawn(rng: np.random.Generator, **shapes: tuple[int, ...]) -> dict[str, Array]:
    return {name: rng.standard_normal(shape) for name, shape in shapes.items()}


OWN: dict[str, Callable[[np.random.Generator], Any]] = {
    "bilinear": lambda rng: Bilinear(**_drawn(rng, U=(IN, OUT), V=(IN, OUT))),
    "LoHa": lambda rng: LoHa(**_drawn(rng, A1=(R, IN), B1=(OUT, R), A2=(R, IN), B2=(OUT, R))),
    "gated unit": lambda rng: Gated(**_drawn(rng, G=(IN, OUT), V=(IN, OUT))),
    "tied autoencoder": lambda rng: TiedAutoencoder(**_drawn(rng, W=(IN, R))),
    "RMS norm": lambda rng: RMSNorm(gain=np.array(1.5)),
    "VeRA": lambda rng: VeRA(
        _drawn(rng, A=(R, IN), B=(OUT, R), W=(OUT, IN)), **_drawn(rng, d=(R,), b=(OUT,))
    ),
    "causal attention": lambda rng: CausalAttention(
        list(_drawn(rng, Q=(IN, R), K=(IN, R), V=(IN, OUT)).values())
    ),
}
"""Each layer by name; all take rows of `IN` numbers."""
