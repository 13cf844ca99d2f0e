"""The model, the windows of text and the settings that both sides of the comparison use."""

from pathlib import Path

import numpy as np

from lora_ref.layers.composite import arrays_of
from lora_ref.training import AdamW
from lora_ref.transformer.gpt import GPT
from lora_ref.transformer.language_model import LanguageModel
from lora_ref.transformer.voices import base_model

BATCH = 16
OPTIMIZER = AdamW(lr=0.01, betas=(0.9, 0.99), weight_decay=0.0)


def in_float64(model: LanguageModel) -> GPT:
    """Return the decoder of a model in float64, so that a comparison is sharp."""
    gpt = model.gpt
    heads, blocks = gpt.blocks["0"].attention.heads, len(gpt.blocks.layers)
    sizes = *gpt.tokens.W.shape[:1], len(gpt.positions.W), gpt.tokens.W.shape[1], heads, blocks
    arrays = {name: array.astype(np.float64) for name, array in arrays_of(gpt).items()}
    return GPT.init(*sizes, np.random.default_rng(0)).with_params(arrays)


def base_and_windows(text: Path) -> tuple[GPT, np.ndarray]:
    """Return the base in float64, and all windows of a text, (windows, context + 1)."""
    model = base_model()
    return in_float64(model), np.array(model.windows(text.read_text(encoding="utf-8")))


def batch_of(windows: np.ndarray, step: int) -> np.ndarray:
    """Return the windows of a step: the same on every process, and here."""
    return windows[np.random.default_rng(step).integers(0, len(windows), BATCH)]
