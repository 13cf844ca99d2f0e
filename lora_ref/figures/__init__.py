"""One function a figure: results come in as arguments, a matplotlib Figure goes out.

matplotlib is imported inside the functions, so nothing else of the package pays for it, and no
global state of it is touched. Beside each function stands another, whose name ends in ``_alt``: of
the same arguments it makes the sentence that states the finding. `FIGURES` holds both by name,
with the package's own numbers; ``FIGURES["scaling-sweep"].picture()`` is what a notebook shows.
"""

from lora_ref.figures.alt_text import Picture
from lora_ref.figures.claims import verdicts
from lora_ref.figures.counts import memories, memory, parameters
from lora_ref.figures.diagram import two_paths
from lora_ref.figures.lowrank import (
    Errors,
    cuts,
    dimension,
    error_by_rank,
    errors_by_rank,
    singular_values,
)
from lora_ref.figures.palette import palette
from lora_ref.figures.products import blocks, matrices, outer_product_sum
from lora_ref.figures.quantization import nf4, uses
from lora_ref.figures.registry import FIGURES, Entry, entry, mosaic
from lora_ref.figures.study import forgetting, scaling_sweep, spectrum
from lora_ref.figures.style import THEMES
from lora_ref.figures.training import (
    Norms,
    descent,
    errors_by_step,
    first_steps,
    gradient_check,
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
    "Errors",
    "Norms",
    "Picture",
    "blocks",
    "cuts",
    "descent",
    "dimension",
    "entry",
    "error_by_rank",
    "errors_by_rank",
    "errors_by_step",
    "first_steps",
    "forgetting",
    "gradient_check",
    "matrices",
    "memories",
    "memory",
    "mosaic",
    "nf4",
    "outer_product_sum",
    "palette",
    "parameters",
    "save",
    "save_figures",
    "save_study",
    "scaling_sweep",
    "singular_values",
    "spectrum",
    "start_up",
    "two_paths",
    "uses",
    "verdicts",
]
