"""The loop: what moves, what stays to the last bit, and when it stops."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.layers.initializers import both_random, kaiming_uniform, orthogonal
from lora_ref.ops import mean_squared_error, mean_squared_error_backward
from lora_ref.training import (
    SGD,
    AdamW,
    DivergedError,
    Loss,
    Momentum,
    Network,
    accuracy,
    clip_gradients,
    cosine,
    dropout,
    minibatches,
    train,
)

SIZES = (6, 12, 8, 3)


def task(seed=0, n=60, dtype=np.float64):
    """Three clouds of points, one for each class, and a network that has not seen them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    x = rng.standard_normal((3, 6))[labels] * 2 + rng.standard_normal((n, 6))
    return Network.mlp(SIZES, rng, dtype=dtype), x.astype(dtype), labels


def fit(network, x, labels, *, seed=1, steps=40, optimizer=None, **options):
    rng, optimizer = np.random.default_rng(seed), optimizer or AdamW(0.02)
    return train(network, x, labels, optimizer=optimizer, steps=steps, batch=16, rng=rng, **options)


def bytes_of(params):
    return {name: array.tobytes() for name, array in params.items()}


# ---------------------------------------------------------------------------------- it learns


@pytest.mark.parametrize("optimizer", [SGD(0.3), Momentum(0.05), AdamW(0.02)], ids=str)
def test_the_loss_falls_and_the_accuracy_rises(optimizer):
    network, x, labels = task()
    trained, history = fit(network, x, labels, optimizer=optimizer, steps=80)
    assert np.mean(history.losses[-8:]) < 0.3 * np.mean(history.losses[:2])
    assert accuracy(trained, x, labels) > max(0.9, accuracy(network, x, labels) + 0.2)


def test_lora_learns_another_labelling_with_W0_frozen():
    network, x, labels = task()
    pretrained, _ = fit(network, x, labels, steps=80)
    other = (labels + 1) % 3
    adapted, _ = fit(pretrained.with_lora(4, 8.0, np.random.default_rng(2)), x, other, steps=120)
    assert accuracy(pretrained, x, other) < 0.2
    assert accuracy(adapted, x, other) > 0.9


def test_a_step_is_forward_loss_backward_and_the_optimisers_step():
    network, x, labels = task()
    loss = Loss(mean_squared_error, mean_squared_error_backward)
    target = np.eye(3)[labels]
    trained, history = fit(
        network, x, target, optimizer=SGD(0.1), steps=3, loss=loss, schedule=cosine, max_norm=0.5
    )
    params, batches = network.trainable, minibatches(60, 16, np.random.default_rng(1))
    for step in range(3):
        rows = next(batches)
        y, cache = network.with_params(params).forward(x[rows])
        value, inner = mean_squared_error(y, target[rows])
        grad_y = mean_squared_error_backward(inner)
        grads, norm = clip_gradients(network.with_params(params).backward(grad_y, cache)[1], 0.5)
        lr = 0.1 * cosine(step, 3)
        params = {name: array - lr * grads[name] for name, array in params.items()}
        assert (history.losses[step], history.norms[step]) == (value, norm)
    assert min(history.norms) > 0.5  # so that clipping was put to the test
    assert bytes_of(trained.trainable) == bytes_of(params)


# ---------------------------------------------------------------------------------- what stays


@pytest.mark.parametrize("start", [kaiming_uniform, orthogonal, both_random])
def test_lora_trains_in_float16_as_it_does_in_float32(start):
    losses = []
    for dtype in (np.float16, np.float32):
        network, x, labels = task(dtype=dtype)
        network = network.with_lora(2, 4, np.random.default_rng(3), initializer=start)
        trained, history = fit(network, x, labels, steps=25)
        assert {array.dtype for array in trained.trainable.values()} == {np.dtype(dtype)}
        losses.append(history.losses)
    assert losses[0][-1] < 0.5 * losses[0][0]
    assert np.abs(np.subtract(*losses)).max() < 0.1 * losses[1][0]


