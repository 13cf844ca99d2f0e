"""The optimiser beside its textbook form, and a whole training step beside PyTorch with PEFT.

Both contenders of a row begin at the same numbers; if they are not at the same numbers after the
first step, the row is not printed.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from itertools import count
from typing import Any

import numpy as np

from lora_ref.checks import Params
from lora_ref.layers import LoRALinear
from lora_ref.ops import softmax_cross_entropy, softmax_cross_entropy_backward
from lora_ref.training import AdamW, Network
from tests.bench.contest import Timing, contest
from tests.bench.machine import blas_threads
from tests.bench.row import Row, Target

R = 8
OPTIMIZER = AdamW(1e-3)

IN_PLACE = "AdamW, in place"
PURE = "AdamW, new arrays"
TEXTBOOK = "textbook, an array for every term"
TORCH = "torch.optim.AdamW"

STEP = "a step of lora_ref"
PEFT = "eager PyTorch with PEFT"

SIZES = (64, 256, 256, 10)
BATCH = 32

Call = Callable[[], Sequence[Any]]

# ---------------------------------------------------------------------------------- AdamW alone


def make_update(name: str, rows: int, columns: int) -> Call:
    """Return the call of one contender: a step on a matrix and on one of its transposed shape."""
    rng = np.random.default_rng(0)

    def draw() -> dict[str, Any]:
        shapes = {"A": (rows, columns), "B": (columns, rows)}
        return {key: rng.standard_normal(shape, np.float32) for key, shape in shapes.items()}

    return UPDATES[name](draw(), draw())


def in_place(params: Params, grads: Params) -> Call:
    """Write into the arrays that are there."""
    state = OPTIMIZER.init_state(params)

    def step() -> Sequence[Any]:
        nonlocal state
        _, state = OPTIMIZER.step(params, grads, state, out=(params, state))
        return tuple(params.values())

    return step


def pure(params: Params, grads: Params) -> Call:
    """Return new arrays."""
    state = OPTIMIZER.init_state(params)

    def step() -> Sequence[Any]:
        nonlocal params, state
        params, state = OPTIMIZER.step(params, grads, state)
        return tuple(params.values())

    return step


def textbook(params: Params, grads: Params) -> Call:
    """Write the formulas as they stand in the paper."""
    (beta1, beta2), lr = OPTIMIZER.betas, OPTIMIZER.lr
    theta = dict(params)
    m, v = ({name: np.zeros_like(array) for name, array in params.items()} for _ in "mv")
    steps = count(1)

    def step() -> Sequence[Any]:
        t = next(steps)
        for name, g in grads.items():
            m[name] = beta1 * m[name] + (1 - beta1) * g
            v[name] = beta2 * v[name] + (1 - beta2) * g**2
            m_hat, v_hat = m[name] / (1 - beta1**t), v[name] / (1 - beta2**t)
            move = m_hat / (np.sqrt(v_hat) + OPTIMIZER.epsilon)
            theta[name] = theta[name] - lr * (move + OPTIMIZER.weight_decay * theta[name])
        return tuple(theta.values())

    return step


def torch_adamw(params: Params, grads: Params) -> Call:
    """Let PyTorch do it, with its defaults."""
    import torch

    torch.set_num_threads(blas_threads())
    tensors = [torch.nn.Parameter(torch.from_numpy(array)) for array in params.values()]
    for tensor, grad in zip(tensors, grads.values(), strict=True):
        tensor.grad = torch.from_numpy(grad)
    optimizer = torch_optimizer(tensors)

    def step() -> Sequence[Any]:
        optimizer.step()
        return [tensor.detach() for tensor in tensors]

    return step


UPDATES: dict[str, Callable[[Params, Params], Call]] = {
    IN_PLACE: in_place,
    PURE: pure,
    TEXTBOOK: textbook,
    TORCH: torch_adamw,
}

# ---------------------------------------------------------------------------------- a whole step


def make_step(name: str) -> Call:
    """Return the call of one contender: forward, loss, backward and AdamW, for one batch."""
    rng = np.random.default_rng(0)
    network = Network.mlp(SIZES, rng, dtype=np.float32).with_lora(R, 2.0 * R, rng)
    x = rng.standard_normal((BATCH, SIZES[0]), np.float32)
    labels = rng.integers(0, SIZES[-1], BATCH)
    return (numpy_step if name == STEP else peft_step)(network, x, labels)


def numpy_step(network: Network, x: Any, labels: Any) -> Call:
    """Train as `lora_ref.training.train` does."""
    params = network.trainable  # the arrays themselves: a step in place trains the network
    state = OPTIMIZER.init_state(params)

    def step() -> Sequence[Any]:
        nonlocal state
        y, cache = network.forward(x)
        _, inner = softmax_cross_entropy(y, labels)
        grad_y = softmax_cross_entropy_backward(inner)
        _, grads = network.backward(grad_y, cache, need_grad_x=False)
        _, state = OPTIMIZER.step(params, grads, state, out=(params, state))
        return y, *params.values()

    return step


def peft_step(network: Network, x: Any, labels: Any) -> Call:
    """Train the same network in PyTorch, its LoRA made by PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.set_num_threads(blas_threads())
    layers: list[Any] = []
    for one in network.layers.values():
        if isinstance(one, LoRALinear):
            layers.append(torch.nn.Linear(one.W0.shape[1], len(one.W0)))
        else:
            layers.append(torch.nn.ReLU())
    targets = [str(i) for i, one in enumerate(layers) if isinstance(one, torch.nn.Linear)]
    config = LoraConfig(r=R, lora_alpha=2 * R, target_modules=targets)
    model: Any = get_peft_model(torch.nn.Sequential(*layers), config)
    trained = []
    with torch.no_grad():
        for module, layer in zip(model.base_model.model, network.layers.values(), strict=True):
            if isinstance(layer, LoRALinear):
                A, B = module.lora_A["default"].weight, module.lora_B["default"].weight
                module.base_layer.weight.copy_(torch.tensor(layer.W0))
                module.base_layer.bias.copy_(torch.tensor(layer.bias))
                A.copy_(torch.tensor(layer.A))
                B.copy_(torch.tensor(layer.B))
                trained += [A, B]
    optimizer = torch_optimizer(trained)
    x, labels = torch.from_numpy(x), torch.from_numpy(labels)

    def step() -> Sequence[Any]:
        optimizer.zero_grad()
        y = model(x)
        torch.nn.functional.cross_entropy(y, labels).backward()
        optimizer.step()
        return y.detach(), *(tensor.detach() for tensor in trained)

    return step


