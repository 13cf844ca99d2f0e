"""Figures are tested for what they show; how they look has to be looked at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.patches import Arc, Rectangle
from matplotlib.text import Annotation, Text
from numpy.testing import assert_allclose
from pictures import draw

from lora_ref import counting, figures, lowrank
from lora_ref.claims import VERDICTS
from lora_ref.claims.judge import NOT_COMPUTED, WRONG
from lora_ref.counting import LoRA, Model, Module, TrainingMemory, count_parameters
from lora_ref.errors import LoraRefError
from lora_ref.figures import FIGURES, counts, transformer, write
from lora_ref.figures.study import SHOWN
from lora_ref.figures.style import INKS, listed, short
from lora_ref.figures.ways import ROWS
from lora_ref.layers import Adapter, DoRALinear, LoRALinear, QLoRALinear
from lora_ref.quantize import levels_of, quantize
from lora_ref.study import SHIFTS, committed, digits
from lora_ref.study.records import student_limit
from lora_ref.transformer import Block, with_lora
from tests.fixtures.judged import of_the_article

RECORDS = committed()
SOME = [record for record in RECORDS if record["shift"] in ("near", "far")]
SLIVER = Model(
    "sliver",
    "Sliver",
    "made up",
    (Module("h.*.q", "linear", (64, 32), copies=3), Module("head", "linear", (100, 64))),
    width=64,
    blocks=3,
)


@pytest.fixture
def judgements():
    return of_the_article()


def data(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


SIGNS = ("a · x > 0", "a · x = 0", "a · x < 0")


def words(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


# ---------------------------------------------------------------------- matrices


def meshes(figure):
    return {mesh.get_label(): np.asarray(mesh.get_array()) for mesh in figure.axes[0].collections}


def test_matrices_shows_every_number_and_their_sum(rng):
    W0, A, B = (rng.standard_normal(shape) for shape in ((3, 5), (2, 5), (3, 2)))
    picture = draw("matrices", W0=W0, A=A, B=B, alpha=3.0)
    shown = meshes(picture.figure)
    assert_allclose(shown["W0"], W0)
    assert_allclose(shown["A"], A)
    assert_allclose(shown["B"], B)
    assert_allclose(shown["delta_w"], 1.5 * B @ A)
    assert_allclose(shown["W"], W0 + 1.5 * B @ A)
    said = words(picture.figure)
    for matrix in shown.values():
        assert all(f"{value:.2f}" in said for value in matrix.ravel())
    assert f"norm is {np.linalg.norm(1.5 * B @ A):.4f}" in picture.alt
    assert "has rank 2 and" in picture.alt
    limits = {(mesh.norm.vmin, mesh.norm.vmax) for mesh in picture.figure.axes[0].collections}
    largest = max(np.abs(matrix).max() for matrix in shown.values())
    assert limits == {(-largest, largest)}, "one colour is one number everywhere, none is cut off"


def test_matrices_too_large_to_read_are_refused():
    with pytest.raises(LoraRefError, match="7 x 3 and r is 2, expected at most 6"):
        draw("matrices", W0=np.ones((7, 3)), A=np.ones((2, 3)), B=np.ones((7, 2)), alpha=1.0)
    with pytest.raises(LoraRefError, match="7 x 3 with r = 2, expected at most 6"):
        draw("outer-products", B=np.ones((7, 2)), A=np.ones((2, 3)))


def test_blocks_are_to_scale():
    picture = draw("blocks", out_features=300, in_features=500, r=7, alpha=14)
    sizes = {p.get_label(): (p.get_height(), p.get_width()) for p in picture.figure.axes[0].patches}
    assert sizes == {"W0": (300, 500), "B": (300, 7), "A": (7, 500)}
    assert picture.figure.axes[0].get_aspect() == 1
    assert "+ 2 ·" in words(picture.figure)
    assert "hold 5,600 numbers, 3.73 % of its 150,000" in picture.alt


def test_two_paths_are_to_scale_and_count_what_is_trained():
    picture = draw("two-paths", out_features=300, in_features=500, r=40, alpha=60)
    drawn = {p.get_label(): p for p in picture.figure.axes[0].patches}
    high, wide = (
        {k: getattr(drawn[k], f"get_{side}")() for k in ("W0", "A", "B")}
        for side in ("height", "width")
    )
    unit = wide["W0"] / 500
    assert_allclose([high["W0"], wide["A"], high["A"]], np.array([300, 500, 40]) * unit)
    assert_allclose([high["B"], wide["B"]], np.array([300, 40]) * unit)
    assert_allclose([drawn[k].get_height() for k in "xy"], np.array([500, 300]) * unit)
    ink = INKS["light"]
    for name, colour in (("W0", ink.grid), ("A", ink.vermillion), ("B", ink.blue)):
        assert same_color(drawn[name].get_facecolor(), colour)
    said = words(picture.figure)
    assert {"$r$ × in = 40 × 500\n20,000 numbers", "$s$ = α/$r$ = 1.5"} <= set(said)
    assert "out × $r$ = 300 × 40\n12,000 numbers" in said
    assert "$W_0$ frozen\nout × in\n300 × 500\n150,000" in said
    assert any("21.33 %" in text for text in said)
    assert "32,000 numbers, 21.33 % of its 150,000. At the start B = 0" in picture.alt


def test_two_paths_begin_at_x_and_are_added_before_y():
    axes = draw("two-paths").figure.axes[0]
    drawn = {p.get_label(): p.get_bbox() for p in axes.patches if p.get_label()}
    ends = {tuple(np.round(arrow.xy, 6)) for arrow in axes.texts if hasattr(arrow, "xy")}
    for name in ("W0", "A", "B", "y"):
        box = drawn[name]
        assert (round(box.x0, 6), round((box.y0 + box.y1) / 2, 6)) in ends, name
    below, plus = (p for p in axes.patches if hasattr(p, "get_radius"))
    for sign in (1, -1):
        x, y = plus.center
        assert (round(x, 6), round(y + sign * plus.get_radius(), 6)) in ends
    assert (round(below.center[0] - below.get_radius(), 6), round(below.center[1], 6)) in ends
    assert len(ends) == 7


@pytest.mark.parametrize(("m", "n", "r"), [(300, 601, 8), (601, 300, 8), (300, 300, 51)])
def test_two_paths_of_sizes_whose_letters_do_not_fit_are_refused(m, n, r):
    with pytest.raises(LoraRefError, match=f"is {m} x {n} and r is {r}, expected no side more"):
        draw("two-paths", out_features=m, in_features=n, r=r, alpha=8)


def test_what_returns_on_each_path_is_the_gradient_of_the_layer(rng):
    """The products are read off the figure, computed, and compared with a layer's backward."""
    picture = draw("gradient-paths", out_features=5, in_features=7, r=2, alpha=3)
    said = words(picture.figure)
    W0, A, B = (rng.standard_normal(shape) for shape in ((5, 7), (2, 7), (5, 2)))
    x, g = rng.standard_normal((4, 7)), rng.standard_normal((4, 5))
    layer = LoRALinear(W0, A, B, alpha=3)
    s, h = 3 / 2, x @ A.T
    through_W0, through_A = g @ W0, s * g @ B @ A
    assert {"$g\\,W_0$", "$s\\,g\\,B\\,A$", "$h = x A^T$"} <= set(said)
    assert "gradient of $A$\n$s\\,(g\\,B)^T x$" in said
    assert "gradient of $B$\n$s\\,g^T h$" in said
    grad_x, grads = layer.backward(g, layer.forward(x)[1])
    assert_allclose(through_W0 + through_A, grad_x)
    assert_allclose(s * (g @ B).T @ x, grads["A"])
    assert_allclose(s * g.T @ h, grads["B"])
    trained = sum(grad.size for grad in grads.values())
    assert f"together {trained} numbers" in picture.alt
    assert "would have 35 and is not computed" in picture.alt
    assert "s = alpha/r = 1.5" in picture.alt


