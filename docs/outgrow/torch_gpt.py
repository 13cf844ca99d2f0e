"""The small language model as a PyTorch module, under the names that its layers have here.

So an adapter of ``lora-ref adapt`` fits: PEFT finds ``blocks.0.attention.q`` as we do.
"""

import torch
from torch import nn

from lora_ref.checkpoint.peft import STORED_AS
from lora_ref.layers.composite import arrays_of
from lora_ref.transformer.gpt import GPT


class Attention(nn.Module):
    """Causal attention with four projections, each a linear layer of its own."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, width) to the same shape."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for layer in (self.q, self.k, self.v)
        )
        taken = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.o(taken.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Attention and an MLP, with a norm before each."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        layers = {"fc1": nn.Linear(width, 4 * width), "fc2": nn.Linear(4 * width, width)}
        self.mlp = nn.ModuleDict(layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (batch, tokens, width) to the same shape."""
        x = x + self.attention(self.norm1(x))
        h = nn.functional.gelu(self.mlp["fc1"](self.norm2(x)), approximate="tanh")
        return x + self.mlp["fc2"](h)


class TorchGPT(nn.Module):
    """From tokens to logits; the head is tied to the embedding."""

    def __init__(self, vocabulary: int, context: int, width: int, heads: int, blocks: int) -> None:
        super().__init__()
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(context, width)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Map (batch, n) to (batch, n, vocabulary)."""
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[-1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.tokens.weight.T


def as_torch(gpt: GPT, dtype: torch.dtype = torch.float64) -> TorchGPT:
    """Return the module with the weights of a model of this package."""
    block = gpt.blocks["0"]
    (vocabulary, width), context = gpt.tokens.W.shape, len(gpt.positions.W)
    sizes = vocabulary, context, width, block.attention.heads, len(gpt.blocks.layers)
    model = TorchGPT(*sizes).to(dtype)
    stored = {}
    for path, array in arrays_of(gpt).items():
        layer, _, name = path.rpartition(".")
        stored[f"{layer}.{STORED_AS[name]}"] = torch.tensor(array, dtype=dtype)
    model.load_state_dict(stored)
    return model
