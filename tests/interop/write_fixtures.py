"""Write the adapters of PEFT in ``tests/fixtures/peft``, with what they compute there.

``python -m tests.interop.write_fixtures`` where the extra interop is installed.
"""

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from lora_ref.checkpoint import write_safetensors
from tests.interop.options import GRID, adapted, arrays_of, torch_base, torch_run

FOLDER = Path(__file__).parents[1] / "fixtures" / "peft"

CASES = {
    "patterns": torch.float64,
    "DoRA, rank-stabilized, patterns": torch.float64,
    "all biases": torch.float64,
    "a bias of B": torch.float64,
    "a layer whole, all biases": torch.float64,
    "transposed": torch.float64,
    "expression": torch.float32,
    "plain": torch.bfloat16,
}
"""The cases that are kept, and the dtype of the arrays in the file."""

SOURCE = """# Adapters that PEFT wrote

`python -m tests.interop.write_fixtures` wrote these with PEFT {peft}, PyTorch {torch} and
transformers {transformers}: the two files of each adapter as PEFT saved them (the list of its
targets sorted), and `expected.safetensors` with the base, an x and a gradient of y, and what PEFT
computed from them in float64. The adapters are random; `tests/interop/options.py` has their
options.
"""


def main() -> None:
    """Write all."""
    x = np.random.default_rng(0).standard_normal((3, 5))
    grad_y = np.random.default_rng(1).standard_normal((3, 3))
    for case, dtype in CASES.items():
        folder = FOLDER / case.replace(",", "").replace(" ", "-")
        adapted(GRID[case]).to(dtype).save_pretrained(folder)
        (folder / "README.md").unlink()
        path = folder / "adapter_config.json"
        config = json.loads(path.read_text())
        if isinstance(config["target_modules"], list):  # the order of a set changes from run to run
            config["target_modules"].sort()
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        y, grads = torch_run(adapted(GRID[case]).to(dtype).double(), x, grad_y)
        base = torch_base().to(dtype).double()
        arrays = {"x": x, "y": y, "grad_y": grad_y}
        arrays |= {f"base.{name}": array for name, array in arrays_of(base).items()}
        arrays |= {f"grad.{name}": np.ascontiguousarray(grad) for name, grad in grads.items()}
        write_safetensors(folder / "expected.safetensors", arrays)
    names = ("peft", "torch", "transformers")
    said = SOURCE.format(**{name: version(name) for name in names})
    (FOLDER / "SOURCE.md").write_text(said, encoding="utf-8")


if __name__ == "__main__":
    main()
