"""Pictures, speech, and a plain network: ViT, Whisper, PEFT's example."""

from itertools import pairwise

from lora_ref.counting.models.parts import (
    Modules,
    embedding,
    head,
    layer_norm,
    linear,
    repeated,
)
from lora_ref.counting.modules import Module


def vit(
    width: int, blocks: int, *, patch: int = 16, image: int = 224, channels: int = 3
) -> Modules:
    """Return the modules of a vision transformer, without a pooler.

    A picture becomes ``(image / patch)^2`` vectors by one convolution, and the class token is one
    more.
    """
    block = (
        *(linear(f"attention.attention.{n}", width, width) for n in ("query", "key", "value")),
        linear("attention.output.dense", width, width),
        layer_norm("layernorm_before", width),
        layer_norm("layernorm_after", width),
        linear("intermediate.dense", width, 4 * width),
        linear("output.dense", 4 * width, width),
    )
    tokens = (image // patch) ** 2 + 1
    return (
        Module("embeddings.cls_token", "parameter", (1, 1, width)),
        Module("embeddings.position_embeddings", "parameter", (1, tokens, width)),
        _convolution("embeddings.patch_embeddings.projection", channels, width, (patch, patch)),
        *repeated("encoder.layer", blocks, block),
        layer_norm("layernorm", width),
    )


def whisper(
    width: int,
    blocks: int,
    *,
    mels: int = 80,
    frames: int = 1500,
    positions: int = 448,
    vocabulary: int = 51865,
) -> Modules:
    """Return the modules of a Whisper with `blocks` blocks on each side.

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

    mlp = (
        linear("fc1", width, 4 * width),
        linear("fc2", 4 * width, width),
        layer_norm("final_layer_norm", width),
    )
    cross = (*attention("self_attn"), *attention("encoder_attn"), *mlp)
    return (
        _convolution("model.encoder.conv1", mels, width, (3,)),
        _convolution("model.encoder.conv2", width, width, (3,)),
        embedding("model.encoder.embed_positions", frames, width),
        *repeated("model.encoder.layers", blocks, (*attention("self_attn"), *mlp)),
        layer_norm("model.encoder.layer_norm", width),
        embedding("model.decoder.embed_tokens", vocabulary, width),
        embedding("model.decoder.embed_positions", positions, width),
        *repeated("model.decoder.layers", blocks, cross),
        layer_norm("model.decoder.layer_norm", width),
        head("proj_out", width, vocabulary, tied_to="model.decoder.embed_tokens"),
    )


def mlp(*widths: int) -> Modules:
    """Return a plain network: linear maps ``seq.0``, ``seq.2``, ..., activations between them."""
    return tuple(linear(f"seq.{2 * i}", *sizes) for i, sizes in enumerate(pairwise(widths)))


def _convolution(name: str, channels: int, width: int, kernel: tuple[int, ...]) -> Module:
    return Module(name, "convolution", (width, channels, *kernel), bias=width)
