"""The study on rated sentences: its page, its measures, and the classifiers that it keeps."""

import hashlib
import io
import json
import tarfile
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import sentiment_page
from minilm_installed import needs_weights
from numpy.testing import assert_allclose

from lora_ref.errors import FileError
from lora_ref.layers.base import without_training
from lora_ref.layers.composite import arrays_of, layers_of
from lora_ref.layers.linear import Linear
from lora_ref.layers.lora import LoRALinear
from lora_ref.sentiment import amplification, classifier, findings, runs, snippets
from lora_ref.sentiment.classifier import Classifier
from lora_ref.sentiment.methods import METHODS, RATE_OF, is_adapted
from lora_ref.transformer.encoder import Encoder
from lora_ref.transformer.minilm import SentenceEncoder

RESULTS = findings.committed()
TEXTS = Path(runs.__file__).parents[2] / "texts"


def encoder(seed=0):
    sizes = {"vocabulary": 11, "context": 8, "features": 8, "heads": 2, "blocks": 2}
    return Encoder.init(**sizes, rng=np.random.default_rng(seed), dtype=np.float32)


needs_texts = pytest.mark.skipif(
    not (TEXTS / snippets.PACKAGE.archive).exists(),
    reason=f"NOT TESTED without the rated texts in {TEXTS}; make test-minilm gets them",
)

# ---------------------------------------------------------------------- what is committed


def test_the_page_is_what_the_results_say():
    page = sentiment_page.PAGE.read_text(encoding="utf-8")
    assert sentiment_page.as_page(RESULTS) == page


def test_every_method_has_a_run_for_each_seed_at_its_best_rate():
    found = {(r["method"], r["seed"]) for r in RESULTS["runs"]}
    assert found == set(product(METHODS, range(runs.SEEDS)))
    assert len(RESULTS["runs"]) == len(found)
    for record in RESULTS["runs"]:
        name = RATE_OF.get(record["method"], record["method"])
        assert record["rate"] == runs.best(RESULTS["rates"][name])
        assert record["accuracy"].keys() == snippets.FILES.keys()


def test_the_best_rate_has_a_worse_one_on_either_side():
    for name, tried in RESULTS["rates"].items():
        rates = sorted(map(float, tried))
        assert rates[0] < runs.best(tried) < rates[-1], name


def test_the_counts_of_the_runs_are_those_of_the_layers_by_hand():
    parameters = {r["method"]: r["parameters"] for r in RESULTS["runs"]}
    head = 2 * 384 + 2
    assert parameters["head"] == head
    assert parameters["lora-1"] == head + 12 * (384 + 384)
    assert parameters["lora-8"] == parameters["shuffled"] == head + 12 * 8 * (384 + 384)
    assert parameters["lora-64"] == head + 12 * 64 * (384 + 384)
    assert parameters["matrices"] == head + 12 * 384 * 384
    unused = 2 * 384 + 384 * 384 + 384  # kinds of text, and the pooler
    assert parameters["full"] == head + 22_713_216 - unused