def test_each_forward_arrow_of_the_gradient_paths_has_one_back_below_it():
    axes = draw("gradient-paths").figure.axes[0]
    arrows = [one for one in axes.texts if hasattr(one, "arrow_patch")]
    ahead = [one for one in arrows if one.xy[0] > one.xyann[0]]
    back = [one for one in arrows if one.xy[0] < one.xyann[0]]
    down = [one for one in arrows if one.xy[0] == one.xyann[0]]
    assert (len(ahead), len(back), len(down)) == (5, 5, 2)
    for one, other in zip(ahead, back, strict=True):
        assert_allclose([one.xy[0], one.xyann[0]], [other.xyann[0], other.xy[0]])
        assert one.xy[1] > other.xy[1]
        assert one.arrow_patch.get_linestyle() != other.arrow_patch.get_linestyle()
    boxes = {patch.get_label() for patch in axes.patches}
    assert boxes == {"$W_0$ frozen", "$A$ trained", "$B$ trained"}


def test_the_outer_products_add_up(rng):
    A, B = rng.standard_normal((2, 4)), rng.standard_normal((3, 2))
    picture = draw("outer-products", A=A, B=B)
    shown = meshes(picture.figure)
    assert_allclose(shown["term 2"], np.outer(B[:, 1], A[1]))
    assert_allclose(shown["term 1"] + shown["term 2"], shown["B A"], atol=1e-12)
    assert_allclose(shown["B A"], B @ A)
    assert_allclose(shown["b1"][:, 0], B[:, 0])
    assert_allclose(shown["a2"][0], A[1])
    assert f"add up to {(B @ A)[0, 0]:.2f}; the sum has rank 2" in picture.alt


# ---------------------------------------------------------------------- low rank


def test_singular_values_and_their_tail(rng):
    M = rng.standard_normal((9, 6))
    picture = draw("singular-values", M=M, r=2)
    values, residuals = picture.figure.axes
    kept, cut = values.lines
    s = np.linalg.svd(M, compute_uv=False)
    assert_allclose(np.concatenate([data(kept)[1], data(cut)[1]]), s)
    assert len(data(kept)[1]) == 2
    left = [100 * lowrank.truncation_error(M, r).frobenius / np.linalg.norm(M) for r in range(7)]
    assert_allclose(data(residuals.lines[0])[1], left, atol=1e-9)
    assert_allclose(data(residuals.lines[1])[1], left[2])
    assert f"residual of {left[2]:.1f} %" in picture.alt
    with pytest.raises(LoraRefError, match="expected less than 6"):
        draw("singular-values", M=M, r=6)
    with pytest.raises(LoraRefError, match="is zero"):
        draw("singular-values", M=np.zeros((3, 4)), r=1)


def test_nothing_lies_below_the_bound_and_the_truncation_on_it(rng):
    M = rng.standard_normal((8, 7))
    errors = figures.errors_by_rank(M, [1, 3, 5], 4, rng)
    picture = draw("error-by-rank", errors=errors)
    for k, axes in enumerate(picture.figure.axes):
        bound, truncated, drawn = (data(line)[1] for line in axes.lines)
        assert_allclose(bound, [lowrank.truncation_error(M, r)[k] for r in (1, 3, 5)])
        assert_allclose(truncated, bound)
        assert len(drawn) == 12
        assert (drawn > np.repeat(bound, 4)).all()
        assert data(axes.lines[2])[0].tolist() == [1] * 4 + [3] * 4 + [5] * 4
    ratio = errors.drawn[1, :, 0].min() / errors.bound[1, 0]
    assert f"{ratio:.2f} times the bound" in picture.alt
    assert "none of 12 updates" in picture.alt


def test_an_error_below_the_bound_is_not_drawn(rng):
    errors = figures.errors_by_rank(rng.standard_normal((8, 7)), [1, 3], 2, rng)
    drawn = errors.drawn.copy()
    drawn[1, 0, 1] = 0.9 * errors.bound[1, 1]
    with pytest.raises(LoraRefError, match=r"drawn .* at rank 3, expected at least the bound"):
        draw("error-by-rank", errors=errors._replace(drawn=drawn))


def test_dimension_and_numbers_of_a_rank():
    picture = draw("dimension", out_features=5, in_features=7)
    axes = picture.figure.axes[0]
    numbers, dimensions, entries, even = (data(line) for line in axes.lines)
    assert numbers[1].tolist() == [12, 24, 36, 48, 60]
    assert dimensions[1].tolist() == [11, 20, 27, 32, 35]
    assert set(entries[1]) == {35}
    assert even[0][0] == pytest.approx(35 / 12)
    assert "at r = 2 they are 20 against 24" in picture.alt


# ---------------------------------------------------------------------- gradients and training


def test_the_gradient_check_has_a_v_and_a_floor():
    numbers = FIGURES["gradient-check"].numbers()
    picture = draw("gradient-check")
    smooth, flat = (data(line) for line in picture.figure.axes[0].lines[:2])
    assert dict(zip(*map(tuple, smooth), strict=True)) == pytest.approx(numbers["smooth"])
    low = int(np.argmin(smooth[1]))
    assert smooth[1][0] > 1e4 * smooth[1][low] < 1e-4 * smooth[1][-1]
    assert 1e-7 < smooth[0][low] < 1e-4
    assert (flat[1][flat[0] >= 1] < 1e-14).all()
    assert f"least, by {smooth[1][low]:.0e}, at {smooth[0][low]:.0e}" in picture.alt
    assert "below 1e-15 from step 1 on" in picture.alt
    with pytest.raises(LoraRefError, match="not above 0"):
        draw("gradient-check", smooth={}, affine={1.0: 1e-16})


def test_the_start_up_shows_what_moves_first(rng):
    layer = LoRALinear.init(np.eye(4, 3), 2, 2, rng)
    x = rng.standard_normal((5, 3))
    norms = figures.first_steps(layer, x, rng.standard_normal((5, 4)), lr=0.1, steps=3)
    assert norms.moved_A[:2] == (0, 0), "where B = 0 the gradient of A is zero"
    assert norms.moved_A[2] > 0 < norms.moved_B[1]
    assert norms.delta_w[0] == 0 < norms.delta_w[1]
    picture = draw("start-up", starts={"mine": norms})
    axes = picture.figure.axes[0]
    assert axes.get_title() == "mine"
    for line, values in zip(axes.lines, (norms.delta_w, norms.moved_B, norms.moved_A), strict=True):
        assert data(line)[1].tolist() == list(values)
    assert "in step 1 B moves and A by exactly 0" in picture.alt
    assert f"after 3 steps A has moved by {norms.moved_A[3]:.2f}" in picture.alt


