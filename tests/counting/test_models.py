"""Published models as data: totals, formulas, names."""

from collections.abc import Callable
from hashlib import sha256

import pytest
from cases import each
from hypothesis import given
from hypothesis import strategies as st

from lora_ref.counting import Model, Module
from lora_ref.counting.models import (
    MODELS,
    bert,
    deberta,
    distilbert,
    get_model,
    gpt2,
    llama,
    mlp,
    opt,
    phi,
    t5,
    vit,
    whisper,
)
from lora_ref.counting.targets import Targets
from lora_ref.errors import LoraRefError

# what a source prints stands in `Model.published`
TOTALS = {
    "bert-base": 109_482_240,
    "distilbert-base": 66_362_880,
    "roberta-base": 124_645_632,
    "roberta-large": 355_359_744,
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
    "gpt3-175b": 174_604_259_328,
    "opt-350m": 331_196_416,
    "opt-6.7b": 6_658_473_984,
    "llama-7b": 6_738_415_616,
    "llama-13b": 13_015_864_320,
    "llama-33b": 32_528_943_616,
    "llama-65b": 65_285_660_672,
    "llama-2-7b": 6_738_415_616,
    "llama-3-8b": 8_030_261_248,
    "llama-3.2-1b": 1_235_814_400,
    "mistral-7b": 7_241_732_096,
    "qwen2.5-3b": 3_085_938_688,
    "gemma-2-2b": 2_614_341_888,
    "phi-2": 2_779_683_840,
    "t5-base": 222_903_552,
    "flan-t5-large": 783_150_080,
    "whisper-large-v2": 1_543_304_960,
    "vit-base": 85_798_656,
    "deberta-v2-xxlarge": 1_564_549_632,
    "peft-mlp": 20 * 2000 + 2000 + 2000 * 2000 + 2000 + 2 * 2000 + 2,
}

# of the tensors that transformers 5.23 builds on torch's meta device from each configuration, as
# `tensors` writes them; with four allowances: its alias names of T5's shared table are left out,
# flan-t5-large has the head of its own that this version ties, ViT's blocks have the names of the
# checkpoint, GPT-2's Conv1D is turned to (out_features, in_features)
DIGESTS = {
    "bert-base": "1f43b04b5057",
    "distilbert-base": "9a13b7959e19",
    "roberta-base": "efe3bf2f7275",
    "roberta-large": "151a4c03f35d",
    "deberta-v2-xxlarge": "08bdedc5738a",
    "gpt2": "5197a1674f47",
    "gpt2-medium": "b997b81518b4",
    "gpt2-large": "5af9d43c4b59",
    "gpt2-xl": "c716408a7f1f",
    "gpt3-175b": "72a09bfe8a0a",
    "opt-350m": "8fc9b2164859",
    "opt-6.7b": "4da0f3195cda",
    "llama-7b": "489ccae0c7ed",
    "llama-13b": "e8379432892c",
    "llama-33b": "73e711f705fc",
    "llama-65b": "53e070ce7b73",
    "llama-2-7b": "489ccae0c7ed",
    "llama-3-8b": "20ef29d2f122",
    "llama-3.2-1b": "736e051a8e3f",
    "mistral-7b": "ca4e6858336a",
    "qwen2.5-3b": "6b6c693593fd",
    "gemma-2-2b": "73739fd016cd",
    "phi-2": "2105d44e6526",
    "t5-base": "bf62bd250863",
    "flan-t5-large": "8e89b122f33f",
    "whisper-large-v2": "0577d4b3a5cb",
    "vit-base": "eab7f62e9f20",
}


def tensors(model: Model) -> list[str]:
    """Return a line for each tensor: its name, and its shape or the weight that it is tied to."""
    lines = []
    for module in model.modules:
        shape = "x".join(map(str, module.shape))
        weight = f"= {module.tied_to}.weight" if module.tied_to else shape
        for number in range(module.copies):
            name = module.name.replace("*", str(number))
            bare = module.kind == "parameter"
            lines.append(f"{name} {shape}" if bare else f"{name}.weight {weight}")
            if module.bias:
                lines.append(f"{name}.bias {module.bias}")
    return lines


@pytest.mark.parametrize("name", DIGESTS)
def test_every_tensor_has_the_name_and_shape_that_the_library_gives_it(name: str) -> None:
    lines = "\n".join(sorted(tensors(get_model(name))))
    assert sha256(lines.encode()).hexdigest()[:12] == DIGESTS[name]


