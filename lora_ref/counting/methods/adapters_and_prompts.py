"""Methods that insert something between the weights: bottleneck adapters, prefixes, vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, NamedTuple

from lora_ref.checks import as_count
from lora_ref.counting.cost import adapter_params
from lora_ref.counting.methods.base import Method, Part, Targeted, as_names, last_stack
from lora_ref.counting.modules import Kind, Model, Module
from lora_ref.errors import LoraRefError


class _Placement(NamedTuple):
    """Where a kind of adapter stands."""

    adapters: int  # in a block
    norms: int  # layer norms that come with them, in a block
    source: str


PLACEMENTS = MappingProxyType(
    {
        "houlsby": _Placement(2, 0, "Houlsby et al., 2019, arXiv 1902.00751"),
        "lin": _Placement(1, 1, "Lin et al., 2020, arXiv 2004.03829"),
        "pfeiffer": _Placement(1, 0, "Pfeiffer et al., 2021, arXiv 2005.00247"),
    }
)
"""Adapters and layer norms in a block by kind, as arXiv 2106.09685 counts them (5.1)."""


@dataclass(frozen=True)
class Adapter(Method):
    """Bottlenecks of m between two projections with biases: 2 d m + m + d each.

    With two in a block (``houlsby``), one (``pfeiffer``), or one and a layer norm of its own
    (``lin``). The LoRA paper calls them Adapter-H, Adapter-P and Adapter-L.

    Parameters
    ----------
    m : int
        Width of the bottleneck.
    kind : {"houlsby", "lin", "pfeiffer"}
        Where they stand, see `PLACEMENTS`.
    norms : int, optional
        Layer norms in a block that come with them and are trained, if it differs from the kind's.

    Raises
    ------
    LoraRefError
        For a count that is not a whole number, or an unknown kind.
    """

    name: ClassVar[str] = "adapter"
    source: ClassVar[str] = "; ".join(placement.source for placement in PLACEMENTS.values())

    m: int
    kind: str = "houlsby"
    norms: int | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        as_count("m", self.m)
        if self.kind not in tuple(PLACEMENTS):
            raise LoraRefError(f"kind is {self.kind!r}, expected one of: {', '.join(PLACEMENTS)}")
        if self.norms is not None:
            as_count("norms", self.norms, at_least=0)

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the adapters and their layer norms, a scale and a shift for each feature."""
        placement = PLACEMENTS[self.kind]
        norms = placement.norms if self.norms is None else self.norms
        adapters = model.blocks * placement.adapters * adapter_params(model.width, self.m)
        found = (
            Part("adapters", adapters),
            Part("layer norms", model.blocks * norms * 2 * model.width),
        )
        return tuple(part for part in found if part.numbers)


@dataclass(frozen=True)
class PrefixEmbed(Method):
    """Vectors in place of the embeddings of special tokens: d (prefix + infix).

    Hu et al., 2021, arXiv 2106.09685, section 5.1.

    Parameters
    ----------
    prefix, infix : int
        Tokens before the prompt and after it.
    """

    name: ClassVar[str] = "prefix-embed"
    source: ClassVar[str] = "Hu et al., 2021, arXiv 2106.09685, section 5.1"

    prefix: int
    infix: int = 0

    def __post_init__(self) -> None:
        """Check that there is a token at all."""
        tokens = as_count("prefix", self.prefix, 0) + as_count("infix", self.infix, 0)
        if tokens == 0:
            raise LoraRefError("prefix and infix are both 0, expected at least one token")

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the vectors."""
        return (Part("vectors", model.width * (self.prefix + self.infix)),)


@dataclass(frozen=True)
class PrefixLayer(PrefixEmbed):
    """The activations of special tokens after every block: L d (prefix + infix).

    Hu et al., 2021, arXiv 2106.09685, section 5.1. The parameters are those of `PrefixEmbed`.
    """

    name: ClassVar[str] = "prefix-layer"

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the vectors of all blocks."""
        return (Part("vectors", model.blocks * model.width * (self.prefix + self.infix)),)


KEYS = ("k", "key", "k_proj", "k_lin", "key_proj")
"""What checkpoints call the projection to keys, alone or as a piece of a fused one."""


@dataclass(frozen=True)
class Prefix(Method):
    """Keys and values of virtual tokens in every block: tokens * 2 * blocks * width of the keys.

    Li and Liang, 2021, arXiv 2101.00190, without the network that can make them; PEFT's prefix
    tuning. With grouped-query attention keys are narrower than the residual stream, and what is
    counted is their width. Of an encoder and a decoder PEFT counts the blocks of one.

    Parameters
    ----------
    tokens : int
        Virtual tokens.

    Raises
    ------
    LoraRefError
        If `tokens` is not a whole number of at least 1.
    """

    name: ClassVar[str] = "prefix"
    source: ClassVar[str] = "Li and Liang, 2021, arXiv 2101.00190"

    tokens: int

    def __post_init__(self) -> None:
        """Check the field."""
        as_count("tokens", self.tokens)

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the keys and the values."""
        numbers = self.tokens * last_stack(model).blocks * _width_of_keys(model)
        return Part("keys", numbers), Part("values", numbers)


def _width_of_keys(model: Model) -> int:
    """Return the rows of the first projection to keys; the model's width where none is named."""
    for module in model.modules:
        if module.name.rpartition(".")[2] in KEYS and module.kind == "linear":
            return module.out_features
        for name, rows in module.pieces:
            if name in KEYS:
                return rows
    return model.width


@dataclass(frozen=True)
class IA3(Targeted):
    """A vector that rescales what a target returns, or, for a feed-forward one, what it is given.

    Liu et al., 2022, arXiv 2205.05638. A convolution's vector has a number for each channel; PEFT
    wraps none along one axis.

    Parameters
    ----------
    targets : sequence of str
        Names of the modules, as in `LoRA`.
    feedforward : sequence of str
        Names among them whose input is rescaled: a number for each column.

    Raises
    ------
    LoraRefError
        If a name of `feedforward` is none of the targets.
    """

    name: ClassVar[str] = "ia3"
    source: ClassVar[str] = "Liu et al., 2022, arXiv 2205.05638"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    targets: Sequence[str]
    feedforward: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Check that the feed-forward names are targets."""
        super().__post_init__()
        names = as_names("feedforward", self.feedforward)
        if not set(names) <= set(self.targets):
            raise LoraRefError(
                f"feedforward is {', '.join(names)}, expected names among the targets: "
                f"{', '.join(self.targets)}"
            )
        object.__setattr__(self, "feedforward", names)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the vector."""
        of_input = any(module.answers_to(name) for name in self.feedforward)
        yield Part("l", module.shape[1] if of_input else module.out_features)