def test_the_first_step_is_that_of_the_formula(rng):
    layer = LoRALinear(rng.standard_normal((4, 3)), np.ones((1, 3)), np.ones((4, 1)), alpha=2)
    x, target = rng.standard_normal((5, 3)), rng.standard_normal((5, 4))
    norms = figures.first_steps(layer, x, target, lr=0.1, steps=1)
    g = (layer.forward(x)[0] - target) / 5
    assert norms.moved_B[1] == pytest.approx(0.1 * np.linalg.norm(2 * g.T @ (x @ layer.A.T)))
    assert norms.moved_A[1] == pytest.approx(0.1 * np.linalg.norm(2 * layer.B.T @ g.T @ x))


def test_of_the_starts_two_move_and_one_never_does():
    picture = draw("start-up")
    panels = {axes.get_title(): axes for axes in picture.figure.axes}
    zero, both = panels["both zero"], panels["both random"]
    assert not any(data(line)[1].any() for line in zero.lines)
    assert data(both.lines[0])[1][0] > 0, "both random disturb y at once"
    assert "both zero: nothing moves in 3 steps" in picture.alt


def test_each_divisor_keeps_one_thing_of_adam_s_first_step():
    picture = draw("kept-by-rank")
    fall, size = picture.figure.axes
    ends = {
        (axes.get_title(), line.get_label()): data(line)[1][-1]
        for axes in (fall, size)
        for line in axes.lines[1:]
    }
    assert ends["fall of the loss", "alpha / r"] == pytest.approx(1, abs=0.1)
    assert ends["size of the update", "alpha / sqrt(r)"] == pytest.approx(1, abs=0.15)
    assert ends["fall of the loss", "alpha alone"] == pytest.approx(16, rel=0.1)
    assert ends["size of the update", "alpha / r"] == pytest.approx(1 / 4, rel=0.15)
    shown = f"{ends['fall of the loss', 'alpha / r']:.2g} times as large under alpha / r"
    assert shown in picture.alt
    one = figures.FirstStep([1.0, 3.0], [2.0, 1.0])
    picture = draw("kept-by-rank", ranks=(2, 4), first={"mine": one}, optimizer="SGD")
    assert [data(axes.lines[1])[1].tolist() for axes in picture.figure.axes] == [[1, 3], [1, 0.5]]
    assert picture.alt.startswith("SGD's first step, from r = 2 to r = 4")
    for ranks, wrong in (((2, 4), {}), ((2, 4, 8), {"mine": one}), ((2,), {"mine": one})):
        with pytest.raises(LoraRefError, match="in figures"):
            draw("kept-by-rank", ranks=ranks, first=wrong, optimizer="SGD")


def test_a_rule_looks_alike_in_the_two_pictures_that_compare_rules():
    rules = ("alpha alone", "alpha / sqrt(r)", "alpha / r")
    first = {name: figures.FirstStep([1.0, 2.0], [1.0, 2.0]) for name in rules}
    curves = {"r = 8": {0.1: 1.0}, **{name: {0.1: 1.0} for name in rules}}
    by_rank, by_rate = (
        {line.get_label(): (line.get_color(), line.get_marker()) for line in axes.lines}
        for axes in (
            figures.kept_by_rank((2, 4), first).figure.axes[0],
            figures.loss_by_rate(curves).figure.axes[0],
        )
    )
    for name in rules:
        assert by_rank[name] == by_rate[name] != by_rate["r = 8"]


def test_the_best_rate_of_each_curve_is_marked_and_what_a_kept_rate_would_lose_is_said():
    curves = {
        "small": {0.1: 0.5, 0.2: 0.3, 0.4: 0.6},
        "large": {0.4: np.inf, 0.2: 0.4, 0.1: 0.25},
    }
    picture = figures.loss_by_rate(curves, kept=0.2)
    (axes,) = picture.figure.axes
    small, ring, large, other, kept = map(data, axes.lines)
    assert small[1].tolist() == [0.5, 0.3, 0.6]
    assert large[1].tolist() == [0.25, 0.4], "a run that diverged is left out"
    assert [(float(x[0]), float(y[0])) for x, y in (ring, other)] == [(0.2, 0.3), (0.1, 0.25)]
    assert kept[0].tolist() == [0.2, 0.2]
    assert picture.alt == (
        "Loss by learning rate. The best are: small 0.2 with 0.30; large 0.1 with 0.25. "
        "At the rate 0.2 small has 0.30 and large has 0.40."
    )
    for wrong in ({}, {"mine": {0.1: np.nan}}, {"mine": {0.0: 1.0}}):
        with pytest.raises(LoraRefError, match=r"figures\.loss_by_rate"):
            figures.loss_by_rate(wrong)


def test_accuracy_by_rate_shows_means_with_errors_and_a_control():
    curves = {
        "steady": {0.2: [80.0, 82.0], 0.1: [78.0, 80.0], 0.4: [79.0, 81.0]},
        "lost": {0.1: [75.0, 77.0], 0.2: [10.0, 10.0]},
    }
    picture = figures.accuracy_by_rate(curves, ("nearest mean", 81.5), lowest=70)
    (axes,) = picture.figure.axes
    assert axes.get_ylim()[0] == 70
    steady, lost = axes.containers
    assert [values.tolist() for values in data(steady[0])] == [[0.1, 0.2, 0.4], [79, 81, 80]]
    (bars,) = steady[2]
    assert_allclose(np.ptp(bars.get_segments(), axis=1)[:, 1], 2)  # a standard error to each side
    assert data(lost[0])[1].tolist() == [76, 10]
    rings = [data(line) for line in axes.lines if line.get_markersize() == 14]
    assert [(float(x[0]), float(y[0])) for x, y in rings] == [(0.2, 81), (0.1, 76)]
    assert any(data(line)[1].tolist() == [81.5, 81.5] for line in axes.lines)
    assert picture.alt == (
        "Accuracy by learning rate. steady has 79.0 % at 0.1, 81.0 ± 1.0 % at 0.2 (its best) and "
        "80.0 % at 0.4; lost has 76.0 ± 1.0 % at 0.1 (its best) and 10.0 % at 0.2. "
        "nearest mean: 81.5 %."
    )
    for wrong in ({}, {"mine": {}}, {"mine": {0.0: [1.0, 2.0]}}, {"mine": {0.1: [1.0]}}):
        with pytest.raises(LoraRefError, match=r"figures\.accuracy_by_rate"):
            figures.accuracy_by_rate(wrong, ("nearest mean", 81.5))


# ---------------------------------------------------------------------- quantisation, palette


def test_nf4_levels_stand_on_the_density_and_their_use_is_measured(rng):
    used = figures.uses(rng.standard_normal((64, 64)))
    picture = draw("nf4", used=used)
    density, shares = picture.figure.axes
    stems = np.array([path[:, 0] for path in density.collections[0].get_segments()])
    assert_allclose(stems, np.repeat(levels_of("nf4")[:, None], 2, axis=1))
    curve, dots, rug = (data(line) for line in density.lines)
    assert_allclose(dots[1], np.interp(dots[0], *curve), atol=1e-3)
    assert_allclose(rug[0], levels_of("int4"))
    bars = {box.get_label(): [bar.get_height() for bar in box] for box in shares.containers}
    assert_allclose(bars["use of nf4"], 100 * used["nf4"].shares)
    assert_allclose(bars["use of int4"], -100 * used["int4"].shares)
    assert sum(bars["use of nf4"]) == pytest.approx(100)
    assert used["nf4"].error < used["int4"].error
    assert f"is {used['nf4'].error:.4f} against {used['int4'].error:.4f}" in picture.alt
    with pytest.raises(LoraRefError, match="has no int4"):
        draw("nf4", used={"nf4": used["nf4"]})


