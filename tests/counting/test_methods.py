"""Counts of methods against what PEFT 0.21.2 counts, the real layers, and published numbers."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import seeds, sizes

from lora_ref import counting, layers
from lora_ref.counting import (
    IA3,
    AdaLoRA,
    Adapter,
    BitFit,
    DoRA,
    Full,
    LoHa,
    LoKr,
    LoRA,
    Model,
    Module,
    Prefix,
    PrefixEmbed,
    PrefixLayer,
    TopLayers,
    VeRA,
    checkpoint_bytes,
    count_parameters,
    training_memory,
)
from lora_ref.counting.methods.low_rank import factorization
from lora_ref.errors import LoraRefError

RANKS = 1, 2, 4, 30

SMALL = Model(
    "small",
    "",
    "",
    (
        Module("emb", "embedding", (50, 12)),
        Module("up", "linear", (40, 12), 40),
        Module("down", "linear", (12, 40)),
        Module("conv", "convolution", (10, 6, 3, 5), 10),
        Module("conv1", "convolution", (8, 6, 3), 8),
        Module("one", "convolution", (10, 6, 1, 1), 10),
        Module("norm", "norm", (12,), 12),
        Module("head", "linear", (3, 12), 3),
    ),
    width=12,
    blocks=1,
)

COUNTED = count_parameters(SMALL, Full())

MAKERS = {
    "lora": LoRA,
    "dora": DoRA,
    "vera": VeRA,
    "loha": LoHa,
    "lokr": LoKr,
    "lokr, both": lambda r, targets: LoKr(r, targets, decompose_both=True),
    "lokr, factor 4": lambda r, targets: LoKr(r, targets, factor=4),
    "lokr, factor 5": lambda r, targets: LoKr(r, targets, factor=5),
    "adalora": AdaLoRA,
}

PEFT = {
    "lora": {
        "up": (52, 104, 208, 1560),
        "up,down": (104, 208, 416, 3120),
        "emb": (62, 124, 248, 1860),
        "conv": (100, 200, 400, 3000),
        "conv1": (26, 52, 104, 780),
        "one": (16, 32, 64, 480),
    },
    "dora": {
        "up": (92, 144, 248, 1600),
        "up,down": (156, 260, 468, 3172),
        "emb": (74, 136, 260, 1872),
        "conv": (110, 210, 410, 3010),
        "conv1": (34, 60, 112, 788),
        "one": (26, 42, 74, 490),
    },
    "vera": {"up": (41, 42, 44, 70), "up,down": (54, 56, 60, 112)},
    "loha": {
        "up": (104, 208, 416, 3120),
        "up,down": (208, 416, 832, 6240),
        "conv": (200, 400, 800, 6000),
        "conv1": (52, 104, 208, 1560),
        "one": (32, 64, 128, 960),
    },
    "lokr": {
        "up": (27, 39, 47, 47),
        "up,down": (54, 78, 94, 94),
        "conv": (54, 104, 229, 229),
        "conv1": (17, 40, 40, 40),
        "one": (12, 20, 19, 19),
    },
    "lokr, both": {"up": (20, 40, 47, 47), "up,down": (40, 80, 94, 94), "one": (12, 20, 19, 19)},
    "lokr, factor 4": {
        "up": (29, 42, 68, 46),
        "up,down": (58, 84, 136, 92),
        "conv": (54, 104, 229, 229),
        "conv1": (19, 26, 26, 26),
    },
    "lokr, factor 5": {
        "up": (27, 39, 47, 47),
        "conv": (57, 100, 100, 100),
        "conv1": (17, 40, 40, 40),
        "one": (15, 16, 16, 16),
    },
    "adalora": {
        "up": (53, 106, 212, 1590),
        "up,down": (106, 212, 424, 3180),
        "conv": (101, 202, 404, 3030),
        "one": (17, 34, 68, 510),
    },
}
"""Trainable parameters of PEFT 0.21.2 on a PyTorch model of these shapes, one for each rank."""


def block(**more):
    """A transformer of two blocks with a tied head; `more` replaces fields of the model."""
    modules = (
        Module("wte", "embedding", (30, 8)),
        Module("h.*.attn.c_attn", "linear", (24, 8), 24, 2, splits=(("q", 8), ("k", 8), ("v", 8))),
        Module("h.*.attn.c_proj", "linear", (8, 8), 0, 2),
        Module("h.*.ln", "norm", (8,), 8, 2),
        Module("ln_f", "norm", (8,), 8),
        Module("lm_head", "linear", (30, 8), tied_to="wte"),
    )
    return Model(**{
        "name": "toy", "title": "", "source": "", "modules": modules, "width": 8, "blocks": 2,
        **more,
    })  # fmt: skip


@pytest.mark.parametrize("kind", PEFT)
def test_every_rank_and_kind_of_module_counts_as_peft_counts_it(kind):
    for targets, expected in PEFT[kind].items():
        names = targets.split(",")
        counted = [count_parameters(SMALL, MAKERS[kind](r, names)) for r in RANKS]
        assert tuple(t.trainable for t in counted) == expected, targets
        frozen = len(names) if kind == "adalora" else 0  # ranknum, one for each target
        assert all(t.total == SMALL.total + t.trainable + frozen for t in counted), targets


@pytest.mark.parametrize(
    ("target", "of_output", "of_input"), [("up", 40, 12), ("conv", 10, 6), ("one", 10, 6)]
)
def test_ia3_has_a_number_for_each_feature_or_channel(target, of_output, of_input):
    assert count_parameters(SMALL, IA3([target])).trainable == of_output
    assert count_parameters(SMALL, IA3([target], [target])).trainable == of_input


@pytest.mark.parametrize("method", [VeRA, LoHa, LoKr, AdaLoRA, lambda r, t: IA3(t)])
def test_an_embedding_is_refused_where_peft_refuses_it(method):
    with pytest.raises(LoraRefError, match=r"emb is of kind embedding, and .* wraps linear"):
        count_parameters(SMALL, method(2, ["emb"]))


@given(sizes, sizes, sizes, seeds)
def test_the_counts_are_those_of_the_real_layers(in_features, out_features, r, seed):
    rng = np.random.default_rng(seed)
    model = Model("one", "", "", (Module("w", "linear", (out_features, in_features)),), 1, 1)
    W0 = rng.standard_normal((out_features, in_features))
    for method, kind in ((LoRA, layers.LoRALinear), (DoRA, layers.DoRALinear)):
        layer = kind.init(W0, r=r, alpha=1, rng=rng)
        real = sum(array.size for array in layer.trainable.values())
        assert count_parameters(model, method(r, ["w"])).trainable == real
    square = Model("m", "", "", (Module("h.*.w", "linear", (8, 8), 0, 3),), in_features, 3)
    adapter = layers.Adapter.init(in_features, bottleneck=r, rng=rng)
    real = sum(array.size for array in adapter.trainable.values())
    assert count_parameters(square, Adapter(r)).trainable == 3 * 2 * real


@given(st.integers(1, 3000), st.sampled_from([-1, 1, 2, 4, 5, 8, 16, 100]))
def test_factorization_gives_two_factors_and_no_pair_nearer_to_the_middle(width, factor):
    first, second = factorization(width, factor)
    assert first * second == width
    if factor > 0 and width % factor == 0:
        assert first == factor
    else:
        limit = width if factor == -1 else factor
        fit = [m for m in range(1, width + 1) if width % m == 0 and m * m <= width and m <= limit]
        assert first == max(fit)


def test_the_examples_of_the_adapters_sections_of_peft():
    vit = counting.get_model("vit-base").plus([Module("classifier", "linear", (101, 768), 101)])
    targets = ["query", "value"]
    printed = {
        LoRA(16, targets): (667_493, 86_543_818, ()),
        LoHa(16, targets): (1_257_317, 87_133_642, ()),
        LoKr(16, targets): (116_069, 87_172_042, ("leftover:loha",)),
        AdaLoRA(12, targets): (520_325, 87_614_722, ("leftover:loha:16", "leftover:lokr:16")),
    }
    for method, (trainable, total, left) in printed.items():
        rules = ["saved-twice", *left]
        counted = count_parameters(vit, method, modules_to_save=["classifier"], rules=rules)
        assert (counted.trainable, counted.total) == (trainable, total), method.name


@pytest.mark.parametrize(
    ("model", "method", "trainable", "total"),
    [
        ("gpt2", LoRA(8, ["c_attn"]), 294_912, 124_734_720),
        ("gpt2", LoRA(8, ["c_attn", "c_proj", "c_fc"]), 1_179_648, 125_619_456),
        ("gpt2", VeRA(16, ["c_attn", "c_proj", "c_fc"]), 83_712, 124_523_520),
        ("gpt2", IA3(["c_attn", "mlp.c_proj"], ["mlp.c_proj"]), 64_512, 124_504_320),
        ("gpt2", Prefix(20), 368_640, 124_808_448),
        ("t5-base", LoRA(8, ["q", "v"]), 884_736, 223_788_288),
        ("t5-base", DoRA(8, ["q", "v"]), 940_032, 223_843_584),
        ("t5-base", LoKr(8, ["q", "v"], decompose_both=True), 64_512, 222_968_064),
        ("t5-base", IA3(["k", "v", "wo"], ["wo"]), 129_024, 223_032_576),
        ("t5-base", Prefix(20), 368_640, 223_272_192),
        ("llama-3.2-1b", LoRA(8, ["q_proj", "v_proj"]), 851_968, 1_236_666_368),
        ("llama-3.2-1b", LoHa(16, ["q_proj", "v_proj"]), 3_407_872, 1_239_222_272),
        ("llama-3.2-1b", LoKr(4, ["q_proj", "v_proj"]), 38_912, 1_235_853_312),
        ("llama-3.2-1b", Prefix(20), 327_680, 1_236_142_080),
        ("opt-350m", LoKr(8, ["q_proj", "v_proj"]), 73_728, 331_270_144),
        ("opt-350m", Prefix(20), 983_040, 332_179_456),
        ("whisper-large-v2", DoRA(16, ["q_proj", "v_proj"]), 8_110_080, 1_551_415_040),
        ("roberta-base", VeRA(8, ["query", "value"]), 18_624, 124_664_256),
    ],
)
def test_published_models_count_as_peft_counts_them(model, method, trainable, total):
    counted = count_parameters(counting.get_model(model), method)
    assert (counted.trainable, counted.total) == (trainable, total)


@pytest.mark.parametrize(
    ("model", "method", "expected"),
    [
        ("gpt2-medium", TopLayers(2), 25_192_448),
        ("gpt2-medium", Adapter(6, "lin"), 368_784),
        ("gpt2-medium", Adapter(112), 11_064_576),
        ("roberta-large", Adapter(64, "pfeiffer"), 3_171_840),
        ("roberta-large", Adapter(64), 6_343_680),
        ("gpt3-175b", Adapter(1), 7_078_080),
        ("gpt3-175b", PrefixEmbed(32, 8), 491_520),
        ("gpt3-175b", PrefixLayer(32, 8), 47_185_920),
        ("gpt3-175b", LoRA(8, ["c_attn.q", "c_attn.v"]), 37_748_736),
        ("gpt3-175b", VeRA(1, ["c_attn.q", "c_attn.v"]), 2_359_488),
    ],
)
def test_the_formulas_of_the_papers(model, method, expected):
    assert count_parameters(counting.get_model(model), method).trainable == expected


def test_methods_without_additions_train_the_models_own():
    model = block()
    biases = 2 * 24 + 2 * 8 + 8
    for method, expected in (
        (Full(), model.total),
        (BitFit(), biases),
        (TopLayers(1), 24 * 8 + 24 + 64 + 16),
    ):
        counted = count_parameters(model, method)
        assert (counted.trainable, counted.total) == (expected, model.total)
    assert count_parameters(model, TopLayers(2)).trainable == model.total - 240 - 16


def test_the_top_blocks_are_those_of_the_decoder():
    stacks = (
        Module("encoder.*.w", "linear", (2, 2), 0, 6),
        Module("decoder.*.w", "linear", (3, 3), 0, 4),
    )
    model = Model("two", "", "", stacks, width=2, blocks=10)
    assert count_parameters(model, TopLayers(3)).trainable == 27
    assert count_parameters(model, Prefix(5)).trainable == 5 * 4 * 2 * 2
    with pytest.raises(LoraRefError, match="blocks is 5, expected at most 4, those of decoder"):
        count_parameters(model, TopLayers(5))


def test_what_is_saved_counts_once_beside_any_method():
    model = block().plus([Module("score", "linear", (2, 8), 2)])

    def count(method, *saved):
        return count_parameters(model, method, modules_to_save=saved)

    for method in (LoRA(2, ["c_attn"]), BitFit(), TopLayers(1), Prefix(3)):
        alone, with_score = count(method), count(method, "score")
        already = method.trained_in(model, model.modules[-1])
        assert with_score.trainable == alone.trainable + 18 - already
        assert with_score.total == alone.total
    (biases,) = BitFit().parts(model)
    with_attn = count(BitFit(), "attn").trainable
    assert with_attn == biases.parameters + 2 * (24 * 8 + 64), "a name saves what it contains"
    tied, both = (count(LoRA(2, ["c_attn"]), *names) for names in (["lm_head"], ["lm_head", "wte"]))
    assert tied.trainable == both.trainable == 2 * 2 * 32 + 240, "a shared weight counts once"


def test_vera_shares_one_pair_as_large_as_the_largest_target():
    model = block()
    method = VeRA(3, ["c_attn", "c_proj"])
    counted = count_parameters(model, method)
    assert counted.trainable == counted.total - model.total == 2 * (24 + 3) + 2 * (8 + 3)
    assert method.shared_pair(model) == 3 * (24 + 8)


def test_a_split_of_a_fused_projection_counts_as_a_matrix_of_its_own():
    assert count_parameters(block(), LoRA(2, ["c_attn.q", "c_attn.v"])).trainable == 2 * 2 * 2 * 16


def test_the_bytes_of_checkpoint_and_training():
    counted = count_parameters(block(), LoRA(2, ["c_attn"]))
    assert counted.trainable == 128
    assert [checkpoint_bytes(counted, d) for d in ("float32", "bfloat16", "int8")] == [
        512,
        256,
        128,
    ]
    memory = training_memory(counted, "bfloat16", state_dtype="float32")
    assert memory.weights == 2 * counted.total
    assert (memory.gradients, memory.optimizer) == (256, 2 * 4 * 128)
    assert memory.total == 2 * counted.total + 256 + 1024
    assert training_memory(counted, optimizer="sgd").optimizer == 0


def test_a_count_prints_the_line_that_peft_prints():
    counted = count_parameters(counting.get_model("gpt2"), LoRA(8, ["c_attn"]))
    line = "trainable params: 294,912 || all params: 124,734,720 || trainable%: 0.2364"
    assert str(counted) == line
    assert counted.share == Fraction(294_912, 124_734_720)


@pytest.mark.parametrize(
    ("method", "saved", "sentence"),
    [
        (lambda: LoRA(0, ["c_attn"]), [], "r is 0, expected a whole number"),
        (lambda: AdaLoRA(-3, ["c_attn"]), [], "r is -3"),
        (lambda: LoRA(2, "c_attn"), [], "a string is a regular expression for whole paths"),
        (lambda: LoRA(2, []), [], "at least one"),
        (lambda: LoRA(2, ["c_atn"]), [], "no module 'c_atn'; the nearest: c_attn"),
        (lambda: LoRA(2, ["c_attn"]), ["ln_g"], "no module 'ln_g' to save; .* ln_f"),
        (lambda: LoRA(2, ["c_attn"]), "ln_f", "modules_to_save is 'ln_f', expected a list"),
        (lambda: LoRA(2, ["c_attn"]), ["attn"], "both saved and targeted"),
        (lambda: LoRA(2, ["c_attn.q"]), ["c_attn"], "c_attn is both saved and"),
        (Full, ["ln_f"], "full trains ln_f anyway"),
        (lambda: LoKr(2, ["c_attn"], factor=0), [], "factor is 0"),
        (lambda: LoKr(2, ["c_attn"], decompose_both=1), [], "decompose_both is 1, expected True"),
        (lambda: IA3(["c_attn"], ["c_proj"]), [], "expected names among the targets"),
        (lambda: Adapter(2, "huolsby"), [], "kind is 'huolsby', expected one of"),
        (lambda: PrefixEmbed(0), [], "both 0"),
        (lambda: TopLayers(3), [], "blocks is 3, expected at most 2, those of h"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_a_sentence(method, saved, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        count_parameters(block(), method(), modules_to_save=saved)


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (lambda: count_parameters(SMALL, TopLayers(1)), "no repeated blocks"),
        (lambda: checkpoint_bytes(COUNTED, "float31"), "dtype is 'float31', expected"),
        (lambda: training_memory(COUNTED, optimizer="lion"), "optimizer is 'lion'"),
    ],
)
def test_other_wrong_arguments_are_refused_in_a_sentence(run, sentence):
    with pytest.raises(LoraRefError, match=sentence):
        run()
