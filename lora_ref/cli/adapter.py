"""``lora-ref adapter``: inspect, merge, extract, combine and convert adapters on disk."""

import argparse
import warnings
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lora_ref.cli.outcome import Outcome, as_json, columns, listed, number, whole

HELP = "inspect, merge, extract, combine and convert adapters in PEFT's layout"

SHOWN = 5
"""Singular values of a layer that are printed; ``--json`` has all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the actions and the options of each."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        sub = actions.add_parser(name, help=text, description=text)
        sub.set_defaults(action=run)
        sub.add_argument("--json", action="store_true", help="one JSON object on stdout")
        return sub

    base = "a safetensors file with the weights, or a folder with model.safetensors"
    sub = action(
        "inspect", "each update: rank, scaling, norms, spectrum; and what is odd", _inspect
    )
    sub.add_argument("folder", metavar="DIR", help="folder of the adapter")
    sub = action("merge", "fold an adapter into the weights of its base", _merge)
    sub.add_argument("base", metavar="BASE", help=base)
    sub.add_argument("folder", metavar="DIR", help="folder of the adapter")
    sub.add_argument("--out", required=True, metavar="FILE", help="safetensors file to write")
    sub = action("extract", "the best LoRA of a rank for a model that was trained whole", _extract)
    sub.add_argument("base", metavar="BASE", help=base)
    sub.add_argument("tuned", metavar="TUNED", help="the same after training")
    sub.add_argument("--rank", required=True, metavar="R", help="rank of each update")
    sub.add_argument("--targets", default="", metavar="LIST", help="layers (all that changed)")
    sub.add_argument("--out", required=True, metavar="DIR", help="folder for the adapter")
    sub = action("combine", "one adapter whose updates are the weighted sums of several", _combine)
    sub.add_argument("folders", nargs="+", metavar="DIR", help="folders of the adapters")
    sub.add_argument("--weights", default="", metavar="LIST", help="one for each (1,1,...)")
    sub.add_argument("--rank", metavar="R", help="cut the sum to this rank (exact, if left out)")
    sub.add_argument("--out", required=True, metavar="DIR", help="folder for the adapter")
    sub = action("convert", "to the layout of another library, or from it", _convert)
    sub.add_argument("path", metavar="DIR|FILE", help="an adapter, or with --from a file of arrays")
    ways = sub.add_mutually_exclusive_group(required=True)
    ways.add_argument("--to", metavar="LAYOUT", help="such as mlx-lm, loralib, Keras, LitGPT")
    ways.add_argument("--from", dest="origin", metavar="LAYOUT", help="the layout of the file")
    sub.add_argument(
        "--number", metavar="X", help="with --from: alpha or scale, if not in the file"
    )
    sub.add_argument("--out", required=True, metavar="FILE|DIR", help="what to write")


def run(options: argparse.Namespace) -> Outcome:
    """Do what is asked for."""
    outcome: Outcome = options.action(options)
    return outcome


def _inspect(options: argparse.Namespace) -> Outcome:
    from lora_ref.checkpoint import inspect

    report = inspect(Path(options.folder))
    config = report.config
    if options.json:
        body = {"schema": 1, "numbers": report.numbers, "base": config.base}
        updates = [asdict(one) for one in report.updates]
        return Outcome(as_json({**body, "updates": updates, "remarks": list(report.remarks)}))
    kind = "DoRA" if config.dora else "LoRA"
    rule = "alpha / sqrt(r)" if config.rank_stabilized else "alpha / r"
    head = (
        f"{kind} on {len(report.updates)} layers of {config.base or 'a base that is not named'}; "
        f"{report.numbers:,} numbers; scaling is {rule}"
    )
    titles = ("layer", "out x in", "r", "scaling", "|A|", "|B|", "|update|", "eff. rank", "sigma")
    rows: list[tuple[str, ...]] = [titles]
    for one in report.updates:
        sigma = " ".join(f"{value:.3g}" for value in one.sigma[:SHOWN])
        more = " ..." if len(one.sigma) > SHOWN else ""
        sides = f"{one.out_features} x {one.in_features}"
        norms = (f"{value:.3g}" for value in (one.norm_A, one.norm_B, one.norm))
        scaling, effective = f"{one.scaling:g}", f"{one.effective_rank:.1f}"
        rows.append((one.name, sides, str(one.r), scaling, *norms, effective, sigma + more))
    remarks = [f"- {remark}" for remark in report.remarks] or ["- nothing"]
    table = columns(rows, "<>>>>>>><")
    return Outcome("\n".join([head, "", *table, "", "What is odd about it:", *remarks]))


def _merge(options: argparse.Namespace) -> Outcome:
    from lora_ref.checkpoint import merge, write_safetensors
    from lora_ref.checkpoint.operations import read_base

    base = read_base(Path(options.base))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        merged, changed = merge(base, Path(options.folder))
    write_safetensors(Path(options.out), merged, {"format": "pt"})
    text = (
        f"{options.out}: {len(merged)} arrays, {len(changed)} layers changed: {', '.join(changed)}"
    )
    if options.json:
        text = as_json({"schema": 1, "changed": changed, "out": options.out})
    return Outcome(text, messages=tuple(str(one.message) for one in said))


def _extract(options: argparse.Namespace) -> Outcome:
    from lora_ref.checkpoint import extract, save_peft
    from lora_ref.checkpoint.operations import read_base

    r = whole("--rank", options.rank, 1_000_000)
    targets = listed(options.targets)
    base, tuned = read_base(Path(options.base)), read_base(Path(options.tuned))
    layers, found, left = extract(base, tuned, r, targets)
    save_peft(Path(options.out), layers)
    if options.json:
        rows = [one._asdict() for one in found]
        return Outcome(as_json({"schema": 1, "updates": rows, "left": left, "out": options.out}))
    titles = ("layer", "r", "|change|", "error", "least error at r", "share left out")
    numbers = (
        (one.name, str(one.r), *(f"{v:.4g}" for v in one[2:]), f"{one.error / one.norm:.1%}")
        for one in found
    )
    lines = columns([titles, *numbers], "<>>>>>")
    lines += ["", f"written: {options.out}"]
    if left:
        lines.append(f"changed too, and not in it: {', '.join(left)}")
    return Outcome("\n".join(lines))


def _combine(options: argparse.Namespace) -> Outcome:
    from lora_ref.checkpoint import combine, save_peft

    folders = [Path(folder) for folder in options.folders]
    weights = [number("--weights", weight, -1e6, 1e6) for weight in listed(options.weights)]
    r = None if options.rank is None else whole("--rank", options.rank, 1_000_000)
    layers, lost = combine(folders, weights, r)
    save_peft(Path(options.out), layers)
    body: dict[str, Any] = {"schema": 1, "layers": list(layers), "left out": lost}
    if options.json:
        return Outcome(as_json({**body, "out": options.out}))
    how = "exactly" if not lost else f"with {lost:.2%} of its norm left out"
    return Outcome(f"written: {options.out}, {len(layers)} layers, the sum {how}")


def _convert(options: argparse.Namespace) -> Outcome:
    from lora_ref.checkpoint import (
        convert_from,
        convert_to,
        read_safetensors,
        save_peft,
        write_safetensors,
    )

    path, out = Path(options.path), Path(options.out)
    if options.to is not None:
        arrays = convert_to(path, options.to)
        write_safetensors(out, arrays)
        names = list(arrays)
    else:
        given = None if options.number is None else number("--number", options.number, -1e6, 1e6)
        layers = convert_from(read_safetensors(path), options.origin, given)
        save_peft(out, layers)
        names = list(layers)
    if options.json:
        return Outcome(as_json({"schema": 1, "written": names, "out": options.out}))
    what = "arrays and numbers" if options.to is not None else "layers"
    return Outcome(f"written: {options.out}, {len(names)} {what}, such as {names[0]}")
