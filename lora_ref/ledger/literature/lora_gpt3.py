"""The LoRA paper (arXiv 2106.09685v2) on GPT-3: tables 4, 5, 15 and section D.4."""

from typing import Any

from lora_ref.counting.architectures import architecture
from lora_ref.counting.methods import BitFit, PrefixEmbed, PrefixLayer
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Conflict, Figure, Rule
from lora_ref.ledger.literature.lora_language import (
    ADAPTED,
    CUT,
    SOURCE,
    adapter_figure,
    lora,
    lora_figure,
)

_MODEL, _D, _L = "gpt3-175b", 12288, 96


def _method(model: str, method: type[Any], **options: int) -> int:
    return tally(architecture(model), method(**options)).trainable


def _prefix_embed(model: str, prefix: int, infix: int) -> int:
    return _method(model, PrefixEmbed, prefix=prefix, infix=infix)


def _prefix_layer(model: str, prefix: int, infix: int) -> int:
    return _method(model, PrefixLayer, prefix=prefix, infix=infix)


def _bitfit(model: str) -> int:
    return _method(model, BitFit)


def _with_embed(matrices: int, d: int, r: int, model: str, prefix: int, infix: int) -> int:
    return lora(matrices, d, r) + _prefix_embed(model, prefix, infix)


def _with_layer(matrices: int, d: int, r: int, model: str, prefix: int, infix: int) -> int:
    return lora(matrices, d, r) + _prefix_layer(model, prefix, infix)


def _lora(
    id: str, where: str, says: str, printed: str, matrices: int, r: int, **more: Any
) -> Figure:
    return lora_figure(
        f"gpt3-{id}", where, f"GPT-3, LoRA {says}", printed, (matrices, _D, r), **more
    )


def _adapter(printed: str, m: int) -> Figure:
    says = f"GPT-3, Adapter-H, m = {m}"
    return adapter_figure(f"gpt3-adapter-h-{m}", "table 15", says, printed, (2 * _L, _D, m))


def _embed(printed: str, prefix: int, infix: int, why: str = "") -> Figure:
    return Figure(
        id=f"lora-gpt3-prefix-embed-{prefix}",
        source=SOURCE,
        where="table 15",
        says=f"GPT-3, PrefixEmbed with {prefix} + {infix} tokens",
        printed=printed,
        formula="d (l_p + l_i)",
        given={"model": _MODEL, "prefix": prefix, "infix": infix},
        value=_prefix_embed,
        why=why,
    )


def _layer(printed: str, prefix: int, infix: int) -> Figure:
    return Figure(
        id=f"lora-gpt3-prefix-layer-{prefix}-{infix}",
        source=SOURCE,
        where="table 15",
        says=f"GPT-3, PrefixLayer with {prefix} + {infix} tokens",
        printed=printed,
        formula="L d (l_p + l_i)",
        given={"model": _MODEL, "prefix": prefix, "infix": infix},
        value=_prefix_layer,
        why="The paper's own formula gives {value:,}. All five printed numbers of this method are "
        "above it.",
    )


def _both(printed: str, r: int, why: str = "") -> Figure:
    return Figure(
        id=f"lora-gpt3-lora-pe-{r}",
        source=SOURCE,
        where="table 15",
        says=f"GPT-3, LoRA r = {r} on q and v with PrefixEmbed 8 + 4",
        printed=printed,
        formula="2 matrices d r + d (l_p + l_i)",
        given={"matrices": 2 * _L, "d": _D, "r": r, "model": _MODEL, "prefix": 8, "infix": 4},
        value=_with_embed,
        why=why,
    )


def _four(matrices: int, d: int, r: int, r_table: int) -> int:
    return lora(matrices, d, r_table)


