"""Printed sizes in bytes: in which unit, of which numbers, under which counting rule."""

from fractions import Fraction

import pytest

from lora_ref.counting import UNITS, Full, LoRA, Model, Module, Size, explain_size, get_model

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
QV = ["q_proj", "v_proj"]


def size(text, power):
    behind = len(text.partition(".")[2])
    return Size(text, Fraction(text), Fraction(1, 10**behind), power)


@pytest.mark.parametrize(
    ("name", "powers"),
    [
        ("", (1, 1000, 1000**2, 1000**3, 1000**4)),
        ("binary-units", (1, 1024, 1024**2, 1024**3, 1024**4)),
        ("thousand-kib", (1, 1024, 1024_000, 1024_000_000, 1024_000_000_000)),
    ],
)
def test_a_unit_has_its_bytes_at_every_power(name, powers):
    assert tuple(UNITS[name].bytes_of(power) for power in range(5)) == powers


def test_all_units_are_asked_for():
    assert set(UNITS) == {"", "binary-units", "thousand-kib"}


PRINTED = [  # FourierFT (arXiv 2405.03003), table 1; VeRA (arXiv 2310.11454); the weights of LLaMA
    ("llama-7b", LoRA(16, QV), "32.8", 2, "trainable float32 thousand-kib"),
    ("llama-7b", LoRA(64, QV), "131.1", 2, "trainable float32 thousand-kib"),
    ("llama-13b", LoRA(16, QV), "51.2", 2, "trainable float32 thousand-kib"),
    ("roberta-large", LoRA(4, ["query", "value"]), "1.50", 2, "trainable float32 binary-units"),
    ("llama-7b", LoRA(64, ALL), "610", 2, "trainable float32 binary-units"),
    ("llama-7b", LoRA(16, QV), "33.6", 2, "trainable float32"),
    ("llama-7b", LoRA(16, QV), "16.8", 2, "trainable bfloat16"),
    ("llama-7b", Full(), "13.48", 3, "trainable bfloat16, total bfloat16"),
    ("llama-7b", LoRA(16, QV), "33.7", 2, ""),
    ("llama-7b", LoRA(16, QV), "33.5", 2, ""),  # 33.55 is more than half a digit away
]


@pytest.mark.parametrize(("name", "method", "text", "power", "expected"), PRINTED)
def test_a_printed_size_is_explained(name, method, text, power, expected):
    found = explain_size(size(text, power), get_model(name), method)
    shown = (f"{e.counted.count} {e.dtype} {e.unit}".strip() for e in found if not e.counted.rules)
    assert ", ".join(shown) == expected
    assert all(e.counted.rules == () for e in found)
    assert all(abs(e.value - Fraction(text)) <= Fraction(1, 2 * 10 ** len(text.partition(".")[2]))
               for e in found)  # fmt: skip


HEAD = Model(
    "toy",
    "",
    "",
    (
        Module("table", "embedding", (5000, 64)),
        Module("q", "linear", (64, 64)),
        Module("lm_head", "linear", (5000, 64)),
    ),
    width=64,
    blocks=1,
)


def test_one_counting_rule_is_tried_and_no_more_departures_than_needed():
    adapted_head = 4 * (2 * (64 + 64) + 2 * (5000 + 64))  # r = 2, in float32
    found = explain_size(size(f"{adapted_head / 1000:.2f}", 1), HEAD, LoRA(2, ["q"]))
    assert [(e.rules, e.counted.count) for e in found] == [(("head-too",), "trainable")]
    binary = f"{adapted_head / 1024:.3f}"
    found = explain_size(size(binary, 1), HEAD, LoRA(2, ["q"]))
    assert {e.rules for e in found} == {("head-too", "binary-units"), ("head-too", "thousand-kib")}


def test_the_half_of_a_digit_decides_and_a_type_may_be_asked_for():
    model, method = Model("one", "", "", (Module("w", "linear", (250, 1)),), 1, 1), Full()
    kilobyte = {e.dtype for e in explain_size(size("1.0", 1), model, method)}
    assert kilobyte == {"float32"}  # 250 x 4 = 1,000
    assert explain_size(size("1.0", 1), model, method, dtypes=["bfloat16"]) == ()
    assert explain_size(size("1.05", 1), model, method) == ()
    assert explain_size(size("1", 1), model, method)  # 0.976 KiB too, with one departure more
    assert {e.unit for e in explain_size(size("1", 1), model, method)} == {""}