def test_W0_and_biases_keep_their_bytes_and_are_absent_from_the_state():
    network, x, labels = task()
    adapted = network.with_lora(2, 4.0, np.random.default_rng(2))
    before = {
        name: (layer.W.tobytes(), layer.bias.tobytes()) for name, layer in network.linears.items()
    }
    trained, _ = fit(adapted, x, labels)
    for name in network.linears:
        layer = trained[name]
        assert (layer.W0.tobytes(), layer.bias.tobytes()) == before[name]
        assert np.shares_memory(layer.W0, network[name].W)
        assert np.abs(layer.B).min() > 0
    state = AdamW(0.02).init_state(adapted.trainable)
    assert state.sums.keys() == state.squares.keys() == adapted.trainable.keys()
    assert {name.partition(".")[2] for name in state.sums} == {"A", "B"}


@pytest.mark.parametrize(
    "choice",
    [{"fc3": ("W", "bias")}, dict.fromkeys(("fc1", "fc2", "fc3"), ("bias",))],
    ids=["head only", "biases only"],
)
def test_only_what_is_chosen_moves(choice):
    network, x, labels = task()
    trained, _ = fit(network.train_only(choice), x, labels)
    for name, linear in network.linears.items():
        for part in ("W", "bias"):
            moved = getattr(trained[name], part).tobytes() != getattr(linear, part).tobytes()
            assert moved == (part in choice.get(name, ())), f"{name}.{part}"


def test_the_network_and_the_data_that_were_given_stay():
    network, x, labels = task()
    before = bytes_of({**network.trainable, "x": x, "labels": labels})
    trained, _ = fit(network, x, labels)
    assert bytes_of({**network.trainable, "x": x, "labels": labels}) == before
    for name, array in trained.trainable.items():
        assert not np.shares_memory(array, network.trainable[name])


def test_a_merged_network_computes_what_the_trained_one_does():
    network, x, labels = task()
    trained, _ = fit(network.with_lora(2, 4.0, np.random.default_rng(2)), x, labels)
    merged = trained.merge()
    y = trained.forward(x)[0]
    assert np.linalg.norm(merged.forward(x)[0] - y) < 1e-13 * np.linalg.norm(y)
    assert np.linalg.norm(network.forward(x)[0] - y) > 0.1 * np.linalg.norm(y)


def test_float32_stays_float32():
    network, x, labels = task(dtype=np.float32)
    trained, _ = fit(network.with_adapters(2, np.random.default_rng(2)), x, labels, max_norm=0.1)
    assert {array.dtype for array in trained.trainable.values()} == {np.dtype(np.float32)}


# ---------------------------------------------------------------------------------- seeds


@pytest.mark.parametrize("way", ["full", "lora with dropout"])
def test_the_same_seed_gives_the_same_bits_and_another_does_not(way):
    network, x, labels = task()
    options = {"schedule": partial(cosine, warmup=3), "max_norm": 1.0}
    if way != "full":
        network = network.with_lora(2, 4.0, np.random.default_rng(2))
        options["masks"] = dropout(network, 0.3)
    (one, history), (same, history_too), (other, _) = (
        fit(network, x, labels, seed=seed, **options) for seed in (1, 1, 2)
    )
    assert history == history_too
    assert bytes_of(one.trainable) == bytes_of(same.trainable)
    assert bytes_of(one.trainable) != bytes_of(other.trainable)


def test_watching_changes_nothing():
    network, x, labels = task()
    quiet, _ = fit(network, x, labels)
    watched, _ = fit(network, x, labels, callback=lambda step, network: step)
    assert bytes_of(quiet.trainable) == bytes_of(watched.trainable)


# ---------------------------------------------------------------------------------- mini-batches


