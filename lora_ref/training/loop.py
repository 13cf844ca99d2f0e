"""The training loop: batch, forward, loss, backward, step of the optimiser."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import (
    Array,
    Params,
    as_count,
    as_finite,
    check_finite,
    check_float,
    check_generator,
)
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.low_rank import LowRankLayer
from lora_ref.ops import Labels, dropout_mask
from lora_ref.training.clipping import clip_gradients, gradient_norm
from lora_ref.training.gradients import (
    CROSS_ENTROPY,
    Loss,
    keep_freed_memory,
    loss_and_gradients,
    on_threads,
)
from lora_ref.training.network import Network
from lora_ref.training.optimizers import DivergedError, Optimizer

Schedule: TypeAlias = Callable[[int, int], float]
"""Maps the number of steps made and the total to a factor of the learning rate."""

Masks: TypeAlias = Callable[[int, np.random.Generator], Mapping[str, Array]]
"""Maps the size of a batch and a generator to the masks of one forward pass, by dotted name."""


@dataclass(frozen=True, repr=False)
class History:
    """The record of a training, one entry a step.

    Parameters
    ----------
    losses : tuple of float
        The loss on the batch of each step, before the step.
    norms : tuple of float
        The joint norm of the gradients in each step, before clipping.
    evaluations : tuple of (int, value)
        The number of steps made, and what the callback returned then, unless None.
    """

    losses: tuple[float, ...]
    norms: tuple[float, ...]
    evaluations: tuple[tuple[int, Any], ...] = ()

    def __repr__(self) -> str:
        """Show the number of steps, and the first and the last loss."""
        first, last = self.losses[0], self.losses[-1]
        return f"{type(self).__name__}(steps={len(self.losses)}, loss {first:.3g} to {last:.3g})"


def minibatches(n: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of one mini-batch after another, endlessly.

    Each epoch has all n indices once, in a new order drawn from `rng`. The last batch of an epoch
    may be smaller than `batch`.

    Examples
    --------
    >>> batches = minibatches(5, 2, np.random.default_rng(0))
    >>> [len(next(batches)) for _ in range(6)]
    [2, 2, 1, 2, 2, 1]
    """
    n = as_count("n in minibatches", n)
    batch = as_count("batch in minibatches", batch)
    check_generator("rng in minibatches", rng)
    return _minibatches(n, batch, rng)


