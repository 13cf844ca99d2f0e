"""``lora-ref count``: parameters, multiply-adds, bytes, of one matrix or of a whole model."""

import argparse
from dataclasses import asdict
from typing import Any

from lora_ref.cli import count_model
from lora_ref.cli.count_model import LARGEST, whole
from lora_ref.cli.outcome import Outcome, as_json
from lora_ref.errors import LoraRefError

SAYS = "count what LoRA saves on one matrix or in a whole model, and what it does not"

OF_ONE_MATRIX = ("in_features", "out_features", "tasks", "rows")
"""Options of the first form; ``--rank``, ``--optimizer`` and ``--json`` are of both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what the command takes."""
    parser.add_argument("--rank", metavar="R", help="rank of the factors, width of a bottleneck")
    parser.add_argument(
        "--optimizer", default="adamw", help="sgd, momentum or adamw (default)", metavar="NAME"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    layer = parser.add_argument_group("one matrix, with --rank")
    for name, dest, metavar, says in (
        ("--in", "in_features", "N", "columns of the weight"),
        ("--out", "out_features", "N", "rows of the weight"),
        ("--tasks", "tasks", "T", "adapters that share the weight"),
        ("--rows", "rows", "N", "rows of x in a step (default 1)"),
    ):
        layer.add_argument(name, dest=dest, metavar=metavar, help=says)
    count_model.add_arguments(parser)
    parser.set_defaults(wrong_usage=parser.error)


def run(options: argparse.Namespace) -> Outcome:
    """Count what LoRA saves on one matrix, or in a whole model."""
    of_matrix = [name for name in OF_ONE_MATRIX if getattr(options, name) is not None]
    of_model = count_model.given(options)
    if not of_matrix and not of_model and options.rank is None:
        options.wrong_usage("expected --in, --out and --rank, or --model and --rank, or --models")
    if of_matrix and of_model:
        flag = {"in_features": "in", "out_features": "out"}.get(of_matrix[0], of_matrix[0])
        raise LoraRefError(f"--{flag} is of one matrix and {of_model[0]} of a model: expected one")
    return count_model.run(options) if of_model else _one_matrix(options)


def _one_matrix(options: argparse.Namespace) -> Outcome:
    """Count what LoRA saves on one matrix, and what it does not."""
    from lora_ref import counting

    needed = (
        ("--in", options.in_features),
        ("--out", options.out_features),
        ("--rank", options.rank),
    )
    missing = [flag for flag, text in needed if text is None]
    if missing:
        raise LoraRefError(
            f"{' and '.join(missing)} missing: one matrix has --in, --out and --rank"
        )
    in_features, out_features, r = (whole(flag, text, LARGEST) for flag, text in needed)
    sizes = in_features, out_features
    n = 1 if options.rows is None else whole("--rows", options.rows, LARGEST)
    tasks = None if options.tasks is None else whole("--tasks", options.tasks, LARGEST)
    full, lora = counting.full_params(*sizes), counting.lora_params(*sizes, r)
    costs = {
        "full": counting.full_multiply_adds(*sizes, n=n),
        "lora": counting.lora_multiply_adds(*sizes, r, n=n),
    }
    memory = {
        "full": counting.full_bytes(*sizes, n=n, optimizer=options.optimizer),
        "lora": counting.lora_bytes(*sizes, r, n=n, optimizer=options.optimizer),
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
        "optimizer": options.optimizer,
        "training_bytes": {k: {**asdict(v), "total": v.total} for k, v in memory.items()},
    }
    if tasks is not None:
        shared = counting.several_tasks_params(*sizes, r, tasks)
        body["tasks"] = {"tasks": tasks, "shared": shared, "separate": tasks * full}
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
        f"One weight, {sizes[1]} x {sizes[0]}, r = {r}; {n} row(s) a step, {options.optimizer}, "
        "4 bytes a number"
    )
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    lines = [title, ""]
    lines += [f"{a:<{widths[0]}}{b:>{widths[1]}}{c:>{widths[2]}}" for a, b, c in rows]
    lines += ["", f"Below r = {float(limit):g} LoRA has fewer parameters than the matrix."]
    return Outcome("\n".join(lines))
