"""Counts that huggingface/peft prints in its README, its documentation and its docstrings.

A place is a path in the repository and, where the text has changed since, a commit.
"""

from lora_ref.counting.methods import AdaLoRA, LoHa, LoKr, LoRA, Prefix
from lora_ref.ledger.literature.figure import Conflict, Figure
from lora_ref.ledger.literature.peft_lines import (
    SOURCE,
    Example,
    both_counts,
    checkpoint,
    model_named,
    share,
)

_HEAD = (
    "{value:,} with the head once, {by_rule:,} with it twice: PEFT keeps the frozen original "
    "beside the copy that it trains."
)
_TWICE_TRAINED = (
    "{value:,} really train; the head is counted twice, since the version of the time did not "
    "freeze the original."
)
_LEFT = (
    "{{value:,}} without, {{by_rule:,}} with what the {} before it on the page left in the model: "
    "get_peft_model changes the base model in place."
)

QV = ("query", "value")
_FOUR = "docs/source/task_guides/lora_based_methods.md (e0e8204), later in package_reference"
_DOCSTRING = "src/peft/peft_model.py (0.21.2), docstring of "

_GUIDE = "docs/source/task_guides/image_classification_lora.md (fb607d0)"
_QWEN = {"model": "qwen2.5-3b", "method": LoRA(16, ("q_proj", "v_proj"))}

EXAMPLES: tuple[Example, ...] = (
    Example(
        "peft-readme",
        "README.md",
        "Qwen2.5 3B, LoRA of rank 16 in queries and values",
        ("3,686,400", "3,089,625,088"),
        "qwen2.5-3b",
        LoRA(16, ("q_proj", "v_proj")),
    ),
    Example(
        "peft-readme-mt0",
        "README.md (0032f32)",
        "mT0 large, LoRA of rank 8 in queries and values",
        ("2359296", "1231940608"),
        "mt0-large",
        LoRA(8, ("q", "v")),
    ),
    Example(
        "peft-quicktour",
        "docs/source/quicktour.md (0087b91)",
        "Llama 3.2 1B, LoRA of rank 8 in the queries",
        ("524,288", "1,236,338,688"),
        "llama-3.2-1b",
        LoRA(8, ("q_proj",)),
    ),
    Example(
        "peft-config",
        "docs/source/guides/peft_model_config.md (310fa25)",
        "OPT 350M, LoRA of rank 16 in queries and values",
        ("1,572,864", "332,769,280"),
        "opt-350m",
        LoRA(16, ("q_proj", "v_proj")),
    ),
    Example(
        "peft-mlp",
        "docs/source/developer_guides/custom_models.md (06f76d8)",
        "a network of widths 20, 2000, 2000, 2, LoRA of rank 8 and the output layer whole",
        ("56,164", "4,100,164"),
        "peft-mlp",
        LoRA(8, ("seq.0", "seq.2")),
        ("seq.4",),
        trainable_rules=("saved-twice-trained",),
        trainable_why=_TWICE_TRAINED,
        total_rules=("saved-twice",),
        total_why=_HEAD,
    ),
    Example(
        "peft-vit-lora",
        _FOUR + "/lora.md",
        "ViT base with 101 classes, LoRA of rank 16 in queries and values, and the head",
        ("667,493", "86,543,818"),
        "vit-base with 101 classes",
        LoRA(16, QV),
        ("classifier",),
        total_rules=("saved-twice",),
        total_why=_HEAD,
    ),
    Example(
        "peft-vit-loha",
        _FOUR + "/loha.md",
        "ViT base with 101 classes, LoHa of rank 16 in queries and values, and the head",
        ("1,257,317", "87,133,642"),
        "vit-base with 101 classes",
        LoHa(16, QV),
        ("classifier",),
        total_rules=("saved-twice",),
        total_why=_HEAD,
    ),
    Example(
        "peft-vit-lokr",
        _FOUR + "/lokr.md",
        "ViT base with 101 classes, LoKr of rank 16 in queries and values, and the head",
        ("116,069", "87,172,042"),
        "vit-base with 101 classes",
        LoKr(16, QV),
        ("classifier",),
        trainable_why="Any rank from 16 on gives the same: LoKr then keeps its factors whole.",
        shown=("saved-twice",),
        total_rules=("leftover:loha:16",),
        total_why=_LEFT.format("LoHa"),
    ),
    Example(
        "peft-vit-adalora",
        _FOUR + "/adalora.md",
        "ViT base with 101 classes, AdaLoRA from rank 12 in queries and values, and the head",
        ("520,325", "87,614,722"),
        "vit-base with 101 classes",
        AdaLoRA(12, QV),
        ("classifier",),
        shown=("saved-twice",),
        total_rules=("leftover:loha:16", "leftover:lokr:16"),
        total_why=_LEFT.format("LoHa and the LoKr"),
    ),
    Example(
        "peft-vit-guide",
        _GUIDE,
        "ViT base with 101 classes, LoRA of rank 16 in queries and values, and the head",
        ("667493", "86466149"),
        "vit-base with 101 classes",
        LoRA(16, QV),
        ("classifier",),
    ),
    Example(
        "peft-docstring-bert",
        _DOCSTRING + "PeftModelForSequenceClassification",
        "BERT base with 2 classes, a prefix of 20 tokens, and the head",
        ("370178", "108680450"),
        "bert-base-cased with 2 classes",
        Prefix(20),
        ("classifier",),
    ),
    Example(
        "peft-docstring-gpt2",
        _DOCSTRING + "PeftModelForCausalLM",
        "GPT-2 large, a prefix of 20 tokens",
        ("1843200", "775873280"),
        "gpt2-large",
        Prefix(20),
    ),
    Example(
        "peft-docstring-t5",
        _DOCSTRING + "PeftModelForSeq2SeqLM",
        "T5 base, LoRA of rank 8 in queries and values",
        ("884736", "223843584"),
        "t5-base",
        LoRA(8, ("q", "v")),
        total_rules=("injected-biases",),
        total_why="{value:,}; the other 55,296 are a bias of zeros for each of the 72 matrices, "
        "768 entries each, which the version of the time put beside them.",
    ),
    Example(
        "peft-docstring-qa",
        _DOCSTRING + "PeftModelForQuestionAnswering",
        "BERT base for answers, LoRA of rank 16 in queries and values, and the head",
        ("592900", "108312580"),
        "bert-base-cased for answers",
        LoRA(16, QV),
        ("qa_outputs",),
        trainable_rules=("saved-twice-trained",),
        trainable_why=_TWICE_TRAINED,
        total_rules=("saved-twice",),
        total_why=_HEAD,
    ),
)

