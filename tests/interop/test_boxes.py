"""The boxes "The same in PEFT" of the notebooks run, and agree with what this package computes."""

import re
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from numpy.testing import assert_allclose
from peft import LoraConfig, get_peft_model

from lora_ref.counting import MODELS, LoRA, count_parameters
from lora_ref.layers import LoRALinear
from lora_ref.layers.initializers import kaiming_uniform
from lora_ref.lowrank import numerical_rank, truncate

SOURCES = Path(__file__).parents[2] / "notebooks" / "src"

AUTOMATIC = transformers.AutoModelForCausalLM

NOT_RUN = {"11": "the first block: bitsandbytes wants a graphics card"}

pytestmark = pytest.mark.filterwarnings("ignore")


def box_of(number, block=0):
    """Return the code of the box of a notebook, or another block of it."""
    (path,) = SOURCES.glob(f"{number}-*.py")
    section = path.read_text(encoding="utf-8").split("The same in PEFT", 1)[1]
    code = re.findall(r"# ```python\n(.*?)# ```", section, re.DOTALL)[block]
    return textwrap.dedent(re.sub(r"^# ?", "", code, flags=re.MULTILINE))


def llama(seed=0):
    """Return a language model with q_proj, v_proj and the rest, its weights drawn."""
    torch.manual_seed(seed)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "vocab_size": 50}
    config = transformers.LlamaConfig(**sizes, **heads, eos_token_id=None, pad_token_id=0)
    return transformers.LlamaForCausalLM(config).eval()


