"""The ledger of the literature: every integer that PEFT prints, and the rules behind them."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from lora_ref.counting import IA3, AdaLoRA, LoHa, LoKr, LoRA, Method, Prefix, PrefixEmbed, explain
from lora_ref.counting.architectures import architecture
from lora_ref.errors import LoraRefError
from lora_ref.ledger.literature import peft_docs, peft_guides
from lora_ref.ledger.literature.figure import Figure, Judgement, compare, judge
from lora_ref.ledger.literature.peft_lines import Example, both_counts, model_named

FIGURES: dict[str, Figure] = {f.id: f for f in (*peft_docs.FIGURES, *peft_guides.FIGURES)}
EXAMPLES = {e.id: e for e in (*peft_docs.EXAMPLES, *peft_guides.EXAMPLES)}
FOUR, QV = ("lora", "loha", "lokr", "adalora"), peft_docs.QV

EXPECTED = {
    "peft-readme-trainable": "exact", "peft-readme-all": "exact",
    "peft-readme-mt0-trainable": "exact", "peft-readme-mt0-all": "exact",
    "peft-quicktour-trainable": "exact", "peft-quicktour-all": "exact",
    "peft-config-trainable": "exact", "peft-config-all": "exact", "peft-mlp-trainable": "by-rule",
    "peft-mlp-all": "by-rule", "peft-vit-lora-trainable": "exact", "peft-vit-lora-all": "by-rule",
    "peft-vit-loha-trainable": "exact", "peft-vit-loha-all": "by-rule",
    "peft-vit-lokr-trainable": "exact", "peft-vit-lokr-all": "by-rule",
    "peft-vit-adalora-trainable": "exact", "peft-vit-adalora-all": "by-rule",
    "peft-vit-guide-trainable": "exact", "peft-vit-guide-all": "exact",
    "peft-docstring-bert-trainable": "exact", "peft-docstring-bert-all": "exact",
    "peft-docstring-gpt2-trainable": "exact", "peft-docstring-gpt2-all": "exact",
    "peft-docstring-t5-trainable": "exact", "peft-docstring-t5-all": "by-rule",
    "peft-docstring-qa-trainable": "by-rule", "peft-docstring-qa-all": "by-rule",
    "peft-readme-share": "rounds", "peft-readme-sentence": "conflict",
    "peft-quicktour-share": "rounds", "peft-quicktour-file": "rounds",
    "peft-vit-guide-before": "exact", "peft-vit-guide-file": "truncates", "peft-t0-file": "rounds",
    "peft-t0-base": "rounds", "peft-whisper-trainable": "exact", "peft-whisper-all": "exact",
    "peft-ia3-trainable": "exact", "peft-ia3-all": "exact", "peft-bloomz-prefix-trainable": "exact",
    "peft-bloomz-prefix-all": "exact", "peft-bloomz-prompt-trainable": "exact",
    "peft-bloomz-prompt-all": "exact", "peft-bloomz-p-tuning-trainable": "exact",
    "peft-bloomz-p-tuning-all": "exact", "peft-roberta-p-tuning-trainable": "exact",
    "peft-roberta-p-tuning-all": "exact", "peft-roberta-tokens-trainable": "exact",
    "peft-roberta-tokens-all": "exact", "peft-t5-prefix-trainable": "exact",
    "peft-t5-prefix-all": "exact", "peft-t5-prefix-file": "rounds",
}  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> dict[str, Judgement]:
    return {id: judge(figure) for id, figure in FIGURES.items()}


def test_every_figure_of_peft_gets_the_verdict_that_is_expected_of_it(judged):
    assert {id: judgement.verdict for id, judgement in judged.items()} == EXPECTED


def test_no_figure_of_peft_has_a_problem(judged):
    assert [p for judgement in judged.values() for p in judgement.problems] == []


def test_no_integer_that_peft_prints_is_left_unexplained(judged):
    integers = [id for id in FIGURES if id.endswith(("-trainable", "-all"))]
    assert len(integers) == 2 * len({id.rpartition("-")[0] for id in integers})
    assert {judged[id].verdict for id in integers} == {"exact", "by-rule"}


def test_the_totals_of_the_documentation_chain_exactly(judged):
    """From LoHa on, a total is the one before it and what is added: the wraps pile up."""
    printed = {m: int(EXAMPLES[f"peft-vit-{m}"].printed[1].replace(",", "")) for m in FOUR}
    base, head = architecture("vit-base").total, 101 * 768 + 101
    assert (base, head) == (85_798_656, 77_669)
    methods = LoRA(16, QV), LoHa(16, QV), LoKr(16, QV), AdaLoRA(12, QV)
    lora, loha, lokr, adalora = (_added(method) for method in methods)
    assert (loha, lokr, adalora) == (1_179_648, 38_400, 442_656 + 24)
    assert printed["lora"] == base + 2 * head + lora
    assert printed["loha"] == base + 2 * head + loha
    assert printed["lokr"] == printed["loha"] + lokr
    assert printed["adalora"] == printed["lokr"] + adalora


def _added(method: Method) -> int:
    return sum(part.numbers for part in method.parts(architecture("vit-base")))


@pytest.mark.parametrize(
    "rules", [("leftover:loha:8",), ("leftover:lokr:16",), ("leftover:lora:16",), ()]
)
def test_no_other_leftover_explains_the_documentation(rules):
    for name in ("lokr", "adalora"):
        example = EXAMPLES[f"peft-vit-{name}"]
        _, total = both_counts(example._replace(total_rules=rules, total_why="none"))
        assert judge(total).verdict == "slip"


def _explained() -> Iterator[tuple[str, str]]:
    for id, example in EXAMPLES.items():
        yield from ((id, kind) for kind in ("trainable", "total") if _rules(example, kind))


def _rules(example: Example, kind: str) -> tuple[str, ...]:
    if kind == "trainable":
        return example.trainable_rules
    return example.shown + example.total_rules


@pytest.mark.parametrize(("id", "kind"), tuple(_explained()))
def test_explaining_a_printed_integer_finds_the_rules_that_the_ledger_names(id, kind):
    example = EXAMPLES[id]
    printed = int(example.printed[kind == "total"].replace(",", ""))
    wanted = _rules(example, kind)
    leftovers = [rule for rule in wanted if rule.startswith("leftover")]
    found = explain(
        printed,
        model_named(example.model),
        example.method,
        saved=example.saved,
        further=leftovers,
    )
    assert any(f.count == kind and set(f.rules) == set(wanted) for f in found)


@pytest.mark.parametrize("example", tuple(EXAMPLES.values()), ids=EXAMPLES)
def test_a_line_of_peft_with_another_rank_comes_out_no_longer(example):
    for figure in both_counts(example._replace(method=_other(example.method))):
        assert judge(figure).verdict == "slip"


@pytest.mark.parametrize("id", [id for id, example in EXAMPLES.items() if example.saved])
def test_a_line_of_peft_without_the_head_trains_less_than_is_printed(id):
    trainable, _ = both_counts(EXAMPLES[id]._replace(saved=()))
    assert judge(trainable).verdict == "slip"


def _other(method: Method) -> Method:
    match method:
        case Prefix(tokens):
            return Prefix(tokens + 1)
        case PrefixEmbed(prefix):
            return PrefixEmbed(prefix + 1)
        case IA3(targets):
            return IA3(targets[:-1])
        case AdaLoRA(init_r):
            return replace(method, init_r=init_r + 1)
        case LoKr(r):  # from half the larger factor on, its matrices are whole at any rank
            return replace(method, r=r // 2)
        case LoRA(r):
            return replace(method, r=r + 1)
    raise AssertionError(method)


def test_the_rank_of_the_lokr_example_changes_nothing():
    assert len({_added(LoKr(r, QV)) for r in (16, 17, 64)}) == 1


def test_the_biases_that_t5_was_given_are_72_vectors(judged):
    judgement = judged["peft-docstring-t5-all"]
    targeted = architecture("t5-base").targeted(("q", "v"))
    assert sum(module.copies for module in targeted) == 72
    assert judgement.by_rule - judgement.value == 72 * 768 == 55_296


def test_the_sentence_of_the_readme_fits_the_example_that_it_names(judged):
    figure = FIGURES["peft-readme-sentence"]
    assert compare(figure.printed, figure.conflict.value(**figure.given)) is not None
    assert compare(figure.printed, judged["peft-readme-sentence"].value) is None


def test_soft_prompts_leave_nothing_behind_on_their_page():
    """Three examples on one page again, and here each total starts from the bare model."""
    names = ("p-tuning", "prefix", "prompt")
    printed = [
        [int(FIGURES[f"peft-bloomz-{name}-{kind}"].printed.replace(",", "")) for name in names]
        for kind in ("trainable", "all")
    ]
    bare = [total - trainable for trainable, total in zip(*printed, strict=True)]
    assert set(bare) == {model_named("bloomz-560m").total}


def test_an_example_with_an_unknown_model_is_refused_with_the_nearest_names():
    with pytest.raises(LoraRefError, match="gpt2-large"):
        model_named("gpt-2-large")
