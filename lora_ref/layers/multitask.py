"""Several low-rank updates on one W0: added, switched, or a task of its own for each row.

An update is small and W0 is not, so T tasks cost one W0 and T pairs of factors, and a batch of
requests for different tasks shares the large product: ``x @ W0.T`` runs once, over all rows.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import (
    AnyDType,
    Array,
    Params,
    as_count,
    as_finite,
    check_backward_inputs,
    check_forward_inputs,
    check_same_axes,
)
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.base import Layer
from lora_ref.layers.composite import Composite
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear

BASE = -1
"""In ``task=``: this row goes through W0 alone."""

Tasks: TypeAlias = NDArray[np.integer[Any]]
Rows: TypeAlias = slice | NDArray[np.intp]


class Group(NamedTuple):
    """Rows of a batch that run through the same tasks."""

    tasks: tuple[int, ...]
    strengths: tuple[float, ...]  # scaling, times weight where tasks are added
    rows: Rows
    h: Array  # (rows, r of all these tasks)  times strength


class MultiTaskCache(NamedTuple):
    """What `MultiTaskLoRA.backward` needs from the forward pass; nothing in it is out x in."""

    leading: tuple[int, ...]  # the axes of x before its last
    x: Array  # (n, in_features)  as the A see it: after dropout, if there is any
    groups: tuple[Group, ...]
    mask: Array | None  # (n, in_features)
    ranks: tuple[int, ...]  # of all tasks


@dataclass(frozen=True, eq=False, repr=False)
class MultiTaskLoRA(Composite):
    """Computes ``y = x @ W0.T + sum_t weights[t] * scaling_t * (x @ A_t.T) @ B_t.T + bias``.

    That is the sum. A batch may also have a task of its own for each row; the call says which:

    ``forward(x)``
        Every row gets all tasks, added up with `weights`.
    ``forward(x, task=task)``
        Row i gets task ``task[i]`` alone, at full strength: `weights` have no say. `BASE`, which
        is -1, means no task: the row goes through W0.

    And ``select(t)`` switches: it is task t alone, a plain `LoRALinear` on the same W0.

    A parameter's name is a path, ``"0.A"``, as in ``layer.tasks[0].A``. In a network it becomes
    ``fc1.0.A`` and still ends in its factor's letter, by which an optimiser may tell A from B.

    Parameters
    ----------
    tasks : tuple of LoRALinear
        One or more; r, alpha and rank_stabilized may differ. W0 and bias must be equal in all of
        them; the layer keeps the first task's and drops the others. A bias cannot train, since
        all tasks share it.
    weights : tuple of float
        One for each task, of any sign; 1 each if left out. A task of weight 0 takes no part in
        the sum, and its gradients there are zero.

    Examples
    --------
    >>> W0 = np.zeros((2, 2))
    >>> first = LoRALinear(W0, np.array([[1.0, 0.0]]), np.array([[1.0], [0.0]]), alpha=1)
    >>> second = LoRALinear(W0, np.array([[0.0, 1.0]]), np.array([[0.0], [1.0]]), alpha=1)
    >>> layer = MultiTaskLoRA((first, second))
    >>> layer
    MultiTaskLoRA(in_features=2, out_features=2, tasks=2, r=2 in all, float64)
    >>> x = np.array([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0]])
    >>> layer.forward(x, task=np.array([0, 1, BASE]))[0]
    array([[3., 0.],
           [0., 4.],
           [0., 0.]])

    One LoRA that does the work of both has their factors side by side:

    >>> layer.concatenate_factors().delta_w  # the sum
    array([[1., 0.],
           [0., 1.]])
    """

    tasks: tuple[LoRALinear, ...]
    weights: tuple[float, ...] = ()

    affine_in_each_argument: ClassVar[bool] = True
    keywords: ClassVar[tuple[str, ...]] = ("task", "mask")

    def __post_init__(self) -> None:
        tasks: object = self.tasks
        if not isinstance(tasks, tuple) or not tasks:
            got = "empty" if tasks == () else f"a {type(tasks).__name__}"
            raise LoraRefError(f"tasks in MultiTaskLoRA is {got}, expected a tuple of LoRALinear")
        for t, task in enumerate(tasks):
            if type(task) is not LoRALinear:  # a subclass may compute something else
                raise LoraRefError(
                    f"task {t} in MultiTaskLoRA is a {type(task).__name__}, expected a LoRALinear"
                )
            if "bias" in task.train:
                raise LoraRefError(
                    f"task {t} in MultiTaskLoRA trains its bias, expected A and B alone: "
                    "all tasks share one bias"
                )
        first = self.tasks[0]
        for t, task in enumerate(self.tasks):
            _check_same(f"W0 of task {t} in MultiTaskLoRA", task.W0, first.W0)
            _check_same(f"bias of task {t} in MultiTaskLoRA", task.bias, first.bias)
        # the same objects, not only equal ones: a copy or a pickle then keeps one W0 too
        object.__setattr__(self, "tasks", tuple(_sharing_base(first, task) for task in self.tasks))
        self._check_weights(self.weights, first.W0.dtype)

    def _check_weights(self, weights: object, dtype: AnyDType) -> None:
        if not isinstance(weights, tuple) or len(weights) not in (0, len(self.tasks)):
            raise LoraRefError(
                f"weights in MultiTaskLoRA is {weights!r}, expected a tuple of "
                f"{len(self.tasks)}, one number for each task"
            )
        what = "weight {} in MultiTaskLoRA"
        numbers = (as_finite(what.format(t), weight, dtype) for t, weight in enumerate(weights))
        object.__setattr__(self, "weights", tuple(numbers) or (1.0,) * len(self.tasks))
        for t, strength in enumerate(self._strengths(self.weights)):
            as_finite(f"weight times scaling of task {t} in MultiTaskLoRA", strength, dtype)

    @property
    def W0(self) -> Array:
        """The one frozen weight, of shape (out_features, in_features)."""
        return self.tasks[0].W0

    @property
    def bias(self) -> Array | None:
        """The one frozen bias, of shape (out_features,), if there is any."""
        return self.tasks[0].bias

    @property
    def children(self) -> Mapping[str, Layer]:
        """The tasks, under their numbers."""
        return {str(t): task for t, task in enumerate(self.tasks)}

    def with_children(self, children: Mapping[str, Layer]) -> Self:
        """Return a layer with other tasks."""
        tasks: Any = tuple(children.values())
        return replace(self, tasks=tasks)

    def forward(
        self, x: Array, *, task: Tasks | None = None, mask: Array | None = None
    ) -> tuple[Array, MultiTaskCache]:
        """Map x of shape (n, in_features) to y of shape (n, out_features) and a cache.

        Parameters
        ----------
        x : ndarray of shape (n, in_features)
            Rows, of the layer's dtype. Further leading axes come back in y.
        task : ndarray of integers, of shape (n,), optional
            The task of each row, from 0, or `BASE`; with the leading axes of x, if it has more.
            Without it, every row gets the weighted sum of all tasks.
        mask : ndarray shaped like x, optional
            Dropout before A, as in `LoRALinear.forward`; the same mask for every task of a row.
        """
        leading, x, dropped, mask = check_forward_inputs("MultiTaskLoRA.forward", x, self.W0, mask)
        y = np.zeros((len(x), len(self.W0)), self.W0.dtype)  # (n, out_features)
        groups = []
        for tasks, strengths, here in self._groups(task, leading):
            A, B, strength = self._stack_factors(tasks, strengths)
            h = dropped[here] @ A.T
            h *= strength
            y[here] = h @ B.T  # faster than to add it to these rows: they are not read
            groups.append(Group(tasks, strengths, here, h))
        y += x @ self.W0.T
        if self.bias is not None:
            y += self.bias
        return y.reshape(*leading, -1), MultiTaskCache(
            leading, dropped, tuple(groups), mask, self._ranks
        )

    def backward(self, grad_y: Array, cache: MultiTaskCache) -> tuple[Array, Params]:
        """Map grad_y, shaped like y, to grad_x, shaped like x, and the gradients of the factors.

        A task that took no part gets zeros.
        """
        where, in_features, ranks = "MultiTaskLoRA.backward", self.W0.shape[1], self._ranks
        g = check_backward_inputs(
            where, grad_y, cache, MultiTaskCache, self.W0, x=in_features, ranks=ranks
        )
        leading, x, groups, mask, _ = cache
        grads = {}
        grad_x = np.zeros_like(x)  # (n, in_features)
        for tasks, strengths, here, h in groups:
            A, B, strength = self._stack_factors(tasks, strengths)
            g_here = g[here]
            grad_h = g_here @ B
            grad_h *= strength
            grad_x[here] = grad_h @ A
            ends = np.cumsum([self.tasks[t].r for t in tasks])[:-1]
            grads_A = np.split(grad_h.T @ x[here], ends)
            grads_B = np.split(g_here.T @ h, ends, axis=1)
            for t, grad_A, grad_B in zip(tasks, grads_A, grads_B, strict=True):
                grads[f"{t}.A"], grads[f"{t}.B"] = grad_A, grad_B
        if mask is not None:
            grad_x *= mask
        grad_x += g @ self.W0
        return grad_x.reshape(*leading, -1), {
            name: grads[name] if name in grads else np.zeros_like(factor)
            for name, factor in self.trainable.items()
        }

    def select(self, t: int) -> LoRALinear:
        """Return task t alone: it shares W0 and its factors with this layer, and copies nothing.

        To put it back after training, give ``dataclasses.replace(layer, tasks=...)`` the new tuple.
        """
        t = as_count("t in MultiTaskLoRA.select", t, at_least=0)
        if t >= len(self.tasks):
            raise LoraRefError(
                f"t in MultiTaskLoRA.select is {t}, expected 0 to {len(self.tasks) - 1}"
            )
        return self.tasks[t]

    @property
    def delta_w(self) -> Array:
        """The weighted sum of the updates, of shape (out_features, in_features)."""
        return self.concatenate_factors().delta_w

    def merge(self) -> Linear:
        """Fold the weighted sum into one weight; which task is whose cannot be told any more."""
        return self.concatenate_factors().merge()

    def concatenate_factors(self) -> LoRALinear:
        """Return one LoRA whose update is the weighted sum: A over A, B beside B.

        Exact, for any weights and ranks: ``[B1, B2] @ [A1; A2] = B1 @ A1 + B2 @ A2``. Its rank is
        the sum of all ranks; scalings and weights are multiplied into B.
        """
        everyone, strengths = tuple(range(len(self.tasks))), self._strengths(self.weights)
        A, B, strength = self._stack_factors(everyone, strengths)
        return LoRALinear(self.W0, A, B * strength, alpha=float(len(A)), bias=self.bias)

    @property
    def _ranks(self) -> tuple[int, ...]:
        return tuple(task.r for task in self.tasks)

    def _groups(
        self, task: Tasks | None, leading: tuple[int, ...]
    ) -> Iterator[tuple[tuple[int, ...], tuple[float, ...], Rows]]:
        """Yield which tasks run, at which strengths, on which rows."""
        if task is not None:
            _check_task(task, leading, len(self.tasks))
            order = np.argsort(task, axis=None, kind="stable")  # so that a task is one product
            present, starts = np.unique(task.reshape(-1)[order], return_index=True)
            for t, here in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
                first, last = int(here[0]), int(here[-1])
                one_run = last - first + 1 == len(here)  # which needs no copy
                rows = slice(first, last + 1) if one_run else here
                if t != BASE:
                    yield (t,), (self.tasks[t].scaling,), rows
            return
        strengths = self._strengths(self.weights)
        tasks = tuple(t for t, strength in enumerate(strengths) if strength)
        if tasks:
            yield tasks, tuple(strengths[t] for t in tasks), slice(None)

    def _strengths(self, weights: Iterable[float]) -> tuple[float, ...]:
        return tuple(
            weight * task.scaling for weight, task in zip(weights, self.tasks, strict=True)
        )

    def _stack_factors(
        self, tasks: tuple[int, ...], strengths: tuple[float, ...]
    ) -> tuple[Array, Array, Array]:
        """Return A (R, in_features), B (out_features, R) and strength (R,), R the sum of ranks."""
        chosen = [self.tasks[t] for t in tasks]
        strength = np.repeat(np.array(strengths, self.W0.dtype), [task.r for task in chosen])
        if len(chosen) == 1:
            return chosen[0].A, chosen[0].B, strength
        A, B = np.vstack([task.A for task in chosen]), np.hstack([task.B for task in chosen])
        return A, B, strength

    def __repr__(self) -> str:
        """Sizes, number of tasks, total rank and dtype, on one line."""
        out_features, in_features = self.W0.shape
        r = sum(task.r for task in self.tasks)
        return (
            f"{type(self).__name__}(in_features={in_features}, out_features={out_features}, "
            f"tasks={len(self.tasks)}, r={r} in all, {self.W0.dtype})"
        )


def _check_task(task: object, leading: tuple[int, ...], count: int) -> None:
    what = "task in MultiTaskLoRA.forward"
    expected = f"expected an array of integers from {BASE} (W0 alone) to {count - 1}"
    if not isinstance(task, np.ndarray):
        raise LoraRefError(f"{what} is a {type(task).__name__}, {expected}, one for each row")
    if task.dtype.kind not in "iu":
        raise LoraRefError(f"{what} has dtype {task.dtype}, {expected}")
    check_same_axes(what, task, leading)
    wrong = np.argwhere((task < BASE) | (task >= count))
    if len(wrong):
        where = tuple(int(i) for i in wrong[0])
        raise LoraRefError(f"{what} holds {int(task[where])} at {where}, {expected}")


def _check_same(what: str, array: Array | None, first: Array | None) -> None:
    """Raise unless two frozen arrays are equal, or there is neither."""
    if array is first:
        return
    if array is None or first is None:
        got, expected = ("none" if a is None else "given" for a in (array, first))
        raise LoraRefError(f"{what} is {got}, expected {expected} as for task 0")
    if array.shape != first.shape:
        raise ShapeError(f"{what} has shape {array.shape}, expected task 0's, {first.shape}")
    if array.dtype != first.dtype:
        raise LoraRefError(f"{what} has dtype {array.dtype}, expected task 0's, {first.dtype}")
    if not np.array_equal(array, first):
        raise LoraRefError(f"{what} has other entries, expected those of task 0: one W0 for all")


def _sharing_base(first: LoRALinear, task: LoRALinear) -> LoRALinear:
    """Return a task with the first one's W0 and bias, which are equal to its own."""
    if task.W0 is first.W0 and task.bias is first.bias:
        return task
    return replace(task, W0=first.W0, bias=first.bias)
