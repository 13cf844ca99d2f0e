"""The grid of options: what PEFT is asked for, on a small model of linear layers."""

from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

FC = ["fc1", "fc2"]

GRID: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": FC},
    "one layer, by its whole name": {"target_modules": ["body.fc2"]},
    "expression": {"target_modules": r"(body\.fc\d|other\.fc1)"},
    "all-linear": {"target_modules": "all-linear", "exclude_modules": ["c_fc"]},
    "left out": {"target_modules": FC, "exclude_modules": ["other.fc1"]},
    "alpha, fractional": {"target_modules": FC, "lora_alpha": 0.3},
    "alpha, negative": {"target_modules": FC, "lora_alpha": -5},
    "rank-stabilized": {"target_modules": FC, "use_rslora": True},
    "patterns": {
        "target_modules": FC,
        "rank_pattern": {"fc2": 1, r"other\..*": 3},
        "alpha_pattern": {"^body.fc1": 1.5},
    },
    "DoRA": {"target_modules": FC, "use_dora": True},
    "DoRA, rank-stabilized, patterns": {
        "target_modules": FC,
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"fc1": 2},
    },
    "biases of adapted layers": {"target_modules": FC, "bias": "lora_only"},
    "all biases": {"target_modules": ["fc1"], "bias": "all"},
    "DoRA with biases": {"target_modules": FC, "use_dora": True, "bias": "lora_only"},
    "a bias of B": {"target_modules": ["fc1"], "lora_bias": True},
    "a layer whole": {"target_modules": ["fc2"], "modules_to_save": ["head"]},
    "a layer whole, all biases": {
        "target_modules": ["fc2"],
        "modules_to_save": ["head"],
        "bias": "all",
    },
    "gaussian": {"target_modules": FC, "init_lora_weights": "gaussian"},
    "dropout": {"target_modules": FC, "lora_dropout": 0.5},
    "transposed": {"target_modules": ["c_fc"], "fan_in_fan_out": True},
}


class Model(nn.Module):
    """head(fc2(tanh(fc1(x))) + other.fc1(x)); c_fc is a Conv1D, as GPT-2 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.c_fc = Conv1D(6, 5)
        self.body = nn.ModuleDict({"fc1": nn.Linear(6, 7), "fc2": nn.Linear(7, 4, bias=False)})
        self.other = nn.ModuleDict({"fc1": nn.Linear(6, 4)})
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.c_fc(x)
        h = self.body["fc2"](torch.tanh(self.body["fc1"](x)))
        return self.head(h + self.other["fc1"](x))


def torch_base(seed: int = 0) -> Model:
    """Return the model in float64, drawn anew."""
    torch.manual_seed(seed)
    model = Model().double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    return model


def adapted(options: dict[str, Any], seed: int = 1, base: Model | None = None) -> PeftModel:
    """Return the model with an adapter whose arrays are away from where they start."""
    model = get_peft_model(base or torch_base(), LoraConfig(**{"r": 4, "lora_alpha": 8, **options}))
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def arrays_of(model: Model) -> dict[str, np.ndarray]:
    """Return the weights as a user has them: by name, as arrays."""
    return {name: tensor.numpy().copy() for name, tensor in model.state_dict().items()}


def torch_run(
    model: nn.Module, x: np.ndarray, grad_y: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return the output, and the gradients of what trains by the names of the file."""
    model.zero_grad()
    y = model(torch.tensor(x))
    y.backward(torch.tensor(grad_y))
    found = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            name = name.removeprefix("base_model.model.").replace(".default", "")
            found[name.replace("modules_to_save.", "")] = parameter.grad.numpy()
    return y.detach().numpy(), found
