"""Part two: the forward pass and the scaling factor."""

from itertools import pairwise
from typing import Any

import numpy as np

from lora_ref.arrays import Array
from lora_ref.counting import forming_multiply_adds
from lora_ref.layers import LoRALinear
from lora_ref.ledger.claim import Claim, Correction, Evidence, Law, Shape, Unsupported
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import (
    drawn_layer,
    floats,
    norm,
    product,
    unless_rounding,
)
from lora_ref.lowrank import numerical_rank
from lora_ref.worked import ALPHA, EXACT_A, EXACT_B, EXACT_W0, EXACT_X


def _split(W0: Any, A: Any, B: Any, x: Any, alpha: float, terms: tuple[str, ...]) -> Evidence:
    scaling = alpha / len(A)
    parts = {"W0 x": W0 @ x, "(alpha/r) B (A x)": scaling * (B @ (A @ x))}
    h = sum(floats(parts[term]) for term in terms)
    merged = floats(W0 + scaling * product(B, A)) @ floats(x)
    difference = norm(h - merged) / norm(merged)
    return Evidence(difference < 1e-12, {"difference": unless_rounding(difference)})


def _two_steps(A: Any, B: Any, x: Any, r: int) -> Evidence:
    h_low = product(A, x)
    h_high = product(B, h_low)
    holds = h_low.shape == (r,) and h_high.shape == x.shape
    d, made = len(x), len(h_low)
    numbers = {
        "path": f"{d} -> {made} -> {len(h_high)}",
        "cost": d * made + made * len(h_high),
        "formed": forming_multiply_adds(d, len(h_high), made) + d * len(h_high),
    }
    return Evidence(holds, numbers)


def _rank_bound(r: int, bound: int) -> Evidence:
    rng = np.random.default_rng(0)
    ranks = [
        numerical_rank(rng.standard_normal((9, r)) @ rng.standard_normal((r, 12)))
        for _ in range(50)
    ]
    return Evidence(max(ranks) <= bound, {"largest": max(ranks), "tried": len(ranks), "r": r})


def _disturbance(B: Any, alpha: float) -> tuple[float, Array]:
    """Return the relative change of y at the start, and the gradient of B there."""
    drawn, x = drawn_layer(r=B.shape[1])
    layer = LoRALinear(drawn.W0, drawn.A, B, alpha)
    y, cache = layer.forward(x)
    base, grad_y = x @ layer.W0.T, np.random.default_rng(1).standard_normal(y.shape)
    return norm(y - base) / norm(base), layer.backward(grad_y, cache)[1]["B"]


def _guards_start(B: Any, alphas: tuple[float, ...]) -> Evidence:
    found = [_disturbance(B, alpha)[0] for alpha in alphas]
    less = all(a < b for a, b in pairwise(found))
    numbers = {"found": found, "alphas": alphas}
    return Evidence(less, {k: ", ".join(f"{value:g}" for value in v) for k, v in numbers.items()})


def _scales_gradient(B: Any, alphas: tuple[float, ...]) -> Evidence:
    at = [_disturbance(B, alpha) for alpha in alphas]
    none = all(change == 0 for change, _ in at)
    unit = at[0][1] / alphas[0]
    linear = all(
        np.allclose(grad, alpha * unit) for (_, grad), alpha in zip(at, alphas, strict=True)
    )
    return Evidence(none and linear, {})


def _alpha_is_r(
    conventions: dict[str, tuple[int, float, str]], equal: tuple[tuple[int, float], ...]
) -> Evidence:
    same = [alpha == r for r, alpha, _ in conventions.values()]
    texts = [f"{name}: {alpha:g} at r = {r}" for name, (r, alpha, _) in conventions.items()]
    sources = ", ".join(source for _, _, source in conventions.values())
    return Evidence(all(same), {"texts": "; ".join(texts), "sources": sources}, any(same))


