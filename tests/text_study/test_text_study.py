"""The study on text: what it measures, how it judges, and what its page says."""

import json
from statistics import fmean

import numpy as np
import pytest
import text_study_page
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.text_study import findings, measures, runs
from lora_ref.text_study.methods import EQUAL, METHODS, RANKS
from lora_ref.transformer import GPT, with_lora
from lora_ref.transformer.bpe import Tokenizer
from lora_ref.transformer.language_model import LanguageModel

RESULTS = findings.committed()
MAPS = ["a.W", "b.W"]


@pytest.fixture
def arrays(rng):
    """Arrays before and after a change of rank 2 of two maps, and of a bias."""
    before = {"a.W": rng.standard_normal((12, 9)), "b.W": rng.standard_normal((9, 12))}
    before["a.bias"] = rng.standard_normal(12)
    after = {name: array.copy() for name, array in before.items()}
    for name in MAPS:
        left, right = (rng.standard_normal((2, side)) for side in before[name].shape)
        after[name] += left.T @ right
    after["a.bias"] += 1
    return before, after


# ---------------------------------------------------------------------- what is measured


def test_strength_goes_from_before_to_after_and_beyond(arrays):
    before, after = arrays
    for strength, expected in ((0, before), (1, after)):
        found = measures.at_strength(before, after, strength)
        for name in before:
            assert_allclose(found[name], expected[name], atol=1e-12)
    norms = [
        measures.relative_norm(before, measures.at_strength(before, after, s), MAPS) for s in (1, 2)
    ]
    assert norms[1] == pytest.approx(2 * norms[0])


def test_a_change_is_truncated_to_its_rank_and_a_bias_kept(arrays):
    before, after = arrays
    one, two = (measures.truncated(before, after, MAPS, r) for r in (1, 2))
    for name in MAPS:
        assert np.linalg.matrix_rank(one[name] - before[name]) == 1
        assert_allclose(two[name], after[name], atol=1e-9)
        U, s, Vh = np.linalg.svd(after[name] - before[name])
        assert_allclose(one[name] - before[name], s[0] * np.outer(U[:, 0], Vh[0]), atol=1e-9)
    assert_array_equal(one["a.bias"], after["a.bias"])


def test_the_control_has_the_singular_values_of_the_change_and_other_directions(arrays, rng):
    before, after = arrays
    drawn = measures.randomized(before, after, MAPS, rng)
    for name in MAPS:
        ours, theirs = after[name] - before[name], drawn[name] - before[name]
        s, t = (np.linalg.svd(change, compute_uv=False) for change in (ours, theirs))
        assert_allclose(t, s, atol=1e-9)
        assert np.linalg.matrix_rank(theirs) == 2
        assert np.abs(theirs - ours).max() > 0.1
    assert_array_equal(drawn["a.bias"], before["a.bias"])


def test_intruders_are_the_leading_directions_that_the_pretrained_map_has_not(rng):
    W0 = {"m.W": np.diag([*np.linspace(3, 2, 20), *np.zeros(20)])[:, :20]}  # 40 x 20, of rank 20
    assert measures.intruders(W0, {"m.W": 2 * W0["m.W"]}, ["m.W"]) == 0
    for count in (1, 3):
        new = np.zeros((40, 20))
        new[20 + np.arange(count), np.arange(count)] = 1.0  # writes where W0 writes nothing
        for strength, found in ((0.1, 0), (9.0, count)):
            changed = {"m.W": W0["m.W"] + strength * new}
            assert measures.intruders(W0, changed, ["m.W"]) == found


def test_directions_hold_a_share_of_the_square(rng):
    before = {"m.W": rng.standard_normal((8, 8))}
    after = {"m.W": before["m.W"] + np.diag([3.0, 3, 3, 3, 0.1, 0, 0, 0])}
    assert measures.directions(before, after, ["m.W"]) == 4
    assert measures.directions(before, after, ["m.W"], share=0.2) == 1


def test_arrays_of_a_model_have_the_updates_in_them(rng):
    gpt = GPT.init(vocabulary=20, context=6, features=8, heads=2, blocks=1, rng=rng)
    adapted = with_lora(gpt, rng, targets=("q",), r=2)
    assert_array_equal(
        measures.arrays_of(adapted)["blocks.0.attention.q.W"], gpt.blocks["0"].attention.q.W
    )
    moved = adapted.with_params(
        {name: rng.standard_normal(a.shape) for name, a in adapted.trainable.items()}
    )
    before, after = measures.arrays_of(gpt), measures.arrays_of(moved)
    assert before.keys() == after.keys() == gpt.trainable.keys()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert changed == ["blocks.0.attention.q.W"]
    assert len(measures.map_names(gpt)) == 6


# ---------------------------------------------------------------------- the methods


def numbers_of(method):
    gpt = runs.base().gpt
    start = METHODS[method].build(gpt, np.random.default_rng(0))
    return sum(array.size for array in start.trainable.values())


def test_what_is_said_to_be_equal_in_number_is():
    for qv, r in EQUAL["qv"]:
        assert numbers_of(f"qv-{qv}") == numbers_of(f"lora-{r}")
    for attention, mlp in EQUAL["attention"]:
        assert numbers_of(f"attention-{attention}") == numbers_of(f"mlp-{mlp}")
    assert numbers_of("maps") < numbers_of("full") == 505_920


