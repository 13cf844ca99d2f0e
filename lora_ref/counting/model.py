"""A model as a list of its modules: names and shapes, no weights.

That is all that counting needs. A name is a dotted path as the published checkpoint has it, with
``*`` for the running number of a block, so one entry stands for every block:
``h.*.attn.c_attn``, 12 copies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from math import prod
from typing import Literal, get_args

from lora_ref.arrays import as_count
from lora_ref.errors import LoraRefError

Kind = Literal["linear", "embedding", "convolution", "norm", "parameter"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Module:
    """`copies` modules of one shape.

    Parameters
    ----------
    name : str
        Dotted path, ``*`` for the running number.
    kind : {"linear", "embedding", "convolution", "norm", "parameter"}
        A linear map, a table of vectors, a convolution, a normalisation (layer norm or RMS norm),
        or a bare parameter such as a class token.
    shape : tuple of int
        Of the weight: (out_features, in_features), (entries, width), (out, in, height, width),
        (width,), any. What a checkpoint stores transposed, such as GPT-2's ``Conv1D``, is given as
        (out_features, in_features) here.
    bias : int
        Entries of the bias, 0 where there is none.
    copies : int
        How often it occurs.
    tied_to : str or None
        Name of the module whose weight this one uses: counted there, once.
    pieces : tuple of (str, int)
        For a fused projection: what its rows are, in order, such as
        ``(("q", 768), ("k", 768), ("v", 768))``.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    bias: int = 0
    copies: int = 1
    tied_to: str | None = None
    pieces: tuple[tuple[str, int], ...] = ()

    def __post_init__(self) -> None:
        if not self.name or any(not step for step in self.name.split(".")):
            raise LoraRefError(f"{self.name!r} is not a module's name, expected such as h.*.attn.q")
        if self.kind not in KINDS:
            raise LoraRefError(
                f"{self.name}: kind is {self.kind!r}, expected one of: {', '.join(KINDS)}"
            )
        axes = {"linear": 2, "embedding": 2, "norm": 1}.get(self.kind, len(self.shape))
        if not self.shape or len(self.shape) != axes:
            raise LoraRefError(f"{self.name}: shape is {self.shape}, expected {axes or 1} axes")
        for size in self.shape:
            as_count(f"{self.name}: shape", size)
        as_count(f"{self.name}: copies", self.copies)
        as_count(f"{self.name}: bias", self.bias, at_least=0)
        if self.copies > 1 and "*" not in self.name.split("."):
            raise LoraRefError(f"{self.name}: {self.copies} copies need a * in the name")
        if self.pieces and sum(rows for _, rows in self.pieces) != self.shape[0]:
            raise LoraRefError(
                f"{self.name}: the pieces have {sum(rows for _, rows in self.pieces)} rows, "
                f"expected {self.shape[0]}, those of the weight"
            )

    @property
    def out_features(self) -> int:
        """Rows of the weight."""
        return self.shape[0]

    @property
    def in_features(self) -> int:
        """Columns of the weight, all axes but the first taken together."""
        return prod(self.shape[1:])

    @property
    def weight(self) -> int:
        """Entries of all copies of the weight, tied or not."""
        return self.copies * prod(self.shape)

    @property
    def biases(self) -> int:
        """Entries of all copies of the bias."""
        return self.copies * self.bias

    def answers_to(self, target: str) -> bool:
        """Whether `target` names it: the whole path, or the end of it after a dot."""
        return self.name == target or self.name.endswith("." + target)


