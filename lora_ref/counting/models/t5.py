"""Encoder and decoder for text: T5, Flan-T5, mT0."""

from lora_ref.counting.model import Model
from lora_ref.counting.models.blocks import Modules, embedding, head, linear, repeated, rms_norm


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
) -> Model:
    """Return a T5 with `blocks` blocks in the encoder and as many in the decoder.

    There is no bias anywhere, and both sides share the token table. Positions are relative: the
    first block of each side has a table with an entry for each head and distance, and the others
    use it.

    Parameters
    ----------
    heads, head_width : int
        Their product is the width of queries, keys and values.
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
        inputs = ("wi_0", "wi_1") if gated else ("wi",)
        return (
            *(linear(f"{name}.{n}", width, feed_forward, bias=False) for n in inputs),
            linear(f"{name}.wo", feed_forward, width, bias=False),
        )

    def side(name: str, *sublayers: Modules) -> Modules:
        block = [
            module
            for i, sublayer in enumerate(sublayers)
            for module in (*sublayer, rms_norm(f"layer.{i}.layer_norm", width))
        ]
        table = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias"
        return (
            *repeated(f"{name}.block", blocks, block),
            embedding(table, buckets, heads),
            rms_norm(f"{name}.final_layer_norm", width),
        )

    modules = (
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
    return Model("t5", "", "", modules, width, 2 * blocks)
