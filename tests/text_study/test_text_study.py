"""The study on text: what it measures, how it judges, and what its page says."""

import json
from statistics import fmean

import numpy as np
import pytest
import text_study_page
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.text_study import adapting, comparisons, findings, measures, runs
from lora_ref.text_study.methods import EQUAL, METHODS, RANKS, RATE_ONLY
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
    old = measures.left_vectors(W0, ["m.W"])

    def intruders(arrays):
        return (measures.nearest_cosines(old, arrays, ["m.W"]) < measures.COSINE).sum()

    assert intruders({"m.W": 2 * W0["m.W"]}) == 0
    for count in (1, 3):
        new = np.zeros((40, 20))
        new[20 + np.arange(count), np.arange(count)] = 1.0  # writes where W0 writes nothing
        for strength, found in ((0.1, 0), (9.0, count)):
            assert intruders({"m.W": W0["m.W"] + strength * new}) == found


def test_the_cosine_of_a_turned_direction_is_that_of_its_angle():
    old = {"m.W": np.eye(12)[:, :1]}
    turned = np.cos(1.2) * np.eye(12)[:, :1] + np.sin(1.2) * np.eye(12)[:, 1:2]
    (cosine,) = measures.nearest_cosines(old, {"m.W": 3 * turned}, ["m.W"])
    assert cosine == pytest.approx(np.cos(1.2))


@pytest.mark.parametrize("root", [0.01, 0.3, 0.97])
def test_a_crossing_is_where_bisection_finds_it(root):
    tried = []

    def loss(s):  # falls from 0 to its best at 1.1, as a loss does
        tried.append(s)
        return (s - 1.1) ** 2 - (root - 1.1) ** 2

    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if loss(middle) > 0 else (low, middle)
    tried.clear()
    found = measures.crossing(loss, loss(0.0), loss(1.0), exact=1e-6)
    assert abs(loss(found)) <= 1e-6
    assert found == pytest.approx(high, abs=1e-4)
    assert len(tried) < 16


def test_a_function_that_does_not_cross_is_refused():
    with pytest.raises(LoraRefError, match=r"is 1 at 0 and 0\.5 at 1, expected one that falls"):
        measures.crossing(lambda s: 1 - s / 2, 1.0, 0.5)


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


def test_what_is_said_to_be_equal_in_number_is():
    for qv, r in EQUAL["qv"]:
        assert adapting.numbers(f"qv-{qv}") == adapting.numbers(f"lora-{r}")
    for attention, mlp in EQUAL["attention"]:
        assert adapting.numbers(f"attention-{attention}") == adapting.numbers(f"mlp-{mlp}")
    assert adapting.numbers("maps") < adapting.numbers("full") == 505_920


def test_alpha_is_twice_the_rank_unless_a_name_says_otherwise():
    for name, alpha in (("lora-1", 2), ("lora-8", 16), ("qv-9", 18), ("lora-1-alpha-32", 32)):
        gpt = METHODS[name].build(adapting.base().gpt, np.random.default_rng(0))
        assert gpt.blocks["0"].attention.q.alpha == alpha
        assert f"alpha = {alpha}" in METHODS[name].text


def test_further_rates_are_tried_until_the_best_has_a_worse_one_on_either_side():
    assert runs._beyond({0: [3.0], 1: [2.0], 2: [2.5]}) == []
    assert runs._beyond({0: [1.0], 1: [2.0], 2: [2.5]}) == [-1]
    assert runs._beyond({0: [3.0], 1: [2.0], 2: [1.5, 1.6]}) == [3]
    assert runs.best({"0.002": 1.0, "0.004": 1.0, "0.001": 2.0}) == 0.002


@pytest.fixture
def small(monkeypatch, rng, tmp_path):
    """A small model, and texts of our own, in place of the base and its archives."""
    words = ["sun ", "rain ", "wind ", "and ", "the sea ", "\n"]

    def text(name, folder):
        draw = np.random.default_rng(sum(map(ord, name)))
        return "".join(draw.choice(words, 1500))

    gpt = GPT.init(260, 16, 8, 2, 1, rng, dtype=np.float32)
    model = LanguageModel(gpt, Tokenizer.learn(text("kjv", None), 260))
    for module in (adapting, runs, comparisons):
        for name, value in {
            "base": lambda: model,
            "text": text,
            "HELD_OUT": 600,
            "OLD_TEST": 300,
            "STEPS": 4,
            "WARMUP": 1,
        }.items():
            monkeypatch.setattr(module, name, value, raising=False)
    for kept in (adapting.part, adapting.off):
        kept.cache_clear()
    yield adapting.Folders(tmp_path, tmp_path / "models")
    for kept in (adapting.part, adapting.off):
        kept.cache_clear()


