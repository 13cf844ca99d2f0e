"""VeRA (arXiv 2310.11454): table 1 whole, and the counts of its experiments.

The paper writes KB, MB, GB and TB. A size is judged as powers of a thousand first, and then, under
the rule that is named, as powers of 1,024.
"""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from lora_ref.counting.architectures import architecture
from lora_ref.counting.methods import LoRA, VeRA
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Conflict, Figure, Recipe, Rule, Source

SOURCE = Source("vera", "VeRA: Kopiczko et al., 2024, arXiv 2310.11454")

LLAMA_LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

_POWER = {"K": 1, "M": 2, "G": 3, "T": 4}

_CUT = "{value:,} with the digits after the last printed one cut off."
_BINARY = "{value:,} bytes: the table's K, M and G are powers of 1,024."


def _lora(model: str, r: int, targets: tuple[str, ...]) -> int:
    return tally(architecture(model), LoRA(r, targets)).trainable


def _vera(model: str, r: int, targets: tuple[str, ...]) -> int:
    return tally(architecture(model), VeRA(r, targets)).trainable


def _vera_shared(model: str, r: int, targets: tuple[str, ...]) -> int:
    return tally(architecture(model), VeRA(r, targets), rules=("vera-shared",)).trainable


def _bytes(count: Recipe) -> Recipe:
    def recipe(**given: object) -> Fraction:
        return Fraction(4 * count(**given))

    return recipe


def _binary(count: Recipe, printed: str, copies: int = 1) -> Rule:
    """Return the rule under which a K, M, G or T of bytes is a power of 1,024."""
    smaller = Fraction(1000, 1024) ** _POWER[printed[-1]]

    def recipe(**given: object) -> Fraction:
        return Fraction(4 * copies * count(**given)) * smaller

    return Rule("binary-units", recipe)


class _Row(NamedTuple):
    """A row of table 1: parameters and bytes of LoRA, then of VeRA."""

    model: str
    r: int
    lora: tuple[str, str]
    vera: tuple[str, str]


_ROWS = (
    _Row("roberta-base", 1, ("36.8 K", "144 K"), ("18.4 K", "72 K")),
    _Row("roberta-base", 16, ("589.8 K", "2 M"), ("18.8 K", "74 K")),
    _Row("roberta-base", 256, ("9437.1 K", "36 M"), ("24.5 K", "96 K")),
    _Row("roberta-large", 1, ("98.3 K", "384 K"), ("49.2 K", "192 K")),
    _Row("roberta-large", 16, ("1572.8 K", "6 M"), ("49.5 K", "195 K")),
    _Row("roberta-large", 256, ("25165.8 K", "96 M"), ("61.4 K", "240 K")),
    _Row("gpt3-175b", 1, ("4.7 M", "18 M"), ("2.4 M", "9.1 M")),
    _Row("gpt3-175b", 16, ("75.5 M", "288 M"), ("2.8 M", "10.5 M")),
    _Row("gpt3-175b", 256, ("1207.9 M", "4.6 G"), ("8.7 M", "33 M")),
)

_DECIMAL = ("roberta-base-16-lora", "roberta-large-16-lora", "gpt3-175b-1-lora")
"""Sizes that come out as powers of a thousand too."""

_SHARED = Rule("vera-shared", _vera_shared)

_WHY = {
    "roberta-base-1-lora": _CUT,
    "roberta-base-1-vera": _CUT,
    "roberta-base-256-lora": _CUT,
    "roberta-base-256-vera": _CUT,
    "roberta-large-16-lora": _CUT,
    "roberta-large-16-vera": "It is {value:,}, and the row's own 195 KB are 49,920 numbers of "
    "four bytes.",
    "gpt3-175b-256-lora": _CUT,
    "gpt3-175b-1-lora-bytes": "{value:,} bytes, cut; or no digit lost, in powers of 1,024 like "
    "the table's other sizes.",
    "gpt3-175b-256-lora-bytes": "{value:,} bytes are sixteen times the 288 M of rank 16, so "
    "4,608 M in powers of 1,024; the step from M to G was taken by a thousand.",
    "gpt3-175b-16-vera": "By the formula it is {value:,}. The rows of GPT-3 count the shared "
    "frozen A and B too, {by_rule:,}; those of RoBERTa do not.",
    "gpt3-175b-256-vera": "By the formula it is {value:,}; with the shared frozen A and B, "
    "{by_rule:,}.",
}


