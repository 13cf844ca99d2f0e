"""The layouts of papers, libraries and teaching material, each read at its source.

Every fact was read in the file and version that `Layout.source` names; other versions may differ,
as two of LLMs-from-scratch do. ``tests/interop/test_conventions.py`` holds the layouts against the
libraries themselves.
"""

from collections.abc import Mapping
from dataclasses import replace

from lora_ref.checkpoint.conventions.layout import Layout, Place

WEIGHT = Place("weight", ("out", "in"))
INSIDE = Place("linear.weight", ("out", "in"))  # the layer holds the frozen one as `linear`
BEFORE_A = "before A"

_LORALIB = Layout(
    name="loralib",
    source="loralib 0.1.2, `loralib/layers.py`, `Linear`",
    weight=WEIGHT,
    A=Place("lora_A", ("r", "in")),
    B=Place("lora_B", ("out", "r")),
    merged="merged = weight + lora_alpha / len(lora_A) * lora_B @ lora_A",
    number="lora_alpha",
    kept="the constructor's argument",
    dropout=BEFORE_A,
)
_QKV = replace(
    _LORALIB,
    name="loralib, q k v in one",
    source="loralib 0.1.2, `loralib/layers.py`, `MergedLinear`",
    A=Place("lora_A", ("g r", "in")),
    B=Place("lora_B", ("enabled out", "r")),
    merged=(
        "A, B = lora_A.reshape(2, r, -1), lora_B.reshape(2, -1, r)  # of q and of v\n"
        "merged = weight + lora_alpha / r * np.concatenate(np.insert(B @ A, 1, 0, axis=0))"
    ),
    enable=(True, False, True),
)
_PEFT = replace(
    _LORALIB,
    name="PEFT",
    source="PEFT 0.21.2, `peft/tuners/lora/layer.py`, `Linear`",
    A=Place("lora_A.weight", ("r", "in")),
    B=Place("lora_B.weight", ("out", "r")),
    kept="`adapter_config.json`",
)
_MLX = Layout(
    name="mlx-lm",
    source="mlx-lm 0.32.2, `mlx_lm/tuner/lora.py`, `LoRALinear`",
    weight=INSIDE,
    A=Place("lora_a", ("in", "r")),
    B=Place("lora_b", ("r", "out")),
    merged="merged = weight + (scale * lora_b.T) @ lora_a.T",
    number="scale",
    power=0,
    kept="`adapter_config.json`, `lora_parameters`",
    dropout=BEFORE_A,
)
_FROM_SCRATCH = Layout(
    name="LLMs-from-scratch 1.0.19",
    source="llms-from-scratch 1.0.19, `llms_from_scratch/appendix_e.py`",
    weight=INSIDE,
    A=Place("lora.A", ("in", "r")),
    B=Place("lora.B", ("r", "out")),
    merged="merged = weight + (alpha * A @ B).T",
    number="alpha",
    power=0,
    kept="the constructor's argument",
)

