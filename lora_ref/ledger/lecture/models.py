"""Quantities of published models: how many parameters, and how many of them a method trains."""

from fractions import Fraction

from lora_ref import counting
from lora_ref.ledger.lecture.quantity import Need, Quantity


def _tally(model: str, r: int, targets: tuple[str, ...], method: str) -> counting.Tally:
    return counting.tally(counting.architecture(model), counting.RANKED[method](r, targets))


def _count(model: str) -> int:
    return counting.architecture(model).total


def _trainable(model: str, r: int, targets: tuple[str, ...], method: str) -> int:
    return _tally(model, r, targets, method).trainable


def _total(model: str, r: int, targets: tuple[str, ...], method: str) -> int:
    return _tally(model, r, targets, method).total


def _share(model: str, r: int, targets: tuple[str, ...], method: str) -> Fraction:
    return _tally(model, r, targets, method).share


MODEL = Need("model", "text")
ADAPTED = (
    MODEL,
    Need("r", "count"),
    Need("targets", "names"),
    Need("method", "word", False, "lora", words=tuple(counting.RANKED)),
)

QUANTITIES = (
    Quantity(
        "model-count",
        "the parameters of a published model, a shared weight once",
        (MODEL,),
        "number",
        _count,
    ),
    Quantity(
        "model-trainable",
        "what a method trains in the modules that the targets name, as PEFT matches them",
        ADAPTED,
        "number",
        _trainable,
    ),
    Quantity("model-total", "model-count and what the method adds", ADAPTED, "number", _total),
    Quantity("model-share", "model-trainable / model-total", ADAPTED, "number", _share),
)
