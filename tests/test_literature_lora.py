"""The LoRA paper in the ledger: its verdicts, and what its explanations claim."""

from dataclasses import replace

import numpy as np
import pytest

from lora_ref.ledger.literature import FIGURES, Figure, judge
from lora_ref.ledger.literature.figure import compare, read_printed
from lora_ref.ledger.literature.lora_language import adapters, with_norms

BY_ID: dict[str, Figure] = {f.id: f for f in FIGURES if f.source.key == "lora"}

EXPECTED = {
    "lora-roberta-base-full": "by-rule", "lora-roberta-large-full": "by-rule",
    "lora-deberta-xxl-full": "by-rule", "lora-roberta-base-bitfit": "rounds",
    "lora-roberta-base": "rounds", "lora-roberta-large": "rounds", "lora-deberta-xxl": "conflict",
    "lora-roberta-large-adapter-p-3m": "slip", "lora-roberta-large-adapter-p-0.8m": "rounds",
    "lora-roberta-large-adapter-h-6m": "slip", "lora-roberta-large-adapter-h-0.8m": "rounds",
    "lora-gpt2-medium-full": "slip", "lora-gpt2-large-full": "rounds",
    "lora-gpt2-medium-full-table-13": "truncates", "lora-gpt2-large-full-table-13": "rounds",
    "lora-gpt2-medium-top-2-table-3": "rounds", "lora-gpt2-medium-top-2-table-13": "conflict",
    "lora-gpt2-medium-adapter-l-0.37m": "rounds", "lora-gpt2-medium-adapter-l-11m": "rounds",
    "lora-gpt2-large-adapter-l-0.88m": "rounds", "lora-gpt2-large-adapter-l-23m": "rounds",
    "lora-gpt2-medium-adapter-h": "slip", "lora-gpt2-medium": "slip", "lora-gpt2-large": "slip",
    "lora-gpt3-4.7m-qv": "rounds", "lora-gpt3-4.7m-v": "rounds", "lora-gpt3-9.4m": "rounds",
    "lora-gpt3-9.4m-four": "rounds", "lora-gpt3-18.8m": "truncates",
    "lora-gpt3-18.8m-four": "truncates", "lora-gpt3-37.7m": "rounds",
    "lora-gpt3-37.7m-four": "rounds", "lora-gpt3-37.7m-d4": "conflict",
    "lora-gpt3-301.9m": "truncates", "lora-gpt3-603.8m": "by-rule",
    "lora-gpt3-18m-one": "truncates", "lora-gpt3-18m-two": "truncates",
    "lora-gpt3-18m-four": "truncates", "lora-gpt3-prefix-embed-32": "truncates",
    "lora-gpt3-prefix-embed-64": "rounds", "lora-gpt3-prefix-embed-128": "rounds",
    "lora-gpt3-prefix-embed-256": "rounds", "lora-gpt3-prefix-embed-512": "rounds",
    "lora-gpt3-prefix-layer-2-2": "slip", "lora-gpt3-prefix-layer-8-0": "slip",
    "lora-gpt3-prefix-layer-8-8": "slip", "lora-gpt3-prefix-layer-32-4": "slip",
    "lora-gpt3-prefix-layer-64-0": "slip", "lora-gpt3-adapter-h-1": "rounds",
    "lora-gpt3-adapter-h-4": "rounds", "lora-gpt3-adapter-h-8": "rounds",
    "lora-gpt3-adapter-h-16": "rounds", "lora-gpt3-adapter-h-64": "rounds",
    "lora-gpt3-lora-pe-8": "truncates", "lora-gpt3-lora-pe-32": "rounds",
    "lora-gpt3-lora-pe-64": "rounds", "lora-gpt3-lora-pl": "slip", "lora-gpt3-bitfit": "slip",
    "lora-gpt3-full": "slip", "lora-gpt3-full-table-15": "rounds", "lora-latency-l-32": "rounds",
    "lora-latency-l-16": "rounds", "lora-latency-l-1": "rounds", "lora-latency-h-32": "rounds",
    "lora-latency-h-16": "rounds", "lora-latency-h-1": "rounds", "lora-share": "rounds",
    "lora-memory-3": "rounds", "lora-checkpoint-350gb": "exact", "lora-checkpoint-10000": "exact",
    "lora-parameters-10000": "rounds", "lora-checkpoint-35mb": "rounds",
    "lora-100-tasks": "rounds", "lora-100-models": "exact", "lora-speed-up": "by-rule",
    "lora-random-subspace-4": "rounds", "lora-random-subspace-64": "rounds",
    "lora-amplification": "truncates", "lora-amplification-64": "rounds",
    "lora-readme-roberta-base": "conflict", "lora-roberta-base-alpha": "conflict",
    "lora-roberta-large-alpha": "exact", "lora-deberta-xxl-alpha": "conflict",
    "lora-roberta-base-checkpoint": "by-rule", "lora-roberta-large-checkpoint": "by-rule",
    "lora-deberta-xxl-checkpoint": "by-rule", "lora-gpt2-medium-checkpoint": "truncates",
    "lora-gpt2-large-checkpoint": "slip",
}  # fmt: skip


