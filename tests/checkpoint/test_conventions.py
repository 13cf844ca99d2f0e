"""Layouts of other libraries: the same update through each, against what its source computes."""

from dataclasses import fields, replace
from pathlib import Path

import conventions_page
import numpy as np
import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.checkpoint.conventions import LAYOUTS, Layout, Place, Update, joined
from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers import DoRALinear, LoRALinear, QLoRALinear
from lora_ref.quantize import quantize

SEEDS, SIDES, RANKS = st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 4)
WHOLE = [name for name, layout in LAYOUTS.items() if len(layout.enable) == 1]
PARTS = [name for name in LAYOUTS if name not in WHOLE]
PLAIN = [name for name in LAYOUTS if LAYOUTS[name].axis is None]
CLOSE = {"rtol": 1e-11, "atol": 1e-11}


def drawn(seed, out_features, in_features, r, dtype=np.float64):
    """A weight, and an update of it that has nothing special."""
    rng = np.random.default_rng(seed)
    W0, A, B = (
        rng.standard_normal(shape).astype(dtype)
        for shape in ((out_features, in_features), (r, in_features), (out_features, r))
    )
    return W0, Update(A, B, float(rng.uniform(0.3, 3) * rng.choice([-1, 1])))


def of_parts(seed, widths, enable, in_features, r):
    """A weight of several parts, the update of each part with one, and the widths of the others."""
    rng = np.random.default_rng(seed)
    parts = [
        Update(rng.standard_normal((r, in_features)), rng.standard_normal((width, r)), -1.5)
        if enabled
        else width
        for width, enabled in zip(widths, enable, strict=True)
    ]
    return rng.standard_normal((sum(widths), in_features)), parts


def fitting(layout, W0, update):
    """The update with the lengths that the layout keeps, if it keeps any: the same weight."""
    return update if layout.axis is None else update.as_dora(W0, layout.axis)


def run(layout, W0, stored, r):
    """What the source computes from the stored arrays, and nothing of `read` and `write`."""
    names = {conventions_page.last(name): value for name, value in stored.items()}
    weight = W0 if layout.weight.axes == ("out", "in") else W0.T
    names |= {conventions_page.last(layout.weight.name): weight, "np": np}
    names["r"] = r
    exec(layout.merged, names)
    return names["merged"] if layout.weight.axes == ("out", "in") else names["merged"].T


# ---------------------------------------------------------------------- the same update


@pytest.mark.parametrize("name", WHOLE)
@given(seed=SEEDS, out_features=SIDES, in_features=SIDES, r=RANKS)
def test_each_layout_keeps_an_update_and_its_source_computes_the_same(
    name, seed, out_features, in_features, r
):
    layout = LAYOUTS[name]
    W0, update = drawn(seed, out_features, in_features, r)
    stored = layout.write(fitting(layout, W0, update))
    back = layout.read(stored)
    delta_w = update.delta_w
    assert_allclose(back.merged(W0) - W0, delta_w, **CLOSE)
    assert_allclose(back.delta_w, delta_w, **CLOSE)
    assert_allclose(run(layout, W0, stored, r) - W0, delta_w, **CLOSE)
    assert back.r == r


@pytest.mark.parametrize("name", WHOLE)
@given(seed=SEEDS, out_features=SIDES, in_features=SIDES, r=RANKS)
def test_what_is_stored_comes_out_again(name, seed, out_features, in_features, r):
    layout = LAYOUTS[name]
    W0, update = drawn(seed, out_features, in_features, r)
    stored = layout.write(fitting(layout, W0, update))
    again = layout.write(layout.read(stored))
    assert list(again) == list(stored) == list(layout.names)
    for key, value in stored.items():
        if key == layout.number:
            assert again[key] == pytest.approx(value, rel=1e-15)
        else:
            assert_array_equal(again[key], value)


@pytest.mark.parametrize("name", PARTS)
@given(
    seed=SEEDS,
    width=st.integers(1, 4),
    in_features=SIDES,
    r=RANKS,
    enable=st.lists(st.booleans(), min_size=2, max_size=4).filter(any),
)
def test_parts_of_equal_widths(name, seed, width, in_features, r, enable):
    layout = replace(LAYOUTS[name], enable=tuple(enable))
    check_parts(layout, seed, (width,) * len(enable), in_features, r)


