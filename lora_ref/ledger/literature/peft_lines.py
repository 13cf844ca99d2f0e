"""How a line of PEFT's ``print_trainable_parameters`` becomes two figures."""

from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

from lora_ref.counting.architectures import architecture, bert, t5
from lora_ref.counting.architectures.parts import embedding, layer_norm, linear, repeated
from lora_ref.counting.methods import Method
from lora_ref.counting.model import Model
from lora_ref.counting.tally import checkpoint_bytes, tally
from lora_ref.ledger.literature.figure import Figure, Recipe, Rule, Source

SOURCE = Source("peft", "huggingface/peft")

# models


def _t5(name: str, title: str, width: int, *sizes: int, newer: bool) -> Model:
    """Return a T5 of the first version, or of the later one: gated, its head not tied."""
    modules = t5(width, 24, *sizes, gated=newer, tied=not newer)
    return Model(name, title, "", modules, width=width, blocks=48)


def _bert_cased() -> Model:
    modules = bert(768, 12, 28996)
    return Model("bert-base-cased", "BERT base, cased", "", modules, width=768, blocks=12)


def _bloomz() -> Model:
    """Return BLOOMZ 560M: a norm after the embedding, queries, keys and values in one matrix."""
    width = 1024
    block = (
        layer_norm("input_layernorm", width),
        linear("self_attention.query_key_value", width, 3 * width),
        linear("self_attention.dense", width, width),
        layer_norm("post_attention_layernorm", width),
        linear("mlp.dense_h_to_4h", width, 4 * width),
        linear("mlp.dense_4h_to_h", 4 * width, width),
    )
    modules = (
        embedding("word_embeddings", 250880, width),
        layer_norm("word_embeddings_layernorm", width),
        *repeated("h", 24, block),
        layer_norm("ln_f", width),
    )
    return Model("bloomz-560m", "BLOOMZ 560M", "", modules, width=width, blocks=24)


FURTHER: Mapping[str, Callable[[], Model]] = {
    "vit-base with 101 classes": lambda: architecture("vit-base").with_head("classifier", 101),
    "roberta-large for tokens, 11 classes": lambda: (
        architecture("roberta-large").without("pooler.dense").with_head("classifier", 11)
    ),
    "bert-base-cased with 2 classes": lambda: _bert_cased().with_head("classifier", 2),
    "bert-base-cased for answers": lambda: (
        _bert_cased().without("pooler.dense").with_head("qa_outputs", 2)
    ),
    "bloomz-560m": _bloomz,
    "t5-large": lambda: _t5("t5-large", "T5 large", 1024, 16, 4096, 32128, newer=False),
    "mt0-large": lambda: _t5("mt0-large", "mT0 large", 1024, 16, 2816, 250112, newer=True),
    "t0-3b": lambda: _t5("t0-3b", "T0 3B", 2048, 32, 5120, 32128, newer=True),
}
"""Models of PEFT's examples beside the published ones of `counting.architectures`."""


def model_named(name: str) -> Model:
    """Return a published model, or one of the further models that the examples use."""
    return FURTHER[name]() if name in FURTHER else architecture(name)


# examples


class Example(NamedTuple):
    """A line that ``print_trainable_parameters`` printed, and how its two numbers are counted.

    Parameters
    ----------
    id, where, about : str
        As in a figure.
    printed : (str, str)
        Trainable parameters and all.
    model : str
        A name that `model_named` knows.
    method : Method
        What is added.
    saved : tuple of str
        What is trained whole.
    shown : tuple of str
        Counting rules that other examples of the same page already follow.
    trainable_rules, total_rules : tuple of str
        The further rules that explain the number, the one that it is called by last.
    trainable_why, total_why : str
        The reason.
    """

    id: str
    where: str
    about: str
    printed: tuple[str, str]
    model: str
    method: Method
    saved: tuple[str, ...] = ()
    shown: tuple[str, ...] = ()
    trainable_rules: tuple[str, ...] = ()
    trainable_why: str = ""
    total_rules: tuple[str, ...] = ()
    total_why: str = ""


def both_counts(example: Example) -> Iterator[Figure]:
    """Yield the figures of the two numbers of an example."""
    given = {"model": example.model, "method": example.method, "saved": example.saved}
    trainable, total = example.printed
    yield Figure(
        id=f"{example.id}-trainable",
        source=SOURCE,
        where=example.where,
        says=f"trainable parameters, {example.about}",
        printed=trainable,
        formula="what the method trains and the modules saved",
        given=given,
        value=_trainable(),
        rule=_rule(_trainable, example.trainable_rules),
        why=example.trainable_why,
    )
    twice = ", the modules saved counted twice" if "saved-twice" in example.shown else ""
    yield Figure(
        id=f"{example.id}-all",
        source=SOURCE,
        where=example.where,
        says=f"all parameters, {example.about}",
        printed=total,
        formula=f"the model and what the method adds{twice}",
        given=given,
        value=_total(*example.shown),
        rule=_rule(_total, example.total_rules, example.shown),
        why=example.total_why,
    )


def _trainable(*rules: str) -> Recipe:
    def recipe(model: str, method: Method, saved: tuple[str, ...]) -> int:
        return tally(model_named(model), method, saved=saved, rules=rules).trainable

    return recipe


def _total(*rules: str) -> Recipe:
    def recipe(model: str, method: Method, saved: tuple[str, ...]) -> int:
        return tally(model_named(model), method, saved=saved, rules=rules).total

    return recipe


def _rule(
    recipe: Callable[..., Recipe], rules: tuple[str, ...], shown: tuple[str, ...] = ()
) -> Rule | None:
    """Return the rule of the last name; of ``leftover:loha:16`` it is what precedes the colon."""
    if not rules:
        return None
    return Rule(rules[-1].partition(":")[0], recipe(*shown, *rules))


def share(model: str, method: Method) -> Fraction:
    """Return the trainable share of what PEFT prints."""
    return tally(model_named(model), method).share


def checkpoint(model: str, method: Method, saved: tuple[str, ...] = ()) -> int:
    """Return the bytes of what is trained, in float32."""
    return checkpoint_bytes(tally(model_named(model), method, saved=saved))