@dataclass(frozen=True)
class Model:
    """A published model, or one's own.

    Parameters
    ----------
    name : str
        Short name, as on the command line.
    title : str
        What it is called in print.
    source : str
        Where its sizes are published.
    modules : tuple of Module
        All of them; the names differ.
    width : int
        Of the residual stream.
    blocks : int
        Transformer blocks, encoder and decoder together; layers of another network.
    published : int or None
        The published count of its parameters, where there is one.
    """

    name: str
    title: str
    source: str
    modules: tuple[Module, ...]
    width: int
    blocks: int
    published: int | None = None

    def __post_init__(self) -> None:
        as_count(f"{self.name}: width", self.width)
        as_count(f"{self.name}: blocks", self.blocks)
        if not self.modules:
            raise LoraRefError(f"{self.name} has no modules, expected at least one")
        by_name: dict[str, Module] = {}
        for module in self.modules:
            clash = next((other for other in by_name if _overlap(other, module.name)), None)
            if clash is not None:
                raise LoraRefError(
                    f"{self.name}: the names {clash} and {module.name} overlap, expected each "
                    "module once"
                )
            by_name[module.name] = module
        for module in self.modules:
            if module.tied_to is None:
                continue
            owner = by_name.get(module.tied_to)
            if owner is None or owner.tied_to is not None or owner is module:
                raise LoraRefError(
                    f"{self.name}: {module.name} is tied to {module.tied_to!r}, expected another "
                    "module that has a weight of its own"
                )
            if owner.shape != module.shape:
                raise LoraRefError(
                    f"{self.name}: {module.name} has shape {module.shape} and is tied to "
                    f"{owner.name} of shape {owner.shape}, expected the same"
                )

    @property
    def total(self) -> int:
        """Parameters, a shared weight once."""
        own = (m.weight for m in self.modules if m.tied_to is None)
        return sum(own) + sum(m.biases for m in self.modules)

    def targeted(self, targets: Sequence[str]) -> tuple[Module, ...]:
        """Return the modules that `targets` name, in the model's order, each once.

        A target is matched as PEFT matches it: the end of a module's path. ``c_attn.q`` names one
        piece of a fused projection, as a module of its own.

        Raises
        ------
        LoraRefError
            If there is no target, if one matches nothing, or if a fused projection and a piece of
            it are both named.
        """
        if isinstance(targets, str) or not targets:
            raise LoraRefError(
                f"targets is {targets!r}, expected a sequence of names, at least one"
            )
        matchable = [m for m in self.modules if m.kind in ("linear", "embedding", "convolution")]
        whole = {t: [m for m in matchable if m.answers_to(t)] for t in targets}
        cut = {t: [p for m in matchable for p in _pieces(m) if p.answers_to(t)] for t in targets}
        for target in targets:
            if not whole[target] and not cut[target]:
                known = sorted({name for m in matchable for name in _ends(m)})
                near = get_close_matches(target, known, n=3, cutoff=0.4)
                hint = f"{'the nearest' if near else 'it has'}: {', '.join(near or known)}"
                raise LoraRefError(f"{self.name} has no module {target!r}; {hint}")
        chosen = {m.name for found in whole.values() for m in found}
        pieces = {p.name for found in cut.values() for p in found}
        result: list[Module] = []
        for module in matchable:
            of_it = [p for p in _pieces(module) if p.name in pieces]
            if module.name in chosen and of_it:
                raise LoraRefError(
                    f"{self.name}: the targets name both {module.name} and its piece "
                    f"{of_it[0].name}, expected one of the two"
                )
            result += [module] if module.name in chosen else of_it
        return tuple(result)

    def plus(self, modules: Iterable[Module]) -> "Model":
        """Return the model with further modules, such as a head; it has no published count."""
        return replace(self, modules=(*self.modules, *modules), published=None)


def _pieces(module: Module) -> tuple[Module, ...]:
    """Return the parts of a fused projection as modules of their own."""
    share = module.bias // module.out_features if module.out_features else 0
    return tuple(
        replace(
            module,
            name=f"{module.name}.{name}",
            shape=(rows, *module.shape[1:]),
            bias=share * rows,
            pieces=(),
        )
        for name, rows in module.pieces
    )


def _ends(module: Module) -> tuple[str, ...]:
    """Return what a reader would call a module, and its pieces."""
    last = [step for step in module.name.split(".") if step != "*"][-1]
    return (last, *(f"{last}.{name}" for name, _ in module.pieces))


def _overlap(one: str, other: str) -> bool:
    """Whether two names can mean the same module, a ``*`` standing for any number."""
    ones, others = one.split("."), other.split(".")
    same = (
        a == b or (a == "*" and (b == "*" or b.isdigit())) or (b == "*" and a.isdigit())
        for a, b in zip(ones, others, strict=False)
    )
    return len(ones) == len(others) and all(same)