def like_the_committed(record, section, method):
    """Whether a record is JSON, and has the keys and shapes of the committed ones."""
    committed = next(run for run in RESULTS[section] if run["method"] == method)
    assert record.keys() == committed.keys()
    assert json.loads(json.dumps(record)) == record
    for key, value in record.items():
        if isinstance(value, dict):
            assert value.keys() == committed[key].keys()
        else:
            assert np.shape(value) == np.shape(committed[key]), key


@pytest.mark.parametrize("method", ["lora-1", "maps", "full"])
def test_a_run_leaves_a_record_like_the_committed_ones(small, method):
    record = runs.run_one(method, "play", 0, 3, small)
    like_the_committed(record, "runs", method)
    assert record["losses"] != record["off"]
    assert record["sweep"][measures.STRENGTHS.index(1.0)] == record["losses"]
    assert runs.run_one(method, "play", 0, 3, small) == record


def test_what_was_trained_is_kept_and_not_trained_again(small, monkeypatch):
    first = adapting.adapted("lora-1", "play", 0, 5, small)
    model, norms = adapting.adapt("lora-1", "play", 0, 5, small.texts)
    for name, array in measures.arrays_of(model.gpt).items():
        assert_array_equal(first.arrays[name], array)
    assert_array_equal(first.norms, norms)
    assert first.clipped == np.mean(norms > 1)
    monkeypatch.delattr(adapting, "adapt")
    again = adapting.adapted("lora-1", "play", 0, 5, small)
    assert_array_equal(again.norms, first.norms)


def test_the_facts_are_those_of_plain_counting(small):
    found = adapting.facts(small.texts)
    encode = adapting.base().tokenizer.encode
    trained = list(encode(adapting.part("play", "train", small.texts)))
    tested = list(encode(adapting.part("play", "test", small.texts)))
    share = {t: (trained.count(t) + 0.5) / (len(trained) + 130) for t in set(tested)}
    assert found["play"]["unigram"] == pytest.approx(
        -fmean(np.log(share[t]) for t in tested), abs=1e-4
    )
    assert found["play"]["epochs"] == round(4 * 8 * 16 / len(trained), 2)
    assert found["chance"] == round(np.log(260), 4)


def test_losses_at_a_rate_are_those_of_the_trained_model(small):
    record = comparisons.at_rate("maps", "play", 0, 3, small)
    like_the_committed(record, "by_rate", "maps")
    model, _ = adapting.adapt("maps", "play", 0, 3, small.texts)
    assert record["losses"] == adapting.losses_of(model, "play", small.texts)
    width = str(max(RANKS))  # no map of the small model has a larger rank
    assert record["truncated"][width][1] == pytest.approx(record["losses"][0], abs=1e-3)


def test_where_as_much_is_learned_the_new_losses_are_equal(small):
    ks = {"lora-8": 3, "maps": 4, "full": 4}
    record = comparisons.at_equal_learning("lora-8", "play", 0, ks, small)
    like_the_committed(record, "equal", "lora-8")
    before = measures.arrays_of(adapting.base().gpt)
    test = adapting.part("play", "test", small.texts)

    def at(method, k, strength):
        arrays = adapting.adapted(method, "play", 0, k, small).arrays
        return adapting.with_arrays(measures.at_strength(before, arrays, strength))

    off = adapting.base().loss(test)
    learned = off - at("lora-8", 3, 1.0).loss(test)
    for method, k in ks.items():
        for place, share in enumerate(comparisons.LEARNED):
            model = at(method, k, record["strengths"][method][place])
            assert model.loss(test) == pytest.approx(off - share * learned, abs=5e-4)
            old = adapting.old_loss(model, small.texts)
            assert record["old"][method][place] == pytest.approx(old, abs=5e-4)