def torch_optimizer(tensors: list[Any]) -> Any:
    import torch

    return torch.optim.AdamW(
        tensors,
        lr=OPTIMIZER.lr,
        betas=OPTIMIZER.betas,
        eps=OPTIMIZER.epsilon,
        weight_decay=OPTIMIZER.weight_decay,
    )


# ---------------------------------------------------------------------------------- the rows


def updates() -> Iterator[Row]:
    """Yield the row of AdamW on the factors of a LoRA, and the one on full matrices."""
    d = 1024
    for name, rows, said in (("adamw", R, f"A and B of r = {R}, d = {d}"),
                             ("adamw-full", d, f"two matrices of {d} x {d}")):  # fmt: skip
        names = [IN_PLACE, PURE, TEXTBOOK, *([TORCH] if find_spec("torch") else [])]
        timings = contest(make_update, names, rows, d)
        same_results(timings, IN_PLACE)
        target = Target(f"{TEXTBOOK}, over {IN_PLACE}", ">=", 1.5)
        targets = (target,) if name == "adamw" else ()
        yield row(name, f"a step of AdamW on {said}, float32", timings, IN_PLACE, targets)


def steps() -> Iterator[Row]:
    """Yield the row of a training step; PyTorch is measured where it is installed, with PEFT."""
    there = all(find_spec(needed) for needed in ("torch", "peft"))
    timings = contest(make_step, [STEP, *([PEFT] if there else [])])
    same_results(timings, STEP)
    widths = "-".join(map(str, SIZES))
    measured = f"a training step with AdamW, {widths}, batch {BATCH}, LoRA r = {R}, float32"
    yield row("training-step", measured, timings, STEP, (Target(f"{PEFT}, over {STEP}", ">=", 3),))


def rows() -> Iterator[Row]:
    """Yield all rows of this file."""
    yield from updates()
    yield from steps()


def same_results(timings: dict[str, Timing], ours: str) -> None:
    """Raise RuntimeError unless all contenders return arrays of the same norms."""
    for name, timing in timings.items():
        if not np.allclose(timing.norms, timings[ours].norms, rtol=1e-4, atol=1e-5):
            raise RuntimeError(f"{name} computes something else than {ours}: {timing.norms}")


def row(
    name: str, measured: str, timings: dict[str, Timing], ours: str, targets: tuple[Target, ...]
) -> Row:
    seconds = {contender: timing.seconds for contender, timing in timings.items()}
    figures = {
        f"{other}, over {ours}": seconds[other] / seconds[ours]
        for other in seconds
        if other != ours
    }
    milliseconds = ", ".join(f"{other} {1e3 * took:.3f} ms" for other, took in seconds.items())
    return Row(name, measured, figures, targets, note=milliseconds)
