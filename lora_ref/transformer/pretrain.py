"""The recipe of the small language model and its voices: texts, sizes, seeds and rates.

``make pretrain`` runs it in half an hour. Everything that it makes is kept in ``weights/``.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lora_ref.atomic_write import write_whole
from lora_ref.checkpoint.peft import save_peft
from lora_ref.processes import cores
from lora_ref.training import History, Network
from lora_ref.transformer.adapt import with_lora
from lora_ref.transformer.bpe import Tokenizer
from lora_ref.transformer.gpt import GPT
from lora_ref.transformer.language_model import LanguageModel, Schedule
from lora_ref.transformer.texts import SOURCES, fetch, text

WEIGHTS = Path(__file__).parent / "weights"

HELD_OUT = 20_000
"""Characters at the end of each text that nothing is trained on."""

SIZES: dict[str, Any] = {"vocabulary": 512, "context": 96, "features": 96, "heads": 4, "blocks": 4}
BASE = Schedule(steps=3000, batch=16, lr=4e-3, warmup=100, weight_decay=0.1)
BASE_TEXTS = {"kjv": 1, "alice": 3, "report": 1}
"""The texts of the base, and how often each is read."""


class Voice(NamedTuple):
    """An adapter: the text it is trained on, the layers that it adapts, and its rank."""

    text: str
    targets: tuple[str, ...]
    r: int = 8
    alpha: float = 16.0
    schedule: Schedule = Schedule(steps=300, batch=16, lr=1e-2, warmup=20)


ALL = ("q", "k", "v", "o", "fc1", "fc2")
VOICES = {"verse": Voice("verse", ALL), "play": Voice("play", ALL)}


def parts(name: str, folder: Path) -> tuple[str, str]:
    """Return what of a text is trained on, and what is held out."""
    whole = text(name, folder)
    return whole[:-HELD_OUT], whole[-HELD_OUT:]


def start(folder: Path) -> tuple[LanguageModel, str, np.random.Generator]:
    """Return the base before its first step, its text, and the generator of its batches."""
    read = "".join(times * parts(name, folder)[0] for name, times in BASE_TEXTS.items())
    rng = np.random.default_rng(0)
    gpt = GPT.init(**SIZES, rng=rng, dtype=np.float32)
    return LanguageModel(gpt, Tokenizer.learn(read, SIZES["vocabulary"])), read, rng


def pretrain(folder: Path, schedule: Schedule = BASE) -> tuple[LanguageModel, dict[str, Any]]:
    """Train the base; return it and its record."""
    model, read, rng = start(folder)
    model, history = model.trained(
        read, schedule, rng, callback=_progress(schedule.steps), threads=cores()
    )
    held_out = {name: round(model.loss(parts(name, folder)[1]), 4) for name in SOURCES}
    return model, _record(history, schedule, held_out=held_out)


def train_voice(
    base: LanguageModel, voice: Voice, folder: Path
) -> tuple[LanguageModel, dict[str, Any]]:
    """Train one voice on the base; return the model with it, and its record."""
    rng = np.random.default_rng(1)
    options: Any = {"targets": voice.targets, "r": voice.r, "alpha": voice.alpha}
    model = base.with_gpt(with_lora(base.gpt, rng, **options))
    model, history = model.trained(
        parts(voice.text, folder)[0],
        voice.schedule,
        rng,
        callback=_progress(voice.schedule.steps),
        threads=cores(),
    )
    rests = {name: parts(name, folder)[1] for name in SOURCES}
    held_out = {
        name: [round(each.loss(rest), 4) for each in (base, model)] for name, rest in rests.items()
    }
    return model, _record(history, voice.schedule, held_out=held_out, **options)


def main(argv: list[str] | None = None) -> None:
    """Make all that is kept in ``weights/``, or the voices alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=Path, required=True, help="folder for the archives")
    parser.add_argument("--fetch", action="store_true", help="only download the archives")
    parser.add_argument("--voices", action="store_true", help="keep the base, train the voices")
    arguments = parser.parse_args(argv)
    arguments.texts.mkdir(parents=True, exist_ok=True)
    fetch(arguments.texts)
    if arguments.fetch:
        return
    if not arguments.voices:
        model, record = pretrain(arguments.texts)
        model.save(WEIGHTS / "base")
        _write(WEIGHTS / "base" / "record.json", record)
    base = LanguageModel.load(WEIGHTS / "base")
    for name, voice in VOICES.items():
        model, record = train_voice(base, voice, arguments.texts)
        save_peft(WEIGHTS / name, model.gpt, dtype=np.float16, base="lora_ref base")
        _write(WEIGHTS / name / "record.json", record)


def _progress(steps: int) -> Any:
    def callback(step: int, network: Network) -> None:
        if step % 20 == 0 or step == steps:
            end = "\n" if step == steps else ""
            print(f"\rstep {step} of {steps}", end=end, file=sys.stderr, flush=True)

    return callback


def _record(history: History, schedule: Schedule, **more: Any) -> dict[str, Any]:
    losses = [round(loss, 4) for loss in history.losses]
    return {"schedule": schedule._asdict(), **more, "losses": losses}


def _write(path: Path, record: dict[str, Any]) -> None:
    write_whole(path, json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
