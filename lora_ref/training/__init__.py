"""Training: networks, optimisers, schedules, clipping, and the loop over mini-batches."""

from lora_ref.training.clipping import clip_gradients, gradient_norm
from lora_ref.training.gradients import CROSS_ENTROPY, Loss, loss_and_gradients
from lora_ref.training.loop import History, accuracy, dropout, minibatches, train
from lora_ref.training.network import Network, NetworkCache
from lora_ref.training.optimizers import (
    SGD,
    AdamW,
    AdamWState,
    DivergedError,
    Momentum,
    Optimizer,
)
from lora_ref.training.schedule import cosine

__all__ = [
    "CROSS_ENTROPY",
    "SGD",
    "AdamW",
    "AdamWState",
    "DivergedError",
    "History",
    "Loss",
    "Momentum",
    "Network",
    "NetworkCache",
    "Optimizer",
    "accuracy",
    "clip_gradients",
    "cosine",
    "dropout",
    "gradient_norm",
    "loss_and_gradients",
    "minibatches",
    "train",
]
