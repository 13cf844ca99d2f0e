"""Functions without parameters of their own, each with its backward underneath.

``name(x, ...) -> (y, cache)`` and ``name_backward(grad_y, cache) -> grad_x``, as in the layers. A
loss is where gradients begin: it returns a Python float, and its backward takes the cache alone. A
cache holds arrays, not copies of them: write into neither x nor y before the backward has run.

Each function raises `LoraRefError` for an array that is empty, has no axes, or is not of the one
floating-point dtype of its call, and `ShapeError` for shapes that do not fit each other. Values are
not scanned, but for labels. The dtype comes back unchanged.
"""

from lora_ref.ops.activations import (
    ACTIVATIONS,
    ActivationPair,
    GELUCache,
    GELUTanhCache,
    ReLUCache,
    TanhCache,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    relu,
    relu_backward,
    tanh,
    tanh_backward,
)
from lora_ref.ops.losses import (
    CrossEntropyCache,
    Labels,
    MeanSquaredErrorCache,
    mean_squared_error,
    mean_squared_error_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from lora_ref.ops.normalization import (
    DropoutCache,
    LayerNormCache,
    dropout,
    dropout_backward,
    dropout_mask,
    layer_norm,
    layer_norm_backward,
)

__all__ = [
    "ACTIVATIONS",
    "ActivationPair",
    "CrossEntropyCache",
    "DropoutCache",
    "GELUCache",
    "GELUTanhCache",
    "Labels",
    "LayerNormCache",
    "MeanSquaredErrorCache",
    "ReLUCache",
    "TanhCache",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "gelu",
    "gelu_backward",
    "gelu_tanh",
    "gelu_tanh_backward",
    "layer_norm",
    "layer_norm_backward",
    "mean_squared_error",
    "mean_squared_error_backward",
    "relu",
    "relu_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "tanh",
    "tanh_backward",
]
