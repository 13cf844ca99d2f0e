"""A figure with its alt text, as a notebook shows it."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lora_ref.errors import LoraRefError
from lora_ref.figures.style import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 72
"""Of a picture in a notebook: 576 pixels for 8 inches, 30 to 80 kB of the file."""


@dataclass(frozen=True, eq=False)
class Picture:
    """What the last line of a cell returns to show a figure.

    The alt text states the finding. It is the picture's text form too: whoever reads the notebook
    by ear, in a terminal or in a diff gets it, and a test that runs the cell sees its numbers move.
    The theme is that in which the figure was drawn.
    """

    figure: "Figure"
    alt: str
    theme: str = "light"

    def __post_init__(self) -> None:
        alt: object = self.alt
        if not isinstance(alt, str) or len(alt.split()) < 3:
            raise LoraRefError(f"alt is {alt!r}, expected a sentence that states the finding")

    def rendered(
        self, kind: str, dpi: int, metadata: Mapping[str, str | None], **options: Any
    ) -> bytes:
        """Return the bytes of a file, in the settings in which the figure was drawn."""
        buffer = io.BytesIO()
        with style(self.theme):
            self.figure.savefig(buffer, format=kind, dpi=dpi, metadata=metadata, **options)
        return buffer.getvalue()

    def __repr__(self) -> str:
        return f"Figure: {self.alt}"

    def _repr_mimebundle_(
        self, include: Any = None, exclude: Any = None
    ) -> tuple[dict[str, str], dict[str, dict[str, str]]]:
        """Return the picture for a notebook: PNG, alt text, and the alt text as metadata."""
        smaller = {"optimize": True, "compress_type": 0}  # zlib's default suits flat colours
        png = self.rendered("png", DOTS_PER_INCH, {"Software": None}, pil_kwargs=smaller)
        encoded = base64.b64encode(png).decode("ascii")
        return {"image/png": encoded, "text/plain": repr(self)}, {"image/png": {"alt": self.alt}}
