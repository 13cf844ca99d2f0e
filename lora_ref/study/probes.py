"""What a finished run is asked further: its spectrum, what a cut leaves, and the dial."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np

from lora_ref.layers.linear import Linear
from lora_ref.lowrank import truncated_svd
from lora_ref.study.methods import LINEARS, RANKS, SIZES, delta_w
from lora_ref.training import Network

KEPT = 32
"""Singular values of a layer that a record keeps; the share of the rest is in its norm."""

SHARES = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
"""Shares of the trained scaling that the dial is turned to."""


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


def cut(adapted: Network, pretrained: Network) -> dict[int, Network]:
    """Return the fully fine-tuned network with the update of each layer cut to rank r.

    The biases keep what they learnt. A rank beyond a layer's smaller side keeps its whole update.
    """
    parts = {
        name: truncated_svd(M, min(M.shape)) for name, M in delta_w(adapted, pretrained).items()
    }
    networks = {}
    for r in RANKS:
        layers = {}
        for name, (U, s, Vh) in parts.items():
            kept = (U[:, :r] * s[:r]) @ Vh[:r]
            layers[name] = Linear(pretrained.linears[name].W + kept, adapted.linears[name].bias)
        networks[r] = adapted.replaced(layers)
    return networks


def dial(adapted: Network) -> Iterator[tuple[float, Network]]:
    """Yield shares of the scaling, and a network of LoRA layers turned to each of them.

    At 0 the pretrained network is left, at 1 the trained one.
    """
    for share in SHARES:
        layers = {}
        for name in LINEARS:
            layer: Any = adapted[name]
            layers[name] = replace(layer, alpha=share * layer.alpha)
        yield share, adapted.replaced(layers)
