"""Load an adapter of this package in PEFT, every warning an error, and compare.

``python docs/outgrow/compare.py ADAPTER TEXT``
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from peft import PeftModel
from settings import base_and_windows, batch_of
from torch_gpt import as_torch

from lora_ref.checkpoint import load_peft
from lora_ref.training import Network, loss_and_gradients


def main(adapter: Path, text: Path) -> None:
    """Print how far the two are apart."""
    base, windows = base_and_windows(text)
    batch = batch_of(windows, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        there = PeftModel.from_pretrained(as_torch(base), adapter, is_trainable=True)
    logits = there(torch.tensor(batch[:, :-1]))
    loss = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), torch.tensor(batch[:, 1:]).flatten()
    )
    loss.backward()
    here = load_peft(adapter, base)
    ours, _ = here.forward(batch[:, :-1])
    value, grads = loss_and_gradients(Network({"gpt": here}), batch[:, :-1], batch[:, 1:])
    furthest = 0.0
    for name, parameter in there.named_parameters():
        if parameter.requires_grad:
            path, _, factor = name.removeprefix("base_model.model.").partition(".lora_")
            gap = grads[f"gpt.{path}.{factor[0]}"] - parameter.grad.numpy()
            furthest = max(furthest, np.abs(gap).max() / parameter.grad.abs().max().item())
    gap = np.abs(ours - logits.detach().numpy()).max()
    print(f"loss here {value:.12f}, there {loss.item():.12f}")
    print(f"furthest logit apart by {gap:.1e} of {np.abs(ours).max():.1f}")
    print(f"furthest entry of {len(grads)} gradients apart by {furthest:.1e} of the largest")
    print("no warning")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
