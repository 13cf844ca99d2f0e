"""Parameters, multiply-adds and bytes of one linear layer, in whole numbers.

A multiply-add is one multiplication and one addition, so two FLOPs. The matrix products that
`lora_ref.layers` carries out are counted. Entrywise work (scaling, adding the two branches) is left
out: it grows with the widths but not with their product. Biases are left out too, except in
`adapter_params`, whose published count has them.

Every function raises `LoraRefError` for an argument that is not a whole number of at least 1.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError

OPTIMIZER_STATES: Mapping[str, int] = MappingProxyType({"sgd": 0, "momentum": 1, "adamw": 2})
"""Values that an optimiser keeps for each trainable parameter: none, a velocity, two moments."""


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one forward pass and of the backward pass that follows it."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Both passes."""
        return self.forward + self.backward


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training holds.

    `activations` is what the forward pass keeps for the backward pass; it depends on the batch, and
    is left out, as 0, in the count of a whole model. Arrays that are only passed on, such as y or
    the gradient of x, are not in it.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int = 0

    @property
    def total(self) -> int:
        """All bytes together."""
        return self.weights + self.gradients + self.optimizer + self.activations


# parameters


def full_params(in_features: int, out_features: int) -> int:
    """Return the entries of a weight: what full fine-tuning trains.

    Examples
    --------
    >>> full_params(1024, 1024)
    1048576
    """
    return as_count("in_features", in_features) * as_count("out_features", out_features)


def lora_params(in_features: int, out_features: int, r: int) -> int:
    """Return ``r (in_features + out_features)``, the entries of A and B.

    Hu et al., 2021, arXiv 2106.09685. Linear in r and linear in each width.

    Examples
    --------
    >>> lora_params(1024, 1024, 8)
    16384
    """
    widths = as_count("in_features", in_features) + as_count("out_features", out_features)
    return as_count("r", r) * widths


def several_tasks_params(in_features: int, out_features: int, r: int, tasks: int) -> int:
    """Return the entries of one shared W0 and of an A and a B for each task.

    Examples
    --------
    >>> several_tasks_params(1024, 1024, 8, tasks=10), 10 * full_params(1024, 1024)
    (1212416, 10485760)
    """
    each = lora_params(in_features, out_features, r)
    return full_params(in_features, out_features) + as_count("tasks", tasks) * each


def adapter_params(features: int, bottleneck: int) -> int:
    """Return ``2 d m + m + d``: two projections, d = `features` to m = `bottleneck` and back.

    Both have a bias. Houlsby et al., 2019, arXiv 1902.00751.

    Examples
    --------
    >>> adapter_params(1024, 8)
    17416
    """
    d, m = as_count("features", features), as_count("bottleneck", bottleneck)
    return 2 * d * m + m + d


def break_even_rank(in_features: int, out_features: int) -> Fraction:
    """Return the rank ``in out / (in + out)`` at which A and B have as many entries as the weight.

    Below it LoRA has fewer parameters than the matrix, above it more. For a square weight it is
    half the width.

    Examples
    --------
    >>> print(break_even_rank(4, 4), break_even_rank(768, 3072), break_even_rank(5, 7))
    2 3072/5 35/12
    """
    weight = full_params(in_features, out_features)
    return Fraction(weight, lora_params(in_features, out_features, r=1))


# multiply-adds


def full_multiply_adds(in_features: int, out_features: int, *, n: int) -> MultiplyAdds:
    """Return the cost of full fine-tuning for n rows: y, then the gradients of x and of W.

    Examples
    --------
    >>> full_multiply_adds(4, 4, n=1)
    MultiplyAdds(forward=16, backward=32)
    """
    product = as_count("n", n) * full_params(in_features, out_features)
    return MultiplyAdds(forward=product, backward=2 * product)


