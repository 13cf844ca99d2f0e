"""The command: ``python -m tests.bench [--only NAME] [--json]``."""

import argparse
import json
from typing import Any

from tests.bench import (
    encoder,
    importing,
    linear,
    machine,
    memory,
    multitask,
    quantization,
    svd,
    training,
    transformer,
)

TOPICS = {
    "pass-1024-512": linear.large,
    "pass-256-512": linear.middle,
    "pass-256-1": linear.single,
    "full-step": linear.full_step,
    "memory": memory.rows,
    "svd": svd.rows,
    "multitask": multitask.rows,
    "nf4-quantize": quantization.quantizing,
    "nf4-dequantize": quantization.dequantizing,
    "adamw": training.updates,
    "step": training.steps,
    "gpt-step": transformer.steps,
    "gpt-memory": transformer.memory,
    "gpt-text": transformer.text,
    "encoder-step-lora": encoder.steps,
    "encoder-memory": encoder.memory,
    "import": importing.rows,
}
"""One name a row; the functions are called only for rows that are asked for."""


def header(ran: dict[str, Any]) -> str:
    """Return what ran, and a warning where a setting of the environment changes it."""
    blas = ", ".join(f"{name} {value}" for name, value in ran["blas"].items())
    versions = ", ".join(f"{name} {value or '-'}" for name, value in ran["versions"].items())
    where = f"{ran['cores']} cores ({ran['processor']}), load {ran['load']}"
    lines = [blas, f"{ran['threads']} threads on {where}", f"Python {ran['python']}, {versions}"]
    if ran["overrides"]:
        lines.append(
            f"WARNING: {', '.join(ran['overrides'])} may change what runs: unset for a fair run"
        )
    if (ran["load"] or 0) > ran["cores"] / 4:
        lines.append("WARNING: the machine is busy: other processes share these cores")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print each row as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", choices=TOPICS, help=", ".join(TOPICS))
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    asked = parser.parse_args()
    ran = machine.describe()
    if not asked.json:
        print(header(ran))
    found = []
    for name in [asked.only] if asked.only else TOPICS:
        for row in TOPICS[name]():
            found.append(row.as_json())
            if not asked.json:
                print(f"\n{row}", flush=True)
    if asked.json:
        print(json.dumps({"machine": ran, "rows": found}, indent=2))


if __name__ == "__main__":
    main()
