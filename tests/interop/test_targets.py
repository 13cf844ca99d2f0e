"""What is counted is what PEFT makes, on models of transformers that have no weights."""

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from lora_ref.counting import MODELS, DoRA, LoRA, Model, Module, Targets, count_parameters  # noqa: E402
from lora_ref.counting.targets import DEFAULT_TARGETS, default_targets  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, of one library about another

LLAMA = {"vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16}
LLAMA |= {"num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 8192}
LLAMA |= {"tie_word_embeddings": True, "head_dim": 64}

REAL = {
    "gpt2": lambda t: t.GPT2LMHeadModel(t.GPT2Config()),
    "llama-3.2-1b": lambda t: t.LlamaForCausalLM(t.LlamaConfig(**LLAMA)),
    "t5-base": lambda t: t.T5ForConditionalGeneration(
        t.T5Config(d_model=768, d_ff=3072, num_layers=12, num_heads=12)
    ),
    "opt-350m": lambda t: t.OPTForCausalLM(
        t.OPTConfig(
            hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, ffn_dim=4096,
            word_embed_proj_dim=512, do_layer_norm_before=False,
        )
    ),
    "phi-2": lambda t: t.PhiForCausalLM(
        t.PhiConfig(
            hidden_size=2560, num_hidden_layers=32, num_attention_heads=32, vocab_size=51200,
            intermediate_size=10240,
        )
    ),
    "roberta-base": lambda t: t.RobertaModel(
        t.RobertaConfig(vocab_size=50265, max_position_embeddings=514, type_vocab_size=1)
    ),
}  # fmt: skip

CHOICES = {
    "all-linear": ({"target_modules": "all-linear"}, {"targets": "all-linear"}),
    "first and third block": (
        {"layers_to_transform": [0, 2]},
        lambda names: {"targets": Targets(names, layers=[0, 2])},
    ),
    "without the last": (
        {"exclude_modules": r".*\.5\..*"},
        lambda names: {"targets": Targets(names, exclude=r".*\.5\..*")},
    ),
    "other ranks": (
        {"rank_pattern": {r"1\d\..*": 3, r".*\.4\..*": 5}},
        lambda names: {"targets": names, "rank_pattern": {r"1\d\..*": 3, r".*\.4\..*": 5}},
    ),
    "biases of the targets": (
        {"bias": "lora_only"},
        lambda names: {"targets": names, "bias": "lora_only"},
    ),
    "all biases": ({"bias": "all"}, lambda names: {"targets": names, "bias": "all"}),
    "DoRA": ({"use_dora": True}, lambda names: {"targets": names}),
}


def real(name):
    with torch.device("meta"):
        return REAL[name](transformers)


def counted_by_peft(model, **options):
    adapted = peft.get_peft_model(model, peft.LoraConfig(r=8, **options))
    return sum(p.numel() for p in adapted.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", REAL)
def test_the_model_has_as_many_parameters_here(name):
    assert sum(p.numel() for p in real(name).parameters()) >= MODELS[name].total
    if name != "roberta-base":  # a pooler, which is no part of the pretraining here
        assert sum(p.numel() for p in real(name).parameters()) == MODELS[name].total


@pytest.mark.parametrize("name", REAL)
def test_without_targets_peft_adapts_what_is_listed(name):
    names = default_targets(MODELS[name])
    assert counted_by_peft(real(name)) == count_parameters(MODELS[name], LoRA(8, names)).trainable


@pytest.mark.parametrize("family", DEFAULT_TARGETS)
def test_the_list_is_that_of_peft(family):
    theirs = peft.utils.TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
    of = {"deberta": "deberta-v2"}.get(family, family)
    assert tuple(theirs[of]) == DEFAULT_TARGETS[family]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize("name", REAL)
def test_a_choice_gives_the_count_of_peft(name, choice):
    theirs, ours = CHOICES[choice]
    names = list(default_targets(MODELS[name]))
    options = ours(names) if callable(ours) else ours
    method = (DoRA if choice == "DoRA" else LoRA)(8, **options)
    counted = count_parameters(MODELS[name], method).trainable
    assert counted_by_peft(real(name), **{"target_modules": names, **theirs}) == counted


def test_a_vision_transformer_by_its_new_names():
    with torch.device("meta"):
        vit = transformers.ViTModel(transformers.ViTConfig(), add_pooling_layer=False)
    names = ["q_proj", "fc1"]
    counted = count_parameters(MODELS["vit-base"], LoRA(8, names)).trainable
    assert counted_by_peft(vit, target_modules=names) == counted


def test_a_convolution_in_groups():
    conv = torch.nn.Sequential(torch.nn.Conv2d(8, 12, 3, groups=4))
    module = Module("net.conv", "convolution", (12, 2, 3, 3), bias=12, groups=4)
    model = Model("conv", "", "", (module,), 12, 1)
    assert counted_by_peft(conv, target_modules=["0"]) == (
        count_parameters(model, LoRA(8, ["conv"])).trainable
    )


def test_experts_in_one_array():
    config = transformers.MixtralConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_local_experts=4,
        num_attention_heads=4, num_key_value_heads=2, vocab_size=500,
    )  # fmt: skip
    with torch.device("meta"):
        moe = transformers.MixtralForCausalLM(config)
    shape = dict(moe.named_parameters())["model.layers.0.mlp.experts.gate_up_proj"].shape
    experts = Module("layers.*.mlp.experts.gate_up_proj", "parameter", tuple(shape), copies=2)
    model = Model("moe", "", "", (experts,), 64, 2)
    names = ["mlp.experts.gate_up_proj"]
    made = counted_by_peft(moe, target_modules=[], target_parameters=names)
    assert made == count_parameters(model, LoRA(8, [], parameters=names)).trainable


@pytest.mark.parametrize("tokens", [1, 7])
def test_tokens_that_train(tokens):
    names = ["q_proj", "v_proj"]
    made = counted_by_peft(
        real("llama-3.2-1b"), target_modules=names, trainable_token_indices=list(range(tokens))
    )
    lora = LoRA(8, names, tokens=tokens)
    assert made == count_parameters(MODELS["llama-3.2-1b"], lora).trainable
