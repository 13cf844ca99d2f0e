"""Decoders with learned positions and layer norms: GPT-2, GPT-3, OPT."""

from lora_ref.counting.model import Model
from lora_ref.counting.models.blocks import embedding, head, layer_norm, linear, repeated


def gpt2(width: int, blocks: int, *, positions: int = 1024, vocabulary: int = 50257) -> Model:
    """Return a GPT-2: queries, keys and values are one matrix, ``c_attn``.

    Examples
    --------
    >>> f"{gpt2(768, 12).total:,}"
    '124,439,808'
    """
    block = (
        layer_norm("ln_1", width),
        linear("attn.c_attn", width, 3 * width, splits={"q": width, "k": width, "v": width}),
        linear("attn.c_proj", width, width),
        layer_norm("ln_2", width),
        linear("mlp.c_fc", width, 4 * width),
        linear("mlp.c_proj", 4 * width, width),
    )
    modules = (
        embedding("wte", vocabulary, width),
        embedding("wpe", positions, width),
        *repeated("h", blocks, block),
        layer_norm("ln_f", width),
        head("lm_head", width, vocabulary, tied_to="wte"),
    )
    return Model("gpt2", "", "", modules, width, blocks)


def opt(
    width: int,
    blocks: int,
    *,
    embedding_width: int | None = None,
    norm_last: bool = True,
    positions: int = 2048,
    vocabulary: int = 50272,
) -> Model:
    """Return an OPT.

    Parameters
    ----------
    embedding_width : int, optional
        Width of the token table. If it is not `width`, two more matrices lead there and back.
    norm_last : bool
        Whether a layer norm follows the last block; it does where the norms come first in a block.
    positions : int
        Longest text; the table has two more entries, which a text never uses.
    """
    narrow = width if embedding_width is None else embedding_width
    block = (
        *(linear(f"self_attn.{name}", width, width) for name in ("q_proj", "k_proj", "v_proj")),
        linear("self_attn.out_proj", width, width),
        layer_norm("self_attn_layer_norm", width),
        linear("fc1", width, 4 * width),
        linear("fc2", 4 * width, width),
        layer_norm("final_layer_norm", width),
    )
    projections = (
        linear("model.decoder.project_in", narrow, width, bias=False),
        linear("model.decoder.project_out", width, narrow, bias=False),
    )
    modules = (
        embedding("model.decoder.embed_tokens", vocabulary, narrow),
        embedding("model.decoder.embed_positions", positions + 2, width),
        *(projections if narrow != width else ()),
        *repeated("model.decoder.layers", blocks, block),
        *([layer_norm("model.decoder.final_layer_norm", width)] if norm_last else []),
        head("lm_head", narrow, vocabulary, tied_to="model.decoder.embed_tokens"),
    )
    return Model("opt", "", "", modules, width, blocks)
