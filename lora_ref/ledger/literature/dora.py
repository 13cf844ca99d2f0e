"""DoRA (arXiv 2402.09353): trainable parameters in per cent of the model and what is added."""

from collections.abc import Iterator
from fractions import Fraction
from typing import NamedTuple

from lora_ref.counting.architectures import architecture
from lora_ref.counting.methods import DoRA, LoRA, VeRA
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Figure, Recipe, Source
from lora_ref.ledger.literature.vera import LLAMA_LINEAR

SOURCE = Source("dora", "DoRA: Liu et al., 2024, arXiv 2402.09353")

QKVUD = ("q_proj", "k_proj", "v_proj", "up_proj", "down_proj")
QKV = QKVUD[:3]


def _lora(model: str, r: int, targets: tuple[str, ...]) -> Fraction:
    return tally(architecture(model), LoRA(r, targets)).share


def _dora(model: str, r: int, targets: tuple[str, ...]) -> Fraction:
    return tally(architecture(model), DoRA(r, targets)).share


def _vera(model: str, r: int, targets: tuple[str, ...]) -> Fraction:
    return tally(architecture(model), VeRA(r, targets)).share


def _magnitudes(model: str, targets: tuple[str, ...]) -> int:
    """Return how many rows the targeted matrices have: a magnitude for each."""
    modules = architecture(model).targeted(targets)
    return sum(module.copies * module.out_features for module in modules)


def _dvora(model: str, r: int, targets: tuple[str, ...]) -> Fraction:
    counted = tally(architecture(model), VeRA(r, targets))
    more = _magnitudes(model, targets)
    return Fraction(counted.trainable + more, counted.total + more)


def _fewer_directions(
    model: str, r: int, targets: tuple[str, ...], magnitudes: tuple[str, ...]
) -> Fraction:
    counted = tally(architecture(model), LoRA(r, targets))
    more = _magnitudes(model, magnitudes)
    return Fraction(counted.trainable + more, counted.total + more)


_FORMULAS = {
    _lora: "A and B over the model, A and B",
    _dora: "A, B and m over the model, A, B and m",
    _vera: "both scaling vectors over the model and both",
    _dvora: "both scaling vectors and m over the model and all three",
    _fewer_directions: "A and B of q, k and v and m of all seven, over the model and these",
}


class _Cell(NamedTuple):
    """A percentage."""

    id: str
    where: str
    printed: str
    model: str
    r: int
    recipe: Recipe
    targets: tuple[str, ...] = QKVUD
    why: str = ""


_CUT = "{value:.4%}, cut after the second decimal."

_CELLS = (
    _Cell("7b-lora", "table 1", "0.83", "llama-7b", 32, _lora),
    _Cell("7b-half", "table 1", "0.43", "llama-7b", 16, _dora),
    _Cell("7b", "table 1", "0.84", "llama-7b", 32, _dora),
    _Cell("13b-lora", "table 1", "0.67", "llama-13b", 32, _lora),
    _Cell("13b-half", "table 1", "0.35", "llama-13b", 16, _dora),
    _Cell("13b", "table 1", "0.68", "llama-13b", 32, _dora),
    _Cell("2-7b-lora", "table 1", "0.83", "llama-2-7b", 32, _lora),
    _Cell("2-7b-half", "table 1", "0.43", "llama-2-7b", 16, _dora),
    _Cell("2-7b", "table 1", "0.84", "llama-2-7b", 32, _dora),
    _Cell("3-8b-lora", "table 1", "0.70", "llama-3-8b", 32, _lora),
    _Cell(
        "3-8b-half",
        "table 1",
        "0.35",
        "llama-3-8b",
        16,
        _dora,
        why="DoRA of rank 16 comes to {value:.4%}; without the magnitudes it would be 0.35.",
    ),
    _Cell("3-8b", "table 1", "0.71", "llama-3-8b", 32, _dora),
    _Cell("alpaca-lora", "table 5", "2.31", "llama-7b", 64, _lora, LLAMA_LINEAR, _CUT),
    _Cell("alpaca", "table 5", "2.33", "llama-7b", 64, _dora, LLAMA_LINEAR, _CUT),
    _Cell("alpaca-vera", "table 5", "0.02", "llama-7b", 1024, _vera, LLAMA_LINEAR),
    _Cell("alpaca-dvora", "table 5", "0.04", "llama-7b", 1024, _dvora, LLAMA_LINEAR),
    _Cell("rank-4-lora", "table 15", "0.10", "llama-7b", 4, _lora),
    _Cell("rank-8-lora", "table 15", "0.21", "llama-7b", 8, _lora),
    _Cell(
        "rank-16-lora",
        "table 15",
        "0.42",
        "llama-7b",
        16,
        _lora,
        why="{value:.4%}, which is 0.41 rounded or cut; 0.42 is half of the 0.83 of rank 32, "
        "rounded a second time.",
    ),
    _Cell("rank-64-lora", "table 15", "1.64", "llama-7b", 64, _lora),
    _Cell("rank-4", "table 15", "0.11", "llama-7b", 4, _dora, why=_CUT),
    _Cell("rank-8", "table 15", "0.22", "llama-7b", 8, _dora),
    _Cell("rank-64", "table 15", "1.65", "llama-7b", 64, _dora),
)

_PARTLY = (
    ("7b-attention", "0.39", "llama-7b", ""),
    ("13b-attention", "0.31", "llama-13b", _CUT),
)


def _figures() -> Iterator[Figure]:
    for cell in _CELLS:
        yield Figure(
            id=f"dora-{cell.id}",
            source=SOURCE,
            where=cell.where,
            says=f"parameters trained in {architecture(cell.model).title}, in per cent",
            printed=f"{cell.printed} %",
            formula=_FORMULAS[cell.recipe],
            given={"model": cell.model, "r": cell.r, "targets": cell.targets},
            value=cell.recipe,
            why=cell.why,
        )
    for id, printed, model, why in _PARTLY:
        yield Figure(
            id=f"dora-{id}",
            source=SOURCE,
            where="table 6",
            says=f"parameters trained in {architecture(model).title}, in per cent, where q, k and "
            "v have directions and all seven matrices magnitudes",
            printed=f"{printed} %",
            formula=_FORMULAS[_fewer_directions],
            given={"model": model, "r": 32, "targets": QKV, "magnitudes": LLAMA_LINEAR},
            value=_fewer_directions,
            why=why,
        )


FIGURES: tuple[Figure, ...] = tuple(_figures())
"""Percentages of the DoRA paper."""
