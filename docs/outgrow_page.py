"""Write ``outgrow-numpy.md`` with the real output of its commands: ``make interop`` runs it.

It needs the extra interop. The numbers behind "apart by" are rounding, and differ from machine to
machine; `tests/interop/test_outgrow.py` says how large they may be.
"""

import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = Path(__file__).parent / "outgrow-numpy.md"

TRAIN = "lora-ref adapt --text README.md --out mine --rank 4 --targets q,v --steps 20"
COMPARE = "python docs/outgrow/compare.py mine README.md"
ONE = "torchrun --nproc-per-node 2 docs/outgrow/train.py mine README.md 1 moved"
STEP = "python docs/outgrow/one_step.py mine README.md moved"
MORE = "torchrun --nproc-per-node 2 docs/outgrow/train.py mine README.md 30 further"
BACK = "python docs/outgrow/compare.py further README.md"
LOOK = "lora-ref adapter inspect further"

LINES = {TRAIN: 1, LOOK: 12}
"""How many lines of an output are shown, where not all."""

TEXT = """# When you outgrow NumPy

Written by `python docs/outgrow_page.py`, which `make interop` runs; the outputs are real. Here they
come from PEFT {peft} and PyTorch {torch}.

This package is for reading and for checking. A model of a billion parameters wants a graphics
card, or several machines, and PEFT from the start. What moves between the two is an adapter on the
same base: nothing has to be converted, because adapters are stored in PEFT's layout here too
([checkpoint/peft.py](../lora_ref/checkpoint/peft.py)). This page takes one there, trains it on, and
brings it back. It needs `pip install -e '.[interop]'`.

## An adapter from here

The small language model of this package learns the voice of this project's README, for 20 steps.

{train}

## The same adapter in PEFT

[torch_gpt.py](outgrow/torch_gpt.py) is the same model as a PyTorch module, in 80 lines. Its layers
have the names that they have here, so PEFT puts the adapter where it belongs.
[compare.py](outgrow/compare.py) loads it with every warning made an error,

```python
model = PeftModel.from_pretrained(as_torch(base), "mine", is_trainable=True)
```

and compares outputs and gradients in float64, on sixteen windows of the text.

{compare}

## Training goes on, in two processes

PyTorch's distributed engine gives each process a share of the batch and averages the gradients. The
two processes of [train.py](outgrow/train.py) stand for two machines, and talk over the network
interface of this one. An adapter comes without the state of its optimiser, so AdamW begins anew.

{one}

Is that the step that one process would have made? [one_step.py](outgrow/one_step.py) makes it here,
in NumPy, with the whole batch and the AdamW of this package:

{step}

It is: the gradient of a mean is the mean of the gradients. (`lora_ref.training.loss_and_gradients`
adds up the parts of a batch for the same reason.) Now thirty steps, from `mine` again; each loss is
that of its own batch, before its step:

{more}

## Back again

What PEFT wrote gives the same numbers here, and can be looked at.

{back}

{look}

Every option that goes through, and what is refused, stands in
[tests/interop/options.py](../tests/interop/options.py) and
[checkpoint/adapter_config.py](../lora_ref/checkpoint/adapter_config.py).

## What PEFT loads, and this package refuses

With a warning: an adapter that has no `lora_A` for a layer (PEFT draws a random one); a pattern of
`rank_pattern` or `alpha_pattern` that fits no adapted layer (PEFT takes the default in its place).

In silence: a `lora_alpha` that is absent, or not a number; `"use_rslora": "no"` (a text that is not
empty counts as true); a key that stands twice; an array of whole numbers, or with a NaN; an adapter
whose start changed the base (PiSSA, OLoRA, CorDA, LoftQ), without that base.

Here each is an error that names the file, what was found and what was expected.

A name in `target_modules`, `exclude_modules` or `modules_to_save` that no layer of the base has is
a warning here. PEFT loads it in silence, or warns where nothing at all is left out. It decides no
number: what was trained is stored, and what is stored has to be used. One list of targets often
serves models of several families, and PEFT itself adds both `classifier` and `score` to a list.
"""


def run(command: str, folder: Path) -> str:
    """Return the block of a command and what it prints, in a folder with the README."""
    program, *arguments = command.split()
    own = {
        "lora-ref": [sys.executable, "-m", "lora_ref"],
        "python": [sys.executable],
        "torchrun": [
            *(sys.executable, "-m", "torch.distributed.run", "--rdzv-backend", "c10d"),
            *("--rdzv-endpoint", "127.0.0.1:0"),
        ],
    }
    paths = [str(ROOT / one) if one.startswith("docs/") else one for one in arguments]
    loopback = {"GLOO_SOCKET_IFNAME": "lo"} if sys.platform == "linux" else {}
    quiet = {
        **loopback,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*own[program], *paths],
        cwd=folder,
        env={**os.environ, **quiet},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    lines = done.stdout.rstrip().splitlines()
    shown = lines[: LINES.get(command, len(lines))]
    more = ["..."] if len(shown) < len(lines) else []
    return "\n".join(["```console", f"$ {command}", *shown, *more, "```"])


def as_page() -> str:
    """Run all, and return the page."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "README.md").write_bytes((ROOT / "README.md").read_bytes())
        commands = {
            "train": TRAIN,
            "compare": COMPARE,
            "one": ONE,
            "step": STEP,
            "more": MORE,
            "back": BACK,
            "look": LOOK,
        }
        outputs = {name: run(command, folder) for name, command in commands.items()}
    return TEXT.format(peft=version("peft"), torch=version("torch"), **outputs)


if __name__ == "__main__":
    PAGE.write_text(as_page(), encoding="utf-8", newline="\n")
