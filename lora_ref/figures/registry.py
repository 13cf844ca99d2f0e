"""Every figure by name, with the package's own numbers: what `lora-ref figures` draws."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np

from lora_ref.checks import Array
from lora_ref.claims import article, judge
from lora_ref.counting import LoRA, count_parameters
from lora_ref.counting.models import get_model
from lora_ref.errors import LoraRefError
from lora_ref.figures import (
    claims,
    counts,
    diagram,
    lowrank,
    multitask,
    products,
    quantization,
    sentiment,
    study,
    text_study,
    training,
    transformer,
    ways,
)
from lora_ref.figures.alt_text import Picture
from lora_ref.figures.palette_metaphor import dusk, evening, palette
from lora_ref.layers import Adapter, LoRALinear, QLoRALinear, initializers
from lora_ref.lowrank import best_update, truncate
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.sentiment import findings as sentiment_findings
from lora_ref.study import committed, digits
from lora_ref.suggestions import nearest_or_all
from lora_ref.text_study import findings as text_findings
from lora_ref.text_study.measures import STRENGTHS
from lora_ref.training import SGD, AdamW, Loss, Network, train
from lora_ref.transformer.voices import base_model, with_voices
from lora_ref.walkthrough import article_layer

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Entry:
    """A figure with its title and the numbers that it is drawn from."""

    title: str  # a few words, without a number
    draw: Callable[..., Picture]  # of its numbers, and of ``theme``
    numbers: Callable[[], Numbers]  # the package's own, as keyword arguments of `draw`

    def picture(self, theme: str = "light", **numbers: Any) -> Picture:
        """Return the figure with its alt text, of other numbers where some are given."""
        wanted = signature(self.draw).parameters.keys() - {"theme"}
        given = numbers if wanted <= numbers.keys() else {**self.numbers(), **numbers}
        return self.draw(**given, theme=theme)


RANK = 8
"""Of the updates drawn here, where the figure does not say otherwise."""

ATTENTION: Mapping[str, tuple[str, ...]] = {
    "roberta-base": ("query", "value"),
    "gpt2-xl": ("c_attn.q", "c_attn.v"),
    "llama-7b": ("q_proj", "v_proj"),
    "llama-65b": ("q_proj", "v_proj"),
    "gpt3-175b": ("c_attn.q", "c_attn.v"),
}
"""Models that are counted, and where each has the queries and values that LoRA adapts."""


def mosaic() -> Array:
    """Return the first 48 digits as one picture of 48 x 64, six rows of eight, float64."""
    images = digits.load().x[:48].astype(np.float64)
    return images.reshape(6, 8, 8, 8).swapaxes(1, 2).reshape(48, 64)


@cache
def _article() -> Numbers:
    layer = article_layer()
    return {"W0": layer.W0, "A": layer.A, "B": layer.B, "alpha": layer.alpha}


def _direction() -> Numbers:
    W0 = np.array([[1.0, 0.4], [-0.3, 0.8]])
    return {"W0": W0, "b": np.array([0.4, 0.8]), "a": np.array([0.3, 0.7])}


@cache
def _errors() -> Numbers:
    rng = np.random.default_rng(0)
    return {"errors": lowrank.errors_by_rank(mosaic(), range(4, 48, 4), draws=4, rng=rng)}


@cache
def _checks() -> Numbers:
    rng = np.random.default_rng(0)

    def drawn(*shape: int) -> Array:
        return rng.standard_normal(shape)

    adapter = Adapter(drawn(4, 7) / 2, drawn(4) / 2, drawn(7, 4), drawn(7), activation="tanh")
    lora = LoRALinear(drawn(5, 7), drawn(2, 7), drawn(5, 2), alpha=4)
    x = drawn(6, 7)
    steps = [float(step) for step in 10.0 ** np.arange(-13, 4.1, 0.5)]
    small = [step for step in steps if step <= 1]
    return {
        "smooth": training.errors_by_step(adapter, x, small, range(5)),
        "affine": training.errors_by_step(lora, x, steps, range(5)),
    }


@cache
def _starts() -> Numbers:
    rng = np.random.default_rng(0)
    out_features, in_features = 12, 16
    W0 = rng.standard_normal((out_features, in_features)) / 4
    x = rng.standard_normal((64, in_features))
    shift = rng.standard_normal((out_features, 2)) @ rng.standard_normal((2, in_features)) / 4

    def path(start: initializers.Initializer) -> training.Norms:
        layer = LoRALinear.init(W0, 4, 8, np.random.default_rng(1), initializer=start)
        return training.first_steps(layer, x, x @ (W0 + shift).T, lr=0.02, steps=3)

    named = {
        "B = 0, A random": initializers.kaiming_uniform,
        "both random": initializers.both_random,
        "both zero": initializers.both_zero,
    }
    return {"starts": {name: path(start) for name, start in named.items()}}


@cache
def _kept() -> Numbers:
    out_features, in_features, n, alpha, seeds = 64, 256, 128, 16.0, range(5)
    optimizer = AdamW(1e-4, weight_decay=0)
    rules = {"alpha alone": 0.0, "alpha / sqrt(r)": 0.5, "alpha / r": 1.0}
    found, ranks = {}, (4, 8, 16, 32, 64)
    for name, power in rules.items():
        fall, size = [], []
        for r in ranks:
            falls, sizes = [], []
            for seed in seeds:
                rng = np.random.default_rng(seed)
                x = rng.standard_normal((n, in_features))
                g = rng.standard_normal((n, out_features))
                W0 = np.zeros((out_features, in_features))
                layer = LoRALinear.init(W0, r, r * alpha / r**power, rng)
                _, grads = layer.backward(g, layer.forward(x)[1])
                state = optimizer.init_state(layer.trainable)
                moved, _ = optimizer.step(layer.trainable, grads, state)
                update = layer.with_params(moved).delta_w
                falls.append(-np.sum(g * (x @ update.T)))
                sizes.append(np.linalg.norm(update))
            fall.append(float(np.mean(falls)))
            size.append(float(np.mean(sizes)))
        found[name] = training.FirstStep(fall, size)
    return {"ranks": ranks, "first": found, "optimizer": "Adam"}


@cache
def _descents() -> Numbers:
    rng = np.random.default_rng(0)
    out_features, in_features, n = 12, 16, 64
    W0 = rng.standard_normal((out_features, in_features)) / 4
    x = rng.standard_normal((n, in_features))
    strengths = 1.6 ** -np.arange(6) / 2
    shift = (
        rng.standard_normal((out_features, 6)) * strengths @ rng.standard_normal((6, in_features))
    )
    y = x @ (W0 + shift).T + rng.standard_normal((n, out_features)) / 20
    loss = Loss(mean_squared_error, mean_squared_error_backward)
    losses, floors = {}, {}
    for r in (1, 2, 4):
        start = LoRALinear.init(W0, r, 2 * r, np.random.default_rng(1))
        _, history = train(
            Network({"layer": start}), x, y, optimizer=SGD(lr=0.4), steps=201, batch=n,
            rng=np.random.default_rng(2), loss=loss,
        )  # fmt: skip
        A, B = best_update(x, y, W0, r)
        losses[f"r = {r}"] = history.losses
        floors[f"r = {r}"], _ = mean_squared_error(x @ (W0 + B @ A).T, y)
    return {"losses": losses, "floors": floors}


def _linear_task() -> tuple[Array, Array, Array]:
    """Return x, y and W0 of a task whose inputs are not equally loud, and its shift of rank 6."""
    rng = np.random.default_rng(0)
    out_features, in_features, n = 12, 16, 64
    x = rng.standard_normal((n, in_features)) * np.geomspace(3, 1 / 3, in_features)
    W0 = rng.standard_normal((out_features, in_features)) / 4
    strengths = 2.0 ** -np.arange(6) / 4
    shift = rng.standard_normal((out_features, 6)) * strengths @ rng.standard_normal((6, 16))
    return x, x @ (W0 + shift).T + rng.standard_normal((n, out_features)) / 20, W0


@cache
def _learning_order() -> Numbers:
    x, y, W0 = _linear_task()
    r, rng = 4, np.random.default_rng(1)
    start = LoRALinear.init(W0, r, r, rng, initializer=initializers.normal(0.01))
    _, history = train(
        Network({"layer": start}), x, y, optimizer=SGD(lr=0.3), steps=300, batch=len(x), rng=rng,
        loss=Loss(mean_squared_error, mean_squared_error_backward),
        callback=lambda step, now: now.trainable["layer.B"] @ now.trainable["layer.A"],
    )  # fmt: skip
    A, B = best_update(x, y, W0, r)
    right, goals, left = np.linalg.svd(x @ (B @ A).T / len(x) ** 0.5, full_matrices=False)

    def sizes(update: Array) -> Array:  # as the rows of x see it, along the directions of the goal
        along: Array = np.diag(right[:, :r].T @ x @ update.T @ left[:r].T) / len(x) ** 0.5
        return along

    grown = np.array([sizes(update) for _, update in history.evaluations])
    return {"sizes": grown, "goals": goals[:r]}


@cache
def _losses_by_rank() -> Numbers:
    x, y, W0 = _linear_task()
    tasks = {}
    for name, rows in (("rows as they are", x), ("white rows", 8 * np.linalg.qr(x)[0])):
        F = np.linalg.lstsq(rows, y - x @ W0.T, rcond=None)[0].T
        goal = rows @ F.T  # what is left of it is the loss above that of F
        ways: dict[str, dict[int, float]] = {"best": {}, "cut": {}}
        for r in range(1, 6):
            A, B = best_update(rows, goal, 0 * W0, r)
            ways["best"][r] = float(np.mean((rows @ (B @ A).T - goal) ** 2))
            ways["cut"][r] = float(np.mean((rows @ truncate(F, r).T - goal) ** 2))
        tasks[name] = ways
    return {"tasks": tasks}


@cache
def _parameter_counts() -> Numbers:
    return {
        "parameter_counts": [
            count_parameters(get_model(name), LoRA(RANK, targets))
            for name, targets in ATTENTION.items()
        ]
    }


@cache
def _memories() -> Numbers:
    models = [get_model(name) for name in ("llama-7b", "llama-65b")]
    return {
        "models": {
            model.title: counts.memories(model, RANK, ATTENTION[model.name]) for model in models
        }
    }


@cache
def _uses() -> Numbers:
    return {"used": quantization.uses(np.random.default_rng(0).standard_normal((512, 512)))}


def _block() -> Numbers:
    return {"block": np.random.default_rng(1).standard_normal(64)}


@cache
def _quantised() -> Numbers:
    block: Any = with_voices(base_model(), ("verse",), (1.0,)).gpt.blocks["1"]
    voiced = block.mlp.children["fc1"].tasks[0]
    layer = QLoRALinear.from_lora(voiced)
    return {"layer": layer, "W0": voiced.W0, "strengths": (0.1, 1.0)}


@cache
def _two_voices() -> Numbers:
    names = ("verse", "play")
    block: Any = with_voices(base_model(), names, (1.0, 1.0)).gpt.blocks["0"]
    return {"tasks": block.attention.v.tasks, "names": names}


@cache
def _judgements() -> Numbers:
    return {"judgements": [judge(claim) for claim in article().claims]}


def _painting() -> Numbers:
    W0, B, A = dusk(r=3)
    return {"W0": W0, "B": B, "A": A, "strengths": (0.0, 0.5, 1.0, 1.5)}


@cache
def _records() -> Numbers:
    return {"records": committed()}


def _shifted() -> Numbers:
    """Return two digits that show which way is up."""
    target, rows = digits.split(0).target, [20, 24]
    return {"images": target._replace(x=target.x[rows], labels=target.labels[rows])}


@cache
def _text_runs() -> Numbers:
    return {"results": text_findings.committed()}


@cache
def _sentiment_runs() -> Numbers:
    return {"results": sentiment_findings.committed()}


@cache
def _rates() -> Numbers:
    tried = text_findings.committed()["rates"]
    named = {"lora-8": "LoRA, r = 8", "maps": "the same maps whole", "full": "everything"}
    return {
        "curves": {
            name: {float(lr): loss for lr, loss in tried[method].items()}
            for method, name in named.items()
        },
        "ylabel": "validation loss (nats a token)",
    }


@cache
def _strengths() -> Numbers:
    """Return the losses of LoRA (r = 8) on verse, mean over seeds."""
    runs = [
        run
        for run in _text_runs()["results"]["runs"]
        if run["method"] == "lora-8" and run["text"] == "verse"
    ]
    new, old = np.mean([[run["off"], *run["sweep"]] for run in runs], axis=0).T.tolist()
    return {"strengths": (0.0, *STRENGTHS), "new": new, "old": old}


@cache
def _weights() -> Numbers:
    base = base_model()
    tokens = base.tokenizer.encode("And the LORD spake unto Moses,")
    _, kept = base.gpt.forward(tokens)
    first: Any = kept.children["blocks"].caches[0]
    P = first.children["attention"].inner.weights.y
    pieces = [base.tokenizer.decode([int(token)]) for token in tokens]
    return {"weights": P[[2, 3]], "tokens": pieces, "titles": ("head 2", "head 3")}


FIGURES: Mapping[str, Entry] = MappingProxyType(
    {
        "two-paths": Entry(
            "The two paths of LoRA, to scale",
            diagram.two_paths,
            # the width of BERT-base and GPT-2; at a smaller rank, A and B would be hairlines
            lambda: {"out_features": 768, "in_features": 768, "r": 16, "alpha": 32},
        ),
        "gradient-paths": Entry(
            "The two paths of LoRA, forward and back",
            diagram.gradient_paths,
            lambda: {"out_features": 768, "in_features": 768, "r": RANK, "alpha": 2 * RANK},
        ),
        "matrices": Entry("The article's example, every number", products.matrices, _article),
        "blocks": Entry(
            "W0 and its update to scale",
            products.blocks,
            lambda: {"out_features": 1024, "in_features": 1024, "r": RANK, "alpha": RANK},
        ),
        "outer-products": Entry(
            "B A as a sum of outer products",
            products.outer_product_sum,
            lambda: {name: _article()[name] for name in ("B", "A")},
        ),
        "direction": Entry(
            "An update of rank one moves everything in one direction", lowrank.direction, _direction
        ),
        "truncations": Entry(
            "Pictures truncated to rank r",
            lowrank.truncations,
            lambda: {
                "pictures": {"landscape": evening()[0], "digits": mosaic()},
                "ranks": (1, 4, 8, 16),
            },
        ),
        "singular-values": Entry(
            "Singular values and the residual",
            lowrank.singular_values,
            lambda: {"M": mosaic(), "r": RANK},
        ),
        "error-by-rank": Entry("Error against rank, and the bound", lowrank.error_by_rank, _errors),
        "dimension": Entry(
            "How many dimensions the updates of a rank have",
            lowrank.dimension,
            lambda: dict(zip(("out_features", "in_features"), mosaic().shape, strict=True)),
        ),
        "gradient-check": Entry(
            "Error of the gradient check against its step", training.gradient_check, _checks
        ),
        "start-up": Entry("What moves first", training.start_up, _starts),
        "kept-by-rank": Entry(
            "What divides alpha, and what it keeps", training.kept_by_rank, _kept
        ),
        "descent": Entry("Training, and the least loss of each rank", training.descent, _descents),
        "learning-order": Entry(
            "Directions are learned one after the other", training.learning_order, _learning_order
        ),
        "losses-by-rank": Entry(
            "Trained at a rank, or cut to it", training.losses_by_rank, _losses_by_rank
        ),
        "trained-and-cut": Entry(
            "Trained at a rank, or cut to it, on digits", study.trained_and_cut, _records
        ),
        "shifts": Entry("Digits, and the shifts of the study", ways.shifts, _shifted),
        "three-ways": Entry(
            "LoRA, adapter and DoRA as blocks",
            ways.three_ways,
            lambda: {"features": 256, "r": RANK, "m": RANK},
        ),
        "learned-and-kept": Entry(
            "What is learned and what is kept on a shift",
            ways.learned_and_kept,
            lambda: {**_records(), "shift": "middle"},
        ),
        "paired": Entry(
            "One method minus another, seed by seed",
            ways.paired,
            lambda: {**_records(), "better": "lora-8", "worse": "head"},
        ),
        "forgetting": Entry("Target accuracy against forgetting", study.forgetting, _records),
        "scaling-sweep": Entry("The scaling after training", study.scaling_sweep, _records),
        "spectrum": Entry("How much of a full update a rank holds", study.spectrum, _records),
        "strength": Entry("Loss by strength of an adapter", text_study.strength, _strengths),
        "text-by-rank": Entry("A new text, by rank", text_study.by_rank, _text_runs),
        "learned-and-forgotten": Entry(
            "Learned and forgotten, by learning rate and strength",
            text_study.learned_and_forgotten,
            _text_runs,
        ),
        "learning-rates": Entry("Which learning rate", training.loss_by_rate, _rates),
        "intruders": Entry("Intruder directions by norm", text_study.intruders, _text_runs),
        "sentiment": Entry("Sentences rated", sentiment.sentiment, _sentiment_runs),
        "kept-directions": Entry(
            "How many directions an update needs", sentiment.kept_directions, _sentiment_runs
        ),
        "shared-directions": Entry(
            "Directions that two trainings share", sentiment.shared_directions, _sentiment_runs
        ),
        "transformer-block": Entry(
            "One block of a transformer, and where LoRA is",
            transformer.transformer_block,
            lambda: {"features": 96, "heads": 4, "targets": ("q", "v"), "r": RANK},
        ),
        "attention-weights": Entry(
            "How much each token takes from which", transformer.attention_weights, _weights
        ),
        "parameters": Entry(
            "Trained numbers of published models", counts.parameters, _parameter_counts
        ),
        "memory": Entry("Memory of training published models", counts.memory, _memories),
        "step-cost": Entry(
            "What a step costs against the rank",
            counts.step_cost,
            lambda: {"width": 768},  # that of GPT-2, whose sixth and half are whole
        ),
        "memory-by-rows": Entry(
            "Memory of training a weight against the rows of x",
            counts.memory_by_rows,
            lambda: {"width": 4096, "r": RANK},
        ),
        "nf4": Entry("The levels of NF4 on a normal density", quantization.nf4, _uses),
        "number-lines": Entry(
            "A block of weights on the levels of two kinds", quantization.number_lines, _block
        ),
        "merges": Entry(
            "Three merges of an update into a weight of few bits", quantization.merges, _quantised
        ),
        "cross-terms": Entry("What averaged factors multiply", multitask.cross_terms, _two_voices),
        "verdicts": Entry(
            "Every claim of the article and its verdict", claims.verdicts, _judgements
        ),
        "palette": Entry("The palette: an update painted over a picture", palette, _painting),
    }
)
"""The figures by name."""


def entry(name: str) -> Entry:
    """Return a figure by name.

    Examples
    --------
    >>> entry("spectrum").title
    'How much of a full update a rank holds'
    >>> entry("spectrun")
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: there is no figure 'spectrun'; the nearest: spectrum, ...
    """
    if name in FIGURES:
        return FIGURES[name]
    hint = nearest_or_all(name, FIGURES, cutoff=0.5)
    raise LoraRefError(f"there is no figure {name!r}{hint}")
