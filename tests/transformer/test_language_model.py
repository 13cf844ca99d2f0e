"""A model with its tokenizer: what it loses on a text, training, and the files that it makes."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.layers.base import without_training
from lora_ref.transformer import GPT, with_lora
from lora_ref.transformer.bpe import Tokenizer
from lora_ref.transformer.language_model import LanguageModel, Schedule

TEXT = 20 * "so it was, and so it is; "


@pytest.fixture
def model(rng):
    tokenizer = Tokenizer.learn(TEXT, 262)
    gpt = GPT.init(262, 8, 8, 2, 2, rng, dtype=np.float32)
    return LanguageModel(gpt, tokenizer)


def test_a_model_that_knows_nothing_loses_the_logarithm_of_its_vocabulary(model):
    assert abs(model.loss(TEXT) - np.log(262)) < 0.05


def test_the_loss_is_the_mean_over_windows_side_by_side(model):
    windows = model.windows(TEXT)
    assert windows[3].tolist() == model.tokenizer.encode(TEXT)[3:12].tolist()
    total, read = 0.0, windows[::8]
    for row in read:
        logits = model.gpt.forward(row[:-1])[0].astype(float)
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        total -= np.log(shares[np.arange(8), row[1:]]).mean()
    assert abs(model.loss(TEXT) - total / len(read)) < 1e-5


def test_training_lowers_the_loss_and_an_adapter_leaves_the_base(model, rng):
    schedule = Schedule(steps=60, batch=8, lr=2e-2, warmup=3)
    trained, history = model.trained(TEXT, schedule, rng)
    assert trained.loss(TEXT) < 0.6 * model.loss(TEXT)
    assert len(history.losses) == 60
    before = {name: a.tobytes() for name, a in trained.gpt.trainable.items()}
    other = TEXT.replace("so it was", "it was so")
    adapted = trained.with_gpt(with_lora(trained.gpt, rng, targets="all-linear", r=2))
    voice, _ = adapted.trained(other, schedule._replace(steps=100), rng)
    assert voice.loss(other) < trained.loss(other) - 0.1
    assert {name: a.tobytes() for name, a in trained.gpt.trainable.items()} == before


def test_text_goes_on_the_same_for_a_seed(model):
    texts = [model.write("so", 9, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert model.write("", 3, np.random.default_rng(1), temperature=0)


def test_a_model_comes_back_from_its_folder_in_16_bits(model, tmp_path):
    model.save(tmp_path / "model")
    loaded = LanguageModel.load(tmp_path / "model")
    assert loaded.tokenizer == model.tokenizer
    for name, array in model.gpt.trainable.items():
        assert_array_equal(loaded.gpt.trainable[name], array.astype(np.float16).astype(np.float32))
    assert repr(loaded.gpt) == repr(model.gpt)
    loaded.save(tmp_path / "again")
    for file in ("model.safetensors", "config.json"):
        same = [(tmp_path / folder / file).read_bytes() for folder in ("model", "again")]
        assert same[0] == same[1]
    frozen = model.with_gpt(model.gpt.mapped(without_training))
    frozen.save(tmp_path / "frozen")
    kept = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "frozen")]
    assert kept[0] == kept[1]


def test_no_step_at_all_is_refused(model, rng):
    with pytest.raises(LoraRefError, match="steps in train is 0"):
        model.trained(TEXT, Schedule(steps=2, batch=2, lr=0.1, warmup=0), rng, first=0)


def test_what_is_no_model_is_refused(model, tmp_path):
    with pytest.raises(LoraRefError, match=r"model.safetensors cannot be read"):
        LanguageModel.load(tmp_path)
    model.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for wrong in ("{", json.dumps({**config, "merges": 3}), json.dumps({"heads": 2})):
        (tmp_path / "config.json").write_text(wrong)
        with pytest.raises(LoraRefError, match=r"holds no language model that can be read"):
            LanguageModel.load(tmp_path)
    with pytest.raises(LoraRefError, match=r"the GPT has 262 tokens, expected .* tokenizer, 256"):
        LanguageModel(model.gpt, Tokenizer(()))
    with pytest.raises(LoraRefError, match=r"the text has 2 tokens, expected 9 at least"):
        model.loss("ab")
