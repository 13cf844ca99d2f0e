"""What a token must not see: right masks pass, and a little too much light is noticed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lora_ref.gradcheck import later_token_errors, padding_errors
from lora_ref.gradcheck.masking import _others
from lora_ref.gradcheck.reference import TOLERANCE
from lora_ref.layers import Attention, Linear
from lora_ref.transformer import GPT, Encoder

SIZES = {"vocabulary": 9, "context": 5, "features": 6, "heads": 2, "blocks": 2}
MASK = np.arange(5) < np.array([[5], [2], [4]])


def attention(rng: np.random.Generator, **options: Any) -> Attention:
    return Attention(*(Linear(rng.standard_normal((6, 6))) for _ in range(4)), heads=2, **options)


def test_a_causal_layer_passes_and_the_same_without_its_mask_does_not(rng) -> None:
    layer, x = attention(rng, causal=True), rng.standard_normal((3, 5, 6))
    assert later_token_errors(layer, x, rng)["later tokens"] <= TOLERANCE
    assert later_token_errors(layer, x[0], rng)["later tokens"] <= TOLERANCE
    assert later_token_errors(replace(layer, causal=False), x, rng)["later tokens"] > 0.01


def test_a_gpt_passes_on_tokens_and_an_encoder_looks_ahead(rng) -> None:
    texts = rng.integers(0, 9, (3, 5))
    gpt, encoder = GPT.init(**SIZES, rng=rng), Encoder.init(**SIZES, rng=rng)
    assert later_token_errors(gpt, texts, rng)["later tokens"] <= TOLERANCE
    assert later_token_errors(encoder.blocks, rng.standard_normal((3, 5, 6)), rng)[
        "later tokens"
    ] > (10 * TOLERANCE)


class OnePlaceLooksAhead(Attention):
    """The place before the last sees the last; all others are right."""

    def _allowed(self, shape: Any, _: Any) -> Any:
        allowed = np.tri(shape[-1], dtype=bool)
        allowed[-2] = True
        return allowed


def test_one_place_that_looks_ahead_is_enough(rng) -> None:
    layer = attention(rng, causal=True)
    wrong = OnePlaceLooksAhead(**layer.children, heads=2, causal=True)
    x = rng.standard_normal((1, 5, 6))
    assert later_token_errors(wrong, x, rng)["later tokens"] > 0.001


def test_padding_that_is_masked_passes_with_rows_of_tokens_and_with_one_row_a_text(rng) -> None:
    layer, x = attention(rng), rng.standard_normal((3, 5, 6))
    assert padding_errors(layer, x, rng, attention_mask=MASK)["padding"] <= TOLERANCE
    encoder, texts = Encoder.init(**SIZES, rng=rng), rng.integers(0, 9, (3, 5))
    assert padding_errors(encoder, texts, rng, attention_mask=MASK)["padding"] <= TOLERANCE


class Deaf(Attention):
    """Attention that does not hear of its mask."""

    def forward(self, x: Any, *, attention_mask: Any = None, keywords: Any = None) -> Any:
        return super().forward(x, keywords=keywords)


def test_padding_that_is_seen_is_noticed(rng) -> None:
    deaf, x = Deaf(**attention(rng).children, heads=2), rng.standard_normal((3, 5, 6))
    assert padding_errors(deaf, x, rng, attention_mask=MASK)["padding"] > 0.01


@pytest.mark.parametrize("seed", range(20))
def test_no_token_is_exchanged_for_itself_and_none_is_unknown(seed) -> None:
    rng = np.random.default_rng(seed)
    x = np.array([[3, 1, 4, 1], [5, 1, 4, 3]])
    other = _others(x, rng)
    assert not (other == x).any()
    assert set(other.ravel().tolist()) <= {1, 3, 4, 5}
    assert not (_others(np.ones((2, 3)), rng) == 1.0).any()
