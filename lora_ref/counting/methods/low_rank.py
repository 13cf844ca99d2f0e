"""Methods that learn an update from few factors: LoRA, DoRA, VeRA, LoHa, LoKr, AdaLoRA.

Every count is that of the weights which PEFT creates for the same settings. A convolution of shape
(out, in, height, width) counts as its matrix (out, in * height * width), an embedding of shape
(entries, width) as that matrix.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt, prod
from types import MappingProxyType
from typing import ClassVar, Literal, Self, get_args

from lora_ref.checks import as_count, as_flag
from lora_ref.counting.methods.base import Part, Targeted
from lora_ref.counting.model import Kind, Model, Module, as_names
from lora_ref.counting.targets import Adapted, Targets, as_targets, check_expression
from lora_ref.errors import LoraRefError
from lora_ref.module_names import by_pattern
from lora_ref.suggestions import nearest_or_all

Bias = Literal["none", "all", "lora_only"]
"""Which biases of the model train beside the factors: none, all, or those of the targets."""


@dataclass(frozen=True)
class LoRA(Targeted):
    """``A`` (r, in) and ``B`` (out, r) beside every target: r (in + out) parameters each.

    Hu et al., 2021, arXiv 2106.09685. rsLoRA (arXiv 2312.03732) has another scaling and the same
    count. A rank above what the matrix can use counts in full.

    Parameters
    ----------
    r : int
        Rank of the factors.
    targets : sequence of str, str, or Targets
        Names of the modules or an expression for them, see `Targets`.
    rank_pattern : mapping of str to int
        Other ranks, by a regular expression for the end of a path; the first that fits decides.
    bias : {"none", "all", "lora_only"}
        Which biases of the model train too.
    parameters : sequence of str
        Bare parameters that get factors, named like modules: PEFT's ``target_parameters``, for
        experts that lie in one array (experts, in, out). Each expert has rank r. With them the
        targets may be empty.
    tokens : int
        Rows of the largest table of vectors that get an update of their own: as many as PEFT's
        ``trainable_token_indices`` names.
    """

    name: ClassVar[str] = "lora"
    grouped: ClassVar[bool] = True

    r: int
    targets: Sequence[str] | str | Targets
    rank_pattern: Mapping[str, int] = field(default_factory=dict, hash=False)
    bias: Bias = "none"
    parameters: Sequence[str] = ()
    tokens: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        as_count("r", self.r)
        for pattern, r in self.rank_pattern.items():
            check_expression("rank_pattern", pattern)
            as_count(f"rank_pattern of {pattern}", r)
        object.__setattr__(self, "parameters", as_names("parameters", self.parameters))
        as_count("tokens", self.tokens, at_least=0)
        if self.bias not in get_args(Bias):
            raise LoraRefError(
                f"bias is {self.bias!r}, expected one of: {', '.join(get_args(Bias))}"
            )

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield A and B; where a convolution has groups, A sees all channels, and B has groups."""
        if self.r % module.groups:
            raise LoraRefError(
                f"r is {self.r}, expected a multiple of {module.groups}, the groups of "
                f"{module.name}"
            )
        yield Part("A", self.r * module.in_features * module.groups)
        yield Part("B", module.out_features * self.r // module.groups)

    def by_copies(self, paths: Sequence[str]) -> Iterable[tuple[Self, int]]:
        """Return the method at each rank that copies of a module have, and how many have it."""
        if not self.rank_pattern:
            return super().by_copies(paths)
        ranks = Counter(by_pattern(path, self.rank_pattern, self.r) for path in paths)
        return [(replace(self, r=r), copies) for r, copies in ranks.items()]

    def parts(self, model: Model) -> tuple[Part, ...]:
        """Return the factors, of modules and of bare parameters, and what else trains."""
        parts = [*super().parts(model), *self._of_parameters(model)]
        if self.tokens:
            tables = [module.shape for module in model.modules if module.kind == "embedding"]
            if not tables or self.tokens > max(tables)[0]:
                entries = max(tables, default=(0, 0))[0]
                raise LoraRefError(
                    f"tokens is {self.tokens}, expected at most {entries}, the rows of a table of "
                    f"{model.name}"
                )
            parts.append(Part("token updates", self.tokens * max(tables)[1]))
        biases = sum(self.trained_in(model, module) for module in model.modules)
        return (*parts, *([Part("biases", biases, added=False)] if biases else ()))

    def _of_parameters(self, model: Model) -> Iterator[Part]:
        """Yield the factors of each bare parameter: for all its experts, (experts, in, out)."""
        for name in self.parameters:
            found = [m for m in model.modules if m.kind == "parameter" and m.matches(name)]
            if not found:
                bare = [m.name for m in model.modules if m.kind == "parameter"]
                raise LoraRefError(
                    f"{model.name} has no bare parameter {name!r}{nearest_or_all(name, bare)}"
                )
            for module in found:
                *experts, rows, columns = module.shape if len(module.shape) > 1 else (1, 1, 1, 1)
                if len(experts) > 1:
                    raise LoraRefError(
                        f"{module.name} has shape {module.shape}, expected two or three axes"
                    )
                for r, copies in Counter(
                    by_pattern(path, self.rank_pattern, self.r) for path in model.paths(module)
                ).items():
                    rank = copies * r * prod(experts)
                    yield Part(f"{name}: A and B", rank * (rows + columns))

    def _found(self, model: Model) -> tuple[Adapted, ...]:
        none = self.parameters and not as_targets(self.targets).names
        return () if none else super()._found(model)

    def trained_in(self, model: Model, module: Module) -> int:
        """Return how many biases of the module train."""
        if self.bias == "lora_only":
            return sum(m.biases for m in self.targeted(model) if m.name == module.name)
        return module.biases if self.bias == "all" else 0


@dataclass(frozen=True)
class DoRA(LoRA):
    """LoRA's A and B, and a magnitude for every row of the weight.

    Liu et al., 2024, arXiv 2402.09353. An embedding is stored transposed, an entry to a row, so it
    has a magnitude for each column, as in PEFT.
    """

    name: ClassVar[str] = "dora"

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield A, B and the magnitude m, one entry for each output feature."""
        yield from super().parts_of(module)
        yield Part("m", module.shape[1 if module.kind == "embedding" else 0])


@dataclass(frozen=True)
class VeRA(LoRA):
    """One frozen random pair A, B for all targets, and two trained vectors for each: r + out.

    Kopiczko et al., 2024, arXiv 2310.11454. The frozen pair can be drawn anew from its seed. PEFT
    keeps it in a buffer, which its count of parameters leaves out, and so does this one; the rule
    ``vera-shared`` counts it.
    """

    name: ClassVar[str] = "vera"
    grouped: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("linear",)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the two scaling vectors."""
        yield Part("lambda_b", module.out_features)
        yield Part("lambda_d", self.r)

    def shared_pair(self, model: Model) -> int:
        """Return the entries of the frozen A and B that all targets share.

        Where the targets differ in shape, the pair has the largest of both widths and every target
        uses a slice.
        """
        modules = self.targeted(model)
        widths = max(m.in_features for m in modules) + max(m.out_features for m in modules)
        return self.r * widths


@dataclass(frozen=True)
class LoHa(LoRA):
    """The entrywise product of two pairs of factors: twice LoRA's parameters, rank up to r².

    Hyeon-Woo et al., 2022, arXiv 2108.06098 (FedPara); Yeh et al., 2024, arXiv 2309.14859
    (LyCORIS). A convolution is flattened, which is PEFT's default.
    """

    name: ClassVar[str] = "loha"
    grouped: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the two pairs."""
        for pair in ("w1", "w2"):
            yield Part(f"{pair}_a", module.out_features * self.r)
            yield Part(f"{pair}_b", self.r * module.in_features)


@dataclass(frozen=True)
class LoKr(LoRA):
    """A Kronecker product ``w1 ⊗ w2``; w2 has rank r, or is whole where factors save little.

    Yeh et al., 2024, arXiv 2309.14859 (LyCORIS). Both widths are factorized, out = a c and
    in = b d; w1 is (a, b), w2 is (c, d). w2 has factors (c, r) and (r, d) only if r is below half
    of the larger of c and d. A convolution's height and width go with d.

    Parameters
    ----------
    factor : int
        The first factor of a width in `factorization`, PEFT's ``decompose_factor``; -1 for the
        middle.
    decompose_both : bool
        Whether w1 has factors too, if r is below half of the larger of a and b.
    """

    name: ClassVar[str] = "lokr"
    grouped: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    factor: int = -1
    decompose_both: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        as_flag("decompose_both", self.decompose_both)
        if self.factor != -1:
            as_count("factor", self.factor)

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield w1 and w2, whole or in factors."""
        a, c = factorization(module.out_features, self.factor)
        b, d = factorization(module.shape[1], self.factor)
        kernel = prod(module.shape[2:])
        for name, rows, columns, depth, may_decompose in (
            ("w1", a, b, 1, self.decompose_both),
            ("w2", c, d, kernel, True),
        ):
            if may_decompose and 2 * self.r < max(rows, columns):
                yield Part(f"{name}_a", rows * self.r)
                yield Part(f"{name}_b", self.r * columns * depth)
            else:
                yield Part(name, rows * columns * depth)


@dataclass(frozen=True)
class AdaLoRA(LoRA):
    """``P`` (out, r), r singular values and ``Q`` (r, in): r parameters more than LoRA.

    Zhang et al., 2023, arXiv 2303.10512. `r` is the initial rank, PEFT's ``init_r``, before any is
    pruned. PEFT keeps the present rank of each target in a frozen parameter with one entry. It
    wraps no convolution along one axis; the count is what it would be.
    """

    name: ClassVar[str] = "adalora"
    grouped: ClassVar[bool] = False
    kinds: ClassVar[tuple[Kind, ...]] = ("linear", "convolution")

    def parts_of(self, module: Module) -> Iterator[Part]:
        """Yield the three factors and the rank."""
        yield Part("A", self.r * module.in_features)
        yield Part("E", self.r)
        yield Part("B", module.out_features * self.r)
        yield Part("ranknum", 1, trained=False)


LOW_RANK_METHODS: Mapping[str, type[LoRA]] = MappingProxyType(
    {method.name: method for method in (LoRA, DoRA, VeRA, LoHa, LoKr, AdaLoRA)}
)
"""The methods of this module by name; a rank and targets make each."""


def factorization(width: int, factor: int = -1) -> tuple[int, int]:
    """Return the two whole numbers whose product is a width, as LoKr chooses them.

    ``(factor, width / factor)`` where `factor` divides it. Otherwise the first number is the
    largest divisor that is at most the square root and, unless it is -1, at most `factor`.

    Examples
    --------
    >>> factorization(768), factorization(768, 8), factorization(768, 10), factorization(127)
    ((24, 32), (8, 96), (8, 96), (1, 127))
    """
    width = as_count("width", width)
    limit = isqrt(width)
    if factor != -1:
        if width % as_count("factor", factor) == 0:
            return factor, width // factor
        limit = min(factor, limit)
    first = next(m for m in range(limit, 0, -1) if width % m == 0)
    return first, width // first