def test_intruders_are_counted_by_threshold_and_norm(small):
    record = comparisons.intruding("lora-8", "play", 0, 6, small)
    like_the_committed(record, "intruders", "lora-8")
    for counts in (record["own"], record["random"]):
        assert (np.diff(counts, axis=0) >= 0).all()  # a larger cosine lets more be intruders


def test_another_parametrization_takes_the_same_path(small):
    found = comparisons.rescaled("qv-9", "play", 0, 3, small)
    like_the_committed(found, "rescaled", "qv-9")
    assert found["equal"]
    assert 0 < found["uneven"] < 1e-3 < found["unmoved"]


# ---------------------------------------------------------------------- the committed results


def test_every_method_has_its_runs_at_the_best_of_its_rates():
    by = {(r["text"], r["method"], r["seed"]): r for r in RESULTS["runs"]}
    assert (
        len(by)
        == len(RESULTS["runs"])
        == len(adapting.NEW) * (len(METHODS) - len(RATE_ONLY)) * adapting.SEEDS
    )
    for (_, method, _), run in by.items():
        assert run["rate"] == runs.best(RESULTS["rates"][method])
        assert run["parameters"] == adapting.numbers(method)
        assert all(np.isfinite(run["losses"]))
    for method, tried in RESULTS["rates"].items():
        rates = sorted(map(float, tried))
        assert runs.best(tried) not in (rates[0], rates[-1]), method


def test_the_comparisons_have_every_run_and_repeat_the_runs_at_the_best_rates():
    found = findings.TextRuns(RESULTS)
    for method, ks in comparisons.BY_RATE.items():
        assert found.rates(method) == [adapting.rate(k) for k in ks]
        for text in adapting.NEW:
            best = found.each(
                text, lambda run: run["losses"], method, "by_rate", found.best_rate(method)
            )
            for seed, losses in zip(found.seeds("by_rate"), best, strict=True):
                assert_allclose(losses, found.at(text, method, seed)["losses"], atol=2e-3)
    for section, methods in (("equal", comparisons.EQUAL_LEARNING), ("intruders", runs.SWEPT)):
        kept = {(r["text"], r["method"], r["seed"]) for r in RESULTS[section]}
        assert len(kept) == len(RESULTS[section])
        assert len(kept) == len(adapting.NEW) * len(methods) * len(found.seeds(section))


def record(text, method, seed, new, old):
    return {"text": text, "method": method, "seed": seed, "losses": [new, old]}


@pytest.mark.parametrize(
    ("dof", "expected"), [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042)]
)
def test_quantiles_are_those_of_the_tables(dof, expected):
    assert findings.quantile(dof + 1) == pytest.approx(expected, abs=6e-4)


def test_a_sentence_holds_where_the_mean_exceeds_the_quantile():
    def differences(verse, play):
        return {
            text: findings.Difference(mean, 1.0, 4)
            for text, mean in zip(adapting.NEW, (verse, play), strict=True)
        }

    for verse, play, verdict in (
        (3.2, 3.2, "holds"),
        (3.1, 3.2, "partly"),
        (3.1, -3.2, "fails"),
        (3.2, -3.2, "mixed"),
        (-3.2, -3.2, "opposite"),
    ):
        assert findings.judged(differences(verse, play))[0] == verdict


def test_a_difference_is_that_of_runs_of_one_seed():
    losses = {"verse": (1.0, 1.3), "play": (1.0, 1.0)}
    records = [
        record(text, method, seed, losses[text][i] + 0.01 * seed * (2 * i - 1), 2.0)
        for text in adapting.NEW
        for i, method in enumerate(("a", "b"))
        for seed in range(3)
    ]
    found = findings.TextRuns({"runs": records})
    pairs = found.paired(found.new("a", "b"))
    assert pairs["verse"].mean == pytest.approx(0.32)
    assert pairs["verse"].seeds == 3
    assert str(pairs["verse"]).startswith("+0.320 ± 0.01")
    assert found.paired(found.new("b", "a"))["verse"].opposes


