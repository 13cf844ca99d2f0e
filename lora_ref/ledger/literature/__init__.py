"""The literature: published numbers about LoRA, recomputed and judged.

>>> from lora_ref.ledger.literature import FIGURES, judge
>>> printed = next(figure for figure in FIGURES if figure.id == "lora-deberta-xxl")
>>> judge(printed).verdict
'conflict'
"""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.ledger.literature import (
    books,
    dora,
    lora_gpt3,
    lora_language,
    lora_repository,
    lora_text,
    nf4,
    peft_docs,
    peft_guides,
    qlora,
    vera,
)
from lora_ref.ledger.literature.figure import VERDICTS, Figure, Judgement, judge
from lora_ref.ledger.literature.rules import RULES

__all__ = ["FIGURES", "PAPERS", "RULES", "VERDICTS", "Figure", "Judgement", "judge"]

FIGURES: tuple[Figure, ...] = (
    *lora_language.FIGURES,
    *lora_gpt3.FIGURES,
    *lora_text.FIGURES,
    *lora_repository.FIGURES,
    *qlora.FIGURES,
    *nf4.FIGURES,
    *vera.FIGURES,
    *dora.FIGURES,
    *peft_docs.FIGURES,
    *peft_guides.FIGURES,
    *books.FIGURES,
)
"""All figures, paper by paper, in the order of their sources."""

PAPERS: Mapping[str, str] = MappingProxyType({f.source.key: f.source.cite for f in FIGURES})
"""Every source: what ``--paper`` calls it, and how to cite it."""
