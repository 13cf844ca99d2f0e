"""Part two, section 7 on: several tasks, the table of methods, and what is promised of LoRA."""

from typing import Any

import numpy as np

from lora_ref import counting
from lora_ref.arrays import Array
from lora_ref.layers import LoRALinear
from lora_ref.ledger.claim import (
    Claim,
    Correction,
    Evidence,
    Law,
    Measured,
    Shape,
    Unsupported,
)
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import added, drawn_layer, norm, product


def _tasks(ranks: tuple[int, ...]) -> tuple[Array, list[LoRALinear], Array]:
    """Return W0, one layer a task on it, and rows for them."""
    drawn, x = drawn_layer()
    adapters = [drawn_layer(seed=t + 1, r=r)[0] for t, r in enumerate(ranks)]
    return drawn.W0, [LoRALinear(drawn.W0, a.A, a.B, a.alpha) for a in adapters], x


def _sum_as_printed(ranks: tuple[int, ...]) -> Any:
    W, layers, _ = _tasks(ranks)
    for layer in layers:
        W = added(W, layer.scaling * product(layer.A, layer.B))
    return W


def _sum_has_all_on(ranks: tuple[int, ...]) -> Evidence:
    W, layers, x = _tasks(ranks)
    for layer in layers:
        W = added(W, layer.scaling * product(layer.B, layer.A))
    alone = [layer.forward(x)[0] for layer in layers]
    away = min(norm(x @ W.T - y) / norm(y) for y in alone)
    return Evidence(away > 0.01, {"away": away, "tasks": len(layers)})


def _switches(ranks: tuple[int, ...], retrained: float) -> Evidence:
    W0, layers, x = _tasks(ranks)
    first = layers[0].forward(x)[0]
    others = [layer.forward(x)[0] for layer in layers[1:]]
    again = LoRALinear(W0 + retrained, layers[0].A, layers[0].B, layers[0].alpha).forward(x)[0]
    differ = all(not np.array_equal(first, other) for other in others)
    return Evidence(differ and np.array_equal(first, again), {"tasks": len(layers)})


def _adapter(x: Array, W_down: Array, W_up: Array) -> Any:
    h = np.maximum(x @ W_down.T, 0.0)
    return h @ W_up.T


def _drawn_adapter(d: int, m: int) -> tuple[Array, Array, Array, Array]:
    """Return a frozen square weight, rows, and the two matrices of a bottleneck."""
    rng = np.random.default_rng(0)
    W0, x = rng.standard_normal((d, d)), rng.standard_normal((4, d))
    return W0, x, rng.standard_normal((m, d)), rng.standard_normal((d, m))


def _adapter_as_printed(d: int, m: int) -> Any:
    W0, x, W_down, W_up = _drawn_adapter(d, m)
    return added(W0, _adapter(x, W_down, W_up)[0])


def _adapter_acts_on_activations(d: int, m: int) -> Evidence:
    W0, x, W_down, W_up = _drawn_adapter(d, m)
    h = added(x @ W0.T, _adapter(x, W_down, W_up))
    biases = m + d
    return Evidence(
        h.shape == x.shape and counting.adapter_params(d, m) == W_down.size + W_up.size + biases,
        {"count": counting.adapter_params(d, m), "d": d, "m": m},
    )


def _attached_and_detached(before: Array, attached: Array, detached: Array) -> Evidence:
    moved = norm(attached - before) / norm(before)
    return Evidence(
        np.array_equal(attached, before), {"moved": moved}, np.array_equal(detached, before)
    )


def _lora_keeps(B: Array) -> Evidence:
    drawn, x = drawn_layer()
    layer = LoRALinear(drawn.W0, drawn.A, B, drawn.alpha)
    off = LoRALinear(layer.W0, layer.A, np.zeros_like(B), drawn.alpha)
    return _attached_and_detached(x @ drawn.W0.T, layer.forward(x)[0], off.forward(x)[0])


def _lora_restores(B: Array) -> Evidence:
    found = _lora_keeps(B)
    return Evidence(found.with_condition, found.numbers)


def _adapter_keeps(up: float, d: int, m: int) -> Evidence:
    W0, x, W_down, W_up = _drawn_adapter(d, m)
    before = x @ W0.T
    attached = before + _adapter(before, W_down, up * W_up)
    detached = before + _adapter(before, W_down, 0 * W_up)
    return _attached_and_detached(before, attached, detached)


