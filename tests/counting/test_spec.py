"""Models that users describe in a file."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st

from lora_ref import counting
from lora_ref.counting import Model, Module, spec
from lora_ref.counting.models import MODELS, get_model
from lora_ref.counting.targets import Targets
from lora_ref.errors import LoraRefError

EXAMPLE = Path(counting.__file__).parent / "example_spec.json"

GOOD = {"name": "m", "width": 5, "blocks": 1, "modules": [
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
    assert [m.name for m in Targets(["qkv.q"]).of(model)] == ["blocks.*.attention.qkv.q"]


def module(**changes: object) -> dict[str, object]:
    return {**GOOD, "modules": [{**GOOD["modules"][0], **changes}]}


@each(
    ("body", "sentence"),
    [
        ("", "line 1, column 1: not JSON"),
        ("{", "not JSON"),
        ("[]", r"\[\] at the top"),
        ("NaN", "NaN at the top"),
        ('{"width": NaN}', "width is NaN"),
        ('{"width": 1e999}', "width is Infinity"),
        ('{"name": "a", "name": "b"}', 'the model: the key "name" stands twice'),
        ('{"modules": [{}, {"kind": 1, "kind": 2}]}', 'module 2: the key "kind" stands twice'),
        ("[" * 100_000, "nests too deep"),
        ('{"width": ' + "9" * 5000 + "}", "width is a huge number"),
        ({**GOOD, "widht": 3}, 'unknown key "widht"; the nearest: width'),
        ({"name": "m", "width": 4, "modules": []}, "has no 'blocks'"),
        ({**GOOD, "modules": []}, r"modules is \[\], expected a list of objects"),
        ({**GOOD, "modules": [3]}, "module 1 is 3, expected an object"),
        ({**GOOD, "width": True}, "width is true"),
        ({**GOOD, "width": 4.0}, r"width is 4\.0"),
        ({**GOOD, "width": -4}, "width is -4"),
        ({**GOOD, "width": 10**12}, "from 1 to 1,000,000,000"),
        (module(kind="matrix"), "module 1: fc: kind is 'matrix'"),
        (module(kind=["linear"]), "kind is"),
        (module(shape=[3, "5"]), 'shape is "5"'),
        (module(shape="3x5"), 'shape is "3x5"'),
        (module(shape=[3]), "expected 2 axes"),
        (module(name="\ud800"), r'module 1: name is "\\ud800"'),
        (module(name="*", copies=1), "not a module's name"),
        (module(name="h.*.fc"), r"h\.\*\.fc\) has a \* in its name and no copies"),
        (module(groups=3), "a linear of shape .* has groups 3, expected a convolution"),
        ({**GOOD, "width": 7}, "width is 7, and no module has a side of that length"),
        ({**GOOD, "published": 14}, "published is 14, and the modules have 15 parameters"),
        (
            module(name="h.*.fc", copies=2),
            "blocks is 1, and the modules of h. have 2",
        ),
        (
            {
                **GOOD,
                "blocks": 2,
                "modules": [
                    {"name": "h.*.q", "kind": "linear", "shape": [4, 4], "copies": 2},
                    {"name": "h.*.k", "kind": "linear", "shape": [4, 4], "copies": 3},
                ],
            },
            r"h\.\*\.q has 2 copies and h\.\*\.k has 3, expected as many of all modules of h",
        ),
        (module(kind="parameter", shape=[10**9] * 2), "more than 1,000,000,000,000,000 parameters"),
        (module(kind="parameter", shape=[1] * 9), "9 axes, expected at most 8"),
        (module(bias=2), "bias is 2, expected 0 or 3"),
        (module(copies=2), "copies need a"),
        (module(bias=None), "bias is null"),
        (module(splits=[["q", 2]]), "the splits have 2 rows"),
        (module(splits=["q"]), 'a split is "q"'),
        (module(splits=[["q", 1], ["q", 2]]), "two splits have one name"),
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


def test_all_errors_are_reported_together(tmp_path: Path) -> None:
    body = {**GOOD, "width": 0, "modules": [{"name": "a"}, {"kind": "linear", "shape": [0, 1]}]}
    with pytest.raises(LoraRefError) as stop:
        spec.load(written(tmp_path, body))
    for error in ("width is 0", "module 1 (a) has no 'kind'", "module 2 has no 'name'", "is 0"):
        assert error in str(stop.value)


def test_overlapping_names_are_reported_with_the_other_errors(tmp_path: Path) -> None:
    with pytest.raises(LoraRefError) as stop:
        spec.load(written(tmp_path, {**GOOD, "width": 0, "modules": GOOD["modules"] * 2}))
    assert "width is 0" in str(stop.value)
    assert "fc and fc overlap" in str(stop.value)


def test_a_long_list_of_errors_is_cut(tmp_path: Path) -> None:
    with pytest.raises(LoraRefError, match="and 80 more errors") as stop:
        spec.load(written(tmp_path, {**GOOD, "modules": [3] * 100}))
    assert str(stop.value).count("\n") == spec.MAX_ERRORS


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, "\ufeff" + json.dumps(GOOD))
    assert spec.load(str(path)).total == 15


def test_every_tensor_of_a_large_model_may_be_listed(tmp_path: Path) -> None:
    listed = [{"name": f"h.{i}.fc", "kind": "norm", "shape": [2]} for i in range(5000)]
    assert spec.load(written(tmp_path, {**GOOD, "width": 2, "modules": listed})).total == 10_000


def test_a_file_too_large_for_sizes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LoraRefError, match="more than 1,000,000 bytes"):
        spec.load(written(tmp_path, " " * 1_000_001))


def test_what_is_no_file_of_text_is_refused(tmp_path: Path) -> None:
    for path in (3, None, b"model.json"):
        with pytest.raises(LoraRefError, match="expected the name of a JSON file"):
            spec.load(path)
    with pytest.raises(LoraRefError, match="is a folder, expected a JSON file"):
        spec.load(tmp_path)
    with pytest.raises(LoraRefError, match="cannot be read: No such file"):
        spec.load(tmp_path / "none.json")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(LoraRefError, match="line 1: the byte 0xff is not UTF-8"):
        spec.load(tmp_path / "binary")


words = st.text("abcde", min_size=1, max_size=6)


@st.composite
def modules_drawn(draw: st.DrawFn) -> tuple[Module, ...]:
    listed = []
    for name in draw(st.lists(words, min_size=1, unique=True)):
        kind = draw(st.sampled_from(["linear", "embedding", "norm", "convolution", "parameter"]))
        axes = {"linear": 2, "embedding": 2, "norm": 1}.get(kind, 3)
        shape = tuple(draw(st.integers(1, 9)) for _ in range(axes))
        plain = kind in ("embedding", "parameter")
        bias = 0 if plain else draw(st.sampled_from([0, shape[0]]))
        cut = draw(st.integers(1, 9))
        fused = kind == "linear" and cut < shape[0]
        listed.append(
            Module(
                f"b.*.{name}",
                kind,
                shape,
                bias=bias,
                copies=draw(st.integers(1, 3)),
                splits=(("q", cut), ("k", shape[0] - cut)) if fused else (),
            )
        )
    head = Module("head", listed[0].kind, listed[0].shape, tied_to=listed[0].name)
    return (*listed, head) if draw(st.booleans()) else tuple(listed)


def as_spec(model: Model) -> dict[str, object]:
    shown = ("name", "title", "width", "blocks", "family")
    listed = [{key: getattr(m, key) for key in spec.MODULE_KEYS} for m in model.modules]
    return {**{key: getattr(model, key) for key in shown}, "modules": listed}


@given(modules_drawn())
def test_a_model_survives_the_way_through_json(modules: tuple[Module, ...]) -> None:
    model = Model("m", "a model", "a file", modules, 2, 3)
    body = json.loads(json.dumps(as_spec(model)))
    if [*spec.contradictions(model)]:
        with pytest.raises(LoraRefError, match=r"expected as many|blocks is 3|width is 2"):
            spec.parse(body)
    else:
        assert spec.parse(body) == model


@pytest.mark.parametrize("name", MODELS)
def test_a_published_model_can_be_written_as_a_file(tmp_path: Path, name: str) -> None:
    model = get_model(name)
    read = spec.load(written(tmp_path, as_spec(model)))
    assert read == replace(model, source="a file", published=None)


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(
        st.sampled_from([*spec.MODEL_KEYS, *spec.MODULE_KEYS]) | st.text(), children
    ),
))  # fmt: skip
def test_whatever_stands_in_the_file_only_a_sentence_comes_out(body: object) -> None:
    with contextlib.suppress(LoraRefError):
        assert isinstance(spec.parse(body), Model)
