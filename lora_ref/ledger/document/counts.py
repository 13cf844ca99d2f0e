"""Parameter counts: part one, section 3, and the counts of part two."""

from fractions import Fraction
from math import log
from typing import Any

import numpy as np

from lora_ref import counting
from lora_ref.counting import break_even_rank, full_params, lora_params
from lora_ref.layers import Linear, LoRALinear
from lora_ref.ledger.claim import Claim, Correction, Evidence, Law, Number, Shape, read_number
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import product
from lora_ref.worked import EXACT_A, EXACT_B, EXACT_W0


def _share(d: int, r: int) -> Fraction:
    return Fraction(lora_params(d, d, r), full_params(d, d))


def _trained(model: dict[str, Any]) -> int:
    """Count LoRA on `matrices` square projections in each of `layers` layers."""
    per_matrix = lora_params(model["width"], model["width"], model["r"])
    return int(model["layers"] * model["matrices"] * per_matrix)


def _model_counts(models: dict[str, dict[str, Any]]) -> Evidence:
    fell = all(
        model["total"] > 10**9 and 10**6 <= _trained(model) < 10**8 for model in models.values()
    )
    texts = [
        f"{name}: about {model['total'] / 10**9:g} billion to {_trained(model):,}"
        for name, model in models.items()
    ]
    return Evidence(fell, {"texts": "; ".join(texts)})


def _shares(models: dict[str, dict[str, Any]], d: int, r: int, low: str, high: str) -> Evidence:
    shares = {name: _trained(model) / model["total"] for name, model in models.items()}
    shares[f"one {d} x {d} matrix at r = {r}"] = float(_share(d, r))
    bottom, top = (float(read_number(text)[0]) for text in (low, high))
    inside = [bottom <= share <= top for share in shares.values()]
    outside = [
        f"{name} lies {'below' if share < bottom else 'above'} it"
        for name, share in shares.items()
        if not bottom <= share <= top
    ]
    numbers = {
        "texts": "; ".join(f"{name}: {share:.4%}" for name, share in shares.items()),
        "outside": ", ".join(outside) or "none lies outside",
    }
    return Evidence(all(inside), numbers, any(inside))


def _several_tasks(d: int, r: int, tasks: int) -> Evidence:
    shared = counting.several_tasks_params(d, d, r, tasks)
    separate = tasks * full_params(d, d)
    numbers = {"shared": shared, "separate": separate, "times": separate / shared}
    return Evidence(2 * shared < separate, numbers)


def _trained_by_full(out_features: int, in_features: int) -> Evidence:
    layer = Linear(np.ones((out_features, in_features)))
    count = sum(array.size for array in layer.trainable.values())
    return Evidence(count == in_features**2, {"count": count, "d": in_features})


def _trained_by_lora(out_features: int, in_features: int, r: int) -> Evidence:
    ones = np.ones
    layer = LoRALinear(
        ones((out_features, in_features)), ones((r, in_features)), ones((out_features, r)), 1
    )
    count = sum(array.size for array in layer.trainable.values())
    general = lora_params(in_features, out_features, r)
    numbers = {"count": count, "general": general, "d": in_features, "r": r}
    return Evidence(count == 2 * in_features * r, numbers)


def _growth(widths: tuple[int, ...], ranks: tuple[int, ...]) -> tuple[float, float]:
    """Exponents of the LoRA count in r, at one width, and in d, along widths and ranks."""
    d = widths[0]
    in_r = log(lora_params(d, d, 16) / lora_params(d, d, 8)) / log(2)
    first, last = (lora_params(d, d, r) for d, r in zip(widths, ranks, strict=True))
    return in_r, log(last / first) / log(widths[1] / widths[0])


def _linear_and_quadratic(widths: tuple[int, int], ranks: tuple[int, int]) -> Evidence:
    in_r, in_d = _growth(widths, ranks)
    holds = abs(in_r - 1) < 1e-9 and abs(in_d - 2) < 1e-9
    return Evidence(holds, {"in_r": in_r, "in_d": in_d})


def _extra_cost(d: int, ranks: tuple[int, ...]) -> Evidence:
    base = counting.merged_multiply_adds(d, d, n=1).forward
    extra = [(counting.lora_multiply_adds(d, d, r, n=1).forward - base) / base for r in ranks]
    text = ", ".join(f"r = {r}: {share:.2%}" for r, share in zip(ranks, extra, strict=True))
    return Evidence(max(extra) < 0.1, {"text": text}, min(extra) < 0.1)


