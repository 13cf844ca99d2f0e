"""The ledger of the literature: QLoRA, NF4, VeRA, DoRA, teaching material."""

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from lora_ref.counting import tally
from lora_ref.counting.architectures import architecture
from lora_ref.ledger.literature import books, dora, nf4, qlora, vera
from lora_ref.ledger.literature.figure import Figure, Judgement, compare, judge
from lora_ref.quantize import LEVELS, NF4_BLOCK, NF4_OFFSET, quantise

MODULES = (nf4, qlora, vera, dora, books)
FIGURES: dict[str, Figure] = {f.id: f for module in MODULES for f in module.FIGURES}

EXPECTED = {
    # nf4
    "nf4-level-0": "exact", "nf4-level-1": "exact", "nf4-level-2": "exact", "nf4-level-3": "exact",
    "nf4-level-4": "exact", "nf4-level-5": "exact", "nf4-level-6": "exact", "nf4-level-7": "exact",
    "nf4-level-8": "exact", "nf4-level-9": "exact", "nf4-level-10": "exact",
    "nf4-level-11": "exact", "nf4-level-12": "exact", "nf4-level-13": "exact",
    "nf4-level-14": "exact", "nf4-level-15": "exact", "nf4-offset": "rounds",
    "nf4-largest-quantile": "slip", "nf4-negative": "by-rule", "nf4-positive": "by-rule",
    "nf4-non-zero": "exact", "nf4-equal-area": "slip", "nf4-equal-numbers": "slip",
    # qlora
    "qlora-constants": "exact", "qlora-constants-double": "rounds", "qlora-saving": "rounds",
    "qlora-saving-introduction": "rounds", "qlora-saving-65b": "rounds",
    "qlora-full-65b": "by-rule", "qlora-lora-7b": "truncates", "qlora-16-bit-13b": "rounds",
    "qlora-16-bit-33b": "by-rule",
    # vera
    "vera-roberta-base-1-lora": "truncates", "vera-roberta-base-1-lora-bytes": "by-rule",
    "vera-roberta-base-1-vera": "truncates", "vera-roberta-base-1-vera-bytes": "by-rule",
    "vera-roberta-base-16-lora": "rounds", "vera-roberta-base-16-lora-bytes": "rounds",
    "vera-roberta-base-16-vera": "rounds", "vera-roberta-base-16-vera-bytes": "by-rule",
    "vera-roberta-base-256-lora": "truncates", "vera-roberta-base-256-lora-bytes": "by-rule",
    "vera-roberta-base-256-vera": "truncates", "vera-roberta-base-256-vera-bytes": "by-rule",
    "vera-roberta-large-1-lora": "rounds", "vera-roberta-large-1-lora-bytes": "by-rule",
    "vera-roberta-large-1-vera": "exact", "vera-roberta-large-1-vera-bytes": "by-rule",
    "vera-roberta-large-16-lora": "truncates", "vera-roberta-large-16-lora-bytes": "rounds",
    "vera-roberta-large-16-vera": "conflict", "vera-roberta-large-16-vera-bytes": "by-rule",
    "vera-roberta-large-256-lora": "rounds", "vera-roberta-large-256-lora-bytes": "by-rule",
    "vera-roberta-large-256-vera": "rounds", "vera-roberta-large-256-vera-bytes": "by-rule",
    "vera-gpt3-175b-1-lora": "rounds", "vera-gpt3-175b-1-lora-bytes": "truncates",
    "vera-gpt3-175b-1-vera": "rounds", "vera-gpt3-175b-1-vera-bytes": "by-rule",
    "vera-gpt3-175b-16-lora": "rounds", "vera-gpt3-175b-16-lora-bytes": "by-rule",
    "vera-gpt3-175b-16-vera": "by-rule", "vera-gpt3-175b-16-vera-bytes": "by-rule",
    "vera-gpt3-175b-256-lora": "truncates", "vera-gpt3-175b-256-lora-bytes": "slip",
    "vera-gpt3-175b-256-vera": "by-rule", "vera-gpt3-175b-256-vera-bytes": "by-rule",
    "vera-glue-base": "rounds", "vera-glue-large": "rounds", "vera-e2e-medium": "rounds",
    "vera-e2e-large": "rounds", "vera-llama-7b": "rounds", "vera-llama-13b": "rounds",
    "vera-llama-7b-lora": "rounds", "vera-llama-13b-lora": "rounds",
    "vera-million-users": "by-rule",
    # dora
    "dora-7b-lora": "rounds", "dora-7b-half": "rounds", "dora-7b": "rounds",
    "dora-13b-lora": "rounds", "dora-13b-half": "rounds", "dora-13b": "rounds",
    "dora-2-7b-lora": "rounds", "dora-2-7b-half": "rounds", "dora-2-7b": "rounds",
    "dora-3-8b-lora": "rounds", "dora-3-8b-half": "slip", "dora-3-8b": "rounds",
    "dora-alpaca-lora": "truncates", "dora-alpaca": "truncates", "dora-alpaca-vera": "rounds",
    "dora-alpaca-dvora": "rounds", "dora-rank-4-lora": "rounds", "dora-rank-8-lora": "rounds",
    "dora-rank-16-lora": "slip", "dora-rank-64-lora": "rounds", "dora-rank-4": "truncates",
    "dora-rank-8": "rounds", "dora-rank-64": "rounds", "dora-7b-attention": "rounds",
    "dora-13b-attention": "truncates",
    # books
    "book-gpt2": "exact", "book-lora-16": "exact", "book-lora-8": "exact",
    "book-factor-16": "rounds", "book-factor-8": "rounds", "course-gemma": "rounds",
    "course-gemma-vocabulary": "slip", "no-magic-base": "rounds", "no-magic-share": "slip",
    "no-magic-7b": "rounds",
}  # fmt: skip


