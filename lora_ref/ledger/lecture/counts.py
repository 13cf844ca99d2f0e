"""Quantities that count: parameters, multiply-adds, bytes, of one weight and of copies of it."""

from fractions import Fraction
from typing import Any

from lora_ref import counting
from lora_ref.errors import LoraRefError
from lora_ref.ledger.lecture.quantity import Need, Quantity
from lora_ref.lowrank import rank_set_dimension

BITS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "nf4": 4}
"""Bits of a number, by the name of its type."""


def _full(in_features: int, out_features: int, copies: int) -> int:
    return copies * counting.full_params(in_features, out_features)


def _lora(in_features: int, out_features: int, r: int, copies: int) -> int:
    return copies * counting.lora_params(in_features, out_features, r)


def _dora(in_features: int, out_features: int, r: int, copies: int) -> int:
    return copies * (counting.lora_params(in_features, out_features, r) + out_features)


def _share(in_features: int, out_features: int, r: int) -> Fraction:
    full = counting.full_params(in_features, out_features)
    return Fraction(counting.lora_params(in_features, out_features, r), full)


def _saving(in_features: int, out_features: int, r: int) -> Fraction:
    return 1 - _share(in_features, out_features, r)


def _account(in_features: int, out_features: int, r: int) -> tuple[int, ...]:
    of_A, of_B = r * in_features, r * out_features
    full = counting.full_params(in_features, out_features)
    return of_A, of_B, of_A + of_B, full - of_A - of_B


def _tasks(in_features: int, out_features: int, r: int, tasks: int) -> int:
    return counting.several_tasks_params(in_features, out_features, r, tasks)


def _needs_r(method: str, r: int | None) -> int:
    if r is None:
        raise LoraRefError(f"method is {method!r} and r is missing, expected its rank")
    return r


def _multiply_adds(
    method: str, which: str, in_features: int, out_features: int, r: int | None, n: int
) -> int:
    sizes = in_features, out_features
    if method == "lora":
        found = counting.lora_multiply_adds(*sizes, _needs_r(method, r), n=n)
    elif method == "full":
        found = counting.full_multiply_adds(*sizes, n=n)
    else:
        found = counting.merged_multiply_adds(*sizes, n=n)
    return int(getattr(found, which))


def _training_bytes(
    method: str,
    part: str,
    in_features: int,
    out_features: int,
    r: int | None,
    n: int,
    optimiser: str,
    itemsize: int,
) -> int:
    others: dict[str, Any] = {"n": n, "optimiser": optimiser, "itemsize": itemsize}
    if method == "lora":
        rank = _needs_r(method, r)
        found = counting.lora_bytes(in_features, out_features, rank, **others)
    else:
        found = counting.full_bytes(in_features, out_features, **others)
    return int(getattr(found, part))


def _bytes(numbers: Any, dtype: str) -> Fraction:
    return Fraction(numbers) * BITS[dtype] / 8


IN, OUT, R = (Need(key, "count") for key in ("in", "out", "r"))
COPIES = Need("copies", "count", required=False, default=1)
ROWS = Need("n", "count", required=False, default=1)
R_OF_LORA = Need("r", "count", required=False)

QUANTITIES = (
    Quantity(
        "full-count",
        "in x out, what full fine-tuning trains; times copies",
        (IN, OUT, COPIES),
        "number",
        _full,
    ),
    Quantity(
        "lora-count",
        "r (in + out), the entries of A and B; times copies",
        (IN, OUT, R, COPIES),
        "number",
        _lora,
    ),
    Quantity(
        "dora-count",
        "r (in + out) + out: LoRA and a magnitude for each row (Liu et al., 2024, arXiv "
        "2402.09353); times copies",
        (IN, OUT, R, COPIES),
        "number",
        _dora,
    ),
    Quantity(
        "adapter-count",
        "2 d m + m + d, a bottleneck of m with its biases (Houlsby et al., 2019, arXiv 1902.00751)",
        (Need("d", "count"), Need("m", "count")),
        "number",
        lambda d, m: counting.adapter_params(d, m),
    ),
    Quantity(
        "tasks-count",
        "one shared W0, and an A and a B for each task",
        (IN, OUT, R, Need("tasks", "count")),
        "number",
        _tasks,
    ),
    Quantity("lora-share", "lora-count / full-count", (IN, OUT, R), "number", _share),
    Quantity("lora-saving", "1 - lora-share", (IN, OUT, R), "number", _saving),
    Quantity(
        "lora-account",
        "four numbers: the entries of A, of B, of both, and what they save of the weight",
        (IN, OUT, R),
        "numbers",
        _account,
    ),
    Quantity(
        "break-even-rank",
        "in out / (in + out), where A and B have as many entries as the weight",
        (IN, OUT),
        "number",
        lambda in_features, out_features: counting.break_even_rank(in_features, out_features),
    ),
    Quantity(
        "rank-set-dimension",
        "r (in + out - r), the dimension of the set of matrices of rank at most r",
        (IN, OUT, R),
        "number",
        lambda in_features, out_features, r: rank_set_dimension(out_features, in_features, r),
    ),
    Quantity(
        "multiply-adds",
        "of one pass of n rows, a multiplication and an addition counted as one",
        (
            Need("method", "word", words=("full", "lora", "merged")),
            Need("pass", "word", words=("forward", "backward", "total")),
            IN,
            OUT,
            R_OF_LORA,
            ROWS,
        ),
        "number",
        _multiply_adds,
    ),
    Quantity(
        "training-bytes",
        "of one weight in training, n rows in a batch",
        (
            Need("method", "word", words=("full", "lora")),
            Need(
                "part",
                "word",
                required=False,
                default="total",
                words=("weights", "gradients", "optimiser", "activations", "total"),
            ),
            IN,
            OUT,
            R_OF_LORA,
            ROWS,
            Need("optimiser", "word", False, "adamw", tuple(counting.OPTIMISER_STATES)),
            Need("itemsize", "count", required=False, default=4),
        ),
        "number",
        _training_bytes,
    ),
    Quantity(
        "bytes",
        "of so many numbers in a type",
        (Need("numbers", "number"), Need("dtype", "word", words=tuple(BITS))),
        "number",
        _bytes,
    ),
)
