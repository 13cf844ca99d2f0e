"""Attention of given queries, keys and values, and a causal layer of two heads."""

from typing import Any

import numpy as np

from golden_cases.case import Case, Values, Wrong, draw, known
from lora_ref import ops
from lora_ref.layers import Attention, Linear

HEADS = 2


def attention(q: Any, k: Any, v: Any, grad_y: Any) -> Values:
    """Return attention and its gradients."""
    y, cache = ops.attention(q, k, v)
    grads = ops.attention_backward(grad_y, cache)
    return {"y": y, **dict(zip(("grad_q", "grad_k", "grad_v"), grads, strict=True))}


def multi_head(
    x: Any, W_q: Any, W_k: Any, W_v: Any, W_o: Any, heads: int, grad_y: Any, code: Any = Attention
) -> Values:
    """Return both passes of causal attention without biases."""
    layer = code(*map(Linear, (W_q, W_k, W_v, W_o)), heads=heads, causal=True)
    y, cache = layer.forward(x)
    grad_x, grads = layer.backward(grad_y, cache)
    return {"y": y, "grad_x": grad_x, **{f"grad_W_{p}": grads[f"{p}.W"] for p in "qkvo"}}


def _softmax_over_queries(q: Any, k: Any, v: Any, **_: Any) -> Values:
    weights = np.exp(q @ k.T / np.sqrt(q.shape[1]))
    return {"y": weights / weights.sum(axis=0) @ v}


def _not_causal(x: Any, W_q: Any, W_k: Any, W_v: Any, W_o: Any, heads: int, grad_y: Any) -> Values:
    layer = Attention(*map(Linear, (W_q, W_k, W_v, W_o)), heads=heads)
    y, cache = layer.forward(x)
    return {"y": y, "grad_x": layer.backward(grad_y, cache)[0]}


def _heads_interleaved(W_q: Any, W_k: Any, W_v: Any, W_o: Any, heads: int, **rest: Any) -> Values:
    """Give feature j to head j % heads, by rows moved to where the right code looks for them."""

    def moved(W: Any) -> Any:
        return np.concatenate([W[h::heads] for h in range(heads)])

    projections = {"W_q": moved(W_q), "W_k": moved(W_k), "W_v": moved(W_v)}
    found = multi_head(**projections, W_o=moved(W_o.T).T.copy(), heads=heads, **rest)
    return {name: found[name] for name in ("y", "grad_x")}


CASES = (
    Case(
        "attention",
        "A mean of the values for each query, and the gradients of queries, keys and values.",
        "attention",
        (
            "d = q.shape[1]",
            "P = exp(q @ k.T / sqrt(d))",
            "P = P / P.sum(axis=1, keepdims=True)",
            "y = P @ v",
            "grad_v = P.T @ grad_y",
            "grad_P = grad_y @ v.T",
            "grad_S = P * (grad_P - (P * grad_P).sum(axis=1, keepdims=True))",
            "grad_q = grad_S @ k / sqrt(d)",
            "grad_k = grad_S.T @ q / sqrt(d)",
        ),
        {
            "q": draw(1, 3, 4, most=1.0),
            "k": draw(2, 5, 4),
            "v": draw(3, 5, 2),
            "grad_y": draw(4, 3, 2),
        },
        attention,
        {
            "root-of-d-left-out": Wrong(
                "The scores are not divided by sqrt(d).",
                lambda q, **rest: {"y": attention(q=q * np.sqrt(q.shape[1]), **rest)["y"]},
            ),
            "divided-by-d": Wrong(
                "The scores are divided by d.",
                lambda q, **rest: {"y": attention(q=q / np.sqrt(q.shape[1]), **rest)["y"]},
            ),
            "softmax-over-queries": Wrong(
                "The softmax runs over the queries of a key, not over the keys of a query.",
                _softmax_over_queries,
            ),
        },
        1e-12,
    ),
    Case(
        "multi-head-causal",
        "Causal attention of two heads with its projections, and all gradients.",
        "multi-head-attention",
        (
            "Q, K, V = x @ W_q.T, x @ W_k.T, x @ W_v.T",
            "d, e, n = Q.shape[1] // heads, V.shape[1] // heads, len(x)",
            "H = range(heads)",
            "Q = [Q[:, i * d : (i + 1) * d] for i in H]",
            "K = [K[:, i * d : (i + 1) * d] for i in H]",
            "V = [V[:, i * e : (i + 1) * e] for i in H]",
            "P = [tri(n) * exp(Q[i] @ K[i].T / sqrt(d)) for i in H]",
            "P = [P[i] / P[i].sum(axis=1, keepdims=True) for i in H]",
            "context = hstack([P[i] @ V[i] for i in H])",
            "y = context @ W_o.T",
            "grad_W_o = grad_y.T @ context",
            "g = grad_y @ W_o",
            "g = [g[:, i * e : (i + 1) * e] for i in H]",
            "grad_P = [g[i] @ V[i].T for i in H]",
            "along = [(P[i] * grad_P[i]).sum(axis=1, keepdims=True) for i in H]",
            "grad_S = [P[i] * (grad_P[i] - along[i]) for i in H]",
            "grad_Q = hstack([grad_S[i] @ K[i] for i in H]) / sqrt(d)",
            "grad_K = hstack([grad_S[i].T @ Q[i] for i in H]) / sqrt(d)",
            "grad_V = hstack([P[i].T @ g[i] for i in H])",
            "grad_W_q, grad_W_k, grad_W_v = grad_Q.T @ x, grad_K.T @ x, grad_V.T @ x",
            "grad_x = grad_Q @ W_q + grad_K @ W_k + grad_V @ W_v",
        ),
        {
            "x": draw(1, 3, 5),
            "W_q": draw(2, 4, 5, step=1 / 8, most=1 / 2),
            "W_k": draw(3, 4, 5, step=1 / 8, most=1 / 2),
            "W_v": draw(4, 6, 5),
            "W_o": draw(5, 2, 6),
            "heads": HEADS,
            "grad_y": draw(6, 3, 2),
        },
        multi_head,
        {
            "not-causal": Wrong("Every token sees all tokens.", _not_causal),
            **known(multi_head, "next-token-visible"),
            "heads-interleaved": Wrong(
                "Feature j belongs to head j % heads, not to head j // d.", _heads_interleaved
            ),
            "root-of-the-whole-width": Wrong(
                "The scores are divided by the root of the width of all heads, not of one.",
                lambda W_q, **rest: {"y": multi_head(W_q=W_q / np.sqrt(HEADS), **rest)["y"]},
            ),
            **known(multi_head, "sqrt-d-forgotten", "mask-forgotten-in-backward"),
        },
        1e-12,
    ),
)
