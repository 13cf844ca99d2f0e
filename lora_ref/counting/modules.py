"""A model as a list of its modules: names and shapes, no weights.

That is all that counting needs. A name is a dotted path as the published checkpoint has it, with
``*`` for the running number of a block, so one entry stands for every block:
``h.*.attn.c_attn``, 12 copies.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement
from math import prod
from typing import Literal, get_args

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

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
        Entries of the bias: one for each row of the weight, 0 where there is none.
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
        if not _is_path(self.name):
            raise LoraRefError(f"{self.name!r} is not a module's name, expected such as h.*.attn.q")
        if self.kind not in KINDS:
            raise LoraRefError(
                f"{self.name}: kind is {self.kind!r}, expected one of: {', '.join(KINDS)}"
            )
        if not isinstance(self.shape, tuple):
            raise LoraRefError(f"{self.name}: shape is {self.shape!r}, expected a tuple of sizes")
        axes = {"linear": 2, "embedding": 2, "norm": 1}.get(self.kind, len(self.shape))
        if not self.shape or len(self.shape) != axes:
            raise LoraRefError(f"{self.name}: shape is {self.shape}, expected {axes or 1} axes")
        # Python's integers: those of NumPy would overflow in `weight`
        shape = tuple(as_count(f"{self.name}: shape", size) for size in self.shape)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "copies", as_count(f"{self.name}: copies", self.copies))
        object.__setattr__(self, "bias", as_count(f"{self.name}: bias", self.bias, at_least=0))
        rows = 0 if self.kind in ("embedding", "parameter") else shape[0]
        if self.bias not in (0, rows):
            expected = f"0 or {rows}, one for each row of the weight" if rows else "0"
            raise LoraRefError(f"{self.name}: bias is {self.bias}, expected {expected}")
        if self.copies > 1 and "*" not in self.name.split("."):
            raise LoraRefError(f"{self.name}: {self.copies} copies need a * in the name")
        self._check_pieces()

    def _check_pieces(self) -> None:
        for piece, rows in self.pieces:
            if not _is_path(piece) or "." in piece:
                raise LoraRefError(f"{self.name}: {piece!r} is no name of a piece, expected as q")
            as_count(f"{self.name}: piece {piece}", rows)
        if len({piece for piece, _ in self.pieces}) < len(self.pieces):
            raise LoraRefError(f"{self.name}: two pieces have one name, expected each once")
        filled = sum(rows for _, rows in self.pieces)
        if self.pieces and filled != self.shape[0]:
            raise LoraRefError(
                f"{self.name}: the pieces have {filled} rows, expected {self.shape[0]}, those of "
                "the weight"
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
        if not self.modules or not all(isinstance(m, Module) for m in self.modules):
            raise LoraRefError(f"{self.name} has no modules, expected at least one and all Module")
        faults = [*clashes(self.modules), *_loose_ties(self.modules)]
        if faults:
            raise LoraRefError(f"{self.name}: " + "\n  ".join(faults))

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
        if isinstance(targets, str) or not isinstance(targets, Iterable):
            raise LoraRefError(f"targets is {targets!r}, expected a sequence of names")
        targets = tuple(targets)
        if not targets or not all(isinstance(target, str) for target in targets):
            raise LoraRefError(f"targets is {targets!r}, expected names, at least one")
        matchable = [m for m in self.modules if m.kind in ("linear", "embedding", "convolution")]
        named = [(m, *_pieces(m)) for m in matchable]  # a module, and what it can be cut into
        for target in targets:
            if not any(one.answers_to(target) for group in named for one in group):
                raise self._no_module(target, matchable)
        result: list[Module] = []
        for module, *pieces in named:
            whole = any(module.answers_to(target) for target in targets)
            of_it = [p for p in pieces if any(p.answers_to(target) for target in targets)]
            if whole and of_it:
                raise LoraRefError(
                    f"{self.name}: the targets name both {module.name} and its piece "
                    f"{of_it[0].name}, expected one of the two"
                )
            result += [module] if whole else of_it
        return tuple(result)

    def plus(self, modules: Iterable[Module]) -> "Model":
        """Return the model with further modules, such as a head; it has no published count."""
        return replace(self, modules=(*self.modules, *modules), published=None)

    def with_head(self, name: str, outputs: int) -> "Model":
        """Return the model with a linear head for a task: `outputs` rows, with a bias."""
        return self.plus([Module(name, "linear", (outputs, self.width), bias=outputs)])

    def without(self, *targets: str) -> "Model":
        """Return the model without the modules that `targets` name, such as a pooler.

        It has no published count.

        Raises
        ------
        LoraRefError
            If a target matches nothing, or another module is tied to what it matches.
        """
        for target in targets:
            if not any(m.answers_to(target) for m in self.modules):
                raise self._no_module(target, self.modules)
        kept = tuple(m for m in self.modules if not any(m.answers_to(t) for t in targets))
        return replace(self, modules=kept, published=None)

    def _no_module(self, target: str, among: Iterable[Module]) -> LoraRefError:
        known = sorted({name for module in among for name in _ends(module)})
        hint = nearest(target, known) or f"; it has: {', '.join(known)}"
        return LoraRefError(f"{self.name} has no module {target!r}{hint}")


def clashes(modules: Iterable[Module]) -> Iterator[str]:
    """Say which names can mean the same module, a ``*`` standing for any number.

    Names are compared with those only that have the same words in the same places, and numbers
    where neither has a ``*``: thousands of modules take no longer than reading them.
    """
    alike: dict[tuple[str, ...], dict[tuple[int, ...], list[list[str]]]] = defaultdict(dict)
    for module in modules:
        path = module.name.split(".")
        words = tuple("*" if step.isdecimal() else step for step in path)
        numbers = tuple(i for i, step in enumerate(path) if step.isdecimal())
        alike[words].setdefault(numbers, []).append(path)
    for by_numbers in alike.values():
        for one, other in combinations_with_replacement(by_numbers, 2):
            both = [i for i in one if i in other]
            seen: dict[tuple[str, ...], list[str]] = {}
            if one != other:
                seen = {tuple(path[i] for i in both): path for path in by_numbers[one]}
            for path in by_numbers[other]:
                earlier = seen.setdefault(tuple(path[i] for i in both), path)
                if earlier is not path:
                    yield (
                        f"the names {'.'.join(earlier)} and {'.'.join(path)} overlap, expected "
                        "each module once"
                    )


def _loose_ties(modules: Sequence[Module]) -> Iterator[str]:
    """Say which modules are tied to no weight, or to one of another shape."""
    by_name = {module.name: module for module in modules}
    for module in modules:
        if module.tied_to is None:
            continue
        owner = by_name.get(module.tied_to)
        if owner is None or owner.tied_to is not None or owner is module:
            yield (
                f"{module.name} is tied to {module.tied_to!r}, expected another module that has a "
                "weight of its own"
            )
        elif owner.shape != module.shape:
            yield (
                f"{module.name} has shape {module.shape} and is tied to {owner.name} of shape "
                f"{owner.shape}, expected the same"
            )


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
    """Return what a reader would call a module, and its pieces: ``c_attn``, ``seq.0``."""
    steps = [step for step in module.name.split(".") if step != "*"]
    last = ".".join(steps[-2:] if steps[-1].isdecimal() else steps[-1:])
    return (last, *(f"{last}.{name}" for name, _ in module.pieces))


def _is_path(name: object) -> bool:
    """Whether a name is words and stars between dots, at least one of them a word."""
    if not isinstance(name, str) or not name.isprintable():
        return False
    words = [step for step in name.split(".") if step != "*"]
    return bool(words) and all(word and "*" not in word for word in words)
