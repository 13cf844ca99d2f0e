"""A batch in one pass, in parts, and on threads: the same gradients, for threads the same bits."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.layers import Linear, LoRALinear
from lora_ref.ops import dropout_mask, mean_squared_error, mean_squared_error_backward
from lora_ref.training import AdamW, Loss, Network, loss_and_gradients, train

SQUARES = Loss(mean_squared_error, mean_squared_error_backward)


def network_of(rng, width=5):
    lora = LoRALinear(
        rng.standard_normal((width, 4)),
        rng.standard_normal((2, 4)),
        rng.standard_normal((width, 2)),
        alpha=3.0,
    )
    return Network({"lora": lora, "head": Linear(rng.standard_normal((3, width)))})


@given(n=st.integers(1, 9), size=st.integers(1, 10), seed=st.integers(0, 999))
def test_parts_of_any_size_have_the_loss_and_the_gradients_of_the_whole(n, size, seed):
    rng = np.random.default_rng(seed)
    network, x = network_of(rng), rng.standard_normal((n, 4))
    for loss, labels in ((SQUARES, rng.standard_normal((n, 3))), (None, rng.integers(0, 3, n))):
        asked = () if loss is None else (loss,)
        value, grads = loss_and_gradients(network, x, labels, *asked)
        in_parts, added = loss_and_gradients(network, x, labels, *asked, micro_batch=size)
        assert in_parts == pytest.approx(value, rel=1e-12)
        assert grads.keys() == added.keys() == network.trainable.keys()
        for name, grad in grads.items():
            assert_allclose(added[name], grad, rtol=1e-12, atol=1e-12)


def test_the_gradient_of_a_part_alone_is_another(rng):
    network, x, labels = network_of(rng), rng.standard_normal((8, 4)), rng.integers(0, 3, 8)
    _, whole = loss_and_gradients(network, x, labels)
    _, part = loss_and_gradients(network, x[:4], labels[:4])
    assert np.abs(whole["lora.A"] - part["lora.A"]).max() > 1e-3


def test_each_part_has_its_rows_of_a_mask(rng):
    network, x, labels = network_of(rng), rng.standard_normal((7, 4)), rng.integers(0, 3, 7)
    keywords = {"lora.mask": dropout_mask((7, 4), 0.5, rng)}
    _, whole = loss_and_gradients(network, x, labels, keywords=keywords)
    _, parts = loss_and_gradients(network, x, labels, keywords=keywords, micro_batch=3)
    assert_allclose(parts["lora.A"], whole["lora.A"], rtol=1e-12, atol=1e-14)


def test_threads_do_not_change_a_bit(rng):
    network, x, labels = network_of(rng), rng.standard_normal((30, 4)), rng.integers(0, 3, 30)
    options = {"optimizer": AdamW(0.01), "steps": 12, "batch": 16, "micro_batch": 5}
    alone, history = train(network, x, labels, rng=np.random.default_rng(1), **options)
    for threads in (2, 3):
        seeded = np.random.default_rng(1)
        shared, again = train(network, x, labels, rng=seeded, threads=threads, **options)
        assert again.losses == history.losses
        for name, array in alone.trainable.items():
            assert_array_equal(shared.trainable[name], array)


def test_what_is_not_finite_in_a_thread_warns_nobody(rng):
    network, x = network_of(rng), np.full((4, 4), 1e300)
    with ThreadPoolExecutor(2) as pool:
        value, _ = loss_and_gradients(
            network, x * 1e8, np.zeros(4, int), micro_batch=2, run=pool.map
        )
    assert not np.isfinite(value)


@pytest.mark.parametrize("options", [{"micro_batch": 0}, {"threads": 0}, {"micro_batch": 1.5}])
def test_parts_and_threads_are_whole_numbers(options, rng):
    network, x, labels = network_of(rng), rng.standard_normal((4, 4)), rng.integers(0, 3, 4)
    with pytest.raises(LoraRefError, match=next(iter(options))):
        train(network, x, labels, optimizer=AdamW(0.1), steps=1, batch=4, rng=rng, **options)
