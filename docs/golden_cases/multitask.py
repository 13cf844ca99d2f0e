"""Several LoRA updates on one weight: their sum, a weighted sum, and a task for each row."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw
from lora_ref.layers import BASE, LoRALinear, MultiTaskLoRA


def multitask(
    x: Any,
    W0: Any,
    bias: Any,
    A: list[Any],
    B: list[Any],
    alpha: Any,
    grad_y: Any,
    weights: Any = (),
    task: Any = None,
) -> Values:
    """Return both passes; and the merged weight, where every row gets all tasks."""
    each = zip(A, B, map(float, alpha), strict=True)
    tasks = tuple(LoRALinear(W0, A_t, B_t, alpha_t, bias) for A_t, B_t, alpha_t in each)
    layer = MultiTaskLoRA(tasks, tuple(map(float, weights)))
    y, cache = layer.forward(x, task=task)
    grad_x, grads = layer.backward(grad_y, cache)
    found = {"y": y, "grad_x": grad_x}
    for factor in ("A", "B"):
        found[f"grad_{factor}"] = [grads[f"{t}.{factor}"] for t in range(len(tasks))]
    return found if task is not None else {**found, "merged_W": layer.merge().W}


def inputs(n: int, *ranks: int) -> Values:
    """Return two tasks from width 6 to width 4, n rows, and a gradient of y."""
    return {
        "x": draw(1, n, 6),
        "W0": draw(2, 4, 6),
        "bias": draw(3, 4),
        "A": [draw(4 + t, r, 6) for t, r in enumerate(ranks)],
        "B": [draw(6 + t, 4, r) for t, r in enumerate(ranks)],
        "alpha": np.array([3.0, 6.0]),
        "grad_y": draw(8, n, 4),
    }


def _factors_added(A: list[Any], B: list[Any], alpha: Any, **rest: Any) -> Values:
    r = len(A[0])
    scaled = sum(alpha[t] / r * B[t] for t in range(2))
    found = multitask(A=[sum(A)], B=[scaled], alpha=[r], **rest)
    return {name: found[name] for name in ("y", "grad_x", "merged_W")}


def _rank_of_the_first(A: list[Any], alpha: Any, **rest: Any) -> Values:
    return multitask(
        A=A, alpha=[a * len(A_t) / len(A[0]) for a, A_t in zip(alpha, A, strict=True)], **rest
    )


def _gradients_of_all_rows(task: Any, **rest: Any) -> Values:
    found = multitask(**rest)
    return {name: found[name] for name in ("grad_A", "grad_B")}


def _weights_forgotten_in_backward(weights: Any, **rest: Any) -> Values:
    found = multitask(**rest)
    return {name: found[name] for name in ("grad_x", "grad_A", "grad_B")}


SUM = (
    "T = range(len(A))",
    "s = [{weight}alpha[t] / len(A[t]) for t in T]",
    "merged_W = W0 + sum(s[t] * B[t] @ A[t] for t in T)",
    "y = x @ merged_W.T + bias",
    "grad_x = grad_y @ merged_W",
    "grad_A = [s[t] * (grad_y @ B[t]).T @ x for t in T]",
    "grad_B = [s[t] * grad_y.T @ (x @ A[t].T) for t in T]",
)

CASES = (
    Case(
        "multitask-sum",
        "Every row gets the sum of two updates of equal rank.",
        "multitask",
        tuple(line.format(weight="") for line in SUM),
        inputs(3, 2, 2),
        multitask,
        {
            "factors-added": Wrong(
                "The factors are added before they are multiplied, which mixes B of one task with "
                "A of the other.",
                _factors_added,
            ),
            "first-task-alone": Wrong(
                "The second task is left out.",
                lambda **given: multitask(weights=(1, 0), **given),
            ),
        },
    ),
    Case(
        "multitask-weighted",
        "Every row gets a weighted sum of two updates of different rank.",
        "multitask",
        tuple(line.format(weight="weights[t] * ") for line in SUM),
        {**inputs(5, 2, 3), "weights": np.array([0.5, -2.0])},
        multitask,
        {
            "weights-forgotten": Wrong(
                "The updates are added without their weights.",
                lambda weights, **rest: multitask(**rest),
            ),
            "weights-forgotten-in-backward": Wrong(
                "Backward adds the updates without their weights.", _weights_forgotten_in_backward
            ),
            "rank-of-the-first": Wrong(
                "Every alpha is divided by the rank of the first task.", _rank_of_the_first
            ),
        },
    ),
    Case(
        "multitask-rows",
        "Each row gets the update of a task of its own, and for -1 none.",
        "multitask",
        (
            "T = range(len(A))",
            "s = [alpha[t] / len(A[t]) for t in T]",
            "rows = [(task == t)[:, None] for t in T]",
            "y = x @ W0.T + sum(rows[t] * (s[t] * x @ A[t].T @ B[t].T) for t in T) + bias",
            "grad_x = grad_y @ W0 + sum(rows[t] * (s[t] * grad_y @ B[t] @ A[t]) for t in T)",
            "grad_A = [s[t] * (rows[t] * grad_y @ B[t]).T @ x for t in T]",
            "grad_B = [s[t] * (rows[t] * grad_y).T @ (x @ A[t].T) for t in T]",
        ),
        {**inputs(5, 2, 3), "task": np.array([1, BASE, 0, 1, 0])},
        multitask,
        {
            "base-is-the-last-task": Wrong(
                "-1 is taken for an index from the end, so these rows get the last task.",
                lambda task, **rest: multitask(task=task % 2, **rest),
            ),
            "first-row-for-all": Wrong(
                "All rows get the task of the first.",
                lambda task, **rest: multitask(task=np.full_like(task, task[0]), **rest),
            ),
            "gradients-of-all-rows": Wrong(
                "The gradients of a task's factors are summed over the rows of others too.",
                _gradients_of_all_rows,
            ),
        },
    ),
)
