"""Short texts that people have rated, from the package that ships them.

Hutto and Gilbert, "VADER", 2014 (International Conference on Web and Social Media): four kinds of
text, each rated from -4 to 4 by twenty people, of whom the mean is kept. None of it is stored here.
"""

import io
import tarfile
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lora_ref.errors import FileError
from lora_ref.transformer.archives import Package

PACKAGE = Package(
    "vaderSentiment",
    "3.3.2",
    "vaderSentiment-3.3.2.tar.gz",
    "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9",
    "MIT",
)
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILES = {
    "films": "movieReviewSnippets",
    "products": "amazonReviewSnippets",
    "tweets": "tweets",
    "editorials": "nytEditorialSnippets",
}
"""The kinds of text, and what their files are called; on films alone anything is trained."""

CLEAR = 1.0
"""The least distance of a mean rating from 0: what is rated nearer to it is left out."""

TRAINED, VALIDATED = 2400, 600
"""Films to train on and to choose learning rates with; the others are for the test."""

TESTED = 1000
"""Texts of a kind that a classifier is tested on."""


class Snippets(NamedTuple):
    """Texts and whether each is rated as positive, 1, or as negative, 0."""

    texts: tuple[str, ...]
    labels: NDArray[np.int64]

    def part(self, chosen: NDArray[np.int64]) -> "Snippets":
        """Return some of them, by place."""
        return Snippets(tuple(self.texts[i] for i in chosen), self.labels[chosen])


@cache
def snippets(kind: str, folder: Path) -> Snippets:
    """Return the clearly rated texts of a kind, each text once, in the order of the file.

    `folder` is where `PACKAGE` was downloaded to.
    """
    inner = io.BytesIO(PACKAGE.read(INNER, folder))
    with tarfile.open(fileobj=inner) as archive:
        file = archive.extractfile(f"hutto_ICWSM_2014/{FILES[kind]}_GroundTruth.txt")
        lines = file.read().decode().split("\n") if file else []
    rated: dict[str, float] = {}
    for line in lines:
        if line.strip():
            _, rating, text = line.rstrip("\r").split("\t")
            rated.setdefault(text.strip(), float(rating))
    clear = {text: rating for text, rating in rated.items() if abs(rating) >= CLEAR}
    if not clear:
        raise FileError(folder / PACKAGE.archive, f"has no rated {kind}, expected some")
    return Snippets(tuple(clear), np.array([int(rating > 0) for rating in clear.values()]))


def films(which: str, folder: Path) -> Snippets:
    """Return the films to train on, to validate with, or to test with: ``"train"`` and so on.

    They are drawn once, whatever the seed of a training.
    """
    whole = snippets("films", folder)
    order = np.random.default_rng(0).permutation(len(whole.texts))
    ends = {
        "train": slice(TRAINED),
        "validation": slice(TRAINED, TRAINED + VALIDATED),
        "test": slice(TRAINED + VALIDATED, None),
    }
    return whole.part(order[ends[which]])


def tested(kind: str, folder: Path) -> Snippets:
    """Return what a kind of text is tested on: up to `TESTED`, of films from the rest."""
    whole = films("test", folder) if kind == "films" else snippets(kind, folder)
    order = np.random.default_rng(1).permutation(len(whole.texts))
    return whole.part(order[:TESTED])
