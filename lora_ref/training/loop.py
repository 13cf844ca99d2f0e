"""The loop: batch, forward, loss, backward, optimiser, and again."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

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
from lora_ref.ops import (
    Labels,
    dropout_mask,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from lora_ref.training.clipping import clip_gradients, gradient_norm
from lora_ref.training.network import Network
from lora_ref.training.optimizers import Optimizer

Schedule: TypeAlias = Callable[[int, int], float]
"""From the steps made so far and the steps in all to the factor of the learning rate."""

Masks: TypeAlias = Callable[[int, np.random.Generator], Mapping[str, Array]]
"""From the rows of a batch and a generator to the masks of one forward pass, by dotted name."""


class Loss(NamedTuple):
    """A loss of `lora_ref.ops` and its backward."""

    forward: Callable[[Array, Any], tuple[float, Any]]
    backward: Callable[[Any], Array]


CROSS_ENTROPY = Loss(softmax_cross_entropy, softmax_cross_entropy_backward)


class DivergedError(LoraRefError):
    """Training has left the finite numbers; the message says at which step."""


@dataclass(frozen=True, repr=False)
class History:
    """What happened, step by step.

    Parameters
    ----------
    losses : tuple of float
        The loss on the batch of each step, before the step moves anything.
    norms : tuple of float
        The joint norm of the gradients in each step, before clipping.
    evaluations : tuple of (int, value)
        What the callback returned, unless None, with the number of steps made by then.
    """

    losses: tuple[float, ...]
    norms: tuple[float, ...]
    evaluations: tuple[tuple[int, Any], ...] = ()

    def __repr__(self) -> str:
        """Name the number of steps, and the first and the last loss."""
        first, last = self.losses[0], self.losses[-1]
        return f"{type(self).__name__}(steps={len(self.losses)}, loss {first:.3g} to {last:.3g})"


def minibatches(n: int, batch: int, rng: np.random.Generator) -> Iterator[NDArray[np.intp]]:
    """Yield the indices of one mini-batch after another, without end.

    Each epoch has every index once, in an order of its own; its last batch is what is left.

    Parameters
    ----------
    n : int
        Number of examples.
    batch : int
        Size of a batch; above `n`, every batch is the whole epoch.
    rng : numpy.random.Generator
        Draws the order.

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
    """Return masks for `train`: dropout before A, in every layer of the network that takes one.

    Parameters
    ----------
    network : Network
        With low-rank layers in it.
    p : float
        Share of the entries to drop, at least 0 and below 1.

    Raises
    ------
    LoraRefError
        For a network in which nothing takes a mask; the masks raise for a `p` that is no share.
    """
    like = {
        f"{name}.mask": layer.A
        for name, layer in network.layers.items()
        if isinstance(layer, LowRankLayer)
    }
    if not like:
        raise LoraRefError(f"no layer of {network!r} takes a mask, expected at least one to drop")

    def masks(n: int, rng: np.random.Generator) -> Mapping[str, Array]:
        return {name: dropout_mask((n, A.shape[1]), p, rng, A.dtype) for name, A in like.items()}

    return masks


