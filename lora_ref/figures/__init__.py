"""One function a figure: results come in as arguments, a `Picture` with its alt text goes out.

matplotlib is imported inside the functions, so nothing else of the package pays for it, and no
global state of it is touched. Every function takes ``theme``, ``"light"`` or ``"dark"``. `FIGURES`
holds them by name, with the package's own numbers; ``FIGURES["scaling-sweep"].picture()`` is what a
notebook shows.
"""

from lora_ref.figures.alt_text import Picture
from lora_ref.figures.counts import memories
from lora_ref.figures.lowrank import errors_by_rank
from lora_ref.figures.quantization import uses
from lora_ref.figures.registry import FIGURES, Entry, entry
from lora_ref.figures.style import THEMES
from lora_ref.figures.training import (
    FirstStep,
    accuracy_by_rate,
    descent,
    first_steps,
    kept_by_rank,
    learning_order,
    loss_by_rate,
    losses_by_rank,
    start_up,
)
from lora_ref.figures.write import FORMATS, PAGES, STUDY, save, save_figures, save_study

__all__ = [
    "FIGURES",
    "FORMATS",
    "PAGES",
    "STUDY",
    "THEMES",
    "Entry",
    "FirstStep",
    "Picture",
    "accuracy_by_rate",
    "descent",
    "entry",
    "errors_by_rank",
    "first_steps",
    "kept_by_rank",
    "learning_order",
    "loss_by_rate",
    "losses_by_rank",
    "memories",
    "save",
    "save_figures",
    "save_study",
    "start_up",
    "uses",
]
