"""Methods that learn an update of low rank or few factors: LoRA and those that came after it.

Every count is that of the weights which PEFT creates for the same settings. A convolution of shape
(out, in, height, width) counts as its matrix (out, in * height * width), an embedding of shape
(entries, width) as that matrix.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isqrt, prod
from typing import ClassVar

from lora_ref.checks import as_count, as_flag
from lora_ref.counting.methods.base import Part, Targeted
from lora_ref.counting.modules import Kind, Model, Module
from lora_ref.errors import LoraRefError


@dataclass(frozen=True)
class LoRA(Targeted):
    """``A`` (r, in) and ``B`` (out, r) beside every target: r (in + out) numbers each.

    Hu et al., 2021, arXiv 2106.09685. rsLoRA (arXiv 2312.03732) scales the same factors otherwise
    and counts the same; so does a rank above what the matrix can use.

    Parameters
    ----------
    r : int
        Rank of the factors.
    targets : sequence of str
        Names of the modules, see `Model.targeted`.

    Raises
    ------
    LoraRefError
        If `r` is not a whole number of at least 1, or `targets` is no sequence of names.

    Examples
    --------
    >>> from lora_ref.counting.modules import Model, Module
    >>> mlp = Model("mlp", "", "", (Module("up", "linear", (64, 16), 64),), width=16, blocks=1)
    >>> LoRA(2, ["up"]).parts(mlp)[1]
    Part(name='B', numbers=128, trained=True, added=True)
    """

    name: ClassVar[str] = "lora"
    source: ClassVar[str] = "Hu et al., 2021, arXiv 2106.09685"

    r: int
    targets: Sequence[str]

    def __post_init__(self) -> None:
        """Check the rank and the names."""
        super().__post_init__()
        as_count("r", self.r)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield A and B."""
        yield Part("A", self.r * module.in_features)
        yield Part("B", module.out_features * self.r)


@dataclass(frozen=True)
class DoRA(LoRA):
    """LoRA's A and B, and a magnitude for every row of the weight.

    Liu et al., 2024, arXiv 2402.09353. An embedding is stored transposed, an entry to a row, so its
    magnitudes are those of the columns, as PEFT has them. The parameters are those of `LoRA`.
    """

    name: ClassVar[str] = "dora"
    source: ClassVar[str] = "Liu et al., 2024, arXiv 2402.09353"

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield A, B and the magnitude m, a number for each feature that comes out."""
        yield from super().parts_of(module)
        yield Part("m", module.shape[1 if module.kind == "embedding" else 0])


@dataclass(frozen=True)
class VeRA(LoRA):
    """One frozen random pair A, B for all targets, and two trained vectors for each: r + out.

    Kopiczko et al., 2024, arXiv 2310.11454. Where the targets differ in shape, the pair has the
    largest of both widths and every target uses a slice.

    Parameters
    ----------
    r, targets
        As in `LoRA`.
    shared : bool
        Whether the frozen pair is part of the total. It can be drawn anew from its seed, and PEFT
        keeps it in a buffer, which its count of parameters leaves out.
    """

    name: ClassVar[str] = "vera"
    source: ClassVar[str] = "Kopiczko et al., 2024, arXiv 2310.11454"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear",)

    shared: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        as_flag("shared", self.shared)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the two scaling vectors."""
        yield Part("lambda_b", module.out_features)
        yield Part("lambda_d", self.r)

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the vectors and, if `shared`, the frozen pair."""
        frozen = (self.shared_pair(model),) if self.shared else ()
        return (*super().parts(model), *frozen)

    def shared_pair(self, model: Model) -> Part:
        """Return the frozen A and B that all targets share."""
        modules = self.targeted(model)
        widths = max(m.in_features for m in modules) + max(m.out_features for m in modules)
        return Part("shared A and B", self.r * widths, trained=False)


@dataclass(frozen=True)
class LoHa(LoRA):
    """The entrywise product of two pairs of factors: twice LoRA's numbers for rank up to r².

    Hyeon-Woo et al., 2022, arXiv 2108.06098 (FedPara); Yeh et al., 2024, arXiv 2309.14859
    (LyCORIS). A convolution is flattened, as PEFT does unless told otherwise. The parameters are
    those of `LoRA`.
    """

    name: ClassVar[str] = "loha"
    source: ClassVar[str] = "Yeh et al., 2024, arXiv 2309.14859; arXiv 2108.06098"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the two pairs."""
        for pair in ("w1", "w2"):
            yield Part(f"{pair}_a", module.out_features * self.r)
            yield Part(f"{pair}_b", self.r * module.in_features)