def lora_multiply_adds(in_features: int, out_features: int, r: int, *, n: int) -> MultiplyAdds:
    """Return the cost of LoRA for n rows in two steps, first ``A x``, then B; B A is never formed.

    The forward pass multiplies by W0, A and B once each. The backward pass computes the gradient of
    x through all three, and the gradients of A and B. W0 has no gradient: this is what LoRA saves.
    It adds three times n times the entries of A and B. So both passes together are cheaper than
    full fine-tuning only where r is below a third of `break_even_rank`. The gradient of x is for
    trained layers below: below the lowest adapter of a model nothing goes back, and it is saved.

    Examples
    --------
    >>> lora_multiply_adds(4, 4, 2, n=1)
    MultiplyAdds(forward=32, backward=48)
    >>> lora, full = lora_multiply_adds(1024, 1024, 8, n=1), full_multiply_adds(1024, 1024, n=1)
    >>> f"{lora.total / full.total:.4f}"
    '0.6823'
    """
    through_W0 = as_count("n", n) * full_params(in_features, out_features)
    through_A_and_B = as_count("n", n) * lora_params(in_features, out_features, r)
    return MultiplyAdds(
        forward=through_W0 + through_A_and_B,
        backward=through_W0 + 2 * through_A_and_B,
    )


def merged_multiply_adds(in_features: int, out_features: int, *, n: int) -> MultiplyAdds:
    """Return the cost of a merged and frozen layer for n rows: y, and the gradient of x alone.

    Inference runs the forward pass only, at the cost that the layer had before LoRA.
    """
    product = as_count("n", n) * full_params(in_features, out_features)
    return MultiplyAdds(forward=product, backward=product)


def forming_multiply_adds(in_features: int, out_features: int, r: int) -> int:
    """Return the cost of forming B A.

    A merge pays it once; a forward pass that forms B A before it multiplies x pays it every time.
    """
    return as_count("r", r) * full_params(in_features, out_features)


# bytes


def full_bytes(
    in_features: int, out_features: int, *, n: int, optimizer: str = "adamw", itemsize: int = 4
) -> TrainingMemory:
    """Return the bytes of full fine-tuning with n rows; x (n, in) is kept for the backward pass.

    `itemsize` is that of weights, gradients, states and activations, in bytes; `optimizer` is a
    name in `OPTIMIZER_STATES`.

    Examples
    --------
    >>> full_bytes(1024, 1024, n=32).total
    16908288
    """
    weight = full_params(in_features, out_features)
    kept = as_count("n", n) * as_count("in_features", in_features)
    return _training_bytes(weight, weight, kept, optimizer, itemsize)


def lora_bytes(
    in_features: int,
    out_features: int,
    r: int,
    *,
    n: int,
    optimizer: str = "adamw",
    itemsize: int = 4,
) -> TrainingMemory:
    """Return the bytes of LoRA with n rows; x (n, in) and h (n, r) are kept for the backward pass.

    So LoRA saves gradients and optimiser states. Of weights and, where it is put, of activations it
    has a little more: A needs x as W did. A frozen weight without A and B needs no x. A dropout
    mask (n, in), if there is one, is not counted.

    Examples
    --------
    >>> lora_bytes(1024, 1024, 8, n=32)
    TrainingMemory(weights=4259840, gradients=65536, optimizer=131072, activations=132096)
    """
    trained = lora_params(in_features, out_features, r)
    weights = full_params(in_features, out_features) + trained
    kept = as_count("n", n) * (as_count("in_features", in_features) + as_count("r", r))
    return _training_bytes(weights, trained, kept, optimizer, itemsize)


def _training_bytes(
    weights: int, trained: int, kept: int, optimizer: str, itemsize: int
) -> TrainingMemory:
    states = trained * states_per_parameter(optimizer)
    size = as_count("itemsize", itemsize)
    return TrainingMemory(size * weights, size * trained, size * states, size * kept)


def states_per_parameter(optimizer: str) -> int:
    """Return the entry of `OPTIMIZER_STATES` for an optimiser; an unknown one is an error."""
    known = tuple(OPTIMIZER_STATES)  # a tuple is searched by ==, so a list is refused in words too
    if optimizer not in known:
        raise LoraRefError(f"optimizer is {optimizer!r}, expected one of: {', '.join(known)}")
    return OPTIMIZER_STATES[optimizer]
