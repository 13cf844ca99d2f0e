"""The page of conventions: one update in everybody's layout, each block of code run."""

from __future__ import annotations

import io
from collections.abc import Iterable
from contextlib import redirect_stdout
from textwrap import fill
from typing import Any, NamedTuple

from lora_ref.checkpoint.conventions import LAYOUTS, Layout


class Section(NamedTuple):
    """A part of the page: what is said, and code that is run after all code above it."""

    title: str
    text: str
    code: str


HEAD = """\
# Conventions: one update in the layouts of papers and libraries

Written by `python docs/build.py`; do not edit. Every block ran when the page was written, each
after those above it, and what it printed stands below it.

Here a weight W0 is (out, in), A is (r, in), B is (out, r), and the update is
`delta_w = scaling * B @ A`. Others keep the same matrices under other names, transposed, with
another number beside them. `lora_ref.checkpoint.conventions.LAYOUTS` has each as data, and
`LAYOUTS[name].read` and `.write` convert. [Notation](notation.md) says what the formulas are and
how A and B start; a whole adapter in PEFT's files is read by `lora_ref.checkpoint.load_peft`.
"""

TABLE = """\
A meets the input and B makes the output, whatever they are called. r is the rank; where q, k and v
lie in one weight, it is the rank of one of the g parts that have an update. Whether x has its
examples in rows or in columns, as the paper has, changes no stored array.
"""

START = Section(
    "The update of this page",
    "A weight has three parts of two rows each, q, k and v above one another; q and v have an "
    "update of rank 2, and k has none (the 2 in the list is its rows). As one plain update its "
    "rank is 2 + 2: layouts that know parts keep r = 2, the others r = 4.",
    """\
import numpy as np
from lora_ref import LoraRefError
from lora_ref.checkpoint.conventions import LAYOUTS, Update, joined

rng = np.random.default_rng(0)
r, W0 = 2, rng.standard_normal((6, 5))
q, v = (Update(rng.standard_normal((r, 5)), rng.standard_normal((2, r)), 2.0) for _ in "qv")
update = joined([q, 2, v])
delta_w = update.delta_w
print(f"rank {update.r}, scaling {update.scaling}", delta_w.round(2), sep="\\n")
""",
)

TRAPS = (
    Section(
        "Trap 1: names exchanged",
        "catid/dora calls `lora_A` what is B here, of shape (out, r). An A of shape (in, r) "
        "looks the same where in = out. No error comes, and the update is transposed.",
        """\
square = Update(rng.standard_normal((r, 5)), rng.standard_normal((5, r)), 1.0)
stored = {"lora_a": square.B, "lora_b": square.A, "scale": 1.0}  # B under the name of A
wrong = LAYOUTS["mlx-lm"].read(stored)
print("the same:", np.allclose(wrong.delta_w, square.delta_w))
print("its transpose:", np.allclose(wrong.delta_w.T, square.delta_w))
""",
    ),
    Section(
        "Trap 2: the scaling is kept elsewhere, or not at all",
        "The arrays of two layouts can be the same and the update another: the rule for the "
        "scaling stands in the code. Where no number is kept it is folded into B, and cannot be "
        "found again.",
        """\
book, later = "LLMs-from-scratch 1.0.19", "LLMs-from-scratch, later"
for kept, read in (("PEFT, use_rslora", "PEFT"), (later, book)):
    wrong = LAYOUTS[read].read(LAYOUTS[kept].write(update)).delta_w  # no error
    print(f"{kept}, read as {read}: times {np.linalg.norm(wrong) / np.linalg.norm(delta_w):g}")
back = LAYOUTS["Flax NNX"].read(LAYOUTS["Flax NNX"].write(update))
print(f"Flax: scaling {back.scaling}; the same: {np.allclose(back.delta_w, delta_w)}")
""",
    ),
    Section(
        "Trap 3: the weight is transposed",
        "GPT-2's Conv1D, Flax and Keras keep the weight as (in, out). PEFT keeps the factors as "
        "ever and transposes their product. Where in = out, forgetting it raises no error.",
        """\
layout, W1 = LAYOUTS["PEFT on Conv1D"], rng.standard_normal((5, 5))
for change in (square.delta_w, square.delta_w.T):
    merged = layout.write_weight(W1) + change
    print("the same:", np.allclose(layout.read_weight(merged) - W1, square.delta_w))
""",
    ),
    Section(
        "Two DoRAs",
        "PEFT, mlx-lm and this project keep a length for each output, a row of V = W0 + "
        "delta_w; catid/dora keeps one for each input, a column, which is how the paper's "
        "picture can be read. With the lengths that V has, both are LoRA, as above. Once the "
        "lengths are trained the change has full rank: no LoRA of rank r makes it, and in "
        "general no DoRA of the other kind. What can be carried over is the merged weight.",
        """\
trained = update.as_dora(W0, "in")
trained.magnitude[:] *= np.arange(1, 6)
change = trained.merged(W0) - W0
print(f"rank of the change: {np.linalg.matrix_rank(change)}; of B A: {update.r}")
try:
    LAYOUTS["PEFT, DoRA"].write(trained)
except LoraRefError as error:
    print(error)
""",
    ),
)


