"""LoRA: y, the gradients and the merged weight; plain, rank-stabilised, and with dropout."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw, known
from lora_ref.layers import LoRALinear


def lora(
    x: Any,
    W0: Any,
    A: Any,
    B: Any,
    alpha: float,
    bias: Any,
    rank_stabilized: bool,
    grad_y: Any,
    mask: Any = None,
    code: Any = LoRALinear,
) -> Values:
    """Return both passes and the merge of a layer."""
    layer = code(W0, A, B, alpha, bias, rank_stabilized)
    y, cache = layer.forward(x, mask=mask)
    grad_x, grads = layer.backward(grad_y, cache)
    merged = layer.merge()
    return {
        "y": y,
        "grad_x": grad_x,
        "grad_A": grads["A"],
        "grad_B": grads["B"],
        "merged_W": merged.W,
        "merged_bias": np.zeros_like(bias) if merged.bias is None else merged.bias,
    }


def inputs(n: int, k: int, d: int, r: int, rank_stabilized: bool = False) -> Values:
    """Return a layer of rank r from width k to width d, n rows, and a gradient of y."""
    return {
        "x": draw(1, n, k),
        "W0": draw(2, d, k),
        "A": draw(3, r, k),
        "B": draw(4, d, r),
        "alpha": 3.0,
        "bias": draw(5, d),
        "rank_stabilized": rank_stabilized,
        "grad_y": draw(6, n, d),
    }


def _bias_scaled(bias: Any, alpha: float, A: Any, **rest: Any) -> Values:
    return {"y": lora(bias=bias * alpha / len(A), alpha=alpha, A=A, **rest)["y"]}


def _by_columns(B: Any, **rest: Any) -> Values:
    return lora(B=B.ravel().reshape(B.shape, order="F"), **rest)


def formula(scaling: str, mask: str = "") -> tuple[str, ...]:
    """Return the formula with one of the scalings, and with what follows where x is dropped out."""
    return (
        f"s = {scaling}",
        f"seen = x{mask}",
        "h = seen @ A.T",
        "y = x @ W0.T + s * h @ B.T + bias",
        "grad_h = s * grad_y @ B",
        "grad_A = grad_h.T @ seen",
        "grad_B = s * grad_y.T @ h",
        f"grad_x = grad_y @ W0 + grad_h @ A{mask}",
        "merged_W = W0 + s * B @ A",
        "merged_bias = bias",
    )


CASES = (
    Case(
        "lora",
        "The output, the gradients of x, A and B, and the merged weight, away from B = 0.",
        "lora",
        formula("alpha / len(A)"),
        inputs(3, 5, 4, 2),
        lora,
        {
            **known(lora, "alpha-forgotten", "factors-swapped"),
            "B-by-columns": Wrong("The entries of B are read column by column.", _by_columns),
            "bias-scaled": Wrong("The bias is multiplied by alpha / r too.", _bias_scaled),
            **known(
                lora,
                "scaling-forgotten",
                "scaling-twice",
                "adapter-path-missing",
                "batch-divided-twice",
                "merge-without-scaling",
                "merged-twice",
                "merge-loses-bias",
            ),
        },
    ),
    Case(
        "lora-rank-stabilized",
        "The multiplier alpha / sqrt(r), here with r = 4.",
        "lora",
        formula("alpha / sqrt(len(A))"),
        inputs(2, 3, 5, 4, rank_stabilized=True),
        lora,
        {
            "root-forgotten": Wrong(
                "The multiplier is alpha / r, not alpha / sqrt(r).",
                lambda rank_stabilized, **rest: lora(rank_stabilized=False, **rest),
            ),
            **known(lora, "alpha-forgotten"),
        },
    ),
    Case(
        "lora-dropout",
        "A given dropout mask, 0 or 1 / (1 - p), on the low-rank branch alone.",
        "lora",
        formula("alpha / len(A)", " * mask"),
        {
            **inputs(3, 5, 4, 2),
            "mask": np.array([[2.0, 0, 2, 2, 0], [0, 0, 2, 0, 2], [2, 2, 0, 2, 0]]),
        },
        lora,
        {
            **known(lora, "dropout-on-the-base", "dropout-forgotten", "one-mask-for-the-batch"),
            "mask-left-out": Wrong(
                "Nothing is dropped, as in evaluation.",
                lambda mask, **rest: lora(**rest),
            ),
            "mask-not-enlarged": Wrong(
                "What is kept is not divided by 1 - p.",
                lambda mask, **rest: lora(mask=(mask > 0).astype(float), **rest),
            ),
        },
    ),
)
