"""Go on with an adapter under PyTorch's distributed engine: each process has a share of the batch.

``torchrun --nproc-per-node 2 docs/outgrow/train.py ADAPTER TEXT STEPS OUT``
"""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from peft import PeftModel
from settings import OPTIMIZER, base_and_windows, batch_of
from torch.nn.parallel import DistributedDataParallel
from torch_gpt import as_torch


def main(adapter: Path, text: Path, steps: int, out: Path) -> None:
    """Train, print the loss of the first and the last step, and save."""
    dist.init_process_group("gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    base, windows = base_and_windows(text)
    model = PeftModel.from_pretrained(as_torch(base), adapter, is_trainable=True)
    engine = DistributedDataParallel(model)  # it averages the gradients of the processes
    optimizer = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=OPTIMIZER.lr,
        betas=OPTIMIZER.betas,
        eps=OPTIMIZER.epsilon,
        weight_decay=OPTIMIZER.weight_decay,
    )
    for step in range(steps):
        mine = torch.tensor(batch_of(windows, step)[rank::world])
        logits = engine(mine[:, :-1])
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), mine[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        mean = loss.detach() / world
        dist.all_reduce(mean)
        if rank == 0 and step in (0, steps - 1):
            print(f"step {step + 1} of {steps}: loss {mean.item():.12f}", flush=True)
    if rank == 0:
        model.save_pretrained(out, save_embedding_layers=False)  # the base has no name to look up
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
