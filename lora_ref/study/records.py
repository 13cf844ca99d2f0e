"""What a run leaves behind: one record, one file, and the rows of a table."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.resources import files
from math import cos, pi, sin, sqrt, tan
from pathlib import Path
from statistics import fmean, stdev
from sys import float_info
from typing import Any, NotRequired, TypeAlias, TypedDict, cast

from lora_ref.atomic_write import write_whole
from lora_ref.checks import as_count
from lora_ref.errors import LoraRefError
from lora_ref.study.methods import LINEARS, METHODS, RANKS
from lora_ref.study.probes import SHARES, lengths
from lora_ref.study.shifts import SHIFTS

SCHEMA = 2

SWEPT = "lora-8"
"""The method whose scaling is turned after training."""

TRUNCATED = {"weights": "lora-{r}", "full": "lora-{r}-bias"}
"""The full updates that are truncated, each with the LoRA that trains what it trains at rank r."""

FURTHER = {
    SWEPT: {"scaling_sweep"},
    "untouched": {"solution", "first_layer", "changes"},
    **{method: {"spectrum", "truncated", "whitened", "random"} for method in TRUNCATED},
}
"""What the record of a method has besides."""


class Record(TypedDict):
    """One run: a shift, a method, a seed. Accuracies are shares of 1."""

    schema: int
    shift: str
    method: str
    seed: int
    settings: str  # fingerprint of the setting; records of another one do not mix with these
    parameters: int  # that train
    learning_rate: float | None
    target: float
    train: float  # on the target training images
    source_on: float  # the source task, adapter on
    source_off: float | None  # adapter off; None where there is nothing to switch off
    w0_unchanged: bool
    seconds: float
    solution: NotRequired[float]  # target of the exact solution
    first_layer: NotRequired[dict[str, float]]  # of the best update of rank r of fc1
    changes: NotRequired[dict[str, list[int]]]  # by layer: rank of the solution's change, of b too
    scaling_sweep: NotRequired[list[list[float]]]  # share of the scaling, target, source
    spectrum: NotRequired[dict[str, list[float]]]  # of the full update, a list a layer
    truncated: NotRequired[dict[str, float]]  # target of the update truncated to rank r
    whitened: NotRequired[dict[str, float]]  # of the update whitened by its inputs, then truncated
    random: NotRequired[dict[str, float]]  # of a random update of that rank and norm


def committed() -> list[Record]:
    """Return the records of the committed study, which claims and pages are made of."""
    text = (files("lora_ref.study") / "results.json").read_text(encoding="utf-8")
    return cast(list[Record], json.loads(text)["records"])


def as_results(records: Iterable[Record]) -> str:
    """Return records as the text of a result file, a record a line."""
    lines = ",\n".join(json.dumps(record) for record in _sorted(records))
    return f'{{"schema": {SCHEMA}, "records": [\n{lines}\n]}}\n'


def path_of(directory: Path, shift: str, method: str, seed: int) -> Path:
    """Return where a run is kept."""
    return directory / f"{shift}--{method}--{seed}.json"


def write(path: Path, record: Record) -> None:
    """Put a record in its place in one step: a reader finds all of it, or no file."""
    write_whole(path, json.dumps(record) + "\n")


def read(path: Path, *, shift: str, method: str, seed: int, settings: str) -> Record:
    """Return the record kept at `path`.

    A file that is damaged, is no record, or is of another run or setting raises LoraRefError.
    """

    def refused(why: str) -> LoraRefError:
        return LoraRefError(
            f"{path} is not a finished run of this study: {why}; "
            "move it away, or keep the runs in another folder"
        )

    if not path.is_file():  # a FIFO would be waited for
        raise refused("it is no regular file")
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise refused(f"it cannot be read ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise refused(f"it holds a {type(found).__name__}, expected an object")
    missing = (Record.__required_keys__ | FURTHER.get(method, set())) - found.keys()
    if missing:
        raise refused(f"it has no {', '.join(sorted(missing))}")
    wanted = {"schema": SCHEMA, "shift": shift, "method": method, "seed": seed}
    wanted["settings"] = settings
    for name, value in wanted.items():
        if found[name] != value or type(found[name]) is not type(value):
            raise refused(f"its {name} is {_short(found[name])}, expected {value!r}")
    for name, (fits, expected) in FIELDS.items():
        if name in found and not fits(found[name]):
            raise refused(f"its {name} is {_short(found[name])}, expected {expected}")
    return cast(Record, found)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]} ..."


Fits: TypeAlias = Callable[[Any], bool]
"""Whether a value that is read may stand where it does."""


def _is_number(value: object, most: float = float_info.max) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and _is_number(value)


def _is_share(value: object) -> bool:
    return _is_number(value, 1)


def _list_of(length: int, fits: Fits) -> Fits:
    return lambda value: isinstance(value, list) and len(value) == length and all(map(fits, value))


def _object_of(fits: Mapping[str, Fits]) -> Fits:
    return lambda value: (
        isinstance(value, dict)
        and value.keys() == fits.keys()
        and all(one(value[name]) for name, one in fits.items())
    )


def _is_sweep(value: Any) -> bool:
    return (
        _list_of(len(SHARES), _list_of(3, _is_number))(value)
        and [share for share, _, _ in value] == list(SHARES)
        and all(_is_share(accuracy) for _, *accuracies in value for accuracy in accuracies)
    )


_SHARE = (_is_share, "a number from 0 to 1")
_BY_RANK = (
    _object_of({str(r): _is_share for r in RANKS}),
    f"an accuracy for each of the ranks {', '.join(map(str, RANKS))}",
)

FIELDS: Mapping[str, tuple[Fits, str]] = {
    "parameters": (_is_whole, "a whole number of at least 0"),
    "learning_rate": (
        lambda v: v is None or (_is_number(v) and v > 0),
        "null or a positive number",
    ),
    "target": _SHARE,
    "train": _SHARE,
    "source_on": _SHARE,
    "source_off": (lambda v: v is None or _is_share(v), "null or a number from 0 to 1"),
    "w0_unchanged": (lambda v: isinstance(v, bool), "true or false"),
    "seconds": (_is_number, "a finite number of at least 0"),
    "scaling_sweep": (
        _is_sweep,
        f"a share, target and source accuracy for each of {', '.join(map(str, SHARES))}",
    ),
    "spectrum": (
        _object_of({name: _list_of(length, _is_share) for name, length in lengths().items()}),
        f"a list of shares for each of {', '.join(LINEARS)}",
    ),
    "solution": _SHARE,
    "first_layer": _BY_RANK,
    "changes": (
        _object_of(dict.fromkeys(LINEARS, _list_of(2, _is_whole))),
        f"two whole numbers for each of {', '.join(LINEARS)}",
    ),
    "truncated": _BY_RANK,
    "whitened": _BY_RANK,
    "random": _BY_RANK,
}
"""What may stand in a record that is read, beside what names the run."""


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return mean and standard error over seeds, one row for each shift and method.

    Returns
    -------
    list of dict
        ``shift``, ``method``, ``parameters`` (that train), ``target_mean``, ``target_error``,
        ``source_on_mean``, ``source_on_error``, ``source_off_mean``,
        ``w0_unchanged`` (in every run) and ``seconds`` (of training, mean). Accuracies are shares
        of 1; the standard error of a mean is None for a single seed.

        ``source_off_mean`` is None where there is no adapter to switch off. ``w0_unchanged``
        compares the bytes of every weight matrix the run started from, before and after training;
        for PiSSA these are the reduced matrices, for QLoRA the codes and constants.
    """
    table = []
    for (shift, method), group in grouped(records).items():
        off = [r["source_off"] for r in group if r["source_off"] is not None]
        row: dict[str, Any] = {
            "shift": shift,
            "method": method,
            "parameters": group[0]["parameters"],
        }
        for name in ("target", "source_on"):
            values = [r[name] for r in group]
            row[f"{name}_mean"], row[f"{name}_error"] = mean_error(values)
        row["source_off_mean"] = fmean(off) if off else None
        row["w0_unchanged"] = all(r["w0_unchanged"] for r in group)
        row["seconds"] = fmean(r["seconds"] for r in group)
        table.append(row)
    return table


