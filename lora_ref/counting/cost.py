"""How many: parameters, multiply-adds and bytes of one linear layer, in whole numbers.

A multiply-add is one multiplication and one addition, so two FLOPs. Counted are the matrix
products that `lora_ref.layers` carries out. Entrywise work (scaling, adding the two branches) grows
with the widths but not with their product, and is left out. Biases are left out too, except in
`adapter_params`, whose published count has them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType

from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError

OPTIMIZER_STATES: Mapping[str, int] = MappingProxyType({"sgd": 0, "momentum": 1, "adamw": 2})
"""Numbers that an optimiser keeps for each trainable one: nothing, a velocity, two moments."""


@dataclass(frozen=True)
class MultiplyAdds:
    """Multiply-adds of one forward pass and of the backward pass that follows it."""

    forward: int
    backward: int

    @property
    def total(self) -> int:
        """Both passes."""
        return self.forward + self.backward

    @property
    def flops(self) -> int:
        """Both passes in FLOPs: two for each multiply-add."""
        return 2 * self.total


@dataclass(frozen=True)
class TrainingBytes:
    """Bytes that one layer holds in training, by what they are for.

    `activations` is what the forward pass keeps for the backward pass and nothing else: passing
    arrays such as y or the gradient of x are not in it.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All four."""
        return self.weights + self.gradients + self.optimizer + self.activations


# parameters


def full_params(in_features: int, out_features: int) -> int:
    """Return the entries of a weight: what full fine-tuning trains.

    Every function of this module raises `LoraRefError` for an argument that is not a whole number
    of at least 1.

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


def adapter_params(features: int, m: int) -> int:
    """Return ``2 d m + m + d``: two projections between d = `features` and m, with their biases.

    The bottleneck of Houlsby et al., 2019, arXiv 1902.00751.

    Examples
    --------
    >>> adapter_params(1024, 8)
    17416
    """
    d, m = as_count("features", features), as_count("m", m)
    return 2 * d * m + m + d


def break_even_rank(in_features: int, out_features: int) -> Fraction:
    """Return the rank at which A and B have as many entries as the weight.

    Below ``in out / (in + out)`` LoRA has fewer parameters than the matrix, above it more; a square
    weight breaks even at half its width.

    Examples
    --------
    >>> print(break_even_rank(4, 4), break_even_rank(768, 3072), break_even_rank(5, 7))
    2 3072/5 35/12
    """
    weight = full_params(in_features, out_features)
    return Fraction(weight, lora_params(in_features, out_features, r=1))


# multiply-adds


def full_multiply_adds(in_features: int, out_features: int, *, n: int) -> MultiplyAdds:
    """Return what full fine-tuning costs for n rows: y, then the gradients of x and of W.

    Examples
    --------
    >>> full_multiply_adds(4, 4, n=1)
    MultiplyAdds(forward=16, backward=32)
    """
    product = as_count("n", n) * full_params(in_features, out_features)
    return MultiplyAdds(forward=product, backward=2 * product)


def lora_multiply_adds(in_features: int, out_features: int, r: int, *, n: int) -> MultiplyAdds:
    """Return what LoRA costs for n rows in two steps, first ``A x``, then B; B A is never formed.

    Forward: W0, A and B once each. Backward: the gradient of x through all three, and those of A
    and B. There is none for W0, which is what LoRA saves; what it adds is three times n times the
    entries of A and B. So a pass there and back is cheaper than full fine-tuning only where r is
    below a third of `break_even_rank`.

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
    """Return what a merged and frozen layer costs for n rows: y, and the gradient of x alone.

    In use only the forward pass is run, and it costs what the layer did before LoRA.

    Examples
    --------
    >>> merged_multiply_adds(4, 4, n=1)
    MultiplyAdds(forward=16, backward=16)
    """
    product = as_count("n", n) * full_params(in_features, out_features)
    return MultiplyAdds(forward=product, backward=product)


def forming_multiply_adds(in_features: int, out_features: int, r: int) -> int:
    """Return what forming B A costs: paid once by a merge, at every pass by a forward in one step.

    Examples
    --------
    >>> forming_multiply_adds(4, 4, 2)
    32
    """
    return as_count("r", r) * full_params(in_features, out_features)


# bytes


def full_bytes(
    in_features: int,
    out_features: int,
    *,
    n: int,
    optimizer: str = "adamw",
    itemsize: int = 4,
) -> TrainingBytes:
    """Return the bytes of full fine-tuning with n rows; kept for the backward is x (n, in).

    Parameters
    ----------
    in_features, out_features : int
        Widths of the weight.
    n : int
        Rows in a batch.
    optimizer : {"sgd", "momentum", "adamw"}
        Sets how many states each trainable number has, see `OPTIMIZER_STATES`.
    itemsize : int
        Bytes of a number, the same for weights, gradients, states and activations.

    Raises
    ------
    LoraRefError
        For a count that is not a whole number of at least 1, or an unknown optimiser.

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
) -> TrainingBytes:
    """Return the bytes of LoRA with n rows; kept for the backward are x (n, in) and h (n, r).

    So LoRA saves gradients and optimiser states, and neither weights nor activations: it has a
    little more of both. With dropout before A the cache holds a mask (n, in) besides, not counted.

    Parameters
    ----------
    in_features, out_features, n, optimizer, itemsize
        As in `full_bytes`.
    r : int
        Rank of the factors.

    Raises
    ------
    LoraRefError
        As in `full_bytes`.

    Examples
    --------
    >>> lora_bytes(1024, 1024, 8, n=32)
    TrainingBytes(weights=4259840, gradients=65536, optimizer=131072, activations=132096)
    """
    trained = lora_params(in_features, out_features, r)
    weights = full_params(in_features, out_features) + trained
    kept = as_count("n", n) * (as_count("in_features", in_features) + as_count("r", r))
    return _training_bytes(weights, trained, kept, optimizer, itemsize)


def _training_bytes(
    weights: int, trained: int, kept: int, optimizer: str, itemsize: int
) -> TrainingBytes:
    """Weigh numbers that were counted."""
    states = states_of(optimizer)
    size = as_count("itemsize", itemsize)
    return TrainingBytes(
        weights=size * weights,
        gradients=size * trained,
        optimizer=size * trained * states,
        activations=size * kept,
    )


def states_of(optimizer: str) -> int:
    """Return how many numbers an optimiser keeps for each trainable one.

    Raises
    ------
    LoraRefError
        For an optimiser that is not in `OPTIMIZER_STATES`.
    """
    known = tuple(OPTIMIZER_STATES)  # a tuple is searched by ==, so a list is refused in words too
    if optimizer not in known:
        raise LoraRefError(f"optimizer is {optimizer!r}, expected one of: {', '.join(known)}")
    return OPTIMIZER_STATES[optimizer]
