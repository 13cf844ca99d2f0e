"""One function a figure: results come in as arguments, a matplotlib Figure goes out.

matplotlib is imported inside the functions, so nothing else of the package pays for it.
"""

from lora_ref.figures.study import dial, forgetting, spectrum
from lora_ref.figures.write import STUDY, save_study

__all__ = ["STUDY", "dial", "forgetting", "save_study", "spectrum"]
