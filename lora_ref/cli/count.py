"""``lora-ref count``: parameters, multiply-adds and bytes of one matrix, or of a whole model."""

import argparse
from dataclasses import asdict
from typing import Any

from lora_ref.cli import count_model
from lora_ref.cli.count_model import MAX_SIZE
from lora_ref.cli.outcome import Outcome, as_json, columns, whole
from lora_ref.errors import LoraRefError

HELP = "count what LoRA saves on one matrix or in a whole model, and what it does not"

MATRIX_FLAGS = {
    "in_features": "--in",
    "out_features": "--out",
    "tasks": "--tasks",
    "rows": "--rows",
}
"""Flags of the form for one matrix; ``--rank``, ``--optimizer`` and ``--json`` belong to both."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--rank", metavar="R", help="rank of the factors, width of a bottleneck")
    parser.add_argument(
        "--optimizer", default="adamw", help="sgd, momentum or adamw (default)", metavar="NAME"
    )
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    form = parser.add_argument_group("one matrix, with --rank")
    form.add_argument("--in", dest="in_features", metavar="N", help="columns of the weight")
    form.add_argument("--out", dest="out_features", metavar="N", help="rows of the weight")
    form.add_argument("--tasks", metavar="T", help="adapters that share the weight")
    form.add_argument("--rows", metavar="N", help="rows of x in a step (default 1)")
    count_model.add_arguments(parser)
    parser.set_defaults(wrong_usage=parser.error)


def run(options: argparse.Namespace) -> Outcome:
    """Count what LoRA saves on one matrix, or in a whole model."""
    of_matrix = [flag for name, flag in MATRIX_FLAGS.items() if getattr(options, name) is not None]
    of_model = count_model.flags_given(options)
    if not of_matrix and not of_model and options.rank is None:
        options.wrong_usage("expected --in, --out and --rank, or --model and --rank, or --models")
    if of_matrix and of_model:
        raise LoraRefError(
            f"{of_matrix[0]} is of one matrix and {of_model[0]} of a model: expected one"
        )
    return count_model.run(options) if of_model else _one_matrix(options)


def _one_matrix(options: argparse.Namespace) -> Outcome:
    from lora_ref import counting

    needed = {"--in": options.in_features, "--out": options.out_features, "--rank": options.rank}
    missing = [flag for flag, text in needed.items() if text is None]
    if missing:
        raise LoraRefError(
            f"{' and '.join(missing)} missing: one matrix has --in, --out and --rank"
        )
    in_features, out_features, r = (whole(*item, MAX_SIZE) for item in needed.items())
    sizes = in_features, out_features
    n = 1 if options.rows is None else whole("--rows", options.rows, MAX_SIZE)
    optimizer = options.optimizer
    full, lora = counting.full_params(*sizes), counting.lora_params(*sizes, r)
    costs = {
        "full": counting.full_multiply_adds(*sizes, n=n),
        "lora": counting.lora_multiply_adds(*sizes, r, n=n),
    }
    memory = {
        "full": counting.full_bytes(*sizes, n=n, optimizer=optimizer),
        "lora": counting.lora_bytes(*sizes, r, n=n, optimizer=optimizer),
    }
    limit = float(counting.break_even_rank(*sizes))
    body: dict[str, Any] = {
        "schema": 1,
        "in_features": in_features,
        "out_features": out_features,
        "rank": r,
        "parameters": {"full": full, "lora": lora},
        "ratio": lora / full,
        "break_even_rank": limit,
        "rows": n,
        "multiply_adds": {k: {**asdict(v), "total": v.total} for k, v in costs.items()},
        "optimizer": optimizer,
        "training_bytes": {k: {**asdict(v), "total": v.total} for k, v in memory.items()},
    }
    rows = [
        ("", "full", "LoRA"),
        ("trainable parameters", f"{full:,}", f"{lora:,}"),
        ("  share of the matrix", f"{1:.4%}", f"{lora / full:.4%}"),
    ]
    for title, key, names in (
        ("multiply-adds", "multiply_adds", ("forward", "backward")),
        ("training bytes", "training_bytes", (*asdict(memory["full"]), "total")),
    ):
        for name in names:
            of_full, of_lora = (f"{body[key][way][name]:,}" for way in ("full", "lora"))
            rows.append((f"{title}, {name}", of_full, of_lora))
    if options.tasks is not None:
        tasks = whole("--tasks", options.tasks, MAX_SIZE)
        shared, separate = counting.several_tasks_params(*sizes, r, tasks), tasks * full
        body["tasks"] = {"tasks": tasks, "shared": shared, "separate": separate}
        rows.append((f"{tasks} tasks, parameters", f"{separate:,}", f"{shared:,}"))
    if options.json:
        return Outcome(as_json(body))
    lines = [
        f"One weight, {out_features} x {in_features}, r = {r}; {n} row(s) a step, {optimizer}, "
        "4 bytes a number",
        "",
        *columns(rows, "<>>"),
        "",
        f"Below r = {limit:g} LoRA has fewer parameters than the matrix.",
    ]
    return Outcome("\n".join(lines))
