"""Voices: off, on and summed; a reader's own text; and the two commands."""

import json
import re

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.checkpoint import load_peft, save_peft
from lora_ref.cli import main
from lora_ref.errors import LoraRefError
from lora_ref.layers.composite import layers_of
from lora_ref.transformer import GPT, voices, with_lora
from lora_ref.transformer.adapt import merged
from lora_ref.transformer.bpe import Tokenizer
from lora_ref.transformer.decoder import Decoder, reader_of
from lora_ref.transformer.language_model import LanguageModel
from lora_ref.transformer.voices import base_model, with_voices

TEXT = 40 * "so it was, and so it is; "
X = np.array([[3, 1, 4, 1, 5]])


@pytest.fixture
def weights(tmp_path, monkeypatch, rng):
    """A folder with a small model and two voices on different layers, in place of the package's."""
    gpt = GPT.init(262, 8, 8, 2, 2, rng, dtype=np.float32)
    LanguageModel(gpt, Tokenizer.learn(TEXT, 262)).save(tmp_path / "base")
    monkeypatch.setattr(voices, "WEIGHTS", tmp_path)
    voices.base_model.cache_clear()
    base = voices.base_model().gpt
    for name, targets in (("one", ("q", "v")), ("two", ("v", "fc1"))):
        adapted = with_lora(base, rng, targets=targets, r=2)
        drawn = {n: rng.standard_normal(a.shape) for n, a in adapted.trainable.items()}
        drawn = {name: array.astype(np.float32) for name, array in drawn.items()}
        save_peft(tmp_path / name, adapted.with_params(drawn))
    yield tmp_path
    voices.base_model.cache_clear()


def logits(names, strengths):
    return voices.with_voices(voices.base_model(), names, strengths).gpt.forward(X)[0]


def test_a_batch_may_have_a_voice_for_each_row_in_all_layers(weights):
    both = voices.with_voices(voices.base_model(), ["one", "two"], [1.0, 1.0]).gpt
    v, x = "attention.v", np.repeat(X, 3, axis=0)
    task = np.repeat([[0], [1], [-1]], X.shape[1], axis=1)
    keywords = {f"blocks.{i}.{v}.task": task for i in range(2)}
    alone = {"q": np.where(task == 0, 0, -1), "fc1": np.where(task == 1, 0, -1)}  # one voice each
    for i in range(2):
        keywords[f"blocks.{i}.attention.q.task"] = alone["q"]
        keywords[f"blocks.{i}.mlp.fc1.task"] = alone["fc1"]
    got, _ = both.forward(x, keywords=keywords)
    for row, strengths in zip(got, ([1.0, 0.0], [0.0, 1.0], [0.0, 0.0]), strict=True):
        assert_allclose(row, logits(["one", "two"], strengths)[0], rtol=1e-4, atol=1e-5)


def test_a_voice_is_off_at_0_and_as_trained_at_1(weights):
    base = voices.base_model()
    assert voices.voices() == ("one", "two")
    assert_array_equal(logits(["one"], [0.0]), base.gpt.forward(X)[0])
    trained = load_peft(weights / "one", base.gpt).forward(X)[0]
    assert_allclose(logits(["one"], [1.0]), trained, rtol=1e-4, atol=1e-5)
    assert_allclose(logits([str(weights / "one")], [1.0]), logits(["one"], [1.0]))
    assert np.abs(logits(["one"], [0.5]) - trained).max() > 1e-3


def test_two_voices_are_the_sum_of_their_updates(weights):
    base = voices.base_model().gpt
    blocks = voices.with_voices(voices.base_model(), ["one", "two"], [1, 0.5]).gpt.blocks
    one, two = (layers_of(load_peft(weights / name, base)) for name in ("one", "two"))
    for path, layer, weight in (
        ("blocks.0.attention.q", blocks["0"].attention.q, (1, 0)),
        ("blocks.1.attention.v", blocks["1"].attention.v, (1, 0.5)),
    ):
        deltas = [getattr(part[path], "delta_w", 0) for part in (one, two)]
        expected = weight[0] * deltas[0] + weight[1] * deltas[1]
        assert_allclose(layer.delta_w, expected, rtol=1e-4, atol=1e-5)
    alone = blocks["0"].mlp["fc1"].delta_w
    assert_allclose(alone, 0.5 * two["blocks.0.mlp.fc1"].delta_w, rtol=1e-4, atol=1e-6)