@pytest.fixture(scope="module")
def judged() -> dict[str, Judgement]:
    return {id: judge(figure) for id, figure in FIGURES.items()}


def test_every_figure_gets_the_verdict_that_is_expected_of_it(judged):
    assert {id: judgement.verdict for id, judgement in judged.items()} == EXPECTED
    assert len(FIGURES) == sum(len(module.FIGURES) for module in MODULES)


def test_no_figure_has_a_problem(judged):
    assert [p for judgement in judged.values() for p in judgement.problems] == []


def test_an_explanation_has_all_its_fields_filled_in(judged):
    for judgement in judged.values():
        assert not set("{}") & set(judgement.why), judgement.figure.id


# NF4


def test_the_printed_levels_are_the_float32_values_bit_for_bit():
    printed = [float(figure.printed) for figure in nf4.FIGURES[:16]]
    assert np.array_equal(np.array(printed, np.float32), LEVELS["nf4"])
    assert np.array_equal(np.array(printed), LEVELS["nf4"].astype(float))


@pytest.mark.parametrize("figure", nf4.FIGURES[:16], ids=lambda figure: figure.id)
def test_a_level_of_another_offset_or_with_another_last_digit_is_not_exact(figure):
    if figure.printed not in ("-1.0", "0.0", "1.0"):
        assert judge(replace(figure, given={**figure.given, "offset": 0.97})).verdict == "slip"
    last = str((int(figure.printed[-1]) + 5) % 10)
    assert judge(replace(figure, printed=figure.printed[:-1] + last)).verdict != "exact"


def test_the_share_of_each_code_is_what_quantising_normal_values_gives():
    values = np.random.default_rng(0).standard_normal((20_000, NF4_BLOCK)).astype(np.float32)
    counted = np.bincount(quantise(values).indices.reshape(-1), minlength=16) / values.size
    expected = nf4.usage(NF4_OFFSET, NF4_BLOCK)
    assert expected.sum() == pytest.approx(1, abs=1e-9)
    np.testing.assert_allclose(counted, expected, rtol=0.01)


def test_a_longer_block_uses_the_outer_codes_less():
    short, long = nf4.usage(NF4_OFFSET, 64), nf4.usage(NF4_OFFSET, 4096)
    assert max(long[[0, -1]]) < min(short[[0, -1]])
    assert long[7] > short[7]


def test_the_areas_under_the_normal_curve_add_up_and_differ():
    areas = nf4.normal_areas(NF4_OFFSET)
    assert areas.sum() == pytest.approx(1, abs=1e-12)
    assert areas.min() < 1 / 16 < areas.max()


# VeRA


def test_the_gpt3_rows_count_the_shared_matrices_and_the_roberta_rows_do_not(judged):
    for r in (16, 256):
        assert judged[f"vera-gpt3-175b-{r}-vera"].verdict == "by-rule"
        for model in ("roberta-base", "roberta-large"):
            shared = vera._vera_shared(model, r, ("query", "key"))
            assert compare(FIGURES[f"vera-{model}-{r}-vera"].printed, shared) is None


def test_every_size_of_table_1_is_four_bytes_for_each_number_of_its_row(judged):
    for id, judgement in judged.items():
        if id.startswith("vera-") and id.endswith("-bytes"):
            row = judged[id.removesuffix("-bytes")]
            numbers = row.value if row.by_rule is None else row.by_rule
            if id == "vera-gpt3-175b-1-vera-bytes":
                numbers = vera._vera_shared(**row.figure.given)
            assert judgement.value == 4 * numbers


def test_the_one_size_that_slips_mixes_both_kinds_of_units(judged):
    value = judged["vera-gpt3-175b-256-lora-bytes"].value
    assert value == 16 * 288 * 2**20
    printed = FIGURES["vera-gpt3-175b-256-lora-bytes"].printed
    assert compare(printed, Fraction(value, 2**20) * 10**6) == "rounds"
    assert compare(printed, Fraction(value, 2**30) * 10**9) is None


def test_the_own_bytes_of_the_contradicted_row_are_what_its_formula_gives(judged):
    figure = FIGURES["vera-roberta-large-16-vera"]
    assert figure.conflict.printed == f"{195 * 1024 // 4:,}"
    assert judge(replace(figure, conflict=None)).verdict == "slip"


# DoRA


def test_what_is_said_about_the_two_slips_of_dora_is_so():
    without = dora._lora("llama-3-8b", 16, dora.QKVUD)
    assert compare(FIGURES["dora-3-8b-half"].printed, without) is not None
    assert compare(FIGURES["dora-rank-16-lora"].printed, Fraction("0.0083") / 2) == "rounds"


def test_dora_differs_from_lora_by_one_number_a_row():
    model, targets = architecture("llama-7b"), dora.QKVUD
    lora = tally(model, dora.LoRA(32, targets)).trainable
    magnitudes = tally(model, dora.DoRA(32, targets)).trainable - lora
    assert magnitudes == dora._magnitudes("llama-7b", targets) == 32 * (4 * 4096 + 11008)


# teaching material


def test_gemma_has_the_parameters_that_its_summary_prints():
    assert books._gemma(262_144).total == 999_885_952
