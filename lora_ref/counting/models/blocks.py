"""The modules that blocks are made of, one function a kind; and `repeated` blocks."""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from lora_ref.counting.model import Module

Modules = tuple[Module, ...]


def linear(
    name: str,
    in_features: int,
    out_features: int,
    *,
    bias: bool = True,
    splits: Mapping[str, int] | None = None,
) -> Module:
    """Return a linear map; `splits` says what the rows of a fused one are."""
    return Module(
        name,
        "linear",
        (out_features, in_features),
        bias=out_features if bias else 0,
        splits=tuple((splits or {}).items()),
    )


def embedding(name: str, entries: int, width: int) -> Module:
    """Return a table of `entries` vectors."""
    return Module(name, "embedding", (entries, width))


def head(
    name: str, width: int, vocabulary: int, *, tied_to: str | None, bias: bool = False
) -> Module:
    """Return the map to the vocabulary, whose weight may be the token table."""
    return replace(linear(name, width, vocabulary, bias=bias), tied_to=tied_to)


def layer_norm(name: str, width: int) -> Module:
    """Return a layer norm: a weight and a bias."""
    return Module(name, "norm", (width,), bias=width)


def rms_norm(name: str, width: int) -> Module:
    """Return an RMS norm: a weight alone."""
    return Module(name, "norm", (width,))


def repeated(prefix: str, copies: int, block: Iterable[Module]) -> Modules:
    """Return one block's modules for each of `copies` blocks: ``h``, 12 gives ``h.*.``."""
    return tuple(replace(m, name=f"{prefix}.*.{m.name}", copies=copies) for m in block)
