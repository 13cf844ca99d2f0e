"""A model out of names and shapes: what each array is, what is a copy, what is tied."""

import pytest

from lora_ref.counting import MODELS, LoRA, Model, count_parameters
from lora_ref.counting.from_shapes import model_from_shapes
from lora_ref.counting.targets import DEFAULT_TARGETS
from lora_ref.errors import LoraRefError

CONFIG = {"architectures": ["XForCausalLM"], "tie_word_embeddings": True}


def arrays_of(model: Model) -> dict[str, tuple[int, ...]]:
    """Return the arrays of a published model, as a file has them."""
    shapes: dict[str, tuple[int, ...]] = {}
    for module in model.modules:
        for path in model.paths(module):
            if module.kind == "parameter":
                shapes[path] = module.shape
            elif not module.tied_to:
                shapes[f"{path}.weight"] = module.shape
            if module.bias:
                shapes[f"{path}.bias"] = (module.bias,)
    return shapes


@pytest.mark.parametrize("name", MODELS)
def test_a_published_model_comes_out_of_its_arrays(name: str) -> None:
    model = MODELS[name]
    tied = any(module.tied_to for module in model.modules)
    read = model_from_shapes(name, arrays_of(model), CONFIG if tied else {})
    assert read.total == model.total
    found, wanted = (
        {
            (path, module.kind, module.shape, module.bias)
            for module in one.modules
            if not module.tied_to
            for path in one.paths(module)
        }
        for one in (read, model)
    )
    assert found == wanted
    if model.family in DEFAULT_TARGETS:
        lora = LoRA(4, DEFAULT_TARGETS[model.family])
        mine, theirs = (count_parameters(one, lora).trainable for one in (read, model))
        assert mine == theirs


def kinds(shapes: dict[str, tuple[int, ...]], **config: object) -> dict[str, tuple[object, ...]]:
    modules = model_from_shapes("m", shapes, config).modules
    return {m.name: (m.kind, m.shape, m.bias, m.copies, m.tied_to) for m in modules}


def test_a_map_that_is_stored_transposed_is_seen_by_its_bias() -> None:
    found = kinds({"h.0.c_attn.weight": (4, 12), "h.0.c_attn.bias": (12,)})
    assert found == {"h.0.c_attn": ("linear", (12, 4), 12, 1, None)}


def test_copies_are_equal_and_their_numbers_have_no_gap() -> None:
    def blocks(*numbers: int, last: int = 3) -> dict[str, tuple[int, ...]]:
        return {f"l.{i}.up.weight": (last if i == numbers[-1] else 3, 2) for i in numbers}

    assert list(kinds(blocks(0, 1, 2))) == ["l.*.up"]
    assert list(kinds(blocks(1, 2))) == ["l.1.up", "l.2.up"]
    assert list(kinds(blocks(0, 2))) == ["l.0.up", "l.2.up"]
    assert list(kinds(blocks(0, 1, 2, last=4))) == ["l.0.up", "l.1.up", "l.2.up"]
    experts = {f"l.{i}.e.{k}.up.weight": (3, 2) for i in range(2) for k in range(3)}
    assert kinds(experts) == {"l.*.e.*.up": ("linear", (3, 2), 0, 6, None)}


def test_a_head_that_no_file_has_is_the_table() -> None:
    table = {"model.embed_tokens.weight": (50, 4)}
    assert kinds(table, **CONFIG)["lm_head"] == ("linear", (50, 4), 0, 1, "model.embed_tokens")
    both = {**table, "lm_head.weight": (50, 4)}
    assert kinds(both, **CONFIG)["lm_head"][-1] == "model.embed_tokens"
    assert kinds(both, **{**CONFIG, "tie_word_embeddings": False})["lm_head"][-1] is None
    assert "lm_head" not in kinds(table)
    assert "lm_head" not in kinds(table, architectures=["BertModel"])


def test_masks_and_frequencies_are_no_parameters() -> None:
    shapes = {"h.0.attn.bias": (1, 1, 8, 8), "rotary.inv_freq": (4,), "h.0.ln_1.weight": (4,)}
    assert list(kinds(shapes)) == ["h.0.ln_1"]


def test_bare_parameters_and_arrays_that_fit_nothing() -> None:
    assert kinds({"cls_token": (1, 1, 4)}) == {"cls_token": ("parameter", (1, 1, 4), 0, 1, None)}
    assert kinds({"gate.bias": (4,)}) == {"gate.bias": ("parameter", (4,), 0, 1, None)}
    with pytest.raises(LoraRefError, match=r"q has a weight of shape \(3, 2\) and a bias of shape"):
        kinds({"q.weight": (3, 2), "q.bias": (5,)})
