"""``lora-ref sentiment``: sentences rated by a pretrained encoder, its adapter off and on."""

import argparse
from typing import Any

from lora_ref.cli.outcome import Outcome, as_json
from lora_ref.errors import LoraRefError
from lora_ref.read_text import read_text

HELP = "rate sentences with all-MiniLM-L6-v2, a LoRA adapter off and on"

EXAMPLES = (
    "A warm and funny film, and it never outstays its welcome.",
    "It is not half as clever as it thinks it is.",
    "I have never been so glad to see the closing credits.",
    "You will not regret a minute of it.",
    "The battery died after two days and nobody answered my letters.",
)
"""What is rated where no text is given."""

LONGEST_FILE = 1_000_000
"""Bytes of a file of sentences."""

BAR = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("texts", nargs="*", metavar="TEXT", help="sentences (five examples)")
    parser.add_argument("--file", metavar="FILE", help="a file with a sentence on each line")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """Rate texts with the head that was trained alone, and with LoRA and its head."""
    from lora_ref.sentiment.classifier import ADAPTED, ALONE, with_adapter, with_head
    from lora_ref.transformer.minilm import stored

    texts = _texts(options)
    base = stored()
    off, on = (
        classifier.probabilities(texts)
        for classifier in (with_head(ALONE, base), with_adapter(ADAPTED, base))
    )
    if options.json:
        rows: list[dict[str, Any]] = [
            {"text": text, "off": round(float(a), 4), "on": round(float(b), 4)}
            for text, a, b in zip(texts, off, on, strict=True)
        ]
        return Outcome(as_json({"schema": 1, "positive": rows}))
    blocks = [
        f"{text}\n  adapter off  {_bar(a)}\n  adapter on   {_bar(b)}"
        for text, a, b in zip(texts, off, on, strict=True)
    ]
    scale = (
        "How likely it is that people rate a text as positive, learned from rated films.\n"
        "Off: the encoder as it is, with a head of its own. On: LoRA of rank 8, and its head."
    )
    return Outcome("\n".join([scale, "", *blocks]))


def _texts(options: argparse.Namespace) -> list[str]:
    """Return the texts that are asked for."""
    texts = list(options.texts)
    if options.file is not None:
        lines = read_text(options.file, LONGEST_FILE, "a file of sentences").splitlines()
        texts += [line.strip() for line in lines if line.strip()]
        if not texts:
            raise LoraRefError(f"{options.file} has no sentence, expected one at least")
    return texts or list(EXAMPLES)


def _bar(probability: float) -> str:
    filled = round(BAR * probability)
    return f"{'#' * filled}{'.' * (BAR - filled)} {probability:4.0%} positive"
