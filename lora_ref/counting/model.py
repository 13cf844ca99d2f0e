"""A model as a list of its modules: names and shapes, no weights.

Counting needs nothing else. A module's name is a dotted path, as in the published checkpoint, with
``*`` for the number of a block. So one entry stands for all blocks: ``h.*.attn.c_attn``, 12 copies.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations_with_replacement, product
from math import prod
from typing import Literal, get_args

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest

Kind = Literal["linear", "embedding", "convolution", "norm", "parameter"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclass(frozen=True)
class Module:
    """One entry of a model: `copies` modules of one shape.

    Parameters
    ----------
    name : str
        Dotted path, with ``*`` for the number of a block.
    kind : {"linear", "embedding", "convolution", "norm", "parameter"}
        A linear map, a table of vectors, a convolution, a normalisation (layer norm or RMS norm),
        or a bare parameter such as a class token.
    shape : tuple of int
        Shape of the weight: (out_features, in_features), (entries, width), (out, in, height,
        width), (width,), or any. A weight that a checkpoint stores transposed, such as GPT-2's
        ``Conv1D``, is given as (out_features, in_features) here.
    bias : int
        Entries of the bias: one for each row of the weight, or 0 without a bias.
    copies : int
        How often the module occurs.
    tied_to : str or None
        Name of the module whose weight this one uses; the weight is counted there, once.
    splits : tuple of (str, int)
        What the rows of a fused projection are, in order, such as
        ``(("q", 768), ("k", 768), ("v", 768))``.
    groups : int
        Of a convolution: each group of rows sees its own channels, so that ``shape[1]`` is the
        number of input channels divided by this.
    also : str
        Its name in newer versions of its library, where that differs; as many ``*``.
    """

    name: str
    kind: Kind
    shape: tuple[int, ...]
    bias: int = 0
    copies: int = 1
    tied_to: str | None = None
    splits: tuple[tuple[str, int], ...] = ()
    groups: int = 1
    also: str = ""

    def __post_init__(self) -> None:
        if self.also and (not _is_path(self.also) or self.also.count("*") != self.name.count("*")):
            raise LoraRefError(
                f"{self.name}: its other name is {self.also!r}, expected one with as many stars"
            )
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
        groups = as_count(f"{self.name}: groups", self.groups)
        if groups > 1 and (self.kind != "convolution" or shape[0] % groups):
            raise LoraRefError(
                f"{self.name}: a {self.kind} of shape {shape} has groups {groups}, expected a "
                "convolution whose rows they divide"
            )
        if self.copies > 1 and "*" not in self.name.split("."):
            raise LoraRefError(f"{self.name}: {self.copies} copies need a * in the name")
        self._check_splits()

    def _check_splits(self) -> None:
        for split, rows in self.splits:
            if not _is_path(split) or "." in split:
                raise LoraRefError(f"{self.name}: {split!r} is no name of a split, expected as q")
            as_count(f"{self.name}: split {split}", rows)
        if len(dict(self.splits)) < len(self.splits):
            raise LoraRefError(f"{self.name}: two splits have one name, expected each once")
        filled = sum(rows for _, rows in self.splits)
        if self.splits and filled != self.shape[0]:
            raise LoraRefError(
                f"{self.name}: the splits have {filled} rows, expected {self.shape[0]}, the rows "
                "of the weight"
            )

    @property
    def out_features(self) -> int:
        """Rows of the weight."""
        return self.shape[0]

    @property
    def in_features(self) -> int:
        """Columns of the weight: the product of all axes but the first."""
        return prod(self.shape[1:])

    @property
    def weight(self) -> int:
        """Entries of all copies of the weight, tied or not."""
        return self.copies * prod(self.shape)

    @property
    def biases(self) -> int:
        """Entries of all copies of the bias."""
        return self.copies * self.bias

    @property
    def parameters(self) -> int:
        """Entries of all copies of weight and bias; a tied weight counts at its owner, not here."""
        return (0 if self.tied_to else self.weight) + self.biases

    def times(self, copies: int) -> "Module":
        """Return the module with another number of copies."""
        return self if copies == self.copies else replace(self, copies=copies)

    def matches(self, *targets: str) -> bool:
        """Whether one of the targets is the whole path, or the end of it after a dot."""
        return f".{self.name}".endswith(tuple(f".{target}" for target in targets))


@dataclass(frozen=True)
class Model:
    """A published model, or one's own.

    Parameters
    ----------
    name : str
        Short name, as on the command line.
    title : str
        Name in print.
    source : str
        Where its sizes are published.
    modules : tuple of Module
        All modules; their names differ.
    width : int
        Width of the residual stream.
    blocks : int
        Transformer blocks, encoder and decoder together; layers of another network.
    published : int or None
        The published count of its parameters, if there is one.
    family : str
        What it is built like, such as ``llama``; its own name where nothing is said.
    """

    name: str
    title: str
    source: str
    modules: tuple[Module, ...]
    width: int
    blocks: int
    published: int | None = None
    family: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "family", self.family or self.name)
        as_count(f"{self.name}: width", self.width)
        as_count(f"{self.name}: blocks", self.blocks)
        if not self.modules or not all(isinstance(m, Module) for m in self.modules):
            raise LoraRefError(f"{self.name} has no modules, expected at least one and all Module")
        errors = [*overlaps(self.modules), *_wrong_ties(self.modules)]
        if errors:
            raise LoraRefError(f"{self.name}: " + "\n  ".join(errors))

    @property
    def total(self) -> int:
        """Parameters; a shared weight counts once."""
        return sum(module.parameters for module in self.modules)

    @property
    def output_heads(self) -> tuple[Module, ...]:
        """The linear maps to the vocabulary: those with the shape of a table of vectors."""
        tables = {module.shape for module in self.modules if module.kind == "embedding"}
        return tuple(m for m in self.modules if m.kind == "linear" and m.shape in tables)

    def names(self, module: Module) -> tuple[tuple[str, ...], ...]:
        """Return the path of every copy of a module, by its name and by its other one, if any."""
        paths = self.paths(module)
        if not module.also:
            return tuple((path,) for path in paths)
        places = [i for i, step in enumerate(module.name.split(".")) if step == "*"]
        return tuple(
            (path, _with_numbers(module.also.split("*"), (path.split(".")[i] for i in places)))
            for path in paths
        )

    def paths(self, module: Module) -> tuple[str, ...]:
        """Return the path of every copy of a module, numbers in the places of ``*``.

        Blocks count from 0. Where a path has several ``*``, the number of the outer blocks is that
        of the modules with that ``*`` alone, or else the least number that divides all.

        Raises
        ------
        LoraRefError
            Where the copies are not a product of such numbers.
        """
        pieces = module.name.split("*")
        sizes: list[int] = []
        left = module.copies
        for depth in range(1, len(pieces) - 1):
            outer = "*".join(pieces[:depth]) + "*"
            sharing = [m.copies for m in self.modules if m.name.startswith(outer)]
            size = min(sharing) // prod(sizes)
            if not size or left % size:
                raise LoraRefError(
                    f"{self.name}: {module.name} has {module.copies} copies, expected a multiple "
                    f"of {size}, the number of {outer}"
                )
            sizes.append(size)
            left //= size
        sizes += [left] * (len(pieces) > 1)
        numbers = product(*(range(size) for size in sizes))
        return tuple(_with_numbers(pieces, each) for each in numbers)

    def named(
        self, name: str, title: str, source: str = "", *, published: int | None = None
    ) -> "Model":
        """Return the model under another name, title and source; its family stays."""
        return replace(self, name=name, title=title, source=source, published=published)

    def plus(self, modules: Iterable[Module]) -> "Model":
        """Return the model with more modules, such as a head, and without a published count."""
        return replace(self, modules=(*self.modules, *modules), published=None)

    def with_head(self, name: str, outputs: int) -> "Model":
        """Return the model with a linear head for a task: `outputs` rows, with a bias."""
        return self.plus([Module(name, "linear", (outputs, self.width), bias=outputs)])

    def without(self, *targets: str) -> "Model":
        """Return the model without the modules that `targets` name, and without a published count.

        No module that stays may be tied to one that goes.
        """
        for target in targets:
            if not any(m.matches(target) for m in self.modules):
                known = sorted({name for module in self.modules for name in short_names(module)})
                hint = nearest(target, known) or f"; it has: {', '.join(known)}"
                raise LoraRefError(f"{self.name} has no module {target!r}{hint}")
        kept = tuple(m for m in self.modules if not m.matches(*targets))
        return replace(self, modules=kept, published=None)


def as_names(what: str, names: object) -> tuple[str, ...]:
    """Return names as a tuple, each once; a single string is refused, not taken apart."""
    if not isinstance(names, list | tuple) or not all(isinstance(n, str) and n for n in names):
        raise LoraRefError(f"{what} is {names!r}, expected a list or a tuple of names")
    return tuple(dict.fromkeys(names))


def overlaps(modules: Iterable[Module]) -> Iterator[str]:
    """Yield an error for any two names that can mean the same module; ``*`` is any number.

    Names are grouped by their words, then by where they have numbers, and numbers are compared
    where both have one. So thousands of modules are not compared pair by pair.
    """
    by_words: dict[tuple[str, ...], dict[tuple[int, ...], list[list[str]]]] = defaultdict(dict)
    for module in modules:
        path = module.name.split(".")
        words = tuple("*" if step.isdecimal() else step for step in path)
        places = tuple(i for i, step in enumerate(path) if step.isdecimal())
        by_words[words].setdefault(places, []).append(path)
    for by_places in by_words.values():
        for one, other in combinations_with_replacement(by_places, 2):
            both = [i for i in one if i in other]
            seen: dict[tuple[str, ...], list[str]] = {}
            if one != other:
                seen = {tuple(path[i] for i in both): path for path in by_places[one]}
            for path in by_places[other]:
                earlier = seen.setdefault(tuple(path[i] for i in both), path)
                if earlier is not path:
                    yield (
                        f"the names {'.'.join(earlier)} and {'.'.join(path)} overlap, expected "
                        "each module once"
                    )


def _wrong_ties(modules: Sequence[Module]) -> Iterator[str]:
    """Yield an error for any module that is tied to no weight, or to one of another shape."""
    by_name = {module.name: module for module in modules}
    for module in modules:
        if module.tied_to is None:
            continue
        owner = by_name.get(module.tied_to)
        if owner is None or owner.tied_to is not None:
            yield (
                f"{module.name} is tied to {module.tied_to!r}, expected another module that has a "
                "weight of its own"
            )
        elif owner.shape != module.shape:
            yield (
                f"{module.name} has shape {module.shape} and is tied to {owner.name} of shape "
                f"{owner.shape}, expected the same"
            )


def split_modules(module: Module) -> tuple[Module, ...]:
    """Return the splits of a fused projection as modules of their own."""
    return tuple(
        replace(
            module,
            name=f"{module.name}.{name}",
            shape=(rows, *module.shape[1:]),
            bias=rows if module.bias else 0,
            splits=(),
        )
        for name, rows in module.splits
    )


def short_names(module: Module) -> tuple[str, ...]:
    """Return the end of a module's path, and those of its splits: ``c_attn``, ``seq.0``."""
    steps = [step for step in module.name.split(".") if step != "*"]
    last = ".".join(steps[-2:] if steps[-1].isdecimal() else steps[-1:])
    also = [module.also.rpartition(".")[2]] if module.also else []
    return (last, *(f"{last}.{name}" for name, _ in module.splits), *also)


def _with_numbers(pieces: Sequence[str], numbers: Iterable[object]) -> str:
    """Return a path, cut at its stars, with a number in the place of each."""
    path = pieces[0]
    for number, piece in zip(numbers, pieces[1:], strict=True):
        path += f"{number}{piece}"
    return path


def _is_path(name: object) -> bool:
    """Whether a name is words and stars between dots, at least one of them a word."""
    if not isinstance(name, str) or not name.isprintable():
        return False
    words = [step for step in name.split(".") if step != "*"]
    return bool(words) and all(word and "*" not in word for word in words)