def test_uses_counts_codes_and_their_entropy():
    W0 = np.tile([1.0, -1.0, 0.0, 0.0], 16)[None]  # three levels, a half and two quarters
    used = figures.uses(W0)["nf4"]
    assert sorted(used.shares)[-3:] == [0.25, 0.25, 0.5]
    assert used.bits == pytest.approx(1.5)
    assert used.error == 0


def test_the_palette_paints_with_whole_pictures(rng):
    W0 = rng.random((6, 9))
    B, A = rng.standard_normal((6, 2)), rng.standard_normal((2, 9))
    picture = draw("palette", W0=W0, B=B, A=A, strengths=(0, 0.5, 1))
    images = {axes.get_title(): axes.images[0] for axes in picture.figure.axes}
    for strength in (0, 0.5, 1):
        painted = np.asarray(images[f"α/r = {strength:g}"].get_array())
        assert_allclose(painted, np.clip(W0 + strength * B @ A, 0, 1))
    terms = [np.asarray(image.get_array()) for name, image in images.items() if "α" not in name]
    assert_allclose(terms[0], np.outer(B[:, 0], A[0]))
    assert_allclose(terms[0] + terms[1], terms[2])
    assert len(terms) == 3
    assert f"goes from {W0.mean():.2f} to {np.clip(W0 + B @ A, 0, 1).mean():.2f}" in picture.alt
    with pytest.raises(LoraRefError, match="too small"):
        draw("palette", W0=W0, B=B, A=A, strengths=(0, 1))


# ---------------------------------------------------------------------- verdicts


def looks_of(judgements):
    """Draw verdicts; return the cells of the claims by id, and those of the key by verdict."""
    picture = draw("verdicts", judgements=judgements)
    cells = {patch.get_label(): patch for patch in picture.figure.axes[0].patches}
    key = {name: cells.pop(name) for name in list(cells) if name.startswith("key to ")}
    return picture, cells, {name.removeprefix("key to "): box for name, box in key.items()}


def look(box):
    return box.get_facecolor(), box.get_edgecolor(), box.get_hatch()


def test_a_picture_has_a_cell_for_each_claim_in_the_look_of_its_verdict(judgements):
    ink = INKS["light"]
    picture, cells, key = looks_of(judgements)
    assert list(cells) == [j.claim.id for j in judgements]
    assert list(key) == [v for v in VERDICTS if any(j.verdict == v for j in judgements)]
    for judgement in judgements:
        assert look(cells[judgement.claim.id]) == look(key[judgement.verdict])
    assert same_color(cells["ab-11"].get_facecolor(), ink.orange)
    assert same_color(cells["count-4x4"].get_facecolor(), ink.green)
    assert same_color(cells["b-zero-init"].get_facecolor(), ink.sky)
    confirmed = sum(j.verdict == "confirmed" for j in judgements)
    assert words(picture.figure).count("✓") == confirmed + 1, "and one in the key"
    assert f"{len(judgements)} claims" in words(picture.figure)


def test_every_verdict_has_a_look_and_a_sign_of_its_own(judgements):
    first, *_ = judgements
    planted = [
        replace(first, claim=replace(first.claim, id=verdict), verdict=verdict)
        for verdict in VERDICTS
    ]
    picture, cells, key = looks_of(planted)
    assert list(cells) == list(key) == list(VERDICTS)
    assert len({look(box) for box in key.values()}) == len(VERDICTS), "two verdicts look the same"
    signs = [word for word in words(picture.figure) if words(picture.figure).count(word) == 2]
    assert len(set(signs)) == len(VERDICTS), "a sign in the cell and in the key, and no two alike"


def test_the_alt_text_counts_what_is_drawn(judgements):
    alt = draw("verdicts", judgements=judgements).alt
    wrong = sum(j.verdict in WRONG for j in judgements)
    under = sum(j.verdict == "conditional" for j in judgements)
    computed = sum(j.verdict not in NOT_COMPUTED for j in judgements)
    assert f"Of {len(judgements)} claims of the article {computed} can be recomputed" in alt
    said = f"{computed - wrong} come out, {under} do so under a condition that is not said"
    assert f"{said}, and {wrong - under} fail: " in alt
    for verdict in set(WRONG) - {"conditional"}:
        number = sum(j.verdict == verdict for j in judgements)
        assert (f"{number} {verdict}" in alt) == (number > 0)
    right = [j for j in judgements if j.verdict == "confirmed"]
    assert draw("verdicts", judgements=right).alt.endswith("and 0 fail.")
    fewer = [j for j in judgements if j.verdict != "shape"]
    assert "shape" not in draw("verdicts", judgements=fewer).alt
    assert f"Of {len(fewer)} claims" in draw("verdicts", judgements=fewer).alt


def test_claims_of_one_section_share_a_row_that_bears_its_name(judgements):
    picture, cells, _ = looks_of(judgements)
    rows, names = {}, {}
    for judgement in judgements:
        box = cells[judgement.claim.id]
        rows.setdefault(judgement.claim.where, set()).add(round(box.get_y(), 6))
        names[judgement.claim.where] = judgement.claim.section.english
    assert all(len(heights) == 1 for heights in rows.values())
    assert len({min(heights) for heights in rows.values()}) == len(rows)
    at = {text.get_text(): text.get_position()[1] for text in picture.figure.axes[0].texts}
    for where, (height,) in rows.items():
        assert height < at[names[where]] < height + 1, where
        assert height < at[where.removeprefix("part ").replace(", ", ".")] < height + 1, where


def test_a_claim_without_a_verdict_is_not_drawn_as_if_it_had_one(judgements):
    broken = replace(judgements[0], verdict=None, problems=("planted",))
    with pytest.raises(LoraRefError, match=r"w0-full-rank .* no verdict.* planted"):
        draw("verdicts", judgements=[broken])
    with pytest.raises(LoraRefError, match="is empty"):
        draw("verdicts", judgements=[])


# ---------------------------------------------------------------------- counts


def test_parameters_stand_at_their_counts():
    counted = count_parameters(SLIVER, LoRA(2, ["q"]))
    picture = draw("parameters", parameter_counts=[counted])
    axes = picture.figure.axes[0]
    assert axes.get_xscale() == "log"
    trained, whole = (float(data(line)[0][0]) for line in axes.lines)
    assert (trained, whole) == (3 * 2 * (64 + 32), 3 * 64 * 32 + 6400)
    assert [label.get_text() for label in axes.get_yticklabels()] == ["Sliver"]
    share = f"{100 * 576 / 12544:.2g} %"
    assert {"576", "12.5K", share} <= set(words(picture.figure))
    assert share in picture.alt
    assert picture.alt.startswith("LoRA with r = 2 trains")
    with pytest.raises(LoraRefError, match="is empty"):
        draw("parameters", parameter_counts=[])


def test_bars_of_memory_are_as_long_as_what_they_hold():
    ways = {"full": TrainingMemory(2 * 10**9, 3 * 10**9, 5 * 10**9)}
    picture = draw("memory", models={"M": ways})
    axes = picture.figure.axes[0]
    bars = {box.get_label(): (box[0].get_x(), box[0].get_width()) for box in axes.containers}
    assert bars == {"weights": (0, 2), "gradients": (2, 3), "optimiser states": (5, 5)}
    assert len({box[0].get_hatch() for box in axes.containers}) == 3
    assert "10.0" in words(picture.figure)
    assert "full: 10.0 GB; in the first the weights are 20 %" in picture.alt


