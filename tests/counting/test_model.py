"""A model as a list of its modules: targets, and what a module and a model may be."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.counting import Model, Module
from lora_ref.counting.model import overlaps
from lora_ref.counting.models import get_model
from lora_ref.counting.targets import Targets
from lora_ref.errors import LoraRefError

# targets


def test_a_target_is_the_end_of_a_path_after_a_dot() -> None:
    llama = get_model("llama-7b")
    assert [m.name for m in Targets(["q_proj"]).of(llama)] == ["model.layers.*.self_attn.q_proj"]
    assert len(Targets(["self_attn.q_proj", "q_proj"]).of(llama)) == 1, "each module once"
    with pytest.raises(LoraRefError, match=r"no module 'proj'"):
        Targets(["proj"]).of(llama)
    # T5: the same name in the encoder, the decoder, and across
    assert len(Targets(["q", "v"]).of(get_model("t5-base"))) == 6


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (["c_atn"], "no module 'c_atn'; the nearest: c_attn"),
        (["ln_1"], "no module 'ln_1'"),
        (["c_attn.w"], "no module 'c_attn.w'; the nearest: c_attn"),
        (["c_attn", "c_attn.q"], r"both h\.\*\.attn\.c_attn and its split"),
        ([], "at least one"),
        ([3], r"targets is \[3\], expected a list or a tuple of names"),
        (3, "expected a list or a tuple of names"),
        ("c_attn", r"no module for the targets c_attn: a string is a regular expression"),
        ("c_attn(", "no regular expression: missing"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(targets: list[str], sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        Targets(targets).of(get_model("gpt2"))


def test_a_place_in_a_plain_network_is_suggested_with_its_number() -> None:
    with pytest.raises(LoraRefError, match=r"no module 'seq.1'; the nearest: .*seq\.0"):
        Targets(["seq.1"]).of(get_model("peft-mlp"))


# what a model may be

PART = Module("h.*.fc", "linear", (3, 5), bias=3, copies=2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "not a module's name"),
        ({"name": "h..fc"}, "not a module's name"),
        ({"name": "*"}, "not a module's name"),
        ({"name": "h*.fc"}, "not a module's name"),
        ({"name": "h.*.f\nc"}, "not a module's name"),
        ({"name": 3}, "not a module's name"),
        ({"kind": "lineer"}, "kind is 'lineer'"),
        ({"shape": (3,)}, "expected 2 axes"),
        ({"shape": (3, 0)}, "shape is 0"),
        ({"copies": 0}, "copies is 0"),
        ({"shape": [3, 5]}, "expected a tuple"),
        ({"bias": -1}, "bias is -1"),
        ({"bias": 2}, "bias is 2, expected 0 or 3, one for each row"),
        ({"kind": "embedding"}, "bias is 3, expected 0"),
        ({"name": "fc"}, "need a \\*"),
        ({"splits": (("q", 1), ("k", 1))}, "the splits have 2 rows, expected 3"),
        ({"splits": (("q", -1), ("k", 4))}, "split q is -1"),
        ({"splits": (("q", 1), ("q", 2))}, "two splits have one name"),
        ({"splits": (("q.w", 3),)}, "'q.w' is no name of a split"),
    ],
)
def test_a_module_that_cannot_be_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        replace(PART, **wrong)


def test_sizes_of_numpy_do_not_overflow() -> None:
    wide = np.int32(2**20)
    assert Module("w", "linear", (wide, wide)).weight == 2**40


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("h.*.fc", "h.*.fc", True),
        ("h.*.fc", "h.3.fc", True),
        ("h.3.fc", "h.*.fc", True),
        ("h.*.fc", "h.a.fc", False),
        ("h.3.fc", "h.4.fc", False),
        ("h.3.layer.*", "h.*.layer.5", True),
        ("h.3.layer.*", "h.4.layer.5", False),
        ("h.*.fc", "h.\u00b2.fc", False),  # a superscript is no number
        ("h.*.fc", "h.*.fc.q", False),
    ],
)
def test_names_that_mean_one_module_overlap(one: str, other: str, overlap: bool) -> None:
    modules = tuple(Module(name, "linear", (3, 5)) for name in (one, other))
    if not overlap:
        assert Model("m", "", "", modules, 5, 1).total == 30
        return
    with pytest.raises(LoraRefError, match="overlap"):
        Model("m", "", "", modules, 5, 1)


steps = st.sampled_from(["*", "0", "1", "h", "fc"])
paths = st.lists(steps, min_size=1, max_size=3).map(".".join).filter(lambda n: n.strip("*."))


@given(st.lists(paths, max_size=6))
def test_names_clash_where_one_module_matches_both(names: list[str]) -> None:
    def mean_one(one: str, other: str) -> bool:
        pairs = list(zip(one.split("."), other.split("."), strict=False))
        return one.count(".") == other.count(".") and all(
            a == b or {a, b} in ({"*", "0"}, {"*", "1"}) for a, b in pairs
        )

    met = any(mean_one(a, b) for i, a in enumerate(names) for b in names[:i])
    assert met == bool(list(overlaps([Module(name, "norm", (1,)) for name in names])))


def test_all_errors_of_a_model_are_reported_together() -> None:
    norm = Module("norm", "norm", (5,))
    with pytest.raises(LoraRefError) as stop:
        Model("m", "", "", (norm, norm, Module("head", "linear", (7, 5), tied_to="x")), 5, 1)
    assert "norm and norm overlap" in str(stop.value)
    assert "head is tied to 'x'" in str(stop.value)


@pytest.mark.parametrize("modules", [(), (3,)])
def test_a_model_is_made_of_modules(modules: tuple[Module, ...]) -> None:
    with pytest.raises(LoraRefError, match="has no modules"):
        Model("m", "", "", modules, 5, 1)


@pytest.mark.parametrize(
    ("tied", "sentence"),
    [
        (Module("head", "linear", (7, 5), tied_to="nowhere"), "expected another module"),
        (Module("head", "linear", (7, 5), tied_to="head"), "expected another module"),
        (Module("head", "linear", (7, 6), tied_to="table"), "expected the same"),
    ],
)
def test_a_tie_needs_a_weight_of_the_same_shape(tied: Module, sentence: str) -> None:
    table = Module("table", "embedding", (7, 5))
    with pytest.raises(LoraRefError, match=sentence):
        Model("m", "", "", (table, tied), 5, 1)
