"""Quantities of one weight and its copies: parameters, multiply-adds, bytes."""

from fractions import Fraction
from typing import Literal, TypeAlias

from lora_ref import counting, lowrank
from lora_ref.claims.quantity import Count, Number, Numbers, OneNumber
from lora_ref.errors import LoraRefError

TOPIC = "Counts of one weight"

BITS = {"float64": 64, "float32": 32, "bfloat16": 16, "float16": 16, "int8": 8, "nf4": 4}
BITS |= {"fp32": 32, "bf16": 16, "fp16": 16}
"""Bits of a number, by the name of its type, the short names of slides among them."""

FloatWord: TypeAlias = Literal["float64", "float32", "bfloat16", "float16", "fp32", "bf16", "fp16"]
TypeWord: TypeAlias = Literal[
    "float64", "float32", "bfloat16", "float16", "fp32", "bf16", "fp16", "int8", "nf4"
]


def full_count(in_: Count, out: Count, copies: Count = 1) -> OneNumber:
    """Return in x out, what full fine-tuning trains; times copies."""
    return copies * counting.full_params(in_, out)


def lora_count(in_: Count, out: Count, r: Count, copies: Count = 1) -> OneNumber:
    """Return r (in + out), the entries of A and B; times copies."""
    return copies * counting.lora_params(in_, out, r)


def dora_count(in_: Count, out: Count, r: Count, copies: Count = 1) -> OneNumber:
    """Return r (in + out) + out, LoRA and a magnitude for each row; times copies.

    DoRA: Liu et al., 2024, arXiv 2402.09353.
    """
    return copies * (counting.lora_params(in_, out, r) + out)


def adapter_count(d: Count, m: Count, copies: Count = 1, norms: Count | None = None) -> OneNumber:
    """Return 2 d m + m + d, a bottleneck adapter of width m with its biases; times copies.

    `norms` are layer norms trained too, 2 d each (Houlsby et al., 2019, arXiv 1902.00751).
    """
    return copies * counting.adapter_params(d, m) + 2 * d * (norms or 0)


def tasks_count(in_: Count, out: Count, r: Count, tasks: Count) -> OneNumber:
    """Return the parameters of one shared W0, and of an A and a B for each task."""
    return counting.several_tasks_params(in_, out, r, tasks)


def lora_share(in_: Count, out: Count, r: Count) -> OneNumber:
    """Return lora-count / full-count."""
    return Fraction(counting.lora_params(in_, out, r), counting.full_params(in_, out))


def lora_saving(in_: Count, out: Count, r: Count) -> OneNumber:
    """Return 1 - lora-share."""
    return 1 - lora_share(in_, out, r)


def lora_account(in_: Count, out: Count, r: Count) -> Numbers:
    """Return four numbers: the entries of A, of B, of both, and what they save of the weight."""
    of_A, of_B = r * in_, r * out
    return of_A, of_B, of_A + of_B, counting.full_params(in_, out) - of_A - of_B


def break_even_rank(in_: Count, out: Count) -> OneNumber:
    """Return in out / (in + out), where A and B have as many entries as the weight."""
    return counting.break_even_rank(in_, out)


def rank_set_dimension(in_: Count, out: Count, r: Count) -> OneNumber:
    """Return r (in + out - r), the dimension of the set of matrices of rank at most r."""
    return lowrank.rank_set_dimension(out, in_, r)


def multiply_adds(
    method: Literal["full", "lora", "merged", "forming"],
    pass_: Literal["forward", "backward", "total"],
    in_: Count,
    out: Count,
    r: Count | None = None,
    n: Count = 1,
) -> OneNumber:
    """Return the multiply-adds of one pass of n rows, one for a multiplication and its addition.

    "forming" computes B A from its factors, before any row passes.
    """
    if method == "forming":
        return counting.forming_multiply_adds(in_, out, needed(r, method, "r"))
    if method == "lora":
        found = counting.lora_multiply_adds(in_, out, needed(r, method, "r"), n=n)
    elif method == "full":
        found = counting.full_multiply_adds(in_, out, n=n)
    else:
        found = counting.merged_multiply_adds(in_, out, n=n)
    return int(getattr(found, pass_))


def training_bytes(
    method: Literal["full", "lora"],
    in_: Count,
    out: Count,
    part: Literal["weights", "gradients", "optimizer", "activations", "total"] = "total",
    r: Count | None = None,
    n: Count = 1,
    optimizer: Literal["sgd", "momentum", "adamw"] = "adamw",
    itemsize: Count = 4,
) -> OneNumber:
    """Return the bytes of one weight in training, n rows in a batch."""
    if method == "lora":
        rank = needed(r, method, "r")
        found = counting.lora_bytes(in_, out, rank, n=n, optimizer=optimizer, itemsize=itemsize)
    else:
        found = counting.full_bytes(in_, out, n=n, optimizer=optimizer, itemsize=itemsize)
    return int(getattr(found, part))


def bytes_(numbers: Number, dtype: TypeWord) -> OneNumber:
    """Return the bytes of so many numbers in a type."""
    return Fraction(numbers) * BITS[dtype] / 8


def needed(size: int | None, method: str, key: str) -> int:
    """Return a size that a method needs, or say that it is missing."""
    if size is None:
        raise LoraRefError(f"method is {method!r} and {key} is missing, expected a whole number")
    return size