def train(
    network: Network,
    x: Array,
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
    progress: bool = False,
) -> tuple[Network, History]:
    """Train what is trainable, and return the network that comes of it; the one given stays.

    The same arguments, with a generator in the same state, give the same bits.

    Parameters
    ----------
    network : Network
        Where training begins.
    x : ndarray of shape (examples, in_features), or with more axes
        One example per entry of the first axis.
    labels : ndarray whose first axis is that of x
        What the loss compares with: classes, or the targets of another loss.
    optimizer : Optimiser
        `SGD`, `Momentum` or `AdamW`.
    steps : int
        Number of steps, at least 1.
    batch : int
        Examples in a step.
    rng : numpy.random.Generator
        Draws the batches, and the masks.
    loss : Loss
        ``CROSS_ENTROPY``, or another pair of functions.
    schedule : callable, optional
        Factor of the learning rate, from the steps made so far and `steps`, such as `cosine`.
    max_norm : float, optional
        Where the joint norm of the gradients is clipped.
    masks : callable, optional
        Makes the dropout masks of a step, such as ``dropout(network, 0.1)``.
    callback : callable, optional
        Called after each step with the number of steps made and a network of its own, which later
        steps leave alone. What it returns, unless None, is kept in the history.
    progress : bool
        Whether to report on stderr, where that is a terminal.

    Returns
    -------
    network : Network
        The network after the last step. What is frozen is shared with the one given.
    history : History
        Losses, norms and evaluations.

    Raises
    ------
    DivergedError
        As soon as the loss, the gradients or the parameters are not finite.
    LoraRefError
        For a network with nothing to train, and arguments that do not fit each other.
    """
    _check_network("network in train", network)
    judge: object = loss
    if not isinstance(judge, Loss):
        raise LoraRefError(f"loss in train is {judge!r}, expected a Loss such as CROSS_ENTROPY")
    if not all(hasattr(optimizer, name) for name in ("lr", "start", "step")):
        raise LoraRefError(
            f"optimizer in train is {optimizer!r}, expected one such as AdamW(0.01), "
            "with lr, start and step"
        )
    steps = as_count("steps in train", steps)
    check_float("x in train", x)
    given: object = labels
    if not isinstance(given, np.ndarray) or given.shape[:1] != x.shape[:1]:
        raise ShapeError(
            f"labels in train are {type(given).__name__} of shape {np.shape(labels)}, "
            f"expected an array with one for each of the {len(x)} examples in x"
        )
    if not network.trainable:
        raise LoraRefError(f"{network!r} has nothing to train, expected some parameters")
    batches = minibatches(len(x), batch, rng)
    # buffers of our own, which the optimiser may write into
    params: Params = {name: array.copy() for name, array in network.trainable.items()}
    network, state = network.with_params(params), optimizer.start(params)
    losses: list[float] = []
    norms: list[float] = []
    evaluations: list[tuple[int, Any]] = []
    report = _Report(steps, progress)
    for step in range(steps):
        chosen = next(batches)
        lr = optimizer.lr * _factor(schedule, step, steps)
        with np.errstate(all="ignore"):  # the sentences below say it, and say where
            y, cache = network.forward(
                x[chosen], keywords=None if masks is None else masks(len(chosen), rng)
            )
            value, inner = loss.forward(y, labels[chosen])
            if not math.isfinite(value):
                raise _diverged(f"the loss is {value}", step, steps, losses)
            _, grads = network.backward(loss.backward(inner), cache, need_grad_x=False)
            norm = gradient_norm(grads)
            if not math.isfinite(norm):
                raise _diverged(
                    f"the norm of the gradients is {norm}", step, steps, [*losses, value]
                )
            if max_norm is not None:
                grads, _ = clip_gradients(grads, max_norm)
            params, state = optimizer.step(params, grads, state, lr=lr, out=(params, state))
            network = network.with_params(params)
        losses.append(value)
        norms.append(norm)
        if callback is not None:
            said = callback(step + 1, _copied(network))
            if said is not None:
                evaluations.append((step + 1, said))
        report(step + 1, value)
    for name, array in params.items():
        if not np.isfinite(array).all():
            raise _diverged(f"{name} is not finite", steps - 1, steps, losses)
    return network, History(tuple(losses), tuple(norms), tuple(evaluations))


def accuracy(network: Network, x: Array, labels: Labels) -> float:
    """Return the share of the rows of x whose largest logit is that of their label.

    Raises
    ------
    LoraRefError
        If a logit is not finite: a NaN would count as the largest.
    ShapeError
        If there is not one label for each row.
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


def _factor(schedule: Schedule | None, step: int, steps: int) -> float:
    if schedule is None:
        return 1.0
    return as_finite("what schedule returns in train", schedule(step, steps))


def _copied(network: Network) -> Network:
    return network.with_params({name: a.copy() for name, a in network.trainable.items()})


def _diverged(what: str, step: int, steps: int, losses: list[float]) -> DivergedError:
    last = f"the last finite loss was {losses[-1]:.6g}" if losses else "no loss was finite before"
    return DivergedError(
        f"{what} at step {step + 1} of {steps}, expected finite numbers; "
        f"{last}. A smaller learning rate, or max_norm, may help"
    )


class _Report:
    """A line on stderr, where that is a terminal; written anew at most ten times a second."""

    def __init__(self, steps: int, wanted: bool) -> None:
        self.steps, self.wanted = steps, wanted and sys.stderr.isatty()
        self.next = 0.0

    def __call__(self, step: int, loss: float) -> None:
        if self.wanted and (step == self.steps or perf_counter() >= self.next):
            self.next = perf_counter() + 0.1
            end = "\n" if step == self.steps else ""
            text = f"\rstep {step} of {self.steps}, loss {loss:<10.4g}"
            print(text, end=end, file=sys.stderr, flush=True)