def _doubled(matrices: int, d: int, r: int, cut_to: int) -> int:
    return 2 * (lora(matrices // 2, d, r) // cut_to * cut_to)


FIGURES: tuple[Figure, ...] = (
    _lora("4.7m-qv", "tables 4 and 15", "r_q = r_v = 1", "4.7M", 2 * _L, 1),
    _lora("4.7m-v", "section D.4", "r_v = 2", "4.7M", _L, 2),
    _lora("9.4m", "table 15", "r_q = r_v = 2", "9.4M", 2 * _L, 2),
    _lora("9.4m-four", "table 15", "r = 1 on q, k, v and o", "9.4M", 4 * _L, 1),
    _lora("18.8m", "table 15", "r_q = r_v = 4", "18.8M", 2 * _L, 4, why=CUT),
    _lora("18.8m-four", "table 15", "r = 2 on q, k, v and o", "18.8M", 4 * _L, 2, why=CUT),
    _lora("37.7m", "tables 4 and 15", "r_q = r_v = 8", "37.7M", 2 * _L, 8),
    _lora("37.7m-four", "table 15", "r = 4 on q, k, v and o", "37.7M", 4 * _L, 4),
    _lora(
        "37.7m-d4",
        "section D.4",
        "r = 2 on q, k, v and o",
        "37.7M",
        4 * _L,
        2,
        also={"r_table": 4},
        conflict=Conflict("table 15 gives 37.7M to r = 4 on these four", value=_four),
        why="r = {r} on four matrices has {value:,}, and table 15 prints 18.8M for it.",
    ),
    _lora("301.9m", "table 15", "r_q = r_v = 64", "301.9M", 2 * _L, 64, why=CUT),
    Figure(
        id="lora-gpt3-603.8m",
        source=SOURCE,
        where="table 15",
        says="GPT-3, LoRA r = 64 on q, k, v and o",
        printed="603.8M",
        formula=ADAPTED,
        given={"matrices": 4 * _L, "d": _D, "r": 64, "cut_to": 100_000},
        value=lora,
        rule=Rule("doubled-after-cutting", _doubled),
        why="{value:,} is neither cut nor rounded to 603.8M, which is twice the 301.9M of the row "
        "with two matrices: that one had been cut.",
    ),
    _lora("18m-one", "table 5, section 7.1", "r = 8 on one matrix", "18M", _L, 8, why=CUT),
    _lora("18m-two", "table 5, section 7.1", "r = 4 on two matrices", "18M", 2 * _L, 4, why=CUT),
    _lora("18m-four", "table 5, section 7.1", "r = 2 on four matrices", "18M", 4 * _L, 2, why=CUT),
    _embed("0.4M", 32, 8, why=CUT),
    _embed("0.9M", 64, 8),
    _embed("1.7M", 128, 8),
    _embed("3.2M", 256, 8),
    _embed("6.4M", 512, 8),
    _layer("5.1M", 2, 2),
    _layer("10.1M", 8, 0),
    _layer("20.2M", 8, 8),
    _layer("44.1M", 32, 4),
    _layer("76.1M", 64, 0),
    _adapter("7.1M", 1),
    _adapter("21.2M", 4),
    _adapter("40.1M", 8),
    _adapter("77.9M", 16),
    _adapter("304.4M", 64),
    _both("37.8M", 8, CUT),
    _both("151.1M", 32),
    _both("302.1M", 64),
    Figure(
        id="lora-gpt3-lora-pl",
        source=SOURCE,
        where="table 15",
        says="GPT-3, LoRA r = 8 on q and v with PrefixLayer 8 + 4",
        printed="52.8M",
        formula="2 matrices d r + L d (l_p + l_i)",
        given={"matrices": 2 * _L, "d": _D, "r": 8, "model": _MODEL, "prefix": 8, "infix": 4},
        value=_with_layer,
        why="The two formulas of the paper add up to {value:,}.",
    ),
    Figure(
        id="lora-gpt3-bitfit",
        source=SOURCE,
        where="table 4",
        says="GPT-3, BitFit: the biases of all linear maps and layer norms",
        printed="14.2M",
        formula="11 d L + d",
        given={"model": _MODEL},
        value=_bitfit,
        why="A block has 9 d biases in its linear maps and 2 d in its layer norms, {value:,} in "
        "all; what is printed would take 12 d a block.",
    ),
    Figure(
        id="lora-gpt3-full",
        source=SOURCE,
        where="table 4",
        says="GPT-3, full fine-tuning",
        printed="175,255.8M",
        formula="V d + 2048 d + L (12 d^2 + 13 d) + 2 d",
        given={"model": _MODEL},
        value=lambda model: architecture(model).total,
        why="The sizes of table 2.1 of the GPT-3 paper (arXiv 2005.14165) give {value:,}.",
    ),
    Figure(
        id="lora-gpt3-full-table-15",
        source=SOURCE,
        where="table 15",
        says="GPT-3, full fine-tuning",
        printed="175B",
        formula="V d + 2048 d + L (12 d^2 + 13 d) + 2 d",
        given={"model": _MODEL},
        value=lambda model: architecture(model).total,
    ),
)