def grouped(records: Iterable[Record]) -> Mapping[tuple[str, str], Sequence[Record]]:
    """Return records by shift and method, in the order of the study, seeds ascending."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in _sorted(records):
        groups.setdefault((record["shift"], record["method"]), []).append(record)
    return groups


def mean_error(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean and its standard error, None for a single value."""
    error = stdev(values) / sqrt(len(values)) if len(values) > 1 else None
    return fmean(values), error


def student_limit(count: int) -> float:
    """Return how many standard errors to either side of a mean are a 95 % interval for it.

    The mean and its error are of `count` numbers, at least two, from one normal distribution:
    Student's t with one degree of freedom less (Abramowitz and Stegun, 1964, 26.7.3 and 26.7.4).

    Examples
    --------
    >>> [round(student_limit(count), 2) for count in (2, 3, 5, 30)]
    [12.71, 4.3, 2.78, 2.05]
    """
    freedom = as_count("count in study.student_limit", count, at_least=2) - 1

    def inside(angle: float) -> float:
        odd, total = freedom % 2, 0.0
        term = cos(angle) if odd else 1.0
        for power in range(odd, freedom - 1, 2):
            total += term
            term *= cos(angle) ** 2 * (power + 1) / (power + 2)
        total *= sin(angle)
        return 2 / pi * (angle + total) if odd else total

    low, high = 0.0, pi / 2
    for _ in range(60):  # halved until no float is between
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) < 0.95 else (low, middle)
    return sqrt(freedom) * tan(low)


def _sorted(records: Iterable[Record]) -> list[Record]:
    shifts, methods = list(SHIFTS), list(METHODS)
    return sorted(
        records,
        key=lambda r: (shifts.index(r["shift"]), methods.index(r["method"]), r["seed"]),
    )
