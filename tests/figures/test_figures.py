"""Figures are tested for what they show; how they look has to be looked at."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import same_color
from matplotlib.text import Text
from numpy.testing import assert_allclose
from pictures import draw

from lora_ref import figures, lowrank
from lora_ref.claims import VERDICTS, article, judge
from lora_ref.claims.judge import NOT_COMPUTED, WRONG
from lora_ref.counting import LoRA, Model, Module, TrainingMemory, count_parameters
from lora_ref.errors import LoraRefError
from lora_ref.figures import FIGURES, counts, write
from lora_ref.figures.study import SHOWN
from lora_ref.figures.style import INKS, listed, short
from lora_ref.layers import LoRALinear
from lora_ref.quantize import levels_of
from lora_ref.study import SHIFTS, committed

RECORDS = committed()
SOME = [record for record in RECORDS if record["shift"] in ("near", "far")]
JUDGEMENTS = [judge(claim) for claim in article().claims]
SLIVER = Model(
    "sliver",
    "Sliver",
    "made up",
    (Module("h.*.q", "linear", (64, 32), copies=3), Module("head", "linear", (100, 64))),
    width=64,
    blocks=3,
)


def data(line):
    return np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)


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
    one = figures.FirstStep({2: 1.0, 4: 3.0}, {2: 2.0, 4: 1.0})
    picture = draw("kept-by-rank", first={"mine": one}, optimizer="SGD")
    assert [data(axes.lines[1])[1].tolist() for axes in picture.figure.axes] == [[1, 3], [1, 0.5]]
    assert picture.alt.startswith("SGD's first step, from r = 2 to r = 4")
    for wrong in ({}, {"mine": figures.FirstStep({2: 1.0}, {2: 1.0})}):
        with pytest.raises(LoraRefError, match="in figures"):
            draw("kept-by-rank", first=wrong, optimizer="SGD")


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


def test_a_picture_has_a_cell_for_each_claim_in_the_look_of_its_verdict():
    ink = INKS["light"]
    picture, cells, key = looks_of(JUDGEMENTS)
    assert list(cells) == [j.claim.id for j in JUDGEMENTS]
    assert list(key) == [v for v in VERDICTS if any(j.verdict == v for j in JUDGEMENTS)]
    for judgement in JUDGEMENTS:
        assert look(cells[judgement.claim.id]) == look(key[judgement.verdict])
    assert same_color(cells["ab-11"].get_facecolor(), ink.orange)
    assert same_color(cells["count-4x4"].get_facecolor(), ink.green)
    assert same_color(cells["b-zero-init"].get_facecolor(), ink.sky)
    confirmed = sum(j.verdict == "confirmed" for j in JUDGEMENTS)
    assert words(picture.figure).count("✓") == confirmed + 1, "and one in the key"
    assert f"{len(JUDGEMENTS)} claims" in words(picture.figure)


def test_every_verdict_has_a_look_and_a_sign_of_its_own():
    planted = [
        replace(JUDGEMENTS[0], claim=replace(JUDGEMENTS[0].claim, id=verdict), verdict=verdict)
        for verdict in VERDICTS
    ]
    picture, cells, key = looks_of(planted)
    assert list(cells) == list(key) == list(VERDICTS)
    assert len({look(box) for box in key.values()}) == len(VERDICTS), "two verdicts look the same"
    signs = [word for word in words(picture.figure) if words(picture.figure).count(word) == 2]
    assert len(set(signs)) == len(VERDICTS), "a sign in the cell and in the key, and no two alike"


def test_the_alt_text_counts_what_is_drawn():
    alt = draw("verdicts", judgements=JUDGEMENTS).alt
    wrong = sum(j.verdict in WRONG for j in JUDGEMENTS)
    computed = sum(j.verdict not in NOT_COMPUTED for j in JUDGEMENTS)
    assert f"Of {len(JUDGEMENTS)} claims of the article {computed} can be recomputed" in alt
    assert f"{computed - wrong} come out and {wrong} do not" in alt
    for verdict in WRONG:
        number = sum(j.verdict == verdict for j in JUDGEMENTS)
        assert (f"{number} {verdict}" in alt) == (number > 0)
    right = [j for j in JUDGEMENTS if j.verdict == "confirmed"]
    assert "and 0 do not, none." in draw("verdicts", judgements=right).alt
    fewer = [j for j in JUDGEMENTS if j.verdict != "shape"]
    assert "shape" not in draw("verdicts", judgements=fewer).alt
    assert f"Of {len(fewer)} claims" in draw("verdicts", judgements=fewer).alt


def test_claims_of_one_section_share_a_row_that_bears_its_name():
    picture, cells, _ = looks_of(JUDGEMENTS)
    rows, names = {}, {}
    for judgement in JUDGEMENTS:
        box = cells[judgement.claim.id]
        rows.setdefault(judgement.claim.where, set()).add(round(box.get_y(), 6))
        names[judgement.claim.where] = judgement.claim.section.english
    assert all(len(heights) == 1 for heights in rows.values())
    assert len({min(heights) for heights in rows.values()}) == len(rows)
    at = {text.get_text(): text.get_position()[1] for text in picture.figure.axes[0].texts}
    for where, (height,) in rows.items():
        assert height < at[names[where]] < height + 1, where
        assert height < at[where.removeprefix("part ").replace(", ", ".")] < height + 1, where


def test_a_claim_without_a_verdict_is_not_drawn_as_if_it_had_one():
    broken = replace(JUDGEMENTS[0], verdict=None, problems=("planted",))
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
    assert bars == {"weights": (0, 2), "gradients": (2, 3), "optimizer": (5, 5)}
    assert len({box[0].get_hatch() for box in axes.containers}) == 3
    assert "10.0 GB" in words(picture.figure)
    assert "full: 10.0 GB; in the first the weights are 20 %" in picture.alt


def test_memories_of_a_small_model_are_those_one_counts_by_hand():
    found = counts.memories(SLIVER, 2, ["q"])
    blocks, head, lora = 3 * 64 * 32, 6400, 576
    assert found["full"].total == (blocks + head) * (2 + 2 + 8)
    assert found["LoRA, r = 2"].total == (blocks + head + lora) * 2 + lora * (2 + 8)
    bits = 4 + 8 / 64 + 32 / (64 * 256)
    weights = blocks * bits / 8 + (head + lora) * 2
    assert found["QLoRA, r = 2"].weights == round(weights)
    assert found["QLoRA, r = 2"].optimizer == lora * 8


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


# ---------------------------------------------------------------------- truncations and descent


def test_cuts_shows_the_nearest_picture_of_each_rank_and_the_whole(rng):
    M = rng.random((7, 9))
    picture = draw("truncations", M=M, ranks=(1, 3))
    shown = {
        axes.get_title().partition("\n")[0]: axes.images[0].get_array()
        for axes in picture.figure.axes
        if axes.images
    }
    assert list(shown) == ["r = 1", "r = 3", "whole"]
    assert_allclose(shown["r = 3"], np.clip(lowrank.truncate(M, 3), 0, 1))
    assert_allclose(shown["whole"], M)
    assert {"r = 1\n16 numbers", "r = 3\n48 numbers", "whole\n63 numbers"} <= set(
        words(picture.figure)
    )
    left = 100 * lowrank.truncation_error(M, 3).frobenius / np.linalg.norm(M)
    assert f"{left:.0f} % at r = 3 (48)" in picture.alt


def test_cuts_refuses_what_it_cannot_show():
    with pytest.raises(LoraRefError, match=r"ranks in figures\.truncations are 1, expected 2 to 7"):
        draw("truncations", M=np.ones((3, 4)), ranks=(1,))
    with pytest.raises(LoraRefError, match=r"a rank in figures\.truncations is 0"):
        draw("truncations", M=np.ones((3, 4)), ranks=(0, 1))


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
