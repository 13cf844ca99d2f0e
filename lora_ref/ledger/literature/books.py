"""Counts in a book, a course and teaching code."""

from fractions import Fraction

from lora_ref.counting.architectures import architecture, decoder
from lora_ref.counting.architectures.llama import GEMMA_NORMS
from lora_ref.counting.methods import LoRA
from lora_ref.counting.model import Model
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Figure, Source

LLMS_FROM_SCRATCH = Source("llms-from-scratch", "rasbt/LLMs-from-scratch, the code of the book")
AI_FOUNDATIONS = Source("ai-foundations", "google-deepmind/ai-foundations, a course")
NO_MAGIC = Source("no-magic", "no-magic-ai/no-magic, teaching code")

_NOTEBOOK = "appendix-E/01_main-chapter-code/appendix-E.ipynb"
_LAB = "course_5/gdm_lab_5_4_full_parameter_fine_tuning_of_gemma.ipynb (a56bc57)"
_MICROLORA = "02-alignment/microlora.py (594eda0)"

EVERY_LINEAR = ("c_attn.q", "c_attn.k", "c_attn.v", "attn.c_proj", "c_fc", "mlp.c_proj", "out_head")
"""What the book's GPT-2 keeps in linear layers of their own, its new head among them."""


def _gpt2_with_head() -> Model:
    return architecture("gpt2").with_head("out_head", 2)


def _book_lora(r: int) -> int:
    return tally(_gpt2_with_head(), LoRA(r, EVERY_LINEAR)).trainable


def _book_factor(r: int) -> Fraction:
    return Fraction(_gpt2_with_head().total, _book_lora(r))


def _gemma(vocabulary: int) -> Model:
    """Return Gemma 3 1B: one head of keys for four of queries, an RMS norm for each of both."""
    modules = decoder(
        1152,
        26,
        4,
        6912,
        vocabulary,
        kv_heads=1,
        head_width=256,
        tied=True,
        norms=GEMMA_NORMS,
        head_norms=True,
    )
    return Model("gemma-3-1b", "Gemma 3 1B", "", modules, width=1152, blocks=26)


def _small_gpt(width: int, positions: int, vocabulary: int) -> int:
    """Return the parameters of one block without biases and norms, two tables and a head."""
    return 2 * vocabulary * width + positions * width + (4 + 2 * 4) * width**2


def _small_share(width: int, positions: int, vocabulary: int, r: int) -> Fraction:
    lora = 2 * 2 * width * r
    return Fraction(lora, _small_gpt(width, positions, vocabulary) + lora)


FIGURES: tuple[Figure, ...] = (
    Figure(
        id="book-gpt2",
        source=LLMS_FROM_SCRATCH,
        where=_NOTEBOOK,
        says="trainable parameters of GPT-2 small with a head for two classes",
        printed="124,441,346",
        formula="the model and the head",
        value=lambda: _gpt2_with_head().total,
    ),
    Figure(
        id="book-lora-16",
        source=LLMS_FROM_SCRATCH,
        where=_NOTEBOOK,
        says="trainable parameters of LoRA of rank 16 in every linear layer",
        printed="2,666,528",
        formula="the sum of r (in_features + out_features)",
        given={"r": 16},
        value=_book_lora,
    ),
    Figure(
        id="book-lora-8",
        source=LLMS_FROM_SCRATCH,
        where=f"{_NOTEBOOK} (08f0cfd)",
        says="trainable parameters of LoRA of rank 8 in every linear layer, in an earlier version",
        printed="1,333,264",
        formula="the sum of r (in_features + out_features)",
        given={"r": 8},
        value=_book_lora,
    ),
    Figure(
        id="book-factor-16",
        source=LLMS_FROM_SCRATCH,
        where=_NOTEBOOK,
        says="how many times fewer parameters rank 16 trains, almost",
        printed="50",
        formula="all / trainable",
        given={"r": 16},
        value=_book_factor,
        within="10 %",
    ),
    Figure(
        id="book-factor-8",
        source=LLMS_FROM_SCRATCH,
        where=f"{_NOTEBOOK} (08f0cfd)",
        says="how many times fewer parameters rank 8 trains, almost",
        printed="100",
        formula="all / trainable",
        given={"r": 8},
        value=_book_factor,
        within="10 %",
    ),
    Figure(
        id="course-gemma",
        source=AI_FOUNDATIONS,
        where=_LAB,
        says="parameters of Gemma 3 1B, about",
        printed="1 B",
        formula="the model",
        given={"vocabulary": 262_144},
        value=lambda vocabulary: _gemma(vocabulary).total,
    ),
    Figure(
        id="course-gemma-vocabulary",
        source=AI_FOUNDATIONS,
        where=_LAB,
        says="tokens in the vocabulary of Gemma 3 1B",
        printed="256,000",
        formula="rows of the token table with which Gemma 3 1B has its 999,885,952 parameters",
        given={"parameters": 999_885_952},
        value=lambda parameters: (parameters - _gemma(1).total) // _gemma(1).width + 1,
        why="The table has {value:,} rows, as the model's own summary says; 256,000 is the "
        "vocabulary of Gemma 2.",
    ),
    Figure(
        id="no-magic-base",
        source=NO_MAGIC,
        where=_MICROLORA,
        says="parameters of the small model, about",
        printed="4,200",
        formula="2 v d + n d + 12 d^2",
        given={"width": 16, "positions": 16, "vocabulary": 27},
        value=_small_gpt,
        within="1 %",
    ),
    Figure(
        id="no-magic-share",
        source=NO_MAGIC,
        where=_MICROLORA,
        says="share of its parameters that LoRA trains, said to be less than this",
        printed="1 %",
        formula="4 d r / (2 v d + n d + 12 d^2 + 4 d r), its own model with rank 2",
        given={"width": 16, "positions": 16, "vocabulary": 27, "r": 2},
        value=_small_share,
        why="In its own run it is {value:.2%}: in a matrix of width d the share is about 2 r / d, "
        "and here d is {width}.",
    ),
    Figure(
        id="no-magic-7b",
        source=NO_MAGIC,
        where=_MICROLORA,
        says="share that LoRA of rank 16 in queries and values trains of a 7B model, about",
        printed="0.1 %",
        formula="trainable / all",
        given={"model": "llama-7b", "r": 16, "targets": ("q_proj", "v_proj")},
        value=lambda model, r, targets: tally(architecture(model), LoRA(r, targets)).share,
    ),
)
"""Counts in teaching material."""
