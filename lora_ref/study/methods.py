"""The methods: how each one prepares the pretrained network, and what is left when it is off.

Every LoRA has alpha = 2 r on every layer; the four variants have r = 8. Like is compared with like:
``lora-r`` and ``weights`` freeze the biases, ``lora-r-bias`` and ``full`` train them. Adapters
follow every linear layer and are no part of W0.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.dora import DoRALinear
from lora_ref.layers.initializers import pissa
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.qlora import QLoRALinear
from lora_ref.training import Network

SIZES = (64, 256, 256, 10)
"""Widths of the perceptron."""

LINEARS = ("fc1", "fc2", "fc3")
"""Names of its linear layers."""

VARIANT_RANK = 8
RANKS = (1, 2, 4, 8, 16)
WIDTHS = (4, 16)
WITH_BIAS = ("A", "B", "bias")

Build = Callable[[Network, np.random.Generator], Network]
"""From the pretrained network to the one that trains."""


class Method(NamedTuple):
    """A way to adapt: how it begins, and how to take it off again."""

    text: str
    build: Build
    switch_off: Callable[[Network, Network], Network] | None = None
    """From the adapted and the pretrained network to the one with the adapter off."""


def _only(*names: str, of: Sequence[str] = LINEARS) -> Build:
    return lambda network, rng: network.train_only(dict.fromkeys(of, names))


def _lora(r: int, **options: Any) -> Build:
    return lambda network, rng: network.with_lora(r, 2.0 * r, rng, **options)


def _wrapped(init: Callable[..., DoRALinear | QLoRALinear]) -> Build:
    def build(network: Network, rng: np.random.Generator) -> Network:
        r = VARIANT_RANK
        wrapped = {
            name: init(linear.W, r, 2.0 * r, rng, bias=linear.bias)
            for name, linear in network.linears.items()
        }
        return network.replaced(wrapped)

    return build


def _adapters(m: int) -> Build:
    return lambda network, rng: network.with_adapters(m, rng)


def _off(adapted: Network, pretrained: Network) -> Network:
    """Run what each layer holds of W0, without what was trained; QLoRA's W0 is the rounded one."""
    bare = {}
    for name in LINEARS:
        layer = adapted[name]
        bias = pretrained.linears[name].bias
        if isinstance(layer, QLoRALinear):
            bare[name] = Linear(layer.W0.dequantize(np.dtype(np.float32)), bias)
        elif isinstance(layer, LoRALinear | DoRALinear):
            bare[name] = Linear(layer.W0, bias)
        else:  # a bottleneck adapter stands beside its linear layer
            bare[name] = adapted.linears[name]
    return pretrained.replaced(bare)


def _original(adapted: Network, pretrained: Network) -> Network:
    """Return the pretrained network itself: PiSSA's W0 is reduced and no network of its own."""
    return pretrained


METHODS: Mapping[str, Method] = {
    "untouched": Method("the pretrained network as it is", lambda network, rng: network),
    "scratch": Method(
        "a new network, trained on the target images alone",
        lambda network, rng: Network.mlp(SIZES, rng, dtype=np.float32),
    ),
    "head": Method("weight and bias of the last layer", _only("W", "bias", of=("fc3",))),
    "biases": Method("the biases of all layers", _only("bias")),
    "weights": Method("all weights; biases frozen", _only("W")),
    "full": Method("all weights and biases", _only("W", "bias")),
    **{f"lora-{r}": Method(f"LoRA, r = {r}", _lora(r), _off) for r in RANKS},
    **{
        f"lora-{r}-bias": Method(f"LoRA, r = {r}, biases train", _lora(r, train=WITH_BIAS), _off)
        for r in RANKS
    },
    "rslora": Method(
        "LoRA, r = 8, scaling alpha / sqrt(r)", _lora(VARIANT_RANK, rank_stabilized=True), _off
    ),
    "dora": Method("DoRA, r = 8", _wrapped(DoRALinear.init), _off),
    "pissa": Method("LoRA, r = 8, PiSSA start", _lora(VARIANT_RANK, initializer=pissa), _original),
    "qlora": Method("LoRA, r = 8, over W0 in NF4", _wrapped(QLoRALinear.init), _off),
    **{f"adapter-{m}": Method(f"bottleneck adapters, m = {m}", _adapters(m), _off) for m in WIDTHS},
}
"""The methods by name, in the order of every table."""

DEFAULT_METHODS = tuple(METHODS)


def learning_rates() -> Mapping[str, float]:
    """Return the committed learning rate of every method that trains; `tune` chose them."""
    text = (files("lora_ref.study") / "learning_rates.json").read_text(encoding="utf-8")
    chosen: dict[str, float] = json.loads(text)["chosen"]
    return chosen


def base_weights(network: Network) -> dict[str, bytes]:
    """Return the bytes of each weight matrix: of W0, of its codes, or of W in a plain layer."""
    layers: dict[str, Any] = {name: network[name] for name in LINEARS}
    return {
        name: b"".join(_bytes(layer.W if isinstance(layer, Linear) else layer.W0))
        for name, layer in layers.items()
    }


def _bytes(weight: object) -> Iterator[bytes]:
    """Walk a matrix, or the arrays of a quantised one, also those of its quantised constants."""
    if isinstance(weight, np.ndarray):
        yield weight.tobytes()
    elif is_dataclass(weight):
        for field in fields(weight):
            yield from _bytes(getattr(weight, field.name))


def delta_w(adapted: Network, pretrained: Network) -> dict[str, Array]:
    """Return W - W0 of each layer of a network that trained in full."""
    return {name: adapted.linears[name].W - pretrained.linears[name].W for name in LINEARS}