def test_a_panel_of_memory_on_another_scale_says_so():
    models = {
        name: {"full": TrainingMemory(size * 10**9, 0, 0)}
        for name, size in (("A", 10), ("B", 10), ("C", 25))
    }
    titles = [axes.get_title() for axes in draw("memory", models=models).figure.axes]
    assert titles == ["A", "B", "C (its axis is 2.5 times as long)"]


def test_a_card_is_a_line_and_what_it_holds_is_said():
    ways = {"full": TrainingMemory(10**10, 0, 0), "less": TrainingMemory(10**9, 0, 0)}
    picture = draw("memory", models={"M": ways}, card=10)
    lines = {line.get_label(): line.get_xdata() for line in picture.figure.axes[0].lines}
    assert lines == {"a card of 10 GB": [10, 10]}
    assert "and 10 GB hold full and less" in picture.alt
    assert "and 9.5 GB hold less." in draw("memory", models={"M": ways}, card=9.5).alt
    assert "and 0.5 GB hold none of them" in draw("memory", models={"M": ways}, card=0.5).alt
    assert "hold" not in draw("memory", models={"M": ways}).alt


def test_memories_of_a_small_model_are_those_one_counts_by_hand():
    found = counts.memories(SLIVER, 2, ["q"])
    blocks, head, lora = 3 * 64 * 32, 6400, 576
    assert found["full"].total == (blocks + head) * (2 + 2 + 8)
    assert found["LoRA, r = 2"].total == (blocks + head + lora) * 2 + lora * (2 + 8)
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    weights = blocks * bits / 8 + (head + lora) * 2
    assert found["QLoRA, r = 2"].weights == round(weights)
    assert found["QLoRA, r = 2"].optimizer == lora * 8


def test_the_cost_of_a_step_is_what_the_package_counts_at_every_rank():
    axes = draw("step-cost", width=96).figure.axes[0]
    lines = {line.get_label(): data(line) for line in axes.lines}
    full = counting.full_multiply_adds(96, 96, n=7)
    for name, part in (("forward pass", "forward"), ("a training step", "total")):
        ranks, values = lines[name]
        costs = [counting.lora_multiply_adds(96, 96, int(r), n=7) for r in ranks]
        shares = [getattr(cost, part) / getattr(full, part) for cost in costs]
        assert_allclose(values, shares)
    ranks, values = lines["trained numbers"]
    assert_allclose(values, [counting.lora_params(96, 96, int(r)) / 96**2 for r in ranks])
    assert_allclose(axes.get_xticks(), [0, 16, 48])
    assert "as much as full at d/6 = 16" in draw("step-cost", width=96).alt
    with pytest.raises(LoraRefError, match="step_cost is 11, expected at least 12"):
        draw("step-cost", width=11)


def test_memory_by_rows_is_what_the_package_counts():
    picture = draw("memory-by-rows", width=64, r=3)
    lines = {line.get_label(): data(line) for line in picture.figure.axes[0].lines}
    rows, full = lines["full fine-tuning"]
    held = [counting.full_bytes(64, 64, n=int(n)) for n in rows]
    assert_allclose(full, [one.total / 2**20 for one in held])
    assert_allclose(lines["activations of either"][1], [one.activations / 2**20 for one in held])
    lora = [counting.lora_bytes(64, 64, 3, n=int(n)).total / 2**20 for n in rows]
    assert_allclose(lines["LoRA, r = 3"][1], lora)
    saved = full[1] - lora[1]
    assert rows[1] == 8
    assert f"saves {saved:.3g} MiB and takes {100 * lora[1] / full[1]:.0f} % of what" in picture.alt
    assert f"saves {full[-1] - lora[-1]:.3g} MiB and takes" in picture.alt


def test_numbers_are_written_short():
    assert [short(n) for n in (7, 1234, 294912, 6738415616, 2e12)] == [
        "7", "1.23K", "295K", "6.74B", "2T",
    ]  # fmt: skip
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


# ---------------------------------------------------------------------- the study


@pytest.mark.parametrize("name", write.STUDY)
def test_a_figure_has_a_panel_for_each_shift(name):
    axes = draw(name).figure.axes
    assert [axis.get_title() for axis in axes if axis.axison] == list(SHIFTS)
    assert [axis.get_title() for axis in draw(name, records=SOME).figure.axes] == ["near", "far"]


def test_forgetting_shows_both_tasks_at_their_means_with_standard_errors():
    picture = draw("forgetting", records=SOME)
    near = picture.figure.axes[0]
    shown = {}
    for dots, _, (up,) in near.containers:
        ((x, y),), (high,) = zip(*data(dots), strict=True), up.get_segments()
        shown.setdefault(round(x), []).append((y, np.ptp(high[:, 1]) / 2))
    for x, method in enumerate(SHOWN.values()):
        runs = [r for r in SOME if r["shift"] == "near" and r["method"] == method]
        found = np.array([[100 * r[key] for key in ("target", "source_on")] for r in runs])
        means, errors = found.mean(axis=0), found.std(axis=0, ddof=1) / len(runs) ** 0.5
        assert_allclose(shown[x], np.column_stack([means, errors]))
    assert [label.get_text() for label in near.get_xticklabels()] == list(SHOWN)
    weights = [100 * r["target"] for r in SOME if (r["shift"], r["method"]) == ("near", "weights")]
    assert f"all weights have {np.mean(weights):.1f} %" in picture.alt


def test_the_scaling_sweep_shows_both_tasks():
    picture = draw("scaling-sweep", records=SOME)
    target, source = picture.figure.axes[0].containers
    runs = np.array(
        [r["scaling_sweep"] for r in SOME if r["shift"] == "near" and "scaling_sweep" in r]
    )
    assert_allclose(data(target[0])[1], 100 * runs.mean(axis=0)[:, 1])
    assert_allclose(data(source[0])[1], 100 * runs.mean(axis=0)[:, 2])
    both = np.array([r["scaling_sweep"] for r in SOME if "scaling_sweep" in r]).mean(axis=0)
    whole = list(both[:, 0]).index(1)
    assert f"and {100 * both[whole, 2]:.1f} %, the target" in picture.alt


def test_the_spectrum_rises_to_the_whole_update():
    for line in draw("spectrum", records=SOME).figure.axes[0].lines:
        shares = data(line)[1]
        assert (np.diff(shares) >= 0).all()
        assert 90 < shares[-1] <= 100


@pytest.mark.parametrize("name", write.STUDY)
def test_nothing_to_draw_is_a_sentence(name):
    with pytest.raises(LoraRefError, match=r"^records in figures"):
        draw(name, records=[])


def test_files_are_written_for_what_there_is(tmp_path: Path):
    untouched = [record for record in SOME if record["method"] == "untouched"]
    assert [path.name for path in write.save_study(untouched, tmp_path)] == ["forgetting.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forgetting.png"]


# ---------------------------------------------------------------------- ways to adapt


