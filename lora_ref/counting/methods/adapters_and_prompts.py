"""Methods that insert something between the weights: adapters, prefixes, vectors of IA3."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar

from lora_ref.checks import as_count
from lora_ref.counting.cost import adapter_params
from lora_ref.counting.methods.base import Method, Part, Targeted, last_stack
from lora_ref.counting.model import Kind, Model, Module, as_names
from lora_ref.counting.targets import Targets, as_targets
from lora_ref.errors import LoraRefError

PLACEMENTS = MappingProxyType(
    {
        "houlsby": (2, 0),  # Houlsby et al., 2019, arXiv 1902.00751
        "lin": (1, 1),  # Lin et al., 2020, arXiv 2004.03829
        "pfeiffer": (1, 0),  # Pfeiffer et al., 2021, arXiv 2005.00247
    }
)
"""Adapters and layer norms in a block by kind, as arXiv 2106.09685 counts them (5.1)."""


@dataclass(frozen=True)
class Adapter(Method):
    """Bottleneck adapters: two projections with biases, 2 d m + m + d each, m the bottleneck.

    By `kind` a block has two of them (``houlsby``), one (``pfeiffer``), or one and a layer norm of
    its own (``lin``). The LoRA paper calls them Adapter-H, Adapter-P and Adapter-L.
    """

    name: ClassVar[str] = "adapter"

    bottleneck: int
    kind: str = "houlsby"

    def __post_init__(self) -> None:
        as_count("bottleneck", self.bottleneck)
        if self.kind not in tuple(PLACEMENTS):
            raise LoraRefError(f"kind is {self.kind!r}, expected one of: {', '.join(PLACEMENTS)}")

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the adapters and their layer norms, a scale and a shift for each feature."""
        adapters, norms = PLACEMENTS[self.kind]
        each = adapter_params(model.width, self.bottleneck)
        parts = (
            Part("adapters", model.blocks * adapters * each),
            Part("layer norms", model.blocks * norms * 2 * model.width),
        )
        return tuple(part for part in parts if part.parameters)


@dataclass(frozen=True)
class PrefixEmbed(Method):
    """Trained vectors in place of the embeddings of special tokens: d (prefix + infix).

    `prefix` tokens stand before the prompt, `infix` after it. Hu et al., 2021, arXiv 2106.09685,
    section 5.1.
    """

    name: ClassVar[str] = "prefix-embed"

    prefix: int
    infix: int = 0

    def __post_init__(self) -> None:
        if as_count("prefix", self.prefix, 0) + as_count("infix", self.infix, 0) == 0:
            raise LoraRefError("prefix and infix are both 0, expected at least one token")

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the vectors."""
        return (Part("vectors", model.width * (self.prefix + self.infix)),)


@dataclass(frozen=True)
class PrefixLayer(PrefixEmbed):
    """Trained activations of special tokens after every block: L d (prefix + infix), L the blocks.

    Hu et al., 2021, arXiv 2106.09685, section 5.1.
    """

    name: ClassVar[str] = "prefix-layer"

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the vectors of all blocks."""
        return (Part("vectors", model.blocks * model.width * (self.prefix + self.infix)),)


KEYS = ("k", "key", "k_proj", "k_lin", "key_proj")
"""Names of the projection to keys in checkpoints, alone or as a split of a fused one."""


@dataclass(frozen=True)
class Prefix(Method):
    """Keys and values of virtual tokens in every block: tokens * 2 * blocks * width of the keys.

    Li and Liang, 2021, arXiv 2101.00190, without the network that can make them; PEFT's prefix
    tuning. In grouped-query attention keys are narrower than the residual stream, and their width
    is what counts. Of an encoder and a decoder PEFT counts the blocks of one.
    """

    name: ClassVar[str] = "prefix"

    tokens: int

    def __post_init__(self) -> None:
        as_count("tokens", self.tokens)

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the keys and the values."""
        entries = self.tokens * last_stack(model).blocks * _key_width(model)
        return Part("keys", entries), Part("values", entries)


def _key_width(model: Model) -> int:
    """Return the rows of the first projection to keys; the model's width where none is named."""
    for module in model.modules:
        if module.name.rpartition(".")[2] in KEYS and module.kind == "linear":
            return module.out_features
        for name, rows in module.splits:
            if name in KEYS:
                return rows
    return model.width


@dataclass(frozen=True)
class IA3(Targeted):
    """A vector that rescales the output of a target, or the input: an entry for each row or column.

    `feedforward` are those of the targets whose input is rescaled. Liu et al., 2022, arXiv
    2205.05638. The vector of a convolution has an entry for each channel; PEFT wraps no convolution
    along one axis.
    """

    name: ClassVar[str] = "ia3"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    targets: Sequence[str] | str | Targets
    feedforward: Sequence[str] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        names, targets = as_names("feedforward", self.feedforward), as_targets(self.targets).names
        if not isinstance(targets, str) and not set(names) <= set(targets):
            raise LoraRefError(
                f"feedforward is {', '.join(names)}, expected names among the targets: "
                f"{', '.join(targets)}"
            )
        object.__setattr__(self, "feedforward", names)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the vector."""
        of_input = module.matches(*self.feedforward)
        yield Part("l", module.shape[1 if of_input else 0])
