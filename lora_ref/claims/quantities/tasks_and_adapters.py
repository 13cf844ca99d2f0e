"""Quantities of several adapters on one weight, and of the bottleneck adapter."""

from dataclasses import replace
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from lora_ref import counting
from lora_ref.checks import Array
from lora_ref.claims.quantities import counts
from lora_ref.claims.quantities.training import drawn_layer, relative, trained
from lora_ref.claims.quantity import Count, Few, Flag, Number, OneNumber
from lora_ref.layers import Adapter, Linear, LoRALinear, MultiTaskLoRA

TOPIC = "Several adapters"


def layer_trainable(
    method: Literal["full", "lora", "adapter"],
    in_: Few,
    out: Few,
    r: Few | None = None,
    m: Few | None = None,
    alpha: Number = 1,
) -> OneNumber:
    """Return how many parameters a real layer trains, counted in its arrays.

    The bottleneck adapter stands behind the layer; its width is m. `alpha` is LoRA's.
    """
    rng = np.random.default_rng(0)
    W0 = rng.standard_normal((out, in_))
    layer: Linear | LoRALinear | Adapter = Linear(W0)
    if method == "lora":
        layer = LoRALinear.init(W0, counts.needed(r, method, "r"), float(alpha), rng)
    elif method == "adapter":
        layer = _drawn_adapter(out, counts.needed(m, method, "m"))[1]
    return sum(array.size for array in layer.trainable.values())


def task_sum_error(tasks: Few) -> OneNumber:
    """Return the relative gap between W0 + sum of s_t B_t A_t and a layer with all tasks on."""
    layer, x = _tasks(tasks)
    W = layer.tasks[0].W0 + sum(task.scaling * task.B @ task.A for task in layer.tasks)
    y = layer.forward(x)[0]
    return relative(x @ W.T - y, y)


def task_sum_apart(tasks: Few) -> OneNumber:
    """Return the relative gap between the output with all tasks on and the nearest task's alone."""
    layer, x = _tasks(tasks)
    y = layer.forward(x)[0]
    alone = [task.forward(x)[0] for task in layer.tasks]
    return min(relative(y - one, one) for one in alone)


def task_switch_error(tasks: Few, retrained: Number = 0) -> OneNumber:
    """Return the change of the first task's output by switching through all tasks and back.

    `retrained` is added to W0 meanwhile; 0 leaves it frozen.
    """
    layer, x = _tasks(tasks)
    first = layer.select(0).forward(x)[0]
    moved = tuple(replace(task, W0=task.W0 + float(retrained)) for task in layer.tasks)
    visited = MultiTaskLoRA(moved)
    for t in (*range(tasks), 0):
        again = visited.select(t).forward(x)[0]
    return float(np.abs(again - first).max())


def parameters_per_task(
    in_: Count, out: Count, r: Count, tasks: Count, shared: Flag = False
) -> OneNumber:
    """Return the parameters for each of several tasks, with the shared W0 counted or not."""
    total = counting.several_tasks_params(in_, out, r, tasks)
    return Fraction(total - (0 if shared else in_ * out), tasks)


def adapter_formula_error(d: Few, m: Few) -> OneNumber:
    """Return the gap between a bottleneck adapter's output and h + up(relu(down(h))) by hand."""
    base, adapter, x = _drawn_adapter(d, m)
    h = base.forward(x)[0]
    inner = np.maximum(h @ adapter.W_down.T + adapter.b_down, 0.0)
    by_hand = h + inner @ adapter.W_up.T + adapter.b_up
    return relative(adapter.forward(h)[0] - by_hand, by_hand)


def outputs_moved(
    method: Literal["lora", "adapter"],
    adapter: Literal["on", "off"],
    lr: Number = "1/10",
    retrained: Number = 0,
) -> OneNumber:
    """Return the relative change of a layer's outputs by training, adapter on or off.

    `retrained` is added to W0 meanwhile; 0 leaves it frozen.
    """
    before, on, off = _before_and_after(method, float(Fraction(lr)), float(retrained))
    moved = (on if adapter == "on" else off) - before
    return float(np.linalg.norm(moved) / np.linalg.norm(before))


def _before_and_after(method: str, lr: float, retrained: float) -> tuple[Array, Array, Array]:
    """Return the outputs before five steps of training, and after, with the adapter on and off."""
    layer: Any
    if method == "lora":
        drawn, x = drawn_layer()
        layer = LoRALinear.init(drawn.W0, 2, 4.0, np.random.default_rng(1))
        base, inputs = Linear(drawn.W0), x
    else:
        base, adapter, x = _drawn_adapter(6, 2)
        layer = replace(adapter, W_up=0 * adapter.W_up, b_up=0 * adapter.b_up)
        inputs = base.forward(x)[0]
    before = layer.forward(inputs)[0]
    *_, layer = trained(layer, inputs, 5, lr, seed=2)
    return before, layer.forward(inputs)[0], Linear(base.W + retrained).forward(x)[0]


def _tasks(tasks: int) -> tuple[MultiTaskLoRA, Array]:
    """Return a layer for tasks of ranks 2, 3, 4 ... on one W0, and rows for it."""
    drawn, x = drawn_layer()
    adapters = [drawn_layer(seed=t + 1, r=t + 2)[0] for t in range(tasks)]
    return MultiTaskLoRA(tuple(LoRALinear(drawn.W0, a.A, a.B, a.alpha) for a in adapters)), x


def _drawn_adapter(d: int, m: int) -> tuple[Linear, Adapter, Array]:
    """Return a frozen layer, an adapter behind it with every parameter random, and rows."""
    rng = np.random.default_rng(0)
    base = Linear(rng.standard_normal((d, d)), train=())
    shapes = ((m, d), (m,), (d, m), (d,))
    W_down, b_down, W_up, b_up = (rng.standard_normal(shape) for shape in shapes)
    return base, Adapter(W_down, b_down, W_up, b_up), rng.standard_normal((4, d))