def test_further_rates_are_tried_until_the_best_has_a_worse_one_on_either_side():
    assert runs._beyond({0: [3.0], 1: [2.0], 2: [2.5]}) == []
    assert runs._beyond({0: [1.0], 1: [2.0], 2: [2.5]}) == [-1]
    assert runs._beyond({0: [3.0], 1: [2.0], 2: [1.5, 1.6]}) == [3]
    assert runs.best({"0.002": 1.0, "0.004": 1.0, "0.001": 2.0}) == 0.002


@pytest.fixture
def small(monkeypatch, rng):
    """A small model, and texts of our own, in place of the base and its archives."""
    words = ["sun ", "rain ", "wind ", "and ", "the sea ", "\n"]

    def text(name, folder):
        draw = np.random.default_rng(sum(map(ord, name)))
        return "".join(draw.choice(words, 1500))

    gpt = GPT.init(260, 16, 8, 2, 1, rng, dtype=np.float32)
    model = LanguageModel(gpt, Tokenizer.learn(text("kjv", None), 260))
    monkeypatch.setattr(runs, "text", text)
    monkeypatch.setattr(runs, "base", lambda: model)
    for name, value in {"HELD_OUT": 600, "OLD_TEST": 300, "STEPS": 4, "WARMUP": 1}.items():
        monkeypatch.setattr(runs, name, value)
    for kept in (runs.part, runs.off):
        kept.cache_clear()
    yield model
    for kept in (runs.part, runs.off):
        kept.cache_clear()


@pytest.mark.parametrize("method", ["lora-1", "maps", "full"])
def test_a_run_leaves_a_record_like_the_committed_ones(small, method, tmp_path):
    record = runs.run_one(method, "play", 0, 3, tmp_path)
    committed = next(run for run in RESULTS["runs"] if run["method"] == method)
    assert record.keys() == committed.keys()
    assert json.loads(json.dumps(record)) == record
    for key, value in record.items():
        assert np.shape(value) == np.shape(committed[key]), key
    assert record["losses"] != record["off"]
    assert record["sweep"][measures.STRENGTHS.index(1.0)] == record["losses"]
    assert runs.run_one(method, "play", 0, 3, tmp_path) == record


def test_another_parametrization_takes_the_same_path(small, tmp_path):
    found = runs.rescaled("play", 0, 3, tmp_path)
    assert found["equal"]
    assert not found["equal_with_half_alpha"]
    assert found["norm"] > 0


# ---------------------------------------------------------------------- the committed results


def test_every_method_has_its_runs_at_the_best_of_its_rates():
    by = {(r["text"], r["method"], r["seed"]): r for r in RESULTS["runs"]}
    assert len(by) == len(RESULTS["runs"]) == len(runs.NEW) * len(METHODS) * runs.SEEDS
    for (_, method, _), run in by.items():
        assert run["rate"] == runs.best(RESULTS["rates"][method])
        assert run["parameters"] == numbers_of(method)
        assert all(np.isfinite(run["losses"]))
    for method, tried in RESULTS["rates"].items():
        rates = sorted(map(float, tried))
        assert runs.best(tried) not in (rates[0], rates[-1]), method


def record(text, method, seed, new, old):
    return {"text": text, "method": method, "seed": seed, "losses": [new, old]}


def test_a_sentence_holds_where_the_mean_exceeds_two_standard_errors():
    losses = {"verse": (1.0, 1.3), "play": (1.0, 1.0)}
    records = [
        record(text, method, seed, losses[text][i] + 0.01 * seed * (2 * i - 1), 2.0)
        for text in runs.NEW
        for i, method in enumerate(("a", "b"))
        for seed in range(3)
    ]
    pairs = findings.TextRuns(records).paired(findings.TextRuns(records).new("a", "b"))
    assert pairs["verse"].mean == pytest.approx(0.32)
    assert str(pairs["verse"]).startswith("+0.320 ± 0.01")
    name, _ = findings.judged(pairs)
    assert name == "partly"
    contrary = findings.TextRuns(records).paired(findings.TextRuns(records).new("b", "a"))
    assert contrary["verse"].opposes


def test_forgetting_is_compared_where_both_have_learned_as_much():
    def run(method, sweep):
        return {"text": "verse", "method": method, "seed": 0, "off": [4.0, 1.0], "sweep": sweep}

    strong = run("a", [[3.0, 1.1], [2.0, 1.4]])
    weak = run("b", [[3.5, 1.3], [3.0, 1.5], [3.2, 1.9]])  # beyond its best it is left out
    other = [{**one, "seed": 1} for one in (strong, weak)]
    number = findings.TextRuns([strong, weak, *other]).old_at_equal("a", "b")
    assert number("verse", 0) == pytest.approx(1.5 - 1.1)


def test_records_of_one_seed_are_refused():
    with pytest.raises(LoraRefError, match="1 seed"):
        findings.TextRuns([record("verse", "a", 0, 1.0, 1.0)])
    two = findings.TextRuns([record("verse", "a", seed, 1.0, 1.0) for seed in (0, 1)])
    with pytest.raises(LoraRefError, match="no run of 'b' on 'verse', seed 0"):
        two.at("verse", "b", 0)


def test_the_page_is_current_and_has_the_numbers_of_the_results():
    page = text_study_page.PAGE.read_text(encoding="utf-8")
    assert text_study_page.as_page(RESULTS) == page
    runs_of = [r["losses"][0] for r in RESULTS["runs"] if r["method"] == "lora-8"]
    assert f"{fmean(runs_of):.2f}" in page
    assert len(findings.judge(RESULTS["runs"])) == page.count("| holds |") + page.count(
        "| partly |"
    ) + page.count("| fails |") + page.count("| opposite |")
    for r in RANKS:
        assert f"r = {r} |" in page
