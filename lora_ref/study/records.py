"""What a run leaves behind: one record, one file, and the rows of a table."""

import json
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NotRequired, TypedDict, cast

from lora_ref.errors import LoraRefError
from lora_ref.files import write_whole
from lora_ref.study.methods import METHODS
from lora_ref.study.shifts import SHIFTS

SCHEMA = 1


class Record(TypedDict):
    """One run: a shift, a method, a seed. Accuracies are shares of 1."""

    schema: int
    shift: str
    method: str
    seed: int
    settings: str  # fingerprint of the setting; records of another one do not mix with these
    trained: int
    learning_rate: float | None
    target: float
    train: float  # on the target training images
    source_attached: float
    source_detached: float | None  # None where there is nothing to switch off
    w0_unchanged: bool
    seconds: float
    dial: NotRequired[list[list[float]]]  # share of the scaling, target, source
    spectrum: NotRequired[dict[str, list[float]]]  # of the full update, a list a layer
    cut: NotRequired[dict[str, float]]  # target of the full update cut to rank r


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

    Raises
    ------
    LoraRefError
        For a file that is damaged, is no record, or is of another run or setting.
    """

    def refused(why: str) -> LoraRefError:
        return LoraRefError(
            f"{path} is not a finished run of this study: {why}; "
            "move it away, or keep the runs in another folder"
        )

    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise refused(f"it cannot be read ({type(error).__name__})") from None
    if not isinstance(found, dict):
        raise refused(f"it holds a {type(found).__name__}, expected an object")
    missing = Record.__required_keys__ - found.keys()
    if missing:
        raise refused(f"it has no {', '.join(sorted(missing))}")
    wanted = {"schema": SCHEMA, "shift": shift, "method": method, "seed": seed}
    wanted["settings"] = settings
    for name, value in wanted.items():
        if found[name] != value:
            raise refused(f"its {name} is {found[name]!r}, expected {value!r}")
    for name in ("target", "train", "source_attached", "source_detached"):
        value = found[name]
        if not (value is None and name == "source_detached") and not _is_share(value):
            raise refused(f"its {name} is {value!r}, expected a number from 0 to 1")
    return cast(Record, found)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return mean and deviation over seeds, one row for each shift and method.

    Returns
    -------
    list of dict
        ``shift``, ``method``, ``trained`` (trainable parameters), ``target_mean``, ``target_std``,
        ``source_attached_mean``, ``source_attached_std``, ``source_detached_mean``,
        ``w0_unchanged`` (in every run) and ``seconds`` (of training, mean). Accuracies are shares
        of 1; a deviation divides by n - 1 and is None for a single seed.

        ``source_detached_mean`` is None where there is no adapter to switch off. ``w0_unchanged``
        compares the bytes of every weight matrix the run started from, before and after training;
        for PiSSA these are the reduced matrices, for QLoRA the codes and constants.
    """
    table = []
    for (shift, method), group in grouped(records).items():
        detached = [r["source_detached"] for r in group if r["source_detached"] is not None]
        row: dict[str, Any] = {"shift": shift, "method": method, "trained": group[0]["trained"]}
        for name, key in (("target", "target"), ("source_attached", "source_attached")):
            row[f"{name}_mean"], row[f"{name}_std"] = mean_std([r[key] for r in group])  # type: ignore[literal-required]
        row["source_detached_mean"] = fmean(detached) if detached else None
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


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean, and the deviation that divides by n - 1, or None for a single value."""
    return fmean(values), stdev(values) if len(values) > 1 else None


def _sorted(records: Iterable[Record]) -> list[Record]:
    shifts, methods = list(SHIFTS), list(METHODS)
    return sorted(
        records,
        key=lambda r: (shifts.index(r["shift"]), methods.index(r["method"]), r["seed"]),
    )
