"""Layers in a row: the contract as a whole, and the ways to adapt."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_examples import examples
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError, ShapeError
from lora_ref.gradcheck import SMOOTH_TOLERANCE, gradient_errors, vjp_errors
from lora_ref.layers import Linear, LoRALinear
from lora_ref.layers.activation import Activation
from lora_ref.layers.adapter import Adapter
from lora_ref.layers.dora import DoRALinear
from lora_ref.layers.initializers import both_random, orthogonal, pissa
from lora_ref.layers.qlora import QLoRALinear
from lora_ref.training import Network

SIZES = (5, 7, 6, 3)
TOLERANCE = 10 * SMOOTH_TOLERANCE
"""Layers in a row bend more than one does, and so does what a difference cuts off."""

seeds = st.integers(0, 2**32 - 1)


def away(network, rng):
    """Return the network with random numbers for all that trains: no zero hides a gradient.

    They are small, so that tanh is smooth over the step of a difference.
    """
    return network.with_params(
        {name: rng.normal(0, 0.3, a.shape) for name, a in network.trainable.items()}
    )


WAYS = {
    "full": lambda network, rng: network,
    "lora": lambda network, rng: network.with_lora(2, 3.0, rng),
    "one lora": lambda network, rng: network.with_lora(2, 3.0, rng, targets=("fc2",)),
    "adapters": lambda network, rng: network.with_adapters(2, rng, activation="tanh"),
    "head": lambda network, rng: network.train_only({"fc3": ("W", "bias")}),
    "biases": lambda network, rng: network.train_only(dict.fromkeys(network.linears, ("bias",))),
    "mixed": lambda network, rng: network.replaced(
        {
            "fc1": DoRALinear.init(network.linears["fc1"].W, 2, 3.0, rng),
            "fc2": QLoRALinear.init(network.linears["fc2"].W, 2, 3.0, rng),
        }
    ),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)


def made(way, seed):
    """A network away from its start, rows for it, and a generator."""
    rng = np.random.default_rng(seed)
    network = away(Network.mlp(SIZES, rng, activation="tanh"), rng)
    return away(way(network, rng), rng), 0.5 * rng.standard_normal((4, 5)), rng


# ---------------------------------------------------------------------------------- the contract


@ways
@settings(max_examples=10)
@given(seeds)
def test_gradients_agree_with_differences(way, seed):
    network, x, rng = made(way, seed)
    errors = gradient_errors(network, x, rng)
    assert errors.keys() == {"x", *network.trainable}
    assert max(errors.values()) < TOLERANCE, errors


@given(seeds)
def test_gradients_agree_with_differences_under_dropout_masks(seed):
    network, x, rng = made(WAYS["lora"], seed)
    shapes = {"fc1.mask": (4, 5), "fc3.mask": (4, 6)}
    masks = {name: 2.0 * (rng.random(shape) < 0.5) for name, shape in shapes.items()}

    def function(arguments):
        params = {name: arguments[name] for name in network.trainable}
        return network.with_params(params).forward(arguments["x"], keywords=masks)[0]

    y, cache = network.forward(x, keywords=masks)
    grad_y = rng.standard_normal(y.shape)
    grad_x, grads = network.backward(grad_y, cache)
    at, gradients = {"x": x, **network.trainable}, {"x": grad_x, **grads}
    errors = vjp_errors(function, at, grad_y, gradients, rng)
    assert errors.keys() == at.keys()
    assert max(errors.values()) < TOLERANCE, errors
    assert not np.array_equal(y, network.forward(x)[0])


def test_the_forward_pass_is_the_layers_one_after_the_other(rng):
    network = Network.mlp(SIZES, rng)
    x = y = rng.standard_normal((2, 4, 5))
    for layer in network.layers.values():
        y, _ = layer.forward(y)
    assert_array_equal(network.forward(x)[0], y)
    assert y.shape == (2, 4, 3)


@ways
def test_a_gradient_has_the_name_shape_and_dtype_of_its_parameter(way, rng):
    network = way(Network.mlp(SIZES, rng, dtype=np.float32), rng)
    x = rng.standard_normal((2, 4, 5)).astype(np.float32)
    y, cache = network.forward(x)
    grad_x, grads = network.backward(np.ones_like(y), cache)
    assert list(grads) == list(network.trainable)
    for got, owner in [(grad_x, x)] + [(grads[name], a) for name, a in network.trainable.items()]:
        assert (got.shape, got.dtype) == (owner.shape, np.float32)


@ways
def test_without_need_of_grad_x_the_gradients_are_the_same_bits(way):
    network, x, rng = made(way, 3)
    y, cache = network.forward(x)
    grad_y = rng.standard_normal(y.shape)
    _, grads = network.backward(grad_y, cache)
    none, short = network.backward(grad_y, cache, need_grad_x=False)
    assert none is None
    assert list(short) == list(grads)
    assert all(short[name].tobytes() == grad.tobytes() for name, grad in grads.items())


@given(st.lists(st.integers(1, 5), min_size=2, max_size=4), st.booleans(), seeds)
def test_the_cache_of_another_network_is_refused(sizes, need_grad_x, seed):
    rng = np.random.default_rng(seed)
    network, longer = Network.mlp(sizes, rng), Network.mlp([*sizes, sizes[-1]], rng)
    y, cache = longer.forward(rng.standard_normal((2, sizes[0])))
    with pytest.raises(LoraRefError, match=r"^cache in Network.backward holds names \('fc1', "):
        network.backward(y, cache, need_grad_x=need_grad_x)


def test_no_layer_below_the_lowest_that_trains_runs_backward(rng, monkeypatch):
    network = Network.mlp(SIZES, rng).train_only({"fc2": ("bias",)})
    y, cache = network.forward(rng.standard_normal((4, 5)))
    ran = []
    for kind in (Linear, Activation):
        true = kind.backward

        def spy(layer, grad_y, cache, true=true):
            ran.append(layer)
            return true(layer, grad_y, cache)

        monkeypatch.setattr(kind, "backward", spy)
    network.backward(np.ones_like(y), cache, need_grad_x=False)
    assert ran == [network[name] for name in ("fc3", "act2", "fc2")]


def test_examples_take_their_x_and_pass_the_gradient_check(rng):
    x = rng.standard_normal((4, 5))
    for network, keywords in examples(Network, x, 3, rng):
        assert all(array.all() for array in network.trainable.values())
        assert network.forward(x)[0].shape == (4, 3)
        assert max(gradient_errors(network, x, rng, **keywords).values()) < TOLERANCE


@ways
def test_a_copy_and_a_pickle_compute_the_same_bits(way):
    network, x, _ = made(way, 4)
    for twin in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert_array_equal(twin.forward(x)[0], network.forward(x)[0])
        assert twin.trainable.keys() == network.trainable.keys()


def test_with_params_moves_what_it_names_and_shares_the_rest(rng):
    network = Network.mlp(SIZES, rng)
    x, bias = rng.standard_normal((4, 5)), np.ones(3)
    before = network.forward(x)[0]
    moved = network.with_params({"fc3.bias": bias})
    assert moved.trainable["fc3.bias"] is bias
    assert moved["fc1"] is network["fc1"]
    assert_allclose(moved.forward(x)[0], before + 1)
    assert_array_equal(network.forward(x)[0], before)


def test_with_params_knows_names_shapes_and_dtypes(rng):
    network = Network.mlp(SIZES, rng).train_only({"fc3": ("W",)})
    for name in ("fc1.W", "W", "fc3", "fc3.W.W", "fc9.W"):
        with pytest.raises(LoraRefError, match=f"{name} is not trainable in Network, .* fc3.W$"):
            network.with_params({name: np.ones((3, 6))})
    with pytest.raises(ShapeError, match="its transpose fits"):
        network.with_params({"fc3.W": np.ones((6, 3))})
    with pytest.raises(LoraRefError, match="float32"):
        network.with_params({"fc3.W": np.ones((3, 6), np.float32)})


@pytest.mark.parametrize("name", ["", "fc.1", 1, None])
def test_a_name_is_a_string_without_dots_and_not_empty(name):
    with pytest.raises(LoraRefError, match="names a layer in Network"):
        Network({name: Activation("relu")})


def test_a_network_has_layers_and_says_which(rng):
    with pytest.raises(LoraRefError, match="expected at least one"):
        Network({})
    with pytest.raises(LoraRefError, match="'fc9' names nothing, expected fc1, act1, fc2"):
        Network.mlp((5, 4, 3), rng)["fc9"]


def test_a_network_keeps_its_layers_when_the_mapping_changes_later(rng):
    layers = {"act": Activation("relu")}
    network = Network(layers)
    layers.clear()
    assert list(network.layers) == ["act"]


@ways
def test_the_layers_of_a_network_and_of_its_copies_are_read_only(way):
    network, _, _ = made(way, 3)
    new = network.with_params(network.trainable)
    for twin in (network, new, copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        with pytest.raises(TypeError, match="does not support item assignment"):
            twin.layers["fc1"] = Activation("tanh")


def test_a_network_has_the_names_of_its_layers(rng):
    network = Network.mlp(SIZES, rng)
    assert "fc1" in network
    assert "fc9" not in network
    assert list(network) == list(network.layers)


@pytest.mark.parametrize("choice", [["fc1"], None, "fc1"], ids=repr)
def test_train_only_takes_a_mapping(choice, rng):
    with pytest.raises(LoraRefError) as said:
        Network.mlp(SIZES, rng).train_only(choice)
    assert str(said.value) == (
        f"choice in Network.train_only is {choice!r}, expected a mapping from names of layers to "
        "tuples of names such as 'W' and 'bias'"
    )


def test_layers_of_a_network_are_a_mapping():
    with pytest.raises(LoraRefError, match="layers in Network are a list, expected a mapping"):
        Network(["fc1"])


def test_a_mask_goes_to_a_layer_that_takes_one(rng):
    network = Network.mlp(SIZES, rng).with_lora(2, 3.0, rng, targets=("fc1",))
    x = rng.standard_normal((4, 5))
    with pytest.raises(LoraRefError, match="'fc9' names nothing"):
        network.forward(x, keywords={"fc9.mask": np.ones((4, 5))})
    with pytest.raises(
        LoraRefError,
        match=r"act1\.mask, but act1 is Activation, expected one of its keywords: none",
    ):
        network.forward(x, keywords={"act1.mask": np.ones((4, 7))})
    with pytest.raises(ShapeError, match="mask in LoRALinear"):
        network.forward(x, keywords={"fc1.mask": np.ones((3, 5))})


# ---------------------------------------------------------------------------------- beginnings


def test_a_perceptron_has_he_weights_zero_biases_and_no_last_activation(rng):
    network = Network.mlp((200, 400, 3), rng, activation="gelu", dtype=np.float32)
    assert list(network.layers) == ["fc1", "act1", "fc2"]
    assert network["act1"].name == "gelu"
    fc1 = network["fc1"]
    assert fc1.W.shape == (400, 200)
    assert fc1.W.dtype == np.float32
    assert fc1.W.std() == pytest.approx((2 / 200) ** 0.5, rel=0.02)
    assert not fc1.bias.any()


@pytest.mark.parametrize("sizes", [(), (5,), (5, 0), (5, 2.0)])
def test_a_perceptron_needs_two_widths(sizes, rng):
    with pytest.raises(LoraRefError, match=r"in Network\.mlp"):
        Network.mlp(sizes, rng)


# ---------------------------------------------------------------------------------- ways to adapt


@pytest.mark.parametrize("way", ["lora", "one lora", "adapters"])
def test_an_adapted_network_begins_at_the_pretrained_one(way, rng):
    network, x = Network.mlp(SIZES, rng), rng.standard_normal((4, 5))
    assert_array_equal(WAYS[way](network, rng).forward(x)[0], network.forward(x)[0])


def test_with_lora_adapts_the_targets_and_freezes_the_rest(rng):
    network = away(Network.mlp(SIZES, rng), rng)
    adapted = network.with_lora(2, 3.0, rng, targets=["fc3", "fc1"])
    assert list(adapted.trainable) == ["fc1.A", "fc1.B", "fc3.A", "fc3.B"]
    assert [type(adapted[name]) for name in network.linears] == [LoRALinear, Linear, LoRALinear]
    assert np.shares_memory(adapted["fc1"].W0, network["fc1"].W)
    assert not adapted["fc2"].W.flags.writeable
    assert_array_equal(adapted["fc1"].bias, network["fc1"].bias)
    assert list(network.trainable) == [f"fc{i}.{key}" for i in (1, 2, 3) for key in ("W", "bias")]


def test_with_lora_hands_on_start_and_scaling(rng):
    network = Network.mlp(SIZES, rng).with_lora(
        2, 3.0, rng, initializer=orthogonal, rank_stabilized=True
    )
    layer = network["fc2"]
    assert_allclose(layer.A @ layer.A.T, np.eye(2), atol=1e-12)
    assert layer.scaling == pytest.approx(3 / 2**0.5)


def test_a_pissa_start_keeps_the_function_and_lowers_the_frozen_weight(rng):
    network, x = Network.mlp(SIZES, rng), rng.standard_normal((4, 5))
    adapted = network.with_lora(2, 3.0, rng, initializer=pissa)
    assert_allclose(adapted.forward(x)[0], network.forward(x)[0], rtol=1e-12, atol=1e-12)
    assert np.linalg.norm(adapted["fc1"].W0) < 0.9 * np.linalg.norm(network["fc1"].W)


def test_an_adapter_follows_its_linear_layer(rng):
    network = Network.mlp(SIZES, rng).with_adapters(2, rng, targets=("fc1",), activation="tanh")
    assert list(network.layers) == ["fc1", "fc1_adapter", "act1", "fc2", "act2", "fc3"]
    assert isinstance(network["fc1_adapter"], Adapter)
    assert network["fc1_adapter"].activation == "tanh"
    assert {name.partition(".")[0] for name in network.trainable} == {"fc1_adapter"}


def test_an_adapter_takes_no_name_that_is_taken(rng):
    layers = {"fc": Linear(np.ones((3, 2))), "fc_adapter": Linear(np.ones((3, 3)))}
    with pytest.raises(LoraRefError, match="fc_adapter is a layer in Network already"):
        Network(layers).with_adapters(2, rng)


@pytest.mark.parametrize("method", ["with_lora", "with_adapters"])
def test_targets_that_name_nothing_are_answered_with_the_names_there_are(method, rng):
    network = Network.mlp(SIZES, rng)
    first = (2, 3.0, rng) if method == "with_lora" else (2, rng)
    for targets in (("fc9",), ("fc1", "act1")):
        with pytest.raises(LoraRefError, match="names nothing, expected fc1, fc2, fc3"):
            getattr(network, method)(*first, targets=targets)
    with pytest.raises(LoraRefError, match="name nothing, expected some of: fc1, fc2, fc3"):
        getattr(network, method)(*first, targets=())
    with pytest.raises(LoraRefError, match="expected several names"):
        getattr(network, method)(*first, targets="fc1")


@pytest.mark.parametrize(
    "choice", [{"fc3": ("W", "bias")}, {"fc1": ("bias",), "fc3": ("bias",)}, {}]
)
def test_train_only_trains_what_it_names(choice, rng):
    network = Network.mlp(SIZES, rng).train_only(choice)
    expected = [f"{name}.{part}" for name, parts in choice.items() for part in parts]
    assert list(network.trainable) == expected


def test_train_only_knows_layers_and_parts(rng):
    network = Network.mlp(SIZES, rng)
    with pytest.raises(LoraRefError, match="'act1' names nothing, expected fc1, fc2, fc3"):
        network.train_only({"act1": ("W",)})
    with pytest.raises(LoraRefError, match="train in Linear"):
        network.train_only({"fc1": ("A",)})
    with pytest.raises(LoraRefError, match="cannot be frozen"):
        network.with_adapters(2, rng).train_only({})


def test_train_only_trains_an_adapter_and_the_head(rng):
    network = Network.mlp(SIZES, rng).with_lora(2, 3.0, rng, targets=("fc1", "fc2"))
    both = network.train_only({"fc1": ("A", "B", "bias"), "fc3": ("W", "bias")})
    assert list(both.trainable) == ["fc1.A", "fc1.B", "fc1.bias", "fc3.W", "fc3.bias"]
    assert not network.train_only({}).trainable


def test_replaced_knows_the_names(rng):
    with pytest.raises(LoraRefError, match="'fc9' names nothing, expected fc1, act1"):
        Network.mlp(SIZES, rng).replaced({"fc9": Activation("relu")})


@pytest.mark.parametrize("way", ["lora", "one lora", "mixed"])
@settings(max_examples=15)
@given(seeds)
def test_a_merged_network_computes_the_same_without_adapters(way, seed):
    network, x, _ = made(WAYS[way], seed)
    merged = network.merge()
    assert all(isinstance(merged[name], Linear) for name in ("fc1", "fc2", "fc3"))
    assert_allclose(merged.forward(x)[0], network.forward(x)[0], rtol=1e-10, atol=1e-10)


def test_merge_leaves_an_adapter_where_it_is(rng):
    network = Network.mlp(SIZES, rng).with_adapters(2, rng)
    merged = network.merge()
    assert all(merged[name] is layer for name, layer in network.layers.items())


def test_both_random_disturbs_the_network_that_a_zero_B_keeps(rng):
    network, x = Network.mlp(SIZES, rng), rng.standard_normal((4, 5))
    disturbed = network.with_lora(2, 3.0, rng, initializer=both_random).forward(x)[0]
    assert not np.allclose(disturbed, network.forward(x)[0], rtol=1e-3)


@pytest.mark.parametrize("sizes", [SIZES, (3,) * 30])
def test_repr_is_one_short_line(sizes, rng):
    said = repr(Network.mlp(sizes, rng))
    assert said.startswith("Network(fc1, act1, fc2")
    assert "\n" not in said
    assert len(said) < 100