def test_every_model_is_listed_here() -> None:
    assert set(MODELS) == set(TOTALS)
    assert all(name == model.name for name, model in MODELS.items())


@pytest.mark.parametrize("name", TOTALS)
def test_the_total_is_the_known_one(name: str) -> None:
    model = MODELS[name]
    assert model.total == TOTALS[name]
    assert model.published in (None, TOTALS[name])
    assert model.source


sizes = st.integers(1, 50)


@given(sizes, sizes, sizes, sizes)
def test_a_gpt2_has_the_parameters_of_its_formula(d: int, L: int, ctx: int, V: int) -> None:
    formula = V * d + ctx * d + L * (12 * d * d + 13 * d) + 2 * d
    assert gpt2(d, L, positions=ctx, vocabulary=V).total == formula


@given(sizes, sizes, sizes, sizes, sizes, st.booleans())
def test_an_opt_has_the_parameters_of_its_formula(
    d: int, L: int, ctx: int, V: int, narrow: int, norm_last: bool
) -> None:
    model = opt(d, L, embedding_width=narrow, norm_last=norm_last, positions=ctx, vocabulary=V)
    bridges = 0 if narrow == d else 2 * narrow * d
    tables = V * narrow + (ctx + 2) * d
    assert model.total == tables + bridges + L * (12 * d * d + 13 * d) + 2 * d * norm_last


@given(sizes, sizes, sizes, sizes, st.integers(1, 6), st.integers(1, 4), st.booleans())
def test_a_llama_has_the_parameters_of_its_formula(
    head: int, L: int, ff: int, V: int, kv: int, groups: int, tied: bool
) -> None:
    heads = kv * groups
    d = heads * head
    block = 2 * d * d + 2 * d * kv * head + 3 * d * ff + 2 * d
    model = llama(d, L, heads, ff, V, kv_heads=kv, tied=tied)
    assert model.total == L * block + d + V * d * (1 if tied else 2)


@given(sizes, sizes, sizes, sizes)
def test_a_phi_has_the_parameters_of_its_formula(d: int, L: int, ff: int, V: int) -> None:
    block = 4 * (d * d + d) + 2 * d * ff + ff + d + 2 * d
    assert phi(d, L, ff, V).total == 2 * V * d + V + L * block + 2 * d


@given(sizes, sizes, sizes)
def test_a_bert_has_the_parameters_of_its_formula(d: int, L: int, V: int) -> None:
    blocks = L * (12 * d * d + 13 * d)
    assert bert(d, L, V).total == (V + 512 + 2) * d + 2 * d + blocks + d * d + d
    assert distilbert(d, L, V).total == (V + 512) * d + 2 * d + blocks
    relative = 512 * d + 2 * d
    convolution = 3 * d * d + d + 2 * d
    assert deberta(d, L, V).total == V * d + 2 * d + blocks + relative + convolution


@given(sizes, sizes, sizes, sizes, sizes)
def test_a_t5_has_the_parameters_of_its_formula(
    d: int, L: int, heads: int, ff: int, V: int
) -> None:
    attention = 4 * d * 64 * heads
    blocks = L * (3 * attention + 2 * 2 * d * ff + 5 * d)
    tables = 2 * (32 * heads + d)
    assert t5(d, L, heads, ff, V).total == V * d + blocks + tables
    gates = 2 * L * d * ff
    own = t5(d, L, heads, ff, V, gated=True, tied=False).total
    assert own == 2 * V * d + blocks + tables + gates


@given(sizes, sizes, st.integers(1, 4), st.integers(1, 5))
def test_a_vit_has_the_parameters_of_its_formula(d: int, L: int, patch: int, side: int) -> None:
    tokens = (1 + side * side) * d
    formula = d + tokens + 3 * patch * patch * d + d + L * (12 * d * d + 13 * d) + 2 * d
    assert vit(d, L, patch=patch, image=patch * side).total == formula


@given(sizes, sizes, sizes, sizes, sizes, sizes)
def test_a_whisper_has_the_parameters_of_its_formula(
    d: int, L: int, mels: int, frames: int, ctx: int, V: int
) -> None:
    model = whisper(d, L, mels=mels, frames=frames, positions=ctx, vocabulary=V)
    attention = 4 * d * d + 3 * d + 2 * d  # keys have no bias
    blocks = L * (3 * attention + 2 * (8 * d * d + 5 * d + 2 * d))
    front = 3 * mels * d + d + 3 * d * d + d
    assert model.total == front + (frames + V + ctx) * d + blocks + 2 * 2 * d


