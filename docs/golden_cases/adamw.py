"""AdamW: three steps from given gradients, with a large epsilon and decay, so that both show."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw
from lora_ref.training import AdamW


def adamw(
    param: Any,
    grads: Any,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> Values:
    """Return a parameter after each step."""
    optimizer = AdamW(lr, betas=(beta1, beta2), epsilon=epsilon, weight_decay=weight_decay)
    return {"params": steps(optimizer, {"param": param}, {"param": grads})["param"]}


def lora_plus(
    A: Any, B: Any, grads_A: Any, grads_B: Any, lr: float, ratio_B: float, **rest: Any
) -> Values:
    """Return both factors after each step, B at a multiple of the learning rate."""
    betas = (rest["beta1"], rest["beta2"])
    more = {name: rest[name] for name in ("epsilon", "weight_decay")}
    optimizer = AdamW(lr, betas=betas, lr_ratio={"B": ratio_B}, **more)
    found = steps(optimizer, {"A": A, "B": B}, {"A": grads_A, "B": grads_B})
    return {"params_A": found["A"], "params_B": found["B"]}


def steps(optimizer: AdamW, params: Any, grads: Any) -> Values:
    """Return all parameters after each step, stacked."""
    state, found = optimizer.init_state(params), []
    for t in range(len(next(iter(grads.values())))):
        params, state = optimizer.step(params, {name: g[t] for name, g in grads.items()}, state)
        found.append(params)
    return {name: np.array([after[name] for after in found]) for name in params}


def _by_hand(
    param: Any,
    grads: Any,
    lr: float,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
    mistake: str,
) -> Values:
    """Return the parameter after each step with one line wrong."""
    m, v, found = 0, 0, []
    for t, grad in enumerate(grads, 1):
        if mistake == "decay-coupled":
            grad = grad + weight_decay * param
        m, v = beta1 * m + (1 - beta1) * grad, beta2 * v + (1 - beta2) * grad**2
        weight1, weight2 = 1 - beta1**t, 1 - beta2**t
        if mistake == "correction-forgotten":
            weight1, weight2 = 1, 1
        root = np.sqrt(v / weight2) + epsilon
        if mistake == "epsilon-inside-the-root":
            root = np.sqrt(v / weight2 + epsilon)
        if mistake == "epsilon-corrected":
            root = (np.sqrt(v) + epsilon) / np.sqrt(weight2)
        if mistake != "decay-coupled":
            decay = weight_decay if mistake == "decay-without-rate" else lr * weight_decay
            param = param - decay * param
        param = param - lr * m / weight1 / root
        found.append(param)
    return {"params": np.array(found)}


def _hand_made(name: str, text: str) -> dict[str, Wrong]:
    return {name: Wrong(text, lambda **given: _by_hand(mistake=name, **given))}


def _decay_without_ratio(
    B: Any, grads_B: Any, lr: float, ratio_B: float, weight_decay: float, **rest: Any
) -> Values:
    rates = {name: rest[name] for name in ("beta1", "beta2", "epsilon")}
    less = weight_decay / ratio_B
    return {"params_B": adamw(B, grads_B, lr * ratio_B, weight_decay=less, **rates)["params"]}


RATES = {"lr": 0.125, "beta1": 0.5, "beta2": 0.75, "epsilon": 0.125, "weight_decay": 0.25}

CASES = (
    Case(
        "adamw",
        "Three steps; `params` is the parameter after each.",
        "adamw",
        (
            "m, v, params = 0, 0, []",
            "for t, grad in enumerate(grads, 1):",
            "    m = beta1 * m + (1 - beta1) * grad",
            "    v = beta2 * v + (1 - beta2) * grad**2",
            "    step = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)",
            "    param = param - lr * step - lr * weight_decay * param",
            "    params.append(param)",
        ),
        {"param": draw(1, 2, 4), "grads": draw(2, 3, 2, 4), **RATES},
        adamw,
        {
            **_hand_made(
                "decay-coupled", "The decay is added to the gradient, as in Adam with L2."
            ),
            **_hand_made("decay-without-rate", "The decay is not multiplied by the learning rate."),
            **_hand_made("correction-forgotten", "The means are not divided by 1 - beta^t."),
            **_hand_made("epsilon-inside-the-root", "Epsilon is added under the root."),
            **_hand_made(
                "epsilon-corrected",
                "Epsilon is added before the root is divided by that of 1 - beta2^t.",
            ),
            "betas-exchanged": Wrong(
                "beta1 is the weight of the squares, and beta2 of the gradients.",
                lambda beta1, beta2, **rest: adamw(beta1=beta2, beta2=beta1, **rest),
            ),
        },
        1e-12,
    ),
    Case(
        "adamw-lora-plus",
        "Three steps of two factors, where the learning rate of B is `ratio_B` times that of A.",
        "adamw-lora-plus",
        (
            "def steps(param, grads, lr):",
            "    m, v, params = 0, 0, []",
            "    for t, grad in enumerate(grads, 1):",
            "        m = beta1 * m + (1 - beta1) * grad",
            "        v = beta2 * v + (1 - beta2) * grad**2",
            "        step = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + epsilon)",
            "        param = param - lr * step - lr * weight_decay * param",
            "        params.append(param)",
            "    return params",
            "params_A = steps(A, grads_A, lr)",
            "params_B = steps(B, grads_B, ratio_B * lr)",
        ),
        {
            "A": draw(1, 2, 5),
            "B": draw(2, 4, 2),
            "grads_A": draw(3, 3, 2, 5),
            "grads_B": draw(4, 3, 4, 2),
            "ratio_B": 4.0,
            **RATES,
        },
        lora_plus,
        {
            "ratio-on-A": Wrong(
                "The learning rate of A is multiplied, not that of B.",
                lambda lr, ratio_B, **rest: lora_plus(lr=lr * ratio_B, ratio_B=1 / ratio_B, **rest),
            ),
            "ratio-on-the-gradient": Wrong(
                "The gradient of B is multiplied, which AdamW all but divides out again.",
                lambda grads_B, ratio_B, **rest: lora_plus(
                    grads_B=ratio_B * grads_B, ratio_B=1.0, **rest
                ),
            ),
            "decay-without-ratio": Wrong(
                "The decay of B is not multiplied by the ratio.", _decay_without_ratio
            ),
        },
        1e-12,
    ),
)