@pytest.mark.parametrize("name", PARTS)
@given(
    seed=SEEDS,
    in_features=SIDES,
    r=RANKS,
    parts=st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=2, max_size=4).filter(
        lambda parts: any(enabled for _, enabled in parts)
    ),
)
def test_parts_of_other_widths(name, seed, in_features, r, parts):
    widths, enable = zip(*parts, strict=True)
    layout = replace(LAYOUTS[name], enable=enable, widths=widths)
    check_parts(layout, seed, widths, in_features, r)


def check_parts(layout, seed, widths, in_features, r):
    _, parts = of_parts(seed, widths, layout.enable, in_features, r)
    update, count = joined(parts), sum(layout.enable)
    expected = np.concatenate(
        [np.zeros((p, in_features)) if isinstance(p, int) else p.delta_w for p in parts]
    )
    assert_allclose(update.delta_w, expected, **CLOSE)
    stored = layout.write(update)
    out_features = sum(len(p.B) for p in parts if isinstance(p, Update))
    assert stored["lora_A"].shape == (count * r, in_features)
    assert stored["lora_B"].shape == (out_features, r)
    assert stored["lora_alpha"] == pytest.approx(-1.5 * r, rel=1e-15)  # over r, not over g r
    back = layout.read(stored)
    assert_allclose(back.delta_w, expected, **CLOSE)
    for part, again in zip(parts, layout.split(back), strict=True):
        if isinstance(part, int):
            assert again == part
        else:
            assert_array_equal(again.A, part.A)
            assert_array_equal(again.B, part.B)
    again = layout.write(back)
    for key in ("lora_A", "lora_B"):
        assert_array_equal(again[key], stored[key])


@pytest.mark.parametrize("name", PARTS)
@given(seed=SEEDS, width=st.integers(1, 4), in_features=SIDES, r=RANKS)
def test_the_source_computes_q_and_v(name, seed, width, in_features, r):
    layout = LAYOUTS[name]
    W0, parts = of_parts(seed, (width,) * 3, layout.enable, in_features, r)
    stored = layout.write(joined(parts))
    assert_allclose(run(layout, W0, stored, r) - W0, joined(parts).delta_w, **CLOSE)


@pytest.mark.parametrize("first", PLAIN)
def test_from_any_layout_to_any_other(first):
    _, parts = of_parts(7, (2, 2, 2), (True, False, True), 5, 3)
    update = joined(parts)
    for second in PLAIN:
        there = LAYOUTS[second].write(LAYOUTS[first].read(LAYOUTS[first].write(update)))
        again = LAYOUTS[second].read(there).delta_w
        assert_allclose(again, update.delta_w, **CLOSE, err_msg=second)


@each("dtype", [np.float16, np.float32, np.float64])
@each("name", WHOLE)
def test_the_dtype_stays(name, dtype):
    layout = LAYOUTS[name]
    W0, update = drawn(1, 4, 5, 2, dtype)
    stored = layout.write(fitting(layout, W0, update))
    arrays = [value for value in stored.values() if isinstance(value, np.ndarray)]
    assert {array.dtype for array in arrays} == {np.dtype(dtype)}
    assert all(array.flags.c_contiguous for array in arrays)
    assert layout.read(stored).merged(W0).dtype == dtype


@pytest.mark.parametrize("name", LAYOUTS)
def test_nothing_that_is_stored_is_shared_with_the_update(name):
    layout = LAYOUTS[name]
    W0, parts = of_parts(1, (2, 2, 2), (True, False, True), 5, 1)
    update = fitting(layout, W0, joined(parts))
    stored = layout.write(update)
    back = layout.read(stored)
    ours = [update.A, update.B, W0] + ([] if update.magnitude is None else [update.magnitude])
    theirs = [value for value in stored.values() if isinstance(value, np.ndarray)]
    again = [back.A, back.B] + ([] if back.magnitude is None else [back.magnitude])
    weights = [layout.write_weight(W0), layout.read_weight(layout.write_weight(W0))]
    for array in theirs + weights:
        assert not any(np.may_share_memory(array, other) for other in ours + again)


