"""What GPT-2 and BERT of `transformers` compute, with LoRA of `peft`: written to transformer.json.

No test runs this; `tests/transformer/test_reference.py` reads what it wrote. In an environment of
its own (it was Python 3.11, torch 2.13.0 for CPU, transformers 5.24.0, peft 0.21.2)::

    python -m pip install torch transformers peft
    python tests/reference/make_transformer.py

The models are tiny, in float64, with random numbers in every parameter, so that no gradient hides
behind a zero, and without dropout. Names and layouts are the libraries' own.
"""

import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import BertConfig, BertModel, GPT2Config, GPT2LMHeadModel

FILE = Path(__file__).with_name("transformer.json")

SIZES = {"vocabulary": 13, "context": 8, "features": 8, "heads": 2, "blocks": 2}
LORA = {"r": 2, "lora_alpha": 3}
STD = 0.4

Passes = Callable[[Any], tuple[torch.Tensor, torch.Tensor]]
"""From a model to its output and the loss."""


def gpt2() -> dict[str, Any]:
    """Return the decoder: logits, the mean cross-entropy of the next tokens, and gradients."""
    config = GPT2Config(
        vocab_size=SIZES["vocabulary"],
        n_positions=SIZES["context"],
        n_embd=SIZES["features"],
        n_head=SIZES["heads"],
        n_layer=SIZES["blocks"],
        attn_implementation="eager",
        **dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0),
        **dict.fromkeys(("bos_token_id", "eos_token_id")),
    )
    model = filled(GPT2LMHeadModel(config).double())
    tokens = torch.randint(SIZES["vocabulary"], (3, 6))

    def passes(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        logits = model(input_ids=tokens).logits
        # not the model's own loss, which rounds the logits to float32
        return logits, cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())

    return {
        "norm_epsilon": config.layer_norm_epsilon,
        "tokens": tokens.tolist(),
        **measured(model, passes, ["c_attn", "c_proj", "c_fc"]),
    }


def bert() -> dict[str, Any]:
    """Return the encoder: the mean over the tokens of each text, and gradients for `grad_rows`."""
    config = BertConfig(
        vocab_size=SIZES["vocabulary"],
        max_position_embeddings=SIZES["context"],
        hidden_size=SIZES["features"],
        intermediate_size=4 * SIZES["features"],
        num_attention_heads=SIZES["heads"],
        num_hidden_layers=SIZES["blocks"],
        attn_implementation="eager",
        **dict.fromkeys(("hidden_dropout_prob", "attention_probs_dropout_prob"), 0.0),
    )
    model = filled(BertModel(config, add_pooling_layer=False).double())
    mask = torch.arange(7) < torch.tensor([[7], [1], [4]])
    tokens = torch.randint(1, SIZES["vocabulary"], mask.shape) * mask  # 0 is BERT's padding
    grad_rows = torch.randn(3, SIZES["features"], dtype=torch.float64)

    def passes(model: Any) -> tuple[torch.Tensor, torch.Tensor]:
        states = model(input_ids=tokens, attention_mask=mask).last_hidden_state
        rows = (states * mask[..., None]).sum(dim=1) / mask.sum(dim=1, keepdim=True)
        return rows, (rows * grad_rows).sum()

    return {
        "norm_epsilon": config.layer_norm_eps,
        "tokens": tokens.tolist(),
        "mask": mask.tolist(),
        "grad_rows": grad_rows.tolist(),
        **measured(model, passes, ["query", "value"]),
    }


def measured(model: Any, passes: Passes, targets: list[str]) -> dict[str, Any]:
    """Return what a model computes, and what it computes with LoRA on the targets."""
    plain = traced(model, passes)
    conv1d = isinstance(model, GPT2LMHeadModel)
    config = LoraConfig(target_modules=targets, lora_dropout=0.0, fan_in_fan_out=conv1d, **LORA)
    adapted = get_peft_model(model, config)
    return {"plain": plain, "lora": traced(filled(adapted, trained(adapted)), passes)}


def traced(model: Any, passes: Passes) -> dict[str, Any]:
    """Return the output, the loss, and the numbers and gradients of all that trains."""
    model.eval()
    output, loss = passes(model)
    loss.backward()
    parameters = dict(trained(model))
    return {
        "parameters": {name: p.tolist() for name, p in parameters.items()},
        "output": output.tolist(),
        "loss": loss.item(),
        "gradients": {name: p.grad.tolist() for name, p in parameters.items()},
    }


def filled(model: Any, parameters: Any = None) -> Any:
    """Return the model with other random numbers in its parameters, or in the ones given."""
    with torch.no_grad():
        for name, p in parameters or model.named_parameters():
            is_gain = p.ndim == 1 and name.endswith("weight")
            p.normal_(1.0 if is_gain else 0.0, STD)
    return model


def trained(model: Any) -> Iterator[tuple[str, Any]]:
    """Yield what trains, by name."""
    return ((name, p) for name, p in model.named_parameters() if p.requires_grad)


def on_lines(value: Any, indent: str = "") -> str:
    """Return JSON with a line for each entry of a mapping."""
    if not isinstance(value, dict):
        return json.dumps(value, separators=(",", ":"))
    deeper = indent + " "
    entries = (f"\n{deeper}{json.dumps(k)}: {on_lines(v, deeper)}" for k, v in value.items())
    return "{" + ",".join(entries) + f"\n{indent}}}"


def main() -> None:
    """Write the file."""
    torch.manual_seed(0)
    versions = {name: version(name) for name in ("torch", "transformers", "peft")}
    said = {"made_by": "tests/reference/make_transformer.py", "versions": versions}
    values = {**said, "sizes": SIZES, "lora": LORA, "gpt2": gpt2(), "bert": bert()}
    FILE.write_text(on_lines(values) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