@dataclass(frozen=True)
class LoKr(LoRA):
    """A Kronecker product ``w1 ⊗ w2``; w2 of rank r, or whole where a factor would not save much.

    Yeh et al., 2024, arXiv 2309.14859 (LyCORIS). Both widths are split in two, out = a c and
    in = b d (`split`); w1 is (a, b), w2 is (c, d). w2 has factors (c, r) and (r, d) only if r is
    below half of the larger of c and d. A convolution's height and width go with d.

    Parameters
    ----------
    r, targets
        As in `LoRA`.
    factor : int
        Where to split, PEFT's ``decompose_factor``; -1 for the middle.
    decompose_both : bool
        Whether w1 has factors too, if r is below half of the larger of a and b.
    """

    name: ClassVar[str] = "lokr"
    source: ClassVar[str] = "Yeh et al., 2024, arXiv 2309.14859"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    factor: int = -1
    decompose_both: bool = False

    def __post_init__(self) -> None:
        """Check the fields."""
        super().__post_init__()
        as_flag("decompose_both", self.decompose_both)
        if self.factor != -1:
            as_count("factor", self.factor)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield w1 and w2, whole or in factors."""
        a, c = split(module.out_features, self.factor)
        b, d = split(module.shape[1], self.factor)
        kernel = prod(module.shape[2:])
        yield from self._whole_or_factors("w1", a, b, 1, self.decompose_both)
        yield from self._whole_or_factors("w2", c, d, kernel, True)

    def _whole_or_factors(
        self, name: str, rows: int, columns: int, kernel: int, may_decompose: bool
    ) -> Iterator[Part]:
        if may_decompose and 2 * self.r < max(rows, columns):
            yield Part(f"{name}_a", rows * self.r)
            yield Part(f"{name}_b", self.r * columns * kernel)
        else:
            yield Part(name, rows * columns * kernel)


@dataclass(frozen=True)
class AdaLoRA(Targeted):
    """``P`` (out, r), r singular values and ``Q`` (r, in): LoRA's numbers and r more.

    Zhang et al., 2023, arXiv 2303.10512. The rank is the one it starts with, before any is given
    up. PEFT keeps the present rank of each target as a parameter that is not trained, one number.
    It wraps no convolution along one axis; the count is what it would be.

    Parameters
    ----------
    init_r : int
        Rank at the start.
    targets : sequence of str
        As in `LoRA`.
    """

    name: ClassVar[str] = "adalora"
    source: ClassVar[str] = "Zhang et al., 2023, arXiv 2303.10512"
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    init_r: int
    targets: Sequence[str]

    def __post_init__(self) -> None:
        """Check the rank and the names."""
        super().__post_init__()
        as_count("init_r", self.init_r)

    @property
    def r(self) -> int:
        """The rank, by the name that every method with one has."""
        return self.init_r

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the three factors and the rank."""
        yield Part("A", self.init_r * module.in_features)
        yield Part("E", self.init_r)
        yield Part("B", module.out_features * self.init_r)
        yield Part("ranknum", 1, trained=False)


def split(width: int, factor: int = -1) -> tuple[int, int]:
    """Return the two whole numbers into which LoKr splits a width.

    ``(factor, width / factor)`` where `factor` divides it; otherwise the first is the largest
    divisor that is neither above the square root nor, unless it is -1, above `factor`.

    Examples
    --------
    >>> split(768), split(768, 8), split(768, 10), split(127)
    ((24, 32), (8, 96), (8, 96), (1, 127))
    """
    width = as_count("width", width)
    if factor == -1:
        limit = isqrt(width)
    elif width % as_count("factor", factor) == 0:
        return factor, width // factor
    else:
        limit = min(factor, isqrt(width))
    if limit > LARGEST_SEARCH:
        raise LoraRefError(f"width is {width}, expected at most {LARGEST_SEARCH**2:,} to be split")
    first = next(m for m in range(limit, 0, -1) if width % m == 0)
    return first, width // first


LARGEST_SEARCH = 10**7
"""Divisors that `split` will try before it gives up: widths to 10^14, in about a second."""
