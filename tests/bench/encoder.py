"""An encoder as large as all-MiniLM-L6-v2 beside the same one in PEFT: a LoRA step of a classifier.

The weights are random, those of both contenders the same. The floor is what no implementation can
leave out: the products with the frozen weights, forward and backward.
"""

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np

from lora_ref.layers import Linear
from lora_ref.layers.composite import arrays_of
from lora_ref.training import Network
from lora_ref.transformer import Encoder, with_lora
from lora_ref.transformer.minilm import bert_name
from tests.bench.contest import contest
from tests.bench.machine import blas_threads, can_set_threads, use_blas_threads
from tests.bench.memory import growths
from tests.bench.row import Row, Target
from tests.bench.training import same_results, torch_optimizer
from tests.bench.transformer import numpy_step

VOCABULARY = 30_522
SIZES = {"context": 512, "features": 384, "heads": 12, "blocks": 6}
TEXTS, TOKENS, CLASSES = 32, 32, 2
PART = TEXTS // 2
"""Texts in a pass of ours: one part for each of two threads. On one thread the C library keeps what
such a pass frees; what a pass of the whole batch frees it hands back, and page faults follow."""

R, ALPHA = 8, 16.0

OURS = "lora_ref"
FLOOR = "the frozen products alone (the floor)"
PEFT = "eager PyTorch with PEFT"

Call = Callable[[], Sequence[Any]]


def contenders() -> list[str]:
    """Return ours, and PEFT where it and transformers are installed."""
    there = all(find_spec(package) for package in ("torch", "transformers", "peft"))
    return [OURS, *([PEFT] if there else [])]


def make_step(name: str, threads: int, vocabulary: int = VOCABULARY) -> Call:
    """Return the call of one contender: forward, cross-entropy, backward and AdamW."""
    use_blas_threads(threads)
    rng = np.random.default_rng(0)
    encoder = Encoder.init(vocabulary, **SIZES, rng=rng, dtype=np.float32)
    adapted = with_lora(encoder, rng, r=R, alpha=ALPHA)
    adapted = adapted.with_params(  # away from B = 0, where the gradient of A is zero
        {key: rng.normal(0, 0.1, a.shape).astype(a.dtype) for key, a in adapted.trainable.items()}
    )
    W = rng.normal(0, 0.1, (CLASSES, SIZES["features"])).astype(np.float32)
    model = Network({"encoder": adapted, "head": Linear(W, np.zeros(CLASSES, np.float32))})
    tokens = rng.integers(0, vocabulary, (TEXTS, TOKENS))
    labels = rng.integers(0, CLASSES, TEXTS)
    if name == FLOOR:
        return frozen_products(encoder)
    if name == PEFT:
        return peft_step(model, tokens, labels)
    mask = {"encoder.attention_mask": np.ones(tokens.shape, np.bool)}
    return numpy_step(model, tokens, labels, PART, mask)


def frozen_products(encoder: Encoder) -> Call:
    """Multiply with every weight as a step has to: nothing below the lowest A needs a gradient."""
    weights = {name: a for name, a in arrays_of(encoder).items() if name.endswith(".W")}
    frozen = {name: a for name, a in weights.items() if name.startswith("blocks.")}
    n = TEXTS * TOKENS
    rows = {width: np.ones((n, width), np.float32) for W in frozen.values() for width in W.shape}
    out = {width: np.empty_like(array) for width, array in rows.items()}
    lowest = tuple(f"blocks.0.attention.{name}.W" for name in "qkv")
    backward = [W for name, W in reversed(frozen.items()) if name not in lowest]

    def step() -> Sequence[Any]:
        for W in frozen.values():
            np.matmul(rows[W.shape[1]], W.T, out=out[W.shape[0]])
        for W in backward:
            np.matmul(rows[W.shape[0]], W, out=out[W.shape[1]])
        return ()

    return step