@pytest.mark.parametrize("name", LAYOUTS)
def test_weights_lie_as_they_are_said_to(name):
    layout, W0 = LAYOUTS[name], np.arange(6.0).reshape(2, 3)
    stored = layout.write_weight(W0)
    assert stored.shape == tuple({"out": 2, "in": 3}[axis] for axis in layout.weight.axes)
    assert_array_equal(layout.read_weight(stored), W0)


# ---------------------------------------------------------------------- updates and layers


@pytest.mark.parametrize("stabilized", [False, True])
def test_an_update_is_that_of_its_layer(stabilized, rng):
    W0, update = drawn(3, 4, 5, 2)
    layer = LoRALinear(W0, update.A, update.B, 1.7, rank_stabilized=stabilized)
    again = Update.of(layer)
    assert_allclose(again.delta_w, layer.delta_w, **CLOSE)
    x, bias = rng.standard_normal((3, 5)), rng.standard_normal(4)
    y, _ = again.layer(W0, bias).forward(x)
    assert_allclose(y, layer.forward(x)[0] + bias, **CLOSE)


def test_an_update_with_magnitudes_is_that_of_its_layer(rng):
    W0, update = drawn(3, 4, 5, 2)
    layer = DoRALinear(W0, update.A, update.B, rng.standard_normal(4), alpha=3.0)
    again = Update.of(layer)
    assert_allclose(again.merged(W0), layer.merge().W, **CLOSE)
    x = rng.standard_normal((3, 5))
    assert_allclose(again.layer(W0).forward(x)[0], layer.forward(x)[0], **CLOSE)


@given(seed=SEEDS, out_features=SIDES, in_features=SIDES, r=RANKS)
def test_magnitudes_are_lengths_of_rows_or_of_columns(seed, out_features, in_features, r):
    W0, update = drawn(seed, out_features, in_features, r)
    lengths = np.random.default_rng(seed).uniform(0.5, 2, max(out_features, in_features))
    for axis, n, summed in (("out", out_features, 1), ("in", in_features, 0)):
        dora = update.as_dora(W0, axis)
        assert_allclose(dora.merged(W0), W0 + update.delta_w, **CLOSE)
        trained = replace(dora, magnitude=lengths[:n])
        assert_allclose(np.linalg.norm(trained.merged(W0), axis=summed), lengths[:n], **CLOSE)


def test_a_scaling_can_be_shared_otherwise():
    _, update = drawn(3, 4, 5, 2)
    other = update.rescaled(-0.25)
    assert other.scaling == -0.25
    assert_allclose(other.delta_w, update.delta_w, **CLOSE)


# ---------------------------------------------------------------------- what cannot be kept

W, U = drawn(5, 4, 6, 2)
ONE, OTHER = Update(U.A, U.B, 1.0), Update(U.A, U.B, 2.0)
LORALIB, QKV, DORA = (LAYOUTS[n] for n in ("loralib", "loralib, q k v in one", "PEFT, DoRA"))
STORED = LORALIB.write(U)
BLOCKS = joined([ONE, 4, ONE])


def without(mapping, key):
    return {name: value for name, value in mapping.items() if name != key}