def test_lora_beside_whole_maps_is_counted_beyond_the_limit_of_one_and_of_all_differences():
    def runs_of(method, rate, new, old, spread=0.0):  # on verse the seeds differ
        return [
            record(text, method, seed, new, old + spread * (seed - 1) * (text == "verse"))
            | {"rate": rate, "off": [3.75, 3.25]}
            for text in adapting.NEW
            for seed in range(3)
        ]

    best = runs_of("lora-8", 0.4, 3.25, 3.5, spread=0.04) + runs_of("maps", 0.2, 3.0, 3.75)
    slow = runs_of("maps", 0.05, 3.5, 3.5)
    found = findings.TextRuns({"runs": best, "by_rate": best + slow})
    assert findings.quantile(3) < 0.25 / (0.04 / 3**0.5) < findings.quantile(3, 0.05 / 8)
    assert findings.beside_whole(found).splitlines() == [
        "loss              verse new   verse old    play new    play old",
        "untouched            3.750       3.250       3.750       3.250",
        "lora-8 at 0.4        3.250       3.500       3.250       3.500",
        "maps at 0.2          3.000       3.750       3.000       3.750",
        "maps at 0.05         3.500       3.500       3.500       3.500",
        "nats a token, 3 seeds; of 8 differences of maps less lora-8",
        "  6 are beyond 4.3 errors",  # not the two of old text at 0.05
        "  5 are beyond 12.6 errors, the limit of all together",  # nor old verse at 0.2
    ]
    found = findings.TextRuns({"runs": best, "by_rate": best})
    with pytest.raises(
        LoraRefError, match=r"no run of 'maps' on 'verse', seed 0 at the rate 0\.05"
    ):
        findings.beside_whole(found)


def test_forgetting_is_compared_between_the_rates_where_as_much_is_learned():
    path = [[3.5, 1.3], [3.0, 1.5], [3.2, 1.9]]  # beyond its best rate it is left out
    assert findings.old_where(path, 3.0) == pytest.approx(1.5)
    assert findings.old_where(path, 3.25) == pytest.approx(1.4)
    assert findings.old_where(path, 3.6) == 1.3  # more is learned than that from the start
    with pytest.raises(LoraRefError, match=r"is 3 at best .* expected it to reach 2\.9"):
        findings.old_where(path, 2.9)
    runs_ = [
        record(text, "a", seed, 3.25, 1.1) | {"rate": 2.0}
        for text in adapting.NEW
        for seed in (0, 1)
    ]
    by_rate = runs_ + [
        record(text, "b", seed, *losses) | {"rate": rate}
        for text in adapting.NEW
        for seed in (0, 1)
        for rate, losses in enumerate(path)
    ]
    found = findings.TextRuns({"runs": runs_, "by_rate": by_rate})
    assert found.old_at_equal_rate("a", "b").of("verse", 0) == pytest.approx(1.4 - 1.1)


def test_the_rate_of_a_truncation_is_chosen_on_validation_text():
    found = findings.TextRuns(
        {
            "by_rate": [
                {
                    "text": text,
                    "method": "maps",
                    "seed": seed,
                    "rate": rate,
                    "truncated": {"2": cut},
                }
                for text in adapting.NEW
                for seed in (0, 1)
                for rate, cut in ((0.1, [3.0, 9.0]), (0.2, [2.0, 9.5]), (0.4, [2.5, 1.0]))
            ]
        }
    )
    assert found.truncation_rate(2) == 0.2


def test_rates_near_the_best_are_ties():
    assert findings.ties({"0.1": 3.0, "0.2": 3.003, "0.4": 3.005}) == [0.1, 0.2]


def test_records_of_one_seed_are_refused():
    with pytest.raises(LoraRefError, match="'runs' are of 1 seed"):
        findings.TextRuns({"runs": [record("verse", "a", 0, 1.0, 1.0)]}).seeds()
    two = findings.TextRuns({"runs": [record("verse", "a", seed, 1.0, 1.0) for seed in (0, 1)]})
    with pytest.raises(LoraRefError, match="'runs' have no run of 'b' on 'verse', seed 0"):
        two.at("verse", "b", 0)


def test_the_page_is_current_and_has_the_numbers_of_the_results():
    page = text_study_page.PAGE.read_text(encoding="utf-8")
    assert text_study_page.as_page(RESULTS) == page
    runs_of = [r["losses"][0] for r in RESULTS["runs"] if r["method"] == "lora-8"]
    assert f"{fmean(runs_of):.2f}" in page
    verdicts = ("holds", "partly", "mixed", "fails", "opposite")
    assert len(findings.judge(RESULTS)) == sum(page.count(f"| {name} |") for name in verdicts)
    for r in RANKS:
        assert f"r = {r} |" in page
