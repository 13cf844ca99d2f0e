"""Which modules are adapted: names, numbers, expressions, all linear maps, some blocks."""

import pytest

from lora_ref.counting import LoHa, LoRA, Model, Module, Targets, VeRA, count_parameters
from lora_ref.counting.models import get_model
from lora_ref.errors import LoraRefError

EXPERTS = Model(
    "moe",
    "",
    "",
    (
        Module("embed", "embedding", (50, 4)),
        Module("layers.*.attn.q", "linear", (4, 4), bias=4, copies=3),
        Module("layers.*.experts.*.up", "linear", (6, 4), copies=3 * 5),
        Module("layers.*.mlp.gate_up", "parameter", (5, 4, 12), copies=3),
        Module("norm", "norm", (4,), bias=4),
        Module("head", "linear", (50, 4), tied_to="embed"),
    ),
    width=4,
    blocks=3,
)


def of(targets: Targets, model: Model = EXPERTS) -> dict[str, int]:
    return {module.name: module.copies for module in targets.of(model)}


def test_stars_become_the_numbers_of_blocks_and_of_what_is_in_them() -> None:
    embed, q, up, *_ = EXPERTS.modules
    assert EXPERTS.paths(embed) == ("embed",)
    assert EXPERTS.paths(q) == tuple(f"layers.{i}.attn.q" for i in range(3))
    wanted = tuple(f"layers.{i}.experts.{k}.up" for i in range(3) for k in range(5))
    assert EXPERTS.paths(up) == wanted


def test_copies_that_fill_no_whole_number_of_blocks_are_refused() -> None:
    modules = [m.times(16) if "experts" in m.name else m for m in EXPERTS.modules]
    with pytest.raises(LoraRefError, match=r"has 16 copies, expected a multiple of 3"):
        of(Targets(["up"]), Model("moe", "", "", tuple(modules), 4, 3))


@pytest.mark.parametrize(
    ("targets", "found"),
    [
        (Targets(["q"]), {"layers.*.attn.q": 3}),
        (Targets(["layers.2.attn.q"]), {"layers.*.attn.q": 1}),
        (Targets(["1.experts.4.up"]), {"layers.*.experts.*.up": 1}),
        (Targets(["up"], layers=[0, 2]), {"layers.*.experts.*.up": 10}),
        (Targets(r"layers\.\d\.experts\.[0-2]\.up"), {"layers.*.experts.*.up": 9}),
        (Targets("all-linear"), {"layers.*.attn.q": 3, "layers.*.experts.*.up": 15}),
        (Targets("all-linear", exclude=["up"]), {"layers.*.attn.q": 3}),
        (Targets(["q", "up"], exclude=r".*\.0\..*"), {
            "layers.*.attn.q": 2, "layers.*.experts.*.up": 8,
        }),
        (Targets(["embed", "head"]), {"embed": 1, "head": 1}),
    ],
)  # fmt: skip
def test_what_is_meant_is_found_with_its_copies(targets: Targets, found: dict[str, int]) -> None:
    assert of(targets) == found


@pytest.mark.parametrize(
    ("targets", "sentence"),
    [
        (Targets(["q", "w"]), "moe has no module 'w'"),
        (Targets(["layers.3.attn.q"]), r"moe has no module 'layers\.3\.attn\.q'"),
        (Targets(["q"], layers=[3]), "moe has no layer 3, expected 0 to 2"),
        (Targets("q"), "a string is a regular expression for whole paths"),
        (Targets("all-linear", exclude=".*"), r"no module for the targets all-linear without \.\*"),
        (Targets([]), "at least one"),
    ],
)
def test_what_means_nothing_is_a_sentence(targets: Targets, sentence: str) -> None:
    with pytest.raises(LoraRefError, match=sentence):
        of(targets)


def test_layers_do_not_go_with_an_expression() -> None:
    for targets, instead in (
        ("all-linear", "name the modules, such as q_proj, for PEFT refuses the two together"),
        (".*", "an expression has the numbers of the blocks in it"),
    ):
        with pytest.raises(LoraRefError) as said:
            Targets(targets, layers=[1])
        assert str(said.value) == (
            f"layers go with names, and the targets are {targets!r}: {instead}"
        )


