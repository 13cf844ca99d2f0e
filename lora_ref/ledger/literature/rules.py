"""Rules under which a published number comes out, beside those of `counting`."""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref import counting

OWN: Mapping[str, str] = MappingProxyType(
    {
        "binary-units": "K, M, G and T of bytes are powers of 1,024, though KB, MB, GB stand there",
        "doubled-after-cutting": "the number is twice another printed one that had been cut",
        "file-listing": "the size as GNU ls -h lists it: powers of 1,024, rounded up to a tenth",
        "float32-moments": "weights and gradients in 16 bits, the optimiser's two moments in 32",
        "nominal-size": "the model has as many parameters as its name says",
        "time-not-throughput": "the saving is of the time of a token, not of tokens a second",
        "zero-on-both-sides": "zero is counted among the levels of either sign",
    }
)

RULES: Mapping[str, str] = MappingProxyType({**counting.RULES, **OWN})
"""Every rule that a figure may name, with its sentence."""