NOT_KEPT = {
    "a name is missing": (
        lambda: LORALIB.read(without(STORED, "lora_alpha")),
        r"loralib keeps lora_A, lora_B, lora_alpha; got lora_A, lora_B$",
    ),
    "a name is surplus": (lambda: LORALIB.read({**STORED, "x": 1.0}), r"got lora_A.*, x$"),
    "nothing": (lambda: LORALIB.read({}), "got nothing"),
    "A is transposed": (
        lambda: LORALIB.read({**STORED, "lora_A": STORED["lora_A"].T}),
        r"lora_A in loralib has shape \(6, 2\), expected \(r=2, in\); its transpose fits",
    ),
    "ranks differ": (
        lambda: LAYOUTS["mlx-lm"].read(
            {"lora_a": np.ones((6, 3)), "lora_b": np.ones((2, 4)), "scale": 1.0}
        ),
        r"lora_a in mlx-lm has shape \(6, 3\), expected \(in, r=2\)",
    ),
    "dtypes differ": (
        lambda: LORALIB.read({**STORED, "lora_A": STORED["lora_A"].astype(np.float32)}),
        "dtype float32, expected float64",
    ),
    "not finite": (
        lambda: LORALIB.read({**STORED, "lora_B": STORED["lora_B"] * np.nan}),
        "lora_B in loralib holds nan",
    ),
    "the number is none": (
        lambda: LORALIB.read({**STORED, "lora_alpha": "8"}),
        "lora_alpha in loralib is '8', expected a number",
    ),
    "lengths are not one for each output": (
        lambda: DORA.read({**DORA.write(U.as_dora(W)), "lora_magnitude_vector": np.ones(6)}),
        r"lora_magnitude_vector in PEFT, DoRA has shape \(6,\), expected \(out=4,\)",
    ),
    "a magnitude without a place": (
        lambda: LORALIB.write(U.as_dora(W)),
        "the update has a magnitude for each output, and loralib keeps none$",
    ),
    "a place without a magnitude": (
        lambda: DORA.write(U),
        "no magnitude, and PEFT, DoRA keeps a magnitude for each output; Update.as_dora finds it",
    ),
    "the other DoRA": (
        lambda: DORA.write(U.as_dora(W, "in")),
        "a magnitude for each input, and PEFT, DoRA keeps a magnitude for each output$",
    ),
    "the other DoRA, the other way": (
        lambda: LAYOUTS["catid/dora"].write(U.as_dora(W)),
        "a magnitude for each output, and catid/dora keeps a magnitude for each input$",
    ),
    "an array": (lambda: LORALIB.write(U.A), "expected an Update"),
    "scaling 0, where it means r": (
        lambda: LAYOUTS["sd-scripts"].write(replace(U, scaling=0.0)),
        "the scaling of the update is 0, expected another: sd-scripts reads 0 as r",
    ),
    "a whole update, for parts": (
        lambda: QKV.write(Update(np.ones((4, 5)), np.ones((6, 4)), 1.0)),
        r"B holds 1.0 at \(0, 2\), expected 0 outside the blocks",
    ),
    "a rank that parts cannot share": (
        lambda: QKV.write(Update(np.ones((3, 5)), np.ones((6, 3)), 1.0)),
        "rank 3, expected a multiple of 2",
    ),
    "outputs that parts cannot share": (
        lambda: QKV.write(Update(np.ones((2, 5)), np.ones((7, 2)), 1.0)),
        "7 outputs, expected a multiple of 3",
    ),
    "outputs of other widths": (
        lambda: replace(QKV, widths=(3, 1, 1)).write(BLOCKS),
        r"12 outputs, expected 3 \+ 1 \+ 1",
    ),
    "rows of B that parts cannot share": (
        lambda: QKV.read({**QKV.write(BLOCKS), "lora_B": np.ones((7, 2))}),
        "lora_B in loralib, q k v in one has 7 rows, expected 6 for the 2 parts",
    ),
    "rows of B of other widths": (
        lambda: replace(QKV, widths=(5, 1, 4)).read(QKV.write(BLOCKS)),
        r"has 8 rows, expected 9 for the 2 parts with an update; of \(5, 1, 4\)",
    ),
    "A for one part": (
        lambda: QKV.read({**QKV.write(BLOCKS), "lora_A": np.ones((2, 6))}),
        r"has shape \(2, 6\), expected \(g r=4, in\)",
    ),
    "no part with an update": (
        lambda: replace(QKV, enable=(False, False)),
        r"enable in loralib, q k v in one is \(False, False\), expected one True at least",
    ),
    "widths of other parts": (lambda: replace(QKV, widths=(1, 2)), "expected 3 numbers"),
    "parts with a magnitude": (
        lambda: replace(QKV, magnitude=Place("m", ("out",))),
        "has a magnitude and 3 parts",
    ),
    "parts of other scalings": (lambda: joined([ONE, OTHER]), "scaling 1.0 and 2.0"),
    "parts of other ranks": (
        lambda: joined([ONE, Update(np.ones((1, 6)), np.ones((4, 1)), 1.0)]),
        r"A of a part has shape \(1, 6\), expected \(r=2, in_features=6\)",
    ),
    "no parts": (lambda: joined([3]), "no update, expected one at least"),
    "a part of no width": (lambda: joined([ONE, 0]), "a part without an update is 0"),
    "a part with a magnitude": (lambda: joined([U.as_dora(W)]), "with a magnitude"),
    "a weight of another shape": (
        lambda: U.merged(W.T),
        r"W0 of an Update has shape \(6, 4\), expected \(out_features=4, in_features=6\)",
    ),
    "magnitudes twice": (
        lambda: U.as_dora(W).as_dora(W, "in"),
        "a magnitude for each output already",
    ),
    "lengths of inputs, in a layer": (
        lambda: U.as_dora(W, "in").layer(W),
        "a magnitude for each input, expected one for each output",
    ),
    "an axis of another name": (lambda: replace(U, axis="rows"), "axis in Update is 'rows'"),
    "lengths of the other axis": (
        lambda: replace(U, magnitude=np.ones(4), axis="in"),
        r"magnitude in Update has shape \(4,\), expected \(in_features=6,\)",
    ),
    "A and B of other ranks": (
        lambda: Update(U.A, U.B[:, :1], 1.0),
        r"B in Update has shape \(4, 1\), expected \(out_features, r=2\)",
    ),
    "an infinite scaling": (lambda: replace(U, scaling=np.inf), "scaling in Update is inf"),
    "a scaling of 0": (lambda: U.rescaled(0), "is 0, expected a number that B can meet"),
    "a layer of another kind": (
        lambda: Update.of(QLoRALinear(quantize(np.ones((4, 6))), U.A, U.B, 1.0)),
        "expected a LoRALinear or a DoRALinear",
    ),
}


