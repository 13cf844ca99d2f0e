"""Decoders with rotary positions: LLaMA, Mistral, Qwen and Gemma; Phi."""

from lora_ref.counting.model import Model
from lora_ref.counting.models.blocks import embedding, head, layer_norm, linear, repeated, rms_norm

NORMS = ("input_layernorm", "post_attention_layernorm")
GEMMA_NORMS = (*NORMS, "pre_feedforward_layernorm", "post_feedforward_layernorm")


def llama(
    width: int,
    blocks: int,
    heads: int,
    feed_forward: int,
    vocabulary: int,
    *,
    kv_heads: int | None = None,
    head_width: int | None = None,
    tied: bool = False,
    biases: bool = False,
    norms: tuple[str, ...] = NORMS,
    head_norms: bool = False,
) -> Model:
    """Return a LLaMA, or a decoder built alike: Mistral, Qwen, Gemma.

    Parameters
    ----------
    heads : int
        Heads of the queries.
    kv_heads : int, optional
        Heads of keys and values: fewer than `heads` in grouped-query attention (Ainslie et al.
        2023, arXiv 2305.13245). As many if omitted.
    head_width : int, optional
        ``width // heads`` if omitted.
    tied : bool
        Whether the head uses the token table.
    biases : bool
        Whether queries, keys and values have biases; nothing else has.
    norms : tuple of str
        Names of a block's RMS norms.
    head_norms : bool
        Whether each head's queries and keys pass an RMS norm, one for all heads.
    """
    each = width // heads if head_width is None else head_width
    queries, keys = heads * each, (heads if kv_heads is None else kv_heads) * each
    block = (
        linear("self_attn.q_proj", width, queries, bias=biases),
        linear("self_attn.k_proj", width, keys, bias=biases),
        linear("self_attn.v_proj", width, keys, bias=biases),
        linear("self_attn.o_proj", queries, width, bias=False),
        *(rms_norm(f"self_attn.{n}", each) for n in ("q_norm", "k_norm") if head_norms),
        linear("mlp.gate_proj", width, feed_forward, bias=False),
        linear("mlp.up_proj", width, feed_forward, bias=False),
        linear("mlp.down_proj", feed_forward, width, bias=False),
        *(rms_norm(name, width) for name in norms),
    )
    modules = (
        embedding("model.embed_tokens", vocabulary, width),
        *repeated("model.layers", blocks, block),
        rms_norm("model.norm", width),
        head("lm_head", width, vocabulary, tied_to="model.embed_tokens" if tied else None),
    )
    return Model("llama", "", "", modules, width, blocks)


def phi(width: int, blocks: int, feed_forward: int, vocabulary: int) -> Model:
    """Return a Phi: biases everywhere, one layer norm a block, no gate."""
    block = (
        *(linear(f"self_attn.{name}", width, width) for name in ("q_proj", "k_proj", "v_proj")),
        linear("self_attn.dense", width, width),
        linear("mlp.fc1", width, feed_forward),
        linear("mlp.fc2", feed_forward, width),
        layer_norm("input_layernorm", width),
    )
    modules = (
        embedding("model.embed_tokens", vocabulary, width),
        *repeated("model.layers", blocks, block),
        layer_norm("model.final_layernorm", width),
        head("lm_head", width, vocabulary, tied_to=None, bias=True),
    )
    return Model("phi", "", "", modules, width, blocks)
