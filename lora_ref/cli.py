"""The door: ``lora-ref verify``, ``walkthrough``, ``count``, ``study``.

Exit status: 0 good, 1 a check failed, 2 wrong usage. Results go to stdout, messages to stderr.
"""

import argparse
import io
import json
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from lora_ref import __version__
from lora_ref.errors import LoraRefError

GOOD, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

LARGEST = 10**12
"""The largest size that ``count`` takes: beyond it a digit too many is more likely than a model."""


class Outcome(NamedTuple):
    """What a command prints, its exit status, and messages for stderr."""

    text: str
    status: int = GOOD
    messages: tuple[str, ...] = ()
    page: bool = False  # a page is UTF-8 wherever it is written


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    options = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], Outcome] = options.command
    try:
        outcome = command(options)
    except LoraRefError as error:
        print(f"lora-ref: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        print("lora-ref: interrupted; runs of a study that had finished are kept", file=sys.stderr)
        return INTERRUPTED
    for message in outcome.messages:
        print(f"lora-ref: {message}", file=sys.stderr)
    if outcome.page and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8", newline="\n")
    try:
        print(outcome.text, flush=True)
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        print(f"lora-ref: the result cannot be written: {error}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    return outcome.status


def verify(options: argparse.Namespace) -> Outcome:
    """Recompute and judge the article's claims."""
    from lora_ref.ledger import CLAIMS, judge, report

    by_id = {claim.id: claim for claim in CLAIMS}
    for unknown in (name for name in options.ids if name not in by_id):
        near = get_close_matches(unknown, by_id, n=3, cutoff=0.4)
        hint = f"; the nearest: {', '.join(near)}" if near else ""
        raise LoraRefError(f"no claim is called {unknown!r}{hint}")
    judgements = [judge(claim) for claim in CLAIMS if not options.ids or claim.id in options.ids]
    problems = tuple(problem for j in judgements for problem in j.problems)
    if options.verdict:
        judgements = [j for j in judgements if j.verdict == options.verdict]
        if not judgements and not problems:
            raise LoraRefError(f"none of these claims comes out as {options.verdict!r}")
    status = FAILED if problems else GOOD
    if options.json:
        return Outcome(_json(report.as_dict(judgements)), status, problems)
    if options.markdown:
        return Outcome(report.as_markdown(judgements).rstrip("\n"), status, problems, page=True)
    if options.order == "worst":
        judgements = report.worst_first(judgements)
    width = min(120, shutil.get_terminal_size((100, 24)).columns)
    text = report.as_text(judgements, width=width, chinese=_can_print("低秩：“”"), colour=_colour())
    return Outcome(text, status, problems)


def walkthrough(options: argparse.Namespace) -> Outcome:
    """Step through the article's 4x4 example."""
    from lora_ref import worked

    steps = worked.walkthrough()
    if options.step is not None:
        numbers = [step.number for step in steps]
        if options.step not in numbers:
            raise LoraRefError(
                f"step {options.step} does not exist, expected {numbers[0]} to {numbers[-1]}"
            )
        steps = tuple(step for step in steps if step.number == options.step)
    if options.json:
        body = [worked.step_as_dict(step, exact=options.exact) for step in steps]
        return Outcome(_json({"schema": 1, "steps": body}))
    return Outcome("\n\n".join(worked.format_step(step, exact=options.exact) for step in steps))


def count(options: argparse.Namespace) -> Outcome:
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
        return Outcome(_json(body))
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


def study(options: argparse.Namespace) -> Outcome:
    """Compare the ways to adapt on the digits."""
    from lora_ref import study as digits
    from lora_ref.figures import save_study

    out = Path(options.out)
    methods = tuple(options.methods or digits.DEFAULT_METHODS)
    shifts = tuple(digits.SHIFTS) if options.shift == "all" else (options.shift,)
    rates = None
    if options.tune:
        rates = digits.tune(methods, progress=True)["chosen"]
    runs = out / ("runs-tuned" if options.tune else "runs")
    records = digits.run(shifts, methods, options.seeds, directory=runs, progress=True, rates=rates)
    results, tables = out / "results.json", out / "tables.md"
    _write(results, digits.as_results(records))
    _write(tables, digits.as_markdown(records))
    figures = save_study(records, out)
    written = ", ".join(str(path) for path in (results, tables, *figures))
    text = digits.as_json(records) if options.json else digits.as_text(records)
    if not _can_print(text):
        text = text.replace("±", "+/-")
    return Outcome(text, messages=(f"written: {written}; finished runs are kept in {runs}",))


def _parser() -> argparse.ArgumentParser:
    from lora_ref.ledger.claim import VERDICTS

    parser = argparse.ArgumentParser(
        prog="lora-ref", description="LoRA in pure NumPy: recompute what is written about it."
    )
    parser.add_argument("--version", action="version", version=f"lora-ref {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(command: Callable[[argparse.Namespace], Outcome], says: str) -> argparse.ArgumentParser:
        sub = commands.add_parser(command.__name__, help=says, description=says)
        sub.set_defaults(command=command)
        return sub

    sub = add(verify, "recompute and judge the article's claims")
    sub.add_argument("ids", nargs="*", metavar="ID", help="claims to judge; all if none is named")
    sub.add_argument("--verdict", choices=VERDICTS, help="show the claims of one verdict")
    sub.add_argument(
        "--order", choices=("worst", "article"), default="worst", help="of the text report"
    )
    forms = sub.add_mutually_exclusive_group()
    forms.add_argument("--json", action="store_true", help="one JSON object on stdout")
    forms.add_argument("--markdown", action="store_true", help="the page docs/ledger.md")

    sub = add(walkthrough, "step through the article's 4x4 example")
    sub.add_argument("--step", type=int, metavar="N", help="one step alone")
    sub.add_argument("--exact", action="store_true", help="show fractions")
    sub.add_argument("--json", action="store_true", help="one JSON object on stdout")

    sub = add(count, "count what LoRA saves on one matrix, and what it does not")
    for name, dest, says in (
        ("--in", "in_features", "columns of the weight"),
        ("--out", "out_features", "rows of the weight"),
        ("--rank", "rank", "rank of the factors"),
    ):
        sub.add_argument(name, dest=dest, type=int, required=True, help=says)
    sub.add_argument("--tasks", type=int, metavar="T", help="adapters that share the weight")
    sub.add_argument("--rows", type=int, default=1, help="rows of x in a step (default 1)")
    sub.add_argument(
        "--optimiser", default="adamw", help="sgd, momentum or adamw (default)", metavar="NAME"
    )
    sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
    sub = add(study, "compare the ways to adapt on real data, the digits")
    sub.add_argument("--shift", default="middle", metavar="S", help="one shift, or all (middle)")
    sub.add_argument("--methods", nargs="+", metavar="M", help="methods to compare (all)")
    sub.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N - 1 (3)")
    sub.add_argument("--tune", action="store_true", help="choose the learning rates anew first")
    sub.add_argument(
        "--out",
        default="lora-ref-study",
        metavar="DIR",
        help="where runs are kept and resumed, and tables and figures written (lora-ref-study)",
    )
    sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
    return parser


def _write(path: Path, text: str) -> None:
    """Put a file in its place in one step: a reader finds all of it, or the old one."""
    draft = path.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def _json(body: dict[str, Any]) -> str:
    return json.dumps(body, indent=2)


def _can_print(text: str) -> bool:
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _colour() -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return sys.stdout is not None and sys.stdout.isatty() and not plain