def _table_1() -> Iterator[Figure]:
    for row in _ROWS:
        gpt3 = row.model == "gpt3-175b"
        targets = ("c_attn.q", "c_attn.k") if gpt3 else ("query", "key")
        given = {"model": row.model, "r": row.r, "targets": targets}
        where = f"table 1, {architecture(row.model).title}, rank {row.r}"
        for name, (count, size) in (("lora", row.lora), ("vera", row.vera)):
            id = f"{row.model}-{row.r}-{name}"
            own = _lora if name == "lora" else _vera
            stored = _vera_shared if name == "vera" and gpt3 else own
            formula = "2 L d r" if name == "lora" else "L (d + r)"
            shared = stored is _vera_shared and row.r > 1
            yield Figure(
                id=f"vera-{id}",
                source=SOURCE,
                where=where,
                says=f"trainable parameters of {'LoRA' if name == 'lora' else 'VeRA'}",
                printed=count,
                formula=formula,
                given=given,
                value=own,
                rule=_SHARED if shared else None,
                conflict=_own_bytes() if id == "roberta-large-16-vera" else None,
                why=_WHY.get(id, ""),
            )
            binary = id not in _DECIMAL and size != "4.6 G"
            yield Figure(
                id=f"vera-{id}-bytes",
                source=SOURCE,
                where=where,
                says=f"bytes that {'LoRA' if name == 'lora' else 'VeRA'} needs",
                printed=size,
                formula=f"4 ({formula}{' + 2 d r, the shared pair' if stored is not own else ''})",
                given=given,
                value=_bytes(stored),
                rule=_binary(stored, size) if binary else None,
                why=_WHY.get(f"{id}-bytes", _BINARY if binary else ""),
            )


def _own_bytes() -> Conflict:
    return Conflict("the same row's 195 KB, as numbers of four bytes", printed="49,920")


class _Run(NamedTuple):
    """A count of an experiment."""

    id: str
    where: str
    printed: str
    model: str
    r: int
    targets: tuple[str, ...]


_RUNS = (
    _Run("glue-base", "table 2", "0.043 M", "roberta-base", 1024, ("query", "value")),
    _Run("glue-large", "table 2", "0.061 M", "roberta-large", 256, ("query", "value")),
    _Run("e2e-medium", "table 3", "0.098 M", "gpt2-medium", 1024, ("c_attn.q", "c_attn.v")),
    _Run("e2e-large", "table 3", "0.17 M", "gpt2-large", 1024, ("c_attn.q", "c_attn.v")),
    _Run("llama-7b", "instruction tuning", "1.6 M", "llama-7b", 1024, LLAMA_LINEAR),
    _Run("llama-13b", "instruction tuning", "2.4 M", "llama-13b", 1024, LLAMA_LINEAR),
)


def _experiments() -> Iterator[Figure]:
    for run in _RUNS:
        yield Figure(
            id=f"vera-{run.id}",
            source=SOURCE,
            where=run.where,
            says=f"trainable parameters of VeRA in {architecture(run.model).title}",
            printed=run.printed,
            formula="the sum of out_features + r over the matrices adapted",
            given={"model": run.model, "r": run.r, "targets": run.targets},
            value=_vera,
        )
    for model, printed in (("llama-7b", "159.9 M"), ("llama-13b", "250.3 M")):
        yield Figure(
            id=f"vera-{model}-lora",
            source=SOURCE,
            where="instruction tuning",
            says=f"trainable parameters of LoRA in {architecture(model).title}",
            printed=printed,
            formula="the sum of r (in_features + out_features) over the matrices adapted",
            given={"model": model, "r": 64, "targets": LLAMA_LINEAR},
            value=_lora,
        )


FIGURES: tuple[Figure, ...] = (
    *_table_1(),
    *_experiments(),
    Figure(
        id="vera-million-users",
        source=SOURCE,
        where="section 1",
        says="bytes of LoRA of rank 16 in the queries and values of GPT-3, for a million users",
        printed="275 T",
        formula="4 x 2 L d r x 1,000,000",
        given={"model": "gpt3-175b", "r": 16, "targets": ("c_attn.q", "c_attn.v")},
        value=lambda **given: 4 * 10**6 * _lora(**given),
        rule=_binary(_lora, "275 T", copies=10**6),
        why="{value:,} bytes, and 275 in powers of 1,024.",
    ),
)
"""Every cell of VeRA's table 1, and its other counts."""
