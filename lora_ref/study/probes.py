"""What is measured of a trained network besides its accuracy: spectrum, truncations, scaling."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.linear import Linear
from lora_ref.lowrank import best_update, truncated_svd
from lora_ref.study.methods import LINEARS, RANKS, SIZES, delta_w
from lora_ref.training import Network

KEPT = 32
"""Singular values of a layer that a record keeps; the share of the rest is in its norm."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Shares of the trained scaling at which accuracy is measured."""


def spectrum(adapted: Network, pretrained: Network) -> dict[str, list[float]]:
    """Return, for each layer, the share of the squared norm of the update up to each rank.

    Entry k is what the best approximation of rank k + 1 holds (Eckart and Young, 1936), so a
    steep rise to 1 is an update of low rank. At most `KEPT` entries.
    """
    shares = {}
    for name, update in delta_w(adapted, pretrained).items():
        squares = np.square(np.linalg.svd(update.astype(np.float64), compute_uv=False))
        held = np.cumsum(squares) / squares.sum()
        shares[name] = [round(float(share), 4) for share in held[:KEPT]]
    return shares


def lengths() -> dict[str, int]:
    """Return how many entries the spectrum of each layer has."""
    return {name: min(KEPT, *sides) for name, sides in zip(LINEARS, pairwise(SIZES), strict=True)}


def truncate_update(adapted: Network, pretrained: Network) -> dict[int, Network]:
    """Return the fully fine-tuned network with the update of each layer truncated to rank r.

    The biases keep their trained values. A rank beyond a layer's smaller side keeps its whole
    update.
    """
    parts = _parts(adapted, pretrained)

    def truncated(name: str, r: int) -> Array:
        U, s, Vh = parts[name]
        update: Array = (U[:, :r] * s[:r]) @ Vh[:r]
        return update

    return _with_updates(adapted, pretrained, truncated)


def whiten_update(adapted: Network, pretrained: Network, x: Array) -> dict[int, Network]:
    """Return the same networks with each update whitened by its inputs before it is truncated.

    The inputs of a layer are what reaches it in the adapted network from images x (n, 64). The
    truncated update is the one of rank r that changes the layer's output there most like the whole
    update; see `lora_ref.lowrank.best_update`. It is zero along directions that no input has.
    """
    updates, factors = delta_w(adapted, pretrained), {}
    for name, layer in adapted.layers.items():
        if name in updates:
            rows, M = x.astype(np.float64), updates[name].astype(np.float64)
            factors[name] = best_update(rows, rows @ M.T, np.zeros_like(M), min(M.shape))
        x, _ = layer.forward(x)

    def truncated(name: str, r: int) -> Array:
        A, B = factors[name]
        return (B[:, :r] @ A[:r]).astype(adapted.linears[name].W.dtype)

    return _with_updates(adapted, pretrained, truncated)


def randomize_update(
    adapted: Network, pretrained: Network, rng: np.random.Generator
) -> dict[int, Network]:
    """Return the same networks with a random update in place of each truncated one.

    It has the same rank and the same singular values, in directions drawn uniformly: the control,
    which says how much of a truncated update is its size alone.
    """
    parts = _parts(adapted, pretrained)

    def drawn(name: str, r: int) -> Array:
        U, s, Vh = parts[name]
        shapes = U[:, :r].shape, Vh[:r].T.shape
        left, right = (np.linalg.qr(rng.standard_normal(shape))[0] for shape in shapes)
        control: Array = ((left * s[:r]) @ right.T).astype(U.dtype)
        return control

    return _with_updates(adapted, pretrained, drawn)


def _parts(adapted: Network, pretrained: Network) -> dict[str, tuple[Array, Array, Array]]:
    updates = delta_w(adapted, pretrained)
    return {name: truncated_svd(M, min(M.shape)) for name, M in updates.items()}


def _with_updates(
    adapted: Network, pretrained: Network, update: Callable[[str, int], Array]
) -> dict[int, Network]:
    """Return a network for each rank, with the update of that rank on each layer."""
    networks = {}
    for r in RANKS:
        layers = {}
        for name in LINEARS:
            W = pretrained.linears[name].W + update(name, r)
            layers[name] = Linear(W, adapted.linears[name].bias)
        networks[r] = adapted.replaced(layers)
    return networks


def scaling_sweep(adapted: Network) -> Iterator[tuple[float, Network]]:
    """Yield shares of the scaling, and a network of LoRA layers with each of them.

    At 0 the pretrained network is left, at 1 the trained one.
    """
    for share in SHARES:
        layers = {}
        for name in LINEARS:
            layer: Any = adapted[name]
            layers[name] = replace(layer, alpha=share * layer.alpha)
        yield share, adapted.replaced(layers)
