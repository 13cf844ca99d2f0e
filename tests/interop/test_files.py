"""A model's own files say how many numbers it has, and what PEFT would adapt in it."""

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from lora_ref.checkpoint.shapes import read_shapes  # noqa: E402
from lora_ref.counting import LoRA, count_parameters  # noqa: E402
from lora_ref.counting.from_shapes import model_from_shapes  # noqa: E402
from lora_ref.counting.targets import default_targets  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")  # theirs, of one library about another

HEADS = {"num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 500}
LLAMA = {**HEADS, "hidden_size": 64, "num_key_value_heads": 2, "intermediate_size": 96}

SMALL = {
    "gpt2": lambda t: t.GPT2LMHeadModel(
        t.GPT2Config(n_embd=48, n_layer=3, n_head=4, vocab_size=500, n_positions=64)
    ),
    "llama": lambda t: t.LlamaForCausalLM(t.LlamaConfig(**LLAMA)),
    "llama, tied": lambda t: t.LlamaForCausalLM(t.LlamaConfig(**LLAMA, tie_word_embeddings=True)),
    "qwen3": lambda t: t.Qwen3ForCausalLM(t.Qwen3Config(**LLAMA, head_dim=16)),
    "t5": lambda t: t.T5ForConditionalGeneration(
        t.T5Config(d_model=64, d_ff=96, num_layers=2, num_heads=4, d_kv=16, vocab_size=500)
    ),
    "bert": lambda t: t.BertModel(t.BertConfig(**HEADS, hidden_size=48, intermediate_size=96)),
    "vit": lambda t: t.ViTModel(
        t.ViTConfig(
            num_hidden_layers=2, num_attention_heads=4, hidden_size=48, intermediate_size=96
        )
    ),
    "mixtral": lambda t: t.MixtralForCausalLM(t.MixtralConfig(**LLAMA, num_local_experts=4)),
}


@pytest.fixture(params=SMALL, scope="module")
def saved(request, tmp_path_factory):
    """A small model with random weights, and what its files say of it."""
    model, folder = SMALL[request.param](transformers), tmp_path_factory.mktemp("model")
    model.save_pretrained(folder, max_shard_size="100KB")
    entries, config = read_shapes(folder)
    shapes = {name: entry.shape for name, entry in entries.items()}
    return request.param, model, model_from_shapes(request.param, shapes, config)


def test_the_files_have_all_parameters(saved):
    _, model, read = saved
    assert read.total == sum(p.numel() for p in model.parameters())


def test_peft_adapts_as_many_numbers_as_are_counted(saved):
    name, model, read = saved
    choices = [] if name in ("vit", "mixtral") else [list(default_targets(read)), "all-linear"]
    if name == "mixtral":  # its experts are one array in memory and single ones in its files
        choices = [["q_proj", "v_proj"]]
    for targets in choices or [["query", "value"]]:
        if name == "vit":  # renamed in memory by transformers 5, and back again in its files
            targets = {"theirs": ["q_proj", "v_proj"], "ours": targets}
        theirs, ours = (
            targets[k] if isinstance(targets, dict) else targets for k in ("theirs", "ours")
        )
        adapted = peft.get_peft_model(model, peft.LoraConfig(r=4, target_modules=theirs))
        made = sum(p.numel() for p in adapted.parameters() if p.requires_grad)
        assert count_parameters(read, LoRA(4, ours)).trainable == made
        model = adapted.unload()