BUILDERS: list[tuple[Callable[..., Model], dict[str, int]]] = [
    (gpt2, {"width": 8, "blocks": 2, "positions": 5, "vocabulary": 11}),
    (opt, {"width": 8, "blocks": 2, "embedding_width": 4, "positions": 5, "vocabulary": 11}),
    (llama, {"width": 8, "blocks": 2, "heads": 2, "feed_forward": 6, "vocabulary": 11,
               "kv_heads": 1, "head_width": 3}),
    (phi, {"width": 8, "blocks": 2, "feed_forward": 6, "vocabulary": 11}),
    (bert, {"width": 8, "blocks": 2, "vocabulary": 11, "positions": 5, "token_types": 2}),
    (deberta, {"width": 8, "blocks": 2, "vocabulary": 11, "buckets": 4, "kernel": 3}),
    (distilbert, {"width": 8, "blocks": 2, "vocabulary": 11, "positions": 5}),
    (t5, {"width": 8, "blocks": 2, "heads": 2, "feed_forward": 6, "vocabulary": 11,
          "head_width": 3, "buckets": 4}),
    (vit, {"width": 8, "blocks": 2, "image": 5, "patch": 1, "channels": 3}),
    (whisper, {"width": 8, "blocks": 2, "mels": 7, "frames": 9, "positions": 5,
               "vocabulary": 11}),
]  # fmt: skip


@each(
    ("builder", "given_sizes", "name"),
    [(builder, given_sizes, name) for builder, given_sizes in BUILDERS for name in given_sizes],
)
def test_every_size_of_a_family_counts(
    builder: Callable[..., Model], given_sizes: dict[str, int], name: str
) -> None:
    larger = {**given_sizes, name: given_sizes[name] + 1}
    assert builder(**larger).total != builder(**given_sizes).total


def test_a_plain_network_names_the_places_between_its_activations() -> None:
    assert [m.name for m in mlp(2, 3, 5, 7).modules] == ["seq.0", "seq.2", "seq.4"]
    assert mlp(2, 3, 5, 7).total == 2 * 3 + 3 + 3 * 5 + 5 + 5 * 7 + 7


def test_grouped_queries_share_keys_and_values() -> None:
    q, k = Targets(["q_proj", "k_proj"]).of(get_model("llama-3-8b"))
    assert (q.out_features, k.out_features) == (4096, 1024)


@pytest.mark.parametrize(
    ("name", "printed", "adapter"),
    [
        ("qwen2.5-3b", 3_089_625_088, 3_686_400),
        ("llama-3.2-1b", 1_236_338_688, 524_288),
        ("llama-2-7b", 6_742_609_920, 4_194_304),
        ("opt-350m", 332_769_280, 1_572_864),
        ("opt-6.7b", 6_666_862_592, 8_388_608),
        ("flan-t5-large", 787_868_672, 4_718_592),
        ("whisper-large-v2", 1_559_033_600, 15_728_640),
    ],
)
def test_what_libraries_print_is_the_model_and_its_adapter(
    name: str, printed: int, adapter: int
) -> None:
    assert get_model(name).published == printed - adapter


def test_a_head_and_a_missing_pooler_change_the_total() -> None:
    gpt2_small = get_model("gpt2").plus([Module("score", "linear", (2, 768), bias=2)])
    assert gpt2_small.total == 124_441_346
    assert gpt2_small.published is None
    roberta = get_model("roberta-large")
    assert roberta.without("pooler.dense").total == roberta.total - 1024 * 1024 - 1024
    with pytest.raises(LoraRefError, match=r"no module 'puler'; the nearest: .*"):
        roberta.without("puler")
    with pytest.raises(LoraRefError, match="lm_head is tied to 'wte'"):
        get_model("gpt2").without("wte")


def test_fused_queries_keys_and_values_fill_their_matrix() -> None:
    (fused,) = Targets(["c_attn"]).of(get_model("gpt2"))
    assert sum(rows for _, rows in fused.splits) == fused.out_features == 2304
    q, v = Targets(["c_attn.q", "c_attn.v"]).of(get_model("gpt2"))
    assert (q.shape, q.bias, q.copies) == ((768, 768), 768, 12)
    assert v.name == "h.*.attn.c_attn.v"


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(LoraRefError, match="no model 'gpt-2'; the nearest: gpt2"):
        get_model("gpt-2")
