"""The text that ``lora-ref count --model`` prints: tables of a count, explanations of a number."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from itertools import product
from textwrap import wrap
from typing import TYPE_CHECKING, get_args

from lora_ref.cli.outcome import columns

if TYPE_CHECKING:
    from lora_ref.counting import (
        Explanation,
        ParameterCount,
        Size,
        SizeExplanation,
        TrainingMemory,
    )

WITHOUT_ACTIVATIONS = (
    "Activations are left out: they grow with the batch and its length, and a method that trains\n"
    "little keeps almost as many of them."
)

RANKS_SHOWN = 5
"""Other ranks that give a number; a rounded total comes out at many."""

Row = tuple[str, ...]


def table(
    counted: "ParameterCount",
    plain: "ParameterCount",
    memory: Sequence["TrainingMemory"],
    setting: str,
) -> str:
    """Return PEFT's line, then the parts, checkpoints and training memory, beside full fine-tuning.

    `counted` is under the rules asked for. Bytes are those of the `plain` count, without a rule: it
    changes what is counted, not what is stored. `memory` is of the method and of full fine-tuning.
    """
    from lora_ref.counting import Full, checkpoint_bytes, count_parameters

    full = count_parameters(plain.model, Full())
    parts: list[Row] = [("", "parameters", "share of all", "")]
    for part in plain.parts:
        state = "trained" if part.trained else "frozen"
        state += "" if part.added else ", the model's own"
        share = f"{part.parameters / plain.total:.4%}"
        parts.append((part.name, f"{part.parameters:,}", share, state))
    under = f"under {', '.join(counted.rules)}" if counted.rules else ""
    parts += [
        ("trainable", f"{counted.trainable:,}", f"{float(counted.share):.4%}", under),
        ("total", f"{counted.total:,}", f"{1:.4%}", under),
    ]
    of_method, of_full = memory
    sizes: list[Row] = [
        ("bytes", _method_name(plain), "MiB", "full fine-tuning", "MiB"),
        _sizes("checkpoint, float32", checkpoint_bytes(plain), checkpoint_bytes(full)),
        _sizes("checkpoint, bfloat16", *(checkpoint_bytes(c, "bfloat16") for c in (plain, full))),
        _sizes(f"training ({setting}): weights", of_method.weights, of_full.weights),
        _sizes("  gradients", of_method.gradients, of_full.gradients),
        _sizes("  optimiser states", of_method.optimizer, of_full.optimizer),
        _sizes("  together", of_method.total, of_full.total),
    ]
    lines = [*columns(parts, "<>><"), "", *columns(sizes, "<>>>>"), "", WITHOUT_ACTIVATIONS]
    return "\n".join([str(counted), "", _title(plain), "", *lines])


def explanation_text(
    printed: int,
    counted: "ParameterCount",
    found: Sequence["Explanation"],
    near: "Explanation | None",
    rounded: bool,
) -> str:
    """Return PEFT's line, then what explains the number, or the `near` one that was tried."""
    from lora_ref.counting import RULES

    lines = [str(counted), "", _title(counted), ""]
    for each in found:
        exact = "" if each.value == printed else f": {each.value:,}"
        lines.append(f"{printed:,} is the {_count_name(each)}{exact}.")
    if near is not None:
        off, more = near.value - printed, "" if rounded else ", pairs and triples of them"
        lines += [
            f"{printed:,}: none found, among single rules{more}.",
            f"Plain counts: trainable {counted.trainable:,}, total {counted.total:,}.",
            f"The nearest is {near.value:,}, {abs(off):,} {'more' if off > 0 else 'less'}: "
            f"the {_count_name(near)}.",
        ]
    shown = found if near is None else [near]
    return "\n".join([*lines, *_rules_text(RULES, [each.rules for each in shown])])


def size_text(
    size: "Size",
    counted: "ParameterCount",
    found: Sequence["SizeExplanation"],
    dtypes: Sequence[str],
) -> str:
    """Return PEFT's line, then what has the printed size, or what the plain counts come to."""
    from lora_ref.counting import RULES, UNITS, Explanation, sizes_of
    from lora_ref.counting.explain import Count

    letters = "KMGT"[size.power - 1] + "B"
    lines = [str(counted), "", _title(counted), ""]
    for each in found:
        unit = f" by {each.unit}" if each.unit else ""
        lines.append(
            f"{size.text} is the {_count_name(each.counted)}: {each.counted.value:,} numbers in "
            f"{each.dtype}, {_decimals(each.value)} {letters}{unit}."
        )
    if not found:
        lines += [f"{size.text}: none found, among units and single rules. Plain counts:", ""]
        rows = [("", "", *(unit or "powers of 1,000" for unit in UNITS))]
        for count, dtype in product(get_args(Count), dtypes):
            plain = Explanation(count, (), counted.trainable, counted.total)
            sizes = (_decimals(one.value) for one in sizes_of(plain, size, [dtype]))
            rows.append((count, dtype, *sizes))
        lines += columns(rows, "<<" + ">" * len(UNITS))
    texts = {**RULES, **{name: unit.text for name, unit in UNITS.items()}}
    shown = [each.rules for each in found] or [tuple(filter(None, UNITS))]
    return "\n".join([*lines, *_rules_text(texts, shown)])


def other_ranks_text(ranks: Sequence[tuple[int, "Explanation"]]) -> list[str]:
    """Return a line for each other rank at which the number comes out."""
    lines = [
        f"At r = {r} it is the {_count_name(each)}: {each.value:,}."
        for r, each in ranks[:RANKS_SHOWN]
    ]
    if len(ranks) > len(lines):
        lines.append(f"It comes out at {len(ranks) - len(lines)} more ranks.")
    return ["", *lines] if lines else []


def _rules_text(texts: Mapping[str, str], used: Iterable[Sequence[str]]) -> list[str]:
    """Return what each rule says that is used, each once."""
    names = dict.fromkeys(name.partition(":")[0] for rules in used for name in rules)
    lines = [line for name in names for line in wrap(f"{name}: {texts[name]}", 88)]
    return ["", *lines] if lines else []


def _decimals(value: Fraction) -> str:
    """Write a size with three decimals more than a whole number needs, none that say nothing."""
    return f"{float(value):,.3f}".rstrip("0").rstrip(".")


def _sizes(label: str, *sizes: int) -> Row:
    """Return a label, then each size in bytes and in MiB."""
    return label, *(text for size in sizes for text in (f"{size:,}", f"{size / 2**20:,.2f}"))


def _count_name(explanation: "Explanation") -> str:
    """Return which count it is under which rules, and the other count under the same rules."""
    under = f"under {' and '.join(explanation.rules)}" if explanation.rules else "with no rule"
    if explanation.count == "trainable":
        return f"trainable count {under} (total {explanation.total:,})"
    return f"total {under} (trainable {explanation.trainable:,})"


def _method_name(counted: "ParameterCount") -> str:
    return str(getattr(counted.method, "kind", counted.method.name))


def _title(counted: "ParameterCount") -> str:
    """Return the model and the method in words."""
    method, words = counted.method, [_method_name(counted)]
    for field in ("r", "bottleneck", "tokens", "blocks"):
        if getattr(method, field, 0):
            words.append(f"{field} = {getattr(method, field)}")
    copies = sum(module.copies for module in method.targeted(counted.model))
    if copies:
        words.append(f"{getattr(method, 'targets', '')} ({copies} modules)")
    return f"{counted.model.title or counted.model.name}: {', '.join(words)}"