def as_markdown() -> str:
    """Return the page, with what its code prints."""
    names: dict[str, Any] = {}
    lines = [HEAD, "## Who keeps what", "", TABLE, *table(LAYOUTS.values()), ""]
    lines += ["## The same update through each", ""]
    for section in (START, *map(section_of, LAYOUTS.values())):
        lines += _written(section, "###", names)
    for section in TRAPS:
        lines += _written(section, "##", names)
    return "\n".join(lines).rstrip("\n") + "\n"


def table(layouts: Iterable[Layout]) -> list[str]:
    """Return a row of what each layout keeps."""
    columns = (
        *("who", "weight", "A", "B", "added to the weight", "scaling", "kept in"),
        *("dropout", "DoRA: a length for each", "source"),
    )
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for one in layouts:
        places = (f"`{p.name}` ({', '.join(p.axes)})" for p in (one.weight, one.A, one.B))
        length = "" if one.magnitude is None else f"{one.axis}put: `{one.magnitude.name}`"
        cells = (*places, product(one), scaling(one), one.kept, one.dropout, length)
        lines.append(f"| {' | '.join((one.name, *cells, one.source))} |")
    return lines


def section_of(layout: Layout) -> Section:
    """Return how a layout computes the update, in its own names."""
    kind = {None: "update", "out": "update.as_dora(W0)", "in": 'update.as_dora(W0, "in")'}
    stored = ", ".join(map(last, layout.names))
    text = layout.source
    if layout.number is None:
        text += ". No number is kept: the scaling is folded into B"
    return Section(
        layout.name,
        f"{text}.",
        f"""\
layout = LAYOUTS["{layout.name}"]
{last(layout.weight.name)} = layout.write_weight(W0)
{stored} = layout.write({kind[layout.axis]}).values()
{layout.merged}
print("the same:", np.allclose(layout.read_weight(merged) - W0, delta_w))
""",
    )


def product(layout: Layout) -> str:
    """Return the product that is added to the stored weight, but for its scaling."""
    A, B = last(layout.A.name), last(layout.B.name)
    if len(layout.enable) > 1:
        return f"`{B} @ {A}`, part by part"
    turned = layout.B.axes[0] == "r"  # the product is (in, out)
    text = f"{A} @ {B}" if turned else f"{B} @ {A}"
    return f"`({text}).T`" if turned != (layout.weight.axes[0] == "in") else f"`{text}`"


def scaling(layout: Layout) -> str:
    """Return the rule by which the number kept becomes the scaling."""
    if layout.number is None:
        return "1"
    return f"`{layout.number}{ {0: '', 0.5: ' / sqrt(r)', 1: ' / r'}[layout.power] }`"


def last(name: str) -> str:
    """Return the last part of a stored name that says more than that it is a weight."""
    return name.removesuffix(".weight").split(".")[-1] if name != "linear.weight" else "weight"


def output_of(code: str, names: dict[str, Any]) -> str:
    """Run code in a namespace, and return what it prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        exec(compile(code, "docs/conventions.md", "exec"), names)
    return printed.getvalue()


def _written(section: Section, level: str, names: dict[str, Any]) -> list[str]:
    fenced = ["```python", section.code.rstrip("\n"), "```", ""]
    printed = ["```text", output_of(section.code, names).rstrip("\n"), "```", ""]
    text = fill(section.text, 100, break_long_words=False, break_on_hyphens=False)
    return [f"{level} {section.title}", "", text, "", *fenced, *printed]