def test_shifts_shows_the_pixels_that_the_network_sees_and_the_labels():
    target = digits.split(0).target
    images = target._replace(x=target.x[:3], labels=target.labels[:3])
    picture = draw("shifts", images=images)
    axes = picture.figure.axes
    names = ["as learned", *SHIFTS]
    assert [axis.get_title() for axis in axes[: len(names)]] == names
    for row in range(3):
        for axis, name in zip(axes[len(names) * row :], names, strict=False):
            shown = SHIFTS[name](images) if name in SHIFTS else images
            (image,) = axis.images
            assert_allclose(image.get_array(), shown.x[row].reshape(8, 8))
            assert image.get_clim() == (0, 1), "one grey is one number in all of them"
            assert axis.get_xlabel() == f"label {shown.labels[row]}"
    assert "between 40 % and 70 % of white" in picture.alt
    with pytest.raises(LoraRefError, match=r"images in figures\.shifts are 5, expected 1 to 4"):
        draw("shifts", images=target._replace(x=target.x[:5], labels=target.labels[:5]))


def test_three_ways_counts_what_the_layers_train(rng):
    d, r, m = 12, 3, 2
    picture = draw("three-ways", features=d, r=r, m=m)
    W0 = rng.standard_normal((d, d))
    layers = {
        "LoRA": LoRALinear.init(W0, r, 1, rng),
        "Adapter": Adapter.init(d, m, rng),
        "DoRA": DoRALinear.init(W0, r, 1, rng),
    }
    said = words(picture.figure)
    for name, layer in layers.items():
        count = sum(array.size for array in layer.trainable.values())
        end = "does not merge" if name == "Adapter" else "merges"
        assert hasattr(layer, "merge") == (end == "merges")
        assert f"{count} numbers train,\n{end}" in said
        assert f"{count} numbers" in picture.alt
    assert said.count("$W_0$") == 3
    assert {"$A$  3 × 12", "$B$  12 × 3", "$W_{down}$  2 × 12", "$W_{up}$  12 × 2"} <= set(said)


def test_the_row_of_dora_has_its_direction_from_lora_and_its_length_from_w0():
    axes = draw("three-ways").figure.axes[0]
    (arc,) = (patch for patch in axes.patches if isinstance(patch, Arc))
    centre = np.asarray(arc.get_center())
    tips = [
        np.asarray(arrow.xy) - centre
        for arrow in axes.texts
        if isinstance(arrow, Annotation) and np.allclose(arrow.xyann, centre)
    ]
    row, turned, final = tips
    assert_allclose(np.linalg.norm([row, final], axis=1), arc.width / 2)
    assert_allclose(turned[0] * final[1], turned[1] * final[0])
    assert turned @ final > 0


def test_learned_and_kept_shows_both_tasks_of_every_method_at_their_means():
    picture = draw("learned-and-kept", records=SOME, shift="far")
    (axis,) = picture.figure.axes
    names = [label.get_text() for label in axis.get_yticklabels()]
    assert names == list(ROWS.values())
    for key, dots in zip(("target", "source_on"), axis.containers, strict=True):
        x, y = data(dots[0])
        assert_allclose(y, np.arange(len(ROWS))[::-1])
        for method, mean in zip(ROWS, x, strict=True):
            runs = [r[key] for r in SOME if (r["shift"], r["method"]) == ("far", method)]
            assert_allclose(mean, 100 * np.mean(runs))
    assert "Best on the new task is weights: weights 87.7 and 50.0 %" in picture.alt
    with pytest.raises(LoraRefError, match="on the shift 'middel', expected both; shifts are near"):
        draw("learned-and-kept", shift="middel")


def test_paired_shows_each_seed_and_who_is_better():
    picture = draw("paired", records=SOME, better="lora-8", worse="head")
    (axis,) = picture.figure.axes
    limit = student_limit(5)
    for k, shift in enumerate(("near", "far")):
        values = {
            m: [100 * r["target"] for r in SOME if (r["shift"], r["method"]) == (shift, m)]
            for m in ("lora-8", "head")
        }
        differences = np.subtract(values["lora-8"], values["head"])
        error = differences.std(ddof=1) / len(differences) ** 0.5
        for container, times in zip(axis.containers[2 * k : 2 * k + 2], (2, limit), strict=True):
            _, _, (bar,) = container
            ((left, _), (right, _)) = bar.get_segments()[0]
            assert_allclose((left + right) / 2, differences.mean())
            assert_allclose(right - left, 2 * times * error)
        hollow = same_color(axis.containers[2 * k][0].get_markerfacecolor(), INKS["light"].paper)
        assert hollow == (2 * error < abs(differences.mean()) <= limit * error) == (shift == "far")
        assert any(
            np.allclose(data(line)[0], differences)
            for line in axis.lines
            if len(data(line)[0]) == 5
        )
    said = [text.get_text() for text in axis.texts]
    assert said == ["head alone\nis better", "LoRA, r = 8\nis better,\nby the rule alone"]
    assert "At 2.78 (95 % by Student's t for 5 seeds) far would be undecided too." in picture.alt
    same = draw("paired", records=SOME, better="head", worse="lora-8")
    assert [text.get_text() for text in same.figure.axes[0].texts] == said
    clear = [record for record in SOME if record["shift"] == "near"]
    picture = draw("paired", records=clear, better="lora-8", worse="head")
    assert picture.alt.endswith("for 5 seeds) no verdict changes.")


def test_paired_puts_the_tick_of_an_equal_seed_lower():
    picture = draw("paired", better="lora-8", worse="head")
    ticks = next(
        line for line in picture.figure.axes[0].lines if data(line)[1].round().tolist() == [0.0] * 5
    )
    x, y = data(ticks)
    places = list(zip(x.round(6), y, strict=True))
    assert len(set(x.round(6))) == 4
    assert len(set(places)) == 5


def test_paired_of_what_is_undecided_or_missing():
    undecided = draw("paired", records=SOME, better="lora-8-bias", worse="lora-8")
    assert {text.get_text() for text in undecided.figure.axes[0].texts} == {"undecided"}
    with pytest.raises(LoraRefError, match="no run of 'lora-9' on 'near' with seed 0"):
        draw("paired", records=SOME, better="lora-9", worse="head")


# ---------------------------------------------------------------------- truncations and descent


def test_truncations_show_the_nearest_picture_of_each_rank_around_the_mean(rng):
    M, plain = rng.random((7, 9)), np.outer(np.arange(5.0), np.ones(6)) / 5
    picture = draw("truncations", pictures={"noise": M, "stripes": plain}, ranks=(1, 3))
    shown = [np.asarray(axes.images[0].get_array()) for axes in picture.figure.axes]
    assert len(shown) == 6
    assert_allclose(shown[1], np.clip(M.mean() + lowrank.truncate(M - M.mean(), 3), 0, 1))
    assert_allclose(shown[2], M)
    assert_allclose(shown[3], plain, atol=1e-12)
    left = 100 * lowrank.truncation_error(M - M.mean(), 3).frobenius / np.linalg.norm(M - M.mean())
    said = {"r = 1", "r = 3", "whole", "noise", "stripes", f"{left:.0f} % left out"}
    assert said <= set(words(picture.figure))
    assert f"{left:.0f} % at r = 3; stripes, 5 x 6: 0 % at r = 1" in picture.alt


