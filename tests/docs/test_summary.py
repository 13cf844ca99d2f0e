"""The summary: its formulas are what the layer computes, and what it refutes is refuted."""

from pathlib import Path

import pytest
import summary_page
from numpy.testing import assert_allclose

from lora_ref.claims import article, judge
from lora_ref.layers import LoRALinear

PAGE = (Path(summary_page.__file__).parent / "summary.md").read_text(encoding="utf-8")


@pytest.fixture
def computed(rng):
    """Arrays of the stated shapes, and what the layer makes of them."""
    sizes = {"n": 6, "in": 7, "out": 5, "r": 3}
    arrays = {
        letter: rng.standard_normal([sizes[axis] for axis in axes])
        for letters, _, axes in summary_page.SHAPES
        for letter in letters.split(", ")
    }
    layer = LoRALinear(arrays["W0"], arrays["A"], arrays["B"], alpha=2.0)
    y, cache = layer.forward(arrays["x"])
    grad_x, grads = layer.backward(arrays["grad_y"], cache)
    found = {"y": y, "delta_w": layer.delta_w, "W": layer.merge().W, "grad_x": grad_x}
    found |= {f"grad_{name}": grad for name, grad in grads.items()}
    return {**arrays, "s": 2.0 / sizes["r"]}, found


@pytest.mark.parametrize("name", summary_page.FORMULAS)
def test_each_formula_is_what_the_layer_computes(name, computed):
    arrays, found = computed
    _, code = summary_page.FORMULAS[name]
    assert_allclose(eval(code, {}, arrays), found[name], rtol=1e-12, atol=1e-12)
    assert f"`{name} = {code}`" in PAGE


def test_there_are_ten_misconceptions_and_none_is_confirmed():
    assert len(summary_page.MISCONCEPTIONS) == 10
    verdicts = {judge(article().claim(id)).verdict for id in summary_page.MISCONCEPTIONS}
    assert verdicts <= {"false", "shape", "conditional"}


def test_it_fits_on_two_sides():
    wide = sum(max(1, -(-len(line) // 110)) for line in PAGE.splitlines())
    assert wide <= 110, "two sides of A4 have room for 55 lines each"


def test_the_shapes_are_multiplied():
    n, wide, narrow, r = (summary_page.SIZES[axis] for axis in ("n", "out", "in", "r"))
    for size in (n * narrow, wide * narrow, r * narrow, wide * r, n * wide):
        assert f"| {size:,} |" in PAGE
