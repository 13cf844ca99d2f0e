"""Models of published examples beside those of `MODELS`, most of them with a head for a task."""

from collections.abc import Mapping

from lora_ref.counting.model import Model
from lora_ref.counting.models import MODELS, bert, deberta, get_model, llama, t5
from lora_ref.counting.models.blocks import embedding, head, layer_norm, linear, repeated
from lora_ref.counting.models.llama import GEMMA_NORMS


def _classifier(name: str, dense: str, last: str, classes: int) -> Model:
    """Return a published model with a head of two maps in place of its pooler, if it has one."""
    model = get_model(name)
    if any(module.name == "pooler.dense" for module in model.modules):
        model = model.without("pooler.dense")
    return model.plus([linear(dense, model.width, model.width), linear(last, model.width, classes)])


def _roberta(name: str, classes: int) -> Model:
    return _classifier(name, "classifier.dense", "classifier.out_proj", classes)


def _t5(name: str, title: str, width: int, *sizes: int, newer: bool) -> Model:
    """Return a T5 of the first version, or of the later one: gated, its head not tied."""
    return t5(width, 24, *sizes, gated=newer, tied=not newer).named(name, title)


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
    return Model("bloomz-560m", "BLOOMZ 560M", "", modules, width, 24)


def _microgpt() -> Model:
    """Return no-magic's GPT: one block, no biases, no trained norms, its head not tied."""
    width, positions, vocabulary = 16, 16, 27
    block = (
        *(linear(f"attention.{name}", width, width, bias=False) for name in "qkvo"),
        linear("mlp.fc1", width, 4 * width, bias=False),
        linear("mlp.fc2", 4 * width, width, bias=False),
    )
    modules = (
        embedding("wte", vocabulary, width),
        embedding("wpe", positions, width),
        *repeated("h", 1, block),
        head("lm_head", width, vocabulary, tied_to=None),
    )
    return Model("no-magic-gpt", "no-magic's GPT", "", modules, width, 1)


_BERT_CASED = bert(768, 12, 28996).named("bert-base-cased", "BERT base, cased")

# arXiv 2111.09543: the blocks of version 2, no convolution beside the first
_DEBERTA_V3 = (
    deberta(768, 12, 128100)
    .without("encoder.conv.conv", "encoder.conv.LayerNorm")
    .named("deberta-v3-base", "DeBERTaV3 base")
)

# arXiv 2503.19786: one head of keys for four of queries, normed each
_GEMMA_3 = llama(
    *(1152, 26, 4, 6912, 262144),
    kv_heads=1, head_width=256, tied=True, norms=GEMMA_NORMS, head_norms=True,
).named("gemma-3-1b", "Gemma 3 1B")  # fmt: skip

# by the name of each: the sizes of its config.json
_DECODERS = (
    llama(3200, 26, 32, 8640, 32000).named("openllama-3b", "OpenLLaMA 3B"),
    llama(1536, 28, 12, 8960, 151936, kv_heads=2, biases=True).named(
        "deepseek-r1-distill-qwen-1.5b", "DeepSeek R1 Distill Qwen 1.5B"
    ),
    llama(3072, 28, 24, 8192, 128256, kv_heads=8, tied=True).named("llama-3.2-3b", "Llama 3.2 3B"),
    llama(8192, 80, 64, 28672, 128256, kv_heads=8).named("llama-3.1-70b", "Llama 3.1 70B"),
    llama(4096, 36, 32, 12288, 151936, kv_heads=8, head_width=128, head_norms=True).named(
        "qwen3-8b", "Qwen3 8B"
    ),
    llama(5120, 64, 64, 25600, 151936, kv_heads=8, head_width=128, head_norms=True).named(
        "qwen3-32b", "Qwen3 32B"
    ),
)

EXAMPLE_MODELS: Mapping[str, Model] = {
    "gpt2 with 2 classes": get_model("gpt2").with_head("out_head", 2),
    "roberta-base with 3 classes": _roberta("roberta-base", 3),
    "roberta-large with 2 classes": _roberta("roberta-large", 2),
    "roberta-large with 3 classes": _roberta("roberta-large", 3),
    "roberta-large for tokens, 11 classes": get_model("roberta-large")
    .without("pooler.dense")
    .with_head("classifier", 11),
    "deberta-v2-xxlarge with 3 classes": _classifier(
        "deberta-v2-xxlarge", "pooler.dense", "classifier", 3
    ),
    "deberta-v3-base": _DEBERTA_V3,
    "vit-base with 101 classes": get_model("vit-base").with_head("classifier", 101),
    "bert-base-cased with 2 classes": _BERT_CASED.with_head("classifier", 2),
    "bert-base-cased for answers": _BERT_CASED.without("pooler.dense").with_head("qa_outputs", 2),
    "bloomz-560m": _bloomz(),
    "t5-large": _t5("t5-large", "T5 large", 1024, 16, 4096, 32128, newer=False),
    "mt0-large": _t5("mt0-large", "mT0 large", 1024, 16, 2816, 250112, newer=True),
    "t0-3b": _t5("t0-3b", "T0 3B", 2048, 32, 5120, 32128, newer=True),
    "gemma-3-1b": _GEMMA_3,
    "no-magic-gpt": _microgpt(),
    **{model.name: model for model in _DECODERS},
}
"""Models that only examples use, by name."""


def any_model(name: str) -> Model:
    """Return the model of that name in `MODELS` or `EXAMPLE_MODELS`.

    Examples
    --------
    >>> f"{any_model('gpt2 with 2 classes').total:,}"
    '124,441,346'
    """
    return get_model(name, {**MODELS, **EXAMPLE_MODELS})