def _only_scaling_enters(
    conventions: dict[str, tuple[int, float, str]], equal: tuple[tuple[int, float], ...]
) -> Evidence:
    """Compare layers of several r and alpha, the factors filled up with zeros."""
    drawn, x = drawn_layer()
    outputs = []
    for r, alpha in equal:
        A, B = np.zeros((r, 7)), np.zeros((5, r))
        A[:2], B[:, :2] = drawn.A, drawn.B
        outputs.append(LoRALinear(drawn.W0, A, B, alpha).forward(x)[0])
    gap = max(norm(y - outputs[0]) / norm(outputs[0]) for y in outputs)
    settings = " and ".join(f"alpha = {alpha:g} at r = {r}" for r, alpha in equal)
    return Evidence(gap < 1e-12, {"gap": unless_rounding(gap), "settings": settings})


def _alpha_direction(B: Any, A: Any, alphas: tuple[float, ...]) -> Evidence:
    weight = np.zeros((len(B), A.shape[1]))
    norms = [norm(LoRALinear(weight, floats(A), floats(B), a).delta_w) for a in alphas]
    rises = all(low < high for low, high in pairwise(norms))
    linear = np.allclose(np.array(norms) / np.array(alphas), norms[0] / alphas[0])
    text = ", ".join(f"{n:.3f} at alpha = {a:g}" for n, a in zip(norms, alphas, strict=True))
    return Evidence(bool(rises and linear), {"text": text})


def _gradient_sizes(ranks: tuple[int, ...], rank_stabilised: bool) -> list[float]:
    """Return norms of the first gradient of B at fixed alpha, entries of A of unit variance."""
    rng = np.random.default_rng(0)
    x, grad_y = rng.standard_normal((16, 64)), rng.standard_normal((16, 48))
    sizes = []
    for r in ranks:
        A = rng.standard_normal((r, 64))
        zero = np.zeros((48, r))
        layer = LoRALinear(np.zeros((48, 64)), A, zero, 16, rank_stabilised=rank_stabilised)
        sizes.append(norm(layer.backward(grad_y, layer.forward(x)[1])[1]["B"]))
    return sizes


def _balances_gradient(ranks: tuple[int, ...], other: bool) -> Evidence:
    plain, stable = _gradient_sizes(ranks, False), _gradient_sizes(ranks, other)

    def spread(sizes: list[float]) -> float:
        return max(sizes) / min(sizes)

    numbers = {
        "plain": spread(plain),
        "stable": spread(stable),
        "ranks": ", ".join(map(str, ranks)),
    }
    return Evidence(spread(plain) < 1.2, numbers, spread(stable) < 1.2)


def _falls_with_root(ranks: tuple[int, ...], other: bool) -> Evidence:
    """Whether sqrt(r) times the plain gradient, and the other one itself, stay as they are."""
    plain = _gradient_sizes(ranks, False)
    roots = [float(np.sqrt(r)) * size for r, size in zip(ranks, plain, strict=True)]
    steady = _balances_gradient(ranks, other).with_condition
    return Evidence(max(roots) / min(roots) < 1.2 and steady, {})


_EXAMPLE = {"A": EXACT_A, "B": EXACT_B, "x": EXACT_X}
_CONVENTIONS = {
    "the authors' RoBERTa script": (8, 16.0, "microsoft/LoRA examples/NLU/roberta_base_mnli.sh"),
    "the authors' DeBERTa script": (
        16,
        32.0,
        "microsoft/LoRA examples/NLU/deberta_v2_xxlarge_mnli.sh",
    ),
    "PEFT's defaults": (8, 8.0, "huggingface/peft src/peft/tuners/lora/config.py"),
}