def _minibatches(n: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    while True:
        order = rng.permutation(n)
        for start in range(0, n, batch):
            yield order[start : start + batch]


def dropout(network: Network, p: float) -> Masks:
    """Return `masks` for `train`: dropout before A in every layer of the network that takes a mask.

    Each entry is dropped with probability p, at least 0 and below 1.
    """
    like = {
        f"{name}.mask": layer.A
        for name, layer in network.layers.items()
        if isinstance(layer, LowRankLayer)
    }
    if not like:
        raise LoraRefError(f"no layer of {network!r} takes a mask, expected at least one")

    def masks(n: int, rng: np.random.Generator) -> Mapping[str, Array]:
        return {name: dropout_mask((n, A.shape[1]), p, rng, A.dtype) for name, A in like.items()}

    return masks


def train(
    network: Network,
    x: Any,
    labels: Labels | Array,
    *,
    optimizer: Optimizer,
    steps: int,
    batch: int,
    rng: np.random.Generator,
    loss: Loss = CROSS_ENTROPY,
    schedule: Schedule | None = None,
    max_norm: float | None = None,
    masks: Masks | None = None,
    callback: Callable[[int, Network], Any] | None = None,
    micro_batch: int | None = None,
    sort_by: NDArray[Any] | None = None,
    threads: int = 1,
) -> tuple[Network, History]:
    """Return the trained network and the record of the training; the input is not modified.

    What is frozen is shared with the result. The same arguments, with a generator in the same
    state, give the same bits.

    Parameters
    ----------
    network : Network
        The network before the first step.
    x : ndarray of shape (examples, in_features), or with more axes
        One example per entry of the first axis; integers are tokens.
    labels : ndarray with the first axis of x
        What the loss compares with: classes, or the targets of another loss.
    optimizer : Optimizer
        `SGD`, `Momentum` or `AdamW`.
    steps : int
        Number of steps, at least 1.
    batch : int
        Examples in a step.
    rng : numpy.random.Generator
        Draws the batches and the masks.
    loss : Loss
        ``CROSS_ENTROPY``, or another pair of functions.
    schedule : callable, optional
        Factor of the learning rate from the number of steps made and `steps`, such as `cosine`.
    max_norm : float, optional
        The joint norm to which the gradients are clipped.
    masks : callable, optional
        Makes the dropout masks of a step, such as ``dropout(network, 0.1)``.
    callback : callable, optional
        Called after each step with the number of steps made and a network that later steps do not
        modify. What it returns, unless None, is kept in the history.
    micro_batch : int, optional
        Examples in a pass, whose gradients `loss_and_gradients` adds up; the whole batch if
        omitted.
    sort_by : ndarray, optional
        A number for each example, such as the length of its text. The examples of a batch are put
        in order by it, from the largest, before they are shared among passes: texts of about one
        length in a pass need little padding. It changes the rounding, and which example meets which
        of the masks.
    threads : int
        Passes at a time. They share the cores with the threads of the BLAS below NumPy, so set
        ``OPENBLAS_NUM_THREADS=1`` before NumPy is loaded. The bits do not depend on it.

    Raises
    ------
    DivergedError
        As soon as the loss, the gradients or the parameters are not finite.
    """
    _check_network("network in train", network)
    pair: object = loss
    if not isinstance(pair, Loss):
        raise LoraRefError(f"loss in train is {pair!r}, expected a Loss such as CROSS_ENTROPY")
    if not all(hasattr(optimizer, name) for name in ("lr", "init_state", "step")):
        raise LoraRefError(
            f"optimizer in train is {optimizer!r}, expected one such as AdamW(0.01), "
            "with lr, init_state and step"
        )
    steps = as_count("steps in train", steps)
    if getattr(x, "dtype", np.dtype(float)).kind not in "iu":  # tokens are for the layers to check
        check_float("x in train", x)
    given: object = labels
    if not isinstance(given, np.ndarray) or given.shape[:1] != x.shape[:1]:
        raise ShapeError(
            f"labels in train are {type(given).__name__} of shape {np.shape(labels)}, "
            f"expected an array with one for each of the {len(x)} examples in x"
        )
    order: Any = sort_by
    if order is not None and (not isinstance(order, np.ndarray) or order.shape != x.shape[:1]):
        raise ShapeError(
            f"sort_by in train is {type(order).__name__} of shape {np.shape(order)}, "
            f"expected an array with a number for each of the {len(x)} examples in x"
        )
    if not network.trainable:
        raise LoraRefError(f"{network!r} has nothing to train, expected some parameters")
    batches = minibatches(len(x), batch, rng)
    # copies, because the optimiser writes into them; the layers hold these very arrays
    params: Params = {name: array.copy() for name, array in network.trainable.items()}
    network, state = network.with_params(params), optimizer.init_state(params)
    losses: list[float] = []
    norms: list[float] = []
    evaluations: list[tuple[int, Any]] = []
    keep_freed_memory()
    with on_threads(as_count("threads in train", threads)) as run:
        parts: Any = {"micro_batch": micro_batch, "run": run}
        for step in range(steps):
            chosen = next(batches)
            if sort_by is not None:
                chosen = chosen[np.argsort(sort_by[chosen], kind="stable")[::-1]]
            factor = 1.0 if schedule is None else schedule(step, steps)
            lr = optimizer.lr * as_finite("what schedule returns in train", factor)
            keywords = None if masks is None else masks(len(chosen), rng)
            value, grads = loss_and_gradients(
                network, x[chosen], labels[chosen], loss, keywords=keywords, **parts
            )
            if not math.isfinite(value):
                raise _diverged(f"the loss is {value}", step, steps, losses)
            norm = gradient_norm(grads)
            losses.append(value)
            norms.append(norm)
            if not math.isfinite(norm):
                raise _diverged(f"the norm of the gradients is {norm}", step, steps, losses)
            if max_norm is not None:
                grads, _ = clip_gradients(grads, max_norm)
            with np.errstate(all="ignore"):  # what is not finite is an error below
                moved, state = optimizer.step(params, grads, state, lr=lr, out=(params, state))
            if moved is not params:  # else the layers hold the moved arrays already
                params, network = moved, network.with_params(moved)
            if callback is not None:
                copied = {name: array.copy() for name, array in params.items()}
                result = callback(step + 1, network.with_params(copied))
                if result is not None:
                    evaluations.append((step + 1, result))
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise _diverged(f"{name} is not finite", steps - 1, steps, losses)
    return network, History(tuple(losses), tuple(norms), tuple(evaluations))


def accuracy(network: Network, x: Array, labels: Labels) -> float:
    """Return the share of the rows of x whose largest logit is that of their label.

    A logit that is not finite is an error, because a NaN would count as the largest.
    """
    _check_network("network in accuracy", network)
    logits, _ = network.forward(x)
    check_finite("the logits in accuracy", logits)
    if np.shape(labels) != logits.shape[:-1]:
        raise ShapeError(
            f"labels in accuracy have shape {np.shape(labels)}, expected {logits.shape[:-1]}"
        )
    return float((logits.argmax(axis=-1) == labels).mean())


def _check_network(what: str, network: object) -> None:
    if not isinstance(network, Network):
        raise LoraRefError(f"{what} is a {type(network).__name__}, expected a Network")


def _diverged(what: str, step: int, steps: int, losses: list[float]) -> DivergedError:
    last = f"the last finite loss was {losses[-1]:.6g}" if losses else "no loss was finite before"
    return DivergedError(
        f"{what} at step {step + 1} of {steps}, expected finite numbers; "
        f"{last}. A smaller learning rate, or max_norm, may help"
    )
