"""The table of published models, one call a model.

`published` is a count that somebody printed for exactly this model. `source` says where the sizes
come from, and where that count.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lora_ref.counting.model import Model
from lora_ref.counting.models.encoders import bert, deberta, distilbert
from lora_ref.counting.models.gpt import gpt2, opt
from lora_ref.counting.models.llama import GEMMA_NORMS, llama, phi
from lora_ref.counting.models.others import mlp, vit, whisper
from lora_ref.counting.models.t5 import t5
from lora_ref.errors import LoraRefError
from lora_ref.suggestions import nearest_or_all

_LLAMA = "Touvron et al. 2023, arXiv 2302.13971, table 2"
_LLAMA_3 = "Grattafiori et al. 2024, arXiv 2407.21783; the model's config.json"
_GPT2 = "Radford et al. 2019, table 2"
_ROBERTA = "Liu et al. 2019, arXiv 1907.11692; the model's config.json"
_OPT = "Zhang et al. 2022, arXiv 2205.01068, table 1"

_MODELS = (
    bert(768, 12, 30522).named(
        "bert-base",
        "BERT base, uncased",
        "Devlin et al. 2019, arXiv 1810.04805; the model's config.json",
    ),
    distilbert(768, 6, 30522).named(
        "distilbert-base",
        "DistilBERT base, uncased",
        "Sanh et al. 2019, arXiv 1910.01108; the model's config.json",
    ),
    bert(768, 12, 50265, positions=514, token_types=1).named(
        "roberta-base", "RoBERTa base", _ROBERTA
    ),
    bert(1024, 24, 50265, positions=514, token_types=1).named(
        "roberta-large", "RoBERTa large", _ROBERTA
    ),
    deberta(1536, 48, 128100).named(
        "deberta-v2-xxlarge",
        "DeBERTa-v2 XXL",
        "He et al. 2021, arXiv 2006.03654; the model's config.json",
    ),
    gpt2(768, 12).named(
        "gpt2",
        "GPT-2 small",
        f"{_GPT2}; 124,441,346 with a head of two classes, LLMs-from-scratch, appendix E",
        published=124_441_346 - 2 * 768 - 2,
    ),
    gpt2(1024, 24).named("gpt2-medium", "GPT-2 medium", _GPT2),
    gpt2(1280, 36).named("gpt2-large", "GPT-2 large", _GPT2),
    gpt2(1600, 48).named("gpt2-xl", "GPT-2 XL", _GPT2),
    gpt2(12288, 96, positions=2048).named(
        "gpt3-175b",
        "GPT-3 175B",
        "Brown et al. 2020, arXiv 2005.14165, table 2.1; modules named as GPT-2's",
    ),
    opt(1024, 24, embedding_width=512, norm_last=False).named(
        "opt-350m",
        "OPT 350M",
        f"{_OPT}; 332,769,280 with an adapter of 1,572,864, peft's guides/peft_model_config.md",
        published=332_769_280 - 1_572_864,
    ),
    opt(4096, 32).named(
        "opt-6.7b",
        "OPT 6.7B",
        f"{_OPT}; 6,666,862,592 with an adapter of 8,388,608, peft's "
        "examples/int8_training/Finetune_opt_bnb_peft.ipynb",
        published=6_666_862_592 - 8_388_608,
    ),
    llama(4096, 32, 32, 11008, 32000).named("llama-7b", "LLaMA 7B", _LLAMA),
    llama(5120, 40, 40, 13824, 32000).named("llama-13b", "LLaMA 13B", _LLAMA),
    llama(6656, 60, 52, 17920, 32000).named("llama-33b", "LLaMA 33B", _LLAMA),
    llama(8192, 80, 64, 22016, 32000).named("llama-65b", "LLaMA 65B", _LLAMA),
    llama(4096, 32, 32, 11008, 32000).named(
        "llama-2-7b",
        "Llama 2 7B",
        "Touvron et al. 2023, arXiv 2307.09288; 6,742,609,920 with an adapter of 4,194,304, "
        "torchtune's docs/source/tutorials/lora_finetune.rst",
        published=6_742_609_920 - 4_194_304,
    ),
    llama(4096, 32, 32, 14336, 128256, kv_heads=8).named("llama-3-8b", "Llama 3 8B", _LLAMA_3),
    llama(2048, 16, 32, 8192, 128256, kv_heads=8, tied=True).named(
        "llama-3.2-1b",
        "Llama 3.2 1B",
        f"{_LLAMA_3}; 1,236,338,688 with an adapter of 524,288, peft's docs/source/quicktour.md",
        published=1_236_338_688 - 524_288,
    ),
    llama(4096, 32, 32, 14336, 32000, kv_heads=8).named(
        "mistral-7b", "Mistral 7B", "Jiang et al. 2023, arXiv 2310.06825, table 1"
    ),
    llama(2048, 36, 16, 11008, 151936, kv_heads=2, tied=True, biases=True).named(
        "qwen2.5-3b",
        "Qwen2.5 3B",
        "Yang et al. 2024, arXiv 2412.15115; 3,089,625,088 with an adapter of 3,686,400, peft's "
        "README.md",
        published=3_089_625_088 - 3_686_400,
    ),
    llama(
        2304, 26, 8, 9216, 256000, kv_heads=4, head_width=256, tied=True, norms=GEMMA_NORMS
    ).named("gemma-2-2b", "Gemma 2 2B", "Riviere et al. 2024, arXiv 2408.00118, table 1"),
    phi(2560, 32, 10240, 51200).named("phi-2", "Phi-2", "the model's config.json"),
    t5(768, 12, 12, 3072, 32128).named(
        "t5-base",
        "T5 base",
        "Raffel et al. 2020, arXiv 1910.10683; 223,843,584 with an adapter, peft's "
        "src/peft/peft_model.py",
    ),
    t5(1024, 24, 16, 2816, 32128, gated=True, tied=False).named(
        "flan-t5-large",
        "Flan-T5 large",
        "Chung et al. 2022, arXiv 2210.11416; 787,868,672 with an adapter of 4,718,592, peft's "
        "examples/int8_training/Finetune_flan_t5_large_bnb_peft.ipynb",
        published=787_868_672 - 4_718_592,
    ),
    whisper(1280, 32).named(
        "whisper-large-v2",
        "Whisper large v2",
        "Radford et al. 2022, arXiv 2212.04356, table 1; 1,559,033,600 with an adapter of "
        "15,728,640, peft's docs/source/task_guides/int8-asr.md",
        published=1_559_033_600 - 15_728_640,
    ),
    vit(768, 12).named(
        "vit-base",
        "ViT-B/16",
        "Dosovitskiy et al. 2021, arXiv 2010.11929, table 1; 86,543,818 with an adapter and two "
        "heads, peft's package_reference/lora.md",
        published=86_543_818 - 2 * (101 * 768 + 101) - 589_824,
    ),
    mlp(20, 2000, 2000, 2).named(
        "peft-mlp",
        "the network 20-2000-2000-2 of PEFT's documentation",
        "huggingface/peft, docs/source/developer_guides/custom_models.md",
    ),
)

MODELS: Mapping[str, Model] = MappingProxyType({model.name: model for model in _MODELS})
"""Published models by short name, family by family."""


def get_model(name: str, models: Mapping[str, Model] = MODELS) -> Model:
    """Return the model of that short name; an unknown one is an error with the nearest.

    Examples
    --------
    >>> f"{get_model('llama-7b').total:,}"
    '6,738,415,616'
    >>> get_model("lama-7b")
    Traceback (most recent call last):
    lora_ref.errors.LoraRefError: there is no model 'lama-7b'; the nearest: llama-7b, ...
    """
    if name in tuple(models):
        return models[name]
    raise LoraRefError(f"there is no model {name!r:.80}{nearest_or_all(name, models)}")
