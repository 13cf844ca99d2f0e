"""A network: layers in a row, under names, which together are a layer again."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise, takewhile
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checks import Array, Params, as_count, check_cache, check_generator
from lora_ref.errors import LoraRefError
from lora_ref.layers.activation import Activation
from lora_ref.layers.adapter import Adapter
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import Composite, check_known, joined
from lora_ref.layers.initializers import Initializer, kaiming_uniform
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.layers.low_rank import LowRankLayer


class NetworkCache(NamedTuple):
    """What `Network.backward` needs: the cache of each layer, in order."""

    caches: tuple[Any, ...]
    names: tuple[str, ...]  # of the layers


@dataclass(frozen=True, eq=False, repr=False)
class Network(Composite):
    """Feeds the y of each layer to the next; parameters carry the name of their layer: ``fc1.A``.

    It keeps the contract of a layer, so whatever checks or trains a layer takes a network too.
    A network never changes: each method that adapts returns another one, which shares the arrays
    that it did not have to make anew.

    Parameters
    ----------
    layers : mapping of str to Layer
        In the order of the forward pass; at least one. A name is not empty and has no dot in it.
        Whether each y fits the next layer shows in the first forward pass.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> network = Network.mlp([64, 32, 10], rng)
    >>> network
    Network(fc1, act1, fc2: 2410 parameters train)
    >>> adapted = network.with_lora(r=2, alpha=4, rng=rng)
    >>> adapted
    Network(fc1, act1, fc2: 276 parameters train)
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
        check_known("the key of Network", (name,), self.layers)
        return self.layers[name]

    @property
    def linears(self) -> dict[str, Linear]:
        """The plain linear layers, by name: what can be adapted or frozen."""
        return {name: layer for name, layer in self.layers.items() if isinstance(layer, Linear)}

    # ---------------------------------------------------------------------- the contract

    @property
    def children(self) -> Mapping[str, Layer]:
        """The layers, by name."""
        return self.layers

    def with_children(self, children: Mapping[str, Layer]) -> Self:
        """Return a network of other layers."""
        return replace(self, layers=children)

    def forward(
        self, x: Array, *, keywords: Mapping[str, Any] | None = None
    ) -> tuple[Array, NetworkCache]:
        """Map x of shape (n, in_features) to the y of the last layer.

        Parameters
        ----------
        x : ndarray of shape (n, in_features), or with more leading axes
            What the first layer takes.
        keywords : mapping of str to value, optional
            Keywords of the layers' forward passes, by dotted name: ``{"fc1.mask": mask}``.
        """
        parts, caches = self.route("Network.forward", keywords), []
        for name, layer in self.layers.items():
            options: Any = parts.get(name, {})
            x, cache = layer.forward(x, **options)
            caches.append(cache)
        return x, NetworkCache(tuple(caches), tuple(self.layers))

    def backward(
        self, grad_y: Array, cache: NetworkCache, *, need_grad_x: bool = True
    ) -> tuple[Any, Params]:
        """Map the gradient of y to that of x and to those of the parameters, under dotted names.

        With ``need_grad_x=False`` the pass ends at the lowest layer with something to train, and
        grad_x is None: training a head costs no backward through what lies below it.
        """
        check_cache("cache in Network.backward", cache, NetworkCache, names=tuple(self.layers))
        frozen = takewhile(lambda name: not self.layers[name].trainable, self.layers)
        below = () if need_grad_x else tuple(frozen)
        grads: dict[str, Params] = {}
        for name, kept in zip(reversed(cache.names), reversed(cache.caches), strict=True):
            if name not in below:
                grad_y, grads[name] = self.layers[name].backward(grad_y, kept)
        in_order = {name: grads[name] for name in reversed(grads)}
        return grad_y if need_grad_x else None, joined(in_order)

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
        through ReLU (He et al., 2015, arXiv 1502.01852); biases are zero. `sizes` are the widths
        from the input to the output, at least two. In another `dtype` the weights are the same, up
        to rounding.
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
        train: tuple[str, ...] = ("A", "B"),
    ) -> Self:
        """Turn linear layers into `LoRALinear`; all other layers are frozen.

        `targets` are the names of the linear layers to adapt, all of them if omitted; they draw
        from `rng` in order. The other arguments are those of `LoRALinear.init`.
        """
        chosen, frozen = self._targets("with_lora", targets), self.train_only({})
        options: Any = {"rank_stabilized": rank_stabilized, "train": train}
        adapted = {
            name: LoRALinear.init(
                linear.W, r, alpha, rng, initializer=initializer, bias=linear.bias, **options
            )
            for name, linear in chosen.items()
        }
        return frozen.replaced(adapted)

    def with_adapters(
        self,
        bottleneck: int,
        rng: np.random.Generator,
        *,
        targets: Iterable[str] | None = None,
        activation: str = "relu",
    ) -> Self:
        """Put an `Adapter`, ``<name>_adapter``, behind linear layers; all that was there is frozen.

        `targets` are the names of the linear layers, all of them if omitted; the adapters draw from
        `rng` in order.
        """
        chosen, layers = self._targets("with_adapters", targets), {}
        for name, layer in self.train_only({}).layers.items():
            layers[name] = layer
            if name in chosen:
                added, W = f"{name}_adapter", chosen[name].W
                if added in self.layers:
                    raise LoraRefError(f"{added} is a layer in Network already, expected no such")
                layers[added] = Adapter.init(len(W), bottleneck, rng, W.dtype, activation)
        return type(self)(layers)

    def train_only(self, choice: Mapping[str, tuple[str, ...]]) -> Self:
        """Freeze all but the chosen parts: ``{"fc3": ("W", "bias")}`` trains the head alone.

        A part is a name that the layer's `train` may hold. ``{}`` freezes the whole network, and
        ``{"fc1": ("A", "B"), "fc3": ("W", "bias")}`` trains an adapter and the head.

        Raises
        ------
        LoraRefError
            For a layer that trains and has no `train`: an `Adapter` cannot be frozen.
        """
        parts: object = choice
        if not isinstance(parts, Mapping):
            raise LoraRefError(
                f"choice in Network.train_only is {parts!r}, expected a mapping from names of "
                "layers to tuples of names such as 'W' and 'bias'"
            )
        can_choose = [name for name, layer in self.layers.items() if hasattr(layer, "train")]
        check_known("choice in Network.train_only", choice, can_choose)
        layers: dict[str, Layer] = {}
        for name, layer in self.layers.items():
            if isinstance(layer, Linear | LowRankLayer):
                layer = replace(layer, train=choice.get(name, ()))  # type: ignore[type-var]
            elif layer.trainable:
                raise LoraRefError(
                    f"{name} in Network is {layer!r}, which cannot be frozen; "
                    "expected linear and low-rank layers alone to train"
                )
            layers[name] = layer
        return type(self)(layers)

    def replaced(self, layers: Mapping[str, Layer]) -> Self:
        """Return a network with other layers under some of its names."""
        check_known("layers in Network.replaced", layers, self.layers)
        return type(self)({**self.layers, **layers})

    def merge(self) -> Self:
        """Fold every update into its weight; layers without a ``merge`` stay what they are."""
        mergers: dict[str, Callable[[], Layer]] = {
            name: layer.merge for name, layer in self.layers.items() if hasattr(layer, "merge")
        }
        return self.replaced({name: merge() for name, merge in mergers.items()})

    def __repr__(self) -> str:
        """Names, the middle ones left out where there are many, and how much trains."""
        names = list(self.layers)
        if len(names) > 7:
            names[3:-3] = ["..."]
        count = sum(array.size for array in self.trainable.values())
        return f"{type(self).__name__}({', '.join(names)}: {count} parameters train)"

    def _targets(self, method: str, targets: Iterable[str] | None) -> dict[str, Linear]:
        """Return the linear layers to adapt, in the order of the network."""
        linears, what = self.linears, f"targets in Network.{method}"
        if isinstance(targets, str):
            raise LoraRefError(f"{what} are {targets!r}, expected several names: ({targets!r},)")
        wanted = set(linears if targets is None else targets)
        check_known(what, wanted, linears)
        if not wanted:
            names = ", ".join(linears) or "none"
            raise LoraRefError(f"{what} name nothing, expected some of: {names}")
        return {name: layer for name, layer in linears.items() if name in wanted}
