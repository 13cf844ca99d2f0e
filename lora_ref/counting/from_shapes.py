"""A model out of the names and shapes of its arrays, as they stand in its files."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

from lora_ref.counting.model import Kind, Model, Module
from lora_ref.errors import LoraRefError

Shape = tuple[int, ...]

BUFFERS = (
    "attn.bias",  # GPT-2's causal mask
    "attention.bias",
    "masked_bias",
    "position_ids",
    "inv_freq",
    "num_batches_tracked",
    "running_mean",
    "running_var",
)
"""Ends of the names of arrays that are no parameters, though some files have them."""

TABLES = ("embed", "wte", "wpe", "shared", "relative_attention_bias")
"""What the last word of the name of a table of vectors begins with or has in it."""

FAMILIES: Mapping[str, str] = {
    **dict.fromkeys(
        ("llama", "mistral", "gemma", "gemma2", "gemma3_text", "qwen2", "qwen3"), "llama"
    ),
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "electra"), "bert"),
    **dict.fromkeys(("t5", "mt5"), "t5"),
    "deberta-v2": "deberta",
    "gpt2": "gpt2",
    "opt": "opt",
    "phi": "phi",
}
"""The family of a model by the ``model_type`` of its configuration."""


def model_from_shapes(name: str, shapes: Mapping[str, Shape], config: Mapping[str, Any]) -> Model:
    """Return the model whose arrays have these names and shapes.

    An array of one axis called ``weight`` is a norm; one of two is a table where its name says so,
    and else a linear map; one of more is a convolution. What is called neither ``weight`` nor
    ``bias`` is a bare parameter. A linear map whose bias has as many entries as its weight has
    columns is stored transposed, as by GPT-2's ``Conv1D``. Equal modules at the numbers 0, 1, ...
    are copies of one with a ``*`` in its name.

    Parameters
    ----------
    name : str
        What the model is called.
    shapes : mapping of str to tuple of int
        Of its arrays.
    config : mapping of str
        ``config.json``, or nothing: whether a head that writes text is the token table
        (``architectures``, ``tie_word_embeddings``), which no array shows, and the ``model_type``,
        from which PEFT chooses its targets.
    """
    parts: dict[str, dict[str, Shape]] = defaultdict(dict)
    for path, shape in shapes.items():
        if f".{path}".endswith(tuple(f".{end}" for end in BUFFERS)) or not shape:
            continue
        module, _, last = path.rpartition(".")
        if last in ("weight", "bias") and module:
            parts[module][last] = shape
        else:
            parts[path]["parameter"] = shape
    modules = tuple(_copies(module for path, part in parts.items() for module in _of(path, part)))
    tables = [module for module in modules if module.kind == "embedding"]
    widest = max((table.shape for table in tables), default=(0, 1))
    if tables and _writes(config) and config.get("tie_word_embeddings", True):
        modules = tuple(_tied(modules, tables, widest))
    blocks = [m.copies for m in modules if m.name.count("*") == 1]
    return Model(
        name,
        name,
        "a file",
        modules,
        width=int(config.get("hidden_size", config.get("n_embd", widest[1]))),
        blocks=max(blocks, default=1),
        family=FAMILIES.get(str(config.get("model_type")), ""),
    )


def _writes(config: Mapping[str, Any]) -> bool:
    """Whether the model has a head that writes text."""
    ends = ("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")
    return any(str(one).endswith(ends) for one in config.get("architectures") or ())


def _of(path: str, part: Mapping[str, Shape]) -> Iterator[Module]:
    """Yield the module of a path, or what stands there in its place."""
    if "parameter" in part:
        yield Module(path, "parameter", part["parameter"])
        return
    if "weight" not in part:
        yield Module(f"{path}.bias", "parameter", part["bias"])
        return
    weight, bias = part["weight"], part.get("bias", ())
    kind = _kind(path, weight)
    if kind == "linear" and len(bias) == 1 and bias[0] == weight[1] != weight[0]:
        weight = weight[::-1]
    rows = 0 if kind == "embedding" else weight[0]
    if bias and bias != (rows,):
        raise LoraRefError(
            f"{path} has a weight of shape {part['weight']} and a bias of shape {bias}, "
            "which fit no module"
        )
    yield Module(path, kind, weight, bias=rows if bias else 0)


def _kind(path: str, weight: Shape) -> Kind:
    last = path.rpartition(".")[2]
    if len(weight) == 1:
        return "norm"
    if len(weight) > 2:
        return "convolution"
    is_table = any(word in last for word in TABLES) and "proj" not in last
    return "embedding" if is_table else "linear"


def _copies(modules: Iterator[Module]) -> Iterator[Module]:
    """Yield equal modules once, where their numbers are all from 0 on, and others one by one."""
    by_form: dict[tuple[str, ...], list[Module]] = defaultdict(list)
    for module in modules:
        by_form[tuple("*" if s.isdecimal() else s for s in module.name.split("."))].append(module)
    for group in by_form.values():
        name = _starred([module.name.split(".") for module in group])
        alike = len({(module.kind, module.shape, module.bias) for module in group}) == 1
        if name is None or not alike or len(group) == 1:
            yield from group
        else:
            yield replace(group[0], name=name, copies=len(group))


def _starred(paths: list[list[str]]) -> str | None:
    """Return the name of copies, a ``*`` where their numbers differ, unless a number is missing."""
    at = [i for i, steps in enumerate(zip(*paths, strict=True)) if len(set(steps)) > 1]
    numbers = {tuple(int(path[i]) for i in at) for path in paths}
    sizes = [max(each) + 1 for each in zip(*numbers, strict=True)]
    if numbers != set(product(*map(range, sizes))):
        return None
    return ".".join("*" if i in at else step for i, step in enumerate(paths[0]))


def _tied(modules: tuple[Module, ...], tables: list[Module], widest: Shape) -> Iterator[Module]:
    """Yield the modules, the output head among them, which uses the weight of the token table."""
    owner = next(table for table in tables if table.shape == widest)
    heads = [m for m in modules if m.kind == "linear" and m.shape == widest]
    for module in modules:
        if module in heads:
            yield Module(module.name, "linear", module.shape, module.bias, tied_to=owner.name)
        else:
            yield module
    if not heads:
        yield Module("lm_head", "linear", widest, tied_to=owner.name)
