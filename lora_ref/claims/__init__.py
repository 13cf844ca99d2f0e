"""What a text claims, recomputed and judged. A claim is data, a quantity is code.

>>> from lora_ref.claims import article, judge
>>> judge(article().claim("ab-11")).verdict
'slip'
"""

from functools import cache
from pathlib import Path

from lora_ref.claims.claim import Claim, Source
from lora_ref.claims.judge import VERDICTS, Judgement, judge
from lora_ref.claims.reader import parse, read
from lora_ref.errors import LoraRefError

__all__ = [
    "DATA",
    "EXAMPLES",
    "VERDICTS",
    "Claim",
    "Judgement",
    "Source",
    "article",
    "judge",
    "literature",
    "load",
    "parse",
    "read",
]

DATA = Path(__file__).parent / "data"
"""The sources that come with the package, one file each."""

EXAMPLES = Path(__file__).parent / "examples"
"""Files to copy: a template, five claims of a lecture, and an example of every kind of claim."""


@cache
def article() -> Source:
    """Return the article on the core formulas of LoRA."""
    return load(DATA / "article.toml")


@cache
def literature(folder: Path = DATA) -> tuple[Source, ...]:
    """Return every other source of a folder: papers, libraries and teaching material.

    A source is added by adding its file.
    """
    sources: dict[str, Source] = {}
    for path in sorted(folder.glob("*.toml")):
        if path.name != "article.toml":
            source = load(path)
            if source.key in sources:
                raise LoraRefError(f"{path.name}: another source has the key {source.key!r} too")
            sources[source.key] = source
    return tuple(sources.values())


def load(path: Path) -> Source:
    """Read a source of the package; its values are computed when it is judged."""
    return parse(path.read_text(encoding="utf-8"), path.name, compute=False)
