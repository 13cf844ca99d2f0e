"""The small language model beside the same one in eager PyTorch: a training step, and text.

The twin is written by hand on the same weights, with the functions that PyTorch has for each part,
among them one for attention.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from typing import Any

import numpy as np

from lora_ref.layers.composite import arrays_of
from lora_ref.training import Network, loss_and_gradients
from lora_ref.training.gradients import keep_freed_memory
from lora_ref.transformer import GPT, generate, with_lora
from lora_ref.transformer.language_model import MICRO_BATCH, LanguageModel
from lora_ref.transformer.pretrain import SIZES, WEIGHTS
from tests.bench.contest import contest
from tests.bench.machine import blas_threads, use_blas_threads
from tests.bench.memory import growths
from tests.bench.row import Row, Target
from tests.bench.training import OPTIMIZER, row, same_results, torch_optimizer

BATCH = 16
R, ALPHA = 8, 16.0
PROMPT, WRITTEN = 16, 64

OURS = "lora_ref"
TWIN = "eager PyTorch"

Call = Callable[[], Sequence[Any]]


def model_of(r: int, rng: np.random.Generator) -> GPT:
    """Return the model, with LoRA of rank r on q and v unless r is 0."""
    gpt = LanguageModel.load(WEIGHTS / "base").gpt
    if not r:
        return gpt
    adapted = with_lora(gpt, rng, r=r, alpha=ALPHA)
    return adapted.with_params(  # away from B = 0, where the gradient of A is zero
        {name: rng.normal(0, 0.1, a.shape).astype(a.dtype) for name, a in adapted.trainable.items()}
    )


def contenders() -> list[str]:
    """Return ours, and the twin where PyTorch is installed."""
    return [OURS, *([TWIN] if find_spec("torch") else [])]


# ---------------------------------------------------------------------------------- a training step


def make_step(name: str, r: int) -> Call:
    """Return the call of one contender: forward, cross-entropy, backward and AdamW."""
    rng = np.random.default_rng(0)
    gpt = model_of(r, rng)
    tokens = rng.integers(0, SIZES["vocabulary"], (BATCH, SIZES["context"] + 1))
    x, labels = tokens[:, :-1].copy(), tokens[:, 1:].copy()
    if name == OURS:
        return numpy_step(Network({"gpt": gpt}), x, labels, MICRO_BATCH)
    return torch_step(gpt, x, labels)


def numpy_step(
    network: Network, x: Any, labels: Any, micro_batch: int, keywords: Any = None
) -> Call:
    """Train as `LanguageModel.trained` does: the passes share the threads that products had."""
    keep_freed_memory()
    pool = ThreadPoolExecutor(threads := use_blas_threads(1))
    params = network.trainable  # the arrays themselves: a step in place trains the model
    state = OPTIMIZER.init_state(params)
    options: Any = {"keywords": keywords, "micro_batch": micro_batch}
    options["run"] = pool.map if threads > 1 else map

    def step() -> Sequence[Any]:
        nonlocal state
        loss, grads = loss_and_gradients(network, x, labels, **options)
        _, state = OPTIMIZER.step(params, grads, state, out=(params, state))
        return np.array(loss), *grads.values()

    return step


def torch_step(gpt: GPT, x: Any, labels: Any) -> Call:
    """Train the twin."""
    import torch

    weights = tensors_of(gpt)
    x, labels = torch.from_numpy(x), torch.from_numpy(labels).flatten()
    trained = [weights[name].requires_grad_() for name in gpt.trainable]
    optimizer = torch_optimizer(trained)

    def step() -> Sequence[Any]:
        optimizer.zero_grad()
        logits, _ = torch_gpt(weights, x)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels)
        loss.backward()
        optimizer.step()
        return loss.detach(), *(tensor.grad for tensor in trained)

    return step


# ---------------------------------------------------------------------------------- text


def make_text(name: str) -> Call:
    """Return the call of one contender: the likeliest tokens after a prompt, one by one."""
    rng = np.random.default_rng(0)
    gpt, prompt = model_of(0, rng), rng.integers(0, SIZES["vocabulary"], PROMPT)
    if name == OURS:
        return lambda: (generate(gpt, prompt, WRITTEN, rng, temperature=0),)
    return partial(torch_text, tensors_of(gpt), prompt)


def torch_text(weights: Mapping[str, Any], prompt: Any) -> Sequence[Any]:
    """Write with the twin, keys and values of what was read kept as ours keeps them."""
    import torch

    unread, past, written = torch.from_numpy(prompt)[None], None, []
    with torch.inference_mode():
        for _ in range(WRITTEN):
            logits, past = torch_gpt(weights, unread, past)
            unread = logits[:, -1].argmax(dim=-1, keepdim=True)
            written.append(int(unread))
    return (np.array(written),)


# ---------------------------------------------------------------------------------- the twin


def tensors_of(gpt: GPT) -> dict[str, Any]:
    """Return the arrays of all layers as tensors, under our names."""
    import torch

    torch.set_num_threads(blas_threads())
    return {name: torch.tensor(array) for name, array in arrays_of(gpt).items()}


def torch_gpt(w: Mapping[str, Any], tokens: Any, past: Any = None) -> tuple[Any, list[Any]]:
    """Return logits, and keys and values of each block, with those of `past` before them."""
    import torch
    from torch.nn import functional

    def linear(name: str, x: Any) -> Any:
        if f"{name}.A" not in w:
            return functional.linear(x, w[f"{name}.W"], w[f"{name}.bias"])
        update = functional.linear(functional.linear(x, w[f"{name}.A"]), w[f"{name}.B"])
        return functional.linear(x, w[f"{name}.W0"], w[f"{name}.bias"]) + ALPHA / R * update

    def norm(name: str, x: Any) -> Any:
        return functional.layer_norm(x, x.shape[-1:], w[f"{name}.gain"], w[f"{name}.bias"])

    def by_head(x: Any) -> Any:
        return x.unflatten(-1, (SIZES["heads"], -1)).transpose(-2, -3)

    start = past[0][0].shape[-2] if past else 0
    places = torch.arange(start, start + tokens.shape[-1])
    x = functional.embedding(tokens, w["tokens.W"])
    x = x + functional.embedding(places, w["positions.W"])
    kept = []
    for block in (f"blocks.{i}" for i in range(SIZES["blocks"])):
        normed = norm(f"{block}.norm1", x)
        q, k, v = (by_head(linear(f"{block}.attention.{name}", normed)) for name in "qkv")
        if past:
            k, v = (torch.cat(pair, dim=-2) for pair in zip(past[len(kept)], (k, v), strict=True))
        kept.append((k, v))
        taken = functional.scaled_dot_product_attention(q, k, v, is_causal=not past)
        x = x + linear(f"{block}.attention.o", taken.transpose(-2, -3).flatten(-2))
        inner = linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x))
        x = x + linear(f"{block}.mlp.fc2", functional.gelu(inner, approximate="tanh"))
    return functional.linear(norm("norm", x), w["tokens.W"]), kept


# ---------------------------------------------------------------------------------- the rows


def steps() -> Iterator[Row]:
    """Yield the row of a step that trains all, and of one that trains LoRA."""
    width, blocks = SIZES["features"], SIZES["blocks"]
    for name, r, what in (("gpt-step", 0, "all"), ("gpt-step-lora", R, f"LoRA of r = {R}, q, v")):
        timings = contest(make_step, contenders(), r)
        same_results(timings, OURS)
        measured = (
            f"a training step with AdamW of a GPT of {blocks} blocks of width {width}, "
            f"{BATCH} x {SIZES['context']} tokens, float32; trained: {what}"
        )
        yield row(name, measured, timings, OURS, (Target(f"{TWIN}, over {OURS}", ">=", 1),))


def memory() -> Iterator[Row]:
    """Yield the row of the memory of both kinds of step."""
    figures: dict[str, float] = {}
    for r, what in ((0, "all"), (R, "LoRA")):
        found = growths(make_step, contenders(), r)
        figures |= {f"{what}, {name}": megabytes for name, megabytes in found.items()}
    if not figures:
        return
    measured = "MB by which training steps raise the peak memory of a fresh process, the same GPT"
    targets = (
        Target(f"{what}, {OURS}", "<", figures[f"{what}, {TWIN}"])
        for what in ("all", "LoRA")
        if f"{what}, {TWIN}" in figures
    )
    yield Row("gpt-memory", measured, figures, tuple(targets))


def text() -> Iterator[Row]:
    """Yield the row of tokens a second."""
    timings = contest(make_text, contenders())
    same_results(timings, OURS)
    seconds = {name: timing.seconds for name, timing in timings.items()}
    figures = {f"{name}, tokens a second": WRITTEN / took for name, took in seconds.items()}
    if TWIN in seconds:
        figures[f"{TWIN}, over {OURS}"] = seconds[TWIN] / seconds[OURS]
    measured = f"{WRITTEN} tokens after a prompt of {PROMPT}, the same GPT, one by one"
    note = (
        "With two threads PyTorch waits for both at every small product: where other processes "
        "share the cores, its figure falls far more than ours, and the ratio says nothing."
    )
    yield Row("gpt-text", measured, figures, (Target(f"{TWIN}, over {OURS}", ">=", 1),), note)
