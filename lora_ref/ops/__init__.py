"""Functions without parameters of their own, each with its backward pass.

``name(x, ...) -> (y, cache)`` and ``name_backward(grad_y, cache) -> grad_x``, as in the layers. A
loss returns a Python float, and its backward takes only the cache: gradients begin there. A cache
holds arrays, not copies of them, so do not write to x or y before the backward pass has run.

The dtype of the result is that of the input. Shapes and dtypes are checked; values are not, except
labels.
"""

from lora_ref.ops.activations import (
    ACTIVATIONS,
    gelu,
    gelu_backward,
    gelu_tanh,
    gelu_tanh_backward,
    relu,
    relu_backward,
    silu,
    silu_backward,
    tanh,
    tanh_backward,
)
from lora_ref.ops.attention import (
    attention,
    attention_backward,
    softmax,
    softmax_backward,
)
from lora_ref.ops.losses import (
    Labels,
    mean_squared_error,
    mean_squared_error_backward,
    softmax_cross_entropy,
    softmax_cross_entropy_backward,
)
from lora_ref.ops.normalization import (
    dropout,
    dropout_backward,
    dropout_mask,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from lora_ref.ops.special import erf

__all__ = [
    "ACTIVATIONS",
    "Labels",
    "attention",
    "attention_backward",
    "dropout",
    "dropout_backward",
    "dropout_mask",
    "erf",
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
    "rms_norm",
    "rms_norm_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softmax_cross_entropy",
    "softmax_cross_entropy_backward",
    "tanh",
    "tanh_backward",
]
