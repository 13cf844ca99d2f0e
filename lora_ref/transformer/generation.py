"""Text, token by token: each is drawn by its logits and read before the next."""

import numpy as np
from numpy.typing import NDArray

from lora_ref.checks import Array, as_count, as_finite, check_finite, check_generator
from lora_ref.errors import LoraRefError
from lora_ref.layers.embedding import check_tokens
from lora_ref.ops import softmax
from lora_ref.transformer.decoder import reader_of
from lora_ref.transformer.gpt import GPT, Tokens


def generate(
    model: GPT,
    prompt: Tokens,
    length: int,
    rng: np.random.Generator,
    *,
    temperature: float = 1.0,
) -> NDArray[np.int64]:
    """Return `length` tokens that continue a prompt.

    Keys and values of what was read are kept, so that a step costs one token. Where the context is
    full, the model goes on from the last half of it.

    Parameters
    ----------
    model : GPT
        What gives the logits.
    prompt : integer ndarray of shape (n,)
        One token at least; of a longer one the last that fit are read.
    length : int
        Number of tokens to write.
    rng : numpy.random.Generator
        Draws them: one number a token, whatever the logits are.
    temperature : float
        Divides the logits: below 1 the likely becomes likelier; 0 takes the likeliest.
    """
    length = as_count("length in generate", length)
    check_generator("rng in generate", rng)
    temperature = as_finite("temperature in generate", temperature)
    if temperature < 0:
        raise LoraRefError(f"temperature in generate is {temperature}, expected at least 0")
    text = [int(token) for token in np.asarray(prompt).ravel()]
    if not text:
        raise LoraRefError("prompt in generate is empty, expected one token at least")
    check_tokens("prompt in generate", np.array(text), len(model.tokens.W))
    start, reader = len(text), reader_of(model)
    unread = text[-model.context :]
    for _ in range(length):
        if reader.read + len(unread) > model.context:
            reader.restart()
            unread = text[-max(1, model.context // 2) :]
        for token in unread:
            logits = reader.logits(token)
        unread = [_drawn(logits, rng.random(), temperature)]
        text += unread
    return np.array(text[start:], np.int64)


def _drawn(logits: Array, uniform: float, temperature: float) -> int:
    """Return the token at which the sum of the probabilities passes a number from 0 to 1."""
    check_finite("the logits in generate", logits)
    if temperature == 0:
        return int(logits.argmax())
    wide = logits.astype(np.float64)
    probabilities, _ = softmax((wide - wide.max()) / temperature)
    passed = np.searchsorted(probabilities.cumsum(), uniform, side="right")
    return min(int(passed), len(logits) - 1)
