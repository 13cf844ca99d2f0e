"""Exact solutions of the shifts in W and b, and what a low rank of the first layer leaves of one.

A solution is the pretrained network with other W and b, no image of the target task seen, which
computes on shifted images what the network computed on the images themselves. It is enough, and
another one may need less. With ``x`` an image,
``1`` a vector of ones and ``W1 x + b1`` the first layer:

===============  ==============================  ===============================================
shift            x on the target task            solution
===============  ==============================  ===============================================
``near``         ``0.3 x + 0.4``                 ``b1 := 0.3 b1 - 0.4 W1 1``, ``b2 := 0.3 b2``,
                                                 ``b3 := 0.3 b3``: all logits times 0.3
``middle``       ``0.3 T x + 0.4``               ``W1 := W1 T^+ / 0.3``, ``b1 := b1 - 0.4 W1 1``
``far``          ``P x``                         ``W1 := W1 P^-1``
``inverted``     ``1 - x``                       ``W1 := -W1``, ``b1 := b1 + W1 1`` (old W1)
``relabelled``   ``x``, label ``y + 1``          rows of ``W3`` and ``b3`` move on by one
===============  ==============================  ===============================================

T and P turn an image, by 30 and 90 degrees. T^+ is the pseudo-inverse: four dimensions of the image
leave the frame in the corners, where digits have little. In the solutions of ``middle`` the new W1
stands in b1. Biases alone solve ``near``, since ReLU and the largest logit do
not change where everything is multiplied by 0.3.
"""

from collections.abc import Callable, Mapping

import numpy as np

from lora_ref.checks import Array
from lora_ref.layers.linear import Linear
from lora_ref.lowrank import best_update, numerical_rank
from lora_ref.study.digits import SIZE, Images
from lora_ref.study.methods import LINEARS
from lora_ref.study.shifts import CONTRAST, GREY, SHIFTS, turn
from lora_ref.training import Network


def changes(shift: str, network: Network) -> dict[str, list[int]]:
    """Return, for each layer, the rank of the solution's change of W, and 1 if it changes b."""
    solved, found = SOLUTIONS[shift](network), {}
    for name in LINEARS:
        before, after = network.linears[name], solved.linears[name]
        moved = after.W.astype(np.float64) - before.W
        rank = numerical_rank(moved, 1e-5 * float(np.linalg.norm(moved, 2)))  # W is float32
        found[name] = [rank, int((biases_of(before) != biases_of(after)).any())]
    return found


def best_first_layer(shift: str, network: Network, images: Images, r: int) -> Network:
    """Return the network with the first weight changed by the best update of rank r.

    That is the update whose first layer comes nearest to its old outputs, over `images` of the
    source task and their shifted twins; biases stay. See `lora_ref.lowrank.best_update`.
    """
    layer = network.linears["fc1"]
    W = layer.W.astype(np.float64)
    shifted, y = SHIFTS[shift](images).x.astype(np.float64), images.x @ W.T
    A, B = best_update(shifted, y, W, r)
    return network.replaced({"fc1": Linear((W + B @ A).astype(layer.W.dtype), layer.bias)})


def biases_of(layer: Linear) -> Array:
    """Return the bias of a layer of the perceptron, which has one."""
    return np.zeros(len(layer.W)) if layer.bias is None else layer.bias


def _near(network: Network) -> Network:
    layers = {}
    for name in LINEARS:
        W, b = network.linears[name].W, CONTRAST * biases_of(network.linears[name])
        layers[name] = Linear(W, b - GREY * W.sum(axis=1) if name == "fc1" else b)
    return network.replaced(layers)


def _middle(network: Network) -> Network:
    layer = network.linears["fc1"]
    back = np.linalg.pinv(_pixels(30).astype(np.float64), rcond=1e-3)
    W = (layer.W @ back / CONTRAST).astype(layer.W.dtype)
    return network.replaced({"fc1": Linear(W, biases_of(layer) - GREY * W.sum(axis=1))})


def _far(network: Network) -> Network:
    layer = network.linears["fc1"]
    return network.replaced({"fc1": Linear(layer.W @ _pixels(90).round().T, layer.bias)})


def _inverted(network: Network) -> Network:
    layer = network.linears["fc1"]
    return network.replaced({"fc1": Linear(-layer.W, biases_of(layer) + layer.W.sum(axis=1))})


def _relabelled(network: Network) -> Network:
    layer = network.linears["fc3"]
    W, b = (np.roll(array, 1, axis=0) for array in (layer.W, biases_of(layer)))
    return network.replaced({"fc3": Linear(W, b)})


def _pixels(degrees: float) -> Array:
    """Return the matrix that turns an image: ``turn(x, degrees) == x @ matrix.T``."""
    return turn(np.eye(SIZE**2, dtype=np.float32), degrees).T


SOLUTIONS: Mapping[str, Callable[[Network], Network]] = {
    "near": _near,
    "middle": _middle,
    "far": _far,
    "inverted": _inverted,
    "relabelled": _relabelled,
}
"""By shift: the network that does there what the pretrained one does on the source task."""