@each("what", NOT_KEPT)
def test_what_cannot_be_kept_is_refused_in_a_sentence(what):
    call, sentence = NOT_KEPT[what]
    with pytest.raises(LoraRefError, match=sentence) as caught:
        call()
    assert isinstance(caught.value, ShapeError) or "has shape" not in str(caught.value)


def test_a_stored_0_is_r_for_sd_scripts_and_0_for_others():
    scripts = LAYOUTS["sd-scripts"]
    stored = {**scripts.write(U), "alpha": np.array(0.0)}
    assert scripts.read(stored).scaling == 1.0
    assert LORALIB.read({**STORED, "lora_alpha": 0}).scaling == 0.0
    assert not LAYOUTS["Flax NNX"].write(replace(U, scaling=0.0))["lora.lora_b"].any()


# ---------------------------------------------------------------------- the data, and the page

PAGE = Path(conventions_page.__file__).with_name("conventions.md").read_text(encoding="utf-8")


def test_every_layout_is_listed_once_and_says_where_it_was_read():
    for name, layout in LAYOUTS.items():
        assert layout.name == name
        assert any(character.isdigit() for character in layout.source), f"{name} has no version"
    told = [field.name for field in fields(Layout) if field.name not in ("name", "source")]
    data = [tuple(getattr(layout, name) for name in told) for layout in LAYOUTS.values()]
    assert all(one.kept != "nowhere" for one in LAYOUTS.values() if one.number is not None)
    assert len(set(data)) == len(data), "two layouts are one"


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_block_of_the_page_has_six_lines_and_ends_with_the_same(name):
    names = {}
    conventions_page.output_of(conventions_page.START.code, names)
    code = conventions_page.section_of(LAYOUTS[name]).code
    assert code.count("\n") <= 6
    assert max(map(len, code.splitlines())) <= 100
    assert conventions_page.output_of(code, names) == "the same: True\n"
    assert code in PAGE


def test_the_page_is_current():
    assert conventions_page.as_markdown() == PAGE, "make docs"