def test_the_first_pattern_that_fits_decides_the_rank() -> None:
    lora = LoRA(2, ["q", "up"], rank_pattern={r"0\.attn\.q": 7, "q": 5, r"experts\.4\.up": 1})
    ranks_of_q, ranks_of_up = 7 + 5 + 5, 3 * (4 * 2 + 1)
    assert count_parameters(EXPERTS, lora).trainable == ranks_of_q * 8 + ranks_of_up * 10


def test_biases_of_the_targets_or_all_train_and_a_saved_one_counts_once() -> None:
    def trained(bias: str, saved: tuple[str, ...] = ()) -> int:
        lora = LoRA(2, ["q"], bias=bias)  # type: ignore[arg-type]
        return count_parameters(EXPERTS, lora, modules_to_save=saved).trainable - 3 * 2 * 8

    assert trained("none") == 0
    assert trained("lora_only") == 3 * 4
    assert trained("all") == 3 * 4 + 4
    assert trained("all", ("norm",)) == 3 * 4 + 8
    some = LoRA(2, Targets(["q"], layers=[1]), bias="lora_only")
    assert count_parameters(EXPERTS, some).trainable == 2 * 8 + 4


def test_experts_in_one_array_have_a_rank_each() -> None:
    alone = LoRA(2, [], parameters=["mlp.gate_up"])
    assert count_parameters(EXPERTS, alone).trainable == 3 * 5 * 2 * (4 + 12)
    both = LoRA(2, ["q"], parameters=["gate_up"], rank_pattern={r"1\.mlp\.gate_up": 3})
    assert count_parameters(EXPERTS, both).trainable == 3 * 2 * 8 + 5 * (2 + 3 + 2) * (4 + 12)
    with pytest.raises(LoraRefError, match="has no bare parameter 'up'; there are"):
        count_parameters(EXPERTS, LoRA(2, [], parameters=["up"]))


def test_tokens_get_rows_of_their_own() -> None:
    counted = count_parameters(EXPERTS, LoRA(2, ["q"], tokens=6))
    assert counted.trainable == 3 * 2 * 8 + 6 * 4
    assert counted.total == EXPERTS.total + counted.trainable


def test_a_kind_that_a_method_does_not_wrap_is_named() -> None:
    with pytest.raises(LoraRefError, match="embed is of kind embedding, and vera wraps linear"):
        count_parameters(EXPERTS, VeRA(2, ["embed"]))


def test_a_vision_transformer_has_the_names_of_old_and_new_versions() -> None:
    vit = get_model("vit-base")
    for old, new in ((["query", "value"], ["q_proj", "v_proj"]), (["intermediate.dense"], ["fc1"])):
        assert Targets(old).of(vit) == Targets(new).of(vit)
    assert Targets(["layers.3.attention.q_proj"]).of(vit)[0].copies == 1
    assert len(Targets(["query", "q_proj"]).of(vit)) == 1
    assert (
        Targets("all-linear", exclude=["o_proj"]).found(vit)[-1].paths[-1].endswith("output.dense")
    )
    lora = LoRA(8, ["q_proj"], rank_pattern={"q_proj": 2})
    assert count_parameters(vit, lora).trainable == 12 * 2 * 2 * 768
    with pytest.raises(LoraRefError, match="its other name is 'q', expected one with as many"):
        Module("h.*.query", "linear", (2, 2), copies=3, also="q")


def test_a_convolution_in_groups_has_a_B_in_groups() -> None:
    conv = Module("conv", "convolution", (12, 2, 3, 3), bias=12, groups=4)
    model = Model("conv", "", "", (conv,), width=12, blocks=1)
    assert count_parameters(model, LoRA(8, ["conv"])).trainable == 8 * 4 * 18 + 12 * 8 // 4
    with pytest.raises(LoraRefError, match="r is 6, expected a multiple of 4, the groups of conv"):
        count_parameters(model, LoRA(6, ["conv"]))
    with pytest.raises(LoraRefError, match="in 4 groups, which loha does not wrap"):
        count_parameters(model, LoHa(8, ["conv"]))
    with pytest.raises(LoraRefError, match="has groups 5, expected a convolution whose rows"):
        Module("conv", "convolution", (12, 2, 3, 3), groups=5)


def test_the_head_of_a_language_model_is_not_among_all_linear_maps() -> None:
    for name in ("llama-7b", "gpt2", "t5-base", "opt-6.7b", "phi-2"):
        model = get_model(name)
        assert len(model.output_heads) == 1
        assert model.output_heads[0] not in Targets("all-linear").of(model)
