"""``lora-ref adapt``: train a voice for the small language model on a text of one's own."""

import argparse
import sys
from pathlib import Path
from typing import Any

from lora_ref.cli.outcome import Outcome, listed, whole
from lora_ref.errors import LoraRefError
from lora_ref.processes import cores, one_thread_in_products

HELP = "train a voice for the small language model on a text of yours"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.add_argument("--text", required=True, metavar="FILE", help="a text in UTF-8")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the adapter")
    parser.add_argument("--rank", default="8", metavar="R", help="rank of the factors (8)")
    targets = "layers to adapt: some of q, k, v, o, fc1 and fc2 (q,k,v,o,fc1,fc2)"
    parser.add_argument("--targets", default="q,k,v,o,fc1,fc2", metavar="LIST", help=targets)
    parser.add_argument("--steps", default="200", metavar="N", help="steps of 16 windows (200)")
    parser.add_argument("--seed", default="0", metavar="N", help="draw other numbers (0)")
    parser.add_argument("--prompt", default="And ", metavar="TEXT", help="for a sample (And )")
    parser.set_defaults(kept="; nothing was written")


def run(options: argparse.Namespace) -> Outcome:
    """Train LoRA on a text; show the loss and a sample before and after."""
    one_thread_in_products()
    import numpy as np

    from lora_ref.checkpoint.peft import save_peft
    from lora_ref.transformer.voices import adapt, base_model, read_own_text

    r = whole("--rank", options.rank, 96)
    steps = whole("--steps", options.steps, 100_000)
    seed = whole("--seed", options.seed, 10**9 - 1, smallest=0)
    out, base = Path(options.out), base_model()
    if out.is_file():
        raise LoraRefError(f"{out} is a file, expected a folder for the adapter")
    text = read_own_text(Path(options.text))
    targets = listed(options.targets)
    how: Any = {"r": r, "targets": targets, "steps": steps, "seed": seed, "threads": cores()}
    made = adapt(base, text, **how, report=_report)
    save_peft(out, made.model.gpt, dtype=np.float16, base="lora_ref base")
    part = "the last tenth of the text, not trained on" if made.held_out else "the text itself"
    lines = [
        f"{made.steps} of {steps} steps; loss on {part}: {made.before:.3f} to {made.after:.3f}"
    ]
    for title, model in (("before", base), ("after", made.model)):
        sample = model.write(options.prompt, 60, np.random.default_rng(seed))
        lines += ["", f"--- {title} ---", options.prompt + sample]
    written = f"written: {out}; lora-ref speak --voice {out} goes on"
    return Outcome("\n".join(lines), messages=(written,))


def _report(step: int, steps: int) -> None:
    """Rewrite a line on stderr, if that is a terminal; Ctrl-C ends the training early."""
    if sys.stderr is not None and sys.stderr.isatty():
        end = "\n" if step == steps else ""
        text = f"\rstep {step} of {steps}; Ctrl-C ends early and keeps what is trained"
        print(text, end=end, file=sys.stderr, flush=True)