def test_speaking_leaves_the_weights_of_the_base(weights, capsys):
    assert main(["speak", "--voice", "one", "two", "--length", "5", "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    titles = [one["title"] for one in shown["texts"]]
    assert titles == ["base", "one times 1", "two times 1", "one + two, each times 1"]
    assert shown["W0"][0] == shown["W0"][1] == voices.fingerprint(voices.base_model().gpt)


def test_a_fingerprint_is_of_the_frozen_weights_alone(weights, rng):
    base = voices.base_model().gpt
    assert voices.fingerprint(load_peft(weights / "one", base)) == voices.fingerprint(base)
    other = base.with_children(
        {**base.children, "norm": type(base.norm)(2 * base.norm.gain, base.norm.bias)}
    )
    assert voices.fingerprint(other) != voices.fingerprint(base)


def test_one_voice_is_shown_off_half_on_and_on(weights, capsys):
    assert main(["speak", "--voice", "one", "--length", "5", "--prompt", "so"]) == 0
    shown = capsys.readouterr().out
    assert [line for line in shown.splitlines() if line.startswith("--- one")] == [
        f"--- one {word} {'-' * (72 - len(f'one {word}'))}" for word in ("off", "half on", "on")
    ]
    assert main(["speak", "--length", "5", "--prompt", "so"]) == 0
    base = capsys.readouterr().out.split("-\n", 1)[1].split("\n\nW0")[0]
    assert shown.split("-\n", 1)[1].split("\n\n--- one half")[0] == base
    assert main(["speak", "--list"]) == 0
    assert capsys.readouterr().out == "one\ntwo\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--voice", "tow"], "'tow' is neither a voice nor a folder, .*; the nearest: two"),
        (["--strength", "1"], "--strength goes with --voice"),
        (["--voice", "one", "--strength", "3"], "--strength is 3, expected a number from 0 to 2"),
        (["--voice", "one", "--strength", "nan"], "--strength is nan, expected"),
        (["--length", "0"], "--length is 0"),
        (["--temperature", "hot"], "--temperature is hot, expected a number from 0 to 10"),
        (["--voice", "base"], "adapter_config.json' cannot be read"),
    ],
)
def test_speak_says_what_it_does_not_understand(arguments, sentence, weights, capsys):
    if "base" in arguments:
        arguments = ["--voice", str(weights / "base")]
    assert main(["speak", *arguments]) == 2
    assert re.search(sentence, capsys.readouterr().err)


# ---------------------------------------------------------------------- a text of one's own


def test_a_voice_of_ones_own_text_learns_it_and_can_speak(weights, tmp_path, capsys):
    path, out = tmp_path / "mine.txt", tmp_path / "mine"
    path.write_text(20 * "低秩适应让模型换一种说话的方式。\n", encoding="utf-8")
    arguments = ["adapt", "--text", str(path), "--out", str(out), "--steps", "30", "--rank", "4"]
    assert main([*arguments, "--prompt", "低秩"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("30 of 30 steps; loss on the last tenth of the text")
    before, after = (
        float(word) for word in captured.out.split("\n")[0].split(": ")[1].split(" to ")
    )
    assert after < before
    assert f"written: {out}" in captured.err
    assert main(["speak", "--voice", str(out), "--length", "4"]) == 0


def test_an_interruption_keeps_what_is_trained(weights):
    def interrupt(step, steps):
        if step == 3:
            raise KeyboardInterrupt

    made = voices.adapt(
        voices.base_model(), TEXT, r=2, targets=["q"], steps=50, seed=0, report=interrupt
    )
    assert made.steps == 3
    assert any(
        array.any() for name, array in made.model.gpt.trainable.items() if name.endswith("B")
    )


BAD_TEXTS = {
    "empty": (b" \n\t", "is empty, expected some text"),
    "latin": ("caf\u00e9".encode("latin-1"), "line 1: the byte 0xe9 is not UTF-8; save the file"),
    "short": (b"so", "the text has 1 tokens, expected 9 at least"),
}


@pytest.mark.parametrize("case", BAD_TEXTS)
def test_a_text_that_cannot_be_trained_on_is_refused(case, weights, tmp_path, capsys):
    data, sentence = BAD_TEXTS[case]
    path = tmp_path / "mine.txt"
    path.write_bytes(data)
    assert main(["adapt", "--text", str(path), "--out", str(tmp_path / "out")]) == 2
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_a_missing_file_and_a_large_one_are_refused(weights, tmp_path, monkeypatch):
    for path, sentence in ((tmp_path, "is a folder"), (tmp_path / "x", "cannot be read: No such")):
        with pytest.raises(LoraRefError, match=f"{sentence}.*, expected a text to train on"):
            voices.read_own_text(path)
    monkeypatch.setattr(voices, "LARGEST_TEXT", 10)
    (tmp_path / "large").write_text(TEXT)
    with pytest.raises(
        LoraRefError, match="has more than 10 bytes, too many for a text to train on"
    ):
        voices.read_own_text(tmp_path / "large")


def test_an_unknown_target_and_a_file_in_place_of_a_folder_are_refused(weights, tmp_path, capsys):
    path = tmp_path / "mine.txt"
    path.write_text(TEXT)
    arguments = ["adapt", "--text", str(path), "--out"]
    assert main([*arguments, str(tmp_path / "out"), "--targets", "query"]) == 2
    assert "target 'query' in with_lora names no linear layer" in capsys.readouterr().err
    assert main([*arguments, str(path)]) == 2
    assert "is a file, expected a folder" in capsys.readouterr().err


def test_a_sum_of_voices_is_merged_into_one_weight():
    both = with_voices(base_model(), ["play", "verse"], [0.5, 1.0])
    plain = merged(both.gpt)
    assert {type(layer).__name__ for layer in layers_of(plain).values()} == {
        "Activation", "Embedding", "LayerNorm", "Linear",
    }  # fmt: skip
    tokens = both.tokenizer.encode("And the sea")
    assert np.abs(plain.forward(tokens)[0] - both.gpt.forward(tokens)[0]).max() < 1e-4
    assert type(reader_of(both.gpt)) is Decoder
