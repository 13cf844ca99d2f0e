"""Layers in a row, under names, which together are a layer again."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Self, overload

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import Array, Params, as_count, check_cache, check_generator
from lora_ref.errors import LoraRefError
from lora_ref.layers.activation import Activation
from lora_ref.layers.adapter import Adapter
from lora_ref.layers.base import Layer
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear


class NetworkCache(NamedTuple):
    """What `Network.backward` needs: the cache of each layer, in order."""

    caches: tuple[Any, ...]
    names: tuple[str, ...]  # of the layers


@dataclass(frozen=True, eq=False, repr=False)
class Network(Layer):
    """Feeds the y of each layer to the next; parameters carry the name of their layer: ``fc1.A``.

    It keeps the contract of a layer, so whatever checks or trains a layer takes a network too.
    A network never changes: each method that adapts returns another one, which shares the arrays
    that it did not have to make anew.

    Parameters
    ----------
    layers : mapping of str to Layer
        In the order of the forward pass; at least one. A name is not empty and has no dot in it.

    Raises
    ------
    LoraRefError
        For no layers, or a name that is not one. Whether a y fits the next layer shows in the
        first forward pass.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> network = Network.mlp([64, 32, 10], rng)
    >>> network
    Network(fc1, act1, fc2: 2410 numbers train)
    >>> adapted = network.with_lora(r=2, alpha=4, rng=rng)
    >>> adapted
    Network(fc1, act1, fc2: 276 numbers train)
    >>> sorted(adapted.trainable)
    ['fc1.A', 'fc1.B', 'fc2.A', 'fc2.B']
    >>> adapted["fc1"]
    LoRALinear(in_features=64, out_features=32, r=2, alpha=4, float64)
    """

    layers: Mapping[str, Layer]

    affine_in_each_argument: ClassVar[bool] = False

    def __post_init__(self) -> None:
        names: Iterable[object] = self.layers
        if not isinstance(names, Mapping):
            raise LoraRefError(
                f"layers in Network are a {type(names).__name__}, expected a mapping of names"
            )
        if not self.layers:
            raise LoraRefError("layers in Network are none, expected at least one")
        for name in names:
            if not isinstance(name, str) or not name or "." in name:
                raise LoraRefError(
                    f"{name!r} names a layer in Network, expected a string without dots, not empty"
                )
        object.__setattr__(self, "layers", MappingProxyType(dict(self.layers)))

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle the layers as a dict: a read-only view of one cannot be."""
        return self.__dict__ | {"layers": dict(self.layers)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come back with the layers read-only; each has seen to its arrays."""
        self.__dict__.update(state, layers=MappingProxyType(state["layers"]))

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the layers, so that ``"fc1" in network`` asks for one."""
        return iter(self.layers)

    def __getitem__(self, name: str) -> Layer:
        """Return the layer of that name."""
        self._known("the key of Network", (name,), self.layers)
        return self.layers[name]

    @property
    def linears(self) -> dict[str, Linear]:
        """The plain linear layers, by name: what can be adapted or frozen."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, Linear)}

    # ---------------------------------------------------------------------- the contract

    @property
    def trainable(self) -> Params:
        """The trainable parameters of every layer, under dotted names."""
        return {
            f"{name}.{key}": array
            for name, layer in self.layers.items()
            for key, array in layer.trainable.items()
        }

    def with_params(self, params: Params) -> Self:
        """Return a network with other values for some of its trainable parameters.

        Raises
        ------
        LoraRefError
            For a name that is not trainable here; the layers check shape and dtype.
        """
        old, new = self.trainable, object.__new__(type(self))
        parts: dict[str, dict[str, Array]] = {}
        for dotted, array in params.items():
            if dotted not in old:
                names = ", ".join(old) or "none"
                raise LoraRefError(
                    f"{dotted} is not trainable in Network, expected some of: {names}"
                )
            name, _, key = dotted.partition(".")
            parts.setdefault(name, {})[key] = array
        moved = {name: self.layers[name].with_params(part) for name, part in parts.items()}
        new.__dict__.update(self.__dict__, layers=MappingProxyType({**self.layers, **moved}))
        return new

    def forward(
        self, x: Array, *, masks: Mapping[str, Array] | None = None
    ) -> tuple[Array, NetworkCache]:
        """Map x of shape (n, in_features) to the y of the last layer.

        Parameters
        ----------
        x : ndarray of shape (n, in_features), or with more leading axes
            What the first layer takes.
        masks : mapping of str to ndarray, optional
            Dropout masks by the name of the layer whose ``mask`` they are.

        Raises
        ------
        LoraRefError
            For a mask under a name that is no layer's, or of a layer that takes none; and whatever
            the layers raise.
        """
        masks = masks or {}
        if masks:
            self._known("masks in Network.forward", masks, self.layers)
        caches = []
        for name, layer in self.layers.items():
            if name in masks:
                if not takes_mask(layer):
                    here = type(layer).__name__
                    raise LoraRefError(
                        f"masks in Network.forward hold one for {name}, a layer of type {here}, "
                        "expected none: it drops nothing"
                    )
                keywords: Any = {"mask": masks[name]}
                x, cache = layer.forward(x, **keywords)
            else:
                x, cache = layer.forward(x)
            caches.append(cache)
        return x, NetworkCache(tuple(caches), tuple(self.layers))

    @overload
    def backward(
        self, grad_y: Array, cache: NetworkCache, *, need_grad_x: Literal[True] = True
    ) -> tuple[Array, Params]: ...

    @overload
    def backward(
        self, grad_y: Array, cache: NetworkCache, *, need_grad_x: Literal[False]
    ) -> tuple[None, Params]: ...

    def backward(
        self, grad_y: Array, cache: NetworkCache, *, need_grad_x: bool = True
    ) -> tuple[Array | None, Params]:
        """Map the gradient of y to that of x and to those of the parameters, under dotted names.

        With ``need_grad_x=False`` the pass ends at the lowest layer with something to train, and
        grad_x is None: training a head costs no backward through what lies below it.
        """
        what = "cache in Network.backward"
        check_cache(what, cache, NetworkCache, names=tuple(self.layers))
        below = set() if need_grad_x else self._below_training()
        grads: dict[str, Params] = {}
        for name, kept in zip(reversed(list(self.layers)), reversed(cache.caches), strict=True):
            if name not in below:
                grad_y, grads[name] = self.layers[name].backward(grad_y, kept)
        dotted = {
            f"{name}.{key}": grad for name in reversed(grads) for key, grad in grads[name].items()
        }
        return grad_y if need_grad_x else None, dotted

    # ---------------------------------------------------------------------- ways to begin

    @classmethod
    def mlp(
        cls,
        sizes: Iterable[int],
        rng: np.random.Generator,
        *,
        activation: str = "relu",
        dtype: DTypeLike = np.float64,
    ) -> Self:
        """Return a perceptron: linear layers ``fc1``, ``fc2``, ... with ``act1``, ... in between.

        Weights are normal with variance ``2 / in_features``, which keeps the size of what passes
        through ReLU (He et al., 2015, arXiv 1502.01852); biases are zero.

        Parameters
        ----------
        sizes : sequence of int
            Widths from the input to the output, at least two.
        rng : numpy.random.Generator
            Where the weights are drawn from; the same in every dtype, up to rounding.
        activation : str
            As in `Activation`.
        dtype : dtype
            Of all parameters, floating point.
        """
        widths = [as_count(f"sizes[{i}] in Network.mlp", size) for i, size in enumerate(sizes)]
        if len(widths) < 2:
            raise LoraRefError(f"sizes in Network.mlp are {widths}, expected at least two widths")
        check_generator("rng in Network.mlp", rng)
        layers: dict[str, Layer] = {}
        for i, (into, out) in enumerate(pairwise(widths), start=1):
            if i > 1:
                layers[f"act{i - 1}"] = Activation(activation)
            W = rng.normal(0.0, (2 / into) ** 0.5, (out, into)).astype(dtype)
            layers[f"fc{i}"] = Linear(W, np.zeros(out, dtype))
        return cls(layers)

    # ---------------------------------------------------------------------- ways to adapt

    def with_lora(
        self,
        r: int,
        alpha: float,
        rng: np.random.Generator,
        *,
        targets: Iterable[str] | None = None,
        initializer: Initializer = kaiming_uniform,
        rank_stabilized: bool = False,
    ) -> Self:
        """Turn linear layers into `LoRALinear`; their biases, and all other layers, are frozen.

        Parameters
        ----------
        r, alpha, rng, initializer, rank_stabilized
            As in `LoRALinear.init`; the layers draw from `rng` in order.
        targets : iterable of str, optional
            The linear layers to adapt; all of them if omitted.

        Raises
        ------
        LoraRefError
            For a target that is no linear layer, and for a layer that trains and cannot be frozen.
        """

        def adapted(layer: Linear) -> LoRALinear:
            options: Any = {"initializer": initializer, "rank_stabilized": rank_stabilized}
            return LoRALinear.init(layer.W, r, alpha, rng, bias=layer.bias, **options)

        chosen = self._targets("with_lora", targets)
        return self.train_only({}).replaced({name: adapted(chosen[name]) for name in chosen})

    def with_adapters(
        self,
        m: int,
        rng: np.random.Generator,
        *,
        targets: Iterable[str] | None = None,
        activation: str = "relu",
    ) -> Self:
        """Put an `Adapter`, ``<name>_adapter``, behind linear layers; all that was there is frozen.

        Parameters
        ----------
        m : int
            Width of the bottleneck.
        rng : numpy.random.Generator
            What the adapters draw from, in order.
        targets : iterable of str, optional
            The linear layers to adapt; all of them if omitted.
        activation : str
            That of the adapters.

        Raises
        ------
        LoraRefError
            For a target that is no linear layer, for a layer that trains and cannot be frozen, and
            for a name that is taken.
        """
        chosen, layers = self._targets("with_adapters", targets), {}
        for name, layer in self.train_only({}).layers.items():
            layers[name] = layer
            if name in chosen:
                added, W = f"{name}_adapter", chosen[name].W
                if added in self.layers:
                    raise LoraRefError(f"{added} is a layer in Network already, expected no such")
                layers[added] = Adapter.init(len(W), m, rng, W.dtype, activation)
        return type(self)(layers)

    def train_only(self, choice: Mapping[str, tuple[str, ...]]) -> Self:
        """Freeze all but the chosen parts of linear layers: ``{"fc3": ("W", "bias")}`` is a head.

        Nothing chosen, ``{}``, freezes the whole network.

        Raises
        ------
        LoraRefError
            For a name that is no linear layer's, a part that is neither ``"W"`` nor ``"bias"``,
            and for a layer of another kind that trains: a LoRA has no frozen form but its merge.
        """
        chosen: object = choice
        if not isinstance(chosen, Mapping):
            raise LoraRefError(
                f"choice in Network.train_only is {chosen!r}, expected a mapping from names of "
                "layers to tuples of 'W' and 'bias'"
            )
        self._known("choice in Network.train_only", choice, self.linears)
        layers = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Linear):
                layer = Linear(layer.W, layer.bias, choice.get(name, ()))
            elif layer.trainable:
                raise LoraRefError(
                    f"{name} in Network is {layer!r}, expected nothing but linear layers to train: "
                    "it cannot be frozen; merge or replace it first"
                )
            layers[name] = layer
        return type(self)(layers)

    def replaced(self, layers: Mapping[str, Layer]) -> Self:
        """Return a network with other layers under some of its names.

        Raises
        ------
        LoraRefError
            For a name that is no layer's.
        """
        self._known("layers in Network.replaced", layers, self.layers)
        return type(self)({**self.layers, **layers})

    def merge(self) -> Self:
        """Fold every update into its weight; layers without a ``merge`` stay what they are."""
        mergers: dict[str, Callable[[], Layer]] = {
            name: layer.merge for name, layer in self.layers.items() if hasattr(layer, "merge")
        }
        return self.replaced({name: merge() for name, merge in mergers.items()})

    # ---------------------------------------------------------------------- the rest

    @classmethod
    def examples(
        cls, x: Array, out_features: int, rng: np.random.Generator
    ) -> list[tuple[Self, Mapping[str, Any]]]:
        """Return networks that take `x`, of smooth layers: one that trains whole, one with LoRA."""
        sizes = [x.shape[-1], 4, out_features]
        plain = cls.mlp(sizes, rng, activation="tanh", dtype=x.dtype)

        def drawn(network: Self) -> Self:
            old = network.trainable
            return network.with_params(
                {name: rng.normal(0, 0.5, a.shape).astype(a.dtype) for name, a in old.items()}
            )

        return [(drawn(plain), {}), (drawn(plain.with_lora(2, 3.0, rng)), {})]

    def __repr__(self) -> str:
        """Names, the middle ones left out where there are many, and how much trains."""
        names = list(self.layers)
        if len(names) > 7:
            names[3:-3] = ["..."]
        count = sum(array.size for array in self.trainable.values())
        return f"{type(self).__name__}({', '.join(names)}: {count} numbers train)"

    def _below_training(self) -> set[str]:
        """Return the names of the layers below the lowest one with something to train."""
        below = set()
        for name, layer in self.layers.items():
            if layer.trainable:
                break
            below.add(name)
        return below

    def _targets(self, method: str, targets: Iterable[str] | None) -> dict[str, Linear]:
        """Return the linear layers to adapt, in the order of the network."""
        linears, what = self.linears, f"targets in Network.{method}"
        if isinstance(targets, str):
            raise LoraRefError(f"{what} are {targets!r}, expected several names: ({targets!r},)")
        wanted = set(linears if targets is None else targets)
        self._known(what, wanted, linears)
        if not wanted:
            raise LoraRefError(f"{what} name nothing, expected some of: {_listed(linears)}")
        return {name: layer for name, layer in linears.items() if name in wanted}

    @staticmethod
    def _known(what: str, names: Iterable[str], among: Iterable[str]) -> None:
        for name in names:
            if name not in among:
                raise LoraRefError(f"{what}: {name!r} names nothing, expected {_listed(among)}")


def takes_mask(layer: Layer) -> bool:
    """Whether the forward pass of a layer takes a dropout ``mask``."""
    return "mask" in inspect.signature(layer.forward).parameters


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