FIGURES: tuple[Figure, ...] = (
    *(figure for example in EXAMPLES for figure in both_counts(example)),
    Figure(
        id="peft-readme-share",
        source=SOURCE,
        where="README.md",
        says="trainable%, as printed for Qwen2.5 3B",
        printed="0.1193 %",
        formula="trainable / all",
        given=_QWEN,
        value=share,
    ),
    Figure(
        id="peft-readme-sentence",
        source=SOURCE,
        where="README.md, above the example",
        says="share of the parameters that the example is said to train",
        printed="0.19 %",
        formula="trainable / all, of the example below: Qwen2.5 3B, rank 16",
        given=_QWEN,
        value=share,
        conflict=Conflict(
            "the sentence names mT0 large, the example that stood there before, with rank 8",
            value=lambda model, method: share("mt0-large", LoRA(8, ("q", "v"))),
        ),
        why="The example trains {value:.4%}; the sentence is still about another model.",
    ),
    Figure(
        id="peft-quicktour-share",
        source=SOURCE,
        where="docs/source/quicktour.md (0087b91)",
        says="share of Llama 3.2 1B that LoRA of rank 8 in the queries trains",
        printed="0.04 %",
        formula="trainable / all",
        given={"model": "llama-3.2-1b", "method": LoRA(8, ("q_proj",))},
        value=share,
    ),
    Figure(
        id="peft-quicktour-file",
        source=SOURCE,
        where="docs/source/quicktour.md (0087b91)",
        says="bytes of the adapter file of OPT 350M, LoRA of rank 16 in queries and values",
        printed="6.3 M",
        formula="4 trainable",
        given={"model": "opt-350m", "method": LoRA(16, ("q_proj", "v_proj"))},
        value=checkpoint,
    ),
    Figure(
        id="peft-vit-guide-before",
        source=SOURCE,
        where=_GUIDE,
        says="parameters of ViT base with 101 classes",
        printed="85876325",
        formula="the model and its head",
        given={"model": "vit-base with 101 classes"},
        value=lambda model: model_named(model).total,
    ),
    Figure(
        id="peft-vit-guide-file",
        source=SOURCE,
        where=_GUIDE,
        says="bytes of the file with LoRA and the head",
        printed="2.6 M",
        formula="4 trainable",
        given={
            "model": "vit-base with 101 classes",
            "method": LoRA(16, QV),
            "saved": ("classifier",),
        },
        value=checkpoint,
        why="{value:,} bytes, cut after the first decimal.",
    ),
    Figure(
        id="peft-t0-file",
        source=SOURCE,
        where="README.md (0032f32)",
        says="bytes of the checkpoint of LoRA for T0 3B, rank 8 in queries and values",
        printed="19 M",
        formula="4 trainable",
        given={"model": "t0-3b", "method": LoRA(8, ("q", "v"))},
        value=checkpoint,
    ),
    Figure(
        id="peft-t0-base",
        source=SOURCE,
        where="README.md (0032f32)",
        says="bytes of T0 3B itself",
        printed="11 G",
        formula="4 parameters",
        given={"model": "t0-3b"},
        value=lambda model: 4 * model_named(model).total,
    ),
)
"""What PEFT prints, each integer for itself."""