@pytest.mark.parametrize(
    ("pictures", "ranks", "says"),
    [
        ({"a": np.eye(3, 4)}, (1,), "has 1 pictures and 1 ranks, expected 1 to 3 pictures and 2"),
        ({}, (1, 2), "has 0 pictures"),
        ({"a": np.eye(3, 4)}, (0, 1), r"a rank in figures\.truncations is 0"),
        ({"a": np.eye(3, 4)}, (1, 5), "expected at most 3"),
        ({"grey": np.full((3, 4), 0.3)}, (1, 2), "grey in figures.truncations is the same every"),
    ],
)
def test_truncations_refuse_what_cannot_be_shown(pictures, ranks, says):
    with pytest.raises(LoraRefError, match=says):
        draw("truncations", pictures=pictures, ranks=ranks)


def test_direction_moves_outputs_along_b_and_leaves_what_is_orthogonal_to_a():
    W0, b, a = np.array([[1.0, 0.5], [0.0, 2.0]]), np.array([3.0, 4.0]), np.array([0.0, 0.1])
    picture = draw("direction", W0=W0, b=b, a=a)
    inputs, outputs = picture.figure.axes
    x = np.vstack([np.transpose(data(line)) for line in inputs.lines if line.get_label() in SIGNS])
    y = np.vstack([np.transpose(data(line)) for line in outputs.lines if line.get_label() in SIGNS])
    assert x.shape == y.shape == (16, 2)
    assert_allclose(y, x @ (W0 + np.outer(b, a)).T, atol=1e-12)
    assert "by up to 0.50, and the 2 inputs orthogonal to a do not move" in picture.alt
    with pytest.raises(LoraRefError, match=r"a or b in figures\.direction is zero"):
        draw("direction", W0=W0, b=b, a=0 * a)
    with pytest.raises(LoraRefError, match=r"W0 in figures\.direction"):
        draw("direction", W0=np.eye(3), b=b, a=a)


def test_descent_shows_each_curve_and_the_least_of_its_own():
    picture = draw(
        "descent", losses={"one": [4.0, 2.0, 1.5], "two": [3.0, 1.0]}, floors={"one": 1.0}
    )
    lines = {line.get_label(): data(line) for line in picture.figure.axes[0].lines}
    assert_allclose(lines["one"], ([0, 1, 2], [4.0, 2.0, 1.5]))
    assert_allclose(lines["two"], ([0, 1], [3.0, 1.0]))
    flat = [y for _, y in lines.values() if len(set(y)) == 1]
    assert_allclose(flat, [[1.0, 1.0]])
    assert "least for one" in words(picture.figure)
    assert (
        "one: the loss goes from 4 to 1.5 in 2 steps, 1.5000 times the least there is"
        in picture.alt
    )
    assert picture.alt.endswith("two: the loss goes from 3 to 1 in 1 steps.")
    assert (
        draw("descent", losses={"one": [4.0, 2.0]}, floors={}).figure.axes[0].get_ylim()[0] == 1.0
    )


def test_training_reaches_the_least_loss_of_each_rank_and_none_lies_below_its_own():
    numbers = FIGURES["descent"].numbers()
    for name, floor in numbers["floors"].items():
        end = numbers["losses"][name][-1]
        assert end >= floor * (1 - 1e-12)
        assert end <= floor * 1.001


def test_descent_refuses_what_has_no_logarithm():
    for losses, floors in (
        ({"one": [1.0, 0.0]}, {}),
        ({"one": []}, {}),
        ({"one": [1.0]}, {"two": 1}),
    ):
        with pytest.raises(LoraRefError, match="has no curve, or a loss that is not above 0"):
            draw("descent", losses=losses, floors=floors)
    with pytest.raises(LoraRefError, match="are 0 curves, expected 1 to 4"):
        draw("descent", losses={}, floors={})


# ---------------------------------------------------------------------- inside a transformer


def test_the_targets_of_a_block_are_coloured_and_counted():
    rng = np.random.default_rng(0)
    block = Block.init(12, 3, rng, causal=True)
    targets = ("v", "fc1")
    picture = draw("transformer-block", features=12, heads=3, targets=targets, r=2)
    trained = sum(a.size for a in with_lora(block, rng, targets=targets, r=2).trainable.values())
    frozen = sum(a.size for name, a in block.trainable.items() if name.endswith(".W"))
    assert f"{trained} numbers train, {100 * trained / frozen:.1f} % of the {frozen:,}" in (
        picture.alt.replace("LoRA of rank 2 is on v and fc1: ", "")
    )
    boxes = {
        (round(box.get_x() + box.get_width() / 2, 2), round(box.get_y() + box.get_height() / 2, 2)):
        box.get_facecolor()
        for box in picture.figure.axes[0].patches
        if isinstance(box, Rectangle)
    }  # fmt: skip
    for name in transformer.MATRICES:
        colour = INKS["light"].orange if name in targets else INKS["light"].grid
        assert same_color(boxes[transformer.PLACES[name]], colour), name


def test_the_largest_weight_of_each_row_is_written_into_it():
    P = np.array([[[1.0, 0.0, 0.0], [0.2, 0.8, 0.0], [0.25, 0.05, 0.7]]])
    picture = draw("attention-weights", weights=P, tokens=["a", " b", "c"], titles=["one head"])
    (axes,) = picture.figure.axes
    written = {text.get_position(): text.get_text() for text in axes.texts}
    assert written == {(0, 0): "100", (1, 1): "80", (2, 2): "70"}
    assert "in one head: 'b' takes 80 % from 'b', 'c' takes 70 % from 'c'" in picture.alt
    assert_allclose(axes.collections[0].get_array().reshape(3, 3), P[0])


def test_a_block_or_weights_that_cannot_be_drawn_are_refused():
    block = {"features": 12, "heads": 3, "targets": ("q",), "r": 2}
    for changed, says in (
        ({"heads": 5}, "is 12, expected a multiple of 5 heads"),
        ({"targets": ("query",)}, r"\['query'\], expected some of: q, k, v, o, fc1, fc2"),
        ({"targets": ()}, "expected some of"),
    ):
        with pytest.raises(LoraRefError, match=says):
            draw("transformer-block", **{**block, **changed})
    drawn = {"weights": np.ones((1, 3, 3)), "tokens": ["a"] * 3, "titles": ["one"]}
    for changed, says in (
        ({"tokens": ["a"] * 2}, "expected one or two heads of 2 x 2"),
        ({"weights": np.ones((1, 13, 13)), "tokens": ["a"] * 13}, "are 13, expected 2 to 12"),
        ({"titles": []}, "titles in figures.attention_weights are 0, expected 1"),
    ):
        with pytest.raises(LoraRefError, match=says):
            draw("attention-weights", **{**drawn, **changed})


# ---------------------------------------------------------------------- order, and loss by rank


def test_the_order_of_learning_shows_every_curve_its_goal_and_when_half_is_there():
    grown = np.linspace(0, 1, 11)[1:]
    sizes = np.stack([3 * np.minimum(1, 2 * grown), 0.5 * grown**2], axis=1)
    picture = draw("learning-order", sizes=sizes, goals=np.array([3.0, 0.5]))
    (axes,) = picture.figure.axes
    curves = [data(line) for line in axes.lines if line.get_label().startswith("direction")]
    assert_allclose([y for _, y in curves], sizes.T)
    assert_allclose([x for x, _ in curves], [np.arange(1, 11)] * 2)
    assert {"half by step 3", "half by step 8"} <= set(words(picture.figure))
    assert "of 3 by step 3, of 0.5 by step 8." in picture.alt
    slow = draw("learning-order", sizes=sizes / 4, goals=np.array([3.0, 0.5]))
    assert "of 3 not in 10 steps" in slow.alt


