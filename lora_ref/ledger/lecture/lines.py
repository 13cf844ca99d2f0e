"""On which line of a TOML file a key stands: `tomllib` does not say once a file is read."""

import re

Path = tuple[str | int, ...]
"""Keys and numbers of a file from the outside in, such as ``("claim", 2, "printed")``."""

_LEXEMES = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*",
    re.DOTALL,
)
_HEADER = re.compile(r"\s*(\[\[?)\s*([\w-]+(?:\s*\.\s*[\w-]+)*)\s*\]\]?\s*$")
_KEY = re.compile(r"\s*([\w-]+)\s*(?:\.\s*[\w-]+\s*)*=")


class Lines:
    r"""Finds the line of a key in the text of a valid TOML file.

    Examples
    --------
    >>> lines = Lines('[[claim]]\nid = "a"\n\n[[claim]]\nid = "b"\n')
    >>> lines.of(("claim", 1, "id")), lines.of(("claim", 1, "says")), lines.of(("unheard-of",))
    (5, 4, None)
    """

    def __init__(self, text: str) -> None:
        self._found: dict[Path, int] = {}
        counts: dict[Path, int] = {}
        here: Path = ()
        bare = _LEXEMES.sub(lambda found: "\n" * found[0].count("\n"), text)
        for number, line in enumerate(bare.split("\n"), start=1):
            if header := _HEADER.match(line):
                here = ()
                *outer, last = (step.strip() for step in header[2].split("."))
                for step in outer:
                    here = self._into((*here, step), counts)
                here = (*here, last)
                if header[1] == "[[":
                    self._found.setdefault(here, number)
                    counts[here] = counts.get(here, -1) + 1
                    here = (*here, counts[here])
                self._found.setdefault(here, number)
            elif key := _KEY.match(line):
                self._found.setdefault((*here, key[1]), number)

    def of(self, path: Path) -> int | None:
        """Return the line of a key, or of the nearest thing around it; counted from 1."""
        while path:
            if path in self._found:
                return self._found[path]
            path = path[:-1]
        return None

    def _into(self, path: Path, counts: dict[Path, int]) -> Path:
        """Return where a step of a header leads: into the last table of an array."""
        return (*path, counts[path]) if path in counts else path