@given(st.integers(1, 20), st.integers(1, 25), st.integers(0, 2**32 - 1))
def test_an_epoch_has_every_index_once(n, batch, seed):
    batches = minibatches(n, batch, np.random.default_rng(seed))
    for _ in range(3):
        epoch = [next(batches) for _ in range(-(-n // batch))]
        assert all(len(rows) == min(batch, n) for rows in epoch[:-1])
        assert sorted(np.concatenate(epoch).tolist()) == list(range(n))


def test_an_epoch_has_an_order_of_its_own():
    batches = minibatches(50, 50, np.random.default_rng(0))
    assert not np.array_equal(next(batches), next(batches))


@pytest.mark.parametrize("arguments", [(0, 2), (5, 0), (5, 2.0)])
def test_minibatches_are_asked_for_in_whole_numbers_at_once(arguments, rng):
    with pytest.raises(LoraRefError, match="in minibatches"):
        minibatches(*arguments, rng)


# ---------------------------------------------------------------------------------- dropout


def test_the_masks_fit_the_batch_and_only_layers_that_take_one(rng):
    network, x, labels = task()
    adapted = network.with_lora(2, 4.0, rng, targets=("fc1", "fc3"))
    masks = dropout(adapted, 0.25)(100, rng)
    assert {name: mask.shape for name, mask in masks.items()} == {
        "fc1.mask": (100, 6),
        "fc3.mask": (100, 8),
    }
    assert set(np.unique(masks["fc1.mask"])) == {0.0, 1 / 0.75}
    trained, _ = fit(adapted, x, labels, masks=dropout(adapted, 0.25))
    without, _ = fit(adapted, x, labels)
    assert bytes_of(trained.trainable) != bytes_of(without.trainable)


def test_there_must_be_something_to_drop(rng):
    with pytest.raises(LoraRefError, match="takes a mask, expected at least one"):
        dropout(Network.mlp(SIZES, rng), 0.1)


# ---------------------------------------------------------------------------------- it stops


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loss_that_is_not_finite_stops_with_the_step_and_the_last_one(dtype):
    network, x, labels = task(dtype=dtype)
    lr = 1e30 if dtype == np.float32 else 1e200
    seen = []
    with pytest.raises(DivergedError) as caught:  # and no RuntimeWarning, which would be an error
        fit(network, x, labels, optimizer=SGD(lr), callback=lambda step, _: seen.append(step))
    first = fit(network, x, labels, optimizer=SGD(lr), steps=1)[1].losses[0]
    assert f"at step {len(seen) + 1} of 40" in str(caught.value)
    assert f"last finite loss was {first:.6g}" in str(caught.value)
    assert len(seen) == 1


def test_a_loss_that_is_never_finite_says_so():
    network, x, labels = task()
    x[:] = np.nan
    with pytest.raises(DivergedError, match=r"loss is nan at step 1 of 40, .* no loss was finite"):
        fit(network, x, labels)


def test_gradients_that_are_not_finite_stop_before_they_move_anything():
    network, x, labels = task()
    loss = Loss(lambda y, _: (1.0, y), lambda y: np.full_like(y, np.inf))
    with pytest.raises(DivergedError, match=r"norm of the gradients is .* at step 1 of 40"):
        fit(network, x, labels, loss=loss, max_norm=1.0)


def test_parameters_lost_in_the_last_step_do_not_come_back_as_a_result():
    network, x, labels = task(dtype=np.float32)
    with pytest.raises(DivergedError, match=r"fc\d\.W is not finite at step 1 of 1"):
        fit(network, x, labels, optimizer=SGD(1e300), steps=1)


def test_gradients_whose_squares_overflow_stop_the_training():
    network, x, labels = task(dtype=np.float32)
    loss = Loss(lambda y, _: (1.0, y), lambda y: np.full_like(y, 1e20))
    with pytest.raises(DivergedError, match=r"^fc\d\.\w+ overflows float32 in step 1 of AdamW"):
        fit(network, x, labels, loss=loss)
    fit(network, x, labels, loss=loss, max_norm=1.0)


def test_arguments_that_do_not_fit_are_named(rng):
    network, x, labels = task()
    with pytest.raises(ShapeError, match="labels in train"):
        fit(network, x, labels[1:])
    with pytest.raises(ShapeError, match="labels in train are list"):
        fit(network, x, labels.tolist())
    with pytest.raises(LoraRefError, match="steps in train is 0"):
        fit(network, x, labels, steps=0)
    with pytest.raises(ShapeError, match=r"sort_by in train is ndarray of shape \(59,\), expected"):
        fit(network, x, labels, sort_by=np.arange(59))
    with pytest.raises(ShapeError, match=r"sort_by in train is list of shape \(60,\), expected"):
        fit(network, x, labels, sort_by=list(range(60)))
    with pytest.raises(LoraRefError, match="nothing to train"):
        fit(network.train_only({}), x, labels)
    with pytest.raises(LoraRefError, match="what schedule returns in train is nan"):
        fit(network, x, labels, schedule=lambda step, steps: float("nan"))


@pytest.mark.parametrize("dtype", [np.int64, np.uint8, float])
def test_a_batch_in_order_has_the_same_gradients_and_the_largest_first(dtype):
    network, x, _ = task()
    place = np.random.default_rng(3).permutation(len(x))
    target = np.repeat(place[:, None], SIZES[-1], axis=1) / len(x)
    passes = []

    def forward(y, target):
        passes.append(target[:, 0] * len(x))
        return mean_squared_error(y, target)

    loss = Loss(forward, mean_squared_error_backward)
    as_drawn, _ = fit(network, x, target, loss=loss, steps=5)
    drawn, passes[:] = [set(seen) for seen in passes], []
    by_place = place.astype(dtype)
    sorted_, _ = fit(network, x, target, loss=loss, steps=5, micro_batch=8, sort_by=by_place)
    # 60 examples make batches of 16, 16, 16 and 12
    assert [set(np.concatenate(passes[i : i + 2])) for i in range(0, 10, 2)] == drawn
    assert all(
        first.min() > second.max() for first, second in zip(passes[::2], passes[1::2], strict=True)
    )
    for name, array in as_drawn.trainable.items():
        assert_allclose(sorted_.trainable[name], array, rtol=1e-9, atol=1e-12)


# ---------------------------------------------------------------------------------- what is told


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network": None}, "network in train is a NoneType, expected a Network"),
        ({"optimizer": None}, "optimizer in train is None, expected one such as AdamW"),
        ({"optimizer": AdamW}, "optimizer in train is <class .*, expected one such as AdamW"),
        ({"loss": None}, "loss in train is None, expected a Loss such as CROSS_ENTROPY"),
    ],
)
def test_what_cannot_train_is_named(change, sentence, rng):
    network, x, labels = task()
    given = {"network": network, "x": x, "labels": labels, "optimizer": AdamW(0.1)}
    with pytest.raises(LoraRefError, match=f"^{sentence}"):
        train(**{**given, **change}, steps=1, batch=4, rng=rng)


def test_there_is_no_accuracy_without_a_network_or_of_logits_that_are_not_finite():
    network, x, labels = task()
    with pytest.raises(LoraRefError, match="network in accuracy is a NoneType, expected a Network"):
        accuracy(None, x, labels)
    lost = network.with_params({"fc3.bias": np.array([0, np.nan, 0])})
    with pytest.raises(LoraRefError, match=r"the logits in accuracy holds? nan at \(0, 1\)"):
        accuracy(lost, x, labels)


def test_the_callback_sees_each_step_and_keeps_networks_that_stay():
    network, x, labels = task()
    kept = {}

    def callback(step, current):
        kept[step] = current
        return accuracy(current, x, labels) if step % 10 == 0 else None

    trained, history = fit(network, x, labels, callback=callback)
    assert list(kept) == list(range(1, 41))
    assert [step for step, _ in history.evaluations] == [10, 20, 30, 40]
    assert history.evaluations[-1][1] == accuracy(trained, x, labels)
    assert bytes_of(kept[40].trainable) == bytes_of(trained.trainable)
    short, _ = fit(network, x, labels, steps=7)
    assert bytes_of(kept[7].trainable) == bytes_of(short.trainable)


def test_an_optimiser_that_returns_new_arrays_trains_to_the_same_bits():
    class Pure(SGD):
        def step(self, params, grads, state, *, lr=None, out=None):
            return super().step(params, grads, state, lr=lr)

    network, x, labels = task()
    (one, history), (other, same) = (
        fit(network, x, labels, optimizer=kind(0.3)) for kind in (SGD, Pure)
    )
    assert history == same
    assert bytes_of(one.trainable) == bytes_of(other.trainable)


def test_the_history_has_a_loss_and_a_norm_for_each_step():
    _, history = fit(*task(), steps=12)
    assert len(history.losses) == len(history.norms) == 12
    assert all(type(value) is float for value in history.losses + history.norms)
    assert repr(history).startswith("History(steps=12, loss ")


def test_accuracy_is_the_share_of_rows_with_the_right_largest_logit():
    network, x, labels = task()
    logits = network.forward(x)[0]
    right = sum(int(np.argmax(row)) == label for row, label in zip(logits, labels, strict=True))
    assert accuracy(network, x, labels) == right / 60
    assert_array_equal(accuracy(network, x, logits.argmax(axis=1)), 1.0)
    with pytest.raises(ShapeError, match="labels in accuracy"):
        accuracy(network, x, labels[:, None])