def test_the_readme_says_what_came_out():
    readme = " ".join((Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8").split())
    films = {m: findings.mean_accuracy(RESULTS, m, "films") for m in ("lora-8", "head")}
    said = "It gets {lora-8:.0f} % of new films right, and the head alone {head:.0f} %"
    assert said.format(**films) in readme
    worse = findings.Sentence("", better="head", worse="lora-8")
    assert findings.difference(RESULTS, worse, "tweets").holds  # so the README says of tweets


# ---------------------------------------------------------------------- methods and measures


def test_each_method_trains_what_it_says():
    base = encoder().mapped(without_training)
    assert not base.trainable
    for name, method in METHODS.items():
        built = method.build(base, np.random.default_rng(0))
        trained = set(built.trainable)
        adapted = {p for p in layers_of(base) if is_adapted(p)}
        assert len(adapted) == 4
        if name.endswith("head"):
            assert not trained
        elif name == "matrices":
            assert trained == {f"{path}.W" for path in adapted}
        elif name == "full":
            assert trained == set(encoder().trainable)
        else:
            assert trained == {f"{path}.{factor}" for path in adapted for factor in "AB"}
            low_rank = [a for a in layers_of(built).values() if isinstance(a, LoRALinear)]
            assert all(layer.scaling == 2 for layer in low_rank)


def test_shuffled_blocks_have_the_same_entries_elsewhere_and_the_embeddings_stay():
    base = encoder().mapped(without_training)
    for name in ("shuffled", "shuffled-head"):
        mixed = METHODS[name].build(base, np.random.default_rng(0))
        one, other = base.blocks["0"].mlp["fc1"].W, mixed.blocks["0"].mlp["fc1"].W
        assert np.array_equal(np.sort(one, axis=None), np.sort(other, axis=None))
        assert (one != other).mean() > 0.9
        assert np.array_equal(base.tokens.W, mixed.tokens.W)


def test_a_change_that_is_cut_keeps_its_leading_directions_and_all_else(rng):
    heads = Linear(rng.standard_normal((2, 8)).astype(np.float32))
    after = Classifier(SentenceEncoder(encoder(1), None), heads)
    old = {n: a for n, a in arrays_of(encoder(0)).items() if is_adapted(n.removesuffix(".W"))}
    cut, rest = (runs.with_change_cut(after, old, kept) for kept in (slice(2), slice(2, None)))
    for name, now in arrays_of(after.sentences.encoder).items():
        leading, others = (arrays_of(one.sentences.encoder)[name] for one in (cut, rest))
        if name in old:
            left, whole = (np.linalg.svd(W - old[name], compute_uv=False) for W in (leading, now))
            assert_allclose(left[:2], whole[:2], rtol=1e-4)
            assert_allclose(left[2:], 0, atol=1e-6)
            assert_allclose(leading - old[name] + others, now, atol=1e-6)
        else:
            assert np.array_equal(leading, now)
            assert np.array_equal(others, now)
    assert cut.head is after.head


def test_amplification_is_that_of_the_paper_on_a_matrix_that_shows_it():
    W0 = np.diag([10.0, 1.0, 0.1])
    assert_allclose(amplification.amplification(np.diag([0.0, 0.0, 2.0]), W0, 1), 20)
    assert_allclose(amplification.amplification(np.diag([2.0, 0.0, 0.0]), W0, 1), 0.2)


def test_amplification_of_random_directions_is_that_of_the_mean_square():
    rng = np.random.default_rng(0)
    W0, change = rng.standard_normal((14, 9)), rng.standard_normal((14, 9))
    sigma = np.linalg.svd(change, compute_uv=False)[:3]
    squares = []
    for _ in range(4000):
        U, V = (np.linalg.qr(rng.standard_normal((side, 3)))[0] for side in W0.shape)
        squares.append(np.sum((U.T @ W0 @ V) ** 2))
    by_drawing = np.sqrt(np.sum(sigma**2) / np.mean(squares))
    assert_allclose(amplification.amplification_of_random(change, W0, 3), by_drawing, rtol=0.02)


def test_amplification_in_the_leading_directions_of_w0_is_the_least():
    W0 = np.diag([10.0, 1.0, 0.1])
    assert_allclose(amplification.amplification_of_leading(np.diag([0.0, 0.0, 2.0]), W0, 1), 0.2)


def test_a_rate_is_sought_further_until_the_best_has_a_worse_one_on_either_side():
    assert runs._beyond({1.0: 0.8, 2.0: 0.9, 4.0: 0.7}) == []
    assert runs._beyond({1.0: 0.9, 2.0: 0.8}) == [0.5]
    assert runs._beyond({1.0: 0.7, 2.0: 0.8}) == [4.0]
    assert runs.best({"1": 0.7, "2": 0.8, "4": 0.8}) == 2.0


def test_a_difference_is_taken_seed_by_seed():
    def record(method, seed, share):
        return {"method": method, "seed": seed, "accuracy": {"films": [share, share]}}

    shares = {"a": (0.8, 0.9, 0.7), "b": (0.7, 0.8, 0.6)}
    rows = [record(m, seed, share) for m, each in shares.items() for seed, share in enumerate(each)]
    sentence = findings.Sentence("a beats b", "a", "b")
    found = findings.difference({"runs": rows[::-1]}, sentence, "films")
    assert_allclose([found.mean, found.error], [10, 0], atol=1e-12)


# ---------------------------------------------------------------------- the texts


def archive_of(folder, lines, monkeypatch):
    """Write an archive in an archive, with one file of rated texts."""

    def packed(members):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return buffer.getvalue()

    inner = packed({"hutto_ICWSM_2014/tweets_GroundTruth.txt": lines})
    whole = packed({snippets.INNER: inner})
    (folder / snippets.PACKAGE.archive).write_bytes(whole)
    package = snippets.PACKAGE._replace(sha256=hashlib.sha256(whole).hexdigest())
    monkeypatch.setattr(snippets, "PACKAGE", package)


def test_clear_ratings_are_kept_once_and_have_their_sign(tmp_path, monkeypatch):
    rated = ("2.5\tFine.", "-1\tBad.", "0.9\tWell.", "-3\tFine.", "-2.0\tnaïve")
    lines = "".join(f"{i}\t{line}\r\n" for i, line in enumerate(rated))
    archive_of(tmp_path, lines.encode(), monkeypatch)
    found = snippets.snippets("tweets", tmp_path)
    assert found.texts == ("Fine.", "Bad.", "naïve")
    assert found.labels.tolist() == [1, 0, 0]
    snippets.snippets.cache_clear()


def test_an_archive_without_clear_ratings_is_refused(tmp_path, monkeypatch):
    archive_of(tmp_path, b"1\t0.5\tSo so.\r\n", monkeypatch)
    with pytest.raises(FileError, match="has no rated tweets, expected some"):
        snippets.snippets("tweets", tmp_path)


@pytest.mark.minilm
@needs_texts
def test_no_film_that_is_trained_on_is_tested_on():
    parts = [set(snippets.films(which, TEXTS).texts) for which in ("train", "validation", "test")]
    assert list(map(len, parts[:2])) == [snippets.TRAINED, snippets.VALIDATED]
    assert len(set.union(*parts)) == sum(map(len, parts))
    assert len(snippets.tested("films", TEXTS).texts) == snippets.TESTED


# ---------------------------------------------------------------------- the classifiers


def test_what_is_kept_is_small_and_says_what_it_belongs_to():
    sizes = [p.stat().st_size for p in (*classifier.ADAPTED.glob("*"), classifier.ALONE)]
    assert sum(sizes) < 170_000
    config = json.loads((classifier.ADAPTED / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "all-MiniLM-L6-v2"
    assert len(config["target_modules"]) == 12
    assert config["modules_to_save"] == ["classifier"]


@pytest.mark.minilm
@needs_weights
def test_what_is_kept_rates_sentences_and_leaves_the_encoder_as_it_was():
    off, on = classifier.with_head(classifier.ALONE), classifier.with_adapter(classifier.ADAPTED)
    texts = [
        "A warm and funny film.",
        "A dull, lifeless film.",
        "Wonderful!",
        "A waste of two hours.",
    ]
    for one in (off, on):
        assert ((one.probabilities(texts) > 0.5) == [True, False, True, False]).all()
    frozen = layers_of(off.sentences.encoder)
    for path, layer in layers_of(on.sentences.encoder).items():
        if isinstance(layer, LoRALinear):
            assert np.array_equal(layer.W0, frozen[path].W)


@pytest.mark.minilm
@needs_weights
def test_an_adapter_comes_back_from_its_folder_in_sixteen_bits(tmp_path):
    one = classifier.with_adapter(classifier.ADAPTED)
    one.save(tmp_path / "again")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        kept, again = ((f / name).read_bytes() for f in (classifier.ADAPTED, tmp_path / "again"))
        assert kept == again


@pytest.mark.minilm
@needs_weights
@needs_texts
def test_what_is_kept_has_the_accuracy_of_the_run_of_seed_0():
    stored = {r["method"]: r["accuracy"] for r in RESULTS["runs"] if r["seed"] == 0}
    editorials = snippets.tested("editorials", TEXTS)
    for name, one in (
        ("head", classifier.with_head(classifier.ALONE)),
        ("lora-8", classifier.with_adapter(classifier.ADAPTED)),
    ):
        assert_allclose(one.accuracy(editorials), stored[name]["editorials"], atol=0.01)


@pytest.mark.minilm
@needs_weights
@needs_texts
def test_the_first_steps_lower_the_loss_and_threads_do_not_change_them():
    start = runs.start("lora-8", 0)
    films = snippets.films("train", TEXTS)
    one, first = start.trained(films, 4e-3, np.random.default_rng([0, 2]), steps=4)
    two, again = start.trained(films, 4e-3, np.random.default_rng([0, 2]), steps=4, threads=2)
    assert first.losses[0] == pytest.approx(np.log(2), abs=1e-6)
    assert first.losses == again.losses
    trained = one.network.trainable
    assert all(np.array_equal(trained[n], a) for n, a in two.network.trainable.items())
