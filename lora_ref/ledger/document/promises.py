"""Part two, section 7 on: several tasks, the table of methods, and what is promised of LoRA."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from lora_ref.arrays import Array
from lora_ref.gradcheck import sgd_step
from lora_ref.layers import Adapter, Linear, LoRALinear, MultiTaskLoRA, affine_defect
from lora_ref.ledger.claim import (
    Claim,
    Correction,
    Evidence,
    Law,
    Shape,
    Unsupported,
)
from lora_ref.ledger.document import sections
from lora_ref.ledger.document.expressions import added, drawn_layer, norm, product
from lora_ref.ledger.document.measured import RESULTS, measured_text


def _tasks(ranks: tuple[int, ...]) -> tuple[MultiTaskLoRA, Array]:
    """Return a layer for several tasks on one W0, and rows for it."""
    drawn, x = drawn_layer()
    adapters = [drawn_layer(seed=t + 1, r=r)[0] for t, r in enumerate(ranks)]
    tasks = tuple(LoRALinear(drawn.W0, a.A, a.B, a.alpha) for a in adapters)
    return MultiTaskLoRA(tasks), x


def _sum_as_printed(ranks: tuple[int, ...]) -> Any:
    layer, _ = _tasks(ranks)
    W: Any = layer.tasks[0].W0
    for task in layer.tasks:
        W = added(W, task.scaling * product(task.A, task.B))
    return W


def _sum_has_all_on(ranks: tuple[int, ...]) -> Evidence:
    layer, x = _tasks(ranks)
    W: Any = layer.tasks[0].W0
    for task in layer.tasks:
        W = added(W, task.scaling * product(task.B, task.A))
    y = layer.forward(x)[0]
    alone = [task.forward(x)[0] for task in layer.tasks]
    away = min(norm(y - one) / norm(one) for one in alone)
    is_the_sum = norm(x @ W.T - y) < 1e-12 * norm(y)
    return Evidence(is_the_sum and away > 0.01, {"away": away, "tasks": len(alone)})


def _switches(ranks: tuple[int, ...], retrained: float) -> Evidence:
    """Go through all tasks and back to the first, on a W0 that moved by `retrained` meanwhile."""
    layer, x = _tasks(ranks)
    first, *others = (layer.select(t).forward(x)[0] for t in range(len(ranks)))
    moved = tuple(replace(task, W0=task.W0 + retrained) for task in layer.tasks)
    again = MultiTaskLoRA(moved).select(0).forward(x)[0]
    differ = all(not np.array_equal(first, other) for other in others)
    shared = np.shares_memory(layer.select(0).W0, layer.select(1).W0)
    returns = np.array_equal(first, again)
    numbers = {"tasks": len(ranks), "back": "bit for bit" if returns else "another"}
    return Evidence(differ and shared and returns, numbers)


def _drawn_adapter(d: int, m: int) -> tuple[Linear, Adapter, Array]:
    """Return a frozen layer, an adapter behind it with every parameter random, and rows."""
    rng = np.random.default_rng(0)
    base = Linear(rng.standard_normal((d, d)), train=())
    W_down, b_down, W_up, b_up = (
        rng.standard_normal(shape) for shape in ((m, d), (m,), (d, m), (d,))
    )
    adapter = Adapter(W_down, b_down, W_up, b_up)
    return base, adapter, rng.standard_normal((4, d))


def _adapter_as_printed(d: int, m: int) -> Any:
    base, adapter, x = _drawn_adapter(d, m)
    h = base.forward(x)[0]
    return added(base.W, (adapter.forward(h)[0] - h)[0])


def _adapter_acts_on_activations(d: int, m: int) -> Evidence:
    base, adapter, x = _drawn_adapter(d, m)
    h = base.forward(x)[0]
    inner = np.maximum(h @ adapter.W_down.T + adapter.b_down, 0.0)
    by_hand = added(h, inner @ adapter.W_up.T + adapter.b_up)
    count = sum(array.size for array in adapter.trainable.values())
    right = np.allclose(adapter.forward(h)[0], by_hand) and count == 2 * d * m + m + d
    defect = norm(affine_defect(adapter, h, x))
    return Evidence(bool(right and defect > 0), {"count": count, "d": d, "m": m})


def _attached_and_detached(before: Array, attached: Array, detached: Array) -> Evidence:
    moved, left = (norm(y - before) / norm(before) for y in (attached, detached))
    numbers = {"moved": moved, "left": "not at all" if left == 0 else f"by {left:.1%}"}
    return Evidence(moved == 0, numbers, left == 0)


def _lora_keeps(lr: float, retrained: float, results: Any) -> Evidence:
    """Train, then compare the outputs with those of before: adapter on, and W0 alone."""
    drawn, x = drawn_layer()
    layer = LoRALinear.init(drawn.W0, 2, 4.0, np.random.default_rng(1))
    before, W0 = layer.forward(x)[0], layer.W0.tobytes()
    target = np.random.default_rng(2).standard_normal(before.shape)
    for _ in range(5):
        layer, _ = sgd_step(layer, x, (layer.forward(x)[0] - target) / len(x), lr)
    alone = Linear(layer.W0 + retrained)
    found = _attached_and_detached(before, layer.forward(x)[0], alone.forward(x)[0])
    return found._replace(with_condition=found.with_condition and alone.W.tobytes() == W0)


def _adapter_keeps(lr: float, retrained: float, results: Any) -> Evidence:
    base, drawn, x = _drawn_adapter(6, 2)
    adapter = replace(drawn, W_up=0 * drawn.W_up, b_up=0 * drawn.b_up)
    before, W = base.forward(x)[0], base.W.tobytes()
    target = np.random.default_rng(2).standard_normal(before.shape)
    for _ in range(5):
        y, cache = adapter.forward(before)
        _, grads = adapter.backward((y - target) / len(x), cache)
        moved = {name: value - lr * grads[name] for name, value in adapter.trainable.items()}
        adapter = adapter.with_params(moved)
    alone = Linear(base.W + retrained)
    found = _attached_and_detached(before, adapter.forward(before)[0], alone.forward(x)[0])
    return found._replace(with_condition=found.with_condition and alone.W.tobytes() == W)


def _restored(keeps: Callable[..., Evidence]) -> Callable[..., Evidence]:
    """Make a law of the condition alone."""

    def restored(**given: Any) -> Evidence:
        found = keeps(**given)
        return Evidence(found.with_condition, found.numbers)

    return restored


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
        statement=Law(_switches, "the output after {tasks} tasks and back: {back} the same"),
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
        id="lora-keeps",
        where=sections.COMPARISON,
        says="LoRA keeps the pretrained knowledge entirely",
        statement=Law(
            _lora_keeps, "after training the outputs move by {moved:.0%}; switched off, {left}"
        ),
        given={"lr": 0.1, "retrained": 0.0, **RESULTS},
        shown=measured_text("lora-keeps"),
        correction=Correction(
            "W0 keeps its bytes, and switching the adapter off restores every output; with it on, "
            "outputs change, and what is forgotten is measured",
            Law(_restored(_lora_keeps), ""),
        ),
        why="kept in W0 is not kept in use. Measured on the digits: {measured}",
    ),
    Claim(
        id="adapter-keeps",
        where=sections.COMPARISON,
        says="an Adapter keeps the pretrained knowledge entirely",
        statement=Law(
            _adapter_keeps, "after training the outputs move by {moved:.0%}; switched off, {left}"
        ),
        given={"lr": 0.1, "retrained": 0.0, **RESULTS},
        shown=measured_text("adapter-keeps"),
        correction=Correction(
            "as for LoRA: entirely when it is switched off, measured when it is on",
            Law(_restored(_adapter_keeps), ""),
        ),
        why="the base is frozen, the function in use is not. Measured on the digits: {measured}",
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
