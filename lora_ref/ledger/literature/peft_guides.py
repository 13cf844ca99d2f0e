"""Counts that PEFT's task guides print: other tasks, and soft prompts.

A place is a path in huggingface/peft and the commit at which it was read.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from lora_ref.counting.methods import IA3, BitFit, LoRA, Prefix, PrefixEmbed
from lora_ref.counting.tally import tally
from lora_ref.ledger.literature.figure import Figure
from lora_ref.ledger.literature.peft_lines import SOURCE, Example, both_counts, model_named

_GUIDES = "docs/source/task_guides/"


class Counts(NamedTuple):
    """What an example trains, and all parameters with it."""

    trainable: int
    total: int


def prompt_encoder(tokens: int, width: int, hidden: int) -> int:
    """Return the parameters of P-tuning: a table of tokens, and three linear maps behind it.

    Liu et al., 2021, arXiv 2103.10385, as PEFT builds it with ``encoder_hidden_size=hidden``.
    """
    maps = (width, hidden), (hidden, hidden), (hidden, width)
    return tokens * width + sum(into * out + out for into, out in maps)


def classification_head(width: int, classes: int) -> int:
    """Return the parameters of RoBERTa's head: a map within the width, and one to the classes."""
    return width * width + width + width * classes + classes


def _p_tuning(model: str, tokens: int, hidden: int) -> Counts:
    base = model_named(model)
    added = prompt_encoder(tokens, base.width, hidden)
    return Counts(added, base.total + added)


def _p_tuning_classes(model: str, tokens: int, hidden: int, classes: int) -> Counts:
    """Count the head too, which takes the pooler's place."""
    base = model_named(model)
    head = classification_head(base.width, classes)
    added = prompt_encoder(tokens, base.width, hidden) + head
    pooler = sum(m.weight + m.biases for m in base.modules if m.name == "pooler.dense")
    return Counts(added, base.total - pooler + added)


def _lora_and_biases(model: str, method: LoRA, saved: tuple[str, ...]) -> Counts:
    """Count LoRA with ``bias="all"``; the head's own bias is among the biases and not twice."""
    base = model_named(model)
    lora = tally(base, method)
    head = sum(m.weight for m in base.modules if m.name in saved)
    return Counts(lora.trainable + tally(base, BitFit()).trainable + head, lora.total)


def _decoder_prefix(model: str, tokens: int, blocks: int) -> Counts:
    base = model_named(model)
    added = tokens * blocks * 2 * base.width
    return Counts(added, base.total + added)


EXAMPLES: tuple[Example, ...] = (
    Example(
        "peft-whisper",
        _GUIDES + "int8-asr.md (bcde4c3)",
        "Whisper large v2, LoRA of rank 32 in queries and values",
        ("15728640", "1559033600"),
        "whisper-large-v2",
        LoRA(32, ("q_proj", "v_proj")),
    ),
    Example(
        "peft-ia3",
        _GUIDES + "ia3.md (1948110)",
        "mT0 large, IA3 in keys, values and one of the maps into the feed-forward layer",
        ("282,624", "1,229,863,936"),
        "mt0-large",
        IA3(("k", "v", "wi_1")),
    ),
    Example(
        "peft-bloomz-prefix",
        _GUIDES + "prompt_based_methods.md (0c27aaa)",
        "BLOOMZ 560M, a prefix of 20 tokens",
        ("983,040", "560,197,632"),
        "bloomz-560m",
        Prefix(20),
    ),
    Example(
        "peft-bloomz-prompt",
        _GUIDES + "prompt_based_methods.md (0c27aaa); clm-prompt-tuning.md (7e1ad80)",
        "BLOOMZ 560M, a prompt of 8 tokens",
        ("8,192", "559,222,784"),
        "bloomz-560m",
        PrefixEmbed(8),
    ),
)


class _Own(NamedTuple):
    """An example with a count of its own."""

    id: str
    where: str
    about: str
    printed: Counts
    given: Mapping[str, Any]
    counted: Callable[..., Counts]
    formulas: tuple[str, str]


_OWN = (
    _Own(
        "peft-bloomz-p-tuning",
        "prompt_based_methods.md (0c27aaa)",
        "BLOOMZ 560M, P-tuning with 20 tokens and 128 hidden units",
        Counts(300_288, 559_514_880),
        {"model": "bloomz-560m", "tokens": 20, "hidden": 128},
        _p_tuning,
        ("a table of tokens and three linear maps", "the model and these"),
    ),
    _Own(
        "peft-roberta-p-tuning",
        "ptuning-seq-classification.md (bcde4c3)",
        "RoBERTa large with 2 classes, P-tuning with 20 tokens and 128 hidden units, and the head",
        Counts(1_351_938, 355_662_082),
        {"model": "roberta-large", "tokens": 20, "hidden": 128, "classes": 2},
        _p_tuning_classes,
        ("a table of tokens, three linear maps, the head", "the model without pooler and these"),
    ),
    _Own(
        "peft-roberta-tokens",
        "token-classification-lora.md (2c1c8b0)",
        "RoBERTa large for tokens, 11 classes, LoRA of rank 16 in queries and values, all biases "
        "and the head",
        Counts(1_855_499, 355_894_283),
        {
            "model": "roberta-large for tokens, 11 classes",
            "method": LoRA(16, ("query", "value")),
            "saved": ("classifier",),
        },
        _lora_and_biases,
        ("A and B, every bias, the weight of the head", "the model, A and B"),
    ),
    _Own(
        "peft-t5-prefix",
        "seq2seq-prefix-tuning.md (570e992)",
        "T5 large, a prefix of 20 tokens in the decoder",
        Counts(983_040, 738_651_136),
        {"model": "t5-large", "tokens": 20, "blocks": 24},
        _decoder_prefix,
        (
            "tokens x blocks x 2 d: keys and values, shared by both attentions",
            "the model and these",
        ),
    ),
)


def _own_counts(own: _Own) -> Iterator[Figure]:
    for name, kind, printed, formula in zip(
        Counts._fields, ("trainable", "all"), own.printed, own.formulas, strict=True
    ):

        def value(_name: str = name, **given: Any) -> int:
            return int(getattr(own.counted(**given), _name))

        yield Figure(
            id=f"{own.id}-{kind}",
            source=SOURCE,
            where=_GUIDES + own.where,
            says=f"{kind} parameters, {own.about}",
            printed=f"{printed:,}",
            formula=formula,
            given=own.given,
            value=value,
        )


FIGURES: tuple[Figure, ...] = (
    *(figure for example in EXAMPLES for figure in both_counts(example)),
    *(figure for own in _OWN for figure in _own_counts(own)),
    Figure(
        id="peft-t5-prefix-file",
        source=SOURCE,
        where=_GUIDES + "seq2seq-prefix-tuning.md (570e992)",
        says="bytes of the file with the prefix for T5 large",
        printed="3.93 M",
        formula="4 trainable",
        given={"model": "t5-large", "tokens": 20, "blocks": 24},
        value=lambda **given: 4 * _decoder_prefix(**given).trainable,
    ),
)
"""What the task guides print."""