def peft_step(model: Network, tokens: Any, labels: Any) -> Call:
    """Train the same classifier on the BERT of transformers, its LoRA made by PEFT."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertModel

    torch.set_num_threads(blas_threads())
    config = BertConfig(
        vocab_size=len(arrays_of(model)["encoder.tokens.W"]),
        max_position_embeddings=SIZES["context"],
        hidden_size=SIZES["features"],
        num_attention_heads=SIZES["heads"],
        num_hidden_layers=SIZES["blocks"],
        intermediate_size=4 * SIZES["features"],
        layer_norm_eps=1e-5,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    lora = LoraConfig(r=R, lora_alpha=ALPHA, target_modules=["query", "value"])
    bert: Any = get_peft_model(BertModel(config, add_pooling_layer=False), lora)  # type: ignore
    head = torch.nn.Linear(SIZES["features"], CLASSES)
    theirs = {**dict(bert.base_model.model.named_parameters()), "head.weight": head.weight}
    theirs["head.bias"] = head.bias
    trained = []
    with torch.no_grad():
        theirs["embeddings.token_type_embeddings.weight"].zero_()  # of which we have none
        for name, array in arrays_of(model).items():
            tensor = theirs[their_name(name)]
            tensor.copy_(torch.tensor(array))
            if name in model.trainable:
                trained.append(tensor)
    optimizer = torch_optimizer(trained)
    mask = torch.ones(tokens.shape, dtype=torch.int64)
    tokens, labels = torch.from_numpy(tokens), torch.from_numpy(labels)

    def step() -> Sequence[Any]:
        optimizer.zero_grad()
        rows = bert(input_ids=tokens, attention_mask=mask).last_hidden_state
        mean = (mask[..., None] * rows).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        loss = torch.nn.functional.cross_entropy(head(mean), labels)
        loss.backward()
        optimizer.step()
        return loss.detach(), *(tensor.grad for tensor in trained)

    return step


def their_name(name: str) -> str:
    """Return the name of one of our arrays in BERT with PEFT's LoRA."""
    layer, _, array = name.rpartition(".")
    if layer.startswith("encoder."):
        layer = bert_name(layer.removeprefix("encoder."))
    adapted = layer.endswith(("query", "value"))
    ends = {"W": "weight", "gain": "weight", "W0": "base_layer.weight"}
    ends |= {"A": "lora_A.default.weight", "B": "lora_B.default.weight"}
    if adapted:
        ends["bias"] = "base_layer.bias"
    return f"{layer}.{ends.get(array, array)}"


def steps() -> Iterator[Row]:
    """Yield the row of a step on one thread, and on all that products use."""
    for threads in sorted({blas_threads(), 1 if can_set_threads() else blas_threads()}):
        timings = contest(make_step, [*contenders(), FLOOR], threads, rounds=8)
        same_results({name: timings[name] for name in contenders()}, OURS)
        seconds = {name: timing.seconds for name, timing in timings.items()}
        figures = {f"{name}, over the floor": seconds[name] / seconds[FLOOR] for name in seconds}
        del figures[f"{FLOOR}, over the floor"]
        if PEFT in seconds:
            figures[f"{PEFT}, over {OURS}"] = seconds[PEFT] / seconds[OURS]
        measured = (
            f"a training step with AdamW of an encoder of {SIZES['blocks']} blocks of width "
            f"{SIZES['features']}, {TEXTS} x {TOKENS} tokens, float32; trained: LoRA of r = {R} "
            f"on q and v, and a head; threads: {threads}"
        )
        milliseconds = ", ".join(f"{name} {1e3 * took:.1f} ms" for name, took in seconds.items())
        targets = (
            Target(f"{OURS}, over the floor", "<=", 1.6),
            Target(f"{PEFT}, over {OURS}", ">=", 1.7),
        )
        yield Row("encoder-step-lora", measured, figures, targets, note=milliseconds)


def memory() -> Iterator[Row]:
    """Yield the row of the memory of such steps.

    The vocabulary is small: a large table is copied while the model is made, and that peak would
    hide the one of the steps, which do not depend on it.
    """
    if not (figures := growths(make_step, contenders(), 1, 1000)):
        return
    measured = (
        "MB by which these steps raise the peak memory of a fresh process, one thread; "
        f"{OURS} in parts of {PART} texts, {PEFT} in one pass"
    )
    targets = (Target(OURS, "<", figures[PEFT]),) if PEFT in figures else ()
    yield Row("encoder-memory", measured, figures, targets)