_ALL = (
    Layout(
        name="the paper",
        source="arXiv 2106.09685, section 4.1",
        weight=Place("W0", ("out", "in")),
        A=Place("A", ("r", "in")),
        B=Place("B", ("out", "r")),
        merged="merged = W0 + alpha / len(A) * B @ A",
        number="alpha",
        kept="the text",
        dropout="not in the formula",
    ),
    _LORALIB,
    _QKV,
    _PEFT,
    replace(
        _PEFT,
        name="PEFT, use_rslora",
        power=0.5,
        kept="`adapter_config.json`, with `use_rslora`",
        merged="merged = weight + lora_alpha / np.sqrt(len(lora_A)) * lora_B @ lora_A",
    ),
    replace(
        _PEFT,
        name="PEFT on Conv1D",
        source="PEFT 0.21.2, `fan_in_fan_out`; `Conv1D` of transformers 5.24.0, `pytorch_utils.py`",
        weight=Place("weight", ("in", "out")),
        merged="merged = weight + (lora_alpha / len(lora_A) * lora_B @ lora_A).T",
    ),
    replace(
        _PEFT,
        name="PEFT, DoRA",
        source="PEFT 0.21.2, `peft/tuners/lora/dora.py`, `DoraLinearLayer`",
        magnitude=Place("lora_magnitude_vector", ("out",)),
        merged=(
            "V = weight + lora_alpha / len(lora_A) * lora_B @ lora_A\n"
            "merged = (lora_magnitude_vector / np.linalg.norm(V, axis=1))[:, None] * V"
        ),
    ),
    replace(
        _LORALIB,
        name="LitGPT",
        source="litgpt 0.5.13, `litgpt/lora.py`, `LoRALinear`",
        weight=INSIDE,
        kept="`hyperparameters.yaml`",
    ),
    replace(
        _QKV,
        name="LitGPT, q k v in one",
        source="litgpt 0.5.13, `litgpt/lora.py`, `LoRAQKVLinear`; k and v may be narrower than q",
        weight=INSIDE,
        kept="`hyperparameters.yaml`",
    ),
    _MLX,
    replace(
        _MLX,
        name="mlx-lm, DoRA",
        source="mlx-lm 0.32.2, `mlx_lm/tuner/dora.py`, `DoRALinear`",
        magnitude=Place("m", ("out",)),
        merged=(
            "V = weight + (scale * lora_b.T) @ lora_a.T\n"
            "merged = (m / np.linalg.norm(V, axis=1))[:, None] * V"
        ),
    ),
    replace(
        _LORALIB,
        name="labml",
        source="labml-nn 0.5.1, `labml_nn/lora/__init__.py`, `Linear`",
        A=Place("lora_a", ("r", "in")),
        B=Place("lora_b", ("out", "r")),
        merged="merged = weight + alpha / len(lora_a) * lora_b @ lora_a",
        number="alpha",
        dropout="none",
    ),
    _FROM_SCRATCH,
    replace(
        _FROM_SCRATCH,
        name="LLMs-from-scratch, later",
        source="rasbt/LLMs-from-scratch at 8f3e5b024d, `pkg/llms_from_scratch/appendix_e.py`",
        merged="merged = weight + (alpha / len(B) * A @ B).T",
        power=1,
    ),
    Layout(
        name="Flax NNX",
        source="flax 0.12.8, `flax/nnx/nn/lora.py`, `LoRALinear`",
        weight=Place("kernel", ("in", "out")),
        A=Place("lora.lora_a", ("in", "r")),
        B=Place("lora.lora_b", ("r", "out")),
        merged="merged = kernel + lora_a @ lora_b",
    ),
    Layout(
        name="Keras",
        source="keras 3.15.1, `keras/src/layers/core/dense.py`, `Dense.enable_lora`",
        weight=Place("kernel", ("in", "out")),
        A=Place("lora_kernel_a", ("in", "r")),
        B=Place("lora_kernel_b", ("r", "out")),
        merged="merged = kernel + lora_alpha / len(lora_kernel_b) * lora_kernel_a @ lora_kernel_b",
        number="lora_alpha",
        kept="`get_config`; a saved kernel is merged",
    ),
    Layout(
        name="sd-scripts",
        source="kohya-ss/sd-scripts at 02298e3c4a, `networks/lora.py`, `LoRAModule`",
        weight=WEIGHT,
        A=Place("lora_down.weight", ("r", "in")),
        B=Place("lora_up.weight", ("out", "r")),
        merged="merged = weight + alpha / len(lora_down) * lora_up @ lora_down",
        number="alpha",
        kept="a tensor beside the factors",
        dropout="between A and B",
        zero_means_r=True,
    ),
    Layout(
        name="catid/dora",
        source="catid/dora at 1d0527289b, `dora.py`, `DoRALayer`",
        weight=WEIGHT,
        A=Place("lora_B", ("r", "in")),
        B=Place("lora_A", ("out", "r")),
        merged=(
            "V = weight + lora_A @ lora_B\n"
            "merged = m * V / np.linalg.norm(V, axis=0, keepdims=True)"
        ),
        magnitude=Place("m", ("1", "in")),
    ),
)

LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in _ALL}
"""Every layout by its name. What is an option there is a field: ``replace(layout, enable=...)``."""
