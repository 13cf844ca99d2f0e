"""The page of the exercises for teachers: each with the wrong answers that it recognizes."""

from collections.abc import Mapping, Sequence

from lora_ref.claims.layout import escape
from lora_ref.exercises.exercise import Exercise, in_words

RESULTS: Mapping[str, str] = {
    "right": "as the specification, for seven inputs of random sizes and values",
    "not-attempted": "the body is empty, three dots, or raises NotImplementedError",
    "missing": "in a file: there is no function of the exercise's name",
    "no-function": "a value was handed in, not a function",
    "signature": "the function takes other arguments, or the same ones in another order",
    "ruled-out": "it uses what the task rules out, such as a loop, or forms what it may not",
    "the-specification": "a copy of the loops, which are right and slow",
    "raises": "it raises an error, which is quoted with the shapes that led to it",
    "square-only": "it raises an error, and where all sides are equal it would be right",
    "changed-input": "it writes to an array or a list that it was given, right or not",
    "returns-nothing": "nothing is returned, for all inputs or for some",
    "kind": "a text for a number, a fraction for a whole number, one value for two",
    "not-finite": "a NaN or an infinity",
    "order": "the right values in another order",
    "transpose": "the transpose of the right answer",
    "shape-transposed": "the shape of the transpose, with other numbers",
    "shape": "another shape; nothing is broadcast",
    "sign": "right but for the sign",
    "times-alpha/r, times-n, ...": "so many times the right answer",
    "over-alpha/r, over-n, ...": "the right answer is so many times this one",
    "factor": "right up to a factor without a name, the same for all inputs",
    "named-factor": "right up to a factor that is made of sizes or arguments, and named",
    "factor-varies": "right up to a factor that differs from one input to the next",
    "constant": "the same number for all inputs",
    "other-argument": "right if one argument were another, such as r + 1 for r",
    "changed-result": "the right answer, changed afterwards: its square, its opposite, ...",
    "added": "the right answer, plus or minus an argument",
    "batch-of-one": "right only for batch size 1",
    "precision": "right to a few digits: float32, rounding, a difference quotient",
    "sometimes-right": "right for some inputs; the first that is wrong is shown",
    "value": "none of these: the entry that is farthest off is shown, beside the specification's",
    "not-repeatable": "what it returns depends on more than its arguments",
    "broken": "in a file: the function is lost, because the file or its cell fails",
    "timed-out": "in a file: it does not end within the time limit",
    "crashed": "in a file: it ends Python",
}
"""The results of any exercise, in the order in which they are looked for."""

INTRODUCTION = """\
# The exercises, and the wrong answers that each recognises

Written by `python docs/build.py`; do not edit. The formulas to find are not here.

{count} exercises stand in the [notebooks](../notebooks). Each has a task, a specification in
plain loops, and a check: `check("grad-A", grad_A)` calls the student's function with random sizes
and values, where no matrix is square, and says what is wrong. Without notebooks:

```sh
lora-ref exercises                        # the list
lora-ref exercises grad-A                 # a task
lora-ref exercises count --loops          # one whose loops give its formula away, with them
lora-ref exercises --stubs > answers.py   # a file to fill in
lora-ref exercises --check answers.py     # its grades; or those of a folder of files and notebooks
```

Each file runs in a process of its own with a time limit. **That is no sandbox**: a file can do
whatever you can, and forge its grades, by patching NumPy or the exercise or by writing into its
report. `--json` prints the results by the names below. The exit status is 0 if something
was attempted, and all of that is right.

Most have a question, to be answered before anything is written, and hints: `hint("grad-A", 1)` is
the first; none gives the answer.

## The results of every exercise

| result | means |
|---|---|
"""


def as_markdown(exercises: Sequence[Exercise]) -> str:
    """Return the page: the results of every exercise, and the wrong answers of each."""
    lines = [
        *(f"| `{name}` | {escape(meaning)} |" for name, meaning in RESULTS.items()),
        "",
        "An exercise's own wrong answers, below, are looked for before shapes, factors and values.",
    ]
    for one in exercises:
        lines += [
            f"\n## {one.id}: {one.title}\n",
            f"Notebook {one.notebook}, `{one.signature.removeprefix('def ').removesuffix(':')}`.\n",
            *_asked(one),
            "| result | message |\n|---|---|",
        ]
        for name, wrong in one.wrong_answers.items():
            lines.append(f"| `{name}` | {escape(wrong.message)} |")
    return INTRODUCTION.format(count=len(exercises)) + "\n".join(lines) + "\n"


def _asked(one: Exercise) -> list[str]:
    """Return what is asked and ruled out, and how many hints there are; no answer."""
    lines = []
    if one.question:
        lines.append(f"Before you write: {escape(one.question)}\n")
    if one.hints:
        numbers = ", ".join(str(i) for i in range(1, len(one.hints) + 1))
        lines.append(f"Hints: {numbers}.\n")
    if one.without:
        lines.append(f"Without {in_words(one.without, 'and')}.\n")
    if one.folded:
        lines.append("Its loops are shown on demand alone.\n")
    return lines
