"""Figures are tested for what they show; how they look has to be looked at."""

from pathlib import Path

import numpy as np
import pytest

from lora_ref.errors import LoraRefError
from lora_ref.figures import dial, forgetting, save_study, spectrum
from lora_ref.study import SHIFTS, committed

RECORDS = committed()
SOME = [record for record in RECORDS if record["shift"] in ("near", "far")]


@pytest.mark.parametrize("draw", [forgetting, dial, spectrum])
def test_a_figure_has_a_panel_for_each_shift(draw):
    axes = draw(RECORDS).axes
    assert [axis.get_title() for axis in axes] == list(SHIFTS)
    assert [axis.get_title() for axis in draw(SOME).axes] == ["near", "far"]


def test_forgetting_shows_each_method_at_its_mean_over_seeds():
    near = forgetting(SOME).axes[0]
    points = {
        (round(float(c[0].get_xdata()[0]), 6), round(float(c[0].get_ydata()[0]), 6))
        for c in near.containers
    }
    for method in ("full", "lora-4", "scratch", "biases"):
        runs = [r for r in SOME if r["shift"] == "near" and r["method"] == method]
        mean = [100 * np.mean([r[k] for r in runs]) for k in ("source_attached", "target")]
        assert tuple(round(float(v), 6) for v in mean) in points, method
    methods = {r["method"] for r in SOME} - {"untouched"}
    assert len(near.containers) == len(methods), "every method but the untouched one"


def test_the_dial_shows_both_tasks():
    near = dial(SOME).axes[0]
    target, source = near.containers
    runs = [r["dial"] for r in SOME if r["shift"] == "near" and "dial" in r]
    np.testing.assert_allclose(
        np.asarray(target[0].get_ydata(), float), 100 * np.mean(np.array(runs, float), axis=0)[:, 1]
    )
    np.testing.assert_allclose(
        np.asarray(source[0].get_ydata(), float), 100 * np.mean(np.array(runs, float), axis=0)[:, 2]
    )


def test_the_spectrum_rises_to_the_whole_update():
    for line in spectrum(SOME).axes[0].lines:
        shares = np.asarray(line.get_ydata())
        assert (np.diff(shares) >= 0).all()
        assert 90 < shares[-1] <= 100


@pytest.mark.parametrize("draw", [forgetting, dial, spectrum])
def test_nothing_to_draw_is_a_sentence(draw):
    with pytest.raises(LoraRefError, match=r"^records in figures"):
        draw([])


def test_files_are_written_for_what_there_is(tmp_path: Path):
    untouched = [record for record in SOME if record["method"] == "untouched"]
    assert [path.name for path in save_study(untouched, tmp_path)] == ["forgetting.png"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["forgetting.png"]