CLAIMS = (
    Claim(
        id="forward-order",
        where=sections.COMBINATION,
        says="h_2 = (alpha/r) A B x",
        statement=Shape((4,), lambda A, B, x: product(A, B, x)),
        given=_EXAMPLE,
        correction=Correction(
            "h_2 = (alpha/r) B (A x) is {value}",
            Shape((4,), lambda A, B, x: product(B, product(A, x))),
        ),
        why="A B x is undefined for x of d entries; two sections later the article has it right",
    ),
    Claim(
        id="forward-split",
        where=sections.COMBINATION,
        says="h = h_1 + h_2 with h_1 = W0 x",
        statement=Law(_split, "difference from (W0 + s B A) x: {difference}"),
        given={"W0": EXACT_W0, **_EXAMPLE, "alpha": ALPHA, "terms": ("W0 x", "(alpha/r) B (A x)")},
        why="with h_2 = (alpha/r) B (A x)",
    ),
    Claim(
        id="two-steps",
        where=sections.ALGEBRA,
        says="h_low = A x goes from d to r, h_high = B h_low from r to d",
        statement=Law(_two_steps, "{path}"),
        given={**_EXAMPLE, "r": 2},
        why="{cost} multiply-adds; forming B A first and then multiplying x takes {formed}",
    ),
    Claim(
        id="rank-bound",
        where=sections.ALGEBRA,
        says="the rank of the update is at most r",
        statement=Law(_rank_bound, "largest rank of {tried} random products at r = {r}: {largest}"),
        given={"r": 3, "bound": 3},
    ),
    Claim(
        id="scaling-guards-init",
        where=sections.SCALING,
        says="alpha/r keeps the random A and B from too large a disturbance at the start",
        statement=Law(_guards_start, "change of the output at alpha = {alphas}: {found}"),
        given={"B": np.zeros((5, 2)), "alphas": (1.0, 16.0, 1024.0)},
        correction=Correction(
            "B = 0, so the disturbance is exactly 0 for every alpha; alpha/r scales the update and "
            "its gradient",
            Law(_scales_gradient, ""),
        ),
        why="at the start B is zero, not random; from the first step on, alpha/r does set the size "
        "of the change",
    ),
    Claim(
        id="alpha-usually-r",
        where=sections.SCALING,
        says="usually alpha = r",
        statement=Law(_alpha_is_r, "{texts}"),
        given={"conventions": _CONVENTIONS, "equal": ((2, 4.0), (8, 16.0))},
        correction=Correction(
            "one convention among others; of alpha and r only alpha/r enters: with the same "
            "factors {settings} give the same output, {gap} apart",
            Law(_only_scaling_enters, ""),
        ),
        why="true of some defaults ({sources})",
    ),
    Claim(
        id="alpha-direction",
        where=sections.SCALING,
        says="alpha > r strengthens the update, alpha < r weakens it",
        statement=Law(_alpha_direction, "norm of the update {text}"),
        given={"A": EXACT_A, "B": EXACT_B, "alphas": (1.0, 2.0, 4.0)},
        why="linear in alpha",
    ),
    Claim(
        id="alpha-gradient",
        where=sections.SCALING,
        says="alpha/r balances the size of the gradient",
        statement=Law(
            _balances_gradient,
            "over r = {ranks} the first gradient of B varies {plain:.1f}-fold under alpha/r and "
            "{stable:.2f}-fold under alpha/sqrt(r)",
        ),
        given={"ranks": (4, 16, 64), "other": True},
        correction=Correction(
            "at fixed alpha it falls as 1/sqrt(r) under alpha/r and stays under alpha/sqrt(r), "
            "the rank-stabilised scaling (arXiv 2312.03732)",
            Law(_falls_with_root, ""),
        ),
        why="balanced under another multiplier than the one given",
    ),
    Claim(
        id="qlora-alpha",
        where=sections.SCALING,
        says="in QLoRA alpha is often tuned to balance quantisation error and fit to the task",
        statement=Unsupported(
            "QLoRA trains a LoRA over a frozen weight in 4-bit NormalFloat; the quantisation error "
            "is in the frozen weight, which alpha does not touch",
            "Dettmers et al., 2023, arXiv 2305.14314",
        ),
    ),
)
