"""QLoRA (arXiv 2305.14314): bits for the quantisation constants, and memory."""

from fractions import Fraction

from lora_ref.counting.architectures import architecture
from lora_ref.ledger.literature.figure import Figure, Rule
from lora_ref.ledger.literature.nf4 import QLORA
from lora_ref.quantize import ABSMAX_BLOCK, NF4_BLOCK

_BLOCKS = {"block": NF4_BLOCK, "second_block": ABSMAX_BLOCK}


def _plain(block: int) -> Fraction:
    """Return the bits a weight that one float32 constant a block takes."""
    return Fraction(32, block)


def _double(block: int, second_block: int) -> Fraction:
    """Return the same after double quantisation: 8 bits, and a float32 for a block of those."""
    return Fraction(8, block) + Fraction(32, block * second_block)


def _saved(block: int, second_block: int) -> Fraction:
    return _plain(block) - _double(block, second_block)


def _saved_bytes(model: str, block: int, second_block: int) -> Fraction:
    return _saved(block, second_block) * architecture(model).total / 8


FIGURES: tuple[Figure, ...] = (
    Figure(
        id="qlora-constants",
        source=QLORA,
        where="section 3",
        says="bits a parameter for float32 constants in blocks of 64",
        printed="0.5",
        formula="32 / block",
        given={"block": NF4_BLOCK},
        value=_plain,
    ),
    Figure(
        id="qlora-constants-double",
        source=QLORA,
        where="section 3",
        says="bits a parameter for the constants after double quantisation",
        printed="0.127",
        formula="8 / block + 32 / (block second_block)",
        given=_BLOCKS,
        value=_double,
    ),
    Figure(
        id="qlora-saving",
        source=QLORA,
        where="section 3",
        says="bits a parameter that double quantisation saves",
        printed="0.373",
        formula="32 / block - 8 / block - 32 / (block second_block)",
        given=_BLOCKS,
        value=_saved,
    ),
    Figure(
        id="qlora-saving-introduction",
        source=QLORA,
        where="section 1",
        says="bits a parameter that double quantisation saves, about",
        printed="0.37",
        formula="32 / block - 8 / block - 32 / (block second_block)",
        given=_BLOCKS,
        value=_saved,
    ),
    Figure(
        id="qlora-saving-65b",
        source=QLORA,
        where="section 1",
        says="bytes that double quantisation saves for the 65B model, approximately",
        printed="3 G",
        formula="saved bits x parameters / 8",
        given={"model": "llama-65b", **_BLOCKS},
        value=_saved_bytes,
    ),
    Figure(
        id="qlora-full-65b",
        source=QLORA,
        where="section 1",
        says="bytes that 16-bit fine-tuning of a 65B model takes, said to be more than this",
        printed="780 G",
        formula="weights, gradients and the two moments of Adam, 2 bytes each",
        given={"parameters": 65 * 10**9},
        value=lambda parameters: (2 + 2 + 2 * 2) * parameters,
        rule=Rule("float32-moments", lambda parameters: (2 + 2 + 2 * 4) * parameters),
        why="With 16 bits for everything it is {value:,} bytes; with the two moments of Adam in "
        "float32, 12 bytes a parameter, the number comes out, and LLaMA 65B has a few more.",
    ),
    Figure(
        id="qlora-lora-7b",
        source=QLORA,
        where="section 2",
        says="bytes of LoRA parameters equivalent to 0.2 % of LLaMA 7B's",
        printed="26 M",
        formula="0.2 % x parameters x 2 bytes",
        given={"model": "llama-7b", "share": Fraction(2, 1000)},
        value=lambda model, share: 2 * share * architecture(model).total,
        why="{value:,.0f} bytes, cut to millions. The sentence after it calls gradients of 18 MB "
        "more than all LoRA weights together, which 26 MB are not.",
    ),
    Figure(
        id="qlora-16-bit-13b",
        source=QLORA,
        where="table 6, Vicuna",
        says="bytes of a 13B model in 16 bits",
        printed="26 G",
        formula="parameters x bits / 8",
        given={"model": "llama-13b", "bits": 16},
        value=lambda model, bits: architecture(model).total * bits // 8,
    ),
    Figure(
        id="qlora-16-bit-33b",
        source=QLORA,
        where="table 6, Open Assistant",
        says="bytes of a 33B model in 16 bits",
        printed="66 G",
        formula="parameters x bits / 8",
        given={"model": "llama-33b", "bits": 16},
        value=lambda model, bits: architecture(model).total * bits // 8,
        rule=Rule("nominal-size", lambda model, bits: 33 * 10**9 * bits // 8),
        why="LLaMA 33B takes {value:,.0f} bytes; {by_rule:,.0f} is twice the 33 billion of its "
        "name.",
    ),
)
"""Bits and bytes in the QLoRA paper."""
