"""Encoder and decoder for text: T5, Flan-T5, mT0."""

from lora_ref.counting.models.parts import (
    Modules,
    embedding,
    head,
    linear,
    repeated,
    rms_norm,
)


def t5(
    width: int,
    blocks: int,
    heads: int,
    feed_forward: int,
    vocabulary: int,
    *,
    head_width: int = 64,
    gated: bool = False,
    tied: bool = True,
    buckets: int = 32,
) -> Modules:
    """Return the modules of a T5 with `blocks` blocks on each side.

    No bias anywhere. Positions are relative: the first block of each side has a table with a
    number for each head and distance, and the others use it.

    Parameters
    ----------
    width : int
        Of the residual stream.
    blocks : int
        Of the encoder, and of the decoder.
    heads, head_width : int
        Their product is the width of queries, keys and values.
    feed_forward : int
        Width of the feed-forward layer.
    vocabulary : int
        Entries of the token table, which both sides share.
    gated : bool
        Whether the feed-forward layer has a gate, as from version 1.1 on.
    tied : bool
        Whether the head uses the token table.
    buckets : int
        Distances that the table of positions tells apart.
    """

    def attention(name: str) -> Modules:
        inner = heads * head_width
        return (
            *(linear(f"{name}.{n}", width, inner, bias=False) for n in ("q", "k", "v")),
            linear(f"{name}.o", inner, width, bias=False),
        )

    def mlp(name: str) -> Modules:
        into = ("wi_0", "wi_1") if gated else ("wi",)
        return (
            *(linear(f"{name}.{n}", width, feed_forward, bias=False) for n in into),
            linear(f"{name}.wo", feed_forward, width, bias=False),
        )

    def side(name: str, *parts: Modules) -> Modules:
        block = [
            module
            for i, part in enumerate(parts)
            for module in (*part, rms_norm(f"layer.{i}.layer_norm", width))
        ]
        table = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias"
        return (
            *repeated(f"{name}.block", blocks, block),
            embedding(table, buckets, heads),
            rms_norm(f"{name}.final_layer_norm", width),
        )

    return (
        embedding("shared", vocabulary, width),
        *side("encoder", attention("layer.0.SelfAttention"), mlp("layer.1.DenseReluDense")),
        *side(
            "decoder",
            attention("layer.0.SelfAttention"),
            attention("layer.1.EncDecAttention"),
            mlp("layer.2.DenseReluDense"),
        ),
        head("lm_head", width, vocabulary, tied_to="shared" if tied else None),
    )
