"""A vision transformer, a speech model, and a plain network: ViT, Whisper, PEFT's example."""

from dataclasses import replace
from itertools import pairwise

from lora_ref.counting.model import Model, Module
from lora_ref.counting.models.blocks import Modules, embedding, head, layer_norm, linear, repeated


def vit(width: int, blocks: int, *, patch: int = 16, image: int = 224, channels: int = 3) -> Model:
    """Return a vision transformer, without a pooler.

    One convolution makes ``(image / patch)^2`` vectors of an image; the class token is one more.
    """
    block = (
        *(linear(f"attention.attention.{n}", width, width) for n in ("query", "key", "value")),
        linear("attention.output.dense", width, width),
        layer_norm("layernorm_before", width),
        layer_norm("layernorm_after", width),
        linear("intermediate.dense", width, 4 * width),
        linear("output.dense", 4 * width, width),
    )
    in_5 = ("q_proj", "k_proj", "v_proj", "o_proj", *("",) * 2, "fc1", "fc2")  # in transformers 5
    parts = ("attention",) * 4 + ("",) * 2 + ("mlp",) * 2
    tokens = (image // patch) ** 2 + 1
    modules = (
        Module("embeddings.cls_token", "parameter", (1, 1, width)),
        Module("embeddings.position_embeddings", "parameter", (1, tokens, width)),
        _convolution("embeddings.patch_embeddings.projection", channels, width, (patch, patch)),
        *(
            replace(module, also=f"layers.*.{part}.{name}" if name else "")
            for module, part, name in zip(
                repeated("encoder.layer", blocks, block), parts, in_5, strict=True
            )
        ),
        layer_norm("layernorm", width),
    )
    return Model("vit", "", "", modules, width, blocks)


def whisper(
    width: int,
    blocks: int,
    *,
    mels: int = 80,
    frames: int = 1500,
    positions: int = 448,
    vocabulary: int = 51865,
) -> Model:
    """Return a Whisper with `blocks` blocks in the encoder and as many in the decoder.

    The encoder's positions are sines and are never trained, yet stand in the checkpoint and are
    counted with it. Keys have no bias: it would shift all of a query's scores alike.
    """

    def attention(name: str) -> Modules:
        return (
            linear(f"{name}.q_proj", width, width),
            linear(f"{name}.k_proj", width, width, bias=False),
            linear(f"{name}.v_proj", width, width),
            linear(f"{name}.out_proj", width, width),
            layer_norm(f"{name}_layer_norm", width),
        )

    feed_forward = (
        linear("fc1", width, 4 * width),
        linear("fc2", 4 * width, width),
        layer_norm("final_layer_norm", width),
    )
    encoder_block = (*attention("self_attn"), *feed_forward)
    decoder_block = (*attention("self_attn"), *attention("encoder_attn"), *feed_forward)
    modules = (
        _convolution("model.encoder.conv1", mels, width, (3,)),
        _convolution("model.encoder.conv2", width, width, (3,)),
        embedding("model.encoder.embed_positions", frames, width),
        *repeated("model.encoder.layers", blocks, encoder_block),
        layer_norm("model.encoder.layer_norm", width),
        embedding("model.decoder.embed_tokens", vocabulary, width),
        embedding("model.decoder.embed_positions", positions, width),
        *repeated("model.decoder.layers", blocks, decoder_block),
        layer_norm("model.decoder.layer_norm", width),
        head("proj_out", width, vocabulary, tied_to="model.decoder.embed_tokens"),
    )
    return Model("whisper", "", "", modules, width, 2 * blocks)


def mlp(*widths: int) -> Model:
    """Return a plain network: linear maps ``seq.0``, ``seq.2``, ..., activations between them."""
    modules = tuple(linear(f"seq.{2 * i}", *sizes) for i, sizes in enumerate(pairwise(widths)))
    return Model("mlp", "", "", modules, max(widths), len(modules))


def _convolution(name: str, channels: int, width: int, kernel: tuple[int, ...]) -> Module:
    return Module(name, "convolution", (width, channels, *kernel), bias=width)
