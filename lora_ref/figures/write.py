"""Figures as files."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lora_ref.errors import LoraRefError
from lora_ref.figures import study
from lora_ref.study import Record

STUDY: Mapping[str, Callable[[Sequence[Record]], Any]] = {
    "forgetting": study.forgetting,
    "dial": study.dial,
    "spectrum": study.spectrum,
}
"""The figures of the study by file name."""


def save_study(records: Sequence[Record], folder: Path) -> list[Path]:
    """Write the figures of the study that `records` have the numbers for, as PNG.

    Returns
    -------
    list of Path
        The files, each written in one step.
    """
    written = []
    for name, draw in STUDY.items():
        try:
            figure = draw(records)
        except LoraRefError:  # a part of the study has no such runs
            continue
        path = folder / f"{name}.png"
        draft = path.with_suffix(".part")
        figure.savefig(draft, format="png", dpi=110, metadata={"Software": None})
        os.replace(draft, path)
        written.append(path)
    return written