def _cost_formula(d: int, ranks: tuple[int, ...]) -> Evidence:
    base = counting.merged_multiply_adds(d, d, n=1).forward
    extra = [counting.lora_multiply_adds(d, d, r, n=1).forward - base for r in ranks]
    half = counting.lora_multiply_adds(d, d, d // 2, n=1).forward - base
    right = all(e == 2 * d * r for e, r in zip(extra, ranks, strict=True)) and half == base
    return Evidence(right, {"half": d // 2, "cost": half})


def _sources(models: dict[str, dict[str, Any]], **given: Any) -> dict[str, str]:
    return {"sources": "; ".join(f"{name} ({m['source']})" for name, m in models.items())}


_MODELS = {
    "a 7B model, r = 8 on q and v": {
        "total": 6_700_000_000, "width": 4096, "layers": 32, "matrices": 2, "r": 8,
        "source": "LLaMA, Touvron et al., 2023, arXiv 2302.13971, Table 2",
    },
    "GPT-3, r = 1 on q and v": {
        "total": 175_000_000_000, "width": 12288, "layers": 96, "matrices": 2, "r": 1,
        "source": "Hu et al., 2021, arXiv 2106.09685",
    },
}  # fmt: skip

_LARGE = {"d": 1024, "r": 8}


def _sizes(A: Any, B: Any, W0: Any) -> tuple[int, int, int, int]:
    """Return the sizes of A and of B, both, and what they save of W0."""
    return A.size, B.size, A.size + B.size, W0.size - A.size - B.size


CLAIMS = (
    Claim(
        id="count-4x4",
        where=sections.EFFICIENCY,
        says="W0 has 4 x 4 = 16 parameters",
        statement=Number("16", lambda W0: full_params(*W0.shape)),
        given={"W0": EXACT_W0},
    ),
    Claim(
        id="count-lora-4",
        where=sections.EFFICIENCY,
        says="A has 8, B has 8, together 16: no saving at d = 4, r = 2",
        statement=Number(("8", "8", "16", "0"), _sizes),
        given={"A": EXACT_A, "B": EXACT_B, "W0": EXACT_W0},
        shown=lambda A, B, W0: {"limit": break_even_rank(A.shape[1], B.shape[0])},
        why="the break-even rank d_in d_out / (d_in + d_out) is {limit}",
    ),
    Claim(
        id="count-1024",
        where=sections.EFFICIENCY,
        says="1024 x 1024 = 1,048,576 parameters",
        statement=Number("1,048,576", lambda d, r: full_params(d, d)),
        given=_LARGE,
    ),
    Claim(
        id="count-lora-1024",
        where=sections.EFFICIENCY,
        says="1024 x 8 + 8 x 1024 = 16,384 LoRA parameters",
        statement=Number("16,384", lambda d, r: lora_params(d, d, r)),
        given=_LARGE,
    ),
    Claim(
        id="ratio-1024",
        where=sections.EFFICIENCY,
        says="16384 / 1048576 = 1.56 %",
        statement=Number("1.56 %", _share),
        given=_LARGE,
    ),
    Claim(
        id="billions-to-millions",
        where=sections.ESSENCE,
        says="trainable parameters fall from several billions to millions",
        statement=Law(_model_counts, "{texts}"),
        given={"models": _MODELS},
        shown=_sources,
        why="models: {sources}",
    ),
    Claim(
        id="share-range",
        where=sections.ESSENCE,
        says="usually 0.01 % to 1 % of the model",
        statement=Law(_shares, "{texts}"),
        given={"models": _MODELS, **_LARGE, "low": "0.01 %", "high": "1 %"},
        correction=Correction(
            "of one square matrix the share is 2r/d, here {printed}; of a model it depends on the "
            "rank, on the width, and on which matrices get an update",
            Number("1.56 %", lambda models, d, r, low, high: _share(d, r)),
        ),
        why="true of some settings; {outside}. Models: {sources}",
        shown=_sources,
    ),
    Claim(
        id="ab-size",
        where=sections.DECOMPOSITION,
        says="A (r x d) times B (d x r) is d x d",
        statement=Shape((1024, 1024), lambda d, r: product(np.ones((r, d)), np.ones((d, r)))),
        given=_LARGE,
        correction=Correction(
            "B (d x r) times A (r x d) is {value}",
            Shape((1024, 1024), lambda d, r: product(np.ones((d, r)), np.ones((r, d)))),
        ),
        why="the inner axes are summed away and the outer ones stay",
    ),
    Claim(
        id="saving-98",
        where=sections.DECOMPOSITION,
        says="98.4 % fewer parameters at d = 1024, r = 8",
        statement=Number("98.4 %", lambda d, r: 1 - _share(d, r)),
        given=_LARGE,
    ),
    Claim(
        id="multi-task-count",
        where=sections.TASKS,
        says="W0 + T x 2dr parameters, far less than T models",
        statement=Law(_several_tasks, "{shared:,} against {separate:,}"),
        given={**_LARGE, "tasks": 10},
        why="{times:.2f} times fewer",
    ),
    Claim(
        id="full-count",
        where=sections.COMPARISON,
        says="full fine-tuning trains d^2 parameters of a weight",
        statement=Law(_trained_by_full, "{count} at d = {d}"),
        given={"out_features": 12, "in_features": 12},
        why="d_out d_in in general",
    ),
    Claim(
        id="lora-count",
        where=sections.COMPARISON,
        says="LoRA trains 2dr",
        statement=Law(_trained_by_lora, "{count} at d = {d}, r = {r}"),
        given={"out_features": 12, "in_features": 12, "r": 3},
        why="r (d_in + d_out) = {general} in general",
    ),
    Claim(
        id="linear-in-r-quadratic-in-d",
        where=sections.COMPARISON,
        says="the parameter count is linear in r and quadratic in d",
        statement=Law(_linear_and_quadratic, "exponent {in_r:.0f} in r and {in_d:.0f} in d"),
        given={"widths": (512, 1024), "ranks": (8, 8)},
        correction=Correction(
            "the count 2dr is linear in d too, with exponent {printed}; d^2 is the full matrix",
            Number("1.00", lambda widths, ranks: _growth(widths, (ranks[0], ranks[0]))[1]),
        ),
        why="doubling d doubles both factors' sizes",
    ),
    Claim(
        id="forward-cost",
        where=sections.COMPARISON,
        says="the forward pass costs only O(2dr) more, far below O(d^2)",
        statement=Law(_extra_cost, "{text} more multiply-adds"),
        given={"d": 1024, "ranks": (8, 512)},
        correction=Correction(
            "2dr more: little for r far below d/2, and as much as W0 itself ({cost:,}) "
            "at r = {half}",
            Law(_cost_formula, ""),
        ),
        why="the condition on r is left out; after a merge nothing is added at all",
    ),
)
