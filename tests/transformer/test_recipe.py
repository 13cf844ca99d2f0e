"""The recipe of the small language model, run again for its first steps, and what it has made."""

import json
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

from lora_ref.checkpoint import load_peft
from lora_ref.transformer import pretrain
from lora_ref.transformer.language_model import LanguageModel
from lora_ref.transformer.texts import SOURCES
from lora_ref.transformer.voices import base_model, voices, with_voices

FOLDER = Path(pretrain.__file__).parents[2] / "texts"
STEPS = 3

needs_texts = pytest.mark.skipif(
    not all((FOLDER / source.package.archive).exists() for source in SOURCES.values()),
    reason=f"THE RECIPE IS NOT TESTED: {FOLDER} has not all archives, make test-recipe gets them",
)


def record(name):
    path = pretrain.WEIGHTS / name / "record.json"
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_base_is_as_large_as_the_recipe_says_and_finite():
    gpt = base_model().gpt
    sizes = (len(gpt.tokens.W), gpt.context, gpt.tokens.W.shape[1], len(gpt.blocks.layers))
    assert sizes == tuple(
        pretrain.SIZES[n] for n in ("vocabulary", "context", "features", "blocks")
    )
    whole = LanguageModel.load(pretrain.WEIGHTS / "base").gpt.trainable
    assert sum(array.size for array in whole.values()) == 505_920
    gpt.check()
    voice = sum(a.size for a in load_peft(pretrain.WEIGHTS / "verse", gpt).trainable.values())
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    assert f"{voice:,} numbers beside the frozen 505,920" in " ".join(readme.split())


def test_files_are_small_enough_to_be_kept():
    sizes = {
        path.parent.name: path.stat().st_size for path in pretrain.WEIGHTS.glob("*/*.safetensors")
    }
    assert sizes.keys() == {"base", *pretrain.VOICES}
    assert sizes["base"] < 1_100_000
    assert all(sizes[name] < 150_000 for name in pretrain.VOICES)
    assert voices() == tuple(sorted(pretrain.VOICES))


def test_losses_fell_and_each_voice_lowered_that_of_its_text():
    base = record("base")
    assert len(base["losses"]) == pretrain.BASE.steps
    assert base["losses"][0] == pytest.approx(np.log(512), abs=0.1)  # it knew nothing
    assert base["schedule"] == json.loads(json.dumps(pretrain.BASE._asdict()))
    for name, voice in pretrain.VOICES.items():
        kept = record(name)
        off, on = kept["held_out"][voice.text]
        assert on < off - 0.1, name
        assert kept["schedule"] == json.loads(json.dumps(voice.schedule._asdict()))


def test_voices_write_differently_from_the_base_and_from_each_other():
    texts = {
        with_voices(base_model(), names, [1.0] * len(names)).write(
            "And ", 12, np.random.default_rng(0), temperature=0
        )
        for names in ((), ("verse",), ("play",), ("play", "verse"))
    }
    assert len(texts) == 4


@pytest.mark.texts
@needs_texts
def test_the_first_steps_of_the_base_give_the_stored_losses():
    model, text, rng = pretrain.start(FOLDER)
    assert model.tokenizer == base_model().tokenizer
    _, history = model.trained(text, pretrain.BASE, rng, first=STEPS)
    assert_allclose(history.losses, record("base")["losses"][:STEPS], atol=2e-3)


@pytest.mark.texts
@needs_texts
def test_the_stored_weights_have_the_stored_losses_on_what_was_held_out():
    base = base_model()
    for name, stored in record("base")["held_out"].items():
        assert base.loss(pretrain.parts(name, FOLDER)[1]) == pytest.approx(stored, abs=5e-3)
    for voice in pretrain.VOICES:
        model = with_voices(base, [voice], [1.0])
        for name, (off, on) in record(voice)["held_out"].items():
            rest = pretrain.parts(name, FOLDER)[1]
            assert base.loss(rest) == pytest.approx(off, abs=5e-3)
            assert model.loss(rest) == pytest.approx(on, abs=5e-3)


def test_the_source_of_the_weights_names_each_text_and_its_package():
    page = (pretrain.WEIGHTS / "SOURCE.md").read_text(encoding="utf-8")
    for one in SOURCES.values():
        row = f"| {one.title}, {one.author}, {one.year} | {one.package.requirement} "
        assert row in page
    assert f"last {pretrain.HELD_OUT:,} characters" in page