def test_an_order_of_learning_that_does_not_fit_is_refused():
    with pytest.raises(LoraRefError, match="goals in figures"):
        draw("learning-order", sizes=np.ones((4, 2)), goals=np.ones(3))
    with pytest.raises(LoraRefError, match=r"are \[1.0, 0.0\], expected 1 to 4 above 0"):
        draw("learning-order", sizes=np.ones((4, 2)), goals=np.array([1.0, 0.0]))


def test_losses_by_rank_are_compared_with_the_first_way():
    ways = {"best": {1: 2.0, 2: 1.0}, "cut": {1: 3.0, 2: 1.1}, "drawn": {1: 400.0, 2: 5.0}}
    picture = draw("losses-by-rank", tasks={"rows": ways})
    (axes,) = picture.figure.axes
    unit, *others = axes.lines
    assert unit.get_label() == "best"
    assert set(data(unit)[1]) == {1}
    for line in others:
        x, y = data(line)
        assert_allclose(x, [1, 2])
        assert_allclose(y, [ways[line.get_label()][r] / ways["best"][r] for r in (1, 2)])
    assert "rows, ranks 1 to 2, as multiples of what best loses" in picture.alt
    assert picture.alt.endswith(": cut 1.10 to 1.50, drawn 5.00 to 200.")
    for best, cut in (({1: 0.0}, {1: 1.0}), ({}, {}), ({1: 1.0}, {2: 1.0})):
        with pytest.raises(LoraRefError, match="in figures"):
            draw("losses-by-rank", tasks={"rows": {"best": best, "cut": cut}})
    for wrong in ({}, {"rows": {}}, {"rows": {"best": {1: 1.0}}}):
        with pytest.raises(LoraRefError, match="in figures"):
            draw("losses-by-rank", tasks=wrong)


def test_on_white_rows_the_cut_is_the_best_and_on_others_it_is_not():
    tasks = FIGURES["losses-by-rank"].numbers()["tasks"]
    as_they_are, white = tasks.values()
    assert_allclose(list(white["cut"].values()), list(white["best"].values()), rtol=1e-9)
    for r, least in as_they_are["best"].items():
        assert as_they_are["cut"][r] > 1.01 * least


def test_trained_and_cut_are_the_means_of_the_study():
    picture = draw("trained-and-cut", records=SOME)
    near = next(axes for axes in picture.figure.axes if axes.get_title() == "near")
    for r, k in ((1, 0), (16, 4)):
        chosen = [one for one in SOME if one["shift"] == "near"]
        trained = [one["target"] for one in chosen if one["method"] == f"lora-{r}"]
        whole = [one for one in chosen if one["method"] == "weights"]
        for part, curve in (("whitened", 1), ("truncated", 2), ("random", 3)):
            mean = np.mean([one[part][str(r)] for one in whole])
            assert_allclose(data(near.containers[curve][0])[1][k], 100 * mean)
        assert_allclose(data(near.containers[0][0])[1][k], 100 * np.mean(trained))
    assert "near: 93 % to 86 % at r = 1" in picture.alt
    assert "and at r = 4 the cut has 92 % and 94 %" in picture.alt
    with pytest.raises(LoraRefError, match=r"no shift with runs of lora-r and of weights"):
        draw("trained-and-cut", records=[one for one in SOME if one["method"] != "weights"])


# ---------------------------------------------------------------------- levels, and factors


def test_number_lines_lead_each_weight_to_its_nearest_level(rng):
    block = rng.standard_normal(20)
    picture = draw("number-lines", block=block)
    (axes,) = picture.figure.axes
    ways = [data(line) for line in axes.lines if len(line.get_xdata()) == 2]
    falls = [(x, y) for x, y in ways if y[0] != y[1]]
    assert len(falls) == 2 * len(block)
    scaled = np.sort(block) / np.abs(block).max()
    for kind, some in (("int4", falls[:20]), ("nf4", falls[20:])):
        levels = levels_of(kind)
        assert_allclose([x[0] for x, _ in some], scaled)
        nearest = levels[np.abs(scaled[:, None] - levels).argmin(axis=1)]
        assert_allclose([x[1] for x, _ in some], nearest, atol=1e-6)
    assert "The 20 weights of a block" in picture.alt
    with pytest.raises(LoraRefError, match="all zero, expected some weights"):
        draw("number-lines", block=np.zeros(3))


def test_merges_lead_from_a_level_to_the_update_and_to_a_level_again(rng):
    W0, A, B = (rng.standard_normal(shape) for shape in ((8, 16), (2, 16), (8, 2)))
    layer = QLoRALinear.from_lora(LoRALinear(W0, A, B, alpha=2.0), double=False)
    picture = draw("merges", layer=layer, W0=W0, strengths=(1e-3, 1.0))
    stored = layer.W0.dequantize()
    for axes, strength in zip(picture.figure.axes, (1e-3, 1.0), strict=True):
        ways = [data(line)[0] for line in axes.lines if len(line.get_xdata()) == 3]
        before, into, again = np.transpose(ways)
        trained = stored + strength * B @ A
        assert_allclose(before, stored.ravel()[:10])
        assert_allclose(into, trained.ravel()[:10])
        assert_allclose(again, quantize(trained).dequantize().ravel()[:10])
        (over,) = (data(line)[0] for line in axes.lines if line.get_marker() == "D")
        assert_allclose(over, (W0 + strength * B @ A).ravel()[:10])
    same = np.mean(quantize(stored + B @ A).indices == layer.W0.indices)
    assert "at strength 0.001, 10 of 10 get the code that they had (100.0 % of all" in picture.alt
    assert f"get the code that they had ({100 * same:.1f} % of all weights). Over" in picture.alt
    with pytest.raises(LoraRefError, match=r"strengths in figures\.merges are none"):
        draw("merges", layer=layer, W0=W0, strengths=())


def test_cross_terms_says_how_far_averages_are_off(rng):
    W0 = np.zeros((5, 7))
    A, B = rng.standard_normal((2, 3, 7)), rng.standard_normal((2, 5, 3))
    tasks = [LoRALinear(W0, A[t], B[t], alpha=6.0) for t in range(2)]
    wanted = B[0] @ A[0] + B[1] @ A[1]
    got = (B[0] + B[1]) / 2 @ (A[0] + A[1])
    off = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
    picture = draw("cross-terms", tasks=tasks, names=("one", "two"))
    foreign = np.linalg.norm(B[0] @ A[1] + B[1] @ A[0]) / 2 / np.linalg.norm(wanted)
    assert f"are off by {100 * off:.0f} % of the norm of what is wanted." in picture.alt
    assert "rank 6 and give just that, off by 0 %" in picture.alt
    parts = f"quarters alone make 50 %, those two products alone {100 * foreign:.0f} %."
    assert picture.alt.endswith(parts)
    said = words(picture.figure)
    assert f"averaged: rank 3, off by {100 * off:.0f} % in all" in said
    shares = [text for text in said if text.startswith("$\\frac")]
    assert [text.count("{2}") for text in shares] == [1] * 5 + [0] * 4
    one_A = [tasks[0], LoRALinear(W0, A[0], B[1], alpha=6.0)]
    assert "are off by 0 % of" in draw("cross-terms", tasks=one_A, names=("one", "two")).alt
    with pytest.raises(LoraRefError, match="not two of one shape and rank"):
        draw("cross-terms", tasks=tasks[:1], names=("one",))
