"""How a count of a whole model is printed."""

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lora_ref.counting import Explanation, Tally, TrainingMemory

WITHOUT_ACTIVATIONS = (
    "Activations are left out: they grow with the batch and its length, and a method that trains\n"
    "little keeps almost as many of them."
)

CHECKPOINTS = ("float32", "bfloat16")

Row = tuple[str, ...]


def table(
    counted: "Tally", plain: "Tally", memory: Sequence["TrainingMemory"], trained_as: str
) -> str:
    """Return PEFT's line, then the parts, checkpoints and training memory, beside full fine-tuning.

    Parameters
    ----------
    counted, plain : Tally
        What is trained, out of how much, by the rules asked for and by none: bytes are of what
        there is, whichever way it is counted.
    memory : sequence of TrainingMemory
        Of the method, and of full fine-tuning.
    trained_as : str
        The dtype and the optimiser of the memory.
    """
    from lora_ref.counting import Full, checkpoint_bytes, tally

    full = tally(plain.model, Full())
    parts: list[Row] = [("", "numbers", "share of all", "")]
    for part in plain.parts:
        state = "trained" if part.trained else "frozen"
        state += "" if part.added else ", the model's own"
        share = f"{part.numbers / plain.total:.4%}"
        parts.append((part.name, f"{part.numbers:,}", share, state))
    under = f"under {', '.join(counted.rules)}" if counted.rules else ""
    parts += [
        ("trainable", f"{counted.trainable:,}", f"{float(counted.share):.4%}", under),
        ("total", f"{counted.total:,}", f"{1:.4%}", under),
    ]
    sizes: list[Row] = [("bytes", _method(plain), "MiB", "full fine-tuning", "MiB")]
    for dtype in CHECKPOINTS:
        weighed = (checkpoint_bytes(each, dtype) for each in (plain, full))
        sizes.append((f"checkpoint, {dtype}", *_bytes(*weighed)))
    for says, field in (
        (f"training ({trained_as}): weights", "weights"),
        ("  gradients", "gradients"),
        ("  optimiser states", "optimizer"),
        ("  together", "total"),
    ):
        sizes.append((says, *_bytes(*(getattr(each, field) for each in memory))))
    lines = [str(counted), "", _title(plain), "", *columns(parts, last="<"), "", *columns(sizes)]
    return "\n".join([*lines, "", WITHOUT_ACTIVATIONS])


def explanations(
    printed: int,
    counted: "Tally",
    found: Sequence["Explanation"],
    close: "Explanation | None",
) -> str:
    """Return PEFT's line of the plain count, then what explains the printed number.

    Parameters
    ----------
    printed : int
        The number that is explained.
    counted : Tally
        The plain count.
    found : sequence of Explanation
        What explains it.
    close : Explanation or None
        What comes closest, if nothing does.
    """
    from lora_ref.counting import RULES

    lines = [str(counted), "", _title(counted), ""]
    used: list[str] = []
    for each in found:
        lines.append(f"{printed:,} is the {_of(each)}.")
        used += each.rules
    if close is not None:
        off = close.value - printed
        lines += [
            f"{printed:,}: none found, among single rules, pairs and triples of them.",
            f"Plain counts: trainable {counted.trainable:,}, total {counted.total:,}.",
            f"The nearest is {close.value:,}, {abs(off):,} {'more' if off > 0 else 'less'}: "
            f"the {_of(close)}.",
        ]
        used += close.rules
    says = dict.fromkeys(name.partition(":")[0] for name in used)
    if says:
        lines.append("")
        lines += [line for name in says for line in wrap(f"{name}: {RULES[name]}", 88)]
    return "\n".join(lines)


def columns(rows: Sequence[Row], last: str = ">") -> list[str]:
    """Return lines with their columns below each other, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    sides = ["<", *">" * (len(widths) - 2), last]
    return [
        "  ".join(
            f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)
        ).rstrip()
        for row in rows
    ]


def _bytes(*numbers: int) -> Row:
    """Return each number of bytes, and the same in MiB."""
    return tuple(text for n in numbers for text in (f"{n:,}", f"{n / 2**20:,.2f}"))


def _of(explanation: "Explanation") -> str:
    """Return which count it is under which rules, and the other count under the same."""
    under = f"under {' and '.join(explanation.rules)}" if explanation.rules else "with no rule"
    if explanation.count == "trainable":
        return f"trainable count {under} (total {explanation.total:,})"
    return f"total {under} (trainable {explanation.trainable:,})"


def _method(counted: "Tally") -> str:
    return str(getattr(counted.method, "kind", counted.method.name))


def _title(counted: "Tally") -> str:
    """Return the model and the method in words."""
    method, words = counted.method, [_method(counted)]
    for field, says in (("r", "r"), ("m", "m"), ("tokens", "tokens"), ("k", "blocks")):
        if hasattr(method, field):
            words.append(f"{says} = {getattr(method, field)}")
    copies = sum(module.copies for module in method.targeted(counted.model))
    if copies:
        words.append(f"{', '.join(getattr(method, 'targets', ()))} ({copies} modules)")
    return f"{counted.model.title or counted.model.name}: {', '.join(words)}"