def _adapter_restores(up: float, d: int, m: int) -> Evidence:
    found = _adapter_keeps(up, d, m)
    return Evidence(found.with_condition, found.numbers)


_RANKS = {"ranks": (2, 3, 4)}

CLAIMS: tuple[Claim, ...] = (
    Claim(
        id="multi-task-sum",
        where=sections.TASKS,
        says="W = W0 + sum_t (alpha_t/r_t) A_t B_t",
        statement=Shape((5, 7), _sum_as_printed),
        given=_RANKS,
        correction=Correction(
            "W = W0 + sum_t (alpha_t/r_t) B_t A_t, which has all {tasks} tasks on at once: its "
            "output is at least {away:.0%} away from that of each task alone. Switching keeps "
            "one term",
            Law(_sum_has_all_on, ""),
        ),
        why="B_t A_t is out x in; A_t B_t is r_t x r_t, or undefined where d_in and d_out differ",
    ),
    Claim(
        id="multi-task-switch",
        where=sections.TASKS,
        says="to switch the task, activate its A_t, B_t; W0 is never retrained",
        statement=Law(_switches, "outputs come back bit for bit among {tasks} tasks"),
        given={**_RANKS, "retrained": 0.0},
    ),
    Claim(
        id="adapter-formula",
        where=sections.COMPARISON,
        says="an Adapter is W = W0 + Adapter(x)",
        statement=Shape((6, 6), _adapter_as_printed),
        given={"d": 6, "m": 2},
        correction=Correction(
            "an Adapter acts on activations, h = W0 x + Adapter(x) or h + up(phi(down(h))), with "
            "2dm + m + d parameters: {count} at d = {d}, m = {m}",
            Law(_adapter_acts_on_activations, ""),
        ),
        why="a matrix plus a vector",
    ),
    Claim(
        id="full-forgets",
        where=sections.COMPARISON,
        says="full fine-tuning partly loses the pretrained knowledge",
        statement=Measured(lambda: None),
        why="accuracy on the source task, before and after",
    ),
    Claim(
        id="lora-keeps",
        where=sections.COMPARISON,
        says="LoRA keeps the pretrained knowledge entirely",
        statement=Law(
            _lora_keeps, "attached, the outputs move by {moved:.0%}; switched off, by exactly 0"
        ),
        given={"B": drawn_layer()[0].B},
        correction=Correction(
            "W0 keeps its bytes and switching the adapter off restores every output; with it on, "
            "outputs change, and what is forgotten has to be measured",
            Law(_lora_restores, ""),
        ),
        why="kept in W0 is not the same as kept in use",
    ),
    Claim(
        id="adapter-keeps",
        where=sections.COMPARISON,
        says="an Adapter keeps the pretrained knowledge entirely",
        statement=Law(
            _adapter_keeps, "attached, the outputs move by {moved:.0%}; switched off, by exactly 0"
        ),
        given={"up": 1.0, "d": 6, "m": 2},
        correction=Correction(
            "as for LoRA: entirely when it is switched off, to be measured when it is on",
            Law(_adapter_restores, ""),
        ),
        why="the base is frozen, the function in use is not",
    ),
    Claim(
        id="low-rank-regularises",
        where=sections.COMPARISON,
        says="limiting r regularises and prevents overfitting",
        statement=Measured(lambda: None),
        why="gap between training and test accuracy against r, on little data",
    ),
    Claim(
        id="low-rank-suffices",
        where=sections.ALGEBRA,
        says="task updates lie in a low-dimensional subspace, so a small r is enough",
        statement=Measured(lambda: None),
        why="accuracy against r, and the spectrum of a full fine-tuning update",
    ),
    Claim(
        id="optimal-balance",
        where=sections.ESSENCE,
        says="LoRA is the optimal balance of efficiency and performance",
        statement=Unsupported(
            "no criterion is given by which a balance could be optimal; on some tasks of the LoRA "
            "paper another method is ahead, such as full fine-tuning of RoBERTa base on MNLI",
            "Hu et al., 2021, arXiv 2106.09685, Table 2",
        ),
    ),
)
