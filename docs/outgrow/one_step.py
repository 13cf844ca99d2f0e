"""Make one step here, and compare it with the step that the distributed engine has made.

``python docs/outgrow/one_step.py ADAPTER TEXT MOVED``
"""

import sys
from pathlib import Path

import numpy as np
from settings import OPTIMIZER, base_and_windows, batch_of

from lora_ref.checkpoint import load_peft
from lora_ref.training import Network, loss_and_gradients


def main(adapter: Path, text: Path, moved: Path) -> None:
    """Print how far the two adapters are apart after the step, and how far the step went."""
    base, windows = base_and_windows(text)
    batch = batch_of(windows, 0)
    network = Network({"gpt": load_peft(adapter, base)})
    before = network.trainable
    value, grads = loss_and_gradients(network, batch[:, :-1], batch[:, 1:])
    after, _ = OPTIMIZER.step(before, grads, OPTIMIZER.init_state(before))
    theirs = Network({"gpt": load_peft(moved, base)}).trainable
    apart = max(np.abs(after[name] - theirs[name]).max() for name in after)
    step = max(np.abs(after[name] - before[name]).max() for name in after)
    print(f"loss here {value:.12f}")
    print(f"the step moves an entry by {step:.3f}; furthest from theirs by {apart:.1e}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
