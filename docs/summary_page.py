"""The summary on two printed sides: shapes, formulas, costs and ten misconceptions."""

from collections.abc import Mapping, Sequence

from lora_ref import counting
from lora_ref.claims import article, judge
from lora_ref.claims.layout import escape
from lora_ref.counting import LoRA, count_parameters, get_model
from lora_ref.figures import memories
from lora_ref.figures.registry import ATTENTION, RANK

WIDTH, FEW, MANY = 4096, 512, 65_536
"""The weight of the table of costs, and its rows of x."""

FORMULAS: Mapping[str, tuple[str, str]] = {
    "y": ("the output", "x @ W0.T + s * (x @ A.T) @ B.T"),
    "delta_w": ("the update, of rank r at most", "s * B @ A"),
    "W": ("the merged weight", "W0 + s * B @ A"),
    "grad_B": ("the gradient of B", "s * grad_y.T @ (x @ A.T)"),
    "grad_A": ("the gradient of A", "s * B.T @ grad_y.T @ x"),
    "grad_x": ("the gradient of x", "grad_y @ W0 + s * (grad_y @ B) @ A"),
}
"""What is computed, by name, in words and as NumPy; a test compares each with `LoRALinear`."""

SHAPES: Sequence[tuple[str, str, tuple[str, ...]]] = (
    ("x", "input, a token in each row", ("n", "in")),
    ("W0", "pretrained weight, frozen", ("out", "in")),
    ("A", "trained; random at the start", ("r", "in")),
    ("B", "trained; zero at the start", ("out", "r")),
    ("y, grad_y", "output, and the gradient of the loss by it", ("n", "out")),
)
"""Letters, what they are, and their shapes."""

SIZES = {"n": FEW, "in": 768, "out": 3072, "r": RANK}
"""An example: the layer of GPT-2 small that widens each row."""

MISCONCEPTIONS: Mapping[str, str] = {
    "delta-order": "The update is A B, where A is (r, in) and B (out, r).",
    "factors-low-rank": "A and B are matrices of low rank.",
    "w-low-rank": "W0 + B A has low rank.",
    "r-dim-subspace": "The updates of rank r form a subspace of dimension r.",
    "alpha-is-strength": "alpha is the strength of the update.",
    "grad-isolation": "A frozen weight has gradient zero.",
    "b-zero-init": "B begins at zero, so early training does not change the output.",
    "lora-keeps": "W0 is frozen, so nothing can be forgotten.",
    "linear-in-r-quadratic-in-d": "The trained parameters grow with the square of the width.",
    "tiny-compute": "LoRA trains at a tiny computing cost.",
}
"""What is often said, by the claim of the article that says it."""

INTRODUCTION = """\
# LoRA on two sides

Written by `python docs/build.py`; do not edit. Every number is computed, every formula is run by a
test, and `s` is the scaling `alpha / r` (`alpha / sqrt(r)` in rsLoRA).
"""

START = """\
At the start B is zero. So the output is that of W0, whatever A and alpha are, and the gradient of A
is zero while that of B is not. W0 has a gradient too: it is not needed, and not computed.
"""

BALANCE = """\
LoRA divided by full fine-tuning, for a weight of d x d with trained layers below it. **It saves**
gradients, optimiser states, up to a third of such a step, and the file of each task. **It saves**
no weights, and no activations where it is put: A needs x, a frozen weight without A does not. Its
forward pass costs more until A and B are merged. Below the lowest adapter nothing goes back.
"""


def as_markdown() -> str:
    """Return the page."""
    return "\n".join(
        [
            INTRODUCTION,
            "## Shapes and formulas\n",
            *_shapes(),
            "",
            *_formulas(),
            "",
            START,
            "## When it saves\n",
            BALANCE,
            *_costs(),
            "",
            *_models(),
            "",
            "## Ten things that are often said, and are not so\n",
            *_misconceptions(),
            "",
            "Notebooks [02](../notebooks/02-find-the-rank.ipynb) to "
            "[04](../notebooks/04-derive-and-check-the-gradients.ipynb), "
            "[12](../notebooks/12-count-what-it-costs.ipynb) and "
            "[13](../notebooks/13-judge-the-textbook.ipynb) compute most of them in view.",
            "",
        ]
    )


def _shapes() -> list[str]:
    example = ", ".join(f"{name} = {size}" for name, size in SIZES.items())
    lines = [f"| letter | is | shape | at {example} | numbers |", "|---|---|---|---|---:|"]
    for letter, meaning, axes in SHAPES:
        first, second = (SIZES[axis] for axis in axes)
        shape = f"{first} x {second} | {first * second:,}"
        lines.append(f"| `{letter}` | {meaning} | `({', '.join(axes)})` | {shape} |")
    return lines


def _formulas() -> list[str]:
    rows = [f"| {words} | `{name} = {code}` |" for name, (words, code) in FORMULAS.items()]
    return ["| what | in NumPy |", "|---|---|", *rows]


def _costs() -> list[str]:
    lora = counting.lora_multiply_adds(WIDTH, WIDTH, RANK, n=1)
    full = counting.full_multiply_adds(WIDTH, WIDTH, n=1)
    merged = counting.merged_multiply_adds(WIDTH, WIDTH, n=1)
    few, many = (
        counting.lora_bytes(WIDTH, WIDTH, RANK, n=n).total
        / counting.full_bytes(WIDTH, WIDTH, n=n).total
        for n in (FEW, MANY)
    )
    trained = counting.lora_params(WIDTH, WIDTH, RANK) / counting.full_params(WIDTH, WIDTH)
    even = float(counting.break_even_rank(WIDTH, WIDTH))
    rows = (
        ("trained numbers", "2 r / d", trained, f"r = d/2 = {even:,.0f}"),
        ("a step", "2/3 + 2 r / d", lora.total / full.total, f"r = d/6 = {even / 3:,.1f}"),
        ("a forward pass", "1 + 2 r / d", lora.forward / full.forward, "no rank"),
        ("a forward pass, merged", "1", merged.forward / full.forward, "every rank"),
        (f"memory, {FEW:,} rows", "float32 and AdamW", few, ""),
        (f"memory, {MANY:,} rows", "float32 and AdamW", many, ""),
    )
    head = f"| | | at d = {WIDTH:,}, r = {RANK} | as much at |"
    body = [f"| {what} | {how} | {value:.3f} | {at} |" for what, how, value, at in rows]
    return [head, "|---|---|---:|---|", *body]


def _models() -> list[str]:
    lines = [
        f"| r = {RANK} on queries and values | trained | of the model | full, GB | LoRA, GB |"
        " QLoRA, GB |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name, targets in ATTENTION.items():
        model = get_model(name)
        counted = count_parameters(model, LoRA(RANK, targets))
        held = [f"{one.total / 1e9:,.1f}" for one in memories(model, RANK, targets).values()]
        share = f"{100 * counted.trainable / model.total:.3f} %"
        lines.append(f"| {model.title} | {counted.trainable:,} | {share} | {' | '.join(held)} |")
    return [
        *lines,
        "",
        "Weights and gradients in bfloat16, AdamW's moments in float32, activations left out.",
    ]


def _misconceptions() -> list[str]:
    lines = ["| said | what is right | why |", "|---|---|---|"]
    for id, sentence in MISCONCEPTIONS.items():
        judged = judge(article().claim(id))
        cells = (sentence, judged.correction, judged.reason)
        lines.append(f"| {' | '.join(escape(str(text)) for text in cells)} |")
    return lines
