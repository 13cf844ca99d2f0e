"""Published models as data, targets, and models that users describe in a file."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lora_ref import counting
from lora_ref.counting import Model, Module, spec
from lora_ref.counting.architectures import ARCHITECTURES, architecture, bert, decoder, gpt2, t5
from lora_ref.errors import LoraRefError

EXAMPLE = Path(counting.__file__).parent / "example_spec.json"

# transformers 5.23 builds each from its configuration with as many parameters, but for
# flan-t5-large, whose own head of 32128 x 1024 it ties; what a source prints is `Model.published`
TOTALS = {
    "bert-base": 109_482_240,
    "distilbert-base": 66_362_880,
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3-175b": 174_604_259_328,
    "opt-350m": 331_196_416,
    "opt-6.7b": 6_658_473_984,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-33b": 32_528_943_616,
    "llama-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "qwen2.5-3b": 3_085_938_688,
    "gemma-2-2b": 2_614_341_888,
    "phi-2": 2_779_683_840,
    "t5-base": 222_903_552,
    "flan-t5-large": 783_150_080,
    "whisper-large-v2": 1_543_304_960,
    "vit-base": 85_798_656,
    "deberta-v2-xxlarge": 1_564_549_632,
    "peft-mlp": 20 * 2000 + 2000 + 2000 * 2000 + 2000 + 2 * 2000 + 2,
}


def test_every_model_is_listed_here() -> None:
    assert set(ARCHITECTURES) == set(TOTALS)
    assert all(name == model.name for name, model in ARCHITECTURES.items())


@pytest.mark.parametrize("name", TOTALS)
def test_the_total_is_the_known_one(name: str) -> None:
    model = ARCHITECTURES[name]
    assert model.total == TOTALS[name]
    assert model.published in (None, TOTALS[name])
    assert model.source


sizes = st.integers(1, 50)


@given(sizes, sizes, sizes, sizes)
def test_a_gpt2_has_the_parameters_of_its_formula(d: int, blocks: int, ctx: int, V: int) -> None:
    modules = gpt2(d, blocks, positions=ctx, vocabulary=V)
    model = Model("drawn", "", "", modules, width=d, blocks=blocks)
    assert model.total == V * d + ctx * d + blocks * (12 * d * d + 13 * d) + 2 * d


@given(sizes, sizes, sizes, sizes, st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_a_llama_has_the_parameters_of_its_formula(
    head: int, blocks: int, ff: int, V: int, kv: int, groups: int, tied: bool
) -> None:
    heads = kv * groups
    d = heads * head
    model = Model(
        "drawn", "", "", decoder(d, blocks, heads, ff, V, kv_heads=kv, tied=tied), d, blocks
    )
    block = 2 * d * d + 2 * d * kv * head + 3 * d * ff + 2 * d
    assert model.total == blocks * block + d + V * d * (1 if tied else 2)


@given(sizes, sizes, sizes)
def test_a_bert_has_the_parameters_of_its_formula(d: int, blocks: int, V: int) -> None:
    model = Model("drawn", "", "", bert(d, blocks, V), width=d, blocks=blocks)
    block = 12 * d * d + 13 * d
    assert model.total == (V + 512 + 2) * d + 2 * d + blocks * block + d * d + d


@given(sizes, sizes, sizes, sizes, sizes)
def test_a_t5_has_the_parameters_of_its_formula(
    d: int, blocks: int, heads: int, ff: int, V: int
) -> None:
    model = Model("drawn", "", "", t5(d, blocks, heads, ff, V), width=d, blocks=2 * blocks)
    attention = 4 * d * 64 * heads
    encoder = attention + 2 * d * ff + 2 * d
    decoder_block = 2 * attention + 2 * d * ff + 3 * d
    tables = 2 * (32 * heads + d)
    assert model.total == V * d + blocks * (encoder + decoder_block) + tables


def test_fused_queries_keys_and_values_fill_their_matrix() -> None:
    (fused,) = architecture("gpt2").targeted(["c_attn"])
    assert sum(rows for _, rows in fused.pieces) == fused.out_features == 2304
    q, v = architecture("gpt2").targeted(["c_attn.q", "c_attn.v"])
    assert (q.shape, q.bias, q.copies) == ((768, 768), 768, 12)
    assert v.name == "h.*.attn.c_attn.v"


# ---------------------------------------------------------------------- targets


def test_a_target_is_the_end_of_a_path_after_a_dot() -> None:
    llama = architecture("llama-7b")
    assert [m.name for m in llama.targeted(["q_proj"])] == ["model.layers.*.self_attn.q_proj"]
    assert len(llama.targeted(["self_attn.q_proj", "q_proj"])) == 1, "each module once"
    with pytest.raises(LoraRefError, match=r"no module 'proj'"):
        llama.targeted(["proj"])
    # T5: the same name in the encoder, the decoder, and across
    assert len(architecture("t5-base").targeted(["q", "v"])) == 6


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (["c_atn"], "no module 'c_atn'; the nearest: c_attn"),
        (["ln_1"], "no module 'ln_1'"),
        (["c_attn.w"], "no module 'c_attn.w'; the nearest: c_attn"),
        (["c_attn", "c_attn.q"], r"both h\.\*\.attn\.c_attn and its piece"),
        ([], "at least one"),
        ("c_attn", "expected a sequence of names"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(targets: list[str], sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        architecture("gpt2").targeted(targets)


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(LoraRefError, match="no model 'gpt-2'; the nearest: gpt2"):
        architecture("gpt-2")


# ---------------------------------------------------------------------- what a model may be

PART = Module("h.*.fc", "linear", (3, 5), bias=3, copies=2)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"name": ""}, "not a module's name"),
        ({"name": "h..fc"}, "not a module's name"),
        ({"kind": "lineer"}, "kind is 'lineer'"),
        ({"shape": (3,)}, "expected 2 axes"),
        ({"shape": (3, 0)}, "shape is 0"),
        ({"copies": 0}, "copies is 0"),
        ({"bias": -1}, "bias is -1"),
        ({"name": "fc"}, "need a \\*"),
        ({"pieces": (("q", 1), ("k", 1))}, "the pieces have 2 rows, expected 3"),
    ],
)
def test_a_module_that_cannot_be_is_refused(wrong: dict[str, object], sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        replace(PART, **wrong)


@pytest.mark.parametrize(
    ("one", "other", "overlap"),
    [
        ("h.*.fc", "h.*.fc", True),
        ("h.*.fc", "h.3.fc", True),
        ("h.3.fc", "h.*.fc", True),
        ("h.*.fc", "h.a.fc", False),
        ("h.3.fc", "h.4.fc", False),
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


# ---------------------------------------------------------------------- a model in a file

GOOD = {"name": "m", "width": 4, "blocks": 1, "modules": [
    {"name": "fc", "kind": "linear", "shape": [3, 5]}
]}  # fmt: skip


def written(tmp_path: Path, body: object) -> Path:
    path = tmp_path / "model.json"
    path.write_text(body if isinstance(body, str) else json.dumps(body), encoding="utf-8")
    return path


def test_the_example_is_a_model() -> None:
    model = spec.load(EXAMPLE)
    per_block = 192 * 64 + 192 + 64 * 64 + 2 * 256 * 64 + 2 * 64
    assert model.total == 1000 * 64 + 2 * per_block
    assert [m.name for m in model.targeted(["qkv.q"])] == ["blocks.*.attention.qkv.q"]


def test_the_docstring_shows_a_model() -> None:
    block = spec.__doc__.split(".. code-block:: json")[1].split("The keys are")[0]
    assert spec.parse(json.loads(block)).total > 64_000


def module(**changes: object) -> dict[str, object]:
    return {**GOOD, "modules": [{**GOOD["modules"][0], **changes}]}


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("", "line 1, column 1: not JSON"),
        ("{", "not JSON"),
        ("[]", r"\[\] at the top"),
        ("NaN", "NaN is not a size"),
        ('{"name": "a", "name": "b"}', "the key 'name' stands twice"),
        ("[" * 100_000, "nests too deep"),
        ('{"width": ' + "9" * 5000 + "}", "digit"),
        ({**GOOD, "widht": 3}, "unknown key \"widht\"; did you mean 'width'"),
        ({"name": "m", "width": 4, "modules": []}, "has no 'blocks'"),
        ({**GOOD, "modules": []}, r"modules is \[\], expected a list of objects"),
        ({**GOOD, "modules": [3]}, "module 1 is 3, expected an object"),
        ({**GOOD, "width": True}, "width is true"),
        ({**GOOD, "width": 4.0}, r"width is 4\.0"),
        ({**GOOD, "width": -4}, "width is -4"),
        ({**GOOD, "width": 10**12}, "from 1 to 1,000,000,000"),
        (module(kind="matrix"), r"module 1 \(fc\): kind is 'matrix'"),
        (module(kind=["linear"]), "kind is"),
        (module(shape=[3, "5"]), 'shape is "5"'),
        (module(shape="3x5"), 'shape is "3x5"'),
        (module(shape=[3]), "expected 2 axes"),
        (module(copies=2), "copies need a"),
        (module(bias=None), "bias is null"),
        (module(pieces=[["q", 2]]), "the pieces have 2 rows"),
        (module(pieces=["q"]), 'a piece is "q"'),
        (module(pieces=[["q", 1], ["q", 2]]), "two pieces have one name"),
        (module(tied_to="x"), "tied to 'x'"),
        (module(tied_to=7), "tied_to is 7"),
        ({**GOOD, "modules": GOOD["modules"] * 2}, "overlap"),
    ],
)
def test_a_file_that_describes_no_model_is_refused(
    tmp_path: Path, body: object, sentence: str
) -> None:
    with pytest.raises(LoraRefError, match=sentence) as stop:
        spec.load(written(tmp_path, body))
    assert "model.json" in str(stop.value)


def test_all_faults_are_reported_together(tmp_path: Path) -> None:
    body = {**GOOD, "width": 0, "modules": [{"name": "a"}, {"kind": "linear", "shape": [0, 1]}]}
    with pytest.raises(LoraRefError) as stop:
        spec.load(written(tmp_path, body))
    for fault in ("width is 0", "module 1 (a) has no 'kind'", "module 2 has no 'name'", "is 0"):
        assert fault in str(stop.value)


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.json"):
        with pytest.raises(LoraRefError, match="cannot be read"):
            spec.load(path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LoraRefError, match="not UTF-8"):
        spec.load(tmp_path / "binary")


words = st.text("abcde", min_size=1, max_size=6)


@given(
    st.lists(
        st.tuples(words, st.integers(1, 9), st.integers(1, 9), st.integers(0, 9)),
        min_size=1,
        unique_by=lambda entry: entry[0],
    )
)
def test_a_model_survives_the_way_through_json(entries: list[tuple[str, int, int, int]]) -> None:
    listed = [
        {"name": f"b.*.{name}", "kind": "linear", "shape": [out, into], "bias": b, "copies": 3}
        for name, out, into, b in entries
    ]
    body = {"name": "m", "width": 1, "blocks": 3, "modules": listed}
    model = spec.parse(json.loads(json.dumps(body)))
    assert model.total == sum(3 * (out * into + b) for _, out, into, b in entries)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(
        st.sampled_from([*spec.MODEL_KEYS, *spec.MODULE_KEYS]) | st.text(), children
    ),
))  # fmt: skip
def test_whatever_stands_in_the_file_only_a_sentence_comes_out(body: object) -> None:
    with contextlib.suppress(LoraRefError):
        assert isinstance(spec.parse(body), Model)
