"""The loss of a batch and its gradients: in one pass, or in several whose gradients add up."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from lora_ref.checks import Array, Params, as_count
from lora_ref.ops import softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.training.network import Network


class Loss(NamedTuple):
    """A loss of `lora_ref.ops`, a mean over examples, and its backward pass."""

    forward: Callable[[Array, Any], tuple[float, Any]]
    backward: Callable[[Any], Array]


CROSS_ENTROPY = Loss(softmax_cross_entropy, softmax_cross_entropy_backward)

Run: TypeAlias = Callable[[Callable[[slice], Any], list[slice]], Iterable[Any]]
"""`map`, or the `map` of a pool of threads, which returns results in the same order."""


def loss_and_gradients(
    network: Network,
    x: Any,
    labels: Any,
    loss: Loss = CROSS_ENTROPY,
    *,
    keywords: Mapping[str, Array] | None = None,
    micro_batch: int | None = None,
    run: Run = map,
) -> tuple[float, Params]:
    """Return the mean loss of a batch and the gradients of all that trains.

    The mean over a batch is the mean of the means over its parts, each weighted by its share, and
    so are the gradients. That is how one step is shared among threads, or among machines (data
    parallelism), and how a large batch goes through a small memory (gradient accumulation): only
    the caches of the parts that are under way are held.

    Parameters
    ----------
    network : Network
        What is trained.
    x, labels : ndarray
        One example per entry of the first axis, and what the loss compares with.
    loss : Loss
        ``CROSS_ENTROPY``, or another pair of functions.
    keywords : mapping of str to ndarray, optional
        Keywords of `Network.forward`, such as masks, with the first axis of x.
    micro_batch : int, optional
        Examples in a pass; all of them in one if omitted. It decides the rounding, who runs the
        passes does not.
    run : callable
        `map`, or the `map` of an executor of threads.

    Examples
    --------
    >>> from lora_ref.layers import Linear
    >>> rng = np.random.default_rng(0)
    >>> network = Network({"head": Linear(rng.standard_normal((3, 4)))})
    >>> x, labels = rng.standard_normal((10, 4)), rng.integers(0, 3, 10)
    >>> whole, grads = loss_and_gradients(network, x, labels)
    >>> in_parts, added = loss_and_gradients(network, x, labels, micro_batch=4)
    >>> abs(whole - in_parts) < 1e-15, np.allclose(grads["head.W"], added["head.W"], atol=1e-15)
    (True, True)
    """
    size = len(x) if micro_batch is None else as_count("micro_batch", micro_batch)

    def one_pass(part: slice) -> tuple[float, Params]:
        theirs = None if keywords is None else {name: a[part] for name, a in keywords.items()}
        with np.errstate(all="ignore"):  # of this thread; what is not finite, the caller sees
            y, cache = network.forward(x[part], keywords=theirs)
            value, inner = loss.forward(y, labels[part])
            _, grads = network.backward(loss.backward(inner), cache, need_grad_x=False)
        return value, grads

    if size >= len(x):
        return one_pass(slice(None))
    parts = [slice(start, start + size) for start in range(0, len(x), size)]
    total, summed = 0.0, dict[str, Array]()
    for part, (value, grads) in zip(parts, run(one_pass, parts), strict=True):
        share = len(x[part]) / len(x)
        total += share * value
        for name, grad in grads.items():
            summed[name] = share * grad + summed.get(name, 0)
    return total, summed


@contextmanager
def on_threads(threads: int) -> Iterator[Run]:
    """Hand out the `run` of `loss_and_gradients`: the `map` of a pool, or `map` for one thread."""
    if threads == 1:
        yield map
        return
    from concurrent.futures import ThreadPoolExecutor  # not for those who train on one thread

    with ThreadPoolExecutor(threads) as pool:
        yield pool.map


def keep_freed_memory() -> None:
    """Make the C library keep freed memory, so that the next pass of a training finds it there.

    The GNU library hands a block back to the system if it is larger than any freed before, up to
    32 MB, and each page of the next such block then costs a page fault: a fifth of a training step
    on the machine where it was measured. A block of 31 MB is made and freed, which raises the
    limit; nothing is written to it. Call it once, before training. Elsewhere it changes nothing.
    """
    np.empty(31 << 20, np.uint8)