def moved(model, seed=1):
    """Return a model whose adapter is away from B = 0."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(autouse=True)
def nothing_is_downloaded(monkeypatch):
    """Give a small model of drawn weights for any that a box asks for by name."""
    monkeypatch.setattr(AUTOMATIC, "from_pretrained", lambda name: llama())


def run(number, code=None, **names):
    """Execute the box, or a changed one, and return what it defines."""
    tokens = torch.tensor([[1, 2, 3, 4]])
    names = {"tokens": tokens, **names}
    for name in ("base_model", "hf_model", "model", "base"):
        names.setdefault(name, llama())
    exec(compile(code or box_of(number), f"the box of {number}", "exec"), names)
    return names


def updates_of(model):
    """Return the update of each adapted layer, by name."""
    from peft.tuners.lora import LoraLayer

    return {
        name: module.get_delta_weight("default").detach().numpy()
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    }


def test_there_is_a_box_in_every_notebook_and_a_test_of_each():
    numbers = [path.name[:2] for path in sorted(SOURCES.glob("*.py"))]
    tested = set(re.findall(r"def test_(\d\d)_", Path(__file__).read_text(encoding="utf-8")))
    assert all(box_of(number) for number in numbers)
    assert tested | set(NOT_RUN) == set(numbers)


def test_01_off_is_the_base_and_a_merge_changes_nothing(capsys):
    made = run("01")
    logits = llama()(made["tokens"]).logits
    assert_allclose(made["plain"](made["tokens"]).logits.detach(), logits.detach(), atol=1e-6)
    trained = int(
        re.search(r"trainable params: ([\d,]+)", capsys.readouterr().out)[1].replace(",", "")
    )
    assert trained == 2 * 2 * 8 * (16 + 16)  # two blocks, q and v


def test_02_prints_the_ranks_that_are_found_here(capsys):
    model = moved(get_peft_model(llama(), LoraConfig(r=3, target_modules=["q_proj"])))
    run("02", model=model)
    printed = [int(rank) for rank in re.findall(r" (\d+) tensor", capsys.readouterr().out)]
    here = [numerical_rank(update) for update in updates_of(model).values()]
    assert printed == here == [3, 3]


def test_03_merges_to_the_same_weight():
    rng = np.random.default_rng(0)
    W0, A, B = (rng.standard_normal(s) for s in ((4, 4), (2, 4), (4, 2)))
    merged = run("03", W0=W0, A=A, B=B)["merged"]
    ours = LoRALinear(W0, A, B, alpha=2.0).merge().W
    assert_allclose(merged[0].weight.detach(), ours, rtol=1e-5)


def test_04_prints_a_zero_gradient_of_every_A_and_none_of_what_is_frozen(capsys):
    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = llama()

        def forward(self, x):
            return self.inner(x).logits

    x = torch.tensor([[1, 2, 3]])
    run("04", model=Logits(), x=x, g=torch.randn(1, 3, 50))
    printed = dict(line.rsplit(" ", 1) for line in capsys.readouterr().out.splitlines())
    for name, value in printed.items():
        if "lora_A" in name:
            assert float(value) == 0
        elif "lora_B" in name:
            assert float(value) > 0
        else:
            assert value == "None"


def test_05_draws_A_as_is_said():
    made = run("05")
    wide = torch.nn.Sequential(torch.nn.Linear(400, 400))
    bound = 1 / 400**0.5
    for config, std in ((made["config"], bound / 3**0.5), (made["gaussian"], 1 / 4)):
        config.target_modules = {"0"}
        A = get_peft_model(wide, config).base_model.model[0].lora_A["default"].weight
        assert A.std().item() == pytest.approx(std, rel=0.1)
        wide = torch.nn.Sequential(torch.nn.Linear(400, 400))
    _, A, B = kaiming_uniform(np.zeros((400, 400)), 4, 1.0, np.random.default_rng(0))
    assert A.std() == pytest.approx(bound / 3**0.5, rel=0.1)
    assert not B.any()


def test_06_divides_by_the_root_and_gives_B_a_larger_rate():
    made = run("06")
    layer = next(m for n, m in made["model"].named_modules() if n.endswith("0.self_attn.q_proj"))
    assert layer.scaling["default"] == 16 / 16**0.5
    rates = {group["lr"] for group in made["optimizer"].param_groups if group["params"]}
    assert sorted(rates) == pytest.approx([1e-4, 16e-4])


def test_07_cuts_each_update_to_the_nearest_of_the_rank():
    code = box_of("07").replace("...  # train both", "moved(trained, 1), moved(large, 2)")
    names = run("07", code, moved=moved)
    for name, update in updates_of(names["large"]).items():
        key = name.removeprefix("base_model.model.")
        (A,) = (a for n, a in names["weights"].items() if f"{key}.lora_A" in n)
        (B,) = (b for n, b in names["weights"].items() if f"{key}.lora_B" in n)
        scaling = names["config"].lora_alpha / names["config"].r
        found = scaling * B.detach().numpy() @ A.detach().numpy()
        assert_allclose(found, truncate(update, 8), atol=1e-4)


def test_08_names_what_it_says(capsys):
    made = run("08")
    assert {name.rpartition(".")[2] for name in made["model"].targeted_module_names} == {
        "q_proj",
        "v_proj",
    }
    everywhere = get_peft_model(llama(), made["everywhere"]).targeted_module_names
    assert not any("lm_head" in name for name in everywhere)
    assert len(everywhere) == 2 * 7
    alone = get_peft_model(llama(), made["mlp_alone"]).targeted_module_names
    assert len(alone) == 2 * 3


def test_09_adapts_with_DoRA_and_trains_biases_where_asked():
    made = run("09")
    assert any("lora_magnitude_vector" in name for name, _ in made["model"].named_parameters())
    linear = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))
    for config, expected in ((made["dora"], False), (made["with_biases"], True)):
        config.target_modules = {"0"}
        model = get_peft_model(linear, config)
        trained = [n for n, p in model.named_parameters() if p.requires_grad and "bias" in n]
        assert bool(trained) is expected
        linear = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 4))


def test_10_switches_stacks_and_serves_a_mixed_batch(tmp_path, monkeypatch):
    options = {"r": 2, "target_modules": ["q_proj"]}
    both = {}
    for seed, name in enumerate(("verse", "play")):
        model = moved(get_peft_model(llama(), LoraConfig(**options)), seed)
        both[name] = updates_of(model)
        model.save_pretrained(tmp_path / "voices" / name)
    monkeypatch.chdir(tmp_path)
    inputs = {"input_ids": torch.tensor([[1, 2, 3]] * 3), "max_new_tokens": 2}
    inputs["attention_mask"] = torch.ones(3, 3, dtype=torch.long)
    made = run("10", inputs=inputs)
    for name, module in made["model"].named_modules():
        if "blend" in getattr(module, "lora_A", {}):
            key = name.removeprefix("base_model.model.")
            expected = sum(0.5 * both[voice][f"base_model.model.{key}"] for voice in both)
            assert_allclose(module.get_delta_weight("blend").detach(), expected, atol=1e-6)


def test_11_merges_into_what_was_read_back_and_into_the_original(tmp_path, monkeypatch):
    """The second block, with a coarse rounding in the place of bitsandbytes."""

    def rounded(model):
        with torch.no_grad():
            for module in model.model.modules():  # the head is left as it is
                if isinstance(module, torch.nn.Linear):
                    module.weight.copy_((8 * module.weight).round() / 8)
        return model

    def load(name, **options):
        model = llama()
        if "quantization_config" in options:
            monkeypatch.setattr(model, "dequantize", lambda: rounded(model))
        return model

    monkeypatch.setattr(AUTOMATIC, "from_pretrained", load)
    monkeypatch.chdir(tmp_path)
    trained = moved(get_peft_model(rounded(llama()), LoraConfig(target_modules="all-linear")))
    names = {"model": trained, "AutoModelForCausalLM": AUTOMATIC, "torch": torch, "config": None}
    made = run("11", box_of("11", 1), **names)
    updates = updates_of(trained)
    assert len(updates) == 2 * 7
    for merged, base in ((made["into_W0_hat"], rounded(llama())), (made["into_W0"], llama())):
        weights, before = merged.state_dict(), base.state_dict()
        for name, update in updates.items():
            key = f"{name.removeprefix('base_model.model.')}.weight"
            assert_allclose(weights[key] - before[key], update, atol=1e-6)


def test_12_counts_as_the_package_does(monkeypatch, capsys):
    small = transformers.GPT2LMHeadModel(transformers.GPT2Config())
    monkeypatch.setattr(AUTOMATIC, "from_pretrained", lambda name: small)
    made = run("12")
    ours = count_parameters(MODELS["gpt2"], LoRA(r=8, targets=("c_attn",)))
    assert made["trained"] == ours.trainable


def test_13_asserts_the_number_of_the_slide():
    assert run("13")["trained"] == 294_912
