"""LoRA on named layers of a model: which, what trains, merged and by strength."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from lora_ref.errors import LoraRefError
from lora_ref.layers import LoRALinear
from lora_ref.layers.composite import layers_of
from lora_ref.training import Network
from lora_ref.transformer import GPT, Encoder, merged, with_lora

SIZES = {"vocabulary": 11, "context": 7, "features": 6, "heads": 2, "blocks": 2}
X = np.array([[3, 1, 4, 1, 5]])


@pytest.fixture
def gpt(rng):
    return GPT.init(**SIZES, rng=rng, tied=False)


def adapted_in(model):
    return [path for path, layer in layers_of(model).items() if isinstance(layer, LoRALinear)]


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (("q", "v"), 4),
        (["attention.q"], 2),
        (("blocks.1.attention.q",), 1),
        (("fc1", "fc2", "q", "k", "v", "o"), 12),
        ("all-linear", 12),  # not the head
        (("head",), 1),
        (r"blocks\.0\.attention\..*", 4),
        (r".*\.(q|fc1)", 4),
    ],
)
def test_targets_are_whole_names_ends_or_a_regular_expression(targets, count, gpt, rng):
    assert len(adapted_in(with_lora(gpt, rng, targets=targets, r=2))) == count


def test_an_end_begins_after_a_dot(rng):
    model = Network({"q": GPT.init(**SIZES, rng=rng).blocks["0"].attention.q})
    assert adapted_in(with_lora(model, rng, targets=("q",), r=2)) == ["q"]
    gpt = GPT.init(**SIZES, rng=rng)
    with pytest.raises(
        LoraRefError, match=r"target 'c1' in with_lora names no linear layer, .*fc1"
    ):
        with_lora(gpt, rng, targets=("c1",))


@pytest.mark.parametrize("targets", [("tokens",), ("norm",), "q", "blocks", ("q", "nothing")])
def test_what_names_no_linear_layer_is_refused(targets, gpt, rng):
    with pytest.raises(LoraRefError, match="names no linear layer, expected whole names or ends"):
        with_lora(gpt, rng, targets=targets)


def test_no_target_is_refused(gpt, rng):
    with pytest.raises(LoraRefError, match="targets in with_lora are none"):
        with_lora(gpt, rng, targets=())


@pytest.mark.parametrize("kind", [GPT, Encoder])
def test_factors_alone_train_and_the_model_begins_where_it_was(kind, rng):
    model = kind.init(**SIZES, rng=rng)
    adapted = with_lora(model, rng, r=2)
    assert {name.rpartition(".")[2] for name in adapted.trainable} == {"A", "B"}
    assert_array_equal(adapted.forward(X)[0], model.forward(X)[0])
    y, cache = adapted.forward(X)
    assert adapted.backward(np.ones_like(y), cache)[1].keys() == adapted.trainable.keys()
    assert model.trainable.keys() > {"tokens.W", "blocks.0.attention.q.W"}  # as it was


def moved(gpt, rng):
    adapted = with_lora(gpt, rng, targets="all-linear", r=2)
    return adapted.with_params(
        {name: rng.standard_normal(a.shape) for name, a in adapted.trainable.items()}
    )


def test_merged_it_gives_the_same_logits(gpt, rng):
    adapted = moved(gpt, rng)
    plain = merged(adapted)
    assert not adapted_in(plain)
    assert_allclose(plain.forward(X)[0], adapted.forward(X)[0], rtol=1e-9)


def test_dropout_on_a_path_travels_by_its_dotted_name(gpt, rng):
    adapted = moved(gpt, rng)
    mask = 2.0 * (rng.random((1, 5, 6)) < 0.5)
    y, _ = adapted.forward(X, keywords={"blocks.1.attention.q.mask": mask})
    assert not np.array_equal(y, adapted.forward(X)[0])
    with pytest.raises(LoraRefError, match="'w' names nothing, expected attention, norm1"):
        adapted.forward(X, keywords={"blocks.1.w.mask": mask})
