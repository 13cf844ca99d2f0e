"""``lora-ref count``: parameters, multiply-adds, bytes."""

import argparse
from dataclasses import asdict
from typing import Any

from lora_ref.cli.door import Outcome, as_json
from lora_ref.errors import LoraRefError

SAYS = "count what LoRA saves on one matrix, and what it does not"

LARGEST = 10**12
"""The largest size that ``count`` takes: beyond it a digit too many is more likely than a model."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    for name, dest, says in (
        ("--in", "in_features", "columns of the weight"),
        ("--out", "out_features", "rows of the weight"),
        ("--rank", "rank", "rank of the factors"),
    ):
        parser.add_argument(name, dest=dest, type=int, required=True, help=says)
    parser.add_argument("--tasks", type=int, metavar="T", help="adapters that share the weight")
    parser.add_argument("--rows", type=int, default=1, help="rows of x in a step (default 1)")
    parser.add_argument(
        "--optimiser", default="adamw", help="sgd, momentum or adamw (default)", metavar="NAME"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """Count what LoRA saves on one matrix, and what it does not."""
    from lora_ref import counting

    sizes = options.in_features, options.out_features
    r, n = options.rank, options.rows
    for flag, value in (("--in", sizes[0]), ("--out", sizes[1]), ("--rank", r), ("--rows", n)):
        if not 1 <= value <= LARGEST:
            raise LoraRefError(f"{flag} is {value}, expected a whole number from 1 to {LARGEST:,}")
    if options.tasks is not None and not 1 <= options.tasks <= LARGEST:
        raise LoraRefError(
            f"--tasks is {options.tasks}, expected a whole number from 1 to {LARGEST:,}"
        )
    full, lora = counting.full_params(*sizes), counting.lora_params(*sizes, r)
    costs = {
        "full": counting.full_multiply_adds(*sizes, n=n),
        "lora": counting.lora_multiply_adds(*sizes, r, n=n),
    }
    memory = {
        "full": counting.full_bytes(*sizes, n=n, optimiser=options.optimiser),
        "lora": counting.lora_bytes(*sizes, r, n=n, optimiser=options.optimiser),
    }
    limit = counting.break_even_rank(*sizes)
    body: dict[str, Any] = {
        "schema": 1,
        "in_features": sizes[0],
        "out_features": sizes[1],
        "rank": r,
        "parameters": {"full": full, "lora": lora},
        "ratio": lora / full,
        "break_even_rank": float(limit),
        "rows": n,
        "multiply_adds": {k: {**asdict(v), "total": v.total} for k, v in costs.items()},
        "optimiser": options.optimiser,
        "training_bytes": {k: {**asdict(v), "total": v.total} for k, v in memory.items()},
    }
    if options.tasks is not None:
        shared = counting.several_tasks_params(*sizes, r, options.tasks)
        body["tasks"] = {
            "tasks": options.tasks, "shared": shared, "separate": options.tasks * full
        }  # fmt: skip
    if options.json:
        return Outcome(as_json(body))
    rows = [
        ("", "full", "LoRA"),
        ("trainable parameters", f"{full:,}", f"{lora:,}"),
        ("  share of the matrix", f"{1:.4%}", f"{lora / full:.4%}"),
    ]
    for name in ("forward", "backward"):
        of_full, of_lora = (f"{getattr(costs[k], name):,}" for k in costs)
        rows.append((f"multiply-adds, {name}", of_full, of_lora))
    for name in (*asdict(memory["full"]), "total"):
        of_full, of_lora = (f"{getattr(memory[k], name):,}" for k in memory)
        rows.append((f"training bytes, {name}", of_full, of_lora))
    if "tasks" in body:
        of = body["tasks"]
        rows.append(
            (f"{of['tasks']} tasks, parameters", f"{of['separate']:,}", f"{of['shared']:,}")
        )
    title = (
        f"One weight, {sizes[1]} x {sizes[0]}, r = {r}; {n} row(s) a step, {options.optimiser}, "
        "4 bytes a number"
    )
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = [title, ""]
    lines += [f"{a:<{widths[0]}}{b:>{widths[1]}}{c:>{widths[2]}}" for a, b, c in rows]
    lines += ["", f"Below r = {float(limit):g} LoRA has fewer parameters than the matrix."]
    return Outcome("\n".join(lines))
