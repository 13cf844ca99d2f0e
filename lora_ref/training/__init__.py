"""Training: layers in a row, optimisers that are functions, and the loop over mini-batches."""

from lora_ref.training.loop import (
    CROSS_ENTROPY,
    DivergedError,
    History,
    Loss,
    accuracy,
    dropout,
    minibatches,
    train,
)
from lora_ref.training.network import Network, NetworkCache
from lora_ref.training.optimisers import (
    SGD,
    AdamW,
    AdamWState,
    Momentum,
    MomentumState,
    Optimiser,
)
from lora_ref.training.pace import clip_gradients, cosine, gradient_norm

__all__ = [
    "CROSS_ENTROPY",
    "SGD",
    "AdamW",
    "AdamWState",
    "DivergedError",
    "History",
    "Loss",
    "Momentum",
    "MomentumState",
    "Network",
    "NetworkCache",
    "Optimiser",
    "accuracy",
    "clip_gradients",
    "cosine",
    "dropout",
    "gradient_norm",
    "minibatches",
    "train",
]
