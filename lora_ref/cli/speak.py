"""``lora-ref speak``: text of the small language model, without and with an adapter."""

import argparse
from typing import Any

from lora_ref.cli.outcome import Outcome, as_json, number, whole
from lora_ref.errors import LoraRefError

HELP = "write text with the small language model, its voices off, on and summed"

WIDTH = 72


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    names = "voices of the package, or folders with an adapter; without one, the base alone"
    parser.add_argument("--voice", nargs="+", metavar="NAME", default=[], help=names)
    strength = "0 is off, 1 as trained, up to 2 (one voice: 0, 0.5 and 1; several: 1)"
    parser.add_argument("--strength", metavar="S", help=strength)
    parser.add_argument(
        "--prompt", default="And ", metavar="TEXT", help="what the text goes on from"
    )
    parser.add_argument("--length", default="80", metavar="N", help="tokens to write (80)")
    parser.add_argument(
        "--temperature", default="0.7", metavar="T", help="0 is the likeliest (0.7)"
    )
    parser.add_argument(
        "--seed",
        default="0",
        metavar="N",
        help="of the random draws (0)",
    )
    parser.add_argument("--list", action="store_true", help="only name the voices")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")


def run(options: argparse.Namespace) -> Outcome:
    """Write text with the base, with each voice, and with several at once."""
    import numpy as np

    from lora_ref.transformer.voices import base_model, fingerprint, voices, with_voices

    if options.list:
        listed = list(voices())
        text = as_json({"schema": 1, "voices": listed}) if options.json else "\n".join(listed)
        return Outcome(text)
    length = whole("--length", options.length, 2000)
    seed = whole("--seed", options.seed, 10**9 - 1, smallest=0)
    temperature = number("--temperature", options.temperature, 0, 10)
    base = base_model()
    before = fingerprint(base.gpt)
    texts: list[dict[str, Any]] = []
    for title, names, strengths in _settings(options):
        model = with_voices(base, names, strengths) if names else base
        rng = np.random.default_rng(seed)
        text = model.write(options.prompt, length, rng, temperature=temperature)
        texts.append({"title": title, "text": options.prompt + text})
    after = fingerprint(base.gpt)
    if options.json:
        return Outcome(as_json({"schema": 1, "texts": texts, "W0": [before, after]}))
    blocks = [
        f"--- {one['title']} {'-' * (WIDTH - len(one['title']))}\n{one['text']}" for one in texts
    ]
    weights = f"W0 before and after: {before}, {after}"
    return Outcome("\n\n".join([*blocks, weights]))


def _settings(options: argparse.Namespace) -> list[tuple[str, list[str], list[float]]]:
    """Return what is to be shown: a title, voices, and their strengths."""
    names, given = list(dict.fromkeys(options.voice)), options.strength
    if given is not None and not names:
        raise LoraRefError("--strength goes with --voice")
    if not names:
        return [("base", [], [])]
    strength = 1.0 if given is None else number("--strength", given, 0, 2)
    if len(names) == 1 and given is None:
        shown = (("off", 0.0), ("half on", 0.5), ("on", 1.0))
        return [(f"{names[0]} {word}", names, [value]) for word, value in shown]
    single = [(f"{name} times {strength:g}", [name], [strength]) for name in names]
    if len(names) == 1:
        return single
    together = f"{' + '.join(names)}, each times {strength:g}"
    return [("base", [], []), *single, (together, names, [strength] * len(names))]