def test_every_figure_gets_the_verdict_that_is_expected_of_it() -> None:
    assert {id: judge(figure).verdict for id, figure in BY_ID.items()} == EXPECTED


ADAPTER_L = [id for id in BY_ID if "adapter-l-" in id]


@pytest.mark.parametrize("id", ADAPTER_L)
def test_one_width_of_adapter_l_fits_and_without_the_layer_norms_the_next_one(id: str) -> None:
    given, printed = BY_ID[id].given, BY_ID[id].printed
    widths = range(1, 2 * given["m"])
    fits = [m for m in widths if compare(printed, with_norms(**{**given, "m": m}))]
    alone = [m for m in widths if compare(printed, adapters(**{**given, "m": m}))]
    assert (fits, alone) == ([given["m"]], [given["m"] + 1])


def test_no_width_of_adapter_h_gives_the_number_of_adapter_l() -> None:
    figure = BY_ID["lora-gpt2-medium-adapter-h"]
    found = {m: adapters(**{**figure.given, "m": m}) for m in range(1, 300)}
    assert not [m for m, value in found.items() if compare(figure.printed, value)]
    printed, _ = read_printed(figure.printed)
    assert min(found, key=lambda m: abs(found[m] - printed)) == figure.given["m"]
    assert figure.printed == BY_ID["lora-gpt2-medium-adapter-l-11m"].printed


def test_all_five_numbers_of_prefix_layer_are_above_the_formula() -> None:
    figures = [figure for id, figure in BY_ID.items() if "prefix-layer" in id]
    assert len(figures) == 5
    assert all(judge(f).value < read_printed(f.printed)[0] for f in figures)


def test_the_published_checkpoint_of_deberta_does_not_fit_the_rank_of_table_10() -> None:
    figure = BY_ID["lora-deberta-xxl-checkpoint"]
    assert figure.given["r"] == 16
    assert judge(replace(figure, given={**figure.given, "r": 8})).verdict == "slip"


def test_the_checkpoint_of_gpt2_medium_fits_the_computed_count_and_not_the_printed_one() -> None:
    file, count = BY_ID["lora-gpt2-medium-checkpoint"], BY_ID["lora-gpt2-medium"]
    assert judge(file).value == 4 * judge(count).value == 1.5 * 1024**2
    assert compare(file.printed, 4 * read_printed(count.printed)[0]) is None


def test_bitfit_would_need_twelve_widths_a_block() -> None:
    figure = BY_ID["lora-gpt3-bitfit"]
    d, blocks = 12288, 96
    assert judge(figure).value == 11 * d * blocks + d
    assert compare(figure.printed, 12 * d * blocks) == "rounds"


@pytest.mark.parametrize(("d", "r"), [(96, 6), (64, 16)])
def test_random_subspaces_shrink_a_norm_as_table_7_says(d: int, r: int) -> None:
    rng = np.random.default_rng(0)
    W = rng.standard_normal((d, d)) * np.geomspace(1, 30, d)  # no isotropy of W is needed
    squares = []
    for _ in range(200):
        U, V = (np.linalg.qr(rng.standard_normal((d, r)))[0] for _ in range(2))
        squares.append(np.linalg.norm(U.T @ W @ V) ** 2)
    assert np.sqrt(np.mean(squares)) == pytest.approx(np.linalg.norm(W) * r / d, rel=0.03)
