"""Text encoders: BERT and RoBERTa, DistilBERT, DeBERTa."""

from lora_ref.counting.model import Model, Module
from lora_ref.counting.models.blocks import Modules, embedding, layer_norm, linear, repeated


def bert(
    width: int, blocks: int, vocabulary: int, *, positions: int = 512, token_types: int = 2
) -> Model:
    """Return a BERT or a RoBERTa, the pooler included.

    Models for tokens and for answers drop the pooler: ``model.without("pooler.dense")``.
    """
    modules = (
        embedding("embeddings.word_embeddings", vocabulary, width),
        embedding("embeddings.position_embeddings", positions, width),
        embedding("embeddings.token_type_embeddings", token_types, width),
        layer_norm("embeddings.LayerNorm", width),
        *repeated("encoder.layer", blocks, _block(width, ("query", "key", "value"))),
        linear("pooler.dense", width, width),
    )
    return Model("bert", "", "", modules, width, blocks)


def deberta(
    width: int, blocks: int, vocabulary: int, *, buckets: int = 256, kernel: int = 3
) -> Model:
    """Return a DeBERTa-v2.

    Positions are relative: a table of ``2 * buckets`` vectors under a layer norm, which all blocks
    project with their own keys and queries. A convolution runs beside the first block.
    """
    names = ("query_proj", "key_proj", "value_proj")
    modules = (
        embedding("embeddings.word_embeddings", vocabulary, width),
        layer_norm("embeddings.LayerNorm", width),
        *repeated("encoder.layer", blocks, _block(width, names)),
        embedding("encoder.rel_embeddings", 2 * buckets, width),
        layer_norm("encoder.LayerNorm", width),
        Module("encoder.conv.conv", "convolution", (width, width, kernel), bias=width),
        layer_norm("encoder.conv.LayerNorm", width),
    )
    return Model("deberta", "", "", modules, width, blocks)


def distilbert(width: int, blocks: int, vocabulary: int, *, positions: int = 512) -> Model:
    """Return a DistilBERT: no token types, no pooler."""
    block = (
        *(linear(f"attention.{n}_lin", width, width) for n in ("q", "k", "v", "out")),
        layer_norm("sa_layer_norm", width),
        linear("ffn.lin1", width, 4 * width),
        linear("ffn.lin2", 4 * width, width),
        layer_norm("output_layer_norm", width),
    )
    modules = (
        embedding("embeddings.word_embeddings", vocabulary, width),
        embedding("embeddings.position_embeddings", positions, width),
        layer_norm("embeddings.LayerNorm", width),
        *repeated("transformer.layer", blocks, block),
    )
    return Model("distilbert", "", "", modules, width, blocks)


def _block(width: int, projections: tuple[str, str, str]) -> Modules:
    """Return one block: attention and a feed-forward layer of four times the width."""
    return (
        *(linear(f"attention.self.{name}", width, width) for name in projections),
        linear("attention.output.dense", width, width),
        layer_norm("attention.output.LayerNorm", width),
        linear("intermediate.dense", width, 4 * width),
        linear("output.dense", 4 * width, width),
        layer_norm("output.LayerNorm", width),
    )
